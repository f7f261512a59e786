"""What are unlabelled scans worth? Learning curves with them and without, and a way from phantoms to patients.

**Curves**: of 5, 10 and 20 labelled phantoms, three seeds each. Each seed draws its own 5 or 10 out of the 20. Beside
them stand 60 phantoms more. Their labels are put away, and what the network of labels alone is sure of teaches (self-
training); or every mark of that network is taken for a label; or a mean teacher sees them; or they come with their own
labels, which is what they can be worth at most. All arms train for as many steps; a step with unlabelled patches takes
about twice the seconds, so labels alone for twice as many steps are the control. All are tested on the same 34
phantoms. Six further labelled ones choose the epoch and the threshold, in every arm: nobody can do without.

**To patients**: the networks of 20 labelled phantoms, on three real patients. As they are; with the averages of their
batch normalisation measured anew, on the two patients that are not scored, or for comparison on phantoms; and trained
with these two as the unlabelled scans of a mean teacher.

Writes ``unlabelled.csv``, a row per patient and training. Trainings are kept in ``outputs/runs/unlabelled`` and found
done, so the command may be cut short at any time. It takes about an hour and a half on two cores, a training on each.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader

from lungseg_helpers.course.solutions import solution
from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.sampler import OversamplingSampler
from lungseg_helpers.dataset.split import Split, open_split
from lungseg_helpers.dataset.unlabelled import TwoViews, Unlabelled, relabelled
from lungseg_helpers.evaluation.comparison import Difference, paired_difference, seeds_by_patients
from lungseg_helpers.evaluation.metrics import score
from lungseg_helpers.evaluation.runs import evaluate_run
from lungseg_helpers.parallel import side_by_side
from lungseg_helpers.paths import data_dir, outputs_dir
from lungseg_helpers.phantom.dataset import write_dataset
from lungseg_helpers.prediction.inference import predict_case, predict_stack
from lungseg_helpers.prediction.postprocessing import drop_small
from lungseg_helpers.preprocessing.prepare import prepare
from lungseg_helpers.preprocessing.stacks import SliceStack, open_stack, stacks_dir
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.sources.datasets import fetch_real, find_cases
from lungseg_helpers.training.run import train
from lungseg_helpers.training.weights import load_weights
from lungseg_helpers.unet import UNet

from .table import Row

FILE = Path(__file__).parent / "unlabelled.csv"

LABELLED, OTHERS, VALIDATION, TEST = (5, 10, 20), 60, 6, 34
PATIENTS = max(LABELLED) + OTHERS + VALIDATION + TEST
SEEDS = (1, 2, 3)

STEPS = 600
"""Training steps, of 8 labelled patches each, in every arm."""

ALONE, LONGER, OWN, EVERY, MEAN, LABELS = ARMS = (
    "labels alone",
    "labels alone, twice as long",
    "self-training",
    "every mark a label",
    "mean teacher",
    "60 more labels",
)
MEASURED = {"the other patients": "normalisation of the other patients", "phantoms": "normalisation of phantoms"}
REAL = "mean teacher of the other patients"

PATCHES = 640
"""From how many the averages of batch normalisation are measured anew."""

SCORES = ["dice", "lesions", "lesions_found", "false_components", "true_ml", "predicted_ml"]


def recipe_of(seed: int, arm: str = ALONE) -> Recipe:
    """Return the laptop's recipe of slices at this benchmark's split, and an arm's steps."""
    course = get_recipe("course", "laptop")
    draws = steps_of(arm) * course.batch_size // course.epochs
    shares = {"validation_fraction": VALIDATION / PATIENTS, "test_fraction": TEST / PATIENTS}
    return replace(course, seed=seed, slices_per_epoch=draws, **shares)


def steps_of(arm: str) -> int:
    """Return how many steps an arm trains."""
    return 2 * STEPS if arm == LONGER else STEPS


def opened(
    labelled: int, seed: int, workers: int | None = 1
) -> tuple[Split, dict[str, list[SliceStack]], list[SliceStack]]:
    """Return a split that trains on so many patients, the stacks of its roles, and those of the 60 others."""
    root = write_dataset(data_dir() / "phantom_120", PATIENTS, 0)
    split, stacks, problems = open_split(root, recipe_of(seed), workers)
    if problems:
        raise SystemExit("\n".join(problems))
    ours, others = stacks["train"][:-OTHERS], stacks["train"][-OTHERS:]
    drawn = sorted(np.random.default_rng(seed).permutation(len(ours))[:labelled])
    taken = [ours[place] for place in drawn]
    return replace(split, train=tuple(stack.id for stack in taken)), {**stacks, "train": taken}, others


def without_labels(stacks: Sequence[SliceStack], split: Split) -> Unlabelled:
    """Return patients of the same data set whose labels are not looked at."""
    ids = [stack.id for stack in stacks]
    return Unlabelled(tuple(stacks), {"data": split.data, "digest": split.digest, "patients": {}, "train": ids})


def marked(stacks: Sequence[SliceStack], weights: Path) -> list[SliceStack]:
    """Return patients with what a network marks in place of their labels: all of it, at its own threshold."""
    network, recipe, _ = load_weights(weights)
    found = []
    for stack in stacks:
        mask = predict_stack(network, recipe, stack) > recipe.threshold
        # of the stack's own voxels, which are not the scan's
        found.append(relabelled(stack, drop_small(mask, np.prod(stack.grid.spacing) / 1000, recipe.smallest_ml)))
    return found


def folder(arm: str, labelled: int, seed: int) -> Path:
    """Return the folder of a training."""
    name = f"{arm.replace(',', '').replace(' ', '-')}-{labelled}-{seed}-{recipe_of(seed, arm).digest}"
    return outputs_dir() / "runs" / "unlabelled" / name


def trained(arm: str, labelled: int, seed: int) -> tuple[Path, float]:
    """Train one arm on one core: its weights, and the seconds of processor time (near 0 if it was trained before)."""
    torch.set_num_threads(1)
    recipe, run = recipe_of(seed, arm), folder(arm, labelled, seed)
    split, stacks, others = opened(labelled, seed)
    teacher = trained(ALONE, labelled, seed)[0] if arm in (OWN, EVERY) else None
    beside = without_labels(others, split) if arm in (OWN, MEAN) else None
    if arm in (EVERY, LABELS):
        stacks["train"] = [*stacks["train"], *(marked(others, teacher) if teacher else others)]
        split = replace(split, train=tuple(stack.id for stack in stacks["train"]))
    start = time.process_time()
    data = LungDataModule(stacks["train"], stacks["validation"], recipe, unlabelled=beside)
    weights = train(data, split, run, "cpu", progress=False, teacher=teacher if beside else None)
    return weights, time.process_time() - start


def curve(arm: str, labelled: int, seed: int) -> pd.DataFrame:
    """Train one arm and score it on the test phantoms: a row per patient."""
    weights, seconds = trained(arm, labelled, seed)
    found = evaluate_run(weights.parent, progress=False).table[SCORES].rename_axis("patient").reset_index()
    told = {"threshold": load_weights(weights)[1].threshold, "steps": steps_of(arm), "processor_s": seconds}
    return found.assign(data="phantom", arm=arm, labelled=labelled, seed=seed, **told)


def measured_anew(network: UNet, stacks: Sequence[SliceStack], recipe: Recipe) -> UNet:
    """Return a network whose batch normalisation has the averages of patches of ``stacks``; its weights stay.

    After Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation" (arXiv:1603.04779).
    """
    views = TwoViews(stacks, recipe)
    draws = OversamplingSampler(views.weights, PATCHES, recipe.seed)
    other = deepcopy(network)
    update_bn(DataLoader(views, recipe.batch_size, sampler=draws), other)  # takes the first of the two views
    return other.eval()


def real_patients(recipe: Recipe) -> tuple[Path, dict[str, SliceStack]]:
    """Return where the real patients lie, and their stacks by id."""
    root = fetch_real(data_dir() / "real")
    paths, problems = prepare(find_cases(root), recipe, stacks_dir(root, recipe), 1)
    if problems:
        raise SystemExit("\n".join(problems))
    return root, {path.name: open_stack(path) for path in paths}


def to_patients(seed: int) -> pd.DataFrame:
    """Score the networks of 20 labelled phantoms on each real patient, adapted to the others in four ways or not."""
    weights, _ = trained(ALONE, max(LABELLED), seed)
    network, recipe, _ = load_weights(weights)
    split, stacks, _ = opened(max(LABELLED), seed)
    root, real = real_patients(recipe)
    cases = {case.id: case for case in find_cases(root)}
    again = measured_anew(network, stacks["train"], recipe)
    found = []
    for id, case in cases.items():
        others = [stack for name, stack in real.items() if name != id]
        ids = sorted(set(real) - {id})
        beside = Unlabelled(tuple(others), {"data": root.name, "digest": "", "patients": {}, "train": ids})
        data = LungDataModule(stacks["train"], stacks["validation"], recipe_of(seed), unlabelled=beside)
        taught = train(data, split, folder(f"{REAL} than {id}", max(LABELLED), seed), "cpu", progress=False)
        candidates = {
            ALONE: (network, recipe),
            MEASURED["phantoms"]: (again, recipe),
            MEASURED["the other patients"]: (measured_anew(network, others, recipe), recipe),
            REAL: load_weights(taught)[:2],
            MEAN: load_weights(trained(MEAN, max(LABELLED), seed)[0])[:2],
        }
        label = read_scan(case.label, "label")
        for arm, (candidate, its) in candidates.items():
            scores = score(label.voxels, predict_case(candidate, its, case).mask, label.spacing)
            told = {"arm": arm, "patient": id, "threshold": its.threshold, "steps": STEPS}
            found.append({key: scores[key] for key in SCORES} | told)
    return pd.DataFrame(found).assign(data="real", labelled=max(LABELLED), seed=seed)


def paired(table: pd.DataFrame, one: str, other: str, what: str = "dice") -> Difference:
    """Return by how much arm ``one`` scores more than the ``other``, in pairs by patient and by seed.

    Trainings of one seed have the same labelled patients and the same first weights, so they are compared in pairs,
    too: what is averaged, over patients and over seeds, are their differences. Where the table holds several numbers of
    labelled patients, each of them has seeds of its own.
    """
    table = table.assign(seed=table["labelled"].astype(str) + "-" + table["seed"].astype(str))
    found = [seeds_by_patients(table[table["arm"] == arm], what).to_numpy(float) for arm in (one, other)]
    return paired_difference(*found, same_seeds=True)


def with_agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Add to each test phantom how far the three seeds' networks of an arm agree on it: mean Dice of each two masks.

    What the table says already stays where the masks are no longer there.
    """
    table = table.reindex(columns=[*table.columns.drop("agreement", errors="ignore"), "agreement"])
    agree = solution("agreement")
    keys = table.loc[table["data"] == "phantom", ["arm", "labelled", "patient"]].drop_duplicates()
    for arm, labelled, patient in keys.itertuples(index=False, name=None):
        files = [folder(arm, labelled, seed) / "predictions" / f"{patient}_pred.nii.gz" for seed in SEEDS]
        if all(file.is_file() for file in files):
            masks = np.stack([read_scan(file, "label").voxels > 0 for file in files])
            told = {"data": "phantom", "arm": arm, "labelled": labelled, "patient": patient}
            table.loc[(table[list(told)] == pd.Series(told)).all(axis=1), "agreement"] = agree(masks)
    return table


def lacking(kept: Sequence[pd.DataFrame]) -> tuple[list[tuple[str, int, int]], list[int]]:
    """Return which (arm, labelled, seed) the table lacks of the curves, and which seeds of the real patients."""
    table = pd.concat(kept) if kept else pd.DataFrame(columns=["data", "arm", "labelled", "seed"])
    there = set(table.loc[table["data"] == "phantom", ["arm", "labelled", "seed"]].itertuples(index=False, name=None))
    curves = [key for key in itertools.product(ARMS, LABELLED, SEEDS) if key not in there]
    patients = set(table.loc[table["data"] == "real", "seed"])
    return curves, [seed for seed in SEEDS if seed not in patients]


def rows() -> list[Row]:
    """Train what the table lacks, score it, and return a figure an arm and number of labels."""
    kept = [pd.read_csv(FILE)] if FILE.is_file() else []
    curves, patients = lacking(kept)
    if not curves and not patients:
        return list(figures(pd.concat(kept)))
    # before two processes do so at once
    opened(max(LABELLED), SEEDS[0], None)
    real_patients(recipe_of(SEEDS[0]))
    # arm by arm: self-training finds its teachers trained, and two trainings of one are never at work at once
    for arm in ARMS:
        jobs = [key for key in curves if key[0] == arm]
        for (_, labelled, seed), found in zip(jobs, side_by_side(curve, jobs, 2, arm, "training"), strict=True):
            print(f"{arm}, {labelled} labelled, seed {seed}: Dice {found['dice'].mean():.2f}", file=sys.stderr)
            kept = _keep([*kept, found])
    for found in side_by_side(to_patients, [(seed,) for seed in patients], 2, "real patients", "seed"):
        kept = _keep([*kept, found])
    table = with_agreement(pd.concat(kept))
    table["arm"] = pd.Categorical(table["arm"], [*ARMS, *MEASURED.values(), REAL])
    table = table.sort_values(["data", "arm", "labelled", "seed", "patient"]).astype({"arm": str})
    table.round(3).to_csv(FILE, index=False)
    return list(figures(table))


def _keep(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
    pd.concat(tables).round(3).to_csv(FILE, index=False)
    return tables


def figures(table: pd.DataFrame) -> Iterator[Row]:
    """Yield a figure for each number of labels and arm, and for each way to the real patients, against labels alone."""
    for (data, labelled), group in table.groupby(["data", "labelled"], sort=False):
        for arm, each in group.groupby("arm", sort=False):
            more = paired(group, arm, ALONE)
            note = f"{len(SEEDS)} seeds, {more.patients} patients"
            if arm != ALONE:
                note += f"; {more.mean:+.2f} more than {ALONE}, 95 % interval {more.low:.2f} to {more.high:.2f}"
            yield Row(f"unlabelled: {data}, {labelled} labelled, {arm}", each["dice"].mean(), "Dice", note=note)
