"""The stack's grid: which part of a scan is kept, how finely its slices are drawn, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .errors import ScanError
from .lungs import lung_box
from .recipes import Recipe


@dataclass(frozen=True)
class Grid:
    """Where a stack lies in its scan: enough to send a mask back.

    ``oriented_shape`` is the scan's shape in (slice, row, column) order, ``box`` the kept
    part of it as ((first, past the last), …) in voxels, ``shape`` the stack's shape and
    ``spacing`` its mm per step along each axis.
    """

    oriented_shape: tuple[int, int, int]
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]


def make_grid(ct: np.ndarray, spacing: tuple[float, float, float], recipe: Recipe, name: str = "scan") -> Grid:
    """Choose which part of an oriented scan is kept and how finely its slices are drawn.

    ``ct`` is (slice, row, column) in HU, ``spacing`` in mm in the same order. Raises
    :class:`ScanError` where nothing would be left: no lung is found, or 30 slices or fewer.
    """
    if recipe.crop == "lungs":
        box = lung_box(ct, spacing, recipe.crop_margin_mm, name)
    else:
        if ct.shape[0] <= 30:
            raise ScanError(f"{name}: {ct.shape[0]} slices, and this recipe drops the first 30; use crop='lungs'")
        box = ((30, ct.shape[0]), (0, ct.shape[1]), (0, ct.shape[2]))
    sizes = [last - first for first, last in box]
    if recipe.pixel_mm is None:
        rows, columns = recipe.frame
    else:
        rows, columns = (max(1, round(sizes[axis] * spacing[axis] / recipe.pixel_mm)) for axis in (1, 2))
    stack_spacing = (spacing[0], sizes[1] * spacing[1] / rows, sizes[2] * spacing[2] / columns)
    return Grid(tuple(ct.shape), box, (sizes[0], rows, columns), stack_spacing)  # type: ignore[arg-type]


def to_grid(array: np.ndarray, grid: Grid, mask: bool = False) -> np.ndarray:
    """Crop and resize an oriented array (slice, row, column) to the grid's shape.

    CT slices are averaged over the area of each new pixel when they shrink, so that noise
    falls as it would in a coarser scan; masks take the nearest voxel and stay 0/1.
    """
    (s0, s1), (r0, r1), (c0, c1) = grid.box
    cropped = array[s0:s1, r0:r1, c0:c1]
    rows, columns = grid.shape[1:]
    if cropped.shape[1:] == (rows, columns):
        return np.ascontiguousarray(cropped)
    shrinks = rows < cropped.shape[1]
    how = cv2.INTER_NEAREST_EXACT if mask else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = np.empty(grid.shape, array.dtype)
    for index, plane in enumerate(cropped):
        cv2.resize(np.ascontiguousarray(plane), (columns, rows), dst=resized[index], interpolation=how)
    return resized


def from_grid(array: np.ndarray, grid: Grid, threshold: float | None = None) -> np.ndarray:
    """Undo :func:`to_grid` for a float32 map (slice, row, column), such as probabilities; zero outside the box.

    Values are interpolated linearly. With a ``threshold`` the result is a uint8 mask of
    where they exceed it, made slice by slice so that no full-size float map is held.
    """
    (s0, _), (r0, r1), (c0, c1) = grid.box
    full = np.zeros(grid.oriented_shape, np.float32 if threshold is None else np.uint8)
    for index, plane in enumerate(array):
        plane = np.ascontiguousarray(plane, np.float32)
        plane = cv2.resize(plane, (c1 - c0, r1 - r0), interpolation=cv2.INTER_LINEAR)
        full[s0 + index, r0:r1, c0:c1] = plane if threshold is None else plane > threshold
    return full
