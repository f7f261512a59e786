"""Tumours that lie beside a DICOM series: RT-STRUCT contours and DICOM-SEG masks, on the series' grid.

Both are read by pydicom. Attributes: DICOM PS3.3, C.8.8.6 (ROI contour) and C.8.20
(segmentation).
"""

from __future__ import annotations

import re

import numpy as np
import pydicom
from skimage.draw import polygon2mask

from ..errors import ScanError
from .dicom_headers import Series, Slice
from .dicom_series import LPS_TO_RAS, Volume

RT_STRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"

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
        data = pydicom.dcmread(file.path)
        read = _read_struct if data.SOPClassUID == RT_STRUCT else _read_segmentation
        return read(file, data, volume, re.compile(names, re.IGNORECASE))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, NotImplementedError, EOFError) as error:
        raise ScanError(f"{file.path}: cannot be read as a label ({error}); export it again") from error


def region_names(file: Slice) -> list[str]:
    """Return the names of a label file's regions, so that a user can choose among them."""
    header = file.header
    if header.SOPClassUID == RT_STRUCT:
        return [str(roi.get("ROIName", "")) for roi in header.get("StructureSetROISequence", [])]
    return [_segment_name(segment) for segment in header.get("SegmentSequence", [])]


def _struct_series(header: pydicom.Dataset) -> set[str]:
    return {
        series.SeriesInstanceUID
        for frame in header.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for series in study.get("RTReferencedSeriesSequence", [])
        if "SeriesInstanceUID" in series
    }


def _segmentation_series(header: pydicom.Dataset) -> set[str]:
    return {s.SeriesInstanceUID for s in header.get("ReferencedSeriesSequence", []) if "SeriesInstanceUID" in s}


def _to_voxels(volume: Volume, points: np.ndarray) -> np.ndarray:
    """Return voxel coordinates (n, 3) of points (n, 3) in mm, LPS as in DICOM."""
    homogeneous = np.column_stack([points, np.ones(len(points))])
    return (np.linalg.solve(volume.affine, LPS_TO_RAS @ homogeneous.T)[:3]).T


def _slice_of(file: Slice, heights: np.ndarray, count: int) -> int:
    k = round(float(np.mean(heights)))
    if np.abs(heights - k).max() > BETWEEN or not 0 <= k < count:
        raise ScanError(f"{file.path}: does not lie on the slices of its series; export it with that series")
    return k


def _read_struct(file: Slice, data: pydicom.Dataset, volume: Volume, names: re.Pattern) -> np.ndarray | None:
    wanted = {roi.ROINumber for roi in data.StructureSetROISequence if names.search(str(roi.get("ROIName", "")))}
    if not wanted:
        return None
    mask = np.zeros(volume.voxels.shape, bool)
    for roi in data.get("ROIContourSequence", []):
        if roi.ReferencedROINumber not in wanted:
            continue
        inside = np.zeros(volume.voxels.shape, bool)
        for contour in roi.get("ContourSequence", []):
            if contour.ContourGeometricType != "CLOSED_PLANAR":
                continue
            points = _to_voxels(volume, np.array(contour.ContourData, float).reshape(-1, 3))
            k = _slice_of(file, points[:, 2], mask.shape[2])
            # A contour within another one of its region is a hole.
            inside[..., k] ^= polygon2mask(mask.shape[:2], points[:, :2])
        mask |= inside
    return mask.astype(np.uint8)


def _segment_name(segment: pydicom.Dataset) -> str:
    types = [str(code.get("CodeMeaning", "")) for code in segment.get("SegmentedPropertyTypeCodeSequence", [])]
    return " / ".join([str(segment.get("SegmentLabel", "")), *types])


def _read_segmentation(file: Slice, data: pydicom.Dataset, volume: Volume, names: re.Pattern) -> np.ndarray | None:
    wanted = {each.SegmentNumber for each in data.SegmentSequence if names.search(_segment_name(each))}
    if not wanted:
        return None
    frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    # Fractional masks count as tumour from one half on.
    least = 1 if data.SegmentationType == "BINARY" else data.get("MaximumFractionalValue", 255) / 2
    mask = np.zeros(volume.voxels.shape, np.uint8)
    shared = data.SharedFunctionalGroupsSequence[0]
    for groups, frame in zip(data.PerFrameFunctionalGroupsSequence, frames, strict=True):
        if _group(groups, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber not in wanted:
            continue
        plane = np.array(_group(groups, shared, "PlaneOrientationSequence").ImageOrientationPatient, float)
        spacing = np.array(_group(groups, shared, "PixelMeasuresSequence").PixelSpacing, float)
        corner = np.array(_group(groups, shared, "PlanePositionSequence").ImagePositionPatient, float)
        j, i = np.nonzero(frame >= least)
        if not len(i):
            continue
        points = corner + np.outer(i * spacing[1], plane[:3]) + np.outer(j * spacing[0], plane[3:])
        found = _to_voxels(volume, points)
        k = _slice_of(file, found[:, 2], mask.shape[2])
        x, y = np.rint(found[:, :2]).astype(int).T
        if x.min() < 0 or y.min() < 0 or x.max() >= mask.shape[0] or y.max() >= mask.shape[1]:
            raise ScanError(f"{file.path}: reaches beyond the slices of its series; export it with that series")
        steps = _to_voxels(volume, corner + np.array([plane[:3] * spacing[1], plane[3:] * spacing[0], [0, 0, 0]]))
        if not np.allclose((steps[:2] - steps[2])[:, :2], np.eye(2), atol=0.02):
            raise ScanError(f"{file.path}: has other pixels than its series; export it with that series")
        mask[x, y, k] = 1
    return mask


def _group(groups: pydicom.Dataset, shared: pydicom.Dataset, name: str) -> pydicom.Dataset:
    return (groups.get(name) or shared[name].value)[0]
