"""The checks behind the exercises: each takes the learner's function and returns a hint, or None where it is right.

The hint names the likely mistake, found by comparing with what that mistake would give.
"""

from __future__ import annotations

from collections.abc import Callable

from .batches import border_value, leaking_patients, move_both, sampling_weights
from .data import apply_window, clipped_share, slices_for, volume_ml
from .evaluation import choose_threshold, count_found, patient_dice
from .recipes import fair_steps, larger_than_luck
from .training import (
    conv_parameters,
    decoder_stage,
    double_conv,
    same_cut,
    soft_dice,
    steepest_rate,
    stop_epoch,
)

CHECKS: dict[str, Callable[[Callable], str | None]] = {
    check.__name__: check
    for check in (
        volume_ml,
        apply_window,
        slices_for,
        clipped_share,
        leaking_patients,
        move_both,
        border_value,
        sampling_weights,
        conv_parameters,
        double_conv,
        decoder_stage,
        same_cut,
        soft_dice,
        steepest_rate,
        stop_epoch,
        patient_dice,
        count_found,
        choose_threshold,
        fair_steps,
        larger_than_luck,
    )
}
