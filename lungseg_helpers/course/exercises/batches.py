"""The exercises of notebook 02: who leaks, one map for two arrays, what is outside, how often slices are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.ndimage import map_coordinates


def leaking_patients(answer: Callable) -> str | None:
    """02: the patients whose slices are in training and in test."""
    train = ["lung_003/041", "lung_003/043", "lung_010/007", "lung_001/002", "lung_100/005"]
    test = ["lung_003/042", "lung_010/008", "lung_020/007"]
    given = answer(train, test)
    if not isinstance(given, list):
        return "Return a sorted list: sorted() makes one of a set."
    if given == []:
        return "The slices differ; do their patients? Compare what stands before the slash."
    if any("/" in str(name) for name in given):
        return "Return patients, not slices: what stands before the slash."
    if len(given) > len(set(given)):
        return "Each patient once: a set holds nothing twice."
    if set(given) == {"lung_003", "lung_010", "lung_001", "lung_020", "lung_100"}:
        return "That is everybody; asked for are those who are in both lists: the intersection of two sets."
    if set(given) != {"lung_003", "lung_010"}:
        return f"lung_003 and lung_010 are in both lists; yours says {given}."
    many = [f"p{number}" for number in (7, 2, 9, 4, 1, 8, 3, 6, 5)]  # nine: a set's own order is hardly sorted
    if answer([f"{name}/1" for name in many], [f"{name}/2" for name in many[::-1]]) != sorted(many):
        return "Sort the names, so that the answer does not depend on the order of the slices."
    return None


def move_both(answer: Callable) -> str | None:
    """02: image and mask moved by one map."""
    rng = np.random.default_rng()
    air = -float(rng.integers(900, 1000))  # never -1000, which an answer may have typed
    image = rng.uniform(-800, 400, (14, 19)).astype(np.float32)
    mask = np.zeros(image.shape, np.int16)  # signed, so that a wrong filling of air shows
    mask[3:8, 6:15] = 3
    mask[5, 9] = 0
    mask[12:14, 8:16] = 3  # touches the edge that the map leaves
    rows, columns = np.mgrid[:14, :19].astype(float)
    # sheared and shifted by parts of a pixel, and unlike along rows and columns; the last rows come from outside
    places = np.stack([rows + 0.15 * columns + rng.uniform(0.1, 0.4), columns - 0.2 * rows + rng.uniform(0.1, 0.4)])
    kept = image.copy(), mask.copy(), places.copy()
    given = answer(image, mask, places, air)
    if not isinstance(given, tuple | list) or len(given) != 2:
        return "Return two arrays: the moved image, and the moved mask."
    moved, marked = (np.asarray(each) for each in given)
    if moved.shape != image.shape or marked.shape != mask.shape:
        return "Image and mask keep their shape: the map has a place for each pixel."
    if not all(np.array_equal(*pair) for pair in zip(kept, (image, mask, places), strict=True)):
        return "The arrays that you were given have changed; return new ones."
    return _image_hint(image, moved, places, air) or _mask_hint(mask, marked, places, air)


def _image_hint(image: np.ndarray, moved: np.ndarray, places: np.ndarray, air: float) -> str | None:
    last = np.array(image.shape)[:, None, None] - 1
    inside, outside = ((places >= 0) & (places <= last)).all(axis=0), ((places < -1) | (places > last + 1)).any(axis=0)
    if np.array_equal(moved, image):
        return "The image has not moved: fetch it through the map, with ndimage.map_coordinates."
    if np.allclose(moved[inside], map_coordinates(image, places[::-1], order=1, cval=air)[inside], atol=0.1):
        return "Rows and columns are exchanged: places[0] holds rows."
    if np.allclose(moved[inside], map_coordinates(image, places, order=0)[inside], atol=0.1):
        return "The image is to be interpolated linearly: order=1."
    if not np.allclose(moved[inside], map_coordinates(image, places, order=1)[inside], atol=0.1):
        return "The image's values differ from a linear interpolation (order=1) at the map's places."
    if not np.allclose(moved[outside], air):
        return f"What comes in from outside the image must be `air`, here {air:.0f}: cval."
    return None


def _mask_hint(mask: np.ndarray, marked: np.ndarray, places: np.ndarray, air: float) -> str | None:
    right = map_coordinates(mask, places, order=0)
    if np.array_equal(marked, mask):
        return "The mask has stayed behind, as at the top of the notebook: it follows the same map."
    strange = marked[~np.isin(marked, (0, 3))].astype(float)
    if np.isin(strange, air).any():
        return "Air is no label: what comes into the mask from outside is 0."
    if len(strange):
        return "The mask has values that were not there before: take the nearest pixel, order=0."
    if np.array_equal(marked, map_coordinates(mask, places[::-1], order=0)):
        return "The mask's rows and columns are exchanged: it follows the same map as the image."
    if np.array_equal(marked > 0, right > 0) and not np.array_equal(marked, right):
        return "A label may be more than 1, and is to stay what it was."
    last = np.array(mask.shape)[:, None, None] - 1
    outside = ((places < -0.5) | (places > last + 0.5)).any(axis=0)
    if marked[outside].any():
        return "What comes into the mask from outside is 0: mode='constant', cval=0."
    clear = ((places >= 0) & (places <= last)).all(axis=0) | outside  # between the two, libraries differ
    if wrong := np.count_nonzero((marked != right) & clear):
        return f"{wrong} pixels of the mask differ from the nearest pixel at the map's places."
    return None


def border_value(answer: Callable) -> str | None:
    """02: the network input that air becomes."""
    divided = float(answer(-1024, 3071, 0, 3071))
    if math.isclose(divided, 0.0, abs_tol=1e-9):
        return "0 is water under HU / 3071. Send -1024 HU the way that every voxel goes."
    if not math.isclose(divided, -1024 / 3071):
        return f"Under HU / 3071 air becomes -1024 / 3071 = -0.333; yours says {divided:.3f}."
    course = float(answer(-1000, 400, -1000, 1400))
    if math.isclose(course, -24 / 1400):
        return "Clip first: under the course's scaling -1024 becomes -1000 before anything else."
    if not math.isclose(course, 0.0, abs_tol=1e-9):
        return f"Under the course's scaling (-1000 to 400 becomes 0 to 1) air is 0; yours says {course:.3f}."
    rng = np.random.default_rng()
    for _ in range(5):  # a window that begins above air, and one that begins below
        for low in (int(rng.integers(-900, -200)), int(rng.integers(-3000, -1100))):
            shift, scale = int(rng.integers(-700, 300)), int(rng.integers(100, 2000))
            if not math.isclose(float(answer(low, 500, shift, scale)), (max(-1024, low) - shift) / scale, abs_tol=1e-6):
                return (
                    f"It is not right for low {low}, high 500, shift {shift}, scale {scale}: clip -1024, subtract "
                    "shift, then divide by scale; use no fixed numbers."
                )
    # a window of bright tissue alone, all of it above air or below
    if not math.isclose(float(answer(-3000, -1500, -1500, 100)), 0.0, abs_tol=1e-9):
        return "A clip has two ends: under low -3000, high -1500 air becomes -1500 before the rest."
    return None


def sampling_weights(answer: Callable) -> str | None:
    """02: weights with which half of all draws hold tumour."""
    rng = np.random.default_rng()
    for held, empty in ((1, 9), (int(rng.integers(2, 9)), int(rng.integers(11, 30))), (7, 3)):
        flags = rng.permutation(np.repeat([True, False], [held, empty]))
        weights = np.asarray(answer(flags.copy()), float)
        if weights.shape != flags.shape:
            return "Return one weight for each slice."
        if not (np.isfinite(weights) & (weights > 0)).all():
            return "Every slice needs a weight above 0, or it is never seen."
        if np.allclose(weights, weights[0]):
            return f"All weights are equal: tumour slices would still be {held} of {held + empty} draws."
        share = weights[flags].sum() / weights.sum()
        if not math.isclose(share, 0.5, abs_tol=1e-6):
            return (
                f"Of {held + empty} slices {held} hold tumour; they would be {share:.0%} of the draws. Weigh each kind "
                "by one over how often it occurs."
            )
        if not all(np.allclose(weights[kind], weights[kind][0]) for kind in (flags, ~flags)):
            return "Slices of one kind should be drawn equally often: give them the same weight."
    return None
