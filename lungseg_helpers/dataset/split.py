"""Which patients train, which validate, and which are kept for the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SplitError
from ..preprocessing.prepare import prepare
from ..preprocessing.stacks import SliceStack, open_stack, stacks_dir
from ..recipe import Recipe
from ..sources.datasets import ensure_dataset, find_cases

ROLES = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Patient ids by role. No patient is in two roles; the test patients are touched once, in 05.

    ``data`` names the data set, because ids such as ``lung_001`` occur in several.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    data: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"data": name, "train": [ids], …}``: what a run and its weights keep."""
        return {"data": self.data, **{role: list(getattr(self, role)) for role in ROLES}}


def split_patients(ids: Sequence[str], recipe: Recipe) -> Split:
    """Split patients, not slices, by the recipe's fractions and ``split_seed``.

    Ids are sorted first, so the split does not depend on the order in which a file system
    lists them. Raises :class:`SplitError` for fewer than three patients or repeated ids.
    """
    ordered = sorted(set(ids))
    if len(ordered) < len(ids):
        raise SplitError("a patient id occurs twice; rename one, or slices of one patient leak between roles")
    if len(ordered) < 3:
        raise SplitError(
            f"{len(ordered)} labelled patients; bring three or more: training, validation and test need one each"
        )
    order = np.random.default_rng(recipe.split_seed).permutation(len(ordered))
    test = max(1, round(recipe.test_fraction * len(ordered)))
    validation = max(1, min(round(recipe.validation_fraction * len(ordered)), len(ordered) - test - 1))
    shuffled = [ordered[index] for index in order]
    parts = shuffled[test + validation :], shuffled[test : test + validation], shuffled[:test]
    return Split(*(tuple(sorted(part)) for part in parts))


def open_split(
    data: str | Path | None, recipe: Recipe, workers: int | None = None
) -> tuple[Split, dict[str, list[SliceStack]], list[str]]:
    """Open a data set's labelled patients by role, after making and preparing what is missing.

    ``data`` is a name or a path as in :func:`~lungseg_helpers.paths.dataset_root`. Returns
    the split, the stacks of each of its roles, and one line for each case that could not
    be used. The split is drawn from all labelled cases, so that one bad scan moves
    nobody else to another role.
    """
    root = ensure_dataset(data)
    cases = [case for case in find_cases(root) if case.label is not None]
    try:
        split = replace(split_patients([case.id for case in cases], recipe), data=root.name)
    except SplitError as error:
        raise SplitError(f"{root}: {error}") from error
    folders, problems = prepare(cases, recipe, stacks_dir(root, recipe), workers)
    opened = {folder.name: open_stack(folder) for folder in folders}
    stacks = {role: [opened[id] for id in getattr(split, role) if id in opened] for role in ROLES}
    for role, found in stacks.items():
        if not found:
            raise SplitError(f"{root}: no usable patient for {role}: {'; '.join(problems)}")
    return split, stacks, problems
