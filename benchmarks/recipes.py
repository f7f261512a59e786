"""Six recipes on equal seconds of training.

Writes ``recipes.csv``, a row a training, and ``recipes.png``. Trainings are kept in
``outputs/runs/compare`` and found done when the command is given again, so it may be cut
short at any time. ``LUNGSEG_SECONDS`` sets the budget; on a GPU set ``LUNGSEG_PROFILE=gpu`` as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from lungseg_helpers.evaluation.comparison import compare
from lungseg_helpers.paths import outputs_dir
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import FAITHFUL, get_recipe

from .table import Row

HERE = Path(__file__).parent
SEEDS = (2026, 1, 2)
"""Of the course's recipe; the reference recipes are trained with the first. The split stays the same."""


def budget(variable: str = "LUNGSEG_SECONDS", otherwise: float = 300) -> float:
    """Return the seconds of training that a variable asks for; 300 are the five minutes of the laptop profile."""
    return float(os.environ.get(variable) or otherwise)


def measure(recipes: Iterable[tuple[str, Recipe]], seconds: float, file: Path, real: bool = True) -> pd.DataFrame:
    """Train and score recipes one after the other, ``real`` patients too; ``file`` is written anew after each."""
    rows = []
    for words, recipe in recipes:
        print(f"{words}: {seconds:g} s of training", file=sys.stderr)
        folder = outputs_dir() / "runs" / "compare"
        rows.append({"what": words, "seconds": seconds, **compare(recipe, seconds, folder, real=real)})
        pd.DataFrame(rows).round(4).to_csv(file, index=False)
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
    chosen = [(name, get_recipe(name)) for name in ("course", *FAITHFUL)]
    chosen += [("course", replace(get_recipe("course"), seed=seed)) for seed in SEEDS[1:]]
    table = measure(chosen, seconds, HERE / "recipes.csv")
    draw(table)
    course, others = table[table["recipe"] == "course"], table[table["recipe"] != "course"]
    best = others.loc[others["dice"].idxmax()]
    spread = course["dice"].std()
    note = f"{seconds:g} s of training each; mean of {len(course)} seeds, sd {spread:.3f}; best other: {best['recipe']}"
    return [
        Row(
            "recipes: Dice of course beside the best reference recipe",
            course["dice"].mean(),
            "",
            best["dice"],
            course["dice"].mean() / best["dice"] if best["dice"] else None,
            "more by over an sd",
            note,
        ),
        Row(
            "recipes: real patients' mean Dice, the same",
            course["real_dice"].mean(),
            "",
            others["real_dice"].max(),
            None,
            "more",
            "mean over three patients and the seeds, beside the best of the others",
        ),
    ]
