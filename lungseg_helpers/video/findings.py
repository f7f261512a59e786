"""What a film says of each predicted component: its row in the table that is written beside the mask."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import ScanError
from ..prediction.components import caption, read_components
from ..scans.case import COMPONENTS, MASK
from ..scans.masks import ranked_components
from ..scans.view import View

SAID = {"component": int, "ml": float, "mean_probability": float, "side": str, "zone": str}
"""The columns that a film says something of, and what they hold."""


def add_findings(view: View, table: pd.DataFrame, name: str = "prediction") -> dict[int, str]:
    """Number the components of ``view.masks["prediction"]`` as ``view.masks["findings"]``; return a line for each.

    ``table`` is of this mask, see :func:`~lungseg_helpers.prediction.components.component_table`: the largest is 1.
    Raises :class:`ScanError`, which calls the mask ``name``, where it has other components than the table.
    """
    view.masks["findings"], count = ranked_components(view.masks["prediction"])
    if len(table) != count:
        raise ScanError(f"{name}: has {count} components and the table beside it {len(table)}; predict again")
    if sorted(table["component"]) != list(range(1, count + 1)):
        raise ScanError(f"{name}: the table beside it does not number its components from 1 on; predict again")
    return {int(row["component"]): caption(row) for row in table.to_dict("records")}


def table_beside(prediction: Path) -> pd.DataFrame | None:
    """Return the components' table that ``lungseg predict`` wrote beside a mask; None where there is none.

    Raises :class:`ScanError` where what lies there is no such table.
    """
    name, _, _ = Path(prediction).name.rpartition(f"{MASK}.nii")
    path = Path(prediction).with_name(f"{name}{COMPONENTS}.csv")
    if not name or not path.is_file():
        return None
    try:
        # a spreadsheet that has saved it may have changed separators, numbers and letters
        return read_components(path).astype(SAID)
    except (ValueError, KeyError) as error:
        raise ScanError(f"{path}: is no table of components; predict again") from error
