"""Random variations of a training slice: where a patch is cut, how it is moved, bent and re-scaled.

Image and mask always move together; the mask takes the nearest pixel and stays 0/1.
"""

from __future__ import annotations

from typing import Any

import imgaug.augmenters as iaa
import numpy as np
from imgaug.augmentables.segmaps import SegmentationMapsOnImage

from .recipes import Augmentation


def fit_frame(array: np.ndarray, frame: tuple[int, int], fill: float) -> np.ndarray:
    """Centre (row, column, …) in a frame of (rows, columns): padded with ``fill``, or cut where it is larger."""
    for axis, size in enumerate(frame):
        spare = size - array.shape[axis]
        if spare < 0:
            array = array.take(range(-spare // 2, -spare // 2 + size), axis=axis)
        elif spare > 0:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (spare // 2, spare - spare // 2)
            array = np.pad(array, widths, constant_values=fill)
    return array


def patch_centre(mask: np.ndarray, patch: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Choose the (row, column) that a training patch is centred on: near tumour if the slice holds any, else anywhere.

    Tumour is put up to a third of the patch off the centre, or a network would learn that
    tumours are in the middle. The patch stays inside the slice where it fits, so that
    work is not spent on the air around it.
    """
    held = np.argwhere(mask)
    point = held[rng.integers(len(held))] if len(held) else rng.integers(mask.shape)
    centre = []
    for middle, length, size in zip(point, patch, mask.shape, strict=True):
        middle = int(middle + rng.integers(-(length // 3), length // 3 + 1))
        first, last = length // 2, size - (length - length // 2)
        centre.append(size // 2 if last <= first else min(max(middle, first), last))
    return centre[0], centre[1]


def crop_around(array: np.ndarray, centre: tuple[int, int], size: tuple[int, int], fill: float) -> np.ndarray:
    """Cut (rows, columns) around a centre out of (row, column, …); what lies outside the array is ``fill``."""
    window = np.full((*size, *array.shape[2:]), fill, array.dtype)
    here, there = [], []
    for middle, length, limit in zip(centre, size, array.shape, strict=False):
        first = middle - length // 2
        start, stop = max(first, 0), min(first + length, limit)
        here.append(slice(start, max(start, stop)))
        there.append(slice(start - first, max(start, stop) - first))
    window[tuple(there)] = array[tuple(here)]
    return window


def vary_context(index: int, slices: int, settings: Augmentation, rng: np.random.Generator) -> dict[str, Any]:
    """Draw how slice ``index`` of ``slices`` sees its neighbours: options of :func:`~.dataset.read_channels`."""
    first, last = 0, slices - 1
    if rng.random() < settings.context_end:
        first, last = (index, last) if rng.random() < 0.5 else (first, index)
    return {"stretch": float(np.exp(rng.uniform(*np.log(settings.context_stretch)))), "ends": (first, last)}


def make_augmenter(settings: Augmentation, air: float) -> iaa.Augmenter:
    """Return the imgaug pipeline that moves image and mask together.

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


def augment(
    image: np.ndarray, mask: np.ndarray, augmenter: iaa.Augmenter, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Move (row, column, channel) image and (row, column) mask together; vary the image's intensity.

    All randomness comes from ``rng``: imgaug is reseeded from it, because seeding NumPy or
    torch does not reach imgaug's own generator, which forked workers would share.
    """
    augmenter.seed_(int(rng.integers(2**31)))
    image, moved = augmenter(image=image, segmentation_maps=SegmentationMapsOnImage(mask, shape=mask.shape))
    mask = moved.get_arr()
    image = image * np.float32(1 + rng.uniform(-settings.contrast, settings.contrast))
    image += np.float32(rng.uniform(-settings.brightness, settings.brightness))
    if settings.noise:
        image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, settings.noise))
    return image, mask.astype(np.uint8, copy=False)
