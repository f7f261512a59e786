"""A mask sent through preprocessing and back overlays itself: whatever the scan's orientation, spacing, or tilt."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lungseg_helpers.grids import from_grid
from lungseg_helpers.inference import predict_case
from lungseg_helpers.metrics import dice
from lungseg_helpers.orientation import unoriented
from lungseg_helpers.phantom import make_phantom
from lungseg_helpers.predicting import save_mask
from lungseg_helpers.preprocessing import make_stack
from lungseg_helpers.recipes import PROFILES, get_recipe
from lungseg_helpers.scans import read_scan
from lungseg_helpers.sources import Case, find_cases

LEAST_ML, LEAST_DICE = 2.0, 0.97
PHANTOM_SEEDS = (31_001, 31_002, 31_003, 31_004, 31_005, 31_006)
REAL = ("LIDC-IDRI-0001", "pyradiomics-lung1", "pyradiomics-lung2")


def written(folder: Path, image: np.ndarray, label: np.ndarray, affine: np.ndarray, axcodes: str, tilt: float) -> Case:
    """Write a scan and its label, the axes turned to ``axcodes`` and the patient tilted by some degrees."""
    angle = np.deg2rad(tilt)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    case = Case("case", folder / "image.nii", folder / "label.nii")
    for array, path in ((image, case.image), (label, case.label)):
        scan = nib.Nifti1Image(array, turn @ affine)
        scan = scan.as_reoriented(
            nib.orientations.ornt_transform(nib.io_orientation(scan.affine), nib.orientations.axcodes2ornt(axcodes))
        )
        scan.set_qform(scan.affine, 1)
        scan.set_sform(scan.affine, 1)
        nib.save(scan, path)
    return case


@pytest.fixture(scope="module")
def phantoms() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Image, label and affine of those of :data:`PHANTOM_SEEDS` whose tumours hold 2 mL or more."""
    found = []
    for seed in PHANTOM_SEEDS:
        phantom = make_phantom(seed)
        if np.count_nonzero(phantom.label) * abs(np.linalg.det(phantom.affine[:3, :3])) / 1000 >= LEAST_ML:
            found.append((phantom.image, phantom.label, phantom.affine))
    assert len(found) >= 3
    return found


def there_and_back(case: Case, profile: str) -> float:
    """Dice of the label with itself after preprocessing and its inverse."""
    label = read_scan(case.label, "label")
    stack = make_stack(case, get_recipe("course", profile))
    mask = unoriented(from_grid(stack.share.astype(np.float32) / 255, stack.grid, 0.5), label.affine)
    assert mask.shape == label.voxels.shape and mask.dtype == np.uint8
    return dice(label.voxels, mask)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("tilt", [0.0, 9.0])
@pytest.mark.parametrize("axcodes", ["LAS", "RAS"])
def test_phantoms_tumours_come_back(phantoms, tmp_path, axcodes, tilt, profile):
    for image, label, affine in phantoms:
        assert there_and_back(written(tmp_path, image, label, affine, axcodes, tilt), profile) >= LEAST_DICE


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("tilt", [0.0, 9.0])
@pytest.mark.parametrize("axcodes", ["LAS", "RAS"])
@pytest.mark.parametrize("name", REAL)
def test_real_tumours_come_back(real, tmp_path, name, axcodes, tilt, profile):
    """The tumour of pyradiomics-lung1 holds 1.4 mL, less than the 2 mL from which 0.97 is asked."""
    case = next(case for case in find_cases(real) if case.id == name)
    image, label = nib.load(case.image), nib.load(case.label)
    turned = written(tmp_path, np.asarray(image.dataobj), np.asarray(label.dataobj), image.affine, axcodes, tilt)
    voxels = read_scan(case.label, "label")
    small = np.count_nonzero(voxels.voxels) * np.prod(voxels.spacing) / 1000 < LEAST_ML
    assert small == (name == "pyradiomics-lung1")
    assert there_and_back(turned, profile) >= (0.95 if small else LEAST_DICE)


@pytest.mark.parametrize("axcodes", ["LAS", "RAS", "PIR"])
def test_a_network_that_sees_the_truth_returns_it(toy_case, toy_recipe, tmp_path, monkeypatch, axcodes: str):
    """Through ``predict_case`` and ``save_mask``, with the label's shares in place of a network's probabilities."""
    case = toy_case("a", axcodes, tilt_deg=8.0)
    shares = make_stack(case, toy_recipe).share.astype(np.float32) / 255
    monkeypatch.setattr("lungseg_helpers.inference.predict_stack", partial(told, shares))
    found = predict_case(None, toy_recipe, case)
    saved = nib.load(save_mask(found.mask, found.scan, tmp_path / "a_pred.nii.gz"))
    label = nib.load(case.label)
    np.testing.assert_allclose(saved.affine, label.affine, atol=1e-5)
    assert dice(np.asarray(label.dataobj), np.asarray(saved.dataobj)) >= LEAST_DICE


def told(answer: np.ndarray, *_: object, **__: Callable) -> np.ndarray:
    """Return ``answer`` whatever is asked."""
    return answer
