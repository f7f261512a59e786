"""What looks like a tumour and is none, so never labelled: without it, any blob would be one."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, ellipsoid, smooth_field, smooth_path, tubes
from .collapse import paint_collapse
from .lungs import Lungs
from .patient import Patient

CONSOLIDATED = 0.06
"""Share of patients with lung that holds no air though no tumour blocks it: pneumonia, collapse of another cause."""

LARGE_NODES = 0.02
"""Share of lymph nodes in a crowded chest that are larger than normal, to 20 mm: inflamed, or metastases, which nobody
labelled as tumour; the course's own."""

FISSURE_FEET = 0.5
"""Share of patients with fat or fluid where the oblique fissure stands on the diaphragm."""


def paint_nodes(canvas: Canvas, patient: Patient, distance: np.ndarray, rng: np.random.Generator) -> None:
    """Lymph nodes at hila and windpipe, 3–12 mm across (normal to 10 mm short axis), a few to 20 mm, some calcified.

    Some at the hilum bulge into the lung: ``distance`` in mm (slice, row, column), to what
    the lungs leave free, grows by these.
    """
    for _ in range(int(rng.integers(8, 26))):
        side = rng.choice([-1, 1])
        at_hilum = rng.random() < 0.4
        middle = (side * 14.0, -26.0, patient.carina + 8)
        centre = np.array(patient.hilum(side) if at_hilum else middle) + rng.normal(0, (9, 10, 18))
        large = patient.crowded and rng.random() < LARGE_NODES
        size = rng.uniform(6.0, 10.0) if large else rng.uniform(1.5, 6.0)
        radii = tuple(size * rng.uniform(0.7, 1.4, 3))
        box = canvas.around(centre, max(radii) + 3)
        hu = rng.uniform(250, 900) if rng.random() < 0.12 * (0.5 + patient.age) else rng.uniform(25, 60)
        shape = ellipsoid(*canvas.mesh(box), tuple(centre), radii)
        canvas.blend(box, canvas.cover(shape) * (canvas.hu[box] > -300), hu)
        if at_hilum and rng.random() < 0.6:
            np.minimum(distance[box], shape, out=distance[box])


def paint_bone_islands(canvas: Canvas, rng: np.random.Generator) -> None:
    """Dense spots of 2–6 mm in spongy bone."""
    spongy = np.flatnonzero((canvas.hu[::2, ::2, ::2] > 130) & (canvas.hu[::2, ::2, ::2] < 280))
    for _ in range(rng.poisson(1.5) if len(spongy) else 0):
        index = np.stack(np.unravel_index(rng.choice(spongy, 1), canvas.hu[::2, ::2, ::2].shape), 1) * 2
        centre = canvas.point(index.astype(float))[0]
        box = canvas.around(centre, 8)
        canvas.paint(box, ellipsoid(*canvas.mesh(box), tuple(centre), (rng.uniform(1, 3),) * 3), rng.uniform(600, 1100))


def paint_lung_findings(
    canvas: Canvas, patient: Patient, lungs: Lungs, cage: np.ndarray, dome: np.ndarray, rng: np.random.Generator
) -> None:
    """Granulomas, tiny nodules, bullae, atelectasis, scars, infiltrates and effusion, each in some patients.

    ``cage`` in mm (slice, row, column) is the distance to the rib cage, ``dome`` in mm (row, column) the
    diaphragm's height.
    """
    for _ in range(rng.poisson(0.8)):
        _spot(canvas, lungs.draw_point(canvas, rng, 2.0), rng.uniform(1.3, 4.0), rng.uniform(300, 1300), rng)
    # Intrapulmonary lymph nodes and the like: under 6 mm, where Task06's smallest tumour has 11 mm.
    for _ in range(rng.poisson(1.5)):
        _spot(canvas, lungs.draw_point(canvas, rng, 1.0), rng.uniform(1.0, 2.4), rng.uniform(-150, 60), rng)
    for _ in range(rng.poisson(0.8)):
        _plate(canvas, lungs, lungs.draw_point(canvas, rng, 2.0), rng)
    if patient.emphysema > 0.45:
        for _ in range(rng.poisson(4)):
            _bulla(canvas, lungs.draw_point(canvas, rng, 1.0), lungs, rng)
    box = lungs.box
    waves = smooth_field(rng, canvas, 22, box)
    if rng.random() < 0.5:
        _apical_caps(canvas, patient, lungs, waves, rng)
    if rng.random() < 0.12:
        _infiltrate(canvas, lungs, waves, rng)
    if rng.random() < 0.10:
        _effusion(canvas, patient, lungs, waves, rng)
    if rng.random() < CONSOLIDATED:
        paint_collapse(canvas, patient, lungs, lungs.draw_point(canvas, rng, 2.0), rng.uniform(15, 200), rng)
    if rng.random() < FISSURE_FEET:
        _fissure_foot(canvas, lungs, dome, waves, rng)
    if rng.random() < 0.10:
        plaque = np.abs(cage[box] + 1.0) - 1.2
        canvas.blend(box, canvas.cover(np.maximum(plaque, 1.5 - 1.4 * waves)), rng.uniform(60, 500))


def _spot(canvas: Canvas, centre: np.ndarray, radius: float, hu: float, rng: np.random.Generator) -> None:
    box = canvas.around(centre, 1.5 * radius + 3)
    radii = tuple(radius * np.exp(rng.normal(0, 0.15, 3)))
    canvas.paint(box, ellipsoid(*canvas.mesh(box), tuple(centre), radii), hu)


def _plate(canvas: Canvas, lungs: Lungs, centre: np.ndarray, rng: np.random.Generator) -> None:
    """Plate atelectasis or scar: a thin bent sheet, mostly level, that ends in strands."""
    size = rng.uniform(12, 40)
    box = canvas.around(centre, size)
    x, y, z = canvas.mesh(box)
    x, y, z = x - centre[0], y - centre[1], z - centre[2]
    normal = rng.normal(0, (0.5, 0.5, 1.0))
    normal /= np.linalg.norm(normal)
    sheet = np.abs(normal[0] * x + normal[1] * y + normal[2] * z + (x * x - y * y) * rng.normal(0, 0.006))
    away = np.sqrt(x * x + y * y + z * z) / size
    ragged = smooth_field(rng, canvas, 10, box)
    thick = rng.uniform(0.6, 2.2) * np.clip(1.1 - away + 0.35 * ragged, 0, 1)
    share = canvas.cover(sheet - thick) * (thick > 0.1) * (lungs.distance[box] < 0)
    canvas.blend(box, rng.uniform(0.5, 0.95) * share, rng.uniform(-80, 50))


def _bulla(canvas: Canvas, centre: np.ndarray, lungs: Lungs, rng: np.random.Generator) -> None:
    radius = rng.uniform(4, 16)
    box = canvas.around(centre, 1.4 * radius + 3)
    shape = ellipsoid(*canvas.mesh(box), tuple(centre), tuple(radius * rng.uniform(0.7, 1.2, 3)))
    shape = np.maximum(shape, lungs.distance[box])
    canvas.paint(box, shape - 0.6, -780.0)
    canvas.paint(box, shape, -985.0)


def _apical_caps(canvas: Canvas, patient: Patient, lungs: Lungs, waves: np.ndarray, rng: np.random.Generator) -> None:
    """Pleural scars at the apex: a ragged band of a few mm with strands into the lung."""
    box = lungs.box
    high = np.clip((patient.u(canvas.z[box[0]])[:, None, None] - 0.84) / 0.1, 0, 1).astype(np.float32)
    band = -lungs.distance[box] - high * (rng.uniform(1, 5) + 3.5 * waves)
    canvas.blend(box, canvas.cover(np.maximum(band, lungs.distance[box]), 3.0) * (high > 0.02), rng.uniform(-60, 60))


def _infiltrate(canvas: Canvas, lungs: Lungs, waves: np.ndarray, rng: np.random.Generator) -> None:
    """Patchy hazy density without a surface, as in infection."""
    box = lungs.box
    centre = lungs.draw_point(canvas, rng, 8.0)
    x, y, z = canvas.mesh(box)
    size = rng.uniform(18, 45)
    near = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) / (2 * size**2))
    patches = np.clip(0.5 * waves + 0.8 * smooth_field(rng, canvas, 9, box) + 2.0 * near - 1.4, 0, 1)
    canvas.blend(box, rng.uniform(0.3, 0.7) * patches * canvas.cover(lungs.distance[box]), -250.0)


def _fissure_foot(canvas: Canvas, lungs: Lungs, dome: np.ndarray, waves: np.ndarray, rng: np.random.Generator) -> None:
    """Fat or fluid that enters the oblique fissure from below: a wedge that thins out some 10 to 30 mm up."""
    box = lungs.box
    above = np.maximum(canvas.z[box[0], None, None] - dome[None, box[1], box[2]], 0)
    thick = rng.uniform(3, 9) * np.exp(-above / rng.uniform(5, 14)) * np.clip(1 + waves, 0, 2)
    foot = np.maximum(np.abs(lungs.oblique[box]) * 0.8 - thick + 0.4, lungs.distance[box])
    canvas.paint(box, foot, rng.uniform(-100, 25), soft=2.5)


def _effusion(canvas: Canvas, patient: Patient, lungs: Lungs, waves: np.ndarray, rng: np.random.Generator) -> None:
    """Fluid along the back of one chest half, deepest at the base, with a rim of collapsed lung."""
    box = lungs.box
    x, y, z = canvas.mesh(box)
    side = rng.choice([-1, 1])
    back = patient.cage_back(z).astype(np.float32)
    depth = rng.uniform(8, 40) * np.clip(1 - patient.u(z) / rng.uniform(0.5, 1.0), 0, 1).astype(np.float32)
    meniscus = back - depth * (0.4 + (np.abs(x) / 75) ** 2) - y + 2.5 * waves
    fluid = np.maximum(np.maximum(meniscus, lungs.distance[box]), -side * x)
    canvas.paint(box, fluid - rng.uniform(0, 4), -150.0, soft=5.0)
    canvas.paint(box, fluid, rng.uniform(0, 20))


def paint_lines(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Now and then a central venous line in the upper cava: thin, dense, tubular."""
    if rng.random() < 0.1:
        z = patient.carina
        path, radii = smooth_path([(-70, -80, z + 60), (-30, -48, z + 50), (-27, -46, z), (-25, -48, z - 30)], 1.2)
        canvas.blend(*tubes(canvas, path, radii, 1.5), 900.0)
