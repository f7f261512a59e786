"""Six recipes on equal seconds of training, three seeds each.

Writes ``recipes.csv``, a row per training, ``recipes_patients.csv``, a row for each of its test patients, and
``recipes.png``. Trainings are kept in ``outputs/runs/compare`` and found done when the command is given again, so it
may be cut short at any time. ``LUNGSEG_SECONDS`` sets the budget; on a GPU set ``LUNGSEG_PROFILE=gpu`` as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from lungseg_helpers.evaluation.comparison import paired_difference, seeds_by_patients
from lungseg_helpers.evaluation.race import compare, measure_budgets
from lungseg_helpers.paths import outputs_dir
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import FAITHFUL, get_recipe

from .table import Row

HERE = Path(__file__).parent
SEEDS = (2026, 1, 2)
"""Of every recipe. The split stays the same."""


def budget(variable: str = "LUNGSEG_SECONDS", otherwise: float = 300) -> float:
    """Return the seconds of training that a variable asks for; 300 are the five minutes of the laptop profile."""
    return float(os.environ.get(variable) or otherwise)


def measure(recipes: Sequence[tuple[str, Recipe]], seconds: float, file: Path, real: bool = True) -> pd.DataFrame:
    """Train and score recipes with :data:`SEEDS`, ``real`` patients too; return a row per training.

    ``file`` is written anew after each, and beside it ``…_patients.csv`` with a row per test patient. All recipes are
    trained with the first seed, then all with the next: cut short, each has been trained as often as the others.
    """
    folder, rows, patients = outputs_dir() / "runs" / "compare", [], []
    measure_budgets((recipe for _, recipe in recipes), seconds, folder)
    for seed in SEEDS:
        for words, recipe in recipes:
            print(f"{words}, seed {seed}: {seconds:g} s of training", file=sys.stderr)
            row, each = compare(replace(recipe, seed=seed), seconds, folder, real=real)
            rows.append({"what": words, "seconds": seconds, **row})
            patients.append(each)
            pd.DataFrame(rows).round(4).to_csv(file, index=False)
            pd.concat(patients).round(4).to_csv(file.with_name(f"{file.stem}_patients.csv"), index=False)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> None:
    """Draw per-patient Dice by recipe, a dot a seed, and what each project reports beside it."""
    figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    names = list(dict.fromkeys(table["recipe"]))[::-1]
    for place, name in enumerate(names):
        rows = table[table["recipe"] == name]
        ax.plot(rows["dice"], [place] * len(rows), "o", color="#0072B2", label="" if place else "per patient")
        ax.plot(
            rows["reported"],
            [place] * len(rows),
            "x",
            color="#D55E00",
            label="" if place else "as the project reports it",
        )
    title = f"Six recipes, {table['seconds'].iloc[0]:g} s of training each"
    ax.set(yticks=range(len(names)), yticklabels=names, xlim=(-0.02, 1), xlabel="Dice", title=title)
    ax.grid(axis="y", color="0.9")
    ax.legend(loc="upper right", fontsize=8)
    figure.savefig(HERE / "recipes.png", dpi=90)
    plt.close(figure)


def rows() -> list[Row]:
    """Train, score and return the figures."""
    seconds = budget()
    table = measure([(name, get_recipe(name)) for name in ("course", *FAITHFUL)], seconds, HERE / "recipes.csv")
    draw(table)
    means = table.groupby("recipe")["dice"].mean()
    best = means.drop("course").idxmax()
    patients = pd.read_csv(HERE / "recipes_patients.csv")
    ours, theirs = (seeds_by_patients(patients[patients["recipe"] == name]) for name in ("course", best))
    apart = paired_difference(ours.to_numpy(), theirs.to_numpy())
    note = (
        f"{seconds:g} s of training each, {len(SEEDS)} seeds; best other: {best}; "
        f"difference {apart.mean:+.2f}, 95 % interval {apart.low:+.2f} to {apart.high:+.2f}"
    )
    real = table.groupby("recipe")["real_dice"].mean()
    return [
        Row(
            "recipes: Dice of course beside the best reference recipe",
            means["course"],
            "",
            means[best],
            means["course"] / means[best] if means[best] else None,
            "an interval above 0",
            note,
        ),
        Row(
            "recipes: real patients' mean Dice, the same",
            real["course"],
            "",
            real.drop("course").max(),
            None,
            "more",
            "mean over three patients and the seeds, beside the best of the others",
        ),
    ]
