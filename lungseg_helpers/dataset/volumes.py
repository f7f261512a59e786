"""Patches of prepared patients as tensors, and whole volumes: what a network of three dimensions sees.

A patch is moved as a slice is: one map in the plane (mirror, scale, turn, shift, bend) for all its slices,
which costs what some tens of slices cost. Along z its slices move closer or apart. So patients are large and small,
and turned about their long axis; nobody lies on a scanner's table tilted by much.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ..recipe import Augmentation
from .augmentation import draw_map, follow, patch_centre, vary_context, vary_intensity
from .slices import SliceDataset


class VolumeDataset(SliceDataset):
    """One patch around each slice of some patients: image, mask, and the patient's number in ``stacks``.

    Items, their ``weights`` and seeds are those of :class:`~.slices.SliceDataset`: ``dataset[item, seed]`` is a
    random patch of the recipe's ``patch`` (or else ``frame``) that shows the item's slice, near tumour where the
    slice holds any; ``dataset[item]`` is the patch with this slice in its middle, as it is. Shapes: image
    (1, slices, rows, columns) float32, mask of the same shape: each voxel's share of tumour, 0 to 1.
    """

    @property
    def size(self) -> tuple[int, ...]:
        """The patch's slices, rows and columns."""
        return self.recipe.patch or self.recipe.frame

    def _as_it_is(self, number: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        share, shape = self._share(number, index), self.stacks[number].grid.shape
        held = None if share is None else np.argwhere(share)
        row, column = (length // 2 for length in shape[1:]) if held is None else held.mean(axis=0).astype(int)
        return self._patch(number, (index, row, column), (0, shape[0] - 1), 1.0, None, np.random.default_rng(0))

    def moved(self, number: int, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return image and share of a random patch that shows a slice, moved and bent, its intensity as it is."""
        settings = self.recipe.augmentation
        shape = self.stacks[number].grid.shape
        centre = patch_centre(shape, self._share(number, index), self.size, rng, index)
        context = (
            vary_context(centre[0], shape[0], settings, rng) if settings else {"stretch": 1, "ends": (0, shape[0])}
        )
        return self._patch(number, centre, context["ends"], context["stretch"], settings, rng)

    def shaded(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Vary an image's intensity and its resolution along z after the recipe, in place, and return it."""
        if settings := self.recipe.augmentation:
            vary_depth(vary_intensity(image[0], settings, rng), settings, rng)
        return image

    def _patch(
        self,
        number: int,
        centre: Sequence[int],
        ends: tuple[int, int],
        stretch: float,
        settings: Augmentation | None,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut the patch around ``centre`` out of the slices from ``ends[0]`` to ``ends[1]``; air lies beyond them."""
        stack, recipe, (depth, *plane) = self.stacks[number], self.recipe, self.size
        where = draw_map(tuple(plane), tuple(centre[1:]), settings, rng)
        steps = np.arange(depth) - (depth - 1) / 2
        heights = centre[0] - depth // 2 + (depth - 1) / 2 + steps * stretch / where.scale
        first = max(ends[0], int(np.floor(heights[0])), 0)
        last = min(ends[1], int(np.ceil(heights[-1])), stack.grid.shape[0] - 1)
        slices, window = slice(first, last + 1), where.window(stack.grid.shape[1:])
        hu = follow(stack.ct[(slices, *window)], where, recipe.border_hu, window)
        image = recipe.intensity(at_heights(hu, heights - first, recipe.border_hu))[None]
        if not self.held[number].intersection(range(first, last + 1)):
            return image, np.zeros(image.shape, np.float32)
        share = follow(stack.share[(slices, *window)], where, 0, window)
        return image, at_heights(share, heights - first, 0)[None]


class WholeVolumes(Dataset):
    """Every patient of a data set once, whole: image, mask, and the patient's number; what validation reads.

    Shapes as in :class:`VolumeDataset`, with the sizes of the patient's stack. Where several processes share the
    patients, one that would get none takes a patient as number -1: seen, but not counted.
    """

    def __init__(self, patches: VolumeDataset) -> None:
        self.stacks, self.recipe = patches.stacks, patches.recipe

    def __len__(self) -> int:
        return len(self.stacks)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        stack, counted = self.stacks[number % len(self)], number < len(self)
        image, share = self.recipe.intensity(stack.ct), np.float32(1 / 255) * stack.share
        return torch.from_numpy(image)[None], torch.from_numpy(share)[None], number if counted else -1


def at_heights(planes: np.ndarray, heights: np.ndarray, fill: float) -> np.ndarray:
    """Return what lies at ``heights`` (in slices, 0 is the first) of (slice, row, column): interpolated linearly.

    float32 (height, row, column); what lies beyond the first or last slice is ``fill``.
    """
    below = np.floor(heights).astype(int)
    taken, left = np.zeros((len(heights), *planes.shape[1:]), np.float32), np.ones(len(heights), np.float32)
    for place, share in ((below, below + 1 - heights), (below + 1, heights - below)):
        share = np.where((place >= 0) & (place < len(planes)), share, 0).astype(np.float32)
        taken += planes[place.clip(0, len(planes) - 1)] * share[:, None, None]
        left -= share
    taken += (left * np.float32(fill))[:, None, None]
    return taken


def vary_depth(image: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Make slices (slice, row, column) thicker now and then, in place: ``low_resolution`` along z."""
    if rng.random() < settings.low_resolution_probability:
        flat = image.reshape(len(image), -1)
        thick = max(1, round(len(image) / rng.uniform(*settings.low_resolution)))
        coarse = cv2.resize(flat, (flat.shape[1], thick), interpolation=cv2.INTER_AREA)
        cv2.resize(coarse, flat.shape[::-1], dst=flat, interpolation=cv2.INTER_LINEAR)
    return image
