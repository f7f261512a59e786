"""The first film: a real patient, the tumour outlined by the weights that ship. Before anything is learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..paths import SHIPPED_WEIGHTS, outputs_dir
from ..prediction.inference import predict_case
from ..scans.orientation import oriented
from ..scans.view import open_view
from ..sources.first_patient import first_patient
from ..training.devices import pick_device
from ..training.weights import load_weights
from .films import FilmStyle, around_fullest, film_name, shoot, turn
from .findings import add_findings


def first_film(
    device: str = "auto", style: FilmStyle | None = None, loop: bool = False, folder: Path | None = None
) -> Path:
    """Film one scan with truth and prediction, and return the path: ``first_film.mp4`` in outputs/videos or ``folder``.

    With ``loop`` it is a WebP of the slices around the tumour that starts again, which web pages show as a picture.
    What ``style`` changes adds to the name. The scan is a real patient's, fetched once; without a connection a phantom
    is made in its place, and a line on stderr says so. A film that is newer than the weights and the scan is not made
    again.
    """
    style = style or FilmStyle()
    name = film_name("first_film", style, ending=".webp" if loop else ".mp4", loop=loop)
    path = (folder or outputs_dir() / "videos") / name
    case = first_patient()
    newest = max(each.stat().st_mtime for each in (SHIPPED_WEIGHTS, case.image))
    if path.is_file() and path.stat().st_mtime > newest:
        return path
    network, recipe, _ = load_weights(SHIPPED_WEIGHTS)
    prediction = predict_case(network, recipe, case, pick_device(device), progress=True)
    view = open_view(case.image, truth=case.label)
    view.masks["prediction"] = oriented(prediction.mask, prediction.scan.affine)
    words = add_findings(view, prediction.components)
    film = replace(turn(view), words=words)
    return shoot(around_fullest(film) if loop else film, path, case.id, style)
