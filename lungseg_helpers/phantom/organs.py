"""Below the lungs: diaphragm, liver, stomach with its gas, spleen, kidneys and gut."""

from __future__ import annotations

import numpy as np

from .body import FAT_HU, MUSCLE_HU
from .canvas import Canvas, ellipsoid, smooth_field
from .patient import Patient


def diaphragm_height(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """Height z (row, column) in mm of the diaphragm: two domes that fall steeply to the back and sides.

    Domes are flat or steep, and many bear humps: in axial slices a hump's tip is an island
    in the lung, which a network takes for a tumour unless it has met some.
    """
    domes = []
    for side, top in zip((-1, 1), patient.dome, strict=True):
        steep = rng.uniform(1.5, 2.8)
        x = side * canvas.x - rng.uniform(0.36, 0.66) * patient.half_width
        x = x / (rng.uniform(0.45, 0.62) * patient.half_width)
        x = np.where(x < 0, 0.65 * x, x)  # the heart lies on a saddle, only a little below the domes
        y = (canvas.y + rng.uniform(0.08, 0.36) * patient.depth) / (rng.uniform(0.48, 0.64) * patient.depth)
        away = np.abs(x) ** steep + np.where(y > 0, 1.0, 0.5) * np.abs(y) ** steep
        dome = top - (top + 12) * np.clip(away, 0, 1.5)
        for _ in range(rng.poisson(1.5)):
            wide = rng.uniform(9, 26)
            at = (side * rng.uniform(0.2, 0.9) * patient.half_width, rng.uniform(-0.6, 0.2) * patient.depth)
            hump = np.exp(-((canvas.x - at[0]) ** 2 + (canvas.y - at[1]) ** 2) / (2 * wide**2))
            dome = dome + rng.uniform(0.2, 1.0) * wide * hump
        domes.append(dome)
    share = np.clip(canvas.x / 50 + 0.5, 0, 1)
    dome = (1 - share) * domes[0] + share * domes[1]
    return (dome + 2.5 * smooth_field(rng, canvas, 45)[0]).astype(np.float32)


def paint_abdomen(
    canvas: Canvas, patient: Patient, cage: np.ndarray, dome: np.ndarray, rng: np.random.Generator
) -> None:
    """Fill the cage below the diaphragm."""
    top = int(np.searchsorted(canvas.z, float(dome.max()) + 8))
    if top == 0:
        return
    box = (slice(0, top), slice(None), slice(None))
    x, y, z = canvas.mesh(box)
    w, left = patient.half_width, patient.dome[1]
    lumps, fine = smooth_field(rng, canvas, 30, box), smooth_field(rng, canvas, 10, box)
    inside = np.maximum(cage[box] + 1.0, 0.75 * (z - dome[None]))
    canvas.paint(box, inside, MUSCLE_HU)
    canvas.paint(box, inside + 2.5, FAT_HU + 8 * fine)
    # The liver touches the diaphragm; between it and stomach and spleen there is more or less fat.
    inside += 0.8 + rng.uniform(0, 9) * np.clip(x / 30, 0, 1)
    # Solid organs take up contrast with the blood: liver about a third, spleen more.
    blood = max(0.0, patient.aorta_hu - 40)
    edge = rng.uniform(5, 45) + 8 * lumps + 0.25 * np.minimum(z, 0)
    liver = np.maximum(inside, np.maximum((x - edge) * 0.8, -z - 70 + 0.6 * x - 8 * lumps))
    canvas.paint(box, liver, rng.uniform(45, 62) + min(60.0, 0.35 * blood) + 3 * fine)
    spleen = ellipsoid(x, y, z, (0.66 * w, 24, left - rng.uniform(38, 60)), (34, 36, 44)) + 2 * lumps
    spleen = np.maximum(spleen, inside)
    canvas.paint(box, spleen, 48 + min(80.0, 0.5 * blood))
    centre = (rng.uniform(0.38, 0.5) * w, rng.uniform(-62, -38), left - rng.uniform(30, 48))
    stomach = ellipsoid(x, y, z, centre, (44, 40, 44)) + 4 * lumps
    stomach = np.maximum(np.maximum(stomach, inside), -liver)
    stomach = np.maximum(stomach, -spleen)
    canvas.paint(box, stomach, 40.0)
    canvas.paint(box, stomach + 4, rng.uniform(0, 30) + 12 * fine)
    canvas.paint(box, np.maximum(stomach + 4, y - centre[1] + rng.uniform(-5, 30)), -960.0)
    solid = np.minimum(np.minimum(liver, spleen), stomach)
    for side in (-1, 1):
        kidney = ellipsoid(x, y, z, (side * 58, 34, -58 - 6 * side), (27, 27, 52)) + lumps
        canvas.paint(box, np.maximum(kidney, 1 - solid), 32 + min(150.0, 0.8 * blood))
        solid = np.minimum(solid, kidney)
    # Loops of gut are the inside of a random field; some of them hold gas.
    gut = np.maximum(np.maximum(6 - 11 * np.abs(lumps), inside + 3), np.maximum(3 - solid, y - 15))
    canvas.paint(box, gut, 35.0)
    canvas.paint(box, np.maximum(gut + 3, -9 * fine + 3), rng.uniform(-900, -300))
