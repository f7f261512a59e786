"""One function that builds the Trainer, and one that trains: begins, goes on, and writes the weights."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ..dataset.loaders import LungDataModule
from ..dataset.split import Split
from ..errors import OUT_OF_MEMORY, RecipeError, TrainingError, error_line
from ..recipe import Recipe
from ..unet import UNet
from ..writing import written_whole
from .callbacks import Checkpoints, MovingAverage, PanelLogger, ProgressBar
from .devices import accelerator, choose_precision, named_operators, pick_device
from .lineage import begun_from, require_same, require_unseen
from .segmenter import LungSegmenter, cautious_threshold
from .teacher import MeanTeacher, SelfTraining, require_same_input
from .weights import load_weights, network_state, save_weights


def build_trainer(
    recipe: Recipe,
    run: Path,
    device: str = "auto",
    callbacks: Sequence[pl.Callback] = (),
    devices: int = 1,
    nodes: int = 1,
    precision: str | None = None,
) -> pl.Trainer:
    """Build the Trainer that writes a run to ``run``: TensorBoard curves and checkpoints.

    ``checkpoints/best-….ckpt`` are the ``recipe.keep_best`` ones of highest validation Dice (or lowest loss),
    ``checkpoints/last.ckpt`` is what an interrupted run goes on from. With several
    ``devices`` or ``nodes`` Lightning's ``ddp`` strategy starts one process for each
    device; gradients are averaged over all. ``precision`` is Lightning's flag, by default the one that
    :func:`~lungseg_helpers.training.devices.choose_precision` takes here.
    """
    quiet_lightning()
    # files in use are named by epoch and Dice, so that keeping several never overwrites one
    name = "best-{epoch:03d}-{val_dice:.3f}"
    folder = run / "checkpoints"
    best = {"monitor": recipe.watched, "mode": "max" if recipe.watched == "val_dice" else "min"}
    kept: list[pl.Callback] = [MovingAverage()] if recipe.averaged else []
    kept += [
        Checkpoints(folder, name, save_top_k=recipe.keep_best, enable_version_counter=False, **best),
        Checkpoints(folder, "last", enable_version_counter=False),
    ]
    if recipe.schedule != "constant":
        kept.append(LearningRateMonitor("step"))
    if recipe.patience:
        kept.append(EarlyStopping(**best, patience=recipe.patience))
    return pl.Trainer(
        accelerator=accelerator(device),
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        # the data module shares out draws and slices itself: Lightning's sampler would repeat some to even them out
        use_distributed_sampler=False,
        precision=precision or choose_precision(device),
        max_epochs=recipe.epochs,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        logger=TensorBoardLogger(run, "", "tensorboard"),
        # what looks at a validation comes before what swaps the averaged weights out again
        callbacks=[*callbacks, *kept],
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train(
    data: LungDataModule,
    split: Split,
    run: Path,
    device: str = "auto",
    progress: bool = True,
    devices: int = 1,
    nodes: int = 1,
    start: Path | None = None,
    teacher: Path | None = None,
) -> Path:
    """Train the recipe's network and return the path of the slim weights file ``run/weights.ckpt``.

    ``split.json`` (the patients by role, and where the data lie), ``machine.json`` (device and precision) and
    ``curves.csv`` (one row per epoch) lie beside it; the weights' recipe holds the threshold that validation chose. A
    run of the same recipe, data and patients that was interrupted goes on from its last epoch; a finished one is
    returned as it is. Nothing is overwritten: where the folder holds a training of anything else,
    :class:`TrainingError` says what differs; it is raised too where no process gets one whole batch an epoch. With
    ``start`` the network begins from these weights instead of random ones; raises :class:`SplitError` where they were
    ever trained on patients that this split validates or tests on.
    Where ``data`` has unlabelled patients, a :class:`~.teacher.MeanTeacher` is trained, or with the weights of a
    ``teacher`` a :class:`~.teacher.SelfTraining`; where the scans came from is kept with the roles, and the teacher is
    held to the same rule as ``start``. With ``devices`` or ``nodes`` above 1 every process calls this function, and the
    first one alone writes.
    """
    recipe, run = data.recipe, Path(run)
    roles = split.to_dict()
    begun, taught = (load_weights(path) if path else None for path in (start, teacher))
    for role, path, other in (("start", start, begun), ("teacher", teacher, taught)):
        if other:
            require_unseen(path, other[2], split.to_dict())
            roles[role] = begun_from(Path(path), other[2])
    if taught:
        if not data.unlabelled:
            raise RecipeError("a teacher answers to unlabelled scans; name their folder with --unlabelled")
        require_same_input(taught[1], recipe)
    if data.unlabelled:
        roles["unlabelled"] = data.unlabelled.origin
        if not (taught or recipe.averaged):
            raise RecipeError(f"recipe {recipe.name}: a mean teacher is a moving average; use averaged=True")
    if recipe.watched == "val_dice" and not any(stack.tumour_slices for stack in data.validation_set.stacks):
        raise TrainingError(
            f"{run}: no validation patient has a tumour, so no Dice can choose an epoch; split anew: --set split_seed=…"
        )
    weights, checkpoint = run / "weights.ckpt", _latest_checkpoint(run)
    if kept := checkpoint or (weights if weights.is_file() else None):
        require_same(run, recipe, roles, *load_weights(kept)[1:])
    if not weights.is_file():
        _require_a_batch(data, devices * nodes)
    if is_first():
        if not kept and (run / "split.json").is_file():  # curves of an epoch of ours that never came to its end
            shutil.rmtree(run / "tensorboard", ignore_errors=True)
        with written_whole(run / "split.json") as partial:
            partial.write_text(json.dumps(roles, indent=1))
    if weights.is_file():
        print(f"{run.name} is trained already: using it (delete {run} to train again)", file=sys.stderr)
        return weights
    precision = _keep_precision(run / "machine.json", pick_device(device), bool(checkpoint))
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    patients = [stack.id for stack in data.validation_set.stacks]
    if taught:
        module: LungSegmenter = SelfTraining(recipe.to_dict(), patients).taught_by(taught[0])
    else:
        module = (MeanTeacher if data.unlabelled else LungSegmenter)(recipe.to_dict(), patients)
    if begun:
        _take_over(module, start, *begun[:2])
    callbacks: list[pl.Callback] = [PanelLogger(data.validation_set)]
    callbacks += [ProgressBar()] if progress else []
    with named_operators(pick_device(device)), _in_words(run):
        trainer = build_trainer(recipe, run, device, callbacks, devices, nodes, precision)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    if trainer.is_global_zero:
        pd.DataFrame(module.history).to_csv(run / "curves.csv", index=False)
        best = _read(Path(trainer.checkpoint_callback.best_model_path))
        threshold = cautious_threshold(best["counts"]) if recipe.chosen_threshold else recipe.threshold
        save_weights(weights, replace(recipe, threshold=threshold), network_state(best), roles)
    return weights


def _require_a_batch(data: LungDataModule, processes: int) -> None:
    """Refuse an epoch of which no process gets a whole batch: Lightning would train nothing, and say so nowhere."""
    if data.draws // processes < data.recipe.batch_size:
        shared = f", over {processes} processes" if processes > 1 else ""
        raise TrainingError(
            f"recipe {data.recipe.name}: an epoch draws {data.draws} slices or patches{shared}, and a batch has "
            f"{data.recipe.batch_size}; use a smaller batch_size, or a larger slices_per_epoch"
        )


@contextlib.contextmanager
def _in_words(run: Path) -> Iterator[None]:
    """Raise what a training mostly ends with, memory and devices, as a :class:`TrainingError` that says what to do."""
    try:
        yield
    except SystemExit as error:  # Lightning's wordless answer to Ctrl-C, and to a cluster's SIGTERM
        raise TrainingError(f"{run}: interrupted; the same command goes on from the last whole epoch") from error
    except MisconfigurationException as error:  # as of more devices than there are
        said = " ".join(str(error).split())
        raise TrainingError(f"{run}: {said}; name another --device, or fewer --devices") from error
    except (RuntimeError, MemoryError) as error:
        if "DataLoader worker (pid" in str(error):  # not what a process that lives on has raised
            raise TrainingError(
                f"{run}: a loading process was killed, mostly for lack of memory; try fewer --workers"
            ) from error
        if error_line(error) == OUT_OF_MEMORY:
            smaller = "--set batch_size=… smaller, --set patch=… smaller, or --device cpu"
            raise TrainingError(f"{run}: there is not enough memory for a step; try {smaller}") from error
        raise


def is_first() -> bool:
    """Whether this process is the one that writes: Lightning starts the others with these variables set."""
    return rank_zero_only.rank == 0 and os.environ.get("NODE_RANK", "0") == "0"


def _keep_precision(path: Path, device: str, resumed: bool) -> str:
    """Return the precision of a run and record it: a resumed one goes on in the one that it began with.

    Unless it goes on on another kind of device, or ``LUNGSEG_PRECISION`` forces one.
    """
    chosen = choose_precision(device)
    if resumed and path.is_file() and not os.environ.get("LUNGSEG_PRECISION"):
        kept = json.loads(path.read_text())
        chosen = kept["precision"] if kept["device"] == device else chosen
    if is_first():
        with written_whole(path) as partial:
            partial.write_text(json.dumps({"device": device, "precision": chosen}, indent=1) + "\n")
    return chosen


def _latest_checkpoint(run: Path) -> Path | None:
    """Return what an interrupted run goes on from: the last epoch's checkpoint, or the newest best one.

    The latter where the former is missing or was cut short, as by a kill while it was copied from another disk. (What
    torch saves is a zip file, whose table of contents stands at its end.)
    """
    folder = run / "checkpoints"
    best = sorted(folder.glob("best-*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return next((path for path in (folder / "last.ckpt", *best) if zipfile.is_zipfile(path)), None)


def _take_over(module: LungSegmenter, start: Path, network: UNet, recipe: Recipe) -> None:
    """Give ``module`` the weights of ``network``, which were read from ``start``."""
    try:
        module.network.load_state_dict(network.state_dict())
    except RuntimeError as error:
        raise RecipeError(
            f"{start}: its network ({_shape(recipe)}) is not the one that the recipe asks for ({_shape(module.recipe)})"
        ) from error


def _shape(recipe: Recipe) -> str:
    """What two networks must have in common for one to take the other's weights, in words."""
    return (
        f"{recipe.dims} dimensions, {len(recipe.context_mm)} channels, widths {recipe.widths}, stem {recipe.stem}, "
        f"norm {recipe.norm}, upsampling {recipe.upsampling}"
    )


def quiet_lightning() -> None:
    """Silence Lightning's notices about hardware, workers and folders: they drown what a learner should read."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for said in ("does not have many workers", "exists and is not empty", "isinstance.treespec", "training batches"):
        warnings.filterwarnings("ignore", f".*{said}.*")


def _read(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, map_location="cpu", weights_only=True)
