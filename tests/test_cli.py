"""The commands, as a user types them: results on stdout, one line for a problem, an honest exit status."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from lungseg_helpers import cli
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.training.weights import save_weights
from lungseg_helpers.unet import build_unet

COMMANDS = ["phantom", "fetch", "fetch real", "fetch decathlon", "check", "import", "prepare", "train", "average",
            "predict", "evaluate", "video", "film"]  # fmt: skip


def lungseg(*words, data=None, fresh=False) -> subprocess.CompletedProcess:
    """Run a command as its entry point does; with ``fresh`` in a process of its own, as a shell would.

    A process of its own spends four seconds and more on importing, so most tests do without.
    """
    environment = {"COLUMNS": "100"}
    if data:
        environment |= {"LUNGSEG_DATA_DIR": str(data / "data"), "LUNGSEG_OUTPUTS": str(data / "outputs")}
    arguments = list(map(str, words))
    if fresh:
        command = [sys.executable, "-m", "lungseg_helpers.cli", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["lungseg", *arguments])
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


@pytest.fixture
def weights(tmp_path):
    """Write the weights of an untrained network of the course's shape."""
    torch.manual_seed(0)
    recipe = replace(get_recipe("course", "laptop"), widths=(4, 8))
    return save_weights(tmp_path / "weights.ckpt", recipe, build_unet(recipe).state_dict(), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_for_strangers(command):
    done = lungseg(*command.split(), "--help")
    assert done.returncode == 0 and "Usage" in done.stdout and len(done.stdout.splitlines()) > 8


def test_predict_evaluate_and_video_along_the_road(toy_case, weights, tmp_path):
    cases = [toy_case("a", "LAS"), toy_case("b", "RAS")]
    words = ["predict", cases[0].image.parent, "--weights", weights, "--out", tmp_path / "out", "--device", "cpu"]
    done = lungseg(*words, fresh=True)
    assert done.returncode == 0, done.stderr
    masks = [tmp_path / "out" / f"{case.id}_pred.nii.gz" for case in cases]
    assert done.stdout.split() == [str(mask) for mask in masks]
    for case, mask in zip(cases, masks, strict=True):
        assert nib.load(mask).shape == nib.load(case.image).shape
        np.testing.assert_allclose(nib.load(mask).affine, nib.load(case.image).affine)
    done = lungseg("evaluate", tmp_path, tmp_path / "out", "--out", tmp_path / "scores.csv")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "scores.csv", index_col="case")
    assert list(table.index) == ["a", "b"] and {"dice", "true_ml", "false_components"} <= set(table.columns)
    done = lungseg("video", cases[0].image, "--label", cases[0].label, "--prediction", masks[0], "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.mp4").stat().st_size > 1000


def test_one_bad_scan_is_named_the_others_are_done_and_the_status_says_so(toy_case, weights, tmp_path):
    good = toy_case("good").image
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("this is no scan")
    done = lungseg("predict", bad, good, tmp_path / "gone.nii.gz", "--weights", weights, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert (tmp_path / "out" / "good_pred.nii.gz").is_file()
    lines = [line for line in done.stderr.splitlines() if line.startswith("lungseg: ")]
    assert len(lines) == 2 and "bad.nii.gz" in lines[0] and "gone.nii.gz" in lines[1]
    assert "Traceback" not in done.stderr


def test_prepare_names_bad_cases(toy_case, tmp_path):
    toy_case("a")
    toy_case("b").image.write_bytes(b"\x1f\x8bbroken")
    done = lungseg("prepare", "--data", tmp_path, "--workers", "1")
    assert done.returncode == 1 and "1 patients prepared" in done.stdout
    assert sum("b.nii.gz" in line for line in done.stderr.splitlines()) == 1


BAD_CALLS = {
    "predict missing": ["predict", "{tmp}/none.nii.gz", "--weights", "{weights}"],
    "predict empty folder": ["predict", "{tmp}/empty", "--weights", "{weights}"],
    "predict not NIfTI": ["predict", "{tmp}/text.nii.gz", "--weights", "{weights}"],
    "predict missing weights": ["predict", "{tmp}/text.nii.gz", "--weights", "{tmp}/none.ckpt"],
    "predict foreign weights": ["predict", "{tmp}/text.nii.gz", "--weights", "{tmp}/text.nii.gz"],
    "prepare missing": ["prepare", "--data", "{tmp}/none"],
    "prepare empty folder": ["prepare", "--data", "{tmp}/empty"],
    "prepare not NIfTI": ["prepare", "--data", "{tmp}/texts"],
    "train missing": ["train", "--data", "{tmp}/none"],
    "train empty folder": ["train", "--data", "{tmp}/empty"],
    "train not NIfTI": ["train", "--data", "{tmp}/texts"],
    "evaluate missing": ["evaluate", "{tmp}/none", "{tmp}/none"],
    "evaluate empty folder": ["evaluate", "{tmp}/empty", "{tmp}/empty"],
    "evaluate not NIfTI": ["evaluate", "{tmp}/texts", "{tmp}/predictions"],
    "video missing": ["video", "{tmp}/none.nii.gz"],
    "video folder": ["video", "{tmp}/empty"],
    "video not NIfTI": ["video", "{tmp}/text.nii.gz"],
    "phantom out is a file": ["phantom", "--cases", "1", "--out", "{tmp}/text.nii.gz"],
    "fetch out is a file": ["fetch", "real", "--out", "{tmp}/text.nii.gz"],
}


@pytest.mark.parametrize("call", BAD_CALLS)
def test_bad_input_gets_one_line_and_a_status(call, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, name in (("", "text"), ("texts", "a"), ("predictions", "a_pred")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.nii.gz").write_text("a text, not a scan")
    words = [word.format(tmp=tmp_path, weights=weights) for word in BAD_CALLS[call]]
    done = lungseg(*words, data=tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.startswith("lungseg: ")]
    assert len(lines) == 1, done.stderr
    assert str(tmp_path) in lines[0] and ";" in lines[0], "name the file, say what to do"


def test_cuda_without_a_gpu_is_named(toy_case, weights):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so asking for one is no mistake here")
    done = lungseg("predict", toy_case().image, "--weights", weights, "--device", "cuda")
    assert done.returncode == 1 and "--device cpu" in done.stderr
