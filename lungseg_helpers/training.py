"""Losses, the LightningModule, and one function that builds the Trainer.

Validation counts true positives, false positives and false negatives per patient over the
whole epoch, so the Dice that picks a checkpoint is of the same kind as the one reported.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from .dataset import LungDataModule, Split
from .errors import RecipeError, TrainingError, WeightsError
from .recipes import Recipe
from .sources import dataset_root
from .unet import UNet, build_unet


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 - soft Dice over all pixels of the batch; a scalar between 0 and 1.

    ``logits`` and ``target`` (0 or 1) have shape (N, 1, H, W). Pooling over the batch
    keeps tumour-free slices from each scoring 0 or 1 by themselves. After Milletari,
    Navab and Ahmadi, "V-Net", 3DV 2016, with the denominator not squared. A batch with
    no tumour at all gives (nearly) 1 whatever is predicted small: the added 1 voxel in
    numerator and denominator only prevents 0/0.
    """
    probability = logits.float().sigmoid()
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)


def bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy over all pixels, from logits (N, 1, H, W); a scalar."""
    return F.binary_cross_entropy_with_logits(logits.float(), target)


def dice_bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the sum of soft Dice and binary cross-entropy: overlap to aim at, a gradient everywhere."""
    return soft_dice_loss(logits, target) + bce_loss(logits, target)


ROOT = Path(__file__).resolve().parent.parent
"""The folder of the course: the package is installed from it, editable, so weights and outputs lie beside it."""

SHIPPED_WEIGHTS = ROOT / "data" / "weights" / "course.ckpt"
"""The weights that come with the course, trained on phantoms."""


def outputs_dir() -> Path:
    """Return the folder of everything a run makes: ``LUNGSEG_OUTPUTS``, else the course's ``outputs``."""
    return Path(os.environ.get("LUNGSEG_OUTPUTS") or ROOT / "outputs").expanduser()


def run_dir(data: str | Path | None, recipe: Recipe) -> Path:
    """Return the folder of the run of a recipe, in its size, on a data set."""
    size = "x".join(map(str, recipe.widths))
    return outputs_dir() / "runs" / f"{dataset_root(data).name}-{recipe.name}-{size}"


def find_weights(run: Path) -> Path:
    """Return the weights that this run trained, or the shipped ones, with a line on stderr that says which."""
    if (trained := run / "weights.ckpt").is_file():
        return trained
    print(f"no weights in {run.name} yet: using the shipped {SHIPPED_WEIGHTS.name}", file=sys.stderr)
    return SHIPPED_WEIGHTS


def pick_device(device: str = "auto") -> str:
    """Return ``"cuda"`` or ``"cpu"``; raises :class:`TrainingError` where a GPU is asked for and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch sees no GPU here; use --device cpu, or install a CUDA build of torch")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


LOSSES = {"bce": bce_loss, "dice": soft_dice_loss, "dice_bce": dice_bce_loss}


class LungSegmenter(pl.LightningModule):
    """The network, its loss and its optimiser, as Lightning wants them.

    ``recipe`` is a :meth:`Recipe.to_dict`, so that a checkpoint holds plain values and
    loads with ``weights_only=True``. Logs ``train_loss``, ``val_loss`` and ``val_dice``:
    the mean over validation patients of the Dice of the whole stack.
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
        self.register_buffer("counts", torch.zeros(max(1, len(self.patients)), 3, dtype=torch.float64), persistent=False)

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
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(images))
        return loss

    def on_validation_epoch_start(self) -> None:
        self.counts.zero_()

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> None:
        images, masks, patients = batch
        logits = self(images).float()
        self.log("val_loss", self.loss(logits, masks), batch_size=len(images))
        predicted = logits.sigmoid() > self.recipe.threshold
        truth = masks > 0.5
        for column, pixels in enumerate((predicted & truth, predicted & ~truth, ~predicted & truth)):
            self.counts[:, column].index_add_(0, patients, pixels.sum(dim=(1, 2, 3)).double())

    def on_validation_epoch_end(self) -> None:
        self.log("val_dice", patient_dice(self.counts).nanmean(), prog_bar=True)

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


def patient_dice(counts: Tensor) -> Tensor:
    """Return each patient's Dice from counts (patients, 3) of TP, FP and FN; NaN where all are zero.

    A patient with no tumour and none predicted has no Dice: it is left out, never counted as 1.
    """
    true_positive, false_positive, false_negative = counts.unbind(dim=1)
    return 2 * true_positive / (2 * true_positive + false_positive + false_negative)


def choose_precision(device: str = "auto") -> str:
    """Return Lightning's precision flag for this machine: mixed bfloat16 where it is fast, else float32.

    On a CPU bfloat16 pays only where the processor multiplies it natively, so the two are
    timed on one small convolution, in a few hundredths of a second.
    """
    if pick_device(device) == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if _seconds(torch.bfloat16) < 0.7 * _seconds(torch.float32) else "32-true"


def _seconds(dtype: torch.dtype, repeats: int = 5) -> float:
    from time import perf_counter

    image = torch.ones(4, 32, 96, 96).to(memory_format=torch.channels_last)
    convolution = torch.nn.Conv2d(32, 32, 3, padding=1).to(memory_format=torch.channels_last)
    best = math.inf
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype, enabled=dtype is not torch.float32):
        for _ in range(repeats):
            start = perf_counter()
            convolution(image)
            best = min(best, perf_counter() - start)
    return best


def build_trainer(recipe: Recipe, run: Path, device: str = "auto", progress: bool = True) -> pl.Trainer:
    """Build the Trainer that writes a run to ``run``: curves (TensorBoard and CSV) and checkpoints.

    ``checkpoints/best.ckpt`` has the highest validation Dice, ``checkpoints/last.ckpt`` is
    what an interrupted run goes on from.
    """
    quiet_lightning()
    callbacks: list[pl.Callback] = [
        ModelCheckpoint(run / "checkpoints", "best", monitor="val_dice", mode="max", enable_version_counter=False),
        ModelCheckpoint(run / "checkpoints", "last", enable_version_counter=False),
        LearningRateMonitor("step"),
    ]
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=5, leave=False))
    return pl.Trainer(
        accelerator="gpu" if pick_device(device) == "cuda" else "cpu",
        devices=1,
        precision=choose_precision(device),
        max_epochs=recipe.epochs,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        logger=[TensorBoardLogger(run, "", "tensorboard"), CSVLogger(run, "", "curves")],
        callbacks=callbacks,
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


def train(
    data: LungDataModule, split: Split, run: Path, device: str = "auto", progress: bool = True, resume: bool = True
) -> Path:
    """Train the recipe's network and return the path of the slim weights file ``run/weights.ckpt``.

    The split is stored beside it as ``split.json``. With ``resume`` an interrupted run goes
    on from its last epoch, if it is of the same recipe.
    """
    recipe = data.recipe
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    module = LungSegmenter(recipe.to_dict(), [stack.id for stack in data.validation_set.stacks])
    last = run / "checkpoints" / "last.ckpt"
    go_on = resume and last.exists() and _hyper_parameters(last).get("recipe") == recipe.to_dict()
    trainer = build_trainer(recipe, run, device, progress)
    trainer.fit(module, data, ckpt_path=last if go_on else None, weights_only=True)
    best = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
    state = {key.removeprefix("network."): value for key, value in best["state_dict"].items()}
    split_dict = {role: list(ids) for role, ids in asdict(split).items()}
    (run / "split.json").write_text(json.dumps(split_dict, indent=1))
    return save_weights(run / "weights.ckpt", recipe, state, split_dict)


def quiet_lightning() -> None:
    """Silence Lightning's notices about hardware, workers and folders: they drown what a learner should read."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*exists and is not empty.*", ".*isinstance.treespec.*"):
        warnings.filterwarnings("ignore", message)


def save_weights(path: Path, recipe: Recipe, state: dict[str, Tensor], split: dict[str, list[str]]) -> Path:
    """Write what prediction needs and nothing else: the recipe, the network's weights, the patients by role."""
    partial = path.with_suffix(".partial")
    torch.save({"recipe": recipe.to_dict(), "state_dict": state, "split": split}, partial)
    partial.replace(path)
    return path


def load_weights(path: Path) -> tuple[UNet, Recipe, dict[str, list[str]]]:
    """Load a weights file: the network in evaluation mode, its recipe, and which patients had which role.

    Loads with ``weights_only=True``, so a file from elsewhere runs no code. Raises
    :class:`WeightsError` where the file is missing or is not one of this course's.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; train first ('lungseg train') or name another")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        recipe = Recipe.from_dict(content["recipe"])
        network = build_unet(recipe)
        network.load_state_dict({key: value.float() for key, value in content["state_dict"].items()})
    except Exception as error:  # torch.load raises whatever the broken file leads it to
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not a weights file of this course ({reason}); use one that it wrote") from error
    return network.to(memory_format=torch.channels_last).eval(), recipe, content.get("split", {})


def _hyper_parameters(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, map_location="cpu", weights_only=True).get("hyper_parameters", {})
