"""What lies between and below the lungs: heart, great vessels, trachea, diaphragm, abdomen."""

from __future__ import annotations

import numpy as np

from .phantom_anatomy import FAT_HU, MUSCLE_HU
from .phantom_canvas import Canvas, ellipsoid, smooth_field, tubes
from .phantom_patient import Patient


def diaphragm_height(canvas: Canvas, patient: Patient) -> np.ndarray:
    """Height z (row, column) in mm of the diaphragm: two domes that fall steeply to back and sides."""
    domes = []
    for side, top in zip((-1, 1), patient.dome, strict=True):
        x = (canvas.x - side * 0.47 * patient.half_width) / (0.60 * patient.half_width)
        y = (canvas.y + 42) / (0.56 * patient.depth)
        away = np.sqrt(np.abs(x) ** 2.4 + np.where(y > 0, np.abs(y) ** 2.2, 0.6 * np.abs(y) ** 2.4))
        domes.append(top - (top + 12) * np.clip(away, 0, 1.25) ** 2.6)
    share = np.clip(canvas.x / 50 + 0.5, 0, 1)
    return ((1 - share) * domes[0] + share * domes[1]).astype(np.float32)


def great_vessels(patient: Patient, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Centrelines (n, 3) mm, radii (n,) mm and blood HU of aorta, pulmonary arteries and great veins."""
    h = patient.height
    carina = 0.62 * h
    s = patient.heart * rng.uniform(0.95, 1.1)
    wide = 13.0 + 4.0 * patient.age * rng.uniform(0.5, 1.2)
    spine = lambda z: float(patient.spine_y(np.array(z)))  # noqa: E731
    arch = carina + rng.uniform(24, 36)

    def line(points: list, radii: list | float, step: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
        points = np.array(points, float)
        radii = np.broadcast_to(radii, len(points)) * s
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        at = np.arange(0, length[-1], step)
        # quadratic smoothing of the polygon: resample, then average along it
        path = np.stack([np.interp(at, length, p) for p in points.T], 1)
        kernel = np.ones(9) / 9
        padded = np.concatenate([np.repeat(path[:1], 4, 0), path, np.repeat(path[-1:], 4, 0)])
        path = np.stack([np.convolve(p, kernel, "valid") for p in padded.T], 1)
        return path, np.interp(at, length, radii)

    low = -120.0
    aorta = [(14, -52, carina - 62), (-14, -66, carina - 30), (-18, -62, carina - 5), (-8, -52, arch - 4),
             (6, -34, arch + 6), (20, -14, arch), (24, 2, arch - 20), (22, spine(0.4 * h) + 0, 0.4 * h),
             (14, spine(0.1 * h) - 4, 0.1 * h), (6, spine(low) - 10, low)]  # fmt: skip
    radii = [15, 16, 16, 15, 14.5, 13.5, 12.5, 12, 11.5, 10.5]
    path, r = line(aorta, np.array(radii) * wide / 15)
    vessels = {"aorta": (path, r, patient.aorta_hu)}
    trunk = [(22, -74, carina - 45), (20, -62, carina - 22), (8, -42, carina - 14), (-14, -34, carina - 18), (-38, -22, carina - 26)]
    path, r = line(trunk, [15, 15, 13, 12, 9])
    vessels["pulmonary right"] = (path, r, patient.right_heart_hu)
    path, r = line([(20, -62, carina - 22), (28, -42, carina - 10), (36, -18, carina - 12), (42, -6, carina - 28)], [14, 12, 11, 8])
    vessels["pulmonary left"] = (path, r, patient.right_heart_hu)
    path, r = line([(-26, -48, carina - 55), (-28, -46, carina), (-26, -44, arch + 12), (-24, -44, arch + 40)], [10, 9, 8, 7])
    vessels["cava"] = (path, r, patient.venous_hu)
    path, r = line([(-26, -44, arch + 14), (0, -58, arch + 20), (30, -50, arch + 38)], [7, 7, 6.5])
    vessels["brachiocephalic vein"] = (path, r, patient.venous_hu)
    for x, y, name in ((-8, -44, "brachiocephalic"), (6, -30, "carotid"), (16, -18, "subclavian")):
        path, r = line([(x, y, arch + 4), (2.0 * x - 4, y + 4, arch + 45), (3.2 * x - 6, y + 12, arch + 110)], [6.5, 5, 4.5])
        vessels[name] = (path, r, patient.aorta_hu)
    path, r = line([(-22, -28, 0.36 * h), (-20, -26, 20), (-14, -22, -120)], [13, 12, 11])
    vessels["lower cava"] = (path, r, 0.5 * (patient.venous_hu + 60))
    vein = (np.array([(-42, -24, carina - 52), (42, -16, carina - 52)]), patient.left_heart_hu)
    path, r = line([vein[0][0], (-20, -26, carina - 54), (20, -22, carina - 54), vein[0][1]], [7, 11, 11, 7])
    vessels["pulmonary veins"] = (path, r, patient.left_heart_hu)
    path, r = line([(6, spine(1.2 * h) - 12, 1.25 * h), (4, -10, carina + 20), (2, -8, carina - 30), (8, -14, 0.25 * h), (16, -40, 10)], [7] * 5)
    vessels["oesophagus"] = (path, r, 32.0)
    path, r = line([(-8, 4, carina), (-8, 6, 0)], [4, 4])
    vessels["azygos"] = (path, r, patient.venous_hu * 0.4 + 30)
    return vessels


def paint_mediastinum(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """Fill the cage with fat, paint heart and vessels; return how far (mm) each voxel lies outside them."""
    h, carina, s = patient.height, 0.62 * patient.height, patient.heart
    x, y, z = canvas.x[None], canvas.y[None], canvas.z[:, None, None]
    u = patient.u(z)
    front = patient.cage_front(z).astype(np.float32)
    spine = patient.spine_y(z).astype(np.float32)
    place = np.clip((y - front) / (spine - front), 0, 1.6)
    # Half-widths of the mediastinum from the front (0) to the spine (1) at three heights.
    along = [0.0, 0.2, 0.45, 0.7, 0.9, 1.1, 1.6]
    top = np.interp(place, along, [6, 16, 30, 30, 24, 24, 22]).astype(np.float32)
    middle = np.interp(place, along, [4, 7, 26, 30, 18, 20, 20]).astype(np.float32)
    bottom = np.interp(place, along, [8, 14, 22, 22, 16, 20, 21]).astype(np.float32)
    high = np.clip((u - 0.6) / 0.3, 0, 1).astype(np.float32)
    low = np.clip((0.55 - u) / 0.2, 0, 1).astype(np.float32)
    half = middle + high * (top - middle) + low * (bottom - middle)
    distance = np.abs(x) - half
    hulls = [((22, -58, 0.36 * h), (52, 46, 50)), ((-12, -50, 0.38 * h), (40, 38, 46)),
             ((6, -38, 0.45 * h), (42, 28, 40)), ((40, -66, 0.30 * h), (42, 38, 36))]  # fmt: skip
    for centre, radii in hulls:
        radii = tuple(float(r * s) for r in radii)
        box = canvas.around(np.array(centre), max(radii) * 1.6)
        np.minimum(distance[box], ellipsoid(*canvas.mesh(box), centre, radii), out=distance[box])
    vessels = great_vessels(patient, rng)
    for path, radii, _ in vessels.values():
        for point, radius in zip(path[::3], radii[::3], strict=False):
            box = canvas.around(point, radius + 6)
            ball = ellipsoid(*canvas.mesh(box), tuple(point), (radius + 1.5,) * 3)
            np.minimum(distance[box], ball, out=distance[box])
    soft = smooth_field(rng, canvas, 14)
    for centre, radii in hulls:
        radii = tuple(float(r * s - 5) for r in radii)
        box = canvas.around(np.array(centre), max(radii) * 1.2)
        canvas.paint(box, ellipsoid(*canvas.mesh(box), centre, radii) + soft[box], MUSCLE_HU - 4)
    chambers = [((34, -62, 0.34 * h), (26, 22, 30), patient.left_heart_hu), ((2, -76, 0.36 * h), (24, 16, 30), patient.right_heart_hu),
                ((-26, -52, 0.38 * h), (20, 22, 28), patient.right_heart_hu), ((6, -28, 0.44 * h), (32, 17, 22), patient.left_heart_hu)]  # fmt: skip
    for centre, radii, hu in chambers:
        radii = tuple(float(r * s) for r in radii)
        box = canvas.around(np.array(centre), max(radii) * 1.2)
        canvas.paint(box, ellipsoid(*canvas.mesh(box), centre, radii), hu, soft=3.0)
    for path, radii, hu in vessels.values():
        canvas.blend((slice(None),) * 3, tubes(canvas, path, radii, np.full(len(path), 2.0), rng), hu)
    return distance


def paint_abdomen(canvas: Canvas, patient: Patient, cage: np.ndarray, dome: np.ndarray, rng: np.random.Generator) -> None:
    """Liver, stomach with its gas, spleen and gut under the domes of the diaphragm."""
    top = int(np.searchsorted(canvas.z, max(patient.dome) + 5))
    box = (slice(0, top), slice(None), slice(None))
    if top == 0:
        return
    x, y, z = canvas.mesh(box)
    under = z - (dome[None] - 3.0)
    inside = np.maximum(cage[box] + 3.0, under * 0.6)
    canvas.paint(box, inside, FAT_HU)
    lumps = smooth_field(rng, canvas, 40)[box]
    enhanced = 0.35 * max(0.0, patient.aorta_hu - 40)
    liver = np.maximum(inside + 2, (x - 20 - 10 * lumps) * 0.7 + np.maximum(0, -z) * 0.4)
    canvas.paint(box, liver, 55 + min(55.0, enhanced))
    spleen = ellipsoid(x, y, z, (0.72 * patient.half_width, 22, patient.dome[1] - 48), (30, 38, 42))
    canvas.paint(box, np.maximum(spleen, inside + 3), 50 + min(75.0, 1.3 * enhanced))
    stomach = ellipsoid(x, y, z, (0.46 * patient.half_width, -48, patient.dome[1] - 40), (42, 38, 40))
    stomach = np.maximum(stomach, inside + 4)
    canvas.paint(box, stomach, 40.0)
    canvas.paint(box, stomach + 4, 15.0)
    canvas.paint(box, np.maximum(stomach + 5, y + 62), -950.0)
    gut = np.maximum(np.maximum(lumps * 14 + 6, z + 5), np.maximum(inside + 6, y - 10))
    canvas.paint(box, np.maximum(gut, -(np.minimum(liver, np.minimum(spleen, stomach)) - 4)), 30.0)
    muscle = np.abs(np.maximum(cage[box] + 3.0, under * 0.6)) - 1.6
    canvas.paint(box, np.maximum(muscle, -8 - z), MUSCLE_HU)
