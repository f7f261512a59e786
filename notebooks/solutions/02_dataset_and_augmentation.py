"""Solutions to the exercises of 02_dataset_and_augmentation.ipynb."""

import numpy as np


def sampling_weights(has_tumour):
    return np.where(has_tumour, 0.5 / has_tumour.sum(), 0.5 / (~has_tumour).sum())
