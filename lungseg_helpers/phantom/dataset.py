"""Digital thorax phantoms with tumours, written as a Decathlon data set.

This module writes files. The chest itself is made in ``thorax``, from the modules ``patient`` (who),
``canvas`` (drawing), ``couch``, ``cage``, ``body``, ``organs``, ``mediastinum``, ``anterior``, ``lungs`` and ``trees``
(anatomy), ``tumours`` and ``masses`` (their recipes and painting), ``collapse`` and ``distractors`` (what is no
tumour), ``breathing`` and ``physics`` (the scan).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from ..errors import SourceError, few
from ..parallel import side_by_side
from ..phantom import PHANTOMS, UNLABELLED_PHANTOMS
from ..writing import PARTIAL, dataset_json, write_nifti, written_whole
from .thorax import Phantom, make_phantom

__all__ = ["VERSION", "Phantom", "is_current", "make_phantom", "require_handout", "write_dataset", "write_handout"]

VERSION = 8
"""Raised whenever the same seed gives another phantom, so that older files are made afresh."""

FOLDERS = ("imagesTr", "labelsTr", "imagesTs")

STALE_SECONDS = 600
"""Age from which a temporary file is taken for a killed run's; a case takes far less."""


def write_dataset(
    out: Path,
    cases: int = PHANTOMS,
    unlabelled: int = UNLABELLED_PHANTOMS,
    seed: int = 2026,
    matrix: int = 256,
    workers: int | None = None,
    remake: bool = True,
    crowded: bool = False,
) -> Path:
    """Write ``cases`` labelled and ``unlabelled`` further phantoms to ``out`` as a Decathlon data set.

    The files are the same for any number of ``workers`` (default: one per core). ``seed`` is 0 or more. A killed
    run leaves no half file, and the next run goes on where it stopped. Phantoms that lie there of another seed, matrix,
    kind (``crowded``, see :func:`make_phantom`) or version, or that are none of these cases, are removed; without
    ``remake`` nothing is, and they are an error. No two values of ``seed`` share a patient. A worker needs about
    0.4 GB at matrix 256 and 3 GB at 512. Returns
    ``out``. Raises :class:`SourceError` where ``out`` holds scans that are no phantoms, or cannot be written.
    """
    out = Path(out)
    if cases < 1 or unlabelled < 0 or seed < 0:
        raise SourceError(
            f"phantom set {out}: cannot make {cases} labelled and {unlabelled} unlabelled cases of seed {seed}; "
            "ask for at least 1 and 0, and a seed of 0 or more"
        )
    for folder in FOLDERS:
        try:
            (out / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(f"phantom set {out}: cannot make {folder} ({error.strerror}); choose another") from error
    names = _names(cases + unlabelled)
    wanted = {}
    for i, name in enumerate(names):
        image = out / ("imagesTr" if i < cases else "imagesTs") / f"{name}.nii.gz"
        wanted[image] = (seed * 100_000 + i + 1, image, out / "labelsTr" / f"{name}.nii.gz" if i < cases else None)
    _clear_other(out, wanted, (matrix, crowded), remake)
    todo = [job for job in wanted.values() if not _is_done(*job, matrix, crowded)]
    if todo:
        # A set is whole when it has its description.
        (out / "dataset.json").unlink(missing_ok=True)
        for _ in side_by_side(_write_case, [(*job, matrix, crowded) for job in todo], workers, "phantoms"):
            pass
    text = dataset_json(
        "Lung phantoms",
        "Digital thorax phantoms with lung tumours, in the layout of Task06_Lung. Not patients.",
        names[:cases],
        names[cases:],
        reference="lungseg phantom",
        licence="the licence of the course",
        release=f"phantom version {VERSION}",
    )
    with _disk_errors(out / "dataset.json"), written_whole(out / "dataset.json") as partial:
        partial.write_text(text, encoding="utf-8")
    return out


def require_handout(out: Path, cases: int) -> None:
    """Raise :class:`SourceError` where a folder holds anything else than the handout of so many cases."""
    there = {path.name for path in out.iterdir() if not path.name.startswith(".")} if out.is_dir() else set()
    if others := sorted(there - {f"{name}.nii.gz" for name in _names(cases)}):
        raise SourceError(f"{out}: holds other files ({few(others)}); choose an empty folder for the class")


def write_handout(root: Path, out: Path) -> Path:
    """Write the labelled scans of a phantom set to ``out`` as a class may have them, and return it.

    They lie right in that folder, without their labels. A phantom's header holds its seed, from which its label can be
    made again; here it does not. Raises :class:`SourceError` where ``out`` holds anything else, or cannot be written.
    """
    scans = sorted((Path(root) / "imagesTr").glob("lung_*.nii.gz"))
    out = Path(out)
    require_handout(out, len(scans))
    for path in scans:
        scan = nib.load(path)
        with _disk_errors(out / path.name):
            write_nifti(out / path.name, np.asarray(scan.dataobj), scan.affine)
    return out


def _names(cases: int) -> list[str]:
    return [f"lung_{number:03d}" for number in range(1, cases + 1)]


def _stamp(seed: int, matrix: int, crowded: bool) -> str:
    """What a file says about itself in its NIfTI header, at most 79 characters."""
    return f"lungseg phantom v{VERSION} seed {seed} matrix {matrix}{' crowded' * crowded}"


def _read_stamp(path: Path) -> str:
    try:
        with igzip.open(path, "rb") as stream:
            header = stream.read(348)
    except (OSError, EOFError, igzip.BadGzipFile):
        return ""
    return header[148:228].rstrip(b"\0").decode("ascii", "replace")


def _is_done(seed: int, image: Path, label: Path | None, matrix: int, crowded: bool) -> bool:
    return all(path is None or _read_stamp(path) == _stamp(seed, matrix, crowded) for path in (image, label))


def _clear_other(out: Path, wanted: dict, kind: tuple[int, bool], remake: bool) -> None:
    """Remove phantoms of other settings and left-over temporary files; refuse to touch anything else.

    All is looked at before anything is removed. Without ``remake`` no phantom is.
    """
    keep = {path: _stamp(job[0], *kind) for job in wanted.values() for path in job[1:] if path}
    others, stale = [], []
    for path in sorted(p for f in FOLDERS for p in (out / f).iterdir()):
        if path.name.startswith("."):
            # an unfinished file of a killed run, or a young one, of another process at work on the same set; the rest,
            # such as .DS_Store, is nobody's business here
            if path.name.startswith(PARTIAL) and time.time() - path.stat().st_mtime > STALE_SECONDS:
                stale.append(path)
        elif not (stamp := _read_stamp(path)).startswith("lungseg phantom"):
            raise SourceError(f"phantom set {out}: {path.name} is not a phantom; choose an empty folder")
        elif stamp != keep.get(path):
            others.append(path)
    if others and not remake:
        count = len({path.name for path in others})
        raise SourceError(
            f"{out}: holds {count} phantoms of other settings (seed, matrix, kind, number of cases, or version); "
            "name a new folder"
        )
    for path in (*others, *stale):
        path.unlink(missing_ok=True)


def is_current(out: Path) -> bool:
    """Say whether ``out`` holds a whole set of this version's phantoms; :func:`write_dataset` mends it if not."""
    try:
        description = json.loads((Path(out) / "dataset.json").read_text())
        return description["release"] == f"phantom version {VERSION}"
    except (OSError, ValueError, KeyError):
        return False


def _write_case(seed: int, image: Path, label: Path | None, matrix: int, crowded: bool) -> None:
    phantom = make_phantom(seed, matrix, crowded)
    # The label first: an image without its label would look finished to a reader of the folder.
    for path, voxels in ((label, phantom.label), (image, phantom.image)):
        if path is not None:
            with _disk_errors(path):
                write_nifti(path, voxels, phantom.affine, note=_stamp(seed, matrix, crowded))


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"phantom {path}: cannot be written ({error.strerror}); free some space or choose another folder"
        ) from error
