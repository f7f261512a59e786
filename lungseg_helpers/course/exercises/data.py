"""The exercises of notebooks 01 and 02: scans, slices and how often they are drawn."""

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


def leaking_patients(answer: Callable) -> str | None:
    """02: the patients whose slices are in training and in test."""
    train = ["lung_003/041", "lung_003/043", "lung_010/007", "lung_001/002", "lung_100/005"]
    test = ["lung_003/042", "lung_010/008", "lung_020/007"]
    given = answer(train, test)
    if not isinstance(given, list):
        return "Return a sorted list: sorted() makes one of a set."
    if given == []:
        return "The slices differ; do their patients? Compare what stands before the stroke."
    if any("/" in str(name) for name in given):
        return "Return patients, not slices: what stands before the stroke."
    if len(given) > len(set(given)):
        return "Each patient once: a set holds nothing twice."
    if set(given) == {"lung_003", "lung_010", "lung_001", "lung_020", "lung_100"}:
        return "That is everybody; asked for are those who are in both lists: the intersection of two sets."
    if set(given) != {"lung_003", "lung_010"}:
        return f"lung_003 and lung_010 are in both lists; yours says {given}."
    if answer(["b/1", "a/1"], ["a/2", "b/2"]) != ["a", "b"]:
        return "Sort the names, so that the answer does not depend on the order of the slices."
    return None


def border_value(answer: Callable) -> str | None:
    """02: the network input that air becomes."""
    divided = float(answer(-1024, 3071, 0, 3071))
    if math.isclose(divided, 0.0, abs_tol=1e-9):
        return "0 is water under HU / 3071. Send -1024 HU the way that every voxel goes."
    if not math.isclose(divided, -1024 / 3071):
        return f"Under HU / 3071 air becomes -1024 / 3071 = -0.333; yours says {divided:.3f}."
    course = float(answer(-1000, 400, -1000, 1400))
    if math.isclose(course, -24 / 1400):
        return "Clip first: under the course's scaling -1024 becomes -1000 before anything else."
    if not math.isclose(course, 0.0, abs_tol=1e-9):
        return f"Under the course's scaling (-1000 to 400 becomes 0 to 1) air is 0; yours says {course:.3f}."
    if not math.isclose(float(answer(-1350, 150, -1350, 1500)), 326 / 1500):
        return "It is right for two scalings only: use low, high, shift and scale."
    return None


def sampling_weights(answer: Callable) -> str | None:
    """02: weights with which half of all draws hold tumour."""
    flags = np.array([True] + [False] * 9)
    weights = np.asarray(answer(flags), float)
    if weights.shape != flags.shape:
        return "Return one weight for each slice."
    if (weights <= 0).any():
        return "Every slice needs a weight above 0, or it is never seen."
    if np.allclose(weights, weights[0]):
        return "All weights are equal: tumour slices would still be one draw in ten."
    share = weights[flags].sum() / weights.sum()
    if not math.isclose(share, 0.5, abs_tol=1e-6):
        return f"Tumour slices would be {share:.0%} of the draws: weigh each kind by one over how often it occurs."
    return None
