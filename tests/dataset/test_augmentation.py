"""One map for all moves: what it does to image and mask, and that it agrees with imgaug in distribution."""

from dataclasses import replace

import numpy as np
import pytest
from imgaug.augmentables.segmaps import SegmentationMapsOnImage
from scipy import ndimage, stats

from lungseg_helpers.dataset.augmentation import Map, draw_map, follow, make_augmenter, vary_intensity
from lungseg_helpers.hounsfield import Intensity
from lungseg_helpers.recipe import Augmentation

SIZE = (96, 112)
MIDDLE = (48, 56)
STILL = Augmentation(
    scale=(1, 1),
    rotate_deg=0,
    shift=0,
    flip_left_right=0,
    elastic_probability=0,
    brightness=0,
    contrast=0,
    noise=0,
    blur_probability=0,
    low_resolution_probability=0,
)
"""Every part switched off."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_with_every_part_off_a_patch_is_a_plain_cut():
    image = rng().random((5, 96, 112), np.float32)
    for settings in (None, STILL):
        for centre in ((40, 50), np.array([40, 50])):
            cut = follow(image, draw_map((20, 31), centre, settings, rng()), -1.0)
            np.testing.assert_allclose(cut, image[:, 30:50, 35:66], atol=1e-4)
    np.testing.assert_array_equal(vary_intensity(image.copy(), STILL, rng()), image)


def test_bends_of_no_smoothness_are_noise():
    """A sigma of 0 smooths nothing: each pixel comes from at most alpha away, as it does on imgaug's own terms."""
    settings = replace(STILL, elastic_probability=1, elastic_alpha=(3.0, 3.0), elastic_sigma=(0.0, 0.0))
    moves = draw_map(SIZE, MIDDLE, settings, rng()).pixels() - draw_map(SIZE, MIDDLE, STILL, rng()).pixels()
    assert moves.shape == (*SIZE, 2) and 2.9 < np.abs(moves).max() <= 3.001
    assert abs(np.corrcoef(moves[:-1].ravel(), moves[1:].ravel())[0, 1]) < 0.05


def test_image_and_mask_move_together():
    """A bright disc and its mask go through 50 random moves: their centroids stay together and none is left behind."""
    rows, columns = np.mgrid[:96, :112]
    disc = ((rows - 40) ** 2 + (columns - 60) ** 2 < 14**2).astype(np.uint8)
    settings, random, moved = Augmentation(elastic_probability=1.0), rng(3), 0
    for _ in range(50):
        where = draw_map(SIZE, MIDDLE, settings, random)
        bright = follow(disc[None], where, 0.0)[0] > 0.5
        mask = follow(disc[None], where, 0.0, nearest=True)[0]
        assert np.mean(bright != (mask > 0)) < 0.01
        for axis in (0, 1):
            assert np.nonzero(bright)[axis].mean() == pytest.approx(np.nonzero(mask)[axis].mean(), abs=0.5)
        assert set(np.unique(mask)) == {0, 1}
        moved += abs(np.nonzero(mask)[1].mean() - 60) > 2
    assert moved > 25


def test_reading_a_window_changes_nothing():
    image = rng().random((3, 200, 220), np.float32)
    for seed in range(20):
        where = draw_map((64, 64), (100, 40), Augmentation(elastic_probability=0.5), rng(seed))
        rows, columns = where.window((200, 220))
        part = follow(image[:, rows, columns], where, -1.0, (rows, columns))
        np.testing.assert_allclose(part, follow(image, where, -1.0), atol=1e-3)
        assert (rows.stop - rows.start) * (columns.stop - columns.start) < 0.5 * 200 * 220
    outside = Map((4, 4), 4, np.full((3, 3, 2), [-50.0, 900.0], np.float32))
    assert outside.window((200, 220)) == (slice(0, 1), slice(219, 220))


def test_corners_are_filled_with_air_not_water():
    scale = Intensity(-1024, 3071, 0, 3071)
    settings = replace(STILL, rotate_deg=45)
    lung = np.full((2, 64, 64), scale(np.array([-850]))[0], np.float32)
    images = [follow(lung, draw_map((64, 64), (32, 32), settings, rng(seed)), scale.air) for seed in range(10)]
    for image in images:
        assert image.max() < scale(np.array([-840]))[0], "something denser than lung was filled in"
    assert np.stack(images).min() == pytest.approx(scale.air)


def moves_of(settings: Augmentation, count: int = 400) -> dict[str, list[np.ndarray]]:
    """Where each patch pixel comes from, (row, column, 2), for many draws of either way."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    augmenter, random = make_augmenter(settings, 0.0), rng(1)
    augmenter.seed_(5)
    # what imgaug does is seen from a picture in which every pixel says where it lies
    by_imgaug = [augmenter(image=np.stack([y, x], axis=-1)) for _ in range(count)]
    by_map = [draw_map(SIZE, MIDDLE, settings, random).pixels() for _ in range(count)]
    return {"imgaug": by_imgaug, "map": by_map}


def fitted(field: np.ndarray) -> tuple[float, float, float, float, bool]:
    """Scale, angle in degrees, shift in rows and columns, and mirroring of a map, from its middle third."""
    window = tuple(slice(length // 3, 2 * length // 3) for length in SIZE)
    places = np.stack([*np.mgrid[: SIZE[0], : SIZE[1]]], axis=-1)[window].reshape(-1, 2) - (np.array(SIZE) - 1) / 2
    design = np.column_stack([places, np.ones(len(places))])
    fit = np.linalg.lstsq(design, field[window].reshape(-1, 2) - (np.array(SIZE) - 1) / 2, rcond=None)[0]
    mirrored = np.linalg.det(fit[:2]) < 0
    matrix = fit[:2] * [1, -1] if mirrored else fit[:2]
    shift = -np.linalg.solve(fit[:2].T, fit[2])
    angle = np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))
    return 1 / np.sqrt(abs(np.linalg.det(fit[:2]))), angle, shift[0], shift[1], mirrored


def test_affine_moves_agree_with_imgaug_in_distribution():
    """Kolmogorov-Smirnov on 400 draws each of scale, turn and shift; mirrors by count. No shared random numbers."""
    settings = Augmentation(elastic_probability=0.0, scale=(0.8, 1.2))
    by_imgaug, by_map = (np.array([fitted(field) for field in moves]) for moves in moves_of(settings).values())
    for column in range(4):
        assert stats.ks_2samp(by_imgaug[:, column], by_map[:, column]).pvalue > 0.01
    assert by_imgaug[:, 4].mean() == pytest.approx(by_map[:, 4].mean(), abs=0.1)
    assert np.abs(by_map[:, 1]).max() <= 20.1 and 0.79 < by_map[:, 0].min() < by_map[:, 0].max() < 1.21


@pytest.mark.parametrize("sigma", [1.5, 5.0, 12.0])
def test_bends_are_those_of_simard_and_others(sigma):
    """Strength and smoothness of noise that SciPy smooths on the full grid, which is slow."""
    settings = replace(STILL, elastic_probability=1.0, elastic_alpha=(30.0, 30.0), elastic_sigma=(sigma, sigma))
    y, _ = np.mgrid[: SIZE[0], : SIZE[1]]
    bends = [draw_map(SIZE, MIDDLE, settings, rng(seed)).pixels()[..., 0] - y for seed in range(60)]
    slow = [30 * ndimage.gaussian_filter(rng(seed).uniform(-1, 1, SIZE), sigma, mode="wrap") for seed in range(60)]
    for order in (0, 1):
        found, wanted = (np.std(np.diff(fields, order, axis=-1)) for fields in (bends, slow))
        assert found == pytest.approx(wanted, rel=0.12)


def test_imgaug_bends_more_roughly():
    """Why the course bends by itself: at the strength and smoothness of a reference project imgaug tears tissue."""
    settings = replace(STILL, elastic_probability=1.0, elastic_alpha=(40.0, 40.0), elastic_sigma=(4.0, 4.0))
    torn = {name: np.mean([runs_backwards(field) for field in moves]) for name, moves in moves_of(settings, 20).items()}
    assert torn["map"] < 0.01 < 0.1 < torn["imgaug"]


def runs_backwards(field: np.ndarray) -> float:
    """Share of pixels (row, column, 2) around which a map turns the picture inside out."""
    (a, b), (c, d) = np.gradient(field[..., 0]), np.gradient(field[..., 1])
    return float(np.mean(a * d - b * c < 0))


def test_bends_of_the_course_never_tear():
    """Where a map runs backwards, tissue would fold over itself: no pixel of 300 strong bends does."""
    settings = Augmentation()
    low, high = settings.elastic_sigma[0], settings.elastic_alpha[1]
    worst = replace(STILL, elastic_probability=1.0, elastic_alpha=(high, high), elastic_sigma=(low, low))
    for seed in range(300):
        assert runs_backwards(draw_map(SIZE, MIDDLE, worst, rng(seed)).pixels()) == 0


def test_intensity_varies_the_image_as_much_as_it_says():
    image = np.full((3, 64, 64), 0.5, np.float32)
    noisy = vary_intensity(image.copy(), replace(STILL, noise=0.2), rng(2))
    assert 0.01 < noisy.std() < 0.2 and noisy.mean() == pytest.approx(0.5, abs=0.01)
    brighter = [vary_intensity(image.copy(), replace(STILL, brightness=0.1), rng(seed)).mean() for seed in range(50)]
    assert 0.4 <= min(brighter) < 0.43 and 0.57 < max(brighter) <= 0.6


@pytest.mark.parametrize("part", [{"blur_probability": 1.0}, {"low_resolution_probability": 1.0}])
def test_blur_and_low_resolution_soften_and_move_nothing(part):
    rows, columns = np.mgrid[:96, :112]
    disc = ((rows - 40) ** 2 + (columns - 60) ** 2 < 9**2).astype(np.float32)
    image = np.stack([disc] * 5)
    random = rng(4)
    for _ in range(10):
        soft = vary_intensity(image.copy(), replace(STILL, **part), random)
        assert soft.shape == image.shape and 0 < np.abs(soft - image).max() < 0.8
        weights = soft[4]
        centre = [np.average(axis, weights=weights) for axis in (rows, columns)]
        assert centre == pytest.approx([40, 60], abs=0.1)


def test_imgaug_keeps_image_and_mask_together_too():
    disc = np.zeros((*SIZE, 1), np.float32)
    disc[30:50, 40:70] = 1
    mask = SegmentationMapsOnImage(disc[..., 0].astype(np.uint8), SIZE)
    augmenter = make_augmenter(Augmentation(elastic_probability=1.0), 0.0)
    augmenter.seed_(1)
    for _ in range(10):
        image, moved = augmenter(image=disc, segmentation_maps=mask)
        assert np.mean((image[..., 0] > 0.5) != (moved.get_arr() > 0)) < 0.01
