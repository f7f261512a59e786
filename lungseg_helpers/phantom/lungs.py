"""Lungs: lobes and fissures, parenchyma, and the painting of the trees in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Box, Canvas, smooth_field, tubes
from .patient import Patient
from .trees import Tree, grow

GOAL_ML = 1.1
"""Lung volume that one last artery, and one last vein, supplies: about a secondary lobule's."""


@dataclass
class Lungs:
    """``distance`` mm to the lungs' surface (negative inside) and ``oblique``, ``horizontal``
    mm above the fissures, all (slice, row, column); ``box`` the block that holds the lungs."""

    distance: np.ndarray
    oblique: np.ndarray
    horizontal: np.ndarray
    box: Box

    def draw_point(self, canvas: Canvas, rng: np.random.Generator, depth: float) -> np.ndarray:
        """A random place (x, y, z) mm in the lungs, at least ``depth`` mm from their surface where there is one."""
        thin = self.distance[::2, ::3, ::3]
        found = np.flatnonzero(thin < -depth)
        if not len(found):
            found = np.array([int(np.argmin(thin))])
        index = np.stack(np.unravel_index(rng.choice(found, 1), thin.shape), 1) * (2.0, 3.0, 3.0)
        return canvas.point(index)[0]


def shape_lungs(
    canvas: Canvas, patient: Patient, cage: np.ndarray, dome: np.ndarray, between: np.ndarray, rng: np.random.Generator
) -> Lungs:
    """The lungs are what cage, diaphragm and mediastinum leave, divided by wavy fissures."""
    # Where the patient breathed during the scan, the diaphragm is smeared along z.
    steep = 0.75 if rng.random() < 0.7 else rng.uniform(0.2, 0.5)
    distance = np.maximum(cage + 1.2, steep * (dome[None] - canvas.z[:, None, None]))
    np.maximum(distance, -between, out=distance)
    inside = distance < 3
    box = tuple(
        slice(int(hit[0]), int(hit[-1]) + 1) if len(hit := np.flatnonzero(inside.any(axis=axes))) else slice(0, 1)
        for axes in ((1, 2), (0, 2), (0, 1))
    )
    x, y, z = canvas.x[None], canvas.y[None], canvas.z[:, None, None]
    wave = 5 * smooth_field(rng, canvas, 60) + 2 * smooth_field(rng, canvas, 25)
    slope = np.where(x < 0, rng.uniform(0.75, 1.1), rng.uniform(0.75, 1.15))
    bow = np.where(x < 0, rng.uniform(-12, 12), rng.uniform(-12, 12)) * (((np.abs(x) - 70) / 50) ** 2 - 0.5)
    oblique = z - patient.height * rng.uniform(0.43, 0.5) - slope * (y + 30) + bow + wave
    tilt = rng.uniform(-0.1, 0.4) * (y + 60) + rng.uniform(-0.3, 0.3) * (np.abs(x) - 70)
    horizontal = z - patient.height * rng.uniform(0.44, 0.52) + tilt + 0.8 * bow - wave
    return Lungs(distance, oblique.astype(np.float32), horizontal.astype(np.float32), box)


def _lobes(canvas: Canvas, lungs: Lungs) -> list[tuple[int, str, np.ndarray]]:
    """For each lobe its side, name and flat voxel indices, 1 mm inside the lung and off the fissures."""
    inside = np.flatnonzero(lungs.distance < -1.0)
    above, flat = lungs.oblique.reshape(-1)[inside], lungs.horizontal.reshape(-1)[inside]
    right = canvas.x.reshape(-1)[inside % canvas.x.size] < 0
    upper, lower = above > 1.0, above < -1.0
    parts = [(-1, "upper", right & upper & (flat > 1.0)), (-1, "middle", right & upper & (flat < -1.0)),
             (-1, "lower", right & lower), (1, "upper", ~right & upper), (1, "lower", ~right & lower)]  # fmt: skip
    return [(side, name, inside[part]) for side, name, part in parts if part.sum() > 300]


def grow_trees(canvas: Canvas, patient: Patient, lungs: Lungs, rng: np.random.Generator) -> dict[str, list[Tree]]:
    """Grow arteries, veins and, beside the wider arteries, bronchi, each lobe for itself: none crosses a fissure."""
    trees: dict[str, list[Tree]] = {"artery": [], "vein": [], "bronchus": []}
    tip = rng.uniform(0.37, 0.57)
    for side, name, voxels in _lobes(canvas, lungs):
        count = max(8, int(len(voxels) * canvas.voxel_ml / GOAL_ML))
        for kind in ("artery", "vein"):
            index = np.stack(np.unravel_index(rng.choice(voxels, count), canvas.shape), 1)
            goals = canvas.point(index + rng.uniform(-0.5, 0.5, index.shape))
            root = np.array(patient.lobe_root(side, name, kind == "vein"), float) + rng.normal(0, 2, 3)
            tree = grow(root, goals.mean(axis=0) - root, goals, tip, rng)
            trees[kind].append(tree)
            if kind == "artery":
                beside = np.array([-side * 0.5, 0.6, 0.4]) + rng.normal(0, 0.2, 3)
                trees["bronchus"].append(tree.beside(beside, 1.5, rng.uniform(0.7, 0.95)))
    return trees


def paint_parenchyma(canvas: Canvas, patient: Patient, lungs: Lungs, rng: np.random.Generator) -> None:
    """Aerated lung: its mean, heavier towards the back, mottled, with the holes of emphysema."""
    box = lungs.box
    back = (canvas.y[None, box[1], box[2]] + 0.25 * patient.depth) / patient.depth
    hu = patient.lung_hu + patient.gravity_hu * back + 16 * smooth_field(rng, canvas, 40, box)
    lobules = smooth_field(rng, canvas, 9, box)
    hu += patient.mottle_hu * (lobules + 0.8 * smooth_field(rng, canvas, 5, box))
    # Lung under the diaphragm's and the back's weight is less aerated, over a few mm.
    rim = np.clip(1 + lungs.distance[box] / (3 + 5 * np.clip(back, 0, 1)), 0, 1)
    hu += patient.dependent_hu * rim * np.clip(back + 0.2, 0, 1.2)
    if patient.emphysema > 0:
        holes = 0.8 * lobules + 0.8 * smooth_field(rng, canvas, 45, box)
        high = np.clip(patient.u(canvas.z[box[0]])[:, None, None] + 0.25, 0, 1)
        hu -= 110 * patient.emphysema * high * np.clip(holes - 0.8 + patient.emphysema, 0, 1)
    canvas.paint(box, lungs.distance[box], np.maximum(hu, -990).astype(np.float32))


def paint_trees(canvas: Canvas, patient: Patient, trees: dict[str, list[Tree]], heart: np.ndarray) -> np.ndarray:
    """Paint blood vessels and bronchi, but not into the heart; return the vessels' coverage (0…1 a voxel)."""
    total = np.zeros(canvas.shape, np.float32)
    if not trees["artery"]:
        return total  # on the coarsest grids no lobe is wide enough for any
    for kind, hu in (("artery", patient.right_heart_hu), ("vein", patient.left_heart_hu)):
        box, cover = tubes(canvas, *_all_samples(trees[kind]))
        cover *= heart[box] > 0
        canvas.blend(box, cover, hu)
        np.maximum(total[box], cover, out=total[box])
    points, radii, steps = _all_samples(trees["bronchus"])
    if len(points):
        for outer, hu in ((1.12 * radii + 0.3, 10.0), (radii, -970.0)):
            box, cover = tubes(canvas, points, outer, steps)
            canvas.blend(box, cover * (heart[box] > 0), hu)
    return total


def _all_samples(trees: list[Tree]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [tree.samples() for tree in trees]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))  # type: ignore[return-value]


def paint_fissures(canvas: Canvas, lungs: Lungs, rng: np.random.Generator) -> None:
    """Fissures: two pleural layers, half a millimetre in all, that lift a voxel's HU a little, and not everywhere."""
    box = lungs.box
    flat = np.where((lungs.oblique[box] > 0) & (canvas.x[None, box[1], box[2]] < 0), lungs.horizontal[box], 99.0)
    sheet = np.minimum(np.abs(lungs.oblique[box]), np.abs(flat))
    there = np.clip(0.7 + smooth_field(rng, canvas, 50, box), 0, 1)
    share = np.clip(1.0 - sheet / 1.8, 0, 1) * there * (lungs.distance[box] < 0)
    canvas.blend(box, share * np.float32(rng.uniform(0.04, 0.14)), 0.0)


def paint_all_lungs(
    canvas: Canvas, patient: Patient, lungs: Lungs, heart: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Parenchyma, fissures, vessels and bronchi in turn; return the vessels' coverage (0…1 a voxel)."""
    paint_parenchyma(canvas, patient, lungs, rng)
    paint_fissures(canvas, lungs, rng)
    return paint_trees(canvas, patient, grow_trees(canvas, patient, lungs, rng), heart)
