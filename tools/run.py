"""``make run``: the first film, the phantoms, the notebooks one after the other, and where everything lies.

Each step is a line: what, how long it usually takes, how far the run is. What is done already is not done again, so
a run that was killed goes on. Seconds and peak memory of what was done are kept in ``outputs/times.json``.
``--from-nothing`` (``make times``) does it all in a temporary folder, to measure it, and leaves the data alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from execute import ROOT, is_done, numbered

from lungseg_helpers.parallel import cores
from lungseg_helpers.paths import dataset_root, outputs_dir
from lungseg_helpers.phantom.dataset import is_current
from lungseg_helpers.training.devices import choose_precision, pick_device

MEASURED = ROOT / "benchmarks" / "times.csv"
"""What the steps took where they were measured, on plain and on fast cores."""

SAMPLED_EVERY = 0.5
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Step:
    """One step: its name in the tables, what it does in words, its command, and whether it is done already."""

    name: str
    words: str
    command: list[str]
    done: bool = False


def steps() -> Iterator[Step]:
    """Yield the steps in order; whether one is done is asked when its turn comes."""
    lungseg = [sys.executable, "-m", "lungseg_helpers.cli"]
    yield Step("film", "a real patient, filmed with the course's own weights", [*lungseg, "film"])
    root = dataset_root("phantom")
    yield Step("phantoms", "the phantom patients to learn from", [*lungseg, "phantom"], is_current(root))
    for path in numbered():
        out = outputs_dir() / "notebooks" / path.name
        command = [sys.executable, str(ROOT / "tools" / "execute.py"), str(path), "--out", str(out.parent)]
        yield Step(path.stem[:2], f"notebook {path.stem}", command, is_done(path, out))


def usually(name: str) -> str:
    """Return how long a step took where it was measured, in words."""
    with MEASURED.open(newline="") as file:
        taken = sorted(float(row["seconds"]) for row in csv.DictReader(file) if row["step"] == name)
    return "usually " + " to ".join(dict.fromkeys(map(minutes, taken))) if taken else "not measured yet"


def minutes(seconds: float) -> str:
    """Return a time for reading: ``40 s``, ``3 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def measured(command: list[str], environment: dict[str, str] | None = None) -> tuple[int, float, float]:
    """Run a command and return its exit status, its seconds, and the peak memory of all its processes in MB."""
    start, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(command, env=environment)
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(SAMPLED_EVERY):
            peak = max(peak, memory_mb(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        status = process.wait()
    finally:
        over.set()
    return status, time.perf_counter() - start, peak


def memory_mb(pid: int) -> float:
    """Return what a process and its children hold in MB; pages that several share count once, where that is told."""
    total = 0.0
    try:
        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in family:
        try:
            told = process.memory_full_info()
            total += getattr(told, "pss", told.uss) / 1e6
        except psutil.Error:
            continue  # it ended while it was asked
    return total


def keep(path: Path, name: str, seconds: float, peak_mb: float) -> None:
    """Put one step's figures into the file of times, beside what it holds of the others."""
    kept = json.loads(path.read_text()) if path.is_file() else {"steps": {}}
    kept["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "cores": cores(),
        "device": pick_device(),
        "precision": choose_precision(),
        "python": platform.python_version(),
    }
    kept["steps"][name] = {"seconds": round(seconds, 1), "peak_mb": round(peak_mb)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n")


def run(times: Path) -> int:
    """Do every step that is not done; return the exit status of the first that fails, or 0."""
    begun, skipped = time.perf_counter(), False
    count = 2 + len(numbered())
    for number, step in enumerate(steps(), start=1):
        so_far = f"{minutes(time.perf_counter() - begun)} so far"
        print(
            f"[{number}/{count}] {step.words}: {'done already' if step.done else f'{usually(step.name)}; {so_far}'}",
            flush=True,
        )
        if step.done:
            skipped = True
            continue
        status, seconds, peak_mb = measured(step.command)
        if status:
            print("this step failed; the lines above say why. 'make run' again goes on from here.", file=sys.stderr)
            return status
        keep(times, step.name, seconds, peak_mb)
    total = time.perf_counter() - begun
    if not skipped:
        peaks = [kept["peak_mb"] for name, kept in json.loads(times.read_text())["steps"].items() if name != "run"]
        keep(times, "run", total, max(peaks))
    print(f"\ndone in {minutes(total)}. Overlay videos:", *sorted((outputs_dir() / "videos").glob("*.mp4")), sep="\n")
    print("score tables:", *sorted((outputs_dir() / "scores").glob("*.csv")), sep="\n")
    print(f"executed notebooks: {outputs_dir() / 'notebooks'}; times: {times}")
    return 0


def main() -> int:
    """Run, or measure from nothing; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from-nothing", action="store_true", help="everything anew, in a temporary folder")
    times = outputs_dir().resolve() / "times.json"
    if not parser.parse_args().from_nothing:
        return run(times)
    scratch = Path(tempfile.mkdtemp(prefix="lungseg-times-"))
    os.environ |= {"LUNGSEG_DATA_DIR": str(scratch / "data"), "LUNGSEG_OUTPUTS": str(scratch / "outputs")}
    times.unlink(missing_ok=True)
    try:
        return run(times)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted; 'make run' goes on from here", file=sys.stderr)
        sys.exit(130)
