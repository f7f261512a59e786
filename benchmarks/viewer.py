"""The page's kernels under load: twenty uploads one after another, then four at once; memory and disk afterwards.

A kernel is a process here, and gets its file in messages as a browser sends them; what a browser itself needs is left
out. Memory is what a process has for itself (USS), after the C library has given back what is free.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from lungseg_helpers.paths import data_dir
from lungseg_helpers.sources.datasets import fetch_real, find_cases
from lungseg_helpers.viewer.desk import OwnScan
from lungseg_helpers.viewer.receiver import PIECE

from .table import Row, seconds

IN_A_ROW, AT_ONCE = 20, 4


def upload(own: OwnScan, content: bytes) -> None:
    """Send a file to a panel as the browser does, and wait for its overlay."""
    hear = own.receiver._hear
    hear(None, {"kind": "begin", "name": "scan.nii.gz", "size": len(content)}, [])
    for start in range(0, len(content), PIECE):
        hear(None, {"kind": "piece"}, [memoryview(content)[start : start + PIECE]])
    hear(None, {"kind": "end"}, [])
    assert "segmented:" in own.lines.value, own.lines.value


def megabytes() -> float:
    """Return the memory of this process, in MB."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_full_info().uss / 1e6


def kernel(scan: Path, uploads: int) -> dict[str, list[float]]:
    """Return seconds and memory of each upload of one kernel, this process."""
    own, content = OwnScan(), scan.read_bytes()
    own.receiver.send = lambda *_, **__: None  # nobody listens
    took, memory = [], []
    for _ in range(uploads):
        took.append(seconds(upload, own, content))
        memory.append(megabytes())
    return {"seconds": took, "memory": memory, "files": [len([*own.uploads.folder.iterdir()])]}


def started(scan: Path, uploads: int, folder: str) -> subprocess.Popen:
    """Start a kernel of its own, whose temporary files go to ``folder``."""
    command = [sys.executable, "-m", "benchmarks.viewer", str(scan), str(uploads)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": folder})


def rows() -> list[Row]:
    """Measure and return the rows."""
    scan = find_cases(fetch_real(data_dir() / "real"))[1].image
    with tempfile.TemporaryDirectory() as folder:
        one = json.loads(started(scan, IN_A_ROW, folder).communicate()[0])
        four = [started(scan, 1, folder) for _ in range(AT_ONCE)]
        four = [json.loads(each.communicate()[0]) for each in four]
        left = len([*Path(folder).rglob("*")])
    took, memory = one["seconds"], one["memory"]
    slowest, most = (max(each[key][0] for each in four) for key in ("seconds", "memory"))
    middle = sorted(took)[len(took) // 2]
    size = f"{scan.name}, {scan.stat().st_size / 1e6:.0f} MB"
    files = sum(each["files"][0] for each in (one, *four))
    return [
        Row(
            "page, from file to overlay", middle, "s", note=f"{size}; middle of {IN_A_ROW} in a row, without a browser"
        ),
        Row(f"page, {AT_ONCE} at once, the slowest", slowest, "s", note=f"each its own kernel, up to {most:.0f} MB"),
        Row(
            f"page, memory after {IN_A_ROW} uploads beside that after 2",
            memory[-1],
            "MB",
            memory[1],
            memory[1] / memory[-1],
            "1: nothing is kept",
            f"most after any: {max(memory):.0f} MB",
        ),
        Row("page, files left", left, "", target="0", note=f"after the kernels; after their uploads {files}"),
    ]


if __name__ == "__main__":
    print(json.dumps(kernel(Path(sys.argv[1]), int(sys.argv[2]))))
