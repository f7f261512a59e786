"""The package as a whole: which folder may import which, and what its door gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import lungseg_helpers
from lungseg_helpers.paths import ROOT


def lint(folder: Path) -> subprocess.CompletedProcess:
    """Hold the imports of the package in ``folder`` against the contracts of its pyproject.toml."""
    # the working folder comes first on the path, so a copy of the package there is the one that is looked at
    call = "import importlinter.cli as cli; sys.exit(cli.lint_imports(cache_dir=None))"
    code = f"import sys; sys.path.insert(0, ''); {call}"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_imports_follow_the_road():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", ["check --output-format=concise", "format --check"])
def test_style_and_layout_are_ruffs(command):
    ruff = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", "."]
    done = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_too_long_to_be_read_at_once():
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / "lungseg_helpers").rglob("*.py")}
    assert not {path: count for path, count in lines.items() if count > 260}


@pytest.mark.parametrize(
    ("file", "planted", "contract"),
    [
        ("dataset/slices.py", "from ..training import losses", "the order of the road"),
        ("phantom/canvas.py", "from ..scans import lungs", "the order of the road"),
        ("phantom/canvas.py", "from ..hounsfield import AIR_HU", "phantoms know nothing"),
        ("scans/lungs.py", "import torch", "no torch below dataset"),
        ("evaluation/scores.py", "import pydicom", "DICOM is read in scans alone"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(tmp_path, file, planted, contract):
    shutil.copytree(ROOT / "lungseg_helpers", tmp_path / "lungseg_helpers")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "lungseg_helpers" / file
    path.write_text(path.read_text().replace("from __future__ import annotations", planted, 1))
    done = lint(tmp_path)
    assert done.returncode == 1
    assert re.search(f"{contract}.* BROKEN", done.stdout), done.stdout + done.stderr


@pytest.mark.parametrize("name", [*lungseg_helpers.HOMES])
def test_every_name_at_the_door_is_at_home_where_it_says(name):
    home = f"lungseg_helpers.{lungseg_helpers.HOMES[name]}"
    assert name in dir(lungseg_helpers)
    assert getattr(getattr(lungseg_helpers, name), "__module__", home) == home or name == "SHIPPED_WEIGHTS"


def test_the_door_says_what_it_has():
    with pytest.raises(AttributeError, match=r"at its door are: .*read_scan"):
        _ = lungseg_helpers.read_scans


def test_no_notebook_needs_more_than_six_lines_to_import_the_package():
    """Beside the one of its first code cell, which all notebooks have."""
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        code = "\n".join([cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"][1:])
        assert len(re.findall(r"^\s*(?:from|import) lungseg_helpers", code, re.MULTILINE)) <= 6, path.name


@pytest.mark.parametrize(
    ("code", "none_of"),
    [
        ("import lungseg_helpers.cli.data, lungseg_helpers.cli.networks", {"torch", "pydicom", "SimpleITK"}),
        ("import lungseg_helpers; lungseg_helpers.dice", {"torch", "pydicom", "SimpleITK"}),
        ("from lungseg_helpers import check, prepare, right_or, show_figure, split_patients", {"torch", "tensorboard"}),
        # nibabel looks for pydicom itself
        ("from lungseg_helpers import evaluate_pairs, read_scan", {"torch", "highdicom", "SimpleITK"}),
    ],
)
def test_help_and_scores_load_neither_torch_nor_dicom(code, none_of):
    """Surface distances alone are MONAI's, which brings torch when the first one is asked for."""
    subprocess.run([sys.executable, "-c", f"{code}; import sys; assert not {none_of} & {{*sys.modules}}"], check=True)


@pytest.mark.parametrize(("chosen", "spins"), [(None, False), ("active", True)])
def test_threads_of_torch_sleep_while_they_wait(chosen, spins):
    """What the OpenMP library itself says it does: two cores with a browser open are the usual machine."""
    kept = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment = kept | {"OMP_DISPLAY_ENV": "verbose"} | ({"OMP_WAIT_POLICY": chosen} if chosen else {})
    command = [sys.executable, "-c", "import lungseg_helpers, torch"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    count = re.search(r"GOMP_SPINCOUNT = '(\w+)'", done.stderr)
    if count is None:
        pytest.skip("this build of torch has another OpenMP library, which does not say what it does")
    assert (count[1] != "0") is spins
