"""Which way the axes of a scan run, and turning them the way a radiologist looks at them.

Files hold voxels in any order; the affine says which. Inside the course the order is
(slice, row, column): slice 0 is the most inferior, row 0 the most anterior, column 0 the
patient's right.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np

_VIEW = nib.orientations.axcodes2ornt(("S", "P", "L"))


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


def oriented_spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """Return the mm between slices, rows and columns for a scan with this affine."""
    transform = nib.orientations.ornt_transform(nib.io_orientation(affine), _VIEW)
    spacing = [0.0, 0.0, 0.0]
    for axis, step in enumerate(nib.affines.voxel_sizes(affine)):
        spacing[int(transform[axis, 0])] = float(step)
    return tuple(spacing)  # type: ignore[return-value]


def slice_heights(affine: np.ndarray, count: int) -> np.ndarray:
    """Return the scanner's z in mm at the centre column of each of ``count`` slices, in oriented order."""
    axis = int(np.argmax(nib.orientations.ornt_transform(nib.io_orientation(affine), _VIEW)[:, 0] == 0))
    heights = affine[2, 3] + np.arange(count) * affine[2, axis]
    return heights if affine[2, axis] > 0 else heights[::-1]
