"""Lesions found by overlap: every branch of the rule by hand, its symmetry, and FROC beside the table."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, gaussian_filter
from test_metrics import EMPTY, SPACING, ball

from lungseg_helpers.errors import ScanError
from lungseg_helpers.evaluation.lesions import FOUND_IOU, froc, lesion_rows, lesion_scores, match
from lungseg_helpers.evaluation.metrics import score
from lungseg_helpers.prediction.postprocessing import drop_small, probabilities_to_mask
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.scans.masks import components
from lungseg_helpers.scans.orientation import oriented
from lungseg_helpers.scans.scan import read_scan


def row(*voxels: tuple[int, int]) -> np.ndarray:
    """A mask of 40 voxels in a row, with those from ... to before ... inside."""
    mask = np.zeros((1, 1, 40), np.uint8)
    for start, stop in voxels:
        mask[0, 0, start:stop] = 1
    return mask


@pytest.mark.parametrize(
    ("truth", "predicted", "found", "false"),
    [
        pytest.param(row((5, 15)), row((5, 15)), [True], 0, id="the lesion itself"),
        pytest.param(row((5, 15)), row(), [False], 0, id="nothing predicted"),
        pytest.param(row(), row((5, 15)), [], 1, id="no lesion"),
        pytest.param(row((5, 15)), row((20, 22)), [False], 1, id="beside it"),
        pytest.param(row((5, 15)), row((5, 6)), [True], 0, id="a tenth of it, exactly"),
        pytest.param(row((5, 16)), row((5, 6)), [False], 1, id="less than a tenth of it"),
        pytest.param(row((0, 20)), row((3, 4), (9, 10)), [True], 0, id="two pieces that make a tenth together"),
        pytest.param(row((5, 8)), row((5, 35)), [True], 0, id="ten times as large, exactly"),
        pytest.param(row((5, 8)), row((5, 36)), [False], 1, id="a smear over it"),
        pytest.param(row((5, 8), (20, 30)), row((4, 31)), [True, True], 0, id="one component finds two"),
        pytest.param(row((5, 7), (20, 30)), row((5, 30)), [False, True], 0, id="one finds the larger of two"),
        pytest.param(row((0, 9)), row((0, 7), (8, 30)), [True], 1, id="a smear at its edge costs it nothing"),
        pytest.param(row((0, 9), (10, 30)), row((0, 7), (8, 30)), [True, True], 0, id="nor does the neighbour's"),
        pytest.param(row((5, 15)), row((5, 15), (20, 22), (25, 30)), [True], 2, id="found, and two false"),
    ],
)
def test_every_branch_of_the_rule(truth, predicted, found, false):
    matched = match(truth, predicted)
    assert [each["found"] for each in lesion_rows(matched, SPACING)] == found
    assert matched.false.sum() == false
    table = score(truth, predicted, SPACING)
    assert (table["lesions"], table["lesions_found"], table["false_components"]) == (len(found), sum(found), false)


def test_rows_have_volume_and_overlap_and_large_lesions_are_counted_apart():
    truth, predicted = ball((8, 8, 8), (24, 24, 24)), ball((9, 8, 8), (8, 24, 8))
    matched = match(truth, predicted)
    first, second = lesion_rows(matched, SPACING)
    one, moved = ball((8, 8, 8)) > 0, ball((9, 8, 8)) > 0
    assert first == {"ml": one.sum() / 1000, "iou": (one & moved).sum() / (one | moved).sum(), "found": True}
    assert second == {"ml": first["ml"], "iou": 0.0, "found": False}
    np.testing.assert_array_equal(matched.drawn(1), moved)
    assert not matched.drawn(2).any()
    assert [lesion_scores(matched, SPACING)[name] for name in ("large_lesions", "large_found")] == [0, 0]
    assert [lesion_scores(matched, (5.0, 5.0, 5.0))[name] for name in ("large_lesions", "large_found")] == [2, 1]


def test_components_that_meet_at_a_corner_are_one():
    truth = EMPTY.copy()
    truth[3, 3, 3] = truth[4, 4, 4] = 1
    assert lesion_rows(match(truth, truth), SPACING) == [{"ml": 0.002, "iou": 1.0, "found": True}]


@st.composite
def masks(draw):
    """Two blobby masks of one shape, sparse or dense, with chances of being empty."""
    shape = tuple(draw(st.tuples(*[st.integers(1, 9)] * 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sigma, near = draw(st.sampled_from([0.0, 0.6, 1.2])), draw(st.floats(0, 1))
    field, other = (gaussian_filter(rng.normal(size=shape), sigma) for _ in range(2))
    shares = draw(st.tuples(*[st.floats(0, 1)] * 2))
    fields = (field, near * field + (1 - near) * other)
    return tuple(each > np.quantile(each, share) for each, share in zip(fields, shares, strict=True))


def by_definition(truth, predicted):
    """The rule as its words are, lesion by lesion: what is found and what is false, as sets of voxels."""
    (lesions, known), (pieces, reported) = components(truth), components(predicted)
    found, good = [], set()
    for number in range(1, known + 1):
        lesion = lesions == number
        mine = [p for p in range(1, reported + 1) if (lesion & (pieces == p)).sum() / (pieces == p).sum() >= 0.1]
        drawn = np.isin(pieces, mine)
        if (lesion & drawn).sum() / (lesion | drawn).sum() >= 0.1:
            found.append(number)
            good |= set(mine)
    return np.isin(lesions, found), (pieces > 0) & ~np.isin(pieces, list(good))


def maps(matched):
    """Where lesions were found and components are false, whatever their numbers."""
    return matched.found[matched.lesions], matched.false[matched.components]


@settings(max_examples=200, deadline=None)
@given(masks())
def test_matching_is_the_rule_in_words(pair):
    for ours, theirs in zip(maps(match(*pair)), by_definition(*pair), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=200, deadline=None)
@given(masks(), st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_no_order_of_axes_or_numbers_changes_what_is_found(pair, axes, flipped):
    # flips and exchanged axes also renumber lesions and components
    turned = [np.flip(mask.transpose(axes), tuple(flipped)) for mask in pair]
    for plain, other in zip(maps(match(*pair)), maps(match(*turned)), strict=True):
        np.testing.assert_array_equal(np.flip(plain.transpose(axes), tuple(flipped)), other)


@settings(max_examples=200, deadline=None)
@given(masks(), st.integers(0, 2**32 - 1))
def test_a_component_that_is_taken_away_finds_no_lesion(pair, seed):
    truth, predicted = pair
    pieces, count = components(predicted)
    fewer = match(truth, predicted & (pieces != np.random.default_rng(seed).integers(0, count + 1)))
    assert not (maps(fewer)[0] & ~maps(match(truth, predicted))[0]).any()


@settings(max_examples=100, deadline=None)
@given(masks())
def test_painting_everything_finds_only_what_fills_a_tenth_of_it(pair):
    truth, _ = pair
    matched = match(truth, np.ones_like(truth))
    np.testing.assert_array_equal(matched.found[1:], matched.voxels[1:] / truth.size >= FOUND_IOU)
    assert matched.false.sum() == (not matched.found.any())


def test_froc_by_hand():
    truth = ball((8, 8, 8), (24, 24, 24), (8, 24, 8))
    probability = 0.6 * ball((8, 8, 8)) + 0.3 * ball((24, 8, 8)) + 0.9 * ball((8, 24, 24), radius=1)
    probability[8, 8, 8] = 0.8  # a peak that is less than a tenth of its lesion
    probability[24, 24, 24] = 0.1
    curve = froc([(truth, probability.__gt__), (EMPTY, EMPTY.__gt__)], [0.05, 0.85, 0.7, 0.5, 0.2, 1.0])
    assert list(curve.index) == [1.0, 0.85, 0.7, 0.5, 0.2, 0.05]
    assert (curve["lesions"] == 3).all()
    assert list(curve["lesions_found"]) == [0, 0, 0, 1, 1, 1]
    assert list(curve["false_components"]) == [0, 1, 2, 1, 2, 3]
    assert list(curve["false_components_per_scan"]) == [0, 0.5, 1, 0.5, 1, 1.5]
    assert list(curve["sensitivity"]) == pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 1 / 3])


def test_froc_of_no_lesion_or_no_scan_has_no_sensitivity():
    for cases in ([], [(EMPTY, ball((8, 8, 8)).__gt__)]):
        curve = froc(cases, [0.5])
        assert curve["sensitivity"].isna().all() and (curve["lesions_found"] == 0).all()


def test_froc_agrees_with_the_table_at_every_cut():
    rng = np.random.default_rng(2)
    cases = []
    for _ in range(6):
        field = gaussian_filter(rng.normal(size=(14, 18, 20)), 1.5)
        other = field + rng.uniform(0, 1) * gaussian_filter(rng.normal(size=field.shape), 1.0)
        cases.append(
            (field > np.quantile(field, 0.9), (other.argsort(None).argsort().reshape(field.shape)) / field.size)
        )

    def mask_at(probability, cut):
        return drop_small(probability > cut, 1.0, 5.0)

    cuts = [0.5, 0.8, 0.9, 0.97]
    curve = froc([(truth, partial(mask_at, probability)) for truth, probability in cases], cuts)
    for cut in cuts:
        rows = [score(truth, mask_at(probability, cut), SPACING) for truth, probability in cases]
        for name in ("lesions", "lesions_found", "false_components"):
            assert curve.loc[cut, name] == sum(each[name] for each in rows)
    assert curve["lesions_found"].nunique() > 1 and curve["false_components"].nunique() > 1


def test_shapes_must_agree():
    with pytest.raises(ScanError, match="differ in shape"):
        match(EMPTY, EMPTY[:5])
    with pytest.raises(ScanError, match="differ in shape"):
        froc([(EMPTY, EMPTY[:5].__gt__)], [0.5])


def test_froc_of_a_stack_runs_through_the_tables_figures(toy_case, toy_recipe):
    """Masks in the scan's own voxels, without what is too small: as predict makes them, and evaluate scores them."""
    recipe = replace(toy_recipe, threshold=0.6, smallest_ml=8.0)
    stack = make_stack(toy_case("a", "RAS"), recipe)
    label = read_scan(toy_case("a", "RAS").label, "label")
    truth = oriented(label.voxels, label.affine)
    field = gaussian_filter(np.random.default_rng(0).normal(size=stack.ct.shape), 1.5)
    probability = np.clip(0.5 + 3 * field, 0, 1).astype(np.float32)
    probability[binary_dilation(stack.mask, iterations=3)] = 0.1
    probability[stack.mask > 0] = 0.9
    curve = froc([(truth, partial(probabilities_to_mask, probability, stack, recipe))], [0.3, 0.6, 0.95])
    table = score(truth, probabilities_to_mask(probability, stack, recipe), stack.grid.scan_spacing)
    every = score(truth, probabilities_to_mask(probability, stack, replace(recipe, smallest_ml=0)), (1, 1, 1))
    assert 0 < table["false_components"] < every["false_components"], "some are too small to count"
    for name in ("lesions", "lesions_found", "false_components"):
        assert curve.loc[0.6, name] == table[name]
    assert table["lesions_found"] == 1
