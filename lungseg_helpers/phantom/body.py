"""Soft outer body: skin, fat, muscle, breasts and arms."""

from __future__ import annotations

import numpy as np

from .canvas import ALL, Canvas, ellipsoid, smooth_field
from .couch import paint_surroundings
from .patient import Patient

FAT_HU, MUSCLE_HU, SKIN_HU = -102.0, 52.0, 25.0
"""Typical CT numbers at 120 kV."""


def paint_body(canvas: Canvas, patient: Patient, cage: np.ndarray, rng: np.random.Generator) -> None:
    """Paint everything outside the rib cage but bone, from couch to muscle."""
    medium, fine = smooth_field(rng, canvas, 28), smooth_field(rng, canvas, 8)
    chin = _draw_chin(patient, rng)
    skin = _skin_distance(canvas, patient, chin, rng)
    paint_surroundings(canvas, patient, skin, medium, rng)
    canvas.paint(ALL, skin, SKIN_HU)
    canvas.paint(ALL, skin + 2.0, FAT_HU)
    # Strands of connective tissue in the fat; below, streaks of fat in the muscle.
    canvas.hu += (6.0 * fine + 50.0 * np.clip(fine - 0.8, 0, 1.2)) * (skin < -3)
    if patient.female:
        # Glandular tissue: strands in the fat in front of the muscle.
        gland = np.maximum(np.maximum(0.55 - 0.6 * medium - 0.5 * fine, (22 - cage) / 8), (skin + 6) / 8)
        front = (canvas.y[None] - patient.cage_front(canvas.z)[:, None, None] - 10).astype(np.float32) / 8
        canvas.blend(ALL, 0.8 * canvas.cover(np.maximum(gland, front), 0.8), 25.0)
    muscle = cage - _muscle_thickness(canvas, patient) + 2.0 * medium + fine
    np.maximum(muscle, skin + 3.0 + 0.12 * patient.fat, out=muscle)
    share = canvas.cover(muscle, 2.2)
    # Fat planes between the layers of muscle outside the ribs.
    plane = 1.0 - np.abs(medium + 0.4 * fine) / np.float32(0.22)
    plane *= np.clip((cage - 10) / 4, 0, 1)
    share *= 1.0 - 0.75 * np.clip(plane, 0, 1)
    share *= 1.0 - 0.6 * np.clip(-0.7 - fine, 0, 1)
    canvas.blend(ALL, share, MUSCLE_HU + 5 * fine)
    _paint_chin(canvas, *chin, rng)


def _draw_chin(patient: Patient, rng: np.random.Generator) -> tuple[tuple, tuple]:
    """Centre and radii (x, y, z) mm of a chin: with the head bowed it lies before the neck, level with the apexes."""
    height = patient.height + rng.uniform(-5, 55)
    centre = (rng.normal(0, 12), float(patient.cage_front(np.array(patient.height))) - rng.uniform(25, 65), height)
    return centre, (rng.uniform(20, 36), rng.uniform(24, 40), rng.uniform(18, 32))


def _paint_chin(canvas: Canvas, centre: tuple, radii: tuple, rng: np.random.Generator) -> None:
    """Muscle under the skin of the chin, and the jaw's bow in it."""
    box = canvas.around(np.array(centre), max(radii) + 4)
    shape = ellipsoid(*canvas.mesh(box), centre, radii)
    canvas.paint(box, shape + rng.uniform(3, 7) + smooth_field(rng, canvas, 8, box), MUSCLE_HU)
    front = canvas.y[None, box[1], box[2]] - centre[1] + rng.uniform(0, 15)
    low = centre[2] + rng.uniform(-5, 10) - canvas.z[box[0], None, None]
    bow = np.maximum(np.maximum(np.abs(shape + 10) - 4, front), low)
    canvas.paint(box, bow, 900.0)


def _skin_distance(canvas: Canvas, patient: Patient, chin: tuple, rng: np.random.Generator) -> np.ndarray:
    """Signed distance in mm (slice, row, column) to the skin."""
    z = canvas.z[:, None, None]
    u = patient.u(z)
    level = np.clip(z, -60, 0.62 * patient.height)
    wider = [0, 14, 42, 56, 48] if patient.arms_up else [0, 12, 38, 40, 10]
    shoulder = np.interp(u, [0.5, 0.75, 0.95, 1.1, 1.4], wider)
    width = patient.cage_half_width(level) + patient.wall + patient.fat + shoulder
    front = patient.cage_front(np.minimum(z, patient.height)) - patient.wall - 2 - 0.8 * patient.fat
    back = patient.cage_back(np.minimum(z, patient.height)) + 24 + 0.6 * patient.fat + 1.0 * patient.muscle
    middle, depth = ((front + back) / 2).astype(np.float32), ((back - front) / 2).astype(np.float32)
    x = canvas.x[None] / width.astype(np.float32)
    y = (canvas.y[None] - middle) / depth
    x *= x
    y *= y
    total = x * np.sqrt(np.sqrt(x)) + y * np.sqrt(np.sqrt(y))
    np.maximum(total, 1e-3, out=total)
    skin = np.log(total, out=total)
    skin *= (np.sqrt(width * depth) / 2.5).astype(np.float32)
    skin += 3.0 * smooth_field(rng, canvas, 90)
    h = patient.height
    _join(canvas, skin, *chin, 3.0)
    chest = float(patient.cage_front(np.array(0.4 * h))) - patient.wall - 0.8 * patient.fat
    for side in (-1, 1):
        if patient.female:
            size = 26.0 + 0.9 * patient.fat * rng.uniform(0.8, 1.2)
            centre = (side * (0.55 * patient.half_width + 0.2 * size), chest + 4, 0.42 * h + 0.2 * size)
            _join(canvas, skin, centre, (1.7 * size, 1.05 * size, 1.8 * size), 22.0)
            _join(canvas, skin, (centre[0], chest - 1.0 * size, centre[2]), (5, 7, 5), 3.0)
        else:
            nipple = (side * 0.75 * patient.half_width, chest * 0.86, 0.45 * h)
            _join(canvas, skin, nipple, (4, 6, 4), 3.0)
        if not patient.arms_up:
            place = side * (patient.half_width + patient.wall + patient.fat + 52)
            arm = np.hypot(canvas.x[None] - place, (canvas.y[None] - 5) * 0.85) - (38 + 0.4 * patient.fat)
            np.minimum(skin, np.maximum(arm, (u - 0.9) * 200).astype(np.float32), out=skin)
    return skin


def _join(canvas: Canvas, distance: np.ndarray, centre: tuple, radii: tuple, blend: float) -> None:
    """Grow an ellipsoid out of a body so that the two flow into each other over ``blend`` mm."""
    box = canvas.around(np.array(centre), 1.3 * max(radii) + blend)
    a, b = distance[box], ellipsoid(*canvas.mesh(box), centre, radii)
    share = np.clip(0.5 + (b - a) / (2 * blend), 0, 1)
    distance[box] = b + (a - b) * share - blend * share * (1 - share)


def _muscle_thickness(canvas: Canvas, patient: Patient) -> np.ndarray:
    """Thickness of muscle outside the pleura, mm: pectorals, flank, back, shoulder."""
    u = patient.u(canvas.z)[:, None, None]
    x, y = np.abs(canvas.x)[None], canvas.y[None]
    upper = np.exp(-(((u - 0.8) / 0.25) ** 2)).astype(np.float32)
    pectoral = np.exp(-(((x - 75) / 50) ** 2) - ((y + 95) / 45) ** 2)
    flank = np.exp(-(((x - patient.half_width) / 45) ** 2) - ((y - 15) / 45) ** 2)
    blade = np.exp(-(((x - 100) / 40) ** 2) - ((y - 45) / 40) ** 2)
    erector = np.exp(-(((x - 34) / 26) ** 2) - ((y - 66) / 30) ** 2)
    girdle = np.clip((u - 0.8) / 0.18, 0, 1.3).astype(np.float32)
    thick = 9.5 + patient.muscle * (0.7 * flank + 2.0 * erector)
    thick = thick + patient.muscle * upper * (1.3 * pectoral + 1.6 * blade + 0.5 * flank)
    return thick + (2.2 * patient.muscle + 12) * girdle * np.clip((y + 75) / 40, 0, 1) * (0.7 + 0.6 * flank)
