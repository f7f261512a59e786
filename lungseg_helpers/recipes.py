"""The named recipes: the course's own, of slices and of volumes, and those of five public student projects.

The projects' values are what their code does, not what their texts say. Where the code does
something that nobody can have meant, the recipe does what was meant; with ``faithful=True`` it
does as the code does, so that a learner can measure what each mistake costs. All recipes
share one split by patient. A profile (``laptop`` or ``gpu``) changes only sizes and budgets.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

from .errors import RecipeError
from .hounsfield import AIR_HU, WINDOWS, Intensity
from .recipe import Augmentation, Recipe

__all__ = ["AIR_HU", "FAITHFUL", "PROFILES", "RECIPES", "WINDOWS", "Augmentation", "Intensity", "Recipe", "get_recipe"]

PROFILES = ("laptop", "gpu")

WATER_HU = 0
"""What a border of 0 means after HU were only divided."""

DIVIDED = Intensity(low=AIR_HU, high=3071.0, shift=0.0, scale=3071.0)
"""HU / 3071, as four of the five projects scale: air becomes -0.33 and soft tissue lies within 0.03 of 0."""

MOVES = Augmentation(
    scale=(0.85, 1.15), rotate_deg=45.0, shift=0.0, flip_left_right=0.0,
    elastic_alpha=(0.0, 40.0), elastic_sigma=(4.0, 8.0), elastic_probability=1.0,
    brightness=0.0, contrast=0.0, noise=0.0, blur_probability=0.0, low_resolution_probability=0.0,
    context_stretch=(1.0, 1.0), context_end=0.0,
)  # fmt: skip
"""Affine and elastic moves as the projects share them. Where imgaug's elastic transformation is called with its
defaults, these are its present releases'."""

BASELINE = Recipe(
    name="baseline",
    crop="first_30",
    pixel_mm=None,
    frame=(256, 256),
    intensity=DIVIDED,
    augmentation=MOVES,
    context_mm=(0.0,),
    patch=None,
    tumour_weight=8.2,
    widths=(64, 128, 256, 512),
    norm="none",
    upsampling="bilinear",
    loss="bce",
    learning_rate=1e-4,
    weight_decay=0.0,  # AdamW without decay is Adam
    batch_size=8,
    slices_per_epoch=0,
    epochs=30,
    schedule="constant",
    watched="val_loss",
    averaged=False,
    chosen_threshold=False,
    smallest_ml=0.0,
    reported="slices_soft",
)
"""JacobJ215/Lung-Cancer-Segmentation; the others are told by what they do otherwise."""

RECIPES: dict[str, Recipe] = {
    "course": Recipe(),
    "volume": Recipe(
        name="volume", dims=3, pixel_mm=2.5, slice_mm=2.5, frame=(160, 128, 160), patch=(64, 96, 96), stem=2,
        context_mm=(0.0,), augmentation=replace(Augmentation(), context_stretch=(0.9, 1.1)),
        widths=(32, 64, 128, 192), slices_per_epoch=8000,
    ),
    # luissm01/lung-tumor-segmentation
    "windowed": replace(
        BASELINE, name="windowed", intensity=Intensity(-1350.0, 150.0, -1350.0, 1500.0), tumour_weight=8.0,
        norm="batch", dropout=0.2, upsampling="bilinear_conv", initialisation="xavier", loss="dice_focal",
        batch_size=12, epochs=100, watched="val_dice", patience=25, keep_best=3, reported="volumes_mean",
    ),
    # jbbobant/medical-image-analysis
    "lungnet": replace(
        BASELINE, name="lungnet",
        augmentation=replace(MOVES, shift=0.15, elastic_alpha=(0.0, 5.0), elastic_sigma=(0.25, 0.25)),
        tumour_weight=0.0, upsampling="bilinear_aligned", batch_size=16, epochs=50, watched="val_dice", patience=10,
        keep_best=3, reported="batches_with_epsilon",
    ),
    # tsangchriss/lung_tumor_segmentation, whose network and metric are not published: the baseline's stand in
    "oversampled": replace(BASELINE, name="oversampled", tumour_weight=8.5, reported="patients_mean"),
    # rbhardwaj2186/Lung_Tumor_Segmentation
    "classic": replace(BASELINE, name="classic", tumour_weight=8.5, reported="pooled_soft"),
    "baseline": BASELINE,
}  # fmt: skip
"""The named recipes, at the size and budget of the ``gpu`` profile."""


def _probability(logit: float) -> float:
    """What a threshold means that was meant for probabilities and is applied to logits."""
    return 1 / (1 + math.exp(-logit))


_MISTAKES = {"border_hu": WATER_HU, "same_seeds": 4, "threshold": _probability(0.5)}

FAITHFUL: dict[str, dict[str, Any]] = {
    # its window maps the lower edge to 0, so a border of 0 is right there: -1350 HU, as good as air
    "windowed": {"same_seeds": 4, "threshold": _probability(0.2)},
    # its Dice is of probabilities
    "lungnet": {"border_hu": WATER_HU, "same_seeds": 4},
    "oversampled": _MISTAKES,
    "classic": _MISTAKES | {"augmentation": replace(MOVES, fixed_shift=0.15)},
    "baseline": _MISTAKES,
}
"""What the projects' code does and nobody can have meant: corners of water, four loading processes that draw the same
augmentations in every epoch, logits cut where probabilities were meant, and one fixed shift."""

LAPTOP_WIDTHS = (8, 16, 32, 64)
"""Narrow, for more steps in the same minutes: see ``benchmarks/laptop.py`` and its table."""

_LAPTOP = {
    "course": {
        "pixel_mm": 2.5,
        "frame": (112, 144),
        "patch": (96, 112),
        "widths": LAPTOP_WIDTHS,
        "batch_size": 8,
        "slices_per_epoch": 3000,
        "epochs": 4,
    },
    "volume": {
        "patch": (48, 64, 64),
        "widths": (24, 48, 96, 192),
        "batch_size": 2,
        "slices_per_epoch": 600,
        "epochs": 4,
    },
    **{
        name: {"frame": (128, 128), "widths": LAPTOP_WIDTHS, "slices_per_epoch": 2400, "epochs": 4}
        for name in RECIPES
        if name not in ("course", "volume")
    },
}


def get_recipe(name: str | None = None, profile: str | None = None, faithful: bool = False) -> Recipe:
    """Return the named recipe in the given profile; ``faithful`` with the mistakes of :data:`FAITHFUL`.

    ``name`` defaults to ``LUNGSEG_RECIPE`` or ``"course"``; ``profile`` to
    ``LUNGSEG_PROFILE`` or ``"laptop"``. Raises :class:`RecipeError` for an unknown name, and
    where ``faithful`` is asked of a recipe that has no mistakes on record.
    """
    name = name or os.environ.get("LUNGSEG_RECIPE") or "course"
    profile = profile or os.environ.get("LUNGSEG_PROFILE") or "laptop"
    if name not in RECIPES:
        raise RecipeError(f"no recipe called {name!r}; there are: {', '.join(RECIPES)}")
    if profile not in PROFILES:
        raise RecipeError(f"no profile called {profile!r}; use one of: {', '.join(PROFILES)}")
    recipe = RECIPES[name]
    if faithful and name not in FAITHFUL:
        raise RecipeError(f"the recipe {name!r} has no mistakes to be faithful to; those of {', '.join(FAITHFUL)} have")
    changes = (FAITHFUL[name] if faithful else {}) | (_LAPTOP[name] if profile == "laptop" else {})
    return replace(recipe, name=f"{name}_faithful" if faithful else name, **changes)
