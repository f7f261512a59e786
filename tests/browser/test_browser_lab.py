"""The notebooks as a reader has them: in JupyterLab, in a browser."""

import json
import re
import shutil
import subprocess

import nbformat
import numpy as np
import pytest
from browsers import new_page, picture, served, until
from imageio_ffmpeg import get_ffmpeg_exe

from lungseg_helpers.paths import ROOT, data_dir

SETTINGS = {
    # every cell is on the page, whether it is in view or not
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """Return the address of a JupyterLab on a copy of the notebooks, as if they had just been cloned."""
    root = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (root / "data").mkdir()
    for each in ("loop.webp", "viewer.webp", "contact_sheet.png"):
        shutil.copy(ROOT / "data" / each, root / "data")
    for name, values in SETTINGS.items():
        path = root / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    places = {"LUNGSEG_DATA_DIR": str(data_dir()), "LUNGSEG_OUTPUTS": str(root / "outputs")}
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(root / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces")}
    options = ["--no-browser", "--ip=127.0.0.1", "--port=18888", f"--ServerApp.root_dir={root}", "--allow-root"]
    with served(["jupyterlab", *options, "--LabApp.expose_app_in_browser=True"], root, **places) as (address, _):
        yield address, root


@pytest.fixture(scope="module")
def opened(lab, chromium):
    """Return a function that opens a notebook in a page of its own."""

    def open_notebook(name, **size):
        page = new_page(chromium, **size)
        address, _, token = lab[0].partition("?")
        page.goto(f"{address.split('/lab')[0].rstrip('/')}/lab/tree/notebooks/{name}?{token}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        until(lambda: page.evaluate("!!window.jupyterapp?.shell.currentWidget?.content?.model?.cells?.length"), page)
        return page

    return open_notebook


@pytest.fixture(scope="module")
def first(opened):
    """Return a page in which 01 has run from top to bottom."""
    page = opened("01_preprocessing.ipynb")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready.then(() => true)")
    until(lambda: page.evaluate("!!window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel"), page)
    page.evaluate(
        "() => { window.jupyterapp.commands.execute('notebook:run-all-cells').then((x) => { window.ran = 1 }) }"
    )
    until(lambda: page.evaluate("window.ran === 1"), page)
    return page


def cells(page):
    """Return what the page holds of each code cell: its count, and the kinds of its outputs."""
    return page.evaluate(
        """[...window.jupyterapp.shell.currentWidget.content.model.cells].filter((cell) => cell.type === "code").map(
        (cell) => [cell.executionCount, [...Array(cell.outputs.length).keys()].map((i) => cell.outputs.get(i).type)])"""
    )


def test_01_runs_in_jupyterlab_without_an_error(first):
    ran = cells(first)
    notebook = nbformat.read(ROOT / "notebooks" / "01_preprocessing.ipynb", 4)
    assert [count for count, _ in ran] == list(range(1, 1 + sum(cell.cell_type == "code" for cell in notebook.cells)))
    assert "error" not in {kind for _, kinds in ran for kind in kinds}
    assert not first.faults


def test_a_slider_of_01_changes_the_picture(first):
    output = first.locator(".jp-OutputArea-output:has(.noUi-handle)").first
    output.scroll_into_view_if_needed()
    shown = output.locator("img").first
    before = until(lambda: shown.get_attribute("src"), first)
    output.locator(".noUi-handle").first.focus()
    first.keyboard.press("ArrowRight")
    until(lambda: output.locator("img").count() and shown.get_attribute("src") != before, first)


def test_the_film_of_05_plays_and_is_in_view(lab, opened):
    """A film's address leads from the notebook to ``outputs/videos``; the film that lies there is the test's."""
    source = (ROOT / "notebooks" / "05_evaluation.ipynb").read_text()
    names = set(re.findall(r'<video src=\\"\.\./outputs/videos/([^"\\]+)', source))
    assert names
    folder = lab[1] / "outputs" / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        make = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=10:duration=3", "-pix_fmt", "yuv420p", "-y"]
        subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", *make, folder / name], check=True)
    page = opened("05_evaluation.ipynb")
    film = page.locator(".jp-Notebook video").first
    film.scroll_into_view_if_needed()
    film.evaluate("film => film.play()")
    until(lambda: film.evaluate("film => film.currentTime") > 0.3, page)
    box, size = film.bounding_box(), page.viewport_size
    assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
    assert box["y"] >= 0 and box["y"] + box["height"] <= size["height"]
    assert film.evaluate("film => film.videoWidth") == 320
    page.close()


def test_09_shows_a_picture_before_a_kernel_runs(opened):
    page = opened("09_viewer.ipynb")
    stills = page.locator(".jp-OutputArea-output img")
    until(lambda: stills.count() >= 3, page)
    stills.first.scroll_into_view_if_needed()
    assert np.ptp(picture(stills.first)) > 200
    assert "model not found" not in page.locator(".jp-Notebook").inner_text()
    page.close()
