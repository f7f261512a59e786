"""Where in a scan there is something to see: the body, the fullest slice, the cross-section to look at closely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..scans.lungs import body_box
from ..scans.masks import mask_box
from ..scans.view import View

BODY_MARGIN_MM = 4.0
"""Air that is kept around the body: the box is no finer."""

ROOM_AROUND = 1.8
"""A close-up is so many times as wide as the widest cross-section that it shows, to show where the lesion sits."""

CLOSE_MM = (40.0, 120.0)
"""And at least, and at most, so wide in mm: less shows no surroundings, more is hardly larger than in the slice."""


@dataclass(frozen=True)
class Track:
    """The cross-section to look at in each slice of a volume.

    ``centres`` is (slice, 2): its middle as row and column, in pixels, where pixel 0 has its middle at 0.
    ``areas`` is its size in pixels, 0 in a slice without lesion: there the middle is the nearest lesion's.
    ``side_mm`` is the side of a square that shows any of them with its surroundings.
    """

    centres: np.ndarray
    areas: np.ndarray
    side_mm: float


def crop_to_body(view: View) -> tuple[View, tuple[slice, slice, slice]]:
    """Return the part of a view that holds the body and what is marked as truth and prediction, and its place in the view as an index.

    Nothing is copied.
    """
    box = list(body_box(view.ct, view.spacing, BODY_MARGIN_MM))
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

    What touches, or is of two masks and overlaps, is one cross-section. ``spacing`` is the mm between rows and columns.
    """
    given = [mask for mask in masks if mask is not None]
    held = np.zeros(len(given[0]) if given else 0, bool)
    for mask in given:
        held |= mask.any(axis=(1, 2))
    slices = np.flatnonzero(held)
    if not len(slices):
        return None
    centres, areas, widest = np.zeros((len(held), 2)), np.zeros(len(held), int), 0.0
    for index in slices:
        joined = np.any([mask[index] > 0 for mask in given], axis=0)
        _, _, boxes, _ = cv2.connectedComponentsWithStats(joined.view(np.uint8), connectivity=8)
        # the first is the background
        left, top, wide, high, area = boxes[1 + boxes[1:, cv2.CC_STAT_AREA].argmax()]
        centres[index], areas[index] = (top + (high - 1) / 2, left + (wide - 1) / 2), area
        widest = max(widest, high * spacing[0], wide * spacing[1])
    nearest = slices[np.abs(slices[:, None] - np.arange(len(held))).argmin(axis=0)]
    return Track(centres[nearest], areas, float(np.clip(ROOM_AROUND * widest, *CLOSE_MM)))
