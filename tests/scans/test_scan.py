"""Reading scans: what is read is exactly what is on disk, and nothing bad gets in."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lungseg_helpers.errors import ScanError
from lungseg_helpers.scans.scan import read_scan

AFFINE = np.array([[-0.7, 0, 0, 90], [0, 0.8, 0, -70], [0, 0, 2.5, -340], [0, 0, 0, 1.0]])

DIM, DATATYPE, BITPIX, PIXDIM, OFFSET, SLOPE, INTER = 40, 70, 72, 76, 108, 112, 116
QFORM, SFORM, SROW_X, MARK = 252, 254, 280, 344
"""Where these fields stand in a NIfTI-1 header."""


def noise(dtype: str = "<i2", shape: tuple[int, ...] = (7, 6, 5)) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 100, shape).astype(dtype)


def nifti(voxels: np.ndarray, kind: type = nib.Nifti1Image) -> bytearray:
    image = kind(voxels, AFFINE, dtype=voxels.dtype)
    return bytearray(image.to_bytes())


def put(data: bytearray, place: int, values: object, dtype: str) -> bytearray:
    field = np.asarray(values, dtype=dtype).tobytes()
    data[place : place + len(field)] = field
    return data


def write(folder: Path, data: bytes, name: str = "lung_001.nii.gz") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["lung_001.nii", "lung_001.nii.gz"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "i1", "<u2", "<i4", "<i8", "<u8", "<f4", "<f8"])
def test_integer_voxels_of_every_type_become_int16(tmp_path: Path, name: str, dtype: str) -> None:
    voxels = noise(dtype)
    scan = read_scan(write(tmp_path, nifti(voxels), name))
    assert scan.voxels.dtype == np.int16 and scan.voxels.dtype.isnative
    np.testing.assert_array_equal(scan.voxels, voxels.astype(np.int16))


@pytest.mark.parametrize("name", ["lung_001.nii", "lung_001.nii.gz"])
def test_a_file_of_more_voxels_than_asked_for_takes_no_memory(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, nifti(np.zeros((200, 200, 100), np.uint8)), name)
    assert read_scan(path, "label", 4_000_000).voxels.shape == (200, 200, 100)
    tracemalloc.start()
    with pytest.raises(ScanError, match=r"200 × 200 × 100 voxels, more than the 3999999 of its scan; predict again"):
        read_scan(path, "label", 3_999_999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_geometry_is_that_of_nibabel(tmp_path: Path, kind: type) -> None:
    path = write(tmp_path, nifti(noise(), kind))
    scan, image = read_scan(path), nib.load(path)
    np.testing.assert_allclose(scan.affine, image.affine, rtol=0, atol=0)
    assert scan.spacing == pytest.approx((0.7, 0.8, 2.5))
    assert scan.axcodes == nib.aff2axcodes(image.affine) == ("L", "A", "S")


def test_the_header_writes_the_voxels_back_unchanged(tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path, put(nifti(noise(shape=(7, 6, 5, 1))), SLOPE, [2.0, -1024.0], "<f4")))
    nib.Nifti1Image(scan.voxels, scan.affine, scan.header).to_filename(tmp_path / "again.nii.gz")
    again = read_scan(tmp_path / "again.nii.gz")
    np.testing.assert_array_equal(again.voxels, noise() * 2 - 1024)
    assert again.header["qform_code"] == scan.header["qform_code"]


@pytest.mark.parametrize("slope, inter", [(1, -1024), (2, 3), (-1, 0), (0.5, 0.25), (0, 7), (np.nan, 7)])
@pytest.mark.parametrize("dtype", ["<i2", "<u2", "<i4", "<f4"])
def test_slope_and_intercept_are_those_of_nibabel(tmp_path: Path, dtype: str, slope: float, inter: float) -> None:
    path = write(tmp_path, put(nifti(noise(dtype)), SLOPE, [slope, inter], "<f4"))
    expected = np.asanyarray(nib.load(path).dataobj)
    voxels = read_scan(path).voxels
    np.testing.assert_array_equal(voxels, expected)
    assert voxels.dtype == (np.float32 if slope == 0.5 else np.int16)


def test_values_beyond_int16_stay_as_float32(tmp_path: Path) -> None:
    voxels = noise("<u2") + np.uint16(60000)
    scan = read_scan(write(tmp_path, nifti(voxels)))
    assert scan.voxels.dtype == np.float32
    np.testing.assert_array_equal(scan.voxels, voxels)


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<f4", "<f8"])
def test_labels_become_uint8(tmp_path: Path, dtype: str) -> None:
    label = read_scan(write(tmp_path, nifti((noise() % 2).astype(dtype))), kind="label").voxels
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, noise() % 2)


def test_a_fourth_axis_of_one_is_dropped(tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path, nifti(noise(shape=(7, 6, 5, 1)))))
    assert scan.voxels.shape == scan.header.get_data_shape() == (7, 6, 5)


def test_gzip_of_several_members_and_zero_padding_is_read(tmp_path: Path) -> None:
    data = bytes(nifti(noise()))
    path = tmp_path / "lung_001.nii.gz"
    path.write_bytes(gzip.compress(data[:400]) + gzip.compress(data[400:]) + bytes(64))
    np.testing.assert_array_equal(read_scan(path).voxels, noise())


def header(place: int, values: object, dtype: str = "<f4", voxel: str = "<i2") -> bytes:
    return gzip.compress(bytes(put(nifti(noise(voxel)), place, values, dtype)))


def packed(data: bytes = b"", *, cut: int = 0, extra: bytes = b"") -> bytes:
    data = gzip.compress(bytes(data or nifti(noise())))
    return data[: len(data) - cut] + extra


def flipped(place: int) -> bytes:
    data = bytearray(packed())
    data[place] ^= 1
    return bytes(data)


def nan_at(value: float) -> bytes:
    voxels = noise("<f4")
    voxels[3, 3, 3] = value
    return packed(nifti(voxels))


BAD_IMAGES = {
    "empty": (b"", "is empty"),
    "text": (b"this is no scan", "is not gzip"),
    "plain NIfTI named .gz": (bytes(nifti(noise())), "is not gzip"),
    "cut in the stream": (packed(cut=100), "cut short"),
    "cut in the trailer": (packed(cut=3), "cut short"),
    "cut to its first bytes": (packed()[:5], "cut short"),
    "bad check sum": (flipped(-6), "check sum is wrong"),
    "bad length": (flipped(-2), "check sum is wrong"),
    "garbage after the stream": (packed(extra=b"garbage!" * 9), "bytes after its gzip stream"),
    "a second stream": (packed(extra=packed()), "goes on after its last voxel"),
    "gzip of a text": (packed(b"tumour" * 100), "is not NIfTI"),
    "gzip of half a header": (packed(nifti(noise())[:200]), "ends within the header"),
    "header of a pair of files": (header(MARK, list(b"ni1\0"), "u1"), "in one file"),
    "no NIfTI mark (Analyze)": (header(MARK, [0, 0, 0, 0], "u1"), "in one file"),
    "unknown type": (header(DATATYPE, 999, "<i2"), "unknown data type code 999"),
    "complex": (packed(nifti(noise("<c8"))), "holds complex64"),
    "colour": (header(DATATYPE, [128, 24], "<i2"), "holds RGB"),
    "bits disagree": (header(BITPIX, 8, "<i2"), "8 bits a voxel"),
    "no axes": (header(DIM, 0, "<i2"), "impossible sizes"),
    "negative size": (header(DIM + 4, -6, "<i2"), "impossible sizes"),
    "zero size": (header(DIM + 4, 0, "<i2"), "impossible sizes"),
    "a size beyond the file": (header(DIM, [3, 32767, 32767, 32767], "<i2"), "impossible sizes"),
    "one slice more than the file": (header(DIM + 6, 6, "<i2"), "bytes before its last voxel"),
    "one slice less than the file": (header(DIM + 6, 4, "<i2"), "goes on after its last voxel"),
    "voxels begin in the header": (header(OFFSET, 0), "voxel offset of 0"),
    "voxels begin far away": (header(OFFSET, 1e12), "voxel offset of 1e+12"),
    "voxels begin nowhere": (header(OFFSET, np.nan), "voxel offset of nan"),
    "2-D": (packed(nifti(noise(shape=(7, 6)))), "2-D"),
    "one slice only": (packed(nifti(noise(shape=(7, 6, 1)))), "2-D"),
    "4-D": (packed(nifti(noise(shape=(7, 6, 5, 2)))), "4-D"),
    "no orientation": (header(QFORM, [0, 0], "<i2"), "how the patient lies"),
    "zero spacing": (header(PIXDIM + 4, 0), "spacing of 0"),
    "NaN spacing": (header(PIXDIM + 12, np.nan), "spacing of"),
    "spacing in metres": (header(PIXDIM + 4, [0.0007, 0.0008, 0.0025]), "spacing of 0.0007"),
    "longer than any patient": (
        packed(put(nifti(noise(shape=(7, 6, 40))), SROW_X, np.diag([4, 4, 80, 1])[:3], "<f4")),
        "is 3.2 m long",
    ),
    "NaN in the affine": (header(SROW_X, [np.nan] * 4), "spacing of nan"),
    "infinite origin": (header(SROW_X + 12, np.inf), "not finite"),
    "zero affine": (header(SROW_X, [0] * 12), "spacing of 0"),
    "singular affine": (header(SROW_X, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), "singular"),
    "NaN voxel": (nan_at(np.nan), "NaN or infinite"),
    "infinite voxel": (nan_at(-np.inf), "NaN or infinite"),
    "voxel beyond float32": (packed(nifti(noise("<f8") * 1e300)), "NaN or infinite"),
    "infinite slope": (header(SLOPE, np.inf), "slope inf"),
    "NaN intercept": (header(SLOPE, [1, np.nan]), "intercept nan"),
}


@pytest.mark.parametrize("fault", BAD_IMAGES)
def test_a_bad_image_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    content, words = BAD_IMAGES[fault]
    path = tmp_path / "lung_001.nii.gz"
    path.write_bytes(content)
    with pytest.raises(ScanError, match=r"^[^\n]+; [^\n]+$") as caught:
        read_scan(path)
    assert str(path) in str(caught.value) and words in str(caught.value)


@pytest.mark.parametrize("values", [[0.5], [-1], [256], [np.nan]])
def test_a_label_of_other_than_whole_numbers_is_refused(tmp_path: Path, values: list[float]) -> None:
    voxels = np.zeros((7, 6, 5), "<f4")
    voxels[2, 3, 4] = values[0]
    with pytest.raises(ScanError, match=r"whole numbers|NaN"):
        read_scan(write(tmp_path, nifti(voxels)), kind="label")


def test_a_plain_file_that_is_cut_or_goes_on_is_refused(tmp_path: Path) -> None:
    data = bytes(nifti(noise()))
    with pytest.raises(ScanError, match="impossible sizes"):
        read_scan(write(tmp_path, data[:-1], "cut.nii"))
    with pytest.raises(ScanError, match="goes on"):
        read_scan(write(tmp_path, data + b"\0", "long.nii"))
    with pytest.raises(ScanError, match="is gzip although"):
        read_scan(write(tmp_path, gzip.compress(data), "packed.nii"))


@pytest.mark.parametrize("kept", [352, 370, 400, 401, 500])
def test_a_stream_that_ends_early_says_how_many_bytes_are_missing(tmp_path: Path, kept: int) -> None:
    """Voxels begin at byte 400, after an extension; the stream ends in the extension, behind it, or in the voxels."""
    data = put(nifti(noise()), OFFSET, 400, "<f4")
    data[352:352] = bytes(48)
    assert read_scan(write(tmp_path, data)).voxels.tolist() == noise().tolist()
    with pytest.raises(ScanError, match=f"ends {len(data) - kept} bytes before its last voxel"):
        read_scan(write(tmp_path, data[:kept]))


def test_what_is_no_file_of_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="does not exist"):
        read_scan(tmp_path / "absent.nii.gz")
    with pytest.raises(ScanError, match="is a folder"):
        read_scan(tmp_path)
    with pytest.raises(ScanError, match="not named"):
        read_scan(write(tmp_path, b"P5", "scan.pgm"))
    with pytest.raises(ScanError, match="cannot be read"):
        read_scan(tmp_path / ("x" * 300 + ".nii.gz"))
    os.mkfifo(tmp_path / "pipe.nii.gz")
    with pytest.raises(ScanError, match="not a regular file"):
        read_scan(tmp_path / "pipe.nii.gz")


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, nifti(noise()))
    path.chmod(0)
    # Permissions do not bind the superuser, so as one the test becomes nobody for a moment.
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(ScanError, match="may not be read"):
            read_scan(path)
    finally:
        if root:
            os.seteuid(0)


def test_a_bomb_takes_no_more_memory_than_its_header_admits(tmp_path: Path) -> None:
    path = write(tmp_path, bytes(nifti(noise())) + bytes(200_000_000))
    assert path.stat().st_size < 400_000
    tracemalloc.start()
    try:
        with pytest.raises(ScanError, match="goes on after its last voxel"):
            read_scan(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_kind_is_image_or_label(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mask"):
        read_scan(write(tmp_path, nifti(noise())), kind="mask")
