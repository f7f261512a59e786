"""DICOM-SEG that fits its series and that does not, and files that stray from the standard without a warning."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicoms import ORIGIN, circle, item, only_series, slice_file, write_segmentation, write_series, write_struct
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from toy import SHAPE, toy_volume

from lungseg_helpers.errors import ScanError
from lungseg_helpers.scans.dicom_headers import Slice, group_series, read_headers
from lungseg_helpers.scans.dicom_labels import SEGMENTATION, labels_of, read_label
from lungseg_helpers.scans.dicom_segmentation import save_segmentation
from lungseg_helpers.scans.dicom_series import Volume, read_series
from lungseg_helpers.scans.masks import fill_polygon


@pytest.fixture
def toy_series(tmp_path: Path) -> tuple[str, Volume]:
    uid = write_series(tmp_path / "ct")
    return uid, read_series(only_series(tmp_path / "ct"))


def read_back(path: Path, volume: Volume) -> np.ndarray | None:
    return read_label(Slice(path, pydicom.dcmread(path, stop_before_pixels=True)), volume)


@pytest.mark.parametrize("planes", [[7], [3, 9], [0, 1, 5, 39]])
def test_any_slices_of_a_series_may_hold_tumour(tmp_path: Path, toy_series: tuple[str, Volume], planes: list) -> None:
    uid, volume = toy_series
    label = np.zeros(SHAPE, np.uint8)
    label[20:30, 40:45, planes] = np.random.default_rng(1).integers(0, 2, (10, 5, len(planes)))
    write_segmentation(tmp_path / "seg.dcm", uid, label)
    np.testing.assert_array_equal(read_back(tmp_path / "seg.dcm", volume), label)


def shift(mm: tuple[float, float, float]) -> Callable[[FileDataset], None]:
    def change(data: FileDataset) -> None:
        for groups in data.PerFrameFunctionalGroupsSequence:
            position = groups.PlanePositionSequence[0]
            position.ImagePositionPatient = [
                float(a) + b for a, b in zip(position.ImagePositionPatient, mm, strict=True)
            ]

    return change


def halve(data: FileDataset) -> None:
    data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [2.0, 2.0]


def mirror(data: FileDataset) -> None:
    data.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (shift((0, 0, 3)), "does not lie on the slices"),
        (shift((0, 0, 600)), "does not lie on the slices"),
        (shift((-120, 0, 0)), "reaches beyond the slices"),
        (halve, "has other pixels"),
        (mirror, "has other pixels"),
        (lambda data: delattr(data, "PixelData"), "cannot be read as a label"),
        (lambda data: delattr(data, "DimensionIndexSequence"), "cannot be read as a label"),
        (lambda data: delattr(data, "PerFrameFunctionalGroupsSequence"), "cannot be read as a label"),
    ],
)
def test_a_mask_on_another_grid_is_refused(
    tmp_path: Path, toy_series: tuple[str, Volume], change: Callable, fault: str
) -> None:
    uid, volume = toy_series
    write_segmentation(tmp_path / "seg.dcm", uid, toy_volume()[1], change=change)
    with pytest.raises(ScanError, match=f"seg.dcm: {fault}") as caught:
        read_back(tmp_path / "seg.dcm", volume)
    assert "\n" not in str(caught.value)


def stray(data: FileDataset, k: int = 0) -> None:
    """Values outside the standard that files of scanners and anonymisers hold."""
    with warnings.catch_warnings(action="ignore"):
        for name, kind, value in (("PatientName", "PN", "ANON"), ("OperatorsName", "PN", "a=b=c=d=e")):
            data.add(pydicom.DataElement(name, kind, value, validation_mode=pydicom.config.IGNORE))
        data.add(pydicom.DataElement("PatientID", "LO", "P" * 70, validation_mode=pydicom.config.IGNORE))


def test_values_outside_the_standard_warn_nobody(tmp_path: Path) -> None:
    """All that is read of a folder and written to it, with warnings made errors."""
    truth = toy_volume()[1]
    uid = write_series(tmp_path / "ct", change=stray)
    with warnings.catch_warnings(action="error"):
        series = only_series(tmp_path / "ct")
        volume = read_series(series)
        assert all(str(file.header.OperatorsName) for file in series.slices)
        assert {len(file.header.PatientID) for file in series.slices} == {70}
        path = save_segmentation(truth, volume.affine, series, tmp_path / "seg.dcm")
        np.testing.assert_array_equal(read_back(path, volume), truth)
        write_segmentation(tmp_path / "ct" / "other.dcm", uid, truth, change=stray)
        (label,) = (file for file in read_headers(tmp_path / "ct")[0] if file.header.SOPClassUID == SEGMENTATION)
        np.testing.assert_array_equal(read_label(label, volume), truth)


def test_the_command_predicts_such_a_folder_without_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", change=stray)
    command = [sys.executable, "-m", "lungseg_helpers.cli", "predict", tmp_path / "ct", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").glob("*_pred.dcm"))
    assert "arning" not in done.stderr and "PN" not in done.stderr and "person name" not in done.stderr


def test_an_outline_is_filled_where_pixel_centres_are_inside() -> None:
    """A triangle whose sides pass between centres; and one that is larger than the picture."""
    points = np.array([[1.5, 1.5], [6.4, 1.5], [1.5, 6.4]])
    rows, columns = np.indices((9, 8))
    inside = (rows > 1.5) & (columns > 1.5) & (rows + columns < 7.9)
    np.testing.assert_array_equal(fill_polygon(points, (9, 8)), inside)
    assert fill_polygon(np.array([[-9, -9], [40, -9], [40, 40], [-9, 40]]), (9, 8)).all()
    assert not fill_polygon(points + 20, (9, 8)).any()


def change_bytes(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content[132:]
    path.write_bytes(content[:132] + content[132:].replace(old, new, 1))


def cut_deflated(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path)
    path.write_bytes(path.read_bytes()[:600])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: change_bytes(path, b"\x08\x00\x16\x00UI", b"\x08\x00\x16\x00U\x13"),
        lambda path: change_bytes(path, b"\x20\x00\x0e\x00UI", b"\x20\x00\x0e\x00U\x13"),
        lambda path: change_bytes(path, b"\x08\x00\x16\x00UI\x1a\x001.", b"\x08\x00\x16\x00UI\x1a\x001\\"),
        cut_deflated,
    ],
)
def test_a_damaged_header_is_one_files_business(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", number=4)
    path = slice_file(tmp_path / "b", 40)
    damage(path)
    files, lines = read_headers(tmp_path)
    assert lines == [f"{path}: is no DICOM file, or a damaged one, and is left out; copy it again"]
    assert [len(series.slices) for series in group_series(files)[0]] == [40, 39]


def test_damage_that_no_volume_needs_costs_no_slice(tmp_path: Path) -> None:
    write_series(tmp_path, change=lambda data, k: setattr(data, "PatientWeight", 70))
    change_bytes(slice_file(tmp_path, 8), b"\x10\x00\x30\x10DS", b"\x10\x00\x30\x10D\x13")
    np.testing.assert_array_equal(read_series(only_series(tmp_path)).voxels, toy_volume()[0])
    change_bytes(slice_file(tmp_path, 9), b"\x28\x00\x30\x00DS", b"\x28\x00\x30\x00D\x13")
    (series,), lines = group_series(read_headers(tmp_path)[0])
    assert len(series.slices) == 39 and len(lines) == 1 and "does not say where its slice lies" in lines[0]


@pytest.mark.parametrize("sequence", [b"\x06\x30\x20\x00SQ", b"\x06\x30\x39\x00SQ"])
def test_damaged_contours_are_no_empty_label(tmp_path: Path, sequence: bytes) -> None:
    uid = write_series(tmp_path / "ct")
    write_struct(tmp_path / "ct" / "rt.dcm", uid, ["GTV"])
    change_bytes(tmp_path / "ct" / "rt.dcm", sequence, sequence[:-1] + b"\x13")
    files, _ = read_headers(tmp_path / "ct")
    (series,), _ = group_series(files)
    (label,) = labels_of(series, files)
    with pytest.raises(ScanError, match=r"rt\.dcm: cannot be read as a label"):
        read_label(label, read_series(series))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 0, 0.9994996, 0.031630], [1, 0, 0, 0, 0.9995004, 0.031605]),
        ("PixelSpacing", ["4.000000", "4.0"], ["4.000001", "4.0"]),
    ],
)
def test_rounding_does_not_split_a_series(tmp_path: Path, name: str, one: list, other: list) -> None:
    write_series(tmp_path, change=lambda data, k: setattr(data, name, one if k < 20 else other))
    assert len(only_series(tmp_path).slices) == 40


@pytest.mark.parametrize("spacing", [[0, 0], [4, -4]])
def test_pixels_without_a_size_are_named(tmp_path: Path, spacing: list) -> None:
    write_series(tmp_path, change=lambda data, k: setattr(data, "PixelSpacing", spacing))
    series, lines = group_series(read_headers(tmp_path)[0])
    assert series == [] and len(lines) == 40 and "does not say where its slice lies" in lines[0]


def test_a_missing_slice_is_named_where_the_numbers_are_none(tmp_path: Path) -> None:
    write_series(tmp_path)
    slice_file(tmp_path, 18).unlink()
    for path in tmp_path.iterdir():
        number = str(pydicom.dcmread(path).InstanceNumber).ljust(2).encode()
        element = b"\x20\x00\x13\x00%s\x02\x00%s"
        change_bytes(path, element % (b"IS", number), element % (b"LO", b"ab"))
    with pytest.raises(ScanError, match=r"lacks 1 slice\(s\) between"):
        read_series(only_series(tmp_path))


def test_files_without_a_preamble_are_read_and_answered(tmp_path: Path) -> None:
    hu, truth = toy_volume()
    uid = write_series(tmp_path, hu)
    write_struct(tmp_path / "rt.dcm", uid, ["GTV"])
    for path in tmp_path.iterdir():
        data = pydicom.dcmread(path)
        with path.open("wb") as file:
            bare = pydicom.Dataset({element.tag: element for element in data})
            pydicom.dcmwrite(file, bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
    files, _ = read_headers(tmp_path)
    (series,), _ = group_series(files)
    volume = read_series(series)
    (label,) = labels_of(series, files)
    assert read_label(label, volume).any()
    np.testing.assert_array_equal(
        read_back(save_segmentation(truth, volume.affine, series, tmp_path / "seg.dcm"), volume), truth
    )


CENTRE = (ORIGIN[0] + 26 * 4, ORIGIN[1] + 50 * 4)


def contour(x_mm: float, radius: float, kind: str = "CLOSED_PLANAR") -> pydicom.Dataset:
    points = circle((CENTRE[0] + x_mm, CENTRE[1]), radius, ORIGIN[2] + 6 * 20)
    return item(ContourGeometricType=kind, NumberOfContourPoints=90, ContourData=points)


@pytest.mark.parametrize(
    ("contours", "area"),
    [
        ([contour(0, 17.2)], 17.2**2),
        ([contour(0, 17.2), contour(0, 17.2)], 17.2**2),
        ([contour(0, 6), contour(0, 17.2)], 17.2**2 - 6**2),
        ([contour(0, 17.2), contour(0, 13.2), contour(0, 6)], 17.2**2 - 13.2**2 + 6**2),
        ([contour(0, 17.2), contour(60, 12)], 17.2**2 + 12**2),
        ([contour(-8, 17.2), contour(8, 17.2)], 1459 / np.pi),  # two circles that overlap: by the lens formula
        ([contour(0, 17.2, "CLOSEDPLANAR_XOR"), contour(0, 6, "CLOSEDPLANAR_XOR")], 17.2**2 - 6**2),
        ([contour(0, 17.2), item(ContourGeometricType="CLOSED_PLANAR", ContourData=None)], 17.2**2),
        ([contour(0, 17.2), item(ContourGeometricType="POINT", ContourData=[0.0, 0.0, 0.0])], 17.2**2),
    ],
)
def test_contours_of_one_region(tmp_path: Path, toy_series: tuple[str, Volume], contours: list, area: float) -> None:
    uid, volume = toy_series
    write_struct(tmp_path / "rt.dcm", uid, ["GTV"])
    data = pydicom.dcmread(tmp_path / "rt.dcm")
    data.ROIContourSequence[0].ContourSequence = contours
    data.save_as(tmp_path / "rt.dcm")
    assert read_back(tmp_path / "rt.dcm", volume).sum() * 16 == pytest.approx(np.pi * area, rel=0.1)
