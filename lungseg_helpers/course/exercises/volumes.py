"""The checks behind the exercises of notebook 07, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ...unet import DoubleConv
from .network import same_by_copied_weights


def elongation(answer: Callable) -> str | None:
    """07: how many times as long as wide a cloud of points is."""
    rng = np.random.default_rng(7)
    for sizes in ([9, 3, 2], *rng.uniform(1, 9, (5, 3))):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        points = rng.normal(size=(400, 3)) * sizes @ turn + rng.uniform(20, 200, 3)
        given = np.asarray(answer(points.copy()))
        if given.size != 1:
            return f"Return one number; yours has shape {given.shape}."
        small, middle, large = np.linalg.eigvalsh(np.cov(points.T))
        right, given = math.sqrt(large / middle), float(given)
        if math.isclose(given, right, rel_tol=0.01):
            continue
        far = np.linalg.eigvalsh(points.T @ points / len(points))
        known = (
            (large / middle, "Eigenvalues are of squared lengths: take the square root of their ratio."),
            (math.sqrt(large / small), "That is length over thickness: a disc is flat too. Divide by the middle one."),
            (large / small, "That is of squared lengths, and of the smallest: the root, and the middle one."),
            (math.sqrt(middle / small), "That is the middle over the smallest: mind that eigvalsh sorts upwards."),
            (1 / right, "Turned over: the largest is divided by the middle one."),
            (math.sqrt(far[2] / far[1]), "That depends on where the thing lies: moments are about its own middle."),
            (np.ptp(points, axis=0).max() / np.median(np.ptp(points, axis=0)), _BOX),
            (math.sqrt(sorted(points.var(axis=0))[2] / sorted(points.var(axis=0))[1]), _BOX),
        )
        for value, hint in known:
            if math.isclose(given, value, rel_tol=0.01):
                return hint
        return f"Of these points the length is {right:.2f} times the width; yours says {given:.2f}."
    return None


_BOX = "That is along the scan's axes, and a vessel runs askew: the eigenvalues of the whole matrix are asked for."


def multiplications(answer: Callable) -> str | None:
    """07: how many multiplications a convolution takes, in any number of dimensions."""
    rng = np.random.default_rng(7)
    cases = [(5, 7, 3, (11, 13)), (5, 7, 3, (6, 11, 13))]
    cases += [(*map(int, rng.integers(2, 9, 3)), tuple(map(int, rng.integers(4, 20, n)))) for n in (1, 2, 3, 3)]
    for inputs, outputs, size, grid in cases:
        given, pairs, points, dims = answer(inputs, outputs, size, grid), inputs * outputs, math.prod(grid), len(grid)
        if given == pairs * size**dims * points:
            continue
        if given == pairs * size**2 * points:
            return "A kernel has as many dimensions as the grid: size × size × size in three."
        if given == pairs * size**3 * points:
            return "A kernel has as many dimensions as the grid: size × size in two."
        if given == pairs * size**dims:
            return "Those are the weights. Each of them is used once at every point of the grid."
        if given == pairs * size * points or given == pairs * size * dims * points:
            return "The sides of a kernel are multiplied, not added: size to the power of the number of dimensions."
        if given in (size**dims * points, inputs * size**dims * points, outputs * size**dims * points):
            return "There is a kernel for each pair of an input and an output channel."
        if given == (pairs * size**dims + outputs) * points:
            return "A bias is added, not multiplied."
        if given == pairs * size**dims * math.prod(max(0, side - size + 1) for side in grid):
            return "With padding every point of the grid gets an answer, those at the border too."
        return f"For {inputs}, {outputs}, {size}, {grid} it is {pairs * size**dims * points}; yours says {given}."
    return None


def double_conv_3d(answer: Callable) -> str | None:
    """07: the double-conv block in three dimensions, compared with the course's by copied weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours, theirs = DoubleConv(3, 4, dims=3), answer(3, 4)
        if not isinstance(theirs, nn.Module):
            return "Return a module: nn.Sequential(...) of the six layers."
        kinds = [type(layer).__name__ for layer in theirs.modules() if not list(layer.children())]
        if flat := sorted({kind for kind in kinds if kind.endswith("2d")}):
            return f"There are layers of two dimensions left: {', '.join(flat)}."
        if kinds.count("Conv3d") != 2:
            return f"The block convolves twice; yours holds {kinds.count('Conv3d')} convolutions of three dimensions."
        if "ReLU" not in kinds or "BatchNorm3d" not in kinds:
            return "Each convolution is followed by BatchNorm3d and ReLU."
        return same_by_copied_weights(ours, theirs, "the order of the layers", torch.randn(2, 3, 6, 10, 8))


def blend(answer: Callable) -> str | None:
    """07: overlapping windows' answers put together, each weighted."""
    rng = np.random.default_rng(7)
    cases = [([0, 4], 6, 10), ([0, 3, 6], 5, 11), ([0, 2, 3, 9], 6, 15)]
    for starts, width, length in cases:
        weights, answers = rng.uniform(0.1, 2, width), rng.normal(size=(len(starts), width))
        totals = {True: np.zeros(length), False: np.zeros(length)}
        sums, counts, last = np.zeros(length), np.zeros(length), np.zeros(length)
        for start, values in zip(starts, answers, strict=True):
            place = slice(start, start + width)
            totals[True][place] += weights * values
            totals[False][place] += values
            sums[place] += weights
            counts[place] += 1
            last[place] = values
        given = np.asarray(answer(answers.copy(), list(starts), weights.copy(), length), float)
        right = totals[True] / sums
        if given.shape != right.shape:
            return f"Return {length} numbers, one for each place of the whole row; yours has shape {given.shape}."
        if np.isnan(given).any():
            return "Some are NaN: add up in arrays of zeros, and divide once, at the end."
        if np.allclose(given, right, atol=1e-6):
            continue
        known = (
            (totals[True], "That is the weighted sum: divide by the sum of the weights at each place."),
            (totals[False] / counts, "That is the plain mean: each window's answer counts by its weight."),
            (totals[True] / counts, "Divide by the sum of the weights, not by the number of windows."),
            (totals[False] / sums, "Each answer is multiplied by its weight before it is added."),
            (totals[False], "That is the sum of all answers; a weighted mean is asked for."),
            (last, "The last window overwrites the others there: add up instead."),
        )
        for values, hint in known:
            if np.allclose(given, values, atol=1e-6):
                return hint
        place = int(np.abs(given - right).argmax())
        return f"With windows at {starts}, place {place} is {right[place]:.3f}; yours says {given[place]:.3f}."
    return None
