"""Run by test_training_together: train on some toy patients with as many CPU processes as asked.

A script of its own, because Lightning starts the other processes by running the script again.
Usage: train_together.py STACKS RUN DEVICES [EPOCHS [DIMENSIONS]]
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl
import torch

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.split import Split
from lungseg_helpers.preprocessing.stacks import open_stack
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.training import run as training

BATCH = 8
"""Slices a step, over all processes."""


class Writing(pl.Callback):
    """Note which patches this process saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[str] = []

    def on_train_batch_start(self, trainer, module, batch, batch_index):
        for image, mask, _ in zip(*batch, strict=True):
            self.seen.append(f"{float(image.double().sum()):.6f} {int(mask.any())}")

    def on_train_end(self, trainer, module):
        (self.folder / f"seen-{trainer.world_size}-{trainer.global_rank}.txt").write_text("\n".join(self.seen))


if __name__ == "__main__":
    stacks, run, devices = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    epochs = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    torch.set_num_threads(1)
    os.environ["LUNGSEG_PRECISION"] = "float32"
    together = Writing(run.parent)
    training.ProgressBar = lambda: together
    # what one process sees as a batch must not matter: no batch statistics, and a loss that is a mean over pixels
    recipe = Recipe(
        pixel_mm=6.0,
        frame=(40, 48),
        patch=(32, 40),
        widths=(4, 8, 16),
        context_mm=(-6.0, 0.0, 6.0),
        norm="group",
        loss="bce",
        batch_size=BATCH // devices,
        slices_per_epoch=40,
        epochs=epochs,
    )
    if sys.argv[5:] == ["3"]:
        sizes = {"frame": (24, 40, 48), "patch": (16, 24, 32), "stem": 2}
        recipe = replace(recipe, dims=3, context_mm=(0.0,), widths=(8, 16), **sizes)
    opened = [open_stack(folder) for folder in sorted(stacks.iterdir())]
    data = LungDataModule(opened[:2], opened[2:], recipe)
    training.train(data, Split(("a", "b"), ("c",), ("d",)), run, "cpu", devices=devices)
