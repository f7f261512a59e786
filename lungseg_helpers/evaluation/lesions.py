"""Lesions found and missed, and what was falsely reported: by overlap, in one patient and at every cut (FROC).

One rule, with one number, :data:`FOUND_IOU`:

- A predicted component belongs to a lesion where at least a tenth of the component lies inside it.
- A lesion is found where it and the components that belong to it have an intersection over union of a tenth or more.
- A component that belongs to no found lesion is false.

So a component over two lesions can find both, where each fills a tenth of it. A smear over a lesion is a miss and
a false component, and painting everything finds nothing. A component that belongs to a lesion never costs it:
where the others reach a tenth, so do they with this one. The rule names no number and no order, so it is the same
however lesions and components are numbered, and whichever way the scan is turned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ScanError
from ..scans.masks import components

FOUND_IOU = 0.1
"""Intersection over union from which on a lesion counts as found.

As in nnDetection (Baumgartner et al., MICCAI 2021, "AP @ IoU 0.1") and in the PI-CAI challenge (Saha et al., Lancet
Oncol 25:879, 2024). It asks whether a reader's eye is led to the lesion; how well it is outlined is Dice's business.
"""

LARGE_ML = 1.0
"""Lesions above this volume (12 mm across) are also counted apart: these should be found."""


@dataclass(frozen=True)
class Match:
    """The lesions of a truth beside the components of a prediction.

    ``lesions`` and ``components`` are int arrays of the masks' shape: the number of each voxel's lesion or
    component, 0 elsewhere. What is said of them has a place for each number, and one for 0 that says nothing:
    ``voxels`` and ``iou`` of the lesions, whether each was ``found``, and whether each component is ``false``.
    ``belongs`` is (n, 2): the number of a lesion, and that of a component that belongs to it.
    """

    lesions: np.ndarray
    components: np.ndarray
    voxels: np.ndarray
    iou: np.ndarray
    found: np.ndarray
    false: np.ndarray
    belongs: np.ndarray

    def drawn(self, lesion: int) -> np.ndarray:
        """Return the components that belong to a lesion, as one mask: bool, of the masks' shape."""
        return np.isin(self.components, self.belongs[self.belongs[:, 0] == lesion, 1])


def match(truth: np.ndarray, predicted: np.ndarray) -> Match:
    """Match two 3-D masks of one shape, in any axis order; everything above 0 is inside.

    Raises :class:`ScanError` where the shapes differ.
    """
    return _matched(*components(truth), *components(predicted))


def _matched(lesions: np.ndarray, known: int, pieces: np.ndarray, reported: int) -> Match:
    if lesions.shape != pieces.shape:
        raise ScanError(f"label {lesions.shape} and prediction {pieces.shape} differ in shape; compare one grid")
    held = (lesions > 0) | (pieces > 0)
    # a line for each pair that meets, not a table of all lesions by all components: noise has thousands of each
    pairs, shared = np.unique(lesions[held].astype(np.int64) * (reported + 1) + pieces[held], return_counts=True)
    lesion, piece = np.divmod(pairs, reported + 1)
    voxels, sizes = _sums(lesion, shared, known), _sums(piece, shared, reported)
    # quotients, not products: 3 / 30 is 0.1 to the last bit, 0.1 × 3 is not 0.3
    mine = (lesion > 0) & (piece > 0) & (shared / np.maximum(sizes[piece], 1) >= FOUND_IOU)
    inside, drawn = (_sums(lesion[mine], each[mine], known) for each in (shared, sizes[piece]))
    iou = inside / np.maximum(voxels + drawn - inside, 1)
    found = iou >= FOUND_IOU
    false = np.arange(reported + 1) > 0
    false[piece[mine & found[lesion]]] = False
    voxels[0] = 0
    return Match(lesions, pieces, voxels, iou, found, false, np.stack([lesion, piece], axis=1)[mine])


def _sums(numbers: np.ndarray, voxels: np.ndarray, highest: int) -> np.ndarray:
    """Return the sum of ``voxels`` for each number from 0 to ``highest``: int64."""
    return np.bincount(numbers, voxels, highest + 1).astype(np.int64)


def lesion_rows(matched: Match, spacing: Sequence[float]) -> list[dict[str, Any]]:
    """Return a row for each true lesion: volume ``ml``, ``iou`` with what was drawn of it, and whether it is ``found``.

    ``spacing`` is in mm, in the masks' axis order.
    """
    voxel_ml = float(np.prod(spacing)) / 1000
    lines = zip(matched.voxels[1:] * voxel_ml, matched.iou[1:], matched.found[1:], strict=True)
    return [{"ml": float(ml), "iou": float(iou), "found": bool(found)} for ml, iou, found in lines]


def lesion_scores(matched: Match, spacing: Sequence[float]) -> dict[str, int]:
    """Return how many lesions there are and were found, so too of those above :data:`LARGE_ML`, and what is false."""
    rows = lesion_rows(matched, spacing)
    large = [row["found"] for row in rows if row["ml"] > LARGE_ML]
    return {
        "lesions": len(rows),
        "lesions_found": sum(row["found"] for row in rows),
        "large_lesions": len(large),
        "large_found": sum(large),
        "false_components": int(matched.false.sum()),
    }


def froc(cases: Iterable[tuple[np.ndarray, Callable[[float], np.ndarray]]], cuts: Sequence[float]) -> pd.DataFrame:
    """Return a row per cut of the probability, from the highest cut to the lowest: what :func:`match` says there.

    A case is its true mask, and a function that makes the predicted one of a cut. Make it as the case's own
    prediction was made, so that the curve runs through the table's figures at the recipe's threshold; for a stack:
    ``functools.partial(probabilities_to_mask, probabilities, stack, recipe)``. Columns: ``lesions``,
    ``lesions_found`` and ``false_components`` of all cases, ``sensitivity`` (share of lesions found; NaN without
    any) and ``false_components_per_scan``; the index is ``cut``. Raises as :func:`match` does.

    Free-response ROC: Bunch et al., J Appl Photogr Eng 4:166 (1978). A lower cut also makes components grow, and
    join: one that outgrows its lesion loses it, so the curve may turn down.
    """
    cuts = sorted(cuts, reverse=True)
    counts, scans = np.zeros((len(cuts), 3), np.int64), 0
    for truth, mask_at in cases:
        lesions, scans = components(truth), scans + 1
        for row, cut in zip(counts, cuts, strict=True):
            matched = _matched(*lesions, *components(mask_at(cut)))
            row += (lesions[1], matched.found.sum(), matched.false.sum())
    table = pd.DataFrame(counts, pd.Index(cuts, name="cut"), ["lesions", "lesions_found", "false_components"])
    sensitivity = table["lesions_found"] / table["lesions"].replace(0, np.nan)
    return table.assign(sensitivity=sensitivity, false_components_per_scan=table["false_components"] / max(scans, 1))
