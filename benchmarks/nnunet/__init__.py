"""nnU-Net v2 beside the course: the same patients, the same seconds of training, the same ``lungseg evaluate``.

nnU-Net is what an expert would take instead: it plans its own pipeline from the data. It is an
optional extra (``pip install -e '.[nnunet]'``), never a dependency of the course. ``LUNGSEG_SECONDS`` sets the
budget, as for the recipes, whose training of the same budget is used again. Writes ``nnunet.csv``, a row a model.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from lungseg_helpers.comparison import train_for
from lungseg_helpers.dataset import open_split
from lungseg_helpers.devices import pick_device
from lungseg_helpers.evaluation import evaluate_pairs, find_pairs, summary
from lungseg_helpers.predicting import predict_cases
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.sources import Case, ensure_dataset, find_cases
from lungseg_helpers.weights import load_weights, outputs_dir

from ..recipes import budget
from ..table import Row
from . import peer

HERE = Path(__file__).parent


def configurations(device: str) -> tuple[str, ...]:
    """Return nnU-Net's configurations to be trained: slices; on a GPU volumes as well."""
    return ("2d", "3d_fullres") if device == "cuda" else ("2d",)


def score_folder(model: str, root: Path, folder: Path) -> dict[str, Any]:
    """Return one row of scores of the predictions in ``folder``, as ``lungseg evaluate ROOT FOLDER`` gives them."""
    pairs, problems, _ = find_pairs(root, folder)
    found = evaluate_pairs(pairs)
    if problems := problems + found.problems:
        raise RuntimeError(f"{model}: {'; '.join(problems)}")
    return {"model": model, "data": root.name, "patients": len(pairs), **summary(found.table)}


def score_folder(root: Path, folder: Path) -> dict[str, Any]:
    """Return the scores of the predictions in ``folder`` in one row, as ``lungseg evaluate ROOT FOLDER`` gives them."""
    pairs, problems, _ = find_pairs(root, folder)
    found = evaluate_pairs(pairs)
    if problems := problems + found.problems:
        raise RuntimeError("; ".join(problems))
    return {"data": root.name, **summary(found.table)}


def course(seconds: float, asked: dict[Path, list[Case]], folder: Path, device: str) -> list[dict[str, Any]]:
    """Train the course's recipe, predict the ``asked`` cases of each data set, and return a row of scores for each."""
    recipe = get_recipe("course")
    run = outputs_dir() / "runs" / "compare" / f"{recipe.name}-seed{recipe.seed}"
    network, trained, _ = load_weights(train_for(recipe, seconds, run)[0])
    found = {"model": "course", "steps": trained.epochs * (trained.slices_per_epoch // trained.batch_size)}
    rows = []
    for root, cases in asked.items():
        masks = folder / f"course_{root.name}"
        failed = [each for _, each in predict_cases(network, trained, cases, masks, device) if isinstance(each, Exception)]
        if failed:
            raise failed[0]
        rows.append({**found, **score_folder(root, masks)})
    return rows


def nnunet(
    seconds: float, asked: dict[Path, list[Case]], folder: Path, device: str, preprocessed: Path, configuration: str
) -> list[dict[str, Any]]:
    """The same by nnU-Net: train one configuration, predict, and return a row of scores for each data set."""
    trainer = peer.train_peer(preprocessed, configuration, seconds, device)
    found = {"model": f"nnU-Net {configuration}", "steps": trainer.num_epochs * trainer.num_iterations_per_epoch}
    rows = []
    for root, cases in asked.items():
        masks = folder / f"{configuration}_{root.name}"
        peer.predict_peer(trainer, cases, masks, device)
        rows.append({**found, **score_folder(root, masks)})
    return rows


def rows() -> list[Row]:
    """Train both, score both, and return the figures; nothing where nnU-Net is not installed."""
    if importlib.util.find_spec("nnunetv2") is None:
        print("nnunet is left out: nnU-Net is not installed (pip install -e '.[nnunet]')", file=sys.stderr)
        return []
    seconds, device, folder = budget(), pick_device(), outputs_dir() / "nnunet"
    root, real = ensure_dataset(), ensure_dataset("real")
    split, _, _ = open_split(None, get_recipe("course"))
    cases = [case for case in find_cases(root) if case.label is not None]
    asked = {root: [case for case in cases if case.id in set(split.test)], real: find_cases(real)}
    preprocessed = peer.prepare(cases, split, folder, configurations(device))
    masks = folder / "predictions"
    table = course(seconds, asked, masks, device)
    for configuration in configurations(device):
        table += nnunet(seconds, asked, masks, device, preprocessed, configuration)
    scores = pd.DataFrame(table).assign(seconds=seconds).round(4)
    scores.to_csv(HERE / "nnunet.csv", index=False)
    return [row for name in (root.name, real.name) for row in figures(scores[scores["data"] == name])]


def figures(scores: pd.DataFrame) -> list[Row]:
    """Return Dice and lesions found of the course beside each configuration of nnU-Net, for one data set."""
    ours, *others = scores.to_dict("records")
    found = []
    for other in others:
        name = f"{other['model']}, {ours['data']}"
        note = f"{ours['seconds']:g} s of training each: {ours['steps']} steps of ours, {other['steps']} of its own"
        interval = ", ".join(f"{each['dice_low']:.2f}…{each['dice_high']:.2f}" for each in (ours, other))
        ratio = ours["mean_dice"] / other["mean_dice"] if other["mean_dice"] else None
        found.append(Row(f"{name}: mean Dice", ours["mean_dice"], "", other["mean_dice"], ratio, "at least 1",
                         f"{note}; intervals {interval}"))  # fmt: skip
        found.append(Row(f"{name}: tumours found", ours["lesions_found"], "", other["lesions_found"], None, "at least as many",
                         f"of {ours['lesions']}; false components a scan {ours['false_components_per_scan']:.1f}"
                         f" and {other['false_components_per_scan']:.1f}"))  # fmt: skip
    return found
