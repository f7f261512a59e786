"""What the browser gets of a scan: the right voxels at the right place, whichever way the scan lies on disk."""

import nibabel as nib
import numpy as np
import pytest

from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.viewer.volumes import shown


@pytest.mark.parametrize("axcodes", ["LPS", "RAS", "SAR", "PIL"])
@pytest.mark.parametrize("most", [10**9, 60_000])
def test_a_voxel_shows_what_the_scan_holds_at_its_place(toy_case, axcodes, most):
    case = toy_case(axcodes=axcodes)
    scan, label = read_scan(case.image), read_scan(case.label, "label")
    seen = shown(scan, {"truth": label.voxels}, most)
    assert nib.aff2axcodes(seen.affine) == ("R", "A", "S")
    assert seen.ct.size <= most and seen.ct.dtype == np.int16
    rng = np.random.default_rng(0)
    for voxel in rng.integers(0, seen.ct.shape, (50, 3)):
        mm = seen.affine[:3] @ [*voxel, 1]
        there = np.linalg.solve(scan.affine, [*mm, 1])[:3]  # the middle of a block
        block = tuple(
            slice(round(c - (s - 1) / 2), round(c + (s - 1) / 2) + 1) for c, s in zip(there, seen.steps, strict=True)
        )
        assert abs(scan.voxels[block].mean() - seen.ct[tuple(voxel)]) <= 0.5
        assert label.voxels[block].max() == seen.layers["truth"][tuple(voxel)]
        assert np.allclose(seen.voxel(mm), voxel)
        assert np.allclose(seen.share(mm), (voxel + 0.5) / seen.ct.shape)


def test_what_is_sent_is_nifti_with_that_affine(toy_case):
    scan = read_scan(toy_case().image)
    seen = shown(scan, {"prediction": np.ones(scan.voxels.shape, bool)})
    for name, array in (("", seen.ct), ("prediction", seen.layers["prediction"])):
        image = nib.Nifti1Image.from_bytes(seen.nifti(name))
        assert (np.asarray(image.dataobj) == array).all() and np.allclose(image.affine, seen.affine)


def test_one_voxel_is_still_seen_on_a_coarse_grid_and_the_finest_axes_give_way_first(toy_case):
    scan = read_scan(toy_case().image)  # 4 × 4 × 6 mm
    for place in ((3, 5, 7), (40, 41, 20), (64, 1, 9)):
        mask = np.zeros(scan.voxels.shape, np.uint8)
        mask[place] = 1
        seen = shown(scan, {"prediction": mask}, 100_000)
        assert seen.layers["prediction"].sum() == 1
        assert seen.steps == (2, 2, 1)


def test_of_a_surface_the_inside_is_left_out(toy_case):
    case = toy_case()
    scan, label = read_scan(case.image), read_scan(case.label, "label")
    whole, surface = (
        shown(scan, {"truth": label.voxels}, surfaces=names).layers["truth"] for names in ((), ("truth",))
    )
    assert 0 < surface.sum() < whole.sum() and (surface <= whole).all()
