"""What notebook 07 looks for and draws in volumes: bright discs in a slice, and the things that they are cuts of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

BRIGHT_HU = -500
"""Half-way between lung (about -850 HU) and what is soft (about 0 HU): vessels and nodules lie above it."""

RING_MM, RING_HU = 4.0, -600
"""A disc is surrounded by lung: within so many mm around it, the mean lies below so many HU."""

REACH, FARTHEST_MM = 1.25, 12.0
"""A thing is looked at within so many diameters of its disc, where a tube is 2.5 times as long as wide: farther away a
vessel branches, and a nodule may touch the chest wall."""


@dataclass(frozen=True)
class Disc:
    """A round bright patch in one slice: its middle (slice, row, column) in voxels, and its ``diameter`` in mm.

    ``stretched`` is the longer of its two axes over the shorter one: 1 for a circle.
    """

    centre: tuple[int, int, int]
    diameter: float
    stretched: float


def spread(points_mm: np.ndarray, voxel_mm: Sequence[float]) -> np.ndarray:
    """Return the standard deviations of points (n, axes) along their own main axes, in mm, the largest first.

    Each point stands for a voxel of ``voxel_mm``, which is as wide as it is: so a single one has a spread too.
    """
    width = np.diag(np.square(voxel_mm)) / 12
    moments = np.cov(np.asarray(points_mm, float).T, bias=True) + width
    return np.sqrt(np.linalg.eigvalsh(moments))[::-1]


def discs(
    ct: np.ndarray, spacing: Sequence[float], index: int, smallest_mm: float = 4.0, largest_mm: float = 25.0
) -> list[Disc]:
    """Return the discs of slice ``index`` of a scan (slice, row, column) in HU, the largest first.

    ``spacing`` is in mm. A disc is a connected patch above :data:`BRIGHT_HU`, at most 1.6 times as long as wide, that
    holds its own middle and lies in lung.
    """
    plane, mm = ct[index], spacing[1:]
    labels, _ = ndimage.label(plane > BRIGHT_HU)
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        reach = [int(RING_MM / step) + 1 for step in mm]
        around = tuple(
            slice(max(0, side.start - more), side.stop + more)
            for side, more in zip((rows, columns), reach, strict=True)
        )
        patch = labels[around] == number
        diameter = 2 * np.sqrt(patch.sum() * mm[0] * mm[1] / np.pi)
        if not smallest_mm <= diameter <= largest_mm:
            continue
        points = np.argwhere(patch)
        long, short = spread(points * mm, mm)
        middle = tuple(points.mean(axis=0).round().astype(int))
        if long / short > 1.6 or not patch[middle]:
            continue
        away = ndimage.distance_transform_edt(~patch, mm)
        if plane[around][(away > 0) & (away <= RING_MM)].mean() < RING_HU:
            place = (index, middle[0] + around[0].start, middle[1] + around[1].start)
            found.append(Disc(tuple(map(int, place)), float(diameter), float(long / short)))
    return sorted(found, key=lambda disc: -disc.diameter)


def thing_around(ct: np.ndarray, spacing: Sequence[float], disc: Disc) -> np.ndarray:
    """Return the voxels (n, 3) of the bright thing that a disc is a cut of, as indices into ``ct``.

    They are connected by faces, above :data:`BRIGHT_HU`, and within :data:`REACH` diameters of the disc's middle.
    """
    radius = min(REACH * disc.diameter, FARTHEST_MM)
    box = tuple(
        slice(max(0, middle - int(radius / step)), min(size, middle + int(radius / step) + 1))
        for middle, step, size in zip(disc.centre, spacing, ct.shape, strict=True)
    )
    corner = np.array([side.start for side in box])
    places = np.moveaxis(np.indices([side.stop - side.start for side in box]), 0, -1) + corner
    near = np.linalg.norm((places - disc.centre) * spacing, axis=-1) <= radius
    labels, _ = ndimage.label((ct[box] > BRIGHT_HU) & near)
    return np.argwhere(labels == labels[tuple(disc.centre - corner)]) + corner
