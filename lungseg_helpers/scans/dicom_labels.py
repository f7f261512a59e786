"""Tumours that lie beside a DICOM series: RT-STRUCT contours and DICOM-SEG masks, on the series' grid.

Contours are read by pydicom (DICOM PS3.3, C.8.8.6), masks by highdicom (C.8.20).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import nibabel as nib
import numpy as np
import pydicom

from ..errors import ScanError
from .dicom_headers import Series, Slice
from .dicom_series import LPS_TO_RAS, Volume
from .masks import fill_polygon

RT_STRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"

PLANAR, PLANAR_XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"
"""The kinds of contour that enclose something."""

TUMOUR_NAMES = r"gtv|tumou?r|neoplasm|nodule|lesion|cancer|carcinoma"
"""Names of regions that are a tumour, unless the user gives a pattern; GTV is the gross tumour volume."""

BETWEEN = 0.25
"""Share of a slice step by which a contour or a mask's frame may miss its slice."""


def labels_of(series: Series, files: list[Slice]) -> list[Slice]:
    """Return the RT-STRUCT and DICOM-SEG files that refer to this series."""
    uid = series.header.SeriesInstanceUID
    kinds = {RT_STRUCT: _struct_series, SEGMENTATION: _segmentation_series}
    return [
        file
        for file in files
        if file.header.SOPClassUID in kinds and uid in kinds[file.header.SOPClassUID](file.header)
    ]


def read_label(file: Slice, volume: Volume, names: str = TUMOUR_NAMES) -> np.ndarray | None:
    """Return uint8 (x, y, z) on the volume's grid: 1 inside the regions whose name matches ``names``.

    ``names`` is a regular expression, looked for anywhere and in any case. None where no
    region's name matches. Raises :class:`ScanError` where the file is damaged or does not
    lie on the volume's slices.
    """
    try:
        # What is wrong is raised; highdicom's warnings are of values that nothing here depends on.
        with warnings.catch_warnings(action="ignore"):
            data = pydicom.dcmread(file.path, force=True)  # as its header was read
            read = _read_struct if data.SOPClassUID == RT_STRUCT else _read_segmentation
            return read(file, data, volume, re.compile(names, re.IGNORECASE))
    except (ScanError, MemoryError):
        raise
    except Exception as error:
        # pydicom and highdicom raise whatever a damaged value leads to, down to SQLite's errors
        raise ScanError(f"{file.path}: cannot be read as a label ({error}); export it again") from error


def region_names(file: Slice) -> list[str]:
    """Return the names of a label file's regions, so that a user can choose among them."""
    header = file.header
    if header.SOPClassUID == RT_STRUCT:
        return [str(roi.get("ROIName", "")) for roi in header.get("StructureSetROISequence", [])]
    return [_segment_name(segment) for segment in header.get("SegmentSequence", [])]


def _struct_series(header: pydicom.Dataset) -> set[str]:
    return {
        str(series.SeriesInstanceUID)
        for frame in header.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for series in study.get("RTReferencedSeriesSequence", [])
        if "SeriesInstanceUID" in series
    }


def _segmentation_series(header: pydicom.Dataset) -> set[str]:
    return {str(s.SeriesInstanceUID) for s in header.get("ReferencedSeriesSequence", []) if "SeriesInstanceUID" in s}


def _slice_of(file: Slice, heights: np.ndarray, count: int) -> int:
    """Return the number of the slice that all ``heights`` (n,) in slice steps lie on, of ``count`` slices."""
    k = round(float(np.mean(heights)))
    if np.abs(heights - k).max() > BETWEEN or not 0 <= k < count:
        raise ScanError(f"{file.path}: does not lie on the slices of its series; export it with that series")
    return k


def _read_struct(file: Slice, data: pydicom.Dataset, volume: Volume, names: re.Pattern) -> np.ndarray | None:
    wanted = {roi.ROINumber for roi in data.StructureSetROISequence if names.search(str(roi.get("ROIName", "")))}
    if not wanted:
        return None
    to_voxels = np.linalg.solve(volume.affine, LPS_TO_RAS)
    mask = np.zeros(volume.voxels.shape, bool)
    for roi in data.get("ROIContourSequence", []):
        if roi.ReferencedROINumber in wanted:
            mask |= _inside(file, roi.get("ContourSequence", []), to_voxels, mask.shape)
    return mask.astype(np.uint8)


def _inside(
    file: Slice, contours: Sequence[pydicom.Dataset], to_voxels: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Return what a region's closed contours enclose, (x, y, z); one that is there twice counts once.

    A contour inside another one of its region is a hole, one that overlaps another is a part of the region.
    Contours that say they are combined by exclusive or are (DICOM PS3.3, C.8.8.6.3).
    """
    outlines: dict[tuple[float, ...], str] = {}
    for contour in contours:
        numbers = contour.get("ContourData") or ()
        # fewer than three points enclose nothing
        if contour.ContourGeometricType in (PLANAR, PLANAR_XOR) and len(numbers) >= 9:
            outlines[tuple(map(float, numbers))] = contour.ContourGeometricType
    placed = []
    for numbers, kind in outlines.items():
        points = nib.affines.apply_affine(to_voxels, np.reshape(numbers, (-1, 3)))
        placed.append((points[:, :2], _slice_of(file, points[:, 2], shape[2]), kind))
    inside = np.zeros(shape, bool)
    # the largest first, so that what lies inside another comes after it
    for points, k, kind in sorted(placed, key=lambda each: -_area(each[0])):
        pixels, before = fill_polygon(points, shape[:2]), inside[..., k]
        within = not (pixels & ~before).any()
        inside[..., k] = before ^ pixels if kind == PLANAR_XOR or within else before | pixels
    return inside


def _area(points: np.ndarray) -> float:
    """Return what an outline (n, 2) encloses, by the shoelace formula."""
    x, y = points.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def _segment_name(segment: pydicom.Dataset) -> str:
    types = [str(code.get("CodeMeaning", "")) for code in segment.get("SegmentedPropertyTypeCodeSequence", [])]
    return " / ".join([str(segment.get("SegmentLabel", "")), *types])


def _read_segmentation(file: Slice, data: pydicom.Dataset, volume: Volume, names: re.Pattern) -> np.ndarray | None:
    from highdicom.seg import Segmentation  # slow to import, and needed for this kind of file alone

    wanted = [segment.SegmentNumber for segment in data.SegmentSequence if names.search(_segment_name(segment))]
    if not wanted:
        return None
    segments = Segmentation.from_dataset(data, copy=False).get_volume(segment_numbers=wanted)
    # (slice, row, column), as shares where the masks are fractional: these count as tumour from one half on.
    marked = np.argwhere((segments.array >= 0.5).any(axis=3))
    to_voxels = np.linalg.solve(volume.affine, LPS_TO_RAS @ segments.affine)
    if not np.allclose(to_voxels[:2, :3], [[0, 0, 1], [0, 1, 0]], atol=0.02):
        raise ScanError(f"{file.path}: has other pixels than its series; export it with that series")
    mask = np.zeros(volume.voxels.shape, np.uint8)
    for plane in np.split(marked, np.flatnonzero(np.diff(marked[:, 0])) + 1) if len(marked) else []:
        points = nib.affines.apply_affine(to_voxels, plane)
        k = _slice_of(file, points[:, 2], mask.shape[2])
        x, y = np.rint(points[:, :2]).astype(int).T
        if x.min() < 0 or y.min() < 0 or x.max() >= mask.shape[0] or y.max() >= mask.shape[1]:
            raise ScanError(f"{file.path}: reaches beyond the slices of its series; export it with that series")
        mask[x, y, k] = 1
    return mask
