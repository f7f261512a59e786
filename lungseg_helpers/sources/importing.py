"""Any folder of scans as a data set of this course: DICOM series, NRRD, MHA and NIfTI become checked NIfTI cases.

Labelled cases go to ``imagesTr`` and ``labelsTr``, the others to ``imagesTs``, as in the
Decathlon. A scan that cannot be used is named and left out, and the others go on.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ..errors import LungsegError, ScanError, SourceError
from ..files import dataset_json, write_nifti
from ..scans.case import Case
from ..scans.checking import Problem, check_case
from ..scans.dicom_labels import TUMOUR_NAMES
from .datasets import find_cases
from .finding import Found, find_scans


def import_folder(
    folder: str | Path, out: str | Path, labels: Collection[int] | None = None, regions: str = TUMOUR_NAMES
) -> tuple[list[Case], list[str]]:
    """Write every scan below ``folder`` to ``out``; return the cases, and one line a problem or note.

    ``labels`` says which values of label files count as tumour (default: 1 alone, and others
    are an error), ``regions`` which names of DICOM regions, as a regular expression.
    What is written has passed the check of a case. Raises :class:`SourceError` where the folder
    holds no scan, or ``out`` is there and not empty.
    """
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; give one that holds scans")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SourceError(f"{out}: is there already; name a new folder")
    try:
        re.compile(regions)
    except re.error as error:
        raise SourceError(f"{regions!r} is no regular expression ({error}); give one such as 'gtv|lesion'") from error
    found, lines = find_scans(folder, regions)
    if not found:
        raise SourceError("; ".join([f"{folder}: holds no scan that can be read", *lines]))
    out.parent.mkdir(parents=True, exist_ok=True)
    # The folder appears whole or not at all.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        made = Path(temporary) / out.name
        if cases := _write_all(found, made, labels, lines):
            _describe(made, cases)
            if out.exists():
                out.rmdir()
            os.replace(made, out)
    if not cases:
        raise SourceError(f"{folder}: no scan in it can be used; {' | '.join(lines)}")
    return find_cases(out), lines


def _write_all(found: list[Found], out: Path, labels: Collection[int] | None, lines: list[str]) -> list[Case]:
    cases = []
    for each in tqdm(found, desc="importing", unit="case", leave=False):
        try:
            case, notes = _write(each, out, labels)
        except LungsegError as error:
            lines.append(str(error))
        else:
            cases.append(case)
            lines += notes
    return cases


def _write(found: Found, out: Path, labels: Collection[int] | None) -> tuple[Case, list[str]]:
    """Write and check one case; :class:`ScanError` where the check finds an error, and nothing is left then."""
    (voxels, affine), label, notes = found.read(True)
    name = f"{found.id}.nii.gz"
    image = out / ("imagesTs" if label is None else "imagesTr") / name
    case = Case(found.id, image, None if label is None else out / "labelsTr" / name)
    write_nifti(case.image, voxels, affine)
    if label is not None:
        write_nifti(case.label, *label)
    checked = check_case(case, labels)
    if checked.errors:
        case.image.unlink()
        if case.label:
            case.label.unlink()
        raise ScanError(" | ".join(str(_at_source(problem, case, found)) for problem in checked.errors))
    if case.label:
        write_nifti(case.label, checked.label, affine)
    return case, notes + [str(_at_source(problem, case, found)) for problem in checked.problems]


def _at_source(problem: Problem, case: Case, found: Found) -> Problem:
    """Name the user's file, not the one that was written from it."""
    return replace(problem, file=str(found.label_source if problem.file == str(case.label) else found.source))


def _describe(out: Path, cases: list[Case]) -> None:
    training, test = ([case.id for case in cases if bool(case.label) is wanted] for wanted in (True, False))
    text = dataset_json(out.name, "Imported chest CT", training, test)
    (out / "dataset.json").write_text(text, encoding="utf-8")
