"""What version 8 added: central tumours that merge, collapsed lung, breathing, couches, windows; and crowded chests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from lungseg_helpers.phantom import masses, thorax
from lungseg_helpers.phantom.anterior import THYMUS_SCORES, paint_anterior
from lungseg_helpers.phantom.breathing import APEX_SHARE, FREE, MODES, Breathing, breathe, draw_breathing, position
from lungseg_helpers.phantom.canvas import Canvas
from lungseg_helpers.phantom.masses import SOLID_HU
from lungseg_helpers.phantom.mediastinum import _paint_hila
from lungseg_helpers.phantom.patient import ARMS_UP, RADIOTHERAPY, draw_canvas, draw_patient
from lungseg_helpers.phantom.physics import EXPORT_WINDOWS, Scanner, digitise, draw_scanner
from lungseg_helpers.phantom.thorax import make_phantom
from lungseg_helpers.phantom.tumours import (
    CENTRAL_ML,
    CENTRAL_SHARE,
    COLLAPSE,
    COLLAPSE_FROM_ML,
    LARGE_FROM_ML,
    LARGE_PERIPHERAL,
    MERGED,
    draw_tumours,
)

MATRIX = 64
MERGES_MM = 6.0
"""How far a tumour that merges grows into the mediastinum at least."""


@pytest.fixture(scope="module")
def recipes():
    return [tumour for seed in range(3000) for tumour in draw_tumours(seed)]


@pytest.fixture(scope="module")
def draws():
    """Patients, scanners and breathing of 600 seeds, without painting anything."""
    found = []
    for seed in range(600):
        rng = np.random.default_rng([seed, 1])
        patient = draw_patient(rng)
        canvas = draw_canvas(rng, patient, 64)
        found.append((patient, draw_scanner(rng, canvas), draw_breathing(rng, patient.radiotherapy)))
    return found


def _share(flags) -> float:
    return float(np.mean(list(flags)))


def _painted(monkeypatch, seed, crowded=False):
    """A phantom made with every painting of a tumour watched: its HU, label and anatomy after each."""
    seen = []

    def watched(canvas, label, tumour, anatomy, rng):
        before = label.copy()
        masses.paint_tumour(canvas, label, tumour, anatomy, rng)
        seen.append((canvas.hu.copy(), (label > 0) & (before == 0), anatomy))

    monkeypatch.setattr(thorax, "paint_tumour", watched)
    return make_phantom(seed, MATRIX, crowded), seen


def test_central_tumours_have_the_declared_shares(recipes):
    for volume, share in zip(CENTRAL_ML, CENTRAL_SHARE, strict=True):
        near = [t.central for t in recipes if 0.8 * volume < t.volume_ml < 1.25 * volume]
        assert _share(near) == pytest.approx(share, abs=0.09)
    large = [t for t in recipes if t.volume_ml > CENTRAL_ML[-1]]
    assert _share(t.central for t in large) == pytest.approx(CENTRAL_SHARE[-1], abs=0.08)
    assert _share(t.invade_mm > MERGES_MM for t in recipes if t.central) == pytest.approx(MERGED, abs=0.05)
    assert all(t.invade_mm <= 3 for t in recipes if not t.central)


def test_large_peripheral_tumours_of_crowded_chests_lie_at_a_base_as_often_as_declared(recipes):
    crowded = [tumour for seed in range(3000) for tumour in draw_tumours(seed, crowded=True)]
    large = [t for t in crowded if not t.central and t.volume_ml >= LARGE_FROM_ML]
    assert _share(t.site == "base" for t in large) == pytest.approx(LARGE_PERIPHERAL["base"], abs=0.05)
    bases = [t for t in crowded if t.site == "base"]
    assert all(t in large for t in bases) and not any(t.site == "base" for t in recipes)
    assert _share(t.collapse_ml > 0 for t in bases) == pytest.approx(COLLAPSE, abs=0.15)


def test_a_tumour_at_a_base_lies_low_and_behind(monkeypatch):
    seeds = [s for s in range(600) if len(t := draw_tumours(s, True)) == 1 and t[0].site == "base"]
    for seed in seeds[:4]:
        _, [(_, label, anatomy)] = _painted(monkeypatch, seed, crowded=True)
        inside = anatomy.lungs.distance < 0
        z, y, _ = (np.median(axis) for axis in np.nonzero(label))
        heights, rows, _ = np.nonzero(inside)
        assert z < np.quantile(heights, 0.5), f"tumour {seed} lies in the lower half of the lungs"
        assert y > np.quantile(rows, 0.6), f"tumour {seed} lies in their back"


def test_each_hilum_has_vessels_of_its_own_around_which_no_lung_is():
    chests = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        patient = replace(draw_patient(rng, crowded=True), right_heart_hu=300.0, left_heart_hu=300.0)
        canvas = draw_canvas(rng, patient, 192)
        distance = np.full(canvas.shape, 99.0, np.float32)
        _paint_hila(canvas, patient, distance, rng)
        vessels = canvas.hu > -300
        assert (distance[vessels] < 2).all(), "lung keeps off them"
        sides = [vessels[:, (canvas.x * side > 0) & (np.abs(canvas.x) < 110)].sum() for side in (-1, 1)]
        assert min(sides) * canvas.voxel_ml > 1, "vessels of a millilitre or more a side"
        chests.append(tuple(sides))
    assert len(set(chests)) == 4, "each patient's are others"


def test_lung_collapses_behind_central_tumours_only(recipes):
    may = [t for t in recipes if t.central and t.volume_ml >= COLLAPSE_FROM_ML]
    assert _share(t.collapse_ml > 0 for t in may) == pytest.approx(COLLAPSE, abs=0.05)
    assert not any(t.collapse_ml for t in recipes if t not in may)
    assert 0.10 < _share(t.collapse_ml > 0 for t in recipes) < 0.16


def test_scans_have_the_declared_shares(draws):
    patients, scanners, breaths = zip(*draws, strict=True)
    assert _share(p.radiotherapy for p in patients) == pytest.approx(RADIOTHERAPY, abs=0.06)
    assert _share(p.arms_up for p in patients) == pytest.approx(ARMS_UP, abs=0.06)
    for window, share in EXPORT_WINDOWS.items():
        assert _share(s.window == window for s in scanners) == pytest.approx(share, abs=0.05)
    for treated, share in FREE.items():
        free = [b.mode != "held" for p, b in zip(patients, breaths, strict=True) if p.radiotherapy == treated]
        assert _share(free) == pytest.approx(share, abs=0.08)
    assert {b.mode for b in breaths} == {"held", *MODES}
    plain = {flag: _share(p.aorta_hu < 60 for p in patients if p.radiotherapy == flag) for flag in FREE}
    assert plain[True] > plain[False] + 0.15, "scans for radiotherapy mostly have no contrast"
    assert min(s.sharpness for s in scanners) < 0.05 and max(s.blur_mm for s in scanners) > 1.4


def test_the_label_leaves_out_collapsed_lung(monkeypatch):
    seed = next(s for s in range(1000) if (t := draw_tumours(s))[0].collapse_ml > 60 and len(t) == 1)
    airless = {}

    def watched(canvas, patient, lungs, centre, volume_ml, rng, real=masses.paint_collapse):
        before = canvas.hu.copy()
        real(canvas, patient, lungs, centre, volume_ml, rng)
        airless["collapsed"] = (before < -500) & (canvas.hu > -100)

    monkeypatch.setattr(masses, "paint_collapse", watched)
    _, [(hu, label, anatomy)] = _painted(monkeypatch, seed)
    collapsed = airless["collapsed"]
    assert collapsed.sum() > 0.3 * label.sum(), "a good deal of lung has no air"
    assert (collapsed & ~label).mean() > 0 and (hu[collapsed & ~label] > -150).mean() > 0.7, "it stays airless"
    assert (label & collapsed).sum() < 0.9 * label.sum() and (collapsed & label).sum() < 0.5 * collapsed.sum()
    assert (anatomy.lungs.distance[collapsed] < 1).all(), "only lung collapses"


def test_a_merged_tumour_touches_the_mediastinum_without_a_plane_of_fat(monkeypatch):
    seeds = [s for s in range(400) if len(t := draw_tumours(s)) == 1 and t[0].invade_mm > 8 and t[0].volume_ml > 20]
    contact = []
    for seed in seeds[:4]:
        _, [(hu, label, anatomy)] = _painted(monkeypatch, seed)
        shell = binary_dilation(label, iterations=1) & ~label & (anatomy.between < 0)
        assert shell.any(), f"tumour {seed} reaches the mediastinum"
        contact.append(float((hu[shell] > SOLID_HU).mean()))
        beyond = label & (anatomy.between < -1)
        assert beyond.sum() > 0.01 * label.sum(), f"tumour {seed} grows into the mediastinum"
    # the rest of the mediastinum's side is fat that it did not reach; voxels are coarse here
    assert min(contact) > 0.3, f"where it meets the mediastinum, tissue lies against it: {contact}"


def test_a_tumour_is_one_piece():
    # two valleys with a wall between them: the larger one takes the whole volume
    place = np.arange(24.0)[:, None, None] + 0.1 * np.arange(12.0)[None, :, None] + 0.01 * np.arange(12.0)
    field = np.minimum(place, 23.0 - place + 4.0)
    field[14:18] += 300.0
    level = masses._level(field, 900)
    inside = field < level
    assert inside.sum() == pytest.approx(900, abs=3) and inside[:14].all(axis=(1, 2)).any()
    assert inside[18:].sum() < 0.1 * inside.sum(), "what is left on the other side is a little"


def test_export_windows_cut_the_values():
    canvas = Canvas((2, 32, 32), (3.0, 2.0, 2.0), 0.0, (0.0, 0.0), 0.0)
    canvas.hu[:, 10:20] = 900.0
    for window in [w for w in EXPORT_WINDOWS if w]:
        image = digitise(canvas, Scanner(0.7, 3.0, 0.3, 5.0, 0.0, -2048, "RAS", window))
        assert (image.min(), image.max()) == (window[0], min(window[1], 900))
    assert digitise(canvas, Scanner(0.7, 3.0, 0.3, 5.0, 0.0, -2048, "RAS")).min() == -2048


def test_breathing_rests_breathed_out():
    time = np.linspace(0, 1, 201)
    for rest in (1, 2, 3):
        place = position(time, rest)
        assert place.min() == pytest.approx(0) and place.max() == pytest.approx(1)
    assert np.mean(position(time, 3) < 0.5) > np.mean(position(time, 1) < 0.5)


def _patient():
    return draw_patient(np.random.default_rng([1, 1]))


def _layered(patient, edge):
    """Tissue below the height ``edge`` (mm) and lung above it, in a cage that holds all but some rows."""
    canvas = Canvas((60, 16, 16), (5.0, 10.0, 10.0), 0.0, (0.0, 0.0), 0.0)
    canvas.hu[:] = np.where(canvas.z[:, None, None] < edge, 50.0, -850.0)
    cage = np.full(canvas.shape, -20.0, np.float32)
    cage[:, :3] = 20.0
    label = np.zeros(canvas.shape, np.uint8)
    label[(canvas.z >= 20) & (canvas.z < 40), 6:10, 6:10] = 1
    return canvas, cage, label


def _smear(canvas):
    middle = canvas.hu[:, 8, 8]
    return int(((middle > -840) & (middle < 40)).sum())


def test_a_slow_scan_smears_the_bases_but_not_the_wall_or_the_apex():
    patient = _patient()
    smears = {}
    for name, edge in (("base", 30.0), ("apex", 0.95 * patient.height)):
        canvas, cage, label = _layered(patient, edge)
        before = canvas.hu.copy()
        breathing = Breathing("averaged", 20.0, 1)
        moved = breathe(canvas, label, patient, cage, breathing, np.random.default_rng(0))
        smears[name] = _smear(canvas)
        assert np.array_equal(canvas.hu[:, :2], before[:, :2]), "the wall stands still"
        assert moved.dtype == np.uint8 and moved.sum() == pytest.approx(label.sum(), rel=0.3)
    assert smears["base"] >= 3 > 1 >= smears["apex"] * APEX_SHARE


def test_a_held_breath_changes_nothing_and_slabs_miss_each_other():
    patient = _patient()
    canvas, cage, label = _layered(patient, 30.0)
    before = canvas.hu.copy()
    held = breathe(canvas, label, patient, cage, Breathing("held", 0.0, 1), np.random.default_rng(0))
    assert held is label and np.array_equal(canvas.hu, before)
    canvas.hu[:] = canvas.z[:, None, None]
    breathe(canvas, label, patient, cage, Breathing("stepped", 20.0, 1), np.random.default_rng(0))
    steps = np.diff(canvas.hu[:, 8, 8])
    assert np.ptp(steps[:30]) > 2 * canvas.spacing[0] / 5, "slices do not follow each other evenly"


def test_what_lies_behind_the_breast_bone_takes_room_from_the_lungs_in_front_only():
    assert sum(THYMUS_SCORES.values()) == pytest.approx(1)
    rng = np.random.default_rng([5, 1])
    patient = draw_patient(rng)
    canvas = draw_canvas(rng, patient, MATRIX)
    distance = np.full(canvas.shape, 50.0, np.float32)
    paint_anterior(canvas, patient, distance, rng)
    taken = distance < 0
    assert taken.any() and (distance <= 50).all()
    low = canvas.z[np.nonzero(taken)[0]].min()
    assert low > 0.3 * patient.height, "thymus and veins lie in the upper half of the chest"
    behind = canvas.y[None] > patient.spine_y(canvas.z)[:, None, None]
    assert not (taken & behind).any()
