"""The exercises of notebook 01: windows, distances and volumes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def apply_window(answer: Callable) -> str | None:
    """01: map HU to 0…1 in a window given by level and width."""
    hu = np.array([-1350.0, -600.0, 150.0, -3000.0, 3000.0])
    given = np.asarray(answer(hu, -600, 1500), float)
    if given.shape != hu.shape:
        return "Return one number for each HU, in the same shape."
    if given.max() > 1 or given.min() < 0:
        return "Values outside the window must be clipped to 0 and 1: np.clip."
    if math.isclose(given[2], 0.5):
        return "The window is `width` wide in all: it reaches half of it to each side of the level."
    if not np.allclose(given, [0, 0.5, 1, 0, 1]):
        return "The lower edge (level - width / 2) must become 0, the level 0.5, the upper edge 1."
    if not np.allclose(answer(np.array([-160.0, 240.0]), 40, 400), [0, 1]):
        return "It is right for the lung window only: use `level` and `width`, not their numbers."
    return None


def slices_for(answer: Callable) -> str | None:
    """01: how many slices a distance in mm is."""
    cases = {(30.0, 1.0): 30, (30.0, 2.5): 12, (75.0, 2.5): 30, (10.0, 3.0): 3}
    for (mm, spacing), slices in cases.items():
        given = answer(mm, spacing)
        if given == mm * spacing and spacing != 1:
            return "Divide by the spacing: thicker slices need fewer of them."
        if not isinstance(given, int | np.integer):
            return "A number of slices is whole: round it and return an int."
        if given != slices:
            return f"{mm} mm at {spacing} mm a slice is {slices} slices; yours says {given}."
    return None


def volume_ml(answer: Callable) -> str | None:
    """01: the volume of a mask in mL."""
    mask = np.zeros((10, 20, 20), np.uint8)
    mask[2:7, 5:15, 5:15] = 1
    spacing, right = (2.5, 0.7, 0.8), 0.7
    given = float(answer(mask, spacing))
    if math.isclose(given, 500):
        return "That is the number of voxels: how many mm³ is each of them?"
    if math.isclose(given, 1000 * right):
        return "That is the volume in mm³: 1000 mm³ are 1 mL."
    if any(math.isclose(given, 500 * step**3 / 1000) for step in spacing):
        return "A voxel is no cube: multiply all three spacings."
    if not math.isclose(given, right):
        return f"500 voxels of 2.5 × 0.7 × 0.8 mm are {right} mL; yours says {given:.3g}."
    if not math.isclose(float(answer(2 * mask, spacing)), right):
        return "Count the voxels that are not 0 instead of adding up their values: a label may be 2."
    return None


def clipped_share(answer: Callable) -> str | None:
    """01: the share of values that a clip changes."""
    hu = np.array([-2000, -1500, -1000, -500, 0, 50, 60, 100, 400, 500])
    given = np.asarray(answer(hu, -1000, 400), float)
    if given.shape != ():
        return "Return one number for all values together: the mean of True and False is a share."
    if math.isclose(given, 30) or math.isclose(given, 3):
        return "Return a share from 0 to 1: neither a percentage nor a count."
    if math.isclose(given, 0.7):
        return "That is the share which the window keeps; what lies outside it is asked for."
    if math.isclose(given, 0.1) or math.isclose(given, 0.2):
        return "That is one end only: what lies below `low` and what lies above `high` are both lost."
    if math.isclose(given, 0.5):
        return "A value equal to `low` or `high` is not changed by clipping: use < and >."
    if not math.isclose(given, 0.3):
        return f"Of 10 values 2 lie below the window and 1 above, a share of 0.3; yours says {given:.3g}."
    return None
