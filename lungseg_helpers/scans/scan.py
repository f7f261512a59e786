"""Reading one NIfTI file so that nothing bad gets in: its geometry and its voxels.

:func:`read_scan` answers every fault with one
:class:`~lungseg_helpers.errors.ScanError`. The bytes themselves are read, and held
against the header and the gzip check sum, in :mod:`lungseg_helpers.scans.nifti_bytes`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from .nifti_bytes import read_nifti, reject
from .orientation import voxel_spacing

SPACING_RANGE_MM = (0.01, 100.0)
"""Outside this range a spacing is not in mm, or not a spacing."""

LONGEST_MM = 3000.0
"""No scan of a patient is longer: its spacing is wrong, and a grid of even steps over it would fill the memory."""

MAX_VALUE = 2**17
"""No CT number, in 16 bits with any usual offset, is as large: beyond it the data type in the header is wrong."""


@dataclass(frozen=True)
class Scan:
    """One scan or label map as it lies on disk.

    ``voxels`` is (x, y, z): int16 HU where that loses nothing, else float32; uint8 for
    labels; always in the machine's own byte order. ``affine`` is (4, 4) float64 and maps
    voxel indices to mm in the patient's right-to-left, posterior-to-anterior,
    inferior-to-superior directions (RAS+). ``header`` describes ``voxels``, so it
    can be handed to nibabel together with them.
    """

    path: Path
    voxels: np.ndarray
    affine: np.ndarray
    header: nib.Nifti1Header

    @property
    def spacing(self) -> tuple[float, float, float]:
        """The mm per voxel along x, y, z of ``voxels``; their product is a voxel's volume in mm³."""
        return voxel_spacing(self.affine)

    @property
    def axcodes(self) -> tuple[str, str, str]:
        """The direction in which each axis of ``voxels`` grows, such as ``('L', 'A', 'S')``."""
        return nib.aff2axcodes(self.affine)


def read_scan(path: str | Path, kind: str = "image", voxels: int | None = None) -> Scan:
    """Read one ``.nii`` or ``.nii.gz`` file whole; ``kind`` is ``"image"`` or ``"label"``.

    The header's slope and intercept are applied. A trailing axis of length 1 is dropped. ``voxels`` is how many
    the file may have, where the caller knows: a larger one is refused before it takes any memory.

    Raises
    ------
    ScanError
        Where the file is missing, unreadable, damaged, not three-dimensional NIfTI, has no
        usable geometry, is longer than :data:`LONGEST_MM`, has more voxels than ``voxels``, holds
        NaN, infinity or values beyond :data:`MAX_VALUE`, or (labels) values other than 0…255.
    """
    if kind not in ("image", "label"):
        raise ValueError(f"kind is {kind!r}; use 'image' or 'label'")
    path = Path(path)
    raw, header = read_nifti(path, voxels)
    # A damaged number is answered with a ScanError, so NumPy need not warn of it as well.
    with np.errstate(all="ignore"):
        slope, inter = _scaling(path, header)
        affine = _affine(path, header)
        if (longest := max(np.multiply(voxel_spacing(affine), raw.shape))) > LONGEST_MM:
            reject(path, f"is {longest / 1000:.1f} m long, so its spacing is wrong", "export it again")
        voxels = (_labels if kind == "label" else _hounsfield)(path, raw, slope, inter)
    # What nibabel's own loader does: the header now describes the voxels, not the file.
    header.set_data_offset(0)
    header.set_slope_inter(None, None)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    return Scan(path, voxels, affine, header)


def _affine(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    """Return the (4, 4) float64 voxel-to-mm map: sform where set, else qform."""
    remedy = "export it again from the DICOM series"
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        reject(path, "does not say how the patient lies (sform and qform codes are 0)", remedy)
    zooms = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except (ValueError, nib.spatialimages.HeaderDataError, np.linalg.LinAlgError):
        reject(path, "has an unusable orientation (qform) in its header", remedy)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_RANGE_MM
    for values in (zooms, spacing):
        if not np.all((values >= low) & (values <= high)):
            reject(path, f"has a spacing of {' × '.join(f'{v:g}' for v in values)} mm", remedy)
    if not np.isfinite(affine).all():
        reject(path, "has an affine that is not finite", remedy)
    # The determinant of the unit axes is 1 for a right-angled grid and 0 for a flat one.
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        reject(path, "has a singular affine (its axes lie in one plane)", remedy)
    return affine


def _scaling(path: Path, header: nib.Nifti1Header) -> tuple[float, float]:
    """Return slope and intercept; NIfTI says that a slope of 0 (or none) means unscaled."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(inter)):
        reject(path, f"has slope {slope:g} and intercept {inter:g} in its header", "export it again")
    return slope, inter


def _hounsfield(path: Path, raw: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """Return int16 (x, y, z) where every scaled value is an integer of that range, else float32."""
    whole = _whole(path, raw, slope, inter, np.int16)
    if whole is not None:
        return whole
    values = np.empty(raw.shape, dtype=np.float32, order="F")
    for k in range(raw.shape[2]):
        values[..., k] = raw[..., k].astype(np.float64) * slope + inter
    require_hu(path, values)
    return values


def require_hu(path: Path, values: np.ndarray) -> None:
    """Raise :class:`ScanError` where voxels are NaN, infinite or beyond :data:`MAX_VALUE`, which no scanner gives."""
    _require_finite(path, values)
    if (peak := max(-float(values.min()), float(values.max()))) > MAX_VALUE:
        reject(path, f"holds values as large as {peak:.3g}, so its header names a wrong data type", "export it again")


def _labels(path: Path, raw: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """Return uint8 (x, y, z)."""
    labels = _whole(path, raw, slope, inter, np.uint8)
    if labels is None:
        reject(path, "holds values other than whole numbers from 0 to 255", "export the label again")
    return labels


def _whole(path: Path, raw: np.ndarray, slope: float, inter: float, dtype: type) -> np.ndarray | None:
    """Return the scaled voxels as ``dtype``, or None where one of them is no integer of its range."""
    limits = np.iinfo(dtype)
    if slope == 1 and inter == 0 and np.can_cast(raw.dtype, dtype):
        return raw.astype(dtype, copy=False)
    out = np.empty(raw.shape, dtype=dtype, order="F")
    exact = slope.is_integer() and inter.is_integer() and max(abs(slope), abs(inter)) < 2**31
    if raw.dtype.kind != "f" and exact:
        ends = [int(slope) * int(end) + int(inter) for end in (raw.min(), raw.max())]
        if min(ends) < limits.min or max(ends) > limits.max:
            return None
        # int64 holds every step on the way, because the result and the intercept are known to be small.
        for k in range(raw.shape[2]):
            out[..., k] = raw[..., k].astype(np.int64) * int(slope) + int(inter)
        return out
    # Slice by slice: the float64 copy stays small enough for the processor's cache.
    for k in range(raw.shape[2]):
        values = raw[..., k].astype(np.float64) * slope + inter
        _require_finite(path, values)
        if values.min() < limits.min or values.max() > limits.max or (np.rint(values) != values).any():
            return None
        out[..., k] = values
    return out


def _require_finite(path: Path, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        reject(
            path,
            "holds NaN or infinite voxels",
            "export it again, or replace them by air (image) or 0 (label)",
        )
