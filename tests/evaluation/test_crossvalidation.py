"""Every patient of a data set is tested once, by a network that has not seen the patient."""

from dataclasses import replace

import pandas as pd
import pytest

from lungseg_helpers.cli import main
from lungseg_helpers.dataset.split import fold_patients
from lungseg_helpers.evaluation.crossvalidation import crossvalidate, pooled
from lungseg_helpers.evaluation.scores import COLUMNS, Evaluation, by_patient, score_table
from lungseg_helpers.paths import ROOT, run_dir
from lungseg_helpers.phantom import PHANTOMS
from lungseg_helpers.training.weights import load_weights


@pytest.fixture
def root(toy_case, tmp_path, monkeypatch):
    """A data set of five toy patients, and outputs of its own."""
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LUNGSEG_OUTPUTS", str(tmp_path / "outputs"))
    for name in "abcde":
        toy_case(name)
    return tmp_path


def test_every_patient_is_scored_once_by_a_network_that_never_saw_it(root, toy_recipe):
    short = replace(toy_recipe, epochs=1, slices_per_epoch=4)
    scores = crossvalidate(str(root), short, "cpu", 0, progress=False)
    assert list(scores.table.index) == list("abcde") and sorted(scores.table["fold"]) == [0, 1, 2, 3, 4]
    assert len(scores.lesions) == 5 and scores.problems == []
    for case, fold in scores.table["fold"].items():
        weights = run_dir(str(root), replace(short, fold=int(fold))) / "weights.ckpt"
        roles = load_weights(weights)[2]
        assert roles["test"] == [case] and case not in roles["train"] + roles["validation"]
        changed = weights.stat().st_mtime_ns
        crossvalidate(str(root), short, "cpu", 0, progress=False) if fold == 0 else None
        assert weights.stat().st_mtime_ns == changed, "a finished fold is used as it is"


def test_a_patient_with_two_scans_in_one_fold_leaves_the_others_in_the_mean():
    rows = [{"a1": 0.9, "a2": 0.9}, {"b": 0.1}, {"c": 0.1}]
    empty = pd.DataFrame(columns=["case", "ml", "iou", "found"])
    folds = [
        Evaluation(score_table({id: {"dice": dice} for id, dice in fold.items()}, {"a1": "a", "a2": "a"}), empty, [])
        for fold in rows
    ]
    table = by_patient(pooled(folds).table)
    assert table["dice"].to_dict() == {"a": 0.9, "b": 0.1, "c": 0.1}


def test_too_few_patients_for_five_folds_are_one_line(root, capsys, tmp_path, monkeypatch):
    (tmp_path / "labelsTr" / "e.nii.gz").unlink()
    monkeypatch.setattr("sys.argv", ["lungseg", "crossvalidate", "--data", str(root), "--device", "cpu"])
    with pytest.raises(SystemExit):
        main()
    assert "4 labelled patients; bring 5 or more for 5 folds" in capsys.readouterr().err


def test_the_committed_table_has_every_phantom_once_in_its_fold():
    table = pd.read_csv(ROOT / "benchmarks" / "crossvalidation.csv", index_col="case")
    assert list(table.columns) == [*COLUMNS, "fold"]
    assert list(table.index) == [f"lung_{number:03d}" for number in range(1, PHANTOMS + 1)]
    folds = fold_patients(list(table.index))
    assert {case: fold for fold, part in enumerate(folds) for case in part} == table["fold"].to_dict()
    assert table["dice"].between(0, 1).all() and table.groupby("fold")["dice"].mean().nunique() == len(folds)
