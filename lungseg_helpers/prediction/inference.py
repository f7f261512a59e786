"""A scan in, a mask out in that scan's own grid.

The scan takes the road that training scans took (orient, crop, resize), the network says
how likely each pixel is tumour, and the map is taken back the same way. Files of any format,
and what is written, are the business of :mod:`~lungseg_helpers.prediction.files`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from torch import nn
from tqdm import tqdm

from ..dataset.augmentation import fit_frame
from ..dataset.slices import read_channels
from ..preprocessing.grids import share_from_grid, values_from_grid
from ..preprocessing.stacks import SliceStack, scan_stack
from ..recipe import Recipe
from ..scans.case import Case
from ..scans.lungs import lung_mask
from ..scans.masks import components, fill_holes
from ..scans.orientation import oriented, oriented_spacing, unoriented
from ..scans.scan import Scan, read_scan
from ..training.devices import autocast, named_operators
from ..training.windows import through_windows
from ..unet import MEMORY_FORMATS, UNet, folded
from .components import component_table
from .postprocessing import probabilities_to_mask

BASELINE_HU = -300
"""The trivial baseline calls everything denser than this, inside the lungs, a candidate."""

BATCH_SIZES = {"cpu": 4, "cuda": 16}
"""Slices per batch: a small one stays in a processor's cache, a large one fills a GPU."""

STEPS = ("preparing", "segmenting", "measuring")
"""What :func:`predict_case` does, one after the other."""


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one scan: ``mask`` uint8 in the scan's own (x, y, z) order, and the scan.

    ``components`` has a row per component, see :func:`~lungseg_helpers.prediction.components.component_table`.
    ``probability`` is uint8 of the mask's shape, in 255ths, where it was asked for.
    """

    id: str
    mask: np.ndarray
    scan: Scan
    components: pd.DataFrame
    probability: np.ndarray | None = None


def predict_stack(
    network: UNet,
    recipe: Recipe,
    stack: SliceStack,
    device: str = "cpu",
    batch_size: int | None = None,
    progress: bool = False,
    flips: bool = False,
) -> np.ndarray:
    """Return the tumour probability of every pixel of a stack: float32 (slice, row, column).

    With ``flips`` each slice is also looked at with left and right exchanged, and the two
    probabilities are averaged: no other flip makes a chest that training has seen. ``batch_size`` is by
    default what suits the device; a network of three dimensions sees the volume in windows instead, one at a time.
    """
    network = folded(network).to(device)
    if recipe.dims == 3:
        return _predict_volume(network, recipe, stack, device, flips)
    batch_size = batch_size or BATCH_SIZES.get(device, BATCH_SIZES["cuda"])
    shape = stack.ct.shape[1:]
    # as much air around the slice as validation had: with less, the shipped weights report more at the chest's edge
    frame = tuple(max(sides) for sides in zip(shape, recipe.frame, strict=True))
    probabilities = np.empty(stack.ct.shape, np.float32)
    starts = range(0, len(stack.ct), batch_size)
    for first in tqdm(starts, desc=f"predicting {stack.id}", unit="batch", leave=False, disable=not progress):
        indices = range(first, min(first + batch_size, len(stack.ct)))
        batch = _batch(stack, indices, recipe, frame).to(device, memory_format=MEMORY_FORMATS[2])
        likely = _likely(network, batch, device, flips)
        for index, plane in zip(indices, likely[:, 0].cpu().numpy(), strict=True):
            probabilities[index] = fit_frame(plane, shape, 0.0)
    return probabilities


def _predict_volume(network: nn.Module, recipe: Recipe, stack: SliceStack, device: str, flips: bool) -> np.ndarray:
    volume = torch.from_numpy(recipe.intensity(stack.ct))[None, None].to(device)

    def whole(volumes: torch.Tensor) -> torch.Tensor:
        return through_windows(
            lambda window: network(window.contiguous(memory_format=MEMORY_FORMATS[3])), volumes, recipe
        )

    return _likely(whole, volume, device, flips)[0, 0].cpu().numpy()


def _likely(
    network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, device: str, flips: bool
) -> torch.Tensor:
    """Return the probabilities of images (N, channels, …, columns), of the mirrored ones too with ``flips``."""
    with torch.inference_mode(), autocast(device), named_operators(device):
        likely = network(images).float().sigmoid()
        if flips:
            likely = (likely + network(images.flip(-1)).float().sigmoid().flip(-1)) / 2
    return likely


def _batch(stack: SliceStack, indices: range, recipe: Recipe, frame: tuple[int, int]) -> torch.Tensor:
    slices = [fit_frame(read_channels(stack, index, recipe), frame, recipe.intensity.air) for index in indices]
    return torch.from_numpy(np.stack(slices))


def predict_case(
    network: UNet,
    recipe: Recipe,
    case: Case,
    device: str = "cpu",
    progress: bool = False,
    flips: bool = False,
    probability: bool = False,
    scan: Scan | None = None,
    report: Callable[[str], None] = lambda step: None,
) -> Prediction:
    """Read one scan and segment it. Raises :class:`ScanError` where the scan cannot be used.

    ``flips`` as in :func:`predict_stack`; ``probability`` asks for the probabilities beside the mask. ``scan`` spares
    a second reading where the caller has read ``case.image`` already. ``report`` is told each of :data:`STEPS` as it
    begins.
    """
    prepare, segment, measure = STEPS
    report(prepare)
    scan = scan or read_scan(case.image)
    stack = scan_stack(Case(case.id, case.image), recipe, scan)
    report(segment)
    probabilities = predict_stack(network, recipe, stack, device, progress=progress, flips=flips)
    report(measure)
    mask = probabilities_to_mask(probabilities, stack, recipe)
    table = component_table(scan, mask, values_from_grid(probabilities, stack.grid, mask))
    share = unoriented(share_from_grid(probabilities, stack.grid), scan.affine) if probability else None
    return Prediction(case.id, unoriented(mask, scan.affine), scan, table, share)


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
        inside = grow(inside, size=[2 * steps_out + 1 for steps_out in reach])
    inside = fill_holes(inside)
    for axis, step in enumerate(steps):
        inside = inside.repeat(step, axis).take(range(ct.shape[axis]), axis=axis)
    dense = inside & (ct > BASELINE_HU)
    labels, count = components(dense)
    mask = np.zeros(ct.shape, np.uint8)
    if count:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask[labels == sizes.argmax()] = 1
    return unoriented(mask, scan.affine)
