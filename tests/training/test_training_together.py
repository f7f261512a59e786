"""Two processes that train together, and one that is killed and goes on, learn what one undisturbed would."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lungseg_helpers.dataset.sampler import OversamplingSampler, tumour_weights
from lungseg_helpers.dataset.slices import SliceDataset
from lungseg_helpers.preprocessing.prepare import prepare
from lungseg_helpers.preprocessing.stacks import make_stack, open_stack
from lungseg_helpers.training.weights import load_weights

SCRIPT = Path(__file__).with_name("train_together.py")


@pytest.fixture
def folder(toy_case, toy_recipe, tmp_path):
    """A folder with three prepared patients in ``stacks``."""
    cases = [toy_case(name, tumour=True) for name in ("a", "b", "c")]
    prepare(cases, toy_recipe, tmp_path / "stacks", 1)
    return tmp_path


def _command(folder: Path, run: str, *more: object) -> list[str]:
    return [sys.executable, str(SCRIPT), str(folder / "stacks"), str(folder / run), *map(str, more)]


def _run(folder: Path, run: str, *more: object) -> None:
    done = subprocess.run(_command(folder, run, *more), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(params=[2, 3], ids=["slices", "volumes"])
def runs(request, folder):
    """The folder after one process has trained, and two; of volumes the second has no patient to validate on."""
    for devices in (1, 2):
        _run(folder, f"run{devices}", devices, 2, request.param)
    return folder


def _best(run: Path) -> dict:
    return torch.load(next((run / "checkpoints").glob("best-*.ckpt")), weights_only=True)


def test_two_processes_do_what_one_does(runs):
    alone = (runs / "seen-1-0.txt").read_text().splitlines()
    shares = [(runs / f"seen-2-{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    assert shares[0] != shares[1] and len(shares[0]) == len(shares[1]) == len(alone) / 2
    assert sorted(alone) == sorted(shares[0] + shares[1]), "together they see the slices that one process sees"

    one, two = (load_weights(runs / f"run{devices}" / "weights.ckpt")[0].state_dict() for devices in (1, 2))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5, msg=name)

    first, second = (_best(runs / f"run{devices}")["counts"] for devices in (1, 2))
    truth = sum(int(open_stack(folder).mask.sum()) for folder in sorted((runs / "stacks").iterdir())[2:])
    for counts in (first, second):
        assert torch.equal(counts[:, :, 0] + counts[:, :, 2], torch.full_like(counts[:, :, 0], truth)), (
            "every tumour pixel is counted once, however many processes count"
        )
    assert (first - second).abs().max() <= 2

    curves = [pd.read_csv(runs / f"run{devices}" / "curves.csv") for devices in (1, 2)]
    np.testing.assert_allclose(curves[0]["train_loss"], curves[1]["train_loss"], rtol=1e-3)
    np.testing.assert_allclose(curves[0]["validation_dice"], curves[1]["validation_dice"], atol=0.01)
    assert len(list((runs / "run2" / "tensorboard").rglob("events.*"))) == 1, "one process writes"


def test_a_killed_run_goes_on_to_the_weights_of_an_undisturbed_one(folder):
    epochs = 8
    _run(folder, "whole", 1, epochs)
    with subprocess.Popen(_command(folder, "killed", 1, epochs), stderr=subprocess.DEVNULL) as training:
        deadline = time.monotonic() + 120
        while not (folder / "killed" / "checkpoints" / "last.ckpt").exists():
            assert training.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        training.kill()
    assert not (folder / "killed" / "weights.ckpt").exists(), "it was killed before its end"
    _run(folder, "killed", 1, epochs)
    one, two = (load_weights(folder / run / "weights.ckpt")[0].state_dict() for run in ("whole", "killed"))
    for name, weight in one.items():
        assert torch.equal(weight, two[name]), name
    assert (folder / "killed" / "curves.csv").read_text() == (folder / "whole" / "curves.csv").read_text()


@pytest.mark.parametrize(("draws", "world"), [(24, 2), (25, 2), (31, 4)])
def test_the_sampler_is_shared_out_without_a_draw_twice(draws, world):
    weights = np.linspace(1, 2, 50)
    whole = list(OversamplingSampler(weights, draws, 5))
    parts = [OversamplingSampler(weights, draws, 5, rank, world) for rank in range(world)]
    drawn = [list(part) for part in parts]
    assert [len(share) for share in drawn] == [len(part) for part in parts] == [draws // world] * world
    woven = [item for step in zip(*drawn, strict=True) for item in step]
    assert woven == whole[: len(woven)]


def test_processes_keep_the_tumour_fraction(toy_case, toy_recipe):
    held = SliceDataset([make_stack(toy_case("a"), toy_recipe)], toy_recipe).has_tumour
    weights = tumour_weights(held, 0.5)
    for rank in (0, 1):
        drawn = [item for item, _ in OversamplingSampler(weights, 4000, 1, rank, 2)]
        assert np.mean(held[drawn]) == pytest.approx(0.5, abs=0.05)
