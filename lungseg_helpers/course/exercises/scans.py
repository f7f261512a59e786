"""The exercises of notebook 01: stored numbers and HU, volumes, windows, slices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def to_hu(answer: Callable) -> str | None:
    """01: HU of the numbers that a scanner stored."""
    stored = np.random.default_rng(1).integers(0, 1000, (3, 5)).astype(np.uint16)
    stored[0, 0], slope, intercept = 0, 2.0, -1000.0
    right = stored.astype(float) * slope + intercept
    given = np.asarray(answer(stored, slope, intercept), float)
    if given.shape != stored.shape:
        return "Return one number for each stored number, in the same shape."
    if np.allclose(given, (stored.astype(float) + intercept) * slope):
        return "The slope comes first: it multiplies the stored number alone, and the intercept is added to that."
    if np.allclose(given, stored + intercept):
        return "Multiply by the slope too; it is 1 in most scanners' files, not in all."
    if np.allclose(given, stored * slope):
        return "Add the intercept: without it air is 0 and everything lies about 1000 too high."
    if np.allclose(given, stored * slope - intercept):
        return "Add the intercept, whatever its sign is; air has to come out lowest."
    if np.allclose(given, stored * slope - 1024):
        return "It is right for one scanner only: use `intercept`, not its usual number."
    if given.min() >= 0:
        return "HU below 0 came out positive: a type without sign (uint16) cannot hold them; use float or int16."
    if not np.allclose(given, right):
        said = f"{right[1, 1]:.0f} HU; yours says {given[1, 1]:.6g}."
        return f"A stored {stored[1, 1]} with slope 2 and intercept -1000 is {said}"
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
    if math.isclose(given, mask.size * np.prod(spacing) / 1000):
        return "That is the volume of the whole array: count the voxels that are not 0."
    if not math.isclose(given, right):
        return f"500 voxels of 2.5 × 0.7 × 0.8 mm are {right} mL; yours says {given:.3g}."
    if not math.isclose(float(answer(2 * mask, spacing)), right):
        return "Count the voxels that are not 0 instead of adding up their values: a label may be 2."
    if not math.isclose(float(answer(np.ones((1, 2, 3), bool), (5.0, 1.5, 1.0))), 0.045):
        return "It is right for one mask only: 6 voxels of 5 × 1.5 × 1 mm are 0.045 mL."
    return None


def apply_window(answer: Callable) -> str | None:
    """01: map HU to 0…1 in a window given by level and width."""
    whole = np.array([-1500, -600, 900], np.int16)
    answer(whole, -600, 1500)
    if whole.tolist() != [-1500, -600, 900]:
        return "Your function changes the array that it is given, and so the scan itself: work on a new array."
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
    if not np.allclose(answer(np.array([-60.0, 90.0, 115.0]), 40, 400), [0.25, 0.625, 0.6875]):
        return "Between the edges the values must rise evenly, not jump."
    return None


def slices_for(answer: Callable) -> str | None:
    """01: how many slices a distance in mm is."""
    cases = {(30.0, 1.0): 30, (30.0, 2.5): 12, (75.0, 2.5): 30, (10.0, 3.0): 3, (5.0, 3.0): 2, (20.0, 1.7): 12}
    cases |= {(7.0, 3.2): 2, (50.0, 0.9): 56}
    given = {case: answer(*case) for case in cases}
    if all(number == mm * spacing for (mm, spacing), number in given.items()):
        return "Divide by the spacing: thicker slices need fewer of them."
    if not all(isinstance(number, int | np.integer) for number in given.values()):
        return "A number of slices is whole: round it and return an int."
    if all(number == int(mm / spacing) for (mm, spacing), number in given.items()):
        return "int() and // cut off: 5 mm at 3 mm per slice are 1.67 slices, so 2 is nearer than 1. Use round()."
    if all(number == math.ceil(mm / spacing) for (mm, spacing), number in given.items()):
        return "That always rounds up: 10 mm at 3 mm per slice are 3.3 slices, so 3 is nearer than 4. Use round()."
    for (mm, spacing), slices in cases.items():
        if given[mm, spacing] != slices:
            return f"{mm} mm at {spacing} mm per slice is {slices} slices; yours says {given[mm, spacing]}."
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
    more = np.random.default_rng(5).integers(-1024, 1500, (4, 50, 7))
    for low, high in ((-1100, 150), (-700, 2000), (-160, 240)):
        right = ((more < low) | (more > high)).mean()
        given = float(answer(more, low, high))
        if math.isclose(given, right * more.size / len(more)):
            return "len() counts the first axis only: divide by hu.size, or take the mean."
        if not math.isclose(given, right):
            said = f"it should say {right:.3f} here, and says {given:.3g}."
            return f"It is right for one window only: from {low} to {high} {said}"
    return None
