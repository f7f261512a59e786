"""The checks behind the exercises of notebook 03, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ...unet import DecoderStage, DoubleConv, UNet
from ..network import field_on_paper


def conv_parameters(answer: Callable) -> str | None:
    """03: how many numbers a 2-D convolution learns."""
    rng = np.random.default_rng(3)
    sizes = [(3, 16, 3), *((int(i), int(i + more), int(k)) for i, more, k in rng.integers(2, 9, (4, 3)))]
    for inputs, outputs, size in [*sizes, (20, 4, 1)]:
        given, weights = answer(inputs, outputs, size), inputs * outputs * size * size
        if given == weights + outputs:
            continue
        if given in (inputs * outputs * size, inputs * outputs * size + outputs):
            return "A kernel is two-dimensional: size × size weights, for each pair of channels."
        if given == weights + inputs:
            return "There is one bias for each output channel, not for each input channel."
        if given == weights + 1:
            return "One bias is not enough: each output channel has its own."
        if given == weights:
            return "Nearly: each output channel also has a bias."
        if given in (outputs * size * size, outputs * (size * size + 1)):
            return "Every output channel has a kernel for each of the input channels."
        return (
            f"For ({inputs}, {outputs}, {size}) yours says {given}. Count inputs × outputs × size × size weights, "
            "and one bias for each output."
        )
    return None


def double_conv(answer: Callable) -> str | None:
    """03: the double-conv block, compared with the course's by copied weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours, theirs = DoubleConv(3, 4), answer(3, 4)
        if not isinstance(theirs, nn.Module):
            return "Return a module: nn.Sequential(...) of the six layers."
        kinds = [type(layer).__name__ for layer in theirs.modules() if not list(layer.children())]
        if kinds.count("Conv2d") != 2:
            return f"The block convolves twice; yours holds {kinds.count('Conv2d')} convolutions."
        if "ReLU" not in kinds or "BatchNorm2d" not in kinds:
            return "Each convolution is followed by BatchNorm2d and ReLU."
        return same_by_copied_weights(ours, theirs, "the order of the layers", torch.randn(2, 3, 12, 10))


def decoder_stage(answer: Callable) -> str | None:
    """03: a decoder stage, compared with the course's by copied weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours, theirs = DecoderStage(8, 3, 5), answer(8, 3, 5)
        if not isinstance(theirs, nn.Module):
            return "Return a module whose forward takes (deep, skip)."
        look_at = "bilinear without align_corners, the skip first in torch.cat, the order of the layers"
        hint = same_by_copied_weights(ours, theirs, look_at, torch.randn(2, 8, 6, 5), torch.randn(2, 3, 12, 10))
        deep, skip = torch.randn(2, 8, 4, 8), torch.randn(2, 3, 8, 16)
        if hint is None and theirs(deep, skip).shape != ours(deep, skip).shape:
            return "It works for one size alone: double whatever size comes in, scale_factor=2."
        return hint


def same_by_copied_weights(ours: nn.Module, theirs: nn.Module, look_at: str, *inputs: Tensor) -> str | None:
    """Give ``theirs`` random weights of ``ours``, in order, and compare what the two make of ``inputs``.

    ``look_at`` says where a mistake is likely if everything fits but the numbers.
    """
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
            # a normalisation begins as factor 1 and summand 0, which would hide that it stands in the wrong place
            one.add_(0.3 * torch.randn_like(one))
            two.copy_(one)
        expected, given = ours.train()(*inputs), theirs.train()(*inputs)
    if given.shape != expected.shape:
        return f"The result has shape {tuple(given.shape)}, ours {tuple(expected.shape)}: padding=1 keeps the size."
    if (given < 0).any():
        return "Some results are below 0: the last layer is a ReLU."
    if not torch.allclose(given, expected, atol=1e-4):
        return f"With our weights in it, the result is another. Look at: {look_at}."
    return None


def same_cut(answer: Callable) -> str | None:
    """03: the logit at which a probability threshold cuts."""
    for probability in (0.62, 0.5, *np.random.default_rng(3).uniform(0.02, 0.98, 5).round(2).tolist()):
        given, logit = float(answer(probability)), math.log(probability / (1 - probability))
        if math.isclose(given, logit, abs_tol=1e-6):
            continue
        if math.isclose(given, 1 / (1 + math.exp(-probability)), abs_tol=1e-6):
            return "That is the sigmoid, from logit to probability; the way back is asked for."
        if math.isclose(given, probability):
            return "A logit is no probability: solve p = 1 / (1 + exp(-logit)) for the logit."
        if math.isclose(given, -logit, abs_tol=1e-6):
            return "The sign is turned: a probability above one half belongs to a logit above 0."
        if math.isclose(given, logit / math.log(10), abs_tol=1e-6) or math.isclose(
            given, logit / math.log(2), abs_tol=1e-6
        ):
            return "The sigmoid is made with exp, so the way back needs the natural logarithm."
        return f"p = {probability:.2f} is cut at the logit {logit:.2f}; yours says {given:.2f}."
    return None


def unet_forward(answer: Callable) -> str | None:
    """03: the way of a slice through encoder, skips, decoder and head, compared with the course's network."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        # equal widths, so that skips in the wrong order are wrong in their numbers and not only in their shapes
        network, x = UNet(2, (4, 4, 4, 4)).eval(), torch.randn(2, 2, 24, 16)
        expected, heard = network(x), []
        for stage in network.decoder:
            stage.register_forward_pre_hook(lambda _, inputs: heard.append(len(inputs)))
        given = answer(network, x)
        if not isinstance(given, Tensor):
            return "Return the logits, a tensor: the head's answer to the last decoder stage."
        if given.shape[1] != 1:
            return f"Yours ends with {given.shape[1]} channels: self.head makes one logit per pixel of them."
        if given.shape != expected.shape:
            return (
                f"From {tuple(x.shape)} yours makes {tuple(given.shape)}, which should be {tuple(expected.shape)}: "
                "halve before each encoder stage but the first, and pass every decoder stage once."
            )
        if any(count != 2 for count in heard) or (not heard and torch.equal(given, expected)):
            return "Call each decoder stage as stage(deep, skip), without names and not by its .forward: hooks listen."
        if torch.allclose(given, expected.sigmoid(), atol=1e-6):
            return "Those are probabilities: leave the sigmoid out, logits are asked for."
        network.pool = nn.AvgPool2d(2)
        if torch.allclose(given, network(x), atol=1e-6):
            return "You halve by the mean; self.pool keeps the largest."
        if not torch.allclose(given, expected, atol=1e-5):
            return (
                "The shape is right and the numbers are not: keep every encoder stage's features, "
                "give the last to the decoder as `deep`, and the others as skips, the latest first."
            )
    return None


def receptive_field(answer: Callable) -> str | None:
    """03: how many input pixels across one output pixel sees."""
    rng = np.random.default_rng(3)
    cases = [([3, 3], [1, 1]), ([3, 2, 3], [1, 2, 1])]
    cases += [(rng.choice([1, 2, 3, 5, 7], n).tolist(), rng.choice([1, 2, 3], n).tolist()) for n in (3, 4, 5, 6)]
    cases += [([3, 2, 3, 2, 3], [1, 2, 1, 0.5, 1])]
    for kernels, strides in cases:
        given, right = float(answer(kernels, strides)), field_on_paper(kernels, strides)
        if math.isclose(given, right):
            continue
        more = [kernel - 1 for kernel in kernels]
        if math.isclose(given, right - 1):
            return "One pixel too few: with no layer at all, a pixel sees itself."
        if math.isclose(given, 1 + sum(more)):
            return "After a stride of 2 a step is two input pixels wide, so later kernels reach twice as far."
        jumps = np.cumprod(strides).tolist()
        if math.isclose(given, 1 + sum(a * b for a, b in zip(more, jumps, strict=True))):
            return "A layer's own stride counts from the next layer on: add first, then multiply the step."
        if math.isclose(given, math.prod(kernels)) or math.isclose(given, sum(kernels)):
            return "Kernels overlap: a second 3 × 3 adds one pixel on either side, so two of them see 5."
        return f"Kernels {kernels} with strides {strides} see {right:g} pixels across; yours says {given:g}."
    return None
