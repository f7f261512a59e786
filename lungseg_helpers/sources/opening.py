"""A scan of any format, opened to be looked at."""

from __future__ import annotations

import warnings
from pathlib import Path

from ..errors import SourceError
from ..paths import expanded
from ..scans.orientation import oriented, oriented_spacing, slice_heights
from ..scans.view import View
from .finding import find_scan, find_scans


def open_any(path: str | Path) -> View:
    """Return the scan at ``path`` as a radiologist looks at it: a NIfTI, NRRD or MHA file, or a folder of DICOM slices.

    A folder may hold several scans and at any depth; then the DICOM series with most slices is taken, or else the first
    file. No label is read. What there is to note, such as missing rescale tags, is a warning. Raises
    :class:`SourceError` for a folder without a scan, :class:`ScanError` for a scan that cannot be used.
    """
    path = expanded(path)
    if not path.is_dir():
        found = [find_scan(path)]
    else:
        found, left_out = find_scans(path)
        if not found:
            raise SourceError("; ".join([f"{path}: holds no scan; give a NIfTI file or a DICOM series", *left_out]))
    most = max(found, key=lambda scan: len(scan.series.slices) if scan.series else 0)
    (voxels, affine), _, notes = most.read(False)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    heights = slice_heights(affine, voxels.shape)
    return View(oriented(voxels, affine), {}, oriented_spacing(affine), heights)
