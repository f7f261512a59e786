"""``LUNGSEG_RECIPE`` and ``LUNGSEG_DATA``: the notebooks go the whole road by another recipe, on other patients."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lungseg_helpers.paths import ROOT
from lungseg_helpers.phantom.dataset import write_dataset

NOTEBOOKS, EXECUTE = ROOT / "notebooks", ROOT / "tools" / "execute.py"

FEW_STEPS = """
from lungseg_helpers import recipes
for name, sizes in recipes._LAPTOP.items():
    sizes |= {"slices_per_epoch": 160, "epochs": 2} | ({"frame": (64, 64)} if name in recipes.FAITHFUL else {})
"""
"""What each kernel runs first: seconds of training, on a quarter of the pixels. Else this test takes half an hour."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An own data set, outputs of its own, short trainings, and an index that does not answer."""
    # a smaller matrix has thicker slices, and the 30 that a reference recipe drops would leave no tumour
    write_dataset(tmp_path / "own", cases=12, unlabelled=1, seed=7, matrix=192)
    startup = tmp_path / "ipython" / "profile_default" / "startup" / "00_few_steps.py"
    startup.parent.mkdir(parents=True)
    startup.write_text(FEW_STEPS)
    return {
        **os.environ,
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "LUNGSEG_DATA_DIR": str(tmp_path / "data"),
        "LUNGSEG_DATA": str(tmp_path / "own"),
        "LUNGSEG_OUTPUTS": str(tmp_path / "outputs"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    }


# one channel, whole frames, no normalisation, inverse-frequency weights, a constant rate, early stopping
@pytest.mark.parametrize("recipe", ["lungnet"])
def test_notebooks_run_by_a_reference_recipe(environment, tmp_path, recipe):
    chosen = [next(NOTEBOOKS.glob(f"{number}_*.ipynb")) for number in ("02", "03", "04", "05")]
    command = [sys.executable, EXECUTE, "--out", tmp_path / "executed", *chosen]
    done = subprocess.run(
        command, env={**environment, "LUNGSEG_RECIPE": recipe}, capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = (tmp_path / "outputs" / "runs").glob(f"own-{recipe}-*-????????")
    split = json.loads((run / "split.json").read_text())
    assert split["data"] == "own"
    evaluated = (tmp_path / "executed" / chosen[-1].name).read_text()
    seen = f"of the {len(split['test'])} test patients it has seen 0"
    assert re.search(rf"yours: trained on {len(split['train'])} patients of own; {seen}", evaluated)
