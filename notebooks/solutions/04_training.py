"""Solutions to the exercises of 04_training.ipynb."""


def soft_dice(probability, target):
    return 2 * (probability * target).sum() / (probability.sum() + target.sum())
