"""The LightningModule: the network, what a step is, and what an epoch's validation counts.

Validation counts true positives, false positives and false negatives per patient over the
whole epoch, so the Dice that picks a checkpoint is of the same kind as the one reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ..errors import TrainingError
from ..recipe import Recipe
from ..unet import MEMORY_FORMATS, build_unet
from .losses import LOSSES
from .windows import through_windows

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""The probabilities among which validation chooses the one that a mask is cut at: 0.05 to 0.95."""

TOLERANCE = 0.05
"""Thresholds are as good as the best whose mean Dice is lower by at most this share of it."""


class LungSegmenter(pl.LightningModule):
    """The network, its loss and its optimiser, as Lightning wants them.

    ``recipe`` is a :meth:`Recipe.to_dict`, so that a checkpoint holds plain values and
    loads with ``weights_only=True``. Logs ``train_loss``, ``val_loss`` and ``val_dice``:
    the mean over validation patients of the Dice of the whole stack, at the threshold that
    suits them best; over all devices where there are several. ``history`` keeps one row an
    epoch, across interruptions.

    A batch is (images, masks, patients): images (N, channels, H, W) float32, masks (N, 1, H, W) float32, each pixel's
    share of tumour, and patients (N,) int64, each slice's place among the data set's ``stacks``. In training H and W
    are the recipe's ``patch``, in validation its ``frame``, or more where a slice is larger. In three dimensions images
    and masks are (N, 1, D, H, W): patches in training, in validation one whole volume of any size.
    """

    def __init__(self, recipe: dict[str, Any], patients: Sequence[str] = ()) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.recipe = Recipe.from_dict(recipe)
        self.patients = list(patients)
        self.loss = LOSSES[self.recipe.loss]
        self.network = build_unet(self.recipe)
        self.memory_format = MEMORY_FORMATS[self.recipe.dims]
        # kept in checkpoints: from the best one's counts the threshold is chosen. No buffer, which would be averaged
        self.counts = torch.zeros(len(THRESHOLDS), max(1, len(self.patients)), 3, dtype=torch.float64)
        self.losses: dict[str, list[Tensor]] = {"train": [], "validation": []}
        self.history: list[dict[str, float]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) for images (N, channels, H, W), or (N, 1, D, H, W) for (N, 1, D, H, W)."""
        return self.network(images.contiguous(memory_format=self.memory_format))

    def on_train_epoch_start(self) -> None:
        # dropout's numbers follow from the epoch, so that a resumed run draws what it would have drawn
        torch.manual_seed(self.recipe.seed + 1000 * self.global_rank + self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        """Return the loss of one batch, a scalar; :class:`TrainingError` names its cases where it is no number."""
        images, masks, patients = batch
        loss = self.loss(self(images), masks)
        if not torch.isfinite(loss):
            stacks = self.trainer.datamodule.train_set.stacks
            raise TrainingError(
                f"the loss became {loss.item()} in epoch {self.current_epoch}, batch {batch_index}, of the cases "
                f"{', '.join(sorted({stacks[place].id for place in patients.tolist()}))}: lower the learning rate "
                "or look for broken voxels with 'lungseg check'"
            )
        self.losses["train"].append(loss.detach())
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(images))
        return loss

    def on_validation_epoch_start(self) -> None:
        # on the processor: they are small, and Apple's GPU has no float64
        self.counts = torch.zeros_like(self.counts, device="cpu")
        self.losses["validation"].clear()

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> None:
        """Count a batch's true positive, false positive and false negative pixels, by threshold and patient."""
        images, masks, patients = batch
        logits = (through_windows(self, images, self.recipe) if self.recipe.dims == 3 else self(images)).float()
        loss = self.loss(logits, masks)
        self.losses["validation"] += [loss] * len(images)  # each counts alike, as in val_loss
        self.log("val_loss", loss, batch_size=len(images), sync_dist=True)
        probability, truth = logits.sigmoid(), masks > 0.5
        counts = []
        for threshold in THRESHOLDS:
            predicted = probability > threshold
            kinds = (predicted & truth, predicted & ~truth, ~predicted & truth)
            counts.append(torch.stack([pixels.flatten(1).sum(dim=1) for pixels in kinds], dim=-1))
        # (thresholds, slices, 3), brought over from a GPU in one piece: each transfer waits for it
        counted, patients = torch.stack(counts).cpu().double(), patients.cpu()
        self.counts.index_add_(1, patients.clamp(min=0), counted * (patients >= 0)[:, None])

    def on_validation_epoch_end(self) -> None:
        # every device has counted its own slices: their sum is what one device would have counted
        if self.trainer.world_size > 1:
            self.counts = self.trainer.strategy.reduce(self.counts.to(self.device), reduce_op="sum").cpu()
        _, val_dice = best_threshold(self.counts)
        self.log("val_dice", val_dice, prog_bar=True, sync_dist=True)
        if self.losses["train"]:
            means = {f"{role}_loss": self._mean(losses) for role, losses in self.losses.items()}
            self.history.append({"epoch": self.current_epoch, **means, "validation_dice": float(val_dice)})
            self.losses["train"].clear()

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: float | None = None, **options: Any
    ) -> None:
        if self.trainer.precision == "16-mixed":
            self.clip_gradients(optimizer, gradient_clip_val, **options)
        elif gradient_clip_val:
            # Lightning refuses to clip for any fused optimiser; without float16's scale nothing stands against it
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def _mean(self, losses: list[Tensor]) -> float:
        return float(self.trainer.strategy.reduce(torch.stack(losses).mean(), reduce_op="mean"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["counts"] = self.history, self.counts

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])

    def configure_optimizers(self) -> dict[str, Any]:
        optimiser = torch.optim.AdamW(
            self.parameters(),
            lr=self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
            # one kernel for all weights; with float16 it would also unscale, after the gradients were clipped
            fused=self.trainer.precision != "16-mixed",
        )
        if self.recipe.schedule == "constant":
            return {"optimizer": optimiser}
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def warm_cosine(step: int, steps: int, warm_up: float = 0.05) -> float:
    """Return the learning rate's factor at ``step`` of ``steps``: a linear warm-up, then half a cosine to 0."""
    ramp = max(1, round(warm_up * steps))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - ramp) / max(1, steps - ramp))))


def patient_dice(counts: Tensor) -> Tensor:
    """Return each patient's Dice from counts (…, patients, 3) of TP, FP and FN; NaN where all are zero.

    A patient with no tumour and none predicted has no Dice: it is left out, never counted as 1.
    """
    true_positive, false_positive, false_negative = counts.unbind(dim=-1)
    return 2 * true_positive / (2 * true_positive + false_positive + false_negative)


def cautious_threshold(counts: Tensor) -> float:
    """Return the middle of the thresholds that are as good as the best: within :data:`TOLERANCE` of its mean Dice.

    ``counts`` is (thresholds, patients, 3), of validation patients. Around its maximum the mean Dice hardly changes
    from one threshold to the next, and which of them is highest is luck where patients are few. The middle is far from
    where Dice falls, on either side. What that loses, beside other rules: ``benchmarks/thresholds.py``. (A test for
    significance would not do: over few patients it calls nothing worse.)
    """
    means = patient_dice(counts).nanmean(dim=-1).nan_to_num()
    good = torch.tensor(THRESHOLDS, dtype=torch.float64)[means >= (1 - TOLERANCE) * means.max()]
    # of two that are as near the middle, the higher has fewer false alarms
    return min(reversed(THRESHOLDS), key=lambda threshold: round(abs(threshold - float(good.mean())), 6))


def best_threshold(counts: Tensor) -> tuple[float, float]:
    """Return the threshold of :data:`THRESHOLDS` with the highest mean Dice, and that Dice.

    ``counts`` is (thresholds, patients, 3). They are of validation patients: a threshold
    chosen on test patients would be fitted to what it is scored on.
    """
    means = patient_dice(counts).nanmean(dim=-1)
    place = int(means.nan_to_num().argmax())
    return THRESHOLDS[place], float(means[place])
