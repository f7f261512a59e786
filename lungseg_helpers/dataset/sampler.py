"""Which slices an epoch draws: tumour fills one slice in ten, so slices with tumour are drawn more often."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import WeightedRandomSampler

from ..errors import SplitError


class OversamplingSampler(WeightedRandomSampler):
    """Draws (item, seed) pairs with replacement, one for each slice of an epoch, so that tumour is seen often.

    Everything follows from ``seed`` and the epoch, which Lightning sets: epochs differ, and
    an interrupted run goes on with the draws that it would have had. Of several processes
    that train together, number ``rank`` of ``world`` takes every ``world``-th draw: together
    they see exactly what one process would have seen.
    """

    def __init__(self, weights: np.ndarray, draws: int, seed: int, rank: int = 0, world: int = 1) -> None:
        super().__init__(weights.tolist(), draws, generator=torch.Generator())
        self.seed, self.epoch = seed, 0
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.num_samples // self.world

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose draws come next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        self.generator.manual_seed(int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0]))
        for number, item in enumerate(super().__iter__()):
            seed = self._seed_of(number)
            if number % self.world == self.rank and number < len(self) * self.world:
                yield item, seed

    def _seed_of(self, number: int) -> int:
        """Return the seed of an epoch's draw; each process draws those of all, and so stays in step."""
        return int(torch.randint(2**31, (), generator=self.generator))


class SameSeedsSampler(OversamplingSampler):
    """Draws the same items, with the seeds of a fault that reference projects have.

    Their loading processes are forked with one state of the random numbers, anew in each epoch. So batch number
    n of each of ``processes`` is augmented alike, and each epoch is augmented like the one before.
    """

    def __init__(self, *args, processes: int, batch_size: int, **options) -> None:
        super().__init__(*args, **options)
        self.processes, self.batch_size = processes, batch_size

    def _seed_of(self, number: int) -> int:
        batch, place = divmod(number, self.batch_size)
        return batch // self.processes * self.batch_size + place


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
