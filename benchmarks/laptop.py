"""Which network should a laptop train? Candidates on the patches of 200 s on two plain cores, three seeds each.

Trained on the default phantom set's training patients; scored on its test patients and forty further phantoms of the
same seed, on the stacks' grid, at p > 0.5. How many patches fit was measured once, in float32 on cores without
AVX-512: so the comparison is the same wherever it is repeated. Writes ``laptop.csv``, a row per training; rows that it
holds already are not trained again.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.split import split_patients
from lungseg_helpers.evaluation.lesions import lesion_scores, match
from lungseg_helpers.evaluation.metrics import dice
from lungseg_helpers.paths import data_dir
from lungseg_helpers.phantom import PHANTOMS
from lungseg_helpers.phantom.dataset import write_dataset
from lungseg_helpers.prediction.inference import predict_stack
from lungseg_helpers.prediction.postprocessing import drop_small
from lungseg_helpers.preprocessing.prepare import prepare
from lungseg_helpers.preprocessing.stacks import SliceStack, open_stack, stacks_dir
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.sources.datasets import find_cases
from lungseg_helpers.training.run import train
from lungseg_helpers.training.weights import load_weights

from .table import Row

FILE = Path(__file__).parent / "laptop.csv"

ALL_PHANTOMS, SEEDS, THRESHOLD = 100, (1, 2, 3), 0.5

SMALL = {"patch": (64, 64), "batch_size": 16}
CANDIDATES: dict[str, tuple[int, dict[str, Any]]] = {
    "16 to 128 channels, patches of 96 × 112": (6_660, {"widths": (16, 32, 64, 128)}),
    "16 to 128 channels, patches of 64 × 64": (16_600, {"widths": (16, 32, 64, 128), **SMALL}),
    "8 to 64 channels, patches of 96 × 112": (16_000, {"widths": (8, 16, 32, 64)}),
    "8 to 64 channels, patches of 64 × 64": (36_000, {"widths": (8, 16, 32, 64), **SMALL}),
    "8 to 128 channels in five stages": (15_000, {"widths": (8, 16, 32, 64, 128)}),
}
"""Patches that fit into 200 s, and the settings."""


def stacks() -> dict[str, SliceStack]:
    """Prepare the hundred phantoms and open their stacks, by id in order."""
    root, recipe = write_dataset(data_dir() / "phantom_100", ALL_PHANTOMS, 0), get_recipe("course", "laptop")
    folders, problems = prepare(find_cases(root), recipe, stacks_dir(root, recipe))
    if problems:
        raise SystemExit("\n".join(problems))
    return {folder.name: open_stack(folder) for folder in sorted(folders)}


def measure(recipe: Recipe, opened: dict[str, SliceStack]) -> dict[str, float]:
    """Train a recipe and score it: mean Dice, share of tumours found by overlap, false components per scan."""
    ids = list(opened)
    split = split_patients(ids[:PHANTOMS], recipe)
    data = LungDataModule(*([opened[id] for id in getattr(split, role)] for role in ("train", "validation")), recipe)
    with tempfile.TemporaryDirectory() as run:
        network, _, _ = load_weights(train(data, split, Path(run), "cpu", progress=False))
    scores, found, known, false = [], 0, 0, 0
    tested = [opened[id] for id in (*split.test, *ids[PHANTOMS:])]
    for stack in tested:
        voxel_ml = float(np.prod(stack.grid.spacing)) / 1000
        mask = drop_small(predict_stack(network, recipe, stack) > THRESHOLD, voxel_ml, recipe.smallest_ml)
        scores.append(dice(stack.mask, mask))
        counts = lesion_scores(match(stack.mask, mask), stack.grid.spacing)
        found, known = found + counts["lesions_found"], known + counts["lesions"]
        false += counts["false_components"]
    return {"dice": float(np.nanmean(scores)), "found": found / known, "false_components": false / len(tested)}


def rows() -> list[Row]:
    """Train what the table lacks, score it, and return a figure per candidate."""
    table = pd.read_csv(FILE) if FILE.is_file() else pd.DataFrame(columns=["candidate", "seed"])
    opened = None
    for name, (patches, settings) in CANDIDATES.items():
        for seed in SEEDS:
            if ((table["candidate"] == name) & (table["seed"] == seed)).any():
                continue
            opened = opened or stacks()
            recipe = replace(get_recipe("course", "laptop"), seed=seed, epochs=4, **settings)
            recipe = replace(recipe, slices_per_epoch=patches // 4 // recipe.batch_size * recipe.batch_size)
            print(f"{name}, seed {seed}", file=sys.stderr)
            row = {"candidate": name, "seed": seed, "patches": patches, **measure(recipe, opened)}
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            table.round(3).to_csv(FILE, index=False)
    means = table.groupby("candidate", sort=False).mean(numeric_only=True)
    spread = table.groupby("candidate", sort=False)["dice"].std()
    return [
        Row(
            f"laptop: {name}",
            row["dice"],
            "Dice",
            note=f"{(table['candidate'] == name).sum()} seeds, sd {spread[name]:.3f}; {100 * row['found']:.0f} % found "
            f"by overlap, {row['false_components']:.1f} false per scan",
        )
        for name, row in means.iterrows()
    ]
