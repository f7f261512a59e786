"""Finding the lungs by their air: the part of preprocessing that looks at the picture.

The method is a classic of chest CT (Hu, Hoffman and Reinhardt, IEEE TMI 20:490, 2001, in
outline): lung is the air inside the body. Body is told from air by a threshold; air that
reaches the edge of a slice is the room; what is left and large enough is lung.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .errors import ScanError

LUNG_HU = -400
"""Below this a voxel is mostly air: half-way between lung tissue (about -800) and muscle (about 0)."""

COARSE_MM = 3.0
"""Lungs are searched on a grid of about this spacing: their box needs no finer one."""

MIN_LUNG_ML = 150.0
"""A smaller air pocket is a trachea or bowel gas, not a lung."""

WINDPIPE_MM = 27.0
"""Air in a slice that holds no square of this side is a windpipe, at most 25 mm wide and 27 mm deep
(Breatnach, Abbott and Fraser, AJR 142:903, 1984). It runs on above the lungs, and must not draw the
box up to the chin."""

APEX_MM = 6.0
"""So far above the last wide slice air still counts: a tumour that fills an apex leaves it narrow."""


def lung_mask(ct: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Return a bool array of ``ct``'s shape: the air inside the body, lungs and large airways.

    ``ct`` is (slice, row, column) in HU; ``spacing`` its mm per step. The mask is blocky at
    :data:`COARSE_MM`, which is enough for a box, a margin or a search region. All False where
    no pocket of at least :data:`MIN_LUNG_ML` is found.
    """
    steps = tuple(max(1, round(COARSE_MM / step)) for step in spacing)
    coarse = _coarse_lungs(ct[:: steps[0], :: steps[1], :: steps[2]], np.multiply(spacing, steps))
    full = coarse.repeat(steps[0], 0).repeat(steps[1], 1).repeat(steps[2], 2)
    return full[: ct.shape[0], : ct.shape[1], : ct.shape[2]]


def lung_box(
    ct: np.ndarray, spacing: tuple[float, float, float], margin_mm: float, name: str = "scan"
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return the lungs' bounding box with a margin, as ((first, past the last), …) for slice, row, column.

    Raises :class:`ScanError` naming the scan where no lung is found.
    """
    steps = tuple(max(1, round(COARSE_MM / step)) for step in spacing)
    lungs = _coarse_lungs(ct[:: steps[0], :: steps[1], :: steps[2]], np.multiply(spacing, steps))
    if not lungs.any():
        raise ScanError(
            f"{name}: no lung found (no pocket of air of {MIN_LUNG_ML:.0f} mL inside the body); "
            "is this a chest CT in HU?"
        )
    _cut_windpipe(lungs, np.multiply(spacing, steps))
    box = []
    for axis, (step, mm, size) in enumerate(zip(steps, spacing, ct.shape, strict=True)):
        found = np.flatnonzero(lungs.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = margin_mm / mm
        first = max(0, int(np.floor(found[0] * step - margin)))
        last = min(size, int(np.ceil((found[-1] + 1) * step + margin)))
        box.append((first, last))
    return tuple(box)  # type: ignore[return-value]


def _cut_windpipe(lungs: np.ndarray, spacing: np.ndarray) -> None:
    """Take the air above the lungs' apexes out of the mask (slice, row, column), in place."""
    square = [int(np.ceil(WINDPIPE_MM / mm)) for mm in spacing[1:]]
    wide = np.flatnonzero(ndimage.minimum_filter(lungs, (1, *square)).any(axis=(1, 2)))
    if len(wide):
        lungs[wide[-1] + 1 + round(APEX_MM / spacing[0]) :] = False


def _coarse_lungs(ct: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    air = ct < LUNG_HU
    # the table and clothes are thin: without this they would fence off room air as if it were inside a body
    body = ndimage.binary_opening(~air, structure=np.ones((1, 3, 3)))
    labels, count = ndimage.label(body)
    if not count:
        return np.zeros(ct.shape, bool)
    body = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    inside = np.stack([ndimage.binary_fill_holes(plane) for plane in body]) & air
    labels, count = ndimage.label(inside)
    voxel_ml = float(np.prod(spacing)) / 1000
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml
    keep = sizes >= MIN_LUNG_ML
    keep[0] = False
    return keep[labels]
