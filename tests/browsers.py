"""What the tests in a browser share: the system's Chromium, a server that a test starts, and looks at a picture."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungseg_helpers.paths import ROOT

WAIT_S = 240
"""Nothing is asserted on time: this is when a test gives up. Opening a page is slowest: 25 s on two cores."""

WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
"""WebGL drawn by the processor: a machine that tests has no graphics card."""


@contextlib.contextmanager
def browser() -> Iterator:
    """Yield the system's Chromium, without a window; skip the test, with the reason, where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("there is no Chromium here; Debian's package is called chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=WEBGL)
        yield chromium
        chromium.close()


def new_page(chromium, width: int = 1280, height: int = 900):
    """Return a page of a visitor of its own.

    ``page.faults`` collects what goes wrong in its scripts, ``page.asked`` the addresses of what it has loaded.
    """
    page = chromium.new_context(viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(WAIT_S * 1000)
    page.faults, page.asked = [], []
    page.on("requestfinished", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    return page


@contextlib.contextmanager
def served(
    command: list[str], folder: Path, cwd: Path | None = None, **environment: str
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start a server that prints its address, yield that and the process, and end it."""
    log = folder / "server.log"
    with log.open("w") as output:
        values = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environment
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=output, stderr=output, env=values, cwd=cwd)
    try:
        address = until(lambda: _address(log, process))
        yield address, process
    finally:
        process.terminate()
        process.wait(60)


def _address(log: Path, process: subprocess.Popen) -> str | None:
    words = log.read_text().split()
    assert process.poll() is None, log.read_text()
    return next((word for word in words if word.startswith("http://127.0.0.1") and "token=" in word), None)


def until(condition, page=None):
    """Return what ``condition`` returns once it is true; the browser goes on meanwhile, where ``page`` is given.

    Where it stays false for ``WAIT_S`` seconds, the failure says what the page said then.
    """
    end = time.monotonic() + WAIT_S
    while not (value := condition()):
        if time.monotonic() > end:
            said = [page.locator("body").inner_text(), *page.faults] if page else []
            raise AssertionError("\n".join(["waited in vain", *said]))
        page.wait_for_timeout(200) if page else time.sleep(0.1)
    return value


def picture(element) -> np.ndarray:
    """Return what an element of a page looks like: uint8 (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"))
