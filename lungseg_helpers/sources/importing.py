"""Any folder of scans as a data set of this course: DICOM series, NRRD, MHA and NIfTI become checked NIfTI cases.

Labelled cases go to ``imagesTr`` and ``labelsTr``, the others to ``imagesTs``, as in the
Decathlon. Which cases are of one patient goes to ``patients.csv``. A scan that cannot be used is named and
left out, and the others go on.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from ..errors import LungsegError, ScanError, SourceError, attempt
from ..scans.case import Case
from ..scans.checking import Problem, check_case
from ..scans.dicom_labels import TUMOUR_NAMES
from ..writing import dataset_json, write_nifti
from .datasets import find_cases
from .finding import Found, find_scans
from .patients import write_patients


@dataclass(frozen=True)
class Imported:
    """What an import brought: the cases, a line for each note or file left out, and one for each scan that failed."""

    cases: list[Case]
    notes: list[str]
    problems: list[str]


def import_folder(
    folder: str | Path,
    out: str | Path,
    labels: Collection[int] | None = None,
    regions: str = TUMOUR_NAMES,
    keep_ids: bool = False,
    patients: str | None = None,
) -> Imported:
    """Write every scan below ``folder`` to ``out``, with ``patients.csv`` where a case is not its own patient.

    ``labels`` says which values of label files count as tumour (default: 1 alone, and others
    are an error), ``regions`` which names of DICOM regions, as a regular expression. DICOM cases are called
    after a pseudonym of the PatientID, with ``keep_ids`` after the PatientID itself; ``patients`` is a regular
    expression that takes the patients of other scans from their paths. See
    :func:`~lungseg_helpers.sources.finding.find_scans` for both. What is written has passed the check of a
    case. Raises :class:`SourceError` where the folder holds no scan that can be used, or ``out`` is there and
    not empty.
    """
    folder, out = Path(folder), Path(out).resolve()
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; give one that holds scans")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SourceError(f"{out}: is there already; name a new folder")
    _compiled(regions, "gtv|lesion")
    if patients is not None and not _compiled(patients, example := "^([^/]+)/").groups:
        raise SourceError(f"{patients!r} has no group that is the patient; give one such as {example!r}")
    scans, notes = find_scans(folder, regions, keep_ids, patients)
    if not scans:
        raise SourceError("; ".join([f"{folder}: holds no scan that can be read", *notes]))
    out.parent.mkdir(parents=True, exist_ok=True)
    # A new folder appears whole or not at all.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        made = Path(temporary) / out.name
        cases, problems = _write_all(scans, made, labels, notes)
        if cases:
            _describe(made, cases)
            if out.exists():  # empty; it stays, because somebody may stand in it
                for part in made.iterdir():
                    os.replace(part, out / part.name)
            else:
                os.replace(made, out)
    if not cases:
        raise SourceError(f"{folder}: no scan in it can be used; {' | '.join([*notes, *problems])}")
    return Imported(find_cases(out), notes, problems)


def _compiled(pattern: str, example: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SourceError(f"{pattern!r} is no regular expression ({error}); give one such as {example!r}") from error


def _write_all(
    scans: list[Found], out: Path, labels: Collection[int] | None, notes: list[str]
) -> tuple[list[Case], list[str]]:
    """Write the scans that can be used; return their cases, and a line for each other scan. Adds to ``notes``."""
    cases, problems = [], []
    for scan in tqdm(scans, desc="importing", unit="case", leave=False):
        result = attempt(str(scan.source), _write, scan, out, labels)
        if isinstance(result, LungsegError):
            problems.append(str(result))
        else:
            cases.append(result[0])
            notes += result[1]
    return cases, problems


def _write(scan: Found, out: Path, labels: Collection[int] | None) -> tuple[Case, list[str]]:
    """Write and check one case; :class:`ScanError` where the check finds an error. Nothing is left where it fails."""
    (voxels, affine), label, notes = scan.read(True)
    name = f"{scan.id}.nii.gz"
    image = out / ("imagesTs" if label is None else "imagesTr") / name
    case = Case(scan.id, image, None if label is None else out / "labelsTr" / name, scan.patient)
    try:
        write_nifti(case.image, voxels, affine)
        if label is not None:
            write_nifti(case.label, *label)
        checked = check_case(case, labels)
        if checked.errors:
            raise ScanError(" | ".join(str(_at_source(problem, case, scan)) for problem in checked.errors))
        if case.label:
            write_nifti(case.label, checked.label, affine)
    except BaseException:
        for path in (case.image, case.label):
            if path:
                path.unlink(missing_ok=True)
        raise
    return case, notes + [str(_at_source(problem, case, scan)) for problem in checked.problems]


def _at_source(problem: Problem, case: Case, scan: Found) -> Problem:
    """Name the user's file, not the one that was written from it."""
    return replace(problem, file=str(scan.label_source if problem.file == str(case.label) else scan.source))


def _describe(out: Path, cases: list[Case]) -> None:
    training, test = ([case.id for case in cases if bool(case.label) is wanted] for wanted in (True, False))
    text = dataset_json(out.name, "Imported chest CT", training, test)
    (out / "dataset.json").write_text(text, encoding="utf-8")
    write_patients(out, {case.id: case.patient for case in cases})
