"""The plain way that the reference projects prepare and load slices, written afresh to be measured against.

Read the whole scan as float64, loop over slices, resize image and mask with OpenCV, write two
float64 ``.npy`` files a slice; load two files a sample, augment them with imgaug's affine and its
default elastic transformation.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import imgaug.augmenters as iaa
import nibabel as nib
import numpy as np
import torch
from imgaug.augmentables.segmaps import SegmentationMapsOnImage
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from lungseg_helpers.scans.case import Case

SIDE, SKIPPED, HU_SCALE = 256, 30, 3071


def prepare_plainly(cases: list[Case], folder: Path) -> None:
    """Write ``folder/<case>/data/<k>.npy`` and ``folder/<case>/masks/<k>.npy`` for all but the first 30 slices."""
    for case in cases:
        ct = nib.load(case.image).get_fdata()
        mask = nib.load(case.label).get_fdata()
        for name in ("data", "masks"):
            (folder / case.id / name).mkdir(parents=True)
        ct = ct[:, :, SKIPPED:] / HU_SCALE
        mask = mask[:, :, SKIPPED:]
        for k in range(ct.shape[-1]):
            picture = cv2.resize(ct[:, :, k], (SIDE, SIDE))
            truth = cv2.resize(mask[:, :, k], (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
            np.save(folder / case.id / "data" / f"{k}.npy", picture)
            np.save(folder / case.id / "masks" / f"{k}.npy", truth)


class PlainDataset(Dataset):
    """Two files a sample, affine and default elastic transformation. (1, 256, 256) image and mask."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*/data/*.npy"))
        self.augmenter = iaa.Sequential([iaa.Affine(scale=(0.85, 1.15), rotate=(-45, 45)), iaa.ElasticTransformation()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        file = self.files[item]
        picture = np.load(file).astype(np.float32)
        mask = np.load(file.parent.parent / "masks" / file.name)
        truth = SegmentationMapsOnImage(mask.astype(np.int32), mask.shape)
        picture, truth = self.augmenter(image=picture, segmentation_maps=truth)
        return torch.from_numpy(picture[None]), torch.from_numpy(truth.get_arr()[None].astype(np.float32))


def plain_loader(folder: Path, batch_size: int) -> DataLoader:
    """Look at every slice for tumour, through the data set and so through its augmentation, then sample by weight."""
    dataset = PlainDataset(folder)
    held = [bool(mask.any()) for _, mask in dataset]
    weight = (len(held) - sum(held)) / max(1, sum(held))
    weights = [weight if each else 1.0 for each in held]
    return DataLoader(dataset, batch_size, sampler=WeightedRandomSampler(weights, len(weights)))
