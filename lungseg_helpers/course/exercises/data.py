"""The exercises of notebook 02: slices, and how often they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


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
