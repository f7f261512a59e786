"""A run is scored on its own test patients, wherever its data set lies and whatever that is called."""

import json
import os
import shutil
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch

from lungseg_helpers.cli import main
from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.split import open_split
from lungseg_helpers.errors import SourceError
from lungseg_helpers.evaluation.runs import evaluate_run
from lungseg_helpers.training.run import train


@pytest.fixture
def finished(toy_case, toy_recipe, tmp_path, monkeypatch):
    """A short training, as the command line makes it, on a data set called like the real patients; and that folder."""
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path / "elsewhere"))
    for name in ("a", "b", "c"):
        toy_case(name)
    root = tmp_path / "real"
    root.mkdir()
    for folder in ("imagesTr", "labelsTr"):
        shutil.move(tmp_path / folder, root / folder)
    split, stacks, _ = open_split(root, toy_recipe, 1)
    data = LungDataModule(stacks["train"], stacks["validation"], replace(toy_recipe, epochs=1, slices_per_epoch=8))
    return train(data, split, tmp_path / "run", "cpu", progress=False).parent, root, split


def test_a_run_is_scored_on_its_test_patients_alone(finished):
    run, _, split = finished
    scored = evaluate_run(run, progress=False)
    assert tuple(scored.table.index) == split.test and scored.problems == []
    table, *masks = sorted((run / "predictions").iterdir())
    assert table.name == f"{split.test[0]}_components.csv"
    assert [path.name for path in masks] == [f"{split.test[0]}_pred.nii.gz"]
    before = masks[0].stat().st_mtime_ns
    evaluate_run(run, progress=False)
    assert masks[0].stat().st_mtime_ns == before, "a mask that is newer than the weights is used again"


def test_an_older_networks_mask_is_not_scored_where_its_scan_fails_now(finished, monkeypatch):
    run, _, _ = finished
    evaluate_run(run, progress=False)
    (mask,) = (run / "predictions").glob("*_pred.nii.gz")
    os.utime(mask, (0, 0))
    monkeypatch.setattr("lungseg_helpers.prediction.files.predict_case", Mock(side_effect=MemoryError()))
    scored = evaluate_run(run, progress=False)
    assert scored.table.empty and len(scored.problems) == 1


def test_data_that_have_changed_are_scored_only_where_they_are_named(finished, toy_case, tmp_path):
    run, root, split = finished
    evaluate_run(run, progress=False)
    other = toy_case(split.test[0], tumour=False)
    shutil.copy(other.label, root / "labelsTr")
    with pytest.raises(SourceError, match=r"real: has changed since .*--data") as caught:
        evaluate_run(run, progress=False)
    assert "\n" not in str(caught.value)
    scored = evaluate_run(run, str(root), progress=False)
    assert scored.table["true_ml"].tolist() == [0.0], "scored as it is now"
    assert len(list(run.glob("predictions*"))) == 2, "masks of other data are kept apart"


def test_a_data_set_that_has_moved_is_named(finished, tmp_path):
    run, root, split = finished
    moved = root.rename(tmp_path / "moved")
    with pytest.raises(SourceError, match=r"no longer in .*real; name it with --data"):
        evaluate_run(run, progress=False)
    assert tuple(evaluate_run(run, str(moved), progress=False).table.index) == split.test
    assert [path.name for path in run.glob("predictions*")] == ["predictions"], "the same content"
    (run / "split.json").unlink()
    with pytest.raises(SourceError, match="does not say where"):
        evaluate_run(run, progress=False)


def test_a_run_without_its_patients_says_so(finished, tmp_path, monkeypatch, capsys):
    run, root, split = finished
    (root / "imagesTr" / f"{split.test[0]}.nii.gz").unlink()
    with pytest.raises(SourceError, match=f"lacks the run's test patients {split.test[0]}"):
        evaluate_run(run, str(root), progress=False)
    with pytest.raises(SourceError, match="holds no weights"):
        evaluate_run(tmp_path, progress=False)
    monkeypatch.setattr("sys.argv", ["lungseg", "evaluate", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.count("\n") == 1


def test_weights_travel_without_paths_of_this_machine(finished, tmp_path):
    run, root, _ = finished
    assert json.loads((run / "split.json").read_text())["root"] == str(root.resolve())
    kept = torch.load(run / "weights.ckpt", weights_only=True)
    assert str(tmp_path).encode() not in (run / "weights.ckpt").read_bytes()
    assert kept["split"]["data"] == "real" and kept["split"]["digest"] and "root" not in kept["split"]
