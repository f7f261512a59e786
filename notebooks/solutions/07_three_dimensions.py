"""Solutions to the exercises of 07_three_dimensions.ipynb, and answers to its questions.

1. Twice as fine along each axis is eight times the voxels, so eight times the memory and the multiplications; and a
   patch of as many voxels then covers an eighth of the volume that it covered before, so the network sees less around.
2. Nothing that was not measured: between two slices of 5 mm interpolation only draws a straight line. Resampling makes
   the kernel's neighbours equally far, which spares the network the learning of it.
3. Near a window's faces the network does not see what lies beyond, so its answer is worst there. The overlap lets the
   next window answer for these voxels from its middle, and the weights make sure that it counts. One alone does little:
   without overlap each voxel has one answer, so weights cancel out; with equal weights the answer still jumps where a
   window begins or ends.
4. Both, with their budgets: at a hundred times the seconds another network may be the better one, and the reader has a
   budget of his own. A learning rate that was searched for each belongs to a fair race, too.
"""

import math

import numpy as np
from torch import nn


def elongation(points):
    _, middle, large = np.linalg.eigvalsh(np.cov(points.T))
    return math.sqrt(large / middle)


def multiplications(inputs, outputs, size, grid):
    return inputs * outputs * size ** len(grid) * math.prod(grid)


def double_conv_3d(inputs, outputs):
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(),
        nn.Conv3d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(),
    )  # fmt: skip


def blend(answers, starts, weights, length):
    total, counted = np.zeros(length), np.zeros(length)
    for values, start in zip(answers, starts, strict=True):
        total[start : start + len(weights)] += weights * values
        counted[start : start + len(weights)] += weights
    return total / counted
