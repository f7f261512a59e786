"""Scans to slices to batches: this code beside the plain way, on the same 512 × 512 scans.

The scans are the real patients, copied under several names. Both sides write slices of nearly
the same size: 256 × 256 there; pixels of 1.25 mm, at most 256 × 288, here. Memory is the peak of
one process that prepares all scans one after the other. The limit beside which ``prepare`` is
held is what no preparation can do without: inflating the scans and writing the output's bytes.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from isal import igzip

from lungseg_helpers.dataset import LungDataModule
from lungseg_helpers.preprocessing import open_stack, prepare
from lungseg_helpers.recipes import Recipe, get_recipe
from lungseg_helpers.sources import Case, data_dir, fetch_real, find_cases

from .plain_way import plain_loader, prepare_plainly
from .table import Row, seconds

COPIES, WORKERS, ITEMS, BATCH = 2, 2, 200, 8


def copied_cases(folder: Path) -> list[Case]:
    """Copy each real patient :data:`COPIES` times; links would let a cache help one side."""
    cases = []
    for case in find_cases(fetch_real(data_dir() / "real")):
        for number in range(COPIES):
            id = f"{case.id}-{number}"
            image, label = (folder / part / f"{id}.nii.gz" for part in ("imagesTr", "labelsTr"))
            for source, target in ((case.image, image), (case.label, label)):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            cases.append(Case(id, image, label))
    return cases


def inflate_and_write(cases: list[Case], stacks: Path, out: Path) -> None:
    """Inflate the scans and write as many bytes as the stacks hold: the least that preparing them takes."""
    for case in cases:
        for path in (case.image, case.label):
            with igzip.open(path, "rb") as stream:
                while stream.read(1 << 22):
                    pass
        for path in sorted((stacks / case.id).iterdir()):
            target = out / case.id / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(bytes(path.stat().st_size))


def peak_mb(work: Callable[..., object], *arguments: object) -> float:
    """Return the peak memory in MB of a fresh process that runs ``work``, less what importing takes."""
    context = multiprocessing.get_context("spawn")
    figures = context.Queue()
    process = context.Process(target=_measure_memory, args=(figures, work, arguments))
    process.start()
    found = figures.get()
    process.join()
    return found


def _measure_memory(figures: multiprocessing.Queue, work: Callable[..., object], arguments: tuple) -> None:
    before = _high_water_mb()
    work(*arguments)
    figures.put(_high_water_mb() - before)


def _high_water_mb() -> float:
    """Peak memory of this process so far, from Linux: getrusage would count what its parent held before it began."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def loader_of(stacks: list[Path], recipe: Recipe) -> LungDataModule:
    """Open the stacks and build the training loader."""
    opened = [open_stack(folder) for folder in stacks]
    return LungDataModule(opened, opened[:1], recipe)


def rows() -> list[Row]:
    """Measure preparation, memory, bytes, augmented slices, and the first batch."""
    recipe = get_recipe("course", "gpu")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cases = copied_cases(root)
        ours, plain = root / "ours", root / "plain"
        prepare(cases[:WORKERS], recipe, root / "warm", WORKERS)  # starts the workers
        plainly = seconds(lambda: prepare_plainly(cases, plain))
        prepared = seconds(lambda: prepare(cases, recipe, ours, WORKERS))
        alone = seconds(lambda: prepare(cases, recipe, root / "alone", 1))
        half = seconds(lambda: prepare(cases[::2], recipe, root / "half", 1))
        least = seconds(lambda: inflate_and_write(cases, ours, root / "least"))
        memory = peak_mb(prepare, cases[:2], recipe, root / "memory", 1)
        plain_memory = peak_mb(prepare_plainly, cases[:2], root / "plain memory")
        items = _items_per_second(ours, plain, recipe)
        first = seconds(lambda: next(iter(loader_of(sorted(ours.iterdir()), recipe).train_dataloader())))
        plain_first = seconds(lambda: next(iter(plain_loader(plain, BATCH))))
        disk, plain_disk = bytes_in(ours) / 1e6, bytes_in(plain) / 1e6
    count, cores = f"{len(cases)} scans of 512 × 512", f"{WORKERS} workers"
    return [
        Row("prepare", prepared, "s", plainly, plainly / prepared, "at least 5", f"{count}; ours with {cores}"),
        Row("prepare, beside inflating and writing", alone, "s", least, least / alone, "at least 0.6", "one process"),
        Row("prepare, 2 workers beside 1", prepared, "s", alone, alone / prepared, "at least 1.7"),
        Row("prepare, twice the patients", alone, "s", half, alone / half, "2: linear"),
        Row("prepare, peak memory", memory, "MB", plain_memory, plain_memory / memory, "at least 2", "one process"),
        Row("prepare, bytes on disk", disk, "MB", plain_disk, plain_disk / disk, "at least 4"),
        Row("augmented slices", items[0], "1/s", items[1], items[0] / items[1], "at least 3", "one worker"),
        Row("first batch", first, "s", plain_first, plain_first / first, "at least 10", "weights without a scan"),
    ]


def _items_per_second(ours: Path, plain: Path, recipe: Recipe) -> tuple[float, float]:
    """Augmented slices a second, ours and the plain way's, in one process."""
    from .plain_way import PlainDataset

    mine, theirs = loader_of(sorted(ours.iterdir()), recipe).train_set, PlainDataset(plain)
    rng = np.random.default_rng(0)
    our_items, their_items = rng.integers(0, len(mine), ITEMS), rng.integers(0, len(theirs), ITEMS)
    our_time = seconds(lambda: [mine[int(item), seed] for seed, item in enumerate(our_items)])
    their_time = seconds(lambda: [theirs[int(item)] for item in their_items])
    return ITEMS / our_time, ITEMS / their_time
