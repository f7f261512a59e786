"""Preparing the patients of a data set side by side; a second run redoes only what changed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from joblib import Parallel, delayed
from tqdm import tqdm

from ..errors import LungsegError
from ..recipe import Recipe
from ..scans.case import Case
from .fingerprint import is_unchanged
from .stacks import make_stack, save_stack, settings

STALE_SECONDS = 600
"""Age from which a temporary folder is taken for a killed run's; a patient takes far less."""


def _clear_stale(folder: Path) -> None:
    """Remove what killed runs left in ``folder``; a young one may be another process's, at work right now."""
    for path in folder.glob(".*-*"):
        if path.is_dir() and time.time() - path.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def is_current(folder: Path, case: Case, recipe: Recipe) -> bool:
    """Say whether a stack is there and was made from these very files with these settings.

    Files of unchanged size and time are taken as unchanged, because reading 8 GB to learn
    that nothing changed would cost as much as preparing it; where only the time differs,
    the check sum decides.
    """
    try:
        info = json.loads((folder / "case.json").read_text())
        return info["settings"] == settings(recipe) and all(
            is_unchanged(info[key], path) for key, path in (("image", case.image), ("label", case.label))
        )
    except (OSError, ValueError, KeyError):
        return False


def _prepare_one(case: Case, recipe: Recipe, folder: Path) -> str | None:
    """Prepare one case; return a fault of its files as a line instead of raising, so that others go on."""
    try:
        if is_current(folder / case.id, case, recipe):
            return None
        stack = make_stack(case, recipe)
    except (LungsegError, OSError) as error:
        return str(error) if case.id in str(error) else f"{case.id}: {error}"
    save_stack(stack, folder)
    return None


def prepare(
    cases: Sequence[Case], recipe: Recipe, folder: Path, workers: int | None = None
) -> tuple[list[Path], list[str]]:
    """Prepare patients side by side; a second call redoes only what changed.

    Returns the stack folders, in the order of ``cases``, and one line for each case that
    could not be used. ``workers`` defaults to the number of cores (joblib's own count,
    so a joblib backend such as Dask or Ray takes over when one is active). Raises
    :class:`StackError` where ``folder`` cannot be written to: no other case would fare better.
    """
    _clear_stale(folder)
    todo = Parallel(n_jobs=workers or -1, return_as="generator")(
        delayed(_prepare_one)(case, recipe, folder) for case in cases
    )
    problems = list(tqdm(todo, total=len(cases), desc="preparing", unit="patient", leave=False))
    good = [folder / case.id for case, problem in zip(cases, problems, strict=True) if problem is None]
    return good, [problem for problem in problems if problem is not None]
