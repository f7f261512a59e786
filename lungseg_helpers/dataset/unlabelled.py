"""Scans without labels: which may be used, and what a student and its teacher see of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import SourceError, SplitError
from ..preprocessing.prepare import prepare
from ..preprocessing.stacks import SliceStack, open_stack, stacks_dir
from ..recipe import Recipe
from ..sources.datasets import ensure_dataset, find_cases
from .slices import SliceDataset
from .split import Split, content_digest


class TwoViews(Dataset):
    """Patches of unlabelled patients, each twice: two float32 images of a patch's shape.

    ``views[item, seed]`` is the patch of ``patches[item, seed]``: moved and bent once, so that both views show the
    same place, and varied in intensity twice. The student is asked about the one and the teacher about the other.
    ``kind`` is a class of patches with labels; a label that a stack has is not looked at.
    """

    def __init__(self, stacks: Sequence[SliceStack], recipe: Recipe, kind: type[SliceDataset] = SliceDataset) -> None:
        self.patches = kind([relabelled(stack, None) for stack in stacks], recipe)

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def weights(self) -> np.ndarray:
        """Float array (slices,), sum 1: every patient is drawn alike, and of a patient every slice."""
        owners = self.patches.patients
        shares = 1 / np.bincount(owners)[owners]
        return shares / shares.sum()

    def __getitem__(self, drawn: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        item, seed = drawn
        rng = np.random.default_rng(seed)
        image, _ = self.patches.moved(*self.patches.index[item], rng)
        student, teacher = (self.patches.shaded(each, rng) for each in (image.copy(), image))
        return torch.from_numpy(student), torch.from_numpy(teacher)


def relabelled(stack: SliceStack, mask: np.ndarray | None) -> SliceStack:
    """Return a stack with another label, in memory: 0 and 1 of shape (slice, row, column), or None for no label."""
    share = None if mask is None else (np.asarray(mask) > 0).astype(np.uint8) * 255
    slices = [] if share is None else np.flatnonzero(share.any(axis=(1, 2))).tolist()
    return replace(stack, stored_share=share, info={**stack.info, "tumour_slices": slices})


@dataclass(frozen=True)
class Unlabelled:
    """Patients without labels: their stacks, and ``origin``, what a run keeps of where they came from.

    ``origin`` has the keys of a :meth:`Split.to_dict <lungseg_helpers.dataset.split.Split.to_dict>`; its ``train``
    are the cases that were used.
    """

    stacks: tuple[SliceStack, ...]
    origin: dict[str, Any]


def open_unlabelled(
    data: str | Path, split: Split, stacks: dict[str, Sequence[SliceStack]], recipe: Recipe, workers: int | None = None
) -> tuple[Unlabelled, list[str]]:
    """Open the scans of ``data`` that have no label, for a training on ``split`` and its ``stacks`` by role.

    Returns them, and one line for each that could not be used. Raises :class:`SourceError` where there is none, and
    :class:`SplitError` where one is of a patient whom the split validates or tests on: a network that has seen a
    patient's scan, though not the label, is no longer asked about somebody new. Patients are compared by their names
    within one data set, and everywhere by the content of their scans.
    """
    root = ensure_dataset(str(data))
    cases = [case for case in find_cases(root) if case.label is None]
    if not cases:
        raise SourceError(f"{root}: every scan has a label; name a folder of scans that have none with --unlabelled")
    folder = stacks_dir(root, recipe)
    folders, problems = prepare(cases, recipe, folder, workers)
    opened = [open_stack(path) for path in folders]
    if not opened:
        raise SourceError(f"{root}: no scan without a label can be used: {'; '.join(problems)}")
    place = root.resolve()
    owner = {case.id: case.patient for case in cases}
    # by name those too whose own scan could not be used
    kept_apart = (*split.validation, *split.test) if split.root == str(place) else ()
    names = {split.patients.get(id, id) for id in kept_apart}
    contents = {
        _content(stack): f"{stack.id}, whom this split keeps for {role}"
        for role in ("validation", "test")
        for stack in stacks[role]
    }
    for stack in opened:
        other = contents.get(_content(stack)) or (owner[stack.id] in names and f"{owner[stack.id]}, kept for scoring")
        if other:
            raise SplitError(f"{root}: the unlabelled scan {stack.id} is of {other}; take it out of the folder")
    used = [stack.id for stack in opened]
    patients = {id: owner[id] for id in used if owner[id] != id}
    digest = content_digest([case for case in cases if case.id in used], folder)
    return Unlabelled(
        tuple(opened), {"data": place.name, "digest": digest, "patients": patients, "train": used}
    ), problems


def _content(stack: SliceStack) -> str:
    """What tells a scan from others, whatever its file is called and however it is packed: a digest of its voxels."""
    return hashlib.sha256(np.ascontiguousarray(stack.ct)).hexdigest()
