"""The checks behind the exercises of notebook 05, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def patient_dice(answer: Callable) -> str | None:
    """05: Dice of two masks, honest about empty ones."""
    one, two, none = np.array([1, 1, 0, 0]), np.array([0, 1, 1, 0]), np.zeros(4, int)
    if not math.isclose(float(answer(one, two)), 0.5):
        return "Two voxels each with one in common make 2 · 1 / (2 + 2) = 0.5."
    if float(answer(one, none)) != 0:
        return "A missed tumour scores 0."
    empty = float(answer(none, none))
    if empty == 1:
        return "Nothing against nothing is 0/0. Calling it 1 rewards a model that predicts nothing: return NaN."
    if not math.isnan(empty):
        return "Nothing against nothing is undefined: return float('nan') and leave the patient out of the mean."
    return None


def count_found(answer: Callable) -> str | None:
    """05: how many lesions are found by overlap, from numbered lesions and numbered components."""
    labels, pieces = _chest_of_five()
    given, nothing = int(answer(labels, pieces)), int(answer(labels, np.zeros_like(pieces)))
    if nothing != 0:
        return "With nothing predicted, nothing is found. Does 0, the background, count as a tumour or as a piece?"
    if given == 5:
        return "Each of the five is touched, but not each is found: compare overlap with union."
    for number, why in (
        (1, "Two pieces of a twentieth of the tumour each make a tenth: take them together, and take ≥."),
        (2, "A smear across a tumour does not belong to it: less than a tenth of the smear lies inside. Leave it out."),
        (
            3,
            "Of a large piece over a small tumour only a thirteenth lies inside, so it is a smear: that one is missed.",
        ),
        (4, "One voxel of a tumour of 25 is no find: its intersection over union is 1 / 25."),
        (
            5,
            "A piece over a tumour and twice as much beside it has an intersection over union of a third: it is found.",
        ),
    ):
        alone = int(answer((labels == number).astype(int), pieces))
        if alone != (number in (1, 2, 5)):
            return why
    if given != 3:
        return f"Of these five, 3 are found; yours says {given}. Do the pieces of one tumour count for another?"
    return None


def _chest_of_five() -> tuple[np.ndarray, np.ndarray]:
    """Return five numbered lesions, each with a trap, and the numbered components of a prediction."""
    labels, pieces = np.zeros((5, 12, 12), int), np.zeros((5, 12, 12), int)
    labels[0, :4, :10] = 1
    pieces[0, 0, :2], pieces[0, 3, 8:10] = 1, 2
    labels[1, 4:7, 4:7] = 2
    pieces[1, 4:6, 4:7] = 3
    pieces[1, 6, 6:], pieces[1, 7:] = 4, 4
    labels[2, 2:4, 2:5] = 3
    pieces[2, :6] = 5
    pieces[2, :2, 6:] = 5
    pieces[2, 6, :6] = 5
    labels[3, :5, :5] = 4
    pieces[3, 4, 4] = 6
    labels[4, 3:6, 3:6] = 5
    pieces[4, 3:6, 2:11] = 7
    return labels, pieces


def choose_threshold(answer: Callable) -> str | None:
    """05: the threshold of the highest mean Dice of validation patients."""
    nan = float("nan")
    scores = {0.3: [0.9, 0.1, 0.2], 0.5: [0.6, 0.5, 0.5], 0.7: [0.7, 0.4, 0.3]}
    given = answer(scores)
    if given == 0.3:
        return "That threshold has the best single patient. Compare the means over patients."
    if given in (0, 1, 2) and given not in scores:
        return "Return the threshold itself, not its place in the list."
    if not isinstance(given, float) or given not in scores:
        return "Return one of the thresholds, a key of `scores`."
    if given != 0.5:
        return f"Means are 0.4, 0.53 and 0.47, so 0.5 is best; yours says {given}."
    if answer({0.2: [0.3, nan], 0.4: [0.5, 0.4], 0.6: [nan, 0.6]}) != 0.6:
        return "A patient whose Dice is undefined (NaN) is left out of the mean: np.nanmean."
    return None
