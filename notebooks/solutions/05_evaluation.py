"""Solutions to the exercises of 05_evaluation.ipynb.

The questions at its end:

1. Nobody can say from that. Both intervals are wide because patients differ, and the patients are the same: take the
   difference patient by patient, and the interval of its mean.
2. The order of all pixels stays, so the best threshold moves along (its logit doubles too), and Dice there and the FROC
   stay as they are. The reliability curve changes: every probability moves away from 0.5, so the
   network sounds surer, of tumour and of none.
3. Less, and perhaps nothing: the best of 40 is partly the luckiest of 40 on just these patients.
4. That does not follow. A mask in the middle of four outlines agrees with each better than they agree among themselves,
   as a vote does; it may share what all four have missed.
"""

import numpy as np


def patient_dice(truth, predicted):
    total = (truth > 0).sum() + (predicted > 0).sum()
    if total == 0:
        return float("nan")
    return 2 * ((truth > 0) & (predicted > 0)).sum() / total


def count_found(labels, pieces):
    found = 0
    for number in np.unique(labels[labels > 0]):
        lesion = labels == number
        drawn = np.zeros(lesion.shape, bool)
        for other in np.unique(pieces[lesion & (pieces > 0)]):
            piece = pieces == other
            if (piece & lesion).sum() / piece.sum() >= 0.1:
                drawn |= piece
        found += (lesion & drawn).sum() / (lesion | drawn).sum() >= 0.1
    return found


def patient_by_patient(one, other):
    both = {patient: one[patient] - other[patient] for patient in one.keys() & other.keys()}
    return {patient: gain for patient, gain in both.items() if not np.isnan(gain)}


def choose_threshold(scores):
    return max(scores, key=lambda threshold: np.nanmean(scores[threshold]))
