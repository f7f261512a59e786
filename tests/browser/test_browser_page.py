"""The page of ``lungseg viewer`` in a browser: it is seen, answers, takes a scan, and refuses what it should."""

import base64
import gzip
import io
import os
import re
import zipfile

import nibabel as nib
import numpy as np
import psutil
import pytest
from browsers import new_page, picture, served, until

from lungseg_helpers.paths import data_dir
from lungseg_helpers.scans.scan import read_scan


@pytest.fixture(scope="module")
def server(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    places = {"LUNGSEG_DATA_DIR": str(data_dir()), "TMPDIR": str(folder)}
    command = ["lungseg_helpers.cli", "viewer", "--port", "18876", "--pages", "2"]
    with served(command, folder, **places) as (address, process):
        yield address, process, folder


def visited(chromium, server):
    page = new_page(chromium, width=800, height=1500)  # WebGL without a graphics card takes its time
    page.goto(server[0], wait_until="commit")
    page.wait_for_selector("canvas")
    until(lambda: re.search(r"-?\d+ HU", words(page)), page)
    return page


@pytest.fixture(scope="module")
def page(chromium, server):
    return visited(chromium, server)


def words(page):
    return page.locator("#rendered_cells").inner_text()


def said(page):
    return page.locator(".lungseg-own-scan [role=status]").inner_text()


def slice_shown(page):
    return int(re.search(r"slice (\d+) of", words(page))[1])


def changed(page, canvas, before):
    return until(lambda: np.abs(picture(canvas).astype(int) - before).max() > 30, page)


def test_the_canvas_is_not_blank(page):
    canvas = page.locator("canvas").first
    until(lambda: picture(canvas).std() > 20, page)
    grey = picture(canvas)
    assert len(np.unique(grey)) > 50 and not page.faults


def test_a_mask_is_switched_off_and_on(page):
    canvas = page.locator("canvas").first

    def orange():
        red, green, blue = np.moveaxis(picture(canvas).astype(int), 2, 0)
        return int(((red > blue + 60) & (red > green + 15)).sum())

    until(lambda: orange() > 20, page)
    box = page.get_by_label("prediction").first
    box.click()
    until(lambda: orange() < 10, page)
    box.click()
    until(lambda: orange() > 20, page)


def test_a_slice_changes_on_the_wheel(page):
    canvas = page.locator("canvas").first
    before, at = slice_shown(page), canvas.bounding_box()
    page.mouse.move(at["x"] + at["width"] / 6, at["y"] + at["height"] / 2)  # the axial plane
    was = picture(canvas).astype(int)
    page.mouse.wheel(0, 200)
    changed(page, canvas, was)
    until(lambda: slice_shown(page) != before, page)


def test_a_slice_changes_on_a_key(page):
    canvas, before = page.locator("canvas").first, slice_shown(page)
    page.locator(".noUi-handle").first.focus()
    was = picture(canvas).astype(int)
    page.keyboard.press("ArrowRight")
    until(lambda: slice_shown(page) == before + 1, page)
    changed(page, canvas, was)


def test_a_window_and_a_view_change_the_picture(page):
    canvas = page.locator("canvas").first
    for name in ("mediastinum", "3D", "three planes", "lung"):
        was = picture(canvas).astype(int)
        page.get_by_role("button", name=name, exact=True).first.click()
        changed(page, canvas, was)


def send(page, name, content):
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": content})


def zipped(name, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def bomb():
    """Return gzip of more zeros than are taken, a piece at a time."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=9) as file:
        for _ in range(2**8 + 1):
            file.write(bytes(2**22))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("text.nii.gz", b"Dear reader, this is a text.", "no scan that can be read here"),
        ("outside.zip", zipped("../../evil.dcm", b"x"), "leads out of it"),
        ("bomb.zip", zipped("large.dcm", bytes(2**27)), "no slice is so large"),
        ("bomb.nii.gz", bomb, "inflates to"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_what_is_no_scan_or_no_friend_ends_in_a_readable_line(page, server, name, content, line):
    send(page, name, content() if callable(content) else content)
    until(lambda: line in said(page) and name in said(page), page)
    assert "\n" not in said(page) and "Traceback" not in words(page) and str(server[2]) not in words(page)


def test_a_file_that_comes_while_another_is_at_work_waits_for_it(page):
    send(page, "first.nii.gz", bomb())
    send(page, "second.nii.gz", b"Dear reader, this is a text.")
    until(lambda: "no scan that can be read here" in said(page) and "second.nii.gz" in said(page), page)


def test_two_gigabytes_are_refused_before_they_are_sent(page, tmp_path):
    large = tmp_path / "large.nii.gz"
    with large.open("wb") as file:
        os.truncate(file.fileno(), 2 * 10**9)  # it takes no room on the disk
    sent = []
    page.context.on("request", lambda request: sent.append(request.url))
    page.locator("input[type=file]").set_input_files(large)
    until(lambda: "2,000 MB" in said(page) and "at most 512 MB" in said(page), page)
    assert not sent


def test_a_real_scan_ends_in_an_overlay_and_its_mask(page, server, real):
    scan = sorted((real / "imagesTr").glob("*.nii.gz"))[1]
    canvas = page.locator("canvas").last
    assert not canvas.is_visible()
    page.locator("input[type=file]").set_input_files(scan)
    until(lambda: "checked and segmented" in said(page), page)
    canvas.scroll_into_view_if_needed()

    def orange():
        red, green, blue = np.moveaxis(picture(canvas).astype(int), 2, 0)
        return int(((red > blue + 60) & (red > green + 15)).sum())

    until(lambda: orange() > 20, page)
    content = page.locator("a[download]").get_attribute("href").partition("base64,")[2]
    mask = nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(content)))
    assert mask.shape == read_scan(scan).voxels.shape and np.asarray(mask.dataobj).any()
    assert not [*next(server[2].glob("lungseg-page-*")).iterdir()], "nothing of the scan stays on disk"
    assert not page.faults


def test_another_visitor_sees_nothing_of_it_and_what_a_page_had_goes_with_it(chromium, server, page):
    other = visited(chromium, server)
    assert not other.locator("canvas").last.is_visible() and "checked and segmented" not in words(other)
    folders = {*server[2].glob("lungseg-page-*")}
    assert len(folders) == 2 and all(folder.stat().st_mode & 0o077 == 0 for folder in folders)
    kernels = len(psutil.Process(server[1].pid).children())
    third = new_page(chromium)
    assert third.goto(server[0]).status == 503
    assert "Close one, wait a moment" in third.locator("body").inner_text()
    assert len(psutil.Process(server[1].pid).children()) == kernels, "who comes too many gets no kernel"
    other.goto("about:blank")  # as when it is closed
    until(lambda: len({*server[2].glob("lungseg-page-*")}) == 1, page)
    until(lambda: len(psutil.Process(server[1].pid).children()) == kernels - 1, page)


def test_the_page_asks_nobody_else(page):
    assert page.asked and all(url.startswith(("http://127.0.0.1", "data:", "blob:")) for url in page.asked)
