"""What a training was made of: its settings, data and patients, and all that its weights were trained on before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..dataset.split import ROLES
from ..errors import SplitError, TrainingError
from ..paths import file_digest
from ..recipe import Recipe

SAME_INPUT = ("dims", "crop", "pixel_mm", "slice_mm", "intensity", "context_mm")
"""The settings by which two networks are shown the same images of one patient."""

SAME_NETWORK = ("stem", "widths", "norm", "upsampling")
"""The settings by which two networks, shown the same images, compute the same from the same weights."""


def differing(one: Recipe, other: Recipe, names: Sequence[str]) -> list[str]:
    """Return which of the settings ``names`` two recipes do not share; without ``pixel_mm`` the frame makes pixels."""
    names = (*names, "frame") if "pixel_mm" in names and one.pixel_mm is other.pixel_mm is None else names
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def generations(roles: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the patients by role of weights, of what they began from, who taught them, what unlabelled scans they saw.

    ``roles`` is what :func:`~lungseg_helpers.training.weights.load_weights` returns beside network and recipe.
    """
    yield roles
    for before in (roles.get("start"), roles.get("teacher"), roles.get("unlabelled"), *roles.get("averaged", ())):
        if before:
            yield from generations(before)


def require_unseen(path: Path, before: dict[str, Any], roles: dict[str, Any]) -> None:
    """Refuse weights that any earlier training has shown a patient whom this split validates or tests on.

    ``before`` are the patients by role of the weights in ``path``, ``roles`` those of the split. Patients are
    compared where the data sets have one name or one content. So a copy under another name does not hide a patient,
    nor does a data set that has grown; two data sets that merely share a name are refused as well. Raises
    :class:`SplitError`.
    """
    for earlier in generations(before):
        if earlier.get("data") != roles.get("data") and (earlier.get("digest") or None) != roles.get("digest"):
            continue
        # whoever is one patient by either record is one patient
        known, now = earlier.get("patients", {}), roles.get("patients", {})
        kept_apart = (*roles.get("validation", ()), *roles.get("test", ()))
        for owner in ({**known, **now}, {**now, **known}):
            seen, held = ({owner.get(id, id) for id in ids} for ids in (earlier.get("train", ()), kept_apart))
            if seen & held:
                raise SplitError(
                    f"{path}: was trained on {', '.join(sorted(seen & held)[:3])}, which this split validates or tests "
                    "on; use other weights, or the same split_seed and fractions (a data set of other patients: "
                    "rename it)"
                )


def begun_from(start: Path, before: dict[str, Any]) -> dict[str, Any]:
    """Return what a run keeps of the weights it begins from: name, content, and their patients by role."""
    return {"weights": start.name, "sha256": file_digest(start), **before}


def require_same(
    run: Path, recipe: Recipe, roles: dict[str, Any], kept_recipe: Recipe, kept_roles: dict[str, Any]
) -> None:
    """Refuse to go on in ``run`` if what it keeps was trained otherwise: :class:`TrainingError` says what differs."""
    ours, theirs = recipe.to_dict(), kept_recipe.to_dict()
    results = {"threshold"} if recipe.chosen_threshold else set()
    settings = [key for key in ours if ours[key] != theirs[key] and key not in results]
    other = [f"settings ({', '.join(settings)})"] if settings else []
    for what, keys in {"data": ("data", "digest"), "patients by role": ("patients", *ROLES)}.items():
        if any(roles.get(key) != kept_roles.get(key) for key in keys):
            other.append(what)
    if roles.get("unlabelled") != kept_roles.get("unlabelled"):
        other.append("unlabelled scans")
    # by content: a file may have been renamed since
    for role, what in (("start", "weights to begin from"), ("teacher", "teacher's weights")):
        if roles.get(role, {}).get("sha256") != kept_roles.get(role, {}).get("sha256"):
            other.append(what)
    if other:
        raise TrainingError(
            f"{run}: holds a training of other {', other '.join(other)}; name another folder with --out, "
            "or delete this one if you need it no more"
        )
