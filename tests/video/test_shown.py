"""The pictures that readers of the repository see: they are there, small enough, moving, and told in words."""

import re

import pytest
from PIL import Image

from lungseg_helpers.paths import ROOT

SHOWN = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", (ROOT / "README.md").read_text())


def test_readme_shows_a_film_the_viewer_and_the_test_patients():
    assert [address for _, address in SHOWN] == ["data/loop.webp", "data/viewer.webp", "data/contact_sheet.png"]


@pytest.mark.parametrize(("words", "address"), SHOWN)
def test_a_picture_is_below_2_mb_and_is_told_in_words(words, address):
    assert (ROOT / address).stat().st_size < 2e6
    assert len(words.split()) >= 15, "what would one see?"
    with Image.open(ROOT / address) as picture:
        assert picture.width >= 800, "its letters could not be read"


def test_the_loop_runs_for_ever_and_pauses():
    with Image.open(ROOT / "data" / "loop.webp") as loop:
        assert loop.n_frames >= 20 and loop.info["loop"] == 0
        lasted = []
        for frame in range(loop.n_frames):
            loop.seek(frame)
            loop.load()
            lasted.append(loop.info["duration"])
    assert max(lasted) >= 1000 > 3 * sorted(lasted)[-2]
