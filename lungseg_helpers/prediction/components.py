"""What was predicted, component by component: how large, how sure, and where.

A mask alone does not say which of its components the network hardly believed in, nor where to look first.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..scans.masks import mask_box, ranked_components
from ..scans.orientation import oriented, oriented_affine, oriented_spacing
from ..scans.places import find_chest
from ..scans.scan import Scan
from ..writing import written_whole

DECIMALS = {
    "component": 0, "ml": 3, "mean_probability": 3, "highest_probability": 3, "x_mm": 1, "y_mm": 1, "z_mm": 1,
    "slice": 0, "side": 0, "zone": 0, "lung_share": 2,
}  # fmt: skip
"""The columns of :func:`component_table`, and how many decimals of each are written."""


def component_table(scan: Scan, mask: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return a row for each component (of 26-connected voxels) of a predicted mask, the largest first.

    ``mask`` is (slice, row, column), as :func:`~lungseg_helpers.scans.orientation.oriented` turns ``scan``;
    ``probabilities`` are those of its voxels above 0, in their order. Columns:

    - ``component`` counts from 1; ``ml`` is the volume in mL.
    - ``mean_probability`` and ``highest_probability``, 0 to 1, are the network's own, over the component's voxels. They
      rank what was found; nobody has checked that of ten components of 0.8 eight are tumours.
    - ``x_mm``, ``y_mm``, ``z_mm``: the centre of mass in the scan's own coordinates, which grow to the patient's right,
      front and head (RAS, as NIfTI viewers show them).
    - ``slice``: that of the largest cross-section, counted from 1 at the feet.
    - ``side``, ``zone`` and ``lung_share`` say where in the chest, see :class:`~lungseg_helpers.scans.places.Chest`:
      ``right``, ``left`` or ``middle``, the third of the lungs' height, and the share of the surface at which lung
      begins. Empty, empty and NaN where no lung is found.
    """
    box = mask_box(mask)
    labels, count = ranked_components(mask[box])
    if not count:
        return pd.DataFrame(columns=list(DECIMALS))
    spacing, ct = oriented_spacing(scan.affine), oriented(scan.voxels, scan.affine)
    places, numbers = np.argwhere(labels) + [side.start for side in box], labels[labels > 0]
    to_mm, chest = oriented_affine(scan.affine, scan.voxels.shape), find_chest(ct, spacing)
    rows = []
    for number in range(1, count + 1):
        mine = numbers == number
        voxels, likely = places[mine], probabilities[mine]
        centre = voxels.mean(axis=0)
        row = {
            "component": number,
            "ml": len(voxels) * float(np.prod(spacing)) / 1000,
            "mean_probability": float(likely.mean(dtype=np.float64)),
            "highest_probability": float(likely.max()),
            **dict(zip(("x_mm", "y_mm", "z_mm"), to_mm[:3, :3] @ centre + to_mm[:3, 3], strict=True)),
            "slice": int(np.bincount(voxels[:, 0]).argmax()) + 1,
        }
        where = {"side": "", "zone": "", "lung_share": np.nan}
        if chest is not None:
            share = chest.lung_share(ct, voxels)
            where = {"side": chest.side(centre[2], share), "zone": chest.zone(centre[0]), "lung_share": share}
        rows.append(row | where)
    return pd.DataFrame(rows, columns=list(DECIMALS))


def write_components(table: pd.DataFrame, path: Path) -> Path:
    """Write a :func:`component_table` as CSV, whole or not at all, and return ``path``; an empty one has its header."""
    text = io.StringIO()
    table.round(DECIMALS).to_csv(text, index=False)
    with written_whole(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
    return Path(path)


def read_components(path: Path) -> pd.DataFrame:
    """Return what :func:`write_components` wrote; names that are empty come back as empty text."""
    return pd.read_csv(path, keep_default_na=False, na_values={"lung_share": [""]})


def caption(row: Mapping[str, Any]) -> str:
    """Return one row of a :func:`component_table` in a line: ``1: 7.5 mL, p 0.93, right upper zone``.

    p is the mean probability. ``middle`` is set apart by a comma, since zones have a middle as well.
    """
    side, zone = row["side"], row["zone"]
    where = f", {side}{',' if side == 'middle' else ''} {zone}" if zone else ""
    return f"{row['component']:.0f}: {row['ml']:.1f} mL, p {row['mean_probability']:.2f}{where}"
