"""Make the pictures that README and notebooks show of the weights that ship: once more when the weights change.

``data/loop.webp`` is a real patient's film around the tumour. ``data/contact_sheet.png`` has every test patient of the
phantom data set in the slice with most tumour, the worst Dice first.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lungseg_helpers.course.pictures import small_png
from lungseg_helpers.dataset.split import split_patients
from lungseg_helpers.errors import LungsegError, error_line
from lungseg_helpers.evaluation.metrics import dice
from lungseg_helpers.paths import ROOT, SHIPPED_WEIGHTS, data_dir
from lungseg_helpers.prediction.files import predict_cases
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.scans.view import View, open_view
from lungseg_helpers.sources.datasets import ensure_dataset, fetch_real, find_cases
from lungseg_helpers.training.devices import pick_device
from lungseg_helpers.training.weights import load_weights
from lungseg_helpers.video.first_film import first_film
from lungseg_helpers.video.sheets import contact_sheet

LOOP, SHEET = ROOT / "data" / "loop.webp", ROOT / "data" / "contact_sheet.png"

MOST = 2_000_000
"""Bytes of a picture that a page loads at once."""


def make_loop() -> Path:
    """Film the real patient anew, as a loop; :class:`LungsegError` where there is no connection and so no patient."""
    fetch_real(data_dir() / "real")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(first_film(loop=True, folder=Path(folder)), LOOP)
    return LOOP


def scored_views() -> Iterator[tuple[float, str, View]]:
    """Yield Dice, id and view of each phantom that is kept for the test, as the shipped weights outline it."""
    network, recipe, _ = load_weights(SHIPPED_WEIGHTS)
    cases = [case for case in find_cases(ensure_dataset("phantom")) if case.label is not None]
    test = split_patients([case.id for case in cases], get_recipe("course", "laptop")).test
    chosen = [case for case in cases if case.id in test]
    with tempfile.TemporaryDirectory() as folder:
        for case, written in predict_cases(network, recipe, chosen, Path(folder), pick_device()):
            if isinstance(written, LungsegError):
                raise written
            view = open_view(case.image, truth=case.label, prediction=written.mask)
            yield dice(view.masks["truth"], view.masks["prediction"]), case.id, view


def make_sheet() -> Path:
    """Draw the contact sheet of the test patients."""
    ranked = sorted(scored_views(), key=lambda each: each[:2])
    figure = contact_sheet((f"{id}: Dice {score:.2f}", view) for score, id, view in ranked)
    SHEET.write_bytes(small_png(figure))
    return SHEET


def main() -> int:
    """Make both, and say how large they are; return the exit status."""
    try:
        made = [make_loop(), make_sheet()]
    except LungsegError as error:
        print(f"the pictures are not made: {error_line(error)}", file=sys.stderr)
        return 1
    for path in made:
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.2f} MB")
    return int(any(path.stat().st_size > MOST for path in made))


if __name__ == "__main__":
    sys.exit(main())
