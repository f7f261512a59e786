"""Batches for training and validation."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from ..preprocessing.stacks import SliceStack
from ..recipe import Recipe
from .sampler import OversamplingSampler, SameSeedsSampler
from .slices import SliceDataset
from .unlabelled import TwoViews, Unlabelled
from .volumes import VolumeDataset, WholeVolumes


class LungDataModule(pl.LightningDataModule):
    """Training and validation loaders for prepared patients.

    ``train`` and ``validation`` are lists of stacks. Training draws
    ``recipe.slices_per_epoch`` slices (or patches, in three dimensions) with replacement, oversampling tumour;
    validation reads every slice of every patient once, in order, or every volume. Several processes share both out.
    With ``unlabelled`` patients a training batch is a dict: ``"labelled"`` as without them, and ``"unlabelled"`` as
    many patches of these, two views of each (:class:`~.unlabelled.TwoViews`).
    """

    def __init__(
        self,
        train: Sequence[SliceStack],
        validation: Sequence[SliceStack],
        recipe: Recipe,
        workers: int = 0,
        unlabelled: Unlabelled | None = None,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.workers = workers
        kind = VolumeDataset if recipe.dims == 3 else SliceDataset
        self.train_set, self.validation_set = kind(train, recipe), kind(validation, recipe)
        self.unlabelled = unlabelled
        self.views = TwoViews(unlabelled.stacks, recipe, kind) if unlabelled else None

    @property
    def draws(self) -> int:
        """How many slices (or patches) an epoch draws, over all processes that train together."""
        return self.recipe.slices_per_epoch or len(self.train_set)

    def train_dataloader(self) -> DataLoader | dict[str, DataLoader]:
        recipe = self.recipe
        options = self.train_set.weights, self.draws, recipe.seed, *self._place()
        if recipe.same_seeds:
            sampler = SameSeedsSampler(*options, processes=recipe.same_seeds, batch_size=recipe.batch_size)
        else:
            sampler = OversamplingSampler(*options)
        labelled = self._loader(self.train_set, recipe.batch_size, sampler=sampler, drop_last=True)
        if not self.views:
            return labelled
        # a seed of its own, or both loaders would draw the same moves
        draw = OversamplingSampler(self.views.weights, self.draws, recipe.seed + 1, *self._place())
        return {
            "labelled": labelled,
            "unlabelled": self._loader(self.views, recipe.batch_size, sampler=draw, drop_last=True),
        }

    def val_dataloader(self) -> DataLoader:
        rank, world = self._place()
        if self.recipe.dims == 3:
            # volumes differ in size; a process without one would wait for the others for ever
            volumes = WholeVolumes(self.validation_set)
            return self._loader(volumes, 1, sampler=range(rank, max(len(volumes), world), world))
        places = range(rank, len(self.validation_set), world)
        return self._loader(self.validation_set, self.recipe.batch_size, sampler=places)

    def _place(self) -> tuple[int, int]:
        """This process's number, and how many train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: Dataset, batch_size: int, **options) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=batch_size,
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
