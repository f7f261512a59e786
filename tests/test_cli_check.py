"""``lungseg check`` and ``lungseg fetch decathlon``: a line per fault on stdout, an honest exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from serving import Site, serve

from lungseg_helpers import cli


def lungseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *words: object) -> tuple[int, str, str]:
    """Run a command as its entry point does; return status, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["lungseg", *map(str, words)])
    status = 0
    try:
        cli.main()
    except SystemExit as end:
        status = end.code or 0
    return status, *capsys.readouterr()


def test_a_sound_set_ends_with_status_0(toy_case, tmp_path: Path, monkeypatch, capsys) -> None:
    toy_case("a")
    status, out, _ = lungseg(monkeypatch, capsys, "check", tmp_path, "--workers", 1)
    assert status == 0
    assert "dataset.json: is missing" in out and out.startswith("note: ")
    assert out.splitlines()[-1] == "1 cases checked: 0 errors, 1 notes"


def test_every_bad_case_gets_its_line_and_the_status_is_1(toy_case, tmp_path: Path, monkeypatch, capsys) -> None:
    cases = [toy_case(name) for name in "abc"]
    cases[0].image.write_bytes(b"no scan")
    cases[2].label.unlink()
    report = tmp_path / "out" / "report.json"
    status, out, _ = lungseg(monkeypatch, capsys, "check", tmp_path, "--workers", 1, "--json", report)
    assert status == 1
    lines = [line for line in out.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in lines] == ["a", "c"]
    assert "is not gzip" in lines[0] and "has no label" in lines[1]
    found = json.loads(report.read_text())
    assert found["errors"] == 2 and found["cases"] == ["a", "b", "c"]
    assert {problem["severity"] for problem in found["problems"]} == {"error", "note"}


def test_label_values_are_chosen(toy_case, tmp_path: Path, monkeypatch, capsys) -> None:
    case = toy_case("a")
    image = nib.load(case.label)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * np.uint8(3), image.affine), case.label)
    status, out, _ = lungseg(monkeypatch, capsys, "check", tmp_path, "--workers", 1)
    assert status == 1 and "label values 0, 3" in out
    assert lungseg(monkeypatch, capsys, "check", tmp_path, "--workers", 1, "--labels", "1,3")[0] == 0
    for wrong in ("tumour", "0,1", "256", ""):
        status, _, err = lungseg(monkeypatch, capsys, "check", tmp_path, "--labels", wrong)
        assert status == 2 and "--labels" in err and "Traceback" not in err


def test_a_name_that_is_not_utf_8_is_printed(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    (folder / os.fsdecode(b"M\xfcller.nii.gz")).write_bytes(b"no scan")
    command = [sys.executable, "-m", "lungseg_helpers.cli", "check", str(folder)]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as in most locales
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=strict, timeout=300)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert r"error: M\udcfcller: " in done.stdout and "1 cases checked: 1 errors" in done.stdout


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    status, out, err = lungseg(monkeypatch, capsys, "check", tmp_path / "none")
    assert status == 1 and out == ""
    assert err.startswith("lungseg: ") and len(err.splitlines()) == 1


def test_fetch_decathlon_takes_a_mirror_and_verifies_it(tmp_path: Path, monkeypatch, capsys) -> None:
    with serve(Site({"/Task06_Lung.tar": b"another archive"})) as site:
        words = ("fetch", "decathlon", "--url", f"{site.url}/Task06_Lung.tar", "--out", tmp_path / "Task06_Lung")
        status, out, err = lungseg(monkeypatch, capsys, *words)
    assert status == 1 and out == "" and site.asked
    assert "md5" in err.lower() and not (tmp_path / "Task06_Lung").exists()


def test_fetch_decathlon_of_a_finished_set_costs_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path))
    folder = tmp_path / "Task06_Lung"
    folder.mkdir()
    (folder / "a.nii.gz").touch()
    pair = {"image": "./a.nii.gz", "label": "./a.nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({"training": [pair], "test": []}))
    status, out, _ = lungseg(monkeypatch, capsys, "fetch", "decathlon", "--url", "http://127.0.0.1:9/none.tar")
    assert (status, out.strip()) == (0, str(folder))
