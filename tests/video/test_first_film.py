"""The first film: a real patient's, or a phantom's where none can be had; made once."""

import os
from functools import partial

import imageio_ffmpeg
import nibabel as nib
import pytest

from lungseg_helpers.errors import SourceError
from lungseg_helpers.phantom.dataset import write_dataset
from lungseg_helpers.sources import first_patient as module
from lungseg_helpers.video.films import FilmStyle
from lungseg_helpers.video.first_film import first_film

PAUSE = 15
"""Frames of a second and a half, on the slice with most tumour."""

MATRIX = 128
"""Pixels of a phantom's row, a fourth of its voxels in half as many slices: the film is what is tested."""


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LUNGSEG_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


def frames(path) -> int:
    return imageio_ffmpeg.count_frames_and_secs(path)[0]


def test_without_a_connection_a_phantom_is_filmed_and_a_line_says_so(folders, monkeypatch, capsys):
    def fetch(out):
        raise SourceError("no index answers; check the network")

    monkeypatch.setattr(module, "fetch_real", fetch)
    monkeypatch.setattr(module, "write_dataset", partial(write_dataset, matrix=MATRIX))
    path = first_film("cpu")
    (phantom,) = (folders / "data" / "first_phantom" / "imagesTr").glob("*.nii.gz")
    assert path == folders / "outputs" / "videos" / "first_film.mp4"
    assert frames(path) == nib.load(phantom).shape[2] + PAUSE > 30, "a frame per slice"
    said = capsys.readouterr().err
    assert "a phantom is made" in said and "no index answers" in said
    made = path.stat().st_mtime_ns
    assert first_film("cpu") == path and path.stat().st_mtime_ns == made, "filmed again"
    os.utime(path, (0, 0))  # older than the weights
    first_film("cpu")
    assert path.stat().st_mtime_ns != 0, "new weights, a new film"


def test_a_real_patient_is_filmed_where_there_is_one(folders, toy_case, monkeypatch):
    case = toy_case("patient", "LAS")
    monkeypatch.setattr(module, "fetch_real", lambda out: case.image.parent.parent)
    assert frames(first_film("cpu")) == 40 + PAUSE, "a frame per slice"
    loop = first_film("cpu", FilmStyle(width=320), loop=True)
    assert loop.name == "first_film_width320_loop.webp" and loop.stat().st_size < 2e6


def test_once_there_is_a_connection_the_real_patient_takes_the_phantoms_place(folders, toy_case, monkeypatch, capsys):
    def no_network(out):
        raise SourceError("no index answers; check the network")

    monkeypatch.setattr(module, "fetch_real", no_network)
    monkeypatch.setattr(module, "write_dataset", partial(write_dataset, matrix=MATRIX))
    phantom = frames(first_film("cpu"))
    capsys.readouterr()
    first_film("cpu")
    assert "a phantom is made" in capsys.readouterr().err, "the film of before is a phantom's, too"
    case = toy_case("patient", "LAS")
    monkeypatch.setattr(module, "fetch_real", lambda out: case.image.parent.parent)
    path = first_film("cpu")
    assert frames(path) == 40 + PAUSE != phantom
    made = path.stat().st_mtime_ns
    assert first_film("cpu").stat().st_mtime_ns == made, "filmed again"
