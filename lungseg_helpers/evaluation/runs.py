"""The test patients of a training run: predicted, and scored."""

from __future__ import annotations

import json
from pathlib import Path

from ..dataset.split import content_digest
from ..errors import SourceError
from ..prediction.files import predict_cases, prediction_path
from ..preprocessing.stacks import stacks_dir
from ..sources.datasets import ensure_dataset, find_cases
from ..training.weights import load_weights
from .scores import Evaluation, evaluate_pairs


def evaluate_run(run: Path, data: str | None = None, device: str = "cpu", progress: bool = True) -> Evaluation:
    """Predict and score the test patients of a training run, in the scans' own voxels.

    They are looked for where the run's data lay when it was trained (``run/split.json``), and must be what they were
    then. ``data``, a name or a folder, says where else to look: there the ids alone must be the same. Masks are kept
    in ``run/predictions`` (those of other data in a folder of their own), and used again while they are newer than
    the weights. Cases that cannot be predicted or scored are lines in the evaluation's ``problems``. Raises
    :class:`SourceError` where ``run`` is none, its data cannot be found or have changed, or test patients are missing.
    """
    run = Path(run)
    weights = run / "weights.ckpt"
    if not weights.is_file():
        raise SourceError(f"{run}: holds no weights.ckpt of a finished training; give a run's folder, or two folders")
    network, recipe, roles = load_weights(weights)
    root = ensure_dataset(data or _trained_on(run))
    labelled = [case for case in find_cases(root) if case.label is not None]
    digest = content_digest(labelled, stacks_dir(root, recipe))
    if not data and digest != roles.get("digest"):
        raise SourceError(
            f"{root}: has changed since {run} was trained on it; name it with --data to score it as it is"
        )
    cases = {case.id: case for case in labelled if case.id in set(roles["test"])}
    if missing := sorted(set(roles["test"]) - set(cases)):
        raise SourceError(f"{root}: lacks the run's test patients {', '.join(missing)}; name its data set with --data")
    folder = run / ("predictions" if digest == roles.get("digest") else f"predictions-{digest[:8]}")
    stale = [case for case in cases.values() if not _is_newer(prediction_path(case, folder), weights)]
    failed = [
        str(result)
        for _, result in predict_cases(network, recipe, stale, folder, device, progress)
        if isinstance(result, Exception)
    ]
    # an older mask, whose scan has failed now, is another network's
    masks = {id: prediction_path(case, folder) for id, case in cases.items()}
    pairs = {id: (cases[id].label, path) for id, path in masks.items() if _is_newer(path, weights)}
    scored = evaluate_pairs(pairs, progress, {id: case.patient for id, case in cases.items()})
    return Evaluation(scored.table, scored.lesions, failed + scored.problems)


def _trained_on(run: Path) -> str:
    """Return the path of the data set that a run was trained on."""
    try:
        root = json.loads((run / "split.json").read_text())["root"]
    except (OSError, ValueError, KeyError):
        root = ""
    if not Path(root).is_dir() or not root:
        where = f"its data set is no longer in {root}" if root else "does not say where its data set lies"
        raise SourceError(f"{run}: {where}; name it with --data")
    return root


def _is_newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns
