"""Training learns, stops on nonsense, resumes, and what it writes loads safely."""

import errno
import io
import itertools
import json
import pickle
import re
import signal
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import SHAPE

from benchmarks.thresholds import CURVES, counts_of, lost_dice
from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.slices import SliceDataset
from lungseg_helpers.dataset.split import Split
from lungseg_helpers.errors import RecipeError, StackError, TrainingError, WeightsError, error_line
from lungseg_helpers.evaluation.metrics import dice
from lungseg_helpers.hounsfield import Intensity
from lungseg_helpers.paths import file_digest
from lungseg_helpers.prediction.inference import predict_stack
from lungseg_helpers.preprocessing.prepare import prepare
from lungseg_helpers.preprocessing.stacks import make_stack, open_stack
from lungseg_helpers.recipes import FAITHFUL, get_recipe
from lungseg_helpers.training import devices
from lungseg_helpers.training.callbacks import AVERAGING, fullest_slices, moving_average
from lungseg_helpers.training.devices import choose_precision, loader_workers, pick_device
from lungseg_helpers.training.run import _keep_precision, _latest_checkpoint, build_trainer, train
from lungseg_helpers.training.segmenter import (
    THRESHOLDS,
    LungSegmenter,
    best_threshold,
    cautious_threshold,
    patient_dice,
    warm_cosine,
)
from lungseg_helpers.training.weights import average_weights, load_weights, save_weights
from lungseg_helpers.unet import build_unet

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
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
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
    assert split == {"data": "", "digest": "", "patients": {}, "train": ["a"], "validation": ["b"], "test": ["c"]}
    assert json.loads((tmp_path / "run" / "split.json").read_text()) == {**split, "root": ""}
    stack = data.validation_set.stacks[0]
    reached = dice(stack.mask, predict_stack(network, recipe, stack) > recipe.threshold)
    curves = pd.read_csv(tmp_path / "run" / "curves.csv")
    assert reached > 0.6
    assert reached == pytest.approx(curves["validation_dice"].max(), abs=1e-3)
    assert list(curves["epoch"]) == list(range(12))
    changed = path.stat().st_mtime_ns
    assert train(data, SPLIT, tmp_path / "run", "cpu", progress=False).stat().st_mtime_ns == changed, "trained again"


def test_a_table_gets_a_row_after_every_epoch_while_it_trains(data, tmp_path, capsys):
    train(data, SPLIT, tmp_path / "run", "cpu", progress=True)
    said = capsys.readouterr()
    rows = [line.split() for line in said.err.replace("\r", "\n").splitlines() if re.match(r" *\d+/\d+ ", line)]
    curves = pd.read_csv(tmp_path / "run" / "curves.csv")
    assert [row[0] for row in rows] == [f"{epoch + 1}/{len(curves)}" for epoch in curves["epoch"]]
    for column, name in enumerate(("train_loss", "validation_loss", "validation_dice"), start=1):
        assert [float(row[column]) for row in rows] == pytest.approx(curves[name].tolist(), abs=0.006)
    assert said.out == "", "what a notebook compares must not depend on whether it was trained already"


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


@pytest.mark.parametrize("patients", [1, 2, 3, 10])
def test_the_threshold_is_the_middle_of_those_that_are_as_good_as_the_best(patients):
    counts = torch.zeros(len(THRESHOLDS), patients, 3)
    counts[..., 0], counts[..., 1] = 50.0, 20.0
    assert cautious_threshold(counts) == 0.5, "all are as good"
    counts[-1, :, 1] -= 1  # a little better, by less than the tolerance
    assert cautious_threshold(counts) == 0.5
    counts[:6, :, 2] += 40  # below 0.35 every patient loses
    assert cautious_threshold(counts) == THRESHOLDS[12] == 0.65, "the middle of 0.35 to 0.95"
    counts[-1, :, 2] += 40
    assert cautious_threshold(counts) == 0.65, "0.625 lies between two: the higher has fewer false alarms"
    counts[8, :, 1] = 0.0
    assert cautious_threshold(counts) == THRESHOLDS[8] == best_threshold(counts)[0], "one that is much better"
    counts[:] = 0
    assert cautious_threshold(counts) == 0.5, "nobody has a Dice: nothing to choose by"


def test_two_patients_do_not_make_a_bad_threshold_look_as_good():
    """What a test for significance would have called no worse: one of two patients loses all from 0.6 on."""
    counts = torch.zeros(len(THRESHOLDS), 2, 3)
    counts[..., 0] = 50.0
    counts[11:, 0] = torch.tensor([0.0, 0.0, 50.0])
    assert cautious_threshold(counts) == THRESHOLDS[5] == 0.3, "the middle of 0.05 to 0.55"
    counts[:, 1] = 0  # a patient without tumour has no say
    assert cautious_threshold(counts) == THRESHOLDS[5]


def test_few_patients_cost_little_dice_when_they_choose_the_threshold():
    """500 draws of two validation patients, from a population that loses 0.35 of Dice between 0.5 and 0.9."""
    population = np.array([0.6 - 0.35 * max(0.0, (threshold - 0.5) / 0.4) for threshold in THRESHOLDS])
    rng, lost = np.random.default_rng(3), []
    for _ in range(500):
        level, wobble = rng.normal(0, 0.15, (1, 2)), rng.normal(0, 0.08, (len(THRESHOLDS), 2))
        counts = counts_of(np.clip(population[:, None] + level + wobble, 0.01, 0.99))
        chosen = THRESHOLDS.index(cautious_threshold(counts))
        lost.append(population.max() - population[chosen])
    assert np.mean(lost) < 0.02 and np.quantile(lost, 0.99) < 0.2


@pytest.mark.parametrize("world", CURVES)
def test_validation_patients_choose_a_threshold_that_loses_little(world):
    lost = lost_dice(cautious_threshold, world, draws=400)
    assert list(lost) == [2, 3, 5, 10]
    # where a network is as sure of vessels as of tumours, no rule that was tried loses less than 0.027 with 2 patients
    assert max(lost.values()) <= (0.035 if world == "sure of false alarms" else 0.02), lost


def test_resumed_run_equals_an_undisturbed_one(data, tmp_path):
    data.recipe = replace(data.recipe, epochs=3)
    whole = load_weights(train(data, SPLIT, tmp_path / "whole", "cpu", progress=False))[0]

    class Cut(Exception):
        pass

    def cut(self, batch, number):
        raise Cut

    with pytest.MonkeyPatch.context() as patch:
        keep = LungSegmenter.training_step
        patch.setattr(
            LungSegmenter,
            "training_step",
            lambda self, batch, number: (keep if self.current_epoch == 0 else cut)(self, batch, number),
        )
        with pytest.raises(Cut):
            train(data, SPLIT, tmp_path / "cut", "cpu", progress=False)
    (tmp_path / "cut").rename(tmp_path / "moved")
    resumed = load_weights(train(data, SPLIT, tmp_path / "moved", "cpu", progress=False))[0]
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    assert (tmp_path / "moved" / "curves.csv").read_text() == (tmp_path / "whole" / "curves.csv").read_text()


def test_a_moved_run_knows_its_best_epochs_again(toy_recipe, tmp_path):
    """Lightning compares folders, and would keep the best of the epochs after the move for the best of all."""
    before, after = (build_trainer(toy_recipe, tmp_path / name, "cpu").checkpoint_callback for name in "ab")
    before.best_model_score = before.kth_value = torch.tensor(0.5)
    best = before.best_model_path = before.kth_best_model_path = str(tmp_path / "a" / "checkpoints" / "best-1.ckpt")
    before.best_k_models = {best: torch.tensor(0.5)}
    after.load_state_dict(before.state_dict())
    moved = str(tmp_path / "b" / "checkpoints" / "best-1.ckpt")
    assert after.best_model_path == after.kth_best_model_path == moved and after.best_k_models == {moved: 0.5}
    assert after.best_model_score == after.kth_value == 0.5 and after.last_model_path == ""


def test_nonsense_stops_with_a_line(data, tmp_path):
    data.recipe = replace(data.recipe, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"loss became nan.* of the cases a:"):
        train(data, SPLIT, tmp_path, "cpu", progress=False)


FAILURES = {
    torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2 GiB."
    ): "not enough memory for a step; .*batch_size",
    RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"): "fewer --workers",
    MisconfigurationException("You requested gpu: [0, 1]\n But your machine only has: [0]"): "name another --device",
}


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_what_a_training_mostly_fails_of_is_one_line_that_helps(data, tmp_path, monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(pl.Trainer, "fit", fail)
    with pytest.raises(TrainingError, match=FAILURES[error]) as caught:
        train(data, SPLIT, tmp_path, "cpu", progress=False)
    assert "\n" not in str(caught.value)


def test_validation_patients_without_tumour_cannot_choose(toy_case, toy_recipe, tmp_path):
    with_tumour, without = (make_stack(toy_case(name, tumour=name == "a"), toy_recipe) for name in "ab")
    with pytest.raises(TrainingError, match="no validation patient has a tumour"):
        train(LungDataModule([with_tumour], [without], toy_recipe), SPLIT, tmp_path, "cpu", progress=False)


def test_a_checkpoint_that_was_cut_short_is_passed_over(data, tmp_path):
    train(data, SPLIT, tmp_path, "cpu", progress=False)
    (tmp_path / "weights.ckpt").unlink()
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    (best,) = last.parent.glob("best-*.ckpt")
    assert _latest_checkpoint(tmp_path) == best
    assert load_weights(train(data, SPLIT, tmp_path, "cpu", progress=False))


def test_schedule_warms_up_and_ends_at_zero():
    factors = [warm_cosine(step, 100) for step in range(100)]
    assert factors[0] < factors[4] == 1.0 and factors[-1] < 0.01
    assert all(a >= b for a, b in itertools.pairwise(factors[5:]))


@pytest.mark.parametrize("content", [b"", b"PK nonsense", pickle.dumps({"recipe": 1})], ids=["empty", "zip", "pickle"])
def test_foreign_weights_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert str(caught.value) == f"{path}: not a weights file of this course; use one that it wrote"


def test_a_recipe_of_elsewhere_says_what_is_wrong_with_it(tmp_path):
    path = tmp_path / "weights.ckpt"
    torch.save({"recipe": {**get_recipe("course", "laptop").to_dict(), "crop": "moon"}, "state_dict": {}}, path)
    with pytest.raises(WeightsError, match=r"weights\.ckpt: not a weights file of this course \(.*moon.*\); use one"):
        load_weights(path)


def test_weights_that_may_not_be_read_are_not_called_foreign(tmp_path, monkeypatch):
    (tmp_path / "weights.ckpt").write_bytes(b"")
    monkeypatch.setattr(torch, "load", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(WeightsError, match=r"weights\.ckpt: cannot be read \(Permission denied\); check"):
        load_weights(tmp_path / "weights.ckpt")


def test_weights_from_elsewhere_run_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"recipe": Trap(), "state_dict": {}}, tmp_path / "weights.ckpt")
    with pytest.raises(WeightsError):
        load_weights(tmp_path / "weights.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_missing_gpu_is_named(monkeypatch):
    no_gpu(monkeypatch)
    assert pick_device("auto") == "cpu"
    for device in ("cuda", "mps"):
        with pytest.raises(TrainingError, match=f"--device {device}: .*--device cpu"):
            pick_device(device)


def no_gpu(monkeypatch, mps=False):
    """Let torch see no GPU, or Apple's alone."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_precision_is_decided_once_a_process_and_can_be_forced(monkeypatch):
    no_gpu(monkeypatch)
    monkeypatch.delenv("LUNGSEG_PRECISION")
    times = iter([0.1, 1.0])  # bfloat16 is fast; asked again, the stopwatch would run out
    devices._precision_of.cache_clear()
    monkeypatch.setattr(devices, "_seconds", lambda dtype: next(times))
    assert [choose_precision(device) for device in ("cpu", "auto", "cpu")] == ["bf16-mixed"] * 3
    devices._precision_of.cache_clear()
    for word, flag in devices.PRECISIONS.items():
        monkeypatch.setenv("LUNGSEG_PRECISION", word)
        assert choose_precision("cpu") == flag
    monkeypatch.setenv("LUNGSEG_PRECISION", "float8")
    with pytest.raises(TrainingError, match=r"'float8'; use one of: float32, bfloat16"):
        choose_precision("cpu")


def test_a_macs_gpu_is_taken_in_float32_and_a_missing_operator_is_named(toy_case, toy_recipe, monkeypatch):
    """By a stand-in: torch claims to see the GPU, and the network fails as it would there."""
    no_gpu(monkeypatch, mps=True)
    monkeypatch.delenv("LUNGSEG_PRECISION")
    assert (pick_device(), devices.accelerator(), choose_precision()) == ("mps", "mps", "32-true")
    said = "The operator 'aten::tumour' is not currently implemented for the MPS device. If you want this op ..."
    named = r"--device mps: The operator 'aten::tumour' .*use --device cpu, or set "
    with pytest.raises(TrainingError, match=named), devices.named_operators("mps"):
        raise NotImplementedError(said)
    with pytest.raises(NotImplementedError, match="aten"), devices.named_operators("cpu"):
        raise NotImplementedError(said)
    # what is counted in float64, which that GPU lacks, stays on the processor
    module = LungSegmenter(toy_recipe.to_dict(), ["a"])
    monkeypatch.setattr(LungSegmenter, "device", torch.device("meta"))
    module.on_validation_epoch_start()
    assert module.counts.device.type == "cpu"


def test_an_older_gpu_that_only_emulates_bfloat16_gets_float16(monkeypatch):
    monkeypatch.delenv("LUNGSEG_PRECISION")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    devices._precision_of.cache_clear()
    assert choose_precision("cuda") == "16-mixed"
    devices._precision_of.cache_clear()


def test_a_resumed_run_keeps_its_precision(data, tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGSEG_PRECISION", "bfloat16")
    data.recipe = replace(data.recipe, epochs=1)
    weights = train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    machine = tmp_path / "run" / "machine.json"
    assert json.loads(machine.read_text()) == {"device": "cpu", "precision": "bf16-mixed"}
    monkeypatch.delenv("LUNGSEG_PRECISION")
    monkeypatch.setattr("lungseg_helpers.training.run.choose_precision", lambda device="auto": "32-true")
    weights.unlink()  # as if it had been interrupted before its end
    train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    assert json.loads(machine.read_text())["precision"] == "bf16-mixed"
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
    weights.unlink()
    train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    assert json.loads(machine.read_text())["precision"] == "32-true", "what is forced is taken"


def test_mixed_precision_trains_and_clips(data, tmp_path, monkeypatch):
    """Lightning refuses to clip for a fused optimiser: the module clips itself, and does clip."""
    monkeypatch.setenv("LUNGSEG_PRECISION", "bfloat16")
    norms, clip = [], torch.nn.utils.clip_grad_norm_

    def watched(parameters, most):
        norms.append(most)
        return clip(parameters, most)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    data.recipe = replace(data.recipe, epochs=1)
    load_weights(train(data, SPLIT, tmp_path / "run", "cpu", progress=False))
    assert norms == [1.0] * (data.recipe.slices_per_epoch // data.recipe.batch_size)


def test_begins_from_given_weights(data, tmp_path):
    first = train(data, SPLIT, tmp_path / "first", "cpu", progress=False)
    data.recipe = replace(data.recipe, learning_rate=1e-12, epochs=1)
    further = train(data, SPLIT, tmp_path / "further", "cpu", progress=False, start=first)
    one, two = (load_weights(path)[0].state_dict() for path in (first, further))
    for name, weight in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(two[name], weight, atol=1e-6, rtol=0)
    start = load_weights(further)[2]["start"]
    assert start == {"weights": "weights.ckpt", "sha256": file_digest(first), **load_weights(first)[2]}


@pytest.mark.parametrize(
    ("setting", "other"), [("widths", (4, 8, 8)), ("norm", "group"), ("upsampling", "transposed"), ("stem", 2)]
)
def test_weights_of_another_network_are_refused_and_the_line_says_what_differs(data, tmp_path, setting, other):
    first = tmp_path / "first.ckpt"
    save_weights(first, data.recipe, build_unet(data.recipe).state_dict(), SPLIT.to_dict())
    before, data.recipe = getattr(data.recipe, setting), replace(data.recipe, **{setting: other})
    with pytest.raises(RecipeError, match="its network") as caught:
        train(data, SPLIT, tmp_path / "further", "cpu", progress=False, start=first)
    assert f"{setting} {before}" in str(caught.value) and f"{setting} {other}" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "processes", "said"),
    [
        ({"slices_per_epoch": 0, "batch_size": 1000}, 1, r"an epoch draws \d+ .* use a smaller batch_size"),
        ({"slices_per_epoch": 24, "batch_size": 16}, 2, r"24 slices or patches, over 2 processes"),
    ],
)
def test_an_epoch_without_one_whole_batch_is_refused_before_it_begins(data, tmp_path, settings, processes, said):
    data.recipe = replace(data.recipe, **settings)
    with pytest.raises(TrainingError, match=said):
        train(data, SPLIT, tmp_path / "run", "cpu", progress=False, devices=processes)
    assert not (tmp_path / "run").exists()


def test_a_training_stopped_from_the_keyboard_says_how_it_goes_on(data, tmp_path, monkeypatch):
    def stop(*_) -> None:
        raise KeyboardInterrupt

    taken = signal.getsignal(signal.SIGINT)  # Lightning takes it away
    monkeypatch.setattr(LungSegmenter, "training_step", stop)
    try:
        with pytest.raises(TrainingError, match="interrupted; the same command goes on from the last whole epoch"):
            train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    finally:
        signal.signal(signal.SIGINT, taken)


def test_stops_early_and_keeps_the_best(data, tmp_path):
    data.recipe = replace(data.recipe, epochs=6, patience=2, keep_best=2, learning_rate=1e-12, schedule="constant")
    train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    assert len(pd.read_csv(tmp_path / "run" / "curves.csv")) == 3, "one epoch, and two that were no better"
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert len(kept) == 3 and kept[2] == "last.ckpt" and all(name.startswith("best-epoch=") for name in kept[:2])


def test_a_run_killed_in_its_first_epoch_begins_anew_and_keeps_one_set_of_curves(data, tmp_path):
    left = tmp_path / "run" / "tensorboard" / "events.out.tfevents.1.killed.1.0"
    left.parent.mkdir(parents=True)
    (tmp_path / "run" / "split.json").write_text("{}")
    left.write_bytes(b"")
    train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), {"images": 0}).Reload()
    assert [picture.step for picture in events.Images("a")] == list(range(data.recipe.epochs)) and not left.exists()
    assert len(list((tmp_path / "run" / "checkpoints").glob("best-*"))) == data.recipe.keep_best


def test_panels_show_ct_truth_and_prediction_in_their_places(data, tmp_path):
    train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    events = EventAccumulator(str(next((tmp_path / "run" / "tensorboard").rglob("events.*")).parent), {"images": 0})
    logged = events.Reload().Images("a")
    assert len(logged) == data.recipe.epochs
    shown = plt.imread(io.BytesIO(logged[-1].encoded_image_string), format="png")
    rows, columns = data.validation_set.frame
    assert shown.shape == (rows, 3 * columns, 3)
    (item,) = fullest_slices(data.validation_set)
    image, mask, _ = data.validation_set[item]
    areas = [float(data.validation_set[index][1].sum()) for index in range(len(data.validation_set))]
    assert areas[item] == max(areas)
    ct, truth, prediction = (shown[:, part * columns : (part + 1) * columns] for part in range(3))
    assert np.corrcoef(ct.mean(axis=2).ravel(), image[1].ravel())[0, 1] > 0.99
    assert np.array_equal(truth[..., 1] > 0.25, mask[0].numpy() > 0.25), "white where tumour is"
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    module = LungSegmenter(data.recipe.to_dict()).eval()
    module.load_state_dict(state)
    with torch.no_grad():
        probability = module(image[None])[0, 0].sigmoid().numpy()
    assert np.abs(prediction - mpl.colormaps["hot"](probability)[..., :3]).max() < 0.02


def test_loading_processes_follow_the_cores(monkeypatch):
    for cores, workers in ((1, 0), (2, 0), (8, 1)):
        monkeypatch.setattr("lungseg_helpers.parallel.cpu_count", lambda cores=cores: cores)
        assert loader_workers("cpu") == workers
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert loader_workers("auto") == 6


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("name", FAITHFUL)
def test_reference_recipes_train_as_they_are_written(toy_case, tmp_path, name, faithful):
    recipe = replace(
        get_recipe(name, "laptop", faithful), frame=(32, 32), widths=(4, 8), slices_per_epoch=8, epochs=2, batch_size=4
    )
    assert len(make_stack(toy_case("a"), recipe).ct) == SHAPE[2] - 30
    recipe = replace(recipe, crop="lungs")  # the toy's tumour lies in the slices that are dropped
    stack = make_stack(toy_case("a"), recipe)
    path = train(LungDataModule([stack], [stack], recipe), SPLIT, tmp_path / "run", "cpu", progress=False)
    kept = load_weights(path)[1]
    assert kept == recipe, "its threshold is its own, not one that validation chose"
    curves = pd.read_csv(tmp_path / "run" / "curves.csv")
    best = torch.load(next((tmp_path / "run" / "checkpoints").glob("best-*.ckpt")), weights_only=True)
    if recipe.watched == "val_loss":
        assert best["epoch"] == curves["validation_loss"].argmin()
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert "current_model_state" not in last, "no moving average is kept"


def test_a_checkpoint_is_a_weights_file_and_weights_can_be_averaged(data, tmp_path):
    path = train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    network, recipe, roles = load_weights(last)
    assert recipe == data.recipe and {**roles, "root": ""} == json.loads((tmp_path / "run" / "split.json").read_text())
    mean = load_weights(average_weights([path, last], tmp_path / "mean.ckpt"))
    first, second = load_weights(path)[0].state_dict(), network.state_dict()
    for name, value in mean[0].state_dict().items():
        torch.testing.assert_close(value, ((first[name].double() + second[name].double()) / 2).to(value.dtype))
    assert mean[1] == load_weights(path)[1] and mean[2]["averaged"] == [roles]


@pytest.mark.parametrize(
    ("setting", "other"),
    [
        ("widths", (8, 8, 16)),
        ("pixel_mm", 3.0),
        ("intensity", Intensity(low=-1350.0)),
        ("context_mm", (-3.0, 0.0, 3.0)),
        ("norm", "instance"),
        ("upsampling", "bilinear_aligned"),
        ("crop", "none"),
    ],
)
def test_an_average_of_other_networks_or_other_inputs_is_refused(toy_recipe, tmp_path, setting, other):
    """Though their weights have the same shapes, as most of these."""
    recipe = replace(toy_recipe, norm="group", upsampling="bilinear")
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    for path, each in ((one, recipe), (two, replace(recipe, **{setting: other}))):
        save_weights(path, each, build_unet(each).state_dict(), SPLIT.to_dict())
    with pytest.raises(WeightsError, match=rf"two\.ckpt: .* another {setting} than .*one\.ckpt"):
        average_weights([one, two], tmp_path / "mean.ckpt")
    assert not (tmp_path / "mean.ckpt").exists()


def test_what_fails_in_a_loading_process_is_told_as_it_is(toy_case, toy_recipe, tmp_path, monkeypatch):
    folders, _ = prepare([toy_case("a"), toy_case("b")], toy_recipe, tmp_path / "stacks", 1)
    one, two = map(open_stack, folders)
    data = LungDataModule([one], [two], toy_recipe, workers=1)
    one.stored_ct.path.unlink()
    with pytest.raises(StackError) as caught:
        train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    line = error_line(caught.value)
    assert line.startswith(f"{one.stored_ct.path}: cannot be read") and "Traceback" not in line

    def broken(*_):
        raise RuntimeError("the size of tensor a must match the size of tensor b")

    monkeypatch.setattr(SliceDataset, "_varied", broken)
    with pytest.raises(RuntimeError, match="must match"):
        train(data, SPLIT, tmp_path / "run", "cpu", progress=False)


def test_curves_of_somebody_else_stay(data, tmp_path):
    theirs = tmp_path / "tensorboard" / "events.out.tfevents.theirs"
    theirs.parent.mkdir()
    theirs.write_text("weeks of work")
    train(data, SPLIT, tmp_path, "cpu", progress=False)
    assert theirs.read_text() == "weeks of work"


def test_a_full_disk_leaves_the_record_of_the_machine(tmp_path, monkeypatch):
    path = tmp_path / "machine.json"
    _keep_precision(path, "cpu", False)
    before, write = path.read_text(), Path.write_text

    def full(file, text, *_, **__):
        write(file, "")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        _keep_precision(path, "cpu", True)
    assert path.read_text() == before


def test_several_trainings_share_the_cores(monkeypatch):
    monkeypatch.setattr("lungseg_helpers.parallel.cpu_count", lambda: 16)
    assert [loader_workers("cpu", devices) for devices in (1, 4, 8)] == [1, 1, 0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [loader_workers("cuda", devices) for devices in (1, 2, 4, 16)] == [12, 7, 3, 1]


def test_the_curve_of_the_validation_loss_is_what_checkpoints_go_by(data, tmp_path):
    assert len(data.validation_set) % data.recipe.batch_size, "the last batch is a small one"
    train(data, SPLIT, tmp_path, "cpu", progress=False)
    logged = [each.value for each in EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("val_loss")]
    assert pd.read_csv(tmp_path / "curves.csv")["validation_loss"].tolist() == pytest.approx(logged, rel=1e-5)
