"""Is one model better than another, or luckier? Two models on the same patients, each trained with one seed or several.

A score moves for two reasons that are no merit: other **patients**, and another **seed**. The interval of
:func:`paired_difference` holds both. :mod:`~lungseg_helpers.evaluation.luck` measures how often it is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import SourceError


@dataclass(frozen=True)
class Difference:
    """The mean difference of two models and its interval from ``low`` to ``high``; floats, or arrays of one shape.

    ``patients`` are those that were compared, ``seeds`` the trainings of each model. Where either model has one seed
    alone, the interval is of these two trained networks on other patients: of the recipes behind them it says nothing.
    """

    mean: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float
    patients: int
    seeds: tuple[int, int]

    @property
    def apart(self) -> np.ndarray | bool:
        """Whether the two have been told apart: the interval leaves out 0."""
        return (self.low > 0) | (self.high < 0)


def paired_difference(a: np.ndarray, b: np.ndarray, level: float = 0.95, same_seeds: bool = False) -> Difference:
    """Return how much higher ``a`` scores than ``b``, with an interval over patients and seeds.

    ``a`` and ``b`` are (…, seeds, patients), or (patients,) for one seed each; the patients are the same, in the
    same order, the seeds may differ in number, unless with ``same_seeds`` trainings share what a seed decides
    (first weights, training patients): then their differences are what varies from seed to seed. A patient with a
    NaN anywhere is left out. The squared standard error is the sum of that over patients (of the differences of the
    seeds' means) and of those over seeds (of the patients' means); the interval is Student's t with the degrees of
    freedom of Welch and Satterthwaite (Biometrics Bulletin 2:110, 1946). It is wider than a bootstrap over both,
    whose few seeds make it too sure (see ``benchmarks/luck.py``). The interval is NaN where fewer than two patients
    are left. Raises :class:`SourceError` where the numbers of patients differ, or those of seeds that are the same.
    """
    a, b = (np.atleast_2d(np.asarray(scores, float)) for scores in (a, b))
    if a.shape[-1] != b.shape[-1]:
        raise SourceError(f"{a.shape[-1]} and {b.shape[-1]} patients: compare two models on the same ones")
    if same_seeds:
        if a.shape[-2] != b.shape[-2]:
            raise SourceError(f"{a.shape[-2]} and {b.shape[-2]} seeds: trainings in pairs have the same ones")
        a, b = a - b, np.zeros_like(a)
    known = np.isfinite(a).all(axis=tuple(range(a.ndim - 1))) & np.isfinite(b).all(axis=tuple(range(b.ndim - 1)))
    a, b = a[..., known], b[..., known]
    patients, seeds = a.shape[-1], (a.shape[-2], b.shape[-2])
    if patients < 2:
        mean = float(np.mean(a) - np.mean(b)) if patients else float("nan")
        return Difference(mean, float("nan"), float("nan"), patients, seeds)
    each = a.mean(axis=-2) - b.mean(axis=-2)
    parts = [(each.var(axis=-1, ddof=1) / patients, patients - 1)]
    if min(seeds) > 1:
        parts += [(x.mean(axis=-1).var(axis=-1, ddof=1) / x.shape[-2], x.shape[-2] - 1) for x in (a, b)]
    squared = sum(part for part, _ in parts)
    freedom = np.maximum(squared, 1e-30) ** 2 / np.maximum(sum(part**2 / free for part, free in parts), 1e-60)
    reach = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(squared)
    mean = each.mean(axis=-1)
    if mean.ndim == 0:
        mean, reach = float(mean), float(reach)
    return Difference(mean, mean - reach, mean + reach, patients, seeds)


def seeds_by_patients(rows: pd.DataFrame, score: str = "dice") -> pd.DataFrame:
    """Return one model's ``rows`` (``seed``, ``patient``, ``score``) as a table: a row per seed, a column per patient.

    Patients are sorted, so two models' tables of the same patients fit :func:`paired_difference`.
    """
    return rows.pivot(index="seed", columns="patient", values=score).sort_index(axis=1)


def told_apart(scores: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return which models are shown to be better than which: bool (models, models), True where row beats column.

    ``scores`` is (models, patients), without NaN, a network of each model on the same patients. With many models many
    pairs are compared, and one in twenty would seem different by luck alone. So Holm's method (Scand J Stat 6:65, 1979)
    corrects for both directions of all pairs, each by :func:`paired_difference`: the chance that *any* model is falsely
    called better than another is at most 1 - ``level``. Of two models it is that function's own interval.
    """
    pairs = np.triu_indices(len(scores), 1)
    one, other = (scores[each, None] for each in pairs)
    better = np.zeros((len(scores),) * 2, bool)
    told, before = 0, -1
    # what has been told apart is taken off the count of the comparisons, until nothing more is
    while told > before and len(one):
        error = (1 - level) / (2 * len(one) - told)
        found = paired_difference(one, other, 1 - 2 * error)
        before, told = told, int(np.sum(found.apart))
        better[pairs], better.T[pairs] = found.low > 0, found.high < 0
    return better


def place_ranges(better: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best and the worst place that each model may have: int (models,) each, 1 is the first.

    ``better`` is that of :func:`told_apart`. As many models stand before one as are shown to be better, and as many
    behind it as it is shown to beat; where it stands among the rest is not known. All ranges hold at once, with the
    level of :func:`told_apart` (Mogstad, Romano, Shaikh and Wilhelm, Rev Econ Stud 91:476, 2024). They may overlap:
    the first and the third can be told apart while the second is told from neither.
    """
    return 1 + better.sum(axis=0), len(better) - better.sum(axis=1)


def alike_runs(better: np.ndarray) -> list[tuple[int, int]]:
    """Return the longest runs of neighbours in a :func:`told_apart` of whom no two are: (start, end) as of a slice.

    The runs may overlap. A model that is told apart from both its neighbours is a run of its own.
    """
    runs: list[tuple[int, int]] = []
    for start in range(len(better)):
        end = start + 1
        while end < len(better) and not better[start : end + 1, start : end + 1].any():
            end += 1
        if not runs or end > runs[-1][1]:
            runs.append((start, end))
    return runs
