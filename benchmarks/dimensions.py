"""How much of a chest should a network see at once? One slice, five slices as channels, or a volume.

Each is trained for equal seconds on the same patients, with three seeds, and scored on the same test patients, in the
scans' own voxels. Writes ``dimensions.csv``, a row a patient and training; trainings that it holds are not repeated, so
the command may be cut short at any time. ``LUNGSEG_SECONDS`` sets the budget and ``LUNGSEG_DATA`` the data set.
"""

from __future__ import annotations

import itertools
import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungseg_helpers.evaluation.comparison import train_for
from lungseg_helpers.evaluation.metrics import score
from lungseg_helpers.evaluation.statistics import bootstrap_interval
from lungseg_helpers.paths import dataset_root
from lungseg_helpers.prediction.inference import predict_case
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.sources.datasets import find_cases
from lungseg_helpers.training.devices import pick_device
from lungseg_helpers.training.weights import load_weights

from .recipes import budget
from .table import Row

FILE = Path(__file__).parent / "dimensions.csv"

SEEDS = (1, 2, 3)

SCORES = ("dice", "lesions", "lesions_found", "false_components")


def candidates() -> dict[str, Recipe]:
    """Return the recipes that are compared, in the profile of ``LUNGSEG_PROFILE``: they differ in what is seen."""
    course = get_recipe("course")
    return {
        "one slice": replace(course, context_mm=(0.0,)),
        "five slices as channels": course,
        "a volume": get_recipe("volume"),
    }


def trained(recipe: Recipe, seconds: float, run: Path) -> tuple[Path, float, float]:
    """Train for so many seconds of steps: the weights, the seconds with validation and loading, and the peak GB."""
    start = time.perf_counter()
    weights, _ = train_for(recipe, seconds, run)
    return weights, time.perf_counter() - start, _peak_gb()


def scored(weights: Path) -> tuple[list[dict[str, Any]], float]:
    """Predict and score the test patients of weights, from their files on: a row a patient, and the peak GB."""
    network, recipe, roles = load_weights(weights)
    cases = {case.id: case for case in find_cases(dataset_root())}
    rows = []
    for id in roles["test"]:
        start = time.perf_counter()
        found = predict_case(network, recipe, cases[id], pick_device())
        taken = time.perf_counter() - start
        label = read_scan(cases[id].label, "label")
        scores = score(label.voxels, found.mask, label.spacing)
        rows.append({"patient": cases[id].patient, "case": id, **{key: scores[key] for key in SCORES}, "scan_s": taken})
    return rows, _peak_gb()


def measure(name: str, recipe: Recipe, seconds: float) -> pd.DataFrame:
    """Train and score one recipe, each in a process of its own, whose peak memory is its own."""
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as run:
        with ProcessPoolExecutor(1, fresh) as pool:
            weights, train_s, train_gb = pool.submit(trained, recipe, seconds, Path(run)).result()
        with ProcessPoolExecutor(1, fresh) as pool:
            rows, predict_gb = pool.submit(scored, weights).result()
    told = {"candidate": name, "seed": recipe.seed, "data": dataset_root().name, "budget_s": seconds}
    return pd.DataFrame(rows).assign(**told, train_s=train_s, train_gb=train_gb, predict_gb=predict_gb)


def paired(table: pd.DataFrame, one: str, other: str, score: str = "dice") -> tuple[float, float, float]:
    """Return by how much ``one`` candidate scores more than the ``other``: the mean over patients, and 95 % interval.

    Each patient's score is the mean over the seeds, and is compared with the same patient's: so what makes a patient
    hard for both is not counted as chance. A patient for whom either has no score is left out.
    """
    means = table.groupby(["candidate", "patient"])[score].mean().unstack("candidate")
    differences = (means[one] - means[other]).dropna()
    return float(differences.mean()), *bootstrap_interval(differences)


def rows() -> list[Row]:
    """Train what the table lacks, score it, and return a figure a candidate and a pair."""
    seconds, wanted = budget(), candidates()
    kept = [pd.read_csv(FILE)] if FILE.is_file() else []
    for seed, (name, recipe) in itertools.product(SEEDS, wanted.items()):
        key = {"candidate": name, "seed": seed, "data": dataset_root().name, "budget_s": seconds}
        if any((table[list(key)] == pd.Series(key)).all(axis=1).any() for table in kept):
            continue
        print(f"{name}, seed {seed}: {seconds:g} s of training", file=sys.stderr)
        kept.append(measure(name, replace(recipe, seed=seed), seconds))
        pd.concat(kept).round(3).to_csv(FILE, index=False)
    table = pd.concat(kept)
    table = table[(table["data"] == dataset_root().name) & (table["budget_s"] == seconds)]
    return figures(table)


def figures(table: pd.DataFrame) -> list[Row]:
    """Return a row a candidate, and one for each pair of them: the difference of their Dice."""
    found = []
    for name, rows in table.groupby("candidate", sort=False):
        seeds = rows.groupby("seed")["dice"].mean()
        share, false = rows["lesions_found"].sum() / rows["lesions"].sum(), rows["false_components"].mean()
        note = (
            f"{len(seeds)} seeds, sd {np.std(seeds):.3f}; {100 * share:.0f} % found, {false:.1f} false per scan; "
            f"{rows['train_s'].mean():.0f} s and {rows['train_gb'].max():.1f} GB to train, "
            f"{rows['scan_s'].mean():.1f} s a scan and {rows['predict_gb'].max():.1f} GB"
        )
        found.append(Row(f"dimensions: {name}", rows["dice"].mean(), "Dice", note=note))
    for one, other in itertools.combinations(table["candidate"].unique(), 2):
        mean, low, high = paired(table, other, one)
        note = f"95 % interval {low:.2f} to {high:.2f}, paired by patient"
        found.append(Row(f"dimensions: {other}, more than {one}", mean, "Dice", note=note))
    return found


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
