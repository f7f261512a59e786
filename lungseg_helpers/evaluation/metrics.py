"""Scores of one patient: Dice, surface distances, lesions found and falsely reported; and FROC over patients.

Masks are compared in the scan's own grid. Files, folders and runs are the
business of :mod:`~lungseg_helpers.evaluation.scores`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from ..errors import ScanError
from ..scans.masks import mask_box

TOUCHING = np.ones((3, 3, 3), bool)
"""Voxels that share a face, an edge or a corner belong to one lesion."""

SURFACE_MM = 2.0
"""Surfaces at most this far apart agree: what two careful readers differ by, and what the Decathlon used for lungs."""

LARGE_ML = 1.0
"""Lesions above this volume (12 mm across) are also counted apart: these should be found."""


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


def lesions(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the lesions of a mask: an int array of its shape (0 is background) and how many there are."""
    mask = np.asarray(mask) > 0
    box, labels = mask_box(mask), np.zeros(mask.shape, np.int32)
    labels[box], count = ndimage.label(mask[box], structure=TOUCHING)
    return labels, count


def touched(labels: np.ndarray, mask: np.ndarray) -> set[int]:
    """Return the numbers of the lesions of ``labels`` that ``mask`` (of the same shape) shares a voxel with."""
    return set(np.unique(labels[np.asarray(mask) > 0]).tolist()) - {0}


def lesion_rows(truth: np.ndarray, predicted: np.ndarray, spacing: Sequence[float]) -> list[dict[str, Any]]:
    """Return a row for each true lesion: its volume ``ml``, and whether any predicted voxel touches it (``found``)."""
    labels, count = lesions(truth)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * float(np.prod(spacing)) / 1000
    hit = touched(labels, predicted)
    return [{"ml": float(sizes[number]), "found": number in hit} for number in range(1, count + 1)]


def score(
    truth: np.ndarray, predicted: np.ndarray, spacing: Sequence[float], rows: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Score one patient. Both masks have the same shape, in any axis order; ``spacing`` is in mm in that order.

    A lesion counts as found where any predicted voxel touches it; a predicted component
    that touches no lesion is false. Volumes are in mL. ``rows`` spares a second numbering where
    the caller has :func:`lesion_rows` of these masks already. Raises :class:`ScanError` where the
    shapes differ. With an empty truth, an empty prediction or both: see :func:`dice` and
    :func:`surface_scores`.
    """
    if truth.shape != predicted.shape:
        raise ScanError(f"label {truth.shape} and prediction {predicted.shape} differ in shape; compare one grid")
    voxel_ml = float(np.prod(spacing)) / 1000
    rows = lesion_rows(truth, predicted, spacing) if rows is None else rows
    large = [row["found"] for row in rows if row["ml"] > LARGE_ML]
    labels, count = lesions(predicted)
    hits = len(touched(labels, truth))
    return {
        "dice": dice(truth, predicted),
        **surface_scores(truth, predicted, spacing),
        "true_ml": int(np.count_nonzero(truth)) * voxel_ml,
        "predicted_ml": int(np.count_nonzero(labels)) * voxel_ml,
        "lesions": len(rows),
        "lesions_found": sum(row["found"] for row in rows),
        "large_lesions": len(large),
        "large_found": sum(large),
        "false_components": count - hits,
    }


def candidates(truth: np.ndarray, probability: np.ndarray, least: float = 0.1) -> tuple[list[float], list[float]]:
    """Return the scores of true lesions and of false candidates of one patient, for :func:`froc`.

    A candidate is a component of ``probability`` (3-D, 0 to 1) above ``least``, and its score
    is its highest probability. A lesion has the score of its best candidate, and 0 where none touches it.
    (MONAI's ``compute_fp_tp_probs_nd`` takes a candidate for one point, which lies in a lesion or does not.)
    """
    labels, count = lesions(np.asarray(probability) > least)
    scores = np.zeros(count + 1)
    if count:
        scores[1:] = ndimage.maximum(probability, labels, range(1, count + 1))
    true_labels, true_count = lesions(truth)
    hits = [touched(labels, true_labels == number) for number in range(1, true_count + 1)]
    false = sorted(set(range(1, count + 1)) - set().union(*hits))
    true_scores = [float(max((scores[number] for number in hit), default=0.0)) for hit in hits]
    return true_scores, [float(scores[number]) for number in false]


def froc(true_scores: Sequence[float], false_scores: Sequence[float], scans: int) -> tuple[np.ndarray, np.ndarray]:
    """Return false components a scan and the share of lesions found, over falling cuts of the candidates' scores.

    ``true_scores`` has one score for each lesion of all patients (0: no candidate), ``false_scores``
    one for each false candidate. Free-response ROC: Bunch et al., J Appl Photogr Eng 4:166 (1978). Computed
    by MONAI.
    """
    from monai.metrics import compute_froc_curve_data  # brings torch, see surface_scores

    # MONAI passes over the lowest of all scores, which it takes for that of missed lesions
    true, false = np.array([*true_scores, 0.0]), np.asarray(false_scores, float)
    reports, shares = compute_froc_curve_data(false, true, max(1, len(true_scores)), scans)
    return reports[::-1], shares[::-1]
