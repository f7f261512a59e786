"""Scores against MONAI's and against an implementation of its own, and at the edges: empty, one voxel, joined."""

import math
import warnings

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from lungseg_helpers.errors import ScanError
from lungseg_helpers.evaluation.metrics import (
    SURFACE_MM,
    dice,
    score,
    surface_scores,
)
from lungseg_helpers.evaluation.report import summary
from lungseg_helpers.evaluation.scores import score_table
from lungseg_helpers.evaluation.statistics import bootstrap_interval

SPACING = (2.0, 1.0, 0.5)


def ball(*centres: tuple[int, int, int], radius: float = 3.0) -> np.ndarray:
    grid = np.stack(np.mgrid[:32, :32, :32], axis=-1)
    away = [((grid - np.array(centre)) ** 2).sum(-1) for centre in centres]
    return np.any([each <= radius**2 for each in away], axis=0).astype(np.uint8)


EMPTY = np.zeros((32, 32, 32), np.uint8)


def test_dice_at_the_edges():
    one = ball((10, 10, 10))
    assert dice(one, one) == 1
    assert dice(one, EMPTY) == 0 and dice(EMPTY, one) == 0
    assert math.isnan(dice(EMPTY, EMPTY))
    voxel = EMPTY.copy()
    voxel[0, 0, 0] = 1
    assert dice(voxel, voxel) == 1


def test_dice_agrees_with_its_definition_on_random_masks():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.random((2, 6, 7, 8)) < rng.random()
        sets = [set(map(tuple, np.argwhere(mask))) for mask in (a, b)]
        expected = 2 * len(sets[0] & sets[1]) / (len(sets[0]) + len(sets[1])) if any(sets) else math.nan
        assert dice(a, b) == pytest.approx(expected, nan_ok=True, abs=1e-12)


def random_pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Two blobby masks that overlap more or less, now and then at the border or a single voxel, and a spacing in mm."""
    shape = tuple(rng.integers(6, 22, 3))
    field = gaussian_filter(rng.normal(size=shape), 1.5)
    other = field + rng.uniform(0, 1.5) * gaussian_filter(rng.normal(size=shape), 1.0)
    masks = [each > np.quantile(each, rng.uniform(0.6, 0.98)) for each in (field, other)]
    if rng.random() < 0.1:
        masks[1] = np.zeros(shape, bool)
        masks[1][tuple(rng.integers(0, shape))] = True
    return *masks, tuple(rng.uniform(0.5, 5.0, 3))


def plain_surface(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Return the places in mm of the mask's voxels that have a face outside it, found voxel by voxel."""
    held = set(map(tuple, np.argwhere(mask)))
    faces = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    edge = [v for v in held if any((v[0] + f[0], v[1] + f[1], v[2] + f[2]) not in held for f in faces)]
    return np.array(edge) * spacing


def test_scores_agree_with_monai_and_with_a_plain_implementation_on_200_random_pairs():
    rng = np.random.default_rng(6)
    for _ in range(200):
        truth, predicted, spacing = random_pair(rng)
        found = score(truth, predicted, spacing)
        pair = [torch.from_numpy(mask)[None, None].float() for mask in (predicted, truth)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, metric, tolerance in (
                ("dice", DiceMetric(include_background=True), 1e-6),
                ("hd95_mm", HausdorffDistanceMetric(include_background=True, percentile=95), 1e-3),
                ("surface_dice", SurfaceDiceMetric([SURFACE_MM], include_background=True), 1e-6),
            ):
                options = {} if name == "dice" else {"spacing": spacing}
                assert found[name] == pytest.approx(metric(*pair, **options).item(), abs=tolerance)
        surfaces = [plain_surface(mask, spacing) for mask in (truth, predicted)]
        away = [cKDTree(b).query(a)[0] for a, b in (surfaces, surfaces[::-1])]
        assert found["hd95_mm"] == pytest.approx(max(np.percentile(each, 95) for each in away), abs=1e-3)
        both = np.concatenate(away)
        # a distance of exactly the tolerance may round to either side
        close = [(both <= SURFACE_MM + slack).mean() for slack in (-1e-5, 1e-5)]
        assert close[0] - 1e-6 <= found["surface_dice"] <= close[1] + 1e-6
        overlap = 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())
        assert found["dice"] == pytest.approx(overlap, abs=1e-6)


def test_surface_scores_at_the_edges():
    one = ball((10, 10, 10))
    same = surface_scores(one, one, SPACING)
    assert same == {"surface_dice": 1.0, "hd95_mm": 0.0}
    for truth, predicted in ((one, EMPTY), (EMPTY, one)):
        found = surface_scores(truth, predicted, SPACING)
        assert found["surface_dice"] == 0 and math.isnan(found["hd95_mm"])
    assert all(math.isnan(each) for each in surface_scores(EMPTY, EMPTY, SPACING).values())
    first, last = EMPTY.copy(), EMPTY.copy()
    first[0, 0, 0] = 1
    last[31, 0, 0] = 1
    assert surface_scores(first, last, SPACING)["hd95_mm"] == pytest.approx(31 * SPACING[0])
    border = EMPTY.copy()
    border[:4] = 1
    shifted = EMPTY.copy()
    shifted[1:5] = 1
    assert surface_scores(border, shifted, SPACING)["hd95_mm"] == pytest.approx(SPACING[0]), "the border is a surface"


def test_undefined_patients_are_left_out_of_the_mean_and_counted_apart():
    one = ball((8, 8, 8))
    pairs = {"b": (EMPTY, EMPTY), "a": (one, one), "c": (one, EMPTY), "d": (EMPTY, one), "e": (EMPTY, one)}
    table = score_table({case: score(*pair, SPACING) for case, pair in pairs.items()})
    assert list(table.index) == ["a", "b", "c", "d", "e"]
    found = summary(table)
    assert found["patients"] == 5 and found["mean_dice"] == 0.25 and found["mean_surface_dice"] == 0.25
    assert (found["both_empty"], found["nothing_predicted"], found["no_tumour"]) == (1, 1, 2)
    assert found["median_hd95_mm"] == 0


def test_bootstrap_interval_holds_the_mean_and_narrows_with_patients():
    rng = np.random.default_rng(0)
    few, many = rng.uniform(0, 1, 10), rng.uniform(0, 1, 1000)
    for values in (few, many):
        low, high = bootstrap_interval(values)
        assert low < values.mean() < high
        # the normal approximation of the mean's interval
        assert high - low == pytest.approx(2 * 1.96 * values.std() / len(values) ** 0.5, rel=0.15)
    assert bootstrap_interval([*few, math.nan]) == bootstrap_interval(few)
    assert math.isnan(bootstrap_interval([0.5])[0]) and math.isnan(bootstrap_interval([])[1])


def test_shapes_must_agree():
    with pytest.raises(ScanError, match="differ in shape"):
        score(EMPTY, EMPTY[:5], SPACING)
