"""Solutions to the exercises of 08_unlabelled_scans.ipynb, and answers to its questions.

1. That they can hardly bring more at this budget: a label that was guessed is seldom worth more than a true one, and
   true ones brought nothing that could be told apart. With more steps the ceiling may rise, so it has to be measured
   again, and the methods with it.
2. Its agreement with itself: a student that copies its teacher agrees with it by construction, right or wrong. Compare
   networks that did not learn from one another, of other seeds and other labelled patients.
3. No. The network has seen the patient's anatomy, so its score no longer says how it does on somebody new. The split is
   by patient, and an unlabelled scan is a scan.
4. Label more patients, and choose them: those on whom independent networks disagree most. Or find a teacher who knows
   more than your labels do.
"""

import itertools

import numpy as np


def pseudo_labels(probability, sure):
    labels = (probability >= sure).float()
    counts = (probability >= sure) | (probability <= 1 - sure)
    return labels, counts


def consistency(student, teacher):
    return ((student.sigmoid() - teacher.sigmoid().detach()) ** 2).mean()


def agreement(masks):
    pairs = [(a, b) for a, b in itertools.combinations(masks, 2) if a.any() or b.any()]
    scores = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]
    return np.mean(scores) if scores else np.nan
