"""Scores of one patient: Dice, surface distances, and all of a patient's scores in one row.

Masks are compared in the scan's own grid. Files, folders and runs are the
business of :mod:`~lungseg_helpers.evaluation.scores`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..scans.masks import mask_box
from .lesions import Match, lesion_scores, match

SURFACE_MM = 2.0
"""Surfaces at most this far apart agree: what two careful readers differ by, and what the Decathlon used for lungs."""


def dice(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return 2 |A ∩ B| / (|A| + |B|) of two masks of one shape; NaN where both are empty.

    Dice, "Measures of the amount of ecologic association between species", Ecology 26:297
    (1945). Empty against empty is undefined, and is not counted as a success.
    """
    truth, predicted = np.asarray(truth) > 0, np.asarray(predicted) > 0
    total = int(truth.sum()) + int(predicted.sum())
    return 2 * int((truth & predicted).sum()) / total if total else float("nan")


def surface_scores(truth: np.ndarray, predicted: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """Return ``surface_dice`` (at :data:`SURFACE_MM`) and ``hd95_mm`` of two 3-D masks with ``spacing`` in mm.

    Computed by MONAI; a surface is the voxels of a mask with a face on its outside. The
    surface Dice is the share of both surfaces that lies within the tolerance of the other
    (Nikolov et al., arXiv:1809.04430, here by voxels, not by area). HD95 is the greater of
    the two 95th percentiles of the distances from one surface to the other. Both are NaN
    where both masks are empty. Where one is, surface Dice is 0, and HD95 is NaN: there is
    no distance to nothing, so such patients have to be counted apart.
    """
    truth, predicted = np.asarray(truth) > 0, np.asarray(predicted) > 0
    if not (truth.any() and predicted.any()):
        return {"surface_dice": 0.0 if truth.any() or predicted.any() else float("nan"), "hd95_mm": float("nan")}
    # they take seconds to import, and nothing else here needs them
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    box = mask_box(truth | predicted)
    pair = [torch.from_numpy(mask[box])[None, None].float() for mask in (predicted, truth)]
    options = {"include_background": True, "spacing": [float(step) for step in spacing]}
    with warnings.catch_warnings():
        # MONAI warns of what it does itself
        warnings.simplefilter("ignore", FutureWarning)
        return {
            "surface_dice": float(compute_surface_dice(*pair, class_thresholds=[SURFACE_MM], **options)),
            "hd95_mm": float(compute_hausdorff_distance(*pair, percentile=95, **options)),
        }


def score(
    truth: np.ndarray, predicted: np.ndarray, spacing: Sequence[float], matched: Match | None = None
) -> dict[str, Any]:
    """Score one patient. Both masks have the same shape, in any axis order; ``spacing`` is in mm in that order.

    Lesions are found and components false by overlap, see :mod:`~lungseg_helpers.evaluation.lesions`. Volumes are
    in mL. ``matched`` spares a second matching where the caller has that of these masks already. Raises
    :class:`ScanError` where the shapes differ. With an empty truth, an empty prediction or both: see :func:`dice` and
    :func:`surface_scores`.
    """
    matched = matched or match(truth, predicted)
    voxel_ml = float(np.prod(spacing)) / 1000
    return {
        "dice": dice(truth, predicted),
        **surface_scores(truth, predicted, spacing),
        "true_ml": int(matched.voxels.sum()) * voxel_ml,
        "predicted_ml": int(np.count_nonzero(matched.components)) * voxel_ml,
        **lesion_scores(matched, spacing),
    }
