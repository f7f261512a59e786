"""Scans of any format in, masks on disk out: NIfTI, NRRD, MHA and DICOM, one by one and in folders."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from dicoms import write_segmentation, write_series
from toy import toy_volume

from lungseg_helpers.errors import ScanError, SourceError
from lungseg_helpers.evaluation.metrics import dice
from lungseg_helpers.prediction.files import predict_cases, scans_of
from lungseg_helpers.scans.case import Case
from lungseg_helpers.scans.dicom_headers import group_series, read_headers
from lungseg_helpers.scans.dicom_labels import SEGMENTATION, read_label
from lungseg_helpers.scans.dicom_series import read_series
from lungseg_helpers.scans.dicom_writing import write_dicom
from lungseg_helpers.scans.scan import read_scan


class Brightness(torch.nn.Module):
    """Stands in for a network: tumour is what is brighter than muscle in the slice itself (the middle channel)."""

    def forward(self, images):
        return 100 * (images[:, 1:2] - 0.8)


@pytest.fixture
def predict(toy_recipe, tmp_path):
    """Return a function that predicts all scans among paths, and returns what was written or went wrong by id."""

    def run(*paths, **options):
        scans, lines = scans_of(paths)
        assert lines == []
        recipe = replace(toy_recipe, pixel_mm=4.0)
        found = predict_cases(Brightness(), recipe, scans, tmp_path / "out", progress=False, **options)
        return {scan.id: result for scan, result in found}

    return run


def write_itk(path, voxels, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    image.SetSpacing((4.0, 4.0, 6.0))
    image.SetOrigin((-190.0, -170.0, -300.0))
    image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_itk_files_give_masks_that_overlay_them_in_any_viewer(predict, tmp_path, ending):
    hu, truth = toy_volume()
    path = write_itk(tmp_path / f"scan{ending}", hu)
    mask = predict(path)["scan"].mask
    assert dice(truth, np.asanyarray(nib.load(mask).dataobj)) > 0.75
    # the same grid, by another library than the one that wrote it
    image, found = sitk.ReadImage(str(path)), sitk.ReadImage(str(mask))
    assert found.GetSize() == image.GetSize()
    for corner in ((0, 0, 0), (95, 0, 0), (0, 95, 0), (0, 0, 39)):
        np.testing.assert_allclose(
            found.TransformIndexToPhysicalPoint(corner), image.TransformIndexToPhysicalPoint(corner), atol=1e-3
        )


def test_nibabel_and_simpleitk_read_the_same_mask(predict, toy_case):
    for axcodes in ("LAS", "RAS", "LPS", "SPL"):
        mask = predict(toy_case(axcodes.lower(), axcodes, tilt_deg=7.0).image)[axcodes.lower()].mask
        ours, theirs = nib.load(mask), sitk.ReadImage(str(mask))
        np.testing.assert_array_equal(np.asanyarray(ours.dataobj), sitk.GetArrayFromImage(theirs).transpose(2, 1, 0))
        assert np.asanyarray(ours.dataobj).any()
        for corner in ((0, 0, 0), tuple(size - 1 for size in ours.shape)):
            left, back, head = theirs.TransformIndexToPhysicalPoint(corner)
            np.testing.assert_allclose((ours.affine @ [*corner, 1])[:3], [-left, -back, head], atol=1e-3)


def test_a_dicom_folder_gives_nifti_and_dicom_seg(predict, tmp_path):
    hu, truth = toy_volume()
    write_series(tmp_path / "dicom", hu)
    found = predict(tmp_path / "dicom")["pb582f609_s3"]
    mask = np.asanyarray(nib.load(found.mask).dataobj)
    assert dice(truth, mask) > 0.75
    endings = ("_pred.nii.gz", "_components.csv", "_pred.dcm")
    assert [path.name for path in found.files] == [f"pb582f609_s3{ending}" for ending in endings]
    data = pydicom.dcmread(found.segmentation)
    (series,), _ = group_series(read_headers(tmp_path / "dicom")[0])
    assert data.SOPClassUID == SEGMENTATION and data.PatientID == "P-7"
    assert data.ReferencedSeriesSequence[0].SeriesInstanceUID == series.header.SeriesInstanceUID
    # laid beside the series again, it is read as the very same label
    (file,), _ = read_headers(found.segmentation.parent)
    np.testing.assert_array_equal(read_label(file, read_series(series)), mask)


@pytest.mark.parametrize("plane", [(-1, 0, 0, 0, 1, 0), (1, 0, 0, 0, -1, 0)])
def test_dicom_seg_of_slices_that_run_another_way(predict, tmp_path, plane):
    write_series(tmp_path / "dicom", plane=plane)
    found = predict(tmp_path / "dicom")["pb582f609_s3"]
    (series,), _ = group_series(read_headers(tmp_path / "dicom")[0])
    (file,), _ = read_headers(found.segmentation.parent)
    mask = np.asanyarray(nib.load(found.mask).dataobj)
    assert mask.any()
    np.testing.assert_array_equal(read_label(file, read_series(series)), mask)


def test_nothing_found_is_a_dicom_seg_too(predict, tmp_path):
    write_series(tmp_path / "dicom", toy_volume(tumour=False)[0])
    found = predict(tmp_path / "dicom")["pb582f609_s3"]
    assert not np.asanyarray(nib.load(found.mask).dataobj).any()
    assert not pydicom.dcmread(found.segmentation).pixel_array.any()


def test_a_tilted_gantry_has_its_nifti_and_a_reason(predict, tmp_path):
    write_series(tmp_path / "dicom", tilt_mm=1.0)
    found = predict(tmp_path / "dicom")["pb582f609_s3"]
    assert isinstance(found, ScanError) and "another grid" in str(found)
    assert (tmp_path / "out" / "pb582f609_s3_pred.nii.gz").is_file()


def test_a_folder_of_everything(predict, toy_case, tmp_path):
    hu, truth = toy_volume()
    mixed = tmp_path / "mixed"
    write_series(mixed / "series", hu)
    write_segmentation(mixed / "series" / "label.dcm", read_headers(mixed)[0][0].header.SeriesInstanceUID, truth)
    write_itk(mixed / "one_image.nrrd", hu)
    write_itk(mixed / "one_label.nrrd", truth)
    toy_case("nifti").image.rename(mixed / "nifti.nii.gz")
    found = predict(mixed)
    assert set(found) == {"pb582f609_s3", "one", "nifti"}, "labels are no scans"
    assert not any(isinstance(each, Exception) for each in found.values())


def test_nifti_files_below_a_folder_are_found_beside_those_in_it(predict, toy_case, tmp_path):
    folder = tmp_path / "mixed"
    for place in (".", "x", "y"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "scan.nii.gz").write_bytes(toy_case("a").image.read_bytes())
    (folder / "x" / "scan_pred.nii.gz").write_bytes(toy_case("a").label.read_bytes())
    written = predict(folder)
    assert set(written) == {"scan", "scan_2", "scan_3"}
    assert not any(isinstance(result, Exception) for result in written.values())
    scans, _ = scans_of([folder])
    assert {scan.image for scan in scans} == {folder / place / "scan.nii.gz" for place in (".", "x", "y")}


def test_results_beside_the_scans_are_no_scans(predict, toy_case):
    case = toy_case("a")
    for name in ("a_pred", "a_probability"):
        case.image.with_name(f"{name}.nii.gz").write_bytes(case.image.read_bytes())
    assert set(predict(case.image.parent)) == {"a"}


def test_probabilities_are_written_beside_the_mask(predict, toy_case):
    case = toy_case("a", "SPL")
    found = predict(case.image, probability=True)["a"]
    probability, mask = read_scan(found.probability), read_scan(found.mask, "label")
    assert probability.voxels.shape == mask.voxels.shape
    assert probability.voxels.min() >= 0 and probability.voxels.max() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(probability.affine, mask.affine)
    large = mask.voxels > 0
    assert (probability.voxels[large] > 0.49).all(), "the mask is where the probability exceeds one half"


def test_one_bad_scan_does_not_stop_the_others(toy_case, toy_recipe, tmp_path):
    good = toy_case("good")
    bad = Case("bad", tmp_path / "bad.nii.gz")
    bad.image.write_text("no scan")
    results = dict(predict_cases(Brightness(), toy_recipe, [bad, good], tmp_path / "out", progress=False))
    assert isinstance(results[bad], ScanError) and "bad.nii.gz" in str(results[bad])
    assert results[good].mask.name == "good_pred.nii.gz" and results[good].mask.is_file()


def test_messages_name_the_users_file(predict, tmp_path):
    path = write_itk(tmp_path / "flat.mha", np.zeros((40, 40, 12), np.int16))
    error = predict(path)["flat"]
    assert isinstance(error, ScanError) and str(path) in str(error) and "lungseg-" not in str(error)


def test_folders_and_names_that_cannot_be_used(predict, toy_case, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no scan"):
        scans_of([tmp_path / "empty"])
    case = toy_case("a")
    other = tmp_path / "other" / "a.nrrd"
    write_itk(other, toy_volume()[0])
    with pytest.raises(SourceError, match="there twice"):
        scans_of([case.image, other])
    scans, _ = scans_of([case.image, case.image])
    assert len(scans) == 1
    assert isinstance(predict(tmp_path / "missing.nii.gz")["missing"], ScanError)


def test_dicom_seg_is_written_without_jpeg_ls():
    """Python 3.14 has no wheel of it."""
    code = "import sys; sys.modules['jpeg_ls'] = None; import lungseg_helpers.scans.dicom_segmentation"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_labels_beside_nifti_scans_are_no_scans(predict, toy_case, tmp_path):
    case = toy_case("a")
    for names in (("p1", "p1_label"), ("ct", "mask")):
        folder = tmp_path / names[0]
        folder.mkdir()
        for name, path in zip(names, (case.image, case.label), strict=True):
            (folder / f"{name}.nii.gz").write_bytes(path.read_bytes())
        assert [scan.id for scan in scans_of([folder])[0]] == [names[0]]
    case.image.parent.rename(tmp_path / "imagesTs")
    case.label.parent.rename(tmp_path / "labelsTs")
    scans, _ = scans_of([tmp_path])
    assert [scan.id for scan in scans] == ["a"]


def test_a_folder_called_like_a_scan_is_searched(toy_case, tmp_path):
    scan = tmp_path / "kaggle" / "one.nii" / "one.nii.gz"
    scan.parent.mkdir(parents=True)
    toy_case("a").image.rename(scan)
    scans, lines = scans_of([tmp_path / "kaggle"])
    assert [(each.id, each.image) for each in scans] == [("one", scan)] and lines == []


def test_names_in_any_script_stay_apart(tmp_path):
    for name in ("患者一", "患者二", "Müller, Ä 1"):
        write_itk(tmp_path / "in" / f"{name}.nrrd", np.zeros((4, 4, 4), np.int16))
    assert {scan.id for scan in scans_of([tmp_path / "in"])[0]} == {"患者一", "患者二", "Müller_Ä_1"}


def test_what_reading_dicom_says_is_told(predict, tmp_path):
    hu, _ = toy_volume()
    write_series(tmp_path / "dicom", hu + 1024, rescale=False)
    (note,) = predict(tmp_path / "dicom")["pb582f609_s3"].notes
    assert "the usual intercept of -1024 was taken" in note


def test_a_folder_that_cannot_be_made_costs_no_segmentation(toy_case, toy_recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        next(predict_cases(None, toy_recipe, [toy_case("a")], tmp_path / "file" / "out", progress=False))


def test_two_series_of_one_name_are_not_to_be_renamed(tmp_path):
    for study in ("2020", "2021"):
        write_dicom(tmp_path / study, np.zeros((6, 32, 32), np.int16), (5, 1, 1), np.arange(6) * 5.0)
    with pytest.raises(SourceError, match=r"is there twice, also as .*2020; give one after the other"):
        scans_of([tmp_path / "2020", tmp_path / "2021"])


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="a folder in which not even root may write")
def test_a_folder_that_cannot_be_written_to_costs_no_segmentation(toy_case, toy_recipe):
    with pytest.raises(OSError, match="/proc/sys"):
        next(predict_cases(None, toy_recipe, [toy_case("a")], Path("/proc/sys"), progress=False))
