"""Scores of many patients: label and prediction files or folders in, a table out.

One row a case, which mostly is a patient. Cases for which a score is undefined stay in the table and are
counted apart in the summary; no score is made up for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from ..errors import LungsegError, ScanError, SourceError, attempt
from ..scans.case import MASK, PROBABILITY
from ..scans.checking import label_on_grid, read_truth
from ..scans.scan import read_scan
from ..sources.datasets import find_cases, nifti_files
from ..sources.patients import read_patients
from .lesions import lesion_rows, match
from .metrics import score

COLUMNS = (
    "dice", "surface_dice", "hd95_mm", "true_ml", "predicted_ml", "lesions", "lesions_found", "large_lesions",
    "large_found", "false_components",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    ``table`` has a row per case (:data:`COLUMNS`, indexed by ``case``; ``patient`` as well where several cases
    are of one), ``lesions`` a row per true lesion (``case``, ``ml``, ``iou``, ``found``), ``problems`` a line
    for each pair that could not be scored.
    """

    table: pd.DataFrame
    lesions: pd.DataFrame
    problems: list[str]


def score_files(label: Path, prediction: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score two NIfTI masks of one scan: the case's row, and a row for each true lesion.

    A mask whose voxels are stored in another order (RAS for LAS, say) is turned first. Everything above 0 in
    ``prediction`` is tumour. Raises :class:`ScanError` where a file cannot be used, ``label`` holds other values
    than 0 and 1, or they do not lie on the same grid.
    """
    truth = read_truth(label)
    predicted = read_scan(prediction, "label", truth.voxels.size)
    try:
        mask = label_on_grid(truth, predicted)
    except ScanError as error:
        message = f"{prediction}: does not lie on the grid of {label}; predict again from the same scan"
        raise ScanError(message) from error
    matched = match(truth.voxels, mask)
    return score(truth.voxels, mask, truth.spacing, matched), lesion_rows(matched, truth.spacing)


def find_labels(labels: Path) -> dict[str, Path]:
    """Return the label files of a Decathlon data set, or of a folder of label files, by case, sorted.

    Raises :class:`SourceError` where the folder is missing or holds none. The scans of a data set are no labels.
    """
    folder = Path(labels) / "labelsTr"
    if any(folder.with_name(scans).is_dir() for scans in ("imagesTr", "imagesTs")) and not nifti_files(folder):
        raise SourceError(f"{labels}: has no labels; give a data set with labelsTr, or a folder of labels")
    return {case.id: case.image for case in find_cases(folder if folder.is_dir() else labels)}


def whose(labels: Path) -> dict[str, str]:
    """Return case -> patient of :func:`find_labels`, by the data set's ``patients.csv``; empty where there is none."""
    folder = Path(labels).absolute()
    return read_patients(folder.parent if folder.name == "labelsTr" else folder)


def find_pairs(labels: Path, predictions: Path) -> tuple[dict[str, tuple[Path, Path]], list[str], list[str]]:
    """Match label files with ``<case>_pred.nii.gz`` files by case; other files of a prediction are passed over.

    ``labels`` is a Decathlon data set or a folder of label files. Returns the pairs, a line for
    each prediction that has no label, and the labelled cases that have no prediction. Raises
    :class:`SourceError` where a folder is missing or nothing matches.
    """
    truth = find_labels(labels)
    masks = [case for case in find_cases(predictions) if not case.id.endswith(PROBABILITY)]
    predicted = {case.id.removesuffix(MASK): case.image for case in masks}
    pairs = {case: (truth[case], predicted[case]) for case in sorted(truth.keys() & predicted.keys())}
    if not pairs:
        raise SourceError(f"{predictions}: no prediction here belongs to a label in {labels}; check both folders")
    unknown = sorted(predicted.keys() - truth.keys())
    problems = [f"{predicted[case]}: no label for this case in {labels}" for case in unknown]
    return pairs, problems, sorted(truth.keys() - predicted.keys())


def evaluate_pairs(
    pairs: Mapping[str, tuple[Path, Path]], progress: bool = False, patients: Mapping[str, str] | None = None
) -> Evaluation:
    """Score (label, prediction) files by case; a pair that cannot be scored becomes a line, and the others go on.

    ``patients`` says whose each case is, as in :func:`score_table`.
    """
    rows, lesions, problems = {}, [], []
    bar = tqdm(pairs.items(), desc="scoring", unit="case", leave=False, disable=not progress)
    for case, (label, prediction) in bar:
        result = attempt(str(prediction), score_files, label, prediction)
        if isinstance(result, LungsegError):
            problems.append(str(result))
        else:
            rows[case] = result[0]
            lesions += [{"case": case, **lesion} for lesion in result[1]]
    found = pd.DataFrame(lesions, columns=["case", "ml", "iou", "found"])
    return Evaluation(score_table(rows, patients), found, problems)


def score_table(rows: Mapping[str, dict[str, Any]], patients: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return a row per case, indexed by ``case``, sorted, with the columns of :data:`COLUMNS`.

    ``patients`` is case -> patient; a case that it lacks is its own. Where a patient is not called as the case
    is, the table gets a column ``patient``.
    """
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS)).rename_axis("case").sort_index()
    people = [(patients or {}).get(case, case) for case in table.index]
    return table if people == list(table.index) else table.assign(patient=people)


def by_patient(table: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of a :func:`score_table`, a row per patient: the mean over the patient's cases.

    Undefined scores (NaN) are left out of it. The table itself where each case is its own patient.
    """
    return table.groupby("patient").mean() if "patient" in table else table
