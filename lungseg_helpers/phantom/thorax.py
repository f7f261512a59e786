"""One phantom from first to last: patient, anatomy, tumours, scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import SourceError
from . import cage as cages
from . import distractors, mediastinum, organs, physics
from . import lungs as lung_shapes
from .body import paint_body
from .breathing import Breathing, breathe, draw_breathing
from .canvas import Canvas
from .masses import Anatomy, paint_tumour
from .patient import Patient, draw_canvas, draw_patient
from .physics import Scanner
from .tumours import Tumour, draw_tumours


@dataclass(frozen=True)
class Phantom:
    """One made-up patient.

    ``image`` int16 HU and ``label`` uint8 (0 background, 1 tumour), both (x, y, z) as on
    disk; ``affine`` (4, 4) voxel to RAS mm; ``tumours``, ``patient``, ``scanner`` and ``breathing`` as they
    were drawn.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    tumours: tuple[Tumour, ...]
    patient: Patient
    scanner: Scanner
    breathing: Breathing


def make_phantom(seed: int, matrix: int = 256, crowded: bool = False) -> Phantom:
    """Make the phantom of one patient; the same arguments always give the same voxels.

    ``matrix`` is the number of rows and columns; 256 gives 90–130 slices, 512 twice as
    many. Pixels are 0.598–0.977 mm × 512 / matrix, as in Task06. From seed to seed the
    following vary: sex, size, shape, fat and muscle, thymus and veins behind the breast bone,
    breathing, emphysema, contrast phase, table, field of view, slice thickness, kernel, dose,
    padding, export window, LAS or RAS, and the tumours' number, volume, kind and place, with
    the lung that collapses behind them. Image values are HU from −1024 (or a padding of
    −2048) to 3071, in some scans cut to a window. ``crowded`` gives a chest that is harder to read: hila with as many
    vessels as a patient's, larger lymph nodes, and masses at the back of the lungs' bases. Raises
    :class:`SourceError` for a matrix below 32.
    """
    if matrix < 32:
        raise SourceError(f"phantom {seed}: matrix {matrix} is too small for a chest; use 64 or more")
    rng = np.random.default_rng([seed, 1])
    patient = draw_patient(rng, crowded)
    canvas = draw_canvas(rng, patient, matrix)
    scanner = physics.draw_scanner(rng, canvas)
    breathing = draw_breathing(rng, patient.radiotherapy)
    cage = cages.cage_distance(canvas, patient, rng)
    paint_body(canvas, patient, cage, rng)
    mediastinum.paint_fat(canvas, cage, rng)
    cages.paint_ribs(canvas, patient, cage, rng)
    cages.paint_girdle(canvas, patient, cage, rng)
    dome = organs.diaphragm_height(canvas, patient, rng)
    organs.paint_abdomen(canvas, patient, cage, dome, rng)
    between, heart = mediastinum.paint_mediastinum(canvas, patient, cage, rng)
    distractors.paint_nodes(canvas, patient, between, rng)
    cages.paint_spine(canvas, patient, rng)
    distractors.paint_bone_islands(canvas, rng)
    lungs = lung_shapes.shape_lungs(canvas, patient, cage, dome, between, rng)
    vessels = lung_shapes.paint_all_lungs(canvas, patient, lungs, heart, rng)
    mediastinum.paint_airways(canvas, heart, mediastinum.main_airways(patient, rng))
    distractors.paint_lines(canvas, patient, rng)
    distractors.paint_lung_findings(canvas, patient, lungs, cage, dome, rng)
    label = np.zeros(canvas.shape, np.uint8)
    tumours = draw_tumours(seed, crowded)
    anatomy = Anatomy(patient, lungs, cage, between, vessels)
    for tumour in tumours:
        paint_tumour(canvas, label, tumour, anatomy, rng)
    label = breathe(canvas, label, patient, cage, breathing, rng)
    physics.blur(canvas, scanner)
    physics.add_noise(canvas, scanner, rng)
    image = physics.digitise(canvas, scanner)
    on_disk = _to_disk_order(image, label, canvas, scanner.orientation)
    return Phantom(*on_disk, tuple(tumours), patient, scanner, breathing)


def _to_disk_order(image: np.ndarray, label: np.ndarray, canvas: Canvas, orientation: str) -> tuple:
    """Turn (slice, row, column) into (x, y, z) as LAS or RAS, with the affine that says so."""
    step = (slice(None), slice(None, None, -1), slice(None, None, -1 if orientation == "RAS" else 1))
    image, label = (np.asfortranarray(a[step].transpose(2, 1, 0)) for a in (image, label))
    z, y, x = canvas.spacing
    sign = 1.0 if orientation == "RAS" else -1.0
    affine = np.diag([sign * x, y, z, 1.0])
    affine[:3, 3] = [-sign * x * (image.shape[0] - 1) / 2, -y * (image.shape[1] - 1) / 2, canvas.z[0]]
    return image, label, affine
