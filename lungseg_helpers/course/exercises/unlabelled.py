"""The checks behind the exercises of notebook 08, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch


def pseudo_labels(answer: Callable) -> str | None:
    """08: a teacher's probabilities as labels, where the teacher is sure."""
    generator = torch.Generator().manual_seed(8)
    for sure in (0.875, 0.75, 0.625):  # exact in binary, as 1 - sure is: no right answer misses a bar by rounding
        probability = torch.rand(2, 1, 7, 9, generator=generator)
        probability[0, 0, 0, :2] = torch.tensor([sure, 1 - sure])  # both bars count as sure
        given = answer(probability.clone(), sure)
        if not isinstance(given, tuple) or len(given) != 2:
            return "Return two tensors: the labels, and which pixels count."
        labels, counts = given
        for name, each in (("labels", labels), ("pixels that count", counts)):
            if not isinstance(each, torch.Tensor) or each.shape != probability.shape:
                return f"The {name} have the shape of the probabilities, {tuple(probability.shape)}."
        high, low = probability >= sure, probability <= 1 - sure
        labels, counts = labels.bool(), counts.bool()
        if torch.equal(counts, high | low) and torch.equal(labels[counts], high[counts]):
            continue
        if torch.equal(counts, high):
            return "A teacher can be sure of background too: probabilities of at most 1 - sure count as well."
        if torch.equal(counts, low):
            return "Those are the pixels that are surely background; those that are surely tumour count as well."
        if torch.equal(counts, ~(high | low)):
            return "Turned over: those are the pixels in between, of which the teacher is not sure."
        if counts.all():
            return "All pixels count; leave those out of which the teacher is not sure."
        if torch.equal(counts, (probability > sure) | (probability < 1 - sure)):
            return "A probability that is just at a bar counts: use >= and <=."
        if torch.equal(counts, high | low):
            return "The right pixels count; the label is 1 where tumour is likely, and 0 where it is not."
        return f"With sure = {sure}, {int((high | low).sum())} pixels count; of yours {int(counts.sum())} do."
    return None


def consistency(answer: Callable) -> str | None:
    """08: how far two answers are apart, and which of them is to blame."""
    generator = torch.Generator().manual_seed(8)
    for shape in ((2, 1, 5, 7), (3, 1, 4, 4)):
        student, teacher = (2 * torch.randn(shape, generator=generator) for _ in range(2))
        student.requires_grad_(), teacher.requires_grad_()
        given = answer(student, teacher)
        if not isinstance(given, torch.Tensor) or given.ndim:
            return "Return one number, as a tensor without axes."
        a, b = student.sigmoid(), teacher.sigmoid()
        right, value = float(((a - b) ** 2).mean().detach()), float(given.detach())
        known = (
            (float(((student - teacher) ** 2).mean()), "Those are logits: put both through the sigmoid first."),
            (float(((a - b) ** 2).sum()), "That is the sum; the mean over all pixels does not grow with the patch."),
            (float((a - b).abs().mean()), "Square the differences: a large one shall count more than its share."),
            (float((a - b).mean()), "Signed differences cancel out; square them."),
            (math.sqrt(right), "No root: the mean of the squares is asked for."),
            (1 - right, "Turned over: a loss is small where both agree."),
        )
        if not math.isclose(value, right, rel_tol=1e-4):
            for other, hint in known:
                if math.isclose(value, other, rel_tol=1e-4):
                    return hint
            return f"Of these two answers it is {right:.4f}; yours says {value:.4f}."
        if not given.requires_grad:
            return "The student cannot learn from a number without a gradient: detach the teacher's answer alone."
        given.backward()
        if teacher.grad is not None and teacher.grad.any():
            return "A gradient flows into the teacher too, and pulls it to the student: detach its answer."
        if student.grad is None or not student.grad.any():
            return "No gradient flows into the student, who shall learn: detach the teacher's answer instead."
    return None


def agreement(answer: Callable) -> str | None:
    """08: the mean Dice of each two networks' masks."""
    rng = np.random.default_rng(8)

    def dice(a: np.ndarray, b: np.ndarray) -> float:
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    for networks in (2, 3, 4):
        masks = rng.random((networks, 3, 6, 5)) < rng.uniform(0.3, 0.8, (networks, 1, 1, 1))
        given = np.asarray(answer(masks.copy()), float)
        if given.shape:
            return f"Return one number; yours has shape {given.shape}."
        pairs = list(itertools.combinations(masks, 2))
        right = np.mean([dice(*pair) for pair in pairs])
        ordered = list(itertools.product(masks, repeat=2))
        ious = np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs])
        first = np.mean([dice(masks[0], other) for other in masks[1:]])
        neighbours = np.mean([dice(a, b) for a, b in itertools.pairwise(masks)])
        known = (
            (np.mean([dice(*pair) for pair in ordered]), "Each network agrees with itself: leave those pairs out."),
            (sum(dice(*pair) for pair in pairs), "That is the sum; divide by the number of pairs."),
            (ious, "That is intersection over union; Dice is asked for."),
            (np.mean([(a == b).mean() for a, b in pairs]), "That counts agreement on background too: take Dice."),
            (first, "That compares all with the first; each two are a pair."),
            (neighbours, "That compares each with the next; each two are a pair."),
        )
        if math.isclose(given, right, rel_tol=1e-6):
            continue
        for other, hint in known:
            if math.isclose(given, other, rel_tol=1e-6):
                return hint
        return f"Of these {networks} masks it is {right:.3f}; yours says {float(given):.3f}."
    marks = np.zeros((4, 2, 4, 4), bool)
    marks[:2, 0, 1, 1] = True  # six pairs: one of Dice 1, four of Dice 0, one without a Dice
    if not math.isclose(float(answer(marks.copy())), 1 / 5, rel_tol=1e-6):
        return "Two masks of which one is empty have a Dice of 0, and two empty ones have none: leave that pair out."
    return None if math.isnan(float(answer(marks[2:]))) else "Where nobody marks anything there is no Dice: return NaN."
