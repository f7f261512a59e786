"""From slice stacks to batches: split by patient, slices as tensors, oversampling, loaders.

A network sees one slice at a time, with a few neighbours as channels. Tumour fills about
one slice in ten and one voxel in ten thousand, so slices with tumour are drawn more often.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from .augmentation import draw_map, fit_frame, follow, patch_centre, vary_context, vary_intensity
from .errors import SplitError
from .preprocessing import SliceStack, open_stack, prepare, stacks_dir
from .recipe import Recipe
from .sources import ensure_dataset, find_cases

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

    ``data`` is a name or a path as in :func:`~lungseg_helpers.sources.dataset_root`. Returns
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


def context_offsets(recipe: Recipe, slice_mm: float) -> list[int]:
    """Return how many slices away each channel lies, for a scan with ``slice_mm`` between slices."""
    return [round(mm / slice_mm) for mm in recipe.context_mm]


def read_hu(
    stack: SliceStack,
    index: int,
    recipe: Recipe,
    stretch: float = 1.0,
    ends: tuple[int, int] | None = None,
    window: tuple[slice, slice] = (slice(None), slice(None)),
) -> np.ndarray:
    """Return slice ``index`` and its neighbours as they are stored: (channel, row, column) int16 HU.

    At the ends of the scan the last slice stands in for the ones that are missing. For
    augmentation, ``stretch`` takes the neighbours from farther away, as if slices were
    thicker, and ``ends`` (first and last slice) makes the scan shorter than it is. Of the
    slices only ``window`` (rows, columns) is read.
    """
    offsets = context_offsets(recipe, stack.grid.spacing[0] / stretch)
    first, last = ends or (0, len(stack.ct) - 1)
    return np.stack([stack.ct[min(max(index + offset, first), last)][window] for offset in offsets])


def read_channels(stack: SliceStack, index: int, recipe: Recipe) -> np.ndarray:
    """Return slice ``index`` and its neighbours as the network sees them: (channel, row, column) float32."""
    return recipe.intensity(read_hu(stack, index, recipe))


class SliceDataset(Dataset):
    """All slices of some patients, as tensors: image, mask, and the patient's number in ``stacks``.

    ``dataset[item]`` is a slice as it is; ``dataset[item, seed]`` is a random variation of it
    after the recipe's augmentation, always the same one for the same seed. So what is drawn
    does not depend on how many workers draw it. Shapes: image (channels, rows, columns)
    float32, mask (1, rows, columns) float32: each pixel's share of tumour, 0 to 1.
    """

    def __init__(self, stacks: Sequence[SliceStack], recipe: Recipe) -> None:
        self.stacks = list(stacks)
        self.recipe = recipe
        self.index = [(number, each) for number, stack in enumerate(self.stacks) for each in range(len(stack.ct))]
        self.held = [frozenset(stack.tumour_slices) for stack in self.stacks]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def has_tumour(self) -> np.ndarray:
        """Bool array (slices,): which items hold tumour; from ``case.json``, so no scan is read."""
        return np.array([index in self.held[number] for number, index in self.index], bool)

    @property
    def patients(self) -> np.ndarray:
        """Int array (slices,): each item's patient number."""
        return np.array([number for number, _ in self.index])

    @property
    def weights(self) -> np.ndarray:
        """Float array (slices,), sum 1: how often each item is drawn in training, as the recipe says."""
        recipe, held = self.recipe, self.has_tumour
        if recipe.tumour_weight is None:
            return tumour_weights(held, recipe.tumour_fraction, self.patients)
        return tumour_weights(held, weighted_fraction(held, recipe.tumour_weight))

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, int]:
        item, seed = item if isinstance(item, tuple) else (item, None)
        number, index = self.index[item]
        image, share = self._as_it_is(number, index) if seed is None else self._varied(number, index, seed)
        return torch.from_numpy(image), torch.from_numpy(share * np.float32(1 / 255)), number

    def _share(self, number: int, index: int) -> np.ndarray | None:
        """How much of each pixel is tumour, uint8 (row, column); None where the slice holds none."""
        share = self.stacks[number].share
        return np.asarray(share[index]) if share is not None and index in self.held[number] else None

    def _as_it_is(self, number: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        frame, share = self.recipe.frame, self._share(number, index)
        image = fit_frame(read_channels(self.stacks[number], index, self.recipe), frame, self.recipe.intensity.air)
        return image, np.zeros((1, *frame), np.uint8) if share is None else fit_frame(share[None], frame, 0)

    def _varied(self, number: int, index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        recipe, rng = self.recipe, np.random.default_rng(seed)
        stack, share, settings = self.stacks[number], self._share(number, index), recipe.augmentation
        shape, size = stack.ct.shape[1:], recipe.patch or recipe.frame
        context = vary_context(index, len(stack.ct), settings, rng) if settings else {}
        centre = patch_centre(shape, share, size, rng) if recipe.patch else (shape[0] // 2, shape[1] // 2)
        where = draw_map(size, centre, settings, rng)
        window = where.window(shape)
        hu = read_hu(stack, index, recipe, window=window, **context)
        image = recipe.intensity(follow(hu, where, recipe.border_hu, window))
        share = np.zeros((1, *size), np.uint8) if share is None else follow(share[None], where, 0, nearest=True)
        return vary_intensity(image, settings, rng) if settings else image, share


class OversamplingSampler(WeightedRandomSampler):
    """Draws (item, seed) pairs with replacement, one for each slice of an epoch, so that tumour is seen often.

    Everything follows from ``seed`` and the epoch, which Lightning sets: epochs differ, and
    an interrupted run goes on with the draws that it would have had. Of several processes
    that train together, number ``rank`` of ``world`` takes every ``world``-th draw: together
    they see exactly what one process would have seen. With ``repeated`` (loading processes, batch size)
    seeds are as in a loader whose processes were forked with one state of the random numbers:
    each process augments alike, and so does each epoch.
    """

    def __init__(
        self, weights: np.ndarray, draws: int, seed: int, rank: int = 0, world: int = 1,
        repeated: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(weights.tolist(), draws, generator=torch.Generator())
        self.seed, self.epoch = seed, 0
        self.rank, self.world = rank, world
        self.repeated = repeated

    def __len__(self) -> int:
        return self.num_samples // self.world

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose draws come next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        self.generator.manual_seed(int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0]))
        for number, item in enumerate(super().__iter__()):
            seed = int(torch.randint(2**31, (), generator=self.generator))
            if self.repeated:
                processes, batch = self.repeated
                seed = number // (processes * batch) * batch + number % batch
            if number % self.world == self.rank and number < len(self) * self.world:
                yield item, seed


def tumour_weights(has_tumour: np.ndarray, tumour_fraction: float, patients: np.ndarray | None = None) -> np.ndarray:
    """Return a sampling weight for each slice so that ``tumour_fraction`` of all draws hold tumour.

    With ``patients`` (each slice's patient number) the patients share these draws equally:
    otherwise a tumour that spans sixty slices is seen twelve times as often as one that
    spans five, while the score counts patients. Raises :class:`SplitError` where one of
    the two kinds of slices does not occur.
    """
    positives = int(has_tumour.sum())
    if positives in (0, len(has_tumour)):
        raise SplitError(
            f"{positives} of {len(has_tumour)} training slices hold tumour: oversampling needs both kinds; "
            "check the labels with 'lungseg check'"
        )
    weights = np.where(has_tumour, 1.0, (1 - tumour_fraction) / (len(has_tumour) - positives))
    if patients is not None:
        weights[has_tumour] /= np.bincount(patients[has_tumour])[patients[has_tumour]]
    weights[has_tumour] *= tumour_fraction / weights[has_tumour].sum()
    return weights


def weighted_fraction(has_tumour: np.ndarray, weight: float) -> float:
    """Return the share of draws that hold tumour where a slice with tumour weighs ``weight`` and another one 1.

    0 stands for the inverse frequency: the weight at which both kinds are drawn equally often.
    """
    if not weight:
        return 0.5
    share = float(np.mean(has_tumour))
    return weight * share / (weight * share + 1 - share)


class LungDataModule(pl.LightningDataModule):
    """Training and validation loaders for prepared patients.

    ``train`` and ``validation`` are lists of stacks. Training draws
    ``recipe.slices_per_epoch`` slices with replacement, oversampling tumour; validation
    reads every slice of every patient once, in order. Several processes share both out.
    """

    def __init__(
        self, train: Sequence[SliceStack], validation: Sequence[SliceStack], recipe: Recipe, workers: int = 0
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.workers = workers
        self.train_set = SliceDataset(train, recipe)
        self.validation_set = SliceDataset(validation, recipe)

    def train_dataloader(self) -> DataLoader:
        recipe = self.recipe
        draws = recipe.slices_per_epoch or len(self.train_set)
        repeated = (recipe.same_seeds, recipe.batch_size) if recipe.same_seeds else None
        sampler = OversamplingSampler(self.train_set.weights, draws, recipe.seed, *self._place(), repeated=repeated)
        return self._loader(self.train_set, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        rank, world = self._place()
        return self._loader(self.validation_set, sampler=range(rank, len(self.validation_set), world))

    def _place(self) -> tuple[int, int]:
        """This process's number, and how many train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: SliceDataset, **options) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=self.recipe.batch_size,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            # workers side by side leave no core for threads of OpenCV's own
            worker_init_fn=_one_thread if self.workers else None,
            **options,
        )


def _one_thread(_: int) -> None:
    # 0 means none. With 1 OpenCV ends its pool of threads and waits for them, which a forked process does for
    # ever: the threads stayed with its parent
    cv2.setNumThreads(0)
