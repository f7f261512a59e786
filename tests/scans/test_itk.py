"""Images that SimpleITK reads: LPS becomes RAS, and no voxel moves."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lungseg_helpers.errors import ScanError
from lungseg_helpers.scans.itk import read_itk


@pytest.fixture
def image() -> sitk.Image:
    """An oblique image of unequal sides."""
    image = sitk.GetImageFromArray(np.random.default_rng(5).integers(-1024, 3000, (4, 5, 6)).astype(np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.0, 34.0, -340.0))
    c, s = np.cos(0.2), np.sin(0.2)
    image.SetDirection((1, 0, 0, 0, c, -s, 0, s, c))
    return image


@pytest.mark.parametrize("ending", ["nrrd", "mha", "nii"])
def test_voxels_and_points_are_those_of_the_file(image: sitk.Image, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scan.{ending}"
    sitk.WriteImage(image, path)
    voxels, affine = read_itk(path)
    assert voxels.dtype == np.int16 and voxels.shape == (6, 5, 4)
    for index in ((0, 0, 0), (5, 0, 3), (2, 4, 1)):
        assert voxels[index] == image[index]
        left, back, head = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(nib.affines.apply_affine(affine, index), (-left, -back, head), atol=1e-4)


def test_itk_and_nibabel_agree_on_a_nifti_file(image: sitk.Image, tmp_path: Path) -> None:
    sitk.WriteImage(image, tmp_path / "scan.nii.gz")
    other = nib.load(tmp_path / "scan.nii.gz")
    voxels, affine = read_itk(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(affine, other.affine, atol=1e-4)
    np.testing.assert_array_equal(voxels, np.asanyarray(other.dataobj))


@pytest.mark.parametrize("geometry", ["", "spacings: 0.7 0.8 2.5\n"])
def test_an_nrrd_without_space_is_refused(tmp_path: Path, geometry: str) -> None:
    header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 3 4 5\n{geometry}endian: little\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + bytes(2 * 3 * 4 * 5))
    with pytest.raises(ScanError, match="does not say how the patient lies"):
        read_itk(tmp_path / "a.nrrd")


def test_an_nrrd_without_the_size_of_its_voxels_is_refused(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 3 4 5\nendian: little\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + bytes(2 * 3 * 4 * 5))
    with pytest.raises(ScanError, match="does not say how large its voxels are"):
        read_itk(tmp_path / "a.nrrd")


def test_an_mha_without_the_size_of_its_voxels_is_refused(image: sitk.Image, tmp_path: Path) -> None:
    sitk.WriteImage(image, tmp_path / "whole.mha")
    content = (tmp_path / "whole.mha").read_bytes()
    lines = [line for line in content.split(b"\n") if not line.startswith(b"ElementSpacing")]
    (tmp_path / "a.mha").write_bytes(b"\n".join(lines))
    assert len(lines) == content.count(b"\n")
    with pytest.raises(ScanError, match="does not say how large its voxels are"):
        read_itk(tmp_path / "a.mha")


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.nrrd").write_text("no scan")
    with pytest.raises(ScanError, match=r"^[^\n]*text\.nrrd: SimpleITK cannot read it[^\n]*$"):
        read_itk(tmp_path / "text.nrrd")
    with pytest.raises(ScanError, match="does not exist"):
        read_itk(tmp_path / "absent.mha")
    for name, picture in {
        "flat": sitk.Image(5, 5, sitk.sitkInt16),
        "vectors": sitk.Image([5, 5, 5], sitk.sitkVectorInt16, 3),
    }.items():
        sitk.WriteImage(picture, tmp_path / f"{name}.mha")
        with pytest.raises(ScanError, match="not one 3-D volume"):
            read_itk(tmp_path / f"{name}.mha")
