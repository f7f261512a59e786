"""Random variations of a training slice: where a patch is cut, how it is moved, bent and re-scaled.

All moves of one variation (mirror, scale, turn, shift, bend) become a single map: for each pixel
of the patch, the place in the slice that it is taken from. Image and mask follow the same map, so
they cannot part, and each is sampled once instead of once a move. :func:`make_augmenter` is the
same in imgaug, step by step, as notebook 02 builds it: what tests hold the map's moves
against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import imgaug.augmenters as iaa
import numpy as np
import torch
from torch.nn import functional

from ..recipe import Augmentation

STEP = 4
"""A map names the place of every so many-th pixel."""


def fit_frame(array: np.ndarray, frame: tuple[int, int], fill: float) -> np.ndarray:
    """Centre (…, row, column) in a frame of (rows, columns): padded with ``fill``, or cut where it is larger."""
    for axis, size in zip((-2, -1), frame, strict=True):
        spare = size - array.shape[axis]
        if spare < 0:
            array = array.take(range(-spare // 2, -spare // 2 + size), axis=axis)
        elif spare > 0:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (spare // 2, spare - spare // 2)
            array = np.pad(array, widths, constant_values=fill)
    return array


def patch_centre(
    shape: Sequence[int],
    mask: np.ndarray | None,
    patch: Sequence[int],
    rng: np.random.Generator,
    index: int | None = None,
) -> tuple[int, ...]:
    """Choose the (row, column) that a training patch is centred on: near tumour if the slice holds any, else anywhere.

    ``shape`` is the slice's, ``mask`` (not 0 where tumour is) None for one without tumour. Of a volume, whose ``shape``
    and ``patch`` have three sizes, ``mask`` is of slice ``index``, and (slice, row, column) is chosen. Tumour is put up
    to a third of the patch off the centre, or a network would learn that tumours are in the middle. The patch stays
    inside where it fits, so that work is not spent on the air around it.
    """
    held = [] if mask is None else np.flatnonzero(mask)
    plane = shape[-2:]
    point = np.unravel_index(held[rng.integers(len(held))], plane) if len(held) else rng.integers(plane)
    point = point if index is None else (index, *point)
    centre = []
    for middle, length, size in zip(point, patch, shape, strict=True):
        middle = int(middle + rng.integers(-(length // 3), length // 3 + 1))
        first, last = length // 2, size - (length - length // 2)
        centre.append(size // 2 if last <= first else min(max(middle, first), last))
    return tuple(centre)


def vary_context(index: int, slices: int, settings: Augmentation, rng: np.random.Generator) -> dict[str, Any]:
    """Draw how slice ``index`` of ``slices`` sees its neighbours: options of :func:`~.slices.read_hu`."""
    first, last = 0, slices - 1
    if rng.random() < settings.context_end:
        first, last = (index, last) if rng.random() < 0.5 else (first, index)
    return {"stretch": float(np.exp(rng.uniform(*np.log(settings.context_stretch)))), "ends": (first, last)}


@dataclass(frozen=True)
class Map:
    """For each pixel of a patch of ``size`` (rows, columns) the place in the slice that it comes from.

    Moves are smooth, so ``places`` holds the (row, column) of every ``step``-th pixel only, and of
    one more beyond each edge: float32 (n, m, 2). Pixels between them are interpolated. ``scale`` is the factor
    by which the patch shows the slice enlarged.
    """

    size: tuple[int, int]
    step: int
    places: np.ndarray
    scale: float = 1.0

    def pixels(self) -> np.ndarray:
        """Return the place of each pixel: float32 (rows, columns, 2)."""
        return self._spread(self.places)

    def grid(self, part: tuple[slice, slice], shape: tuple[int, int]) -> torch.Tensor:
        """Return the map as torch's ``grid_sample`` wants it, for a ``part`` of the slice that has ``shape``.

        That is the column first, and counted from -1 at one edge of the part to 1 at the other.
        """
        scaled = np.empty_like(self.places)
        for axis, (side, length) in enumerate(zip(part, shape, strict=True)):
            zero = (1 - 2 * (side.start or 0)) / length - 1
            scaled[..., 1 - axis] = self.places[..., axis] * np.float32(2 / length) + np.float32(zero)
        return torch.from_numpy(self._spread(scaled))[None]

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Return the part (rows, columns) of a slice of ``shape`` that the map looks at; of one pixel at least."""
        window = []
        for axis, length in enumerate(shape):
            places = self.places[..., axis]
            first = min(max(0, math.floor(places.min())), length - 1)
            window.append(slice(first, min(max(first, math.ceil(places.max())) + 1, length)))
        return window[0], window[1]

    def _spread(self, places: np.ndarray) -> np.ndarray:
        rows, columns = (length * self.step for length in places.shape[:2])
        full = cv2.resize(places, (columns, rows), interpolation=cv2.INTER_LINEAR)
        return full[self.step : self.step + self.size[0], self.step : self.step + self.size[1]]


def draw_map(
    size: tuple[int, int], centre: tuple[int, int], settings: Augmentation | None, rng: np.random.Generator
) -> Map:
    """Draw how a patch of ``size`` (rows, columns) is cut around ``centre`` (row, column) of a slice.

    ``settings`` say how much it is mirrored, scaled, turned, shifted and bent; None for a plain cut.
    """
    turn, scale, mirror, shift, bend, step = 0.0, 1.0, 1, (0.0, 0.0), None, STEP
    if settings is not None:
        if rng.random() < settings.elastic_probability:
            bend = rng.uniform(*settings.elastic_alpha), rng.uniform(*settings.elastic_sigma)
            step = min(STEP, max(1, int(bend[1] / 2)))  # half a sigma still shows every bend
        turn, scale = math.radians(rng.uniform(-settings.rotate_deg, settings.rotate_deg)), rng.uniform(*settings.scale)
        drawn = [rng.uniform(-settings.shift, settings.shift) * length for length in size]
        shift = [moved + settings.fixed_shift * length for moved, length in zip(drawn, size, strict=True)]
        mirror = -1 if rng.random() < settings.flip_left_right else 1
    # From the patch back to the slice every move is undone: shift and bend first, then turn, scale and mirror.
    y, x = (_places(length, step) - moved for length, moved in zip(size, shift, strict=True))
    y, x = y[:, None], x[None]
    if bend is not None:
        alpha, sigma = bend
        bends = _bends((y.size, x.size), alpha / step, sigma / step, rng)
        y, x = y + bends[0], x + bends[1]
    cosine, sine = math.cos(turn) / scale, math.sin(turn) / scale
    # A patch of ``length`` pixels begins ``length // 2`` before its centre, and has its middle half its length on.
    row, column = (float(point - length // 2 + (length - 1) / 2) for point, length in zip(centre, size, strict=True))
    places = cv2.merge([row + cosine * y - sine * x, column + mirror * (sine * y + cosine * x)])
    return Map(size, step, places, scale)


def _places(length: int, step: int) -> np.ndarray:
    """Return where a map names places along one axis of a patch, in pixels from the patch's middle: float32 (n,).

    :class:`Map` enlarges them by ``step`` and cuts off the first ``step`` pixels. OpenCV enlarges blocks: number j
    becomes ``step`` pixels with their middle at (j + 1/2) step - 1/2, which is (j - 1/2) step - 1/2 after the cut.
    The middle of the patch is at (length - 1) / 2, between two pixels where ``length`` is even.
    """
    count = -(-length // step) + 2
    return (np.arange(count, dtype=np.float32) - 0.5) * step - 0.5 - (length - 1) / 2


def _bends(size: Sequence[int], alpha: float, sigma: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Return smooth noise of ``size`` (rows, columns) twice: how far each place is pushed along rows and columns.

    After Simard, Steinkraus and Platt, ICDAR 2003: noise of -1 to 1 in each pixel, smoothed by
    a Gaussian of ``sigma``, times ``alpha``. (imgaug's present releases smooth by the mean over
    a square instead, which is far rougher and tears tissue.) On a grid that is coarser by
    some step, both are to be smaller by that step: then it is as strong and as smooth.
    """
    reach = math.ceil(2.5 * sigma)
    noise = (rng.random((2, *(length + 2 * reach for length in size)), np.float32) - 0.5) * np.float32(2 * alpha)
    side, (rows, columns) = 2 * reach + 1, size
    smooth = [cv2.GaussianBlur(plane, (side, side), sigma) for plane in noise]
    return [plane[reach : reach + rows, reach : reach + columns] for plane in smooth]


def follow(
    array: np.ndarray, where: Map, fill: float, window: tuple[slice, slice] | None = None, nearest: bool = False
) -> np.ndarray:
    """Take from a slice, (channel, row, column), what a map points at: float32; what lies outside is ``fill``.

    ``window`` says which part of the slice ``array`` is, if it is not the whole. Images are
    interpolated linearly; with ``nearest`` (masks) no new value arises.
    """
    grid = where.grid(window or (slice(None), slice(None)), array.shape[1:])
    # what torch finds outside is 0: so ``fill`` is made the zero point
    source = torch.from_numpy(np.subtract(array, fill, dtype=np.float32))[None]
    mode = "nearest" if nearest else "bilinear"
    taken = functional.grid_sample(source, grid, mode, "zeros", align_corners=False)[0].numpy()
    taken += np.float32(fill)
    return taken


def vary_intensity(image: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Vary contrast, brightness, noise and sharpness of float32 network input (channel, row, column), in place.

    Noise comes before blur and low resolution: a soft reconstruction kernel and a coarse
    matrix smooth the noise of a scan along with its picture.
    """
    image *= np.float32(1 + rng.uniform(-settings.contrast, settings.contrast))
    image += np.float32(rng.uniform(-settings.brightness, settings.brightness))
    if settings.noise:
        # torch draws normal numbers three times as fast as NumPy
        stream = torch.Generator().manual_seed(int(rng.integers(2**31)))
        image += torch.empty(image.shape).normal_(0, rng.uniform(0, settings.noise), generator=stream).numpy()
    if rng.random() < settings.blur_probability:
        sigma = rng.uniform(*settings.blur)
        for channel in image:
            cv2.GaussianBlur(channel, (0, 0), sigma, dst=channel)
    if rng.random() < settings.low_resolution_probability:
        factor = rng.uniform(*settings.low_resolution)
        rows, columns = image.shape[1:]
        small = max(1, round(columns / factor)), max(1, round(rows / factor))
        for channel in image:
            coarse = cv2.resize(channel, small, interpolation=cv2.INTER_AREA)
            cv2.resize(coarse, (columns, rows), dst=channel, interpolation=cv2.INTER_LINEAR)
    return image


def make_augmenter(settings: Augmentation, air: float) -> iaa.Augmenter:
    """Return the moves of :func:`draw_map` as an imgaug pipeline, for image and mask together.

    Every parameter is given, because the defaults differ between releases of imgaug.
    Borders are filled with ``air``, the network input that air becomes: filling with 0
    would put water in the corners of a scan that is only divided. The mask is always
    moved with nearest neighbour and filled with background.
    """
    return iaa.Sequential(
        [
            iaa.Fliplr(settings.flip_left_right),
            iaa.Affine(
                scale=settings.scale,
                rotate=(-settings.rotate_deg, settings.rotate_deg),
                translate_percent={axis: (-settings.shift, settings.shift) for axis in "xy"},
                order=1,
                mode="constant",
                cval=air,
                backend="cv2",
            ),
            iaa.Sometimes(
                settings.elastic_probability,
                iaa.ElasticTransformation(
                    alpha=settings.elastic_alpha,
                    sigma=settings.elastic_sigma,
                    order=1,
                    mode="constant",
                    cval=air,
                ),
            ),
        ]
    )
