"""Training learns, stops on nonsense, resumes, and what it writes loads safely."""

import itertools
import json
import pickle
from dataclasses import replace

import pandas as pd
import pytest
import torch

from lungseg_helpers.callbacks import AVERAGING, moving_average
from lungseg_helpers.dataset import LungDataModule, Split
from lungseg_helpers.devices import choose_precision, pick_device
from lungseg_helpers.errors import RecipeError, TrainingError, WeightsError
from lungseg_helpers.inference import predict_stack
from lungseg_helpers.metrics import dice
from lungseg_helpers.preprocessing import make_stack
from lungseg_helpers.segmenter import THRESHOLDS, LungSegmenter, best_threshold, patient_dice, warm_cosine
from lungseg_helpers.training import train
from lungseg_helpers.weights import load_weights

SPLIT = Split(("a",), ("b",), ("c",))


@pytest.fixture
def data(toy_case, toy_recipe):
    stack = make_stack(toy_case("a"), toy_recipe)
    return LungDataModule([stack], [stack], toy_recipe)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Keep results the same on every processor: float32 on one thread, whatever would be faster."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for room in ("training", "inference"):
        monkeypatch.setattr(f"lungseg_helpers.{room}.choose_precision", lambda device="auto": "32-true")
    yield
    torch.set_num_threads(threads)


def test_patient_dice_counts_whole_patients_and_leaves_out_empty_ones():
    scores = patient_dice(torch.tensor([[5.0, 5.0, 0.0], [0.0, 3.0, 4.0], [0.0, 0.0, 0.0]]))
    assert scores[0] == pytest.approx(10 / 15) and scores[1] == 0 and torch.isnan(scores[2])
    assert scores.nanmean() == pytest.approx(1 / 3)


def test_learns_and_reports_the_dice_of_whole_patients(data, tmp_path):
    """The Dice that picked the checkpoint equals the metric of the mask that this checkpoint predicts."""
    data.recipe = data.train_set.recipe = replace(
        data.recipe, epochs=12, slices_per_epoch=48, learning_rate=1e-2, frame=(40, 56)
    )
    data.validation_set.recipe = data.recipe
    path = train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    network, recipe, split = load_weights(path)
    assert replace(recipe, threshold=0.5) == data.recipe
    assert split == {"data": "", "train": ["a"], "validation": ["b"], "test": ["c"]}
    assert json.loads((tmp_path / "run" / "split.json").read_text()) == split
    stack = data.validation_set.stacks[0]
    found = dice(stack.mask, predict_stack(network, recipe, stack) > recipe.threshold)
    curves = pd.read_csv(tmp_path / "run" / "curves.csv")
    assert found > 0.6
    assert found == pytest.approx(curves["validation_dice"].max(), abs=1e-3)
    assert list(curves["epoch"]) == list(range(12))
    changed = path.stat().st_mtime_ns
    assert train(data, SPLIT, tmp_path / "run", "cpu", progress=False).stat().st_mtime_ns == changed, "trained again"


def test_the_average_follows_quickly_at_first_and_calmly_later():
    zero, one = torch.zeros(3), torch.ones(3)
    assert moving_average(zero, one, torch.tensor(0)).tolist() == pytest.approx([0.9] * 3)
    assert moving_average(zero, one, torch.tensor(10**6)).tolist() == pytest.approx([1 - AVERAGING] * 3)


def test_what_is_validated_and_kept_is_the_average(data, tmp_path):
    path = train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    kept = load_weights(path)[0].state_dict()
    moved = [torch.equal(last["current_model_state"][key], value) for key, value in last["state_dict"].items()]
    assert not all(moved), "the average is the last step's weights"
    best = torch.load(next((tmp_path / "run" / "checkpoints").glob("best-*.ckpt")), weights_only=True)
    for key, value in kept.items():
        torch.testing.assert_close(value, best["state_dict"][f"network.{key}"])


def test_threshold_is_the_one_that_suits_the_patients():
    counts = torch.zeros(len(THRESHOLDS), 2, 3)
    counts[..., 1:] = 10.0
    counts[2, 0, 0] = 30.0
    threshold, value = best_threshold(counts)
    assert threshold == THRESHOLDS[2] and value == pytest.approx(0.5 * 60 / 80)


def test_resumed_run_equals_an_undisturbed_one(data, tmp_path):
    data.recipe = replace(data.recipe, epochs=3)
    whole = load_weights(train(data, SPLIT, tmp_path / "whole", "cpu", progress=False))[0]

    class Cut(Exception):
        pass

    def cut(self, batch, number):
        raise Cut

    with pytest.MonkeyPatch.context() as patch:
        keep = LungSegmenter.training_step
        patch.setattr(LungSegmenter, "training_step", lambda self, batch, number: (
            keep if self.current_epoch == 0 else cut)(self, batch, number))
        with pytest.raises(Cut):
            train(data, SPLIT, tmp_path / "cut", "cpu", progress=False)
    resumed = load_weights(train(data, SPLIT, tmp_path / "cut", "cpu", progress=False))[0]
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    assert (tmp_path / "cut" / "curves.csv").read_text() == (tmp_path / "whole" / "curves.csv").read_text()


def test_nonsense_stops_with_a_line(data, tmp_path):
    data.recipe = replace(data.recipe, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"loss became nan.* of the cases a:"):
        train(data, SPLIT, tmp_path, "cpu", progress=False)


def test_schedule_warms_up_and_ends_at_zero():
    factors = [warm_cosine(step, 100) for step in range(100)]
    assert factors[0] < factors[4] == 1.0 and factors[-1] < 0.01
    assert all(a >= b for a, b in itertools.pairwise(factors[5:]))


@pytest.mark.parametrize("content", [b"", b"PK nonsense", pickle.dumps({"recipe": 1})], ids=["empty", "zip", "pickle"])
def test_foreign_weights_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.ckpt") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


def test_weights_from_elsewhere_run_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"recipe": Trap(), "state_dict": {}}, tmp_path / "weights.ckpt")
    with pytest.raises(WeightsError):
        load_weights(tmp_path / "weights.ckpt")
    assert not (tmp_path / "ran").exists()


def test_missing_gpu_and_unknown_loss_are_named(toy_recipe, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(TrainingError, match="--device cpu"):
        pick_device("cuda")
    with pytest.raises(RecipeError, match="dice_bce"):
        LungSegmenter(replace(toy_recipe, loss="hinge").to_dict())


def test_precision_is_one_that_lightning_knows():
    assert choose_precision("cpu") in ("32-true", "bf16-mixed")
