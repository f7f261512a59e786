"""A scan written as a scanner sends it, for lessons and trials: one DICOM file per slice, stored numbers, not HU.

Attributes: DICOM PS3.3, C.7.6.2 (image plane), C.7.6.3 (pixels) and C.8.2.1 (CT image).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from .dicom_headers import CT_STORAGE

INTERCEPT = -1024
"""HU of a stored 0: what most scanners add, so that unsigned numbers of 12 bits reach from air to 3071 HU."""

MOST = 4095
"""The largest number of 12 bits."""


def write_dicom(
    folder: str | Path,
    ct: np.ndarray,
    spacing: tuple[float, float, float],
    z_mm: np.ndarray,
    patient: str = "lesson",
) -> list[Path]:
    """Write a scan as a CT series, ``IM1.dcm`` for the slice nearest the head and so on down; return the files.

    ``ct`` is (slice, row, column) in HU, as :func:`~lungseg_helpers.scans.view.open_view` gives it; ``spacing`` is
    in mm in the same order, and ``z_mm`` the height of each slice. HU are stored with :data:`INTERCEPT` and slope 1, in
    12 bits: what lies outside becomes the nearest number that fits. The patient's place in the plane is not kept: the
    middle of the picture is put at 0 mm. The same scan gives the same bytes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    series, study = (generate_uid(entropy_srcs=[patient, kind]) for kind in ("series", "study"))
    left, front = (-(size - 1) / 2 * mm for size, mm in ((ct.shape[2], spacing[2]), (ct.shape[1], spacing[1])))
    paths = []
    for number, index in enumerate(np.argsort(z_mm)[::-1], start=1):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CT_STORAGE
        uid = generate_uid(entropy_srcs=[patient, str(number)])
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
        data.PatientID = data.PatientName = patient
        data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, study
        data.SeriesNumber, data.InstanceNumber = 1, number
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [f"{mm:.4f}" for mm in (left, front, z_mm[index])]
        data.PixelSpacing = [f"{mm:.6f}" for mm in spacing[1:]]
        data.SliceThickness = f"{spacing[0]:.6f}"
        data.Rows, data.Columns = ct.shape[1:]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.RescaleSlope, data.RescaleIntercept = 1, INTERCEPT
        stored = np.clip(ct[index].astype(np.int32) - INTERCEPT, 0, MOST)
        data.PixelData = stored.astype("<u2").tobytes()
        paths.append(folder / f"IM{number}.dcm")
        data.save_as(paths[-1], enforce_file_format=True)
    return paths
