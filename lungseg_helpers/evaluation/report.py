"""The report of an evaluation: its figures, and the files it is written to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .lesions import LARGE_ML
from .scores import Evaluation, by_patient
from .statistics import bootstrap_interval


def draw_scores(evaluation: Evaluation) -> Figure:
    """Draw every patient's Dice, predicted against true volume, and the lesions found by size."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    draw_dice(left, evaluation.table)
    draw_volumes(middle, evaluation.table)
    draw_found(right, evaluation.lesions)
    return figure


def draw_dice(ax: plt.Axes, table: pd.DataFrame) -> None:
    """Draw each patient's Dice as a dot, sorted, with the mean and its bootstrap 95 % interval."""
    values = by_patient(table)["dice"].dropna().sort_values().to_numpy()
    ax.scatter(np.arange(1, len(values) + 1), values, s=16, color="#0072B2", label="one patient")
    if len(values):
        low, high = bootstrap_interval(values)
        ax.axhline(values.mean(), color="#D55E00", label=f"mean {values.mean():.2f}")
        if np.isfinite(low):
            ax.axhspan(low, high, color="#D55E00", alpha=0.15, label=f"95 % interval {low:.2f} to {high:.2f}")
    ax.set(xlabel="patients, from worst to best", ylabel="3D Dice", ylim=(-0.03, 1.03), title="Each patient's Dice")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8, loc="upper left" if len(values) and np.median(values) < 0.6 else "lower right")


def draw_volumes(ax: plt.Axes, table: pd.DataFrame) -> None:
    """Draw predicted against true tumour volume of each case; one with nothing predicted lies on the lower edge."""
    known = table[table["true_ml"] > 0]
    if not len(known):
        ax.set_title("no patient has a tumour")
        return
    missed = known["predicted_ml"] == 0
    volumes = pd.concat([known["true_ml"], known["predicted_ml"][~missed]])
    least = volumes.min() / 4
    limits = (least, 2 * volumes.max())
    ax.plot(limits, limits, color="0.6", linewidth=1, label="as large as the truth")
    ax.scatter(known["true_ml"][~missed], known["predicted_ml"][~missed], s=16, color="#0072B2", label="one patient")
    ax.scatter(
        known["true_ml"][missed],
        np.full(missed.sum(), least),
        s=24,
        marker="v",
        color="#D55E00",
        label="nothing predicted",
        clip_on=False,
    )
    ax.set(
        xscale="log",
        yscale="log",
        xlim=limits,
        ylim=limits,
        xlabel="true volume (mL)",
        ylabel="predicted volume (mL)",
        title="Tumour volume per patient",
    )
    ax.legend(fontsize=8)


def draw_found(ax: plt.Axes, lesions: pd.DataFrame, edges: Sequence[float] = (0, 1, 3, 10, 30)) -> None:
    """Draw how many true lesions were found and missed, by volume in mL between ``edges``."""
    names = [*(f"{low}–{high}" for low, high in itertools.pairwise(edges)), f"over {edges[-1]}"]
    group = np.digitize(lesions["ml"], edges[1:])
    hit = lesions["found"].astype(bool).to_numpy()
    hits, misses = (np.bincount(group[hit == wanted], minlength=len(names)) for wanted in (True, False))
    ax.bar(names, hits, color="#0072B2", label="found")
    ax.bar(names, misses, bottom=hits, color="#E69F00", hatch="//", edgecolor="white", label="missed")
    ax.set(xlabel="volume (mL)", ylabel="tumours", title="Tumours by size")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)


def write_report(evaluation: Evaluation, path: Path) -> list[Path]:
    """Write the table as CSV to ``path``, and beside it the lesions (CSV), the summary (JSON) and the figure (PNG).

    A ``path`` that is called as the summary or the figure would be gives the table the ending .csv.
    """
    path = Path(path)
    path = path.with_suffix(".csv") if path.suffix in (".json", ".png") else path
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


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """Return the table in one row: means and medians over patients, counts of lesions, and the cases counted apart.

    Where several cases are of one patient, the patient's value is their mean, and ``dice_low`` and
    ``dice_high``, the mean's bootstrap 95 % interval, draws patients: two scans of one patient tell less than
    scans of two. Lesions, false components and what follows are counted by case. A case without
    tumour and without prediction (``both_empty``) has no Dice and no surface Dice, and is in
    neither mean; one with a missed tumour (``nothing_predicted``) or with a false one
    (``no_tumour``) counts 0 there. None of the three has an HD95, which is a median of the others.
    """
    true, predicted = table["true_ml"] > 0, table["predicted_ml"] > 0
    patients = by_patient(table)
    low, high = bootstrap_interval(patients["dice"])
    return {
        "patients": len(patients),
        "mean_dice": float(patients["dice"].mean()),
        "dice_low": low,
        "dice_high": high,
        "median_dice": float(patients["dice"].median()),
        "mean_surface_dice": float(patients["surface_dice"].mean()),
        "median_hd95_mm": float(patients["hd95_mm"].median()),
        "lesions": int(table["lesions"].sum()),
        "lesions_found": int(table["lesions_found"].sum()),
        "large_lesions": int(table["large_lesions"].sum()),
        "large_found": int(table["large_found"].sum()),
        "false_components_per_scan": float(table["false_components"].mean()),
        "both_empty": int((~true & ~predicted).sum()),
        "nothing_predicted": int((true & ~predicted).sum()),
        "no_tumour": int((~true & predicted).sum()),
    }


def in_words(table: pd.DataFrame) -> str:
    """Return the :func:`summary` as a line; what no case has (an interval of one patient, an HD95) is left out."""
    row = {key: value for key, value in summary(table).items() if value == value}
    said = [f"{row['patients']} patient{'s' * (row['patients'] != 1)}"]
    if "mean_dice" in row:
        interval = f" (95 % interval {row['dice_low']:.2f} to {row['dice_high']:.2f})" if "dice_low" in row else ""
        said.append(f"mean Dice {row['mean_dice']:.2f}{interval}, median {row['median_dice']:.2f}")
    if "mean_surface_dice" in row:
        said.append(f"mean surface Dice {row['mean_surface_dice']:.2f}")
    if "median_hd95_mm" in row:
        said.append(f"median HD95 {row['median_hd95_mm']:.1f} mm")
    said += [
        f"{row['lesions_found']} of {row['lesions']} lesions found "
        f"(over {LARGE_ML:.3g} mL {row['large_found']} of {row['large_lesions']})",
        f"{row['false_components_per_scan']:.1f} false components per scan",
    ]
    cases = {"both_empty": "no tumour, none predicted", "nothing_predicted": "tumour, none predicted",
             "no_tumour": "no tumour, but one predicted"}  # fmt: skip
    said += [f"{row[key]} with {words}" for key, words in cases.items() if row[key]]
    return "; ".join(said)
