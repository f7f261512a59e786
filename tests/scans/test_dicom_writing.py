"""A scan written as a scanner sends it: read back by the course's own reader it is the same scan."""

import numpy as np
import pydicom
import pytest
from dicoms import only_series

from lungseg_helpers.scans.dicom_series import read_series
from lungseg_helpers.scans.dicom_writing import write_dicom
from lungseg_helpers.scans.orientation import oriented, oriented_spacing, slice_heights

SPACING = (2.5, 0.75, 0.5)


@pytest.fixture
def scan():
    ct = np.random.default_rng(3).integers(-1024, 3072, (12, 9, 7)).astype(np.int16)
    return ct, -340 + 2.5 * np.arange(12)


def test_what_is_written_is_read_back(tmp_path, scan):
    ct, z_mm = scan
    write_dicom(tmp_path, ct, SPACING, z_mm)
    volume = read_series(only_series(tmp_path))
    np.testing.assert_array_equal(oriented(volume.voxels, volume.affine), ct)
    assert oriented_spacing(volume.affine) == pytest.approx(SPACING)
    np.testing.assert_allclose(slice_heights(volume.affine, volume.voxels.shape), z_mm)


def test_files_are_numbered_from_the_head_down_and_hold_stored_numbers(tmp_path, scan):
    ct, z_mm = scan
    ct[-1, 0, 0] = -2048  # outside the field of view: below what 12 bits hold
    paths = write_dicom(tmp_path / "series", ct, SPACING, z_mm)
    assert [path.name for path in paths[:2]] == ["IM1.dcm", "IM2.dcm"] and len(paths) == 12
    first = pydicom.dcmread(paths[0])
    assert float(first.ImagePositionPatient[2]) == z_mm[-1] and first.InstanceNumber == 1
    stored = first.pixel_array
    assert stored.dtype == np.uint16 and stored[0, 0] == 0
    np.testing.assert_array_equal(stored.ravel()[1:].astype(int) - 1024, ct[-1].ravel()[1:])


def test_the_same_scan_gives_the_same_bytes(tmp_path, scan):
    one, two = (write_dicom(tmp_path / name, scan[0], SPACING, scan[1]) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
