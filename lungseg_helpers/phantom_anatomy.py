"""Body wall and skeleton: skin, fat, muscle, ribs, spine, breast bone, shoulder blades, table."""

from __future__ import annotations

import numpy as np

from .phantom_canvas import Canvas, ellipsoid, smooth_field
from .phantom_patient import Patient

FAT_HU, MUSCLE_HU, SKIN_HU, MARROW_HU, CORTEX_HU = -100.0, 52.0, 20.0, 190.0, 850.0
"""Typical CT numbers at 120 kV; soft tissue varies by a few HU and bone by hundreds."""


def cage_distance(canvas: Canvas, patient: Patient) -> np.ndarray:
    """Signed distance in mm (slice, row, column) to the inner surface of the rib cage.

    Two barrels side by side, one a half-chest, that meet in the midline: superellipses in
    each slice, closed by a dome at the apex.
    """
    z = canvas.z[:, None, None]
    width, front, back = (f(z).astype(np.float32) for f in
                          (patient.cage_half_width, patient.cage_front, patient.cage_back))  # fmt: skip
    inner = np.interp(patient.u(z), [0.0, 0.7, 1.0], [-6.0, -4.0, 14.0]).astype(np.float32)
    half, depth = (width - inner) / 2, (back - front) / 2
    x = np.abs(canvas.x[None]) - (width + inner) / 2
    x /= half
    y = (canvas.y[None] - (back + front) / 2) / depth
    total = x * x
    total *= np.sqrt(np.abs(x))
    total += y * y * np.sqrt(np.abs(y))
    total += np.maximum(0.0, (patient.u(z) - 0.72) / 0.28).astype(np.float32) ** 2.5
    np.maximum(total, 1e-3, out=total)
    distance = np.log(total, out=total)
    distance *= np.sqrt(half * depth) / 2.5
    return distance


def paint_body(canvas: Canvas, patient: Patient, cage: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint table, skin, fat and muscle; return the signed distance (mm) to the skin."""
    z = canvas.z[:, None, None]
    u = patient.u(z)
    shoulder = np.interp(u, [0.55, 0.8, 1.0, 1.25], [0.0, 18.0, 42.0, 30.0])
    width = patient.cage_half_width(np.minimum(z, 0.6 * patient.height)) + patient.wall + patient.fat + shoulder
    front = patient.cage_front(np.minimum(z, patient.height)) - patient.wall - 4 - 0.8 * patient.fat
    back = patient.cage_back(np.minimum(z, patient.height)) + 22 + 0.7 * patient.fat + 0.8 * patient.muscle
    x = canvas.x[None] / width.astype(np.float32)
    y = (canvas.y[None] - ((front + back) / 2).astype(np.float32)) / ((back - front) / 2).astype(np.float32)
    total = x * x * np.sqrt(np.abs(x)) + y * y * np.sqrt(np.abs(y))
    np.maximum(total, 1e-3, out=total)
    body = np.log(total, out=total)
    body *= (np.sqrt(width * (back - front) / 2) / 2.5).astype(np.float32)
    body += 2.0 * smooth_field(rng, canvas, 90)
    if patient.female:
        breast = float(rng.uniform(30, 55))
        for side in (-1, 1):
            y_front = float(patient.cage_front(np.array(0.4 * patient.height))) - patient.wall - 0.5 * patient.fat
            centre = (side * 75.0, y_front, 0.4 * patient.height)
            box = canvas.around(np.array(centre), 1.5 * breast + 8)
            np.minimum(body[box], ellipsoid(*canvas.mesh(box), centre, (1.3 * breast, breast, 1.4 * breast)), out=body[box])
    everything = (slice(None),) * 3
    _paint_table(canvas, float(back.max()))
    canvas.paint(everything, body, SKIN_HU)
    canvas.paint(everything, body + 2.0, FAT_HU)
    streaks = smooth_field(rng, canvas, 9)
    texture = 12.0 * streaks
    muscle = cage - _muscle_thickness(canvas, patient) + 2.0 * streaks
    muscle = np.maximum(muscle, body + 3.0 + 0.15 * patient.fat)
    canvas.paint(everything, muscle, MUSCLE_HU + texture, soft=2.5)
    return body


def _muscle_thickness(canvas: Canvas, patient: Patient) -> np.ndarray:
    """Thickness of muscle outside the pleura, mm: pectorals in front, back muscles, shoulder."""
    u = patient.u(canvas.z)[:, None, None]
    x, y = np.abs(canvas.x)[None], (canvas.y - 0.0)[None]
    upper = np.exp(-(((u - 0.75) / 0.2) ** 2)).astype(np.float32)
    pectoral = upper * np.exp(-(((x - 75) / 45) ** 2) - ((y + 90) / 50) ** 2)
    lateral = np.exp(-((x - 130) ** 2) / 55**2 - (y - 20) ** 2 / 50**2)
    back = np.exp(-(((x - 35) / 28) ** 2) - ((y - 70) / 30) ** 2)
    return 10.0 + patient.muscle * (1.3 * pectoral + lateral * (0.5 + 1.5 * upper) + 2.0 * back)


def paint_ribs(canvas: Canvas, patient: Patient, cage: np.ndarray, rng: np.random.Generator) -> None:
    """Twelve pairs of ribs on the cage: they leave the spine, slope down and end in cartilage.

    In the shell around the cage a voxel's place is (t, z): t runs from the spine (0) along the
    rib to the breast bone (1). Rib i lies where z = head_i - fall_i(t), which can be solved for
    i, so no rib is ever traced.
    """
    shell = np.nonzero((cage > 0.5) & (cage < 12.5))
    out = cage[shell]
    x, y, z = canvas.x[shell[1:]], canvas.y[shell[1:]], canvas.z[shell[0]]
    middle = (patient.cage_front(z) + patient.cage_back(z)) / 2
    stretch = patient.cage_half_width(z) / (patient.cage_back(z) - patient.cage_front(z)) * 2
    t = (np.arctan2(np.abs(x), (y - middle) * stretch) / np.pi).astype(np.float32)
    pitch, top = 0.088 * patient.height * rng.uniform(0.95, 1.05), patient.height + rng.uniform(2, 14)
    first_fall, more_fall = rng.uniform(38, 52), rng.uniform(3.5, 7)
    curve = 1.15 * t**1.2 - 0.25 * np.maximum(0, t - 0.75) * 4 * t
    rib = (top - z - first_fall * curve) / (pitch + more_fall * curve)
    number = np.clip(np.rint(rib), 0, 11)
    along_z = (rib - number) * (pitch + more_fall * curve) * 0.9
    round_ = np.sqrt((along_z / 6.5) ** 2 + ((out - 5.8) / 3.8) ** 2)
    distance = (round_ - 1) * 4.2
    end = np.array([0.93] * 7 + [0.86, 0.82, 0.78, 0.5, 0.32])[number.astype(int)]
    cartilage = np.clip((t - 0.76 - 0.006 * number) / 0.02, 0, 1)
    distance = np.maximum(distance, (t - end) * 300)
    spread = rng.normal(0, 60, len(out)).astype(np.float32)
    inside = np.where(cartilage > 0.5, 110 + 40 * patient.age, MARROW_HU - 60 * patient.age) + 0.3 * spread
    cortex = np.where(cartilage > 0.5, 150 + 150 * patient.age, CORTEX_HU) + spread
    _bone(canvas, shell, distance, cortex, inside, 1.3)


def _bone(canvas: Canvas, where: tuple, distance: np.ndarray, cortex: np.ndarray | float,
          marrow: np.ndarray | float, thickness: float) -> None:  # fmt: skip
    """Paint cortical bone and the marrow inside it over any selection of voxels."""
    hu = canvas.hu[where]
    hu += canvas.cover(distance) * (cortex - hu)
    hu += canvas.cover(distance + thickness) * (marrow - hu)
    canvas.hu[where] = hu


def paint_spine(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Vertebral bodies with end plates, discs, the canal, pedicles, arch, spinous and transverse processes."""
    z_all = canvas.z
    pitch = 0.088 * patient.height
    y_mid = patient.spine_y(z_all)
    box = canvas.box((-45, float(y_mid.min()) - 10, float(z_all[0])), (45, float(y_mid.max()) + 95, float(z_all[-1])))
    x, y, z = canvas.mesh(box)
    front = patient.spine_y(z).astype(np.float32)
    y = y - front
    size = np.interp(patient.u(z), [-0.3, 0, 1, 1.2], [1.2, 1.12, 0.85, 0.8]).astype(np.float32)
    x, y = x / size, y / size
    phase = np.mod(z / pitch, 1.0)
    into_disc = np.abs(phase - 0.5) * pitch - (0.5 * pitch - 2.8)
    body = np.sqrt((x / 17.5) ** 2 + ((y - 14) / 14) ** 2) * 14 - 14
    waist = body + 1.5 * np.cos(2 * np.pi * (phase - 0.5))
    coarse = 45 * smooth_field(rng, canvas, 4)[box]
    canvas.paint(box, body, 85.0)
    bone = np.maximum(waist, into_disc)
    where = np.nonzero(bone < 2)
    local = (where[0] + box[0].start, where[1] + box[1].start, where[2] + box[2].start)
    marrow = MARROW_HU + 30 - 110 * patient.age
    _bone(canvas, local, bone[where], 520.0, marrow + coarse[where], 1.5)
    arch_z = np.abs(np.mod(phase - 0.1, 1.0) - 0.5) * pitch - 8
    ring = np.abs(np.sqrt(x**2 + (y - 38) ** 2) - 11.5) - 3.0
    pedicle = np.maximum(np.maximum(np.abs(np.abs(x) - 11) - 3.5, np.abs(y - 30) - 6), arch_z + 3)
    spinous = np.maximum(np.abs(x) - 2.8, np.maximum(np.abs(y - 62) - 14, arch_z + 2 + 0.0 * y))
    transverse = np.maximum(np.abs(y - 42 - 0.45 * np.abs(x)) - 4, np.maximum(np.abs(x) - 32, arch_z + 3))
    arch = np.minimum(np.minimum(np.maximum(ring, arch_z - 1), spinous), np.minimum(pedicle, transverse))
    canal = np.sqrt(x**2 + (y - 37) ** 2) - 8.5
    arch = np.maximum(arch, -canal)
    where = np.nonzero(arch < 2)
    local = (where[0] + box[0].start, where[1] + box[1].start, where[2] + box[2].start)
    _bone(canvas, local, arch[where], 620.0, marrow + 60 + coarse[where], 1.3)
    canvas.paint(box, canal, 15.0)
    canvas.paint(box, canal + 3.5, 35.0)


def paint_sternum_and_scapulae(canvas: Canvas, patient: Patient, cage: np.ndarray) -> None:
    """Breast bone in front, shoulder blades behind, collar bones above."""
    low, high = 0.32 * patient.height, 0.86 * patient.height
    front = patient.cage_front(canvas.z)
    box = canvas.box((-30, float(front.min()) - 25, low), (30, float(front.max()), high))
    x, y, z = canvas.mesh(box)
    width = np.interp(patient.u(z), [0.32, 0.68, 0.74, 0.86], [15.0, 14.0, 26.0, 24.0])
    plate = np.sqrt((x / width) ** 4 + ((y - patient.cage_front(z) + 7) / 6.0) ** 4) ** 0.5 * 6 - 6
    where = np.nonzero(np.maximum(plate, np.maximum(low + 3 - z, z - high + 3)) < 2)
    local = tuple(w + b.start for w, b in zip(where, box, strict=True))
    _bone(canvas, local, plate[where], 600.0, 120.0, 1.4)
    shell = np.nonzero((cage > 14) & (cage < 30))
    out, z = cage[shell], canvas.z[shell[0]]
    across, y = np.abs(canvas.x[shell[1:]]), canvas.y[shell[1:]]
    u = z / patient.height
    blade = np.abs(out - 21 - 3 * np.sin(across / 12)) - 2.3
    inner = 62 + 45 * np.clip((0.95 - u) / 0.4, 0, 1)
    edges = np.maximum(np.maximum(inner - across, -2 - y), np.maximum((0.55 - u) * 220, (u - 1.02) * 250))
    _bone(canvas, shell, np.maximum(blade, edges), 650.0, 280.0, 1.1)


def _paint_table(canvas: Canvas, back: float) -> None:
    """The scanner's table: a thin curved shell under the patient, the same in every slice."""
    x, y = canvas.x[None], canvas.y[None]
    sag = back + 4 - (x / 240.0) ** 2 * 40
    everything = (slice(None),) * 3
    canvas.paint(everything, np.maximum(np.abs(y - sag - 24) - 24, np.abs(x) - 215), -930.0)
    canvas.paint(everything, np.maximum(np.abs(y - sag) - 0.9, np.abs(x) - 215), -250.0)
    canvas.paint(everything, np.maximum(np.abs(y - sag - 48) - 1.2, np.abs(x) - 205), 60.0)
