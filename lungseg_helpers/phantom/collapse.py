"""Lung without air: collapsed behind a tumour that blocks its bronchus, or filled by pneumonia; never labelled."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, smooth_field
from .lungs import Lungs
from .patient import Patient


def paint_collapse(
    canvas: Canvas, patient: Patient, lungs: Lungs, centre: np.ndarray, volume_ml: float, rng: np.random.Generator
) -> None:
    """Take the air from about ``volume_ml`` of the lobe around ``centre`` (x, y, z mm).

    Either a wedge, with its tip at the centre and its base at the pleura, as behind a blocked segment, or a lobe shrunk
    towards the middle: a lower one to the back, an upper one to the front. Collapsed lung takes up more contrast
    than most tumours; without contrast the two look almost alike. Vessels in it stay visible.
    """
    box = lungs.box
    outside, lower = _lobe(canvas, lungs, centre)
    held = outside < 0
    if held.sum() * canvas.voxel_ml < 10:
        return
    x, y, z = canvas.mesh(box)
    if rng.random() < 0.5:
        field = _wedge(canvas, box, held, centre)
    else:
        field = np.abs(x) + (-0.6 if lower else 0.6) * y + 0.15 * np.abs(z - centre[2])
    field = field + 4 * smooth_field(rng, canvas, 30, box) + 1.5 * smooth_field(rng, canvas, 9, box)
    inside = field[held]
    wanted = min(round(volume_ml / canvas.voxel_ml), int(0.9 * inside.size))
    distance = np.maximum(field - np.float32(np.partition(inside, wanted)[wanted]), outside)
    blood = max(0.0, patient.aorta_hu - 40)
    hu = rng.uniform(28, 48) + min(70.0, 0.3 * blood) * rng.uniform(0.4, 1.0)
    share = canvas.cover(distance, rng.uniform(1.5, 5.0)) * (canvas.hu[box] < hu + 25)
    canvas.blend(box, rng.uniform(0.9, 1.0) * share, hu + 5 * smooth_field(rng, canvas, 10, box))
    if rng.random() < 0.45:
        # Bronchi that still hold air: where two random fields are both near zero there are thin, branching tubes.
        ways = np.hypot(smooth_field(rng, canvas, 14, box), smooth_field(rng, canvas, 14, box))
        canvas.blend(box, 0.85 * np.clip(1.6 - ways / 0.13, 0, 1) * (distance < -3), -850.0)


def _lobe(canvas: Canvas, lungs: Lungs, centre: np.ndarray) -> tuple[np.ndarray, bool]:
    """Signed distance in mm, over the lungs' block, to the lobe that holds ``centre``; and whether it is lower."""
    box = lungs.box
    index = np.rint(canvas.index(centre[None])[0]).astype(int)
    index = tuple(np.clip(index, 0, np.array(canvas.shape) - 1))
    side = 1.0 if centre[0] > 0 else -1.0
    lower = bool(lungs.oblique[index] < 0)
    outside = np.maximum(lungs.distance[box], -side * canvas.x[None, box[1], box[2]])
    np.maximum(outside, lungs.oblique[box] if lower else -lungs.oblique[box], out=outside)
    if side < 0 and not lower:
        flat = lungs.horizontal[box]
        np.maximum(outside, flat if lungs.horizontal[index] < 0 else -flat, out=outside)
    return outside, lower


def _wedge(canvas: Canvas, box: tuple, held: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Angle around the way from ``centre`` to the lobe's middle, in mm at 60 mm: a cone, (slice, row, column)."""
    x, y, z = (part - c for part, c in zip(canvas.mesh(box), centre, strict=True))
    few = held[::3, ::4, ::4]
    axis = np.array([np.broadcast_to(part, held.shape)[::3, ::4, ::4][few].mean() if few.any() else 1.0
                     for part in (x, y, z)])  # fmt: skip
    axis = (axis / (np.linalg.norm(axis) + 1e-6)).astype(np.float32)
    along = axis[0] * x + axis[1] * y + axis[2] * z
    across = np.sqrt(np.maximum(x * x + y * y + z * z - along * along, 0))
    return (60 * np.arctan2(across, along + 12)).astype(np.float32)
