"""Mutants of valid files: each is refused with a ScanError, or yields exactly the original voxels.

2,000 mutants in the suite, 20,000 by ``make fuzz`` (LUNGSEG_FUZZ=thorough).
"""

from __future__ import annotations

import gzip
import math
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lungseg_helpers.errors import ScanError
from lungseg_helpers.scans.case import Case
from lungseg_helpers.scans.checking import check_case
from lungseg_helpers.scans.scan import read_scan

COMMON = {
    # An example takes milliseconds; one that takes seconds is as good as hung.
    "deadline": timedelta(seconds=10),
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
    "database": None,
    "print_blob": True,
}
settings.register_profile("suite", max_examples=2_000, **COMMON)
settings.register_profile("thorough", max_examples=20_000, **COMMON)
PROFILE = settings.get_profile(os.environ.get("LUNGSEG_FUZZ", "suite"))

AFFINE = np.array([[-0.7, 0, 0, 90], [0, 0.8, 0, -70], [0, 0, 2.5, -340], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Original:
    """A valid file: its bytes before compression, what reading it yields, and its kind."""

    data: bytes
    voxels: np.ndarray
    kind: str
    header: nib.Nifti1Header


def original(dtype: str, form: type = nib.Nifti1Image, kind: str = "image", comment: bytes = b"") -> Original:
    low, high = (-1024, 3000) if kind == "image" else (0, 2)
    voxels = np.random.default_rng(7).integers(low, high, (7, 6, 5)).astype(dtype)
    image = form(voxels, AFFINE, dtype=voxels.dtype)
    image.header.set_data_dtype(voxels.dtype)
    if comment:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", comment))
    return Original(image.to_bytes(), voxels, kind, image.header)


ORIGINALS = [
    original("<i2"),
    original("<i2", nib.Nifti2Image),
    original("<i2", comment=b"where these voxels come from"),
    original("<f4"),
    original("<i4"),
    original("u1", kind="label"),
    original("<f8", kind="label"),
]


def place(file: Original, field: str) -> tuple[int, int]:
    """Return where a header field begins and ends."""
    dtype, start = file.header.template_dtype.fields[field]
    return start, start + dtype.itemsize


def read_field(file: Original, data: bytes, field: str) -> np.ndarray:
    dtype, start = file.header.template_dtype.fields[field]
    return np.frombuffer(data, dtype.base, count=math.prod(dtype.shape), offset=start)


def says_another_truth(file: Original, data: bytes) -> bool:
    """Say whether the header became that of another, equally valid file with the same bytes of voxels.

    Slope and intercept, the order of equal products of sizes, and signed against unsigned
    say what the voxels mean. Nothing in a NIfTI file contradicts another meaning, so no
    reader can tell it; what the check of a case makes of the last one is tested below. (The
    affine is free as well: it says where the voxels lie, not which they are.)
    """
    before, after = read_field(file, file.data, "dim"), read_field(file, data, "dim")
    sizes = [[int(size) for size in dim[1 : 1 + min(max(int(dim[0]), 0), 7)]] for dim in (before, after)]
    reshaped = sizes[0] != sizes[1] and math.prod(sizes[0]) == math.prod(sizes[1]) and len(sizes[0]) == len(sizes[1])
    scaled = any(
        read_field(file, data, field).tobytes() != read_field(file, file.data, field).tobytes()
        for field in ("scl_slope", "scl_inter")
    )
    types = {int(read_field(file, each, "datatype")[0]) for each in (file.data, data)}
    return reshaped or scaled or types == {4, 512}


def require_refused_or_same(path: Path, data: bytes, file: Original) -> None:
    path.write_bytes(data)
    try:
        scan = read_scan(path, file.kind)
    except ScanError as error:
        assert str(error).startswith(f"{path}: ") and "; " in str(error) and "\n" not in str(error)
    else:
        np.testing.assert_array_equal(scan.voxels, file.voxels)


FILES = st.sampled_from(ORIGINALS)
BYTES = st.one_of(st.sampled_from([0, 1, 2, 127, 128, 255]), st.integers(0, 255))


@st.composite
def bad_headers(draw: st.DrawFn) -> tuple[Original, bytes]:
    """Draw a file some of whose header is overwritten: single bytes, a whole field, or a stretch."""
    file = draw(FILES)
    data = bytearray(file.data)
    size = int(file.header["sizeof_hdr"])
    how = draw(st.sampled_from(["bytes", "field", "stretch"]))
    if how == "bytes":
        for position in draw(st.lists(st.integers(0, size + 3), min_size=1, max_size=4)):
            data[position] = draw(BYTES)
    elif how == "field":
        start, end = place(file, draw(st.sampled_from(file.header.template_dtype.names)))
        data[start:end] = draw(
            st.one_of(
                st.binary(min_size=end - start, max_size=end - start),
                BYTES.map(lambda value: bytes([value]) * (end - start)),
            )
        )
    else:
        start = draw(st.integers(0, size - 1))
        stretch = draw(st.binary(min_size=1, max_size=size - start))
        data[start : start + len(stretch)] = stretch
    assume(not says_another_truth(file, bytes(data)))
    return file, bytes(data)


@st.composite
def bad_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw bytes that are overwritten, cut, lengthened, shifted or repeated somewhere."""
    how = draw(st.sampled_from(["flip", "cut", "append", "insert", "delete", "repeat"]))
    start = draw(st.integers(0, len(data) - 1))
    if how == "flip":
        changed = bytearray(data)
        for position in [start, *draw(st.lists(st.integers(0, len(data) - 1), max_size=6))]:
            changed[position] ^= draw(st.integers(1, 255))
        return bytes(changed)
    if how == "cut":
        return data[:start]
    if how == "append":
        return data + draw(st.binary(min_size=1, max_size=40))
    if how == "insert":
        return data[:start] + draw(st.binary(min_size=1, max_size=40)) + data[start:]
    end = draw(st.integers(start + 1, len(data)))
    return data[:start] + data[end:] if how == "delete" else data[:end] + data[start:]


@st.composite
def mutants(draw: st.DrawFn) -> tuple[Original, bytes, str]:
    """Draw a file, the bytes to write in its place, and the ending of their name."""
    how = draw(st.sampled_from(["header", "header", "gzip", "gzip", "length", "name"]))
    if how == "header":
        file, data = draw(bad_headers())
        zipped = draw(st.booleans())
        return file, gzip.compress(data, 1, mtime=0) if zipped else data, ".nii.gz" if zipped else ".nii"
    file = draw(FILES)
    if how == "gzip":
        return file, draw(bad_bytes(gzip.compress(file.data, draw(st.sampled_from([0, 6])), mtime=0))), ".nii.gz"
    if how == "name":
        return file, gzip.compress(file.data, 1), ".nii"
    # Without a check sum a changed voxel is another valid file, but a changed length never is.
    end = draw(st.integers(0, len(file.data)))
    data = file.data[:end] if draw(st.booleans()) else file.data + draw(st.binary(min_size=1, max_size=40))
    zipped = draw(st.booleans())
    return file, gzip.compress(data, 1, mtime=0) if zipped else data, ".nii.gz" if zipped else ".nii"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutants")


@PROFILE
@given(mutant=mutants())
def test_a_mutant_is_refused_or_yields_the_original_voxels(folder: Path, mutant: tuple[Original, bytes, str]) -> None:
    file, data, ending = mutant
    require_refused_or_same(folder / f"mutant{ending}", data, file)


@pytest.mark.parametrize("number", range(len(ORIGINALS)))
def test_the_originals_are_valid(folder: Path, number: int) -> None:
    file = ORIGINALS[number]
    path = folder / "original.nii.gz"
    path.write_bytes(gzip.compress(file.data))
    np.testing.assert_array_equal(read_scan(path, file.kind).voxels, file.voxels)


@pytest.mark.parametrize("number", [0, 1, 5])
def test_every_single_byte_of_a_header(folder: Path, number: int) -> None:
    """All bits of each header byte turned over, one byte at a time: no place is left to chance."""
    file = ORIGINALS[number]
    for position in range(int(file.header["sizeof_hdr"])):
        data = bytearray(file.data)
        data[position] ^= 255
        if not says_another_truth(file, bytes(data)):
            require_refused_or_same(folder / "byte.nii", bytes(data), file)


@pytest.mark.parametrize("number", [0, 3, 5])
def test_every_bit_of_a_compressed_file(folder: Path, number: int) -> None:
    file = ORIGINALS[number]
    packed = gzip.compress(file.data, mtime=0)
    for position in range(len(packed)):
        data = bytearray(packed)
        data[position] ^= 1 << position % 8
        require_refused_or_same(folder / "bit.nii.gz", bytes(data), file)


@pytest.mark.parametrize("number", range(len(ORIGINALS)))
def test_every_other_data_type_of_the_same_width(folder: Path, number: int) -> None:
    """The one field whose change may keep the file's length: a single flipped bit turns float32 into int32."""
    file = ORIGINALS[number]
    start, end = place(file, "datatype")
    for code in nib.nifti1.data_type_codes.value_set():
        data = file.data[:start] + int(code).to_bytes(2, "little") + file.data[end:]
        if not says_another_truth(file, data):
            require_refused_or_same(folder / "type.nii", data, file)


def test_signed_voxels_called_unsigned_are_no_chest_ct(toy_case) -> None:
    case = toy_case()
    data = bytearray(gzip.decompress(case.image.read_bytes()))
    data[70:72] = (512).to_bytes(2, "little")
    case.image.write_bytes(gzip.compress(data, 1))
    assert read_scan(case.image).voxels.max() > 60_000
    (problem,) = check_case(Case(case.id, case.image)).errors
    assert "not in HU" in problem.fault
