"""The lungs' box: lungs and margin, no room air, no windpipe above the apexes."""

import numpy as np
import pytest

from lungseg_helpers.errors import ScanError
from lungseg_helpers.scans.lungs import APEX_MM, lung_box, lung_mask

SPACING = (3.0, 2.0, 2.0)
APEX = 60
"""Last slice of the lungs."""


def chest(windpipe_mm: float | None = None, slices: int = 90) -> np.ndarray:
    """HU (slice, row, column): a water cylinder, two cylindrical lungs in slices 10 to 60, a windpipe to the top."""
    rows, columns = np.ogrid[:150, :180]
    ct = np.where(((rows - 75) / 60) ** 2 + ((columns - 90) / 80) ** 2 < 1, 20, -1024).astype(np.int16)
    ct = np.repeat(ct[None], slices, axis=0)
    for side in (55, 125):
        ct[10 : APEX + 1, np.hypot(rows - 75, columns - side) < 28] = -850
    if windpipe_mm:
        ct[40:, np.hypot(rows - 60, columns - 90) * 2 < windpipe_mm / 2] = -1000
        ct[40:44, 60:64, 62:118] = -1000  # main bronchi join it to both lungs
    return ct


@pytest.mark.parametrize("windpipe_mm", [None, 14.0, 25.0])
def test_a_windpipe_does_not_draw_the_box_upwards(windpipe_mm):
    ct = chest(windpipe_mm)
    (first, last), rows, columns = lung_box(ct, SPACING, 10.0)
    assert (first, last) >= (0, APEX)
    assert first == 10 - 4, "a margin of 10 mm is four slices of 3 mm, rounded outwards"
    assert APEX + 1 + 3 <= last <= APEX + 1 + 4 + APEX_MM / SPACING[0]
    assert rows[0] <= 75 - 27 - 4 and rows[1] >= 75 + 27 + 4
    assert columns[0] <= 55 - 27 - 4 and columns[1] >= 125 + 27 + 4


def test_the_mask_keeps_the_windpipe_and_leaves_the_room_out():
    mask = lung_mask(chest(20.0), SPACING)
    assert mask[80, 60, 90] and mask[30, 75, 55] and not mask[30, 2, 2]


def test_a_scan_that_ends_within_the_lungs_is_boxed_to_its_end():
    (_, last), _, _ = lung_box(chest(20.0)[:50], SPACING, 10.0)
    assert last == 50


def test_a_narrow_field_of_view_that_cuts_the_lungs_keeps_them():
    ct = chest()
    narrow = ct[:, 20:130, 45:135]  # both lungs are cut: they began at column 27 and ended at 153
    mask = lung_mask(narrow, SPACING)
    assert mask[30, 55, 2] and mask[30, 55, 86] and not mask[30, 55, 45]
    (first, last), _, columns = lung_box(narrow, SPACING, 10.0)
    assert columns == (0, 90) and first == 10 - 4 and last >= APEX
    # one lung alone, the other outside the picture
    assert lung_mask(ct[:, 20:130, 20:60], SPACING)[30, 55, 36]


def test_blankets_and_padding_that_reach_the_edge_are_no_lung():
    ct = chest()
    ct[:, 136:148, :] = -900  # the table's foam, from edge to edge behind the patient
    ct[:, :14, 40:140] = -880  # a blanket on top
    assert lung_box(ct, SPACING, 10.0) == lung_box(chest(), SPACING, 10.0)


def test_no_lung_is_named():
    with pytest.raises(ScanError, match="nobody: no lung found"):
        lung_box(np.full((20, 60, 60), 30, np.int16), SPACING, 10.0, "nobody")
