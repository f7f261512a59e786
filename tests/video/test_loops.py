"""The film that a notebook holds: frames, colours, size, and the slice that it stays on."""

import io

import numpy as np
from PIL import Image
from toy import SPACING, toy_volume

from lungseg_helpers.scans.view import View
from lungseg_helpers.video.loops import GREYS, film_loop
from lungseg_helpers.video.overlay import TRUTH


def toy_film(**options):
    voxels, label = toy_volume()
    ct, truth = (array.transpose(2, 1, 0) for array in (voxels, label))
    view = View(ct, {"truth": truth}, SPACING[::-1], np.arange(len(ct)) * SPACING[2])
    film = film_loop(view, around_mm=36, width=160, **options)
    return Image.open(io.BytesIO(film)), truth


def test_a_loop_has_a_frame_per_slice_and_stays_on_the_slice_with_most_tumour():
    film, truth = toy_film(frames_per_second=10, pause_s=2)
    assert film.format == "PNG" and film.is_animated and film.n_frames == 14 and film.info["loop"] == 0
    assert film.width == 160
    assert film.info["default_image"], "the first picture is for viewers that show no film"
    durations = []
    for frame in range(1, film.n_frames):
        film.seek(frame)
        durations.append(film.info["duration"])
    fullest = int(truth[14:27].sum(axis=(1, 2)).argmax())
    film.seek(0)
    still = np.array(film.convert("RGB"))
    film.seek(1 + fullest)
    np.testing.assert_array_equal(np.array(film.convert("RGB")), still)
    assert durations == [100 if frame != fullest else 2100 for frame in range(13)]


def test_the_outline_runs_around_the_tumour_in_the_colour_of_truth():
    film, truth = toy_film()
    film.seek(7)
    picture = np.array(film.convert("RGB"))
    colour = [int(TRUTH["color"][place : place + 2], 16) for place in (1, 3, 5)]
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    mm = SPACING[0] * np.ptp(np.nonzero(truth[20].any(axis=0))[0]) + SPACING[0]
    # the picture's width in mm follows from the lungs' box
    assert len(rows) > 20 and abs(np.ptp(rows) - np.ptp(columns)) <= 2
    lungs_mm = (68 + 14 - (28 - 14)) * SPACING[0] + 50
    assert abs(np.ptp(columns) * lungs_mm / film.width - mm) < 8
    assert len(film.getcolors()) <= GREYS + 1
