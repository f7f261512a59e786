"""Which patients train, which validate, and which are kept for the test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SplitError
from ..preprocessing.fingerprint import fingerprint, is_unchanged
from ..preprocessing.prepare import prepare
from ..preprocessing.stacks import SliceStack, open_stack, stacks_dir
from ..recipe import Recipe
from ..recipe_rules import FOLDS
from ..scans.case import Case
from ..sources.datasets import ensure_dataset, find_cases

ROLES = ("train", "validation", "test")

FOLD_SEED = 12345
"""That of nnU-Net's folds (``generate_crossval_split`` of nnunetv2): so Task06's are the same patients."""


@dataclass(frozen=True)
class Split:
    """Case ids by role. All cases of a patient are in one role.

    Training and validation may look at their patients as often as they like. Every score on the test patients is
    a look at them: whoever compares recipes there, as notebook 06 does, has chosen by them.

    ``data`` is the name of the data set's folder, because ids such as ``lung_001`` occur in several. ``root`` is
    that folder's absolute path, and ``digest`` is of its content (:func:`content_digest`); both are empty where
    nobody said. ``patients`` says whose a case is, case id to patient, where the two differ.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    data: str = ""
    root: str = ""
    digest: str = ""
    patients: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"data": name, "root": path, …, "train": [ids], …}``, plain values: what a run keeps."""
        told = {key: getattr(self, key) for key in ("data", "root", "digest")}
        return {**told, "patients": dict(self.patients), **{role: list(getattr(self, role)) for role in ROLES}}


def split_patients(ids: Sequence[str], recipe: Recipe, patients: Mapping[str, str] | None = None) -> Split:
    """Split patients, not slices, by the recipe's fractions and ``split_seed``, or by its ``fold``.

    ``ids`` are of cases; ``patients`` says whose each is (case id to patient), and a case that it does not list is
    a patient of its own. Patients are sorted first, so the split does not depend on the order in which a file
    system lists them. Raises :class:`SplitError` for fewer than three patients or repeated ids.
    """
    if len(set(ids)) < len(ids):
        raise SplitError("a case id occurs twice; rename one, or slices of one patient leak between roles")
    owner = {id: (patients or {}).get(id, id) for id in ids}
    ordered = sorted(set(owner.values()))
    if len(ordered) < 3:
        raise SplitError(
            f"{len(ordered)} labelled patients; bring three or more: training, validation and test need one each"
        )
    order = np.random.default_rng(recipe.split_seed).permutation(len(ordered))
    test = max(1, min(round(recipe.test_fraction * len(ordered)), len(ordered) - 2))
    shuffled = [ordered[index] for index in order]
    if recipe.fold is not None:
        kept = fold_patients(ordered)[recipe.fold]
        shuffled, test = [*kept, *(name for name in shuffled if name not in kept)], len(kept)
    validation = max(1, min(round(recipe.validation_fraction * len(ordered)), len(ordered) - test - 1))
    parts = (set(part) for part in (shuffled[test + validation :], shuffled[test : test + validation], shuffled[:test]))
    roles = (tuple(sorted(id for id in ids if owner[id] in part)) for part in parts)
    return Split(*roles, patients={id: name for id, name in sorted(owner.items()) if name != id})


def fold_patients(patients: Sequence[str]) -> list[list[str]]:
    """Return the patients of each of :data:`~lungseg_helpers.recipe_rules.FOLDS` folds; everybody is in one.

    By nnU-Net's rule: the sorted names are shuffled as scikit-learn's ``KFold(5, shuffle=True, random_state=12345)``
    shuffles them, and cut; earlier folds take what is left over. Raises :class:`SplitError` for fewer than five.
    """
    if len(patients) < FOLDS:
        raise SplitError(f"{len(patients)} labelled patients; bring {FOLDS} or more for {FOLDS} folds")
    ordered = sorted(patients)
    # numpy's legacy generator, because scikit-learn uses it; its stream is frozen
    parts = np.array_split(np.random.RandomState(FOLD_SEED).permutation(len(ordered)), FOLDS)
    return [[ordered[index] for index in sorted(part)] for part in parts]


def content_digest(cases: Sequence[Case], folder: Path) -> str:
    """Return 16 hex digits that change when a case comes, goes, or holds other files: of ids and check sums.

    ``folder`` holds the cases' stacks. The check sums that were recorded there are taken for files that have not
    changed since; other files are read.
    """
    lines = []
    for case in sorted(cases, key=lambda case: case.id):
        try:
            recorded = json.loads((folder / case.id / "case.json").read_text())
        except (OSError, ValueError):
            recorded = {}
        marks = []
        for key, path in (("image", case.image), ("label", case.label)):
            try:
                known = recorded.get(key)
                mark = known if is_unchanged(known, path) else fingerprint(path)
            except OSError:  # a file that cannot be read is a content too: it trains nobody
                mark = None
            marks.append(mark and [mark["bytes"], mark["crc32"]])
        lines.append([case.id, *marks])
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


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
        split = split_patients([case.id for case in cases], recipe, {case.id: case.patient for case in cases})
    except SplitError as error:
        raise SplitError(f"{root}: {error}") from error
    folder = stacks_dir(root, recipe)
    folders, problems = prepare(cases, recipe, folder, workers)
    opened = {path.name: open_stack(path) for path in folders}
    stacks = {role: [opened[id] for id in getattr(split, role) if id in opened] for role in ROLES}
    for role, usable in stacks.items():
        if not usable:
            raise SplitError(f"{root}: no usable patient for {role}: {'; '.join(problems)}")
    place = root.resolve()
    return replace(split, data=place.name, root=str(place), digest=content_digest(cases, folder)), stacks, problems
