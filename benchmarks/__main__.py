"""``python -m benchmarks [NAME …]``: measure, print the table, keep it in ``outputs/benchmarks.json``."""

from __future__ import annotations

import argparse
import importlib

from .table import keep, markdown

NAMES = (
    "throughput",
    "preprocessing",
    "training",
    "inference",
    "laptop",
    "dimensions",
    "shipped",
    "recipes",
    "nnunet",
    "ablation",
    "luck",
    "thresholds",
    "phantom_to_real",
    "unlabelled",
    "viewer",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and keep the table.")
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    chosen = parser.parse_args().names
    if unknown := sorted(set(chosen) - set(NAMES)):
        parser.error(f"no benchmark called {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    for name in chosen:
        rows = keep(importlib.import_module(f"benchmarks.{name}").rows())
    print(markdown(rows))


if __name__ == "__main__":
    main()
