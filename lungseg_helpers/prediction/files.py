"""Scans of any format in, masks on disk out: what ``lungseg predict`` does.

A NIfTI scan is read as it is. NRRD, MHA and DICOM series go through the readers of
:mod:`~lungseg_helpers.sources.importing` first, and so through the same checks. A mask is written as
NIfTI in the scan's own grid; beside a DICOM series also as DICOM-SEG.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import LungsegError, ScanError, SourceError
from ..files import write_nifti
from ..prediction import MASK, PROBABILITY
from ..recipe import Recipe
from ..scans.case import Case, case_id
from ..scans.scan import Scan
from ..sources.datasets import find_cases
from ..sources.finding import ITK_ENDINGS, Found, find_scan, find_scans
from ..unet import UNet
from .inference import Prediction, predict_case

NIFTI_ENDINGS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Written:
    """The files of one prediction: ``mask``, and where they were asked for or belong to it, the others."""

    mask: Path
    probability: Path | None = None
    segmentation: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All that was written."""
        return [path for path in (self.mask, self.probability, self.segmentation) if path]


def scans_of(paths: Sequence[str | Path]) -> tuple[list[Case | Found], list[str]]:
    """Return the scans among files and folders, as a command line names them, and a line for each thing left out.

    A folder may be a Decathlon data set, hold NIfTI, NRRD or MHA files, or DICOM series at
    any depth. A file that is missing or no scan is kept: reading it says what is wrong with
    it, and the others go on. Raises :class:`SourceError` for a folder without scans, and
    where two scans have the same id and would overwrite each other's results.
    """
    scans: list[Case | Found] = []
    lines: list[str] = []
    for path in map(Path, paths):
        if not path.is_dir():
            scans.append(find_scan(path) if path.name.lower().endswith(ITK_ENDINGS) else Case(case_id(path), path))
            continue
        nifti = _nifti_cases(path)
        found, left_out = ([], []) if (path / "imagesTr").is_dir() else find_scans(path)
        # NIfTI files are found above, and keep their whole names
        found = [each for each in found if not each.source.name.lower().endswith(NIFTI_ENDINGS)]
        if not nifti and not found:
            raise SourceError("; ".join([f"{path}: holds no scan; give NIfTI, NRRD, MHA or a DICOM series", *left_out]))
        scans += [*nifti, *found]
        lines += left_out
    taken: dict[str, Path] = {}
    for scan in scans:
        source = _source(scan)
        if taken.setdefault(scan.id, source).resolve() != source.resolve():
            raise SourceError(f"{source}: case {scan.id} is there twice, also as {taken[scan.id]}; rename one")
    return list({scan.id: scan for scan in scans}.values()), lines


def predict_cases(
    network: UNet,
    recipe: Recipe,
    scans: Sequence[Case | Found],
    folder: Path,
    device: str = "cpu",
    progress: bool = True,
    flips: bool = False,
    probability: bool = False,
) -> Iterator[tuple[Case | Found, Written | Exception]]:
    """Segment scans one after the other and write what is found; one that fails is yielded as its exception.

    ``flips`` as in :func:`~lungseg_helpers.prediction.inference.predict_stack`; with ``probability`` the
    probabilities are written too.
    """
    for scan in tqdm(scans, desc="predicting", unit="scan", leave=False, disable=not progress):
        try:
            with _as_nifti(scan) as case:
                found = predict_case(network, recipe, case, device, progress, flips, probability)
            yield scan, _write(found, scan, Path(folder))
        except (LungsegError, OSError) as error:
            yield scan, error


def _nifti_cases(folder: Path) -> list[Case]:
    try:
        # what an earlier run has written beside the scans is none
        return [case for case in find_cases(folder) if not case.id.endswith((MASK, PROBABILITY))]
    except SourceError:
        if (folder / "imagesTr").is_dir() or any(path.name.endswith(NIFTI_ENDINGS) for path in folder.iterdir()):
            raise
        return []


def _source(scan: Case | Found) -> Path:
    return scan.image if isinstance(scan, Case) else scan.source


@contextlib.contextmanager
def _as_nifti(scan: Case | Found) -> Iterator[Case]:
    """A scan of another format as a NIfTI file, so that it is checked as any other is; gone afterwards."""
    if isinstance(scan, Case):
        yield scan
        return
    with tempfile.TemporaryDirectory(prefix="lungseg-") as temporary:
        case = Case(scan.id, Path(temporary) / f"{scan.id}.nii.gz")
        (voxels, affine), _, _ = scan.read(False)
        write_nifti(case.image, voxels, affine)
        try:
            yield case
        except ScanError as error:
            # the user's own file is meant, not the one that was written from it
            raise ScanError(str(error).replace(str(case.image), str(scan.source))) from error


def _write(found: Prediction, scan: Case | Found, folder: Path) -> Written:
    mask = save_mask(found.mask, found.scan, prediction_path(scan, folder))
    probability = segmentation = None
    if found.probability is not None:
        path = folder / f"{scan.id}{PROBABILITY}.nii.gz"
        probability = save_mask(found.probability, found.scan, path, step=1 / 255)
    if isinstance(scan, Found) and scan.series is not None:
        from ..scans.dicom_segmentation import save_segmentation  # slow to import, and needed for DICOM alone

        segmentation = save_segmentation(found.mask, found.scan.affine, scan.series, folder / f"{scan.id}{MASK}.dcm")
    return Written(mask, probability, segmentation)


def save_mask(mask: np.ndarray, scan: Scan, path: Path, step: float = 1.0) -> Path:
    """Write a mask (x, y, z) as uint8 NIfTI with the scan's affine, qform, sform and their codes.

    ``step`` is the value of 1: 1/255 where the array holds a probability in 255ths.
    """
    header = scan.header.copy()
    header["cal_min"], header["cal_max"] = 0, 1
    return write_nifti(Path(path), np.ascontiguousarray(mask, np.uint8), header=header, step=step)


def prediction_path(scan: Case | Found, folder: Path) -> Path:
    """Return where a scan's mask goes: ``<scan name>_pred.nii.gz``."""
    return Path(folder) / f"{scan.id}{MASK}.nii.gz"
