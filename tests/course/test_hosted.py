"""On Colab and Kaggle: the line that says what a notebook runs on, the cell that brings the course, and its address."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from packaging.requirements import Requirement

from lungseg_helpers.course import hosted, show
from lungseg_helpers.paths import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import beside
import execute
import hosted as publishing

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
CELL = re.compile(r'say_machine\("(\d\d)"\)$')
ADDRESS = "https://github.com/some-one/a.course"


def first_code(path: Path) -> nbformat.NotebookNode:
    return next(cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, no GPU, no host."""
    for variable in hosted.HOSTS.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
    monkeypatch.setattr(hosted, "processor", lambda: "Some Processor")


def test_a_processor_is_named_with_its_minutes_and_no_menu_at_home(at_home, capsys, monkeypatch, tmp_path):
    times = tmp_path / "times.csv"
    times.write_text("cores,step,seconds\nplain,04,430\nfast,04,62\n")
    monkeypatch.setattr(hosted, "TIMES", times)
    hosted.say_machine("04")
    where = "04 runs on the processor: 1 core of Some Processor, plain (float32)."
    assert capsys.readouterr().out == f"{where} On two such cores it takes about 7 minutes.\n"
    monkeypatch.setenv("LUNGSEG_PRECISION", "bfloat16")
    hosted.say_machine("04")
    assert "fast (bfloat16). On two such cores it takes about 1 minute." in capsys.readouterr().out


@pytest.mark.parametrize(("variables", "menu"), [(["Colab"], "Runtime > "), (["Colab", "Kaggle"], "Settings > ")])
def test_a_host_without_a_gpu_names_its_menu_in_the_same_line(at_home, capsys, monkeypatch, variables, menu):
    """Kaggle's image is Colab's with more in it, and may set both variables."""
    for name in variables:
        monkeypatch.setenv(hosted.HOSTS[name], "1")
    hosted.say_machine("01")
    (line,) = capsys.readouterr().out.splitlines()
    assert f"A GPU is one menu away: {menu}" in line and variables[-1] == hosted.host()


def test_a_gpu_is_named_and_its_minutes_are_not_made_up(at_home, capsys, monkeypatch, tmp_path):
    times = tmp_path / "times.csv"
    times.write_text("cores,step,seconds\nplain,04,430\nfast,04,122\n")
    monkeypatch.setattr(hosted, "TIMES", times)
    monkeypatch.setenv(hosted.HOSTS["Colab"], "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=15.8e9))
    hosted.say_machine("04")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("04 runs on a GPU: Tesla T4, 16 GB. Without one it takes 7 minutes on two plain cores, ")
    assert line.endswith("on GPUs it was not measured.")


def test_every_notebook_has_minutes(at_home, capsys):
    for path in NOTEBOOKS:
        hosted.say_machine(path.stem[:2])
    assert len(capsys.readouterr().out.splitlines()) == len(NOTEBOOKS)


def test_the_processor_has_a_name(tmp_path):
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nmodel name\t: A Fast: One @ 2 GHz\nmodel name\t: another\n")
    assert hosted.processor(listed) == "A Fast: One @ 2 GHz"
    listed.write_text("processor\t: 0\nCPU implementer\t: 0x41\n")
    assert hosted.processor(listed), "an ARM names its maker in numbers only"


def test_a_film_is_within_the_notebook_where_the_page_cannot_reach_files(at_home, monkeypatch, tmp_path):
    film = tmp_path / "a.mp4"
    film.write_bytes(b"film")
    shown = []
    monkeypatch.setattr(show, "display", lambda data, raw: shown.append(data["text/html"]))
    show.show_film(film, "a film")
    monkeypatch.setenv(hosted.HOSTS["Kaggle"], "Interactive")
    show.show_film(film, "a film")
    assert 'a.mp4" ' in shown[0] and 'src="data:video/mp4;base64,ZmlsbQ==" ' in shown[1]


def test_the_first_cell_is_the_same_in_each_notebook_but_for_its_number():
    cells = {path: first_code(path) for path in NOTEBOOKS}
    for path, cell in cells.items():
        assert cell.metadata.get("tags") and "nbval-ignore-output" in cell.metadata["tags"], path.name
        assert CELL.search(cell.source)[1] == path.stem[:2]
    assert len({CELL.sub("", cell.source) for cell in cells.values()}) == 1


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with copies of the notebooks and the README, to which the tool writes."""
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for path in NOTEBOOKS:
        shutil.copy(path, tmp_path / "notebooks")
    monkeypatch.setattr(publishing, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path


def publish(monkeypatch: pytest.MonkeyPatch, address: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hosted.py", address])
    return publishing.main()


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in [folder / "README.md", *(folder / "notebooks").iterdir()]}


def test_an_address_is_written_once_and_another_takes_its_place(copies, monkeypatch):
    before = content(copies)
    assert publish(monkeypatch, ADDRESS) == 0
    first = content(copies)
    assert publish(monkeypatch, f"{ADDRESS}.git") == 0
    assert content(copies) == first
    assert publish(monkeypatch, "https://github.com/else/where") == 0
    assert "some-one" not in "".join(content(copies).values())
    assert publish(monkeypatch, ADDRESS) == 0
    assert content(copies) == first
    for path in NOTEBOOKS:
        was, now = (nbformat.reads(each[path.name], 4).cells for each in (before, first))
        page = f"github.com/some-one/a.course/blob/main/notebooks/{path.name}"
        assert now[0].source.split("\n")[0] == was[0].source.split("\n")[0]
        assert f"](https://kaggle.com/kernels/welcome?src=https://{page})" in now[0].source.split("\n")[2]
        colab = page.replace("github.com", "https://colab.research.google.com/github")
        assert f"]({colab})" in now[0].source.split("\n")[2] and f"]({colab})" in first["README.md"]
        changed = [(old, new) for old, new in zip(was[1:], now[1:], strict=True) if old != new]
        assert len(changed) == 1 and changed[0][0].get("outputs") == changed[0][1].get("outputs")
        assert f'    repository = "{ADDRESS}"' in changed[0][1].source
    assert before["README.md"] == publishing.BADGES.sub("", first["README.md"])


@pytest.mark.parametrize(
    "address",
    ["", "http://github.com/a/b", "https://github.com/a", "https://github.com/a/b;rm -r x", 'https://github.com/a/b"',
     "https://github.com.else.org/a/b", "https://github.com/a/..", "https://github.com/a/b\n"],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_nothing_is_written(copies, monkeypatch, capsys, address):
    before = content(copies)
    assert publish(monkeypatch, address) == 1
    assert "write https://github.com/OWNER/NAME" in capsys.readouterr().err and content(copies) == before


def test_what_is_there_is_left_and_what_is_missing_is_found_through_what_needs_it(monkeypatch):
    """As on Colab: its own OpenCVs and an old IPython; PyTorch Lightning and imaug are there without what they need."""
    there = {"torch": "2.11.0+cu128", "numpy": "2.0.2", "ipython": "7.34.0", "opencv-contrib-python": "4.13.0.92"}
    there |= {"pytorch-lightning": "2.6.6", "imaug": "0.4.3", "fsspec": "2025.3.0", "highdicom": "0.28.2"}
    needs = {
        "pytorch-lightning": ["torch>=9", "fsspec[http]>=2022.5.0", 'never; python_version < "3"'],
        "fsspec": ['aiohttp; extra == "http"', 'dropbox; extra == "dropbox"'],
        "imaug": ["opencv-python<4.13", "Imagecorruptions_imaug>=1.1.5"],
        "highdicom": ["pyjpegls>=1.0.0"],
    }
    monkeypatch.setattr(beside, "installed", lambda: there)
    monkeypatch.setattr(beside.importlib.metadata, "requires", lambda name: needs.get(name))
    missing = beside.lacking()
    assert {"aiohttp", "imagecorruptions-imaug", "nibabel", "ipywidgets"} <= missing.keys()
    assert missing["imagecorruptions-imaug"] == "Imagecorruptions_imaug>=1.1.5"
    assert not missing.keys() & {*there, *beside.SERVER, *beside.OPENCV, *beside.UNNEEDED, "never", "dropbox"}
    del there["opencv-contrib-python"]
    assert missing.keys() ^ beside.lacking().keys() == {"opencv-python-headless"}


def test_packages_are_installed_until_none_is_missing_and_old_ones_are_named(monkeypatch, capsys):
    rounds = iter([{"imaug": "imaug>=0.4.3"}, {"imagecorruptions-imaug": "imagecorruptions-imaug>=1.1.5"}, {}])
    monkeypatch.setattr(beside, "lacking", lambda: next(rounds))
    monkeypatch.setattr(beside, "installed", lambda: {"ipython": "7.34.0", "numpy": "2.0.2"})
    monkeypatch.setattr(beside, "asked", lambda: [Requirement("ipython>=8.18"), Requirement("numpy>=1.26")])
    calls: list[list[str]] = []

    def pip(command: list[str]) -> SimpleNamespace:
        calls.append(command[len(beside.PIP) :])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", pip)
    assert beside.main() == 0
    assert [call[-1] for call in calls] == ["imaug>=0.4.3", "imagecorruptions-imaug>=1.1.5", str(ROOT)]
    assert all("--no-deps" in call for call in calls)
    assert capsys.readouterr().out.endswith("left as they are: ipython 7.34.0\n")
    monkeypatch.setattr(beside, "lacking", lambda: {"imaug": "imaug>=0.4.3"})
    monkeypatch.setattr(subprocess, "run", lambda command: SimpleNamespace(returncode=1))
    assert beside.main() == 1, "without a connection, say"


def test_packages_that_stay_missing_after_they_were_installed_end_it_with_a_line(monkeypatch, capsys):
    """As where pip writes into the user's folder, and Python was started before that was there, or does not look."""
    rounds = iter([{"imaug": "imaug>=0.4.3", "monai": "monai"}, {"imaug": "imaug>=0.4.3"}])
    monkeypatch.setattr(beside, "lacking", lambda: next(rounds))
    monkeypatch.setattr(subprocess, "run", lambda command: SimpleNamespace(returncode=0))
    assert beside.main() == 1
    assert capsys.readouterr().err.startswith("pip has installed imaug where this Python does not look; ")


def test_nothing_is_missing_where_the_lock_is_installed():
    assert beside.lacking() == {}
