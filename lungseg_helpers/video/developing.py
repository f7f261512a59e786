"""From HU to pixels: a slice as a picture with its heat map, and the part of it that is looked at closely."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import matplotlib
import numpy as np

from .overlay import HEAT, window_limits

FAINT = 0.05
"""Probabilities below this are not drawn: a network is never quite sure of nothing."""
OPAQUE = 0.65
"""How opaque a probability of 1 is, and lower ones in proportion: the tissue has to be seen below."""


def develop(ct: np.ndarray, size: tuple[int, int], window: str, heat: np.ndarray | None = None) -> np.ndarray:
    """Return one slice (row, column) in HU as a picture of ``size`` (width, height): (height, width, 3) uint8.

    ``heat`` is a probability in 255ths, uint8, laid over it the more opaquely the higher it is.
    """
    low, high = window_limits(window)
    grey = cv2.convertScaleAbs(np.clip(ct, low, high) - low, alpha=255 / (high - low))
    how = cv2.INTER_AREA if size[0] < ct.shape[1] else cv2.INTER_LINEAR
    picture = cv2.cvtColor(cv2.resize(grey, size, interpolation=how), cv2.COLOR_GRAY2RGB)
    if heat is not None and heat.max() > FAINT * 255:
        heat = cv2.resize(np.ascontiguousarray(heat), size, interpolation=cv2.INTER_LINEAR)
        colours = (255 * matplotlib.colormaps[HEAT](np.arange(256))[:, :3]).astype(np.float32)
        hot = heat > FAINT * 255
        share = OPAQUE * heat[hot, None] / 255
        picture[hot] = (1 - share) * picture[hot] + share * colours[heat[hot]]
    return picture


def close_up(
    plane: np.ndarray, centre: Sequence[float], side_mm: float, spacing: Sequence[float], pixels: int, fill: int = 0
) -> np.ndarray:
    """Return a square part of a slice (row, column), sampled anew at ``pixels`` by ``pixels``; dtype as given.

    Its middle is ``centre``, row and column in pixels as in :class:`Track`; it is ``side_mm`` wide and high, whatever
    the mm between rows and columns (``spacing``). Beyond the slice's edge it is ``fill``.
    """
    down, across = (side_mm / pixels / mm for mm in spacing)
    half = (pixels - 1) / 2
    back = np.array([[across, 0, centre[1] - half * across], [0, down, centre[0] - half * down]])
    how = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_CONSTANT, "borderValue": fill}
    return cv2.warpAffine(np.ascontiguousarray(plane), back, (pixels, pixels), **how)
