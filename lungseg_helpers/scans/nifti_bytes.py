"""The bytes of one NIfTI file, read to the very end.

Common readers stop as soon as they have the voxels, before the end of the gzip stream,
so a flipped byte or a cut file goes unnoticed. :func:`read_nifti` reads the stream to its
end (length and check sum), and holds the header against the file's size before any
memory is taken, so neither a damaged size nor a decompression bomb can exhaust it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO, NoReturn

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib, isal_zlib

from ..errors import ScanError
from .case import NIFTI_ENDINGS

GZIP_MAGIC = b"\x1f\x8b"

MAX_INFLATION = 1032
"""Deflate cannot shrink data further than 1032 : 1 (zlib's technical notes, "Maximum Compression Factor")."""

MAX_BYTES = 2**32
"""Room for 1024 × 1024 × 2048 voxels of int16: beyond it the header is wrong, or the file a bomb."""

MAX_OFFSET = 2**24
"""Where voxels may start at the latest: header extensions hold comments, not megabytes."""

PIECE = 2**18
"""Bytes that are inflated at a time: a piece is copied to its place while it lies in the processor's cache."""

_HEADERS = {
    348: (nib.Nifti1Header, slice(344, 348), b"n+1\0"),
    540: (nib.Nifti2Header, slice(4, 12), b"n+2\0\r\n\x1a\n"),
}
"""By the header's first number, its length: its type, and the place and text of its single-file mark."""

_COPY_AGAIN = "copy or download it again"
_EXPORT_AGAIN = "it is damaged: export it again"
_OF_ITS_SCAN = "predict again from the same scan"


def reject(path: Path, fault: str, remedy: str) -> NoReturn:
    """Raise the :class:`ScanError` of this file: what is wrong with it, and what to do."""
    raise ScanError(f"{path}: {fault}; {remedy}")


def read_nifti(path: Path, voxels: int | None = None) -> tuple[np.ndarray, nib.Nifti1Header]:
    """Return the stored voxels (x, y, z; unscaled, in the stored type and byte order) and the header.

    A trailing axis of length 1 is dropped. Raises :class:`ScanError` for anything but a
    whole, undamaged ``.nii`` or ``.nii.gz`` file of one 3-D volume, and for one of more than
    ``voxels`` voxels, where they are given.
    """
    try:
        if path.is_dir():
            reject(path, "is a folder, not a file", "name the NIfTI file in it")
        if path.exists() and not path.name.lower().endswith(NIFTI_ENDINGS):
            reject(path, "is not named .nii or .nii.gz", "give a NIfTI file, or convert this one to NIfTI")
        if path.exists() and not path.is_file():
            reject(path, "is not a regular file", "give a NIfTI file")
        with path.open("rb") as file:
            magic = file.read(2)
            size = file.seek(0, 2)
            file.seek(0)
            zipped = path.name.lower().endswith(".gz")
            if size == 0:
                reject(path, "is empty", _COPY_AGAIN)
            if zipped and magic != GZIP_MAGIC:
                reject(path, "is not gzip although its name ends in .gz", f"{_COPY_AGAIN}, or drop the .gz")
            if not zipped and magic == GZIP_MAGIC:
                reject(path, "is gzip although its name ends in .nii", "rename it to .nii.gz")
            if not zipped:
                return _read_stream(path, file, size, voxels)
            with igzip.IGzipFile(fileobj=file, mode="rb") as stream:
                return _read_stream(path, stream, size * MAX_INFLATION, voxels)
    except FileNotFoundError:
        reject(path, "does not exist", "check the path")
    except PermissionError:
        reject(path, "may not be read by this user", "change its permissions")
    except EOFError:
        reject(path, "is cut short: its gzip stream has no end", _COPY_AGAIN)
    except igzip.BadGzipFile as error:
        if "CRC" in str(error) or "length" in str(error).lower():
            reject(path, "is damaged: its gzip check sum is wrong", _COPY_AGAIN)
        reject(path, "has bytes after its gzip stream that are not gzip", _COPY_AGAIN)
    except (igzip_lib.error, isal_zlib.error):
        reject(path, "is damaged: its gzip stream cannot be inflated", _COPY_AGAIN)
    except MemoryError:
        reject(path, "does not fit into memory", "close other programs, or resample it first")
    except OSError as error:
        reject(path, f"cannot be read ({error.strerror or error})", "check the disk and the path")


def _read_stream(path: Path, stream: BinaryIO, most: int, voxels: int | None) -> tuple[np.ndarray, nib.Nifti1Header]:
    """Read header and voxels from an open stream that can yield ``most`` bytes at the very most."""
    header = _read_header(path, stream)
    shape = _shape(path, header)
    if voxels is not None and math.prod(shape) > voxels:
        reject(path, f"has {' × '.join(map(str, shape))} voxels, more than the {voxels} of its scan", _OF_ITS_SCAN)
    dtype = header.get_data_dtype()
    offset = float(header["vox_offset"])
    first = int(header["sizeof_hdr"]) + 4
    if not (first <= offset <= MAX_OFFSET and offset == int(offset)):
        reject(path, f"has a voxel offset of {offset:g} in its header", _EXPORT_AGAIN)
    size = math.prod(shape) * dtype.itemsize
    if int(offset) + size > min(most, MAX_BYTES):
        reject(path, f"has impossible sizes in its header ({' × '.join(map(str, shape))} voxels)", _EXPORT_AGAIN)

    extensions = int(offset) - int(header["sizeof_hdr"])
    missing = extensions - len(stream.read(extensions))
    data = np.empty(size, dtype=np.uint8)
    missing += size - _fill(stream, data)
    if missing:
        reject(path, f"ends {missing} bytes before its last voxel", _COPY_AGAIN)
    # Only a read past the last voxel makes the inflater compare the check sum.
    if stream.read(1):
        reject(path, "goes on after its last voxel: header and voxels disagree", "export it again")
    return data.view(dtype).reshape(shape, order="F"), header


def _fill(stream: BinaryIO, data: np.ndarray) -> int:
    """Read a stream into ``data``, uint8 (bytes,), until either ends; return how many bytes were read."""
    read = 0
    while piece := stream.readinto(memoryview(data)[read:][:PIECE]):
        read += piece
    return read


def _read_header(path: Path, stream: BinaryIO) -> nib.Nifti1Header:
    not_nifti = "give a NIfTI file (.nii or .nii.gz)"
    size_bytes = stream.read(4)
    sizes = {int.from_bytes(size_bytes, "little"), int.from_bytes(size_bytes, "big")} & set(_HEADERS)
    if not sizes:
        reject(path, "is not NIfTI", not_nifti)
    size = sizes.pop()
    kind, place, mark = _HEADERS[size]
    block = size_bytes + stream.read(size - 4)
    if len(block) < size:
        reject(path, "is not NIfTI: it ends within the header", not_nifti)
    endianness = "<" if int.from_bytes(size_bytes, "little") == size else ">"
    header = kind(block, endianness=endianness, check=False)
    if block[place] != mark:
        reject(path, "is not NIfTI in one file (no 'n+1' or 'n+2' mark)", not_nifti)
    code = int(header["datatype"])
    if code not in nib.nifti1.data_type_codes.dtype:
        reject(path, f"has the unknown data type code {code}", "export it again as int16")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or not 1 <= dtype.itemsize <= 8:
        reject(
            path,
            f"holds {nib.nifti1.data_type_codes.label[code]} voxels, not plain numbers",
            "export it again as int16",
        )
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        reject(
            path,
            f"has {int(header['bitpix'])} bits a voxel but the data type {dtype.name}",
            "its header is damaged: export it again",
        )
    return header


def _shape(path: Path, header: nib.Nifti1Header) -> tuple[int, ...]:
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        reject(path, f"has impossible sizes in its header ({axes} axes)", _EXPORT_AGAIN)
    shape = tuple(int(n) for n in header["dim"][1 : axes + 1])
    if min(shape) < 1:
        reject(path, f"has impossible sizes in its header {shape}", _EXPORT_AGAIN)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        reject(path, f"is {len(shape)}-D {shape}, not 3-D", "give one volume of the series")
    if len(shape) < 3 or 1 in shape:
        reject(path, f"is a 2-D image {shape}, not a volume", "give the whole scan")
    return shape
