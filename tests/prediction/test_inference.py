"""A mask comes back in the scan's own grid, whatever the scan's orientation."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from lungseg_helpers.evaluation.metrics import dice
from lungseg_helpers.prediction.files import save_mask
from lungseg_helpers.prediction.inference import predict_case, predict_stack, threshold_baseline
from lungseg_helpers.prediction.postprocessing import drop_small
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.unet import UNet, build_unet


class Brightness(torch.nn.Module):
    """Stands in for a network: tumour is what is brighter than muscle in the slice itself (the middle channel)."""

    def forward(self, images):
        return 100 * (images[:, 1:2] - 0.8)


@pytest.mark.parametrize("tilt", [0.0, 9.0])
@pytest.mark.parametrize("axcodes", ["LAS", "RAS", "LPS", "SPL"])
def test_prediction_overlays_the_scan(toy_case, toy_recipe, tmp_path, axcodes, tilt):
    case = toy_case("a", axcodes, tilt_deg=tilt)
    found = predict_case(Brightness(), replace(toy_recipe, pixel_mm=4.0), case)
    path = save_mask(found.mask, found.scan, tmp_path / "a_pred.nii.gz")
    scan, mask = nib.load(case.image), nib.load(path)
    assert mask.shape == scan.shape and mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)
    assert nib.aff2axcodes(mask.affine) == nib.aff2axcodes(scan.affine)
    for code in ("qform_code", "sform_code"):
        assert mask.header[code] == scan.header[code]
    np.testing.assert_allclose(mask.get_qform(), scan.get_qform(), atol=1e-4)
    assert dice(np.asanyarray(nib.load(case.label).dataobj), np.asanyarray(mask.dataobj)) > 0.75


def test_batches_do_not_change_the_answer(toy_case, toy_recipe, monkeypatch):
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
    torch.manual_seed(0)
    network = build_unet(toy_recipe).eval()
    torch.nn.init.normal_(network.head.weight, std=1e4)
    stack = make_stack(toy_case(), toy_recipe)
    one, many = (predict_stack(network, toy_recipe, stack, batch_size=size) for size in (1, 7))
    assert one.shape == stack.ct.shape and one.std() > 0
    np.testing.assert_allclose(one, many, atol=1e-3)


@pytest.fixture
def seen(toy_case, volume_recipe, monkeypatch):
    """A network of volumes with answers of all sizes, a stack, and the sizes of what the network is given."""
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
    torch.manual_seed(0)
    network, sizes = build_unet(volume_recipe).eval(), []
    torch.nn.init.normal_(network.head.weight, std=1e3)
    keep = UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda self, x: sizes.append(tuple(x.shape[2:])) or keep(self, x))
    return network, make_stack(toy_case(), volume_recipe), sizes


def test_a_volume_that_is_one_window_is_seen_at_once(seen, volume_recipe):
    network, stack, sizes = seen
    windowed = predict_stack(network, replace(volume_recipe, frame=(96, 96, 96)), stack)
    assert sizes == [stack.ct.shape] and windowed.shape == stack.ct.shape and windowed.std() > 0.01
    with torch.no_grad():
        at_once = network(torch.from_numpy(volume_recipe.intensity(stack.ct))[None, None])[0, 0].sigmoid()
    np.testing.assert_allclose(windowed, at_once, atol=1e-3)


def test_windows_are_no_larger_than_the_frame_and_leave_no_seam(seen, volume_recipe):
    """Of a network that looks at each voxel alone, windows change nothing at all."""
    network, stack, sizes = seen
    predict_stack(network, volume_recipe, stack)
    expected = tuple(min(sides) for sides in zip(volume_recipe.frame, stack.ct.shape, strict=True))
    assert len(sizes) > 1 and set(sizes) == {expected}

    class Each(torch.nn.Module):
        def forward(self, images):
            return 30 * (images - 0.7)

    found = predict_stack(Each(), volume_recipe, stack)
    alone = torch.from_numpy(30 * (volume_recipe.intensity(stack.ct) - 0.7)).sigmoid()
    np.testing.assert_allclose(found, alone, atol=1e-4)


@pytest.mark.parametrize("axcodes", ["LAS", "SPL"])
def test_a_volumes_prediction_overlays_the_scan(toy_case, volume_recipe, axcodes):
    """Through other slices and back, with the flips."""

    class Bright(torch.nn.Module):
        def forward(self, images):
            return 100 * (images - 0.8)

    case = toy_case("a", axcodes)
    recipe = replace(volume_recipe, pixel_mm=4.0, slice_mm=2.5)
    found = predict_case(Bright(), recipe, case, flips=True, probability=True)
    label = np.asanyarray(nib.load(case.label).dataobj)
    assert found.mask.shape == found.probability.shape == label.shape
    assert dice(label, found.mask) > 0.75 and dice(label, found.probability > 127) > 0.75


def test_flips_average_the_scan_and_its_mirror_image(toy_case, toy_recipe, monkeypatch):
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")

    class Left(torch.nn.Module):
        """Finds tumour in the left half of the picture, whatever is there."""

        def forward(self, images):
            logits = torch.full_like(images[:, :1], -50.0)
            logits[..., : images.shape[3] // 2] = 50.0
            return logits

    stack = make_stack(toy_case(), toy_recipe)
    plain, flipped = (predict_stack(Left(), toy_recipe, stack, flips=flips) for flips in (False, True))
    assert set(np.unique(plain.round(6))) == {0.0, 1.0}
    # of an odd number of columns the middle one belongs to neither half
    assert (np.abs(flipped - 0.5) < 1e-6).all(axis=(0, 1)).sum() >= flipped.shape[2] - 1


def test_baseline_finds_the_lone_dense_ball(toy_case):
    case = toy_case("a", "RAS")
    label = read_scan(case.label, "label")
    found = threshold_baseline(read_scan(case.image))
    assert found.dtype == np.uint8 and found.shape == label.voxels.shape
    assert dice(label.voxels, found) > 0.6


def test_small_components_are_dropped_by_volume():
    mask = np.zeros((12, 20, 20), np.uint8)
    mask[1:3, 2:4, 2:4] = 1  # 8 voxels
    mask[8:11, 10:13, 10:13] = 1  # 27 voxels
    mask[7, 9, 9] = 1  # touches the second by a corner only
    kept = drop_small(mask, 0.01, 0.1)
    assert kept.dtype == np.uint8 and kept.sum() == 28 and kept[7, 9, 9] == 1 and not kept[:4].any()
    assert np.array_equal(drop_small(mask, 0.01, 0.0), mask)
    assert np.array_equal(drop_small(mask, 0.01, 0.08), mask), "as large as the smallest is large enough"
    assert not drop_small(mask, 0.01, 1.0).any()
    assert not drop_small(np.zeros_like(mask), 0.01, 0.1).any()
