"""The first film: a real patient, the tumour outlined by the weights that ship. Before anything is learned."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import SourceError
from ..paths import SHIPPED_WEIGHTS, data_dir, outputs_dir
from ..phantom.dataset import write_dataset
from ..prediction.inference import predict_case
from ..scans.case import Case
from ..scans.orientation import oriented
from ..scans.view import open_view
from ..sources.datasets import fetch_real, find_cases
from ..training.devices import pick_device
from ..training.weights import load_weights
from .films import shoot, turn

STAND_IN_SEED = 2026
"""The phantom that is filmed without a connection: the first of the default set."""


def first_film(device: str = "auto") -> Path:
    """Film one scan with truth and prediction, and return the path: ``outputs/videos/first_film.mp4``.

    The scan is a real patient's, fetched once; without a connection a phantom is made in its place, and a line on
    stderr says so. A film that is newer than the weights is not made again.
    """
    path = outputs_dir() / "videos" / "first_film.mp4"
    if path.is_file() and path.stat().st_mtime > SHIPPED_WEIGHTS.stat().st_mtime:
        return path
    case = _patient()
    network, recipe, _ = load_weights(SHIPPED_WEIGHTS)
    prediction = predict_case(network, recipe, case, pick_device(device), progress=True)
    view = open_view(case.image, truth=case.label)
    view.masks["prediction"] = oriented(prediction.mask, prediction.scan.affine)
    return shoot(turn(view), path, title=case.id)


def _patient() -> Case:
    try:
        print("fetching three real patients (75 MB, once) …", file=sys.stderr, flush=True)
        return find_cases(fetch_real(data_dir() / "real"))[0]
    except SourceError as error:
        print(f"no real patient can be had ({error}): a phantom is made and filmed in its place", file=sys.stderr)
    return find_cases(write_dataset(data_dir() / "first_phantom", 1, 0, STAND_IN_SEED))[0]
