"""Training: slices per second beside a plain loop, and beside a batch that already lies in memory.

The same network, batch, patch and moves on both sides. The plain loop is what a tutorial
writes: float32, NCHW, Adam, a loader without workers that reads two float64 files a sample and
augments them with imgaug. Ours is ``lungseg train``'s own data module, module and Trainer
settings. The limit is the same step over and over on one batch, with nothing to load. Each
side runs in a fresh process, so that its peak memory is its own; rounds alternate. On a machine
with a GPU the ``gpu`` profile is measured there, otherwise the ``laptop`` profile on the CPU.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import imgaug.augmenters as iaa
import numpy as np
import torch
from imgaug.augmentables.segmaps import SegmentationMapsOnImage
from torch.utils.data import DataLoader, Dataset

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.slices import SliceDataset
from lungseg_helpers.parallel import cores
from lungseg_helpers.phantom.dataset import write_dataset
from lungseg_helpers.preprocessing.prepare import prepare
from lungseg_helpers.preprocessing.stacks import open_stack
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.sources.datasets import find_cases
from lungseg_helpers.training.callbacks import Clock
from lungseg_helpers.training.devices import PRECISIONS, autocast, choose_precision, loader_workers, pick_device
from lungseg_helpers.training.losses import dice_bce_loss
from lungseg_helpers.training.run import build_trainer
from lungseg_helpers.training.segmenter import LungSegmenter
from lungseg_helpers.unet import build_unet

from .fresh import alone, high_water_mb
from .preprocessing import AS_PLAIN
from .table import Row

CASES, STEPS, WARM_UP, ROUNDS = 8, 80, 20, 3


class PlainSlices(Dataset):
    """Two float64 files a sample, imgaug's affine and elastic move, the middle cut out."""

    def __init__(self, folder: Path, patch: tuple[int, int]) -> None:
        self.files = sorted(folder.glob("image-*.npy"))
        self.patch = patch
        self.augmenter = iaa.Sequential(
            [
                iaa.Affine(scale=(0.85, 1.15), rotate=(-45, 45)),
                iaa.ElasticTransformation(alpha=(0, 100), sigma=(8, 14), order=1, mode="constant"),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        file = self.files[item]
        picture = np.load(file).astype(np.float32).transpose(1, 2, 0)
        mask = np.load(file.with_name(file.name.replace("image", "mask")))
        truth = SegmentationMapsOnImage(mask.astype(np.int32), mask.shape)
        picture, truth = self.augmenter(image=picture, segmentation_maps=truth)
        top, left = ((have - want) // 2 for have, want in zip(mask.shape, self.patch, strict=True))
        window = slice(top, top + self.patch[0]), slice(left, left + self.patch[1])
        image = np.ascontiguousarray(picture[window].transpose(2, 0, 1))
        return torch.from_numpy(image), torch.from_numpy(truth.get_arr()[window][None].astype(np.float32))


def write_plainly(stacks: list[Path], recipe: Recipe, folder: Path) -> None:
    """Write every slice with its neighbours, and its mask, as two float64 files."""
    dataset = SliceDataset([open_stack(each) for each in stacks], recipe)
    for item in range(len(dataset)):
        image, mask, _ = dataset[item]
        np.save(folder / f"image-{item:05d}.npy", image.numpy().astype(np.float64))
        np.save(folder / f"mask-{item:05d}.npy", (mask[0] > 0.5).numpy().astype(np.float64))


def plain_rate(recipe: Recipe, stacks: list[Path], folder: Path) -> tuple[float, float, float]:
    """Slices a second of the plain loop, and peak memory (host, GPU) in MB."""
    device = pick_device()
    network = build_unet(recipe).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    loader = DataLoader(PlainSlices(folder, recipe.patch), recipe.batch_size, shuffle=True, drop_last=True)
    clock, batches = Clock(), iter(loader)
    while len(clock.ends) < STEPS:
        if (batch := next(batches, None)) is None:
            batches = iter(loader)
            continue
        image, mask = (each.to(device) for each in batch)
        optimiser.zero_grad()
        dice_bce_loss(network(image), mask).backward()
        optimiser.step()
        clock.on_train_batch_end()
    return _figures(clock, recipe)


def our_rate(recipe: Recipe, stacks: list[Path], folder: Path) -> tuple[float, float, float]:
    """The same of ``lungseg train``, with as many loading processes as it would be given here."""
    opened = [open_stack(each) for each in stacks]
    module = LungSegmenter(recipe.to_dict(), [stack.id for stack in opened[:1]])
    clock = Clock()
    with tempfile.TemporaryDirectory() as run:
        trainer = build_trainer(recipe, Path(run), callbacks=[clock])
        trainer.limit_val_batches = 0
        trainer.fit_loop.epoch_loop.max_steps = STEPS
        trainer.fit(module, LungDataModule(opened, opened[:1], recipe, loader_workers()))
    return _figures(clock, recipe)


def memory_rate(recipe: Recipe, stacks: list[Path], folder: Path) -> tuple[float, float, float]:
    """The same step on one batch that lies in the device's memory: what no loader can exceed."""
    device = pick_device()
    network = build_unet(recipe).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    image = torch.rand(recipe.batch_size, len(recipe.context_mm), *recipe.patch, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    mask = (torch.rand(recipe.batch_size, 1, *recipe.patch, device=device) > 0.98).float()
    clock = Clock()
    for _ in range(STEPS):
        with autocast(device):
            loss = dice_bce_loss(network(image), mask)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        clock.on_train_batch_end()
    return _figures(clock, recipe)


def _figures(clock: Clock, recipe: Recipe) -> tuple[float, float, float]:
    taken = clock.ends[-1] - clock.ends[WARM_UP - 1]
    host = high_water_mb()
    gpu = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0
    return (len(clock.ends) - WARM_UP) * recipe.batch_size / taken, host, gpu


def measured(recipe: Recipe, stacks: list[Path], folder: Path, precision: str | None) -> list[list[float]]:
    """Measure the three sides in turn, each in a fresh process, ``precision`` forced; medians of their figures."""
    sides = (plain_rate, our_rate, memory_rate)
    found: dict[str, list[tuple[float, float, float]]] = {side.__name__: [] for side in sides}
    before = os.environ.pop("LUNGSEG_PRECISION", None)
    os.environ |= {"LUNGSEG_PRECISION": precision} if precision else {}
    for _ in range(ROUNDS):
        for side in sides:
            found[side.__name__].append(alone(side, recipe, stacks, folder))
    os.environ.pop("LUNGSEG_PRECISION", None)
    os.environ |= {"LUNGSEG_PRECISION": before} if before else {}
    return [[statistics.median(column) for column in zip(*each, strict=True)] for each in found.values()]


def rows() -> list[Row]:
    """Measure in float32 and, where this machine would take it, in mixed bfloat16; a GPU in its own precision."""
    gpu = pick_device() == "cuda"
    recipe = replace(get_recipe("course", "gpu" if gpu else "laptop"), augmentation=AS_PLAIN, slices_per_epoch=10**6)
    forced: list[str | None] = [None] if gpu else ["float32"]
    if not gpu and choose_precision() == PRECISIONS["bfloat16"]:
        forced.append("bfloat16")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root, plain = Path(folder) / "phantom", Path(folder) / "plain"
        plain.mkdir()
        write_dataset(root, CASES, 0, seed=5)
        stacks, _ = prepare(find_cases(root), recipe, Path(folder) / "stacks")
        write_plainly(stacks, recipe, plain)
        for precision in forced:
            found += _rows(recipe, precision, *measured(recipe, stacks, plain, precision))
    return found


def _rows(recipe: Recipe, precision: str | None, *sides: list[float]) -> list[Row]:
    gpu = precision is None
    (plainly, host, card), (ours, our_host, our_card), (limit, *_) = sides
    where = torch.cuda.get_device_name() if gpu else f"CPU, {cores()} cores"
    note = f"{where}; batch {recipe.batch_size} of {len(recipe.context_mm)} × {recipe.patch[0]} × {recipe.patch[1]}"
    name = "training, gpu profile" if gpu else f"training, laptop profile, {precision}"
    return [
        Row(
            f"{name}, slices/s",
            ours,
            "1/s",
            plainly,
            ours / plainly,
            "at least 4" if gpu else "at least 2",
            f"{note}; beside a plain loop in float32",
        ),
        Row(
            f"{name}, beside a batch in memory",
            ours,
            "1/s",
            limit,
            ours / limit,
            "at least 0.9" if gpu else "",
            f"{note}; the rest is loading and augmenting",
        ),
        Row(f"{name}, peak host memory", our_host, "MB", host, host / our_host, "", "the training process, all in"),
        *([Row(f"{name}, peak GPU memory", our_card, "MB", card, card / our_card, "", where)] if gpu else []),
    ]
