"""Tumours' painting: a place that suits the site, a shape of the drawn volume, its tissue, and the label."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.ndimage import label as label_pieces

from .canvas import Box, Canvas, smooth_field
from .collapse import paint_collapse
from .lungs import Lungs
from .patient import Patient
from .tumours import Tumour

SOLID_HU = 5.0
"""Above this, what lies between the lungs is heart, vessel or muscle, into which no tumour grows; below it is fat."""

Place = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Where a block's voxels lie along a tumour's three axes, in mm from its centre: float32 (slice, row, column) each."""


@dataclass(frozen=True)
class Anatomy:
    """What a tumour grows among: ``cage`` and ``between`` are the signed distances in mm to the rib cage and to the
    mediastinum, ``vessels`` the share 0…1 of the lungs' vessels, all (slice, row, column)."""

    patient: Patient
    lungs: Lungs
    cage: np.ndarray
    between: np.ndarray
    vessels: np.ndarray


def _draw_centre(canvas: Canvas, tumour: Tumour, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Pick the tumour's centre, (3,) as (x, y, z) in mm, among the voxels that suit its site."""
    radius = tumour.radius
    coarse = (slice(None, None, 2), slice(None, None, 3), slice(None, None, 3))
    depth, wall, vessel = -anatomy.lungs.distance[coarse], -anatomy.cage[coarse], anatomy.vessels[coarse]
    if tumour.central:
        misfit = _central_misfit(canvas, tumour, anatomy, coarse)
        suited = np.flatnonzero(misfit <= max(2.0, float(np.quantile(misfit, 1e-4))))
    else:
        _, y, z = canvas.mesh(coarse)
        low = anatomy.patient.u(z) < 0.45
        behind = y > anatomy.patient.cage_back(z) - 20 - radius
        near = {
            "base": (wall < 0.9 * radius) & (wall > 0.2 * radius) & (depth > 0.2 * radius) & low & behind,
            "lung": depth > radius + 3,
            "pleura": (wall < 0.9 * radius) & (wall > 0.3 * radius) & (depth > 0.2 * radius),
            "vessel": (vessel > 0.6) & (depth > 0.7 * radius),
        }[tumour.site]
        # A large tumour may not fit its site: then it takes the widest place.
        suited = np.flatnonzero(near)
        if not len(suited):
            suited = np.flatnonzero(depth >= min(radius, 0.85 * depth.max()))
    index = np.stack(np.unravel_index(rng.choice(suited, 1), depth.shape), 1) * (2.0, 3.0, 3.0)
    return canvas.point(index)[0]


def _central_misfit(canvas: Canvas, tumour: Tumour, anatomy: Anatomy, coarse: Box) -> np.ndarray:
    """How many mm each voxel of a ``coarse`` grid is off as the centre of a central tumour.

    The tumour's middle lies in the lung, or barely outside, and a good part of it reaches the mediastinum; it has
    room to the chest wall and does not end above or below the lung.
    """
    radius, gap = tumour.radius, anatomy.between[coarse]
    # one that grows into the mediastinum sits deeper in it; one beside it only touches
    near, far = (-0.15, 0.4) if tumour.invade_mm > 6 else (0.1, 0.75)
    away = np.maximum(gap - far * radius, near * radius - gap)
    misfit = np.maximum(away, 0)
    misfit += np.maximum(0.8 * radius + anatomy.cage[coarse], 0)
    misfit += np.maximum(anatomy.lungs.distance[coarse] + near * radius, 0)
    x, y, z = canvas.mesh(coarse)
    low, high = max(float(canvas.z[0]), 0.1 * anatomy.patient.height), min(float(canvas.z[-1]), anatomy.patient.height)
    misfit += np.maximum(low + 0.8 * radius - z, 0) + np.maximum(z - high + 0.8 * radius, 0)
    if tumour.site == "hilum":
        hila = [np.add(anatomy.patient.hilum(side), (side * 8, 0, -8)) for side in (-1, 1)]
        away = [np.sqrt((x - at[0]) ** 2 + (y - at[1]) ** 2 + 0.4 * (z - at[2]) ** 2) for at in hila]
        misfit += np.maximum(np.minimum(*away) - 12 - 0.5 * radius, 0)
    return misfit


def paint_tumour(canvas: Canvas, label: np.ndarray, tumour: Tumour, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paint one tumour, after the lung that collapses behind it, and mark it alone in ``label`` (slice, row, column).

    The shape is a random field g around the centre; the label is the level set g < c that
    has the drawn volume, so that volumes are right whatever walls and sites cut off.
    """
    centre = _draw_centre(canvas, tumour, anatomy, rng)
    lungs = anatomy.lungs
    if tumour.collapse_ml:
        paint_collapse(canvas, anatomy.patient, lungs, centre, tumour.collapse_ml, rng)
    box = canvas.around(centre, 2.0 * tumour.radius + 12)
    place = _draw_axes(canvas, box, centre, rng)
    shape = _draw_shape(tumour, place, rng)
    shape += 3.0 * np.maximum(0.0, lungs.distance[box] - tumour.invade_mm)
    if tumour.central:
        shape += 40.0 * _solid(canvas, box, anatomy)
    level = _level(shape, min(max(round(tumour.volume_ml / canvas.voxel_ml), 4), shape.size - 1))
    label[box] |= (shape < level).astype(np.uint8)
    # From here on ``shape`` is the distance to what is painted, which ends within the label by the reader's margin.
    shape += np.float32(min(tumour.margin_mm, 0.2 * tumour.radius) - level)
    spots = smooth_field(rng, canvas, 6, box)
    tumour = _enhanced(tumour, anatomy.patient, rng)
    if tumour.kind == "spiculated":
        _paint_spicules(canvas, box, tumour, place, lungs, rng)
    if tumour.kind == "ground-glass":
        _paint_haze(canvas, box, tumour, shape, spots)
        return
    if tumour.central:
        # no plane of fat is left between the tumour and what it reaches
        fat = (anatomy.between[box] < 1) & (canvas.hu[box] < SOLID_HU)
        canvas.blend(box, canvas.cover(shape - 3.0, 3.0) * fat, tumour.rim_hu)
    _paint_mass(canvas, box, tumour, place, shape, spots, lungs, rng)


def _level(shape: np.ndarray, wanted: int) -> float:
    """The level c below which the field ``shape`` (slice, row, column) has ``wanted`` voxels, mostly in one piece.

    What lies apart, behind a vessel say, is lifted out of the field, and the rest takes its volume.
    """
    for _ in range(3):
        level = float(np.partition(shape.reshape(-1), wanted)[wanted])
        pieces, count = label_pieces(shape < level)
        if count < 2:
            break
        largest = 1 + int(np.argmax(np.bincount(pieces.reshape(-1))[1:]))
        shape[(pieces > 0) & (pieces != largest)] += 100.0
    return float(np.partition(shape.reshape(-1), wanted)[wanted])


def _solid(canvas: Canvas, box: Box, anatomy: Anatomy) -> np.ndarray:
    """Share (0…1) of heart, great vessels and muscle in a block, without specks: a tumour reaches up to them."""
    solid = (canvas.hu[box] > SOLID_HU) & (anatomy.between[box] < 0)
    return np.clip(2.0 * gaussian_filter(solid.astype(np.float32), 1.0, truncate=2.0) - 0.6, 0, 1)


def _enhanced(tumour: Tumour, patient: Patient, rng: np.random.Generator) -> Tumour:
    """The tumour with the contrast that it takes up, by 0 to 45 HU; ground glass has no tissue to show it."""
    more = rng.uniform(0, 0.3) * max(0.0, patient.aorta_hu - 40)
    if tumour.kind == "ground-glass":
        return tumour
    more = float(min(more, 45.0))
    rim = tumour.rim_hu + (more if tumour.rim_hu > -200 else 0.0)
    return replace(tumour, core_hu=tumour.core_hu + more, rim_hu=rim)


def _draw_axes(canvas: Canvas, box: Box, centre: np.ndarray, rng: np.random.Generator) -> Place:
    """Draw a tumour's own axes, turned and stretched at random, and return where a block's voxels lie along them."""
    x, y, z = (a - c for a, c in zip(canvas.mesh(box), centre, strict=True))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    axes = np.exp(rng.normal(0, 0.14, 3)).astype(np.float32)
    px, py, pz = ((turn[i, 0] * x + turn[i, 1] * y + turn[i, 2] * z) * axes[i] for i in range(3))
    return px, py, pz


def _draw_shape(tumour: Tumour, place: Place, rng: np.random.Generator) -> np.ndarray:
    """Draw the field g, float32 (slice, row, column): the distance from the centre in mm, made uneven by waves."""
    px, py, pz = place
    shape = np.sqrt(px * px + py * py + pz * pz)
    # Wavelengths are about one radius for lobules and half of that for roughness.
    rough = {"lobulated": 0.24, "spiculated": 0.15, "part-solid": 0.2}.get(tumour.kind, 0.10)
    for share, strength in ((0.3, rough), (0.14, 0.4 * rough)):
        height = np.float32(strength * tumour.radius * 0.45)
        for _ in range(4):
            wave = (rng.normal(size=3) / (share * tumour.radius)).astype(np.float32)
            shift = float(rng.uniform(0, 7))
            shape += height * np.sin(wave[0] * px + wave[1] * py + wave[2] * pz + shift)
    return shape


def _paint_haze(canvas: Canvas, box: Box, tumour: Tumour, shape: np.ndarray, spots: np.ndarray) -> None:
    """Paint a ground-glass tumour: haze adds to what is there, and vessels stay visible through it."""
    lung = float(np.median(canvas.hu[box][shape < 0])) if (shape < 0).any() else tumour.core_hu
    hu = max(tumour.core_hu, lung + 20)  # the faintest haze that a reader would see
    soft = max(tumour.edge_mm, canvas.soft)
    canvas.blend(box, canvas.cover(shape, 2 * soft) * (canvas.hu[box] < hu + 150), hu + 50 * spots)


def _paint_mass(
    canvas: Canvas,
    box: Box,
    tumour: Tumour,
    place: Place,
    shape: np.ndarray,
    spots: np.ndarray,
    lungs: Lungs,
    rng: np.random.Generator,
) -> None:
    """Paint a tumour of tissue: now and then with a rim of haze; its core by its kind.

    ``shape`` is the signed distance in mm and ``spots`` noise of unit variance, both (slice, row, column) over ``box``.
    """
    radius = tumour.radius
    if rng.random() < 0.2:
        canvas.blend(box, rng.uniform(0.1, 0.35) * canvas.cover(shape - 3, 9.0) * (lungs.distance[box] < 0), -350.0)
    rim = tumour.rim_hu + (40 if tumour.kind == "part-solid" else 8) * spots
    canvas.paint(box, shape, rim, max(tumour.edge_mm, canvas.soft))
    if tumour.kind == "part-solid":
        canvas.paint(box, shape + 0.4 * radius + 2 * spots, tumour.core_hu, 4.0)
    elif tumour.kind == "cavitated":
        px, py, pz = place
        hole = np.sqrt((px - 0.15 * radius) ** 2 + py * py + pz * pz) - rng.uniform(0.4, 0.65) * radius
        canvas.paint(box, np.maximum(hole + spots, shape + 3.0), -940.0)
    elif tumour.volume_ml > 15 and rng.random() < (0.5 if tumour.volume_ml < 60 else 0.8):
        # Large masses die from within: water-like lakes of uneven shape, darker where the rim took up contrast.
        lakes = shape + rng.uniform(0.25, 0.6) * radius + 0.12 * radius * smooth_field(rng, canvas, 0.5 * radius, box)
        canvas.paint(box, lakes + 2 * spots, rng.uniform(0, 25), 6.0)
    elif rng.random() < 0.15:
        # Air bronchograms and small gaps.
        canvas.blend(box, 0.8 * canvas.cover(2.0 - 1.2 * spots, 1.0) * (shape < -2), -800.0)


def _paint_spicules(
    canvas: Canvas, box: Box, tumour: Tumour, place: Place, lungs: Lungs, rng: np.random.Generator
) -> None:
    """Thin strands that radiate from the tumour into the lung and taper to nothing."""
    px, py, pz = place
    share = np.zeros(np.broadcast_shapes(px.shape, pz.shape), np.float32)
    squared = px * px + py * py + pz * pz
    for _ in range(int(rng.integers(12, 30))):
        ray = rng.normal(size=3)
        ray = (ray / np.linalg.norm(ray)).astype(np.float32)
        along = ray[0] * px + ray[1] * py + ray[2] * pz
        length = np.float32(tumour.radius * rng.uniform(1.2, 1.9) + 4)
        off = np.sqrt(np.maximum(squared - along * along, 0))
        taper = np.clip(1 - along / length, 0, 1) * (along > 0)
        thick = np.float32(rng.uniform(0.9, 2.3)) * taper
        np.maximum(share, canvas.cover(off - thick) * np.clip(2 * taper, 0, 1), out=share)
    share *= lungs.distance[box] < 0
    canvas.blend(box, share, tumour.core_hu)
