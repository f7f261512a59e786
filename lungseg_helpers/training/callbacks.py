"""What happens beside the training steps: weights are averaged, progress is shown, pictures are logged."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from torch import Tensor, nn
from tqdm import tqdm

from ..dataset.slices import SliceDataset

AVERAGED_EVERY = 5
"""The weights are averaged every fifth step: each step would take a tenth of the time and change nothing."""

AVERAGING = 0.975
"""What is validated and kept is a moving average of the weights, over about the last 5 / (1 - 0.975) = 200 steps."""

PANEL_COLOURS = {"ct": "gray", "truth": "gray", "prediction": "hot"}
"""matplotlib's colour maps of the three panels that are logged."""


def moving_average(averaged: Tensor, current: Tensor, updates: Tensor) -> Tensor:
    """Return the new average of a weight after ``updates`` earlier ones: exponential, quicker in the first steps.

    It calms the jumps of single steps, and with them the choice of a checkpoint (Polyak and
    Juditsky, 1992; the ramp is that of TensorFlow's moving averages).
    """
    # Lightning's EMAWeightAveraging has the calm rate from the start. What the weights were in the beginning would then
    # still be 0.975^(steps / 5) of the average: 22 % after 300 steps, as notebook 04 trains them, instead of nothing
    weight = max(1 - AVERAGING, 9 / (10 + AVERAGED_EVERY * int(updates)))
    return averaged + weight * (current - averaged)


class MovingAverage(WeightAveraging):
    """Validate and keep the moving average of the weights, by Lightning's own callback."""

    def __init__(self) -> None:
        super().__init__(avg_fn=moving_average)

    @property
    def teacher(self) -> nn.Module:
        """The network whose weights are the average, in evaluation mode; there from the beginning of a training on."""
        return self._average_model.module.network.eval()

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and step_idx % AVERAGED_EVERY == 0


class Checkpoints(ModelCheckpoint):
    """Lightning's, which knows its best epochs again where a run's folder was moved or copied in between."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(self.dirpath, Path(path).name)) if path else path

        state = {name: here(value) if name.endswith("_path") else value for name, value in state_dict.items()}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state | {"best_k_models": best, "dirpath": self.dirpath})


class Clock(pl.Callback):
    """When each step ended, in seconds by ``now``, with its work on a GPU: to measure a rate with."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(self.now())


class ProgressBar(pl.Callback):
    """One bar for the whole training, on stderr, and above it a table that gets a row after every epoch."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        steps = int(trainer.estimated_stepping_batches)
        self.off = not trainer.is_global_zero
        self.bar = tqdm(
            total=steps, initial=trainer.global_step, desc="training", unit="step", leave=False, disable=self.off
        )
        self.begun = time.perf_counter()
        self._write("epoch   training loss   validation loss   mean Dice per patient   minutes")
        for row in module.history:  # what was done before an interruption
            self._write(self._row(row, trainer.max_epochs))

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        self.bar.update()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if module.history and module.history[-1]["epoch"] == trainer.current_epoch:
            minutes = (time.perf_counter() - self.begun) / 60
            self._write(f"{self._row(module.history[-1], trainer.max_epochs)}   {minutes:7.1f}")

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if hasattr(self, "bar"):
            self.bar.close()

    def _write(self, line: str) -> None:
        if not self.off:
            tqdm.write(line, file=sys.stderr)

    @staticmethod
    def _row(row: dict[str, float], epochs: int | None) -> str:
        losses = f"{row['train_loss']:13.2f}   {row['validation_loss']:15.2f}"
        return f"{row['epoch'] + 1:>2}/{epochs:<2}   {losses}   {row['validation_dice']:21.2f}"


class PanelLogger(pl.Callback):
    """After every validation, log CT, truth and predicted probability of a few slices to TensorBoard.

    The slices are the fullest tumour slices of the first ``patients`` of ``validation`` that
    hold tumour, the same after every epoch, so that one can watch a tumour being learned.
    """

    def __init__(self, validation: SliceDataset, patients: int = 3) -> None:
        self.validation = validation
        self.items = fullest_slices(validation)[:patients]

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not (self.items and trainer.logger and trainer.is_global_zero):
            return
        samples = [self.validation[item] for item in self.items]
        images = torch.stack([image for image, _, _ in samples]).to(module.device)
        probabilities = module(images).float().sigmoid()[:, 0].cpu().numpy()
        middle = self.validation.recipe.context_mm.index(0.0)
        for (image, mask, patient), probability in zip(samples, probabilities, strict=True):
            name = self.validation.stacks[patient].id
            shown = image[middle], mask[0], torch.from_numpy(probability)
            if shown[0].ndim == 3:  # of a patch the slice that it was cut around
                shown = [volume[len(volume) // 2] for volume in shown]
            picture = panels(*(part.numpy() for part in shown))
            trainer.logger.experiment.add_image(name, picture, trainer.current_epoch, dataformats="HWC")


def fullest_slices(dataset: SliceDataset) -> list[int]:
    """Return the items of ``dataset`` with the largest tumour area of each patient that holds tumour."""
    first, items = 0, []
    for stack in dataset.stacks:
        if len(stack.tumour_slices):
            areas = [int(np.asarray(stack.share[index], np.int64).sum()) for index in stack.tumour_slices]
            items.append(first + int(stack.tumour_slices[int(np.argmax(areas))]))
        first += len(stack.ct)
    return items


def panels(ct: np.ndarray, truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return CT, truth and prediction side by side as colours: three (row, column) arrays → (row, 3 columns, 3) in 0…1.

    ``ct`` is network input and is stretched over its own range; the other two are 0…1.
    """
    span = float(ct.max() - ct.min()) or 1.0
    shown: Sequence[np.ndarray] = ((ct - ct.min()) / span, truth, probability)
    colours = [mpl.colormaps[name](values)[..., :3] for name, values in zip(PANEL_COLOURS.values(), shown, strict=True)]
    return np.concatenate(colours, axis=1).astype(np.float32)
