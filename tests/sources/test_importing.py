"""DICOM, NRRD and MHA become cases, whatever state they arrive in. Every DICOM file is written by the test."""

from __future__ import annotations

import locale
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicoms import (
    ORIGIN,
    only_series,
    slice_file,
    write_segmentation,
    write_series,
    write_struct,
)
from pydicom.dataset import FileDataset
from pydicom.uid import RLELossless
from toy import SHAPE, SPACING, toy_volume

from lungseg_helpers import cli
from lungseg_helpers.errors import ScanError, SourceError
from lungseg_helpers.scans.case import Case
from lungseg_helpers.scans.dicom_segmentation import save_segmentation
from lungseg_helpers.scans.dicom_series import read_series
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.sources.dataset_check import check_dataset
from lungseg_helpers.sources.datasets import find_cases
from lungseg_helpers.sources.finding import pseudonym
from lungseg_helpers.sources.importing import import_folder


def bring(*words: object, **options: object) -> tuple[list[Case], list[str]]:
    """Import a folder; return the cases, and all lines of it."""
    imported = import_folder(*words, **options)
    return imported.cases, imported.notes + imported.problems


def test_unsorted_files_become_the_volume_they_were(tmp_path: Path) -> None:
    write_series(tmp_path)
    volume = read_series(only_series(tmp_path))
    np.testing.assert_array_equal(volume.voxels, toy_volume()[0])
    assert volume.voxels.dtype == np.int16 and volume.notes == ()
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([-4, -4, 6]))
    np.testing.assert_allclose(volume.affine[:3, 3], ORIGIN * [-1, -1, 1])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    for index in ((0, 0, 0), (95, 3, 39)):
        left, back, head = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], [-left, -back, head], atol=1e-4)


def test_slices_from_head_to_foot_are_the_same_volume(tmp_path: Path) -> None:
    """Rows from the patient's left to right: the normal points to the feet, and so does the third axis."""
    hu = toy_volume()[0]
    write_series(tmp_path, hu, plane=(-1, 0, 0, 0, 1, 0))
    volume = read_series(only_series(tmp_path))
    assert nib.aff2axcodes(volume.affine) == ("R", "P", "I")
    np.testing.assert_array_equal(volume.voxels, hu)


def test_several_series_in_one_folder_become_one_case_each(tmp_path: Path) -> None:
    hu = toy_volume()[0]
    write_series(tmp_path / "in", hu, number=2)
    write_series(tmp_path / "in", hu[:, :, ::2], number=5, spacing=(4, 4, 12))
    (tmp_path / "in" / "readme.txt").write_text("no scan")
    (tmp_path / "in" / "broken.dcm").write_bytes(b"no DICOM either")
    cases, lines = bring(tmp_path / "in", tmp_path / "out")
    assert [case.id for case in cases] == ["pb582f609_s2", "pb582f609_s5"]
    assert len(lines) == 1 and "broken.dcm: is no DICOM file" in lines[0]
    assert [read_scan(case.image).voxels.shape[2] for case in cases] == [40, 20]
    assert not any(b"Nobody" in case.image.read_bytes() for case in cases)
    assert check_dataset(tmp_path / "out", workers=1).problems == ()


def test_two_orientations_in_one_series_are_kept_apart(tmp_path: Path) -> None:
    hu = toy_volume()[0]
    uid = write_series(tmp_path / "in", hu, number=2)
    coronal = hu.transpose(0, 2, 1)[:, ::-1, :]
    plane, spacing = (1, 0, 0, 0, 0, -1), (SPACING[0], SPACING[2], SPACING[1])
    write_series(tmp_path / "in" / "b", coronal, series=uid, number=2, plane=plane, spacing=spacing)
    cases, lines = bring(tmp_path / "in", tmp_path / "out")
    assert [case.id for case in cases] == ["pb582f609_s2", "pb582f609_s2_2"] and lines == []
    axial, other = (nib.as_closest_canonical(nib.load(case.image)) for case in cases)
    np.testing.assert_array_equal(np.asarray(axial.dataobj), np.asarray(other.dataobj))


def test_localisers_are_left_out_with_a_line(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "in")
    few = toy_volume()[0][:, :, :2]
    write_series(tmp_path / "in", few, series=uid, number=1, plane=(0, 1, 0, 0, 0, -1))

    def mark(data: FileDataset, k: int) -> None:
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path / "in", few, number=9, change=mark)
    cases, lines = bring(tmp_path / "in", tmp_path / "out")
    assert len(cases) == 1 and len(lines) == 2
    assert "localiser" in lines[0] and "2 slices of one orientation" in lines[1]


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    write_series(tmp_path)
    slice_file(tmp_path, 18).unlink()
    with pytest.raises(ScanError, match=rf"lacks slice 18 between {slice_file(tmp_path, 17).name}"):
        read_series(only_series(tmp_path))
    slice_file(tmp_path, 19).unlink()
    with pytest.raises(ScanError, match="lacks slice 18, 19 between"):
        read_series(only_series(tmp_path))


def test_slices_at_one_place_or_uneven_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    (tmp_path / "a" / "again.dcm").write_bytes(slice_file(tmp_path / "a", 4).read_bytes())
    with pytest.raises(ScanError, match=r"again.dcm.* at the same place"):
        read_series(only_series(tmp_path / "a"))

    def push(axis: int) -> Callable[[FileDataset, int], None]:
        def change(data: FileDataset, k: int) -> None:
            if k == 20:
                data.ImagePositionPatient[axis] = float(data.ImagePositionPatient[axis]) + 3.0

        return change

    write_series(tmp_path / "b", change=push(2))
    with pytest.raises(ScanError, match="unevenly between"):
        read_series(only_series(tmp_path / "b"))
    write_series(tmp_path / "c", change=push(0))
    with pytest.raises(ScanError, match="shifted against each other"):
        read_series(only_series(tmp_path / "c"))


@pytest.mark.parametrize("degrees", [12.0, -20.0])
def test_a_tilted_gantry_is_set_upright(tmp_path: Path, degrees: float) -> None:
    """What a tilted scanner sees of a chest that is known at every point lands where it was."""
    angle = np.deg2rad(degrees)
    column = np.array([0, np.cos(angle), np.sin(angle)])
    normal = np.cross([1, 0, 0], column)
    upright = sitk.GetImageFromArray(toy_volume()[0].transpose(2, 1, 0).astype(np.float32))
    upright.SetSpacing(SPACING)
    upright.SetOrigin(ORIGIN.tolist())

    def scanned(grid_affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        index = np.indices(shape).reshape(3, -1)
        points = grid_affine[:3, :3] @ index + grid_affine[:3, 3:]
        voxel = (points - ORIGIN[:, None]) / np.array(SPACING)[:, None]
        from scipy.ndimage import map_coordinates

        hu = toy_volume()[0].astype(np.float32)
        return map_coordinates(hu, voxel, order=1, cval=-1024).reshape(shape)

    # The table moves along z, so the slices' corners do too, while their planes are tilted.
    sheared = np.eye(4)
    sheared[:3, :3] = np.stack([[4, 0, 0], column * 4, [0, 0, 6]], axis=1)
    sheared[:3, 3] = ORIGIN
    hu = np.rint(scanned(sheared, SHAPE)).astype(np.int16)
    step, along = 6 * normal[2], 6 * column[2]
    write_series(tmp_path, hu, plane=(1, 0, 0, *column), spacing=(4, 4, step), tilt_mm=along)
    volume = read_series(only_series(tmp_path))
    assert len(volume.notes) == 1 and f"{abs(degrees):.1f}°" in volume.notes[0]
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    truth = scanned(np.diag([-1, -1, 1, 1]) @ volume.affine, volume.voxels.shape)
    inside = truth > -1000
    error = np.abs(volume.voxels - truth)[inside]
    assert np.median(error) < 15 and np.percentile(error, 90) < 120
    naive = np.abs(hu - truth[: SHAPE[0], : SHAPE[1]])[inside[: SHAPE[0], : SHAPE[1]]]
    assert np.percentile(naive, 90) > 300, "without setting upright the same comparison fails"


@pytest.fixture
def same_locale() -> Iterator[None]:
    """Put back the locale, which SimpleITK's DICOM writer sets to C for the whole process; its reader does not."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize("syntax", ["RLE", "JPEG2000", "JPEGLS"])
@pytest.mark.usefixtures("same_locale")
def test_compressed_slices_are_read_without_loss(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        if syntax == "RLE":
            data = pydicom.dcmread(path)
            data.compress(RLELossless)
            data.save_as(path)
            continue
        image = sitk.ReadImage(str(path), sitk.sitkInt16)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(path))
        writer.UseCompressionOn()
        writer.SetCompressor(syntax)
        writer.Execute(image)
    syntaxes = {pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed for path in tmp_path.iterdir()}
    assert syntaxes == {True}
    np.testing.assert_array_equal(read_series(only_series(tmp_path)).voxels, toy_volume()[0])


@pytest.mark.parametrize(("first", "slope"), [(0, 1.0), (-1024, 1.0), (-1024, 0.5)])
def test_each_slice_has_rescale_tags_of_its_own(tmp_path: Path, first: int, slope: float) -> None:
    """As of a PET-CT, or where the lowest slice was written by another program."""
    hu = toy_volume()[0]
    stored = (hu + 1024).astype(np.int16)

    def change(data, k: int) -> None:
        data.RescaleIntercept, data.RescaleSlope = (first, 1) if k == 0 else (-1024, slope)

    write_series(tmp_path, change=change)
    wanted = slope * stored.astype(np.float32) - 1024
    wanted[..., 0] = stored[..., 0] + first
    np.testing.assert_array_equal(read_series(only_series(tmp_path)).voxels, wanted)


def test_no_rescale_tags(tmp_path: Path) -> None:
    hu = toy_volume()[0]
    write_series(tmp_path / "signed", hu, rescale=False)
    volume = read_series(only_series(tmp_path / "signed"))
    np.testing.assert_array_equal(volume.voxels, hu)
    assert "no rescale tags" in volume.notes[0]
    write_series(tmp_path / "unsigned", hu + 1024, rescale=False)
    volume = read_series(only_series(tmp_path / "unsigned"))
    np.testing.assert_array_equal(volume.voxels, hu)
    assert "-1024" in volume.notes[0]
    write_series(tmp_path / "other", hu // 4 + 900, rescale=False)
    with pytest.raises(ScanError, match="not in HU"):
        read_series(only_series(tmp_path / "other"))


def test_damaged_slices_are_named_and_others_go_on(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", number=1)
    write_series(tmp_path / "in" / "b", number=2)
    path = slice_file(tmp_path / "in" / "b", 8)
    path.write_bytes(path.read_bytes()[:5000])

    def lose(data: FileDataset, k: int) -> None:
        if k == 3:
            del data.ImagePositionPatient

    write_series(tmp_path / "in" / "c", number=3, change=lose)
    cases, lines = bring(tmp_path / "in", tmp_path / "out")
    assert [case.id for case in cases] == ["pb582f609_s1"]
    assert any(f"{path}: is cut short" in line for line in lines)
    assert any("does not say where its slice lies" in line for line in lines)
    assert any("lacks slice 4" in line for line in lines)
    assert all("\n" not in line for line in lines)


# labels


def test_rt_struct_contours_become_the_label(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "in")
    write_struct(tmp_path / "in" / "rt.dcm", uid, ["Heart", "GTV-1"])
    (case,), lines = bring(tmp_path / "in", tmp_path / "out")
    label = read_scan(case.label, "label").voxels
    assert np.flatnonzero(label.any(axis=(0, 1))).tolist() == [19, 20, 21] and lines == []
    assert label[..., 20].sum() * 16 == pytest.approx(np.pi * (17.2**2 - 6**2), rel=0.1)
    assert label[26, 50, 20] == 0, "the inner contour is a hole"
    np.testing.assert_allclose(np.mean(np.argwhere(label), axis=0), [26, 50, 20], atol=0.1)


def test_regions_are_chosen_by_name(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "in")
    write_struct(tmp_path / "in" / "rt.dcm", uid, ["Heart"])
    (case,), lines = bring(tmp_path / "in", tmp_path / "none")
    assert case.label is None and "no region is named like a tumour (Heart)" in lines[0]
    (case,), lines = bring(tmp_path / "in", tmp_path / "heart", regions="^heart$")
    assert case.label is not None and lines == []


def test_dicom_seg_becomes_the_label(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "in")
    truth = toy_volume()[1]
    write_segmentation(tmp_path / "in" / "seg.dcm", uid, truth)
    (case,), lines = bring(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(read_scan(case.label, "label").voxels, truth)
    assert lines == []


def test_labels_that_do_not_fit_are_named(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "in" / "a")
    write_struct(tmp_path / "in" / "rt.dcm", uid, ["GTV"], shift_z=3.0)
    write_series(tmp_path / "in" / "b", number=4)
    write_struct(tmp_path / "in" / "stray.dcm", "1.2.3.999", ["GTV"])
    (case,), lines = bring(tmp_path / "in", tmp_path / "out")
    assert case.id == "pb582f609_s4"
    assert any("rt.dcm: does not lie on the slices" in line for line in lines)
    assert any("stray.dcm: refers to no series" in line for line in lines)


# other files


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz"])
def test_nrrd_mha_and_nifti_files(tmp_path: Path, ending: str) -> None:
    hu, label = toy_volume()
    folder = tmp_path / "in"
    folder.mkdir()
    for array, name in ((hu, "case1_image"), (label * np.uint8(2), "case1_label"), (hu, "case2")):
        image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
        image.SetSpacing(SPACING)
        sitk.WriteImage(image, str(folder / f"{name}{ending}"))
    (one, two), lines = bring(folder, tmp_path / "out", labels={2})
    assert (one.id, two.id, two.label) == ("case1", "case2", None) and lines == []
    np.testing.assert_array_equal(read_scan(one.image).voxels, hu)
    np.testing.assert_array_equal(read_scan(one.label, "label").voxels, label)
    assert read_scan(one.image).axcodes == ("L", "P", "S")
    with pytest.raises(SourceError, match=rf"case1_label{ending}.*label values 0, 2") as caught:
        (folder / f"case2{ending}").unlink()
        import_folder(folder, tmp_path / "strict")
    assert "\n" not in str(caught.value) and not (tmp_path / "strict").exists()


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        import_folder(tmp_path / "none", tmp_path / "out")
    (tmp_path / "in").mkdir()
    with pytest.raises(SourceError, match="holds no scan"):
        import_folder(tmp_path / "in", tmp_path / "out")
    with pytest.raises(SourceError, match="is there already"):
        import_folder(tmp_path / "in", tmp_path)
    with pytest.raises(SourceError, match="no regular expression"):
        import_folder(tmp_path / "in", tmp_path / "out", regions="(")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    uid = write_series(tmp_path / "in")
    write_segmentation(tmp_path / "in" / "seg.dcm", uid, toy_volume()[1])
    monkeypatch.setattr(sys, "argv", ["lungseg", "import", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, _ = capsys.readouterr()
    assert not end.value.code and out.strip() == f"1 cases of 1 patients in {tmp_path / 'out'}, 1 of them labelled"


# whose scans they are


def write_scans(folder: Path, *names: str) -> Path:
    """Write the toy chest, or where the name says so its label, as files of these names."""
    hu, label = toy_volume()
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = sitk.GetImageFromArray((label if re.search("label|seg|mask", name.lower()) else hu).transpose(2, 1, 0))
        image.SetSpacing(SPACING)
        sitk.WriteImage(image, str(path))
    return folder


def test_dicom_series_of_one_patient_are_one_patient_under_a_pseudonym(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", number=1)
    write_series(tmp_path / "in" / "b", number=2)

    def other(data: FileDataset, k: int) -> None:
        data.PatientID = "Q-1"

    write_series(tmp_path / "in" / "c", number=3, change=other)
    bring(tmp_path / "in", tmp_path / "out")
    cases = find_cases(tmp_path / "out")
    p, q = pseudonym("P-7"), pseudonym("Q-1")
    assert p != q and re.fullmatch("p[0-9a-f]{8}", p)
    assert {case.id: case.patient for case in cases} == {f"{p}_s1": p, f"{p}_s2": p, f"{q}_s3": q}
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any("P-7" in path.name or b"P-7" in path.read_bytes() for path in written)
    bring(tmp_path / "in", tmp_path / "plain", keep_ids=True)
    plain = {case.id: case.patient for case in find_cases(tmp_path / "plain")}
    assert plain == {"P-7_s1": "P-7", "P-7_s2": "P-7", "Q-1_s3": "Q-1"}


def test_patients_of_files_come_from_their_paths(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "in", "ann/before.nrrd", "ann/after.nrrd", "bob/before.nrrd", "lost.nrrd")
    cases, lines = bring(folder, tmp_path / "out", patients="^([^/]+)/")
    assert {case.id: case.patient for case in cases} == {
        "after": "ann", "before": "ann", "before_2": "bob", "lost": "lost"
    }  # fmt: skip
    assert len(lines) == 1 and "lost.nrrd: its path names no patient" in lines[0]
    cases, _ = bring(folder, tmp_path / "alone")
    assert all(case.patient == case.id for case in cases) and not (tmp_path / "alone" / "patients.csv").exists()
    for wrong, message in (("(", "no regular expression"), ("ann", "has no group")):
        with pytest.raises(SourceError, match=message):
            bring(folder, tmp_path / "none", patients=wrong)


def test_patients_of_series_without_patient_id_come_from_their_files_paths(tmp_path: Path) -> None:
    def hide(data: FileDataset, k: int) -> None:
        data.PatientID = ""

    for number in (1, 2):
        write_series(tmp_path / "in" / "ann", number=number, change=hide)
    cases, lines = bring(tmp_path / "in", tmp_path / "out", patients="^([^/]+)/")
    assert {case.id: case.patient for case in cases} == {"ann_s1": "ann", "ann_s2": "ann"} and lines == []


def test_patients_of_a_decathlon_folder_are_kept(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "in" / "imagesTr", "a.nii.gz", "b.nii.gz").parent
    (folder / "patients.csv").write_text("case,patient\nb,a\n")
    cases, _ = bring(folder, tmp_path / "out")
    assert {case.id: case.patient for case in cases} == {"a": "a", "b": "a"}


def test_where_a_name_is_not_utf_8_nifti_is_imported_and_the_others_have_their_line(tmp_path: Path) -> None:
    write_scans(tmp_path / "in" / "a", "a.nii.gz", "b.nii.gz", "c.nrrd")
    write_series(tmp_path / "in" / "a" / "dicom")
    odd = tmp_path / "in" / os.fsdecode(b"M\xfcller")
    try:
        (tmp_path / "in" / "a").rename(odd)
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    cases, lines = bring(tmp_path / "in", tmp_path / "out", patients="^([^/]+)/")
    assert {case.id: case.patient for case in cases} == {"a": r"M\udcfcller", "b": r"M\udcfcller"}
    assert len(lines) == 2 and all(line.startswith(str(odd)) and "is not UTF-8; rename it" in line for line in lines)


# nothing is lost without a word


def test_a_label_without_image_and_a_second_label_are_named(tmp_path: Path) -> None:
    names = ("a.nrrd", "a_label.nrrd", "a_seg.nrrd", "labels/b_label.nrrd", "b.nrrd")
    cases, lines = bring(write_scans(tmp_path / "in", *names), tmp_path / "out")
    assert {case.id: case.label is not None for case in cases} == {"a": True, "b": False}
    assert len(lines) == 2
    assert "a_seg.nrrd: is left out, a second label beside a_label.nrrd" in lines[0]
    assert "labels/b_label.nrrd: is the label of no image" in lines[1]


@pytest.mark.parametrize("copy", ["a.nii.gz", "a.nrrd", "a_ct.nii"])
def test_a_second_image_of_one_name_is_no_other_patient(copy: str, tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "in", "a.nii", copy, "a_label.nii.gz", "b/a.nii.gz")
    cases, (line,) = bring(folder, tmp_path / "out")
    assert {case.id: case.label is not None for case in cases} == {"a": True, "a_2": False}
    assert line.startswith(f"{folder / copy}: is left out, a second image called as a.nii is")


@pytest.mark.parametrize("name", ["mask", "label", "Seg", "segmentation"])
def test_a_label_called_so_is_of_the_one_scan_in_its_folder(name: str, tmp_path: Path) -> None:
    names = ("a/ct.nii.gz", f"a/{name}.nii.gz", "b/one.nrrd", "b/two.nrrd", f"b/{name}.nrrd", "c/ct.mha",
             "c/ct_seg.mha", f"c/{name}.mha", f"d/{name}.nrrd")  # fmt: skip
    cases, lines = bring(write_scans(tmp_path / "in", *names), tmp_path / "out")
    assert {case.id: case.label is not None for case in cases} == {"ct": True, "one": False, "two": False, "ct_2": True}
    np.testing.assert_array_equal(read_scan(cases[0].label, "label").voxels, toy_volume()[1])
    assert [line.split(":")[0].removeprefix(f"{tmp_path}/in/") for line in lines] == [
        f"b/{name}.nrrd", f"c/{name}.mha", f"d/{name}.nrrd"]  # fmt: skip
    assert all("left out; a label is called NAME_label, NAME_seg, NAME_segmentation or NAME_mask" in x for x in lines)


def test_labels_of_a_decathlon_folder_without_image_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_scans(folder / "imagesTr", "a.nii.gz")
    hu, label = toy_volume()
    (folder / "labelsTr").mkdir()
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(label, np.diag([*SPACING, 1])), folder / "labelsTr" / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(hu, np.diag([*SPACING, 1])), folder / "imagesTr" / "a.nii.gz")
    cases, lines = bring(folder, tmp_path / "out")
    assert [case.id for case in cases] == ["a"] and cases[0].label is not None
    assert len(lines) == 1 and "labelsTr/b.nii.gz: is of no image" in lines[0]


def test_what_the_course_has_predicted_is_neither_scan_nor_label(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    series = only_series(tmp_path / "in")
    volume = read_series(series)
    save_segmentation(toy_volume()[1], volume.affine, series, tmp_path / "in" / "p_pred.dcm")
    write_scans(tmp_path / "in", "p_pred.nii.gz", "p_probability.nii.gz")
    (case,), (line,) = bring(tmp_path / "in", tmp_path / "out")
    assert case.label is None and "p_pred.dcm: is what 'lungseg predict' found, no label" in line


def test_copies_in_hidden_folders_are_no_scans(tmp_path: Path) -> None:
    write_scans(tmp_path / "in", "a.nrrd", ".ipynb_checkpoints/a-checkpoint.nrrd")
    write_series(tmp_path / "in" / "dicom")
    shutil.copytree(tmp_path / "in" / "dicom", tmp_path / "in" / ".trash")
    cases, lines = bring(tmp_path / "in", tmp_path / "out")
    assert [case.id for case in cases] == ["a", "pb582f609_s3"] and lines == []


def test_an_empty_folder_is_filled_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scans(tmp_path / "in", "a.nrrd")
    for name in ("real", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "here")
    for out in (tmp_path / "link", Path()):
        assert len(bring(tmp_path / "in", out)[0]) == 1
        assert [case.id for case in find_cases(out)] == ["a"]
    assert (tmp_path / "link").is_symlink() and sorted(path.name for path in Path().iterdir())[0] == "dataset.json"
