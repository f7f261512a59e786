"""Behind and beside the breast bone: thymus, brachiocephalic veins, small nodes, first rib cartilages, a goitre."""

from __future__ import annotations

import numpy as np

from .body import FAT_HU
from .canvas import Canvas, ellipsoid, smooth_field, smooth_path, tubes
from .patient import Patient

THYMUS_SCORES = {0: 0.74, 1: 0.18, 2: 0.07, 3: 0.01}
"""Shares of adults (mean age 59) whose thymus is fat (0), mostly fat (1), half fat (2), mostly tissue (3):
Araki et al., Eur Radiol 26:15 (2016). Baron et al., Radiology 142:121 (1982), saw a thymus in 17 % above 49 years."""

THYMUS_TISSUE = {0: 0.1, 1: 0.35, 2: 0.6, 3: 0.95}
"""Share of tissue in a thymus of each score."""

TISSUE_HU = 45.0

GOITRE = 0.04
"""Share of patients whose thyroid reaches down behind the manubrium; the course's own."""


def anterior_widths(rng: np.random.Generator) -> tuple[float, float]:
    """Width of the fat behind the breast bone, as a multiple of a thin chest's, and its shift in mm to a side."""
    return float(np.exp(rng.uniform(np.log(0.8), np.log(3.2)))), float(rng.normal(0, 6))


def paint_anterior(canvas: Canvas, patient: Patient, distance: np.ndarray, rng: np.random.Generator) -> None:
    """Paint what lies before the great vessels, none of it a tumour.

    ``distance`` in mm (slice, row, column), to what the lungs leave free, grows by it.
    """
    _paint_thymus(canvas, patient, distance, rng)
    _paint_veins(canvas, patient, distance, rng)
    _paint_cartilages(canvas, patient, distance, rng)
    _paint_nodes(canvas, patient, rng)
    if rng.random() < GOITRE:
        _paint_goitre(canvas, patient, distance, rng)
    for side in (-1, 1):
        # internal mammary artery and vein, beside the breast bone from top to bottom
        x, low, high = side * rng.uniform(15, 24), 0.3 * patient.height, 0.85 * patient.height
        points = [(x, float(patient.cage_front(np.array(z))) + 3.0, z) for z in np.linspace(low, high, 6)]
        canvas.blend(*tubes(canvas, *smooth_path(points, rng.uniform(1.0, 2.0)), 1.5), patient.venous_hu)


def _paint_thymus(canvas: Canvas, patient: Patient, distance: np.ndarray, rng: np.random.Generator) -> None:
    """Two lobes, an arrowhead or a quadrangle that points to the breast bone; tissue in islands among its fat."""
    score = int(rng.choice(list(THYMUS_SCORES), p=list(THYMUS_SCORES.values())))
    middle = patient.carina + rng.uniform(5, 30)
    front = float(patient.cage_front(np.array(middle)))
    for side in (-1, 1):
        long, thick = rng.uniform(18, 45), rng.uniform(4, 11)
        centre = (side * rng.uniform(2, 14), front + rng.uniform(6, 18), middle + rng.uniform(-12, 12))
        box = canvas.around(np.array(centre), long + 6)
        x, y, z = canvas.mesh(box)
        # each lobe lies askew, from the midline in front to the side and back
        lean = rng.uniform(0.2, 0.9) * side
        across = (y - centre[1]) - lean * (x - centre[0])
        waves = smooth_field(rng, canvas, 9, box)
        shape = ellipsoid(x, centre[1] + across, z, centre, (rng.uniform(10, 20), thick, long)) + 1.5 * waves
        np.minimum(distance[box], shape, out=distance[box])
        islands = np.clip(THYMUS_TISSUE[score] + 0.3 * smooth_field(rng, canvas, 6, box), 0, 1)
        share = canvas.cover(shape, 3.0) * (canvas.hu[box] < 30)
        canvas.blend(box, share, FAT_HU + islands * (TISSUE_HU - FAT_HU))


def _paint_veins(canvas: Canvas, patient: Patient, distance: np.ndarray, rng: np.random.Generator) -> None:
    """The brachiocephalic veins and their confluence: wide, oval, high or low, close behind the manubrium.

    Where contrast came through one arm, that side is brighter by far and the other one not yet.
    """
    meet = patient.carina + rng.uniform(28, 58)
    behind = rng.uniform(12, 24)
    front = lambda z: float(patient.cage_front(np.array(z)))  # noqa: E731
    confluence = (-24 + rng.normal(0, 4), front(meet) + behind + 8, meet)
    bright = rng.choice([-1, 0, 1]) if patient.venous_hu > 100 else 0
    for side in (-1, 1):
        top = max(meet + rng.uniform(20, 45), 0.9 * patient.height)
        # they rise beside the windpipe's branches and leave over the apex of the lung, never through it
        corners = [confluence, (side * rng.uniform(20, 32), front(top) + behind, top),
                   (side * 66, front(top) + behind - 4, max(top, patient.height) + 8)]  # fmt: skip
        if side > 0:
            corners.insert(1, (rng.uniform(-4, 8), front(meet) + behind - 3, meet + rng.uniform(2, 12)))
        path, radii = smooth_path(corners, [rng.uniform(7, 10)] + [rng.uniform(5.5, 9.0)] * (len(corners) - 1))
        hu = patient.venous_hu * (rng.uniform(1.2, 2.0) if side == bright else 1.0)
        if bright == -side:
            hu = rng.uniform(40, 90)
        wall, cover = tubes(canvas, path, radii + 1.5, 1.5)
        np.minimum(distance[wall], (0.5 - cover) * canvas.soft + (cover <= 0) * 9, out=distance[wall])
        canvas.blend(*tubes(canvas, path, radii, 1.5), hu)


def _paint_cartilages(canvas: Canvas, patient: Patient, distance: np.ndarray, rng: np.random.Generator) -> None:
    """First rib cartilages, knobby and calcified with age, that bulge into the lung beside the manubrium."""
    for side in (-1, 1):
        z = patient.height * rng.uniform(0.76, 0.84)
        centre = (side * rng.uniform(26, 38), float(patient.cage_front(np.array(z))) + rng.uniform(-7, 1), z)
        radii = (rng.uniform(9, 17), rng.uniform(5, 10), rng.uniform(6, 12))
        box = canvas.around(np.array(centre), max(radii) + 5)
        shape = ellipsoid(*canvas.mesh(box), centre, radii) + 1.2 * smooth_field(rng, canvas, 7, box)
        np.minimum(distance[box], shape - 1.5, out=distance[box])
        shell = rng.uniform(0, 500) * patient.age
        canvas.paint(box, shape - 1.5, 35.0)
        canvas.paint(box, shape, 110.0 + shell)
        canvas.paint(box, shape + 2.0, 100.0 + 40 * smooth_field(rng, canvas, 5, box))


def _paint_nodes(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Small lymph nodes and vessels in the fat before the aorta."""
    for _ in range(rng.poisson(4)):
        z = patient.carina + rng.uniform(-20, 60)
        centre = (rng.normal(4, 14), float(patient.cage_front(np.array(z))) + rng.uniform(6, 30), z)
        radii = tuple(rng.uniform(1.2, 4.0) * rng.uniform(0.7, 1.5, 3))
        box = canvas.around(np.array(centre), max(radii) + 3)
        share = canvas.cover(ellipsoid(*canvas.mesh(box), centre, radii)) * (np.abs(canvas.hu[box] + 60) < 90)
        canvas.blend(box, share, rng.uniform(15, 60))


def _paint_goitre(canvas: Canvas, patient: Patient, distance: np.ndarray, rng: np.random.Generator) -> None:
    """A thyroid that reaches down behind the manubrium: brighter than muscle, for its iodine."""
    top = patient.height * rng.uniform(0.86, 0.98)
    side = rng.choice([-1, 1])
    centre = (side * rng.uniform(12, 22), float(patient.spine_y(np.array(top))) - 38, top)
    radii = (rng.uniform(11, 19), rng.uniform(11, 18), rng.uniform(20, 38))
    box = canvas.around(np.array(centre), max(radii) + 5)
    shape = ellipsoid(*canvas.mesh(box), centre, radii) + 1.5 * smooth_field(rng, canvas, 10, box)
    np.minimum(distance[box], shape, out=distance[box])
    canvas.paint(box, shape, rng.uniform(70, 110) + 0.3 * max(0.0, patient.aorta_hu - 40))
