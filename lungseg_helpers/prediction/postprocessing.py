"""From probabilities to a mask: the threshold, the way back to the scan's own grid, and small components."""

from __future__ import annotations

import numpy as np

from ..preprocessing.grids import from_grid
from ..preprocessing.stacks import SliceStack
from ..recipe import Recipe
from ..scans.masks import components, mask_box


def probabilities_to_mask(
    probabilities: np.ndarray, stack: SliceStack, recipe: Recipe, threshold: float | None = None
) -> np.ndarray:
    """Return the mask of a stack's probabilities (slice, row, column), in the scan's own voxels.

    uint8, (slice, row, column) of the whole oriented scan: cut at ``threshold``, by default the recipe's,
    without components below its ``smallest_ml``.
    """
    mask = from_grid(probabilities, stack.grid, recipe.threshold if threshold is None else threshold)
    return drop_small(mask, stack.grid.voxel_ml, recipe.smallest_ml)


def drop_small(mask: np.ndarray, voxel_ml: float, smallest_ml: float) -> np.ndarray:
    """Return a mask without its components (of 26-connected voxels) below ``smallest_ml``; uint8, any 3-D shape.

    ``voxel_ml`` is the volume of a voxel. No tumour of the data is so small, so what is
    dropped is a vessel's cross-section or the like.
    """
    kept = np.zeros(mask.shape, np.uint8)
    # of a whole scan the labels alone would take a gigabyte
    box = mask_box(mask)
    labels, _ = components(mask[box])
    large = np.bincount(labels.ravel(), minlength=1) * voxel_ml >= smallest_ml
    large[0] = False
    kept[box] = large[labels]
    return kept
