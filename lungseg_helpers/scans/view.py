"""A scan and its masks, turned the way a radiologist looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .checking import label_on_grid
from .orientation import oriented, oriented_spacing, slice_heights
from .scan import Scan, read_scan


@dataclass(frozen=True)
class View:
    """A scan as a radiologist looks at it: arrays (slice, row, column), ``ct`` in HU, ``masks`` by name.

    ``spacing`` is in mm in the same order; ``z_mm`` is the scanner's z at the middle of each slice.
    """

    ct: np.ndarray
    masks: dict[str, np.ndarray]
    spacing: tuple[float, float, float]
    z_mm: np.ndarray


def open_view(image: Path | Scan, **masks: Path | None) -> View:
    """Read a scan and masks on its grid, turned the way a radiologist looks at them; no resampling.

    ``image`` may be a scan that has been read already.
    Raises :class:`ScanError` where a file cannot be used or a mask lies on another grid.
    """
    scan = image if isinstance(image, Scan) else read_scan(image)
    oriented_masks = {}
    for name, path in masks.items():
        if path is not None:
            oriented_masks[name] = oriented(label_on_grid(scan, read_scan(path, kind="label")), scan.affine)
    ct = oriented(scan.voxels, scan.affine)
    return View(ct, oriented_masks, oriented_spacing(scan.affine), slice_heights(scan.affine, scan.voxels.shape))
