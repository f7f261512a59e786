"""Reading one NIfTI file so that nothing bad gets in.

Common readers stop as soon as they have the voxels, before the end of the gzip stream,
so a flipped byte or a cut file goes unnoticed. :func:`read_scan` reads the stream to its
end (length and CRC), holds the header against the file's size before any memory is
taken, and answers every fault with one :class:`~lungseg_helpers.errors.ScanError`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib, isal_zlib

from .errors import ScanError

GZIP_MAGIC = b"\x1f\x8b"

MAX_INFLATION = 1032
"""Deflate cannot shrink data further than 1032 : 1 (zlib's technical notes, "Maximum Compression Factor")."""

MAX_BYTES = 2**32
"""Room for 1024 × 1024 × 2048 voxels of int16: beyond it the header is wrong, or the file a bomb."""

MAX_OFFSET = 2**24
"""Where voxels may start at the latest: header extensions hold comments, not megabytes."""

SPACING_RANGE_MM = (0.01, 100.0)
"""Outside this range a spacing is not in mm, or not a spacing."""

_HEADERS = {348: (nib.Nifti1Header, b"n+1\0"), 540: (nib.Nifti2Header, b"n+2\0")}


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
        """Distance between voxel centres in mm along x, y, z of ``voxels``."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def axcodes(self) -> tuple[str, str, str]:
        """The direction in which each axis of ``voxels`` grows, such as ``('L', 'A', 'S')``."""
        return nib.aff2axcodes(self.affine)


def read_scan(path: str | Path, kind: str = "image") -> Scan:
    """Read one ``.nii`` or ``.nii.gz`` file whole; ``kind`` is ``"image"`` or ``"label"``.

    The header's slope and intercept are applied. A trailing axis of length 1 is dropped.

    Raises
    ------
    ScanError
        Where the file is missing, unreadable, damaged, not three-dimensional NIfTI, has no
        usable geometry, holds NaN or infinity, or (labels) values other than 0…255.
    """
    if kind not in ("image", "label"):
        raise ValueError(f"kind is {kind!r}; use 'image' or 'label'")
    path = Path(path)
    raw, header = _read_file(path)
    slope, inter = _scaling(path, header)
    affine = _affine(path, header)
    voxels = _labels(path, raw, slope, inter) if kind == "label" else _hounsfield(path, raw, slope, inter)
    # What nibabel's own loader does: the header now describes the voxels, not the file.
    header.set_data_offset(0)
    header.set_slope_inter(None, None)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    return Scan(path, voxels, affine, header)


def _fail(path: Path, fault: str, remedy: str) -> NoReturn:
    raise ScanError(f"{path}: {fault}; {remedy}")


# --------------------------------------------------------------------------- bytes


def _read_file(path: Path) -> tuple[np.ndarray, nib.Nifti1Header]:
    """Return the stored voxels (x, y, z), unscaled, and the header of the file."""
    copy_again = "copy or download it again"
    if path.is_dir():
        _fail(path, "is a folder, not a file", "name the NIfTI file in it")
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        _fail(path, "is not named .nii or .nii.gz", "give a NIfTI file, or convert this one to NIfTI")
    try:
        if path.exists() and not path.is_file():
            _fail(path, "is not a regular file", "give a NIfTI file")
        with path.open("rb") as file:
            magic = file.read(2)
            size = file.seek(0, 2)
            file.seek(0)
            zipped = path.name.lower().endswith(".gz")
            if size == 0:
                _fail(path, "is empty", copy_again)
            if zipped and magic != GZIP_MAGIC:
                _fail(path, "is not gzip although its name ends in .gz", f"{copy_again}, or drop the .gz")
            if not zipped and magic == GZIP_MAGIC:
                _fail(path, "is gzip although its name ends in .nii", "rename it to .nii.gz")
            if not zipped:
                return _read_stream(path, file, size)
            with igzip.IGzipFile(fileobj=file, mode="rb") as stream:
                return _read_stream(path, stream, size * MAX_INFLATION)
    except FileNotFoundError:
        _fail(path, "does not exist", "check the path")
    except PermissionError:
        _fail(path, "may not be read by this user", "change its permissions")
    except EOFError:
        _fail(path, "is cut short: its gzip stream has no end", copy_again)
    except igzip.BadGzipFile as error:
        if "CRC" in str(error) or "length" in str(error).lower():
            _fail(path, "is damaged: its gzip check sum is wrong", copy_again)
        _fail(path, "has bytes after its gzip stream that are not gzip", copy_again)
    except (igzip_lib.error, isal_zlib.error):
        _fail(path, "is damaged: its gzip stream cannot be inflated", copy_again)
    except MemoryError:
        _fail(path, "does not fit into memory", "close other programs, or resample it first")
    except OSError as error:
        _fail(path, f"cannot be read ({error.strerror or error})", "check the disk and the path")


def _read_stream(path: Path, stream: BinaryIO, most: int) -> tuple[np.ndarray, nib.Nifti1Header]:
    """Read header and voxels from an open stream that can yield ``most`` bytes at the very most."""
    header = _read_header(path, stream)
    shape = _shape(path, header)
    dtype = header.get_data_dtype()
    offset = float(header["vox_offset"])
    first = int(header["sizeof_hdr"]) + 4
    if not (first <= offset <= MAX_OFFSET and offset == int(offset)):
        _fail(path, f"has a voxel offset of {offset:g} in its header", "it is damaged: export it again")
    size = math.prod(shape) * dtype.itemsize
    if int(offset) + size > min(most, MAX_BYTES):
        _fail(path, f"has impossible sizes in its header ({' × '.join(map(str, shape))} voxels)",
              "it is damaged: export it again")

    extensions = int(offset) - int(header["sizeof_hdr"])
    found = len(stream.read(extensions))
    data = np.empty(size, dtype=np.uint8)
    found = found - extensions + stream.readinto(memoryview(data))
    if found < size:
        _fail(path, f"ends {size - found} bytes before its last voxel", "copy or download it again")
    # Only a read past the last voxel makes the inflater compare the check sum.
    if stream.read(1):
        _fail(path, "goes on after its last voxel: header and voxels disagree", "export it again")
    return data.view(dtype).reshape(shape, order="F"), header


def _read_header(path: Path, stream: BinaryIO) -> nib.Nifti1Header:
    not_nifti = "give a NIfTI file (.nii or .nii.gz)"
    size_bytes = stream.read(4)
    sizes = {int.from_bytes(size_bytes, "little"), int.from_bytes(size_bytes, "big")} & set(_HEADERS)
    if not sizes:
        _fail(path, "is not NIfTI", not_nifti)
    size = sizes.pop()
    kind, magic = _HEADERS[size]
    block = size_bytes + stream.read(size - 4)
    if len(block) < size:
        _fail(path, "is not NIfTI: it ends within the header", not_nifti)
    endianness = "<" if int.from_bytes(size_bytes, "little") == size else ">"
    header = kind(block, endianness=endianness, check=False)
    if block[344:348] != magic if size == 348 else block[4:8] != magic:
        _fail(path, "is not NIfTI in one file (no 'n+1' or 'n+2' mark)", not_nifti)
    code = int(header["datatype"])
    if code not in nib.nifti1.data_type_codes.dtype:
        _fail(path, f"has the unknown data type code {code}", "export it again as int16")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or not 1 <= dtype.itemsize <= 8:
        _fail(path, f"holds {nib.nifti1.data_type_codes.label[code]} voxels, not plain numbers",
              "export it again as int16")
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        _fail(path, f"has {int(header['bitpix'])} bits a voxel but the data type {dtype.name}",
              "its header is damaged: export it again")
    return header


def _shape(path: Path, header: nib.Nifti1Header) -> tuple[int, ...]:
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        _fail(path, f"has impossible sizes in its header ({axes} axes)", "it is damaged: export it again")
    shape = tuple(int(n) for n in header["dim"][1 : axes + 1])
    if min(shape) < 1:
        _fail(path, f"has impossible sizes in its header {shape}", "it is damaged: export it again")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        _fail(path, f"is {len(shape)}-D {shape}, not 3-D", "give one volume of the series")
    if len(shape) < 3 or 1 in shape:
        _fail(path, f"is a 2-D image {shape}, not a volume", "give the whole scan")
    return shape


# --------------------------------------------------------------------------- geometry


def _affine(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    """Return the (4, 4) float64 voxel-to-mm map: sform where set, else qform."""
    remedy = "export it again from the DICOM series"
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        _fail(path, "does not say how the patient lies (sform and qform codes are 0)", remedy)
    zooms = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except (ValueError, nib.spatialimages.HeaderDataError, np.linalg.LinAlgError):
        _fail(path, "has an unusable orientation (qform) in its header", remedy)
    with np.errstate(all="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_RANGE_MM
    for values in (zooms, spacing):
        if not np.all((values >= low) & (values <= high)):
            _fail(path, f"has a spacing of {' × '.join(f'{v:g}' for v in values)} mm", remedy)
    if not np.isfinite(affine).all():
        _fail(path, "has an affine that is not finite", remedy)
    # The determinant of the unit axes is 1 for a right-angled grid and 0 for a flat one.
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        _fail(path, "has a singular affine (its axes lie in one plane)", remedy)
    return affine


# --------------------------------------------------------------------------- voxels


def _scaling(path: Path, header: nib.Nifti1Header) -> tuple[float, float]:
    """Return slope and intercept; NIfTI says that a slope of 0 (or none) means unscaled."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(inter)):
        _fail(path, f"has slope {slope:g} and intercept {inter:g} in its header", "export it again")
    return slope, inter


def _hounsfield(path: Path, raw: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """Return int16 (x, y, z) where every scaled value is an integer of that range, else float32."""
    unscaled = slope == 1 and inter == 0
    if unscaled and raw.dtype.kind != "f" and np.can_cast(raw.dtype, np.int16):
        return raw.astype(np.int16, copy=False)
    whole = _integers(path, raw, slope, inter, np.int16)
    if whole is not None:
        return whole
    values = np.empty(raw.shape, dtype=np.float32, order="F")
    with np.errstate(all="ignore"):
        for k in range(raw.shape[2]):
            values[..., k] = raw[..., k].astype(np.float64) * slope + inter
    if not np.isfinite(values).all():
        _fail(path, "holds NaN or infinite voxels", "export it again, or replace them with -1024")
    return values


def _labels(path: Path, raw: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """Return uint8 (x, y, z)."""
    if slope == 1 and inter == 0 and raw.dtype == np.uint8:
        return raw
    labels = _integers(path, raw, slope, inter, np.uint8)
    if labels is None:
        _fail(path, "holds values that are no labels (whole numbers from 0 to 255)", "export the label again")
    return labels


def _integers(path: Path, raw: np.ndarray, slope: float, inter: float, dtype: type) -> np.ndarray | None:
    """Return the scaled voxels as ``dtype``, or None where one of them is no integer of its range.

    Slice by slice, so that the float64 copy is small and stays in the processor's cache.
    """
    limits = np.iinfo(dtype)
    out = np.empty(raw.shape, dtype=dtype, order="F")
    with np.errstate(all="ignore"):
        for k in range(raw.shape[2]):
            values = raw[..., k].astype(np.float64) * slope + inter
            if not np.isfinite(values).all():
                _fail(path, "holds NaN or infinite voxels", "export it again, or replace them with -1024")
            if values.min() < limits.min or values.max() > limits.max or (np.rint(values) != values).any():
                return None
            out[..., k] = values
    return out
