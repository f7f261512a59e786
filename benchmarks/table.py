"""What every benchmark returns, and the one file and table in which all of them end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lungseg_helpers.paths import outputs_dir


@dataclass(frozen=True)
class Row:
    """One figure: ``ours`` and, where there is one, the ``reference`` measured beside it, both in ``unit``.

    ``ratio`` is how many times better ours is; ``target`` says in words what was asked.
    """

    name: str
    ours: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    target: str = ""
    note: str = ""


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Return how long ``work`` takes with these arguments, by the wall clock."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def results_file() -> Path:
    """Return where all rows are kept: ``outputs/benchmarks.json``."""
    return outputs_dir() / "benchmarks.json"


def keep(rows: Sequence[Row]) -> list[Row]:
    """Put rows into the file, in place of those of the same names, and return all that it holds now."""
    path = results_file()
    kept = {row["name"]: Row(**row) for row in json.loads(path.read_text())} if path.is_file() else {}
    kept |= {row.name: row for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    # figures of NumPy and pandas are no plain numbers
    path.write_text(json.dumps([asdict(row) for row in kept.values()], indent=1, default=float) + "\n")
    return list(kept.values())


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| figure | ours | reference | ratio | target | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        reference = "" if row.reference is None else f"{row.reference:.3g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.name} | {row.ours:.3g} {row.unit} | {reference} | {ratio} | {row.target} | {row.note} |")
    return "\n".join(lines)
