"""Scores at the edges: empty, identical, one voxel, joined lesions."""

import math

import nibabel as nib
import numpy as np
import pytest

from lungseg_helpers.errors import ScanError, SourceError
from lungseg_helpers.metrics import dice, evaluate_pairs, find_pairs, score, score_table, summary

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


def test_lesions_found_missed_and_false():
    truth = ball((8, 8, 8), (24, 24, 24))
    predicted = ball((9, 8, 8), (8, 24, 8))
    row = score(truth, predicted, SPACING)
    assert (row["lesions"], row["lesions_found"], row["false_components"]) == (2, 1, 1)
    assert row["true_ml"] == pytest.approx(truth.sum() * 1.0 / 1000)


def test_one_component_can_find_two_lesions():
    truth = ball((8, 8, 8), (8, 8, 20))
    joined = truth.copy()
    joined[8, 8, 8:20] = 1
    row = score(truth, joined, SPACING)
    assert (row["lesions"], row["lesions_found"], row["false_components"]) == (2, 2, 0)


def test_undefined_patients_are_left_out_of_the_mean():
    one = ball((8, 8, 8))
    table = score_table({"b": score(EMPTY, EMPTY, SPACING), "a": score(one, one, SPACING)})
    assert list(table.index) == ["a", "b"]
    assert summary(table)["mean_dice"] == 1 and summary(table)["patients"] == 2


def test_shapes_must_agree():
    with pytest.raises(ScanError, match="differ in shape"):
        score(EMPTY, EMPTY[:5], SPACING)


def _save(mask, path, spacing=SPACING):
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(mask, np.diag([*spacing, 1.0])), path)


def test_files_are_paired_by_case_and_bad_ones_named(tmp_path):
    one = ball((8, 8, 8))
    for case in ("a", "b", "c"):
        _save(one, tmp_path / "set" / "labelsTr" / f"{case}.nii.gz")
    _save(one, tmp_path / "out" / "a_pred.nii.gz")
    _save(one, tmp_path / "out" / "b_pred.nii.gz", (1.0, 1.0, 1.0))
    _save(one, tmp_path / "out" / "z_pred.nii.gz")
    # the same mask with its rows stored the other way round
    turned = np.diag([-SPACING[0], *SPACING[1:], 1.0])
    turned[0, 3] = SPACING[0] * (len(one) - 1)
    nib.save(nib.Nifti1Image(one[::-1], turned), tmp_path / "out" / "c_pred.nii.gz")
    pairs, problems = find_pairs(tmp_path / "set", tmp_path / "out")
    assert list(pairs) == ["a", "b", "c"] and len(problems) == 1 and "z_pred" in problems[0]
    table, failed = evaluate_pairs(pairs)
    assert list(table.index) == ["a", "c"] and (table["dice"] == 1).all()
    assert len(failed) == 1 and "b_pred" in failed[0]
    _save(one, tmp_path / "other" / "q.nii.gz")
    with pytest.raises(SourceError, match="check both folders"):
        find_pairs(tmp_path / "other", tmp_path / "out")
