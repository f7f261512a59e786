"""A race of recipes: the same patients, the same seconds of training, the same scores, several seeds each.

A budget is in seconds of training steps on this machine, measured for each recipe, because a
wide network on whole slices takes several times as long a step as a narrow one on patches.
Validation is on top of it. Every recipe is scored as ``lungseg evaluate`` does, and by the
Dice that its own project reported. What a difference means, :mod:`~lungseg_helpers.evaluation.comparison` says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from ..dataset.loaders import LungDataModule
from ..dataset.split import open_split
from ..paths import dataset_root
from ..prediction.inference import predict_stack
from ..prediction.postprocessing import probabilities_to_mask
from ..preprocessing.stacks import SliceStack, make_stack
from ..recipe import Recipe
from ..scans.case import Case
from ..scans.orientation import oriented
from ..scans.scan import read_scan
from ..sources.datasets import ensure_dataset, find_cases
from ..training.callbacks import Clock
from ..training.devices import accelerator, choose_precision, loader_workers, pick_device
from ..training.run import quiet_lightning, train
from ..training.segmenter import LungSegmenter
from ..training.weights import load_weights
from ..unet import UNet
from ..writing import written_whole
from . import dice_definitions
from .metrics import score
from .report import summary
from .scores import by_patient, score_table

WARM_UP, MEASURED = 5, 20
"""Steps before a rate is taken, and steps that it is taken over."""

ROUNDS = 2
"""Times that a rate is taken."""

EPOCHS = 4
"""Validations in one budget."""


def steps_per_second(data: LungDataModule, device: str = "auto", now: Callable[[], float] = time.perf_counter) -> float:
    """Measure how many training steps, loading included, this machine takes in a second of the clock ``now``."""
    quiet_lightning()
    clock = Clock(now)
    recipe = replace(data.recipe, slices_per_epoch=(WARM_UP + MEASURED) * data.recipe.batch_size, epochs=1)
    short = LungDataModule(data.train_set.stacks, data.validation_set.stacks, recipe, data.workers)
    trainer = pl.Trainer(
        accelerator=accelerator(device),
        devices=1,
        precision=choose_precision(device),
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        callbacks=[clock],
    )
    trainer.fit(LungSegmenter(recipe.to_dict()), short)
    return (len(clock.ends) - WARM_UP) / (clock.ends[-1] - clock.ends[WARM_UP - 1])


def with_budget(recipe: Recipe, seconds: float, rate: float) -> Recipe:
    """Return the recipe with the steps that ``seconds`` hold at ``rate`` steps per second, in :data:`EPOCHS` epochs."""
    steps = max(1, round(seconds * rate / EPOCHS))
    return replace(recipe, epochs=EPOCHS, slices_per_epoch=steps * recipe.batch_size)


def measure_budgets(
    recipes: Iterable[Recipe], seconds: float, folder: Path, data: str | None = None, device: str = "auto"
) -> None:
    """Measure and keep, for every recipe that has none yet, how many steps ``seconds`` hold.

    All are measured in turn, :data:`ROUNDS` times, and the best rate of each counts: what else the machine does
    meanwhile then slows nobody more than the others.
    """
    rates: dict[Path, list[float]] = {}
    different = {_budget_file(recipe, seconds, folder, data): recipe for recipe in recipes}
    for _ in range(ROUNDS):
        for note, recipe in different.items():
            if not note.is_file():
                _, stacks, _ = open_split(data, recipe)
                module = LungDataModule(stacks["train"], stacks["validation"], recipe, loader_workers(device))
                rates.setdefault(note, []).append(steps_per_second(module, device))
    for note, measured in rates.items():
        with written_whole(note) as partial:
            partial.write_text(json.dumps({"seconds": seconds, "rate": max(measured)}))


def _budget_file(recipe: Recipe, seconds: float, folder: Path, data: str | None) -> Path:
    """Return where a recipe's budget is kept: the same for all of its seeds."""
    return Path(folder) / "budgets" / f"{dataset_root(data).name}-{seconds:g}s-{replace(recipe, seed=0).digest}.json"


def train_for(
    recipe: Recipe, seconds: float, folder: Path, data: str | None = None, device: str = "auto"
) -> tuple[Path, dict[str, list[SliceStack]]]:
    """Train a recipe for so many seconds of steps; return its weights and the stacks by role.

    Each data set, budget, recipe and seed has a place of its own in ``folder``. What the budget is in steps is kept
    there too, so that a training is found done, or goes on, whatever the machine is busy with then.
    """
    measure_budgets([recipe], seconds, folder, data, device)
    rate = json.loads(_budget_file(recipe, seconds, folder, data).read_text())["rate"]
    split, stacks, _ = open_split(data, recipe)
    run = Path(folder) / f"{split.data}-{recipe.name}-seed{recipe.seed}-{seconds:g}s-{recipe.digest}"
    budgeted = with_budget(recipe, seconds, rate)
    module = LungDataModule(stacks["train"], stacks["validation"], budgeted, loader_workers(device))
    return train(module, split, run, device, progress=False), stacks


def score_stacks(
    network: UNet, recipe: Recipe, stacks: Sequence[SliceStack], cases: Sequence[Case], device: str = "auto"
) -> tuple[pd.DataFrame, float]:
    """Return a row of scores a patient, in the scans' own voxels, and the Dice that the recipe's project reports."""
    labels = {case.id: case.label for case in cases}
    rows, pairs = {}, []
    for stack in stacks:
        probability = predict_stack(network, recipe, stack, pick_device(device))
        pairs.append((probability, stack.mask.astype(np.float32)))
        label = read_scan(labels[stack.id], "label")
        truth = oriented(label.voxels, label.affine)
        rows[stack.id] = score(truth, probabilities_to_mask(probability, stack, recipe), stack.grid.scan_spacing)
    patients = {case.id: case.patient for case in cases}
    return score_table(rows, patients), getattr(dice_definitions, recipe.reported)(pairs)


def compare(
    recipe: Recipe, seconds: float, folder: Path, data: str | None = None, real: bool = True, device: str = "auto"
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train a recipe for so many seconds and score it; return one row of a table, and a row for each test patient.

    In the row, ``dice`` (with its interval ``low`` to ``high``), ``lesions_found`` of ``lesions`` and
    ``false_components`` (mean per scan) are of the data set's test patients, ``reported`` is what the recipe's own
    project would call Dice on the same patients, ``real_…`` are the real patients' where they can be had.
    """
    weights, stacks = train_for(recipe, seconds, folder, data, device)
    network, trained, _ = load_weights(weights)
    table, reported = score_stacks(network, trained, stacks["test"], find_cases(ensure_dataset(data)), device)
    scores = summary(table)
    who = {"recipe": recipe.name, "seed": recipe.seed}
    row = who | {
        "steps": trained.epochs * (trained.slices_per_epoch // trained.batch_size),
        "dice": scores["mean_dice"],
        "low": scores["dice_low"],
        "high": scores["dice_high"],
        "lesions": scores["lesions"],
        "lesions_found": scores["lesions_found"],
        "false_components": scores["false_components_per_scan"],
        "reported": reported,
        "reported_as": recipe.reported,
    }
    if real:
        patients = find_cases(ensure_dataset("real"))
        known = [make_stack(case, trained) for case in patients]
        real_scores, _ = score_stacks(network, trained, known, patients, device)
        row |= {
            "real_dice": float(real_scores["dice"].mean()),
            "real_lesions_found": int(real_scores["lesions_found"].sum()),
            "real_false_components": float(real_scores["false_components"].mean()),
        }
    each = by_patient(table)[["dice", "lesions", "lesions_found", "false_components"]].rename_axis("patient")
    return row, each.reset_index().assign(**who)[[*who, "patient", *each.columns]]
