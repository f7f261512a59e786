"""The same predictions under six definitions of Dice: the pattern that made five projects incomparable."""

import numpy as np
import pytest

from lungseg_helpers.evaluation.dice_definitions import (
    DEFINITIONS,
    PUBLISHED,
    batches_with_epsilon,
    batches_with_tumour,
    patients_mean,
    pooled_soft,
    slices_soft,
    volumes_mean,
)

SLICES = 100


def patient(seed: int, first: int, count: int, radius: int) -> np.ndarray:
    """A mask of 100 slices with a disc in ``count`` of them."""
    rows, columns = np.mgrid[:40, :40]
    centre = np.random.default_rng(seed).integers(12, 28, 2)
    truth = np.zeros((SLICES, 40, 40), np.uint8)
    truth[first : first + count] = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return truth


TRUTHS = [patient(0, 40, 12, 10), patient(1, 70, 8, 4), patient(2, 20, 6, 2), patient(3, 55, 10, 3)]


def predictions(kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """A model that says nothing, a perfect one, or one that draws the large tumour well and misses the small ones."""
    if kind == "nothing":
        return [(np.zeros(truth.shape, np.float32), truth) for truth in TRUTHS]
    if kind == "perfect":
        return [(truth.astype(np.float32), truth) for truth in TRUTHS]
    return [(np.where(truth.sum() > 2000, 0.95, 0.05) * truth.astype(np.float32), truth) for truth in TRUTHS]


def table(kind: str) -> dict[str, float]:
    return {name: score(predictions(kind)) for name, score in DEFINITIONS.items()}


def test_every_definition_has_the_number_that_was_published_by_it():
    assert list(PUBLISHED) == list(DEFINITIONS)


def test_a_model_that_says_nothing_is_good_under_one_definition_and_worth_0_under_the_others():
    found = table("nothing")
    assert batches_with_epsilon(predictions("nothing")) > 0.6
    assert sorted(found.values())[:-1] == [0.0] * 5


def test_a_perfect_model_is_poor_under_one_definition_and_perfect_under_the_others():
    found = table("perfect")
    assert slices_soft(predictions("perfect")) < 0.2
    assert slices_soft(predictions("perfect")) == pytest.approx(
        np.mean([truth.any(axis=(1, 2)).mean() for truth in TRUTHS])
    )
    assert sorted(found.values())[1:] == pytest.approx([1.0] * 5)


def test_one_large_tumour_makes_a_pooled_score():
    mixed = predictions("mixed")
    assert patients_mean(mixed) == pytest.approx(0.25)
    assert pooled_soft(mixed) > 0.8
    assert slices_soft(mixed) < 0.1 < pooled_soft(mixed)


def test_thresholds_and_batches_are_the_projects_own():
    truth = patient(0, 0, SLICES, 5)
    for level, windowed, afterwards, lungnet in ((0.3, 1, 0, 0), (0.52, 1, 0, 1), (0.58, 1, 1, 1)):
        pair = [(np.where(truth, level, 0).astype(np.float32), truth)]
        assert batches_with_tumour(pair) == windowed
        assert volumes_mean(pair) == afterwards
        assert batches_with_epsilon(pair) == pytest.approx(lungnet, abs=1e-6)
    # 100 slices: 7 batches of 16, the first of which alone holds the tumour
    early = [(np.zeros((SLICES, 40, 40), np.float32), patient(0, 2, 10, 5))]
    assert batches_with_epsilon(early) == pytest.approx(6 / 7, abs=1e-6)
    assert batches_with_tumour([(early[0][0], np.zeros_like(early[0][1]))]) != 0, "no batch with tumour has no score"
