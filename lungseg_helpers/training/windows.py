"""A network's answer for a whole volume: in windows that overlap, put together by MONAI."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..recipe import Recipe

OVERLAP = 0.25
"""The share of a window that the next one sees again. Near its faces a window lacks what lies beyond them, so answers
are weighted by a Gaussian: what both see counts most where it is nearer to a window's middle."""


def through_windows(network: Callable[[Tensor], Tensor], volumes: Tensor, recipe: Recipe) -> Tensor:
    """Return logits (N, 1, D, H, W) of any size for volumes (N, 1, D, H, W), in windows of up to ``recipe.frame``.

    A volume that fits into one window is seen at once.
    """
    window = tuple(min(sides) for sides in zip(recipe.frame, volumes.shape[2:], strict=True))
    if window == tuple(volumes.shape[2:]):
        return network(volumes)
    from monai.inferers import sliding_window_inference  # three seconds to import, and most chests are one window

    return sliding_window_inference(volumes, window, 1, network, OVERLAP, mode="gaussian")
