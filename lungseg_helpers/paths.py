"""Where data sets, weights and whatever a run makes lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the course: the package is installed from it, editable, so data, weights and outputs lie beside it."""

SHIPPED_WEIGHTS = ROOT / "data" / "weights" / "course.ckpt"
"""The weights that come with the course, trained on phantoms."""

KNOWN_SETS = {"phantom": "phantom", "real": "real", "decathlon": "Task06_Lung"}
"""The names that ``LUNGSEG_DATA`` knows, and each one's folder in :func:`data_dir`."""


def data_dir() -> Path:
    """Return the folder of made and fetched data: ``LUNGSEG_DATA_DIR``, the course's ``data``, or ./data."""
    if chosen := os.environ.get("LUNGSEG_DATA_DIR"):
        return Path(chosen).expanduser()
    return ROOT / "data" if (ROOT / "data").is_dir() else Path("data")


def dataset_root(name: str | Path | None = None) -> Path:
    """Return the folder of a data set, whether it exists or not.

    ``name`` is ``"phantom"``, ``"real"``, ``"decathlon"`` or a path; it defaults to
    ``LUNGSEG_DATA``, and that to ``"phantom"``.
    """
    name = str(name or os.environ.get("LUNGSEG_DATA") or "phantom")
    if name in KNOWN_SETS:
        return data_dir() / KNOWN_SETS[name]
    return Path(name).expanduser()


def outputs_dir() -> Path:
    """Return the folder of everything a run makes: ``LUNGSEG_OUTPUTS``, else the course's ``outputs``."""
    return Path(os.environ.get("LUNGSEG_OUTPUTS") or ROOT / "outputs").expanduser()


def run_dir(data: str | Path | None, recipe: Recipe, long: bool = False) -> Path:
    """Return the folder of the run of a recipe, in its size, on a data set; ``long`` of ``lungseg train --long``."""
    size = "x".join(map(str, recipe.widths))
    return outputs_dir() / "runs" / f"{dataset_root(data).name}-{recipe.name}-{size}{'-long' if long else ''}"


def find_trained(data: str | Path | None, recipe: Recipe) -> Path | None:
    """Return the weights that were trained here by this recipe, of the long run where there is one; else None."""
    found = (run_dir(data, recipe, long) / "weights.ckpt" for long in (True, False))
    return next((path for path in found if path.is_file()), None)
