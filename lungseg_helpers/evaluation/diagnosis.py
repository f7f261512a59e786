"""What went wrong in a patient, in words: lesions missed or badly outlined, and what was taken for one.

Rules of thumb on volume, density, shape and surroundings, to start a look at the picture with.
They describe; they explain nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..scans.masks import mask_box
from ..scans.view import View
from .lesions import match
from .metrics import dice

FAINT_HU = -300
"""A lesion of a lower median is ground glass for the most part: half-way between lung and soft tissue, rounded."""

SMALL_ML = 1.0
RING_MM = (1.0, 4.0)
"""Surroundings are looked at from here to here outside a lesion, beyond its blurred edge."""

ATTACHED, TOUCHING_VESSEL = 0.2, 0.05
"""Shares of dense tissue in the surroundings from which on a lesion sits on a wall, or on a vessel."""

LONG = 3.0
"""A component so many times longer than wide is a tube or a sheet, not a ball."""

WELL_OUTLINED = 0.7


@dataclass(frozen=True)
class Finding:
    """One lesion that was missed or badly outlined, or one false component.

    ``kind`` is ``missed``, ``outline`` or ``false``; ``ml`` and ``hu`` (median) are of the lesion or
    component itself; ``slice`` is its fullest slice in the view; ``words`` is for the reader.
    """

    kind: str
    ml: float
    hu: float
    slice: int
    words: str


def diagnose(view: View) -> list[Finding]:
    """Return what is wrong with ``view.masks["prediction"]`` beside ``view.masks["truth"]``, the worst first.

    Missed lesions come first, then bad outlines, then false components; the larger before the smaller.
    """
    truth, predicted = view.masks["truth"] > 0, view.masks["prediction"] > 0
    voxel_ml = float(np.prod(view.spacing)) / 1000
    matched = match(truth, predicted)
    findings: list[Finding] = []
    for number in range(1, len(matched.found)):
        lesion, drawn = matched.lesions == number, matched.drawn(number)
        here = _Place(view, lesion, voxel_ml)
        if not matched.found[number]:
            touched = f" (touched, IoU {matched.iou[number]:.2f})" if predicted[lesion].any() else ""
            findings.append(here.finding("missed", f"missed{touched}: {here.described()}"))
        elif (overlap := dice(lesion, drawn)) < WELL_OUTLINED:
            ratio = drawn.sum() / lesion.sum()
            how = "too small" if ratio < 0.75 else "too large" if ratio > 1.33 else "beside the truth"
            words = f"drawn {how} ({drawn.sum() * voxel_ml:.1f} mL, Dice {overlap:.2f}): {here.described()}"
            findings.append(here.finding("outline", words))
    for number in np.flatnonzero(matched.false):
        here = _Place(view, matched.components == number, voxel_ml)
        findings.append(here.finding("false", f"false: {here.likened()}"))
    return sorted(findings, key=lambda finding: (("missed", "outline", "false").index(finding.kind), -finding.ml))


class _Place:
    """A component and its surroundings, cut out of the view."""

    def __init__(self, view: View, component: np.ndarray, voxel_ml: float) -> None:
        reach = [int(np.ceil(RING_MM[1] / step)) + 1 for step in view.spacing]
        box = tuple(
            slice(max(0, side.start - more), side.stop + more)
            for side, more in zip(mask_box(component), reach, strict=True)
        )
        inside, ct = component[box], view.ct[box]
        away = ndimage.distance_transform_edt(~inside, sampling=view.spacing)
        ring = (away > RING_MM[0]) & (away <= RING_MM[1])
        self.ml = float(inside.sum()) * voxel_ml
        self.hu = float(np.median(ct[inside]))
        self.dense = float((ct[ring] > FAINT_HU).mean()) if ring.any() else 0.0
        self.slice = box[0].start + int(inside.sum(axis=(1, 2)).argmax())
        self.length = _elongation(np.argwhere(inside) * view.spacing)

    def finding(self, kind: str, words: str) -> Finding:
        return Finding(kind, self.ml, self.hu, self.slice, words)

    def described(self) -> str:
        """A true lesion: how large, how dense, and on what it sits."""
        size = f"{'small, ' if self.ml < SMALL_ML else ''}{self.ml:.1f} mL"
        density = f"faint ({self.hu:.0f} HU)" if self.hu < FAINT_HU else "solid"
        if self.hu < FAINT_HU or self.dense < TOUCHING_VESSEL:
            return f"{size}, {density}, free in the lung" if self.dense < TOUCHING_VESSEL else f"{size}, {density}"
        return f"{size}, {density}, {'attached to a wall' if self.dense >= ATTACHED else 'at a vessel or a wall'}"

    def likened(self) -> str:
        """A false component: what it may be."""
        if self.hu < FAINT_HU:
            what = "haze, such as crowded or inflamed lung"
        elif self.length > LONG:
            what = "long, such as a vessel or a scar"
        elif self.dense >= ATTACHED:
            what = "at a wall or the hilum, such as a bulge or a node"
        else:
            what = "round, such as a vessel across the slice or a small nodule"
        return f"{self.ml:.1f} mL, {what}"


def _elongation(points: Sequence[Sequence[float]]) -> float:
    """Return length over middle width of a cloud of points (n, 3) in mm, from its principal axes."""
    points = np.asarray(points, float)
    if len(points) < 4:
        return 1.0
    variances = np.linalg.eigvalsh(np.cov(points.T))
    return float(np.sqrt(variances[2] / max(variances[1], 1e-6)))
