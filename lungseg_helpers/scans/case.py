"""One scan of a patient and its label, as files."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

NIFTI_ENDINGS = (".nii", ".nii.gz")

MASK, PROBABILITY, COMPONENTS = "_pred", "_probability", "_components"
"""What the names of a predicted mask, of its probabilities and of its components' table add to the scan's."""


@dataclass(frozen=True)
class Case:
    """One scan of a patient: ``label`` is None where nobody has drawn the tumour.

    ``patient`` says whose scan it is. Cases of one patient share it, and no split takes them apart.
    Where it is not given, the case is its own patient: it becomes ``id``.
    """

    id: str
    image: Path
    label: Path | None = None
    patient: str = ""

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", self.id)


def case_id(path: str | Path) -> str:
    """Return a scan's id: its file name without ``.nii`` or ``.nii.gz``."""
    name = Path(path).name
    for ending in (".gz", ".nii"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


def files_below(folder: Path) -> list[Path]:
    """Return what lies below a folder and is no folder, sorted, without what is hidden or in hidden folders.

    There lie second copies: those of version control, of notebooks' checkpoints, of waste bins. A folder that is a
    link is looked into as well, but none twice, and none that holds ``folder``.
    """
    files: list[Path] = []
    seen = set(folder.resolve().parents)
    waiting = deque([folder])
    while waiting:
        here = waiting.popleft()
        if (real := here.resolve()) in seen:
            continue
        seen.add(real)
        for path in _entries(here):
            if not path.is_dir():
                files.append(path)
            elif path.is_symlink():  # last, so that what a link repeats is found where it is
                waiting.append(path)
            else:
                waiting.appendleft(path)
    return sorted(files)


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder and is not hidden, sorted; nothing where this user may not list it."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except PermissionError:
        return []
