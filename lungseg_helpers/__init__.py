"""Helpers of the lung tumour segmentation course: one folder for each stop of the road that a CT scan travels.

    sources → preprocessing → dataset → unet → training → prediction → video, evaluation

``scans`` says what a scan is, ``phantom`` makes patients that never lived, ``recipe`` and ``recipes`` hold every
choice of a pipeline, ``course`` is what the notebooks display. The names below are all that a notebook needs
before it looks inside; each is loaded when it is first asked for (PEP 562), so that importing the package costs
nothing. Not for clinical use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# Threads that wait for one another spin, by torch's default, on a core that another program may need. On two cores with
# a browser open a training step then takes five to ten times as long; sleeping costs 5 to 20 % of one. It is read when
# torch is loaded, and by the kernels that a process starts.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"

HOMES = {
    # all stops
    "LungsegError": "errors",
    "dataset_root": "paths",
    "outputs_dir": "paths",
    "SHIPPED_WEIGHTS": "paths",
    "get_recipe": "recipes",
    "check": "course.show",
    "right_or": "course.show",
    "show_figure": "course.show",
    "show_film": "course.show",
    "show_picture": "course.show",
    "show_sliders": "course.show",
    "show_source": "course.show",
    "show_table": "course.show",
    "solution": "course.solutions",
    "say_machine": "course.hosted",
    # 01: from a scan to a stack of slices
    "ensure_dataset": "sources.datasets",
    "find_cases": "sources.datasets",
    "first_patient": "sources.first_patient",
    "open_any": "sources.opening",
    "read_scan": "scans.scan",
    "oriented": "scans.orientation",
    "unoriented": "scans.orientation",
    "components": "scans.masks",
    "open_view": "scans.view",
    "prepare": "preprocessing.prepare",
    "make_stack": "preprocessing.stacks",
    "share_from_grid": "preprocessing.grids",
    # 02: from stacks to batches
    "split_patients": "dataset.split",
    "open_split": "dataset.split",
    "fold_patients": "dataset.split",
    "SliceDataset": "dataset.slices",
    "VolumeDataset": "dataset.volumes",
    "LungDataModule": "dataset.loaders",
    # 03 and 04: the network and its training
    "UNet": "unet",
    "build_unet": "unet",
    "pick_device": "training.devices",
    "train": "training.run",
    "load_weights": "training.weights",
    "cautious_threshold": "training.segmenter",
    # 05: masks, scores, films
    "predict_case": "prediction.inference",
    "predict_cases": "prediction.files",
    "predict_stack": "prediction.inference",
    "threshold_baseline": "prediction.inference",
    "probabilities_to_mask": "prediction.postprocessing",
    "save_mask": "prediction.files",
    "read_components": "prediction.components",
    "dice": "evaluation.metrics",
    "score": "evaluation.metrics",
    "ablation": "evaluation.ablation",
    "paired_difference": "evaluation.comparison",
    "seeds_by_patients": "evaluation.comparison",
    "evaluate_pairs": "evaluation.scores",
    "draw_gallery": "video.overlay",
    "contact_sheet": "video.sheets",
    "film_case": "video.films",
    "film_loop": "video.loops",
    # 09: in the browser
    "Viewer": "viewer.widget",
    "OwnScan": "viewer.desk",
    "show_scan": "viewer.still",
}
"""The names at the door, by the module that each is at home in."""

__all__ = [*HOMES]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; at its door are: {', '.join(HOMES)}")
    return getattr(import_module(f".{HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
