"""Preparing the patients of a data set side by side; a second run redoes only what changed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import LungsegError, StackError, attempt
from ..parallel import side_by_side
from ..recipe import Recipe
from ..scans.case import Case
from .fingerprint import is_unchanged
from .stacks import make_stack, open_stack, save_stack, settings

STALE_SECONDS = 600
"""Age from which a temporary folder is taken for a killed run's; a patient takes far less."""


def _clear_stale(folder: Path) -> None:
    """Remove what killed runs left in ``folder``; a young one may be another process's, at work right now."""
    for path in folder.glob(".*-*"):
        with contextlib.suppress(FileNotFoundError):  # another process at work has just finished with it
            if path.is_dir() and time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def is_current(folder: Path, case: Case, recipe: Recipe) -> bool:
    """Say whether a stack is there and was made from these very files with these settings.

    Files of unchanged size and time are taken as unchanged, because reading 8 GB to learn
    that nothing changed would cost as much as preparing it; where only the time differs,
    the check sum decides.
    """
    try:
        info = open_stack(folder).info  # its arrays are whole
        return info["settings"] == settings(recipe) and all(
            is_unchanged(info[key], path) for key, path in (("image", case.image), ("label", case.label))
        )
    except (StackError, OSError, KeyError):
        return False


def _prepare_one(case: Case, recipe: Recipe, folder: Path) -> None:
    """Write one case's stack where it is not there yet."""
    if not is_current(folder / case.id, case, recipe):
        save_stack(make_stack(case, recipe), folder)


def _attempt_one(case: Case, recipe: Recipe, folder: Path) -> LungsegError | None:
    """Prepare one case; return what is wrong with it instead of raising, but for a folder that cannot be written to."""
    result = attempt(case.id, _prepare_one, case, recipe, folder)
    if isinstance(result, StackError):
        raise result
    return result


def prepare(
    cases: Sequence[Case], recipe: Recipe, folder: Path, workers: int | None = None
) -> tuple[list[Path], list[str]]:
    """Prepare patients side by side; a second call redoes only what changed.

    Returns the stack folders, in the order of ``cases``, and one line for each case that
    could not be used. ``workers`` as in :func:`~lungseg_helpers.parallel.side_by_side`, which also says how
    other machines help. Raises :class:`StackError` where ``folder`` cannot be written to: no other case would
    fare better; :class:`ClusterError` where a process is killed.
    """
    _clear_stale(folder)
    jobs = [(case, recipe, folder) for case in cases]
    problems = list(side_by_side(_attempt_one, jobs, workers, "preparing", "patient"))
    good = [folder / case.id for case, problem in zip(cases, problems, strict=True) if problem is None]
    return good, [str(problem) for problem in problems if problem is not None]
