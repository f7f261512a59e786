"""Checks on the course as a whole: what is pinned, installed and committed."""

import itertools
import os
import re
import subprocess
import tomllib

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lungseg_helpers.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    """Return the version of every package in the lock, and in the one that ``make book`` adds to it."""
    found = {}
    locks = [ROOT / "requirements.lock", ROOT / "book" / "requirements.lock"]
    for line in "\n".join(lock.read_text() for lock in locks).splitlines():
        if line := line.split("#")[0].strip():
            requirement = Requirement(line)
            (pin,) = requirement.specifier
            assert pin.operator == "==", line
            found[requirement.name.lower().replace("_", "-")] = pin.version
    return found


def test_every_direct_dependency_is_pinned_within_its_range():
    locked = pins()
    for line in [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]:
        requirement = Requirement(line)
        assert locked[requirement.name.lower()] in requirement.specifier, line
    assert locked["torch"] == "2.13.0"


def test_every_direct_dependency_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text()
    for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["book"]]:
        assert re.search(rf'"{re.escape(line)}",\s+# \w.{{10}}', text), f"no reason beside {line}"


def test_torch_is_a_range_so_that_an_installed_one_stays():
    torch = next(Requirement(line) for line in PROJECT["dependencies"] if line.startswith("torch>"))
    assert "2.5.1" in torch.specifier and "3.0" in torch.specifier


def test_conda_installs_through_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = environment["dependencies"]
    assert {Requirement(each.replace("=", "==")).name for each in conda} == {"python", "pip", "make"}
    (python,) = [each.split("=")[1] for each in conda if each.startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python + ".99")
    assert f"Python {python}" in (ROOT / "requirements.lock").read_text().splitlines()[0]
    # make, called in that environment, installs into it; called in another one, into .venv
    for name, folder in (("lungseg", "/conda/envs/lungseg"), ("base", ".venv")):
        active = {**os.environ, "CONDA_DEFAULT_ENV": name, "CONDA_PREFIX": f"/conda/envs/{name}"}
        active = {key: value for key, value in active.items() if key != "VENV" and not key.startswith("MAKE")}
        said = subprocess.run(["make", "-n", "-B", "lab"], cwd=ROOT, env=active, capture_output=True, text=True).stdout
        assert f"{folder}/bin/python tools/install.py" in said and f"{folder}/bin/jupyter lab" in said


def test_five_notebooks_make_the_road():
    assert [path.stem for path in NOTEBOOKS][:5] == [
        "01_preprocessing",
        "02_dataset_and_augmentation",
        "03_unet",
        "04_training",
        "05_evaluation",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_executed_in_order(path):
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert not any(output.output_type == "error" for output in cell.outputs), cell.source
        assert len(cell.source.splitlines()) <= 25, f"a cell too long to read: {cell.source[:60]}"
    assert path.stat().st_size < 2e6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_that_is_not_compared_says_why(path):
    for cell in nbformat.read(path, 4).cells:
        tags = [tag for tag in cell.metadata.get("tags", []) if tag.startswith(("nbval", "raises"))]
        for tag in tags:
            assert re.search(rf"^# {tag}: \w.{{15}}", cell.source, re.M), f"{tag} without a reason: {cell.source[:60]}"
        assert tags or "nbval-" not in cell.source, f"a reason without its tag: {cell.source[:60]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_its_frame_and_take_away(path):
    cells = nbformat.read(path, 4).cells
    frame = cells[0].source
    for needed in ("# ", "**You will be able to**", "**You need**", "plain cores", "not for clinical use"):
        assert needed in frame, needed
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "## Take-away" in text


def test_notebooks_hold_no_path_of_one_machine():
    for path in NOTEBOOKS:
        assert not re.search(r"/(home|root|Users|tmp|work)/", path.read_text()), path


def test_what_contributors_read_is_true():
    told = (ROOT / "CONTRIBUTING.md").read_text()
    for path in re.findall(r"`([a-z_]+/[\w./]*)`", told):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)", told):
        assert re.search(rf"^{target}:", makefile, re.M), target
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == PROJECT["version"] and cited["license"] == PROJECT["license"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug_report.yml").read_text())["body"]
    assert any("Notebook and cell" in part["attributes"]["label"] for part in form)
