"""Slice videos: a patient filmed slice by slice, truth and prediction as contours, probability as a heat map.

celluloid's Camera keeps every frame's artists until the end and then draws whole figures.
:class:`FilmCamera` keeps nothing: the same few artists are moved for each frame and drawn alone,
over what was drawn once, and the picture goes to the encoder at once. So memory does not grow with the scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from tqdm import tqdm

from ..errors import ScanError
from ..scans.case import case_id
from ..scans.checking import label_on_grid
from ..scans.orientation import oriented
from ..scans.scan import Scan, read_scan
from ..scans.view import View, open_view
from ..video import PLANES
from .camera import FilmCamera
from .overlay import PREDICTION, TRUTH, add_legend, outline, window_limits

WIDTH, LEAST_HEIGHT, DPI = 640, 240, 100
"""Pixels of a frame; its height follows from the patient."""
STEP_MM = 2.0
"""Coronal and sagittal films take a slice about every so often: pixels lie closer than anyone needs to see."""
BAR = 18
"""Pixels at the right edge for the bar that shows where in the patient the slice lies."""
HEAT = "YlOrRd"
FAINT = 0.05
"""Probabilities below this are not drawn: a network is never quite sure of nothing."""


@dataclass(frozen=True)
class Film:
    """What is filmed, turned so that the first axis is the one that the film runs along.

    ``ct`` int16 HU, ``truth``, ``prediction`` (uint8) and ``probability`` (uint8, 255ths) are
    (slice, row, column); ``spacing`` is in mm in that order; ``shown`` are the slices that become
    frames, and ``places`` says where each of them lies; ``upward`` whether the film runs towards the
    head. Of the arrays ``ct`` alone has to be there.
    """

    ct: np.ndarray
    spacing: tuple[float, float, float]
    shown: range
    places: list[str]
    upward: bool
    truth: np.ndarray | None = None
    prediction: np.ndarray | None = None
    probability: np.ndarray | None = None


def turn(view: View, plane: str = "axial") -> Film:
    """Return a view as a film: axial from the lowest slice up, coronal from front to back, sagittal from right to left.

    In coronal and sagittal frames the head is at the top. Nothing is copied. The view's masks may
    be called ``truth``, ``prediction`` and ``probability``.
    """
    if plane not in PLANES:
        raise ValueError(f"plane is {plane!r}; use one of: {', '.join(PLANES)}")
    order = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}[plane]
    arrays = {name: array.transpose(order) for name, array in (("ct", view.ct), *view.masks.items())}
    spacing = tuple(view.spacing[axis] for axis in order)
    if plane == "axial":
        shown = range(len(view.ct))
        places = [f"z {z:.1f} mm" for z in view.z_mm]
    else:
        arrays = {name: array[:, ::-1] for name, array in arrays.items()}
        shown = range(0, len(arrays["ct"]), max(1, round(STEP_MM / spacing[0])))
        edge = {"coronal": "front", "sagittal": "right"}[plane]
        places = [f"{index * spacing[0]:.1f} mm from the {edge}" for index in shown]
    return Film(spacing=spacing, shown=shown, places=places, upward=plane == "axial", **arrays)  # type: ignore[arg-type]


def shoot(
    film: Film,
    path: Path,
    window: str = "lung",
    title: str = "",
    slab_mm: float = 0.0,
    frames_per_second: float = 10,
    progress: bool = True,
) -> Path:
    """Film a patient into an H.264 mp4 that browsers play (or a .gif), one frame a slice.

    With ``slab_mm`` each frame is the maximum-intensity projection of so many mm around its
    slice, in which vessels are branches and nodules stay balls; masks are projected alike.
    The frame shows the contours, the heat map, a ruler, and at the right edge a bar with
    the slice's place and the slices that hold truth and prediction.
    """
    height, width = film.ct.shape[1] * film.spacing[1], film.ct.shape[2] * film.spacing[2]
    rows = max(LEAST_HEIGHT, 2 * round(WIDTH * height / width / 2))
    # a patient who is far wider than high has room above and below
    scale = min(WIDTH / width, rows / height)
    size = (round(width * scale), round(height * scale))
    edge = ((rows - size[1]) // 2, (WIDTH - size[0]) // 2)
    figure = Figure(figsize=((WIDTH + BAR) / DPI, rows / DPI), dpi=DPI)
    ax = figure.add_axes(
        (edge[1] / (WIDTH + BAR), 1 - (edge[0] + size[1]) / rows, size[0] / (WIDTH + BAR), size[1] / rows)
    )
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    styles = [(mask, style) for mask, style in ((film.truth, TRUTH), (film.prediction, PREDICTION)) if mask is not None]
    lines = [ax.plot([], [], **style)[0] for _, style in styles]
    box = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 2}
    note = ax.text(0.01, 0.985, "", transform=ax.transAxes, color="white", va="top", fontsize=9, bbox=box)
    add_legend(ax, film.truth is not None, film.prediction is not None)
    _draw_ruler(ax, width)
    if film.probability is not None:
        _draw_heat_key(ax)
    marker = _draw_bar(figure.add_axes((WIDTH / (WIDTH + BAR), 0, BAR / (WIDTH + BAR), 1)), film)
    reach = round(slab_mm / film.spacing[0] / 2)
    kind = f"   MIP {slab_mm:g} mm" if reach else ""
    picture = np.zeros((rows, WIDTH + BAR, 3), np.uint8)
    with FilmCamera(figure, [*lines, note, marker], path, frames_per_second) as camera:
        slices = tqdm(film.shown, desc=f"filming {title}", unit="slice", leave=False, disable=not progress)
        for index, place in zip(slices, film.places, strict=True):
            slab = slice(max(0, index - reach), index + reach + 1)
            heat = None if film.probability is None else film.probability[slab].max(axis=0)
            developed = develop(film.ct[slab].max(axis=0), size, window, heat)
            picture[edge[0] : edge[0] + size[1], edge[1] : edge[1] + size[0]] = developed
            for line, (mask, _) in zip(lines, styles, strict=True):
                line.set_data(*outline(mask[slab].any(axis=0), film.spacing[1:]))
            note.set_text(f"{title}   slice {index + 1}/{len(film.ct)}   {place}{kind}".strip())
            marker.set_ydata([index, index])
            camera.snap(picture)
    return Path(path)


def develop(ct: np.ndarray, size: tuple[int, int], window: str, heat: np.ndarray | None = None) -> np.ndarray:
    """Return one slice (row, column) in HU as a picture of ``size`` (width, height): (height, width, 3) uint8.

    ``heat`` is a probability in 255ths, uint8, laid over it the more opaquely the higher it is.
    """
    low, high = window_limits(window)
    grey = cv2.convertScaleAbs(np.clip(ct, low, high) - low, alpha=255 / (high - low))
    how = cv2.INTER_AREA if size[0] < ct.shape[1] else cv2.INTER_LINEAR
    picture = cv2.cvtColor(cv2.resize(grey, size, interpolation=how), cv2.COLOR_GRAY2RGB)
    if heat is not None and heat.max() > FAINT * 255:
        heat = cv2.resize(np.ascontiguousarray(heat), size, interpolation=cv2.INTER_LINEAR)
        colours = (255 * matplotlib.colormaps[HEAT](np.arange(256))[:, :3]).astype(np.float32)
        hot = heat > FAINT * 255
        share = 0.2 + 0.4 * heat[hot, None] / 255
        picture[hot] = (1 - share) * picture[hot] + share * colours[heat[hot]]
    return picture


def _draw_ruler(ax: Axes, width: float) -> None:
    """A ruler in the lower right corner, of a round length of about a fifth of the picture's ``width`` in mm."""
    length = max(mm for mm in (1, 2, 5, 10, 20, 50, 100) if mm <= max(1.0, width / 4))
    right, low = 0.97 * width, 0.035
    place, rim = ax.get_xaxis_transform(), [withStroke(linewidth=4, foreground="black")]
    style = {"color": "white", "linewidth": 2, "transform": place, "path_effects": rim}
    ax.plot([right - length, right], [low, low], marker="|", markersize=8, markeredgewidth=2, **style)
    ax.text(
        right - length / 2,
        low + 0.018,
        f"{length} mm",
        color="white",
        fontsize=9,
        ha="center",
        va="bottom",
        transform=place,
        path_effects=rim,
    )


def _draw_heat_key(ax: Axes) -> None:
    """What the heat map's colours mean, in the upper right corner."""
    key = ax.inset_axes((0.8, 0.955, 0.15, 0.022))
    key.imshow(np.linspace(0, 1, 128)[None], cmap=HEAT, aspect="auto", extent=(0, 1, 0, 1))
    key.set(yticks=[], xticks=[])
    for place, text, side in ((-0.05, "0", "right"), (1.05, "1", "left")):
        key.text(place, 0.5, text, color="white", fontsize=9, ha=side, va="center", transform=key.transAxes)
    key.text(0.5, -0.4, "tumour probability", color="white", fontsize=8, ha="center", va="top", transform=key.transAxes)


def _draw_bar(ax: Axes, film: Film) -> matplotlib.lines.Line2D:
    """The bar with the slices that hold truth (left half) and prediction (right half); returns the moving marker."""
    count = len(film.ct)
    # a film that does not run upwards starts at the top of the bar
    ends = (-0.5, count - 0.5) if film.upward else (count - 0.5, -0.5)
    ax.set(xlim=(0, 1), ylim=ends, facecolor="0.15", xticks=[])
    ax.set_yticks([])
    for mask, style, left in ((film.truth, TRUTH, 0.05), (film.prediction, PREDICTION, 0.52)):
        if mask is not None:
            held = np.flatnonzero(mask.any(axis=(1, 2)))
            ax.barh(held, 0.43, left=left, height=1.0, color=style["color"], linewidth=0)
    return ax.plot([0, 1], [0, 0], color="white", linewidth=2)[0]


def film_case(
    scan: Path,
    folder: Path,
    label: Path | None = None,
    prediction: Path | None = None,
    probability: Path | None = None,
    plane: str = "axial",
    window: str = "lung",
    slab_mm: float = 0.0,
    ending: str = ".mp4",
    progress: bool = True,
) -> Path:
    """Film a NIfTI scan with the masks given, into ``folder/<scan name>.mp4``; returns that path.

    Another ``plane`` and a projection (``slab_mm`` above 0) add to the name; ``ending`` is ``.mp4`` or ``.gif``.
    ``probability`` is a file as ``lungseg predict --probabilities`` writes it. Raises :class:`ScanError` where a
    file cannot be used, or a mask or the probabilities lie on another grid.
    """
    image = read_scan(scan)
    view = open_view(image, truth=label, prediction=prediction)
    if probability is not None:
        view.masks["probability"] = _read_probability(probability, image)
    name = case_id(scan)
    extra = [*([plane] if plane != "axial" else []), *([f"mip{slab_mm:g}"] if slab_mm else [])]
    path = Path(folder) / ("_".join([name, *extra]) + ending)
    return shoot(turn(view, plane), path, window, name, slab_mm, progress=progress)


def _read_probability(path: Path, image: Scan) -> np.ndarray:
    """Return probabilities as :class:`Film` has them; :class:`ScanError` where they do not belong to ``image``."""
    probability = read_scan(path)
    if probability.voxels.min() < 0 or probability.voxels.max() > 1.01:
        raise ScanError(f"{path}: holds no probabilities from 0 to 1; write them with 'lungseg predict'")
    try:
        values = label_on_grid(image, probability)
    except ScanError as error:
        message = f"{path}: does not lie on the grid of {image.path}; predict again from this scan"
        raise ScanError(message) from error
    return np.rint(oriented(values, image.affine) * 255).astype(np.uint8)
