"""The way from ``baseline`` with its mistakes to ``course``, one step at a time, on equal seconds of training.

Writes ``ablation.csv``, a row per training, and ``ablation.png``. ``LUNGSEG_ABLATION_SECONDS`` sets the budget. As with
the recipes, trainings are kept, so the command may be cut short and goes on.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from lungseg_helpers.evaluation.ablation import ablation

from .recipes import HERE, budget, measure
from .table import Row


def draw(steps: pd.DataFrame) -> None:
    """Draw the mean Dice of the test patients after each step: a dot per seed, and a line for their mean."""
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    names = list(dict.fromkeys(steps["what"]))[::-1]
    for place, name in enumerate(names):
        values = steps.loc[steps["what"] == name, "dice"]
        ax.plot(values, [place] * len(values), "o", color="#0072B2")
        ax.vlines(values.mean(), place - 0.3, place + 0.3, color="black")
    figure.suptitle(f"From baseline to course, {steps['seconds'].iloc[0]:g} s of training per step")
    ax.set(
        yticks=range(len(names)),
        yticklabels=names,
        xlabel="mean Dice over patients, a dot per seed",
        xlim=(-0.02, None),
    )
    figure.savefig(HERE / "ablation.png", dpi=90)
    plt.close(figure)


def rows() -> list[Row]:
    """Train, score and return the figures."""
    steps = measure(ablation(), budget("LUNGSEG_ABLATION_SECONDS", 75), HERE / "ablation.csv", real=False)
    draw(steps)
    means = steps.groupby("what", sort=False)["dice"].mean()
    first, last = means.iloc[0], means.iloc[-1]
    seconds = f"{steps['seconds'].iloc[0]:g} s of training each, {steps['seed'].nunique()} seeds"
    note = f"{seconds}; highest after {means.idxmax()!r}: {means.max():.2f}"
    return [
        Row(
            "ablation: Dice after the last step beside baseline with its mistakes",
            last,
            "",
            first,
            last / first if first else None,
            "",
            note,
        )
    ]
