"""Solutions to the exercises of 01_preprocessing.ipynb."""

import numpy as np


def to_hu(stored, slope, intercept):
    return stored * float(slope) + float(intercept)


def volume_ml(mask, spacing):
    return np.count_nonzero(mask) * np.prod(spacing) / 1000


def apply_window(hu, level, width):
    low = level - width / 2
    return np.clip((hu - low) / width, 0, 1)


def slices_for(mm, slice_mm):
    return round(mm / slice_mm)


def clipped_share(hu, low, high):
    return np.mean((hu < low) | (hu > high))
