"""One patient's scan and its label, as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One patient's scan: ``label`` is None where nobody has drawn the tumour."""

    id: str
    image: Path
    label: Path | None = None


def case_id(path: str | Path) -> str:
    """Return a scan's id: its file name without ``.nii`` or ``.nii.gz``."""
    name = Path(path).name
    for ending in (".gz", ".nii"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name
