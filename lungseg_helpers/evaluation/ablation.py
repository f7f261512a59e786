"""The way from ``baseline`` with its mistakes to ``course``, in steps that each take over one group of settings."""

from __future__ import annotations

from dataclasses import replace

from ..recipe import Recipe
from ..recipes import get_recipe

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("normalised, high rate, averaged weights",
     ("norm", "upsampling", "learning_rate", "weight_decay", "schedule", "averaged", "batch_size")),
    ("HU window, lungs cropped, pixels in mm", ("intensity", "crop", "pixel_mm", "frame")),
    ("mistakes undone", ("border_hu", "same_seeds", "threshold")),
    ("Dice in the loss, more tumour, patches",
     ("loss", "tumour_weight", "tumour_fraction", "patch")),
    ("milder augmentation, neighbouring slices", ("augmentation", "context_mm")),
    ("chosen by validation, no small pieces",
     ("watched", "chosen_threshold", "keep_best", "patience", "smallest_ml")),
)  # fmt: skip
"""The way from ``baseline`` with its mistakes to ``course``: what each step is called, and the settings that it takes
over from the course's recipe. What lets a network learn at all within a small budget comes first: without it no
other step would show. They are few, so that each can be trained with several seeds."""

BUDGET = ("name", "seed", "split_seed", "slices_per_epoch", "epochs", "reported", "widths")
"""Settings that are no step of that way: names, budgets, and the size of the network."""


def ablation(profile: str | None = None) -> list[tuple[str, Recipe]]:
    """Return the recipes from ``baseline`` (with its mistakes) to ``course``, each one step further than the last."""
    recipe, goal = get_recipe("baseline", profile, faithful=True), get_recipe("course", profile)
    recipe = replace(recipe, name="step_00", widths=goal.widths)
    steps = [("baseline, with its mistakes", recipe)]
    for number, (words, settings) in enumerate(STEPS, start=1):
        recipe = replace(recipe, name=f"step_{number:02}", **{key: getattr(goal, key) for key in settings})
        steps.append((words, recipe))
    return steps
