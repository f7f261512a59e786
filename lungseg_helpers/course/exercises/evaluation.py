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
    """05: how many lesions a prediction touches, from numbered lesions."""
    labels = np.zeros((4, 6, 6), int)
    labels[0, :2, :2], labels[1, 4:, 4:], labels[3, :3, 3:] = 1, 2, 3
    predicted = np.zeros(labels.shape, np.uint8)
    predicted[0, 1, 1:3] = 1  # half on lesion 1, half beside it
    predicted[3, 1, 4:] = 1
    given = int(answer(labels, predicted))
    if given == 3 and int(answer(labels, np.zeros_like(predicted))) == 3:
        return "That is how many lesions there are; count those that the prediction touches."
    if given == 3:
        return "0 is the background, not a lesion: it must not count."
    if given in (int(((labels > 0) & (predicted > 0)).sum()), int(predicted.sum())) and given != 2:
        return "Those are voxels. Which different numbers does `labels` have where the prediction is?"
    if given != 2:
        return f"The prediction touches lesions 1 and 3, so 2 of them; yours says {given}."
    if int(answer(labels, np.zeros_like(predicted))) != 0:
        return "With nothing predicted, nothing is found."
    if int(answer(labels, 255 * predicted)) != 2:
        return "A mask may hold other values than 1: everything above 0 is predicted."
    return None


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
