"""A recipe's score on every patient of a data set: five trainings, each tested on the fifth that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ..dataset.loaders import LungDataModule
from ..dataset.split import open_split
from ..paths import run_dir
from ..recipe import Recipe
from ..recipe_rules import FOLDS
from ..training.devices import loader_workers, pick_device
from ..training.run import train
from .runs import evaluate_run
from .scores import Evaluation


def crossvalidate(
    data: str | None, recipe: Recipe, device: str = "auto", workers: int | None = None, progress: bool = True
) -> Evaluation:
    """Train and test the recipe on each of nnU-Net's five folds, and return one evaluation of all patients.

    The folds are those of :func:`~lungseg_helpers.dataset.split.fold_patients`. Of a fold's other patients,
    ``validation_fraction`` of all choose epoch and threshold, and the rest train. So a network learns from fewer
    patients than nnU-Net's, which chooses neither, and its test patients choose nothing. The runs are where
    ``lungseg train --set fold=…`` has them: finished ones are used, interrupted ones go on.
    """
    folds = []
    for fold in range(FOLDS):
        chosen = replace(recipe, fold=fold)
        run = run_dir(data, chosen)
        split, stacks, faults = open_split(data, chosen)
        loaders = loader_workers(device) if workers is None else workers
        train(LungDataModule(stacks["train"], stacks["validation"], chosen, loaders), split, run, device, progress)
        tested = evaluate_run(run, data, pick_device(device), progress)
        folds.append(replace(tested, problems=faults + tested.problems))
    return pooled(folds)


def pooled(folds: Sequence[Evaluation]) -> Evaluation:
    """Put the evaluations of folds 0, 1, … into one: every patient once, and the ``fold`` that tested it.

    The five networks are five trainings, so the mean over all patients is the recipe's and none of the networks'.
    """
    table = pd.concat(fold.table.assign(fold=number) for number, fold in enumerate(folds)).sort_index()
    if "patient" in table:  # a fold in which each case is its own patient has no such column
        table["patient"] = table["patient"].fillna(table.index.to_series())
    lesions = pd.concat([fold.lesions for fold in folds], ignore_index=True)
    # each fold prepares all patients, so that what is wrong with one is said five times
    return Evaluation(table, lesions, list(dict.fromkeys(line for fold in folds for line in fold.problems)))
