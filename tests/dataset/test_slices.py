"""Image and mask move together, randomness is drawn once and reproducibly."""

import multiprocessing
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lungseg_helpers.dataset.augmentation import draw_map, fit_frame, follow, patch_centre, vary_context
from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.sampler import tumour_weights, weighted_fraction
from lungseg_helpers.dataset.slices import SliceDataset, read_channels, read_hu
from lungseg_helpers.errors import SplitError
from lungseg_helpers.preprocessing.stacks import make_stack, open_stack, save_stack
from lungseg_helpers.recipe import Augmentation
from lungseg_helpers.recipes import DIVIDED, get_recipe


@pytest.fixture
def stack(toy_case, toy_recipe):
    return make_stack(toy_case(), toy_recipe)


def test_neighbours_are_at_the_recipe_distance(stack, toy_recipe):
    """The toy chest has 6 mm slices, so -6, 0, 6 mm are the slices below, here and above; ends repeat."""
    channels = read_channels(stack, 5, toy_recipe)
    for channel, index in enumerate((4, 5, 6)):
        np.testing.assert_array_equal(channels[channel], toy_recipe.intensity(stack.ct[index]))
    first = read_channels(stack, 0, toy_recipe)
    np.testing.assert_array_equal(first[0], first[1])


def test_neighbours_stretch_and_end_as_asked(stack, toy_recipe):
    """Twice as far away is two slices of 6 mm; beyond the ends that are given, the last slice repeats."""
    wide = read_hu(stack, 5, toy_recipe, stretch=2.0)
    cut = read_hu(stack, 5, toy_recipe, stretch=2.0, ends=(5, 6))
    for channel, (far, near) in enumerate(((3, 5), (5, 5), (7, 6))):
        np.testing.assert_array_equal(wide[channel], stack.ct[far])
        np.testing.assert_array_equal(cut[channel], stack.ct[near])


def test_context_varies_within_its_settings():
    settings = Augmentation(context_stretch=(0.5, 2.0), context_end=0.4)
    draws = [vary_context(7, 20, settings, np.random.default_rng(seed)) for seed in range(600)]
    stretches = np.array([draw["stretch"] for draw in draws])
    assert 0.5 <= stretches.min() < 0.55 and 1.85 < stretches.max() <= 2.0
    assert np.median(stretches) == pytest.approx(1.0, abs=0.12), "closer by as often as farther away"
    ends = [draw["ends"] for draw in draws]
    assert set(ends) == {(0, 19), (7, 19), (0, 7)}
    assert sum(pair != (0, 19) for pair in ends) / len(ends) == pytest.approx(0.4, abs=0.07)


def test_frame_pads_with_the_fill_and_cuts_the_centre():
    array = np.arange(12.0).reshape(3, 4)
    padded = fit_frame(array, (5, 8), -1.0)
    np.testing.assert_array_equal(padded[1:4, 2:6], array)
    assert (padded == -1).sum() == 40 - 12
    np.testing.assert_array_equal(fit_frame(padded, (3, 4), 0.0), array)


def test_a_seed_is_one_variation(stack, toy_recipe):
    dataset = SliceDataset([stack], toy_recipe)
    one, again, other, plain = (dataset[item][0] for item in ((9, 1), (9, 1), (9, 2), 9))
    assert torch.equal(one, again)
    assert not torch.equal(one, other) and not torch.equal(one, plain)


def _epochs(stack, recipe, workers: int) -> list[torch.Tensor]:
    """Return the images of the first two epochs, as Lightning would draw them."""
    loader = LungDataModule([stack], [stack], recipe, workers).train_dataloader()
    drawn = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        drawn.append(torch.cat([images for images, _, _ in loader]))
    return drawn


def test_draws_do_not_depend_on_workers_and_epochs_differ(stack, toy_recipe):
    """With one stream of random numbers copied to each forked worker, all three would fail."""
    alone, shared = _epochs(stack, toy_recipe, 0), _epochs(stack, toy_recipe, 2)
    for one, two in zip(alone, shared, strict=True):
        assert torch.equal(one, two)
    assert not any(torch.equal(a, b) for a in alone[0] for b in alone[1])
    assert len({images.numpy().tobytes() for images in alone[0]}) == len(alone[0])


def test_weights_give_the_asked_for_fraction():
    flags = np.zeros(1000, bool)
    flags[:97] = True
    weights = tumour_weights(flags, 0.4)
    assert weights[flags].sum() / weights.sum() == pytest.approx(0.4)
    drawn = np.random.default_rng(0).choice(1000, 20000, p=weights / weights.sum())
    assert flags[drawn].mean() == pytest.approx(0.4, abs=0.02)


def test_patients_share_the_tumour_draws():
    flags = np.array([True] * 60 + [True] * 5 + [False] * 100)
    patients = np.repeat([0, 2, 2], [60, 5, 100])
    weights = tumour_weights(flags, 0.5, patients)
    assert weights[:60].sum() == pytest.approx(0.25) and weights[60:65].sum() == pytest.approx(0.25)
    assert weights.sum() == pytest.approx(1)


def test_patches_stay_inside_the_slice_and_hold_their_tumour():
    rng = np.random.default_rng(0)
    mask = np.zeros((90, 120), np.uint8)
    mask[80:84, 5:9] = 1
    for _ in range(50):
        row, column = patch_centre(mask.shape, mask, (64, 64), rng)
        assert 32 <= row <= 90 - 32 and 32 <= column <= 120 - 32
        assert follow(mask[None], draw_map((64, 64), (row, column), None, rng), 0.0, nearest=True).any()
    for held in (mask, None):
        assert patch_centre(mask.shape, held, (128, 128), rng) == (45, 60)


@pytest.mark.parametrize("flags", [np.zeros(5, bool), np.ones(5, bool)])
def test_weights_need_both_kinds(flags):
    with pytest.raises(SplitError, match="both kinds"):
        tumour_weights(flags, 0.5)


def test_flags_come_from_the_case_file_and_agree_with_the_masks(stack, toy_recipe):
    dataset = SliceDataset([stack], toy_recipe)
    np.testing.assert_array_equal(dataset.has_tumour, stack.share.any(axis=(1, 2)))


def test_data_module_oversamples_training_only(stack, toy_recipe):
    data = LungDataModule([stack], [stack], replace(toy_recipe, slices_per_epoch=400))
    held = [mask.any().item() for _, masks, _ in data.train_dataloader() for mask in masks]
    assert np.mean(held) == pytest.approx(0.5, abs=0.12)
    seen = [mask.any().item() for _, masks, _ in data.val_dataloader() for mask in masks]
    np.testing.assert_array_equal(seen, stack.share.any(axis=(1, 2)))


def test_a_tumour_slice_weighs_what_the_recipe_says(toy_case, toy_recipe):
    stacks = [make_stack(toy_case(), toy_recipe)]
    recipe = replace(toy_recipe, tumour_weight=8.0, slices_per_epoch=0)
    sampler = LungDataModule(stacks, stacks, recipe).train_dataloader().sampler
    held = SliceDataset(stacks, recipe).has_tumour
    assert len(sampler) == len(held), "an epoch of 0 slices has as many as there are"
    weights = np.array(sampler.weights)
    assert weights[held].max() == weights[held].min() == pytest.approx(8 * weights[~held].max())
    assert weights[held].sum() / weights.sum() == pytest.approx(weighted_fraction(held, 8.0))
    assert weighted_fraction(held, 0.0) == 0.5, "inverse frequency"
    even = (~held).sum() / held.sum()
    assert weighted_fraction(held, even) == pytest.approx(0.5)


def test_forked_processes_augment_alike_where_the_recipe_says_so(toy_case, toy_recipe):
    stacks = [make_stack(toy_case(), toy_recipe)]
    recipe = replace(toy_recipe, same_seeds=2, batch_size=4, slices_per_epoch=16)
    sampler = LungDataModule(stacks, stacks, recipe).train_dataloader().sampler
    first = list(sampler)
    seeds = np.array([seed for _, seed in first]).reshape(4, 4)
    np.testing.assert_array_equal(seeds[0], seeds[1])
    np.testing.assert_array_equal(seeds[2], seeds[3])
    assert len(set(seeds.ravel().tolist())) == 8
    sampler.set_epoch(1)
    again = list(sampler)
    assert [seed for _, seed in again] == [seed for _, seed in first]
    assert [item for item, _ in again] != [item for item, _ in first], "which slices are drawn differs all the same"


@pytest.mark.parametrize("border_hu", [-1024, 0])
def test_borders_are_filled_with_what_the_recipe_says(stack, toy_recipe, border_hu):
    moves = replace(get_recipe("baseline").augmentation, scale=(0.5, 0.5), elastic_probability=0.0)
    recipe = replace(toy_recipe, augmentation=moves, border_hu=border_hu, patch=None, intensity=DIVIDED)
    image, _, _ = SliceDataset([stack], recipe)[20, 1]
    assert image[:, 0, 0].numpy() == pytest.approx(border_hu / 3071, abs=1e-6)


def test_a_fixed_shift_moves_every_slice_alike(stack, toy_recipe):
    still = replace(
        get_recipe("baseline").augmentation, scale=(1.0, 1.0), rotate_deg=0.0, elastic_probability=0.0, shift=0.0
    )
    plain, shifted = (replace(toy_recipe, patch=None, augmentation=replace(still, fixed_shift=by)) for by in (0, 0.25))
    asked = ((plain, 1), (shifted, 1), (shifted, 2))
    images = [SliceDataset([stack], recipe)[20, seed][0][1] for recipe, seed in asked]
    torch.testing.assert_close(images[1], images[2])
    rows, columns = (side // 4 for side in toy_recipe.frame)
    torch.testing.assert_close(images[1][rows:, columns:], images[0][:-rows, :-columns], atol=1e-5, rtol=0)


def test_a_spawned_worker_gets_paths_and_reads_what_this_process_reads(toy_case, toy_recipe, tmp_path):
    """Workers are spawned on macOS, Windows and from Python 3.14 on: all that a dataset holds is pickled for each."""
    dataset = SliceDataset([open_stack(save_stack(make_stack(toy_case(), toy_recipe), tmp_path))], toy_recipe)
    assert len(pickle.dumps(dataset)) < 10_000
    asked = [(20, 5), (3, 7)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.map(dataset.__getitem__, asked)
    for item, (image, mask, _) in zip(asked, there, strict=True):
        torch.testing.assert_close(image, dataset[item][0], rtol=0, atol=0)
        torch.testing.assert_close(mask, dataset[item][1], rtol=0, atol=0)


def test_forked_workers_start_after_opencv_has_used_threads(toy_case, toy_recipe):
    """In a process of its own, because what would fail is a wait without end."""
    folder = save_stack(make_stack(toy_case(), toy_recipe), toy_case().image.parent)
    code = """
import sys, cv2, numpy as np
from pathlib import Path
from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.preprocessing.stacks import open_stack
from lungseg_helpers.recipe import Recipe
cv2.setNumThreads(4)
for _ in range(20):  # enough work for OpenCV to start its threads
    cv2.resize(np.zeros((1000, 1000), np.float32), (3000, 3000), interpolation=cv2.INTER_CUBIC)
recipe = Recipe(patch=(32, 32), batch_size=2, slices_per_epoch=4)
stack = open_stack(Path(sys.argv[1]))
print(len(list(LungDataModule([stack], [stack], recipe, workers=1).train_dataloader())))
"""
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=60)
    assert done.stdout == "2\n", done.stderr


def test_validation_sees_every_tumour_pixel_of_a_slice_that_is_larger_than_the_frame(stack, toy_recipe):
    rows, columns = (side // 2 for side in stack.grid.shape[1:])
    dataset = SliceDataset([stack], replace(toy_recipe, frame=(rows, columns), patch=(16, 16)))
    seen = sum(int((dataset[item][1] > 0.5).sum()) for item in range(len(dataset)))
    assert seen == int(stack.mask.sum()), "a tumour beside the middle counts as well"
    assert dataset[0][0].shape[1:] == stack.grid.shape[1:] and dataset[0, 1][0].shape[1:] == (16, 16)
