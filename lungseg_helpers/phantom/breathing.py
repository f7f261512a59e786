"""The patient breathes while the scan is made: organs smear along z, or slabs of slices miss each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas
from .patient import Patient

FREE = {True: 0.85, False: 0.15}
"""Share of scans in free breathing: for radiotherapy (True) and for diagnosis (False); the course's own."""

MODES = {"gated": 0.35, "averaged": 0.3, "stepped": 0.35}
"""How free breathing looks: one phase of a 4-D scan, the mean of a slow scan, or slabs at different moments."""

AMPLITUDE_MM = (12.0, 4.0)
"""Mean and spread of the way that the lungs' bases travel from head to foot: lower-lobe tumours that are not fixed to
anything move by 12 mm on average (Seppenwoolde et al., Int J Radiat Oncol Biol Phys 53:822, 2002)."""

APEX_SHARE = 0.15
"""Share of that way left at the apex: upper or fixed tumours move by about 2 mm (the same authors)."""


@dataclass(frozen=True)
class Breathing:
    """How the patient breathed: ``mode`` is "held" or one of :data:`MODES`; ``amplitude_mm`` from breath out to breath
    in at the lungs' bases; ``rest`` the exponent n of :func:`position`."""

    mode: str
    amplitude_mm: float
    rest: int


def draw_breathing(rng: np.random.Generator, radiotherapy: bool) -> Breathing:
    """Draw whether and how a patient breathes during the scan."""
    free = rng.random() < FREE[radiotherapy]
    mode = str(rng.choice(list(MODES), p=list(MODES.values())))
    amplitude = float(np.clip(rng.normal(*AMPLITUDE_MM), 3.0, 24.0))
    return Breathing(mode, amplitude, int(rng.integers(1, 4))) if free else Breathing("held", 0.0, 1)


def position(time: np.ndarray, rest: int) -> np.ndarray:
    """Place (0 breathed out … 1 breathed in) at a ``time`` in cycles: cos²ⁿ, longer at rest breathed out.

    Lujan et al., Med Phys 26:715 (1999), with n = ``rest`` from 1 to 3.
    """
    return np.cos(np.pi * np.asarray(time)) ** (2 * rest)


def breathe(
    canvas: Canvas,
    label: np.ndarray,
    patient: Patient,
    cage: np.ndarray,
    breathing: Breathing,
    rng: np.random.Generator,
) -> np.ndarray:
    """Move what lies in the cage, in ``canvas`` and in the ``label`` (slice, row, column); return the label.

    The wall stands still. The label goes with the picture: a reader draws what the scan shows. Where a mean over
    the whole cycle leaves no voxel in it half of the time, the likeliest voxels keep its volume.
    """
    if breathing.mode == "held":
        return label
    share = np.clip(0.5 - (cage - 2.0) / 6.0, 0, 1)
    where = _slices_seen(canvas, patient, breathing, rng)
    canvas.hu += share * (_mix(canvas.hu, where) - canvas.hu)
    wanted = int(label.sum())
    filled = label.any(axis=(1, 2)).nonzero()[0]
    reach = int(np.ceil(breathing.amplitude_mm / canvas.spacing[0])) + 2
    part = slice(max(int(filled[0]) - reach, 0), int(filled[-1]) + reach + 1)
    seen = label.astype(np.float32)
    moved = np.stack([_one(seen, *where[k]) for k in range(*part.indices(len(seen)))])
    moved = seen[part] + share[part] * (moved - seen[part])
    level = min(0.5, max(0.1, float(np.partition(moved.reshape(-1), -wanted)[-wanted])))
    out = np.zeros_like(label)
    out[part] = moved >= level
    return out


def _slices_seen(
    canvas: Canvas, patient: Patient, breathing: Breathing, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every slice the slices of the resting patient that it shows, and their weights, which sum to 1."""
    way = breathing.amplitude_mm * np.clip(1.0 - patient.u(canvas.z), APEX_SHARE, 1.0)
    count = len(canvas.z)
    if breathing.mode == "averaged":
        time = np.broadcast_to(np.arange(8) / 8 + 1 / 16, (count, 8))
    else:
        # about a tenth of a cycle passes while one slice is made
        window = np.linspace(-0.06, 0.06, 3)
        moment = rng.random()
        if breathing.mode == "gated":
            time = np.broadcast_to(moment + window, (count, 3))
        else:
            slab = max(1, round(rng.uniform(8, 30) / canvas.spacing[0]))
            moments = moment + rng.normal(0, 0.18, count // slab + 1)
            time = np.repeat(moments, slab)[:count, None] + window
    at = np.arange(count)[:, None] + way[:, None] * position(time, breathing.rest) / canvas.spacing[0]
    at = np.clip(at, 0, count - 1.001)
    found = []
    for row in at:
        low = row.astype(int)
        first = int(low.min())
        weight = np.bincount(low - first, 1 - (row - low), minlength=int(low.max()) - first + 2)
        weight += np.bincount(low - first + 1, row - low, minlength=len(weight))
        found.append((np.arange(first, first + len(weight)), (weight / row.size).astype(np.float32)))
    return found


def _mix(volume: np.ndarray, where: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.stack([_one(volume, *seen) for seen in where])


def _one(volume: np.ndarray, slices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of a few slices, (row, column)."""
    total = volume[slices[0]] * weights[0]
    for k, weight in zip(slices[1:], weights[1:], strict=True):
        if weight:
            total += volume[k] * weight
    return total
