"""Hounsfield units (HU): what air is stored as, the windows in which a chest is read, and HU as network input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AIR_HU = -1024
"""HU that stands for air, and for everything outside the scanned field of view."""

WINDOWS = {"lung": (-600, 1500), "mediastinum": (40, 400), "bone": (400, 1800)}
"""Level and width in HU of the windows that radiologists read a chest CT in."""


@dataclass(frozen=True)
class Intensity:
    """A linear map from HU to network input: clip to [low, high], then (HU - shift) / scale.

    All four are in HU. The five reference projects and the course's own choice are all
    of this form, so they differ in four numbers, not in code.
    """

    low: float = -1000.0
    high: float = 400.0
    shift: float = -1000.0
    scale: float = 1400.0

    def __call__(self, hu: np.ndarray) -> np.ndarray:
        """Return ``hu`` (any shape, any numeric type) as float32 network input of the same shape."""
        scaled = np.maximum(np.asarray(hu, np.float32), np.float32(self.low))  # a new array, so the rest is in place
        np.minimum(scaled, np.float32(self.high), out=scaled)
        scaled -= np.float32(self.shift)
        scaled /= np.float32(self.scale)
        return scaled

    @property
    def air(self) -> float:
        """The network input that air becomes: what a border or an empty corner is filled with."""
        return float(self(np.array([AIR_HU]))[0])
