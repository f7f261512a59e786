"""Which values the settings of a recipe may have: a table, a rule a setting; and how one is changed by name."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import RecipeError
from .hounsfield import Intensity

FOLDS = 5
"""Parts of a cross-validation: as many as nnU-Net and most studies of the field have."""

MOST_SEED = 2**32 - 1
"""The largest seed that NumPy's older generator takes, and Lightning's ``seed_everything`` with it."""


@dataclass(frozen=True)
class Rule:
    """``holds`` says of a value whether it is allowed, ``words`` which ones are."""

    words: str
    holds: Callable[[Any], bool]


def _is(value: Any, kind: Any) -> bool:
    # True and False are whole numbers to Python
    return isinstance(value, kind) and not isinstance(value, bool)


def one_of(*known: str | int) -> Rule:
    """Allow some names or whole numbers only."""
    # 2.0 and True are equal to 2 and 1, and no such number
    return Rule(f"one of: {', '.join(map(str, known))}", lambda value: type(value) in (str, int) and value in known)


def whole(least: int, most: float = math.inf) -> Rule:
    """Allow whole numbers from ``least`` on, and up to ``most``."""
    words = f"a whole number from {least}" + (f" to {most}" if most < math.inf else "")
    return Rule(words, lambda value: _is(value, int) and least <= value <= most)


def number(low: float = -math.inf, high: float = math.inf, open_low: bool = False, open_high: bool = False) -> Rule:
    """Allow finite numbers from ``low`` to ``high``; without these ends where they are ``open_…``."""

    def holds(value: Any) -> bool:
        above = _is(value, int | float) and math.isfinite(value) and (value > low if open_low else value >= low)
        return above and (value < high if open_high else value <= high)

    ends = [f"{'above' if open_low else 'from'} {low:g}"] if low > -math.inf else []
    ends += [f"{'below' if open_high else 'up to'} {high:g}"] if high < math.inf else []
    return Rule(" ".join(["a number", *ends]), holds)


def several(rule: Rule, count: int | None = None) -> Rule:
    """Allow a tuple of ``count`` values (None: one or more), each of them by ``rule``."""

    def holds(value: Any) -> bool:
        right = isinstance(value, tuple) and (len(value) == count if count else len(value) > 0)
        return right and all(rule.holds(part) for part in value)

    return Rule(f"a tuple of {count or 'one or more'} values, each {rule.words}", holds)


def span(least: float, open_low: bool = False) -> Rule:
    """Allow (low, high) with ``least`` ≤ low ≤ high; not ``least`` itself where it is ``open_low``."""
    pair = several(number(least, open_low=open_low), 2)
    return Rule(f"{pair.words}, the lower first", lambda value: pair.holds(value) and value[0] <= value[1])


def or_none(rule: Rule) -> Rule:
    """Allow None as well."""
    return Rule(f"{rule.words}, or None", lambda value: value is None or rule.holds(value))


NAME = re.compile(r"[^/\\]+")
SHARE = number(0, 1)
SWITCH = Rule("True or False", lambda value: isinstance(value, bool))
SIZE = several(whole(1))

RECIPE_RULES: dict[str, Rule] = {
    # a name is part of a folder's name
    "name": Rule("a text without / and \\", lambda value: isinstance(value, str) and bool(NAME.fullmatch(value))),
    "seed": whole(0, MOST_SEED),
    "split_seed": whole(0),
    "dims": one_of(2, 3),
    "fold": or_none(whole(0, FOLDS - 1)),
    "crop": one_of("lungs", "first_30", "none"),
    "crop_margin_mm": number(0),
    "pixel_mm": or_none(number(0, open_low=True)),
    "slice_mm": or_none(number(0, open_low=True)),
    # any size will do: the network pads what its stages cannot halve
    "frame": SIZE,
    "patch": or_none(SIZE),
    "intensity": Rule(
        "an Intensity with low below high and scale above 0",
        lambda value: isinstance(value, Intensity) and value.low < value.high and value.scale > 0,
    ),
    "context_mm": Rule(
        "distances in mm, 0.0 (the slice itself) among them",
        lambda value: several(number()).holds(value) and 0.0 in value,
    ),
    "border_hu": number(),
    "tumour_fraction": number(0, 1, open_low=True, open_high=True),
    "tumour_weight": or_none(number(0)),
    "same_seeds": whole(0),
    "validation_fraction": number(0, 1, open_high=True),
    "test_fraction": number(0, 1, open_high=True),
    "stem": one_of(1, 2),
    "widths": several(whole(1)),
    "dropout": number(0, 1, open_high=True),
    "norm": one_of("batch", "group", "instance", "none"),
    "upsampling": one_of("bilinear_conv", "bilinear", "bilinear_aligned", "transposed"),
    "initialisation": one_of("torch", "xavier", "he"),
    "loss": one_of("bce", "dice", "dice_bce", "dice_focal", "two_dice_bce"),
    "learning_rate": number(0, open_low=True),
    "weight_decay": number(0),
    "consistency": number(0),
    "batch_size": whole(1),
    "slices_per_epoch": whole(0),
    "epochs": whole(1),
    "schedule": one_of("cosine", "constant"),
    "patience": whole(0),
    "keep_best": whole(1),
    "watched": one_of("val_dice", "val_loss"),
    "averaged": SWITCH,
    "threshold": SHARE,
    "chosen_threshold": SWITCH,
    "smallest_ml": number(0),
    "reported": one_of(
        "slices_soft", "pooled_soft", "batches_with_tumour", "volumes_mean", "batches_with_epsilon", "patients_mean"
    ),
}
"""Of every setting of a :class:`~lungseg_helpers.recipe.Recipe` but its augmentation. The names are those that
``unet``, ``training.losses``, ``preprocessing.grids`` and ``evaluation.dice_definitions`` know."""

OPTIONAL = ("augmentation", *(name for name, rule in RECIPE_RULES.items() if rule.holds(None)))
"""The settings that may be None."""

AUGMENTATION_RULES: dict[str, Rule] = {
    "scale": span(0, open_low=True),
    "rotate_deg": number(0),
    "shift": number(0),
    "fixed_shift": number(),
    "flip_left_right": SHARE,
    "elastic_alpha": span(0),
    "elastic_sigma": span(0),
    "elastic_probability": SHARE,
    "brightness": number(0),
    "contrast": number(0),
    "noise": number(0),
    "blur": span(0, open_low=True),
    "blur_probability": SHARE,
    "low_resolution": span(1),
    "low_resolution_probability": SHARE,
    "context_stretch": span(0, open_low=True),
    "context_end": SHARE,
}
"""Of every part of an :class:`~lungseg_helpers.recipe.Augmentation`."""


def broken(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> Iterator[str]:
    """Yield what is wrong with each value that breaks its rule, and which values are allowed."""
    for name, rule in rules.items():
        if not rule.holds(values[name]):
            yield f"{name} is {values[name]!r}; use {rule.words}"


def changed(values: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return a recipe's plain ``values`` after settings such as ``"epochs=3"`` or ``"augmentation.noise=0"``.

    Values are Python literals; a word that is none is taken as text. Raises :class:`RecipeError` for a setting that
    does not exist or a value of another kind. ``values`` is changed, too.
    """
    for setting in settings:
        name, equals, text = setting.partition("=")
        *path, last = name.strip().split(".")
        group = values
        for part in path:
            group = group.get(part) if isinstance(group, dict) else None
        if not equals or not isinstance(group, dict) or last not in group:
            raise RecipeError(f"no setting {setting!r}: write NAME=VALUE with one of: {', '.join(values)}")
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError):
            value = text.strip()
        before = group[last]
        if isinstance(before, float) and _is(value, int):
            value = float(value)  # 2 and 2.0 would be two recipes, of two folders
        if not (_same_kind(before, value) or (value is None and name.strip() in OPTIONAL)):
            raise RecipeError(f"{setting!r}: {name} is {before!r} by default; give a value of that kind")
        group[last] = list(value) if isinstance(value, tuple) else value
    return values


def _same_kind(before: Any, value: Any) -> bool:
    """Whether ``value`` may stand in place of ``before``: a whole number is a number, None left nothing to compare."""
    if before is None:
        return isinstance(value, int | float | tuple | list)
    if _is(before, int | float):  # which numbers they may be, the rules say
        return isinstance(value, int | float)
    if isinstance(before, list):
        return isinstance(value, list | tuple) and all(isinstance(part, int | float) for part in value)
    # parts of a group are set one by one: a new group would take its own defaults for the others
    return type(value) is type(before) and not isinstance(before, dict)
