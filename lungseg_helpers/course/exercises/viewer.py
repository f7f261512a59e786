"""The check behind the exercise of notebook 09."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd


def next_find(answer: Callable) -> str | None:
    """09: of a table of components, the surest that has not been seen yet."""
    rng = np.random.default_rng(9)
    for count in (4, 1, 6, 3):
        sure = rng.permutation(np.linspace(0.35, 0.95, count)).round(3)
        table = pd.DataFrame({
            "component": np.arange(1, count + 1),
            "ml": np.sort(rng.uniform(0.1, 30, count))[::-1],
            "mean_probability": sure,
            "highest_probability": np.clip(sure[::-1] + 0.04, 0, 1),
        })  # fmt: skip
        order = [int(table["component"][place]) for place in np.argsort(-sure)]
        for seen in range(count + 1):
            # the surest ones have been seen, or the least sure ones
            for looked in (set(order[:seen]), set(order[count - seen :])):
                right = next((number for number in order if number not in looked), None)
                given = answer(table.copy(), set(looked))
                row = isinstance(given, pd.Series | pd.DataFrame)  # which has no truth value
                if row or given != right or (given is None) != (right is None):
                    return _hint(table, looked, right, given)
    return None


def _hint(table: pd.DataFrame, looked: set[int], right: int | None, given: object) -> str:
    """Return what is probably wrong with ``given``."""
    if right is None:
        return "When all have been seen there is no next one: return None."
    if given is None:
        return "There are finds that have not been seen yet; yours returns None."
    if isinstance(given, pd.Series | pd.DataFrame):
        return "Return the component's number alone, not its row."
    if given in looked:
        return f"Component {given} is in `seen` already: leave those out first."
    if given not in set(table["component"]):
        return "Return a number of the column `component`, which counts from 1, not a row's place."
    left = table[~table["component"].isin(looked)].set_index("component")
    if given == left["mean_probability"].idxmin():
        return "That is the least sure one; the highest mean probability comes first."
    if given == left["ml"].idxmax():
        return "That is the largest; the one of the highest mean probability is asked for."
    if given == left["highest_probability"].idxmax():
        return "That has the highest single voxel; compare the column `mean_probability`."
    return f"Component {right} is the surest that has not been seen; yours says {given}."
