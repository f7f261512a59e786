"""Scores of many patients: label and prediction files or folders in, a table and its summary out.

One row a patient. Patients for whom a score is undefined stay in the table and are counted
apart in the summary; no score is made up for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from ..errors import LungsegError, ScanError, SourceError
from ..prediction import MASK, PROBABILITY
from ..scans.checking import label_on_grid
from ..scans.scan import read_scan
from ..sources.datasets import find_cases
from .metrics import lesion_rows, score

COLUMNS = (
    "dice", "surface_dice", "hd95_mm", "true_ml", "predicted_ml", "lesions", "lesions_found", "large_lesions",
    "large_found", "false_components",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    ``table`` has a row a patient (:data:`COLUMNS`, indexed by ``case``), ``lesions`` a row a
    true lesion (``case``, ``ml``, ``found``), ``problems`` a line for each pair that could not be scored.
    """

    table: pd.DataFrame
    lesions: pd.DataFrame
    problems: list[str]


def score_files(label: Path, prediction: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score two NIfTI masks of one scan: the patient's row, and a row for each true lesion.

    A mask whose voxels are stored in another order (RAS for LAS, say) is turned first.
    Raises :class:`ScanError` where a file cannot be used or they do not lie on the same grid.
    """
    truth, predicted = read_scan(label, "label"), read_scan(prediction, "label")
    try:
        found = label_on_grid(truth, predicted)
    except ScanError as error:
        message = f"{prediction}: does not lie on the grid of {label}; predict again from the same scan"
        raise ScanError(message) from error
    rows = lesion_rows(truth.voxels, found, truth.spacing)
    return score(truth.voxels, found, truth.spacing, rows), rows


def find_pairs(labels: Path, predictions: Path) -> tuple[dict[str, tuple[Path, Path]], list[str], list[str]]:
    """Match label files with ``<case>_pred.nii.gz`` files by case; other files of a prediction are passed over.

    ``labels`` is a Decathlon data set or a folder of label files. Returns the pairs, a line for
    each prediction that has no label, and the labelled cases that have no prediction. Raises
    :class:`SourceError` where a folder is missing or nothing matches.
    """
    folder = Path(labels) / "labelsTr"
    truth = {case.id: case.image for case in find_cases(folder if folder.is_dir() else labels)}
    masks = [case for case in find_cases(predictions) if not case.id.endswith(PROBABILITY)]
    found = {case.id.removesuffix(MASK): case.image for case in masks}
    pairs = {case: (truth[case], found[case]) for case in sorted(truth.keys() & found.keys())}
    if not pairs:
        raise SourceError(f"{predictions}: no prediction here belongs to a label in {labels}; check both folders")
    problems = [f"{found[case]}: no label for this case in {labels}" for case in sorted(found.keys() - truth.keys())]
    return pairs, problems, sorted(truth.keys() - found.keys())


def evaluate_pairs(pairs: dict[str, tuple[Path, Path]], progress: bool = False) -> Evaluation:
    """Score (label, prediction) files by case; a pair that cannot be scored becomes a line, and the others go on."""
    rows, found, problems = {}, [], []
    for case, (label, prediction) in tqdm(
        pairs.items(), desc="scoring", unit="patient", leave=False, disable=not progress
    ):
        try:
            rows[case], each = score_files(label, prediction)
            found += [{"case": case, **lesion} for lesion in each]
        except LungsegError as error:
            problems.append(str(error))
    return Evaluation(score_table(rows), pd.DataFrame(found, columns=["case", "ml", "found"]), problems)


def score_table(rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return one row a patient, indexed by ``case``, sorted, with the columns of :data:`COLUMNS`."""
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    return table.rename_axis("case").sort_index()
