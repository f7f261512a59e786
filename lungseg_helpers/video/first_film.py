"""The first film: a real patient, the tumour outlined by the weights that ship. Before anything is learned."""

from __future__ import annotations

from pathlib import Path

from ..paths import SHIPPED_WEIGHTS, outputs_dir
from ..prediction.inference import predict_case
from ..scans.orientation import oriented
from ..scans.view import open_view
from ..sources.first_patient import first_patient
from ..training.devices import pick_device
from ..training.weights import load_weights
from .films import shoot, turn


def first_film(device: str = "auto") -> Path:
    """Film one scan with truth and prediction, and return the path: ``outputs/videos/first_film.mp4``.

    The scan is a real patient's, fetched once; without a connection a phantom is made in its place, and a line on
    stderr says so. A film that is newer than the weights is not made again.
    """
    path = outputs_dir() / "videos" / "first_film.mp4"
    if path.is_file() and path.stat().st_mtime > SHIPPED_WEIGHTS.stat().st_mtime:
        return path
    case = first_patient()
    network, recipe, _ = load_weights(SHIPPED_WEIGHTS)
    prediction = predict_case(network, recipe, case, pick_device(device), progress=True)
    view = open_view(case.image, truth=case.label)
    view.masks["prediction"] = oriented(prediction.mask, prediction.scan.affine)
    return shoot(turn(view), path, title=case.id)
