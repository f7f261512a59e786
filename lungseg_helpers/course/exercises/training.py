"""The checks behind the exercises of notebooks 03 and 04, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ...unet import DecoderStage, DoubleConv


def conv_parameters(answer: Callable) -> str | None:
    """03: how many numbers a 2-D convolution learns."""
    given = answer(3, 16, 3)
    if given == 3 * 16 * 3:
        return "A kernel is two-dimensional: size × size weights, for each pair of channels."
    if given == 3 * 16 * 9 + 3:
        return "There is one bias for each output channel, not for each input channel."
    if given == 3 * 16 * 9:
        return "Nearly: each output channel also has a bias."
    if given != 3 * 16 * 9 + 16 or answer(1, 8, 5) != 1 * 8 * 25 + 8:
        return "Count inputs × outputs × size × size weights, and one bias for each output."
    return None


def double_conv(answer: Callable) -> str | None:
    """03: the double-conv block, compared with the course's by copied weights."""
    torch.manual_seed(0)
    ours, theirs = DoubleConv(3, 4), answer(3, 4)
    if not isinstance(theirs, nn.Module):
        return "Return a module: nn.Sequential(...) of the six layers."
    kinds = [type(layer).__name__ for layer in theirs.modules() if not list(layer.children())]
    if kinds.count("Conv2d") != 2:
        return f"The block convolves twice; yours holds {kinds.count('Conv2d')} convolutions."
    if "ReLU" not in kinds or "BatchNorm2d" not in kinds:
        return "Each convolution is followed by BatchNorm2d and ReLU."
    return _same_by_copied_weights(ours, theirs, torch.randn(2, 3, 12, 10))


def decoder_stage(answer: Callable) -> str | None:
    """03: a decoder stage, compared with the course's by copied weights."""
    torch.manual_seed(0)
    ours, theirs = DecoderStage(8, 4, 4), answer(8, 4, 4)
    if not isinstance(theirs, nn.Module):
        return "Return a module whose forward takes (deep, skip)."
    return _same_by_copied_weights(ours, theirs, torch.randn(2, 8, 6, 5), torch.randn(2, 4, 12, 10))


def _same_by_copied_weights(ours: nn.Module, theirs: nn.Module, *inputs: torch.Tensor) -> str | None:
    """Give ``theirs`` the weights of ``ours``, in order, and compare what the two make of ``inputs``."""
    mine, yours = list(ours.parameters()), list(theirs.parameters())
    if len(yours) > len(mine):
        return (
            f"Yours learns {len(yours)} tensors, ours {len(mine)}: a bias before a normalisation is subtracted again, "
            "so leave it out (bias=False)."
        )
    if len(yours) < len(mine):
        return f"Yours learns {len(yours)} tensors, ours {len(mine)}: a layer is missing."
    for number, (one, two) in enumerate(zip(mine, yours, strict=True)):
        if one.shape != two.shape:
            return (
                f"Learned tensor {number + 1} has shape {tuple(two.shape)}, ours {tuple(one.shape)}: "
                "mind the channels of each layer, and make the layers in the order in which they are used."
            )
    with torch.no_grad():
        for one, two in zip(mine, yours, strict=True):
            two.copy_(one)
    expected, given = ours.train()(*inputs), theirs.train()(*inputs)
    if given.shape != expected.shape:
        return f"The result has shape {tuple(given.shape)}, ours {tuple(expected.shape)}: padding=1 keeps the size."
    if (given < 0).any():
        return "Some results are below 0: the last layer is a ReLU."
    if not torch.allclose(given, expected, atol=1e-5):
        return "With our weights in it, the result is another: look at the order of the layers and of what is joined."
    return None


def same_cut(answer: Callable) -> str | None:
    """03: the logit at which a probability threshold cuts."""
    given = float(answer(0.62))
    if math.isclose(given, 1 / (1 + math.exp(-0.62)), abs_tol=1e-6):
        return "That is the sigmoid, from logit to probability; the way back is asked for."
    if math.isclose(given, 0.62):
        return "A logit is no probability: solve p = 1 / (1 + exp(-logit)) for the logit."
    if math.isclose(given, -math.log(0.62 / 0.38), abs_tol=1e-6):
        return "The sign is turned: a probability above one half belongs to a logit above 0."
    if not math.isclose(given, math.log(0.62 / 0.38), abs_tol=1e-6) or abs(float(answer(0.5))) > 1e-9:
        return f"p = 0.62 is cut at the logit {math.log(0.62 / 0.38):.2f}, and p = 0.5 at 0; yours says {given:.2f}."
    return None


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
