"""Solutions to the exercises of 02_dataset_and_augmentation.ipynb, and answers to its questions.

1. Forty: the split is of patients. Both scans of a patient go to the same group, or the test knows its patients.
2. In pictures turned by the affine the spine is never in front, even if the patient lay face down. The network spends
   its few weights on chests that do not exist. A variation must be one that a scan could have.
3. That half of what it sees holds tumour. It will say "tumour" too often on whole scans: false components, and
   probabilities that are too high. So thresholds are chosen on validation patients, with every slice drawn once (05).
"""

import numpy as np
from scipy import ndimage


def leaking_patients(train, test):
    """Return the sorted list of the patients whose slices (names as "patient/slice") are in both lists."""
    of_train, of_test = ({name.split("/")[0] for name in names} for names in (train, test))
    return sorted(of_train & of_test)


def move_both(image, mask, places, air):
    """Return image and mask (row, column), both moved by the map ``places`` (2, rows, columns)."""
    moved = ndimage.map_coordinates(image, places, order=1, cval=air)
    return moved, ndimage.map_coordinates(mask, places, order=0, cval=0)


def border_value(low, high, shift, scale):
    """Return the network input that air, -1024 HU, becomes: clip to low … high, subtract shift, divide by scale."""
    return (min(max(-1024, low), high) - shift) / scale


def sampling_weights(has_tumour):
    """Return a weight for each slice, so that half of all draws hold tumour."""
    return np.where(has_tumour, 0.5 / has_tumour.sum(), 0.5 / (~has_tumour).sum())
