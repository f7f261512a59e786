"""nnU-Net v2 beside the course: the same patients, the same seconds of training, the same ``lungseg evaluate``.

nnU-Net is what an expert would take instead: it plans its own pipeline from the data. It is a
separate installation (:data:`INSTALL`), never a dependency of the course. ``LUNGSEG_SECONDS`` sets the
budget, as for the recipes, whose training of the same budget is used again. Writes ``nnunet.csv``, a
row a model and data set.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from lungseg_helpers.dataset.split import open_split
from lungseg_helpers.evaluation.race import train_for
from lungseg_helpers.evaluation.report import summary
from lungseg_helpers.evaluation.scores import evaluate_pairs, find_pairs
from lungseg_helpers.paths import outputs_dir
from lungseg_helpers.prediction.files import predict_cases
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.scans.case import Case
from lungseg_helpers.sources.datasets import ensure_dataset, find_cases
from lungseg_helpers.training.devices import pick_device
from lungseg_helpers.training.weights import load_weights

from ..recipes import budget
from ..table import Row
from . import peer

HERE = Path(__file__).parent

INSTALL = "pip install --constraint requirements.lock 'nnunetv2>=2.6'"
"""The constraint keeps the course's torch: nnU-Net's own requirements would bring another, with all of CUDA."""

WITHOUT_GPU = 10
"""Test patients that are predicted where there is no GPU: nnU-Net takes a minute for each there, and several for a real
patient's scan, so those are left out."""

Predict = Callable[[list[Case], Path], None]
"""What a trained model does with scans: write ``<case>_pred.nii.gz`` of each into a folder."""


def configurations(device: str) -> tuple[str, ...]:
    """Return nnU-Net's configurations to be trained: slices; on a GPU volumes as well."""
    return ("2d", "3d_fullres") if device == "cuda" else ("2d",)


def train_course(seconds: float, device: str) -> tuple[int, Predict]:
    """Train the course's recipe for so long; return its steps, and what predicts with it."""
    recipe = get_recipe("course")
    folder = outputs_dir() / "runs" / "compare"
    network, trained, _ = load_weights(train_for(recipe, seconds, folder, device=device)[0])

    def predict(cases: list[Case], folder: Path) -> None:
        for _, result in predict_cases(network, trained, cases, folder, device):
            if isinstance(result, Exception):
                raise result

    return trained.epochs * (trained.slices_per_epoch // trained.batch_size), predict


def train_nnunet(preprocessed: Path, configuration: str, seconds: float, device: str) -> tuple[int, Predict]:
    """The same with one configuration of nnU-Net."""
    trainer = peer.train_peer(preprocessed, configuration, seconds, device)
    return (
        trainer.num_epochs * trainer.num_iterations_per_epoch,
        lambda cases, folder: peer.predict_peer(trainer, cases, folder, device),
    )


def score_folder(root: Path, folder: Path) -> dict[str, Any]:
    """Return the scores of predictions in one row, as ``lungseg evaluate ROOT FOLDER`` gives them."""
    pairs, problems, _ = find_pairs(root, folder)
    scored = evaluate_pairs(pairs)
    if problems := problems + scored.problems:
        raise RuntimeError("; ".join(problems))
    return {"data": root.name, **summary(scored.table)}


def rows() -> list[Row]:
    """Train both, score both, and return the figures; nothing where nnU-Net is not installed."""
    if importlib.util.find_spec("nnunetv2") is None:
        print(f"nnunet is left out: nnU-Net is not installed; install it by: {INSTALL}", file=sys.stderr)
        return []
    seconds, device, folder = budget(), pick_device(), outputs_dir() / "nnunet"
    root = ensure_dataset()
    split, _, _ = open_split(None, get_recipe("course"))
    cases = [case for case in find_cases(root) if case.label is not None]
    asked = {root: [case for case in cases if case.id in set(split.test)]}
    if device == "cuda":
        real = ensure_dataset("real")
        asked[real] = find_cases(real)
    else:
        asked[root] = asked[root][:WITHOUT_GPU]
    models = {"course": train_course(seconds, device)}
    preprocessed = peer.prepare(cases, split, folder, configurations(device))
    for name in configurations(device):
        models[f"nnU-Net {name}"] = train_nnunet(preprocessed, name, seconds, device)
    table = []
    for model, (steps, predict) in models.items():
        for place, scans in asked.items():
            masks = folder / "predictions" / f"{model.replace(' ', '_')}_{place.name}"
            predict(scans, masks)
            table.append({"model": model, "seconds": seconds, "steps": steps, **score_folder(place, masks)})
    scores = pd.DataFrame(table).round(4)
    scores.to_csv(HERE / "nnunet.csv", index=False)
    return [row for place in asked for row in figures(scores[scores["data"] == place.name])]


def figures(scores: pd.DataFrame) -> list[Row]:
    """Return Dice and tumours found of the course beside each configuration of nnU-Net, for one data set."""
    ours, *others = scores.to_dict("records")
    rows = []
    for other in others:
        name = f"course beside {other['model']}, {ours['data']}"
        ratio = ours["mean_dice"] / other["mean_dice"] if other["mean_dice"] else None
        low_high = ", ".join(f"{model['dice_low']:.2f}…{model['dice_high']:.2f}" for model in (ours, other))
        steps = f"{ours['seconds']:g} s of training each, {ours['steps']} and {other['steps']} steps"
        note = f"{steps}; {ours['patients']} patients; intervals {low_high}"
        rows.append(Row(f"{name}: Dice", ours["mean_dice"], "", other["mean_dice"], ratio, "at least 1", note))
        false = " and ".join(f"{model['false_components_per_scan']:.1f}" for model in (ours, other))
        note = f"of {ours['lesions']}; false components per scan {false}"
        counts = ours["lesions_found"], other["lesions_found"]
        rows.append(Row(f"{name}: tumours found", counts[0], "", counts[1], None, "at least as many", note))
    return rows
