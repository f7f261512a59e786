"""The scans below a folder, of any format, and how each is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import ScanError
from ..scans.case import case_id
from ..scans.dicom_headers import Series, Slice, group_series, read_headers
from ..scans.dicom_labels import RT_STRUCT, SEGMENTATION, TUMOUR_NAMES, labels_of, read_label, region_names
from ..scans.dicom_series import read_series
from ..scans.itk import read_itk
from ..scans.scan import read_scan
from .datasets import find_cases

ITK_ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")

LABEL_MARK = re.compile(r"^(?P<case>.+?)[ _.-](label|seg|segmentation|mask)$", re.IGNORECASE)

IMAGE_MARK = re.compile(r"^(?P<case>.+?)[ _.-](image|ct|scan)$", re.IGNORECASE)
"""``patient_label.nrrd`` is the label of ``patient.nrrd`` and of ``patient_image.nrrd``."""

Image = tuple[np.ndarray, np.ndarray]
"""Voxels (x, y, z) and their (4, 4) affine to RAS mm."""


@dataclass(frozen=True)
class Found:
    """A scan that was found, and how to read it.

    ``read`` returns image, label (or None) and notes; asked for no label, it reads none.
    ``series`` is what a DICOM scan is made of.
    """

    id: str
    source: Path
    label_source: Path | None
    read: Callable[[bool], tuple[Image, Image | None, list[str]]]
    series: Series | None = None


def find_scans(folder: Path, regions: str = TUMOUR_NAMES) -> tuple[list[Found], list[str]]:
    """Return every scan below a folder, each under an id of its own, and one line for each thing left out."""
    lines: list[str] = []
    return _unique([*_find_dicom(folder, regions, lines), *_find_files(folder)]), lines


def find_scan(path: Path) -> Found:
    """Return one scan file, NIfTI, NRRD or MHA, without looking for a label beside it."""
    return Found(_safe(_stem(path)), path, None, _file_reader(path, None))


def _find_dicom(folder: Path, regions: str, lines: list[str]) -> Iterator[Found]:
    files, unread = read_headers(folder)
    series, left_out = group_series(files)
    lines += unread + left_out
    used: set[Path] = set()
    for each in series:
        beside = labels_of(each, files)
        used |= {file.path for file in beside}
        folder_of = each.slices[0].path.parent
        name = f"{each.header.get('PatientID') or folder_of.name}_s{each.header.get('SeriesNumber') or 0}"
        label = beside[0].path if beside else None
        yield Found(_safe(name), folder_of, label, _dicom_reader(each, beside, regions), each)
    for file in files:
        if file.header.SOPClassUID in (RT_STRUCT, SEGMENTATION) and file.path not in used:
            lines.append(f"{file.path}: refers to no series in this folder; add that series, or remove it")


def _dicom_reader(series: Series, beside: list[Slice], regions: str) -> Callable:
    def read(labelled: bool) -> tuple[Image, Image | None, list[str]]:
        volume = read_series(series)
        notes, mask = list(volume.notes), None
        for file in beside if labelled else ():
            found = read_label(file, volume, regions)
            if found is None:
                names = ", ".join(region_names(file)) or "nothing"
                notes.append(f"{file.path}: no region is named like a tumour ({names}); choose one with --regions")
            else:
                mask = found if mask is None else mask | found
        return (volume.voxels, volume.affine), None if mask is None else (mask, volume.affine), notes

    return read


def _find_files(folder: Path) -> Iterator[Found]:
    """Find NIfTI, NRRD and MHA scans: as a Decathlon folder, else by their names, label beside image."""
    if (folder / "imagesTr").is_dir():
        for case in find_cases(folder):
            yield Found(_safe(case.id), case.image, case.label, _file_reader(case.image, case.label))
        return
    images: dict[Path, Path] = {}
    labels: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.name.lower().endswith((*ITK_ENDINGS, ".nii", ".nii.gz")):
            continue
        stem = path.parent / _stem(path)
        if match := LABEL_MARK.match(stem.name):
            labels[stem.with_name(match["case"])] = path
        else:
            match = IMAGE_MARK.match(stem.name)
            images[path] = stem.with_name(match["case"]) if match else stem
    for path, stem in images.items():
        yield Found(_safe(stem.name), path, labels.get(stem), _file_reader(path, labels.get(stem)))


def _file_reader(image: Path, label: Path | None) -> Callable:
    def read(labelled: bool) -> tuple[Image, Image | None, list[str]]:
        return _read_image(image), _read_label_file(label) if labelled and label else None, []

    return read


def _read_image(path: Path) -> Image:
    if not path.name.lower().endswith(ITK_ENDINGS):
        scan = read_scan(path)
        return scan.voxels, scan.affine
    voxels, affine = read_itk(path)
    whole = voxels.dtype.kind in "iu" and max(-int(voxels.min()) - 1, int(voxels.max())) < 2**15
    return voxels.astype(np.int16 if whole else np.float32), affine


def _read_label_file(path: Path) -> Image:
    if not path.name.lower().endswith(ITK_ENDINGS):
        scan = read_scan(path, "label")
        return scan.voxels, scan.affine
    voxels, affine = read_itk(path)
    whole = voxels.astype(np.uint8)
    if not np.array_equal(whole, voxels):
        raise ScanError(f"{path}: holds values other than whole numbers from 0 to 255; export the label again")
    return whole, affine


def _stem(path: Path) -> str:
    return case_id(path) if path.name.lower().endswith((".nii", ".nii.gz")) else path.stem


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._-") or "case"


def _unique(found: list[Found]) -> list[Found]:
    """Give cases of one name a number each."""
    taken: set[str] = set()
    result = []
    for each in found:
        id_, number = each.id, 1
        while id_.lower() in taken:
            number += 1
            id_ = f"{each.id}_{number}"
        taken.add(id_.lower())
        result.append(replace(each, id=id_))
    return result
