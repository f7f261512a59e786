"""The DICOM files of a folder, sorted into series of CT slices."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from tqdm import tqdm

from .case import files_below

# pydicom warns of every value that strays from the standard, when it is first looked at. Scanners and anonymisers
# write many of them, a user can mend none, and what a volume needs is checked here and in dicom_series.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"

ENHANCED_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2.1"

MANUFACTURER = "lungseg course"
"""Who the masks that this course predicts and writes say they are by."""

NEEDED = ("SOPClassUID", "SeriesInstanceUID")
"""What each file has to say of itself: its kind, and its series."""

TOLERANCE = np.array([1e-3] * 6 + [1e-4] * 2)
"""By how much slices of one series may differ: cosines of rows and columns, and a pixel's height and width in mm."""

LEAST_SLICES = 5
"""Fewer slices of one orientation are a localiser or a test image, not a scan."""


@dataclass(frozen=True)
class Slice:
    """One DICOM file: ``header`` without its pixels."""

    path: Path
    header: pydicom.Dataset

    @property
    def position(self) -> np.ndarray:
        """The centre of the first pixel, (3,), in mm (LPS)."""
        return np.array(self.header.ImagePositionPatient, float)


@dataclass(frozen=True)
class Series:
    """The CT slices of one series and one orientation, in the order in which they were found."""

    slices: tuple[Slice, ...]

    @property
    def header(self) -> pydicom.Dataset:
        """The header of its first slice: what all of them share."""
        return self.slices[0].header

    @property
    def name(self) -> str:
        """What messages call it: the folder of its first file, and the series' number."""
        return f"{self.slices[0].path.parent} (series {self.header.get('SeriesNumber') or 'without number'})"


def read_headers(folder: Path) -> tuple[list[Slice], list[str]]:
    """Return every DICOM file below a folder, and a line for each that is called .dcm or is barred, and is not read."""
    files, lines = [], []
    paths = [path for path in files_below(folder) if path.is_file()]
    for path in tqdm(paths, desc="reading headers", unit="file", leave=False):
        try:
            header = _header(path)
        except OSError as error:
            lines.append(f"{path}: cannot be read ({error.strerror or error}); check the disk and its permissions")
            continue
        # a damaged name of a kind or a series may be read as several, or as something that is no name
        if header is not None and all(isinstance(header.get(name), str) for name in NEEDED):
            files.append(Slice(path, header))
        elif path.suffix.lower() == ".dcm":
            lines.append(f"{path}: is no DICOM file, or a damaged one, and is left out; copy it again")
    return files, lines


def _header(path: Path) -> pydicom.Dataset | None:
    # A file that is no DICOM is passed over, so there is nothing to warn of.
    with warnings.catch_warnings(action="ignore"):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, force=path.suffix.lower() == ".dcm")
            _drop_damaged(header)
        except OSError as error:
            if error.errno:
                raise
            return None  # pydicom says so of a file that ends too early
        except Exception:  # whatever the bytes of a file are, the others go on
            return None
    return header


def _drop_damaged(data: pydicom.Dataset) -> None:
    """Take out every value that cannot be decoded: a slice may do without it, and where it may not, that is said.

    pydicom decodes a value when it is first asked for, which would be where nobody expects an error.
    """
    for tag in list(data.keys()):
        try:
            element = data[tag]
            for item in element.value if element.VR == "SQ" else ():
                _drop_damaged(item)
        except Exception:
            del data[tag]


def group_series(files: list[Slice]) -> tuple[list[Series], list[str]]:
    """Sort CT slices into series of one orientation and size; a line for each thing that is left out.

    Localisers (marked as such, or of too few slices) are left out with a line, as are CTs of
    the enhanced, multi-frame kind. Files of other kinds are no business of this function.
    """
    # by series and slice size, one beside the other: orientation and pixel size, and the slices that share them
    groups: dict[tuple, list[tuple[np.ndarray, list[Slice]]]] = {}
    left_out: dict[str, None] = {}
    for file in files:
        header = file.header
        if header.SOPClassUID == ENHANCED_CT_STORAGE:
            left_out[f"{file.path}: is an enhanced multi-frame CT; convert it to one file per slice first"] = None
        if header.SOPClassUID != CT_STORAGE:
            continue
        if "LOCALIZER" in str(header.get("ImageType")):
            left_out[f"{file.path.parent}: a localiser is left out; nothing to do"] = None
            continue
        try:
            alike = groups.setdefault((header.SeriesInstanceUID, int(header.Rows), int(header.Columns)), [])
            plane = np.array([*header.ImageOrientationPatient, *header.PixelSpacing], float)
            if len(plane) != len(TOLERANCE) or not np.isfinite([*plane, *file.position]).all():
                raise ValueError
            if len(file.position) != 3 or plane[6:].min() <= 0:
                raise ValueError
        except (AttributeError, TypeError, ValueError):
            left_out[f"{file.path}: does not say where its slice lies; export the series again"] = None
            continue
        slices = next((slices for other, slices in alike if (np.abs(plane - other) <= TOLERANCE).all()), None)
        if slices is None:
            alike.append((plane, slices := []))
        slices.append(file)
    series = [Series(tuple(slices)) for alike in groups.values() for _, slices in alike]
    for few in series:
        if len(few.slices) < LEAST_SLICES:
            left_out[f"{few.name}: {len(few.slices)} slices of one orientation are no scan; left out"] = None
    return [group for group in series if len(group.slices) >= LEAST_SLICES], list(left_out)
