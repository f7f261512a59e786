"""Overlay pictures: CT in a window, truth and prediction as contours.

Drawn in mm, so that a pixel is as large on screen as in the patient. Colours are from the
Okabe-Ito palette, which colour-blind readers can tell apart; the prediction is dashed as
well. The moving pictures are made in :mod:`~lungseg_helpers.video.films`.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from skimage.measure import find_contours

from ..hounsfield import WINDOWS
from ..scans.masks import mask_box
from .following import follow

EDGE = [withStroke(linewidth=4.2, foreground="white"), withStroke(linewidth=3.0, foreground="black")]
"""Around an outline a dark rim, and a light one around that: it is seen on lung, on bone and on a heat map."""

TRUTH = {"color": "#56B4E9", "linestyle": "-", "linewidth": 1.6, "label": "truth", "path_effects": EDGE}
PREDICTION = {
    "color": "#E69F00",
    "linestyle": (0, (4, 1.5)),
    "linewidth": 1.6,
    "label": "prediction",
    "path_effects": EDGE,
}

HEAT = "RdPu"
"""Probabilities are drawn in a hue that neither outline has."""

KEY = {"ncols": 2, "fontsize": 9, "edgecolor": "none", "handlelength": 2, "columnspacing": 1}

LOCATOR = 0.3
"""So much of a close-up's width the whole slice in its corner takes."""

ROUND_MM = (1, 2, 5, 10, 20, 50, 100)
"""Lengths of a ruler."""


def window_limits(window: str) -> tuple[float, float]:
    """Return the HU that are drawn black and white in a named window."""
    level, width = WINDOWS[window]
    return level - width / 2, level + width / 2


def outline(mask: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in mm of a slice mask's outlines, several joined by NaN; empty for an empty mask.

    ``mask`` is (row, column), ``spacing`` the mm between rows and columns. The mask is
    padded first, so that outlines close at the border.
    """
    mask = np.asarray(mask) > 0
    rows, columns = mask_box(mask)
    xs, ys = [], []
    for line in find_contours(np.pad(mask[rows, columns].astype(np.float32), 1), 0.5):
        ys += [*((line[:, 0] - 0.5 + rows.start) * spacing[0]), np.nan]
        xs += [*((line[:, 1] - 0.5 + columns.start) * spacing[1]), np.nan]
    return np.array(xs), np.array(ys)


def draw_slice(
    ax: Axes,
    ct: np.ndarray,
    spacing: Sequence[float],
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    window: str = "lung",
    note: str = "",
) -> None:
    """Draw one slice (row, column) in HU with its contours; ``spacing`` is the mm between rows and columns.

    The axes are in mm from the upper left corner: the patient's right is on the left.
    """
    low, high = window_limits(window)
    rows, columns = ct.shape
    extent = (0, columns * spacing[1], rows * spacing[0], 0)
    ax.imshow(ct, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="nearest")
    for mask, style in ((truth, TRUTH), (prediction, PREDICTION)):
        if mask is not None:
            ax.plot(*outline(mask, spacing), **style)
    if note:
        ax.text(
            0.02,
            0.98,
            note,
            transform=ax.transAxes,
            color="white",
            va="top",
            fontsize=9,
            bbox={"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 2},
        )
    ax.set_xlim(extent[:2])
    ax.set_ylim(extent[2:])


def draw_ruler(ax: Axes, width: float, letters: float = 9) -> list[Artist]:
    """Draw a ruler in the lower right corner, of a round length of at most a fourth of the ``width`` in mm.

    ``letters`` is their size in points. Returns its line and its text.
    """
    length = max(mm for mm in ROUND_MM if mm <= max(ROUND_MM[0], width / 4))
    right, low, share = 0.97, 0.045, length / width
    place, rim = ax.transAxes, [withStroke(linewidth=4, foreground="black")]
    style = {"color": "white", "linewidth": 2.5, "transform": place, "path_effects": rim}
    line = Line2D([right - share, right], [low, low], marker="|", markersize=9, markeredgewidth=2.5, **style)
    ax.add_artist(line)
    style = {"color": "white", "ha": "center", "va": "bottom", "transform": place, "path_effects": rim}
    return [line, ax.text(right - share / 2, low + 0.018, f"{length} mm", fontsize=letters, **style)]


def add_legend(ax: Axes, truth: bool, prediction: bool) -> None:
    """Name the contours once, in the picture's lower left corner, whether or not the first slice has any."""
    if handles := _handles(truth, prediction):
        ax.legend(handles=handles, loc="lower left", framealpha=0.6, facecolor="black", labelcolor="white", **KEY)


def add_legend_below(figure: Figure, truth: bool, prediction: bool) -> None:
    """Name the contours once, below all pictures of a figure with constrained layout."""
    if handles := _handles(truth, prediction):
        figure.legend(handles=handles, loc="outside lower center", frameon=False, **KEY)


def _handles(truth: bool, prediction: bool) -> list[Line2D]:
    return [Line2D([], [], **style) for style, there in ((TRUTH, truth), (PREDICTION, prediction)) if there]


def draw_gallery(
    ct: np.ndarray,
    spacing: Sequence[float],
    indices: Sequence[int],
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    window: str = "lung",
    title: str = "",
    zoom: bool = False,
) -> Figure:
    """Draw slices of a volume (slice, row, column) side by side; ``spacing`` is (slice, row, column) in mm.

    With ``zoom`` each shows the surroundings of the lesion nearest to it, at one scale with a ruler, and the whole
    slice is a small picture in its corner. Where nothing is marked, whole slices are shown.
    """
    track = follow((truth, prediction), spacing) if zoom else None
    aspect = 1.0 if track else ct.shape[1] * spacing[1] / (ct.shape[2] * spacing[2])
    size = (3.2 * len(indices), 3.2 * aspect + 0.3 * bool(title) + 0.3 * bool(track))
    figure, axes = plt.subplots(1, len(indices), figsize=size, squeeze=False, layout="constrained")
    for ax, index in zip(axes[0], indices, strict=True):
        masks = [None if mask is None else mask[index] for mask in (truth, prediction)]
        note = f"slice {index + 1}/{len(ct)}"
        draw_slice(ax, ct[index], spacing[1:], *masks, window=window, note=note)
        ax.set_axis_off()
        if track:
            zoom_in(ax, track.corner_mm(index), track.side_mm)
            draw_locator(ax, ct[index], spacing[1:], window)
    if track:
        add_legend_below(figure, truth is not None, prediction is not None)
    else:
        add_legend(axes[0, 0], truth is not None, prediction is not None)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def zoom_in(ax: Axes, corner: tuple[float, float], side_mm: float) -> None:
    """Show a square of what :func:`draw_slice` has drawn, from its upper left ``corner`` (x, y in mm), with a ruler."""
    ax.set(xlim=(corner[0], corner[0] + side_mm), ylim=(corner[1] + side_mm, corner[1]), facecolor="black")
    ax.add_patch(Rectangle((0, 0), 1, 1, transform=ax.transAxes, facecolor="black", zorder=-1))
    draw_ruler(ax, side_mm)


def draw_locator(ax: Axes, ct: np.ndarray, spacing: Sequence[float], window: str = "lung") -> None:
    """Draw the whole slice (row, column) small into the upper right corner, with a box around what ``ax`` shows."""
    rows, columns = ct.shape
    high = LOCATOR * rows * spacing[0] / (columns * spacing[1])
    small = ax.inset_axes((1 - LOCATOR, 1 - high, LOCATOR, high))
    draw_slice(small, ct, spacing, window=window)
    (left, right), (low, top) = ax.get_xlim(), ax.get_ylim()
    small.add_patch(Rectangle((left, top), right - left, low - top, fill=False, edgecolor="#F0E442", linewidth=1.4))
    small.set(xticks=[], yticks=[])
    for spine in small.spines.values():
        spine.set_color("white")
