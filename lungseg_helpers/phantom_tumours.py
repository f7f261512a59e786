"""Tumours: how many, how large, of what kind, where; and their painting into the lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .phantom_canvas import Canvas

VOLUME_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
VOLUME_ML = (0.74, 2.66, 5.22, 17.6, 59.0, 250.0)
"""Task06's tumour volumes a case: minimum, quartiles, P90; its one giant of 370 mL is cut to fit any chest."""

KINDS = {"solid": 0.42, "lobulated": 0.2, "spiculated": 0.2, "part-solid": 0.07, "ground-glass": 0.06, "cavitated": 0.05}
SITES = {"lung": 0.38, "pleura": 0.27, "vessel": 0.13, "hilum": 0.12, "mediastinum": 0.1}
"""Shares of kinds and sites, judged from published Task06 cases: mostly solid, often on the pleura."""

GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Tumour:
    """One tumour's recipe: labelled volume in mL, kind, site, HU inside, edge softness in mm."""

    volume_ml: float
    kind: str
    site: str
    hu: float
    rim_hu: float
    edge_mm: float
    loose: float


def draw_tumours(seed: int) -> list[Tumour]:
    """Draw a case's tumours, one mostly and now and then two.

    The case's total volume is not drawn independently: seed × golden ratio (modulo 1) is
    its rank in Task06's distribution, so that even a few consecutive seeds cover small
    and large tumours evenly.
    """
    rng = np.random.default_rng([seed, 2])
    rank = (seed * GOLDEN + 0.5) % 1.0
    total = float(np.exp(np.interp(rank, VOLUME_SHARES, np.log(VOLUME_ML))))
    shares = [1.0] if rng.random() < 0.85 or total < 1.5 else [s := float(rng.uniform(0.55, 0.9)), 1 - s]
    return [_draw_one(rng, share * total) for share in shares]


def _draw_one(rng: np.random.Generator, volume: float) -> Tumour:
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "cavitated" and volume < 3:
        kind = "solid"
    site = str(rng.choice(list(SITES), p=list(SITES.values())))
    hu = float(rng.normal(35, 18))
    rim = hu
    if kind == "ground-glass":
        hu = rim = float(rng.uniform(-800, -450))
    elif kind == "part-solid":
        rim = float(rng.uniform(-750, -450))
    return Tumour(volume, kind, site, hu, rim, float(rng.uniform(0.8, 3.0)), float(rng.uniform(0.0, 0.12)))


def _site_centre(canvas: Canvas, tumour: Tumour, lung: np.ndarray, cage: np.ndarray, vessels: np.ndarray,
                 rng: np.random.Generator) -> np.ndarray:  # fmt: skip
    """Pick the tumour's centre (x, y, z) mm among the voxels that suit its site."""
    radius = (tumour.volume_ml * 1000 * 0.75 / np.pi) ** (1 / 3)
    coarse = (slice(4, -4, 2), slice(None, None, 3), slice(None, None, 3))
    depth, wall, vessel = -lung[coarse], -cage[coarse], vessels[coarse]
    middle = np.abs(canvas.x[None, coarse[1], coarse[2]])
    near = {
        "lung": (depth > radius + 3),
        "pleura": (wall < 0.8 * radius) & (depth > 0.2 * radius) & (wall > 0.3 * radius),
        "vessel": (vessel > 0.6) & (depth > 0.6 * radius),
        "hilum": (middle < 60 + radius) & (depth > 0.1 * radius) & (vessel > 0.4),
        "mediastinum": (wall > radius) & (depth > 0.3 * radius) & (depth < 0.8 * radius),
    }[tumour.site]
    found = np.flatnonzero(near)
    if not len(found):
        found = np.flatnonzero(depth >= 0.8 * depth.max())
    index = np.stack(np.unravel_index(rng.choice(found, 1), depth.shape), 1) * (2, 3, 3) + (4, 0, 0)
    return canvas.point(index.astype(float))[0]


def paint_tumour(canvas: Canvas, label: np.ndarray, tumour: Tumour, lung: np.ndarray, cage: np.ndarray,
                 vessels: np.ndarray, rng: np.random.Generator) -> None:  # fmt: skip
    """Paint one tumour and mark it in ``label``: the level set of its shape that has the drawn volume."""
    radius = (tumour.volume_ml * 1000 * 0.75 / np.pi) ** (1 / 3)
    centre = _site_centre(canvas, tumour, lung, cage, vessels, rng)
    box = canvas.around(centre, 2.2 * radius + 10)
    x, y, z = canvas.mesh(box)
    x, y, z = x - centre[0], y - centre[1], z - centre[2]
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    axes = np.exp(rng.normal(0, 0.14, 3))
    px, py, pz = ((turn[i, 0] * x + turn[i, 1] * y + turn[i, 2] * z) * np.float32(axes[i]) for i in range(3))
    distance = np.sqrt(px**2 + py**2 + pz**2)
    rough = {"lobulated": 0.2, "spiculated": 0.13}.get(tumour.kind, 0.09)
    for scale, strength in ((0.9, rough), (0.45, 0.5 * rough)):
        for _ in range(5):
            wave = rng.normal(size=3) / (scale * radius)
            distance += strength * radius * 0.6 * np.sin(wave[0] * px + wave[1] * py + wave[2] * pz + rng.uniform(0, 7))
    spikes = _spicules(tumour, radius, (px, py, pz), rng)
    distance = np.minimum(distance, distance * 0.0 + radius + 0.35 * spikes) if spikes is not None else distance
    # A tumour takes the lung's place first; walls and mediastinum give way by a few millimetres only.
    invade = rng.uniform(0, 8) if tumour.site in ("hilum", "mediastinum") else rng.uniform(0, 3)
    distance += 3.0 * np.maximum(0.0, lung[box] - invade)
    wanted = int(round(tumour.volume_ml / canvas.voxel_ml))
    wanted = min(max(wanted, 4), distance.size - 1)
    level = float(np.partition(distance.reshape(-1), wanted)[wanted])
    label[box] |= (distance < level).astype(np.uint8)
    seen = distance - level + tumour.loose * radius
    canvas.paint(box, seen, tumour.rim_hu, soft=max(tumour.edge_mm, canvas.soft))
    if tumour.kind == "part-solid":
        canvas.paint(box, seen + 0.45 * radius, tumour.hu, soft=4.0)
    if tumour.kind == "cavitated":
        shift = 0.2 * radius
        canvas.paint(box, np.sqrt((px - shift) ** 2 + py**2 + (pz - shift) ** 2) - rng.uniform(0.35, 0.65) * radius, -930.0)
    if spikes is not None:
        canvas.paint(box, spikes, tumour.hu)


def _spicules(tumour: Tumour, radius: float, place: tuple, rng: np.random.Generator) -> np.ndarray | None:
    """Signed distance (mm) to thin spikes that radiate from a spiculated tumour."""
    if tumour.kind != "spiculated":
        return None
    px, py, pz = place
    nearest = np.full(np.broadcast_shapes(px.shape, pz.shape), 99.0, np.float32)
    for _ in range(int(rng.integers(10, 26))):
        ray = rng.normal(size=3)
        ray /= np.linalg.norm(ray)
        along = ray[0] * px + ray[1] * py + ray[2] * pz
        length = radius * rng.uniform(1.3, 1.9) + 3
        off = np.sqrt(np.maximum(px**2 + py**2 + pz**2 - along**2, 0))
        thick = rng.uniform(1.0, 2.0) * np.clip(1 - along / length, 0, 1) - np.where(along < 0, 99, 0)
        nearest = np.minimum(nearest, off - thick - 0.3 + np.where(along > length, 99, 0))
    return nearest
