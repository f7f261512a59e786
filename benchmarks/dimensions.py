"""One slice, five slices as channels, or three dimensions: equal patients and processor seconds, three seeds each.

A budget is in seconds of processor time, of the process that trains with its threads and loaders, summed over cores:
so that what else the machine does takes nothing from anyone. Validation is on top of it. How many steps it holds is
measured for the three in turn, several times, and the medians count. Writes ``dimensions.csv``, a row a training;
``dimensions_patients.csv``, a row for each of its test patients; and ``dimensions_masks.npz``, what the first seed's
networks found in each. Trainings are kept in ``outputs/runs/dimensions`` and found done when the command is given
again, so it may be cut short. ``LUNGSEG_SECONDS`` sets the budget.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.split import open_split
from lungseg_helpers.evaluation.comparison import paired_difference, seeds_by_patients
from lungseg_helpers.evaluation.metrics import score
from lungseg_helpers.evaluation.race import MEASURED, WARM_UP, with_budget
from lungseg_helpers.paths import outputs_dir
from lungseg_helpers.prediction.inference import predict_stack
from lungseg_helpers.prediction.postprocessing import probabilities_to_mask
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.scans.orientation import oriented
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.sources.datasets import ensure_dataset, find_cases
from lungseg_helpers.training.devices import choose_precision
from lungseg_helpers.training.run import quiet_lightning, train
from lungseg_helpers.training.segmenter import LungSegmenter
from lungseg_helpers.training.weights import load_weights
from lungseg_helpers.writing import written_whole

from .recipes import SEEDS, budget
from .table import Row

HERE = Path(__file__).parent

ROUNDS = 3
"""Times that each model's rate is taken."""


def models() -> dict[str, Recipe]:
    """Return the three recipes by what their networks see."""
    course = get_recipe("course", "laptop")
    return {
        "one slice": replace(course, context_mm=(0.0,)),
        "five slices": course,
        "volume": get_recipe("volume", "laptop"),
    }


class ProcessorClock(pl.Callback):
    """When each training step ended, in seconds of this process's processor time; validation leaves a gap."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        self.ends.append(time.process_time())


def steps_per_second(recipe: Recipe) -> float:
    """Measure how many training steps a second of processor time holds, loading included, on one process."""
    quiet_lightning()
    _, stacks, _ = open_split("phantom", recipe)
    clock = ProcessorClock()
    short = replace(recipe, slices_per_epoch=(WARM_UP + MEASURED) * recipe.batch_size, epochs=1)
    trainer = pl.Trainer(
        accelerator="cpu", precision=choose_precision("cpu"), max_epochs=1, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
        callbacks=[clock],
    )  # fmt: skip
    trainer.fit(LungSegmenter(short.to_dict()), LungDataModule(stacks["train"], stacks["validation"], short))
    return (len(clock.ends) - WARM_UP) / (clock.ends[-1] - clock.ends[WARM_UP - 1])


def rates(folder: Path) -> dict[str, float]:
    """Return each model's steps a second, measured in turn and kept in ``folder``."""
    note = folder / f"rates-{choose_precision('cpu')}.json"
    if not note.is_file():
        found: dict[str, list[float]] = {name: [] for name in models()}
        for _ in range(ROUNDS):
            for name, recipe in models().items():
                found[name].append(in_fresh_process(steps_per_second, recipe))
                print(f"{name}: {found[name][-1]:.2f} steps a second", file=sys.stderr)
        with written_whole(note) as partial:
            partial.write_text(json.dumps({name: statistics.median(each) for name, each in found.items()}))
    return json.loads(note.read_text())


def in_fresh_process(work: Any, *arguments: Any) -> Any:
    """Return what ``work`` returns in a process of its own, whose peak memory is its own too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(work, *arguments).result()


def race(name: str, recipe: Recipe, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, np.ndarray]]:
    """Train a model and score it on the test patients: its row, a row a patient, and the masks by patient.

    Masks are on the scan's own grid, (slice, row, column). Loading is done by the process that trains.
    """
    split, stacks, _ = open_split("phantom", recipe)
    data = LungDataModule(stacks["train"], stacks["validation"], recipe)
    weights = train(data, split, folder / f"{recipe.name}-seed{recipe.seed}-{recipe.digest}", "cpu", progress=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    network, trained, _ = load_weights(weights)
    who, patients, masks = {"model": name, "seed": recipe.seed}, [], {}
    labels = {case.id: case.label for case in find_cases(ensure_dataset("phantom"))}
    for stack in stacks["test"]:
        start = time.process_time()
        probabilities = predict_stack(network, trained, stack, "cpu")
        masks[stack.id] = probabilities_to_mask(probabilities, stack, trained)
        taken = time.process_time() - start
        found = score(truth(labels[stack.id]), masks[stack.id], stack.grid.scan_spacing)
        kept = ("dice", "true_ml", "lesions", "lesions_found", "false_components")
        patients.append(who | {"patient": stack.id, **{key: found[key] for key in kept}, "predict_seconds": taken})
    row = who | {
        "precision": choose_precision("cpu"),
        "steps": recipe.epochs * (recipe.slices_per_epoch // recipe.batch_size),
        "batch": recipe.batch_size,
        "parameters": sum(each.numel() for each in network.parameters()),
        "peak_mb": peak,
        "threshold": trained.threshold,
    }
    return row, patients, masks


def truth(label: Path) -> np.ndarray:
    """Return a label's mask as (slice, row, column)."""
    scan = read_scan(label, "label")
    return oriented(scan.voxels, scan.affine)


def measure(seconds: float, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train and score every model with every seed; return a row a training, and a row a test patient of each.

    All models are trained with the first seed, then all with the next, and the files are written when a seed is
    whole: cut short, each model has been trained as often as the others.
    """
    measured, trainings, patients = rates(folder), [], []
    for seed in SEEDS:
        masks: dict[str, np.ndarray] = {}
        for name, recipe in models().items():
            print(f"{name}, seed {seed}: {seconds:g} processor seconds of training", file=sys.stderr)
            budgeted = with_budget(replace(recipe, seed=seed), seconds, measured[name])
            row, each, found = in_fresh_process(race, name, budgeted, folder / f"{seconds:g}s")
            trainings.append({"processor_seconds": seconds, **row})
            patients += each
            masks |= {f"{name}/{patient}": np.packbits(mask) for patient, mask in found.items()}
        pd.DataFrame(trainings).round(3).to_csv(HERE / "dimensions.csv", index=False)
        pd.DataFrame(patients).round(4).to_csv(HERE / "dimensions_patients.csv", index=False)
        if seed == SEEDS[0]:
            np.savez_compressed(HERE / "dimensions_masks.npz", **masks)
    return pd.DataFrame(trainings), pd.DataFrame(patients)


def rows() -> list[Row]:
    """Train, score and return the figures: each model's Dice, and paired differences with their intervals."""
    seconds = budget(otherwise=100)
    trainings, patients = measure(seconds, outputs_dir() / "runs" / "dimensions")
    dice = {name: seeds_by_patients(each).to_numpy() for name, each in patients.groupby("model", sort=False)}
    found = []
    for name, each in patients.groupby("model", sort=False):
        peak = trainings.loc[trainings["model"] == name, "peak_mb"].max()
        note = (
            f"{seconds:g} processor seconds, {len(SEEDS)} seeds; {each['lesions_found'].sum()} of "
            f"{each['lesions'].sum()} found, {each['false_components'].mean():.1f} false per scan, "
            f"{each['predict_seconds'].median():.1f} s per scan, {peak:.0f} MB"
        )
        found.append(Row(f"dimensions: Dice of {name}", each["dice"].mean(), "", note=note))
    for name in list(dice)[:-1]:
        more = paired_difference(dice["volume"], dice[name])
        note = f"interval {more.low:.2f} to {more.high:.2f}, over {more.patients} patients and the seeds"
        found.append(Row(f"dimensions: volume beside {name}, difference in Dice", more.mean, "", note=note))
    return found
