"""Scores of many patients: label and prediction files, folders or a run in, a table, a summary and a figure out.

One row a patient. Patients for whom a score is undefined stay in the table and are counted
apart in the summary; no score is made up for them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from .checking import label_on_grid
from .errors import LungsegError, ScanError, SourceError
from .metrics import bootstrap_interval, lesion_rows, score
from .predicting import MASK, PROBABILITY, predict_cases, prediction_path
from .scans import read_scan
from .sources import ensure_dataset, find_cases
from .weights import load_weights

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


def evaluate_run(run: Path, data: str | None = None, device: str = "cpu", progress: bool = True) -> Evaluation:
    """Predict and score the test patients of a training run; masks are kept in ``run/predictions``.

    ``data`` is the data set that the run was trained on, by default the one of the name that it
    recorded. Masks that are newer than the weights are used again. Raises :class:`SourceError`
    where ``run`` is none, or the test patients are not in the data set.
    """
    run = Path(run)
    weights, folder = run / "weights.ckpt", run / "predictions"
    if not weights.is_file():
        raise SourceError(f"{run}: holds no weights.ckpt of a finished training; give a run's folder, or two folders")
    network, recipe, roles = load_weights(weights)
    root = ensure_dataset(data or roles["data"])
    cases = {case.id: case for case in find_cases(root) if case.label is not None and case.id in set(roles["test"])}
    if missing := sorted(set(roles["test"]) - set(cases)):
        raise SourceError(f"{root}: lacks the run's test patients {', '.join(missing)}; name its data set with --data")
    stale = [case for case in cases.values() if not _is_newer(prediction_path(case, folder), weights)]
    failed = [
        str(result)
        for _, result in predict_cases(network, recipe, stale, folder, device, progress)
        if isinstance(result, Exception)
    ]
    pairs = {id: (case.label, path) for id, case in cases.items() if (path := prediction_path(case, folder)).is_file()}
    found = evaluate_pairs(pairs, progress)
    return Evaluation(found.table, found.lesions, failed + found.problems)


def _is_newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns


def score_table(rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return one row a patient, indexed by ``case``, sorted, with the columns of :data:`COLUMNS`."""
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    return table.rename_axis("case").sort_index()


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """Return the table in one row: means over patients, counts of lesions, and the patients counted apart.

    ``dice_low`` and ``dice_high`` are the mean's bootstrap 95 % interval. A patient without
    tumour and without prediction (``both_empty``) has no Dice and no surface Dice, and is in
    neither mean; one with a missed tumour (``nothing_predicted``) or with a false one
    (``no_tumour``) counts 0 there. None of the three has an HD95, which is a median of the others.
    """
    true, predicted = table["true_ml"] > 0, table["predicted_ml"] > 0
    low, high = bootstrap_interval(table["dice"])
    return {
        "patients": len(table),
        "mean_dice": float(table["dice"].mean()),
        "dice_low": low,
        "dice_high": high,
        "median_dice": float(table["dice"].median()),
        "mean_surface_dice": float(table["surface_dice"].mean()),
        "median_hd95_mm": float(table["hd95_mm"].median()),
        "lesions": int(table["lesions"].sum()),
        "lesions_found": int(table["lesions_found"].sum()),
        "large_lesions": int(table["large_lesions"].sum()),
        "large_found": int(table["large_found"].sum()),
        "false_components_per_scan": float(table["false_components"].mean()),
        "both_empty": int((~true & ~predicted).sum()),
        "nothing_predicted": int((true & ~predicted).sum()),
        "no_tumour": int((~true & predicted).sum()),
    }


def draw_scores(evaluation: Evaluation) -> Figure:
    """Draw every patient's Dice, predicted against true volume, and the lesions found by size."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    draw_dice(left, evaluation.table)
    draw_volumes(middle, evaluation.table)
    draw_found(right, evaluation.lesions)
    return figure


def draw_dice(ax: plt.Axes, table: pd.DataFrame) -> None:
    """Draw each patient's Dice as a dot, sorted, with the mean and its bootstrap 95 % interval."""
    values = table["dice"].dropna().sort_values().to_numpy()
    ax.scatter(np.arange(1, len(values) + 1), values, s=16, color="#0072B2", label="a patient")
    if len(values):
        low, high = bootstrap_interval(values)
        ax.axhline(values.mean(), color="#D55E00", label=f"mean {values.mean():.2f}")
        if np.isfinite(low):
            ax.axhspan(low, high, color="#D55E00", alpha=0.15, label=f"95 % interval {low:.2f} to {high:.2f}")
    ax.set(xlabel="patients, from worst to best", ylabel="3D Dice", ylim=(-0.03, 1.03), title="Each patient's Dice")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8, loc="upper left" if len(values) and np.median(values) < 0.6 else "lower right")


def draw_volumes(ax: plt.Axes, table: pd.DataFrame) -> None:
    """Draw predicted against true tumour volume; a patient with nothing predicted lies on the lower edge."""
    known = table[table["true_ml"] > 0]
    if not len(known):
        ax.set_title("no patient has a tumour")
        return
    least = known["true_ml"].min() / 4
    limits = (least, 2 * max(known["true_ml"].max(), known["predicted_ml"].max()))
    missed = known["predicted_ml"] == 0
    ax.plot(limits, limits, color="0.6", linewidth=1, label="as large as the truth")
    ax.scatter(known["true_ml"][~missed], known["predicted_ml"][~missed], s=16, color="#0072B2", label="a patient")
    ax.scatter(known["true_ml"][missed], np.full(missed.sum(), least), s=24, marker="v", color="#D55E00",
               label="nothing predicted", clip_on=False)  # fmt: skip
    ax.set(xscale="log", yscale="log", xlim=limits, ylim=limits, xlabel="true volume (mL)",
           ylabel="predicted volume (mL)", title="Tumour volume a patient")  # fmt: skip
    ax.legend(fontsize=8)


def draw_found(ax: plt.Axes, found: pd.DataFrame, edges: Sequence[float] = (0, 1, 3, 10, 30)) -> None:
    """Draw how many true lesions were found and missed, by volume in mL between ``edges``."""
    names = [*(f"{low}–{high}" for low, high in itertools.pairwise(edges)), f"over {edges[-1]}"]
    group = np.digitize(found["ml"], edges[1:])
    hit = found["found"].astype(bool).to_numpy()
    hits, misses = (np.bincount(group[hit == wanted], minlength=len(names)) for wanted in (True, False))
    ax.bar(names, hits, color="#0072B2", label="found")
    ax.bar(names, misses, bottom=hits, color="#E69F00", hatch="//", edgecolor="white", label="missed")
    ax.set(xlabel="volume (mL)", ylabel="lesions", title="Lesions by size")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)


def write_report(evaluation: Evaluation, path: Path) -> list[Path]:
    """Write the table as CSV to ``path``, and beside it the lesions (CSV), the summary (JSON) and the figure (PNG)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path, *(path.with_name(path.stem + ending) for ending in ("_lesions.csv", ".json", ".png"))]
    evaluation.table.to_csv(files[0])
    evaluation.lesions.to_csv(files[1], index=False)
    # JSON knows no NaN
    plain = {key: None if value != value else value for key, value in summary(evaluation.table).items()}
    files[2].write_text(json.dumps(plain, indent=1) + "\n")
    figure = draw_scores(evaluation)
    figure.savefig(files[3], dpi=110)
    plt.close(figure)
    return files
