"""Videos are checked by decoding them: codec, size, frames, and contours where the masks are."""

import re
import subprocess

import imageio_ffmpeg
import matplotlib.pyplot as plt
import numpy as np
import pytest

from lungseg_helpers.video import PREDICTION, TRUTH, case_video, draw_gallery, film, outline

SPACING = (2.5, 1.5, 1.5)


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """A black volume with a true square (left) and a predicted square (right) in slices 4 to 7 of 12."""
    ct = np.full((12, 100, 121), -1350, np.int16)
    truth, prediction = np.zeros((2, *ct.shape), np.uint8)
    truth[4:8, 40:60, 20:40] = 1
    prediction[4:8, 40:60, 80:100] = 1
    path = tmp_path_factory.mktemp("video") / "case.mp4"
    return case_video(ct, SPACING, path, truth, prediction, title="case", progress=False)


def decode(path) -> np.ndarray:
    """Return all frames, (frame, row, column, RGB) uint8."""
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def near(frame: np.ndarray, colour: str, tolerance: int = 60) -> np.ndarray:
    rgb = np.array([int(colour[each : each + 2], 16) for each in (1, 3, 5)])
    return (np.abs(frame.astype(int) - rgb) < tolerance).all(axis=-1)


def test_one_frame_a_slice_in_a_format_that_players_open(movie):
    frames = decode(movie)
    assert len(frames) == 12
    assert frames.shape[1] % 2 == 0 and frames.shape[2] % 2 == 0
    probe = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(movie)], capture_output=True, text=True).stderr
    assert re.search(r"Video: h264.*yuv420p", probe)
    assert "Duration: 00:00:01.2" in probe
    data = movie.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index must come first for seeking in a browser"


def test_contours_lie_on_the_masks(movie):
    frames = decode(movie)
    height, width = frames.shape[1:3]
    for style, columns in ((TRUTH, (20, 40)), (PREDICTION, (80, 100))):
        hit = near(frames[5], style["color"])
        hit[int(0.85 * height) :] = False  # the legend
        rows, cols = np.nonzero(hit)
        assert rows.min() / height == pytest.approx(0.40, abs=0.02)
        assert rows.max() / height == pytest.approx(0.60, abs=0.02)
        assert cols.min() / width == pytest.approx(columns[0] / 121, abs=0.02)
        assert cols.max() / width == pytest.approx(columns[1] / 121, abs=0.02)
        outside = near(frames[1], style["color"])
        outside[int(0.85 * height) :] = False
        assert not outside.any(), "a contour is drawn where there is no mask"


def test_outline_is_in_mm_and_closes_at_the_border():
    x, y = outline(np.ones((4, 6), np.uint8), (2.0, 1.0))
    assert np.nanmin(x) == pytest.approx(0, abs=0.5) and np.nanmax(x) == pytest.approx(6, abs=0.5)
    assert np.nanmin(y) == pytest.approx(0, abs=1) and np.nanmax(y) == pytest.approx(8, abs=1)
    assert len(outline(np.zeros((4, 6)), (1, 1))[0]) == 0


def test_film_reads_files_and_names_the_video_after_the_scan(toy_case, tmp_path):
    case = toy_case("patient", "LAS")
    path = film(case.image, tmp_path, label=case.label, progress=False)
    assert path == tmp_path / "patient.mp4" and len(decode(path)) == 40
    assert sorted(each.name for each in tmp_path.iterdir() if "partial" in each.name) == []


def test_gallery_has_one_picture_a_slice():
    ct = np.zeros((5, 20, 30), np.int16)
    figure = draw_gallery(ct, SPACING, [1, 3], truth=ct > 0, title="two")
    assert len(figure.axes) == 2
    plt.close(figure)
