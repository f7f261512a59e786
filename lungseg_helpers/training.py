"""The LightningModule, and one function that builds the Trainer.

Validation counts true positives, false positives and false negatives per patient over the
whole epoch, so the Dice that picks a checkpoint is of the same kind as the one reported.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, WeightAveraging
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from tqdm import tqdm

from .dataset import LungDataModule, Split
from .devices import choose_precision, pick_device
from .errors import RecipeError, TrainingError
from .losses import LOSSES
from .recipes import Recipe
from .unet import build_unet
from .weights import save_weights

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The probabilities among which validation chooses the one that a mask is cut at."""


AVERAGING = 0.995
"""What is validated and kept is a moving average of the weights, over about the last 1 / (1 - 0.995) = 200 steps."""


class LungSegmenter(pl.LightningModule):
    """The network, its loss and its optimiser, as Lightning wants them.

    ``recipe`` is a :meth:`Recipe.to_dict`, so that a checkpoint holds plain values and
    loads with ``weights_only=True``. Logs ``train_loss``, ``val_loss`` and ``val_dice``:
    the mean over validation patients of the Dice of the whole stack, at the threshold that
    suits them best. ``history`` keeps
    one row an epoch, across interruptions.
    """

    def __init__(self, recipe: dict[str, Any], patients: Sequence[str] = ()) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.recipe = Recipe.from_dict(recipe)
        if self.recipe.loss not in LOSSES:
            raise RecipeError(f"no loss called {self.recipe.loss!r}; there are: {', '.join(LOSSES)}")
        self.patients = list(patients)
        self.loss = LOSSES[self.recipe.loss]
        self.network = build_unet(self.recipe)
        # NHWC in memory: convolutions on CPU and tensor cores run faster on it, results are the same
        self.network.to(memory_format=torch.channels_last)
        # kept in checkpoints: from the best one's counts the threshold is chosen. No buffer, which would be averaged
        self.counts = torch.zeros(len(THRESHOLDS), max(1, len(self.patients)), 3, dtype=torch.float64)
        self.losses: dict[str, list[Tensor]] = {"train": [], "validation": []}
        self.history: list[dict[str, float]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) for images (N, channels, H, W)."""
        return self.network(images.contiguous(memory_format=torch.channels_last))

    def on_train_epoch_start(self) -> None:
        # dropout's numbers follow from the epoch, so that a resumed run draws what it would have drawn
        torch.manual_seed(self.recipe.seed + self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        images, masks, _ = batch
        loss = self.loss(self(images), masks)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss.item()} in epoch {self.current_epoch}, batch {batch_index}; "
                "lower the learning rate or look for broken voxels with 'lungseg check'"
            )
        self.losses["train"].append(loss.detach())
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(images))
        return loss

    def on_validation_epoch_start(self) -> None:
        self.counts = torch.zeros_like(self.counts, device=self.device)
        self.losses["validation"].clear()

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> None:
        images, masks, patients = batch
        logits = self(images).float()
        loss = self.loss(logits, masks)
        self.losses["validation"].append(loss)
        self.log("val_loss", loss, batch_size=len(images))
        probability, truth = logits.sigmoid(), masks > 0.5
        for counts, threshold in zip(self.counts, THRESHOLDS, strict=True):
            predicted = probability > threshold
            for column, pixels in enumerate((predicted & truth, predicted & ~truth, ~predicted & truth)):
                counts[:, column].index_add_(0, patients, pixels.sum(dim=(1, 2, 3)).double())

    def on_validation_epoch_end(self) -> None:
        _, val_dice = best_threshold(self.counts)
        self.log("val_dice", val_dice, prog_bar=True)
        if self.losses["train"]:
            means = {f"{role}_loss": float(torch.stack(found).mean()) for role, found in self.losses.items()}
            self.history.append({"epoch": self.current_epoch, **means, "validation_dice": float(val_dice)})
            self.losses["train"].clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["counts"] = self.history, self.counts.cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])

    def configure_optimizers(self) -> dict[str, Any]:
        optimiser = torch.optim.AdamW(
            self.parameters(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def warm_cosine(step: int, steps: int, warm_up: float = 0.05) -> float:
    """Return the learning rate's factor at ``step`` of ``steps``: a linear warm-up, then half a cosine to 0."""
    ramp = max(1, round(warm_up * steps))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - ramp) / max(1, steps - ramp))))


def moving_average(averaged: Tensor, current: Tensor, updates: Tensor) -> Tensor:
    """Return the new average of a weight after ``updates`` earlier ones: exponential, quicker in the first steps.

    It calms the jumps of single steps, and with them the choice of a checkpoint (Polyak and
    Juditsky, 1992; the ramp is that of TensorFlow's moving averages).
    """
    weight = max(1 - AVERAGING, 9 / (10 + int(updates)))
    return averaged + weight * (current - averaged)


def patient_dice(counts: Tensor) -> Tensor:
    """Return each patient's Dice from counts (…, patients, 3) of TP, FP and FN; NaN where all are zero.

    A patient with no tumour and none predicted has no Dice: it is left out, never counted as 1.
    """
    true_positive, false_positive, false_negative = counts.unbind(dim=-1)
    return 2 * true_positive / (2 * true_positive + false_positive + false_negative)


def best_threshold(counts: Tensor) -> tuple[float, float]:
    """Return the threshold of :data:`THRESHOLDS` with the highest mean Dice, and that Dice.

    ``counts`` is (thresholds, patients, 3). They are of validation patients: a threshold
    chosen on test patients would be fitted to what it is scored on.
    """
    means = patient_dice(counts).nanmean(dim=-1)
    place = int(means.nan_to_num().argmax())
    return THRESHOLDS[place], float(means[place])


class ProgressBar(pl.Callback):
    """One bar for the whole training, on stderr: the steps, and the validation Dice of the last epoch."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        steps = int(trainer.estimated_stepping_batches)
        self.bar = tqdm(total=steps, initial=trainer.global_step, desc="training", unit="step", leave=False)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        self.bar.update()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        dice = float(trainer.callback_metrics["val_dice"])
        self.bar.set_postfix_str(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, Dice {dice:.2f}")

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


def build_trainer(recipe: Recipe, run: Path, device: str = "auto", progress: bool = True) -> pl.Trainer:
    """Build the Trainer that writes a run to ``run``: TensorBoard curves and checkpoints.

    ``checkpoints/best.ckpt`` has the highest validation Dice, ``checkpoints/last.ckpt`` is
    what an interrupted run goes on from.
    """
    quiet_lightning()
    callbacks: list[pl.Callback] = [
        WeightAveraging(avg_fn=moving_average),
        ModelCheckpoint(run / "checkpoints", "best", monitor="val_dice", mode="max", enable_version_counter=False),
        ModelCheckpoint(run / "checkpoints", "last", enable_version_counter=False),
        LearningRateMonitor("step"),
    ]
    if progress:
        callbacks.append(ProgressBar())
    return pl.Trainer(
        accelerator="gpu" if pick_device(device) == "cuda" else "cpu",
        devices=1,
        precision=choose_precision(device),
        max_epochs=recipe.epochs,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        logger=TensorBoardLogger(run, "", "tensorboard"),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train(data: LungDataModule, split: Split, run: Path, device: str = "auto", progress: bool = True) -> Path:
    """Train the recipe's network and return the path of the slim weights file ``run/weights.ckpt``.

    ``split.json`` (the patients by role) and ``curves.csv`` (one row an epoch) lie beside
    it; the weights' recipe holds the threshold that validation chose. A run of the same
    recipe and patients that was interrupted goes on from its last epoch; a finished one is
    returned as it is; one of another recipe begins anew.
    """
    recipe = data.recipe
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    roles = split.to_dict()
    last, weights, split_file = run / "checkpoints" / "last.ckpt", run / "weights.ckpt", run / "split.json"
    same = last.exists() and split_file.exists() and json.loads(split_file.read_text()) == roles
    same = same and _read(last)["hyper_parameters"]["recipe"] == recipe.to_dict()
    if same and weights.exists():
        print(f"{run.name} is trained already: using it (delete {run} to train again)", file=sys.stderr)
        return weights
    if not same:
        shutil.rmtree(run / "checkpoints", ignore_errors=True)
        weights.unlink(missing_ok=True)
    split_file.write_text(json.dumps(roles, indent=1))
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    module = LungSegmenter(recipe.to_dict(), [stack.id for stack in data.validation_set.stacks])
    trainer = build_trainer(recipe, run, device, progress)
    trainer.fit(module, data, ckpt_path=last if same else None, weights_only=True)
    if trainer.interrupted:
        raise TrainingError(f"{run}: interrupted; the same command goes on from the last whole epoch")
    pd.DataFrame(module.history).to_csv(run / "curves.csv", index=False)
    best = _read(run / "checkpoints" / "best.ckpt")
    threshold, _ = best_threshold(best["counts"])
    state = {key.removeprefix("network."): value for key, value in best["state_dict"].items()}
    return save_weights(weights, replace(recipe, threshold=threshold), state, roles)


def quiet_lightning() -> None:
    """Silence Lightning's notices about hardware, workers and folders: they drown what a learner should read."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*exists and is not empty.*", ".*isinstance.treespec.*"):
        warnings.filterwarnings("ignore", message)


def _read(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, map_location="cpu", weights_only=True)
