"""Weights on disk: what a weights file holds, and how one is opened safely."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import LungsegError, WeightsError
from ..recipe import Recipe
from ..unet import UNet, build_unet
from ..writing import written_whole
from .lineage import SAME_INPUT, SAME_NETWORK, differing, require_unseen


def save_weights(path: Path, recipe: Recipe, state: dict[str, Tensor], split: dict[str, Any]) -> Path:
    """Write what prediction needs and nothing else: the recipe, the network's weights, the patients by role.

    ``split`` is a :meth:`Split.to_dict <lungseg_helpers.dataset.split.Split.to_dict>`. Its path is left out: weights
    are passed on, and a folder of this machine means nothing on another.
    """
    content = {"recipe": recipe.to_dict(), "state_dict": state, "split": _without_path(split)}
    # given a name instead of a stream, torch keeps it in the file: equal weights would not be equal files
    with written_whole(path) as partial, partial.open("wb") as stream:
        torch.save(content, stream)
    return path


def load_weights(path: Path) -> tuple[UNet, Recipe, dict[str, Any]]:
    """Load a weights file: the network in evaluation mode, its recipe, and which cases had which role.

    What it was trained on is told as by :meth:`Split.to_dict <lungseg_helpers.dataset.split.Split.to_dict>`, without
    ``root``; files of earlier versions lack ``digest`` and ``patients``. ``start`` tells the same of the weights that
    it began from, ``averaged`` of those that it is a mean of. A checkpoint of a run (``checkpoints/last.ckpt``) is a
    weights file too: its threshold is the recipe's, not yet chosen on validation patients. Loads with
    ``weights_only=True``, so a file from elsewhere runs no code. Raises :class:`WeightsError` where the file is
    missing or is not one of this course's.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; train first ('lungseg train') or name another")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if "hyper_parameters" in content:
            content = _of_checkpoint(content, path.parent.parent / "split.json")
        recipe = Recipe.from_dict(content["recipe"])
        network = build_unet(recipe)
        network.load_state_dict({key: value.float() for key, value in content["state_dict"].items()})
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    except Exception as error:  # torch.load raises whatever the broken file leads it to
        # what torch says of a broken file is long, and about its own options
        reason = f" ({error})" if isinstance(error, LungsegError) else ""
        raise WeightsError(f"{path}: not a weights file of this course{reason}; use one that it wrote") from error
    return network.eval(), recipe, content.get("split", {})


def network_state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's own weights of a Lightning checkpoint, by the names that the network gives them."""
    return {key.removeprefix("network."): value for key, value in checkpoint["state_dict"].items()}


def _of_checkpoint(checkpoint: dict[str, Any], split: Path) -> dict[str, Any]:
    """What a weights file holds, from a Lightning checkpoint and the run's file of patients by role."""
    return {
        "recipe": checkpoint["hyper_parameters"]["recipe"],
        "state_dict": network_state(checkpoint),
        "split": _without_path(json.loads(split.read_text())) if split.is_file() else {},
    }


def _without_path(split: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in split.items() if key != "root"}


def average_weights(paths: Sequence[Path], out: Path) -> Path:
    """Write the mean of several trainings' weights to ``out``; recipe and patients by role are the first one's.

    Trainings that began from one another's weights lie in one valley, and the point between them
    often generalises better than either (Wortsman et al., "Model soups", ICML 2022). Which
    patients the others were trained on is kept too. Raises :class:`WeightsError` where a
    file is none of this course's, or the networks differ or are shown other images, and :class:`SplitError` where
    one was trained on patients that the first one's split validates or tests on.
    """
    loaded = [load_weights(path) for path in paths]
    if not loaded:
        raise WeightsError("nothing to average; name weights files of trainings of one recipe")
    _, recipe, roles = loaded[0]
    for path, (_, other, others) in zip(paths, loaded, strict=True):
        # equal shapes are not enough: the same weights mean something else to images of other pixels or HU
        if unlike := differing(recipe, other, (*SAME_INPUT, *SAME_NETWORK)):
            raise WeightsError(
                f"{path}: is of another {', '.join(unlike)} than {paths[0]}; average trainings of one recipe"
            )
        require_unseen(path, others, roles)
    states = [network.state_dict() for network, _, _ in loaded]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(value.dtype)
        for name, value in states[0].items()
    }
    # the first one may itself be a mean
    averaged = [*roles.get("averaged", ()), *(others for _, _, others in loaded[1:])]
    return save_weights(Path(out), recipe, mean, {**roles, "averaged": averaged})
