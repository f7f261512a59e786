"""Three planes as a still picture: what a notebook holds beside the live view, for readers without a kernel."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from ..course.show import as_output, widget_view
from ..scans.orientation import oriented, oriented_affine, oriented_spacing
from ..scans.scan import Scan
from ..video.overlay import draw_slice
from .widget import LAYERS, Viewer


def three_planes(
    scan: Scan,
    mm: np.ndarray,
    masks: Mapping[str, np.ndarray],
    spacing: tuple[float, float, float] | None = None,
    window: str = "lung",
) -> Figure:
    """Draw the axial, coronal and sagittal plane through a place (3,) in mm (RAS), with the masks' outlines.

    ``masks``, truth and prediction, lie on the scan's voxels (x, y, z). ``spacing`` is by default the scan's, in mm
    between slices, rows and columns; another one draws the patient at that scale.
    """
    place = np.linalg.solve(oriented_affine(scan.affine, scan.voxels.shape), [*mm, 1])[:3]
    s, r, c = np.clip(np.rint(place).astype(int), 0, np.array(oriented(scan.voxels, scan.affine).shape) - 1)
    dz, dy, dx = spacing or oriented_spacing(scan.affine)
    cuts = {
        "axial": (lambda array: array[s], (dy, dx)),
        "coronal": (lambda array: array[::-1, r], (dz, dx)),
        "sagittal": (lambda array: array[::-1, :, c], (dz, dy)),
    }
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.3), layout="constrained")
    for ax, (name, (cut, sides)) in zip(axes, cuts.items(), strict=True):
        planes = {key: cut(oriented(mask, scan.affine)) for key, mask in masks.items() if key in LAYERS}
        draw_slice(ax, cut(oriented(scan.voxels, scan.affine)), sides, window=window, **planes)
        ax.set(title=name, xticks=[], yticks=[])
    return figure


def show_viewer(viewer: Viewer, figure: Figure, alt: str) -> None:
    """Display a viewer, and keep ``figure`` beside it with its words ``alt``.

    The picture is what a reader sees where no kernel runs; ``tools/execute.py`` leaves the view itself, and the scan
    in it, out of a notebook that is stored.
    """
    display(widget_view(viewer.panel) | as_output(figure), metadata={"image/png": {"alt": alt}}, raw=True)


def show_scan(
    scan: Scan,
    layers: Mapping[str, np.ndarray],
    alt: str,
    finds: pd.DataFrame | None = None,
    title: str = "",
) -> Viewer:
    """Display a scan in a viewer of its own, with a still of the planes through the first find or the true tumour.

    The arguments are those of :meth:`Viewer.show`; ``alt`` says in words what the still shows.
    """
    viewer = Viewer()
    viewer.show(scan, layers, finds, title)
    show_viewer(viewer, three_planes(scan, viewer.mm, layers), alt)
    return viewer
