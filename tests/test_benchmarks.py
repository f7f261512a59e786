"""The table of measurements: rows are kept by name, every benchmark can be named, and small ones run."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks import dimensions, inference, nnunet, preprocessing, recipes, throughput, training, unlabelled
from benchmarks.nnunet.export import export
from benchmarks.plain_way import PlainDataset, prepare_plainly
from benchmarks.table import Row, keep, markdown, results_file
from lungseg_helpers.dataset.split import Split
from lungseg_helpers.paths import SLICE_WEIGHTS
from lungseg_helpers.prediction.inference import predict_case
from lungseg_helpers.preprocessing.prepare import prepare
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.scans.case import Case
from lungseg_helpers.training.weights import load_weights
from lungseg_helpers.unet import build_unet


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUNGSEG_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def thin(case: Case) -> Case:
    """Leave a toy patient the dozen slices around the tumour, in its files: every side's time goes with the slices."""
    for path in (case.image, case.label):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj)[..., 14:26], image.affine), path)
    return case


def test_rows_replace_those_of_the_same_name_and_stay_otherwise():
    keep([Row("a", 1.0, "s"), Row("b", 2.0, "s", 6.0, 3.0, "at least 3", "a note")])
    rows = keep([Row("a", np.float64(0.5), "s"), Row("c", np.int64(4), "")])
    assert [(row.name, row.ours) for row in rows] == [("a", 0.5), ("b", 2.0), ("c", 4)]
    kept = json.loads(results_file().read_text())
    assert {"name", "ours", "reference", "ratio", "target", "unit", "note"} == set(kept[0]) and len(kept) == 3
    assert "| b | 2 s | 6 | 3.00 | at least 3 | a note |" in markdown(rows).splitlines()


@pytest.mark.parametrize("name", bench.NAMES)
def test_each_name_is_a_module_that_gives_rows(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").rows)


def test_throughput_gives_a_time_and_a_ratio(tmp_path, monkeypatch):
    for name, value in (("CASES", 1), ("UNLABELLED", 0), ("ROUNDS", 1)):
        monkeypatch.setattr(throughput, name, value)
    made, checked = throughput.rows()
    assert made.ours > 0 and "cases/s" in made.note
    assert checked.ratio == pytest.approx(checked.ours / checked.reference)


def test_the_plain_way_and_ours_prepare_the_same_scan(toy_case, tmp_path):
    cases = [toy_case("a")]
    prepare_plainly(cases, tmp_path / "plain")
    dataset = PlainDataset(tmp_path / "plain")
    assert len(dataset) == 10, "40 slices, less the first 30"
    image, mask = dataset[0]
    assert image.shape == mask.shape == (1, 256, 256)
    folders, _ = preprocessing.prepare(cases, preprocessing.get_recipe("course", "laptop"), tmp_path / "ours")
    assert preprocessing.bytes_in(folders[0]) < preprocessing.bytes_in(tmp_path / "plain")


def test_scaling_is_drawn_and_items_are_counted(toy_case, tmp_path, monkeypatch):
    preprocessing.draw_scaling({(1, 3): 0.3, (1, 6): 0.6, (2, 3): 0.2, (2, 6): 0.3}, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 5000
    monkeypatch.setattr(preprocessing, "ITEMS", 4)
    recipe = preprocessing.get_recipe("course", "laptop")
    preprocessing.prepare([toy_case("a")], recipe, tmp_path / "ours", 1)
    prepare_plainly([toy_case("b")], tmp_path / "plain")
    mine = preprocessing.items_per_second(preprocessing.loader_of(tmp_path / "ours", recipe).train_set, seeded=True)
    plain = preprocessing.items_per_second(PlainDataset(tmp_path / "plain"), seeded=False)
    assert mine > 0 and plain > 0


def test_training_measures_three_sides_of_one_step(toy_case, toy_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "STEPS", 4)
    monkeypatch.setattr(training, "WARM_UP", 2)
    recipe = replace(toy_recipe, patch=(32, 32), augmentation=training.AS_PLAIN)
    stacks, _ = prepare([toy_case("a")], recipe, tmp_path / "stacks", 1)
    plain = tmp_path / "plain"
    plain.mkdir()
    training.write_plainly(stacks, recipe, plain)
    image, mask = training.PlainSlices(plain, recipe.patch)[3]
    assert image.shape == (3, 32, 32) and mask.shape == (1, 32, 32)
    for side in (training.plain_rate, training.our_rate, training.memory_rate):
        rate, host, _ = side(recipe, stacks, plain)
        assert rate > 0 and host > 100


def test_the_plain_loop_and_ours_find_the_same(toy_case, monkeypatch):
    """With weights that have learned something, on a chest that both ways can read: nearly the same voxels."""
    network, recipe, _ = load_weights(SLICE_WEIGHTS)
    recipe = replace(recipe, threshold=0.5)
    case = toy_case("a")
    ours = predict_case(network, recipe, case).mask
    plain = inference.predict_plainly(network, recipe, case)
    assert ours.shape == plain.shape and ((ours > 0) != (plain > 0)).mean() < 0.02


def test_inference_measures_every_side(toy_case, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "ROUNDS", 1)
    monkeypatch.setattr(inference, "LONG", 16)
    case = thin(toy_case("a"))
    found = [row for work in (inference.predicting, inference.sliding, inference.filming) for row in work(case)]
    assert all(row.ours > 0 and row.reference > 0 and row.ratio > 0 for row in found)
    assert {row.target for row in found} == {"at least 3", "at least 1"}
    (memory,) = inference.memory(case)
    assert 0.1 < memory.ours < 3


def test_nnunet_is_told_of_the_same_split_and_of_no_test_patient(toy_case, tmp_path):
    cases = [toy_case(name) for name in "abcd"]
    split = Split(("a", "b"), ("c",), ("d",), "toys")
    folder = export(cases, split, tmp_path / "raw", tmp_path / "preprocessed")
    assert folder.name == "Dataset701_toys"
    described = json.loads((folder / "dataset.json").read_text())
    assert sorted(described["dataset"]) == ["a", "b", "c"] and described["numTraining"] == 3
    for case in cases[:3]:
        named = described["dataset"][case.id]
        assert [Path(each) for each in named["images"]] == [case.image] and Path(named["label"]) == case.label
    (fold,) = json.loads((tmp_path / "preprocessed" / folder.name / "splits_final.json").read_text())
    assert fold == {"train": ["a", "b"], "val": ["c"]}
    assert not list(tmp_path.rglob("raw/**/*.nii.gz")), "no scan is copied"


def test_without_nnunet_the_benchmark_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert nnunet.rows() == []
    assert "pip install" in capsys.readouterr().err


def test_predictions_of_both_are_scored_by_the_same_evaluation(toy_case, tmp_path):
    cases = [toy_case(name) for name in "ab"]
    masks = {"course": tmp_path / "course", "nnU-Net 2d": tmp_path / "peer"}
    for folder in masks.values():
        folder.mkdir()
    for case in cases:
        shutil.copy(case.label, masks["course"] / f"{case.id}_pred.nii.gz")
    shutil.copy(cases[0].label, masks["nnU-Net 2d"] / "a_pred.nii.gz")
    empty = nib.load(cases[1].label)
    nib.save(nib.Nifti1Image(np.zeros(empty.shape, np.uint8), empty.affine), masks["nnU-Net 2d"] / "b_pred.nii.gz")
    rows = [
        {"model": name, "steps": 7, "seconds": 1.0, **nnunet.score_folder(tmp_path, folder)}
        for name, folder in masks.items()
    ]
    overlap, found = nnunet.figures(pd.DataFrame(rows))
    assert (overlap.ours, overlap.reference, overlap.ratio) == (1.0, 0.5, 2.0)
    assert (found.ours, found.reference) == (2, 1)


def test_differences_are_paired_by_patient_and_seeds_are_averaged():
    hard = np.linspace(0.1, 0.8, 12)
    rows = [
        {"candidate": name, "seed": seed, "patient": f"p{place}", "dice": dice + gain + 0.02 * seed, "lesions": 1,
         "lesions_found": 1, "false_components": 0, "train_s": 1.0, "train_gb": 1.0, "scan_s": 1.0, "predict_gb": 1.0}
        for name, gain in (("one slice", 0.0), ("a volume", 0.1))
        for seed in (-1, 1)
        for place, dice in enumerate(hard)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    mean, low, high = dimensions.paired(table, "a volume", "one slice")
    assert mean == pytest.approx(0.1) and low < mean < high, "patients agree, and seeds do not"
    assert dimensions.paired(table, "one slice", "a volume") == pytest.approx((-mean, -high, -low))
    table.loc[(table["candidate"] == "a volume") & (table["patient"] == "p0"), "dice"] = np.nan
    assert dimensions.paired(table, "a volume", "one slice")[0] == pytest.approx(0.1), "p0 is left out"
    first, second, difference = dimensions.figures(table)
    assert first.ours == pytest.approx(hard.mean()) and second.ours == pytest.approx(hard[1:].mean() + 0.1)
    assert difference.name.endswith("a volume, more than one slice") and difference.ours == pytest.approx(0.1)


def test_candidates_differ_in_what_they_see():
    recipes = dimensions.candidates()
    assert [(len(recipe.context_mm), recipe.dims) for recipe in recipes.values()] == [(1, 2), (5, 2), (1, 3)]
    assert len({recipe.split_seed for recipe in recipes.values()}) == 1


def test_every_recipe_is_raced_with_every_seed_and_its_patients_are_kept(toy_recipe, tmp_path, monkeypatch):
    asked, measured = [], []

    def compare(recipe, seconds, folder, real):
        asked.append((recipe.name, recipe.seed))
        row = {"recipe": recipe.name, "seed": recipe.seed, "dice": 0.5}
        return row, pd.DataFrame([{"recipe": recipe.name, "seed": recipe.seed, "patient": id} for id in "ab"])

    monkeypatch.setattr(recipes, "compare", compare)
    monkeypatch.setattr(recipes, "measure_budgets", lambda found, *_: measured.extend(each.name for each in found))
    raced = [(name, replace(toy_recipe, name=name)) for name in ("one", "other")]
    table = recipes.measure(raced, 5, tmp_path / "race.csv", real=False)
    assert measured == ["one", "other"]
    assert asked == [(name, seed) for seed in recipes.SEEDS for name in ("one", "other")]
    assert len(pd.read_csv(tmp_path / "race.csv")) == len(table) == 6
    assert len(pd.read_csv(tmp_path / "race_patients.csv")) == 12


def test_rules_of_thresholds_and_of_races_are_measured_beside_the_courses():
    found = [row for module in ("luck", "thresholds") for row in importlib.import_module(f"benchmarks.{module}").rows()]
    ours = {row.ours for row in found if row.unit == "%"}
    assert len(ours) == 1 and ours.pop() <= 5 and all(row.reference >= 0 for row in found)
    assert max(row.reference for row in found if row.unit == "%") > 50, "the larger sd"
    (lost,) = {row.ours for row in found if not row.unit}
    assert lost <= 0.02


def curve_rows(gain: dict[str, float], seeds: tuple[int, ...] = unlabelled.SEEDS) -> pd.DataFrame:
    """Return rows of 20 labelled patients, in which an arm gains so much on each patient of each seed."""
    rng = np.random.default_rng(1)
    base = {(seed, patient): rng.uniform(0, 0.5) for seed in seeds for patient in "abcdef"}
    return pd.DataFrame(
        {"data": "phantom", "arm": arm, "labelled": 20, "seed": seed, "patient": patient, "dice": score + more}
        for arm, more in gain.items()
        for (seed, patient), score in base.items()
    )


def test_unlabelled_scans_are_compared_in_pairs_of_patients_and_seeds():
    table = curve_rows({unlabelled.ALONE: 0.0, unlabelled.MEAN: 0.07})
    # seeds and patients differ much, and the difference not at all: so the interval is a point
    found = unlabelled.paired(table, unlabelled.MEAN, unlabelled.ALONE)
    assert (found.mean, found.low, found.high) == pytest.approx((0.07, 0.07, 0.07)) and found.patients == 6
    alone, taught = unlabelled.figures(table)
    assert "more than" not in alone.note and "+0.07 more than labels alone, 95 % interval 0.07 to 0.07" in taught.note


def test_the_learning_curves_go_on_where_they_were_cut_short():
    everything, patients = unlabelled.lacking([])
    arms, sizes, seeds = unlabelled.ARMS, unlabelled.LABELLED, unlabelled.SEEDS
    assert len(everything) == len(arms) * len(sizes) * len(seeds) and patients == list(seeds)
    assert {arm for arm, *_ in everything[: len(sizes) * len(seeds)]} == {unlabelled.ALONE}, "teachers first"
    curves, patients = unlabelled.lacking([curve_rows({unlabelled.OWN: 0.0}, seeds=(1, 3))])
    assert set(everything) - set(curves) == {(unlabelled.OWN, 20, 1), (unlabelled.OWN, 20, 3)}
    assert patients == list(seeds)


def test_normalisation_is_measured_anew_and_no_weight_is_changed(toy_case, toy_recipe):
    network = build_unet(toy_recipe).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    other = unlabelled.measured_anew(network, [make_stack(toy_case("a"), toy_recipe)], toy_recipe).state_dict()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items()), "it is a copy"
    changed = {key for key in before if not torch.equal(before[key], other[key])}
    measured = {key for key in before if key.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")}
    assert changed == measured and measured


def test_what_the_readme_says_of_unlabelled_scans_is_what_was_measured():
    table = pd.read_csv(unlabelled.FILE)
    assert unlabelled.lacking([table]) == ([], []), "the committed table is whole"
    readme = " ".join((unlabelled.FILE.parents[1] / "README.md").read_text().split())
    found = {
        arm: unlabelled.paired(table[table["data"] == "phantom"], arm, unlabelled.ALONE) for arm in unlabelled.ARMS[1:]
    }
    assert all(each.low <= 0 <= each.high for each in found.values()), "no arm is told apart"
    ceiling = found["60 more labels"]
    assert f"{ceiling.mean:+.2f} ({ceiling.low:+.2f} to {ceiling.high:+.2f}; 95 % interval)" in readme


def test_agreement_stays_where_the_masks_are_gone():
    """A fresh clone has the table and none of the trainings."""
    table = curve_rows({unlabelled.ALONE: 0.0}).assign(agreement=0.25)
    assert unlabelled.with_agreement(table).equals(table)
    assert unlabelled.with_agreement(table.drop(columns="agreement"))["agreement"].isna().all()
