"""Recipes side by side: the same patients, the same seconds of training, the same scores.

A budget is in seconds of training steps on this machine, measured for each recipe, because a
wide network on whole slices takes several times as long a step as a narrow one on patches.
Validation is on top of it. Every recipe is scored as ``lungseg evaluate`` does, and by the
Dice that its own project reported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from ..dataset.loaders import LungDataModule
from ..dataset.split import open_split
from ..prediction.inference import predict_stack
from ..prediction.postprocessing import probabilities_to_mask
from ..preprocessing.stacks import SliceStack, make_stack
from ..recipe import Recipe
from ..recipes import get_recipe
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
from .scores import score_table

WARM_UP, MEASURED = 5, 20
"""Steps before a rate is taken, and steps that it is taken over."""

EPOCHS = 4
"""Validations in one budget."""

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("batch normalisation, 1×1 before upsampling", ("norm", "upsampling")),
    ("a high rate with warm-up and cosine, averaged weights",
     ("learning_rate", "weight_decay", "schedule", "averaged", "batch_size")),
    ("a window of HU", ("intensity",)),
    ("crop to the lungs, pixels in mm", ("crop", "pixel_mm", "frame")),
    ("borders of air, not water", ("border_hu",)),
    ("every worker its own seeds", ("same_seeds",)),
    ("probabilities cut, not logits", ("threshold",)),
    ("Dice + cross-entropy", ("loss",)),
    ("half of the draws tumour, patients alike", ("tumour_weight", "tumour_fraction")),
    ("patches around tumours", ("patch",)),
    ("milder turns, mirror, noise, sharpness", ("augmentation",)),
    ("neighbouring slices", ("context_mm",)),
    ("checkpoint and threshold by validation Dice", ("watched", "chosen_threshold", "keep_best", "patience")),
    ("no pieces below 0.3 mL", ("smallest_ml",)),
)  # fmt: skip
"""The way from ``baseline`` with its mistakes to ``course``: what each step is called, and the settings that it takes
over from the course's recipe. What lets a network learn at all within a small budget comes first: without it no
other step would show."""

BUDGET = ("name", "seed", "split_seed", "slices_per_epoch", "epochs", "reported", "widths")
"""Settings that are no step of that way: names, budgets, and the size of the network."""


def ablation(profile: str | None = None) -> list[tuple[str, Recipe]]:
    """Return the recipes from ``baseline`` (with its mistakes) to ``course``, each one step further than the last."""
    recipe, goal = get_recipe("baseline", profile, faithful=True), get_recipe("course", profile)
    recipe = replace(recipe, name="step_00", widths=goal.widths)
    steps = [("baseline, with its mistakes", recipe)]
    for number, (words, settings) in enumerate(STEPS, start=1):
        recipe = replace(recipe, name=f"step_{number:02}", **{key: getattr(goal, key) for key in settings})
        steps.append((words, recipe))
    return steps


def steps_per_second(data: LungDataModule, device: str = "auto") -> float:
    """Measure how many training steps this machine takes in a second with this recipe, loading included."""
    quiet_lightning()
    clock = Clock()
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
    """Return the recipe with as many steps as ``seconds`` hold at ``rate`` steps a second, in :data:`EPOCHS` epochs."""
    steps = max(1, round(seconds * rate / EPOCHS))
    return replace(recipe, epochs=EPOCHS, slices_per_epoch=steps * recipe.batch_size)


def train_for(
    recipe: Recipe, seconds: float, run: Path, data: str | None = None, device: str = "auto"
) -> tuple[Path, dict[str, list[SliceStack]]]:
    """Train a recipe for so many seconds of steps; return its weights and the stacks by role.

    Each data set, budget and recipe has a folder of its own in ``run``. What the budget is in steps is kept there
    (``budget.json``), so that a training is found done, or goes on, whatever the machine is busy with then.
    """
    split, stacks, _ = open_split(data, recipe)
    workers = loader_workers(device)
    run = Path(run) / f"{split.data}-{seconds:g}s-{recipe.digest}"
    note = run / "budget.json"
    if note.is_file():
        rate = json.loads(note.read_text())["rate"]
    else:
        rate = steps_per_second(LungDataModule(stacks["train"], stacks["validation"], recipe, workers), device)
        with written_whole(note) as partial:
            partial.write_text(json.dumps({"recipe": recipe.to_dict(), "seconds": seconds, "rate": rate}))
    budgeted = with_budget(recipe, seconds, rate)
    module = LungDataModule(stacks["train"], stacks["validation"], budgeted, workers)
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
) -> dict[str, Any]:
    """Train a recipe for so many seconds, score it, and return one row of a table.

    ``dice`` (with its interval), ``found`` of ``lesions`` and ``false_components_per_scan`` are of the
    data set's test patients, ``reported`` is what the recipe's own project would call Dice on the same
    patients, ``real_…`` are the real patients' where they can be had.
    """
    run = Path(folder) / f"{recipe.name}-seed{recipe.seed}"
    weights, stacks = train_for(recipe, seconds, run, data, device)
    network, trained, _ = load_weights(weights)
    cases = find_cases(ensure_dataset(data))
    table, reported = score_stacks(network, trained, stacks["test"], cases, device)
    scores = summary(table)
    row = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "steps": trained.epochs * (trained.slices_per_epoch // trained.batch_size),
        "dice": scores["mean_dice"],
        "low": scores["dice_low"],
        "high": scores["dice_high"],
        "found": scores["lesions_found"],
        "lesions": scores["lesions"],
        "false_components_per_scan": scores["false_components_per_scan"],
        "reported": reported,
        "reported_as": recipe.reported,
    }
    if real:
        patients = find_cases(ensure_dataset("real"))
        known = [make_stack(case, trained) for case in patients]
        real_scores, _ = score_stacks(network, trained, known, patients, device)
        row |= {
            "real_dice": float(real_scores["dice"].mean()),
            "real_found": int(real_scores["lesions_found"].sum()),
            "real_false_components": float(real_scores["false_components"].mean()),
        }
    return row
