"""Dice over the threshold, simulated: what does a rule lose that chooses the threshold on few validation patients?

A threshold is chosen by a handful of patients and then used on all others. What is lost is the mean Dice of the whole
population at its own best threshold, less that at the chosen one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logit, ndtr
from torch import Tensor

from lungseg_helpers.training.segmenter import THRESHOLDS, best_threshold, cautious_threshold, patient_dice

from .table import Row

PATIENTS = (2, 3, 5, 10)
"""Validation patients: a laptop's sets have 2 to 6, Task06 has 6."""

POPULATION = 20_000


@dataclass(frozen=True)
class Curve:
    """How a network's logits lie: normal distributions, whose means differ by patient.

    ``tumour`` and ``spread``: mean logit of a patient's tumour and how patients differ in it; ``width``: within a
    patient. ``false``: mean logit of what looks like tumour, of which there is ``load`` times the tumour's
    volume (median; patients differ by a factor of 4). A share of ``missed`` patients is not seen at any threshold.
    """

    tumour: float
    spread: float
    width: float
    false: float
    load: float
    missed: float = 0.2


CURVES = {
    # as measured: the share of tumour and the false volume at thresholds from 0.05 to 0.95, of 18 and 30 phantoms
    "after 20 s of training": Curve(-3.0, 2.5, 2.0, -4.5, 11.0, 0.1),
    "shipped weights": Curve(8.0, 2.0, 3.0, 4.0, 0.3),
    # between the two
    "minutes of training, cautious": Curve(0.0, 2.5, 2.5, -2.0, 2.0),
    "minutes of training, bold": Curve(2.0, 2.5, 2.5, -0.5, 1.0),
    "sure of false alarms": Curve(3.0, 2.0, 2.0, 2.0, 1.0),
}
"""Networks, by how well they are trained."""


def highest_within(tolerance: float) -> Callable[[Tensor], float]:
    """The rule that the course had before: the highest threshold within ``tolerance`` of the best mean Dice."""

    def rule(counts: Tensor) -> float:
        means = patient_dice(counts).nanmean(dim=-1)
        return THRESHOLDS[int((means >= means.max() - tolerance).nonzero()[-1])]

    return rule


def one_standard_error(counts: Tensor) -> float:
    """The threshold nearest to one half that is worse than the best by at most one standard error of their pairs."""
    scores = patient_dice(counts)
    pairs = scores[scores.mean(dim=-1).argmax()] - scores
    good = pairs.mean(dim=-1) <= pairs.std(dim=-1) / pairs.shape[-1] ** 0.5
    return min(np.array(THRESHOLDS)[good.numpy()].tolist(), key=lambda threshold: abs(threshold - 0.5))


RULES: dict[str, Callable[[Tensor], float]] = {
    "one half": lambda counts: 0.5,
    "the best mean": lambda counts: best_threshold(counts)[0],
    "the highest within 0.01 of it": highest_within(0.01),
    "one standard error towards one half": one_standard_error,
    "the middle of those within 5 %": cautious_threshold,
}
"""Ways to choose; the last is the course's."""


def dice_curves(rng: np.random.Generator, curve: Curve, patients: int) -> np.ndarray:
    """Return the Dice (thresholds, patients) of random patients at each of :data:`THRESHOLDS`."""
    cuts = logit(np.array(THRESHOLDS))[:, None]
    tumour = rng.normal(curve.tumour, curve.spread, patients) - 20 * (rng.random(patients) < curve.missed)
    false = rng.normal(curve.false, 1.0, patients)
    load = curve.load * 4 ** rng.normal(0, 1, patients)
    hit, wrong = ndtr((tumour - cuts) / curve.width), load * ndtr((false - cuts) / 1.5)
    return 2 * hit / (1 + hit + wrong)


def counts_of(dice: np.ndarray) -> Tensor:
    """Return counts (thresholds, patients, 3) of TP, FP and FN of this Dice: of a prediction that misses nothing."""
    return torch.from_numpy(np.stack([dice, 2 * (1 - dice), np.zeros_like(dice)], axis=-1))


def lost_dice(rule: Callable[[Tensor], float], world: str, draws: int = 200, seed: int = 5) -> dict[int, float]:
    """Return the mean Dice that a rule loses, by the number of validation patients that it chooses with."""
    rng, curve = np.random.default_rng(seed), CURVES[world]
    population = dice_curves(rng, curve, POPULATION).mean(axis=1)
    lost = {}
    for patients in PATIENTS:
        drawn = dice_curves(rng, curve, draws * patients).reshape(len(THRESHOLDS), draws, patients)
        chosen = [THRESHOLDS.index(rule(counts_of(drawn[:, draw]))) for draw in range(draws)]
        lost[patients] = float(population.max() - population[chosen].mean())
    return lost


def rows() -> list[Row]:
    """Return what each rule loses at most, and with two patients in each world, beside the course's."""
    lost = {name: {world: lost_dice(rule, world) for world in CURVES} for name, rule in RULES.items()}
    means = {name: np.mean([list(each.values()) for each in worlds.values()], axis=0) for name, worlds in lost.items()}
    *others, ours = RULES
    return [
        Row(
            f"threshold: Dice lost by choosing it, beside {other}",
            means[ours][0],
            "",
            means[other][0],
            None,
            "at most 0.02",
            f"two validation patients, mean of {len(CURVES)} simulated networks; with {PATIENTS[-1]} patients "
            f"{means[ours][-1]:.3f} and {means[other][-1]:.3f}; ours at most "
            f"{max(max(each.values()) for each in lost[ours].values()):.3f}, the other "
            f"{max(max(each.values()) for each in lost[other].values()):.3f}",
        )
        for other in others
    ]
