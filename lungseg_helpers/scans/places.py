"""Where in the chest something lies: on which side, in which third of the lungs' height, and how much lung is around.

It goes by the air in the lungs, on the coarse grid in which they are found. Lobes are not told apart: that would
take the fissures between them, which few scans show.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from .lungs import LUNG_HU, WINDPIPE_MM, coarse_steps, find_lungs, without_windpipe
from .masks import IN_PLANE, mask_box

ZONES = ("lower zone", "middle zone", "upper zone")

LEAST_SHARE = 0.1
"""A pocket of air smaller than this share of the largest is bowel gas: the smaller lung has nearly half of the air."""

MEDIASTINUM_MM = 80.0
"""A mediastinum that is wider on a chest film counts as widened; what lies further out belongs to a side."""

NEAR_MM = 4.0
"""Lung is at a surface where its air begins within this distance: the edge between is blurred by a voxel or two."""


@dataclass(frozen=True)
class Chest:
    """The lungs of one scan, as far as places need them.

    ``lungs`` is bool (slice, row, column) on every ``steps``-th voxel, grown by one: air that lies there is lung or
    airway, and not the room. ``midline`` is the column between right and left, ``lowest`` and ``highest`` are the
    slices between which the lungs lie, all in the scan's own voxels; ``spacing`` is their mm.
    """

    lungs: np.ndarray
    steps: tuple[int, int, int]
    spacing: tuple[float, float, float]
    midline: float
    lowest: float
    highest: float

    def side(self, column: float, lung_share: float) -> str:
        """Return ``right`` or ``left``, the patient's, of a component's centre; or ``middle``, of the mediastinum.

        ``middle`` is what lies no further from the midline than the mediastinum reaches, with less than half of
        its surface at lung (:meth:`lung_share`).
        """
        away = (column - self.midline) * self.spacing[2]
        if abs(away) <= MEDIASTINUM_MM / 2 and lung_share < 0.5:
            return "middle"
        return "right" if away < 0 else "left"

    def zone(self, slice_: float) -> str:
        """Return in which third of the lungs' height a slice lies; below and above the lungs the nearest.

        Of a scan that ends within the lungs it is the height that the scan holds.
        """
        third = int(np.floor(3 * (slice_ - self.lowest) / (self.highest - self.lowest)))
        return ZONES[min(max(third, 0), 2)]

    def lung_share(self, ct: np.ndarray, voxels: np.ndarray) -> float:
        """Return the share of a component's surface at which lung begins: 1 free in the lung, 0 away from it.

        ``ct`` is (slice, row, column) of the whole scan in HU, ``voxels`` (n, 3) are the component's indices there.
        What lies at the chest wall, the mediastinum or a large vessel has less than 1.
        """
        # at least to the next voxel, along axes whose voxels are longer
        reach = np.maximum(NEAR_MM, self.spacing)
        margins = np.ceil(reach / self.spacing).astype(int) + 1
        ends = zip(voxels.min(axis=0), voxels.max(axis=0) + 1, margins, ct.shape, strict=True)
        box = tuple(slice(max(0, first - more), min(size, last + more)) for first, last, more, size in ends)
        places = [np.arange(side.start, side.stop) // step for side, step in zip(box, self.steps, strict=True)]
        inside = np.zeros([len(each) for each in places], bool)
        inside[tuple((voxels - [side.start for side in box]).T)] = True
        air = (ct[box] < LUNG_HU) & self.lungs[np.ix_(*places)] & ~inside
        if not air.any():
            return 0.0
        surface = inside & ~ndimage.binary_erosion(inside, border_value=1)
        if not surface.any():  # the component fills the scan from edge to edge
            return 0.0
        away = ndimage.distance_transform_edt(~air, sampling=self.spacing / reach)
        # float32 headers give spacings that are off by the last digit
        return float((away[surface] <= 1 + 1e-6).mean())


def find_chest(ct: np.ndarray, spacing: tuple[float, float, float]) -> Chest | None:
    """Return where the lungs of a scan lie; None where none is found.

    ``ct`` is (slice, row, column) in HU, from the feet up and with the patient's right first; ``spacing`` its mm.
    """
    steps = coarse_steps(spacing)
    coarse = np.multiply(spacing, steps)
    lungs = _without_gas(find_lungs(ct, spacing))
    if not lungs.any():
        return None
    height = mask_box(without_windpipe(lungs, coarse))[0]
    solid = ct[:: steps[0], :: steps[1], :: steps[2]] >= LUNG_HU
    # a coarse voxel stands for the fine ones from its own on
    low, high, middle = (
        end * step - 0.5
        for end, step in (
            (height.start, steps[0]),
            (height.stop, steps[0]),
            (_midline(_wide(lungs, coarse), solid), steps[2]),
        )
    )
    return Chest(ndimage.maximum_filter(lungs, 3), steps, spacing, middle, low, min(high, len(ct) - 0.5))


def _without_gas(lungs: np.ndarray) -> np.ndarray:
    """Return the lungs' air without pockets that are small beside the largest."""
    labels, _ = ndimage.label(lungs)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= max(1, LEAST_SHARE * sizes.max()))[labels]


def _wide(lungs: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Return the air, plane by plane, in pieces that hold a square wider than a windpipe, which lies in the middle."""
    square = np.ones([int(np.ceil(WINDPIPE_MM / mm)) for mm in coarse[1:]], np.uint8)
    labels, count = ndimage.label(lungs, IN_PLANE)
    wide = np.zeros(count + 1, bool)
    for plane, numbers in zip(lungs.view(np.uint8), labels, strict=True):
        wide[numbers[cv2.erode(plane, square, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0]] = True
    return wide[labels] & lungs


def _midline(lungs: np.ndarray, solid: np.ndarray) -> float:
    """Return the border between right and left, in columns: where the fewest air lies in the body's middle third."""
    weights = solid.sum(axis=(0, 1))
    held = np.flatnonzero(weights)
    centre, width = np.average(np.arange(len(weights)), weights=weights), held[-1] + 1 - held[0]
    first, last = (round(centre + part * width / 6) for part in (-1, 1))
    counts = lungs.sum(axis=(0, 1))[max(0, first) : last + 1]
    return float(max(0, first) + np.flatnonzero(counts == counts.min()).mean() + 0.5)
