"""A chest simple enough to know every answer."""

import numpy as np

SHAPE = (96, 96, 40)
"""Voxels of the toy chest, (x, y, z) as on disk."""

SPACING = (4.0, 4.0, 6.0)
"""Its spacing in mm."""


def toy_volume(tumour: bool = True, centre: tuple[float, float, float] = (26, 50, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Return HU int16 and label uint8, (x, y, z), x to the patient's right, y to the back (axes L, P, S reversed).

    A water body with two air-filled lungs; the tumour is a ball of 18 mm radius in the lung at low x,
    denser than anything else so that a threshold can stand in for a network.
    """
    x, y, z = np.meshgrid(*(np.arange(size, dtype=float) for size in SHAPE), indexing="ij")
    body = ((x - 48) / 42) ** 2 + ((y - 48) / 32) ** 2 < 1
    lungs = np.zeros(SHAPE, bool)
    for side in (28, 68):
        lungs |= ((x - side) / 14) ** 2 + ((y - 48) / 22) ** 2 + ((z - 20) / 15) ** 2 < 1
    ball = sum(((axis - mid) * mm) ** 2 for axis, mid, mm in zip((x, y, z), centre, SPACING, strict=True)) < 18**2
    ball &= tumour
    hu = np.where(body, 20, -1024)
    hu[lungs] = -820
    hu[ball] = 300
    noise = np.random.default_rng(0).normal(0, 10, SHAPE)
    return np.clip(hu + noise, -1024, 3071).astype(np.int16), ball.astype(np.uint8)
