"""The bony cage: its inner surface, ribs, breast bone, shoulder blades, collar bones and spine."""

from __future__ import annotations

import numpy as np

from .canvas import Box, Canvas, smooth_field, smooth_path, tubes
from .patient import Patient

MARROW_HU, CORTEX_HU, CARTILAGE_HU = 190.0, 800.0, 110.0
"""Typical CT numbers at 120 kV; marrow falls by half with age, cartilage calcifies."""

RIB_ENDS = np.array([0.93] * 7 + [0.87, 0.83, 0.79, 0.5, 0.32])
"""Where ribs 1–12 end, as a share of the way from spine to breast bone: seven true, three false, two floating."""


def cage_distance(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """Signed distance in mm (slice, row, column) to the inner surface of the rib cage, negative inside.

    In each slice two superellipses, one per half-chest, open towards each other; a dome closes
    them at the apex. Broad waves make every chest a little crooked.
    """
    z = canvas.z[:, None, None]
    width, front, back = (
        f(z).astype(np.float32) for f in (patient.cage_half_width, patient.cage_front, patient.cage_back)
    )
    # Each half-chest is widest a bit nearer to the midline than its own middle.
    half, depth = 0.58 * width, (back - front) / 2
    x = np.abs(canvas.x[None]) - (width - half)
    x /= np.where(x < 0, 1.6 * half, half)
    y = (canvas.y[None] - (back + front) / 2) / depth
    total = x * x
    total += y * y
    total += np.maximum(0.0, (patient.u(z) - 0.72) / 0.28).astype(np.float32) ** 2.5
    np.maximum(total, 1e-3, out=total)
    distance = np.log(total, out=total)
    distance *= np.sqrt(half * depth) / 2.0
    distance += 2.5 * smooth_field(rng, canvas, 70)
    return distance


def paint_ribs(canvas: Canvas, patient: Patient, cage: np.ndarray, rng: np.random.Generator) -> None:
    """Paint twelve pairs of ribs and let the pleura bulge between them (changes ``cage`` by about 1 mm).

    In the shell around the cage a voxel's place is (t, z): t runs along the rib from the
    spine (0) to the breast bone (1). Rib i lies where z = head_i − fall_i(t), which can be
    solved for i, so that no rib is ever traced.
    """
    shell = np.nonzero((cage > -4.0) & (cage < 13.0))
    out = cage[shell]
    t = _way_along(canvas, patient, shell)
    rib, apart = _rib_at(canvas.z[shell[0]], t, patient, rng)
    cage[shell] = out + (0.9 * np.cos(2 * np.pi * rib) * (out < 3) * np.clip((0.85 - t) * 8, 0, 1)).astype(np.float32)
    number = np.clip(np.rint(rib), 0, 11).astype(int)
    # A rib's cross-section is an ellipse around its middle, 5.5 mm outside the cage's inner surface.
    along_z = (rib - number) * apart * 0.9
    distance = (np.sqrt((along_z / 6.0) ** 2 + ((out - 5.5) / 3.6) ** 2) - 1) * 4.0
    ends = np.maximum((t - RIB_ENDS[number]) * 300, 19 - np.abs(canvas.x[shell[1:]]))
    grain = rng.normal(0, 70, len(out)).astype(np.float32)
    cortex, marrow = _rib_hu(t, number, patient.age)
    paint_bone(canvas, shell, np.maximum(distance, ends), cortex + grain, marrow + 0.3 * grain, 1.3)


def _way_along(canvas: Canvas, patient: Patient, shell: tuple[np.ndarray, ...]) -> np.ndarray:
    """How far from the spine (0) to the breast bone (1) voxels of the cage are: float32 (n,).

    ``shell`` are their n (slices, rows, columns). The way is told by the angle around the middle of the chest.
    """
    x, y, z = canvas.x[shell[1:]], canvas.y[shell[1:]], canvas.z[shell[0]]
    middle = (patient.cage_front(z) + patient.cage_back(z)) / 2
    stretch = patient.cage_half_width(z) / (patient.cage_back(z) - patient.cage_front(z)) * 2
    return (np.arctan2(np.abs(x), (y - middle) * stretch) / np.pi).astype(np.float32)


def _rib_at(z: np.ndarray, t: np.ndarray, patient: Patient, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which rib passes voxels at height ``z`` (n,) mm and way ``t`` (n,), and how many mm ribs are apart there.

    The rib is counted from 0 at the top; between two ribs it is a fraction.
    """
    top = patient.height + rng.uniform(4, 14)
    first_fall, more_fall = rng.uniform(52, 68), rng.uniform(8.0, 12.0)
    # Ribs fall steadily and their cartilages turn up again in front.
    curve = 1.25 * t - 1.4 * np.maximum(0, t - 0.78) * (1 + 2 * t)
    apart = patient.vertebra + more_fall * curve
    return (top - z - first_fall * curve) / apart, apart


def _rib_hu(t: np.ndarray, number: np.ndarray, age: float) -> tuple[np.ndarray, np.ndarray]:
    """CT numbers in HU of cortex and marrow of rib ``number`` (n,) at way ``t`` (n,): cartilage at the front end."""
    soft = np.clip((t - 0.77 - 0.006 * number) / 0.02, 0, 1)
    cortex = (1 - soft) * CORTEX_HU + soft * (CARTILAGE_HU + 170 * age)
    marrow = (1 - soft) * (MARROW_HU - 70 * age) + soft * (CARTILAGE_HU + 30 * age)
    return cortex, marrow


def paint_bone(
    canvas: Canvas,
    where: tuple[np.ndarray, ...],
    distance: np.ndarray,
    cortex: np.ndarray | float,
    marrow: np.ndarray | float,
    thickness: float,
) -> None:
    """Paint cortical bone, ``thickness`` mm of it, and marrow inside it over n voxels.

    ``where`` are their (slices, rows, columns), ``distance`` (n,) is that to the bone's surface in mm, negative
    inside; ``cortex`` and ``marrow`` are CT numbers in HU, one or one per voxel.
    """
    hu = canvas.hu[where]
    hu += canvas.cover(distance) * (cortex - hu)
    hu += canvas.cover(distance + thickness) * (marrow - hu)
    canvas.hu[where] = hu


def _paint_near(canvas: Canvas, box: Box, distance: np.ndarray, *bone: float | np.ndarray) -> None:
    """Like :func:`paint_bone`, over a block, touching only voxels near the bone.

    ``bone`` is cortex, marrow and thickness; they and ``distance`` are (slice, row, column) over the block.
    """
    near = np.nonzero(distance < 2)
    where = tuple(index + side.start for index, side in zip(near, box, strict=True))
    values = [value[near] if isinstance(value, np.ndarray) else value for value in bone]
    paint_bone(canvas, where, distance[near], *values)


def paint_spine(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Vertebral bodies with end plates, discs, canal and cord, arches, spinous and transverse processes."""
    pitch = patient.vertebra
    y_mid = patient.spine_y(canvas.z)
    box = canvas.box((-45, float(y_mid.min()) - 10, canvas.z[0]), (45, float(y_mid.max()) + 95, canvas.z[-1]))
    x, y, z = canvas.mesh(box)
    size = np.interp(patient.u(z), [-0.3, 0, 1, 1.2], [1.15, 1.08, 0.82, 0.78]).astype(np.float32)
    x, y = x / size, (y - patient.spine_y(z).astype(np.float32)) / size
    level = (z - patient.height) / pitch
    phase = level - np.floor(level)
    # Trabecular marrow is coarse at the scale of a few mm.
    coarse = (40 * smooth_field(rng, canvas, 5, box)).astype(np.float32)
    marrow = MARROW_HU + 30 - 110 * patient.age + coarse
    body = (np.sqrt((x / 19.5) ** 2 + ((y - 14) / 14.5) ** 2) - 1) * 15
    canvas.paint(box, body, 80.0)
    waist = body + 1.3 * np.cos(2 * np.pi * (phase - 0.5))
    _paint_near(canvas, box, np.maximum(waist, np.abs(phase - 0.5) * pitch - (0.5 * pitch - 2.2)), 560.0, marrow, 1.5)
    # Arch and spinous process hang below their body: shifted by a share of a level.
    arch_z = np.abs((phase + 0.15) % 1.0 - 0.5) * pitch - 7.5
    hang_z = np.abs((phase + 0.15 + 0.012 * (y - 45)) % 1.0 - 0.5) * pitch - 6
    ring = np.abs(np.sqrt(x**2 + (y - 37) ** 2) - 11.0) - 2.6
    pedicle = np.maximum(np.maximum(np.abs(np.abs(x) - 11) - 3.5, np.abs(y - 29) - 6), arch_z + 1)
    spinous = np.maximum(np.abs(x) - 2.6, np.maximum(np.abs(y - 61) - 14, hang_z))
    transverse = np.maximum(np.abs(y - 38 - 0.4 * np.abs(x)) - 5, np.maximum(np.abs(x) - 34, arch_z + 2))
    canal = np.sqrt(x**2 + (y - 36.5) ** 2) - 8.5
    arch = np.minimum(np.minimum(np.maximum(ring, arch_z), spinous), np.minimum(pedicle, transverse))
    _paint_near(canvas, box, np.maximum(arch, -canal), 620.0, marrow + 90, 1.2)
    canvas.paint(box, canal, 10.0)
    canvas.paint(box, canal + 3.5, 38.0)


def paint_girdle(canvas: Canvas, patient: Patient, cage: np.ndarray, rng: np.random.Generator) -> None:
    """Breast bone in front, shoulder blades behind, collar bones and heads of the upper arms above."""
    h = patient.height
    low, high = 0.30 * h, 0.84 * h
    front = patient.cage_front(canvas.z)
    box = canvas.box((-32, float(front.min()) - 25, low), (32, float(front.max()), high))
    x, y, z = canvas.mesh(box)
    width = np.interp(patient.u(z), [0.3, 0.36, 0.64, 0.7, 0.84], [8.0, 15.0, 14.0, 26.0, 24.0])
    plate = (((x / width) ** 4 + ((y - patient.cage_front(z) + 8) / 5.5) ** 4) ** 0.25 - 1) * 6
    ends = np.maximum(low + 3 - z, z - high + 3)
    joint = 2.0 - np.abs(z - 0.67 * h)
    _paint_near(canvas, box, np.maximum(plate, np.maximum(ends, joint)).astype(np.float32), 520.0, 90.0, 1.3)
    shell = np.nonzero((cage > 13) & (cage < 32))
    out, u = cage[shell], patient.u(canvas.z[shell[0]])
    across, y = np.abs(canvas.x[shell[1:]]), canvas.y[shell[1:]]
    tilt = rng.uniform(0.02, 0.12)
    blade = np.abs(out - 17 - patient.muscle * 0.3 - tilt * (across - 60)) - 1.6 - 3.5 * np.clip(u - 0.85, 0, 0.2)
    inner = rng.uniform(56, 68) + 40 * np.clip((0.9 - u) / 0.4, 0, 1)
    edges = np.maximum(np.maximum(inner - across, rng.uniform(5, 20) - y), np.maximum((0.56 - u) * h, (u - 0.98) * h))
    paint_bone(canvas, shell, np.maximum(blade, edges), 650.0, 300.0, 1.1)
    spine_top = float(patient.cage_front(np.array(0.86 * h)))
    for side in (-1, 1):
        lift = rng.uniform(0, 25) + (20 if patient.arms_up else 0)
        hand = 60 if patient.arms_up else -60
        path, radii = smooth_path(
            [(side * 20, spine_top - 10, 0.86 * h), (side * 70, spine_top - 12, 0.93 * h + 0.3 * lift),
             (side * 115, spine_top + 30, 0.95 * h + lift), (side * 150, spine_top + 55, h + lift)],
            [9, 5.5, 5.5, 6])  # fmt: skip
        head, head_radii = smooth_path(
            [(side * 158, spine_top + 62, h + lift - 5), (side * 172, spine_top + 60, h + lift + hand)], [21, 13]
        )
        for points, r in ((path, radii), (head, head_radii)):
            canvas.blend(*tubes(canvas, points, r, 1.5), 700.0)
            canvas.blend(*tubes(canvas, points, np.maximum(r - 2, 1), 1.5), 160.0)
