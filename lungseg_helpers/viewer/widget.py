"""A scan to be looked at in the browser: three planes and 3D, windows, masks, and a jump from find to find.

NiiVue draws (WebGL, through ipyniivue); what stands around it are ipywidgets, so keys reach all of it.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from ipyniivue import NiiVue, ShowRender, SliceType
from ipyniivue.widget import Volume

from ..hounsfield import WINDOWS
from ..prediction.components import caption
from ..scans.orientation import oriented, oriented_affine
from ..scans.scan import Scan
from ..video.overlay import window_limits
from .volumes import Shown, shown

VIEWS = {
    "three planes": SliceType.MULTIPLANAR,
    "axial": SliceType.AXIAL,
    "coronal": SliceType.CORONAL,
    "sagittal": SliceType.SAGITTAL,
    "3D": SliceType.RENDER,
}

LAYERS = {"truth": (86, 180, 233), "prediction": (230, 159, 0)}
"""The masks, and the colours (red, green, blue) that they have in all of the course's pictures."""

HEAT = "probability"

OPACITY = {"prediction": 0.5, HEAT: 0.6, "truth": 1.0}
"""How much of the scan a layer hides. They lie on one another in this order; of the truth only the surface is drawn."""

LEAST_HEAT = 0.05
"""Below this probability nothing is drawn: else the whole chest would be tinted."""

IN_3D = (150.0, 1500.0)
"""HU from black to white in 3D, whatever the window: bone alone, so that what was found is seen between the ribs."""

KEYS = (
    "The patient's right is on the left, and the front is on the left in the view from the side. The wheel turns the "
    "slices of the plane below the pointer, or the patient in 3D; a click sets the crosshair. The slider takes the "
    "arrow keys."
)


class _Layer(Volume):
    """A volume that does not take back what the browser sends of it: the same voxels again, as large as the scan."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what changed in the browser, but for pieces of the picture."""
        super().set_state({name: value for name, value in state.items() if not name.startswith("chunk_")})


class Viewer:
    """A panel that shows one scan at a time; ``panel`` is the widget that a notebook displays.

    The patient's right is on the left, as in all of the course's pictures, and a mm is as long in one direction as in
    another. Nothing is shown before :meth:`show`. ``mm`` (3,) is where the crosshair is (RAS).
    """

    def __init__(self, height: int = 440) -> None:
        self.seen: Shown | None = None
        self._table = pd.DataFrame()
        self._range = window_limits("lung")
        self.nv = NiiVue(
            height=height,
            is_radiological_convention=True,
            sagittal_nose_left=True,
            multiplanar_show_render=ShowRender.NEVER,
            back_color=(0.0, 0.0, 0.0, 1.0),
            crosshair_color=(0.85, 0.85, 0.3, 0.9),
            crosshair_width=0.7,
            crosshair_gap=6.0,
            # in a single plane its letter for the right may stand on the left side; a line below says it instead
            is_orientation_text_visible=False,
            show_3d_crosshair=True,
            drag_and_drop_enabled=False,
            loading_text="",
        )
        self.window = widgets.ToggleButtons(options=list(WINDOWS))
        self.view = widgets.ToggleButtons(options=list(VIEWS))
        self.window.style.button_width = self.view.style.button_width = "7.5em"  # five fit into 520 pixels
        self.slice = widgets.IntSlider(1, 1, 2, description="slice", layout={"width": "30em"})
        self.finds = widgets.Dropdown(options=[], description="finding", layout={"width": "30em"})
        names = ("◀ back", "next ▶")
        self.before, self.next = (widgets.Button(description=name, layout={"width": "6em"}) for name in names)
        self.layers, self.jumps = _row(), _row(self.finds, self.before, self.next)
        self.note, self.place = widgets.HTML(), widgets.HTML()
        rows = (_row(self.window, self.layers), _row(self.view), _row(self.slice, self.jumps))
        self.panel = widgets.VBox([*rows, self.nv, self.place, self.note])
        self._listen()

    def _listen(self) -> None:
        self.window.observe(lambda change: change["new"] and self._set_range(*window_limits(change["new"])), "value")
        self.view.observe(lambda change: self._set_view(), "value")
        self.slice.observe(lambda change: self._to_slice(change["new"]), "value")
        self.finds.observe(lambda change: change["new"] and self.jump(change["new"]), "value")
        self.before.on_click(lambda button: self._step(-1))
        self.next.on_click(lambda button: self._step(1))
        self.nv.on_location_change(self._moved)

    def show(
        self,
        scan: Scan,
        layers: Mapping[str, np.ndarray],
        finds: pd.DataFrame | None = None,
        title: str = "",
    ) -> None:
        """Show a scan, and begin at the first of ``finds``.

        ``layers`` are arrays on the scan's own voxels (x, y, z): the masks ``truth`` and ``prediction``, uint8 or
        bool, and ``probability``, uint8 in 255ths; any may be missing. ``finds`` is a table as
        :func:`~lungseg_helpers.prediction.components.component_table` makes it. ``title`` is text, not HTML.
        """
        self.seen = shown(scan, layers, surfaces=("truth",))
        self._to_mm = oriented_affine(scan.affine, scan.voxels.shape)
        self._ct = oriented(scan.voxels, scan.affine)
        self._table = pd.DataFrame() if finds is None else finds
        self._load()
        with self.slice.hold_trait_notifications():
            self.slice.max = len(self._ct)
        rows = self._table.to_dict("records")
        self.finds.options = [(caption(row), int(row["component"])) for row in rows]
        self.jumps.layout.display = None if rows else "none"
        across = " × ".join(f"{mm:.1f}" for mm in self.seen.spacing)
        coarse = f" Shown in voxels of {across} mm, coarser than the scan's." if max(self.seen.steps) > 1 else ""
        self.note.value = (
            f'<small style="display: block; line-height: 1.4">'
            f"{html.escape(title)}{'.' if title else ''}{coarse} {KEYS}</small>"
        )
        if rows:
            self.jump(int(rows[0]["component"]))
        else:
            self._look_at(self._begin(scan, layers))

    @staticmethod
    def _begin(scan: Scan, layers: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return where to look at first, in mm, where nothing was found: the true tumour, else the scan's middle."""
        inside = np.argwhere(layers["truth"]) if "truth" in layers else ()
        middle = np.mean(inside, axis=0) if len(inside) else np.array(scan.voxels.shape) / 2
        return scan.affine[:3] @ [*middle, 1]

    def _load(self) -> None:
        """Hand the volumes to the browser, and close those of the scan before, which frees them there and here."""
        gone = [*self.nv.volumes, *self.layers.children]
        old = [*gone, *(each.layout for each in gone), *(box.style for box in self.layers.children)]
        low, high = self._limits()
        volumes = [_Layer(data=self.seen.nifti(), name="ct.nii", colormap="gray", cal_min=low, cal_max=high)]
        boxes = []
        for name in sorted(self.seen.layers, key=[*OPACITY].index):
            volume = _Layer(data=self.seen.nifti(name), name=f"{name}.nii", **_colours(name))
            if name in LAYERS:
                red, green, blue = LAYERS[name]
                lut = {"R": [0, red], "G": [0, green], "B": [0, blue], "A": [0, 255], "I": [0, 1], "labels": ["", name]}
                volume.set_colormap_label(lut)
            boxes.append(_box(name, volume))
            volumes.append(volume)
        self.nv.load_volumes(volumes)
        self.layers.children = boxes
        for each in old:
            each.close()

    def jump(self, number: int) -> None:
        """Set the crosshair into a find, by its number in the table; KeyError where there is none."""
        rows = self._table.set_index("component")
        row = rows.loc[number]
        self._look_at(np.array([row["x_mm"], row["y_mm"], row["z_mm"]], float))
        if self.finds.value != number:
            self.finds.value = number

    def _step(self, by: int) -> None:
        numbers = [number for _, number in self.finds.options]
        if numbers:
            self.finds.value = numbers[(numbers.index(self.finds.value) + by) % len(numbers)]

    def _look_at(self, mm: np.ndarray) -> None:
        self.nv.scene.crosshair_pos = self.seen.share(mm)
        self._tell(mm)

    def _to_slice(self, number: int) -> None:
        if self.seen is None or number == self._slice_at(self.mm):
            return
        place = np.linalg.solve(self._to_mm, [*self.mm, 1])[:3]
        place[0] = number - 1
        self._look_at(self._to_mm[:3] @ [*place, 1])

    def _slice_at(self, mm: np.ndarray) -> int:
        return round(float(np.linalg.solve(self._to_mm, [*mm, 1])[0])) + 1

    def _moved(self, location: dict[str, Any]) -> None:
        if self.seen is not None:
            self._tell(np.array(location["mm"][:3], float))

    def _tell(self, mm: np.ndarray) -> None:
        """Say where the crosshair is, and what the scan measures there."""
        self.mm = mm
        index = np.rint(np.linalg.solve(self._to_mm, [*mm, 1])[:3]).astype(int)
        index = np.clip(index, 0, np.array(self._ct.shape) - 1)
        self.slice.value = int(index[0]) + 1
        self.place.value = (
            f"slice {index[0] + 1} of {len(self._ct)}, row {index[1]}, column {index[2]}: "
            f"<b>{self._ct[tuple(index)]:.0f} HU</b> at {mm[0]:.0f}, {mm[1]:.0f}, {mm[2]:.0f} mm"
        )

    def set_window(self, level: float, width: float) -> None:
        """Show from black to white the ``width`` HU around ``level``, until a button is pressed."""
        self.window.value = None
        self._set_range(level - width / 2, level + width / 2)

    def _set_range(self, low: float, high: float) -> None:
        self._range = low, high
        self._set_view()

    def _limits(self) -> tuple[float, float]:
        return IN_3D if VIEWS[self.view.value] is SliceType.RENDER else self._range

    def _set_view(self) -> None:
        if self.nv.volumes:
            self.nv.volumes[0].cal_min, self.nv.volumes[0].cal_max = self._limits()
        self.nv.set_slice_type(VIEWS[self.view.value])


def _colours(name: str) -> dict[str, Any]:
    """Return how NiiVue is to draw a layer."""
    heat = {"colormap": "violet", "cal_min": 255 * LEAST_HEAT, "cal_max": 255.0}
    return heat if name == HEAT else {"cal_min": 0.0, "cal_max": 1.0}


def _box(name: str, volume: Volume) -> widgets.Checkbox:
    """Return a box that shows and hides a layer."""
    layout = {"width": "8em", "margin": "2px 2px 2px 1.5em"}
    box = widgets.Checkbox(name != HEAT, description=name, indent=False, layout=layout)

    def toggle(change: dict[str, Any], volume: Volume = volume) -> None:
        volume.opacity = OPACITY[name] if change["new"] else 0.0

    box.observe(toggle, "value")
    toggle({"new": box.value})
    return box


def _row(*children: widgets.Widget) -> widgets.HBox:
    """Return widgets side by side, below one another where the page is narrow."""
    return widgets.HBox(children, layout={"flex_flow": "row wrap", "align_items": "center"})
