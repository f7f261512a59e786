"""How much of a chest should a network see at once? One slice, five slices as channels, or a volume.

Each is trained for equal seconds on the same patients, with three seeds, and scored on the same test patients, in the
scans' own voxels. The seconds are of processor time, of the process that trains with its threads (it loads its patches
itself), summed over the cores: so what else the machine does takes nothing from anyone. Validation is on top. How many
steps they hold is measured for the three in turn, several times; the medians count.

Writes ``dimensions.csv``, a row per patient and training, and ``dimensions_masks.npz``, what the first seed's networks
found. Trainings and rates are kept in ``outputs/runs/dimensions`` and found done, so the command may be cut short at
any time. ``LUNGSEG_SECONDS`` sets the budget and ``LUNGSEG_DATA`` the data set.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.split import open_split
from lungseg_helpers.evaluation.comparison import paired_difference, seeds_by_patients
from lungseg_helpers.evaluation.metrics import score
from lungseg_helpers.evaluation.race import steps_per_second, with_budget
from lungseg_helpers.paths import dataset_root, outputs_dir
from lungseg_helpers.prediction.inference import predict_case
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.scans.orientation import oriented, oriented_spacing
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.sources.datasets import find_cases
from lungseg_helpers.training.devices import choose_precision, pick_device
from lungseg_helpers.training.run import train
from lungseg_helpers.training.weights import load_weights
from lungseg_helpers.writing import written_whole

from .fresh import alone, high_water_mb
from .recipes import budget
from .table import Row

FILE = Path(__file__).parent / "dimensions.csv"

SEEDS = (1, 2, 3)

ROUNDS = 3
"""Times that each candidate's rate is taken."""

SCORES = ("dice", "lesions", "lesions_found", "false_components")


def candidates() -> dict[str, Recipe]:
    """Return the recipes that are compared, in the profile of ``LUNGSEG_PROFILE``: they differ in what is seen."""
    course = get_recipe("course")
    return {
        "one slice": replace(course, context_mm=(0.0,)),
        "five slices as channels": course,
        "a volume": get_recipe("volume"),
    }


def rate_of(recipe: Recipe) -> float:
    """Measure how many training steps, loading included, a second of processor time holds."""
    _, stacks, _ = open_split(None, recipe, 1)
    return steps_per_second(LungDataModule(stacks["train"], stacks["validation"], recipe), now=time.process_time)


def rates(folder: Path) -> dict[str, float]:
    """Return each candidate's steps per second; those that were measured before are kept in ``folder``."""
    note = folder / f"rates-{dataset_root().name}-{choose_precision()}.json"
    if not note.is_file():
        found: dict[str, list[float]] = {name: [] for name in candidates()}
        for _, (name, recipe) in itertools.product(range(ROUNDS), candidates().items()):
            found[name].append(alone(rate_of, recipe))
            print(f"{name}: {found[name][-1]:.2f} steps a processor second", file=sys.stderr)
        with written_whole(note) as partial:
            partial.write_text(json.dumps({name: statistics.median(each) for name, each in found.items()}))
    return json.loads(note.read_text())


def trained(recipe: Recipe, run: Path) -> tuple[Path, float]:
    """Train a recipe, loading in the same process: the weights, and the peak GB with validation."""
    split, stacks, _ = open_split(None, recipe, 1)
    data = LungDataModule(stacks["train"], stacks["validation"], recipe)
    return train(data, split, run, progress=False), high_water_mb() / 1024


def scored(weights: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray], float]:
    """Predict and score the test patients of weights, from their files on: a row per patient, masks, and the peak GB.

    Masks are of the scan's own voxels in the order (slice, row, column), their bits packed; beside them lie
    ``truth/…``, ``shape/…`` and ``spacing/…``.
    """
    network, recipe, roles = load_weights(weights)
    cases = {case.id: case for case in find_cases(dataset_root())}
    rows, masks = [], {}
    for id in roles["test"]:
        start = time.process_time()
        found = predict_case(network, recipe, cases[id], pick_device())
        taken = time.process_time() - start
        label = read_scan(cases[id].label, "label")
        scores = score(label.voxels, found.mask, label.spacing)
        rows.append({"patient": cases[id].patient, "case": id, **{key: scores[key] for key in SCORES}, "scan_s": taken})
        predicted, truth = (oriented(voxels, label.affine) > 0 for voxels in (found.mask, label.voxels))
        masks |= {id: np.packbits(predicted), f"truth/{id}": np.packbits(truth)}
        masks |= {f"shape/{id}": np.array(truth.shape), f"spacing/{id}": np.array(oriented_spacing(label.affine))}
    return rows, masks, high_water_mb() / 1024


def measure(name: str, recipe: Recipe, seconds: float, rate: float, folder: Path) -> pd.DataFrame:
    """Train and score one recipe, each in a process of its own; a row per test patient."""
    budgeted = with_budget(recipe, seconds, rate)
    run = folder / f"{dataset_root().name}-{recipe.name}-{seconds:g}s-{budgeted.digest}"
    weights, train_gb = alone(trained, budgeted, run)
    rows, masks, predict_gb = alone(scored, weights)
    if recipe.seed == SEEDS[0]:
        file = FILE.with_name("dimensions_masks.npz")
        kept = dict(np.load(file)) if file.is_file() else {}
        here = {key if "/" in key else f"{name}/{key}": each for key, each in masks.items()}
        np.savez_compressed(file, **kept | here)
    told = {
        "candidate": name, "seed": recipe.seed, "data": dataset_root().name, "budget_s": seconds,
        "precision": choose_precision(), "steps": budgeted.epochs * budgeted.slices_per_epoch // budgeted.batch_size,
        "batch": recipe.batch_size, "train_gb": train_gb, "predict_gb": predict_gb,
    }  # fmt: skip
    return pd.DataFrame(rows).assign(**told)


def paired(table: pd.DataFrame, one: str, other: str, score: str = "dice") -> tuple[float, float, float]:
    """Return by how much ``one`` candidate scores more than the ``other``: the mean, and its 95 % interval.

    Over the same patients, in pairs, and over seeds: see
    :func:`~lungseg_helpers.evaluation.comparison.paired_difference`.
    """
    tables = (seeds_by_patients(table[table["candidate"] == name], score) for name in (one, other))
    found = paired_difference(*(each.to_numpy() for each in tables))
    return float(found.mean), float(found.low), float(found.high)


def rows() -> list[Row]:
    """Train what the table lacks, score it, and return a figure a candidate and a pair."""
    seconds, wanted, folder = budget(otherwise=100), candidates(), outputs_dir() / "runs" / "dimensions"
    kept = [pd.read_csv(FILE)] if FILE.is_file() else []
    measured = rates(folder)
    for seed, (name, recipe) in itertools.product(SEEDS, wanted.items()):
        key = {"candidate": name, "seed": seed, "data": dataset_root().name, "budget_s": seconds}
        if any((table[list(key)] == pd.Series(key)).all(axis=1).any() for table in kept):
            continue
        print(f"{name}, seed {seed}: {seconds:g} processor seconds of training", file=sys.stderr)
        kept.append(measure(name, replace(recipe, seed=seed), seconds, measured[name], folder))
        pd.concat(kept).round(3).to_csv(FILE, index=False)
    table = pd.concat(kept)
    table = table[(table["data"] == dataset_root().name) & (table["budget_s"] == seconds)]
    return figures(table)


def figures(table: pd.DataFrame) -> list[Row]:
    """Return a row per candidate, and one for each pair of them: the difference of their Dice."""
    found = []
    for name, rows in table.groupby("candidate", sort=False):
        seeds = rows.groupby("seed")["dice"].mean()
        share, false = rows["lesions_found"].sum() / rows["lesions"].sum(), rows["false_components"].mean()
        note = (
            f"{len(seeds)} seeds, sd {np.std(seeds):.3f}; {100 * share:.0f} % found, {false:.1f} false per scan; "
            f"{rows['train_gb'].max():.1f} GB to train, {rows['scan_s'].mean():.1f} s per scan and "
            f"{rows['predict_gb'].max():.1f} GB"
        )
        found.append(Row(f"dimensions: {name}", rows["dice"].mean(), "Dice", note=note))
    for one, other in itertools.combinations(table["candidate"].unique(), 2):
        mean, low, high = paired(table, other, one)
        note = f"95 % interval {low:.2f} to {high:.2f}, paired by patient"
        found.append(Row(f"dimensions: {other}, more than {one}", mean, "Dice", note=note))
    return found
