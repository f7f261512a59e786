"""Where in a scan there is something to see: the body, the fullest slice, the cross-section to look at closely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..scans.lungs import BODY_SHARE, COARSE_MM, body_box
from ..scans.masks import mask_box
from ..scans.view import View

FRAME_SHARE = 0.15
"""A film begins and ends with a slice that holds so much of the body, as a part of what the fullest one holds."""

NEAR_MM = 10.0
"""The close-up is there from so far before a lesion until so far behind it: one sees it come and go."""

ROOM_AROUND = 2.2
"""A close-up is so many times as wide as the widest cross-section that it shows, to show where the lesion sits."""

CLOSE_MM = (40.0, 120.0)
"""And at least, and at most, so wide in mm: less shows no surroundings, more is hardly larger than in the slice."""


@dataclass(frozen=True)
class Track:
    """The cross-section to look at in each slice of a volume.

    ``centres`` is (slice, 2): its middle as row and column, in pixels, where pixel 0 has its middle at 0.
    In a slice without lesion it is the nearest one's, and ``away_mm`` (slice,) says how far that is. ``side_mm``
    is the side of a square that shows any of them with its surroundings; ``spacing`` is the mm of a row and a column.
    """

    centres: np.ndarray
    away_mm: np.ndarray
    side_mm: float
    spacing: tuple[float, float]

    def corner_mm(self, index: int) -> tuple[float, float]:
        """Return x and y of that square's upper left corner, in mm from the slice's own."""
        x, y = ((self.centres[index][axis] + 0.5) * self.spacing[axis] - self.side_mm / 2 for axis in (1, 0))
        return x, y

    def near(self, index: int) -> bool:
        """Whether there is a lesion to look at in or near a slice."""
        return bool(self.away_mm[index] <= NEAR_MM)


def crop_to_body(view: View, along: int) -> tuple[View, tuple[slice, slice, slice]]:
    """Return the part of a view that holds the body, and what is marked in it; and its place in the view as an index.

    ``along`` is the axis that the film will run along: there the body ends the box, and elsewhere so much is added as
    the body's box may be wrong by. Nothing is copied.
    """
    shares = tuple(FRAME_SHARE if axis == along else BODY_SHARE for axis in range(3))
    box = list(body_box(view.ct, view.spacing, shares))
    for axis, (side, mm, size) in enumerate(zip(box, view.spacing, view.ct.shape, strict=True)):
        if axis != along:
            more = int(np.ceil(COARSE_MM / mm))
            box[axis] = slice(max(0, side.start - more), min(size, side.stop + more))
    for held in (mask_box(view.masks[name]) for name in ("truth", "prediction") if name in view.masks):
        if held[0].stop:
            box = [slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(box, held, strict=True)]
    where = tuple(box)
    masks = {name: mask[where] for name, mask in view.masks.items()}
    return replace(view, ct=view.ct[where], masks=masks, z_mm=view.z_mm[where[0]]), where  # type: ignore[return-value]


def fullest(mask: np.ndarray) -> int:
    """Return the slice of a mask (slice, row, column) that holds most of it; the first for an empty mask."""
    return int(np.count_nonzero(mask, axis=(1, 2)).argmax())


def marked(*masks: np.ndarray | None) -> np.ndarray | None:
    """Return the first of some masks that marks anything at all: truth before prediction; None where none does."""
    return next((mask for mask in masks if mask is not None and mask.any()), None)


def follow(masks: Sequence[np.ndarray | None], spacing: Sequence[float]) -> Track | None:
    """Return the largest cross-section of all masks (slice, row, column) in each slice; None where nothing is marked.

    What touches, or is of two masks and overlaps, is one cross-section. ``spacing`` is (slice, row, column) in mm.
    """
    given = [mask for mask in masks if mask is not None]
    held = np.zeros(len(given[0]) if given else 0, bool)
    for mask in given:
        held |= mask.any(axis=(1, 2))
    slices = np.flatnonzero(held)
    if not len(slices):
        return None
    centres, widest = np.zeros((len(held), 2)), 0.0
    for index in slices:
        joined = np.any([mask[index] > 0 for mask in given], axis=0)
        _, _, boxes, _ = cv2.connectedComponentsWithStats(joined.view(np.uint8), connectivity=8)
        # the first is the background
        left, top, wide, high, _ = boxes[1 + boxes[1:, cv2.CC_STAT_AREA].argmax()]
        centres[index] = top + (high - 1) / 2, left + (wide - 1) / 2
        widest = max(widest, high * spacing[1], wide * spacing[2])
    every = np.arange(len(held))
    nearest = slices[np.abs(slices[:, None] - every).argmin(axis=0)]
    away_mm = np.abs(nearest - every) * spacing[0]
    side_mm = float(np.clip(ROOM_AROUND * widest, *CLOSE_MM))
    return Track(centres[nearest], away_mm, side_mm, (spacing[1], spacing[2]))
