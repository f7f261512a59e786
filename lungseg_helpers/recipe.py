"""Every choice of a pipeline in one frozen dataclass.

A :class:`Recipe` says how HU become network input, how a scan is cropped and resized,
which augmentation, network, loss, sampler and optimiser are used, and for how long. Those
that have names are in :mod:`~lungseg_helpers.recipes`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from .errors import RecipeError
from .hounsfield import AIR_HU, Intensity
from .recipe_rules import AUGMENTATION_RULES, RECIPE_RULES, broken, changed

ADDED = ("fold", "dims", "slice_mm", "stem", "consistency")
"""Settings that came later. Where they are as they used to be, they leave a recipe's digest as it was, so that the
runs of earlier versions are found."""

LONGER = 10
"""How many times as many epochs a long training has."""


AXES = ("slices", "rows", "columns")
"""The order of every size of three numbers; those of two lack the first."""


@dataclass(frozen=True)
class Augmentation:
    """How much a training slice is moved, bent and re-scaled. Zero or (1, 1) turns a part off.

    Geometry moves image and mask together; intensity is of the image alone. Each part stands
    for a way in which patients or scanners differ:

    - ``scale`` (factor): small and large patients; ``rotate_deg`` (up to, either way) and ``shift``
      (up to, share of the patch): how they lie on the table.
    - ``flip_left_right`` (probability): a tumour looks alike in both lungs, though more of them, about 60 %, are
      on the right. The heart's side is the price. There is no flip of front and back: nobody has the spine in front.
    - ``elastic_…``: bodies bend. ``alpha`` is the strength and ``sigma`` the smoothness of the bend
      in pixels; so smooth and weak that tissue is never torn.
    - ``brightness`` and ``contrast`` (up to, of the input's range): scanners' calibration, contrast
      agent. ``noise`` (up to, standard deviation): dose.
    - ``blur`` (sigma in pixels): soft reconstruction kernels. ``low_resolution`` (factor): a larger
      field of view on the same matrix.
    - ``fixed_shift`` (share of the patch, down and to the right) moves every slice alike: a mistake of one
      of the reference projects, kept so that its cost can be measured.
    - ``context_stretch`` moves the neighbouring slices closer or away: scans of 1 mm and of 5 mm
      slices show a network quite different neighbours. ``context_end`` is the probability that the
      scan is taken to end at this slice, above or below: a diaphragm must not be a tumour because
      the scan begins in it. A three-dimensional patch is stretched along z by the factor of ``scale`` and by this one
      on top, and ends at its middle.
    """

    scale: tuple[float, float] = (0.75, 1.3)
    rotate_deg: float = 20.0
    shift: float = 0.05
    fixed_shift: float = 0.0
    flip_left_right: float = 0.5
    elastic_alpha: tuple[float, float] = (0.0, 100.0)
    elastic_sigma: tuple[float, float] = (8.0, 14.0)
    elastic_probability: float = 0.2
    brightness: float = 0.04
    contrast: float = 0.1
    noise: float = 0.03
    blur: tuple[float, float] = (0.4, 0.9)
    blur_probability: float = 0.1
    low_resolution: tuple[float, float] = (1.0, 1.8)
    low_resolution_probability: float = 0.1
    context_stretch: tuple[float, float] = (0.7, 2.0)
    context_end: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """One complete pipeline. Lengths are in mm or pixels as named; seeds are integers.

    All randomness follows from ``seed``, but for the split: with ``split_seed`` apart, several trainings
    differ in their luck and not in their patients. With a ``fold`` (0 to 4) the test patients are one of five folds
    (:func:`~lungseg_helpers.dataset.split.fold_patients`) instead of ``test_fraction`` of all.

    ``crop`` is ``"lungs"`` (the lungs' bounding box plus ``crop_margin_mm``),
    ``"first_30"`` (drop the 30 most inferior slices, as the reference projects do) or ``"none"``
    (the scan as it is, even where it shows no lung).
    ``pixel_mm`` is the in-plane spacing that slices are resampled to; with ``None``
    every slice is stretched to ``frame`` (rows, columns) instead. ``context_mm`` lists
    the distances from the slice to be segmented, along z, of the slices that the
    network sees as channels. Training cuts ``patch`` (rows, columns) out of a slice, or
    takes whole frames where it is None; everything else sees whole slices. ``stem`` is the side of the blocks of pixels
    that the network works on: 1, or 2 for a quarter of the work in two dimensions and an eighth in three. ``norm``,
    ``upsampling`` and ``initialisation`` are names of :mod:`~lungseg_helpers.unet`, ``loss`` one of
    :mod:`~lungseg_helpers.training.losses`. ``consistency`` is how much a mean teacher's answer to unlabelled scans
    counts beside it, once it is grown up. ``batch_size`` is for one device. The learning rate's ``schedule``
    is ``"cosine"`` (with warm-up) or ``"constant"``; training stops early once the validation Dice
    has not risen for ``patience`` epochs (0: never), and keeps the ``keep_best`` best checkpoints.

    With ``dims`` 3 the network sees volumes instead of slices. Stacks are then resampled along z as well, to
    ``slice_mm`` (None: the scan's own slices), there are no neighbours as channels, and ``patch`` and ``frame`` have
    three sizes (slices, rows, columns): training cuts out patches, of which ``slices_per_epoch`` counts those of an
    epoch, and everything else sees whole volumes, through windows of up to ``frame``.

    A predicted component below ``smallest_ml`` is dropped (0: none); Task06's smallest tumour has 0.74 mL.

    The rest is there for what the reference projects do otherwise. ``border_hu`` fills what augmentation
    moves in from outside the slice. With ``tumour_weight`` a slice with tumour is drawn so many times as
    often as one without (0: as often as there are fewer of them), instead of by ``tumour_fraction`` and
    patient. An epoch of 0 slices has as many as there are. ``same_seeds`` is the number of loading processes
    that all draw the same augmentations, in every epoch anew (0: none do). ``watched`` is what checkpoints and early
    stopping go by, ``val_dice`` or ``val_loss``; without ``averaged`` the last weights are kept instead of their moving
    average; without ``chosen_threshold`` the ``threshold`` is taken as it is, instead of chosen on validation patients.
    ``reported`` names the function of :mod:`~lungseg_helpers.evaluation.dice_definitions` that the project calls Dice.
    """

    name: str = "course"
    seed: int = 2026
    split_seed: int = 2026
    fold: int | None = None
    dims: int = 2
    # preprocessing
    crop: str = "lungs"
    crop_margin_mm: float = 10.0
    pixel_mm: float | None = 1.25
    slice_mm: float | None = None
    frame: tuple[int, ...] = (256, 288)
    # data set
    intensity: Intensity = field(default_factory=Intensity)
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    context_mm: tuple[float, ...] = (-10.0, -5.0, 0.0, 5.0, 10.0)
    patch: tuple[int, ...] | None = (192, 224)
    border_hu: float = AIR_HU
    tumour_fraction: float = 0.5
    tumour_weight: float | None = None
    same_seeds: int = 0
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    # network
    stem: int = 1
    widths: tuple[int, ...] = (32, 64, 128, 256)
    dropout: float = 0.0
    norm: str = "batch"
    upsampling: str = "bilinear_conv"
    initialisation: str = "torch"
    # training
    loss: str = "dice_bce"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    consistency: float = 100.0
    batch_size: int = 16
    slices_per_epoch: int = 4000
    epochs: int = 60
    schedule: str = "cosine"
    patience: int = 0
    keep_best: int = 1
    watched: str = "val_dice"
    averaged: bool = True
    # evaluation
    threshold: float = 0.5
    chosen_threshold: bool = True
    smallest_ml: float = 0.3
    reported: str = "patients_mean"

    def __post_init__(self) -> None:
        """Raise :class:`RecipeError` for a value that :mod:`~lungseg_helpers.recipe_rules` does not allow."""
        faults = list(broken(vars(self), RECIPE_RULES))
        if isinstance(self.augmentation, Augmentation):
            faults += [f"augmentation.{fault}" for fault in broken(vars(self.augmentation), AUGMENTATION_RULES)]
        elif self.augmentation is not None:
            faults.append(f"augmentation is {self.augmentation!r}; use an Augmentation, or None")
        faults = faults or list(self._contradictions())
        if faults:
            raise RecipeError(f"recipe {self.name}: {'; '.join(faults)}")

    def _contradictions(self) -> Iterator[str]:
        """Yield what is wrong with settings that are allowed one by one and not together."""
        if self.validation_fraction + self.test_fraction >= 1:
            yield "validation_fraction and test_fraction leave nobody to train on; use less than 1 together"
        if 0 < self.slices_per_epoch < self.batch_size:
            yield f"slices_per_epoch is {self.slices_per_epoch}; use 0, or one batch ({self.batch_size}) or more"
        for name in ("patch", "frame"):
            size = getattr(self, name)
            if size is not None and len(size) != self.dims:
                yield f"{name} is {size}; use {self.dims} sizes ({', '.join(AXES[-self.dims :])}) with dims={self.dims}"
        stride = self.stem * 2 ** (len(self.widths) - 1)
        deepest = math.prod(-(-side // stride) for side in self.patch or self.frame)
        if deepest * {"batch": self.batch_size, "instance": 1}.get(self.norm, 2) == 1:
            yield f"patch {self.patch or self.frame} ends as one pixel: not for norm={self.norm}; use a larger one"
        if self.dims == 2 and self.slice_mm is not None:
            yield f"slice_mm is {self.slice_mm:g}, and dims=2 keeps a scan's own slices; use None, or dims=3"
        if self.dims == 3 and self.pixel_mm is None:
            yield "pixel_mm is None, which stretches every slice; use a spacing in mm with dims=3"
        if self.dims == 3 and self.context_mm != (0.0,):
            yield f"context_mm is {self.context_mm}; use (0.0,) with dims=3, which sees all slices anyway"

    def longer(self) -> Recipe:
        """Return the recipe with :data:`LONGER` times the epochs: what ``lungseg train --long`` trains."""
        return replace(self, epochs=LONGER * self.epochs)

    @property
    def digest(self) -> str:
        """Eight hex digits that differ for recipes of which any setting differs."""
        defaults = {known.name: known.default for known in fields(self)}
        told = {k: v for k, v in self.to_dict().items() if k not in ADDED or v != defaults[k]}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings, lists and dicts: what a checkpoint and JSON can hold."""
        return _plain(asdict(self))

    def varied(self, settings: Sequence[str]) -> Recipe:
        """Return the recipe with settings such as ``"epochs=3"`` or ``"augmentation.noise=0"`` changed.

        Values are Python literals; a word that is none is taken as text. Raises
        :class:`RecipeError` for a setting that does not exist or a value of another kind.
        """
        return Recipe.from_dict(changed(self.to_dict(), settings))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Rebuild a recipe from :meth:`to_dict`.

        Raises :class:`RecipeError` where a key is unknown, as in a checkpoint of another version.
        """
        values = dict(values)
        for name, kind in (("intensity", Intensity), ("augmentation", Augmentation)):
            if isinstance(values.get(name), dict):
                values[name] = _made(kind, values[name], name)
        return _made(cls, values, "recipe")


def _made(kind: type, values: dict[str, Any], what: str) -> Any:
    if unknown := sorted(set(values) - {f.name for f in fields(kind)}):
        raise RecipeError(f"{what} has unknown settings {unknown}: made by another version of the course?")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
