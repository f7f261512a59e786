"""What notebook 07 looks for in volumes, on a made lung with a ball and a tube in it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from lungseg_helpers.course.volumes import discs, draw_plane, kept_mb, pair, spread, thing_around
from lungseg_helpers.scans.view import View

SPACING = (2.0, 1.0, 1.0)
BALL, TUBE = (20, 30, 20), (20, 30, 60)
"""Their middles, in voxels (slice, row, column)."""


@pytest.fixture
def view() -> View:
    """Return a lung of 80 × 60 × 80 mm with a ball of 12 mm and an upright tube of 8 mm; the ball is the tumour."""
    places = np.moveaxis(np.indices((40, 60, 80)), 0, -1)
    ball = np.linalg.norm((places - BALL) * SPACING, axis=-1) <= 6
    tube = np.linalg.norm((places - TUBE)[..., 1:], axis=-1) <= 4
    ct = np.where(ball | tube, 30, -850).astype(np.int16)
    return View(ct, {"truth": ball.astype(np.uint8)}, SPACING, np.arange(40) * 2.0)


def test_both_are_discs_in_a_slice_and_only_one_is_long(view):
    found = discs(view.ct, SPACING, 20)
    assert [disc.centre for disc in found] == [BALL, TUBE], "the larger first"
    assert [disc.diameter for disc in found] == pytest.approx([12, 8], rel=0.1)
    assert all(disc.stretched < 1.1 for disc in found)
    ball, tube = (spread(thing_around(view.ct, SPACING, disc) * SPACING, SPACING) for disc in found)
    assert ball[0] / ball[1] < 1.1 and tube[0] / tube[1] > 2.2
    assert ball[0] == pytest.approx(6 / np.sqrt(5), rel=0.1), "the spread of a ball along any axis"


@pytest.mark.parametrize(("width", "least", "most"), [(6, 2.5, 3.2), (10, 2.3, 3), (15, 1.4, 2), (20, 1, 1.4)])
def test_a_thin_tube_is_long_and_a_wide_one_is_cut_short(width, least, most):
    rows, columns = np.indices((80, 80)) - 40
    inside = np.hypot(rows, columns) <= width / 2
    ct = np.broadcast_to(np.where(inside, 30, -850).astype(np.int16), (60, 80, 80))
    (disc,) = discs(ct, (1, 1, 1), 30)
    long, middle, _ = spread(thing_around(ct, (1, 1, 1), disc), (1, 1, 1))
    assert least < long / middle < most


def test_what_is_no_disc_in_lung_is_left_out(view):
    view.ct[:, 28:33] = 30  # a wall through both
    assert discs(view.ct, SPACING, 20) == []
    view.ct[:] = 30
    assert discs(view.ct, SPACING, 20) == []


def test_a_pair_is_of_one_slice_and_needs_another_disc(view):
    tumour, vessel = pair(view)
    assert view.masks["truth"][tumour.centre] and not view.masks["truth"][vessel.centre]
    assert tumour.centre[0] == vessel.centre[0] and vessel.centre[1:] == TUBE[1:]
    view.ct[:, :, 50:] = -850
    with pytest.raises(ValueError, match="no slice with tumour"):
        pair(view)


def test_a_tumour_at_the_wall_is_a_cut_of_its_mask(view):
    view.ct[:, :, :20] = 30
    tumour, vessel = pair(view)
    assert view.masks["truth"][tumour.centre] and vessel.centre[1:] == TUBE[1:]


def test_planes_are_drawn_in_mm_with_the_head_up(view):
    view.ct[30:] = 200  # the head's side
    _, ax = plt.subplots()
    draw_plane(ax, view, BALL, axis=1, half_mm=30, outlines=[(view.masks["truth"], {"color": "blue"})])
    assert ax.images[0].get_array()[0, 0] == 200
    xs, ys = ax.lines[0].get_data()
    across, down = ax.get_xlim(), ax.get_ylim()
    # the outline lies around the middle of what is shown
    assert np.nanmean(xs) == pytest.approx(np.mean(across), abs=1) and np.nanmean(ys) == pytest.approx(
        np.mean(down), abs=2
    )
    plt.close("all")


def test_what_is_kept_is_counted_once():
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1))
    images = torch.randn(1, 1, 8, 8, 8)
    # the ReLU's output alone: the second convolution needs it too; weights and the input do not count
    assert kept_mb(network, images) == pytest.approx(4 * 4 * 8**3 / 1e6)
