"""How fast phantoms are made, and how fast scans are checked beside merely decompressing them.

Checking reads each gzip stream to its end, verifies its sum, and looks at every voxel. The
reference is what no check can do without: inflating the same files, one after the other, with
the same library. Each round times both in turn.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

from isal import igzip

from lungseg_helpers.phantom.dataset import write_dataset
from lungseg_helpers.sources.dataset_check import check_dataset

from .table import Row, seconds

CASES, UNLABELLED, ROUNDS = 24, 4, 5


def inflate(files: list[Path]) -> int:
    """Read every gzip stream to its end and return the bytes in all."""
    total = 0
    for file in files:
        with igzip.open(file, "rb") as stream:
            while block := stream.read(1 << 22):
                total += len(block)
    return total


def rows() -> list[Row]:
    """Make a phantom set in a temporary folder, check it, and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "phantom"
        made = seconds(lambda: write_dataset(root, CASES, UNLABELLED, seed=3))
        files = sorted(root.glob("*/*.nii.gz"))
        megabytes = inflate(files) / 1e6
        check_dataset(root)  # starts the workers
        rounds = [(seconds(lambda: inflate(files)), seconds(lambda: check_dataset(root))) for _ in range(ROUNDS)]
    plain, checked = (megabytes / statistics.median(column) for column in zip(*rounds, strict=True))
    cores = f"{os.cpu_count()} cores"
    return [
        Row(
            "phantoms, 24 + 4 cases of 256 matrix",
            made,
            "s",
            target="60 s on 2 cores",
            note=f"{(CASES + UNLABELLED) / made:.2f} cases/s, {cores}",
        ),
        Row(
            "check, beside plain decompression on one core",
            checked,
            "MB/s",
            plain,
            checked / plain,
            note=f"of {megabytes:.0f} MB inflated; check uses {cores}",
        ),
    ]
