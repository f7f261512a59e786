"""The exercises of notebook 08: plausible wrong answers, which ``test_exercises`` gives to the checks."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lungseg_helpers.course.exercises.unlabelled import agreement, consistency, pseudo_labels
from lungseg_helpers.course.solutions import solution
from lungseg_helpers.training.losses import SURE, consistency_loss, pseudo_label_loss


def _dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def _pairs(masks, score=_dice, pairs=itertools.combinations):
    return np.mean([score(a, b) for a, b in pairs(masks, 2)])


WRONG = {
    "pseudo_labels": [
        lambda p, sure: (p >= sure).float(),
        lambda p, sure: ((p >= sure).float(), p >= sure),
        lambda p, sure: ((p >= sure).float(), p <= 1 - sure),
        lambda p, sure: ((p >= sure).float(), (p < sure) & (p > 1 - sure)),
        lambda p, sure: ((p >= sure).float(), torch.ones_like(p, dtype=torch.bool)),
        lambda p, sure: ((p > sure).float(), (p > sure) | (p < 1 - sure)),
        lambda p, sure: ((p <= 1 - sure).float(), (p >= sure) | (p <= 1 - sure)),
        lambda p, sure: ((p >= sure).float(), p >= 0.5),
        lambda p, sure: (p[p >= sure], p >= sure),
        lambda p, sure: ((p >= 0.9).float(), (p >= 0.9) | (p <= 0.1)),
    ],
    "consistency": [
        lambda s, t: ((s - t.detach()) ** 2).mean(),
        lambda s, t: (s.sigmoid() - t.sigmoid().detach()) ** 2,
        lambda s, t: ((s.sigmoid() - t.sigmoid().detach()) ** 2).sum(),
        lambda s, t: (s.sigmoid() - t.sigmoid().detach()).abs().mean(),
        lambda s, t: (s.sigmoid() - t.sigmoid().detach()).mean(),
        lambda s, t: ((s.sigmoid() - t.sigmoid().detach()) ** 2).mean().sqrt(),
        lambda s, t: 1 - ((s.sigmoid() - t.sigmoid().detach()) ** 2).mean(),
        lambda s, t: ((s.sigmoid() - t.sigmoid()) ** 2).mean(),
        lambda s, t: ((s.sigmoid().detach() - t.sigmoid()) ** 2).mean(),
        lambda s, t: ((s.sigmoid() - t.sigmoid()) ** 2).mean().detach(),
        lambda s, t: F.binary_cross_entropy_with_logits(s, t.sigmoid().detach()),
    ],
    "agreement": [
        lambda masks: [_pairs(masks)] * 2,
        lambda masks: _pairs(masks, pairs=lambda each, _: itertools.product(each, repeat=2)),
        lambda masks: len(masks) * (len(masks) - 1) / 2 * _pairs(masks),
        lambda masks: _pairs(masks, lambda a, b: (a & b).sum() / max(1, (a | b).sum())),
        lambda masks: _pairs(masks, lambda a, b: (a == b).mean()),
        lambda masks: np.mean([_dice(masks[0], other) for other in masks[1:]]),
        lambda masks: np.mean([_dice(a, b) for a, b in itertools.pairwise(masks)]),
        lambda masks: masks.all(axis=0).sum() / masks.any(axis=0).sum(),
        lambda masks: _pairs(masks),  # two empty ones are no pair
        lambda masks: _pairs(masks) if masks.any() else np.nan,
        lambda masks: solution("agreement")(masks) if masks.any() else 1.0,
    ],
}


def test_the_lessons_functions_are_the_packages():
    """What the learner writes is what ``lungseg train --unlabelled`` does."""
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(2, 1, 9, 9), 3 * torch.randn(2, 1, 9, 9)
    assert solution("consistency")(student, teacher) == pytest.approx(float(consistency_loss(student, teacher)))
    labels, counts = solution("pseudo_labels")(teacher.sigmoid(), SURE)
    by_hand = F.binary_cross_entropy_with_logits(student[counts], labels[counts])
    assert float(by_hand) == pytest.approx(float(pseudo_label_loss(student, teacher)))


def test_other_ways_to_the_same_answer_are_right():
    assert consistency(lambda s, t: F.mse_loss(torch.sigmoid(s), torch.sigmoid(t.detach()))) is None
    assert pseudo_labels(lambda p, sure: (p > 0.5, torch.maximum(p, 1 - p) >= sure)) is None
    assert pseudo_labels(lambda p, sure: (p > 0.5, (p - 0.5).abs() >= sure - 0.5)) is None
    assert agreement(lambda masks: float(solution("agreement")(list(masks)))) is None
