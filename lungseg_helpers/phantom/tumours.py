"""Tumours: how many, how large, of what kind, where; and their painting into the lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Box, Canvas, smooth_field
from .lungs import Lungs

VOLUME_RANKS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
VOLUME_ML = (0.74, 2.66, 5.22, 17.6, 59.0, 250.0)
"""Task06's tumour volumes a case: minimum, quartiles, P90; its one giant of 370 mL is cut to fit any chest."""

KINDS = {"solid": 0.36, "lobulated": 0.22, "spiculated": 0.22, "part-solid": 0.08, "ground-glass": 0.07,
         "cavitated": 0.05}  # fmt: skip
SITES = {"lung": 0.36, "pleura": 0.28, "vessel": 0.14, "hilum": 0.12, "mediastinum": 0.10}
"""Shares of kinds and sites as seen in real Task06 patches: mostly solid, often at the pleura."""

GOLDEN = 0.6180339887498949

Place = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Where a block's voxels lie along a tumour's three axes, in mm from its centre: float32 (slice, row, column) each."""


@dataclass(frozen=True)
class Tumour:
    """One tumour's recipe: labelled volume in mL, kind, site, HU of core and rim, edge width and
    the margin by which its reader drew too widely, both in mm."""

    volume_ml: float
    kind: str
    site: str
    core_hu: float
    rim_hu: float
    edge_mm: float
    margin_mm: float

    @property
    def radius(self) -> float:
        """Radius in mm of the ball of the same volume."""
        return float((self.volume_ml * 1000 * 0.75 / np.pi) ** (1 / 3))


def draw_tumours(seed: int) -> list[Tumour]:
    """Draw a case's tumours: one mostly, two now and then.

    The case's total volume has the rank seed × golden ratio (modulo 1) in Task06's
    distribution: alone it is as good as random, yet a few consecutive seeds already
    cover small and large tumours evenly.
    """
    rng = np.random.default_rng([seed, 2])
    rank = (seed * GOLDEN + 0.5) % 1.0
    total = float(np.exp(np.interp(rank, VOLUME_RANKS, np.log(VOLUME_ML))))
    shares = [1.0] if total < 2 or rng.random() < 0.85 else [s := float(rng.uniform(0.55, 0.9)), 1 - s]
    return [_draw_one(rng, share * total) for share in shares]


def _draw_one(rng: np.random.Generator, volume: float) -> Tumour:
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "cavitated" and volume < 3:
        kind = "solid"
    if kind in ("ground-glass", "part-solid") and volume > 30:
        kind = "lobulated"
    site = str(rng.choice(list(SITES), p=list(SITES.values())))
    core = float(np.clip(rng.normal(18, 16), -30, 42))
    rim = core
    if kind == "ground-glass":
        core = rim = float(rng.uniform(-930, -480))
    elif kind == "part-solid":
        rim = float(rng.uniform(-750, -450))
    return Tumour(volume, kind, site, core, rim, float(rng.uniform(0.8, 3.0)), float(rng.uniform(0.0, 1.3)))


def _draw_centre(
    canvas: Canvas, tumour: Tumour, lungs: Lungs, cage: np.ndarray, vessels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Pick the tumour's centre, (3,) as (x, y, z) in mm, among the voxels that suit its site.

    ``cage`` is the signed distance in mm and ``vessels`` the share 0…1, both (slice, row, column).
    """
    radius = tumour.radius
    coarse = (slice(None, None, 2), slice(None, None, 3), slice(None, None, 3))
    depth, wall, vessel = -lungs.distance[coarse], -cage[coarse], vessels[coarse]
    middle = np.abs(canvas.x[None, ::3, ::3])
    near = {
        "lung": depth > radius + 3,
        "pleura": (wall < 0.9 * radius) & (wall > 0.3 * radius) & (depth > 0.2 * radius),
        "vessel": (vessel > 0.6) & (depth > 0.7 * radius),
        "hilum": (middle < 60 + radius) & (depth > 0.1 * radius) & (vessel > 0.4),
        "mediastinum": (wall > radius) & (depth > 0.3 * radius) & (depth < 0.8 * radius),
    }[tumour.site]
    # A large tumour may not fit its site: then it takes the widest place.
    suited = np.flatnonzero(near)
    if not len(suited):
        suited = np.flatnonzero(depth >= min(radius, 0.85 * depth.max()))
    index = np.stack(np.unravel_index(rng.choice(suited, 1), depth.shape), 1) * (2.0, 3.0, 3.0)
    return canvas.point(index)[0]


def paint_tumour(
    canvas: Canvas,
    label: np.ndarray,
    tumour: Tumour,
    lungs: Lungs,
    cage: np.ndarray,
    vessels: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Paint one tumour and mark it in ``label`` (slice, row, column).

    The shape is a random field g around the centre; the label is the level set g < c that
    has the drawn volume, so that volumes are right whatever walls and sites cut off.
    """
    centre = _draw_centre(canvas, tumour, lungs, cage, vessels, rng)
    box = canvas.around(centre, 2.0 * tumour.radius + 12)
    place = _draw_axes(canvas, box, centre, rng)
    shape = _draw_shape(tumour, place, rng)
    invade = rng.uniform(0, 8) if tumour.site in ("hilum", "mediastinum") else rng.uniform(0, 3)
    shape += 3.0 * np.maximum(0.0, lungs.distance[box] - invade)
    wanted = min(max(round(tumour.volume_ml / canvas.voxel_ml), 4), shape.size - 1)
    level = float(np.partition(shape.reshape(-1), wanted)[wanted])
    label[box] |= (shape < level).astype(np.uint8)
    # From here on ``shape`` is the distance to what is painted, which ends within the label by the reader's margin.
    shape += np.float32(min(tumour.margin_mm, 0.2 * tumour.radius) - level)
    spots = smooth_field(rng, canvas, 6, box)
    if tumour.kind == "spiculated":
        _paint_spicules(canvas, box, tumour, place, lungs, rng)
    if tumour.kind == "ground-glass":
        _paint_haze(canvas, box, tumour, shape, spots)
    else:
        _paint_mass(canvas, box, tumour, place, shape, spots, lungs, rng)


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
    elif tumour.volume_ml > 15 and rng.random() < 0.5:
        canvas.paint(box, shape + 0.45 * radius + 2 * spots, rng.uniform(5, 25), 6.0)
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
