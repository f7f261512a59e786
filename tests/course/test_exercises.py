"""Every exercise: the solution passes, plausible wrong answers get a hint, an undone stub breaks nothing."""

import math
import re

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates
from test_exercises_unlabelled import WRONG as WITHOUT_LABELS
from test_exercises_viewer import WRONG as IN_VIEWER
from test_exercises_volumes import WRONG as IN_VOLUMES
from torch import nn

from lungseg_helpers.course.exercises import CHECKS
from lungseg_helpers.course.network import measured_field
from lungseg_helpers.course.show import check, right_or, show_source
from lungseg_helpers.course.solutions import solution
from lungseg_helpers.dataset.split import split_patients
from lungseg_helpers.paths import ROOT
from lungseg_helpers.unet import DoubleConv

NOTEBOOKS = ROOT / "notebooks"


def _steps(inputs, outputs, bias=False, padding=1):
    return [nn.Conv2d(inputs, outputs, 3, padding=padding, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU()]


def _found(labels, pieces, alone=False, belongs=0.1, reached=0.1, background=False, most=False, recall=False):
    """Lesions found by a mistaken rule: each piece by itself, other bounds, the background a lesion, a piece only to
    the lesion that it covers most of, recall in place of intersection over union."""
    found = 0
    if most:
        mains = {piece: np.bincount(labels[pieces == piece])[1:] for piece in set(np.unique(pieces)) - {0}}
        mains = {piece: counts.argmax() + 1 for piece, counts in mains.items() if counts.any()}
    for number in set(np.unique(labels)) - (set() if background else {0}):
        lesion = labels == number
        masks = [pieces == piece for piece in set(np.unique(pieces[lesion])) - {0}]
        masks = [mask for mask in masks if (mask & lesion).sum() / mask.sum() > belongs - 1e-9] or [0 * pieces > 0]
        if most:
            mine = [pieces == piece for piece, main in mains.items() if main == number]
            masks = [mask for mask in masks if any((mask == each).all() for each in mine)] or [0 * pieces > 0]
        drawn = masks if alone else [np.any(masks, axis=0)]
        found += any(
            (lesion & each).sum() / (lesion if recall else lesion | each).sum() > reached - 1e-9 for each in drawn
        )
    return found


class Stage(nn.Module):
    """A decoder stage with a mistake."""

    def __init__(
        self, inputs, skips, outputs, bias=False, turned=False, added=False, mode="bilinear", corners=None, size=None
    ):
        super().__init__()
        self.size = size
        self.reduce = nn.Conv2d(inputs, skips, 1, bias=bias)
        self.conv = DoubleConv(skips if added else 2 * skips, outputs)
        self.turned, self.added, self.mode, self.corners = turned, added, mode, corners

    def forward(self, deep, skip):
        size = self.size or [2 * length for length in deep.shape[2:]]
        deep = F.interpolate(self.reduce(deep), size, mode=self.mode, align_corners=self.corners)
        if self.added:
            return self.conv(skip + deep)
        return self.conv(torch.cat([deep, skip] if self.turned else [skip, deep], dim=1))


def _up(network, x, pool=None, order=-1, first=False, deepest=False, call=lambda stage, deep, skip: stage(deep, skip)):
    """The way through a U-Net with a mistake: another pooling, skips from another end, a needless step, past hooks."""
    pool, skips = pool or network.pool, []
    for number, stage in enumerate(network.encoder):
        x = stage(pool(x) if number or first else x)
        skips.append(x)
    x = skips.pop()
    skips += [x] if deepest else []
    for stage in network.decoder:
        x = call(stage, x, skips.pop(order))
    return x


def _field(kernels, strides, begin=1, own=False):
    field, step = begin, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        step *= stride if own else 1
        field += (kernel - 1) * step
        step *= 1 if own else stride
    return field


def _moved(
    image=lambda array: array,
    order=1,
    cval=None,
    turned=False,
    mask_order=0,
    mask_cval=0,
    mask_turned=False,
    mask_mode="constant",
):
    """Return a ``move_both`` with the mistakes that are asked for."""

    def move_both(array, mask, places, air):
        maps = [places[::-1] if each else places for each in (turned, mask_turned)]
        moved = map_coordinates(image(array), maps[0], order=order, cval=air if cval is None else cval)
        outside = air if mask_cval is None else mask_cval
        return moved, map_coordinates(mask, maps[1], order=mask_order, mode=mask_mode, cval=outside)

    return move_both


def _window_in_place(hu, level, width):
    low, high = level - width / 2, level + width / 2
    hu[hu < low], hu[hu > high] = low, high
    return (hu - low) / width


def _honest(truth, predicted):
    return 2 * ((truth > 0) & (predicted > 0)).sum() / ((truth > 0).sum() + (predicted > 0).sum())


def _gains(differences):
    return {name: gain for name, gain in differences.items() if not math.isnan(gain)}


def _seed_parts(a, b, ddof=1):
    """The parts of both models' seeds in the variance of a mean difference."""
    return sum(scores.mean(axis=1).var(ddof=ddof) / len(scores) for scores in (a, b))


def _factor(step, steps, warm_up, first=1, fall=lambda rest: 0.5 * (1 + math.cos(math.pi * rest))):
    """The learning rate's factor with another beginning or another fall."""
    return (step + first) / warm_up if step < warm_up else fall((step - warm_up) / (steps - warm_up))


def _stop(scores, patience, last=False, equal=False):
    """Early stopping with a mistake: compared with the last epoch instead of the best, or equal taken for better."""
    best = waited = 0
    for epoch in range(1, len(scores)):
        other = scores[epoch - 1] if last else scores[best]
        better = scores[epoch] >= other if equal else scores[epoch] > other
        best, waited = (epoch, 0) if better else (best, waited + 1)
        if waited == patience:
            return epoch
    return len(scores) - 1


WRONG = {
    "to_hu": [
        lambda stored, slope, intercept: stored * slope,
        lambda stored, slope, intercept: stored + intercept,
        lambda stored, slope, intercept: (stored + intercept) * slope,
        lambda stored, slope, intercept: stored * slope - intercept,
        lambda stored, slope, intercept: stored * slope - 1024,
        lambda stored, slope, intercept: (stored * slope + intercept).astype(np.int64).astype(np.uint16),
        lambda stored, slope, intercept: np.clip(stored * slope + intercept, 0, None),
        lambda stored, slope, intercept: float(stored.mean() * slope + intercept),
        lambda stored, slope, intercept: stored * intercept + slope,
    ],
    "volume_ml": [
        lambda mask, spacing: np.count_nonzero(mask) * np.prod(spacing),
        lambda mask, spacing: np.count_nonzero(mask) * spacing[0] ** 3 / 1000,
        lambda mask, spacing: np.count_nonzero(mask),
        lambda mask, spacing: mask.sum() * np.prod(spacing) / 1000,
        lambda mask, spacing: np.count_nonzero(mask) * sum(spacing) / 1000,
        lambda mask, spacing: mask.size * np.prod(spacing) / 1000,
        lambda mask, spacing: 0.7,
    ],
    "apply_window": [
        _window_in_place,
        lambda hu, level, width: (hu - (level - width / 2)) / width,
        lambda hu, level, width: np.clip((hu - level + width) / (2 * width), 0, 1),
        lambda hu, level, width: np.clip((hu + 1350) / 1500, 0, 1),
        lambda hu, level, width: np.clip((hu - level) / width, 0, 1),
        lambda hu, level, width: (hu > level - width / 2).astype(float) * 0.5 + 0.5 * (hu >= level + width / 2),
    ],
    "slices_for": [
        lambda mm, slice_mm: round(mm * slice_mm),
        lambda mm, slice_mm: mm / slice_mm,
        lambda mm, slice_mm: 30,
        lambda mm, slice_mm: int(mm / slice_mm),
        lambda mm, slice_mm: int(mm // slice_mm),
        lambda mm, slice_mm: math.ceil(mm / slice_mm),
        lambda mm, slice_mm: np.round(mm / slice_mm),
        lambda mm, slice_mm: round(mm / slice_mm) if slice_mm != 3 else int(mm / slice_mm),
    ],
    "clipped_share": [
        lambda hu, low, high: np.mean(hu > high),
        lambda hu, low, high: np.mean((hu >= low) & (hu <= high)),
        lambda hu, low, high: 100 * np.mean((hu < low) | (hu > high)),
        lambda hu, low, high: np.mean((hu <= low) | (hu >= high)),
        lambda hu, low, high: (hu < low) | (hu > high),
        lambda hu, low, high: 0.3,
        lambda hu, low, high: np.mean((hu < -1000) | (hu > 400)),
        lambda hu, low, high: np.sum((hu < low) | (hu > high)) / 10,
        lambda hu, low, high: np.sum((hu < low) | (hu > high)) / len(hu),
    ],
    "leaking_patients": [
        lambda train, test: sorted(set(train) & set(test)),
        lambda train, test: {name.split("/")[0] for name in train} & {name.split("/")[0] for name in test},
        lambda train, test: sorted({name.split("/")[0] for name in [*train, *test]}),
        lambda train, test: sorted(a.split("/")[0] for a in train if any(a[:8] == b[:8] for b in test)),
        lambda train, test: sorted(name for name in train if name[:8] in {each[:8] for each in test}),
        lambda train, test: list({name.split("/")[0]: 0 for name in test if any(name[:3] == a[:3] for a in train)}),
        lambda train, test: [],
        lambda train, test: list({name.split("/")[0] for name in train} & {name.split("/")[0] for name in test}),
    ],
    "move_both": [
        lambda image, mask, places, air: (image, mask),
        lambda image, mask, places, air: _moved()(image, mask, places, air)[0],
        lambda image, mask, places, air: (_moved()(image, mask, places, air)[0], mask),
        lambda image, mask, places, air: (image, _moved()(image, mask, places, air)[1]),
        lambda image, mask, places, air: _moved()(image, mask, places, air)[::-1],
        lambda image, mask, places, air: _moved()(image, mask > 0, places, air),
        _moved(order=0),
        _moved(order=3),
        _moved(cval=0),
        _moved(cval=-1000),
        _moved(turned=True, mask_turned=True),
        _moved(mask_turned=True),
        _moved(mask_order=1),
        _moved(mask_order=3),
        _moved(mask_cval=None),
        _moved(mask_mode="nearest"),
        _moved(mask_mode="reflect"),
        _moved(image=lambda array: array[::-1]),
        _moved(image=lambda array: array.clip(-700)),
    ],
    "border_value": [
        lambda low, high, shift, scale: 0,
        lambda low, high, shift, scale: (-1024 - shift) / scale,
        lambda low, high, shift, scale: max(-1024, low),
        lambda low, high, shift, scale: -1024 / 3071 if scale == 3071 else 0,
        lambda low, high, shift, scale: {3071: -1024 / 3071, 1400: 0, 1500: 326 / 1500}.get(scale, 0),
        lambda low, high, shift, scale: (low - shift) / scale,
        lambda low, high, shift, scale: (max(-1024, low) - shift) / scale,
        lambda low, high, shift, scale: (max(-1024, low) + shift) / scale,
    ],
    "sampling_weights": [
        lambda flags: np.ones(len(flags)),
        lambda flags: np.where(flags, 1.0, 0.0),
        lambda flags: np.where(flags, 2.0, 1.0),
        lambda flags: np.where(flags, 9.0, 1.0),
        lambda flags: np.where(flags, len(flags) / flags.sum(), 1.0),
        lambda flags: np.where(flags, (~flags).sum(), flags.sum() + 1.0),
        lambda flags: np.where(flags, 0.5, 0.5 / (~flags).sum()),
        lambda flags: np.where(flags, np.cumsum(flags) / np.cumsum(flags)[flags].sum(), 1 / (~flags).sum()),
    ],
    "conv_parameters": [
        lambda inputs, outputs, size: inputs * outputs * size**2,
        lambda inputs, outputs, size: inputs * outputs * size + outputs,
        lambda inputs, outputs, size: inputs * outputs * size**2 + inputs,
        lambda inputs, outputs, size: inputs * outputs * size**2 + 1,
        lambda inputs, outputs, size: outputs * size**2 + outputs,
        lambda inputs, outputs, size: inputs * outputs * 9 + outputs,
        lambda inputs, outputs, size: inputs * (outputs * size**2 + 1),
        lambda inputs, outputs, size: 448,
    ],
    "double_conv": [
        lambda inputs, outputs: nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs, True), *_steps(outputs, outputs, True)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs, padding=0), *_steps(outputs, outputs)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, inputs), *_steps(inputs, outputs)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs), *_steps(outputs, outputs)[:2]),
        lambda inputs, outputs: nn.Sequential(*(_steps(inputs, outputs) + _steps(outputs, outputs))[::2]),
        lambda inputs, outputs: [*_steps(inputs, outputs), *_steps(outputs, outputs)],
        lambda inputs, outputs: nn.Sequential(
            *(both := [*_steps(inputs, outputs), *_steps(outputs, outputs)])[:1], both[2], both[1], *both[3:]
        ),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs), *_steps(outputs, outputs), nn.Sigmoid()),
        lambda inputs, outputs: nn.Sequential(
            *(nn.LeakyReLU(0.1) if isinstance(each, nn.ReLU) else each for each in _steps(inputs, outputs)),
            *_steps(outputs, outputs),
        ),
    ],
    "decoder_stage": [
        lambda inputs, skips, outputs: None,
        lambda inputs, skips, outputs: Stage(inputs, skips, outputs, bias=True),
        lambda inputs, skips, outputs: Stage(inputs, skips, outputs, turned=True),
        lambda inputs, skips, outputs: Stage(inputs, skips, outputs, mode="nearest"),
        lambda inputs, skips, outputs: DoubleConv(inputs + skips, outputs),
        lambda inputs, skips, outputs: Stage(inputs, skips, outputs, added=True),
        lambda inputs, skips, outputs: Stage(inputs, skips, outputs, corners=True),
        lambda inputs, skips, outputs: Stage(inputs, skips, outputs, size=(12, 10)),
    ],
    "same_cut": [
        lambda probability: 1 / (1 + math.exp(-probability)),
        lambda probability: probability,
        lambda probability: math.log((1 - probability) / probability),
        lambda probability: 0.5,
        lambda probability: 0.0,
        lambda probability: math.log10(probability / (1 - probability)),
        lambda probability: math.log(probability),
        lambda probability: 2 * (probability - 0.5),
        lambda probability: math.log(0.62 / 0.38) if probability == 0.62 else 0,
    ],
    "unet_forward": [
        lambda network, x: network.head(_up(network, x)).sigmoid(),
        lambda network, x: network.head(_up(network, x)) > 0,
        lambda network, x: _up(network, x),
        lambda network, x: network.head(_up(network, x, pool=nn.AvgPool2d(2))),
        lambda network, x: network.head(_up(network, x, order=0)),
        lambda network, x: network.head(_up(network, x, first=True)),
        lambda network, x: network.head(_up(network, x, deepest=True)),
        lambda network, x: network.head(_up(network, x, pool=nn.Identity())),
        lambda network, x: network.head(_up(network, x, call=lambda stage, d, s: stage(deep=d, skip=s))),
        lambda network, x: network.head(_up(network, x, call=lambda stage, d, s: stage.forward(d, s))),
        lambda network, x: network.head(x),
        lambda network, x: network.head(network.encoder[0](x)),
        lambda network, x: None,
    ],
    "receptive_field": [
        lambda kernels, strides: 1 + sum(kernel - 1 for kernel in kernels),
        lambda kernels, strides: _field(kernels, strides, begin=0),
        lambda kernels, strides: _field(kernels, strides, own=True),
        lambda kernels, strides: math.prod(kernels),
        lambda kernels, strides: sum(kernels),
        lambda kernels, strides: math.prod(strides),
        lambda kernels, strides: 1 + sum(kernel // 2 for kernel in kernels),
        lambda kernels, strides: 1 + sum((each - 1) * step for each, step in zip(kernels, strides, strict=True)),
        lambda kernels, strides: _field(kernels, [max(1, stride) for stride in strides]),
        lambda kernels, strides: 5,
    ],
    "soft_dice": [
        lambda p, t: 2 * (p * t).sum() / (p.sum() + t.sum()),
        lambda p, t: (2 * (p * t).sum() + 1e-6) / (p.sum() + t.sum() + 1e-6),
        lambda p, t: ((p * t).sum() + 1) / (p.sum() + t.sum() + 1),
        lambda p, t: 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1),
        lambda p, t: (2 * ((h := (p > 0.5).float()) * t).sum() + 1) / (h.sum() + t.sum() + 1),
        lambda p, t: (p * t).sum() / t.sum(),
        lambda p, t: (p * t).sum() / p.sum(),
        lambda p, t: ((p * t).sum() + 1) / (t.sum() + 1),
        lambda p, t: 1 - (p - t).abs().mean(),
        lambda p, t: ((p * t).sum() + 1) / (p.sum() + t.sum() - (p * t).sum() + 1),
        lambda p, t: torch.stack([solution("soft_dice")(*pair) for pair in zip(p, t, strict=True)]).mean(),
        lambda p, t: (2 * (p * t).sum() + 1) / ((p**2).sum() + t.sum() + 1),
        lambda p, t: (2 * torch.minimum(p, t).sum() + 1) / (p.sum() + t.sum() + 1),
        lambda p, t: (2 * p[t == 1].sum() + 1) / (p.sum() + t.sum() + 1),
        lambda p, t: solution("soft_dice")(p, t).item(),
        lambda p, t: solution("soft_dice")(p.detach(), t),
        lambda p, t: (2 * p * t + 1) / (p + t + 1),
        lambda p, t: solution("soft_dice")(p, t) if t.any() else p.sum() * 0 + 1,
        lambda p, t: torch.tensor(0.5),
    ],
    "rate_factor": [
        lambda step, steps, warm_up: 0.5 * (1 + math.cos(math.pi * step / steps)),
        lambda step, steps, warm_up: min(1, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps)),
        lambda step, steps, warm_up: _factor(step, steps, warm_up, first=0),
        lambda step, steps, warm_up: _factor(step, steps, warm_up, fall=lambda rest: math.cos(math.pi * rest)),
        lambda step, steps, warm_up: _factor(step, steps, warm_up, fall=lambda rest: 1 - rest),
        lambda step, steps, warm_up: _factor(step, steps, warm_up, fall=lambda rest: math.cos(math.pi / 2 * rest)),
        lambda step, steps, warm_up: _factor(step, steps, warm_up, fall=lambda rest: 1),
        lambda step, steps, warm_up: _factor(step, steps, warm_up, fall=lambda rest: 0.5 * (1 + math.cos(2 * rest))),
        lambda step, steps, warm_up: _factor(step, steps, 5),
        lambda step, steps, warm_up: _factor(step, steps - 1, warm_up),
        lambda step, steps, warm_up: 3e-3 * _factor(step, steps, warm_up),
        lambda step, steps, warm_up: 1.0,
    ],
    "steepest_rate": [
        lambda rates, losses: rates[losses.argmin()],
        lambda rates, losses: rates[np.diff(losses).argmin() + 1],
        lambda rates, losses: rates[np.abs(np.diff(losses)).argmax()],
        lambda rates, losses: rates[np.diff(losses).argmax()],
        lambda rates, losses: rates[np.gradient(losses).argmin()],
        lambda rates, losses: rates[losses.argmin()] / 10,
        lambda rates, losses: rates[(np.diff(losses) / np.diff(rates)).argmin()],
        lambda rates, losses: rates[losses.argmax()],
        lambda rates, losses: np.diff(losses).argmin(),
        lambda rates, losses: np.diff(losses),
        lambda rates, losses: 1e-3,
    ],
    "stop_epoch": [
        lambda scores, patience: int(np.argmax(scores)),
        lambda scores, patience: len(scores) - 1,
        lambda scores, patience: next((i for i in range(1, len(scores)) if scores[i] < scores[i - 1]), len(scores) - 1),
        lambda scores, patience: min(len(scores) - 1, int(np.argmax(scores[:5])) + patience - 1),
        lambda scores, patience: _stop(scores, patience, last=True),
        lambda scores, patience: _stop(scores, patience, equal=True),
        lambda scores, patience: _stop(scores, patience - 1),
        lambda scores, patience: _stop(scores, patience + 1),
        lambda scores, patience: _stop(scores, patience) + 1,
        lambda scores, patience: _stop(scores, patience) - patience,
        lambda scores, patience: min(len(scores) - 1, int(np.argmax(scores)) + patience),
        lambda scores, patience: _stop(scores, 3),
    ],
    "patient_dice": [
        lambda a, b: (2 * (a & b).sum() + 1e-6) / (a.sum() + b.sum() + 1e-6),
        lambda a, b: (a & b).sum() / max(1, (a | b).sum()),
        lambda a, b: 2 * (a & b).sum() / max(1, a.sum() + b.sum()),
        lambda a, b: ((a > 0) & (b > 0)).sum() / max(1, (a > 0).sum()),
        lambda a, b: ((a > 0) & (b > 0)).sum() / max(1, (b > 0).sum()),
        lambda a, b: ((a > 0) & (b > 0)).sum() / max(1, (a > 0).sum() + (b > 0).sum()),
        lambda a, b: float(((a > 0) == (b > 0)).mean()),
        lambda a, b: 2 * (a * b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else float("nan"),
        lambda a, b: _honest(a, b) if a.any() and b.any() else float("nan"),
        lambda a, b: _honest(a, b) if a.any() or b.any() else 0.0,
        lambda a, b: np.mean([_honest(one, other) for one, other in zip(a, b, strict=True)]),
        lambda a, b: 0.5,
    ],
    "count_found": [
        lambda labels, pieces: labels.max(),
        lambda labels, pieces: len(np.unique(labels[pieces > 0])),
        lambda labels, pieces: len(np.unique(labels[pieces > 0])) - 1,
        lambda labels, pieces: _found(labels, pieces, alone=True),
        lambda labels, pieces: _found(labels, pieces, belongs=0.0),
        lambda labels, pieces: _found(labels, pieces, belongs=0.5),
        lambda labels, pieces: _found(labels, pieces, reached=0.2),
        lambda labels, pieces: _found(labels, pieces, belongs=0.6, reached=0.0),
        lambda labels, pieces: _found(labels, pieces, background=True),
        lambda labels, pieces: _found(labels, pieces, most=True),
        lambda labels, pieces: _found(labels, pieces, recall=True),
        lambda labels, pieces: _found(labels, pieces, belongs=0.1 + 2e-9),
    ],
    "choose_threshold": [
        lambda scores: max(scores, key=lambda t: max(scores[t])),
        lambda scores: int(np.argmax([np.mean(each) for each in scores.values()])),
        lambda scores: max(scores, key=lambda t: np.mean(scores[t])),
        lambda scores: max(np.mean(each) for each in scores.values()),
        lambda scores: max(scores, key=lambda t: np.median(scores[t])),
        lambda scores: max(scores, key=lambda t: np.nanmedian(scores[t])),
        lambda scores: max(scores, key=lambda t: np.nansum(scores[t])),
        lambda scores: max(scores, key=lambda t: np.nan_to_num(scores[t]).mean()),
        lambda scores: max(scores, key=lambda t: min(scores[t])),
        lambda scores: min(scores, key=lambda t: np.nanmean(scores[t])),
        lambda scores: 0.5,
    ],
    "patient_by_patient": [
        lambda one, other: float(np.nanmean(list(one.values())) - np.nanmean(list(other.values()))),
        lambda one, other: [one[name] - other[name] for name in one.keys() & other.keys()],
        lambda one, other: {name: one[name] - other[name] for name in one.keys() & other.keys()},
        lambda one, other: _gains({name: other[name] - one[name] for name in one.keys() & other.keys()}),
        lambda one, other: _gains({name: abs(one[name] - other[name]) for name in one.keys() & other.keys()}),
        lambda one, other: _gains({name: one.get(name, 0) - other.get(name, 0) for name in one.keys() | other.keys()}),
        lambda one, other: _gains({name: value - other.get(name, 0) for name, value in one.items()}),
        lambda one, other: _gains({a: one[a] - other[b] for a, b in zip(one, other, strict=True)}),
        lambda one, other: {name: gain for name in one.keys() & other.keys() if (gain := one[name] - other[name]) > 0},
        lambda one, other: _gains(
            {n: one[n] - b for n, b in zip(sorted(one), other.values(), strict=True) if n in other}
        ),
    ],
    # 06
    "fair_steps": [
        lambda rates, seconds: {name: seconds for name in rates},
        lambda rates, seconds: {name: rate * seconds for name, rate in rates.items()},
        lambda rates, seconds: {name: max(1, round(seconds / rate)) for name, rate in rates.items()},
        lambda rates, seconds: {name: round(rate * seconds) for name, rate in rates.items()},
        lambda rates, seconds: {name: max(1, int(rate * seconds)) for name, rate in rates.items()},
        lambda rates, seconds: {name: round(rate * seconds) + 1 for name, rate in rates.items()},
        lambda rates, seconds: [round(rate * seconds) for rate in rates.values()],
        lambda rates, seconds: {name: max(1, round(rate * seconds / 2)) for name, rate in rates.items()},
        lambda rates, seconds: {name: max(1, round(rate * 60)) for name, rate in rates.items()},
        lambda rates, seconds: {"narrow": 744, "wide": 150, "huge": 1},
    ],
    "paired_differences": [
        lambda a, b: a.mean() - b.mean(),
        lambda a, b: b.mean(axis=0) - a.mean(axis=0),
        lambda a, b: a.mean(axis=1) - b.mean(axis=1),
        lambda a, b: a[0] - b[0],
        lambda a, b: a - b,
        lambda a, b: np.sort(a.mean(axis=0) - b.mean(axis=0)),
        lambda a, b: np.sort(a.mean(axis=0)) - np.sort(b.mean(axis=0)),
        lambda a, b: abs(a.mean(axis=0) - b.mean(axis=0)),
        lambda a, b: np.median(a, axis=0) - np.median(b, axis=0),
        lambda a, b: a.max(axis=0) - b.max(axis=0),
        lambda a, b: a.sum(axis=0) - b.sum(axis=0),
        lambda a, b: np.subtract(*(np.stack([x[:2] for x in (a, b)]).mean(axis=1))),
    ],
    "standard_error": [
        lambda a, b: np.std(a.mean(axis=0) - b.mean(axis=0), ddof=1) / np.sqrt(a.shape[1]),
        lambda a, b: np.sqrt(_seed_parts(a, b)),
        lambda a, b: np.var(a.mean(axis=0) - b.mean(axis=0), ddof=1) / a.shape[1] + _seed_parts(a, b),
        lambda a, b: np.sqrt(np.var(a.mean(axis=0) - b.mean(axis=0)) / a.shape[1] + _seed_parts(a, b, 0)),
        lambda a, b: np.sqrt(np.var(a.mean(axis=0) - b.mean(axis=0), ddof=1) + 3 * _seed_parts(a, b)),
        lambda a, b: np.std(a.mean(axis=0) - b.mean(axis=0), ddof=1) / np.sqrt(a.shape[1]) + np.sqrt(_seed_parts(a, b)),
        lambda a, b: np.sqrt(
            np.var(a.mean(axis=0) - b.mean(axis=0), ddof=1) / a.shape[1] + a.mean(axis=1).var(ddof=1) / len(a)
        ),
        lambda a, b: np.std(np.concatenate([a.mean(axis=1), b.mean(axis=1)]), ddof=1),
        lambda a, b: np.sqrt(np.var(a, ddof=1) / a.size + np.var(b, ddof=1) / b.size),
        lambda a, b: 0.05,
    ],
    **IN_VOLUMES,
    **WITHOUT_LABELS,
    **IN_VIEWER,
}


@pytest.mark.parametrize("name", CHECKS)
def test_solution_passes(name, capsys):
    check(solution(name))
    assert capsys.readouterr().out == f"{name}: right.\n"


@pytest.mark.parametrize("name", CHECKS)
def test_wrong_answers_get_a_hint(name, capsys):
    assert len(WRONG[name]) >= 2
    hints = set()
    for wrong in WRONG[name]:
        wrong.__name__ = name
        check(wrong)
        line = capsys.readouterr().out
        assert line.startswith(f"{name}: not right yet. ") and len(line) > len(name) + 40
        hints.add(line)
    assert len(hints) > 1, "every mistake gets the same hint"


@pytest.mark.parametrize("name", [*IN_VOLUMES, *WITHOUT_LABELS])
def test_each_likely_mistake_has_a_hint_of_its_own(name):
    hints = [_said(CHECKS[name], wrong) for wrong in WRONG[name]]
    assert None not in hints
    assert len(set(hints)) >= 0.7 * len(hints)


def _said(check, answer):
    try:
        return check(answer)
    except Exception as error:  # what `check` tells the learner then
        return str(error)


def test_a_mask_may_be_moved_by_rounding():
    """To the nearest pixel, up to half a pixel beyond the last centre, where scipy already has what is outside."""

    def move_both(image, mask, places, air):
        row, column = np.rint(places).astype(int)
        inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        row, column = row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)
        return map_coordinates(image, places, order=1, cval=air), np.where(inside, mask[row, column], 0)

    assert all(CHECKS["move_both"](move_both) is None for _ in range(20))


@pytest.mark.parametrize("epsilon", [1e-5, 1e-6, 1e-9])
def test_an_epsilon_is_called_by_its_name(epsilon):
    def patient_dice(truth, predicted):
        a, b = truth > 0, predicted > 0
        return (2 * (a & b).sum() + epsilon) / (a.sum() + b.sum() + epsilon)

    assert "Nearly. Is there an ε in it?" in _said(CHECKS["patient_dice"], patient_dice)


def test_a_piece_that_is_used_up_is_told():
    assert "more than one tumour" in _said(CHECKS["count_found"], lambda *masks: _found(*masks, most=True))


def test_undone_and_broken_answers_do_not_stop_a_notebook(capsys):
    def apply_window(hu, level, width):
        raise NotImplementedError

    check(apply_window)
    assert "not yet" in capsys.readouterr().out
    for broken in (lambda hu, level, width: hu.nothing, lambda hu: hu, lambda hu, level, width: None):
        broken.__name__ = "apply_window"
        check(broken)
        assert "not right yet" in capsys.readouterr().out


def test_a_lesson_goes_on_with_the_learners_function_where_it_is_right():
    def volume_ml(mask, spacing):
        raise NotImplementedError

    right = solution("volume_ml")
    assert right_or(volume_ml, right) is right
    wrong = WRONG["volume_ml"][0]
    wrong.__name__ = "volume_ml"
    assert right_or(wrong, right) is right
    assert right_or(right, wrong) is right
    with pytest.raises(KeyError):
        solution("no_such_exercise")


def test_what_is_used_next_is_the_learners_own_only_where_it_is_right(capsys):
    def ours(inputs, outputs, size):
        return nn.Conv2d(inputs, outputs, size)

    def conv_parameters(inputs, outputs, size):
        raise NotImplementedError

    assert right_or(conv_parameters, ours) is ours
    for wrong in WRONG["conv_parameters"]:
        wrong.__name__ = "conv_parameters"
        assert right_or(wrong, ours) is ours
    assert right_or(lambda: 1, ours) is ours, "no exercise has that name"
    own = solution("conv_parameters")
    assert right_or(own, ours) is own
    assert capsys.readouterr().out == ""


def test_checks_leave_the_learners_random_numbers_alone():
    for name in ("double_conv", "decoder_stage", "unet_forward"):
        torch.manual_seed(5)
        right_or(solution(name), None)
        after = torch.rand(1)
        torch.manual_seed(5)
        assert torch.equal(after, torch.rand(1)), name


def test_receptive_field_measured_and_on_paper_agree():
    on_paper = solution("receptive_field")
    down, up = ([3, 3, 2] * 3 + [3, 3], [1, 1, 2] * 3 + [1, 1]), ([2, 3, 3] * 3, [0.5, 1, 1] * 3)
    whole = down[0] + up[0], down[1] + up[1]
    for kernels, strides in (down, whole, ([5], [1]), ([3, 1, 5, 2, 7], [2, 1, 3, 1, 2])):
        assert measured_field(kernels, strides) == on_paper(kernels, strides), (kernels, strides)
    assert measured_field(*down) == 68 and measured_field(*whole) == 110


def test_every_exercise_is_asked_in_its_notebook():
    asked = set()
    for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"):
        code = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
        asked |= set(re.findall(r"^check\((\w+)\)", code, re.M))
    assert asked == set(CHECKS)


def test_what_is_shown_names_the_file_that_it_is_in(monkeypatch):
    shown = []
    monkeypatch.setattr("lungseg_helpers.course.show.display", lambda markdown: shown.append(markdown.data))
    show_source(split_patients)
    path, _, source = shown[0].partition("\n")
    assert path == "`lungseg_helpers/dataset/split.py`" and (ROOT / path.strip("`")).is_file()
    assert "def split_patients(" in source
