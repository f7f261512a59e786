"""Which cases are of one patient: the ``patients.csv`` of a data set.

Two scans of one patient are more alike than scans of two patients. A split that puts one into training
and the other into the test says too much good of a network, so every split goes by patient.
"""

from __future__ import annotations

import csv
from collections.abc import Container, Mapping
from pathlib import Path

from ..errors import SourceError

PATIENTS = "patients.csv"
"""The file's name, beside ``dataset.json``. It may be written by hand."""

HEADER = ["case", "patient"]


def read_patients(root: Path, ids: Container[str] | None = None) -> dict[str, str]:
    """Return case id -> patient as ``root/patients.csv`` has them; empty where there is no such file.

    The file has the header ``case,patient`` and a line per case. Cases that it does not list are their own
    patients. ``ids`` are the data set's cases, where they are known. Raises :class:`SourceError` where the file
    cannot be read, has another form, or lists a case twice or one that is not in ``ids``.
    """
    path = Path(root) / PATIENTS
    if not path.exists():
        return {}
    try:
        # Excel begins the file with a byte order mark
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read ({error}); write it as UTF-8 text, or remove it") from error
    rows = [[field.strip() for field in line] for line in lines if line]
    if not rows or rows[0] != HEADER:
        raise SourceError(f"{path}: does not begin with the line case,patient; add it")
    patients: dict[str, str] = {}
    for row in rows[1:]:
        if len(row) != 2 or not all(row):
            raise SourceError(f"{path}: the line {','.join(row)!r} is no case and its patient; write case,patient")
        case, patient = row
        if case in patients:
            raise SourceError(f"{path}: lists case {case} twice; remove one of the lines")
        if ids is not None and case not in ids:
            raise SourceError(f"{path}: lists case {case}, which is not in this data set; remove the line")
        patients[case] = patient
    return patients


def write_patients(root: Path, patients: Mapping[str, str]) -> None:
    """Write ``root/patients.csv`` of the cases whose patient is not called as they are; no file where there is none."""
    rows = sorted((case, patient) for case, patient in patients.items() if case != patient)
    if rows:
        # a patient named by a path that is not UTF-8 is written with its odd bytes as \udcfc and such
        with (Path(root) / PATIENTS).open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
