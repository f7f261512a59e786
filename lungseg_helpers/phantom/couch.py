"""What surrounds the patient in the air: a diagnostic table or a flat radiotherapy couch, gown and blanket."""

from __future__ import annotations

import numpy as np

from .canvas import ALL, Canvas
from .patient import Patient


def paint_surroundings(
    canvas: Canvas, patient: Patient, skin: np.ndarray, waves: np.ndarray, rng: np.random.Generator
) -> None:
    """Paint what lies under the patient, and folds of a gown or blanket in the air above.

    ``skin`` is the signed distance in mm, ``waves`` noise of unit variance, both (slice, row, column).
    """
    back = float(patient.cage_back(np.array(0.4 * patient.height))) + 24 + 0.6 * patient.fat + patient.muscle
    if patient.radiotherapy:
        _paint_flat_couch(canvas, back, rng)
    else:
        _paint_table(canvas, back + rng.uniform(2, 8), rng.uniform(15, 55), rng)
    for _ in range(int(rng.integers(0, 4))):
        fold = np.abs(skin - rng.uniform(2, 22) - rng.uniform(4, 14) * waves) - 0.3
        canvas.blend(ALL, 0.5 * canvas.cover(fold), rng.uniform(-900, -600))


def _paint_table(canvas: Canvas, top: float, sag: float, rng: np.random.Generator) -> None:
    """A scanner's own table, hollow by ``sag`` mm: foam between two shells. ``top`` is its upper y in mm."""
    x, y = canvas.x[None], canvas.y[None]
    top = top - (x / 240.0) ** 2 * sag
    thick, half = rng.uniform(30, 75), rng.uniform(195, 230)
    foam = np.maximum(np.abs(y - top - thick / 2) - thick / 2, np.abs(x) - half)
    canvas.paint(ALL, foam, rng.uniform(-985, -920))
    canvas.paint(ALL, np.maximum(np.abs(y - top) - 0.7, np.abs(x) - half), rng.uniform(-700, -200))
    canvas.paint(ALL, np.maximum(np.abs(y - top - thick) - 1.0, np.abs(x) - half + 8), rng.uniform(-300, 150))


def _paint_flat_couch(canvas: Canvas, back: float, rng: np.random.Generator) -> None:
    """A flat couch top of carbon fibre, some with a mattress; ``back`` is the y of the skin on it, in mm."""
    x, y = canvas.x[None], canvas.y[None]
    if rng.random() < 0.5:
        # the diagnostic table below, on which the flat top is laid
        _paint_table(canvas, back + rng.uniform(60, 110), rng.uniform(15, 55), rng)
    top, half, thick = back + rng.uniform(0, 6), rng.uniform(200, 265), rng.uniform(20, 60)
    if rng.random() < 0.4:
        mat = rng.uniform(8, 40)
        mattress = np.maximum(np.abs(y - top - mat / 2) - mat / 2, np.abs(x) - rng.uniform(150, 220))
        canvas.paint(ALL, mattress, rng.uniform(-980, -900))
        top += mat
    sides = np.abs(x) - half + 0.5 * np.clip(y - top - 0.5 * thick, 0, None)
    canvas.paint(ALL, np.maximum(np.abs(y - top - thick / 2) - thick / 2, sides), rng.uniform(-985, -930))
    shell, hu = rng.uniform(0.8, 1.6), rng.uniform(-500, -50)
    for at in (top, top + thick):
        canvas.paint(ALL, np.maximum(np.abs(y - at) - shell, sides), hu)
    walls = np.maximum(np.abs(sides) - shell, np.abs(y - top - thick / 2) - thick / 2)
    canvas.paint(ALL, walls, hu)
