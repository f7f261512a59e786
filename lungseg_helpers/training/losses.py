"""Losses: what training makes small.

All take logits and a target of shape (N, 1, H, W), or (N, 1, D, H, W) of volumes, both float. The target is each
pixel's share of tumour, from 0 to 1: a pixel is larger than a voxel, so that one on the edge of a tumour lies in
between.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SURE = 0.9
"""The probability from which a teacher's answer is taken for a label."""


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 - soft Dice over all pixels of the batch; a scalar between 0 and 1.

    ``logits`` and ``target`` (0 to 1) have shape (N, 1, H, W). Pooling over the batch
    keeps tumour-free slices from each scoring 0 or 1 by themselves. After Milletari,
    Navab and Ahmadi, "V-Net", 3DV 2016, with the denominator not squared. The 1 that is
    added above and below prevents 0/0 and decides what a batch without tumour gives: with
    P the sum of all probabilities the loss is P / (P + 1). That is 0 where nothing is
    predicted, and nearly 1 as soon as a few pixels are.
    """
    probability = logits.float().sigmoid()
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)


def bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy over all pixels, from logits (N, 1, H, W); a scalar."""
    return F.binary_cross_entropy_with_logits(logits.float(), target)


def dice_bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the sum of soft Dice and binary cross-entropy: overlap to aim at, a gradient everywhere."""
    return soft_dice_loss(logits, target) + bce_loss(logits, target)


def two_dice_bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return binary cross-entropy, plus half the Dice loss of the whole batch and half the mean of its patches'.

    In the Dice of the whole batch a large tumour outweighs a small one; the mean over patches
    (those that hold tumour) counts them alike, as a score per patient does. It is blind to
    tumour-free patches, where the other half punishes what is found falsely.
    """
    probability = logits.float().sigmoid()
    overlap, predicted, size = (part.flatten(1).sum(dim=1) for part in (probability * target, probability, target))
    dice = (2 * overlap + 1) / (predicted + size + 1)
    # a mean over no patch would be 0/0
    patches = ((1 - dice) * (size > 0)).sum() / (size > 0).sum().clamp(min=1)
    return 0.5 * (soft_dice_loss(logits, target) + patches) + bce_loss(logits, target)


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Return binary cross-entropy that turns away from what is right already; a scalar.

    Each pixel of ``logits`` (N, 1, H, W) counts by (1 - p)^``gamma``, p being the probability
    that it gives to the ``target`` (Lin et al., "Focal loss", ICCV 2017, without class weights).
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    probability = logits.float().sigmoid()
    wrong = probability * (1 - target) + (1 - probability) * target
    return (wrong**gamma * cross_entropy).mean()


def dice_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 0.3 soft Dice + 1.7 focal loss, the weights of the ``windowed`` reference project."""
    return 0.3 * soft_dice_loss(logits, target) + 1.7 * focal_loss(logits, target)


def consistency_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of two answers' probabilities, from logits of one shape; a scalar.

    What a mean teacher asks of unlabelled images (Tarvainen and Valpola, "Mean teachers are better role models",
    NeurIPS 2017, arXiv:1703.01780). The teacher's answer is a target: no gradient flows into it.
    """
    return F.mse_loss(student.float().sigmoid(), teacher.float().sigmoid().detach())


def pseudo_label_loss(student: Tensor, teacher: Tensor, sure: float = SURE) -> Tensor:
    """Return the binary cross-entropy of a student against a teacher's answers, where the teacher is sure; a scalar.

    Both are logits of one shape. A pixel's pseudo-label is 1 where the teacher's probability is at least ``sure``, and
    0 where it is at most 1 - ``sure``; pixels in between have none and do not count. After Lee, "Pseudo-Label" (ICML
    2013 workshop), with the bar of Sohn et al., "FixMatch" (NeurIPS 2020, arXiv:2001.07685).
    """
    probability = teacher.float().sigmoid().detach()
    counts = (probability >= sure) | (probability <= 1 - sure)
    costs = F.binary_cross_entropy_with_logits(student.float(), (probability >= sure).float(), reduction="none")
    # a mean over no pixel would be 0/0
    return (costs * counts).sum() / counts.sum().clamp(min=1)


LOSSES = {
    "bce": bce_loss,
    "dice": soft_dice_loss,
    "dice_bce": dice_bce_loss,
    "dice_focal": dice_focal_loss,
    "two_dice_bce": two_dice_bce_loss,
}
"""The losses by the names that recipes use."""
