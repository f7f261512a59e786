"""The exercises of notebook 07: plausible wrong answers, which ``test_exercises`` gives to the checks; and hints."""

import math

import numpy as np
from torch import nn

from lungseg_helpers.course.exercises.volumes import blend, double_conv_3d, elongation, multiplications
from lungseg_helpers.course.solutions import solution


def _roots(points):
    return np.sqrt(np.linalg.eigvalsh(np.cov(points.T)))


def _steps(inputs, outputs, bias=False, padding=1, conv=nn.Conv3d, norm=nn.BatchNorm3d):
    return [conv(inputs, outputs, 3, padding=padding, bias=bias), norm(outputs), nn.ReLU()]


def _blended(answers, starts, weights, length, weighted=True, divided="weights", add=True):
    total, counted = np.zeros(length), np.zeros(length)
    for values, start in zip(answers, starts, strict=True):
        place, each = slice(start, start + len(weights)), weights * values if weighted else values
        total[place] = total[place] + each if add else each
        counted[place] += weights if divided == "weights" else 1
    return total / counted if divided else total


WRONG = {
    "elongation": [
        lambda points: _roots(points)[2] / _roots(points)[0],
        lambda points: _roots(points)[1] / _roots(points)[0],
        lambda points: _roots(points)[1] / _roots(points)[2],
        lambda points: (_roots(points)[2] / _roots(points)[1]) ** 2,
        lambda points: (_roots(points)[2] / _roots(points)[0]) ** 2,
        lambda points: math.sqrt(np.divide(*np.linalg.eigvalsh(points.T @ points)[:0:-1])),
        lambda points: np.divide(*np.sort(np.ptp(points, axis=0))[:0:-1]),
        lambda points: np.divide(*np.sort(points.std(axis=0))[:0:-1]),
        lambda points: _roots(points),
        lambda points: 3.0,
        lambda points: np.linalg.eigvalsh(np.cov(points))[-1] ** 0.5,
    ],
    "multiplications": [
        lambda inputs, outputs, size, grid: inputs * outputs * size**2 * math.prod(grid),
        lambda inputs, outputs, size, grid: inputs * outputs * size**3 * math.prod(grid),
        lambda inputs, outputs, size, grid: inputs * outputs * size ** len(grid),
        lambda inputs, outputs, size, grid: inputs * outputs * size * len(grid) * math.prod(grid),
        lambda inputs, outputs, size, grid: outputs * size ** len(grid) * math.prod(grid),
        lambda inputs, outputs, size, grid: (inputs * outputs * size ** len(grid) + outputs) * math.prod(grid),
        lambda inputs, outputs, size, grid: (
            inputs * outputs * size ** len(grid) * math.prod(max(0, side - size + 1) for side in grid)
        ),
        lambda inputs, outputs, size, grid: inputs * outputs * size ** len(grid) * sum(grid),
        lambda inputs, outputs, size, grid: 2 * inputs * outputs * size ** len(grid) * math.prod(grid),
        lambda inputs, outputs, size, grid: 45045,
    ],
    "double_conv_3d": [
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs), *_steps(inputs, outputs)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs), *_steps(outputs, outputs, bias=True)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs, padding=0), *_steps(outputs, outputs)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs, norm=nn.BatchNorm2d), *_steps(outputs, outputs)),
        lambda inputs, outputs: nn.Sequential(
            *_steps(inputs, outputs, conv=nn.Conv2d, norm=nn.BatchNorm2d),
            *_steps(outputs, outputs, conv=nn.Conv2d, norm=nn.BatchNorm2d),
        ),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs), *_steps(outputs, outputs)[:2]),
        lambda inputs, outputs: nn.Sequential(
            *(_steps(inputs, outputs)[place] for place in (0, 2, 1)),
            *(_steps(outputs, outputs)[place] for place in (0, 2, 1)),
        ),
        lambda inputs, outputs: [*_steps(inputs, outputs), *_steps(outputs, outputs)],
    ],
    "blend": [
        lambda *given: _blended(*given, divided=""),
        lambda *given: _blended(*given, divided="windows"),
        lambda *given: _blended(*given, weighted=False),
        lambda *given: _blended(*given, weighted=False, divided="windows"),
        lambda *given: _blended(*given, weighted=False, divided=""),
        lambda *given: _blended(*given, weighted=False, divided="", add=False),
        lambda *given: _blended(*given, add=False),
        lambda answers, starts, weights, length: answers.mean(axis=0),
        lambda answers, starts, weights, length: np.full(length, np.nan),
        lambda answers, starts, weights, length: _blended(answers, starts, weights / weights.sum(), length, divided=""),
    ],
}


def test_other_ways_to_the_same_answer_are_right():
    assert elongation(lambda points: np.divide(*np.linalg.svd(points - points.mean(0))[1][:2])) is None
    assert multiplications(lambda i, o, s, grid: int(np.prod([i, o, *[s] * len(grid), *grid]))) is None
    weighted = solution("blend")
    assert blend(lambda *given: weighted(*given).tolist()) is None
    assert double_conv_3d(lambda i, o: nn.Sequential(*[nn.Sequential(*_steps(a, o)) for a in (i, o)])) is None
