"""Between the lungs: heart, great vessels, gullet, windpipe and main bronchi, in fat."""

from __future__ import annotations

import numpy as np

from .anterior import anterior_widths, paint_anterior
from .body import FAT_HU, MUSCLE_HU
from .canvas import ALL, Canvas, ellipsoid, smooth_field, smooth_path, tubes
from .patient import Patient

Line = tuple[np.ndarray, np.ndarray]
"""A centreline: points (n, 3) mm and radii (n,) mm."""


def great_vessels(patient: Patient, rng: np.random.Generator) -> list[tuple[str, Line, float]]:
    """Name, centreline and HU of the great vessels and the gullet, placed from the carina."""
    h, carina, s = patient.height, patient.carina, patient.heart
    right, left, vein = patient.right_heart_hu, patient.left_heart_hu, patient.venous_hu
    arch = carina + rng.uniform(22, 36)
    wide = (0.85 + 0.4 * patient.age * rng.uniform(0.5, 1.0)) * s
    spine = lambda z: float(patient.spine_y(np.array(z)))  # noqa: E731
    aorta = smooth_path(
        [(14, -52, carina - 62), (-14, -66, carina - 30), (-18, -62, carina - 5), (-8, -52, arch - 4),
         (6, -34, arch + 6), (20, -14, arch), (24, spine(0.55 * h) + 6, arch - 20), (22, spine(0.4 * h) + 2, 0.4 * h),
         (14, spine(0.1 * h) - 6, 0.1 * h), (6, spine(-120) - 12, -120)],
        list(np.array([15, 16, 16, 15, 14.5, 13.5, 12.5, 12, 11.5, 10.5]) * wide))  # fmt: skip
    trunk = smooth_path([(22, -74, carina - 45), (20, -62, carina - 22), (8, -42, carina - 14),
                         (-14, -34, carina - 18), patient.hilum(-1)], [14, 14, 12, 11, 9])  # fmt: skip
    left_artery = smooth_path([(20, -62, carina - 22), (28, -42, carina - 10), (36, -20, carina - 9), patient.hilum(1)],
                              [14, 12, 11, 9])  # fmt: skip
    cava = smooth_path([(-26, -48, carina - 55), (-28, -46, carina), (-26, -44, arch + 12), (-26, -46, arch + 45)],
                       [10, 9, 8, 7])  # fmt: skip
    lower_cava = smooth_path([(-22, -28, 0.36 * h), (-20, -26, 20), (-14, -22, -120)], [13, 12, 11])
    gullet = smooth_path([(5, spine(1.25 * h) - 10, 1.25 * h), (5, spine(carina + 20) - 8, carina + 20),
                          (2, spine(carina) - 8, carina - 30), (8, -14, 0.25 * h), (16, -40, 10)], 7.0)  # fmt: skip
    azygos = smooth_path([(-26, -34, carina + 8), (-20, -4, carina + 12), (-9, 0, carina), (-8, spine(0) - 4, 0)], 4.2)
    vessels = [("aorta", aorta, patient.aorta_hu), ("pulmonary", trunk, right), ("pulmonary", left_artery, right),
               ("cava", cava, vein), ("lower cava", lower_cava, 0.5 * right + 30),
               ("gullet", gullet, 34.0), ("azygos", azygos, 0.4 * vein + 30)]  # fmt: skip
    for x, y in ((-8, -44), (6, -30), (17, -18)):
        path = [(x, y, arch + 4), (1.5 * x, y + 4, arch + 45), (2.2 * x, y + 14, arch + 100)]
        vessels.append(("branch", smooth_path(path, [6.5, 5, 4.5]), patient.aorta_hu))
    for side in (-1, 1):
        path = [(side * 16, -52, arch + 45), (side * 42, -64, h - 8), (side * 75, -55, h + 8), (side * 140, -35, h + 4)]
        vessels.append(("subclavian", smooth_path(path, 5.2), patient.aorta_hu if side > 0 else vein))
        # The lower-lobe artery runs down outside the bronchus, and veins enter the left atrium.
        descending = smooth_path([patient.hilum(side), patient.lobe_root(side, "lower", False)], [8.5, 6.5])
        atrium = (side * 16, -24, carina - 52)
        vessels.append(("pulmonary", descending, right))
        for lobe in ("upper", "lower"):
            vessels.append(("vein", smooth_path([atrium, patient.lobe_root(side, lobe, True)], [8, 5.5]), left))
    return vessels


def _half_widths(canvas: Canvas, patient: Patient, anterior: float) -> np.ndarray:
    """Half-width in mm (slice, row, 1) of the mediastinum's fat and of the spine with its muscles.

    ``anterior`` widens the fat behind the breast bone.
    """
    z, y = canvas.z[:, None], canvas.y[None, :, canvas.shape[2] // 2]
    u, front, spine = patient.u(z), patient.cage_front(z), patient.spine_y(z)
    place = np.clip((y - front) / (spine - front), 0, 1.0)
    along = [0.0, 0.2, 0.45, 0.7, 0.9, 1.0]
    place_wide = np.interp(place, [0.0, 0.3, 0.5], [anterior, anterior, 1.0])
    top = np.interp(place, along, [5, 10, 22, 22, 18, 17])
    middle = np.interp(place, along, [3, 5, 20, 26, 18, 18])
    bottom = np.interp(place, along, [6, 12, 20, 20, 15, 16])
    high, low = np.clip((u - 0.66) / 0.25, 0, 1), np.clip((0.5 - u) / 0.2, 0, 1)
    half = (middle + high * (top - middle) + low * (bottom - middle)) * place_wide
    half = np.minimum(half, np.maximum(middle, 26.0))
    behind = y - spine
    column = 21.5 * np.sqrt(np.clip(1 - ((behind - 13) / 19) ** 2, 0, 1))
    column = np.maximum(column, np.where(behind > 22, 19 + 0.55 * (behind - 22), 0))
    column = np.maximum(column, half * np.clip(1 - behind / 14, 0, 1))
    return np.where(behind > 0, column, half)[:, :, None].astype(np.float32)


def paint_mediastinum(
    canvas: Canvas, patient: Patient, cage: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint heart and vessels in fat.

    Returns two signed distances in mm (slice, row, column), negative inside: to the whole
    mediastinum with the spine, which the lungs leave free, and to the heart alone.
    """
    waves = smooth_field(rng, canvas, 16)
    anterior, shift = anterior_widths(rng)
    # the lungs meet before the heart to the left or right of the midline
    ahead = np.clip((-30 - canvas.y[None]) / 40, 0, 1)
    distance = np.abs(canvas.x[None] - shift * ahead) - _half_widths(canvas, patient, anterior) + 1.5 * waves
    behind = canvas.y[None] - patient.spine_y(canvas.z)[:, None, None].astype(np.float32)
    canvas.paint(ALL, np.maximum(np.maximum(distance, 16 - behind), cage - 8), MUSCLE_HU)
    del behind
    heart = _paint_heart(canvas, patient, waves, rng)
    np.minimum(distance, heart, out=distance)
    _paint_fat_pads(canvas, patient, distance, rng)
    for name, (path, radii), hu in great_vessels(patient, rng):
        _paint_tube(canvas, distance, (path, radii), 1.8, hu)
        if name == "aorta":
            _paint_plaques(canvas, path, radii, patient.age, rng)
        if name == "gullet" and rng.random() < 0.4:
            canvas.blend(*tubes(canvas, path, 0.3 * radii, 1.5), -700.0)
    if patient.crowded:
        _paint_hila(canvas, patient, distance, rng)
    paint_anterior(canvas, patient, distance, rng)
    return distance, heart


def _paint_tube(canvas: Canvas, distance: np.ndarray, line: Line, sheath_mm: float, hu: float) -> None:
    """Paint a vessel, and let ``distance``, to what the lungs leave free, grow by it and by its sheath."""
    path, radii = line
    wall, cover = tubes(canvas, path, radii + sheath_mm, 1.5)
    # Soft edges make coverage a distance again: half covered is the surface.
    np.minimum(distance[wall], (0.5 - cover) * canvas.soft + (cover <= 0) * 9, out=distance[wall])
    canvas.blend(*tubes(canvas, path, radii, 1.5), hu)


def _paint_hila(canvas: Canvas, patient: Patient, distance: np.ndarray, rng: np.random.Generator) -> None:
    """Arteries and veins of the segments where they cross the hilum, 6 to 15 mm wide, in a cuff of fat.

    A lung has ten segments, whose vessels part at the hilum or before it, in each patient in another way. ``distance``
    in mm (slice, row, column), to what the lungs leave free, grows by all of it.
    """
    for side in (-1, 1):
        hilum = np.array(patient.hilum(side))
        box = canvas.around(hilum, 34)
        middle, radii = hilum + rng.normal(0, (3, 5, 7)), rng.uniform(5, 15, 3) * (1, 1, 1.5)
        cuff = ellipsoid(*canvas.mesh(box), tuple(middle), tuple(radii))
        np.minimum(distance[box], cuff + 1.5 * smooth_field(rng, canvas, 8, box), out=distance[box])
        for _ in range(int(rng.integers(2, 8))):
            start = hilum + rng.normal(0, (6, 8, 11))
            way = np.array([side * abs(rng.normal(0.8, 0.4)), rng.normal(-0.1, 0.6), rng.normal(0, 0.7)])
            way *= rng.uniform(20, 55) / np.linalg.norm(way)
            middle = start + 0.5 * way + rng.normal(0, 5, 3)
            radius = rng.uniform(2.8, 7.5)
            path, radii = smooth_path([tuple(start - 0.3 * way), tuple(start), tuple(middle), tuple(start + way)],
                                      list(radius * np.array([1.0, 1.0, 0.75, rng.uniform(0.3, 0.6)])))  # fmt: skip
            sheath = rng.uniform(0.3, 1.8)
            hu = patient.left_heart_hu if rng.random() < 0.5 else patient.right_heart_hu
            _paint_tube(canvas, distance, (path, radii), sheath, hu)


def _paint_heart(canvas: Canvas, patient: Patient, waves: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint muscle and chambers inside a rim of fat; return the distance in mm to the outside of that rim."""
    h = patient.height
    # The heart rests on the diaphragm, and its apex lies to the left.
    base, fat = 0.5 * sum(patient.dome), rng.uniform(0.0, 5.0)
    hulls = [((22, -58, base + 26), (58, 48, 54)), ((-16, -54, base + 30), (44, 40, 50)),
             ((6, -38, 0.45 * h), (44, 30, 42)), ((42, -64, base + 10), (44, 38, 34))]  # fmt: skip
    chambers = [((38, -60, base + 20), (27, 22, 30), patient.left_heart_hu),
                ((6, -78, base + 24), (27, 15, 32), patient.right_heart_hu),
                ((-28, -54, base + 30), (21, 24, 30), patient.right_heart_hu),
                ((6, -30, 0.44 * h), (33, 18, 24), patient.left_heart_hu)]  # fmt: skip
    heart = np.full(canvas.shape, 99.0, np.float32)
    for centre, radii in hulls:
        box = canvas.around(np.array(centre), max(radii) * patient.heart * 1.4)
        shape = ellipsoid(*canvas.mesh(box), centre, tuple(np.multiply(radii, patient.heart)))
        np.minimum(heart[box], shape + 2.0 * waves[box], out=heart[box])
    canvas.paint(ALL, heart + fat + 0.5 * waves, MUSCLE_HU - 2)
    for centre, radii, hu in chambers:
        box = canvas.around(np.array(centre), max(radii) * patient.heart * 1.2)
        shape = ellipsoid(*canvas.mesh(box), centre, tuple(np.multiply(radii, patient.heart)))
        canvas.paint(box, shape + 2 * waves[box], hu, soft=3.0)
    return heart


def _paint_fat_pads(canvas: Canvas, patient: Patient, distance: np.ndarray, rng: np.random.Generator) -> None:
    """Lobules of fat in the angles between heart, diaphragm and chest wall.

    The cage is full of fat already: ``distance``, to what the lungs leave free, grows by them.
    """
    for side in (-1, 1):
        base = patient.dome[0 if side < 0 else 1]
        for _ in range(rng.poisson(1.2)):
            size = rng.uniform(0.5, 1.3) * (5 + 0.5 * patient.fat)
            centre = (side * rng.uniform(0.3, 0.95) * patient.half_width,
                      float(patient.cage_front(np.array(base))) + rng.uniform(5, 45),
                      base + rng.uniform(-25, 8))  # fmt: skip
            radii = tuple(size * rng.uniform(0.6, 1.3, 3))
            box = canvas.around(np.array(centre), max(radii) + 4)
            shape = ellipsoid(*canvas.mesh(box), centre, radii) + 1.5 * smooth_field(rng, canvas, 8, box)
            np.minimum(distance[box], shape, out=distance[box])


def _paint_plaques(canvas: Canvas, path: np.ndarray, radii: np.ndarray, age: float, rng: np.random.Generator) -> None:
    """Calcified plaques in the wall of an older aorta."""
    for _ in range(rng.poisson(14 * age**2)):
        at = int(rng.integers(len(path)))
        way = rng.normal(size=3) * (1, 1, 0.3)
        centre = path[at] + way / np.linalg.norm(way) * (radii[at] - 0.5)
        box = canvas.around(centre, 9)
        size = rng.uniform(1.2, 3.5)
        canvas.paint(box, ellipsoid(*canvas.mesh(box), tuple(centre), (size, size, 1.6 * size)), rng.uniform(350, 900))


def main_airways(patient: Patient, rng: np.random.Generator) -> list[Line]:
    """Windpipe, main bronchi and lobar bronchi as centrelines."""
    h, carina = patient.height, patient.carina
    r = rng.uniform(7.5, 9.5) * (0.9 if patient.female else 1.05)
    neck = float(patient.spine_y(np.array(1.25 * h))) - 22
    fork = (-1, float(patient.spine_y(np.array(carina))) - 18, carina + 4)
    lines = [smooth_path([(0, neck, 1.3 * h), (-2, neck + 8, 0.95 * h), fork], r)]
    for side in (-1, 1):
        hilum = np.add(patient.hilum(side), (-side * 6, 10, 6 if side < 0 else -6))
        lines.append(smooth_path([fork, tuple(hilum)], [0.82 * r, 0.66 * r]))
        for lobe in ("upper", "lower"):
            root = np.add(patient.lobe_root(side, lobe, False), (-side * 5, 6, 0))
            lines.append(smooth_path([tuple(hilum), tuple(root)], [0.58 * r, 0.45 * r]))
    return lines


def paint_airways(canvas: Canvas, heart: np.ndarray, lines: list[Line]) -> None:
    """Paint walls of about 1.5 mm, then air: after the blood vessels, which they push aside, but not the heart."""
    for grow, hu in ((1.6, 25.0), (0.0, -985.0)):
        for path, radii in lines:
            box, cover = tubes(canvas, path, radii + grow, 1.5)
            canvas.blend(box, cover * (heart[box] > 0), hu)


def paint_fat(canvas: Canvas, cage: np.ndarray, rng: np.random.Generator) -> None:
    """Fill the whole cage with fat, into which the organs are painted; vessels and thymus make it denser in some."""
    canvas.paint(ALL, cage + 1.2, FAT_HU + rng.uniform(0, 70) + 15 * smooth_field(rng, canvas, 9))
