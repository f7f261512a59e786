"""A contact sheet: every patient in one picture, as photographers look over a film before they choose."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..errors import ScanError
from ..scans.view import View
from .following import follow, fullest, marked
from .overlay import add_legend_below, draw_locator, draw_slice, zoom_in

COLUMNS = 4
SIDE = 2.6
"""Inches of a patient's picture."""


def contact_sheet(patients: Iterable[tuple[str, View]], columns: int = COLUMNS, window: str = "lung") -> Figure:
    """Draw one picture a patient, ``columns`` in a row: the surroundings of the tumour in its fullest slice.

    ``patients`` are (title, view) in the order in which they shall stand; a title is a name and a score, say. A view's
    masks may be called ``truth`` and ``prediction``; the fullest slice is that of the truth, or else of the prediction,
    or else the middle one. Views may come from a generator: of each its slice alone is kept. Raises
    :class:`ScanError` where there is no patient.
    """
    stills = [(title, *_still(view)) for title, view in patients]
    if not stills:
        raise ScanError("there is no patient to show; give at least one")
    columns = min(columns, len(stills))
    rows = -(-len(stills) // columns)
    size = (SIDE * columns, (SIDE + 0.3) * rows + 0.3)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (title, note, ct, spacing, masks, corner, side_mm) in zip(axes.flat, stills, strict=False):
        draw_slice(ax, ct, spacing, **masks, window=window, note=note)
        ax.set_title(title, fontsize=10)
        if side_mm:
            zoom_in(ax, corner, side_mm)
            draw_locator(ax, ct, spacing, window)
    add_legend_below(figure, *(any(name in still[4] for still in stills) for name in ("truth", "prediction")))
    return figure


def _still(view: View) -> tuple:
    """What is kept of a view: note, slice in HU, its spacing, its masks by name, and the close-up's corner and side."""
    masks = {name: view.masks[name] for name in ("truth", "prediction") if name in view.masks}
    mask = marked(*masks.values())
    index = len(view.ct) // 2 if mask is None else fullest(mask)
    track = follow([*masks.values()], view.spacing)
    close = (track.corner_mm(index), track.side_mm) if track else ((0.0, 0.0), 0.0)
    planes = {name: each[index].copy() for name, each in masks.items()}
    return f"slice {index + 1}/{len(view.ct)}", view.ct[index].copy(), view.spacing[1:], planes, *close
