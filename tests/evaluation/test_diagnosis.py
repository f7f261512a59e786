"""A diagnosis says what is plain to see: missed and faint, at the wall, too small, a tube taken for a ball."""

import numpy as np
import pytest

from lungseg_helpers.evaluation.diagnosis import diagnose
from lungseg_helpers.scans.view import View

SPACING = (2.0, 1.0, 1.0)
LUNG, SOFT, HAZE = -820, 40, -600


def chest() -> np.ndarray:
    """Lung, with a wall in the first 12 columns."""
    ct = np.full((40, 80, 80), LUNG, np.int16)
    ct[:, :, :12] = SOFT
    return ct


def ball(centre, radius_mm):
    places = np.stack(np.mgrid[:40, :80, :80], axis=-1) * SPACING
    return ((places - np.multiply(centre, SPACING)) ** 2).sum(-1) <= radius_mm**2


def look(ct, truth, predicted):
    masks = {"truth": truth.astype(np.uint8), "prediction": predicted.astype(np.uint8)}
    return diagnose(View(ct, masks, SPACING, np.arange(len(ct)) * SPACING[0]))


@pytest.mark.parametrize(
    ("centre", "hu", "radius", "words"),
    [
        ((20, 40, 40), SOFT, 8, "missed: 2.1 mL, solid, free in the lung"),
        ((20, 40, 40), HAZE, 8, "missed: 2.1 mL, faint (-600 HU), free in the lung"),
        ((20, 40, 14), SOFT, 8, "solid, attached to a wall"),
        ((20, 40, 40), SOFT, 5, "missed: small, 0.6 mL"),
    ],
)
def test_missed_lesions(centre, hu, radius, words):
    ct, truth = chest(), ball(centre, radius)
    ct[truth] = hu
    (found,) = look(ct, truth, np.zeros_like(truth))
    assert words in found.words and found.kind == "missed" and found.hu == hu
    assert found.slice == 20


def test_outlines_and_false_components_after_what_was_missed():
    ct = chest()
    drawn, missed = ball((10, 20, 40), 9), ball((30, 20, 60), 6)
    vessel = np.zeros_like(drawn)
    vessel[5:35, 57:61, 57:61] = True
    node = ball((12, 60, 34), 5)
    for each in (drawn, missed, vessel, node):
        ct[each] = SOFT
    found = look(ct, drawn | missed, ball((10, 20, 40), 5) | vessel | node)
    assert [each.kind for each in found] == ["missed", "outline", "false", "false"]
    assert "too small" in found[1].words
    assert "vessel or a scar" in found[2].words and found[2].ml > found[3].ml
    assert "round" in found[3].words


def test_nothing_wrong_is_nothing_found():
    ct, truth = chest(), ball((20, 40, 40), 8)
    ct[truth] = SOFT
    assert look(ct, truth, truth) == []
    assert look(ct, np.zeros_like(truth), np.zeros_like(truth)) == []
