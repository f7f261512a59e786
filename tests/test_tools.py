"""The tools beside the package: what the index has for a lock, what a run has done already, and how it is measured."""

from __future__ import annotations

import contextlib
import csv
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import zmq.asyncio
from packaging.requirements import Requirement

from lungseg_helpers.paths import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import execute
import index
import install
import oldest
import run
import wheels
from index import Wheel, fitting, tags

FILES = {
    "pure": ["pure-1.0-py3-none-any.whl"],
    "compiled": [
        "compiled-2.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "compiled-2.0-cp311-abi3-win_amd64.whl",
        "compiled-2.0-cp311-cp311-macosx_10_9_universal2.whl",
        "compiled-2.0-cp311-cp311-musllinux_1_2_aarch64.whl",
    ],
}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock, and an index that has the files of :data:`FILES`, 1 MB each."""
    lock = tmp_path / "requirements.lock"
    lock.write_text('# a lock\npure==1.0\ncompiled==2.0; python_version < "3.12"  # no wheel there\n')
    monkeypatch.setattr(index, "indexes", lambda: ["here"])
    listing = {name: [{"filename": file, "size": 10**6} for file in files] for name, files in FILES.items()}
    monkeypatch.setattr(index, "_listing", lambda address, name: listing[name])
    monkeypatch.setattr(wheels, "requirements", lambda *locks: index.requirements(lock))
    return lock


def test_a_missing_wheel_is_named_and_a_marker_leaves_a_pin_out(served, capsys):
    assert wheels.main() == 1
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if "no wheel" in line] == [
        "compiled ==2.0 has no wheel for Python 3.11 on Linux ARM"
    ]
    row = next(line for line in said.splitlines() if "Linux x86-64" in line).split("|")
    assert row[2].strip() == "2 wheels, 2 MB" and row[3].strip() == "1 wheels, 1 MB"
    served.write_text("pure==1.0\n")
    assert wheels.main() == 0
    served.write_text("pure==1.1\n")
    assert wheels.main() == 1, "another release is none"


def test_a_stable_abi_serves_newer_pythons_and_a_local_build_comes_first():
    found = [Wheel(name, 0) for name in FILES["compiled"]]
    assert fitting(found, tags("3.13", "Windows x86-64")).name == FILES["compiled"][1]
    assert fitting(found, tags("3.13", "Linux x86-64")) is None
    builds = [Wheel(f"torch-2.13.0{local}-cp311-cp311-manylinux_2_28_x86_64.whl", 0) for local in ("", "+cpu")]
    assert fitting(builds, tags("3.11", "Linux x86-64")) == builds[1]


def test_an_index_that_does_not_answer_is_no_missing_wheel(monkeypatch):
    monkeypatch.setattr(index.time, "sleep", lambda seconds: None)
    with pytest.raises(ConnectionError, match=r"pure .*check the network"):
        index._listing("http://127.0.0.1:9/simple", "pure")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with the Makefile, and with a ``python3`` whose environments have a pip, or none yet (``broken``)."""
    for name in ("requirements.lock", "pyproject.toml", "tools/install.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "python3").write_text(
        """#!/bin/sh
        echo "$@" >> asked
        case "$*" in "-m venv"*) for venv; do :; done; rm -rf $venv; mkdir -p $venv/bin; touch $venv/pyvenv.cfg
        printf '#!/bin/sh\ntest ! -e broken' > $venv/bin/python; chmod +x $venv/bin/python; test ! -e broken;; esac"""
    )
    (tmp_path / "python3").chmod(0o755)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run make in a folder, outside of any conda environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CONDA", "MAKE", "VENV"))}
    call = ["make", "PYTHON=./python3", *words]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)


def test_an_environment_that_was_left_without_pip_is_made_anew(bare):
    (bare / "broken").touch()
    assert make(bare, "venv").returncode and (bare / ".venv" / "bin" / "python").exists()
    (bare / "broken").unlink()
    (bare / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1")
    assert make(bare, "venv").returncode == 0 and (bare / ".venv" / ".lungseg-installed").exists()
    made = (bare / "asked").read_text().splitlines()
    assert [line for line in made if "venv" in line] == ["-m venv .venv", "-m venv --clear .venv"]
    (bare / "requirements.lock").touch()
    assert make(bare, "venv").returncode == 0 and (bare / "asked").read_text().splitlines() == made, "a whole one stays"


def test_a_conda_environment_without_pip_is_left_as_it_is(bare):
    conda = bare / "lungseg"
    (conda / "conda-meta").mkdir(parents=True)
    done = make(bare, "venv", "CONDA_DEFAULT_ENV=lungseg", f"CONDA_PREFIX={conda}")
    assert done.returncode and "conda install pip" in done.stderr and not (bare / "asked").exists()
    assert [each.name for each in conda.iterdir()] == ["conda-meta"]


def test_cleaning_removes_the_phantoms_that_the_course_makes_and_nothing_that_ships(bare):
    folders = ["first_phantom", "phantom", "phantom_100", "phantom_120", "real", "stacks", "weights"]
    for name in folders:
        (bare / "data" / name).mkdir(parents=True)
    (bare / "data" / "phantom_kept").mkdir()  # a class challenge's only labels, say
    assert make(bare, "clean").returncode == 0
    assert sorted(each.name for each in (bare / "data").iterdir()) == ["phantom_kept", "weights"]


class CutShort(http.server.BaseHTTPRequestHandler):
    """An index whose answers end before they should."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"files": [')

    def log_message(self, *words) -> None:
        pass


@contextlib.contextmanager
def cut_short() -> Iterator[str]:
    """Serve :class:`CutShort`, and yield its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), CutShort) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("cut", [True, False], ids=["an answer cut short", "a name and a password"])
def test_sizes_that_cannot_be_told_are_no_reason_not_to_install(monkeypatch, capsys, cut):
    monkeypatch.setattr(index.time, "sleep", lambda seconds: None)
    with cut_short() if cut else contextlib.nullcontext("http://reader:secret@127.0.0.1/simple") as address:
        monkeypatch.setattr(index, "indexes", lambda: [address])
        install.announce([Requirement("pure==1.0")], [])
    said = capsys.readouterr().out
    assert "how much there is to download cannot be told" in said and "secret" not in said


def test_an_executed_copy_is_found_done_until_something_changes(tmp_path, monkeypatch):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os\nprint(os.getcwd())")])
    path, out = tmp_path / "01_a.ipynb", tmp_path / "outputs" / "notebooks" / "01_a.ipynb"
    nbformat.write(notebook, path)
    assert not execute.is_done(path, out)
    execute.execute(path, out)
    assert execute.is_done(path, out)
    said = nbformat.read(out, 4).cells[0].outputs[0].text.strip()
    assert Path(said) == out.parent, "films are named from the copy's own folder"
    monkeypatch.setenv("LUNGSEG_DATA", "real")
    assert not execute.is_done(path, out), "other settings, another result"
    monkeypatch.delenv("LUNGSEG_DATA")
    notebook.cells[0].source += "\nprint(1)"
    nbformat.write(notebook, path)
    assert not execute.is_done(path, out)
    execute.execute(path, out)
    weights = tmp_path / "data" / "weights" / "course.ckpt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"others")
    assert execute.is_done(path, out)
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    assert not execute.is_done(path, out), "other weights, another result"
    out.write_text(out.read_text()[:200])
    assert not execute.is_done(path, out)


@pytest.mark.parametrize(
    "name",
    [
        "notebooks/solutions/01_preprocessing.py",
        "lungseg_helpers/viewer/receiver.js",
        "benchmarks/dimensions_masks.npz",
        "benchmarks/nnunet/nnunet.csv",
    ],
)
def test_a_copy_is_made_again_where_a_file_that_it_reads_has_changed(tmp_path, monkeypatch, name):
    assert (ROOT / name).is_file()
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    notebook, file = tmp_path / "01_a.ipynb", tmp_path / name
    nbformat.write(nbformat.v4.new_notebook(), notebook)
    file.parent.mkdir(parents=True)
    file.write_text("before")
    before = execute.made_from(notebook)
    file.write_text("after")
    assert execute.made_from(notebook) != before


def test_an_answer_of_which_no_notice_came_is_found(tmp_path, monkeypatch):
    """What happens when nbclient sends a slider's picture as the answer comes: the notice is used up, and lost."""
    noticed, lost = zmq.asyncio.Socket._handle_events, []

    def handle(self, *notice):
        if notice and self.type == zmq.DEALER and self._recv_futures:
            lost.append(self._shadow_sock.get(zmq.EVENTS))
        else:
            noticed(self, *notice)

    monkeypatch.setattr(zmq.asyncio.Socket, "_handle_events", handle)
    path, out = tmp_path / "01_a.ipynb", tmp_path / "copies" / "01_a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(1)")]), path)
    run = threading.Thread(target=execute.execute, args=(path, out), daemon=True)
    run.start()
    run.join(60)
    assert not run.is_alive() and execute.is_done(path, out)
    assert any(events & zmq.POLLIN for events in lost), "nothing was lost"


def test_pictures_of_a_notebooks_text_are_found_by_its_copy_too(tmp_path):
    text = "![a loop](../data/loop.webp) ![gone](../data/gone.png) ![far](https://example.org/a.png)"
    path, out = tmp_path / "notebooks" / "01_a.ipynb", tmp_path / "outputs" / "notebooks" / "01_a.ipynb"
    for folder in (path.parent, tmp_path / "data"):
        folder.mkdir()
    (tmp_path / "data" / "loop.webp").write_bytes(b"a film")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), path)
    execute.copy_pictures(path, out)
    assert (out.parent / "../data/loop.webp").resolve().read_bytes() == b"a film"
    assert [each.name for each in (tmp_path / "outputs" / "data").iterdir()] == ["loop.webp"]
    execute.copy_pictures(path, path)
    assert (tmp_path / "data" / "loop.webp").read_bytes() == b"a film", "in place there is nothing to copy"


@pytest.fixture
def pip_calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What ``make test-oldest`` asks of pip, which installs nothing here."""
    calls: list[list[str]] = []
    monkeypatch.setattr(oldest, "wrong_python", lambda allowed: None)
    monkeypatch.setattr(
        oldest.subprocess, "run", lambda call: calls.append(call) or subprocess.CompletedProcess(call, 0)
    )
    return calls


def test_what_is_tested_as_oldest_is_every_floor_of_pyproject(pip_calls, monkeypatch):
    monkeypatch.delenv("OLDEST_TORCH", raising=False)
    assert oldest.main() == 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = {*project["build-system"]["requires"], *project["project"]["dependencies"]}
    asked = asked.union(*project["project"]["optional-dependencies"].values())
    assert {pin.replace("==", ">=") for pin in pip_calls[0] if "==" in pin} == asked
    opencv = next(pin for pin in pip_calls[0] if pin.startswith("opencv"))
    assert opencv in pip_calls[2], "its floor comes last, after the build that imaug brings"


def test_another_torch_may_stand_in_for_its_floor_and_that_is_said(pip_calls, monkeypatch, capsys):
    monkeypatch.setenv("OLDEST_TORCH", "2.13.0")
    assert oldest.main() == 0
    assert [pin for pin in pip_calls[0] if pin.startswith("torch==")] == ["torch==2.13.0"]
    assert re.search(r"torch 2.13.0 in place of its floor, 2\.\d.*, which is not tested", capsys.readouterr().out)


def test_floors_are_tested_on_the_oldest_python_alone():
    this = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert oldest.wrong_python(f">={this}.4") is None
    assert "make test-oldest PYTHON=python3.5" in oldest.wrong_python(">=3.5.4")


@pytest.mark.parametrize("written", ["numpy", "numpy==2.0", "numpy>=1.26,<3", "numpy~=2.0", "torch>=2.5"])
def test_a_requirement_that_is_no_floor_is_named(written):
    project = {
        "build-system": {"requires": ["setuptools>=77"]},
        "project": {"dependencies": ["torch>=2.4"], "optional-dependencies": {"test": [written]}},
    }
    with pytest.raises(ValueError, match=f"'{Requirement(written)}' is no floor"):
        oldest.floors(project)


def test_a_copy_that_failed_half_way_is_not_done(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in ("print(1)", "1 / 0")])
    path, out = tmp_path / "01_a.ipynb", tmp_path / "copies" / "01_a.ipynb"
    nbformat.write(notebook, path)
    with pytest.raises(execute.CellExecutionError):
        execute.execute(path, out)
    assert nbformat.read(out, 4).cells[0].outputs and not execute.is_done(path, out)


def test_a_run_does_what_is_left_and_says_how_far_it_is(tmp_path, monkeypatch, capfd):
    python = [sys.executable, "-c"]
    todo = [
        run.Step("film", "a film", [*python, "print('done')"]),
        run.Step("phantoms", "phantoms", [*python, "raise SystemExit('made again')"], done=True),
        run.Step("01", "notebook 01", [*python, "x = bytearray(60_000_000); import time; time.sleep(1.2)"]),
    ]
    monkeypatch.setattr(run, "steps", lambda: iter(todo))
    monkeypatch.setenv("LUNGSEG_OUTPUTS", str(tmp_path))
    times = tmp_path / "times.json"
    assert run.run(times) == 0
    said = capfd.readouterr().out
    assert "phantoms: done already" in said and "a film: usually" in said
    kept = json.loads(times.read_text())
    assert set(kept["steps"]) == {"film", "01"} and kept["machine"]["precision"], "no whole run was measured"
    assert kept["steps"]["01"]["peak_mb"] > 55 and kept["steps"]["01"]["seconds"] >= 1.2
    todo[0] = run.Step("film", "a film", [*python, "raise SystemExit(3)"])
    assert run.run(times) == 3
    assert "goes on from here" in capfd.readouterr().err


def test_the_readmes_minutes_are_those_that_were_measured():
    """Each notebook's row in the README, and its first cell, give the rounded minutes of ``benchmarks/times.csv``."""
    with run.MEASURED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    taken = {(row["cores"], row["step"]): float(row["seconds"]) for row in rows}
    readme = (ROOT / "README.md").read_text()
    for path in execute.numbered():
        number, wanted = path.stem[:2], {}
        for cores in ("plain", "fast"):
            wanted[cores] = max(1, round(taken[cores, number] / 60))
        row = next(line for line in readme.splitlines() if line.startswith(f"| {number} "))
        assert f"| {wanted['plain']} | {wanted['fast']} |" in row, row
        frame = nbformat.read(path, 4).cells[0].source
        assert f"about {wanted['plain']} minute" in frame and "plain cores" in frame, f"{path.stem}: {wanted}"


def test_views_of_scans_are_left_out_of_a_notebook_and_sliders_and_pictures_stay():
    def model(kind, *children):
        return {"model_module": kind, "state": {"children": [f"IPY_MODEL_{child}" for child in children]}}

    def shown(name):
        data = {execute.VIEW: {"model_id": name}, "image/png": "a picture"}
        return nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data)])

    state = {
        "panel": model("@jupyter-widgets/controls", "row", "view"),
        "row": model("@jupyter-widgets/controls", "layout"),
        "view": model("anywidget"),
        "scan": model("anywidget"),
        "box": model("@jupyter-widgets/controls", "slider", "layout"),
        "slider": model("@jupyter-widgets/controls"),
        "layout": model("@jupyter-widgets/base"),
    }
    unseen = shown("panel")
    unseen.outputs[0].data = {execute.VIEW: {"model_id": "panel"}, "text/plain": "VBox(<Receiver at 0x7f01>)"}
    cells = [shown("panel"), shown("box"), nbformat.v4.new_markdown_cell("text"), unseen]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["widgets"] = {execute.STATE: {"state": dict(state), "version_major": 2}}
    execute.leave_scans_out(notebook)
    assert {*notebook.metadata.widgets[execute.STATE]["state"]} == {"box", "slider", "layout"}
    assert [{*cell.outputs[0].data} for cell in notebook.cells[:2]] == [{"image/png"}, {execute.VIEW, "image/png"}]
    assert unseen.outputs[0].data == {"text/plain": execute.LIVE}
    notebook.cells = notebook.cells[:1]
    execute.leave_scans_out(notebook)
    assert "widgets" not in notebook.metadata
