"""What a figure becomes in a notebook: fewer bytes, the same picture, colours that are rare kept, and its words."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import IntSlider
from PIL import Image

from lungseg_helpers.course import show
from lungseg_helpers.course.pictures import COLOURS, GREYS, small_png


def noisy_figure():
    figure, ax = plt.subplots(figsize=(4, 3))
    ax.imshow(np.random.default_rng(0).normal(size=(200, 200)), cmap="gray")
    ax.plot([50, 60, 60, 50, 50], [50, 50, 60, 60, 50], color="#56B4E9")
    return figure


def test_a_noisy_slice_takes_half_of_the_bytes_and_keeps_a_thin_outline():
    figure, whole = noisy_figure(), io.BytesIO()
    figure.savefig(whole, format="png", bbox_inches="tight")
    kept = small_png(figure)
    assert len(kept) < 0.5 * whole.tell()
    before, after = (np.asarray(Image.open(png).convert("RGB")).astype(int) for png in (whole, io.BytesIO(kept)))
    assert before.shape == after.shape and len(np.unique(after.reshape(-1, 3), axis=0)) <= GREYS + COLOURS
    grey = np.ptp(before, axis=2) < 10
    assert np.abs(before - after)[grey].max() <= 8
    outlined = np.abs(before - [0x56, 0xB4, 0xE9]).max(axis=2) < 8
    assert outlined.sum() > 50 and np.abs(before - after)[outlined].max() < 24


def test_a_shown_figure_carries_its_words_and_is_closed(monkeypatch):
    shown = []
    monkeypatch.setattr(show, "display", lambda data, metadata, raw: shown.append((data, metadata)))
    figure = noisy_figure()
    show.show_figure("Noise with a small square.", figure)
    ((data, metadata),) = shown
    assert metadata["image/png"]["alt"] == "Noise with a small square."
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).format == "PNG"
    assert data["text/plain"] == repr(figure) and not plt.fignum_exists(figure.number)


def test_sliders_have_a_picture_for_viewers_that_run_no_widget(monkeypatch):
    shown, drawn = [], []
    monkeypatch.setattr(show, "display", lambda data, metadata, raw: shown.append((data, metadata)))

    def draw(size):
        drawn.append(size)
        plt.figure(figsize=(size, 1))

    show.show_sliders(draw, "An empty picture.", size=IntSlider(2, 1, 3))
    ((data, metadata),) = shown
    assert "application/vnd.jupyter.widget-view+json" in data and metadata["image/png"]["alt"] == "An empty picture."
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).format == "PNG"
    assert set(drawn) == {2}
    times = len(drawn)
    monkeypatch.setattr("ipywidgets.__version__", "7.7.1")
    show.show_sliders(draw, "An empty picture.", size=IntSlider(2, 1, 3))
    assert len(drawn) == 2 * times + 1, "the sliders of version 7 have to be told to draw"
    plt.close("all")


def test_a_widget_is_shown_as_it_would_show_itself():
    slider = IntSlider(2, 1, 3)
    assert show.widget_view(slider).items() <= slider._repr_mimebundle_().items()


def test_a_loop_is_within_the_notebook(monkeypatch, tmp_path):
    """So it plays on the repository's own pages, where no cell has been run."""
    shown = []
    monkeypatch.setattr(show, "display", lambda data, raw: shown.append(data["text/html"]))
    (tmp_path / "a.webp").write_bytes(b"film")
    show.show_film(tmp_path / "a.webp", 'A "small" tumour.', width=300)
    size = 'width="300" style="max-width: 100%"'
    assert shown == [f'<img src="data:image/webp;base64,ZmlsbQ==" {size} alt="A &quot;small&quot; tumour.">']


def test_an_animated_picture_carries_its_words(monkeypatch):
    shown = []
    monkeypatch.setattr(show, "display", lambda data, metadata, raw: shown.append((data, metadata)))
    show.show_picture(b"png", "A chest.")
    assert shown == [({"image/png": "cG5n", "text/plain": "picture: A chest."}, {"image/png": {"alt": "A chest."}})]


def test_a_film_is_named_from_where_the_notebook_runs_and_told_in_words(monkeypatch, tmp_path):
    """A copy of a notebook that runs elsewhere gets another address; the film itself is not in the notebook."""
    shown = []
    monkeypatch.setattr(show, "display", lambda data, raw: shown.append(data))
    film = tmp_path / "outputs" / "videos" / "a & b.mp4"
    film.parent.mkdir(parents=True)
    film.write_bytes(bytes(10**6))
    for folder, address in (("notebooks", "../outputs/videos/"), ("outputs/notebooks", "../videos/")):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        show.show_film(film, 'A "small" tumour & <its> outline.', width=640)
        player = shown[-1]["text/html"]
        assert f'src="{address}a%20%26%20b.mp4"' in player and 'width="640"' in player and " controls " in player
        assert 'title="A &quot;small&quot; tumour &amp; &lt;its&gt; outline."' in player and len(player) < 500
        assert shown[-1]["text/plain"].startswith('film: A "small" tumour')
