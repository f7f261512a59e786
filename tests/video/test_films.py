"""Videos are checked by decoding them: codec, size, frames, and contours where the masks are."""

import itertools
import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import imageio_ffmpeg
import matplotlib
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lungseg_helpers.errors import LungsegError, ScanError
from lungseg_helpers.prediction.components import component_table, write_components
from lungseg_helpers.prediction.files import save_mask
from lungseg_helpers.scans.orientation import oriented
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.scans.view import View, open_view
from lungseg_helpers.video.developing import OPAQUE, close_up, develop
from lungseg_helpers.video.films import (
    Film,
    FilmStyle,
    _read_probability,
    around_fullest,
    film_case,
    film_name,
    shoot,
    turn,
)
from lungseg_helpers.video.findings import add_findings, table_beside
from lungseg_helpers.video.following import follow
from lungseg_helpers.video.layout import BAR, FULL, Layout
from lungseg_helpers.video.overlay import HEAT, PREDICTION, TRUTH, draw_gallery, outline
from lungseg_helpers.video.sheets import contact_sheet

SPACING = (2.5, 1.5, 1.5)


def view() -> View:
    """A black volume with a true square (left) and a predicted square (right) in slices 4 to 7 of 12, 5 the fullest."""
    ct = np.full((12, 100, 121), -1350, np.int16)
    truth, prediction, probability = np.zeros((3, *ct.shape), np.uint8)
    truth[4:8, 40:60, 20:40] = 1
    truth[[4, 6, 7], 40, 20] = 0
    prediction[4:8, 40:60, 80:100] = 1
    probability[4:8, 70:80, 55:65] = 255
    masks = {"truth": truth, "prediction": prediction, "probability": probability}
    return View(ct, masks, SPACING, 100 + np.arange(12) * 2.5)


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "case.mp4"
    return shoot(turn(view()), path, "case", progress=False)


def decode(path) -> np.ndarray:
    """Return all frames, (frame, row, column, RGB) uint8."""
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def layout(film: Film, width: int = FULL) -> Layout:
    """Where the parts of a film's frames lie."""
    track = follow([film.truth, film.prediction], film.spacing)
    size = tuple(count * mm for count, mm in zip(film.ct.shape[1:], film.spacing[1:], strict=True))
    return Layout(size, width, track.side_mm if track else 0.0, [TRUTH, PREDICTION], film.probability is not None)


def near(frame: np.ndarray, colour: str, tolerance: int = 60) -> np.ndarray:
    """Where the slice in a frame of :func:`view` has a colour: bool (row, column) of the slice's place."""
    rgb = np.array([int(colour[each : each + 2], 16) for each in (1, 3, 5)])
    return (np.abs(frame[layout(turn(view())).slice.index].astype(int) - rgb) < tolerance).all(axis=-1)


def test_one_frame_a_slice_in_a_format_that_players_open(movie):
    frames = decode(movie)
    assert len(frames) == 12 + 15, "a frame per slice, and a second and a half on the fullest"
    assert frames.shape[1] % 2 == 0 and frames.shape[2] == FULL
    probe = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(movie)], capture_output=True, text=True).stderr
    assert re.search(r"Video: h264.*yuv420p", probe)
    assert "Duration: 00:00:02.7" in probe
    data = movie.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index must come first for seeking in a browser"


def test_the_film_pauses_on_the_fullest_slice(tmp_path):
    film = turn(view())
    style = FilmStyle(frames_per_second=20, pause_s=0.5, width=320)
    frames = decode(shoot(film, tmp_path / "case.mp4", "case", style, progress=False)).astype(int)
    assert len(frames) == 12 + 10 and film.fullest == 5
    moved = [np.abs(one - other).max() > 40 for one, other in itertools.pairwise(frames)]
    assert not any(moved[5:15]), "the film goes on during the pause"
    assert all(moved[:5]) and all(moved[15:])


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
        for index in (1, 3, -4, -1):
            assert not near(frames[index], style["color"]).any(), "a contour is drawn where there is no mask"


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours (…, 3), 0 to 1, by WCAG 2."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def test_outlines_stand_out_on_every_grey_and_on_every_heat():
    """Between the dark and the light rim there is a step of contrast 3 to whatever lies below, without any hue."""
    below = [np.linspace(0, 1, 64)[:, None].repeat(3, axis=1)]
    below += [
        (1 - OPAQUE) * grey + OPAQUE * matplotlib.colormaps[HEAT](np.linspace(0, 1, 64))[:, :3] for grey in (0, 1)
    ]
    rims = luminance(np.array([[1.0, 1, 1], [0, 0, 0]]))[:, None]
    ground = luminance(np.concatenate(below))
    contrast = (np.maximum(rims, ground) + 0.05) / (np.minimum(rims, ground) + 0.05)
    assert (contrast.max(axis=0) >= 3).all()
    for style in (TRUTH, PREDICTION):
        rims = [effect._gc["foreground"] for effect in style["path_effects"]]
        assert rims == ["white", "black"], "the dark rim lies inside"
        wide = [effect._gc["linewidth"] for effect in style["path_effects"]]
        assert wide[0] - wide[1] >= 1 and wide[1] - style["linewidth"] >= 1


def test_the_heat_map_lies_on_the_probability(movie):
    frame = decode(movie)[5].astype(int)[layout(turn(view())).slice.index]
    hot = (frame[..., 0] > frame[..., 1] + 20) & (frame[..., 2] > frame[..., 1] + 20)
    rows, columns = np.nonzero(hot)
    assert rows.min() / len(hot) == pytest.approx(0.7, abs=0.02)
    assert rows.max() / len(hot) == pytest.approx(0.8, abs=0.02)
    assert columns.min() / hot.shape[1] == pytest.approx(55 / 121, abs=0.02)


def test_the_bar_marks_the_slices_with_tumour_and_where_the_film_is(movie):
    frames = decode(movie)
    bar = frames[0][:, -BAR:].astype(int)
    frames = np.delete(frames, range(6, 21), axis=0)  # the pause
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
    assert len(film.shown) == len(film.places) and film.places[0].startswith(f"slice 1/{frames}   0 mm from the")
    with pytest.raises(ValueError, match="axial, coronal, sagittal"):
        turn(volume, "diagonal")


def test_wide_frames_keep_their_shape(tmp_path):
    """12 slices of 2.5 mm are a flat strip, and not stretched."""
    volume = view()
    volume.ct[:] = 0
    film = turn(volume, "coronal")
    movie = shoot(film, tmp_path / "flat.mp4", style=FilmStyle(window="mediastinum"), progress=False)
    frame = decode(movie)[50][:, : layout(film).close.left]
    rows, columns = np.nonzero(frame.min(axis=-1) > 60)
    inside = (rows > 38) & (rows < len(frame) - 38)
    high, wide = np.ptp(rows[inside]) + 1, np.ptp(columns[inside]) + 1
    assert high / wide == pytest.approx(12 * 2.5 / (121 * 1.5), rel=0.06)


def in_a_room(count: int = 30) -> View:
    """A body of 180 by 210 by 50 mm in a room of 450 by 450 by 75 mm, on a thin table, with a tumour of 20 mm."""
    ct = np.full((count, 150, 150), -1000, np.int16)
    ct[5:25, 45:105, 40:110] = 0
    ct[:, 118, 10:140] = 200
    truth = np.zeros(ct.shape, np.uint8)
    truth[12:16, 70:77, 60:67] = 1
    return View(ct, {"truth": truth}, (2.5, 3.0, 3.0), np.arange(count) * 2.5)


@pytest.mark.parametrize(("plane", "frames", "shape"), [
    ("axial", 20, (60, 70)), ("coronal", 60, (20, 70)), ("sagittal", 70, (20, 60))
])  # fmt: skip
def test_frames_begin_and_end_with_the_body_and_show_nothing_else(plane, frames, shape):
    film = turn(in_a_room(), plane)
    assert np.abs(len(film.ct) - frames) <= 2 and np.abs(np.subtract(film.ct.shape[1:], shape)).max() <= 4
    # around the toy, which is small, there is a margin of a few mm
    assert (film.ct[0] == 0).mean() > 0.75 and (film.ct[-1] == 0).mean() > 0.75, "the film begins or ends in empty air"
    first = {"axial": 5, "coronal": 45, "sagittal": 40}[plane]
    number = int(film.places[0].split()[1].split("/")[0])
    assert first < number <= first + 2, "slices keep the scan's numbers"


def test_a_tumour_outside_what_is_taken_for_the_body_is_shown():
    volume = in_a_room()
    volume.masks["truth"][2, 30, 20] = 1
    assert turn(volume).truth.sum() == volume.masks["truth"].sum()


def test_a_block_cut_out_of_a_chest_is_shown_whole():
    volume = view()
    volume.ct[3:6, 20:40, 20:60] = 40
    assert turn(volume).ct.shape == volume.ct.shape


def test_the_close_up_follows_the_lesion(tmp_path):
    """A lesion wanders through the slices: its middle is the close-up's, in the source and in the film's pixels."""
    ct = np.full((12, 100, 121), -800, np.int16)
    truth = np.zeros(ct.shape, np.uint8)
    for index in range(3, 9):
        row, column = 30 + 5 * index, 90 - 7 * index
        truth[index, row - 4 : row + 5, column - 4 : column + 5] = 1
        ct[index, row, column] = 3000
    volume = View(ct, {"truth": truth}, SPACING, np.arange(12.0))
    track = follow([truth, None], SPACING)
    film = turn(volume)
    place = layout(film).close
    frames = decode(shoot(film, tmp_path / "case.mp4", style=FilmStyle(pause_s=0), progress=False))
    for index in range(3, 9):
        row, column = 30 + 5 * index, 90 - 7 * index
        assert tuple(track.centres[index]) == (row, column) and track.away_mm[index] == 0
        part = close_up(ct[index], track.centres[index], track.side_mm, SPACING[1:], 101)
        assert part[50, 50] == 3000, "the middle is not the lesion's own pixel"
        bright = np.argwhere(frames[index][place.index].min(axis=-1) > 200)
        rows, columns = np.abs(bright - (place.height - 1) / 2).T
        # the ruler is bright as well, in the lower right corner
        assert (np.maximum(rows, columns) < 15).sum() > 20
    # 2.5 mm a slice: slice 11 lies 7.5 mm behind the lesion, slice 12 would lie beyond
    assert [track.near(index) for index in (0, 11)] == [True, True]
    assert not follow([truth], (6.0, *SPACING[1:])).near(11)


def test_a_close_up_is_true_to_scale_and_may_reach_over_the_edge():
    plane = np.zeros((40, 60), np.int16)
    plane[18:22, 26:34] = 1000  # 20 mm by 16 mm
    part = close_up(plane, (19.5, 29.5), 40.0, (5.0, 2.0), 200, fill=-1024)
    rows, columns = np.nonzero(part > 500)
    assert np.ptp(rows) + 1 == pytest.approx(100, abs=2) and np.ptp(columns) + 1 == pytest.approx(80, abs=2)
    assert (close_up(plane, (0, 0), 40.0, (5.0, 2.0), 200, fill=-1024)[:90, :90] == -1024).all()


BAD_OPTIONS = [
    ({"frames_per_second": 0}, "frames_per_second is 0; use 1 to 60"),
    ({"frames_per_second": float("nan")}, "frames_per_second is nan; use 1 to 60"),
    ({"width": 5000}, "width is 5000; use 320 to 1920"),
    ({"pause_s": -1}, "pause_s is -1; use 0 to 10"),
    ({"slab_mm": 1e6}, "slab_mm is 1000000.0; use 0 to 200"),
    ({"window": "sky"}, "window is 'sky'; use one of: lung"),
]


@pytest.mark.parametrize(("options", "said"), BAD_OPTIONS)
def test_options_out_of_range_are_refused_in_one_line(options, said, tmp_path):
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        film_case(tmp_path / "never read.nii.gz", tmp_path, **options)
    assert "\n" not in str(raised.value)


def test_size_and_speed_are_as_asked(tmp_path):
    style = FilmStyle(frames_per_second=25, width=481, pause_s=0)
    path = shoot(turn(view()), tmp_path / "case.mp4", "case", style, progress=False)
    reader = imageio_ffmpeg.read_frames(str(path))
    told = next(reader)
    assert told["size"][0] == 480 and told["fps"] == 25
    assert film_name("a", style) == "a_fps25_width480_pause0.mp4" and film_name("a", FilmStyle()) == "a.mp4"
    style = FilmStyle(window="bone", slab_mm=10)
    assert film_name("a", style, "coronal", ".webp", True) == "a_coronal_bone_mip10_loop.webp"


def test_a_loop_shows_the_slices_around_the_tumour_and_starts_again(tmp_path):
    volume = in_a_room(120)
    volume.ct[5:115, 45:105, 40:110] = np.random.default_rng(0).integers(-900, 200, (110, 60, 70))
    film = around_fullest(turn(volume))
    path = shoot(film, tmp_path / "loop.webp", "loop", progress=False)
    assert path.stat().st_size < 2e6, "noise is the worst case, and a page loads all of it"
    with Image.open(path) as loop:
        assert loop.info["loop"] == 0 and loop.size[0] == FULL and loop.n_frames <= 28
        lasted = []
        for frame in range(loop.n_frames):
            loop.seek(frame)
            loop.load()
            lasted.append(loop.info["duration"])
    assert max(lasted) >= 1600 and sum(lasted) == 100 * (len(film.shown) + 15)
    with pytest.raises(ScanError, match="nothing for a loop to show"):
        around_fullest(turn(View(volume.ct, {}, volume.spacing, volume.z_mm)))


def test_what_is_said_of_a_finding_stands_beside_its_slices_alone(tmp_path):
    volume = view()
    volume.masks["findings"] = volume.masks["truth"]
    plain = decode(shoot(turn(view()), tmp_path / "plain.mp4", style=FilmStyle(pause_s=0), progress=False))
    film = replace(turn(volume), words={1: "1: 7.5 mL, p 0.93, right upper zone"})
    frames = decode(shoot(film, tmp_path / "case.mp4", style=FilmStyle(pause_s=0), progress=False))
    place = layout(film).close
    below = slice(place.top + place.height + 2, -40), slice(place.left, place.left + place.width)
    written = [
        (frame[below].astype(int) - other[below]).max() > 100 for frame, other in zip(frames, plain, strict=True)
    ]
    assert written == [4 <= index < 8 for index in range(12)]
    # and it does not run into the bar
    assert frames[5][below][:, -3:].max() < 60


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
        shoot(turn(volume), tmp_path / "film.mp4", style=FilmStyle(width=480), progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # a frame has 0.4 MB; kept, they would be a hundred more
    assert peaks[1] - peaks[0] < 10e6


def test_a_film_that_fails_leaves_nothing(tmp_path):
    volume = view()
    film = turn(volume)
    object.__setattr__(film, "places", film.places[:8])
    with pytest.raises(IndexError):
        shoot(film, tmp_path / "case.mp4", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of a file there")
def test_a_film_for_which_the_disk_is_too_small_leaves_nothing(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.raises(OSError, match="to its end"):
            shoot(turn(view()), tmp_path / "case.mp4", progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_film_reads_files_and_names_the_video_after_the_scan(toy_case, tmp_path):
    case = toy_case("patient", "LAS")
    scan, label = read_scan(case.image), read_scan(case.label, "label")
    share = save_mask(255 * label.voxels, scan, tmp_path / "p.nii.gz", step=1 / 255)
    path = film_case(case.image, tmp_path, label=case.label, probability=share, progress=False)
    assert path == tmp_path / "patient.mp4" and len(decode(path)) == 40 + 15
    assert sorted(each.name for each in tmp_path.iterdir() if "partial" in each.name) == []
    path = film_case(case.image, tmp_path, label=case.label, plane="coronal", slab_mm=12, ending=".gif", progress=False)
    assert path.name == "patient_coronal_mip12.gif"
    odd = case.image.rename(case.image.with_name("c$_$.nii.gz"))
    small = film_case(odd, tmp_path, width=320, frames_per_second=60, progress=False)
    assert small.name.startswith("c$_$"), "a name is no formula"
    odd.rename(case.image)
    with Image.open(path) as gif:
        shown = turn(open_view(scan, truth=case.label), "coronal").shown
        assert 50 < len(shown) < 96 and gif.n_frames == len(shown) + 15, "the body's slices, and the pause"
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


def test_a_probability_just_above_1_is_1(toy_case, tmp_path):
    """Files of other programs may round 1 up."""
    scan = read_scan(toy_case("patient", "LAS").image)
    share = np.zeros(scan.voxels.shape, np.float32)
    share[10, 10, 5] = 1.005
    nib.save(nib.Nifti1Image(share, scan.affine), tmp_path / "p.nii.gz")
    assert _read_probability(tmp_path / "p.nii.gz", scan).max() == 255


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


def test_the_table_beside_a_mask_is_told_of_the_component_that_it_is_of(toy_case, tmp_path):
    """Two predicted blocks, the larger one further up: it is number 1."""
    case = toy_case("patient", "LAS")
    scan = read_scan(case.image)
    mask = np.zeros(scan.voxels.shape, np.uint8)
    mask[10:14, 10:14, 5:7] = mask[20:26, 20:26, 20:24] = 1
    path = save_mask(mask, scan, tmp_path / "patient_pred.nii.gz")
    assert table_beside(path) is None
    table = component_table(scan, oriented(mask, scan.affine), np.full(mask.sum(), 0.9, np.float32))
    write_components(table, tmp_path / "patient_components.csv")
    view = open_view(scan, prediction=path)
    words = add_findings(view, table_beside(path))
    assert list(words) == [1, 2] and words[1].startswith("1: ") and "p 0.90" in words[1]
    sizes = np.bincount(view.masks["findings"].ravel())[1:]
    assert list(sizes) == [6 * 6 * 4, 4 * 4 * 2], "the largest is number 1"
    with pytest.raises(ScanError, match="prediction: has 2 components and the table beside it 1; predict again"):
        add_findings(view, table[:1])
    with pytest.raises(ScanError, match="does not number its components from 1 on; predict again"):
        add_findings(view, table.assign(component=[7, 1]))


SPOILT = {
    "empty": lambda text: b"",
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "decimal commas": lambda text: re.sub(r"(\d)\.(\d)", r'"\1,\2"', text.replace(",", ";")).replace(";", ",").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "a column less": lambda text: text.replace("zone", "where", 1).encode(),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_table_that_a_spreadsheet_has_changed_is_refused(toy_case, tmp_path, how):
    scan = read_scan(toy_case("patient", "LAS").image)
    mask = np.zeros(scan.voxels.shape, np.uint8)
    mask[10:14, 10:14, 5:7] = 1
    table = component_table(scan, oriented(mask, scan.affine), np.full(mask.sum(), 0.9, np.float32))
    path = write_components(table, tmp_path / "patient_components.csv")
    path.write_bytes(SPOILT[how](path.read_text()))
    with pytest.raises(ScanError, match=r"patient_components.csv: is no table of components; predict again"):
        table_beside(tmp_path / "patient_pred.nii.gz")


def test_a_gallery_may_zoom_to_the_lesion_with_the_whole_slice_in_a_corner():
    volume = in_a_room()
    figure = draw_gallery(volume.ct, volume.spacing, [13, 20], volume.masks["truth"], zoom=True)
    for ax in figure.axes[:2]:
        low, high = ax.get_xlim()
        assert (low + high) / 2 == pytest.approx(63.5 * 3) and high - low == pytest.approx(2.2 * 21)
        assert len(ax.child_axes) == 1
    plt.close(figure)
    figure = draw_gallery(volume.ct, volume.spacing, [13], np.zeros_like(volume.ct), zoom=True)
    assert figure.axes[0].get_xlim() == (0, 450), "nothing is marked: the whole slice"
    plt.close(figure)


def test_a_contact_sheet_has_every_patient_in_his_fullest_slice():
    volume, empty = in_a_room(), in_a_room()
    volume.masks["truth"][14, 60:80, 60:67] = 1
    empty.masks["truth"][:] = 0
    figure = contact_sheet((f"{id}: Dice 0.5", each) for id, each in (("a", volume), ("b", empty), ("c", volume)))
    axes = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title()[0] for ax in axes] == ["a", "b", "c"]
    assert [ax.texts[0].get_text() for ax in axes] == ["slice 15/30", "slice 16/30", "slice 15/30"]
    plt.close(figure)
    with pytest.raises(ScanError, match="no patient"):
        contact_sheet([])


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of a file there")
@pytest.mark.parametrize("ending", [".gif", ".webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_moving_picture_for_which_the_disk_is_too_small_leaves_the_one_of_before(ending, share, tmp_path):
    import resource

    style, path = FilmStyle(width=320, pause_s=0), tmp_path / f"loop{ending}"
    whole = shoot(turn(view()), path, style=style, progress=False).read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * len(whole)), before[1]))
    try:
        with pytest.raises(OSError, match="to its end"):
            shoot(turn(view()), path, style=style, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]


def test_without_ffmpeg_there_is_one_line(tmp_path, monkeypatch):
    def none():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr("imageio_ffmpeg._io.get_ffmpeg_exe", none)
    with pytest.raises(LungsegError, match=r"case.mp4: no ffmpeg is there .*; see 'lungseg doctor'"):
        shoot(turn(view()), tmp_path / "case.mp4", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_contact_sheets_legend_names_what_any_patient_has():
    volume, bare = in_a_room(), in_a_room()
    bare.masks.clear()
    figure = contact_sheet([("bare", bare), ("volume", volume)])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["truth"]
    plt.close(figure)
