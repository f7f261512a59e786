"""The checks behind the exercises: each takes the learner's function and returns a hint, or None where it is right.

The hint names the likely mistake, found by comparing with what that mistake would give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

_MODULES = {
    "scans": ("to_hu", "volume_ml", "apply_window", "slices_for", "clipped_share"),
    "batches": ("leaking_patients", "move_both", "border_value", "sampling_weights"),
    "network": ("conv_parameters", "double_conv", "decoder_stage", "same_cut", "unet_forward", "receptive_field"),
    "training": ("soft_dice", "rate_factor", "steepest_rate", "stop_epoch"),
    "evaluation": ("patient_dice", "count_found", "patient_by_patient", "choose_threshold"),
    "recipes": ("fair_steps", "paired_differences", "standard_error"),
    "volumes": ("elongation", "multiplications", "double_conv_3d", "blend"),
    "unlabelled": ("pseudo_labels", "consistency", "agreement"),
    "viewer": ("next_find",),
}
"""The exercises in the order of the notebooks, by the module that holds their checks."""


class _Checks(Mapping):
    """Checks by name, each imported when it is first asked for: those of networks load torch, and 01 needs none."""

    _homes = {name: module for module, names in _MODULES.items() for name in names}  # noqa: RUF012

    def __getitem__(self, name: str) -> Callable[[Callable], str | None]:
        return getattr(import_module(f".{self._homes[name]}", __name__), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __contains__(self, name: object) -> bool:
        return name in self._homes


CHECKS: Mapping[str, Callable[[Callable], str | None]] = _Checks()
