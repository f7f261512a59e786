"""Weights on disk: where runs lie, what a weights file holds, and how one is opened safely."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import WeightsError
from .recipe import Recipe
from .sources import dataset_root
from .unet import UNet, build_unet

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the course: the package is installed from it, editable, so weights and outputs lie beside it."""

SHIPPED_WEIGHTS = ROOT / "data" / "weights" / "course.ckpt"
"""The weights that come with the course, trained on phantoms."""


def outputs_dir() -> Path:
    """Return the folder of everything a run makes: ``LUNGSEG_OUTPUTS``, else the course's ``outputs``."""
    return Path(os.environ.get("LUNGSEG_OUTPUTS") or ROOT / "outputs").expanduser()


def run_dir(data: str | Path | None, recipe: Recipe) -> Path:
    """Return the folder of the run of a recipe, in its size, on a data set."""
    size = "x".join(map(str, recipe.widths))
    return outputs_dir() / "runs" / f"{dataset_root(data).name}-{recipe.name}-{size}"


def find_weights(run: Path) -> Path:
    """Return the weights that this run trained, or the shipped ones, with a line on stderr that says which."""
    if (trained := run / "weights.ckpt").is_file():
        return trained
    print(f"no weights in {run.name} yet: using the shipped {SHIPPED_WEIGHTS.name}", file=sys.stderr)
    return SHIPPED_WEIGHTS


def save_weights(path: Path, recipe: Recipe, state: dict[str, Tensor], split: dict[str, Any]) -> Path:
    """Write what prediction needs and nothing else: the recipe, the network's weights, the patients by role."""
    partial = path.with_suffix(".partial")
    torch.save({"recipe": recipe.to_dict(), "state_dict": state, "split": split}, partial)
    partial.replace(path)
    return path


def load_weights(path: Path) -> tuple[UNet, Recipe, dict[str, Any]]:
    """Load a weights file: the network in evaluation mode, its recipe, and which patients had which role.

    Loads with ``weights_only=True``, so a file from elsewhere runs no code. Raises
    :class:`WeightsError` where the file is missing or is not one of this course's.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; train first ('lungseg train') or name another")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        recipe = Recipe.from_dict(content["recipe"])
        network = build_unet(recipe)
        network.load_state_dict({key: value.float() for key, value in content["state_dict"].items()})
    except Exception as error:  # torch.load raises whatever the broken file leads it to
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not a weights file of this course ({reason}); use one that it wrote") from error
    return network.to(memory_format=torch.channels_last).eval(), recipe, content.get("split", {})
