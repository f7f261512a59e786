"""Slice videos: a patient filmed slice by slice, truth and prediction as contours, probability as a heat map.

celluloid's Camera keeps every frame's artists until the end and then draws whole figures.
:class:`~lungseg_helpers.video.camera.FilmCamera` keeps nothing: the same few artists are moved for each frame and
drawn alone, over what was drawn once, and the picture goes to the encoder at once. So memory does not grow with the
scan.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..errors import ScanError
from ..hounsfield import AIR_HU, WINDOWS
from ..scans.case import case_id
from ..scans.checking import label_on_grid
from ..scans.orientation import oriented
from ..scans.scan import Scan, read_scan
from ..scans.view import View, open_view
from ..video import PAUSE_S, PLANES, RANGES, SPEED, WIDTH
from .camera import FilmCamera
from .developing import close_up, develop
from .findings import add_findings, table_beside
from .following import crop_to_body, follow, fullest, marked
from .layout import Layout
from .overlay import PREDICTION, TRUTH, outline

STEP_MM = 2.0
"""Coronal and sagittal films take a slice about every so often: pixels lie closer than anyone needs to see."""
LOOP_MM = 34.0
"""A loop shows the slices so near to the fullest one, on either side."""
LONGEST = 28
"""Letters of a scan's name that the line at the top has room for."""


@dataclass(frozen=True)
class FilmStyle:
    """How a film looks and runs. Raises ValueError for a window that has no name, or a number out of :data:`RANGES`.

    ``window`` is a name in :data:`~lungseg_helpers.hounsfield.WINDOWS`. With ``slab_mm`` each frame is the
    maximum-intensity projection (MIP) of so many mm around its slice, in which vessels are branches and nodules stay
    balls; masks are projected alike. The film has ``frames_per_second``, stays ``pause_s`` longer on the fullest
    slice, and is ``width`` pixels wide.
    """

    window: str = "lung"
    slab_mm: float = 0.0
    frames_per_second: float = SPEED
    width: int = WIDTH
    pause_s: float = PAUSE_S

    def __post_init__(self) -> None:
        if self.window not in WINDOWS:
            raise ValueError(f"window is {self.window!r}; use one of: {', '.join(WINDOWS)}")
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; use {least} to {most}")
        # the encoder wants even numbers
        object.__setattr__(self, "width", 2 * round(self.width / 2))

    @property
    def marks(self) -> list[str]:
        """What differs from the defaults, for a file's name: ``mip10``, ``fps20``."""
        words = {"window": "", "slab_mm": "mip", "frames_per_second": "fps", "width": "width", "pause_s": "pause"}
        changed = [
            (each.name, getattr(self, each.name)) for each in fields(self) if getattr(self, each.name) != each.default
        ]
        return [words[name] + (value if name == "window" else f"{value:g}") for name, value in changed]


@dataclass(frozen=True)
class Film:
    """What is filmed, cropped to the body and turned so that the first axis is the one that the film runs along.

    ``ct`` int16 HU, ``truth``, ``prediction`` (uint8) and ``probability`` (uint8, 255ths) are
    (slice, row, column); ``spacing`` is in mm in that order; ``shown`` are the slices that become
    frames, and ``places`` says of each slice which of the scan's it is and where it lies; ``upward`` whether the film
    runs towards the head. ``findings`` is uint8 or more, the numbers of what is described in ``words``.
    Of the arrays ``ct`` alone has to be there.
    """

    ct: np.ndarray
    spacing: tuple[float, float, float]
    shown: range
    places: list[str]
    upward: bool
    truth: np.ndarray | None = None
    prediction: np.ndarray | None = None
    probability: np.ndarray | None = None
    findings: np.ndarray | None = None
    words: dict[int, str] = field(default_factory=dict)

    @property
    def outlined(self) -> list[tuple[np.ndarray, dict[str, Any]]]:
        """The masks that are outlined, each with its style."""
        pairs = ((self.truth, TRUTH), (self.prediction, PREDICTION))
        return [(mask, style) for mask, style in pairs if mask is not None]

    @property
    def fullest(self) -> int | None:
        """The shown slice that holds most truth, or else most prediction; None where there is neither."""
        mask = marked(self.truth, self.prediction)
        if mask is None:
            return None
        held = mask[self.shown.start : self.shown.stop : self.shown.step]
        return self.shown[fullest(held)] if held.any() else None


def turn(view: View, plane: str = "axial") -> Film:
    """Return a view as a film: axial from the lowest slice up, coronal from front to back, sagittal from right to left.

    The film shows the body, without the air and the table around it. In coronal and sagittal frames the head is at the
    top. Nothing is copied. The view's masks may be called ``truth``, ``prediction``, ``probability`` and ``findings``.
    """
    if plane not in PLANES:
        raise ValueError(f"plane is {plane!r}; use one of: {', '.join(PLANES)}")
    axis = PLANES.index(plane)
    body, box = crop_to_body(view, axis)
    order = (axis, *(other for other in range(3) if other != axis))
    arrays = {name: array.transpose(order) for name, array in (("ct", body.ct), *body.masks.items())}
    spacing = tuple(body.spacing[axis] for axis in order)
    first, of, count = box[axis].start, view.ct.shape[axis], len(arrays["ct"])
    if plane == "axial":
        step = 1
        where = [f"z {z:.1f} mm" for z in body.z_mm]
    else:
        arrays = {name: array[:, ::-1] for name, array in arrays.items()}
        step = max(1, round(STEP_MM / spacing[0]))
        edge = {"coronal": "front", "sagittal": "right"}[plane]
        where = [f"{index * spacing[0]:.0f} mm from the {edge}" for index in range(count)]
    places = [f"slice {first + index + 1}/{of}   {place}" for index, place in enumerate(where)]
    shown = range(0, count, step)
    return Film(spacing=spacing, shown=shown, places=places, upward=plane == "axial", **arrays)  # type: ignore[arg-type]


def around_fullest(film: Film, name: str = "scan", reach_mm: float = LOOP_MM) -> Film:
    """Return the film of the slices within ``reach_mm`` of the fullest one alone: what a loop shows.

    Raises :class:`ScanError`, which calls the scan ``name``, where nothing is marked.
    """
    middle = film.fullest
    if middle is None:
        raise ScanError(f"{name}: nothing for a loop to show, as no tumour is marked; give its --label or --prediction")
    near = [index for index in film.shown if abs(index - middle) * film.spacing[0] <= reach_mm]
    return replace(film, shown=range(near[0], near[-1] + 1, film.shown.step))


def shoot(film: Film, path: Path, title: str = "", style: FilmStyle | None = None, progress: bool = True) -> Path:
    """Film a patient, one frame a slice: an H.264 mp4 that browsers play, or a .gif or .webp that starts again.

    The frame shows the slice with its contours and heat map, beside it a close-up that follows the largest
    cross-section of a lesion, and at the right edge a bar with the slice's place and the slices that hold truth and
    prediction. Rulers are true to scale in both.
    """
    style = style or FilmStyle()
    spacing, masks = film.spacing[1:], [mask for mask, _ in film.outlined]
    track = follow(masks, film.spacing)
    size_mm = film.ct.shape[1] * spacing[0], film.ct.shape[2] * spacing[1]
    side_mm = track.side_mm if track else 0.0
    layout = Layout(size_mm, style.width, side_mm, [look for _, look in film.outlined], film.probability is not None)
    marker = layout.draw_bar(len(film.ct), film.upward, film.outlined)
    reach = round(style.slab_mm / film.spacing[0] / 2)
    kind = f"   MIP {style.slab_mm:g} mm" if reach else ""
    name = title if len(title) <= LONGEST else f"{title[: LONGEST - 1]}…"
    longest, pause = film.fullest, round(style.pause_s * style.frames_per_second)
    black = np.zeros((*layout.shape, 3), np.uint8)
    with FilmCamera(layout.figure, [*layout.moving, marker], path, style.frames_per_second) as camera:
        for index in tqdm(film.shown, desc=f"filming {title}", unit="slice", leave=False, disable=not progress):
            slab = slice(max(0, index - reach), index + reach + 1)
            ct = film.ct[slab].max(axis=0)
            heat = None if film.probability is None else film.probability[slab].max(axis=0)
            black[layout.slice.index] = develop(ct, layout.slice.size, style.window, heat)
            corner = None
            black[layout.close.index] = 0
            if track and track.near(index):
                close = (track.centres[index], track.side_mm, spacing, layout.close.width)
                near = None if heat is None else close_up(heat, *close)
                part = close_up(ct, *close, fill=AIR_HU)
                black[layout.close.index] = develop(part, layout.close.size, style.window, near)
                corner = track.corner_mm(index)
            outlines = [outline(mask[slab].any(axis=0), spacing) for mask in masks]
            layout.move(f"{name}   {film.places[index]}{kind}".strip(), outlines, corner, _said(film, slab))
            marker.set_ydata([index, index])
            camera.snap(black, 1 + pause if index == longest else 1)
    return Path(path)


def _said(film: Film, slab: slice) -> str:
    """What is said of the findings in these slices, a line each."""
    if film.findings is None:
        return ""
    there = film.findings[slab]
    return "\n".join(film.words[number] for number in np.unique(there[there > 0]).tolist())


def film_case(
    scan: Path,
    folder: Path,
    label: Path | None = None,
    prediction: Path | None = None,
    probability: Path | None = None,
    plane: str = "axial",
    ending: str = ".mp4",
    loop: bool = False,
    progress: bool = True,
    **options: Any,
) -> Path:
    """Film a NIfTI scan with the masks given, into ``folder/<scan name>.mp4``; returns that path.

    ``options`` are those of :class:`FilmStyle`; they and another ``plane`` add to the name. ``ending`` is ``.mp4``,
    ``.gif`` or ``.webp``; ``loop`` films the slices around the tumour alone. ``probability`` is a file as
    ``lungseg predict --probabilities`` writes it. Where the table of components lies beside ``prediction``, the film
    says what it says. Raises ValueError for an option out of range, and
    :class:`ScanError` where a file cannot be used, or a mask or the probabilities lie on another grid.
    """
    style = FilmStyle(**options)
    image = read_scan(scan)
    view = open_view(image, truth=label, prediction=prediction)
    if probability is not None:
        view.masks["probability"] = _read_probability(probability, image)
    table = None if prediction is None else table_beside(prediction)
    words = {} if table is None else add_findings(view, table, str(prediction))
    film, name = replace(turn(view, plane), words=words), case_id(scan)
    path = Path(folder) / film_name(name, style, plane, ending, loop)
    return shoot(around_fullest(film, str(scan)) if loop else film, path, name, style, progress)


def film_name(name: str, style: FilmStyle, plane: str = "axial", ending: str = ".mp4", loop: bool = False) -> str:
    """Return a film's file name: whatever is not the default stands in it, so that no film overwrites another."""
    marks = [*([plane] if plane != "axial" else []), *style.marks, *(["loop"] if loop else [])]
    return "_".join([name, *marks]) + ending


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
    # slice by slice, because a whole scan of floating-point numbers is large
    return np.stack([np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8) for plane in oriented(values, image.affine)])
