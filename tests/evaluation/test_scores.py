"""From label and prediction files, folders and runs to tables, summaries and figures."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from test_metrics import EMPTY, SPACING, ball

from lungseg_helpers.cli import main
from lungseg_helpers.errors import SourceError
from lungseg_helpers.evaluation.metrics import score
from lungseg_helpers.evaluation.report import write_report
from lungseg_helpers.evaluation.runs import evaluate_run
from lungseg_helpers.evaluation.scores import COLUMNS, evaluate_pairs, find_pairs
from lungseg_helpers.training.weights import save_weights
from lungseg_helpers.unet import build_unet


def _save(mask, path, spacing=SPACING):
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(mask, np.diag([*spacing, 1.0])), path)


def test_files_are_paired_by_case_and_bad_ones_named(tmp_path):
    one = ball((8, 8, 8))
    for case in ("a", "b", "c", "d"):
        _save(one, tmp_path / "set" / "labelsTr" / f"{case}.nii.gz")
    _save(one, tmp_path / "out" / "a_pred.nii.gz")
    _save(one, tmp_path / "out" / "b_pred.nii.gz", (1.0, 1.0, 1.0))
    _save(one, tmp_path / "out" / "z_pred.nii.gz")
    # the same mask with its rows stored the other way round
    turned = np.diag([-SPACING[0], *SPACING[1:], 1.0])
    turned[0, 3] = SPACING[0] * (len(one) - 1)
    nib.save(nib.Nifti1Image(one[::-1], turned), tmp_path / "out" / "c_pred.nii.gz")
    pairs, problems, missing = find_pairs(tmp_path / "set", tmp_path / "out")
    assert missing == ["d"]
    assert list(pairs) == ["a", "b", "c"] and len(problems) == 1 and "z_pred" in problems[0]
    found = evaluate_pairs(pairs)
    assert list(found.table.index) == ["a", "c"] and (found.table["dice"] == 1).all()
    assert list(found.lesions["case"]) == ["a", "c"] and found.lesions["found"].all()
    assert len(found.problems) == 1 and "b_pred" in found.problems[0]
    _save(one, tmp_path / "other" / "q.nii.gz")
    with pytest.raises(SourceError, match="check both folders"):
        find_pairs(tmp_path / "other", tmp_path / "out")


def test_a_report_is_a_table_a_summary_and_a_figure(tmp_path):
    one = ball((8, 8, 8))
    masks = {"a": (one, one), "b": (one, EMPTY), "c": (EMPTY, EMPTY)}
    for case, (truth, predicted) in masks.items():
        _save(truth, tmp_path / "labels" / f"{case}.nii.gz")
        _save(predicted, tmp_path / "out" / f"{case}_pred.nii.gz")
        _save(predicted, tmp_path / "out" / f"{case}_probability.nii.gz")
    pairs, problems, _ = find_pairs(tmp_path / "labels", tmp_path / "out")
    assert problems == [], "probabilities beside the masks are no masks"
    files = write_report(evaluate_pairs(pairs), tmp_path / "scores" / "test.csv")
    assert [path.name for path in files] == ["test.csv", "test_lesions.csv", "test.json", "test.png"]
    table = pd.read_csv(files[0], index_col="case")
    assert tuple(table.columns) == COLUMNS
    assert table.loc["b", "dice"] == 0 and np.isnan(table.loc["c", "dice"])
    assert table.loc["a", "true_ml"] == pytest.approx(score(one, one, SPACING)["true_ml"])
    found = json.loads(files[2].read_text())
    assert found["mean_dice"] == 0.5 and found["both_empty"] == 1 and found["nothing_predicted"] == 1
    assert files[3].read_bytes().startswith(b"\x89PNG")


def test_a_report_of_nothing_found_can_be_drawn(tmp_path):
    _save(EMPTY, tmp_path / "labels" / "a.nii.gz")
    _save(EMPTY, tmp_path / "out" / "a_pred.nii.gz")
    pairs, *_ = find_pairs(tmp_path / "labels", tmp_path / "out")
    files = write_report(evaluate_pairs(pairs), tmp_path / "test.csv")
    assert json.loads(files[2].read_text())["mean_dice"] is None, "JSON has no NaN"


@pytest.fixture
def finished_run(toy_case, toy_recipe, tmp_path):
    """A run of three toy patients whose weights say what an untrained network says; and its data set."""
    for name in ("a", "b", "c"):
        toy_case(name)
    torch.manual_seed(0)
    run = tmp_path / "run"
    run.mkdir()
    roles = {"data": str(tmp_path), "train": ["a"], "validation": ["b"], "test": ["c"]}
    save_weights(run / "weights.ckpt", toy_recipe, build_unet(toy_recipe).state_dict(), roles)
    return run


def test_a_run_is_scored_on_its_test_patients_alone(finished_run, tmp_path):
    found = evaluate_run(finished_run, progress=False)
    assert list(found.table.index) == ["c"] and found.problems == []
    masks = list((finished_run / "predictions").iterdir())
    assert [path.name for path in masks] == ["c_pred.nii.gz"]
    before = masks[0].stat().st_mtime_ns
    evaluate_run(finished_run, progress=False)
    assert masks[0].stat().st_mtime_ns == before, "a mask that is newer than the weights is used again"


def test_a_run_without_its_patients_says_so(finished_run, tmp_path, monkeypatch, capsys):
    (tmp_path / "imagesTr" / "c.nii.gz").unlink()
    with pytest.raises(SourceError, match="lacks the run's test patients c"):
        evaluate_run(finished_run, progress=False)
    with pytest.raises(SourceError, match="holds no weights"):
        evaluate_run(tmp_path, progress=False)
    monkeypatch.setattr("sys.argv", ["lungseg", "evaluate", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.count("\n") == 1
