"""DICOM series, contours and masks of the toy chest, written by the tests."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from toy import SPACING, toy_volume

from lungseg_helpers.scans.dicom_headers import CT_STORAGE, group_series, read_headers
from lungseg_helpers.scans.dicom_labels import RT_STRUCT, SEGMENTATION

AXIAL = (1, 0, 0, 0, 1, 0)

ORIGIN = np.array([-190.0, -170.0, -300.0])
"""Centre of the toy chest's first voxel in mm, LPS."""


def dataset(path: Path, kind: str, **attributes: object) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.PatientName = "P-7", "Nobody^Known"
    data.StudyDate = datetime.date(2024, 1, 2).strftime("%Y%m%d")
    for name, value in attributes.items():
        setattr(data, name, value)
    return data


def write_series(
    folder: Path,
    voxels: np.ndarray | None = None,
    *,
    series: str | None = None,
    number: int = 3,
    tilt_mm: float = 0.0,
    rescale: bool = True,
    plane: tuple[float, ...] = AXIAL,
    spacing: tuple[float, float, float] = SPACING,
    change: Callable[[FileDataset, int], None] = lambda data, k: None,
) -> str:
    """Write HU voxels (x, y, z) as CT slices, in files whose names say nothing of their order; return the series' UID.

    ``tilt_mm`` is how far each slice lies further along y than the one below.
    """
    voxels = toy_volume()[0] if voxels is None else voxels
    uid = series or generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    row, column = np.reshape(plane, (2, 3)).astype(float)
    normal = np.cross(row, column)
    names = np.random.default_rng(number).permutation(voxels.shape[2])
    for k in range(voxels.shape[2]):
        path = folder / f"{number}-{names[k]:04}.dcm"
        data = dataset(path, CT_STORAGE, Modality="CT", SeriesInstanceUID=uid, SeriesNumber=number)
        data.StudyInstanceUID = data.FrameOfReferenceUID = "1.2.3.4"
        data.InstanceNumber = k + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImageOrientationPatient = [float(value) for value in plane]
        position = ORIGIN + normal * spacing[2] * k + column * tilt_mm * k
        data.ImagePositionPatient = [f"{value:.6f}" for value in position]
        data.PixelSpacing, data.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        pixels = voxels[..., k].T
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        signed = pixels.min() < 0 and not rescale
        data.PixelRepresentation = int(signed)
        if rescale:
            data.RescaleIntercept, data.RescaleSlope = -1024, 1
            pixels = pixels + 1024
        data.PixelData = pixels.astype("<i2" if signed else "<u2").tobytes()
        change(data, k)
        data.save_as(path, enforce_file_format=True)
    return uid


def only_series(folder: Path):
    (series,), _ = group_series(read_headers(folder)[0])
    return series


def slice_file(folder: Path, number: int) -> Path:
    return next(file.path for file in read_headers(folder)[0] if file.header.InstanceNumber == number)


def circle(centre: tuple[float, float], radius: float, z: float) -> list[float]:
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    points = np.stack(
        [centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles), np.full(90, z)], axis=1
    )
    return [float(value) for value in np.round(points, 3).ravel()]


def item(**attributes: object) -> Dataset:
    data = Dataset()
    for name, value in attributes.items():
        setattr(data, name, value)
    return data


def write_struct(path: Path, uid: str, names: list[str], shift_z: float = 0.0) -> None:
    """Outline the toy tumour's slices with a circle of 17.2 mm that has a hole of 6 mm."""
    centre = (ORIGIN[0] + 26 * 4, ORIGIN[1] + 50 * 4)
    contours = [
        item(
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=90,
            ContourData=circle(centre, radius, ORIGIN[2] + 6 * k + shift_z),
        )
        for k in (19, 20, 21)
        for radius in (17.2, 6.0)
    ]
    data = dataset(path, RT_STRUCT, Modality="RTSTRUCT", SeriesInstanceUID=generate_uid())
    data.ReferencedFrameOfReferenceSequence = [
        item(RTReferencedStudySequence=[item(RTReferencedSeriesSequence=[item(SeriesInstanceUID=uid)])])
    ]
    data.StructureSetROISequence = [item(ROINumber=n, ROIName=name) for n, name in enumerate(names)]
    data.ROIContourSequence = [item(ReferencedROINumber=n, ContourSequence=contours) for n in range(len(names))]
    data.save_as(path, enforce_file_format=True)


def write_segmentation(
    path: Path,
    uid: str,
    label: np.ndarray,
    name: str = "Tumor",
    change: Callable[[FileDataset], None] = lambda data: None,
) -> None:
    """Write the slices of a mask (x, y, z) that hold anything as the frames of a DICOM-SEG of series ``uid``."""
    planes = np.flatnonzero(label.any(axis=(0, 1)))
    data = dataset(path, SEGMENTATION, Modality="SEG", SeriesInstanceUID=generate_uid())
    data.StudyInstanceUID = data.FrameOfReferenceUID = "1.2.3.4"
    source = item(ReferencedSOPClassUID=CT_STORAGE, ReferencedSOPInstanceUID=generate_uid())
    data.ReferencedSeriesSequence = [item(SeriesInstanceUID=uid, ReferencedInstanceSequence=[source])]
    category = item(
        CodeValue="49755003", CodingSchemeDesignator="SCT", CodeMeaning="Morphologically Abnormal Structure"
    )
    kind = item(CodeValue="108369006", CodingSchemeDesignator="SCT", CodeMeaning="Mass")
    segment = item(SegmentNumber=1, SegmentLabel=name, SegmentAlgorithmType="MANUAL")
    segment.SegmentedPropertyCategoryCodeSequence = [category]
    segment.SegmentedPropertyTypeCodeSequence = [kind]
    data.SegmentSequence = [segment]
    data.SegmentationType, data.NumberOfFrames = "BINARY", len(planes)
    data.Rows, data.Columns = label.shape[1], label.shape[0]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 1, 1, 0
    data.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(map(float, AXIAL)))],
            PixelMeasuresSequence=[item(PixelSpacing=[SPACING[1], SPACING[0]], SliceThickness=SPACING[2])],
        )
    ]
    organization = generate_uid()
    data.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    data.DimensionIndexSequence = [
        item(DimensionOrganizationUID=organization, DimensionIndexPointer=pointer, FunctionalGroupPointer=group)
        for pointer, group in ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113))  # segment number, position
    ]
    data.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[item(DimensionIndexValues=[1, number])],
            PlanePositionSequence=[item(ImagePositionPatient=(ORIGIN + np.array([0, 0, 6.0 * k])).tolist())],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=1)],
        )
        for number, k in enumerate(planes, 1)
    ]
    frames = label[..., planes].transpose(2, 1, 0).astype(np.uint8)
    data.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    change(data)
    data.save_as(path, enforce_file_format=True)
