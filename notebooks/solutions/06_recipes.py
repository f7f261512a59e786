"""Solutions to the exercises of 06_recipes.ipynb, and answers to its questions.

1. Yes, if the best was chosen by these test patients: its score then is the luckiest of ten as well as the best, and
   promises too much. Choose by validation patients, and score the chosen one once.
2. That nobody can tell, not that they are equal. The interval says how large a difference may still be.
3. More seeds help where trainings differ, more patients where patients differ. Twelve patients are few: with many
   seeds the patients' part of the standard error stays, so more patients (or cross-validation) come next.
4. It is scored by another definition (pooled over patches, so large tumours weigh most), and it picks the checkpoint
   that it then praises.
"""

import numpy as np


def fair_steps(rates, seconds):
    return {name: max(1, round(rate * seconds)) for name, rate in rates.items()}


def paired_differences(a, b):
    return a.mean(axis=0) - b.mean(axis=0)


def standard_error(a, b):
    patients = np.var(paired_differences(a, b), ddof=1) / a.shape[1]
    seeds = sum(np.var(scores.mean(axis=1), ddof=1) / len(scores) for scores in (a, b))
    return np.sqrt(patients + seeds)
