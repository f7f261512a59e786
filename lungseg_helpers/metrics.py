"""Scores per patient: 3D Dice, volumes, lesions found and falsely reported.

One row a patient, in the scan's own grid. Means are over patients, never over slices or
batches: why that matters is the subject of notebook 05.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from .checking import label_on_grid
from .errors import LungsegError, ScanError, SourceError
from .scans import read_scan
from .sources import find_cases

TOUCHING = np.ones((3, 3, 3), bool)
"""Voxels that share a face, an edge or a corner belong to one lesion."""

COLUMNS = ("dice", "true_ml", "predicted_ml", "lesions", "lesions_found", "false_components")


def dice(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return 2 |A ∩ B| / (|A| + |B|) of two masks of one shape; NaN where both are empty.

    Dice, "Measures of the amount of ecologic association between species", Ecology 26:297
    (1945). Empty against empty is undefined, and is not counted as a success.
    """
    truth, predicted = np.asarray(truth) > 0, np.asarray(predicted) > 0
    total = int(truth.sum()) + int(predicted.sum())
    return 2 * int((truth & predicted).sum()) / total if total else float("nan")


def lesions(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the lesions of a mask: an int array of its shape (0 is background) and how many there are."""
    return ndimage.label(np.asarray(mask) > 0, structure=TOUCHING)


def score(truth: np.ndarray, predicted: np.ndarray, spacing: Sequence[float]) -> dict[str, Any]:
    """Score one patient. Both masks have the same shape, in any axis order; ``spacing`` is in mm.

    A lesion counts as found where any predicted voxel touches it; a predicted component
    that touches no lesion is false. Volumes are in mL.
    """
    if truth.shape != predicted.shape:
        raise ScanError(f"label {truth.shape} and prediction {predicted.shape} differ in shape; compare one grid")
    voxel_ml = float(np.prod(spacing)) / 1000
    truth_labels, truth_count = lesions(truth)
    predicted_labels, predicted_count = lesions(predicted)
    overlap = (truth_labels > 0) & (predicted_labels > 0)
    return {
        "dice": dice(truth, predicted),
        "true_ml": float((truth_labels > 0).sum() * voxel_ml),
        "predicted_ml": float((predicted_labels > 0).sum() * voxel_ml),
        "lesions": truth_count,
        "lesions_found": len(np.unique(truth_labels[overlap])),
        "false_components": predicted_count - len(np.unique(predicted_labels[overlap])),
    }


def score_files(label: Path, prediction: Path) -> dict[str, Any]:
    """Score two NIfTI masks of one scan; :class:`ScanError` where they do not lie on the same grid.

    A mask whose voxels are stored in another order (RAS for LAS, say) is turned first.
    """
    truth, predicted = read_scan(label, "label"), read_scan(prediction, "label")
    try:
        found = label_on_grid(truth, predicted)
    except ScanError as error:
        message = f"{prediction}: does not lie on the grid of {label}; predict again from the same scan"
        raise ScanError(message) from error
    return score(truth.voxels, found, truth.spacing)


def score_table(rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return one row a patient, indexed by ``case``, sorted, with the columns of :data:`COLUMNS`."""
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    return table.rename_axis("case").sort_index()


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """Return the table in one row: patients, mean and median Dice, lesions found, false components a scan.

    Patients whose Dice is undefined (no tumour, none predicted) are left out of the mean.
    """
    return {
        "patients": len(table),
        "mean_dice": float(table["dice"].mean()),
        "median_dice": float(table["dice"].median()),
        "lesions": int(table["lesions"].sum()),
        "lesions_found": int(table["lesions_found"].sum()),
        "false_components_per_scan": float(table["false_components"].mean()),
    }


def find_pairs(labels: Path, predictions: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Match label files with ``<case>_pred.nii.gz`` files by case.

    ``labels`` is a Decathlon data set or a folder of label files. Returns the pairs, and a
    line for each prediction that has no label. Raises :class:`SourceError` where a folder
    is missing or nothing matches.
    """
    folder = Path(labels) / "labelsTr"
    truth = {case.id: case.image for case in find_cases(folder if folder.is_dir() else labels)}
    found = {case.id.removesuffix("_pred"): case.image for case in find_cases(predictions)}
    pairs = {case: (truth[case], found[case]) for case in sorted(truth.keys() & found.keys())}
    if not pairs:
        raise SourceError(f"{predictions}: no prediction here belongs to a label in {labels}; check both folders")
    return pairs, [f"{found[case]}: no label for this case in {labels}" for case in sorted(found.keys() - truth.keys())]


def evaluate_pairs(pairs: dict[str, tuple[Path, Path]]) -> tuple[pd.DataFrame, list[str]]:
    """Score (label, prediction) files by case; return the table and a line for each pair that failed."""
    rows, problems = {}, []
    for case, (label, prediction) in pairs.items():
        try:
            rows[case] = score_files(label, prediction)
        except LungsegError as error:
            problems.append(str(error))
    return score_table(rows), problems
