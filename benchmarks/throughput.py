"""How fast phantoms are made, and how fast scans are checked beside merely decompressing them.

    python -m benchmarks.throughput

Prints the table of ``benchmarks/README.md`` and writes ``outputs/benchmarks/throughput.json``.
Checking is a ratio measured in one run: each round times both on the same files, in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from isal import igzip

from lungseg_helpers.dataset_check import check_dataset
from lungseg_helpers.phantom import write_dataset
from lungseg_helpers.weights import outputs_dir

CASES, UNLABELLED, ROUNDS = 12, 2, 5


def seconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes, by the wall clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def decompress(files: list[Path]) -> int:
    """Read every gzip stream to its end and return the bytes in all."""
    total = 0
    for file in files:
        with igzip.open(file, "rb") as stream:
            while block := stream.read(1 << 22):
                total += len(block)
    return total


def measure() -> dict[str, float]:
    """Make a phantom set in a temporary folder, check it, and return the figures by name."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "phantom"
        made = seconds(lambda: write_dataset(root, CASES, UNLABELLED, seed=3))
        files = sorted(root.glob("*/*.nii.gz"))
        megabytes = decompress(files) / 1e6
        rounds = [(seconds(lambda: decompress(files)), seconds(lambda: check_dataset(root))) for _ in range(ROUNDS)]
    plain, checked = (statistics.median(column) for column in zip(*rounds, strict=True))
    return {
        "cores": os.cpu_count() or 1,
        "phantom cases a second": (CASES + UNLABELLED) / made,
        "seconds for 24 + 4 phantoms": made * 28 / (CASES + UNLABELLED),
        "plain decompression, MB/s": megabytes / plain,
        "checking, MB/s": megabytes / checked,
        "checking / decompression, time": checked / plain,
    }


def main() -> None:
    found = measure()
    print("| figure | value |\n|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:.3g} |")
    out = outputs_dir() / "benchmarks" / "throughput.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
