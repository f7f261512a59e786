"""Slices of prepared patients as tensors: what the network sees of one, as it is or varied.

A network sees one slice at a time, with a few neighbours as channels. Tumour fills about
one slice in ten and one voxel in ten thousand, so slices with tumour are drawn more often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from ..preprocessing.stacks import SliceStack
from ..recipe import Recipe
from .augmentation import draw_map, fit_frame, follow, patch_centre, vary_context, vary_intensity
from .sampler import tumour_weights, weighted_fraction


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
    ct = stack.ct
    first, last = ends or (0, len(ct) - 1)
    return np.stack([ct[min(max(index + offset, first), last)][window] for offset in offsets])


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
        self.index = [
            (number, index) for number, stack in enumerate(self.stacks) for index in range(stack.grid.shape[0])
        ]
        self.held = [frozenset(stack.tumour_slices) for stack in self.stacks]
        self.largest = tuple(max((stack.grid.shape[axis] for stack in self.stacks), default=0) for axis in (1, 2))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def frame(self) -> tuple[int, ...]:
        """Rows and columns of a slice as it is: the recipe's frame, or more where a slice is larger: none is cut."""
        return tuple(max(sides) for sides in zip(self.recipe.frame[-2:], self.largest, strict=True))

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
        return np.asarray(self.stacks[number].share[index]) if index in self.held[number] else None

    def _as_it_is(self, number: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        frame, share = self.frame, self._share(number, index)
        image = fit_frame(read_channels(self.stacks[number], index, self.recipe), frame, self.recipe.intensity.air)
        return image, np.zeros((1, *frame), np.uint8) if share is None else fit_frame(share[None], frame, 0)

    def _varied(self, number: int, index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        image, share = self.moved(number, index, rng)
        return self.shaded(image, rng), share

    def moved(self, number: int, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return image and share of a random patch of a stack's slice, moved and bent, its intensity as it is."""
        recipe = self.recipe
        stack, share, settings = self.stacks[number], self._share(number, index), recipe.augmentation
        slices, *shape = stack.grid.shape
        size = recipe.patch or recipe.frame
        context = vary_context(index, slices, settings, rng) if settings else {}
        centre = patch_centre(shape, share, size, rng) if recipe.patch else (shape[0] // 2, shape[1] // 2)
        where = draw_map(size, centre, settings, rng)
        window = where.window(shape)
        hu = read_hu(stack, index, recipe, window=window, **context)
        image = recipe.intensity(follow(hu, where, recipe.border_hu, window))
        share = np.zeros((1, *size), np.uint8) if share is None else follow(share[None], where, 0, nearest=True)
        return image, share

    def shaded(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Vary an image's intensity after the recipe, in place, and return it."""
        settings = self.recipe.augmentation
        return vary_intensity(image, settings, rng) if settings else image
