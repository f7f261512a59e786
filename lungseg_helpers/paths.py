"""Where data sets, weights and whatever a run makes lie."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SourceError, WeightsError

if TYPE_CHECKING:
    from .recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the course: the package is installed from it, editable, so data, weights and outputs lie beside it."""

SHIPPED_WEIGHTS = ROOT / "data" / "weights" / "course.ckpt"
"""The weights that come with the course, of three dimensions, trained on phantoms."""

SLICE_WEIGHTS = ROOT / "data" / "weights" / "slices.ckpt"
"""Those of the course's recipe in two dimensions, trained on phantoms as well: what notebook 03 looks into."""

KNOWN_SETS = {"phantom": "phantom", "real": "real", "decathlon": "Task06_Lung"}
"""The names that ``LUNGSEG_DATA`` knows, and each one's folder in :func:`data_dir`."""


def data_dir() -> Path:
    """Return the folder of made and fetched data: ``LUNGSEG_DATA_DIR``, the course's ``data``, or ./data."""
    if chosen := os.environ.get("LUNGSEG_DATA_DIR"):
        return expanded(chosen)
    return ROOT / "data" if (ROOT / "data").is_dir() else Path("data")


def dataset_root(name: str | Path | None = None) -> Path:
    """Return the folder of a data set, whether it exists or not.

    ``name`` is ``"phantom"``, ``"real"``, ``"decathlon"`` or a path; it defaults to
    ``LUNGSEG_DATA``, and that to ``"phantom"``. A path becomes an absolute one, since runs are called after its folder,
    and ``.`` is no name.
    """
    name = str(name or os.environ.get("LUNGSEG_DATA") or "phantom")
    if name in KNOWN_SETS:
        return data_dir() / KNOWN_SETS[name]
    return Path(os.path.abspath(expanded(name)))


def outputs_dir() -> Path:
    """Return the folder of everything a run makes: ``LUNGSEG_OUTPUTS``, else the course's ``outputs``."""
    return expanded(os.environ.get("LUNGSEG_OUTPUTS") or ROOT / "outputs")


def expanded(path: str | Path) -> Path:
    """Return a path with its ``~`` replaced; :class:`SourceError` where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SourceError(f"{path}: there is no such user here; write the whole path") from error


def run_dir(
    data: str | Path | None,
    recipe: Recipe,
    long: bool = False,
    start: Path | None = None,
    unlabelled: str | Path | None = None,
    teacher: Path | None = None,
) -> Path:
    """Return the folder of the run of a recipe on a data set; ``long`` of ``lungseg train --long`` of this recipe.

    Its name holds a digest of all settings, and of the content of the weights that it starts from and of its
    ``teacher``, if any, and the name of the folder of ``unlabelled`` scans: a training of other settings gets another
    folder. Raises :class:`WeightsError` where weights cannot be read.
    """
    beside = f"-with-{dataset_root(unlabelled).resolve().name}" if unlabelled else ""
    size = "x".join(map(str, recipe.widths))
    begun = f"-from-{file_digest(start)[:8]}" if start else ""
    beside += f"-taught-by-{file_digest(teacher)[:8]}" if teacher else ""
    name = f"{dataset_root(data).name}-{recipe.name}-{size}-{recipe.digest}{begun}{beside}{'-long' if long else ''}"
    return outputs_dir() / "runs" / name


def find_trained(data: str | Path | None, recipe: Recipe) -> Path | None:
    """Return the weights that were trained here by this very recipe, of the long run where there is one; else None."""
    weights = (run_dir(data, recipe, long) / "weights.ckpt" for long in (True, False))
    return next((path for path in weights if path.is_file()), None)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a weights file, in 64 hex digits; :class:`WeightsError` where it cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: no such weights file ({error.strerror}); name another") from error
