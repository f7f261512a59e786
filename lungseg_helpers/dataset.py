"""From slice stacks to batches: split by patient, augmentation, oversampling, loaders.

A network sees one slice at a time, with a few neighbours as channels. Tumour fills about
one slice in ten and one voxel in ten thousand, so slices with tumour are drawn more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import imgaug.augmenters as iaa
import numpy as np
import pytorch_lightning as pl
import torch
from imgaug.augmentables.segmaps import SegmentationMapsOnImage
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler, get_worker_info

from .errors import SplitError
from .preprocessing import SliceStack, open_stack, prepare, stacks_dir
from .recipes import Augmentation, Recipe
from .sources import ensure_dataset, find_cases


@dataclass(frozen=True)
class Split:
    """Patient ids by role. No patient is in two roles; the test patients are touched once, in 05."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def split_patients(ids: Sequence[str], recipe: Recipe) -> Split:
    """Split patients, not slices, by the recipe's fractions and seed.

    Ids are sorted first, so the split does not depend on the order in which a file system
    lists them. Raises :class:`SplitError` for fewer than three patients or repeated ids.
    """
    ordered = sorted(set(ids))
    if len(ordered) < len(ids):
        raise SplitError("a patient id occurs twice; rename one, or slices of one patient leak between roles")
    if len(ordered) < 3:
        raise SplitError(f"{len(ordered)} labelled patients: training, validation and test need at least one each")
    order = np.random.default_rng(recipe.seed).permutation(len(ordered))
    test = max(1, round(recipe.test_fraction * len(ordered)))
    validation = max(1, min(round(recipe.validation_fraction * len(ordered)), len(ordered) - test - 1))
    shuffled = [ordered[index] for index in order]
    parts = shuffled[test + validation :], shuffled[test : test + validation], shuffled[:test]
    return Split(*(tuple(sorted(part)) for part in parts))


def open_split(
    data: str | Path | None, recipe: Recipe, workers: int | None = None
) -> tuple[Split, dict[str, list[SliceStack]], list[str]]:
    """Open a data set's labelled patients by role, after making and preparing what is missing.

    ``data`` is a name or a path as in :func:`~lungseg_helpers.sources.dataset_root`. Returns
    the split, the stacks of each of its roles, and one line for each case that could not
    be used. The split is drawn from all labelled cases, so that one bad scan moves
    nobody else to another role.
    """
    root = ensure_dataset(data)
    cases = [case for case in find_cases(root) if case.label is not None]
    split = split_patients([case.id for case in cases], recipe)
    folders, problems = prepare(cases, recipe, stacks_dir(root, recipe), workers)
    opened = {folder.name: open_stack(folder) for folder in folders}
    stacks = {role: [opened[id] for id in ids if id in opened] for role, ids in asdict(split).items()}
    for role, found in stacks.items():
        if not found:
            raise SplitError(f"{root}: no usable patient for {role}: {'; '.join(problems)}")
    return split, stacks, problems


def context_offsets(recipe: Recipe, slice_mm: float) -> list[int]:
    """Return how many slices away each channel lies, for a scan with ``slice_mm`` between slices."""
    return [round(mm / slice_mm) for mm in recipe.context_mm]


def read_channels(stack: SliceStack, index: int, recipe: Recipe) -> np.ndarray:
    """Return slice ``index`` and its neighbours, (row, column, channel) float32 network input.

    At the ends of the scan the last slice stands in for the ones that are missing.
    """
    wanted = np.add(context_offsets(recipe, stack.grid.spacing[0]), index).clip(0, len(stack.ct) - 1)
    return np.stack([recipe.intensity(stack.ct[each]) for each in wanted], axis=-1)


def fit_frame(array: np.ndarray, frame: tuple[int, int], fill: float) -> np.ndarray:
    """Centre (row, column, …) in a frame of (rows, columns): padded with ``fill``, or cut where it is larger."""
    for axis, size in enumerate(frame):
        spare = size - array.shape[axis]
        if spare < 0:
            array = array.take(range(-spare // 2, -spare // 2 + size), axis=axis)
        elif spare > 0:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (spare // 2, spare - spare // 2)
            array = np.pad(array, widths, constant_values=fill)
    return array


def make_augmenter(settings: Augmentation, air: float) -> iaa.Augmenter:
    """Return the imgaug pipeline that moves image and mask together.

    Every parameter is given, because the defaults differ between releases of imgaug.
    Borders are filled with ``air``, the network input that air becomes: filling with 0
    would put water in the corners of a scan that is only divided. The mask is always
    moved with nearest neighbour and filled with background.
    """
    return iaa.Sequential(
        [
            iaa.Fliplr(settings.flip_left_right),
            iaa.Affine(
                scale=settings.scale,
                rotate=(-settings.rotate_deg, settings.rotate_deg),
                translate_percent={axis: (-settings.shift, settings.shift) for axis in "xy"},
                order=1,
                mode="constant",
                cval=air,
                backend="cv2",
            ),
            iaa.Sometimes(
                settings.elastic_probability,
                iaa.ElasticTransformation(
                    alpha=settings.elastic_alpha,
                    sigma=settings.elastic_sigma,
                    order=1,
                    mode="constant",
                    cval=air,
                ),
            ),
        ]
    )


def augment(
    image: np.ndarray, mask: np.ndarray, augmenter: iaa.Augmenter, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Move (row, column, channel) image and (row, column) mask together; vary the image's intensity.

    All randomness comes from ``rng``: imgaug is reseeded from it, so that every loader
    worker, epoch and slice draws its own numbers and the same seed draws them again.
    """
    augmenter.seed_(int(rng.integers(2**31)))
    image, moved = augmenter(image=image, segmentation_maps=SegmentationMapsOnImage(mask, shape=mask.shape))
    mask = moved.get_arr()
    image = image * np.float32(1 + rng.uniform(-settings.contrast, settings.contrast))
    image += np.float32(rng.uniform(-settings.brightness, settings.brightness))
    if settings.noise:
        image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, settings.noise))
    return image, mask.astype(np.uint8, copy=False)


class SliceDataset(Dataset):
    """All slices of some patients. Item: (channels, rows, columns) float32, (1, rows, columns) float32, patient number.

    The patient number indexes ``stacks`` and lets validation count per patient. With
    ``augmented=True`` each item is moved and varied as the recipe says, by random numbers
    that follow torch's seed.
    """

    def __init__(self, stacks: Sequence[SliceStack], recipe: Recipe, augmented: bool = False) -> None:
        self.stacks = list(stacks)
        self.recipe = recipe
        self.index = [(number, each) for number, stack in enumerate(self.stacks) for each in range(len(stack.ct))]
        self.settings = recipe.augmentation if augmented else None
        self.augmenter = make_augmenter(self.settings, recipe.intensity.air) if self.settings else None
        self.rng: np.random.Generator | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def has_tumour(self) -> np.ndarray:
        """Bool array (slices,): which items hold tumour; from ``case.json``, so no scan is read."""
        flags = []
        for stack in self.stacks:
            held = np.zeros(len(stack.ct), bool)
            held[stack.tumour_slices] = True
            flags.append(held)
        return np.concatenate(flags)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        number, index = self.index[item]
        stack = self.stacks[number]
        image = fit_frame(read_channels(stack, index, self.recipe), self.recipe.frame, self.recipe.intensity.air)
        mask = np.zeros(stack.ct.shape[1:], np.uint8) if stack.mask is None else np.asarray(stack.mask[index])
        mask = fit_frame(mask, self.recipe.frame, 0)
        if self.augmenter is not None:
            image, mask = augment(image, mask, self.augmenter, self.settings, self._own_rng())
        image = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
        return torch.from_numpy(image), torch.from_numpy(mask[None].astype(np.float32)), number

    def _own_rng(self) -> np.random.Generator:
        # torch gives every worker of every epoch another seed (and, with no workers, the main
        # process its own): following it is what keeps forked workers from drawing the same numbers
        if self.rng is None:
            worker = get_worker_info()
            self.rng = np.random.default_rng(torch.initial_seed() if worker is None else worker.seed)
        return self.rng


def tumour_weights(has_tumour: np.ndarray, tumour_fraction: float) -> np.ndarray:
    """Return a sampling weight for each slice so that ``tumour_fraction`` of all draws hold tumour.

    Raises :class:`SplitError` where one of the two kinds of slices does not occur.
    """
    positives = int(has_tumour.sum())
    if positives in (0, len(has_tumour)):
        raise SplitError(
            f"{positives} of {len(has_tumour)} training slices hold tumour: oversampling needs both kinds; "
            "check the labels with 'lungseg check'"
        )
    return np.where(has_tumour, tumour_fraction / positives, (1 - tumour_fraction) / (len(has_tumour) - positives))


class LungDataModule(pl.LightningDataModule):
    """Training and validation loaders for prepared patients.

    ``train`` and ``validation`` are lists of stacks. Training draws
    ``recipe.slices_per_epoch`` slices with replacement, oversampling tumour; validation
    reads every slice of every patient once, in order.
    """

    def __init__(
        self, train: Sequence[SliceStack], validation: Sequence[SliceStack], recipe: Recipe, workers: int = 0
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.workers = workers
        self.train_set = SliceDataset(train, recipe, augmented=True)
        self.validation_set = SliceDataset(validation, recipe)

    def train_dataloader(self) -> DataLoader:
        weights = tumour_weights(self.train_set.has_tumour, self.recipe.tumour_fraction)
        sampler = WeightedRandomSampler(
            weights.tolist(),
            self.recipe.slices_per_epoch,
            generator=torch.Generator().manual_seed(self.recipe.seed),
        )
        return self._loader(self.train_set, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.validation_set)

    def _loader(self, dataset: SliceDataset, **options) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=self.recipe.batch_size,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
