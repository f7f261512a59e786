"""What notebook 07 looks for and draws in volumes: bright discs in a slice, and the things that they are cuts of.

It also counts what a training step keeps in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from scipy import ndimage
from torch import Tensor, nn

from ..phantom.thorax import make_phantom
from ..scans.orientation import oriented, oriented_spacing, slice_heights
from ..scans.view import View
from ..video.overlay import draw_slice, outline

BRIGHT_HU = -500
"""Half-way between lung (about -850 HU) and what is soft (about 0 HU): vessels and nodules lie above it."""

RING_MM, RING_HU = 4.0, -600
"""A disc is surrounded by lung: within so many mm around it, the mean lies below so many HU."""

REACH, FARTHEST_MM = 1.25, 12.0
"""A thing is looked at within so many diameters of its disc, and so many mm at most: farther away a vessel branches,
and a nodule may touch the chest wall. There a thin tube is 2.5 to 3 times as long as wide; one that is wider than
about 10 mm is cut short, and looks rounder than it is."""

CLEAR_HU = -200
"""A disc whose middle is darker is a thing's blurred end."""


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

    They are connected by faces, above :data:`BRIGHT_HU`, and within :data:`REACH` diameters of the disc's middle,
    and :data:`FARTHEST_MM` at most.
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


def phantom_view(seed: int) -> View:
    """Make one phantom and return it as a radiologist looks at it; its tumour is the mask ``truth``."""
    made = make_phantom(seed)
    ct, truth = (oriented(voxels, made.affine) for voxels in (made.image, made.label))
    return View(ct, {"truth": truth}, oriented_spacing(made.affine), slice_heights(made.affine, made.image.shape))


def pair(view: View) -> tuple[Disc, Disc]:
    """Return two discs of one slice: a tumour's (by the mask ``truth``) and the vessel's that is to be compared.

    Of all slices that show tumour that one is taken in which the tumour is a disc in lung, if there is any, and the
    vessel longest, roundest and most alike in size. Raises :class:`ValueError` where no such slice shows another disc.
    """
    truth, spacing = view.masks["truth"] > 0, view.spacing
    best: tuple[bool, float, Disc, Disc] | None = None
    for index in np.flatnonzero(truth.any(axis=(1, 2))):
        found = discs(view.ct, spacing, index)
        clear = next((disc for disc in found if truth[disc.centre] and view.ct[disc.centre] > CLEAR_HU), None)
        tumour = clear or _cut(truth[index], index, spacing)
        for disc in found:
            if truth[disc.centre] or view.ct[disc.centre] < CLEAR_HU:
                continue
            lengths = spread(thing_around(view.ct, spacing, disc) * spacing, spacing)
            small, large = sorted((disc.diameter, tumour.diameter))
            worth = (lengths[0] / lengths[1] - 1) * small / large / disc.stretched
            if best is None or (clear is not None, worth) > best[:2]:
                best = clear is not None, worth, tumour, disc
    if best is None:
        raise ValueError("no slice with tumour shows another disc in the lung")
    return best[2:]


def _cut(mask: np.ndarray, index: int, spacing: Sequence[float]) -> Disc:
    """Return what a mask (row, column) of slice ``index`` would be as a disc; its middle lies in it."""
    points, mm = np.argwhere(mask), spacing[1:]
    middle = points[np.linalg.norm(points - points.mean(axis=0), axis=1).argmin()]
    long, short = spread(points * mm, mm)
    diameter = 2 * np.sqrt(len(points) * mm[0] * mm[1] / np.pi)
    return Disc((int(index), *map(int, middle)), float(diameter), float(long / short))


def draw_plane(
    ax: Axes,
    view: View,
    centre: Sequence[int],
    axis: int = 0,
    half_mm: float = 20.0,
    outlines: Sequence[tuple[np.ndarray, dict]] = (),
) -> None:
    """Draw the plane through ``centre`` (slice, row, column) across ``axis``, ``half_mm`` each way, head up.

    ``axis`` 0 is axial, 1 coronal, 2 sagittal. ``outlines`` are pairs of a mask (slice, row, column) and a style.
    """
    flip = slice(None, None, -1 if axis else 1)  # slice 0 is the most inferior, and a picture begins at its top
    mm = [step for place, step in enumerate(view.spacing) if place != axis]
    draw_slice(ax, view.ct.take(centre[axis], axis)[flip], mm)
    for mask, style in outlines:
        ax.plot(*outline(mask.take(centre[axis], axis)[flip], mm), **style)
    across = [place for place in range(3) if place != axis]
    down, right = ((centre[place] + 0.5) * view.spacing[place] for place in across)
    down = down if axis == 0 else view.ct.shape[0] * view.spacing[0] - down
    ax.set(xlim=(right - half_mm, right + half_mm), ylim=(down + half_mm, down - half_mm), xticks=[], yticks=[])


def kept_mb(network: nn.Module, images: Tensor) -> float:
    """Return the MB that torch keeps of one pass through a network until its gradients are computed.

    Counted are arrays, each once, that layers save for the way back; the learned numbers and the input are not.
    """
    known = {each.untyped_storage().data_ptr() for each in [*network.parameters(), *network.buffers(), images]}
    kept: dict[int, int] = {}

    def hear(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(hear, lambda saved: saved):
        network(images).sum()  # what is kept lives until here, so that no place in memory is used twice
    return sum(kept.values()) / 1e6
