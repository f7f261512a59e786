"""Races in which nobody is better: how often does a rule call equal recipes different, and what does a real gain take?

Simulated, because nobody can train thousands of networks to find out. What is drawn resembles the course's own races
(``benchmarks/recipes_patients.csv``): patients differ much, seeds move all patients a little and each one on its own,
and a lesion that is missed is a Dice of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .comparison import paired_difference

HIGHEST, MISSED = 0.95, -1.2
"""The Dice that the easiest patient comes near, and the ease below which a patient's lesion is missed: a fifth are."""


@dataclass(frozen=True)
class Luck:
    """How far ease (a logit of Dice) spreads: standard deviations, and ``level``, its mean.

    ``patient``: easy and hard ones. ``seed``: a training that turned out well for all. ``both``: one patient in one
    training. ``liking``: patients that suit one recipe and not the other, though both are as good on average.
    """

    level: float = 0.35
    patient: float = 1.6
    seed: float = 0.25
    both: float = 0.9
    liking: float = 0.0


def simulated_races(
    rng: np.random.Generator, races: int, seeds: int, patients: int, ahead: float = 0.0, luck: Luck | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Dice of two recipes, each (races, seeds, patients); ``ahead`` is the first one's gain in ease."""
    luck = luck or Luck()
    ease = np.stack([rng.normal(luck.level, luck.patient, (races, 1, patients))] * 2)
    ease = ease + rng.normal(0, luck.seed, (2, races, seeds, 1)) + rng.normal(0, luck.both, (2, races, seeds, patients))
    ease += rng.normal(0, luck.liking, (2, races, 1, patients))
    ease[0] += ahead
    first, second = np.where(ease < MISSED, 0.0, HIGHEST / (1 + np.exp(-ease)))
    return first, second


def larger_spread(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether the means differ by more than the larger of both standard deviations over seeds."""
    a, b = a.mean(axis=-1), b.mean(axis=-1)
    return abs(a.mean(axis=-1) - b.mean(axis=-1)) > np.maximum(a.std(axis=-1, ddof=1), b.std(axis=-1, ddof=1))


def bootstrap(a: np.ndarray, b: np.ndarray, over_seeds: bool, draws: int = 400, seed: int = 0) -> np.ndarray:
    """Whether the percentile interval of the paired bootstrap leaves out 0: over patients alone, or over seeds too."""
    rng = np.random.default_rng(seed)

    def weights(count: int) -> np.ndarray:
        return rng.multinomial(count, [1 / count] * count, draws) / count

    by_patient = weights(a.shape[-1]).T
    one, other = (
        np.einsum("...sk,ks->...k", scores @ by_patient, weights(scores.shape[-2]))
        if over_seeds
        else (scores @ by_patient).mean(axis=-2)
        for scores in (a, b)
    )
    low, high = np.quantile(one - other, [0.025, 0.975], axis=-1)
    return (low > 0) | (high < 0)


RULES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "the higher mean wins": lambda a, b: np.ones(len(a), bool),
    "more than the larger sd over seeds": larger_spread,
    "bootstrap over patients": lambda a, b: bootstrap(a, b, over_seeds=False),
    "bootstrap over patients and seeds": lambda a, b: bootstrap(a, b, over_seeds=True),
    "interval by Student's t": lambda a, b: paired_difference(a, b).apart,
}
"""Ways to decide, by the words of a table: each says of races (races, seeds, patients) which ones told two apart."""
