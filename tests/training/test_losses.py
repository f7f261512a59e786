"""The losses are what their papers and MONAI say, and pull where they should."""

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss, FocalLoss

from lungseg_helpers.training.losses import (
    LOSSES,
    bce_loss,
    dice_focal_loss,
    focal_loss,
    soft_dice_loss,
    two_dice_bce_loss,
)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn(5, 1, 24, 20, generator=generator)
    return logits, (torch.rand(5, 1, 24, 20, generator=generator) > 0.8).float()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_fall_towards_the_truth(name):
    target = (torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    wrong, unsure, right = (LOSSES[name](scale * (2 * target - 1), target) for scale in (-8, 0, 8))
    assert wrong > unsure > right and right < 0.01


def test_soft_dice_is_its_formula(batch):
    logits, target = batch
    probability, truth = 1 / (1 + np.exp(-logits.double().numpy())), target.numpy()
    expected = 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    assert float(soft_dice_loss(logits, target)) == pytest.approx(expected, abs=1e-5)


def test_values_are_monais(batch):
    monai_dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    torch.testing.assert_close(soft_dice_loss(*batch), monai_dice(*batch))
    torch.testing.assert_close(focal_loss(*batch), FocalLoss(gamma=2.0)(*batch))
    torch.testing.assert_close(bce_loss(*batch), FocalLoss(gamma=0.0)(*batch))
    alike = DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)(*batch)
    torch.testing.assert_close(two_dice_bce_loss(*batch), 0.5 * (monai_dice(*batch) + alike) + bce_loss(*batch))
    together = 0.3 * monai_dice(*batch) + 1.7 * FocalLoss(gamma=2.0)(*batch)
    torch.testing.assert_close(dice_focal_loss(*batch), together)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_lose_nothing(name, batch):
    """Mixed precision hands over bfloat16: sums over thousands of pixels must not be made in it."""
    logits, target = batch[0].bfloat16(), batch[1]
    torch.testing.assert_close(LOSSES[name](logits, target), LOSSES[name](logits.float(), target))


def test_every_tumour_pixel_is_pulled_up_and_every_other_down(batch):
    for name in LOSSES:
        logits = torch.zeros_like(batch[0]).requires_grad_()
        LOSSES[name](logits, batch[1]).backward()
        assert (logits.grad[batch[1] > 0] < 0).all() and (logits.grad[batch[1] == 0] > 0).all(), name


def test_small_tumours_count_as_much_as_large_ones_only_where_each_patch_has_its_dice():
    target = torch.zeros(2, 1, 40, 40)
    target[0, :, :30, :30] = 1
    target[1, :, :3, :3] = 1
    missed = []
    for patch in (0, 1):
        logits = 16 * target - 8
        logits[patch] = -8
        both = two_dice_bce_loss(logits, target) - bce_loss(logits, target)
        missed.append((float(soft_dice_loss(logits, target)), float(both)))
    (large, large_too), (small, small_too) = missed
    assert small < 0.05 * large, "the pooled Dice hardly sees a small tumour that is missed"
    assert small_too > 0.25 * large_too


def test_no_tumour_in_a_batch_is_no_division_by_zero():
    logits = torch.full((2, 1, 8, 8), -4.0, requires_grad=True)
    loss = two_dice_bce_loss(logits, torch.zeros(2, 1, 8, 8))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all() and (logits.grad > 0).all()
