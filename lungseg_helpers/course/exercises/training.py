"""The checks behind the exercises of notebook 04, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def soft_dice(answer: Callable) -> str | None:
    """04: Dice of probabilities with a mask."""
    target = np.array([1.0, 1.0, 0.0, 0.0])
    half = float(answer(np.full(4, 0.5), target))
    perfect = float(answer(target, target))
    if math.isclose(perfect, 0.5, abs_tol=1e-3):
        return "A perfect prediction must score 1: the overlap counts twice."
    if math.isclose(perfect, 0, abs_tol=1e-3):
        return "That is the loss (1 - Dice); return the Dice itself."
    if not math.isclose(perfect, 1, abs_tol=1e-3):
        return f"A perfect prediction must score 1; yours gives {perfect:.2f}."
    if not math.isclose(half, 0.5, abs_tol=1e-3):
        return "Do not threshold: use the probabilities themselves, so that there is a gradient."
    return None


def steepest_rate(answer: Callable) -> str | None:
    """04: the learning rate at which the loss of a range test falls steepest."""
    rates = np.array([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    losses = np.array([1.00, 0.98, 0.70, 0.50, 0.48, 3.0])
    given = np.asarray(answer(rates, losses), float)
    if given.shape != ():
        return "Return one learning rate."
    if math.isclose(given, 1e-1):
        return "That is where the loss is lowest: the edge of the cliff. Where does it fall steepest?"
    if math.isclose(given, 1.0):
        return "There the loss changes most, but upwards: look for the most negative slope."
    if given not in rates:
        return "Return a learning rate of the list, not its place in it."
    if not (math.isclose(given, 1e-3) or math.isclose(given, 1e-4)):
        return f"The loss falls most between 1e-4 and 1e-3; yours says {given:g}."
    if float(answer(rates[1:], losses[1:])) not in (1e-3, 1e-4):
        return "It is right for one curve only: find the place with np.diff or np.gradient."
    return None


def stop_epoch(answer: Callable) -> str | None:
    """04: the epoch after which early stopping ends a training."""
    rising, scores = [0.1, 0.2, 0.3], [0.10, 0.30, 0.25, 0.31, 0.30, 0.29, 0.28, 0.90]
    if answer(rising, 2) != 2:
        return "A score that keeps rising never stops early: return the last epoch, counted from 0."
    given = answer(scores, 3)
    if given == 2:
        return "One worse epoch is no reason: only `patience` epochs in a row without a new best are."
    if given == 7:
        return "Epoch 7 never happens: the training cannot know what it would have reached."
    if given == 3:
        return "Epoch 3 is the best one, which is kept; the training goes on for `patience` epochs after it."
    if given != 6:
        return f"The best is epoch 3 (from 0), and epochs 4, 5 and 6 are no better: it stops after 6, not {given}."
    if answer([0.3, 0.3, 0.3, 0.3], 2) != 2:
        return "Equal is not better: the count goes on."
    return None
