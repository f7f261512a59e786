"""DICOM series of CT slices, whatever order and company they arrive in, as volumes in HU.

Headers are read by pydicom, pixels by SimpleITK, whose GDCM knows the compressed transfer
syntaxes. What a volume needs, and a folder of slices may lack, is checked here: one
orientation, no slice missing or there twice, and slices that stand upright on each other.
Attributes and their meaning: DICOM PS3.3, C.7.6.2 (image plane) and C.8.2.1 (CT image).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.uid import UID
from scipy import ndimage

from ..errors import ScanError
from ..hounsfield import AIR_HU
from .dicom_headers import Series, Slice
from .itk import itk_name

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM counts mm to the left, back and head; NIfTI to the right, front and head."""

STEP_TOLERANCE = 0.1
"""Share of a slice step by which steps may differ: rounding of positions, never a slice."""

SHIFT_TOLERANCE = 0.5
"""Pixels by which slices may slide sideways over a whole stack before that is a gantry tilt."""


@dataclass(frozen=True)
class Volume:
    """A series as a volume: ``voxels`` (x, y, z) int16 or float32 in HU, ``affine`` (4, 4) to RAS mm, what was done."""

    voxels: np.ndarray
    affine: np.ndarray
    notes: tuple[str, ...]


def read_series(series: Series) -> Volume:
    """Read the slices in order of position and stack them; a tilted gantry's slices are set upright.

    Raises
    ------
    ScanError
        Where a slice is missing (between which files, and its number), there twice, shifted
        or cut short, or where the pixels cannot be decoded.
    """
    header = series.header
    row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=1e-3):
        raise ScanError(f"{series.name}: its rows and columns are not at right angles; export the series again")
    slices = sorted(series.slices, key=lambda file: float(file.position @ normal))
    positions = np.array([file.position for file in slices])
    _require_even_steps(series, slices, positions @ normal)
    pixel = np.array([float(header.PixelSpacing[1]), float(header.PixelSpacing[0])])
    # Sideways steps in pixels along x and y; they are 0 unless the gantry was tilted.
    sideways = (positions - positions[0]) @ np.stack([row, column], axis=1) / pixel
    per_slice = sideways[-1] / (len(slices) - 1)
    if np.abs(sideways - np.outer(np.arange(len(slices)), per_slice)).max() > SHIFT_TOLERANCE:
        raise ScanError(f"{series.name}: its slices are shifted against each other; export the series again")

    voxels, notes = _read_pixels(series, [file.path for file in slices])
    step = float((positions[-1] - positions[0]) @ normal) / (len(slices) - 1)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * pixel[0], column * pixel[1], normal * step], axis=1)
    affine[:3, 3] = positions[0]
    if np.abs(sideways[-1]).max() > SHIFT_TOLERANCE:
        voxels, first = _upright(voxels, per_slice)
        affine[:3, 3] -= affine[:3, :2] @ first
        angle = np.degrees(np.arctan(np.linalg.norm(per_slice * pixel) / step))
        notes.append(f"{series.name}: the gantry was tilted by {angle:.1f}°; the slices were set upright")
    return Volume(voxels, LPS_TO_RAS @ affine, tuple(notes))


def _require_even_steps(series: Series, slices: list[Slice], heights: np.ndarray) -> None:
    steps = np.diff(heights)
    step = float(np.median(steps))
    if doubles := np.flatnonzero(steps < max(step, 1e-3) * STEP_TOLERANCE).tolist():
        one, two = slices[doubles[0]].path.name, slices[doubles[0] + 1].path.name
        fault = f"holds {one} and {two} at the same place"
        raise ScanError(f"{series.name}: {fault}; keep one of them, or one scan a series")
    uneven = np.flatnonzero(np.abs(steps - step) > STEP_TOLERANCE * step)
    if not len(uneven):
        return
    below, above = slices[uneven[0]], slices[uneven[0] + 1]
    missing = steps[uneven[0]] / step - 1
    between = f"between {below.path.name} and {above.path.name}"
    if abs(missing - round(missing)) > STEP_TOLERANCE or missing < 0.5:
        span = f"{steps.min():.3g} to {steps.max():.3g} mm"
        raise ScanError(f"{series.name}: its slices are {span} apart, unevenly {between}; export the series again")
    numbers = sorted(_instance_number(file) for file in (below, above))
    gone = ", ".join(map(str, range(numbers[0] + 1, numbers[1])))
    what = f"slice {gone}" if gone and len(gone) < 40 else f"{round(missing)} slice(s)"
    at = f"{heights[uneven[0]] + step:.1f} mm"
    raise ScanError(f"{series.name}: lacks {what} {between}, at {at} along its axis; copy the series again")


def _instance_number(file: Slice) -> int:
    """Return a slice's number in its series, 0 where it has none that is a number."""
    try:
        return int(file.header.get("InstanceNumber") or 0)
    except (TypeError, ValueError):
        return 0


def _read_pixels(series: Series, paths: list[Path]) -> tuple[np.ndarray, list[str]]:
    """Return the voxels (x, y, z), rescaled where the files say how, and a note where they do not."""
    header = series.header
    for file in series.slices:
        meta = getattr(file.header, "file_meta", None)
        syntax = UID(meta.get("TransferSyntaxUID", "") if meta else "")
        least = file.header.Rows * file.header.Columns * file.header.get("BitsAllocated", 16) // 8
        plain = syntax.is_transfer_syntax and not syntax.is_compressed
        if plain and file.path.stat().st_size < least:
            raise ScanError(f"{file.path}: is cut short; copy or download it again")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([itk_name(path) for path in paths])
    if len({(file.header.get("RescaleSlope"), file.header.get("RescaleIntercept")) for file in series.slices}) > 1:
        reader.SetOutputPixelType(sitk.sitkFloat32)  # else that of the first slice, into which others may not fit
    try:
        voxels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        culprit = next((path for path in paths if not _readable(path)), paths[0].parent)
        raise ScanError(f"{culprit}: its pixels cannot be decoded; copy or download it again") from error
    if voxels.shape != (len(paths), header.Rows, header.Columns):
        raise ScanError(f"{series.name}: is not one grey value per pixel; export it as CT slices")
    notes = []
    if any("RescaleIntercept" not in file.header for file in series.slices):
        notes.append(f"{series.name}: has no rescale tags, so its numbers are taken as they are; check them")
        if voxels.min() >= 0:
            # Scanners store unsigned CT numbers with an offset of 1024; without air at 0 that is not what this is.
            if np.percentile(voxels, 5) > 200:
                raise ScanError(f"{series.name}: has no rescale tags and is not in HU; export it with them")
            voxels = voxels.astype(np.int32) + AIR_HU
            notes[-1] = f"{series.name}: has no rescale tags; the usual intercept of {AIR_HU} was taken"
    whole = np.issubdtype(voxels.dtype, np.integer) or np.array_equal(voxels, np.rint(voxels))
    fits = max(-int(voxels.min()) - 1, int(voxels.max())) < 2**15
    return voxels.astype(np.int16 if whole and fits else np.float32).transpose(2, 1, 0), notes


def _readable(path: Path) -> bool:
    try:
        sitk.ReadImage(str(path))
    except RuntimeError:
        return False
    return True


def _upright(voxels: np.ndarray, per_slice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slide slices back to where they were scanned; voxels (x, y, z) on a wider grid, and how far it begins before.

    ``per_slice`` is how many pixels each slice lies further along x and y than the one
    below. Linear in the plane; nothing is interpolated between slices.
    """
    count = voxels.shape[2]
    before = np.maximum(0, np.ceil(-per_slice * (count - 1)))
    wider = np.ceil(np.abs(per_slice) * (count - 1)).astype(int)
    upright = np.full((*np.add(voxels.shape[:2], wider), count), AIR_HU, voxels.dtype)
    plane = np.full(upright.shape[:2], AIR_HU, np.float32)
    for k in range(count):
        plane[: voxels.shape[0], : voxels.shape[1]] = voxels[..., k]
        moved = ndimage.shift(plane, before + k * per_slice, order=1, cval=AIR_HU)
        upright[..., k] = moved if voxels.dtype.kind == "f" else np.rint(moved)
    return upright, before
