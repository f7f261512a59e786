"""The checks behind the exercises of notebook 06, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def fair_steps(answer: Callable) -> str | None:
    """06: how many steps each recipe gets in the same time."""
    rng = np.random.default_rng(6)
    cases = [({"narrow": 12.4, "wide": 2.5, "huge": 0.004}, 60)]
    cases += [(dict(zip("abc", rng.uniform(0.3, 30, 3).round(2).tolist(), strict=True)), n) for n in (7, 45, 300)]
    for rates, seconds in cases:
        given, right = answer(rates, seconds), {name: max(1, round(rate * seconds)) for name, rate in rates.items()}
        if not isinstance(given, dict) or set(given) != set(rates):
            return "Return a dict with the same names as `rates`."
        if len(set(given.values())) == 1:
            return "The same number of steps is not the same time: a wide network takes longer over each."
        if not all(isinstance(steps, int | np.integer) for steps in given.values()):
            return "Steps are whole: round them and return ints."
        fast, slow = max(rates, key=rates.get), min(rates, key=rates.get)
        if given[fast] < given[slow]:
            return "A recipe that makes more steps per second gets more of them: multiply, do not divide."
        if min(given.values()) < 1:
            return "Every recipe gets one step at least."
        if given != right:
            if all(given[name] == max(1, int(rate * seconds)) for name, rate in rates.items()):
                return "int() cuts off: 17.9 steps are nearer to 18 than to 17, so round."
            return f"{seconds} s at {rates} steps per second are {right}; yours says {given}."
    return None


def _races(patients: int = 7) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two models' Dice (seeds, patients): first equal numbers of seeds, then other ones."""
    rng = np.random.default_rng(6)
    hard = rng.uniform(0, 0.8, patients)
    return [
        tuple(np.clip(hard + rng.normal(gain, 0.15, (seeds, patients)), 0, 1) for seeds, gain in ((s, 0.1), (t, 0.0)))
        for s, t in ((3, 3), (2, 4), (5, 2))
    ]


def paired_differences(answer: Callable) -> str | None:
    """06: for each patient, how much higher one model scores than the other, over all seeds."""
    for a, b in _races():
        before, right = (a.copy(), b.copy()), a.mean(axis=0) - b.mean(axis=0)
        given = np.asarray(answer(a, b), float)
        if not (np.array_equal(a, before[0]) and np.array_equal(b, before[1])):
            return "Leave `a` and `b` as they are: others need them."
        if given.shape == () and math.isclose(float(given), right.mean()):
            return "That is the mean over patients already; keep one number for each patient."
        if given.shape == (len(a),) and len(a) == len(b):
            return "That is one number for each seed: average over axis 0, the seeds, and keep the patients."
        if given.shape != right.shape:
            return f"There are {len(right)} patients, and yours has the shape {given.shape}: one number for each."
        if np.allclose(given, -right):
            return "The sign is turned: positive where `a` is better."
        if np.allclose(given, a[0] - b[0]):
            return "You use the first seed alone: average over all of them."
        if np.allclose(np.sort(given), np.sort(right)) and not np.allclose(given, right):
            return "The right numbers in another order: each must stay with its patient, so do not sort."
        if np.allclose(given, np.sort(a.mean(axis=0)) - np.sort(b.mean(axis=0))):
            return "Sorted scores are no pairs any more: the same column is the same patient."
        if np.allclose(given, np.abs(right)):
            return "Keep the sign: where `b` is better, the difference is negative."
        if np.allclose(given, np.median(a, axis=0) - np.median(b, axis=0)) and not np.allclose(given, right):
            return "Take the mean over seeds, not the median."
        if np.allclose(given, a.max(axis=0) - b.max(axis=0)):
            return "The best seed of each is a selection: take the mean over seeds."
        if not np.allclose(given, right):
            return "Average `a` over its seeds, `b` over its own, and subtract patient by patient."
    return None


def standard_error(answer: Callable) -> str | None:
    """06: the standard error of a mean difference, over patients and seeds."""
    for a, b in _races():
        given = float(answer(a, b))
        each = a.mean(axis=0) - b.mean(axis=0)
        patients = each.var(ddof=1) / len(each)
        seeds = [scores.mean(axis=1).var(ddof=1) / len(scores) for scores in (a, b)]
        plain = each.var() / len(each) + sum(scores.mean(axis=1).var() / len(scores) for scores in (a, b))
        if math.isclose(given, math.sqrt(patients + sum(seeds))):
            continue
        if math.isclose(given, patients + sum(seeds)):
            return "That is the variance: take its square root."
        if math.isclose(given, math.sqrt(patients)):
            return "Those are the patients alone. Other seeds would move the difference too: add a part for each model."
        if math.isclose(given, math.sqrt(sum(seeds))):
            return "Those are the seeds alone. Other patients would move the difference too: add their part."
        if math.isclose(given, math.sqrt(plain)):
            return "With few seeds a spread is underestimated: ddof=1 in np.var or np.std."
        if math.isclose(given, math.sqrt(patients) + sum(map(math.sqrt, seeds))):
            return "Independent errors add up squared: add the three variances, and take the root of the sum."
        if math.isclose(given, math.sqrt(patients * len(each) + seeds[0] * len(a) + seeds[1] * len(b))):
            return "That is the spread of single values; of their mean, each variance is divided by how many there are."
        if any(math.isclose(given, math.sqrt(patients + seed)) for seed in seeds):
            return "Both models have seeds: one part is missing."
        return (
            "Three parts: the variance of the patients' differences by the number of patients, and for each model the "
            "variance of its seeds' means by the number of its seeds."
        )
    return None
