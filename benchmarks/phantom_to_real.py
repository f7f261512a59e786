"""The measure of a phantom: does a network that has only ever seen phantoms find the tumours of real patients?

A U-Net of width 16 (else the course's laptop recipe) is trained for about four minutes on two cores on
40 phantoms, then segments the three real patients at a threshold of 0.5. They take no part in
training, and nothing is selected: no validation, no best epoch, no threshold. One training's
result leans on its seed, so several are made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.evaluation.metrics import score
from lungseg_helpers.paths import data_dir
from lungseg_helpers.phantom.dataset import write_dataset
from lungseg_helpers.prediction.inference import predict_case
from lungseg_helpers.preprocessing.prepare import prepare
from lungseg_helpers.preprocessing.stacks import SliceStack, open_stack, stacks_dir
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.scans.case import Case
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.sources.datasets import fetch_real, find_cases
from lungseg_helpers.training.callbacks import MovingAverage, ProgressBar
from lungseg_helpers.training.devices import choose_precision, loader_workers
from lungseg_helpers.training.run import quiet_lightning
from lungseg_helpers.training.segmenter import LungSegmenter
from lungseg_helpers.unet import UNet

from .table import Row

PHANTOMS, WIDTHS = 40, (16, 32, 64, 128)
DATA_SEED = 7
STEPS = 4000
"""Of the laptop recipe's batch: about four minutes on two cores."""
SEEDS = (0, 1, 2)


def prepared(cases: list[Case], root: Path, recipe: Recipe) -> list[SliceStack]:
    """Prepare the cases and open their stacks."""
    folders, problems = prepare(cases, recipe, stacks_dir(root, recipe))
    if problems:
        raise SystemExit("\n".join(problems))
    return [open_stack(folder) for folder in folders]


def train_on(stacks: list[SliceStack], recipe: Recipe) -> tuple[UNet, float]:
    """Train on these stacks for one epoch of :data:`STEPS`; return the network and the minutes it took."""
    quiet_lightning()
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    recipe = replace(recipe, epochs=1, slices_per_epoch=STEPS * recipe.batch_size)
    module = LungSegmenter(recipe.to_dict())
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=choose_precision("cpu"),
        max_epochs=1,
        gradient_clip_val=1.0,
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ProgressBar(), MovingAverage()],
    )
    start = time.perf_counter()
    trainer.fit(module, LungDataModule(stacks, [], recipe, loader_workers("cpu")).train_dataloader())
    return module.network.eval(), (time.perf_counter() - start) / 60


def trainings(seeds: Sequence[int] = SEEDS) -> list[dict[str, Any]]:
    """Train once for each seed; return a score row for each training and real patient."""
    base = replace(get_recipe("course", "laptop"), widths=WIDTHS, threshold=0.5)
    root = write_dataset(data_dir() / "phantom_to_real", PHANTOMS, 0, DATA_SEED)
    stacks = prepared([case for case in find_cases(root) if case.label], root, base)
    real = find_cases(fetch_real(data_dir() / "real"))
    found = []
    for seed in seeds:
        network, minutes = train_on(stacks, replace(base, seed=seed))
        for case in real:
            prediction = predict_case(network, base, case)
            truth = read_scan(case.label, "label")
            scores = score(truth.voxels, prediction.mask, truth.spacing)
            found.append({"seed": seed, "minutes": minutes, "case": case.id, **scores})
    return found


def rows() -> list[Row]:
    """Train with each of :data:`SEEDS`, print the table of ``data/README.md``, return the figures."""
    table = pd.DataFrame(trainings())
    table["cell"] = [
        f"{'found' if row.lesions_found else 'missed'}, {row.false_components} false, Dice {row.dice:.2f}"
        for row in table.itertuples()
    ]
    wide = table.pivot(index="seed", columns="case", values="cell").assign(minutes=table.groupby("seed").minutes.mean())
    print(wide.round(1).to_string())
    note = f"{len(SEEDS)} trainings, {len(table) // len(SEEDS)} patients, {table.minutes.mean():.1f} min each"
    return [
        Row(
            "phantom to real: tumours found",
            table.lesions_found.sum(),
            f"of {table.lesions.sum()}",
            target="all",
            note=note,
        ),
        Row(
            "phantom to real: false components, most in any scan",
            table.false_components.max(),
            "",
            target="at most 6",
            note=f"mean {table.false_components.mean():.1f}",
        ),
        Row("phantom to real: Dice", table.dice.mean(), "", note="mean; nothing is selected"),
    ]
