"""How sure a mean over patients is. Means are over patients, never over slices or batches: see notebook 05."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def bootstrap_interval(values: Sequence[float], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean of ``values``, one per patient: how it would vary with other patients.

    Percentile bootstrap (Efron and Tibshirani, 1993) by SciPy. NaN values are left out; the
    interval is NaN where fewer than two remain. The order of the values makes no difference.
    """
    known = np.asarray(values, float)
    known = np.sort(known[np.isfinite(known)])
    if len(known) < 2:
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (known,), np.mean, n_resamples=draws, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(interval.low), float(interval.high)
