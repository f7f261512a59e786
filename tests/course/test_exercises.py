"""Every exercise: the solution passes, plausible wrong answers get a hint, an undone stub breaks nothing."""

import importlib.util
import math
import re

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates
from torch import nn

from lungseg_helpers.course.exercises import CHECKS
from lungseg_helpers.course.show import check, show_source
from lungseg_helpers.dataset.split import split_patients
from lungseg_helpers.paths import ROOT
from lungseg_helpers.unet import DoubleConv

NOTEBOOKS = ROOT / "notebooks"


def solutions() -> dict:
    """Return all solutions by name."""
    found = {}
    for path in sorted((NOTEBOOKS / "solutions").glob("[0-9]*.py")):
        spec = importlib.util.spec_from_file_location("solution_" + path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found |= {name: thing for name, thing in vars(module).items() if name in CHECKS}
    return found


def _steps(inputs, outputs, bias=False, padding=1):
    return [nn.Conv2d(inputs, outputs, 3, padding=padding, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU()]


class Stage(nn.Module):
    """A decoder stage with a mistake."""

    def __init__(self, inputs, skips, outputs, bias=False, turned=False, mode="bilinear"):
        super().__init__()
        self.reduce = nn.Conv2d(inputs, skips, 1, bias=bias)
        self.conv = DoubleConv(2 * skips, outputs)
        self.turned, self.mode = turned, mode

    def forward(self, deep, skip):
        deep = F.interpolate(self.reduce(deep), scale_factor=2, mode=self.mode)
        return self.conv(torch.cat([deep, skip] if self.turned else [skip, deep], dim=1))


def _moved(image=lambda array: array, order=1, cval=None, turned=False, mask_order=0, mask_cval=0, mask_turned=False):
    """Return a ``move_both`` with the mistakes that are asked for."""

    def move_both(array, mask, places, air):
        maps = [places[::-1] if each else places for each in (turned, mask_turned)]
        moved = map_coordinates(image(array), maps[0], order=order, cval=air if cval is None else cval)
        return moved, map_coordinates(mask, maps[1], order=mask_order, cval=air if mask_cval is None else mask_cval)

    return move_both


WRONG = {
    "volume_ml": [
        lambda mask, spacing: np.count_nonzero(mask) * np.prod(spacing),
        lambda mask, spacing: np.count_nonzero(mask) * spacing[0] ** 3 / 1000,
        lambda mask, spacing: np.count_nonzero(mask),
        lambda mask, spacing: mask.sum() * np.prod(spacing) / 1000,
        lambda mask, spacing: np.count_nonzero(mask) * sum(spacing) / 1000,
    ],
    "apply_window": [
        lambda hu, level, width: (hu - (level - width / 2)) / width,
        lambda hu, level, width: np.clip((hu - level + width) / (2 * width), 0, 1),
        lambda hu, level, width: np.clip((hu + 1350) / 1500, 0, 1),
    ],
    "slices_for": [
        lambda mm, slice_mm: round(mm * slice_mm),
        lambda mm, slice_mm: mm / slice_mm,
        lambda mm, slice_mm: 30,
    ],
    "clipped_share": [
        lambda hu, low, high: np.mean(hu > high),
        lambda hu, low, high: np.mean((hu >= low) & (hu <= high)),
        lambda hu, low, high: 100 * np.mean((hu < low) | (hu > high)),
        lambda hu, low, high: np.mean((hu <= low) | (hu >= high)),
        lambda hu, low, high: (hu < low) | (hu > high),
    ],
    "leaking_patients": [
        lambda train, test: sorted(set(train) & set(test)),
        lambda train, test: {name.split("/")[0] for name in train} & {name.split("/")[0] for name in test},
        lambda train, test: sorted({name.split("/")[0] for name in [*train, *test]}),
        lambda train, test: sorted(a.split("/")[0] for a in train if any(a[:8] == b[:8] for b in test)),
        lambda train, test: sorted(name for name in train if name[:8] in {each[:8] for each in test}),
        lambda train, test: list({name.split("/")[0]: 0 for name in test if any(name[:3] == a[:3] for a in train)}),
        lambda train, test: [],
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
    ],
    "double_conv": [
        lambda inputs, outputs: nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs, True), *_steps(outputs, outputs, True)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs, padding=0), *_steps(outputs, outputs)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, inputs), *_steps(inputs, outputs)),
        lambda inputs, outputs: nn.Sequential(*_steps(inputs, outputs), *_steps(outputs, outputs)[:2]),
        lambda inputs, outputs: nn.Sequential(*(_steps(inputs, outputs) + _steps(outputs, outputs))[::2]),
        lambda inputs, outputs: [*_steps(inputs, outputs), *_steps(outputs, outputs)],
    ],
    "decoder_stage": [
        lambda inputs, skips, outputs: None,
        lambda inputs, skips, outputs: Stage(inputs, skips, outputs, bias=True),
        lambda inputs, skips, outputs: Stage(inputs, skips, outputs, turned=True),
        lambda inputs, skips, outputs: Stage(inputs, skips, outputs, mode="nearest"),
        lambda inputs, skips, outputs: DoubleConv(inputs + skips, outputs),
    ],
    "same_cut": [
        lambda probability: 1 / (1 + math.exp(-probability)),
        lambda probability: probability,
        lambda probability: math.log((1 - probability) / probability),
        lambda probability: 0.5,
    ],
    "soft_dice": [
        lambda probability, target: (probability * target).sum() / (probability.sum() + target.sum()),
        lambda probability, target: 1 - 2 * (probability * target).sum() / (probability.sum() + target.sum()),
        lambda probability, target: 2 * ((p := probability > 0.5) * target).sum() / (p.sum() + target.sum()),
    ],
    "steepest_rate": [
        lambda rates, losses: rates[losses.argmin()],
        lambda rates, losses: rates[np.abs(np.diff(losses)).argmax() + 1],
        lambda rates, losses: np.diff(losses).argmin(),
        lambda rates, losses: np.diff(losses),
        lambda rates, losses: 1e-3 if len(rates) == 6 else 1.0,
    ],
    "stop_epoch": [
        lambda scores, patience: int(np.argmax(scores)),
        lambda scores, patience: len(scores) - 1,
        lambda scores, patience: next((i for i in range(1, len(scores)) if scores[i] < scores[i - 1]), len(scores) - 1),
        lambda scores, patience: min(len(scores) - 1, int(np.argmax(scores[:5])) + patience - 1),
    ],
    "patient_dice": [
        lambda a, b: (2 * (a & b).sum() + 1e-6) / (a.sum() + b.sum() + 1e-6),
        lambda a, b: (a & b).sum() / max(1, (a | b).sum()),
        lambda a, b: 2 * (a & b).sum() / max(1, a.sum() + b.sum()),
    ],
    "count_found": [
        lambda labels, predicted: labels.max(),
        lambda labels, predicted: len(np.unique(labels[predicted > 0])),
        lambda labels, predicted: ((labels > 0) & (predicted > 0)).sum(),
        lambda labels, predicted: len(np.unique(labels[predicted == 1])) - 1,
    ],
    "choose_threshold": [
        lambda scores: max(scores, key=lambda t: max(scores[t])),
        lambda scores: int(np.argmax([np.mean(each) for each in scores.values()])),
        lambda scores: max(scores, key=lambda t: np.mean(scores[t])),
        lambda scores: max(np.mean(each) for each in scores.values()),
        lambda scores: max(scores, key=lambda t: np.median(scores[t])),
    ],
    "fair_steps": [
        lambda rates, seconds: {name: seconds for name in rates},
        lambda rates, seconds: {name: rate * seconds for name, rate in rates.items()},
        lambda rates, seconds: {name: max(1, round(seconds / rate)) for name, rate in rates.items()},
        lambda rates, seconds: {name: round(rate * seconds) for name, rate in rates.items()},
        lambda rates, seconds: [round(rate * seconds) for rate in rates.values()],
        lambda rates, seconds: {name: max(1, round(rate * seconds / 2)) for name, rate in rates.items()},
    ],
    "larger_than_luck": [
        lambda a, b: np.mean(a) != np.mean(b),
        lambda a, b: np.mean(a) - np.mean(b) > max(np.std(a, ddof=1), np.std(b, ddof=1)),
        lambda a, b: abs(np.mean(a) - np.mean(b)) > np.std(a, ddof=1),
        lambda a, b: abs(np.mean(a) - np.mean(b)) > max(np.std(a), np.std(b)),
        lambda a, b: False,
    ],
}


@pytest.mark.parametrize("name", CHECKS)
def test_solution_passes(name, capsys):
    check(solutions()[name])
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


def test_undone_and_broken_answers_do_not_stop_a_notebook(capsys):
    def apply_window(hu, level, width):
        raise NotImplementedError

    check(apply_window)
    assert "not yet" in capsys.readouterr().out
    for broken in (lambda hu, level, width: hu.nothing, lambda hu: hu, lambda hu, level, width: None):
        broken.__name__ = "apply_window"
        check(broken)
        assert "not right yet" in capsys.readouterr().out


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
