"""A figure as a small PNG: a notebook is stored whole, and CT slices are noise to a compressor."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

GREYS = 48
"""Evenly from black to white: finer than what the noise of a CT leaves to see, at a third of the bytes."""

COLOURS = 48
"""Of lines, bands and letters, besides the greys."""

COLOURED = 10
"""A pixel whose red, green and blue differ by so much (of 255) is coloured."""


def small_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG of at most :data:`GREYS` greys and :data:`COLOURS` colours."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight", pil_kwargs={"compress_level": 0})
    pixels = np.asarray(Image.open(stream).convert("RGB"))
    coloured = np.ptp(pixels.astype(np.int16), axis=2) >= COLOURED
    palette = [level for grey in range(GREYS) for level in [round(255 * grey / (GREYS - 1))] * 3]
    indices = np.rint(pixels.mean(axis=2, dtype=np.float32) * ((GREYS - 1) / 255)).astype(np.uint8)
    if coloured.any():
        # an octree keeps rare colours, such as an outline's; the median cut would give most of its places to fills
        few = Image.fromarray(pixels[coloured][None]).quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=0)
        indices[coloured] = GREYS + np.asarray(few)[0]
        palette += few.getpalette()[: 3 * COLOURS]
    picture = Image.fromarray(indices)
    picture.putpalette(palette)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
