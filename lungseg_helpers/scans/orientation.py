"""Which way the axes of a scan run, and turning them the way a radiologist looks at them.

Files hold voxels in any order; the affine says which. Inside the course the order is
(slice, row, column): slice 0 is the most inferior, row 0 the most anterior, column 0 the
patient's right.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np

_VIEW = nib.orientations.axcodes2ornt(("S", "P", "L"))

SHEAR_TOLERANCE = 1e-4
"""Share of the volume by which a grid may be sheared: rounded headers are by less."""


def oriented(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turn voxels of shape (x, y, z) as stored into (slice, row, column) order; a view, nothing is copied.

    ``affine`` (4, 4) maps voxel indices to mm, right-anterior-superior positive (nibabel's
    convention). An oblique scan goes to the nearest axis order; it is not resampled.
    """
    transform = nib.orientations.ornt_transform(nib.io_orientation(affine), _VIEW)
    return nib.apply_orientation(voxels, transform)


def unoriented(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Undo :func:`oriented`: from (slice, row, column) back to the scan's own (x, y, z) order."""
    transform = nib.orientations.ornt_transform(_VIEW, nib.io_orientation(affine))
    return nib.apply_orientation(array, transform)


def oriented_affine(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the (4, 4) map from (slice, row, column) indices of :func:`oriented` voxels to RAS mm.

    ``affine`` and ``shape`` are those of the voxels as stored.
    """
    transform = nib.orientations.ornt_transform(nib.io_orientation(affine), _VIEW)
    return affine @ nib.orientations.inv_ornt_aff(transform, shape)


def voxel_spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """Return the mm per voxel along each axis (x, y, z) as stored; their product is a voxel's volume in mm³.

    In a sheared grid, as a tilted gantry leaves it, slices lie closer together than the step from
    voxel to voxel is long. There the distance between slices is given, so that the product is right.
    """
    spacing = nib.affines.voxel_sizes(affine)
    # The determinant of the unit axes is 1 where they are at right angles, less where they are sheared.
    shear = abs(np.linalg.det(affine[:3, :3] / spacing))
    if shear < 1 - SHEAR_TOLERANCE:
        spacing[_slice_axis(affine)] *= shear
    x, y, z = spacing
    return float(x), float(y), float(z)


def oriented_spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """Return :func:`voxel_spacing` in mm between slices, rows and columns, the order of :func:`oriented`."""
    transform = nib.orientations.ornt_transform(nib.io_orientation(affine), _VIEW)
    spacing = [0.0, 0.0, 0.0]
    for axis, step in enumerate(voxel_spacing(affine)):
        spacing[int(transform[axis, 0])] = step
    return tuple(spacing)  # type: ignore[return-value]


def slice_heights(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the scanner's z in mm at the middle of each slice, in oriented order: float64 (slices,).

    ``shape`` is that of the voxels as stored, (x, y, z). In an oblique scan z differs within a slice.
    """
    axis = _slice_axis(affine)
    middle = (np.array(shape) - 1) / 2
    middle[axis] = 0
    heights = affine[2, :3] @ middle + affine[2, 3] + np.arange(shape[axis]) * affine[2, axis]
    return heights if affine[2, axis] > 0 else heights[::-1]


def _slice_axis(affine: np.ndarray) -> int:
    """Which axis of the stored voxels runs nearest to foot to head."""
    return int(np.argmax(nib.orientations.ornt_transform(nib.io_orientation(affine), _VIEW)[:, 0] == 0))
