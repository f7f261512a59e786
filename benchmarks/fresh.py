"""Work in a process of its own, and what memory it took."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def alone(work: Callable[..., Any], *given: Any) -> Any:
    """Return what ``work`` returns in a process of its own, whose peak memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def high_water_mb() -> float:
    """Peak memory of this process so far, from Linux: getrusage would count what its parent held before it began."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
