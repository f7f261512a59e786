"""The checks behind the exercises of notebook 04, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


def soft_dice(answer: Callable) -> str | None:
    """04: Dice of probabilities with shares of tumour, pooled over all pixels, with 1 added above and below."""
    draws = torch.Generator().manual_seed(4)
    for shape in ((2, 1, 3, 5), (3, 1, 4, 4), (1, 1, 6, 2)):
        # not even, so that neither recall nor precision is near Dice by chance
        probability = torch.rand(shape, generator=draws) ** 2
        target = (torch.rand(shape, generator=draws) < 0.4).float()
        target[:, :, 0, 0], target[0, :, -1] = 1, 0
        target[:, :, -1, -1] = 0.3  # a tumour's edge: where all are 0 or 1, other overlaps give the same
        probability.requires_grad_()
        given = answer(probability, target)
        if not isinstance(given, Tensor) or given.shape != ():
            return "Return one number as a tensor: sum over all pixels, without float() or item()."
        if (hint := _dice_mistake(given.detach(), probability.detach(), target)) is not None:
            return hint
        if not given.requires_grad:
            return "The number is right, but no gradient can pass: stay with tensors from beginning to end."
    empty = float(answer(torch.full((1, 1, 4, 4), 0.25), torch.zeros(1, 1, 4, 4)))
    if not math.isclose(empty, 1 / 5, rel_tol=1e-4):
        return f"Without tumour, 16 pixels of p = 0.25 must give 1 / (4 + 1) = 0.2; yours gives {empty:.3f}."
    return None


def _dice_mistake(given: Tensor, p: Tensor, t: Tensor) -> str | None:
    """A hint where ``given`` is not the soft Dice of probabilities ``p`` with shares ``t``, each (N, 1, H, W)."""

    sums = p.sum() + t.sum()

    def dice(p: Tensor, t: Tensor, one: float = 1.0, twice: float = 2.0) -> Tensor:
        return (twice * (p * t).sum() + one) / (p.sum() + t.sum() + one)

    overlap, hard = (p * t).sum(), (p > 0.5).float()
    others = [torch.minimum(p, t).sum(), p[t == 1].sum(), p[t > 0].sum(), p[t > 0.5].sum()]
    if torch.isclose(given, dice(p, t), rtol=1e-4):
        return None
    mistakes = {
        "Add 1 above and below the line, so that a batch without tumour is defined.": [dice(p, t, 0)],
        "The overlap counts twice.": [dice(p, t, twice=1), dice(p, t, 0, 1)],
        "That is the loss (1 - Dice); return the Dice itself.": [1 - dice(p, t), 1 - dice(p, t, 0)],
        "Do not threshold: use the probabilities themselves, so that there is a gradient.": [
            dice(hard, t), dice(hard, t, 0),
        ],
        "That is recall, the share of the tumour that is found. Divide by the sums of both, mask and probabilities.": [
            overlap / t.sum(), (overlap + 1) / (t.sum() + 1),
        ],
        "That is precision, the share of what is marked that is tumour. Divide by the sums of both.": [
            overlap / p.sum(), (overlap + 1) / (p.sum() + 1),
        ],
        "That is 1 minus the mean difference: it praises an empty answer. Dice counts the overlap alone.": [
            1 - (p - t).abs().mean(),
        ],
        "That is the overlap over the union (IoU): divide by the sums of both, the overlap counted twice.": [
            overlap / (p.sum() + t.sum() - overlap), (overlap + 1) / (p.sum() + t.sum() - overlap + 1),
        ],
        "Sum over all pixels of all slices at once, instead of averaging a Dice per slice.": [
            torch.stack([dice(*pair) for pair in zip(p, t, strict=True)]).mean(),
        ],
        "The sums are of the values themselves, not of their squares.": [
            (2 * overlap + 1) / ((p * p).sum() + each.sum() + 1) for each in (t, t * t)
        ],
        "The overlap is the product, summed: a pixel may be tumour by a share.": [
            (2 * other + 1) / (sums + 1) for other in others
        ],
    }  # fmt: skip
    for hint, values in mistakes.items():
        if any(torch.isclose(given, value, rtol=1e-4) for value in values):
            return hint
    return f"For one pair of arrays it should be {dice(p, t):.3f}; yours gives {given:.3f}."


def rate_factor(answer: Callable) -> str | None:
    """04: the learning rate's factor at a step: a straight warm-up, then half a cosine."""
    rng = np.random.default_rng(4)
    for warm_up in (5, 1, *rng.integers(3, 30, 3).tolist()):
        steps = warm_up + int(rng.integers(20, 200))
        for step in (0, warm_up - 1, warm_up, warm_up + (steps - warm_up) // 3, steps - 3):
            given, rest = float(answer(step, steps, warm_up)), (step - warm_up) / (steps - warm_up)
            right = (step + 1) / warm_up if step < warm_up else 0.5 * (1 + math.cos(math.pi * rest))
            if math.isclose(given, right, abs_tol=1e-6):
                continue
            asked = f"step {step} of {steps}, warm-up {warm_up}"
            if step < warm_up:
                if math.isclose(given, step / warm_up, abs_tol=1e-6):
                    return f"The very first step would have rate 0 and be lost: begin with 1 / warm_up. ({asked})"
                return f"Warm-up is a straight line, (step + 1) / warm_up: {right:.3f}, not {given:.3f}. ({asked})"
            if math.isclose(given, 0.5 * (1 + math.cos(math.pi * step / steps)), abs_tol=1e-6):
                return f"The cosine begins after the warm-up: count its steps from there. ({asked})"
            if math.isclose(given, math.cos(math.pi * rest), abs_tol=1e-6):
                return f"A rate below 0 would climb the loss: lift and halve the cosine, 0.5 · (1 + cos). ({asked})"
            sooner = (step - warm_up) / (steps - 1 - warm_up)
            if math.isclose(given, 0.5 * (1 + math.cos(math.pi * sooner)), abs_tol=1e-6):
                return f"0 comes one step after the last: r = (step - warm_up) / (steps - warm_up). ({asked})"
            if math.isclose(given, 1 - rest, abs_tol=1e-6):
                return f"That falls in a straight line; half a cosine is asked for. ({asked})"
            return f"It should be {right:.3f}; yours gives {given:.3f}. ({asked})"
    return None


def steepest_rate(answer: Callable) -> str | None:
    """04: the learning rate whose step lowers the loss of a range test most."""
    rng = np.random.default_rng(4)
    for count in (6, 9, 14, 20):
        rates = np.geomspace(10 ** -rng.uniform(4, 6), 10 ** rng.uniform(-1, 0), count)
        falls = rng.uniform(0.005, 0.03, count - 1)
        place = int(rng.integers(1, count - 4))
        falls[place], falls[place + 1], falls[-2], falls[-1] = 0.2, 0.1, -0.15, -1.5
        losses = 1.1 - np.concatenate([[0], np.cumsum(falls)])
        given = np.asarray(answer(rates, losses), float)
        if given.shape != ():
            return "Return one learning rate."
        if np.isclose(given, rates[place]):
            continue
        if np.isclose(given, rates[losses.argmin()]):
            return "That is where the loss is lowest: the edge of the cliff. Which step lowered it most?"
        if np.isclose(given, rates[-2]) or np.isclose(given, rates[-1]):
            return "There the loss changes most, but upwards: look for the most negative difference."
        if np.isclose(given, rates[place + 1]):
            return "One place too far: losses[i] is measured before the step with rates[i], losses[i + 1] after it."
        if np.isclose(given, place):
            return "Return a learning rate of the list, not its place in it."
        return f"The loss falls most, by 0.2, with the step at {rates[place]:.2g}; yours says {given:.2g}."
    return None


def _stops(scores: Sequence[float], patience: int) -> int:
    """The epoch after which a training ends that waits ``patience`` epochs for a new best."""
    for epoch in range(patience, len(scores)):
        before, since = scores[: epoch - patience + 1], scores[epoch - patience + 1 : epoch + 1]
        if max(since) <= max(before):
            return epoch
    return len(scores) - 1


def stop_epoch(answer: Callable) -> str | None:
    """04: the epoch after which early stopping ends a training."""
    if answer([0.1, 0.2, 0.3], 2) != 2:
        return "A score that keeps rising never stops early: return the last epoch, counted from 0."
    rng = np.random.default_rng(4)
    known = [([0.10, 0.30, 0.25, 0.31, 0.30, 0.29, 0.28, 0.90], 3), ([0.10, 0.40, 0.30, 0.35, 0.39, 0.50], 3)]
    known += [([0.3, 0.3, 0.3, 0.3], 2)]
    drawn = [(rng.uniform(0, 1, int(n)).round(2).tolist(), int(p)) for n, p in zip((9, 14, 25), (2, 3, 4), strict=True)]
    for scores, patience in known + drawn:
        given, right, best = answer(scores, patience), _stops(scores, patience), int(np.argmax(scores))
        if given == right:
            continue
        asked = f"(scores {scores}, patience {patience})"
        if len(set(scores)) == 1:
            return f"Equal is not better: the count goes on. {asked}"
        falls = [now <= before for before, now in itertools.pairwise(scores)]
        runs = [end for end in range(patience, len(scores)) if all(falls[end - patience : end])]
        if given == (runs[0] if runs else len(scores) - 1):
            return f"Compare with the best so far, not with the epoch before: a small rise is no new best. {asked}"
        if given == next((end + 1 for end, fell in enumerate(falls) if fell), None):
            return f"One worse epoch is no reason: `patience` epochs in a row without a new best are. {asked}"
        if given == len(scores) - 1:
            return f"It ends at {right}: what would have come later, the training cannot know. {asked}"
        if given in (best, right - patience):
            return f"That is the best epoch, whose weights are kept; it goes on `patience` epochs more. {asked}"
        if given == right - 1 or given == right + 1:
            return f"One off: it ends after epoch {right}, counted from 0, not {given}. {asked}"
        return f"It ends after epoch {right}, not {given}. {asked}"
    return None
