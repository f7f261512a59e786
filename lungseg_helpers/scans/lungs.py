"""Finding the lungs by their air: the part of preprocessing that looks at the picture.

The method is a classic of chest CT (Hu, Hoffman and Reinhardt, IEEE TMI 20:490, 2001, in
outline): lung is the air inside the body. Body is told from air by a threshold; air that
reaches the edge of a slice is the room; what is left and large enough is lung.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from ..errors import ScanError
from ..hounsfield import AIR_HU
from .masks import IN_PLANE, fill_holes

LUNG_HU = -400
"""Below this a voxel is mostly air: half-way between lung tissue (about -800) and muscle (about 0)."""

ROOM_HU = -940
"""Air of a lower mean is the room's (-1000), of a higher one is a lung that a narrow field of view has cut open."""

COARSE_MM = 4.0
"""Lungs are searched on a grid of about this spacing: their box needs no finer one."""

MIN_LUNG_ML = 150.0
"""A smaller air pocket is a trachea or bowel gas, not a lung."""

WINDPIPE_MM = 27.0
"""Air in a slice that holds no square of this side is a windpipe, at most 25 mm wide and 27 mm deep
(Breatnach, Abbott and Fraser, AJR 142:903, 1984). It runs on above the lungs, and must not draw the
box up to the chin."""

APEX_MM = 6.0
"""So far above the last wide slice air still counts: a tumour that fills an apex leaves it narrow."""

BODY_SHARE = 0.05
"""A plane with less of the body than this share of the fullest one's shows a fold of skin, or what lies at it."""

BODY_MM = 100.0
"""What is dense and smaller than this in any plane is no chest, but a block cut out of one, or a toy."""


def find_lungs(ct: np.ndarray, spacing: tuple[float, float, float], coarse_mm: float = COARSE_MM) -> np.ndarray:
    """Return the air inside the body, lungs and large airways, as bool on a grid of about ``coarse_mm``.

    ``ct`` is (slice, row, column) in HU; ``spacing`` its mm per step. All False where no
    pocket of at least :data:`MIN_LUNG_ML` is found.
    """
    steps = coarse_steps(spacing, coarse_mm)
    air = ct[:: steps[0], :: steps[1], :: steps[2]] < LUNG_HU
    filled = fill_holes(_body(air))
    inside = air & (filled | _cut_open(ct[:: steps[0], :: steps[1], :: steps[2]], air & ~filled))
    labels, count = ndimage.label(inside)
    sizes = np.bincount(labels[inside], minlength=count + 1)
    return (sizes * np.prod(np.multiply(spacing, steps)) / 1000 >= MIN_LUNG_ML)[labels]


def body_box(
    ct: np.ndarray,
    spacing: tuple[float, float, float],
    shares: tuple[float, float, float] = (BODY_SHARE, BODY_SHARE, BODY_SHARE),
) -> tuple[slice, slice, slice]:
    """Return the box of the body, without table and room, as an index (slice, row, column) of ``ct`` in HU.

    ``spacing`` is in mm in that order. A plane across one of these directions belongs to the box if it holds at least
    so much of the body as ``shares`` says, as a part of what the fullest plane of that direction holds. Planes are
    looked at about every :data:`COARSE_MM`, and the first and last that are seen to belong to it are its ends. Where
    no body of :data:`BODY_MM` in both directions of a slice is found, it is the whole scan.
    """
    steps = coarse_steps(spacing)
    body = _body(ct[:: steps[0], :: steps[1], :: steps[2]] < LUNG_HU)
    box = []
    for axis, (step, size) in enumerate(zip(steps, ct.shape, strict=True)):
        areas = np.count_nonzero(body, axis=tuple(other for other in range(3) if other != axis))
        held = np.flatnonzero((areas > 0) & (areas >= shares[axis] * areas.max()))
        first, last = (int(held[0]), int(held[-1])) if len(held) else (0, len(areas) - 1)
        # a body that goes on beyond the scan goes on to its last plane
        box.append(slice(first * step, size if last == len(areas) - 1 else last * step + 1))
    wide = [(side.stop - side.start) * mm >= BODY_MM for side, mm in zip(box[1:], spacing[1:], strict=True)]
    return tuple(box) if all(wide) else tuple(slice(0, size) for size in ct.shape)  # type: ignore[return-value]


def coarse_steps(spacing: tuple[float, float, float], coarse_mm: float = COARSE_MM) -> tuple[int, int, int]:
    """Return every how many-th voxel along each axis :func:`find_lungs` looks at."""
    return tuple(max(1, round(coarse_mm / mm)) for mm in spacing)  # type: ignore[return-value]


def lung_mask(ct: np.ndarray, spacing: tuple[float, float, float], coarse_mm: float = COARSE_MM) -> np.ndarray:
    """Return :func:`find_lungs` at the size of ``ct``: bool (slice, row, column), blocky.

    That is enough for a box, a margin or a search region.
    """
    full = find_lungs(ct, spacing, coarse_mm)
    for axis, step in enumerate(coarse_steps(spacing, coarse_mm)):
        full = full.repeat(step, axis)
    return full[: ct.shape[0], : ct.shape[1], : ct.shape[2]]


def lung_box(
    ct: np.ndarray,
    spacing: tuple[float, float, float],
    margin_mm: float,
    name: str = "scan",
    lungs: np.ndarray | None = None,
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return the lungs' bounding box with a margin, as ((first, past the last), …) for slice, row, column.

    ``lungs`` spares a second search where the caller has :func:`find_lungs` of this scan.
    Raises :class:`ScanError` naming the scan where no lung is found.
    """
    lungs = find_lungs(ct, spacing) if lungs is None else lungs
    if not lungs.any():
        raise ScanError(
            f"{name}: no lung found (no pocket of air of {MIN_LUNG_ML:.0f} mL inside the body); "
            "is this a chest CT in HU?"
        )
    steps = coarse_steps(spacing)
    lungs = without_windpipe(lungs, np.multiply(spacing, steps))
    box = []
    for axis, (step, mm, size) in enumerate(zip(steps, spacing, ct.shape, strict=True)):
        held = np.flatnonzero(lungs.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = margin_mm / mm
        first = max(0, int(np.floor(held[0] * step - margin)))
        last = min(size, int(np.ceil((held[-1] + 1) * step + margin)))
        box.append((first, last))
    return tuple(box)  # type: ignore[return-value]


def without_windpipe(lungs: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the mask (slice, row, column) up to the lungs' apexes: without the windpipe's air above them."""
    square = np.ones([int(np.ceil(WINDPIPE_MM / mm)) for mm in spacing[1:]], np.uint8)
    wide = [index for index, plane in enumerate(lungs.view(np.uint8)) if cv2.erode(plane, square).any()]
    return lungs[: wide[-1] + 1 + round(APEX_MM / spacing[0])] if len(wide) else lungs


def _body(air: np.ndarray) -> np.ndarray:
    """Return the body: the largest part (slice, row, column) that is no ``air``.

    The table and clothes are thin: if they were not opened, they would belong to it, and fence off room air.
    """
    return _largest(_opened(~air))


def _cut_open(ct: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the parts of the air ``outside`` the body, in each plane, that are as dense as lung; (slice, row, column).

    Where the field of view is narrower than the chest, a lung reaches the left or right edge of the slice, as
    the room's air does. What reaches the front or the back edge is a blanket or the table's padding.
    """
    labels, count = ndimage.label(outside, IN_PLANE)
    lung = np.ones(count + 1, bool)
    lung[0] = False
    lung[np.unique(labels[:, [0, -1]])] = False
    if lung.any():
        parts = np.flatnonzero(lung)
        lung[parts] = ndimage.mean(np.maximum(ct, AIR_HU), labels, parts) > ROOM_HU
    return lung[labels]


def _opened(planes: np.ndarray) -> np.ndarray:
    """Open each plane by 3 × 3 pixels, as SciPy's ``binary_opening`` does, ten times as fast."""
    square = np.ones((3, 3), np.uint8)
    how = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    return np.stack([cv2.morphologyEx(plane, cv2.MORPH_OPEN, square, **how) for plane in planes.view(np.uint8)]) > 0


def _largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a mask (slice, row, column); all False for an empty one."""
    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels[mask])[1:]) if count else mask
