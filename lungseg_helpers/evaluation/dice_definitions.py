"""What five projects called "Dice": kept for the lesson of notebook 05, never for a score.

Each function takes the same predictions, a list of patients with ``probability`` and ``truth``
arrays of one shape (slice, row, column), probabilities from 0 to 1, and returns the one
number that the project's code would print. They differ in what is averaged over (slices,
batches, patients, all voxels at once), in whether probabilities or masks are compared, and
in what nothing against nothing counts. The projects are named as in :mod:`~lungseg_helpers.recipes`;
the ``oversampled`` one reported no Dice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .metrics import dice

Patient = tuple[np.ndarray, np.ndarray]
"""Probability and truth of one patient, (slice, row, column)."""

WINDOWED_CUT = 1 / (1 + np.exp(-0.2))
"""``windowed`` cuts logits at 0.2 after training, taking them for probabilities: that is p > 0.55."""


def soft_dice(probability: np.ndarray, truth: np.ndarray) -> float:
    """Return 2 Σ p t / (Σ p + Σ t) of arrays of any one shape; 0 where there is nothing in either."""
    total = float(probability.sum(dtype=np.float64) + truth.sum(dtype=np.float64))
    return 2 * float((probability * truth).sum(dtype=np.float64)) / total if total else 0.0


def slices_soft(patients: Sequence[Patient]) -> float:
    """``baseline`` (JacobJ215/Lung-Cancer-Segmentation): soft Dice of each slice, mean over all slices.

    Without any ε, so a slice without tumour scores 0 whatever is predicted: a perfect
    network reaches the share of slices that hold tumour.
    """
    return float(
        np.mean([soft_dice(p, t) for probability, truth in patients for p, t in zip(probability, truth, strict=True)])
    )


def pooled_soft(patients: Sequence[Patient]) -> float:
    """``classic`` (rbhardwaj2186/Lung_Tumor_Segmentation): one soft Dice over all voxels of all patients.

    Large tumours decide it; a patient whose small tumour is missed hardly counts.
    """
    overlap = sum(float((p * t).sum(dtype=np.float64)) for p, t in patients)
    total = sum(float(p.sum(dtype=np.float64) + t.sum(dtype=np.float64)) for p, t in patients)
    return 2 * overlap / total if total else 0.0


def batches_with_tumour(patients: Sequence[Patient], batch_size: int = 12) -> float:
    """``windowed`` (luissm01/lung-tumor-segmentation) while it trains: mean over batches, p > 0.2, 12 slices each.

    Batches without tumour are left out, and with them all that is falsely found there.
    """
    scores = [dice(truth, probability > 0.2) for probability, truth in _batches(patients, batch_size) if truth.any()]
    return float(np.mean(scores)) if scores else float("nan")


def volumes_mean(patients: Sequence[Patient]) -> float:
    """``windowed`` after training: mean over patients, each patient's whole volume; nearly the course's own."""
    return float(np.nanmean([dice(truth, probability > WINDOWED_CUT) for probability, truth in patients]))


def batches_with_epsilon(patients: Sequence[Patient], batch_size: int = 16, epsilon: float = 1e-6) -> float:
    """``lungnet`` (jbbobant/medical-image-analysis): mean over batches of 16 slices, p > 0.5, ε above and below.

    A batch without tumour in which nothing is found scores ε/ε = 1: a network that never finds
    anything is rewarded for most of the scan.
    """
    scores = []
    for probability, truth in _batches(patients, batch_size):
        predicted = probability > 0.5
        overlap = float((predicted & (truth > 0)).sum())
        scores.append((2 * overlap + epsilon) / (float(predicted.sum()) + float((truth > 0).sum()) + epsilon))
    return float(np.mean(scores))


def patients_mean(patients: Sequence[Patient], threshold: float = 0.5) -> float:
    """The course: the Dice of each patient's whole mask, mean over patients; nothing against nothing is left out."""
    return float(np.nanmean([dice(truth, probability > threshold) for probability, truth in patients]))


DEFINITIONS: dict[str, Callable[[Sequence[Patient]], float]] = {
    "baseline: soft, mean over slices": slices_soft,
    "classic: soft, all voxels at once": pooled_soft,
    "windowed, training: batches with tumour": batches_with_tumour,
    "windowed, afterwards: mean over volumes": volumes_mean,
    "lungnet: batches, ε/ε = 1": batches_with_epsilon,
    "course: mean over patients": patients_mean,
}
"""Six definitions by the words that a table shows."""

PUBLISHED = {
    "baseline: soft, mean over slices": "0.02",
    "classic: soft, all voxels at once": "0.90",
    "windowed, training: batches with tumour": "0.15 to 0.25",
    "windowed, afterwards: mean over volumes": "0.34",
    "lungnet: batches, ε/ε = 1": "up to 0.84",
    "course: mean over patients": "",
}
"""What the projects' own texts report, each by its own definition, of its own network, on its own six to eight
validation patients of Task06."""


def _batches(patients: Sequence[Patient], size: int) -> Iterator[Patient]:
    """Cut all slices, patient after patient, into batches, as a loader that does not shuffle does."""
    held: list[Patient] = []
    for probability, truth in patients:
        for pair in zip(probability, truth, strict=True):
            held.append(pair)
            if len(held) == size:
                yield _stacked(held)
                held = []
    if held:
        yield _stacked(held)


def _stacked(slices: list[Patient]) -> Patient:
    """Put slices of different patients, and so of different sizes, one after the other as flat voxels."""
    return tuple(np.concatenate([pair[part].ravel() for pair in slices]) for part in (0, 1))  # type: ignore[return-value]
