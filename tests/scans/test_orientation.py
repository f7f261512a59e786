"""How large a voxel is and how high a slice lies, where a grid is oblique or sheared."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lungseg_helpers.scans.orientation import oriented_spacing
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.scans.view import open_view

SHAPE = (40, 30, 20)


def turned(degrees: float) -> np.ndarray:
    """Rotation about the patient's left-right axis, (3, 3)."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def written(folder: Path, axes: np.ndarray) -> Path:
    """Write noise whose voxel steps are the columns of ``axes``, (3, 3) in mm, as sform alone: a qform cannot shear."""
    image = nib.Nifti1Image(np.random.default_rng(0).integers(-1000, 100, SHAPE).astype(np.int16), None)
    image.set_sform(nib.affines.from_matvec(axes, [10, -20, -300]), code=1)
    nib.save(image, folder / "lung_001.nii.gz")
    return folder / "lung_001.nii.gz"


@pytest.mark.parametrize("degrees", [-25, 10, 25])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_voxel_of_a_tilted_gantry_is_as_large_as_its_axes_span(tmp_path, degrees, order):
    """Slices 6 mm apart along the table and tilted by 25° are 5.4 mm apart at right angles: 10 % of the volume."""
    axes = np.stack([[2, 0, 0], turned(degrees) @ [0, 3, 0], [0, 0, 6]], axis=1)[:, order]
    path = written(tmp_path, axes)
    scan, view = read_scan(path), open_view(path)
    upright = 6 * np.cos(np.deg2rad(degrees))
    assert scan.spacing == pytest.approx(np.array([2, 3, upright])[list(order)])
    assert view.spacing == oriented_spacing(scan.affine) == pytest.approx((upright, 3, 2))
    assert np.prod(scan.spacing) == pytest.approx(abs(np.linalg.det(axes)))


def test_the_spacing_of_a_right_angled_grid_is_the_length_of_its_steps(tmp_path):
    scan = read_scan(written(tmp_path, turned(17) @ np.diag([-0.7, -0.8, 2.5])))
    assert scan.spacing == tuple(np.sqrt(np.sum(scan.affine[:3, :3] ** 2, axis=0)))


@pytest.mark.parametrize("degrees", [0, 15, -30])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_a_slice_lies_as_high_as_its_middle(tmp_path, degrees, signs):
    path = written(tmp_path, turned(degrees) @ np.diag(np.multiply(signs, [4.0, 4.0, 6.0])))
    affine, heights = read_scan(path).affine, open_view(path).z_mm
    middles = [affine @ [19.5, 14.5, k, 1] for k in range(SHAPE[2])]
    np.testing.assert_allclose(heights, sorted(point[2] for point in middles), atol=1e-3)
