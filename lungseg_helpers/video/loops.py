"""A short film that a notebook itself holds: an animated PNG, which needs no player and shows on a web page."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image
from skimage.measure import find_contours

from ..scans.lungs import lung_box
from ..scans.view import View
from .developing import develop
from .overlay import TRUTH

GREYS = 20
"""So few greys keep a film of some thirty slices below 500 kB, and the lung window hardly shows it."""

MARGIN_MM = 25.0
"""Chest wall that is kept around the lungs."""


def film_loop(
    view: View, around_mm: float = 34.0, width: int = 280, frames_per_second: float = 8, pause_s: float = 1.0
) -> bytes:
    """Film the slices around a tumour, cropped to the lungs, with its outline: an animated PNG that starts again.

    ``view`` holds the tumour as the mask ``truth``. The film runs from foot to head over the slices within
    ``around_mm`` of the one that holds most tumour, and stays ``pause_s`` longer on that one; ``width`` is a frame's,
    in pixels. It has :data:`GREYS` greys, in the lung window, and one colour, because a notebook is stored whole.
    Raises :class:`~lungseg_helpers.errors.ScanError` where no lung is found.
    """
    spacing = view.spacing
    _, rows, columns = (slice(*side) for side in lung_box(view.ct, spacing, MARGIN_MM))
    ct, truth = view.ct[:, rows, columns], view.masks["truth"][:, rows, columns] > 0
    fullest, reach = int(np.argmax(truth.sum(axis=(1, 2)))), round(around_mm / spacing[0])
    slices = range(max(0, fullest - reach), min(len(ct), fullest + reach + 1))
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
    durations[fullest - slices.start] += 1000 * pause_s
    stream = io.BytesIO()
    # the first picture is no part of the film: a viewer that shows no films shows it, and it has the tumour
    still = frames[fullest - slices.start]
    options = {"duration": durations.tolist(), "loop": 0, "default_image": True}
    still.save(stream, "PNG", save_all=True, append_images=frames, **options)
    return stream.getvalue()
