"""The page under load, in browsers: twenty scans one after another, then four pages at once; what is left afterwards.

The browser is the system's Chromium, on the server's own processor, and draws without a graphics card. Memory is the
resident set of a process, libraries that it shares with others included.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import psutil

from lungseg_helpers.paths import data_dir
from lungseg_helpers.sources.datasets import fetch_real, find_cases
from tests.browsers import browser, new_page, served, until

from .table import Row

IN_A_ROW, AT_ONCE = 20, 4
PORT = 18896


class Load:
    """A server of the page, seen from outside: its pages, its kernels, their memory, and its temporary files."""

    def __init__(self, chromium, address: str, process: int, folder: Path) -> None:
        self.chromium, self.address, self.folder = chromium, address, folder
        self.server = psutil.Process(process)

    def visit(self):
        """Return a new page that has drawn its first scan, and its kernel."""
        before = {*self.server.children()}
        page = new_page(self.chromium)
        page.goto(self.address, wait_until="commit")
        until(lambda: " HU" in page.locator("#rendered_cells").inner_text(), page)
        (kernel,) = {*self.server.children()} - before
        return page, kernel

    def leave(self, *pages) -> tuple[int, int]:
        """Close pages, and return how many kernels and files of pages are there a while later."""
        for page in pages:
            page.close(run_before_unload=True)
        end = time.monotonic() + 30
        while (left := (len(self.server.children()), self.files())) != (0, 0) and time.monotonic() < end:
            time.sleep(0.5)
        return left

    def files(self) -> int:
        """Return how many files and folders of pages lie in the temporary folder."""
        return sum("lungseg-page-" in str(path) for path in self.folder.rglob("*"))


def megabytes(process: psutil.Process) -> float:
    """Return the resident memory of a process, in MB."""
    return process.memory_info().rss / 1e6


def send(page, scan: Path) -> float:
    """Give a page a file, and return the time at which it was given."""
    start = time.monotonic()
    page.locator("input[type=file]").set_input_files(scan)
    return start


def shown(page, scan: Path) -> float:
    """Return the time at which a page says that the file is checked and segmented."""
    status = page.locator(".lungseg-own-scan [role=status]")
    until(lambda: (words := status.inner_text()).startswith(scan.name) and "checked and segmented" in words, page)
    return time.monotonic()


def in_a_row(load: Load, scan: Path, folder: Path) -> tuple[list[float], list[float], int]:
    """Return seconds of each upload to one page, its kernel's MB before and after each, and the files at the end."""
    page, kernel = load.visit()
    took, memory = [], [megabytes(kernel)]
    for number in range(IN_A_ROW):
        copy = Path(shutil.copy(scan, folder / f"{number}.nii.gz"))  # the page says each by its name
        start = send(page, copy)
        took.append(shown(page, copy) - start)
        memory.append(megabytes(kernel))
    files = load.files()
    load.leave(page)
    return took, memory, files


def at_once(load: Load, scan: Path) -> tuple[float, float, tuple[int, int]]:
    """Return seconds until the last of several pages has its overlay, its kernels' most MB, and what they leave."""
    pages, kernels = zip(*(load.visit() for _ in range(AT_ONCE)), strict=True)
    start = min([send(page, scan) for page in pages])
    end = max([shown(page, scan) for page in pages])
    return end - start, max(map(megabytes, kernels)), load.leave(*pages)


def rows() -> list[Row]:
    """Measure and return the rows."""
    scan = find_cases(fetch_real(data_dir() / "real"))[1].image
    with tempfile.TemporaryDirectory() as name, browser() as chromium:
        folder, temporary = Path(name), Path(name) / "temporary"
        temporary.mkdir()
        command = ["lungseg_helpers.cli", "viewer", "--port", str(PORT), "--pages", str(AT_ONCE)]
        places = {"LUNGSEG_DATA_DIR": str(data_dir()), "TMPDIR": str(temporary)}
        with served(command, folder, **places) as (address, process):
            load = Load(chromium, address, process.pid, temporary)
            alone = megabytes(load.server)
            took, memory, during = in_a_row(load, scan, folder)
            after_one = megabytes(load.server)
            slowest, most, (kernels, files) = at_once(load, scan)
            server = megabytes(load.server)
    middle = sorted(took)[len(took) // 2]
    size = f"{scan.name}, {scan.stat().st_size / 1e6:.0f} MB"
    return [
        Row(
            "page, from file to overlay",
            middle,
            "s",
            note=f"{size}; middle of {IN_A_ROW}, slowest {max(took):.0f} s",
        ),
        Row(f"page, {AT_ONCE} at once, the slowest", slowest, "s", note=f"each its own kernel, up to {most:.0f} MB"),
        Row(
            f"page, kernel's memory after {IN_A_ROW} uploads beside that after 2",
            memory[-1],
            "MB",
            memory[2],
            memory[2] / memory[-1],
            "about 1: nothing is kept",
            f"{memory[0]:.0f} MB before, {memory[IN_A_ROW // 2]:.0f} after {IN_A_ROW // 2}, at most {max(memory):.0f}",
        ),
        Row(
            f"page, server's memory after {AT_ONCE} more pages beside that after 1",
            server,
            "MB",
            after_one,
            after_one / server,
            "about 1: nothing is kept",
            f"{alone:.0f} MB before the first; all pages closed",
        ),
        Row("page, kernels left", kernels, "", target="0", note="after all pages are closed"),
        Row(
            "page, files left",
            files,
            "",
            target="0",
            note=f"after {IN_A_ROW} uploads {during}, the page's folder",
        ),
    ]
