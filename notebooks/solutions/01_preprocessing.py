"""Solutions to the exercises of 01_preprocessing.ipynb."""

import numpy as np


def apply_window(hu, level, width):
    low = level - width / 2
    return np.clip((hu - low) / width, 0, 1)


def slices_for(mm, slice_mm):
    return round(mm / slice_mm)
