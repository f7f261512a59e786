"""A scan in, a mask out in that scan's own grid.

The scan takes the road that training scans took (orient, crop, resize), the network says
how likely each pixel is tumour, and the map is taken back the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from .dataset import fit_frame, read_channels
from .devices import choose_precision
from .errors import LungsegError
from .grids import from_grid
from .lungs import fill_holes, lung_mask
from .orientation import oriented, oriented_spacing, unoriented
from .preprocessing import SliceStack, make_stack
from .recipes import Recipe
from .scans import Scan, read_scan
from .sources import Case
from .unet import UNet

BASELINE_HU = -300
"""The trivial baseline calls everything denser than this, inside the lungs, a candidate."""


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one scan: ``mask`` uint8 in the scan's own (x, y, z) order, and the scan."""

    id: str
    mask: np.ndarray
    scan: Scan


def predict_stack(
    network: UNet, recipe: Recipe, stack: SliceStack, device: str = "cpu", batch_size: int = 16, progress: bool = False
) -> np.ndarray:
    """Return the tumour probability of every pixel of a stack: float32 (slice, row, column)."""
    network = network.to(device)
    shape = stack.ct.shape[1:]
    frame = tuple(max(sides) for sides in zip(shape, recipe.frame, strict=True))
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(choose_precision(device))
    probabilities = np.empty(stack.ct.shape, np.float32)
    starts = range(0, len(stack.ct), batch_size)
    for first in tqdm(starts, desc=f"predicting {stack.id}", unit="batch", leave=False, disable=not progress):
        indices = range(first, min(first + batch_size, len(stack.ct)))
        batch = _batch(stack, indices, recipe, frame).to(device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(torch.device(device).type, dtype=dtype, enabled=dtype is not None):
            logits = network(batch)
        found = logits[:, 0].float().sigmoid().cpu().numpy()
        for index, plane in zip(indices, found, strict=True):
            probabilities[index] = fit_frame(plane, shape, 0.0)
    return probabilities


def _batch(stack: SliceStack, indices: range, recipe: Recipe, frame: tuple[int, int]) -> torch.Tensor:
    slices = [fit_frame(read_channels(stack, index, recipe), frame, recipe.intensity.air) for index in indices]
    return torch.from_numpy(np.stack(slices))


def predict_case(network: UNet, recipe: Recipe, case: Case, device: str = "cpu", progress: bool = False) -> Prediction:
    """Read one scan and segment it. Raises :class:`ScanError` where the scan cannot be used."""
    scan = read_scan(case.image)
    stack = make_stack(Case(case.id, case.image), recipe, scan)
    probabilities = predict_stack(network, recipe, stack, device, progress=progress)
    mask = from_grid(probabilities, stack.grid, recipe.threshold)
    mask = drop_small(mask, float(np.prod(oriented_spacing(scan.affine))) / 1000, recipe.smallest_ml)
    return Prediction(case.id, unoriented(mask, scan.affine), scan)


def drop_small(mask: np.ndarray, voxel_ml: float, smallest_ml: float) -> np.ndarray:
    """Return a mask without its components (of 26-connected voxels) below ``smallest_ml``; uint8, any 3-D shape.

    ``voxel_ml`` is the volume of a voxel. No tumour of the data is so small, so what is
    dropped is a vessel's cross-section or the like.
    """
    found = np.zeros(mask.shape, np.uint8)
    # of a whole scan the labels alone would take a gigabyte: they are made of the part that holds something
    extents = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if len(extents[0]):
        box = tuple(slice(each[0], each[-1] + 1) for each in extents)
        labels, _ = ndimage.label(mask[box], np.ones((3, 3, 3)))
        large = np.bincount(labels.ravel()) * voxel_ml >= smallest_ml
        large[0] = False
        found[box] = large[labels]
    return found


def threshold_baseline(scan: Scan, closing_mm: float = 6.0) -> np.ndarray:
    """Return what needs no learning: the largest dense component inside the closed lungs.

    uint8 (x, y, z) in the scan's own grid. The lung mask is closed by ``closing_mm`` and
    its holes are filled slice by slice, so that nodules inside the lung and at its border
    belong to it; everything above :data:`BASELINE_HU` in it is a candidate; the largest
    component of 26-connected voxels is the answer. Without lungs or candidates the mask
    is empty.
    """
    ct = oriented(scan.voxels, scan.affine)
    spacing = oriented_spacing(scan.affine)
    steps = tuple(max(1, round(2.0 / step)) for step in spacing)
    inside = lung_mask(ct, spacing)[:: steps[0], :: steps[1], :: steps[2]]
    reach = [max(1, round(closing_mm / (step * mm))) for step, mm in zip(steps, spacing, strict=True)]
    for grow in (ndimage.maximum_filter, ndimage.minimum_filter):
        inside = grow(inside, size=[2 * each + 1 for each in reach])
    inside = fill_holes(inside)
    for axis, step in enumerate(steps):
        inside = inside.repeat(step, axis).take(range(ct.shape[axis]), axis=axis)
    dense = inside & (ct > BASELINE_HU)
    labels, count = ndimage.label(dense, structure=np.ones((3, 3, 3)))
    mask = np.zeros(ct.shape, np.uint8)
    if count:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask[labels == sizes.argmax()] = 1
    return unoriented(mask, scan.affine)


def save_mask(mask: np.ndarray, scan: Scan, path: Path) -> Path:
    """Write a mask (x, y, z) as uint8 NIfTI with the scan's affine, qform, sform and their codes.

    Written to a temporary name and renamed, so that no half file is left behind.
    """
    header = scan.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 1
    image = type_for(header)(np.ascontiguousarray(mask, np.uint8), None, header)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    try:
        nib.save(image, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def type_for(header: nib.Nifti1Header) -> type[nib.Nifti1Image]:
    """Return the nibabel image class that a header belongs to (NIfTI-1 or NIfTI-2)."""
    return nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image


def prediction_path(case: Case, folder: Path) -> Path:
    """Return where a case's mask goes: ``<scan name>_pred.nii.gz``."""
    return Path(folder) / f"{case.id}_pred.nii.gz"


def predict_cases(
    network: UNet, recipe: Recipe, cases: list[Case], folder: Path, device: str = "cpu", progress: bool = True
) -> Iterator[tuple[Case, Path | Exception]]:
    """Segment cases one after the other and write each mask; a scan that fails is yielded as its exception."""
    for case in tqdm(cases, desc="predicting", unit="scan", leave=False, disable=not progress):
        try:
            found = predict_case(network, recipe, case, device)
            yield case, save_mask(found.mask, found.scan, prediction_path(case, folder))
        except (LungsegError, OSError) as error:
            yield case, error
