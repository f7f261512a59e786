"""The page under load: twenty uploads one after another, then four at once; memory and disk before, during and after.

Needs Chromium. Memory is what the processes have for themselves (USS), of the server and of its kernels.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from lungseg_helpers.paths import data_dir
from lungseg_helpers.sources.datasets import fetch_real, find_cases

from .table import Row

IN_A_ROW, AT_ONCE = 20, 4

WAIT_MS = 1_200_000

FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]

DONE = (
    "[...document.querySelectorAll('.lungseg-own-scan [role=status]')].some((e) => e.innerText.includes('segmented:'))"
)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Yield the address of a page and its server, whose temporary files go to ``folder``."""
    command = [sys.executable, "-u", "-m", "lungseg_helpers.cli", "viewer"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(folder)})
    try:
        yield process.stdout.readline().strip(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def megabytes(process: psutil.Process) -> float:
    """Return what a server and its kernels have of memory for themselves, in MB."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += each.memory_full_info().uss
    return total / 1e6


def stored(folder: Path) -> int:
    """Return the bytes of the files of sessions in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("lungseg-page-*/**/*") if path.is_file())


def upload(pages: list, scan: Path) -> float:
    """Send a scan on each page at once; return the seconds until all have their overlay."""
    start = time.perf_counter()
    for page in pages:
        page.evaluate("document.querySelectorAll('.lungseg-own-scan [role=status]').forEach((e) => e.remove())")
        page.locator("input[type=file]").set_input_files(scan)
    for page in pages:
        page.wait_for_function(DONE)
    return time.perf_counter() - start


def opened(chromium, address: str):
    """Return the page, opened by a visitor of its own and ready for a scan."""
    page = chromium.new_context().new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(address, wait_until="commit")
    page.wait_for_selector(".lungseg-own-scan input[type=file]", state="attached")
    return page


def close(pages: list, process: psutil.Process) -> None:
    """Leave the pages, and wait for their kernels to end."""
    for page in pages:
        page.goto("about:blank")
    end = time.monotonic() + 60
    while process.children() and time.monotonic() < end:
        time.sleep(0.2)


def rows() -> list[Row]:
    """Measure and return the rows; none where there is no Chromium."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        print("there is no Chromium here: the page is not measured")
        return []
    from playwright.sync_api import sync_playwright

    scan = find_cases(fetch_real(data_dir() / "real"))[1].image
    with (
        tempfile.TemporaryDirectory() as temporary,
        server(folder := Path(temporary)) as (address, process),
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=found, args=FLAGS)
        idle = megabytes(process)
        page = opened(chromium, address)
        times, memory = [], []
        for _ in range(IN_A_ROW):
            times.append(upload([page], scan))
            memory.append(megabytes(process))
        left = stored(folder)
        close([page], process)
        between = megabytes(process)
        pages = [opened(chromium, address) for _ in range(AT_ONCE)]
        together, most = upload(pages, scan), megabytes(process)
        close(pages, process)
        after, kernels, files = megabytes(process), len(process.children()), stored(folder)
        chromium.close()
    note = f"{scan.name}, {scan.stat().st_size / 1e6:.0f} MB"
    middle = sorted(times)[len(times) // 2]
    return [
        Row("page: seconds from drop to overlay", middle, "s", note=f"{note}; the middle one of {IN_A_ROW} in a row"),
        Row(
            f"page: memory after {IN_A_ROW} uploads beside that after 3",
            memory[-1],
            "MB",
            memory[2],
            memory[2] / memory[-1],
            "about 1",
            f"server and one kernel; after each: {', '.join(f'{each:.0f}' for each in memory)}",
        ),
        Row(f"page: {AT_ONCE} uploads at once", together, "s", note=f"{most:.0f} MB of server and {AT_ONCE} kernels"),
        Row(
            "page: memory of the server when all have left",
            after,
            "MB",
            idle,
            idle / after,
            "about 1",
            f"before anybody came {idle:.0f}, after the first page {between:.0f}; kernels left: {kernels}",
        ),
        Row("page: bytes of scans on disk", files, "B", left, target="0", note="when all have left; after uploads"),
    ]
