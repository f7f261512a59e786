"""Patches of volumes: drawn like slices, moved together with their masks, and whole volumes for validation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.volumes import VolumeDataset, WholeVolumes, at_heights, vary_depth
from lungseg_helpers.hounsfield import AIR_HU, Intensity
from lungseg_helpers.preprocessing.grids import Grid
from lungseg_helpers.preprocessing.stacks import SliceStack, make_stack
from lungseg_helpers.recipe import Augmentation

STILL = Augmentation(
    scale=(1.0, 1.0), rotate_deg=0.0, shift=0.0, flip_left_right=0.0, elastic_probability=0.0, brightness=0.0,
    contrast=0.0, noise=0.0, blur_probability=0.0, low_resolution_probability=0.0, context_stretch=(1.0, 1.0),
    context_end=0.0,
)  # fmt: skip
"""An augmentation that changes nothing."""

MOVES = replace(
    STILL, scale=(0.75, 1.3), rotate_deg=20.0, shift=0.05, flip_left_right=0.5, elastic_probability=0.5,
    context_stretch=(0.8, 1.25), context_end=0.3,
)  # fmt: skip

EDGE = (Intensity().low - AIR_HU) / Intensity().scale
"""What the window cuts off of a voxel's brightness: air lies a little below its edge."""

SHAPE, CENTRE, RADIUS = (60, 70, 80), (30, 34, 41), 6.0


def ball_stack(centre: tuple[int, int, int] = CENTRE, radius: float = RADIUS) -> SliceStack:
    """Return a stack of air with one ball of tumour; a voxel is as bright as its share of tumour says."""
    fine = (np.arange(3) - 1) / 3
    axes = [(np.arange(size)[:, None] + fine - middle) ** 2 for size, middle in zip(SHAPE, centre, strict=True)]
    inside = (axes[0].ravel()[:, None, None] + axes[1].ravel()[:, None] + axes[2].ravel()) < radius**2
    share = inside.reshape(SHAPE[0], 3, SHAPE[1], 3, SHAPE[2], 3).mean(axis=(1, 3, 5))
    ct = np.rint(AIR_HU + share * Intensity().scale).astype(np.int16)
    grid = Grid(SHAPE, tuple((0, size) for size in SHAPE), SHAPE, (2.5, 2.5, 2.5))
    held = np.flatnonzero(share.any(axis=(1, 2))).tolist()
    return SliceStack("ball", ct, np.rint(255 * share).astype(np.uint8), grid, {"tumour_slices": held})


@pytest.fixture
def recipe(volume_recipe):
    return replace(volume_recipe, patch=(32, 40, 48), frame=(64, 72, 80))


def test_a_patch_as_it_is_has_its_slice_in_the_middle(recipe):
    stack = ball_stack()
    image, mask, number = VolumeDataset([stack], recipe)[28]
    assert image.shape == mask.shape == (1, 32, 40, 48) and image.dtype == mask.dtype == torch.float32 and number == 0
    expected = recipe.intensity(stack.ct[12:44, CENTRE[1] - 20 : CENTRE[1] + 20, CENTRE[2] - 24 : CENTRE[2] + 24])
    np.testing.assert_allclose(image[0], expected, atol=1e-5)
    assert float(mask.sum()) == pytest.approx(stack.share.sum() / 255, rel=1e-4)
    first, _, _ = VolumeDataset([stack], recipe)[0]
    assert (first[0, :16] == recipe.intensity.air).all(), "below the first slice lies air"
    np.testing.assert_allclose(first[0, 16], recipe.intensity(stack.ct[0, 15:55, 16:64]), atol=1e-5)


def test_a_seed_is_one_variation(recipe):
    dataset = VolumeDataset([ball_stack()], recipe)
    one, again, other = (dataset[28, seed] for seed in (1, 1, 2))
    assert torch.equal(one[0], again[0]) and torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])


def test_draws_do_not_depend_on_workers(toy_case, volume_recipe):
    stack = make_stack(toy_case(), volume_recipe)
    drawn = []
    for workers in (0, 2):
        loader = LungDataModule([stack], [stack], volume_recipe, workers).train_dataloader()
        loader.sampler.set_epoch(1)
        drawn.append([torch.cat(part) for part in list(zip(*loader, strict=True))[:2]])
    assert all(torch.equal(one, two) for one, two in zip(*drawn, strict=True))
    assert len({image.numpy().tobytes() for image in drawn[0][0]}) == volume_recipe.slices_per_epoch


def test_the_mask_follows_the_image(recipe):
    """Whatever moves, stretches and ends: in this stack each voxel is as bright as it is tumour."""
    dataset, held = VolumeDataset([ball_stack()], replace(recipe, augmentation=MOVES)), 0
    for seed in range(20):
        image, mask, _ = dataset[28, seed]
        torch.testing.assert_close(image, (mask - EDGE).clamp(min=0), atol=0.005, rtol=0)
        held += bool(mask.max() > 0.9)
    assert held >= 12


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ({}, (1, 1)),
        ({"scale": (1.5, 1.5)}, (1.5, 1.5)),
        ({"scale": (0.8, 0.8)}, (0.8, 0.8)),
        ({"context_stretch": (1.6, 1.6)}, (1 / 1.6, 1)),
        ({"rotate_deg": 90.0, "flip_left_right": 1.0}, (1, 1)),
    ],
    ids=str,
)
def test_a_ball_becomes_as_large_as_it_should(recipe, settings, factor):
    """Along z and in the plane, by the spread of its mass; the patch is so large that no part of it is cut off."""
    large = replace(recipe, patch=(48, 56, 64), augmentation=replace(STILL, **settings))
    _, mask, _ = VolumeDataset([ball_stack(radius=5.0)], large)[CENTRE[0], 3]
    weights = mask[0].double().numpy()
    spreads = []
    for axis in range(3):
        profile = weights.sum(axis=tuple({0, 1, 2} - {axis}))
        places = np.arange(len(profile))
        middle = (places * profile).sum() / profile.sum()
        spreads.append(np.sqrt(((places - middle) ** 2 * profile).sum() / profile.sum()))
    ball = 5.0 / np.sqrt(5)  # the spread of a ball of radius 5 along any axis
    np.testing.assert_allclose(spreads, ball * np.array([factor[0], factor[1], factor[1]]), rtol=0.05)


def test_a_scan_may_end_in_a_patch_and_air_lies_beyond(recipe):
    dataset = VolumeDataset([of_tissue(ball_stack())], replace(recipe, augmentation=replace(STILL, context_end=1.0)))
    kinds = set()
    for seed in range(8):
        image, mask, _ = dataset[28, seed]
        air = (image[0] == recipe.intensity.air).all(dim=2).all(dim=1)
        assert 14 <= int(air.sum()) <= 17, "it ends at the patch's middle"
        assert not mask[0][air].any()
        kinds.add(bool(air[0]))
    assert kinds == {True, False}, "above in some, below in others"


def of_tissue(stack: SliceStack) -> SliceStack:
    """Return the stack with soft tissue everywhere, so that air is what a patch adds."""
    return replace(stack, stored_ct=np.full(SHAPE, 40, np.int16))


def test_patches_stay_inside_and_show_their_tumour(recipe):
    """Near a corner too: a patch does not spend itself on what lies outside the stack."""
    stacks = [of_tissue(ball_stack(centre=(8, 9, 70))), of_tissue(ball_stack())]
    dataset, middles = VolumeDataset(stacks, replace(recipe, augmentation=None)), []
    for seed in range(20):
        for item in (8, SHAPE[0] + CENTRE[0]):
            image, mask, _ = dataset[item, seed]
            assert mask.max() > 0.9 and (image > recipe.intensity.air).all()
        middles.append(np.argwhere(mask[0].numpy() > 0.5).mean(axis=0))
    assert np.std(middles, axis=0).min() > 2, "or a network would learn that tumours are in the middle"


def test_half_of_the_draws_show_tumour_and_patients_share_them(recipe):
    small, large = ball_stack(radius=2.0), ball_stack(radius=12.0)
    data = LungDataModule([small, large], [small], replace(recipe, slices_per_epoch=400, augmentation=None))
    items = [item for item, _ in data.train_dataloader().sampler]
    held, patients = data.train_set.has_tumour[items], data.train_set.patients[items]
    assert held.mean() == pytest.approx(0.5, abs=0.08)
    assert patients[held].mean() == pytest.approx(0.5, abs=0.12)


def test_validation_reads_every_volume_once_and_whole(recipe):
    stacks = [ball_stack(), ball_stack(radius=3.0)]
    data = LungDataModule(stacks, stacks, recipe)
    batches = list(data.val_dataloader())
    assert [int(patients) for _, _, patients in batches] == [0, 1]
    for stack, (image, mask, _) in zip(stacks, batches, strict=True):
        np.testing.assert_array_equal(image[0, 0], recipe.intensity(stack.ct))
        np.testing.assert_allclose(mask[0, 0], stack.share / 255, atol=1e-6)


def test_a_process_without_a_patient_sees_one_that_does_not_count(recipe):
    volumes = WholeVolumes(VolumeDataset([ball_stack()], recipe))
    image, _, number = volumes[3]
    assert number == -1 and torch.equal(image, volumes[0][0])


def test_between_slices_is_interpolated_and_beyond_them_is_filled():
    planes = np.arange(5, dtype=np.float32)[:, None, None] ** 2 * np.ones((1, 2, 3), np.float32)
    heights = np.array([-2.0, -0.25, 0.0, 1.5, 4.0, 4.5, 9.0])
    taken = at_heights(planes, heights, -8.0)
    assert taken.dtype == np.float32
    np.testing.assert_allclose(taken[:, 1, 2], [-8, -2, 0, 2.5, 16, 4, -8])


def test_thick_slices_blur_along_z_alone():
    image = np.zeros((32, 8, 8), np.float32)
    image[16:] = 1
    image[:, 4:] += 2
    before = image.copy()
    thick = replace(STILL, low_resolution_probability=1.0, low_resolution=(3.0, 3.0))
    vary_depth(image, thick, np.random.default_rng(0))
    assert image.mean() == pytest.approx(before.mean(), abs=0.02)
    np.testing.assert_allclose(image[:, 4:], image[:, :4] + 2, atol=1e-5)
    assert 2 <= ((image[:, 0, 0] > 0.05) & (image[:, 0, 0] < 0.95)).sum() <= 6
    assert np.array_equal(vary_depth(before.copy(), STILL, np.random.default_rng(0)), before)
