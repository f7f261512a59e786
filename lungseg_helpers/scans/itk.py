"""Images that SimpleITK reads (NRRD, MHA, DICOM), turned into this course's form.

ITK counts millimetres towards the patient's left, back and head (LPS); NIfTI towards the
right, front and head (RAS). The voxels stay as they are: only the first two rows of the affine
change sign.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import ScanError

_SPACING = {
    ".mha": (rb"ElementDataFile", re.compile(rb"^\s*Element(Spacing|Size)\s*=", re.MULTILINE)),
    ".nrrd": (rb"\r?\n\r?\n", re.compile(rb"^(space directions|spacings): *(?!nan)\S", re.MULTILINE)),
}
"""What ends the header of a format, and the line in it that says how large the voxels are: ITK takes 1 mm without."""


def read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels, (x, y, z) in the file's own type, and the (4, 4) affine to RAS mm of a 3-D image.

    Raises :class:`ScanError` where SimpleITK cannot read the file, an NRRD does not say how the patient lies, or it or
    an MHA how large its voxels are, or it is not 3-D.
    """
    if not path.exists():
        raise ScanError(f"{path}: does not exist; check the path")
    try:
        image = sitk.ReadImage(itk_name(path))
    except RuntimeError as error:
        raise ScanError(f"{path}: SimpleITK cannot read it; give an undamaged NRRD, MHA or DICOM file") from error
    if path.suffix.lower() in (".nrrd", ".nhdr") and not image.HasMetaDataKey("NRRD_space"):
        # ITK takes steps of 1 mm, or directions that nobody has said are the patient's
        raise ScanError(f"{path}: does not say how the patient lies (no space); export it again from the DICOM series")
    if not _says_spacing(path):
        raise ScanError(f"{path}: does not say how large its voxels are; export it again from the DICOM series")
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ScanError(f"{path}: is not one 3-D volume of plain numbers; give one volume of the series")
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), itk_affine(image)


def itk_name(path: Path) -> str:
    """Return a path as SimpleITK takes it; :class:`ScanError` where it is not UTF-8, at which ITK ends the process."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ScanError(f"{path}: its name, or that of a folder above, is not UTF-8; rename it") from error
    return str(path)


def _says_spacing(path: Path) -> bool:
    """Say whether the header of an NRRD or MHA file holds the size of its voxels; other formats always do."""
    kind = {".mhd": ".mha", ".nhdr": ".nrrd"}.get(path.suffix.lower(), path.suffix.lower())
    if kind not in _SPACING:
        return True
    end, line = _SPACING[kind]
    with path.open("rb") as file:
        header = re.split(end, file.read(2**16), maxsplit=1)[0]
    return bool(line.search(header))


def itk_affine(image: sitk.Image) -> np.ndarray:
    """Return the (4, 4) float64 affine from voxel (x, y, z) to RAS mm of a 3-D ITK image."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def announced_bytes(path: Path) -> int:
    """Return how many bytes the voxels of an image have by its header alone; :class:`ScanError` where it has none."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ScanError(f"{path}: SimpleITK cannot read its header; give an undamaged NRRD or MHA file") from error
    voxel = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    return math.prod(reader.GetSize()) * voxel.GetSizeOfPixelComponent() * reader.GetNumberOfComponents()
