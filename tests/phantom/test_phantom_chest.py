"""Phantoms look like a chest in numbers: HU of tissues, tumours' sizes and places, orientation on disk."""

from __future__ import annotations

import numpy as np
import pytest

from lungseg_helpers.errors import SourceError
from lungseg_helpers.phantom.canvas import Canvas, tubes
from lungseg_helpers.phantom.patient import draw_canvas, draw_patient
from lungseg_helpers.phantom.physics import Scanner, add_noise, draw_scanner
from lungseg_helpers.phantom.thorax import make_phantom
from lungseg_helpers.phantom.trees import MURRAY, grow
from lungseg_helpers.phantom.tumours import KINDS, SITES, draw_tumours

MATRIX = 64
TASK06_QUARTILES_ML = (2.66, 5.22, 17.6)


@pytest.fixture(scope="module")
def phantoms():
    # 13 seeds in a row: a Fibonacci number spreads golden-ratio ranks most evenly.
    return [make_phantom(seed, MATRIX) for seed in range(100, 113)]


def _voxel_ml(phantom):
    return abs(np.linalg.det(phantom.affine[:3, :3])) / 1000


def test_arrays_have_the_promised_shape_type_and_range(phantoms):
    for phantom in phantoms:
        assert phantom.image.shape == phantom.label.shape
        assert phantom.image.shape[:2] == (MATRIX, MATRIX) and 22 <= phantom.image.shape[2] <= 33
        assert phantom.image.dtype == np.int16 and phantom.label.dtype == np.uint8
        assert phantom.image.max() <= 3071
        assert phantom.image.min() >= -2048 and set(np.unique(phantom.image[phantom.image < -1024])) <= {-2048}
        assert set(np.unique(phantom.label)) == {0, 1}


def test_both_orientations_occur_and_describe_the_same_body(phantoms):
    # z counts from the lungs' lowest point: a scan that begins above it, or barely below, shows no liver there
    whole = [phantom for phantom in phantoms if phantom.affine[2, 3] < -45]
    assert {float(np.sign(phantom.affine[0, 0])) for phantom in whole} == {-1.0, 1.0}
    assert len(whole) < len(phantoms), "some scans begin within the lungs"
    for phantom in whole:
        # The liver lies to the right under the lungs, and RAS counts x towards the right.
        right_first = phantom.image if phantom.affine[0, 0] < 0 else phantom.image[::-1]
        base = right_first[:, :, 4:8]
        tissue = (base > 30) & (base < 160)
        assert tissue[: MATRIX // 2].sum() > tissue[MATRIX // 2 :].sum()


def test_tissues_have_their_hu(phantoms):
    for phantom in phantoms:
        hu = phantom.image[phantom.image > -1024]
        middle = phantom.image[:, :, phantom.image.shape[2] // 2]
        lung = middle[(middle > -960) & (middle < -700)]
        assert lung.size > 0.03 * middle.size, "a mid-chest slice holds lung"
        assert -935 < np.median(lung) < -780, "from emphysema to a breath that was not held"
        soft = hu[(hu > 0) & (hu < 100)]
        assert 35 < np.median(soft) < 70
        assert 0.0005 < (hu >= min(350, hu.max())).mean() < 0.06, "bone (and contrast) is a small share"


def test_tumours_lie_in_the_body_and_have_tumour_hu(phantoms):
    means = []
    for phantom in phantoms:
        inside = phantom.label > 0
        means.append(phantom.image[inside].mean())
        places = np.argwhere(inside)
        assert (places.min(axis=0) > 0).all() and (places.max(axis=0) < np.array(inside.shape) - 1).all()
        assert phantom.image[inside].min() > -1100
        # Within a body there is soft tissue on every side of a tumour's slice.
        x, y, z = places[len(places) // 2]
        assert all((part > -200).any() for part in (phantom.image[:x, y, z], phantom.image[x:, y, z]))
    assert -870 < min(means) < -300 and -60 < max(means) < 40


def test_labelled_volume_is_the_drawn_one(phantoms):
    for phantom in phantoms:
        # a breath that was not held smears the tumour, and its reader draws what is seen
        if len(phantom.tumours) == 1 and phantom.breathing.mode == "held":
            drawn = phantom.tumours[0].volume_ml
            assert phantom.label.sum() * _voxel_ml(phantom) == pytest.approx(drawn, abs=3.5 * _voxel_ml(phantom))


def test_volumes_follow_task06():
    totals = [sum(t.volume_ml for t in draw_tumours(seed)) for seed in range(202_600_001, 202_600_301)]
    quartiles = np.percentile(totals, [25, 50, 75])
    assert np.allclose(quartiles, TASK06_QUARTILES_ML, rtol=0.2)
    assert min(totals) > 0.7 and max(totals) < 260


def test_a_few_seeds_already_cover_small_and_large_tumours():
    totals = [sum(t.volume_ml for t in draw_tumours(seed)) for seed in range(7, 7 + 24)]
    assert np.allclose(np.percentile(totals, [25, 50, 75]), TASK06_QUARTILES_ML, rtol=0.35)


def test_a_seed_that_nobody_guesses_covers_them_too():
    for secret in (734_029_385_716, 2**64 + 13, 10**38 + 7):
        totals = [sum(t.volume_ml for t in draw_tumours(secret * 100_000 + case)) for case in range(1, 25)]
        assert np.allclose(np.percentile(totals, [25, 50, 75]), TASK06_QUARTILES_ML, rtol=0.4), secret


def test_all_kinds_sites_and_hu_occur():
    tumours = [t for seed in range(300) for t in draw_tumours(seed, crowded=seed % 2 == 1)]
    assert {t.kind for t in tumours} == set(KINDS) and {t.site for t in tumours} == set(SITES)
    assert 300 * 1.05 < len(tumours) < 300 * 1.3, "one tumour mostly, two now and then"
    hu = [t.rim_hu for t in tumours]
    assert min(hu) < -800 and max(hu) > 30


def test_a_tenth_of_slices_holds_tumour(phantoms):
    assert 0.08 <= np.mean([p.label.any(axis=(0, 1)).mean() for p in phantoms]) <= 0.12


@pytest.mark.parametrize("seed", [5, 7])
def test_the_smallest_matrix_makes_a_chest_even_without_a_lobe_for_vessels(seed):
    phantom = make_phantom(seed, 32)
    assert phantom.image.shape[:2] == (32, 32) and phantom.label.any()


def test_too_small_a_matrix_is_refused():
    with pytest.raises(SourceError, match="matrix 8"):
        make_phantom(1, 8)


def _empty(matrix=48):
    return Canvas((20, matrix, matrix), (2.0, 1.5, 1.5), 0.0, (0.0, 0.0), 5.0)


@pytest.mark.parametrize("radius", [0.4, 0.9, 2.2, 5.0])
def test_a_tube_keeps_its_volume_even_below_a_voxel(radius):
    canvas = _empty()
    path = np.linspace((-15, -10, 14), (12, 9, 24), 70)
    _, cover = tubes(canvas, path, np.full(70, radius), np.linalg.norm(path[1] - path[0]))
    length = np.linalg.norm(path[-1] - path[0])
    ends = 4 / 3 * np.pi * radius**3 if radius > 1.6 else 0.0
    assert cover.sum() * canvas.voxel_ml * 1000 == pytest.approx(np.pi * radius**2 * length + ends, rel=0.12)


def test_points_and_indices_are_inverse():
    canvas = _empty()
    points = np.random.default_rng(0).uniform(-20, 20, (50, 3))
    assert np.allclose(canvas.point(canvas.index(points)), points)


def test_a_tree_reaches_every_goal_and_obeys_murray():
    rng = np.random.default_rng(1)
    goals = rng.uniform(10, 60, (200, 3))
    tree = grow(np.zeros(3), np.array([1.0, 0, 0]), goals, 0.4, rng)
    tips = tree.end[np.isclose(tree.radius, 0.4)]
    assert len(tips) == 200 and np.allclose(np.sort(tips, axis=0), np.sort(goals, axis=0))
    assert tree.radius.max() == pytest.approx(0.4 * 200 ** (1 / MURRAY))
    # Each segment starts at the root or at another's end.
    ends = {tuple(np.round(e, 6)) for e in tree.end} | {(0.0, 0.0, 0.0)}
    assert all(tuple(np.round(s, 6)) in ends for s in tree.start)


def test_noise_grows_with_the_path_through_the_body():
    rng = np.random.default_rng(3)
    canvas = Canvas((16, 64, 64), (3.0, 6.0, 6.0), 0.0, (0.0, 0.0), 0.0)
    body = np.hypot(canvas.x / 170, canvas.y / 110) < 1
    canvas.hu[:, body] = 0.0
    clean = canvas.hu.copy()
    add_noise(canvas, Scanner(0.7, 3.0, 0.3, 15.0, 0.0, None, "RAS"), rng)
    noise = canvas.hu - clean
    centre, air = np.hypot(canvas.x, canvas.y) < 50, (canvas.y < -140) & (canvas.x < -150)
    assert noise[:, centre].std() > 2 * noise[:, air].std()
    assert 8 < noise[:, centre].std() < 30
    assert abs(noise[:, centre].mean()) < 2


def test_spacing_and_slices_are_in_task06s_range():
    for seed in range(40):
        rng = np.random.default_rng([seed, 1])
        patient = draw_patient(rng)
        canvas = draw_canvas(rng, patient, 256)
        assert 90 <= canvas.shape[0] <= 130
        assert 2 * 0.598 <= canvas.spacing[1] <= 2 * 0.977 and 1.2 <= canvas.spacing[0] <= 5.0
        assert 0.6 <= draw_scanner(rng, canvas).thickness_mm <= 5.0
