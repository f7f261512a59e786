"""The checks behind the exercises: each takes the learner's function and returns a hint, or None where it is right.

The hint names the likely mistake, found by comparing with what that mistake would give.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from .unet import DecoderStage, DoubleConv


def apply_window(answer: Callable) -> str | None:
    """01: map HU to 0…1 in a window given by level and width."""
    hu = np.array([-1350.0, -600.0, 150.0, -3000.0, 3000.0])
    found = np.asarray(answer(hu, -600, 1500), float)
    if found.shape != hu.shape:
        return "Return one number for each HU, in the same shape."
    if found.max() > 1 or found.min() < 0:
        return "Values outside the window must be clipped to 0 and 1: np.clip."
    if math.isclose(found[2], 0.5):
        return "The window is `width` wide in all: it reaches half of it to each side of the level."
    if not np.allclose(found, [0, 0.5, 1, 0, 1]):
        return "The lower edge (level - width / 2) must become 0, the level 0.5, the upper edge 1."
    if not np.allclose(answer(np.array([-160.0, 240.0]), 40, 400), [0, 1]):
        return "It is right for the lung window only: use `level` and `width`, not their numbers."
    return None


def slices_for(answer: Callable) -> str | None:
    """01: how many slices a distance in mm is."""
    cases = {(30.0, 1.0): 30, (30.0, 2.5): 12, (75.0, 2.5): 30, (10.0, 3.0): 3}
    for (mm, spacing), slices in cases.items():
        found = answer(mm, spacing)
        if found == mm * spacing and spacing != 1:
            return "Divide by the spacing: thicker slices need fewer of them."
        if not isinstance(found, int | np.integer):
            return "A number of slices is whole: round it and return an int."
        if found != slices:
            return f"{mm} mm at {spacing} mm a slice is {slices} slices; yours says {found}."
    return None


def volume_ml(answer: Callable) -> str | None:
    """01: the volume of a mask in mL."""
    mask = np.zeros((10, 20, 20), np.uint8)
    mask[2:7, 5:15, 5:15] = 1
    spacing, right = (2.5, 0.7, 0.8), 0.7
    found = float(answer(mask, spacing))
    if math.isclose(found, 500):
        return "That is the number of voxels: how many mm³ is each of them?"
    if math.isclose(found, 1000 * right):
        return "That is the volume in mm³: 1000 mm³ are 1 mL."
    if any(math.isclose(found, 500 * step**3 / 1000) for step in spacing):
        return "A voxel is no cube: multiply all three spacings."
    if not math.isclose(found, right):
        return f"500 voxels of 2.5 × 0.7 × 0.8 mm are {right} mL; yours says {found:.3g}."
    if not math.isclose(float(answer(2 * mask, spacing)), right):
        return "Count the voxels that are not 0 instead of adding up their values: a label may be 2."
    return None


def clipped_share(answer: Callable) -> str | None:
    """01: the share of values that a clip changes."""
    hu = np.array([-2000, -1500, -1000, -500, 0, 50, 60, 100, 400, 500])
    found = np.asarray(answer(hu, -1000, 400), float)
    if found.shape != ():
        return "Return one number for all values together: the mean of True and False is a share."
    if math.isclose(found, 30) or math.isclose(found, 3):
        return "Return a share from 0 to 1: neither a percentage nor a count."
    if math.isclose(found, 0.7):
        return "That is the share which the window keeps; what lies outside it is asked for."
    if math.isclose(found, 0.1) or math.isclose(found, 0.2):
        return "That is one end only: what lies below `low` and what lies above `high` are both lost."
    if math.isclose(found, 0.5):
        return "A value equal to `low` or `high` is not changed by clipping: use < and >."
    if not math.isclose(found, 0.3):
        return f"Of 10 values 2 lie below the window and 1 above, a share of 0.3; yours says {found:.3g}."
    return None


def leaking_patients(answer: Callable) -> str | None:
    """02: the patients whose slices are in training and in test."""
    train = ["lung_003/041", "lung_003/043", "lung_010/007", "lung_001/002", "lung_100/005"]
    test = ["lung_003/042", "lung_010/008", "lung_020/007"]
    found = answer(train, test)
    if not isinstance(found, list):
        return "Return a sorted list: sorted() makes one of a set."
    if found == []:
        return "The slices differ; do their patients? Compare what stands before the stroke."
    if any("/" in str(name) for name in found):
        return "Return patients, not slices: what stands before the stroke."
    if len(found) > len(set(found)):
        return "Each patient once: a set holds nothing twice."
    if set(found) == {"lung_003", "lung_010", "lung_001", "lung_020", "lung_100"}:
        return "That is everybody; asked for are those who are in both lists: the intersection of two sets."
    if set(found) != {"lung_003", "lung_010"}:
        return f"lung_003 and lung_010 are in both lists; yours says {found}."
    if answer(["b/1", "a/1"], ["a/2", "b/2"]) != ["a", "b"]:
        return "Sort the names, so that the answer does not depend on the order of the slices."
    return None


def border_value(answer: Callable) -> str | None:
    """02: the network input that air becomes."""
    divided = float(answer(-1024, 3071, 0, 3071))
    if math.isclose(divided, 0.0, abs_tol=1e-9):
        return "0 is water under HU / 3071. Send -1024 HU the way that every voxel goes."
    if not math.isclose(divided, -1024 / 3071):
        return f"Under HU / 3071 air becomes -1024 / 3071 = -0.333; yours says {divided:.3f}."
    course = float(answer(-1000, 400, -1000, 1400))
    if math.isclose(course, -24 / 1400):
        return "Clip first: under the course's scaling -1024 becomes -1000 before anything else."
    if not math.isclose(course, 0.0, abs_tol=1e-9):
        return f"Under the course's scaling (-1000 to 400 becomes 0 to 1) air is 0; yours says {course:.3f}."
    if not math.isclose(float(answer(-1350, 150, -1350, 1500)), 326 / 1500):
        return "It is right for two scalings only: use low, high, shift and scale."
    return None


def sampling_weights(answer: Callable) -> str | None:
    """02: weights with which half of all draws hold tumour."""
    flags = np.array([True] + [False] * 9)
    weights = np.asarray(answer(flags), float)
    if weights.shape != flags.shape:
        return "Return one weight for each slice."
    if (weights <= 0).any():
        return "Every slice needs a weight above 0, or it is never seen."
    if np.allclose(weights, weights[0]):
        return "All weights are equal: tumour slices would still be one draw in ten."
    share = weights[flags].sum() / weights.sum()
    if not math.isclose(share, 0.5, abs_tol=1e-6):
        return f"Tumour slices would be {share:.0%} of the draws: weigh each kind by one over how often it occurs."
    return None


def conv_parameters(answer: Callable) -> str | None:
    """03: how many numbers a 2-D convolution learns."""
    found = answer(3, 16, 3)
    if found == 3 * 16 * 3:
        return "A kernel is two-dimensional: size × size weights, for each pair of channels."
    if found == 3 * 16 * 9 + 3:
        return "There is one bias for each output channel, not for each input channel."
    if found == 3 * 16 * 9:
        return "Nearly: each output channel also has a bias."
    if found != 3 * 16 * 9 + 16 or answer(1, 8, 5) != 1 * 8 * 25 + 8:
        return "Count inputs × outputs × size × size weights, and one bias for each output."
    return None


def double_conv(answer: Callable) -> str | None:
    """03: the double-conv block, compared with the course's by copied weights."""
    torch.manual_seed(0)
    ours, theirs = DoubleConv(3, 4), answer(3, 4)
    if not isinstance(theirs, nn.Module):
        return "Return a module: nn.Sequential(...) of the six layers."
    kinds = [type(each).__name__ for each in theirs.modules() if not list(each.children())]
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
    expected, found = ours.train()(*inputs), theirs.train()(*inputs)
    if found.shape != expected.shape:
        return f"The result has shape {tuple(found.shape)}, ours {tuple(expected.shape)}: padding=1 keeps the size."
    if (found < 0).any():
        return "Some results are below 0: the last layer is a ReLU."
    if not torch.allclose(found, expected, atol=1e-5):
        return "With our weights in it, the result is another: look at the order of the layers and of what is joined."
    return None


def same_cut(answer: Callable) -> str | None:
    """03: the logit at which a probability threshold cuts."""
    found = float(answer(0.62))
    if math.isclose(found, 1 / (1 + math.exp(-0.62)), abs_tol=1e-6):
        return "That is the sigmoid, from logit to probability; the way back is asked for."
    if math.isclose(found, 0.62):
        return "A logit is no probability: solve p = 1 / (1 + exp(-logit)) for the logit."
    if math.isclose(found, -math.log(0.62 / 0.38), abs_tol=1e-6):
        return "The sign is turned: a probability above one half belongs to a logit above 0."
    if not math.isclose(found, math.log(0.62 / 0.38), abs_tol=1e-6) or abs(float(answer(0.5))) > 1e-9:
        return f"p = 0.62 is cut at the logit {math.log(0.62 / 0.38):.2f}, and p = 0.5 at 0; yours says {found:.2f}."
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
    found = np.asarray(answer(rates, losses), float)
    if found.shape != ():
        return "Return one learning rate."
    if math.isclose(found, 1e-1):
        return "That is where the loss is lowest: the edge of the cliff. Where does it fall steepest?"
    if math.isclose(found, 1.0):
        return "There the loss changes most, but upwards: look for the most negative slope."
    if found not in rates:
        return "Return a learning rate of the list, not its place in it."
    if not (math.isclose(found, 1e-3) or math.isclose(found, 1e-4)):
        return f"The loss falls most between 1e-4 and 1e-3; yours says {found:g}."
    if float(answer(rates[1:], losses[1:])) not in (1e-3, 1e-4):
        return "It is right for one curve only: find the place with np.diff or np.gradient."
    return None


def stop_epoch(answer: Callable) -> str | None:
    """04: the epoch after which early stopping ends a training."""
    rising, scores = [0.1, 0.2, 0.3], [0.10, 0.30, 0.25, 0.31, 0.30, 0.29, 0.28, 0.90]
    if answer(rising, 2) != 2:
        return "A score that keeps rising never stops early: return the last epoch, counted from 0."
    found = answer(scores, 3)
    if found == 2:
        return "One worse epoch is no reason: only `patience` epochs in a row without a new best are."
    if found == 7:
        return "Epoch 7 never happens: the training cannot know what it would have reached."
    if found == 3:
        return "Epoch 3 is the best one, which is kept; the training goes on for `patience` epochs after it."
    if found != 6:
        return f"The best is epoch 3 (from 0), and epochs 4, 5 and 6 are no better: it stops after 6, not {found}."
    if answer([0.3, 0.3, 0.3, 0.3], 2) != 2:
        return "Equal is not better: the count goes on."
    return None


def patient_dice(answer: Callable) -> str | None:
    """05: Dice of two masks, honest about empty ones."""
    one, two, none = np.array([1, 1, 0, 0]), np.array([0, 1, 1, 0]), np.zeros(4, int)
    if not math.isclose(float(answer(one, two)), 0.5):
        return "Two voxels each with one in common make 2 · 1 / (2 + 2) = 0.5."
    if float(answer(one, none)) != 0:
        return "A missed tumour scores 0."
    empty = float(answer(none, none))
    if empty == 1:
        return "Nothing against nothing is 0/0. Calling it 1 rewards a model that predicts nothing: return NaN."
    if not math.isnan(empty):
        return "Nothing against nothing is undefined: return float('nan') and leave the patient out of the mean."
    return None


CHECKS: dict[str, Callable[[Callable], str | None]] = {
    check.__name__: check
    for check in (
        volume_ml,
        apply_window,
        slices_for,
        clipped_share,
        leaking_patients,
        border_value,
        sampling_weights,
        conv_parameters,
        double_conv,
        decoder_stage,
        same_cut,
        soft_dice,
        steepest_rate,
        stop_epoch,
        patient_dice,
    )
}
