"""Any scan, opened: file or folder, the right way up; and the patient that is shown first."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicoms import write_series
from toy import SPACING, toy_volume

from lungseg_helpers.errors import ScanError, SourceError
from lungseg_helpers.scans.view import open_view
from lungseg_helpers.sources import first_patient as first
from lungseg_helpers.sources.opening import open_any


def test_a_dicom_folder_and_a_nifti_file_open_alike(tmp_path, toy_case):
    write_series(tmp_path / "study" / "ct")
    write_series(tmp_path / "study" / "short", toy_volume()[0][..., :8], number=4)
    view = open_any(tmp_path / "study")
    voxels, _ = toy_volume()
    np.testing.assert_array_equal(view.ct, voxels.transpose(2, 1, 0))
    assert view.spacing == pytest.approx(SPACING[::-1]) and np.all(np.diff(view.z_mm) > 0)
    case = toy_case("one", "LAS")
    np.testing.assert_array_equal(open_any(case.image).ct, open_view(case.image).ct)


def test_what_reading_has_to_note_is_a_warning(tmp_path):
    hu = toy_volume()[0]
    write_series(tmp_path / "ct", hu + 1024, rescale=False)
    with pytest.warns(UserWarning, match="no rescale tags; the usual intercept"):
        np.testing.assert_array_equal(open_any(tmp_path).ct, hu.transpose(2, 1, 0))


def test_what_no_scanner_gives_and_nobodys_home_are_refused(tmp_path):
    image = sitk.GetImageFromArray(np.full((20, 64, 64), np.nan, np.float32))
    sitk.WriteImage(image, tmp_path / "nan.mha")
    with pytest.raises(ScanError, match="NaN"):
        open_any(tmp_path / "nan.mha")
    with pytest.raises(SourceError, match="~nobody-of-that-name/x: there is no such user"):
        open_any("~nobody-of-that-name/x")


def test_a_folder_without_a_scan_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(SourceError, match="holds no scan"):
        open_any(tmp_path)


def test_the_first_patient_is_a_real_one_or_a_labelled_phantom(tmp_path, toy_case, monkeypatch, capsys):
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path))
    case = toy_case("patient", "LAS")
    monkeypatch.setattr(first, "fetch_real", lambda out: case.image.parent.parent)
    assert first.first_patient().image == case.image

    def fetch(out):
        raise SourceError("no index answers")

    def phantom(out, *counts):
        return case.image.parent.parent

    monkeypatch.setattr(first, "fetch_real", fetch)
    monkeypatch.setattr(first, "write_dataset", phantom)
    assert nib.load(first.first_patient().label).shape == nib.load(case.image).shape
    assert "no index answers" in capsys.readouterr().err
