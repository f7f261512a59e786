"""The scans below a folder, of any format, and how each is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from ..errors import ScanError
from ..scans.case import MASK, NIFTI_ENDINGS, PROBABILITY, case_id, files_below
from ..scans.dicom_headers import MANUFACTURER, Series, Slice, group_series, read_headers
from ..scans.dicom_labels import RT_STRUCT, SEGMENTATION, TUMOUR_NAMES, labels_of, read_label, region_names
from ..scans.dicom_series import read_series
from ..scans.itk import read_itk
from ..scans.nifti_bytes import reject
from ..scans.scan import read_scan, require_hu
from .datasets import find_cases, is_decathlon, nifti_files

ITK_ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")

LABEL_MARK = re.compile(r"^(?P<case>.+?)[ _.-](label|seg|segmentation|mask)$", re.IGNORECASE)

LONE_LABEL = re.compile(r"^(label|seg|segmentation|mask)$", re.IGNORECASE)
"""The label of the one scan that lies in its folder, as ``mask.nii.gz`` beside ``ct.nii.gz``."""

LABEL_RULE = "a label is called NAME_label, NAME_seg, NAME_segmentation or NAME_mask, and lies beside its scan NAME"

IMAGE_MARK = re.compile(r"^(?P<case>.+?)[ _.-](image|ct|scan)$", re.IGNORECASE)
"""``patient_label.nrrd`` is the label of ``patient.nrrd`` and of ``patient_image.nrrd``."""

Image = tuple[np.ndarray, np.ndarray]
"""Voxels (x, y, z) and their (4, 4) affine to RAS mm."""


@dataclass(frozen=True)
class Found:
    """A scan that was found, and how to read it.

    ``read`` returns image, label (or None) and notes; asked for no label, it reads none.
    ``patient`` is whose scan it is, empty where nothing says so. ``series`` is what a DICOM scan is made of.
    """

    id: str
    source: Path
    label_source: Path | None
    read: Callable[[bool], tuple[Image, Image | None, list[str]]]
    patient: str = ""
    series: Series | None = None


def find_scans(
    folder: Path, regions: str = TUMOUR_NAMES, keep_ids: bool = False, patients: str | None = None
) -> tuple[list[Found], list[str]]:
    """Return every scan below a folder, each under an id of its own, and one line for each thing left out.

    A DICOM scan is called after its PatientID and its series' number. The PatientID stands there, and as the
    patient, as its :func:`pseudonym`; with ``keep_ids`` as it is. ``patients`` is a regular expression whose
    first group, looked for in the path below ``folder`` of a scan's file, or of a series' first, is the patient
    of a scan without PatientID.
    What ``lungseg predict`` has written there is neither scan nor label.
    """
    lines: list[str] = []
    scans = _unique([*_find_dicom(folder, regions, keep_ids, lines), *_find_files(folder, lines)])
    return [_with_patient(scan, folder, patients, lines) if patients else scan for scan in scans], lines


def pseudonym(patient_id: str) -> str:
    """Return another name for a DICOM PatientID, the same each time: ``p`` and 8 hexadecimal digits of its SHA-256.

    It keeps the PatientID from being seen and cases of one patient together. It is no anonymisation: whoever
    knows or can guess the PatientIDs can find out whose name it is, and the scan itself shows the patient.
    """
    return f"p{hashlib.sha256(patient_id.strip().encode()).hexdigest()[:8]}"


def find_scan(path: Path) -> Found:
    """Return one scan file, NIfTI, NRRD or MHA, without looking for a label beside it."""
    return Found(_safe(_stem(path)), path, None, _file_reader(path, None))


def _with_patient(scan: Found, folder: Path, pattern: str, lines: list[str]) -> Found:
    """Return the scan with the patient that its path names, where nothing better does."""
    if scan.patient:
        return scan
    file = scan.series.slices[0].path if scan.series else scan.source
    match = re.search(pattern, file.relative_to(folder).as_posix())
    if match is None or not match[1]:
        lines.append(f"{scan.source}: its path names no patient by {pattern!r}; it is taken for a patient of its own")
        return scan
    return replace(scan, patient=match[1])


def _find_dicom(folder: Path, regions: str, keep_ids: bool, lines: list[str]) -> Iterator[Found]:
    files, unread = read_headers(folder)
    series, left_out = group_series(files)
    lines += unread + left_out
    used: set[Path] = set()
    for one in series:
        every = labels_of(one, files)
        used |= {file.path for file in every}
        beside = [file for file in every if file.header.get("Manufacturer") != MANUFACTURER]
        for file in every:
            if file not in beside:
                lines.append(f"{file.path}: is what 'lungseg predict' found, no label, and is left out; nothing to do")
        folder_of = one.slices[0].path.parent
        patient = str(one.header.get("PatientID") or "").strip()
        patient = patient if keep_ids or not patient else pseudonym(patient)
        name = f"{patient or folder_of.name}_s{one.header.get('SeriesNumber') or 0}"
        label = beside[0].path if beside else None
        yield Found(_safe(name), folder_of, label, _dicom_reader(one, beside, regions), patient, one)
    for file in files:
        if file.header.SOPClassUID in (RT_STRUCT, SEGMENTATION) and file.path not in used:
            lines.append(f"{file.path}: refers to no series in this folder; add that series, or remove it")


def _dicom_reader(series: Series, beside: list[Slice], regions: str) -> Callable:
    def read(labelled: bool) -> tuple[Image, Image | None, list[str]]:
        volume = read_series(series)
        notes, mask = list(volume.notes), None
        for file in beside if labelled else ():
            region = read_label(file, volume, regions)
            if region is None:
                names = ", ".join(region_names(file)) or "nothing"
                notes.append(f"{file.path}: no region is named like a tumour ({names}); choose one with --regions")
            else:
                mask = region if mask is None else mask | region
        return (volume.voxels, volume.affine), None if mask is None else (mask, volume.affine), notes

    return read


def _find_files(folder: Path, lines: list[str]) -> Iterator[Found]:
    """Find NIfTI, NRRD and MHA scans: as a Decathlon folder, else by their names, label beside image.

    A label that is of no image, a second one of an image, and a second image of one name, such as an unpacked
    copy, are left out with a line.
    """
    if is_decathlon(folder):
        cases = find_cases(folder)
        used = {case.label for case in cases}
        for path in nifti_files(folder / "labelsTr"):
            if path not in used:
                lines.append(f"{path}: is of no image in imagesTr and is left out; rename it")
        for case in cases:
            patient = "" if case.patient == case.id else case.patient
            yield Found(_safe(case.id), case.image, case.label, _file_reader(case.image, case.label), patient)
        return
    images: dict[Path, Path] = {}
    labels: dict[Path, Path] = {}
    lone: dict[Path, list[Path]] = {}
    for path in files_below(folder):
        if not path.name.lower().endswith((*ITK_ENDINGS, *NIFTI_ENDINGS)) or is_result(path):
            continue
        stem = path.parent / _stem(path)
        if LONE_LABEL.match(stem.name):
            lone.setdefault(path.parent, []).append(path)
        elif match := LABEL_MARK.match(stem.name):
            first = labels.setdefault(stem.with_name(match["case"]), path)
            if first != path:
                lines.append(f"{path}: is left out, a second label beside {first.name}; merge the two, or remove one")
        else:
            match = IMAGE_MARK.match(stem.name)
            first = images.setdefault(stem.with_name(match["case"]) if match else stem, path)
            if first != path:
                lines.append(f"{path}: is left out, a second image called as {first.name} is; rename it, or remove one")
    for parent, paths in lone.items():
        beside = [stem for stem in images if stem.parent == parent]
        if len(paths) == len(beside) == 1 and beside[0] not in labels:
            labels[beside[0]] = paths[0]
        else:
            lines += [f"{path}: does not say of which scan it is, and is left out; {LABEL_RULE}" for path in paths]
    for stem in sorted(set(labels) - set(images)):
        lines.append(f"{labels[stem]}: is the label of no image and is left out; {LABEL_RULE}")
    for stem, path in images.items():
        yield Found(_safe(stem.name), path, labels.get(stem), _file_reader(path, labels.get(stem)))


def _file_reader(image: Path, label: Path | None) -> Callable:
    def read(labelled: bool) -> tuple[Image, Image | None, list[str]]:
        return _read_image(image), _read_label_file(label) if labelled and label else None, []

    return read


def _read_image(path: Path) -> Image:
    if path.is_file() and not path.name.lower().endswith((*ITK_ENDINGS, *NIFTI_ENDINGS)):
        _reject_other(path)
    if not path.name.lower().endswith(ITK_ENDINGS):
        scan = read_scan(path)
        return scan.voxels, scan.affine
    voxels, affine = read_itk(path)
    require_hu(path, voxels)
    whole = voxels.dtype.kind in "iu" and max(-int(voxels.min()) - 1, int(voxels.max())) < 2**15
    return voxels.astype(np.int16 if whole else np.float32), affine


def _reject_other(path: Path) -> NoReturn:
    """Raise the :class:`ScanError` of a file that is called like no scan, by what its first bytes say it is."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        reject(path, f"cannot be read ({error.strerror})", "check its permissions")
    if start.startswith(b"PK\x03\x04"):
        reject(path, "is a zip", "unpack it and give the folder, or drop it into 'lungseg viewer'")
    if start.endswith(b"DICM"):
        reject(path, "is one file of a DICOM series", "give the folder that holds all slices")
    reject(path, "is not called as a NIfTI, NRRD or MHA file", "give one, or the folder of a DICOM series")


def _read_label_file(path: Path) -> Image:
    if not path.name.lower().endswith(ITK_ENDINGS):
        scan = read_scan(path, "label")
        return scan.voxels, scan.affine
    voxels, affine = read_itk(path)
    whole = voxels.astype(np.uint8)
    if not np.array_equal(whole, voxels):
        raise ScanError(f"{path}: holds values other than whole numbers from 0 to 255; export the label again")
    return whole, affine


def is_result(path: Path) -> bool:
    """Say whether ``lungseg predict`` has written a file, by its name."""
    return _stem(path).endswith((MASK, PROBABILITY))


def _stem(path: Path) -> str:
    return case_id(path) if path.name.lower().endswith(NIFTI_ENDINGS) else path.stem


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("._-") or "case"


def _unique(scans: list[Found]) -> list[Found]:
    """Give cases of one name a number each."""
    taken: set[str] = set()
    result = []
    for scan in scans:
        id_, number = scan.id, 1
        while id_.lower() in taken:
            number += 1
            id_ = f"{scan.id}_{number}"
        taken.add(id_.lower())
        result.append(replace(scan, id=id_))
    return result
