"""Where scans come from: finding, making and fetching data sets.

A data set is a Decathlon folder (``imagesTr``, ``labelsTr``, ``imagesTs``) or a plain
folder of NIfTI files. ``LUNGSEG_DATA`` chooses one, ``LUNGSEG_DATA_DIR`` says where the
made and fetched ones are kept.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from ..errors import SourceError
from ..paths import KNOWN_SETS, data_dir, dataset_root
from ..scans.case import NIFTI_ENDINGS, Case, case_id
from .patients import read_patients


def ensure_dataset(name: str | None = None) -> Path:
    """Return the folder of a data set, after making or fetching it where that can be done.

    Raises :class:`SourceError` for one that is missing and has to be brought by the user.
    """
    name = str(name or os.environ.get("LUNGSEG_DATA") or "phantom")
    root = dataset_root(name)
    if name == "phantom":
        from ..phantom.dataset import is_current, write_dataset

        if is_current(root):
            return root
        print(f"making the phantom data set in {root} (1 to 3 minutes, once)", file=sys.stderr)
        return write_dataset(root)
    if name == "real":
        if not (root / "dataset.json").is_file():
            print(f"fetching the real patients into {root} (once)", file=sys.stderr)
        return fetch_real(root)  # which makes an older set again
    # Task06's dataset.json is written last, so without it the set is unfinished.
    if (root / "dataset.json").is_file() if name == "decathlon" else root.is_dir():
        return root
    if name == "decathlon":
        raise SourceError(f"{root}: Task06 is not there; run 'lungseg fetch decathlon' first (8.5 GB)")
    raise SourceError(f"{root}: no such folder; give an existing one, or one of the names {', '.join(KNOWN_SETS)}")


def fetch_real(out: str | Path) -> Path:
    """Write the real patients' Decathlon data set to ``out``, fetching what is not kept yet, and return it.

    A finished set costs nothing. See :func:`lungseg_helpers.sources.real_patients.write_real`.
    """
    from .real_patients import write_real

    return write_real(Path(out), data_dir() / "cache")


def find_cases(root: str | Path) -> list[Case]:
    """Return the cases of a Decathlon folder, or of a plain folder of NIfTI files, sorted by id.

    Hidden files and the ``._*`` companions that macOS leaves in archives are skipped. An
    ``imagesTr`` scan without a label, and every ``imagesTs`` scan, has ``label=None``. Which cases are of
    one patient says the folder's ``patients.csv``, where there is one.

    Raises
    ------
    SourceError
        Where the folder is missing or a file, holds no scan, or holds one id twice; and where its ``patients.csv``
        is malformed or lists a case that is not there.
    """
    root = Path(root)
    if root.is_file():
        raise SourceError(f"{root}: is a file; give the folder that holds it")
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; give a folder that holds .nii.gz scans")
    if is_decathlon(root):
        images = [*nifti_files(root / "imagesTr"), *nifti_files(root / "imagesTs")]
        labels = _by_id(nifti_files(root / "labelsTr"), "the label of case")
    else:
        images, labels = nifti_files(root), {}
    cases = {
        id_: Case(id_, image, labels.get(id_) if image.parent.name != "imagesTs" else None)
        for id_, image in _by_id(images, "case").items()
    }
    if not cases:
        raise SourceError(f"{root}: no .nii or .nii.gz scan in this folder; give the folder that holds them")
    patients = read_patients(root, cases)
    return [replace(cases[id_], patient=patients.get(id_, id_)) for id_ in sorted(cases)]


def _by_id(paths: list[Path], what: str) -> dict[str, Path]:
    """Return id -> path; :class:`SourceError` where two paths have one id."""
    by_id: dict[str, Path] = {}
    for path in paths:
        first = by_id.setdefault(id_ := case_id(path), path)
        if first != path:
            raise SourceError(f"{path}: {what} {id_} is there twice, also as {first}; remove one")
    return by_id


def is_decathlon(folder: Path) -> bool:
    """Say whether a folder names its scans by where they lie, and not by what they are called."""
    return (folder / "imagesTr").is_dir() or bool(nifti_files(folder / "imagesTs"))


def nifti_files(folder: Path) -> list[Path]:
    """Return the NIfTI files of a folder, sorted, without hidden ones; none where there is no such folder.

    Raises :class:`SourceError` where this user may not list it.
    """
    if not folder.is_dir():
        return []
    try:
        paths = sorted(folder.iterdir())
    except PermissionError as error:
        raise SourceError(f"{folder}: this user may not list the folder; change its permissions") from error
    named = [p for p in paths if p.name.lower().endswith(NIFTI_ENDINGS) and not p.name.startswith(".")]
    return [p for p in named if not p.is_dir()]
