"""The checks behind the exercises of notebook 06, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def fair_steps(answer: Callable) -> str | None:
    """06: how many steps each recipe gets in the same time."""
    rates = {"narrow": 12.4, "wide": 2.5, "huge": 0.004}
    given = answer(rates, 60)
    if not isinstance(given, dict) or set(given) != set(rates):
        return "Return a dict with the same names as `rates`."
    if given["narrow"] == given["wide"]:
        return "The same number of steps is not the same time: a wide network takes longer over each."
    if not all(isinstance(steps, int | np.integer) for steps in given.values()):
        return "Steps are whole: round them and return ints."
    if given["narrow"] < given["wide"]:
        return "A recipe that makes more steps a second gets more of them: multiply, do not divide."
    if given["huge"] < 1:
        return "Every recipe gets one step at least."
    right = {"narrow": 744, "wide": 150, "huge": 1}
    if given != right:
        return f"60 s at 12.4, 2.5 and 0.004 steps a second are {right}; yours says {given}."
    return None


def larger_than_luck(answer: Callable) -> str | None:
    """06: is a difference of means larger than the spread over seeds?"""
    if answer([0.5, 0.5, 0.5], [0.4, 0.4, 0.4]) not in (True, np.True_):
        return "Without any spread every difference counts."
    if answer([0.40, 0.50, 0.60], [0.42, 0.47, 0.52]):
        return "0.50 and 0.47 lie 0.03 apart, and the first recipe's seeds spread by 0.10: that is luck."
    if not answer([0.30, 0.31, 0.32], [0.50, 0.52, 0.54]):
        return "The order must not matter: it is the size of the difference that counts, so use abs()."
    if answer([0.50, 0.50, 0.50], [0.30, 0.45, 0.60]):
        return "Take the larger of the two spreads: here the second recipe's, 0.15, against a difference of 0.05."
    # sd is 0.0707 with ddof=1 and 0.05 without, and the difference 0.06
    if answer([0.45, 0.55], [0.44, 0.44]):
        return "With few seeds the spread is underestimated: use np.std(…, ddof=1)."
    return None
