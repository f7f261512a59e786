"""What a film's frame holds besides the pictures, drawn in parts that do not overlap.

A line at the top says what is seen; below the slice stands what outlines and colours mean; to its right the
close-up with what is known of the lesions; at the right edge the bar that shows where in the patient one is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from .overlay import HEAT, TRUTH, draw_ruler

FULL = 960
"""Pixels of a frame's width at which its letters have their nominal size; all else follows in proportion."""
DPI = 100
BAR, STRIP, GAP, CLOSE = 18, 38, 8, 300
"""Pixels at full width: the bar's, the height of a line of text, between two parts, the close-up's side."""
LETTERS, SMALL = 13, 11.5
"""Points: 18 and 16 pixels at full width, so that they can be read at half of it."""
WORDS, LINE, LETTERS_A_LINE = 90, 22, 37
"""Below the close-up, for what is said of the lesions: pixels at full width, a line's height, and its letters."""
TALLEST = 1.1
"""No slice is more times as high as it may be wide: a patient who is taller gets room at both sides."""
BOX = {"edgecolor": "white", "linewidth": 1.2}
Outline = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Place:
    """A rectangle of whole pixels in a frame: left and top edge, width and height."""

    left: int
    top: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Its width and height."""
        return self.width, self.height

    @property
    def index(self) -> tuple[slice, slice]:
        """Its rows and columns in a picture."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


class Layout:
    """The parts of a frame that is ``width`` pixels wide, for slices of ``size_mm`` (height, width).

    ``side_mm`` is the close-up's side, 0 for a film without one; ``styles`` are those of the outlines, in order;
    ``heat`` says whether there are probabilities. ``figure`` holds what lies over the pictures, and ``moving`` the
    artists that :meth:`move` changes from frame to frame. ``shape`` is the frame's (rows, columns).
    """

    def __init__(
        self, size_mm: tuple[float, float], width: int, side_mm: float, styles: Sequence[dict[str, Any]], heat: bool
    ) -> None:
        self.scale, self.side_mm = width / FULL, side_mm
        bar, strip, gap = self._pixels(BAR), self._pixels(STRIP), self._pixels(GAP)
        close = self._pixels(CLOSE) if side_mm else 0
        room = width - bar - gap - (close + gap if close else 0)
        scale = min(room / size_mm[1], TALLEST * room / size_mm[0])
        high, wide = round(size_mm[0] * scale), round(size_mm[1] * scale)
        rows = max(high, close + self._pixels(WORDS) if close else 0)
        # the encoder wants even numbers
        self.shape = (2 * -(-(2 * strip + rows) // 2), width)
        dpi = DPI * self.scale
        self.figure = Figure(figsize=(width / dpi, self.shape[0] / dpi), dpi=dpi)
        self.slice = Place((room - wide) // 2, strip + (rows - high) // 2, wide, high)
        self.close = Place(room + gap, strip, close, close)
        self.bar = self._axes(Place(width - bar, 0, bar, self.shape[0]))
        ax = self._axes(self.slice)
        ax.set(xlim=(0, size_mm[1]), ylim=(size_mm[0], 0))
        draw_ruler(ax, size_mm[1], SMALL)
        self.title = self._text(gap, strip / 2, LETTERS)
        self.outlines = [ax.plot([], [], **style)[0] for style in styles]
        self.moving: list[Artist] = [self.title, *self.outlines]
        self._draw_foot(self.shape[0] - strip / 2, styles, heat)
        self.lines = (rows - close - gap) // max(1, self._pixels(LINE))
        self.close_up: list[Artist] = []
        if close:
            self._lay_close_up(ax, styles, close / side_mm / scale)

    def move(self, title: str, outlines: Sequence[Outline], corner: tuple[float, float] | None, words: str) -> None:
        """Put the artists where they belong in the next frame.

        ``outlines`` are x and y in mm of the slice, ``corner`` is the close-up's upper left one in the slice, None
        where there is nothing to look at closely, ``words`` what is said of the lesions.
        """
        self.title.set_text(title)
        for line, (x, y) in zip(self.outlines, outlines, strict=True):
            line.set_data(x, y)
        for artist in self.close_up:
            artist.set_visible((corner is None) == (artist is self.nothing))
        if corner:
            for line, (x, y) in zip(self.close_outlines, outlines, strict=True):
                line.set_data(x - corner[0], y - corner[1])
            self.box.set_xy(corner)
            lines = [textwrap.fill(line, LETTERS_A_LINE, subsequent_indent="    ") for line in words.splitlines()]
            self.words.set_text("\n".join("\n".join(lines).splitlines()[: self.lines]))

    def _lay_close_up(self, ax: Axes, styles: Sequence[dict[str, Any]], times: float) -> None:
        """The close-up's outlines, ruler and words, and its box in the slice ``ax``: all of it comes and goes."""
        near = self._axes(self.close)
        near.set(xlim=(0, self.side_mm), ylim=(self.side_mm, 0))
        self.close_outlines = [near.plot([], [], **style | {"linewidth": 2.2})[0] for style in styles]
        self.box = ax.add_patch(Rectangle((0, 0), self.side_mm, self.side_mm, fill=False, **BOX))
        right, low = self.close.left + self.close.width, self.close.top + self.close.height
        head = self._text(right, self.close.top / 2, LETTERS, ha="right")
        head.set_text(f"close-up ×{times:.1f}")
        self.words = self._text(self.close.left, low + self._pixels(GAP), SMALL, va="top", linespacing=1.4)
        self.nothing = self._text(self.close.left, self.close.top, SMALL, va="top", color="0.6")
        self.nothing.set_text("nothing is marked near this slice")
        self.close_up = [
            self.nothing,
            *self.close_outlines,
            self.box,
            head,
            self.words,
            *draw_ruler(near, self.side_mm, SMALL),
        ]
        self.moving += self.close_up

    def _pixels(self, at_full: float) -> int:
        return round(at_full * self.scale)

    def _axes(self, place: Place) -> Axes:
        """Axes that fill a place, without ticks."""
        rows, columns = self.shape
        low = rows - place.top - place.height
        ax = self.figure.add_axes(
            (place.left / columns, low / rows, place.width / columns, place.height / rows), facecolor="none"
        )
        ax.set_axis_off()
        return ax

    def _text(self, left: float, top: float, size: float, **style: Any) -> Text:
        """A line of white text, shown as it is, whose middle is ``top`` pixels below the upper edge."""
        style = {"color": "white", "va": "center", "fontsize": size, "transform": None, "parse_math": False} | style
        return self.figure.text(left, self.shape[0] - top, "", **style)

    def _draw_foot(self, top: float, styles: Sequence[dict[str, Any]], heat: bool) -> None:
        """What outlines and colours mean, from left to right."""
        left, low = self._pixels(GAP), self.shape[0] - top
        for style in styles:
            line = Line2D([left, left + self._pixels(48)], [low, low], transform=None, **style)
            self.figure.add_artist(line)
            self._text(left + self._pixels(58), top, LETTERS).set_text(style["label"])
            left += self._pixels(90 + 11 * len(style["label"]))
        if heat:
            wide, high = self._pixels(96), self._pixels(14)
            self._text(left, top, LETTERS).set_text("tumour probability  0")
            left += self._pixels(198)
            key = self._axes(Place(left, round(top - high / 2), wide, high))
            key.imshow(np.linspace(0, 1, 128)[None], cmap=HEAT, aspect="auto", extent=(0, 1, 0, 1))
            self._text(left + wide + self._pixels(GAP), top, LETTERS).set_text("1")

    def draw_bar(self, count: int, upward: bool, outlined: Sequence[tuple[np.ndarray, dict[str, Any]]]) -> Line2D:
        """Draw which of ``count`` slices hold truth (left half) and prediction (right half); return the moving marker.

        ``outlined`` are the masks (slice, row, column), each with its style.
        """
        # a film that does not run upwards starts at the top of the bar
        ends = (-0.5, count - 0.5) if upward else (count - 0.5, -0.5)
        self.bar.set(xlim=(0, 1), ylim=ends)
        self.bar.add_patch(Rectangle((0, -0.5), 1, count, color="0.15"))
        for mask, style in outlined:
            held = np.flatnonzero(mask.any(axis=(1, 2)))
            left = 0.05 if style is TRUTH else 0.52
            self.bar.barh(held, 0.43, left=left, height=1.0, color=style["color"], linewidth=0)
        return self.bar.plot([0, 1], [0, 0], color="white", linewidth=2)[0]
