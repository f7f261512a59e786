"""The weights that ship, on patients that their training has not seen.

A hundred phantoms of the default set's seed, of which that set is the first sixty (the weights were trained on
phantoms of other seeds), and the three real patients, who have had a say in the choice (model card). Masks are made and
scored as ``lungseg predict`` and ``lungseg evaluate`` do. ``shipped.csv`` keeps the scores of every patient, and beside
them the lesions that are touched by a prediction at all; ``shipped.png`` shows the real ones.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lungseg_helpers.evaluation.lesions import match
from lungseg_helpers.evaluation.scores import evaluate_pairs
from lungseg_helpers.paths import SHIPPED_WEIGHTS, data_dir
from lungseg_helpers.phantom.dataset import write_dataset
from lungseg_helpers.prediction.files import predict_cases
from lungseg_helpers.scans.case import Case
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.scans.view import open_view
from lungseg_helpers.sources.datasets import fetch_real, find_cases
from lungseg_helpers.training.devices import pick_device
from lungseg_helpers.training.weights import load_weights
from lungseg_helpers.video.overlay import add_legend, draw_slice

from .table import Row

HERE = Path(__file__).parent

PHANTOMS = 100


def score_set(name: str, weights: Path, folder: Path) -> tuple[pd.DataFrame, dict[Case, Path]]:
    """Predict and score a data set's labelled cases; the table has the columns of ``evaluate`` and its own name."""
    network, recipe, roles = load_weights(weights)
    root = fetch_real(data_dir() / "real") if name == "real" else write_dataset(data_dir() / "phantom_100", PHANTOMS, 0)
    cases = [case for case in find_cases(root) if case.label is not None]
    if roles.get("data") == root.name:
        raise SystemExit(f"{weights}: was trained on the data set {root.name}, so its score there would mean nothing")
    written = dict(predict_cases(network, recipe, cases, folder / name, pick_device()))
    masks = {case: files.mask for case, files in written.items()}
    scored = evaluate_pairs({case.id: (case.label, path) for case, path in masks.items()})
    if scored.problems:
        raise SystemExit("\n".join(scored.problems))
    scored.table.insert(0, "set", name)
    touched = {case.id: count_touched(case.label, path) for case, path in masks.items()}
    return scored.table.join(pd.DataFrame(touched, ["lesions_touched", "components_touching_none"]).T), masks


def count_touched(label: Path, mask: Path) -> tuple[int, int]:
    """Count as this file did before lesions were found by overlap, to compare with its older figures.

    Returns how many lesions share a voxel with the prediction, and how many components share none with a lesion.
    """
    matched = match(*(read_scan(path, "label").voxels for path in (label, mask)))
    met = (matched.lesions > 0) & (matched.components > 0)
    touched = len(np.unique(matched.lesions[met]))
    return touched, len(matched.false) - 1 - len(np.unique(matched.components[met]))


def draw_real(table: pd.DataFrame, masks: dict[Case, Path]) -> None:
    """Draw the first, the fullest and the last tumour slice of each real patient."""
    figure, axes = plt.subplots(len(masks), 3, figsize=(9.6, 2.5 * len(masks)), layout="constrained", squeeze=False)
    for row, (case, mask) in zip(axes, masks.items(), strict=True):
        view = open_view(case.image, truth=case.label, prediction=mask)
        areas = view.masks["truth"].sum(axis=(1, 2))
        held = np.flatnonzero(areas)
        for ax, index in zip(row, (held[0], areas.argmax(), held[-1]), strict=True):
            planes = [mask[index] for mask in view.masks.values()]
            draw_slice(ax, view.ct[index], view.spacing[1:], *planes, window="lung", note=f"slice {index + 1}")
            ax.set_axis_off()
        scores = table.loc[case.id]
        row[1].set_title(
            f"{case.id}: Dice {scores['dice']:.2f}, {scores['lesions_found']:.0f} of {scores['lesions']:.0f} found, "
            f"{scores['false_components']:.0f} false",
            fontsize=10,
        )
    add_legend(axes[0, 0], True, True)
    figure.savefig(HERE / "shipped.png", dpi=80)
    plt.close(figure)


def rows() -> list[Row]:
    """Score the shipped weights and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        phantoms, _ = score_set("phantom", SHIPPED_WEIGHTS, Path(folder))
        real, masks = score_set("real", SHIPPED_WEIGHTS, Path(folder))
        draw_real(real, masks)
    pd.concat([phantoms, real]).round(3).to_csv(HERE / "shipped.csv")
    share = phantoms["large_found"].sum() / phantoms["large_lesions"].sum()
    print(pd.concat([phantoms, real]).round(2).to_string(), file=sys.stderr)
    return [
        Row(
            "shipped weights: Dice on phantoms",
            phantoms["dice"].mean(),
            "",
            target="at least 0.8",
            note=f"mean over {len(phantoms)} patients never seen; median {phantoms['dice'].median():.2f}",
        ),
        Row(
            "shipped weights: tumours over 1 mL found",
            100 * share,
            "%",
            target="at least 90",
            note=f"by overlap: {phantoms['large_found'].sum()} of {phantoms['large_lesions'].sum()}, in phantoms",
        ),
        Row(
            "shipped weights: false components per phantom",
            phantoms["false_components"].mean(),
            "",
            note=f"median {phantoms['false_components'].median():.0f}",
        ),
        *(
            Row(
                f"shipped weights: Dice on {id}",
                row["dice"],
                "",
                target="mean at least 0.5",
                note=f"{row['lesions_found']} of {row['lesions']} found, {row['false_components']} false components; "
                f"{row['true_ml']:.1f} mL, predicted {row['predicted_ml']:.1f} mL",
            )
            for id, row in real.iterrows()
        ),
    ]
