"""Scans to slices to batches: this code beside the plain way, on the same 512 × 512 scans.

The scans are the real patients, copied under several names. Both sides write slices of nearly
the same size: 256 × 256 there; pixels of 1.25 mm, at most 256 × 288, here. Memory is the peak of
one process that prepares scans one after the other. The limit beside which ``prepare`` is held is
what no preparation can do without: inflating the scans and writing the output's bytes, by as many
processes. ``scaling.png`` draws the time over the number of patients for one and two workers.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.slices import SliceDataset
from lungseg_helpers.paths import data_dir
from lungseg_helpers.preprocessing.prepare import prepare
from lungseg_helpers.preprocessing.stacks import open_stack
from lungseg_helpers.recipe import Augmentation, Recipe
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.scans.case import Case
from lungseg_helpers.sources.datasets import fetch_real, find_cases

from .fresh import alone, high_water_mb
from .plain_way import PlainDataset, plain_loader, prepare_plainly
from .table import Row, seconds
from .throughput import inflate

COPIES, WORKERS, ITEMS, ROUNDS, BATCH = 4, 2, 400, 3, 8
FIGURE = Path(__file__).with_name("scaling.png")

AS_PLAIN = Augmentation(
    scale=(0.85, 1.15),
    rotate_deg=45,
    shift=0,
    flip_left_right=0,
    elastic_probability=1,
    brightness=0,
    contrast=0,
    noise=0,
    blur_probability=0,
    low_resolution_probability=0,
    context_stretch=(1, 1),
    context_end=0,
)
"""The moves of the plain way, each time an affine and an elastic one, and nothing else."""


def copied_cases(folder: Path) -> list[Case]:
    """Copy each real patient :data:`COPIES` times; links would let a cache help one side."""
    cases = []
    for number in range(COPIES):
        for case in find_cases(fetch_real(data_dir() / "real")):
            id = f"{case.id}-{number}"
            image, label = (folder / part / f"{id}.nii.gz" for part in ("imagesTr", "labelsTr"))
            for source, target in ((case.image, image), (case.label, label)):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            cases.append(Case(id, image, label))
    return cases


def inflate_and_write(cases: list[Case], stacks: Path, out: Path, workers: int) -> None:
    """Inflate the scans and write as many bytes as the stacks hold: the least that preparing them takes."""
    Parallel(n_jobs=workers)(delayed(_inflate_and_write_one)(case, stacks, out) for case in cases)


def _inflate_and_write_one(case: Case, stacks: Path, out: Path) -> None:
    inflate([case.image, case.label])
    for path in sorted((stacks / case.id).iterdir()):
        target = out / case.id / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(bytes(path.stat().st_size))


def peak_mb(work: Callable[..., object], *arguments: object) -> float:
    """Return the peak memory in MB of a fresh process that runs ``work``, less what importing takes."""
    return alone(_memory_taken, work, arguments)


def _memory_taken(work: Callable[..., object], arguments: tuple) -> float:
    before = high_water_mb()
    work(*arguments)
    return high_water_mb() - before


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def preparation_times(cases: list[Case], recipe: Recipe, root: Path) -> dict[tuple[int, int], float]:
    """Return the median seconds of ``prepare`` by (workers, patients): a quarter, a half, all of the cases."""
    found = {}
    for workers in (1, WORKERS):
        prepare(cases[:WORKERS], recipe, root / f"warm {workers}", workers)  # starts the workers
        for count in (len(cases) // 4, len(cases) // 2, len(cases)):
            times = []
            for number in range(ROUNDS):
                folder = root / f"{workers} {count} {number}"
                times.append(seconds(prepare, cases[:count], recipe, folder, workers))
                shutil.rmtree(folder)
            found[workers, count] = statistics.median(times)
    return found


def draw_scaling(times: dict[tuple[int, int], float], path: Path) -> None:
    """Draw seconds over patients, a line for each number of workers."""
    figure, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained", dpi=90)
    for workers, colour in ((1, "#0072B2"), (WORKERS, "#D55E00")):
        counts = sorted(count for each, count in times if each == workers)
        label = f"{workers} worker{'s' if workers > 1 else ''}"
        ax.plot(counts, [times[workers, count] for count in counts], "o-", color=colour, label=label)
    ax.set(title="Preparing scans of 512 × 512", xlabel="patients", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    ax.legend()
    figure.savefig(path)
    plt.close(figure)


def loader_of(folder: Path, recipe: Recipe) -> LungDataModule:
    """Open all stacks in a folder and build the training loader."""
    opened = [open_stack(each) for each in sorted(folder.iterdir())]
    return LungDataModule(opened, [], recipe)


def draw(dataset: SliceDataset | PlainDataset, items: Sequence) -> None:
    """Draw items one after the other and forget them."""
    for item in items:
        dataset[item]


def items_per_second(dataset: SliceDataset | PlainDataset, seeded: bool) -> float:
    """Return how many augmented slices one process draws in a second: the median of :data:`ROUNDS`."""
    rng, rates = np.random.default_rng(0), []
    for _ in range(ROUNDS):
        items = [int(item) for item in rng.integers(0, len(dataset), ITEMS)]
        chosen = list(zip(items, range(ITEMS), strict=True)) if seeded else items
        rates.append(ITEMS / seconds(draw, dataset, chosen))
    return statistics.median(rates)


def rows() -> list[Row]:
    """Measure preparation, memory, bytes, augmented slices, and the first batch; draw ``scaling.png``."""
    recipe = get_recipe("course", "gpu")
    alike = replace(recipe, context_mm=(0.0,), patch=None, frame=(256, 256), augmentation=AS_PLAIN)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cases = copied_cases(root)
        ours, plain, few = root / "ours", root / "plain", cases[:6]
        times = preparation_times(cases, recipe, root / "times")
        draw_scaling(times, FIGURE)
        prepare(few, recipe, ours, WORKERS)
        plainly = seconds(prepare_plainly, few, plain)
        least = {
            workers: statistics.median(
                seconds(inflate_and_write, few, ours, root / f"least {workers} {number}", workers)
                for number in range(ROUNDS)
            )
            for workers in (1, WORKERS)
        }
        memory = peak_mb(prepare, few[:3], recipe, root / "memory", 1)
        plain_memory = peak_mb(prepare_plainly, few[:3], root / "plain memory")
        plain_rate = items_per_second(PlainDataset(plain), seeded=False)
        laptop = get_recipe("course", "laptop")
        prepare(few, laptop, root / "laptop", WORKERS)
        rates = {
            "alike": items_per_second(loader_of(ours, alike).train_set, seeded=True),
            "laptop": items_per_second(loader_of(root / "laptop", laptop).train_set, seeded=True),
            "gpu": items_per_second(loader_of(ours, recipe).train_set, seeded=True),
        }
        first = seconds(lambda: next(iter(loader_of(ours, replace(recipe, batch_size=BATCH)).train_dataloader())))
        plain_first = seconds(lambda: next(iter(plain_loader(plain, BATCH))))
        disk, plain_disk = bytes_in(ours) / 1e6, bytes_in(plain) / 1e6
    all_of = len(cases)
    alone, shared = times[1, len(few)], times[WORKERS, len(few)]
    scans = f"{len(few)} scans of 512 × 512"
    return [
        Row(
            "prepare",
            shared,
            "s",
            plainly,
            plainly / shared,
            "at least 5",
            f"{scans}; ours with {WORKERS} workers, the plain way is one loop; limit: inflating, half of the time",
        ),
        Row(
            "prepare, beside inflating and writing",
            alone,
            "s",
            least[1],
            least[1] / alone,
            "at least 0.6",
            "one process each; the rest is finding the lungs, resizing, checking",
        ),
        Row(
            "prepare, beside inflating and writing, 2 workers",
            shared,
            "s",
            least[WORKERS],
            least[WORKERS] / shared,
            "at least 0.6",
            "two processes each",
        ),
        Row(
            "prepare, 2 workers beside 1",
            times[WORKERS, all_of],
            "s",
            times[1, all_of],
            times[1, all_of] / times[WORKERS, all_of],
            "at least 1.7",
            f"{all_of} patients; limit: memory bandwidth",
        ),
        Row(
            "prepare, twice the patients",
            times[1, all_of],
            "s",
            times[1, all_of // 2],
            times[1, all_of] / times[1, all_of // 2],
            "2: linear",
            f"{all_of} patients beside {all_of // 2}",
        ),
        Row(
            "prepare, peak memory",
            memory,
            "MB",
            plain_memory,
            plain_memory / memory,
            "at least 2",
            "one process; limit: the inflated scan",
        ),
        Row(
            "prepare, bytes on disk",
            disk,
            "MB",
            plain_disk,
            plain_disk / disk,
            "at least 4",
            "limit: 3 bytes per pixel and its label",
        ),
        Row(
            "augmented slices, the same moves",
            rates["alike"],
            "1/s",
            plain_rate,
            rates["alike"] / plain_rate,
            "at least 3",
            "one worker, 1 channel of 256 × 256, affine and elastic each time; limit: interpolation",
        ),
        Row(
            "augmented slices, course, laptop",
            rates["laptop"],
            "1/s",
            plain_rate,
            rates["laptop"] / plain_rate,
            "at least 3",
            "one worker, 5 channels of 96 × 112, noise; limit: interpolation and noise",
        ),
        Row(
            "augmented slices, course, gpu",
            rates["gpu"],
            "1/s",
            plain_rate,
            rates["gpu"] / plain_rate,
            "",
            "one worker, 5 channels of 192 × 224, noise: 3.3 times the plain way's pixels; limit: interpolation, noise",
        ),
        Row(
            "first batch",
            first,
            "s",
            plain_first,
            plain_first / first,
            "at least 10",
            f"{BATCH} items; the plain way scans all slices for tumour, through their augmentation",
        ),
    ]
