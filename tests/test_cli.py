"""The commands, as a user types them: results on stdout, one line for a problem, an honest exit status."""

import importlib
import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from dicoms import write_series
from toy import toy_volume

from lungseg_helpers import cli
from lungseg_helpers.dataset.split import Split
from lungseg_helpers.errors import ScanError, attempt
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.training.weights import save_weights
from lungseg_helpers.unet import build_unet

COMMANDS = ["doctor", "phantom", "fetch", "fetch real", "fetch decathlon", "check", "import", "prepare", "train",
            "average", "predict", "evaluate", "rank", "video", "film"]  # fmt: skip


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


def test_help_names_the_defaults_that_are_computed():
    assert "(default: all cores)" in " ".join(lungseg("prepare", "--help").stdout.replace("│", " ").split())


def test_predict_evaluate_and_video_along_the_road(toy_case, weights, tmp_path):
    cases = [toy_case("a", "LAS"), toy_case("b", "RAS")]
    words = ["predict", cases[0].image.parent, "--weights", weights, "--out", tmp_path / "out", "--device", "cpu"]
    done = lungseg(*words, fresh=True)
    assert done.returncode == 0, done.stderr
    masks = [tmp_path / "out" / f"{case.id}_pred.nii.gz" for case in cases]
    tables = [tmp_path / "out" / f"{case.id}_components.csv" for case in cases]
    assert done.stdout.split() == [str(path) for pair in zip(masks, tables, strict=True) for path in pair]
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


def test_a_localiser_beside_the_scan_is_told_and_is_no_failure(weights, tmp_path):
    hu = toy_volume()[0]
    write_series(tmp_path / "in", hu)
    write_series(tmp_path / "in" / "scout", hu[..., :1], number=1,
                 change=lambda data, k: setattr(data, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))  # fmt: skip
    done = lungseg("predict", tmp_path / "in", "--weights", weights, "--out", tmp_path / "out")
    assert done.returncode == 0 and "a localiser is left out" in done.stderr, done.stderr


def test_prepare_names_bad_cases(toy_case, tmp_path):
    toy_case("a")
    toy_case("b").image.write_bytes(b"\x1f\x8bbroken")
    done = lungseg("prepare", "--data", tmp_path, "--workers", "1")
    assert done.returncode == 1 and "1 patients prepared" in done.stdout
    assert sum("b.nii.gz" in line for line in done.stderr.splitlines()) == 1


MANY = {
    "predict": ("prediction.files.predict_case", "predict {set}/imagesTr --weights {weights} --out {out}"),
    "prepare": ("preprocessing.prepare.make_stack", "prepare --data {set} --workers 1"),
    "check": ("sources.dataset_check.check_case", "check {set} --workers 1"),
    "import": ("sources.importing.check_case", "import {set} --out {out}"),
    "evaluate": ("evaluation.scores.score_files", "evaluate {set}/labelsTr {set}/masks --out {out}/a.csv"),
}
"""What works on many scans: the function that does one, and the command."""

ERRORS = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
          RuntimeError("an odd\nerror"), OSError(5, "Input/output error")]  # fmt: skip


def run_with(error, command, toy_case, weights, monkeypatch, folder):
    """Run a command on the toy patients a, b and c, of which b raises ``error``."""
    for name in "abc":
        case = toy_case(name)
        mask = folder / "masks" / f"{name}_pred.nii.gz"
        mask.parent.mkdir(exist_ok=True)
        mask.write_bytes(case.label.read_bytes())
    where, words = MANY[command]
    module, name = f"lungseg_helpers.{where}".rsplit(".", 1)
    function = getattr(importlib.import_module(module), name)

    def fail(*arguments, **options):
        if any(getattr(value, "id", str(value)).endswith(("b", "b_pred.nii.gz")) for value in arguments):
            raise error
        return function(*arguments, **options)

    monkeypatch.setattr(f"{module}.{name}", fail)
    places = {"set": folder, "weights": weights, "out": folder / "out"}
    return lungseg(*(word.format(**places) for word in words.split()))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("command", MANY)
def test_any_error_of_one_scan_is_its_line(command, error, toy_case, weights, monkeypatch, tmp_path):
    done = run_with(error, command, toy_case, weights, monkeypatch, tmp_path)
    assert done.returncode == 1, done.stderr
    said = done.stdout if command == "check" else done.stderr
    lines = [line for line in said.splitlines() if line.startswith(("lungseg: ", "error: "))]
    assert len(lines) == 1 and re.search(r"\bb(_pred)?\b", lines[0]) and "; " in lines[0], lines
    assert ("not enough memory" in lines[0]) == ("memory" in f"{type(error).__name__} {error}".lower())
    made = {
        "predict": lambda: sorted(path.name[0] for path in (tmp_path / "out").glob("*.nii.gz")) == ["a", "c"],
        "prepare": lambda: "2 patients prepared" in done.stdout,
        "check": lambda: "3 cases checked: 1 errors" in done.stdout,
        "import": lambda: "2 cases" in done.stdout and not list((tmp_path / "out").rglob("b.nii.gz")),
        "evaluate": lambda: list(pd.read_csv(tmp_path / "out" / "a.csv")["case"]) == ["a", "c"],
    }
    assert made[command](), done.stdout


@pytest.mark.parametrize("command", MANY)
def test_ctrl_c_ends_all_with_a_line_and_status_130(command, toy_case, weights, monkeypatch, tmp_path):
    done = run_with(KeyboardInterrupt(), command, toy_case, weights, monkeypatch, tmp_path)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "lungseg: stopped; what was finished stays"


def test_ctrl_c_while_lightning_trains_is_the_same(toy_case, monkeypatch):
    def stopped(*_, **__):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)  # as Lightning's trainer does

    monkeypatch.setattr("lungseg_helpers.dataset.split.open_split", stopped)
    done = lungseg("train", "--data", toy_case().image.parent)
    assert done.returncode == 130 and "lungseg: stopped" in done.stderr


def test_what_is_made_goes_where_the_variable_says(toy_case, weights, tmp_path):
    case = toy_case("a")
    done = lungseg("predict", case.image, "--weights", weights, data=tmp_path)
    names = ("a_pred.nii.gz", "a_components.csv")
    assert done.stdout.split() == [str(tmp_path / "outputs" / "predictions" / name) for name in names], done.stderr
    done = lungseg("evaluate", case.label.parent, tmp_path / "outputs" / "predictions", data=tmp_path)
    assert (tmp_path / "outputs" / "scores.csv").is_file(), done.stderr
    done = lungseg("video", case.image, "--gif", data=tmp_path)
    assert done.stdout.split() == [str(tmp_path / "outputs" / "videos" / "a.gif")], done.stderr


def test_a_film_is_as_fast_as_large_and_as_long_as_asked(toy_case, tmp_path):
    case = toy_case("a", "LAS")
    words = ["video", case.image, "--out", tmp_path, "--width", "320"]
    done = lungseg(*words, "--label", case.label, "--speed", "20", "--pause", "0", "--loop")
    assert done.stdout.split() == [str(tmp_path / "a_fps20_width320_pause0_loop.webp")], done.stderr
    done = lungseg(*words, "--loop")
    assert done.returncode == 1 and f"{case.image}: nothing for a loop to show" in done.stderr
    for command in (["film"], ["video", case.image]):
        for option, value in (("--speed", "0"), ("--width", "99"), ("--pause", "-1")):
            done = lungseg(*command, option, value)
            assert done.returncode == 2 and option in done.stderr, "typer's own line names the option and its range"


def test_a_handout_has_neither_labels_nor_a_seed_to_be_guessed(tmp_path):
    words = ["phantom", "--out", tmp_path / "kept", "--handout", tmp_path / "given", "--cases", "2",
             "--unlabelled", "1", "--matrix", "64", "--workers", "1"]  # fmt: skip
    done = lungseg(*words)
    assert done.returncode == 2 and "12 digits" in " ".join(done.stderr.split()) and not (tmp_path / "kept").exists()
    done = lungseg("phantom", "--handout", tmp_path / "given", "--seed", "734029385716", data=tmp_path)
    assert done.returncode == 2 and "--out" in done.stderr and not (tmp_path / "data").exists()
    done = lungseg(*words, "--seed", "734029385716")
    assert done.stdout.split() == [str(tmp_path / "kept"), str(tmp_path / "given")], done.stderr
    assert sorted(path.name for path in (tmp_path / "given").iterdir()) == ["lung_001.nii.gz", "lung_002.nii.gz"]


def test_phantoms_of_other_settings_are_kept_but_in_the_default_folder(tmp_path):
    small = ["--unlabelled", "0", "--matrix", "64", "--workers", "1"]
    kept, given, others = tmp_path / "kept", tmp_path / "given", tmp_path / "others"
    words = ["phantom", "--out", kept, "--cases", "2", *small, "--seed", "734029385716"]
    assert lungseg(*words, "--handout", given).returncode == 0
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    for other in ([*words[:-2]], [*words, "--cases", "1"], [*words, "--matrix", "66"]):
        done = lungseg(*other)
        assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1, done.stderr
        assert str(kept) in done.stderr and "other settings" in done.stderr and "name a new folder" in done.stderr
    done = lungseg("phantom", "--out", others, *small, "--cases", "1", *words[-2:], "--handout", given)
    assert done.returncode == 1 and "lung_002.nii.gz" in done.stderr and not others.exists(), "before any is drawn"
    assert lungseg(*words, "--handout", given).returncode == 0, "the same again is no error"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == files
    for out in ([], ["--out", tmp_path / "data" / "phantom"]):
        for cases in ("2", "1"):
            done = lungseg("phantom", *out, "--cases", cases, *small, data=tmp_path)
            assert done.returncode == 0, done.stderr
            assert len(list((tmp_path / "data" / "phantom").rglob("lung_*.nii.gz"))) == 2 * int(cases)


@pytest.mark.parametrize("fault", ["has no labels; give a data set with labelsTr", "is not gzip"])
def test_an_evaluation_without_a_score_leaves_the_one_of_before_as_it_is(fault, toy_case, tmp_path):
    case, masks, out = toy_case("a"), tmp_path / "masks", tmp_path / "out" / "scores.csv"
    for folder in (masks, out.parent):
        folder.mkdir()
    out.write_text("of before")
    (masks / "a_pred.nii.gz").write_text("no mask")
    if "labels" in fault:
        case.label.rename(masks / "a_pred.nii.gz")
    done = lungseg("evaluate", tmp_path, masks, "--out", out)
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.startswith("lungseg: ")]
    assert done.returncode == 1 and done.stdout == "" and len(lines) == 1 and fault in lines[0], done.stderr
    assert [path.name for path in out.parent.iterdir()] == ["scores.csv"] and out.read_text() == "of before"


def test_average_makes_the_folder(weights, tmp_path):
    out = tmp_path / "new" / "deeper" / "mean.ckpt"
    done = lungseg("average", weights, weights, "--out", out)
    assert done.returncode == 0 and done.stdout.strip() == str(out) and out.is_file(), done.stderr


def test_a_scan_without_lungs_is_taken_whole_if_asked(toy_case, weights, tmp_path):
    """A chest cut to a block around its tumour: no lung is whole in it."""
    case = toy_case("a")
    scan = nib.load(case.image)
    nib.save(scan.slicer[18:34, 40:60, 14:26], case.image)
    label = nib.load(case.label)
    nib.save(label.slicer[18:34, 40:60, 14:26], case.label)
    words = ["predict", case.image, "--weights", weights, "--out", tmp_path / "out"]
    done = lungseg(*words)
    assert done.returncode == 1 and "--whole" in done.stderr and not any((tmp_path / "out").iterdir())
    done = lungseg(*words, "--whole")
    assert done.returncode == 0, done.stderr
    assert "taken whole" in done.stderr and nib.load(tmp_path / "out" / "a_pred.nii.gz").shape == (16, 20, 12)
    assert lungseg("check", tmp_path, "--workers", "1").returncode == 1
    done = lungseg("check", tmp_path, "--workers", "1", "--whole")
    assert done.returncode == 0 and "note: a: " in done.stdout and "no lung" in done.stdout


OTHERS = {
    "nowhere": (None, "does not exist; check the path"),
    "nowhere.nrrd": (None, "does not exist; check the path"),
    "series.zip": (b"PK\x03\x04 and so on", "is a zip; unpack it and give the folder"),
    "IM1.dcm": (bytes(128) + b"DICM and so on", "is one file of a DICOM series; give the folder"),
    "IM1": (bytes(128) + b"DICM and so on", "is one file of a DICOM series; give the folder"),
    "scan.png": (b"\x89PNG", "is not called as a NIfTI, NRRD or MHA file; give one"),
}
"""What somebody may take for a scan: its bytes, and what is said of it."""


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_scan_is_told_what_it_is(name, weights, tmp_path):
    content, fault = OTHERS[name]
    if content:
        (tmp_path / name).write_bytes(content)
    done = lungseg("predict", tmp_path / name, "--weights", weights, "--out", tmp_path / "out")
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.startswith("lungseg: ")]
    assert done.returncode == 1 and len(lines) == 1 and lines[0].startswith(f"lungseg: {tmp_path / name}: {fault}")


def test_a_file_in_place_of_a_folder_is_no_missing_one(toy_case, tmp_path):
    label = toy_case("a").label
    done = lungseg("evaluate", tmp_path, label, "--out", tmp_path / "scores.csv")
    assert done.returncode == 1 and done.stderr == f"lungseg: {label}: is a file; give the folder that holds it\n"


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
    "phantom negative seed": ["phantom", "--seed", "-1", "--cases", "1", "--out", "{tmp}/phantoms"],
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


@pytest.mark.parametrize("name", ["1", "a", "is", "case_7"])
def test_an_error_names_its_scan_however_short_the_name_is(name):
    def fail(error):
        raise error

    for error in (ValueError("axis 1 is of size 120"), MemoryError(), OSError(28, "No space is left")):
        assert str(attempt(name, fail, error)).startswith(f"{name}: ")
    assert str(attempt(name, fail, ScanError(f"/{name}.nii: is cut; copy it"))) == f"/{name}.nii: is cut; copy it"
    assert str(attempt(name, fail, OSError(28, "is full", f"/{name}_pred.nii"))).startswith(f"/{name}_pred.nii: ")


def test_a_second_process_ends_well_where_a_case_cannot_be_used(monkeypatch):
    """Lightning kills the first process, which may still write the weights, where another ends with status 1."""
    from typer.testing import CliRunner

    from lungseg_helpers.cli import networks

    said = (Split(("a",), ("b",), ("c",)), {"train": [], "validation": []}, ["d: no lung was found"])
    monkeypatch.setattr("lungseg_helpers.dataset.split.open_split", lambda *_: said)
    monkeypatch.setattr("lungseg_helpers.training.run.train", lambda *_, **__: Path("weights.ckpt"))
    for first, status in ((True, 1), (False, 0)):
        monkeypatch.setattr("lungseg_helpers.training.run.is_first", lambda first=first: first)
        done = CliRunner().invoke(networks.app, ["train", "--device", "cpu", "--devices", "2"])
        assert (done.exit_code, "no lung" in done.stderr) == (status, first)
