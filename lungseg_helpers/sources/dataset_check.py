"""Checking a whole data set: its folders, its ``dataset.json``, and every case in it.

One bad case never hides another: each case is checked on its own, and what is wrong with
the folders is found before any scan is read.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import LungsegError, SourceError, attempt
from ..parallel import side_by_side
from ..scans.case import NIFTI_ENDINGS, Case, case_id
from ..scans.checking import Problem, Severity, check_case
from .datasets import is_decathlon
from .patients import PATIENTS, read_patients

WHOLE = "data set"
"""What stands for the case where a fault is no single case's."""

SCAN_FOLDERS = ("imagesTr", "imagesTs")


@dataclass(frozen=True)
class Report:
    """What was checked (``cases``: their ids) and what was found, case by case."""

    root: Path
    cases: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> list[Problem]:
        """The problems that keep a case, or the whole set, from being used."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def notes(self) -> list[Problem]:
        """What is worth knowing and does no harm."""
        return [problem for problem in self.problems if problem.severity == "note"]

    def to_json(self) -> str:
        """Return the report as JSON: root, cases, counts, and one object a problem."""
        return json.dumps(
            {
                "root": str(self.root),
                "cases": list(self.cases),
                "errors": len(self.errors),
                "notes": len(self.notes),
                "problems": [asdict(problem) for problem in self.problems],
            },
            indent=1,
        )


def check_dataset(
    root: str | Path, labels: Collection[int] | None = None, workers: int | None = None, lungs: bool = True
) -> Report:
    """Check a Decathlon folder, or a plain folder of NIfTI files, and every case in it.

    ``labels`` chooses which label values count as tumour; without it 1 does, and values besides
    0 and 1 are errors. Without ``lungs`` a scan that shows none has a note, not an error. ``workers`` as in
    :func:`~lungseg_helpers.parallel.side_by_side`. A faulty file never raises; :class:`SourceError` says only
    that ``root`` is no folder that can be listed.
    """
    root = Path(root)
    try:
        list(root.iterdir())
    except OSError as error:
        raise SourceError(f"{root}: cannot be listed ({error.strerror}); give a folder that holds scans") from error
    layout = _Layout(root)
    checks = side_by_side(_problems_of, [(case, labels, lungs) for case in layout.cases], workers, "checking")
    of_cases = [problem for problems in checks for problem in problems]
    ids = tuple(sorted({case.id for case in layout.cases}))
    # The set's own faults first, then case by case, in the order in which they were found.
    order = {WHOLE: -1} | {id_: place for place, id_ in enumerate(ids)}
    return Report(root, ids, tuple(sorted(layout.problems + of_cases, key=lambda p: order.get(p.case, len(ids)))))


def _problems_of(case: Case, labels: Collection[int] | None, lungs: bool) -> tuple[Problem, ...]:
    checked = attempt(case.id, check_case, case, labels, lungs=lungs)
    if isinstance(checked, LungsegError):
        fault, _, remedy = str(checked).removeprefix(f"{case.id}: ").rpartition("; ")
        return (Problem(case.id, str(case.image), fault, remedy),)
    return checked.problems


class _Layout:
    """The files of a data set, paired into cases, with what is wrong with their arrangement."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self.cases: list[Case] = []
        try:
            decathlon = is_decathlon(root)
        except SourceError:  # imagesTs may not be listed, which _scans will say
            decathlon = True
        images = [path for folder in (SCAN_FOLDERS if decathlon else (".",)) for path in self._scans(root / folder)]
        labels = self._scans(root / "labelsTr")
        self._pair(images, labels)
        if not images:
            self._add(WHOLE, root, "holds no .nii or .nii.gz scan", "give the folder that holds them, or import them")
        if decathlon:
            self._describe(root / "dataset.json", images, labels)
        try:
            read_patients(root, {case.id for case in self.cases})
        except SourceError as error:
            path = root / PATIENTS
            fault, _, remedy = str(error).removeprefix(f"{path}: ").rpartition("; ")
            self._add(WHOLE, path, fault, remedy)

    def _add(self, case: str, path: Path, fault: str, remedy: str, severity: Severity = "error") -> None:
        self.problems.append(Problem(case, str(path), fault, remedy, severity))

    def _scans(self, folder: Path) -> list[Path]:
        """Return the NIfTI files of a folder, and name what else lies there."""
        if not folder.is_dir():
            return []
        try:
            paths = sorted(folder.iterdir())
        except PermissionError:
            self._add(WHOLE, folder, "may not be listed by this user", "change its permissions")
            return []
        scans = []
        for path in paths:
            if path.name.startswith("._"):
                self._add(case_id(path.name[2:]), path, "is a companion file of macOS, no scan", "delete it", "note")
            elif path.name.lower().endswith(NIFTI_ENDINGS) and not path.name.startswith("."):
                scans.append(path)
            elif path.name.lower().endswith((".nrrd", ".mha", ".mhd", ".dcm")):
                self._add(path.stem, path, "is no NIfTI file and is left out", "use 'lungseg import' first", "note")
        return scans

    def _pair(self, images: list[Path], labels: list[Path]) -> None:
        """Make a case of every image, also of one whose id is there twice, and name what has no partner."""
        self._name_doubles(images)
        self._name_doubles(labels)
        label_of = {case_id(label): label for label in reversed(labels)}
        for image in images:
            id_, labelled = case_id(image), image.parent == self.root / "imagesTr"
            self.cases.append(Case(id_, image, label_of.get(id_) if labelled else None))
            if labelled and id_ not in label_of:
                remedy = f"add {self.root / 'labelsTr' / image.name}, or move the scan to imagesTs"
                self._add(id_, image, "has no label", remedy)
        training = {case_id(image) for image in images if image.parent == self.root / "imagesTr"}
        for label in labels:
            if case_id(label) not in training:
                self._add(case_id(label), label, "has no image in imagesTr", "add the image, or remove this label")

    def _name_doubles(self, paths: list[Path]) -> None:
        first: dict[str, Path] = {}
        for path in paths:
            if (id_ := case_id(path)) in first:
                self._add(id_, path, f"has the id of {first[id_]}", "remove or rename one of the two")
            first.setdefault(id_, path)

    def _describe(self, path: Path, images: list[Path], labels: list[Path]) -> None:
        """Hold dataset.json against the files."""
        if not path.exists():
            remedy = "nothing to do here; other tools for Decathlon data sets ask for it"
            self._add(WHOLE, path, "is missing", remedy, "note")
            return
        try:
            listed = _listed(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            self._add(WHOLE, path, f"cannot be read ({error.strerror})", "change its permissions")
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            fault = f"is malformed ({type(error).__name__}: {str(error).splitlines()[0]})"
            self._add(WHOLE, path, fault, "take it from the data set's source again, or remove it")
            return
        wrong = "disagrees with the files"
        there = {file.relative_to(self.root).as_posix(): file for file in (*images, *labels)}
        for name in sorted(listed - set(there)):
            fault = f"{wrong}: lists {name}, which is not there"
            self._add(case_id(name), path, fault, "add the file, or take it off the list")
        for name in sorted(set(there) - listed):
            self._add(case_id(name), path, f"{wrong}: does not list {name}", "list the file, or remove it")


def _listed(description: Any) -> set[str]:
    """Return the files that a dataset.json lists, relative to its folder.

    Raises ValueError, KeyError, TypeError or AttributeError where it has not the Decathlon's form.
    """
    training, test = description["training"], description["test"]
    for name, entries in (("numTraining", training), ("numTest", test)):
        if not isinstance(entries, list):
            raise TypeError("training and test are to be lists")
        if name in description and description[name] != len(entries):
            raise ValueError(f"{name} is {description[name]}, but {len(entries)} are listed")
    names = [entry[part] for entry in training for part in ("image", "label")]
    names += [entry["image"] if isinstance(entry, dict) else entry for entry in test]
    return {PurePosixPath(name).as_posix() for name in names}
