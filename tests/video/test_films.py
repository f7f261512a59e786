"""Videos are checked by decoding them: codec, size, frames, and contours where the masks are."""

import re
import subprocess
import tracemalloc

import imageio_ffmpeg
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lungseg_helpers.errors import ScanError
from lungseg_helpers.prediction.files import save_mask
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.scans.view import View
from lungseg_helpers.video.films import BAR, _read_probability, develop, film_case, shoot, turn
from lungseg_helpers.video.overlay import PREDICTION, TRUTH, draw_gallery, outline

SPACING = (2.5, 1.5, 1.5)


def view() -> View:
    """A black volume with a true square (left) and a predicted square (right) in slices 4 to 7 of 12."""
    ct = np.full((12, 100, 121), -1350, np.int16)
    truth, prediction, probability = np.zeros((3, *ct.shape), np.uint8)
    truth[4:8, 40:60, 20:40] = 1
    prediction[4:8, 40:60, 80:100] = 1
    probability[4:8, 70:80, 55:65] = 255
    masks = {"truth": truth, "prediction": prediction, "probability": probability}
    return View(ct, masks, SPACING, 100 + np.arange(12) * 2.5)


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "case.mp4"
    return shoot(turn(view()), path, title="case", progress=False)


def decode(path) -> np.ndarray:
    """Return all frames, (frame, row, column, RGB) uint8."""
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def near(frame: np.ndarray, colour: str, tolerance: int = 60) -> np.ndarray:
    """Where a frame has a colour: bool (row, column) of the picture, without the bar and the strips with the keys."""
    rgb = np.array([int(colour[each : each + 2], 16) for each in (1, 3, 5)])
    hit = (np.abs(frame.astype(int) - rgb) < tolerance).all(axis=-1)[:, :-BAR]
    hit[int(0.85 * len(hit)) :] = hit[: int(0.13 * len(hit))] = False
    return hit


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
    for style, columns in ((TRUTH, (20, 40)), (PREDICTION, (80, 100))):
        hit = near(frames[5], style["color"])
        height, width = hit.shape
        rows, cols = np.nonzero(hit)
        assert rows.min() / height == pytest.approx(0.40, abs=0.01)
        assert rows.max() / height == pytest.approx(0.60, abs=0.01)
        assert cols.min() / width == pytest.approx(columns[0] / 121, abs=0.01)
        assert cols.max() / width == pytest.approx(columns[1] / 121, abs=0.01)
        for index in (1, 3, 8, 11):
            assert not near(frames[index], style["color"]).any(), "a contour is drawn where there is no mask"


def test_the_heat_map_lies_on_the_probability(movie):
    frame = decode(movie)[5].astype(int)[:, :-BAR]
    hot = (frame[..., 0] > frame[..., 2] + 40) & (frame[..., 0] < 200)
    hot[int(0.85 * len(hot)) :] = hot[: int(0.13 * len(hot))] = False
    rows, columns = np.nonzero(hot)
    middle = (columns > 0.4 * hot.shape[1]) & (columns < 0.6 * hot.shape[1])
    assert rows[middle].min() / len(hot) == pytest.approx(0.7, abs=0.02)
    assert rows[middle].max() / len(hot) == pytest.approx(0.8, abs=0.02)


def test_the_bar_marks_the_slices_with_tumour_and_where_the_film_is(movie):
    frames = decode(movie)
    bar = frames[0][:, -BAR:].astype(int)
    rows = np.flatnonzero((np.abs(bar[:, BAR // 4] - (0x56, 0xB4, 0xE9)) < 60).all(axis=-1)) / len(bar)
    # slices 4 to 7 of 12, the lowest at the foot
    assert rows.min() == pytest.approx(1 - 8 / 12, abs=0.02) and rows.max() == pytest.approx(1 - 4 / 12, abs=0.02)
    for index in (0, 6, 11):
        white = np.flatnonzero((frames[index][:, -3] > 200).all(axis=-1)) / len(bar)
        assert white.mean() == pytest.approx(1 - (index + 0.5) / 12, abs=0.02)


@pytest.mark.parametrize(("plane", "frames", "shape"), [("coronal", 100, (12, 121)), ("sagittal", 121, (12, 100))])
def test_other_planes_have_the_head_at_the_top(plane, frames, shape):
    volume = view()
    volume.ct[11] = 100  # the highest slice
    film = turn(volume, plane)
    assert len(film.ct) == frames and film.ct.shape[1:] == shape
    assert film.spacing == (1.5, 2.5, 1.5)
    assert (film.ct[:, 0] == 100).all() and (film.truth[:, 4:8].any() and not film.truth[:, :4].any())
    assert len(film.shown) == len(film.places) and film.places[0].startswith("0.0 mm")
    with pytest.raises(ValueError, match="axial, coronal, sagittal"):
        turn(volume, "diagonal")


def test_wide_frames_keep_their_shape(tmp_path):
    """12 slices of 2.5 mm are a flat strip: it stands in the middle, not stretched."""
    volume = view()
    volume.ct[:] = 0
    movie = shoot(turn(volume, "coronal"), tmp_path / "flat.mp4", window="mediastinum", progress=False)
    frame = decode(movie)[50]
    rows, columns = np.nonzero(frame[:, :-BAR].min(axis=-1) > 60)
    high, wide = np.ptp(rows[columns < 500]) + 1, np.ptp(columns) + 1
    assert high / wide == pytest.approx(12 * 2.5 / (121 * 1.5), rel=0.06)


def test_a_projection_shows_what_lies_nearby():
    ct = np.full((9, 30, 40), -850, np.int16)
    ct[2, 10, 20] = 100
    assert develop(ct[4], (40, 30), "lung").max() < 120
    assert develop(ct[2:7].max(axis=0), (40, 30), "lung")[10, 20].min() > 200


def test_memory_does_not_grow_with_the_scan(tmp_path):
    peaks = []
    for count in (20, 120):
        ct = np.zeros((count, 64, 64), np.int16)
        volume = View(ct, {"truth": (ct == 0).astype(np.uint8)}, SPACING, np.arange(count) * 2.5)
        tracemalloc.start()
        shoot(turn(volume), tmp_path / "film.mp4", progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # a frame has 1.2 MB; kept, they would be a hundred more
    assert peaks[1] - peaks[0] < 10e6


def test_a_film_that_fails_leaves_nothing(tmp_path):
    volume = view()
    film = turn(volume)
    film.places[7] = None
    object.__setattr__(film, "places", film.places[:8])
    with pytest.raises(ValueError):
        shoot(film, tmp_path / "case.mp4", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_film_reads_files_and_names_the_video_after_the_scan(toy_case, tmp_path):
    case = toy_case("patient", "LAS")
    scan, label = read_scan(case.image), read_scan(case.label, "label")
    share = save_mask(255 * label.voxels, scan, tmp_path / "p.nii.gz", step=1 / 255)
    path = film_case(case.image, tmp_path, label=case.label, probability=share, progress=False)
    assert path == tmp_path / "patient.mp4" and len(decode(path)) == 40
    assert sorted(each.name for each in tmp_path.iterdir() if "partial" in each.name) == []
    path = film_case(case.image, tmp_path, label=case.label, plane="coronal", slab_mm=12, ending=".gif", progress=False)
    assert path.name == "patient_coronal_mip12.gif"
    with Image.open(path) as gif:
        assert gif.n_frames == 96
    with pytest.raises(ScanError, match="holds no probabilities"):
        film_case(case.image, tmp_path, probability=case.image, progress=False)


def test_probabilities_of_another_grid_are_refused(toy_case, tmp_path):
    """As large as the scan, and elsewhere: 200 mm away, or of other voxels."""
    case = toy_case("patient", "LAS")
    scan, label = read_scan(case.image), read_scan(case.label, "label")
    share = nib.load(save_mask(255 * label.voxels, scan, tmp_path / "p.nii.gz", step=1 / 255))
    away, finer = share.affine.copy(), share.affine.copy()
    away[:3, 3] += 200
    finer[:3, :3] *= 0.9
    for affine in (away, finer):
        nib.save(nib.Nifti1Image(np.asanyarray(share.dataobj, np.float32), affine), tmp_path / "other.nii.gz")
        with pytest.raises(ScanError, match=r"other.nii.gz: does not lie on the grid of .*patient.nii.gz"):
            film_case(case.image, tmp_path, probability=tmp_path / "other.nii.gz", progress=False)


def test_probabilities_with_turned_axes_lie_on_the_scan(toy_case, tmp_path):
    case = toy_case("patient", "LAS")
    scan, label = read_scan(case.image), read_scan(case.label, "label")
    share = save_mask(255 * label.voxels, scan, tmp_path / "p.nii.gz", step=1 / 255)
    nib.save(nib.as_closest_canonical(nib.load(share)), tmp_path / "turned.nii.gz")
    np.testing.assert_array_equal(_read_probability(tmp_path / "turned.nii.gz", scan), _read_probability(share, scan))


def test_outline_is_in_mm_and_closes_at_the_border():
    x, y = outline(np.ones((4, 6), np.uint8), (2.0, 1.0))
    assert np.nanmin(x) == pytest.approx(0, abs=0.5) and np.nanmax(x) == pytest.approx(6, abs=0.5)
    assert np.nanmin(y) == pytest.approx(0, abs=1) and np.nanmax(y) == pytest.approx(8, abs=1)
    assert len(outline(np.zeros((4, 6)), (1, 1))[0]) == 0
    # where in the slice the mask lies makes no difference to its shape
    mask = np.zeros((20, 30), np.uint8)
    mask[7:11, 13:19] = 1
    far_x, far_y = outline(mask, (2.0, 1.0))
    np.testing.assert_allclose(far_x, x + 13)
    np.testing.assert_allclose(far_y, y + 14)


def test_gallery_has_one_picture_a_slice():
    ct = np.zeros((5, 20, 30), np.int16)
    figure = draw_gallery(ct, SPACING, [1, 3], truth=ct > 0, title="two")
    assert len(figure.axes) == 2
    plt.close(figure)
