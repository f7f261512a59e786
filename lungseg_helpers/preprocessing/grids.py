"""The stack's grid: which part of a scan is kept, how finely its slices are drawn, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import ScanError
from ..hounsfield import AIR_HU
from ..recipe import Recipe
from ..scans.lungs import lung_box

MAX_HU = 3071
"""Top of the 12-bit CT scale; metal and faulty voxels above it are clipped."""

ROUNDS = 2
"""How often what the way back to the scan blurs is put right; more brings nothing."""

OVERSHOOT = 25.0
"""Interpolated and put right, a value cannot exceed the largest of its slice by this factor: a cubic of OpenCV
can by (1 + 3/8)² = 1.9, and each round by 1.9 times what it corrects."""


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

    @property
    def box_slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into an oriented array."""
        return tuple(slice(*side) for side in self.box)  # type: ignore[return-value]

    @property
    def scan_spacing(self) -> tuple[float, float, float]:
        """The scan's own mm per step, (slice, row, column)."""
        sides = zip(self.spacing, self.shape, self.box, strict=True)
        return tuple(mm * size / (last - first) for mm, size, (first, last) in sides)  # type: ignore[return-value]

    @property
    def voxel_ml(self) -> float:
        """The volume in mL of one of the scan's own voxels."""
        return float(np.prod(self.scan_spacing)) / 1000


def make_grid(
    ct: np.ndarray,
    spacing: tuple[float, float, float],
    recipe: Recipe,
    name: str = "scan",
    lungs: np.ndarray | None = None,
) -> Grid:
    """Choose which part of an oriented scan is kept and how finely its slices are drawn.

    ``ct`` is (slice, row, column) in HU, ``spacing`` in mm in the same order; ``lungs``
    spares a second search where the caller has :func:`~lungseg_helpers.scans.lungs.find_lungs` of this scan. Raises
    :class:`ScanError` where nothing would be left: no lung is found, or 30 slices or fewer.
    """
    if recipe.crop == "lungs":
        box = lung_box(ct, spacing, recipe.crop_margin_mm, name, lungs)
    elif recipe.crop == "none":
        box = tuple((0, size) for size in ct.shape)
    else:
        if ct.shape[0] <= 30:
            raise ScanError(f"{name}: {ct.shape[0]} slices, and this recipe drops the first 30; use crop='lungs'")
        box = ((30, ct.shape[0]), (0, ct.shape[1]), (0, ct.shape[2]))
    sizes = [last - first for first, last in box]
    if recipe.pixel_mm is None:
        rows, columns = recipe.frame
    else:
        rows, columns = (max(1, round(sizes[axis] * spacing[axis] / recipe.pixel_mm)) for axis in (1, 2))
    slices = sizes[0] if recipe.slice_mm is None else max(1, round(sizes[0] * spacing[0] / recipe.slice_mm))
    stack_spacing = (sizes[0] * spacing[0] / slices, sizes[1] * spacing[1] / rows, sizes[2] * spacing[2] / columns)
    return Grid(tuple(ct.shape), box, (slices, rows, columns), stack_spacing)  # type: ignore[arg-type]


def ct_to_grid(ct: np.ndarray, grid: Grid) -> np.ndarray:
    """Crop and resize an oriented scan (slice, row, column) to the grid: int16 HU, from air to the scale's top.

    An axis that shrinks is averaged over the length of each new pixel, so that noise falls as it
    would in a coarser scan; an axis that grows is interpolated linearly.
    """
    rows, columns = grid.shape[1:]
    cropped = ct[grid.box_slices]
    resized = np.empty((len(cropped), rows, columns), np.int16)
    for target, plane in zip(resized, cropped, strict=True):
        # plane by plane, so that the working copy stays in the processor's cache
        plane = np.minimum(np.maximum(plane, AIR_HU), MAX_HU)  # five times as fast as np.clip
        whole = plane if plane.dtype == np.int16 else np.rint(plane).astype(np.int16)
        target[:] = _resized(whole, rows, columns, cv2.INTER_LINEAR)
    return _along_z(resized, grid.shape[0], cv2.INTER_LINEAR)


def mask_to_grid(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Crop an oriented mask (slice, row, column; 0 and 1) and return the share of each grid pixel that it covers.

    uint8: 0 is none of the pixel's area, 255 all of it. The share is counted, not interpolated,
    and it keeps the outline more finely than the grid's pixels could: a mask of 0 and 1 on a
    coarse grid comes back with steps.
    """
    rows, columns = grid.shape[1:]
    cropped = mask[grid.box_slices]
    shares = np.zeros((len(cropped), rows, columns), np.uint8)
    for index in np.flatnonzero(cropped.any(axis=(1, 2))):
        plane = np.multiply(cropped[index], 255, dtype=np.uint8, order="C")
        shares[index] = _resized(plane, rows, columns, cv2.INTER_AREA)
    return _along_z(shares, grid.shape[0], cv2.INTER_AREA)


def _along_z(array: np.ndarray, slices: int, growing: int) -> np.ndarray:
    """Return (slice, row, column) with so many ``slices``, resized as :func:`_resized` resizes a plane's rows."""
    if slices == len(array):
        return array
    resized = np.empty((slices, *array.shape[1:]), array.dtype)
    for row in range(array.shape[1]):
        plane = np.ascontiguousarray(array[:, row])
        resized[:, row] = _resized(plane, slices, array.shape[2], growing)
    return resized


def _resized(plane: np.ndarray, rows: int, columns: int, growing: int) -> np.ndarray:
    """Return a plane with ``rows`` and ``columns``: averaged along an axis that shrinks, else by the way ``growing``.

    OpenCV's INTER_AREA averages only where no axis grows, and interpolates both where one does.
    So where one axis shrinks and the other grows, they are resized one after the other. Where
    an axis grows, INTER_AREA is right for masks: it counts the share of each old pixel in a new one.
    """
    if rows > plane.shape[0] and columns < plane.shape[1]:
        plane = cv2.resize(plane, (columns, plane.shape[0]), interpolation=cv2.INTER_AREA)
    elif rows < plane.shape[0] and columns > plane.shape[1]:
        plane = cv2.resize(plane, (plane.shape[1], rows), interpolation=cv2.INTER_AREA)
    shrinks = rows <= plane.shape[0] and columns <= plane.shape[1]
    return cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else growing)


def from_grid(array: np.ndarray, grid: Grid, threshold: float | None = None) -> np.ndarray:
    """Send a float32 map (slice, row, column) of 0 to 1, such as probabilities, back to the scan; 0 outside the box.

    A pixel's value stands for the mean over its area, so the map that is sought has these means.
    Interpolation alone blurs small outlines and makes them shrink; here its means are taken,
    and what they miss is added, twice (iterative back-projection: Irani and Peleg, CVGIP 53:231,
    1991). With a ``threshold`` the result is a uint8 mask of where values exceed it, made slice
    by slice so that no full-size float map is held.
    """
    full = np.zeros(grid.oriented_shape, np.float32 if threshold is None else np.uint8)
    for place, plane in _on_scan(array, grid, threshold or 0.0):
        full[place] = plane.clip(0, 1) if threshold is None else plane > threshold
    return full


def share_from_grid(array: np.ndarray, grid: Grid) -> np.ndarray:
    """Send a map back as :func:`from_grid` does, in 255ths: uint8, so a quarter of the memory."""
    full = np.zeros(grid.oriented_shape, np.uint8)
    for place, plane in _on_scan(array, grid, 0.5 / 255):
        full[place] = np.rint(255 * plane.clip(0, 1))
    return full


def values_from_grid(array: np.ndarray, grid: Grid, mask: np.ndarray) -> np.ndarray:
    """Send a map back as :func:`from_grid` does, for a mask's voxels alone: float32, in the order of ``map[mask > 0]``.

    ``mask`` is (slice, row, column) of the whole oriented scan, empty outside the grid's box.
    """
    values = [np.zeros(0, np.float32)]
    for place, plane in _on_scan(array, grid, 0.0, mask.any(axis=(1, 2))):
        values.append(plane[mask[place] > 0].clip(0, 1))
    return np.concatenate(values)


def _on_scan(
    array: np.ndarray, grid: Grid, least: float, wanted: np.ndarray | None = None
) -> Iterator[tuple[tuple, np.ndarray]]:
    """Yield where each plane lies in the scan, and the plane as float32; none that nowhere exceeds ``least``.

    ``wanted`` says of each of the scan's slices whether it is asked for.
    """
    slices, rows, columns = grid.box
    size = (columns[1] - columns[0], rows[1] - rows[0])
    for index, plane in enumerate(_scan_slices(array, slices[1] - slices[0]), slices[0]):
        if (wanted is None or wanted[index]) and plane.max() * OVERSHOOT > least:
            yield (index, slice(*rows), slice(*columns)), _enlarged(np.ascontiguousarray(plane, np.float32), size)


def _scan_slices(array: np.ndarray, slices: int) -> np.ndarray:
    """Return a map (slice, row, column) in so many ``slices`` of the scan: enlarged, or averaged where they are fewer.

    What is not resampled along z is returned as it is.
    """
    if slices <= len(array):
        return _along_z(array, slices, cv2.INTER_AREA)
    planes = (np.ascontiguousarray(array[:, row], np.float32) for row in range(array.shape[1]))
    return np.stack([_enlarged(plane, (array.shape[2], slices)) for plane in planes], axis=1)


def _enlarged(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a plane resized to (columns, rows) so that its means over the old pixels are the old values."""
    enlarged = cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC)
    for _ in range(ROUNDS):
        missed = plane - _resized(enlarged, *plane.shape, cv2.INTER_AREA)
        enlarged += cv2.resize(missed, size, interpolation=cv2.INTER_CUBIC)
    return enlarged
