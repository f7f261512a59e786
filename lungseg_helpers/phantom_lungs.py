"""Lungs: parenchyma, fissures, and trees of arteries, bronchi and veins grown lobe by lobe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .phantom_canvas import Canvas, smooth_field, tubes
from .phantom_patient import Patient


@dataclass
class Tree:
    """Vessel segments: ``start`` and ``end`` (n, 3) mm, ``bend`` (n, 3) the control point between, radii (n,) mm."""

    start: np.ndarray
    bend: np.ndarray
    end: np.ndarray
    radius: np.ndarray

    def samples(self, spacing: float = 0.8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (m, 3), radii (m,) and steps (m,) in mm along the curved segments."""
        length = np.linalg.norm(self.end - self.start, axis=1) * 1.05
        counts = np.maximum(2, np.ceil(length / np.maximum(spacing, 0.35 * self.radius))).astype(int)
        which = np.repeat(np.arange(len(counts)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        t = ((np.arange(len(which)) - first + 0.5) / counts[which])[:, None]
        points = (1 - t) ** 2 * self.start[which] + 2 * t * (1 - t) * self.bend[which] + t**2 * self.end[which]
        return points, self.radius[which], (length / counts)[which]


def fissures(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Signed height in mm over the oblique fissures and over the right horizontal one (slice, row, column)."""
    x, y, z = canvas.x[None], canvas.y[None], canvas.z[:, None, None]
    wave = 5 * smooth_field(rng, canvas, 90)
    slope = patient.height * np.where(x < 0, rng.uniform(0.0031, 0.0039), rng.uniform(0.0031, 0.0041))
    oblique = z - 0.47 * patient.height - slope * (y + 30) + wave
    horizontal = z - patient.height * rng.uniform(0.44, 0.52) + wave + 0.05 * y
    return oblique, horizontal


def lobes(canvas: Canvas, lung: np.ndarray, oblique: np.ndarray, horizontal: np.ndarray) -> list[tuple[int, str, np.ndarray]]:
    """For each lobe its side, name and the flat indices of its voxels, 2 mm inside the lung and off the fissures."""
    inside = np.flatnonzero(lung < -2.0)
    above, flat = oblique.reshape(-1)[inside], horizontal.reshape(-1)[inside]
    right = canvas.x.reshape(-1)[inside % canvas.x.size] < 0
    upper, lower = above > 1.5, above < -1.5
    found = [(-1, "upper", inside[right & upper & (flat > 1.5)]), (-1, "middle", inside[right & upper & (flat < -1.5)]),
             (-1, "lower", inside[right & lower]), (1, "upper", inside[~right & upper]), (1, "lower", inside[~right & lower])]  # fmt: skip
    return [lobe for lobe in found if len(lobe[2]) > 500]


def grow(root: np.ndarray, toward: np.ndarray, goals: np.ndarray, tip_radius: float, rng: np.random.Generator,
         exponent: float = 2.7) -> Tree:  # fmt: skip
    """Grow a tree from ``root`` that ends near every goal (n, 3): go towards the goals' centre, split them, repeat.

    Radii follow Murray's law, r^e = r1^e + r2^e, with the exponent 2.7 measured in
    pulmonary arteries (Huang et al., J Appl Physiol 1996), from ``tip_radius`` mm upwards.
    """
    start, bend, end, radius = [], [], [], []
    stack = [(root, toward / np.linalg.norm(toward), goals)]
    while stack:
        here, along, points = stack.pop()
        count = len(points)
        way = points.mean(axis=0) - here
        length = float(np.sqrt(way @ way)) + 1e-6
        share = 1.0 if count == 1 else rng.uniform(0.32, 0.5)
        tip = here + share * way
        start.append(here)
        bend.append(here + along * (0.45 * share * length))
        end.append(tip)
        radius.append(tip_radius * count ** (1 / exponent))
        if count == 1:
            continue
        along = tip - bend[-1]
        along = along / (np.sqrt(along @ along) + 1e-6)
        from_tip = points - tip
        across = from_tip - (from_tip @ along)[:, None] * along
        spread = across.T @ across
        axis = spread[np.argmax(np.diag(spread))] + rng.normal(0, 0.2, 3) * np.trace(spread) / 3
        order = across @ axis
        cut = np.partition(order, k := max(1, int(count * rng.uniform(0.25, 0.5))) if count > 2 else 1)[k]
        side = order < cut
        if not side.any() or side.all():
            side = np.arange(count) < count // 2
        stack.append((tip, along, points[side]))
        stack.append((tip, along, points[~side]))
    return Tree(np.array(start), np.array(bend), np.array(end), np.array(radius))


def hilum(patient: Patient, side: int, vein: bool) -> np.ndarray:
    """Where a side's pulmonary artery (or vein) enters the lung, (x, y, z) mm: ends of the great vessels."""
    z = 0.62 * patient.height - (52 if vein else (26 if side < 0 else 28))
    return np.array([side * 42.0, (-20.0 if vein else -14.0), z])


def grow_lungs(canvas: Canvas, patient: Patient, lobe_voxels: list[tuple[int, str, np.ndarray]],
               rng: np.random.Generator) -> dict[str, list[Tree]]:  # fmt: skip
    """Grow arteries, veins and, beside the arteries, bronchi in every lobe."""
    trees: dict[str, list[Tree]] = {"artery": [], "vein": [], "bronchus": []}
    for side, _name, voxels in lobe_voxels:
        volume = len(voxels) * canvas.voxel_ml
        for kind in ("artery", "vein"):
            goals = canvas.point(np.stack(np.unravel_index(rng.choice(voxels, int(volume / 2.4)), canvas.shape), 1))
            root = hilum(patient, side, kind == "vein") + rng.normal(0, 3, 3)
            tree = grow(root, goals.mean(axis=0) - root, goals, 0.42, rng)
            trees[kind].append(tree)
            if kind == "artery":
                # A bronchus runs beside its artery and is about as wide.
                keep = tree.radius > 1.1
                beside = np.array([0.3, 0.7, 0.65]) * 2.1
                r = tree.radius[keep]
                off = r[:, None] * beside
                trees["bronchus"].append(Tree(tree.start[keep] + off, tree.bend[keep] + off, tree.end[keep] + off, 0.8 * r))
    return trees


def paint_lungs(canvas: Canvas, patient: Patient, lung: np.ndarray, rng: np.random.Generator) -> None:
    """Aerated lung: its mean, heavier towards the back, mottled, with the holes of emphysema."""
    back = (canvas.y[None] + 0.3 * patient.depth) / patient.depth
    hu = patient.lung_hu + patient.gravity_hu * back + 14 * smooth_field(rng, canvas, 35)
    hu += 12 * smooth_field(rng, canvas, 7)
    if patient.emphysema > 0:
        holes = smooth_field(rng, canvas, 16) + 0.6 * smooth_field(rng, canvas, 50)
        high = np.clip(patient.u(canvas.z)[:, None, None] + 0.3, 0, 1)
        hu -= 90 * patient.emphysema * high * np.clip(holes - 0.9 + patient.emphysema, 0, 1)
    canvas.paint((slice(None),) * 3, lung, np.maximum(hu, -985))


def paint_trees(canvas: Canvas, patient: Patient, trees: dict[str, list[Tree]], lung: np.ndarray,
                rng: np.random.Generator) -> np.ndarray:  # fmt: skip
    """Paint blood vessels and bronchi; return the vessels' coverage (0…1 a voxel)."""
    everything = (slice(None),) * 3
    total = np.zeros(canvas.shape, np.float32)
    for kind, hu in (("artery", patient.right_heart_hu), ("vein", patient.left_heart_hu)):
        parts = [tree.samples() for tree in trees[kind]]
        points, radii, steps = (np.concatenate(p) for p in zip(*parts, strict=True))
        cover = tubes(canvas, points, radii, steps, rng)
        canvas.blend(everything, cover, hu)
        np.maximum(total, cover, out=total)
    parts = [tree.samples() for tree in trees["bronchus"]]
    points, radii, steps = (np.concatenate(p) for p in zip(*parts, strict=True))
    wall = tubes(canvas, points, radii + 0.25 * radii + 0.3, steps, rng)
    canvas.blend(everything, wall, 20.0)
    canvas.blend(everything, tubes(canvas, points, radii, steps, rng), -960.0)
    return total


def paint_fissures(canvas: Canvas, lung: np.ndarray, oblique: np.ndarray, horizontal: np.ndarray) -> None:
    """Fissures are two pleural layers of about half a millimetre in all: they only lift the HU a little."""
    sheet = np.minimum(np.abs(oblique), np.where((oblique > 0) & (canvas.x[None] < 0), np.abs(horizontal), 99.0))
    share = np.clip(1.0 - sheet / 2.0, 0, 1) * (lung < 0) * 0.22
    canvas.blend((slice(None),) * 3, share, 0.0)


def paint_airways(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Trachea and main bronchi down to the hila."""
    h, carina = patient.height, 0.62 * patient.height
    radius = rng.uniform(7.5, 9.5) * (0.9 if patient.female else 1.05)
    neck = float(patient.spine_y(np.array(1.2 * h)))
    lines = [((0, neck - 22, 1.3 * h), (-2, -22, carina), radius, radius)]
    lines += [((0, -20, carina + 3), hilum(patient, side, False) + (-side * 2, 8, -2), 0.75 * radius, 0.6 * radius) for side in (-1, 1)]
    points, radii = [], []
    for a, b, r0, r1 in lines:
        t = np.linspace(0, 1, 120)[:, None]
        points.append(np.array(a) * (1 - t) + np.array(b) * t)
        radii.append(r0 * (1 - t[:, 0]) + r1 * t[:, 0])
    path, r = np.concatenate(points), np.concatenate(radii)
    step = np.full(len(path), 1.0)
    canvas.blend((slice(None),) * 3, tubes(canvas, path, r + 1.8, step, rng), 30.0)
    canvas.blend((slice(None),) * 3, tubes(canvas, path, r, step, rng), -990.0)
