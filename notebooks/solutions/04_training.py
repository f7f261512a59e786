"""Solutions to the exercises of 04_training.ipynb."""

import numpy as np


def soft_dice(probability, target):
    return 2 * (probability * target).sum() / (probability.sum() + target.sum())


def steepest_rate(rates, losses):
    return rates[np.diff(losses).argmin() + 1]


def stop_epoch(scores, patience):
    best = 0
    for epoch, score in enumerate(scores):
        if score > scores[best]:
            best = epoch
        if epoch - best == patience:
            return epoch
    return len(scores) - 1
