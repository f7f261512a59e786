"""A mask as DICOM-SEG beside the series that it was found in, so that any DICOM viewer lays it on the scan.

Written by highdicom (Bridge et al., J Digit Imaging 35:1719, 2022), which knows the standard's
attributes (DICOM PS3.3, C.8.20); read back by :mod:`~lungseg_helpers.scans.dicom_labels`.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes

from ..errors import ScanError
from ..writing import written_whole
from .dicom_headers import MANUFACTURER, Series, Slice
from .dicom_series import LPS_TO_RAS

POSITION_MM = 0.5
"""By so much a slice may lie beside the mask's own; a tilted gantry's lie farther."""

MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime",
)  # fmt: skip
"""What a DICOM-SEG repeats of patient and study, of type 2: it has to be there, with a value or without."""


def save_segmentation(mask: np.ndarray, affine: np.ndarray, series: Series, path: Path) -> Path:
    """Write ``mask``, uint8 (x, y, z) on a grid with ``affine`` (4, 4) to RAS mm, as DICOM-SEG of ``series``.

    x runs along the series' rows and y along its columns, as the reader of series leaves them.
    Raises :class:`ScanError` where the grid is not the series' own, as after a tilted gantry was
    set upright, or where the series lacks what a DICOM-SEG has to repeat.
    """
    slices = _by_mask_plane(mask.shape[2], affine, series)
    try:
        # highdicom warns of names with one part, such as an anonymiser's: they are repeated as they are.
        with warnings.catch_warnings(action="ignore"), written_whole(path) as partial:
            _segmentation(mask, slices, series).save_as(partial)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ScanError(f"{series.name}: no DICOM-SEG can be written of it ({error}); use the NIfTI mask") from error
    return Path(path)


def _segmentation(mask: np.ndarray, slices: list[Slice], series: Series) -> Segmentation:
    return Segmentation(
        source_images=[_header(file) for file in slices],
        pixel_array=np.ascontiguousarray(mask.transpose(2, 1, 0)),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description()],
        series_instance_uid=highdicom.UID(),
        series_number=int(series.header.get("SeriesNumber") or 0) + 1000,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="U-Net, for teaching, not for clinical use",
        software_versions=version("lungseg-helpers"),
        device_serial_number="0",
        series_description="lung tumour, predicted; not for clinical use",
    )


def _header(file: Slice) -> pydicom.Dataset:
    """Return a slice's header with empty values for what the standard wants to be there and anonymisers remove."""
    header = pydicom.dcmread(file.path, stop_before_pixels=True, force=True)  # as it was read before
    for name in MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    return header


def _description() -> SegmentDescription:
    return SegmentDescription(
        segment_number=1,
        segment_label="lung tumour",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="lungseg course U-Net", version=version("lungseg-helpers"), family=codes.DCM.ArtificialIntelligence
        ),
    )


def _by_mask_plane(count: int, affine: np.ndarray, series: Series) -> list[Slice]:
    """Return the series' slices in the order of the mask's planes."""
    voxels = np.array([np.linalg.solve(affine, LPS_TO_RAS @ [*file.position, 1.0])[:3] for file in series.slices])
    order = np.argsort(voxels[:, 2])
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    expected = np.stack([np.zeros(count), np.zeros(count), np.arange(count)], axis=1)
    if len(order) != count or np.abs((voxels[order] - expected) * steps).max() > POSITION_MM:
        raise ScanError(f"{series.name}: its slices lie on another grid than the mask; use the NIfTI mask")
    return [series.slices[index] for index in order]
