"""The test patients of a training run: predicted, and scored."""

from __future__ import annotations

from pathlib import Path

from ..errors import SourceError
from ..prediction.files import predict_cases, prediction_path
from ..sources.datasets import ensure_dataset, find_cases
from ..training.weights import load_weights
from .scores import Evaluation, evaluate_pairs


def evaluate_run(run: Path, data: str | None = None, device: str = "cpu", progress: bool = True) -> Evaluation:
    """Predict and score the test patients of a training run; masks are kept in ``run/predictions``.

    ``data`` is the data set that the run was trained on, by default the one of the name that it
    recorded. Masks that are newer than the weights are used again. Raises :class:`SourceError`
    where ``run`` is none, or the test patients are not in the data set.
    """
    run = Path(run)
    weights, folder = run / "weights.ckpt", run / "predictions"
    if not weights.is_file():
        raise SourceError(f"{run}: holds no weights.ckpt of a finished training; give a run's folder, or two folders")
    network, recipe, roles = load_weights(weights)
    root = ensure_dataset(data or roles["data"])
    cases = {case.id: case for case in find_cases(root) if case.label is not None and case.id in set(roles["test"])}
    if missing := sorted(set(roles["test"]) - set(cases)):
        raise SourceError(f"{root}: lacks the run's test patients {', '.join(missing)}; name its data set with --data")
    stale = [case for case in cases.values() if not _is_newer(prediction_path(case, folder), weights)]
    failed = [
        str(result)
        for _, result in predict_cases(network, recipe, stale, folder, device, progress)
        if isinstance(result, Exception)
    ]
    pairs = {id: (case.label, path) for id, case in cases.items() if (path := prediction_path(case, folder)).is_file()}
    found = evaluate_pairs(pairs, progress)
    return Evaluation(found.table, found.lesions, failed + found.problems)


def _is_newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns
