"""A short film that a notebook itself holds: an animated PNG, which needs no player and shows on a web page."""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image
from skimage.measure import find_contours

from ..scans.lungs import lung_box
from .films import develop
from .overlay import TRUTH

GREYS = 20
"""So few greys keep a film of some thirty slices below 500 kB, and the lung window hardly shows it."""

AROUND_MM = 25.0
"""Chest wall that is kept around the lungs."""


def film_loop(
    ct: np.ndarray,
    spacing: tuple[float, float, float],
    truth: np.ndarray,
    slices: Sequence[int],
    width: int = 280,
    frames_per_second: float = 8,
    pause_s: float = 1.0,
) -> bytes:
    """Film some slices around the lungs with the tumour's outline: the bytes of an animated PNG that starts again.

    ``ct`` (HU) and ``truth`` (a mask) are (slice, row, column), ``spacing`` the mm between slices, rows and columns;
    ``width`` is a frame's, in pixels. The film stays ``pause_s`` longer on the slice that holds most tumour. It has
    :data:`GREYS` greys, in the lung window, and one colour, because a notebook is stored whole. Raises
    :class:`~lungseg_helpers.errors.ScanError` where no lung is found.
    """
    _, rows, columns = (slice(*side) for side in lung_box(ct, spacing, AROUND_MM))
    ct, truth = ct[:, rows, columns], np.asarray(truth)[:, rows, columns] > 0
    height = round(width * ct.shape[1] * spacing[1] / (ct.shape[2] * spacing[2]))
    scale = width / ct.shape[2], height / ct.shape[1]
    palette = [level for grey in range(GREYS) for level in [round(255 * grey / (GREYS - 1))] * 3]
    palette += [int(TRUTH["color"][place : place + 2], 16) for place in (1, 3, 5)]
    frames = []
    for index in slices:
        grey = develop(ct[index], (width, height), "lung")[..., 0]
        picture = np.rint(grey * ((GREYS - 1) / 255)).astype(np.uint8)
        for line in find_contours(np.pad(truth[index], 1).astype(np.float32), 0.5):
            # padded by one, and a pixel's middle lies half a pixel from its edge
            points = np.rint((line[:, ::-1] - 0.5) * scale - 0.5).astype(np.int32)
            cv2.polylines(picture, [points], isClosed=True, color=GREYS)
        frames.append(Image.fromarray(picture))
        frames[-1].putpalette(palette)
    durations = np.full(len(frames), 1000 / frames_per_second)
    durations[int(np.argmax(truth[list(slices)].sum(axis=(1, 2))))] += 1000 * pause_s
    stream = io.BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:], duration=durations.tolist(), loop=0)
    return stream.getvalue()
