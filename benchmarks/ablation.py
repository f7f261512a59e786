"""The way from ``baseline`` with its mistakes to ``course``, one step at a time, on equal seconds of training.

Writes ``ablation.csv``, a row a step, and ``ablation.png``. ``LUNGSEG_ABLATION_SECONDS`` sets the budget. As with the
recipes, trainings are kept, so the command may be cut short and goes on.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from lungseg_helpers.evaluation.comparison import ablation

from .recipes import HERE, budget, measure
from .table import Row


def draw(steps: pd.DataFrame) -> None:
    """Draw the mean Dice of the test patients after each step."""
    figure, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
    places = range(len(steps))[::-1]
    bars = ax.barh(places, steps["dice"], color="#0072B2")
    ax.bar_label(bars, fmt="%.2f", padding=3)
    figure.suptitle(f"From baseline to course, {steps['seconds'].iloc[0]:g} s of training a step")
    reach = 1.15 * max(steps["dice"].max(), 0.1)
    ax.set(yticks=places, yticklabels=steps["what"], xlabel="mean Dice a patient", xlim=(0, reach))
    figure.savefig(HERE / "ablation.png", dpi=90)
    plt.close(figure)


def rows() -> list[Row]:
    """Train, score and return the figures."""
    steps = measure(ablation(), budget("LUNGSEG_ABLATION_SECONDS", 75), HERE / "ablation.csv", real=False)
    draw(steps)
    first, last, best = steps["dice"].iloc[0], steps["dice"].iloc[-1], steps.loc[steps["dice"].idxmax()]
    seconds = f"{steps['seconds'].iloc[0]:g} s of training each, one seed"
    note = f"{seconds}; highest after {best['what']!r}: {best['dice']:.2f}"
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
