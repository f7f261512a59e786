"""How often rules call two equal recipes different, in worlds that differ in how patients and seeds move a score.

Simulated races: see :mod:`lungseg_helpers.evaluation.luck`.
"""

from __future__ import annotations

import numpy as np

from lungseg_helpers.evaluation.luck import RULES, Luck, simulated_races

from .table import Row

WORLDS = {
    "as here": Luck(),
    "low scores": Luck(level=-0.8),
    "high scores": Luck(level=1.2),
    "good and bad trainings": Luck(seed=0.5),
    "calm trainings": Luck(seed=0.05, both=0.4),
    "each recipe its patients": Luck(liking=0.5),
    "calm, each its patients": Luck(seed=0.05, both=0.3, liking=0.8),
    "all of it": Luck(seed=0.5, liking=0.8),
}
"""Eight ways in which equal recipes may seem different."""

RACES, SEEDS, PATIENTS = 2000, (2, 3, 5), 12


def wrong(rule: str, seed: int = 11) -> dict[tuple[str, int], float]:
    """Return the share of races in which a rule is wrong, by world and number of seeds."""
    return {
        (name, seeds): float(
            RULES[rule](*simulated_races(np.random.default_rng(seed), RACES, seeds, PATIENTS, luck=world)).mean()
        )
        for name, world in WORLDS.items()
        for seeds in SEEDS
    }


def rows() -> list[Row]:
    """Return the largest share of wrong calls of each rule, beside the course's."""
    shares = {rule: wrong(rule) for rule in list(RULES)[1:]}
    *others, ours = shares
    worst = {rule: max(found, key=found.get) for rule, found in shares.items()}
    return [
        Row(
            f"equal recipes called different, beside {other}",
            100 * shares[ours][worst[ours]],
            "%",
            100 * shares[other][worst[other]],
            None,
            "at most 5",
            f"the worst of {len(WORLDS)} simulated worlds with 2, 3 and 5 seeds: {worst[ours][0]} for ours, "
            f"{worst[other][0]} for the other",
        )
        for other in others
    ]
