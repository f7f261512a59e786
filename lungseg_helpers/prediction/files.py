"""Scans of any format in, masks on disk out: what ``lungseg predict`` does.

A NIfTI scan is read as it is. NRRD, MHA and DICOM series go through the readers of
:mod:`~lungseg_helpers.sources.importing` first, and so through the same checks. A mask is written as
NIfTI in the scan's own grid; beside a DICOM series also as DICOM-SEG. A table says how large and how sure each of its
components is, and where it lies.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import LungsegError, ScanError, SourceError, attempt
from ..parallel import side_by_side
from ..recipe import Recipe
from ..scans.case import COMPONENTS, MASK, NIFTI_ENDINGS, PROBABILITY, Case, case_id
from ..scans.scan import Scan
from ..sources.datasets import find_cases, is_decathlon, nifti_files
from ..sources.finding import Found, find_scan, find_scans, is_result
from ..training.devices import pick_device
from ..unet import UNet
from ..writing import write_nifti
from .components import write_components
from .inference import Prediction, predict_case


@dataclass(frozen=True)
class Written:
    """The files of one prediction: ``mask`` and ``components``, and where they were asked for or belong to it, more.

    ``notes`` are what was done or assumed when a scan of another format than NIfTI was read.
    """

    mask: Path
    components: Path
    probability: Path | None = None
    segmentation: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """All that was written."""
        return [path for path in (self.mask, self.components, self.probability, self.segmentation) if path]


def scans_of(paths: Sequence[str | Path], keep_ids: bool = False) -> tuple[list[Case | Found], list[str]]:
    """Return the scans among files and folders, as a command line names them, and a line for each thing left out.

    A folder may be a Decathlon data set, or hold NIfTI, NRRD or MHA files or DICOM series at
    any depth. DICOM series are called as :func:`~lungseg_helpers.sources.finding.find_scans` has it, with or
    without ``keep_ids``. A file that is missing or no scan is kept: reading it says what is wrong with
    it, and the others go on. Raises :class:`SourceError` for a folder without scans, and
    where two scans have the same id and would overwrite each other's results.
    """
    scans: list[Case | Found] = []
    lines: list[str] = []
    for path in map(Path, paths):
        if not path.is_dir():
            scans.append(Case(case_id(path), path) if path.name.lower().endswith(NIFTI_ENDINGS) else find_scan(path))
            continue
        nifti, others, left_out = _nifti_cases(path), [], []
        if not is_decathlon(path):
            others, left_out = find_scans(path, keep_ids=keep_ids)
            # NIfTI files right in the folder keep their whole names; those that are labels of others are no scans
            scans_there = {scan.source for scan in others}
            nifti = [case for case in nifti if case.image in scans_there]
        listed = {case.image for case in nifti}
        below = [_as_case(scan) for scan in others if scan.source not in listed]
        if not nifti and not below:
            raise SourceError("; ".join([f"{path}: holds no scan; give NIfTI, NRRD, MHA or a DICOM series", *left_out]))
        scans += [*nifti, *below]
        lines += left_out
    taken: dict[str, Path] = {}
    for scan in scans:
        source = _source(scan)
        if taken.setdefault(scan.id, source).resolve() != source.resolve():
            # a series is called by what its headers say
            dicom = isinstance(scan, Found) and scan.series
            remedy = "give one after the other, each with its own --out" if dicom else "rename one"
            raise SourceError(f"{source}: case {scan.id} is there twice, also as {taken[scan.id]}; {remedy}")
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
) -> Iterator[tuple[Case | Found, Written | LungsegError]]:
    """Segment scans one after the other and write what is found; one that fails is yielded with its error.

    ``device`` may be ``"auto"``. ``flips`` as in :func:`~lungseg_helpers.prediction.inference.predict_stack`;
    with ``probability`` the probabilities are written too. Inside
    :func:`~lungseg_helpers.parallel.on_cluster` the scans are segmented side by side, by the cluster's workers.
    Raises :class:`OSError` where the folder cannot be made or written to.
    """
    # made and tried here, so that a folder that cannot be written to is said once, and before anything is segmented
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
    options = (network, recipe, Path(folder), device, progress, flips, probability)
    jobs = [(scan.id, _predict_one, scan, *options) for scan in scans]
    results = side_by_side(attempt, jobs, 1, "predicting" if progress else "", "scan")
    yield from zip(scans, results, strict=True)


def _predict_one(
    scan: Case | Found,
    network: UNet,
    recipe: Recipe,
    folder: Path,
    device: str,
    progress: bool,
    flips: bool,
    probability: bool,
) -> Written:
    with _as_nifti(scan) as (case, notes):
        prediction = predict_case(network, recipe, case, pick_device(device), progress, flips, probability)
    return replace(_write(prediction, scan, folder), notes=tuple(notes))


def _as_case(scan: Found) -> Case | Found:
    """A NIfTI file needs no conversion."""
    return Case(scan.id, scan.source) if scan.source.name.lower().endswith(NIFTI_ENDINGS) else scan


def _nifti_cases(folder: Path) -> list[Case]:
    try:
        return [case for case in find_cases(folder) if not is_result(case.image)]
    except SourceError:
        if is_decathlon(folder) or nifti_files(folder):
            raise
        return []


def _source(scan: Case | Found) -> Path:
    return scan.image if isinstance(scan, Case) else scan.source


@contextlib.contextmanager
def _as_nifti(scan: Case | Found) -> Iterator[tuple[Case, list[str]]]:
    """A scan of another format as a NIfTI file, checked as any other is and gone afterwards; and its notes."""
    if isinstance(scan, Case):
        yield scan, []
        return
    with tempfile.TemporaryDirectory(prefix="lungseg-") as temporary:
        case = Case(scan.id, Path(temporary) / f"{scan.id}.nii.gz")
        (voxels, affine), _, notes = scan.read(False)
        write_nifti(case.image, voxels, affine)
        try:
            yield case, notes
        except ScanError as error:
            # the user's own file is meant, not the one that was written from it
            raise ScanError(str(error).replace(str(case.image), str(scan.source))) from error


def _write(prediction: Prediction, scan: Case | Found, folder: Path) -> Written:
    mask = save_mask(prediction.mask, prediction.scan, prediction_path(scan, folder))
    components = write_components(prediction.components, folder / f"{scan.id}{COMPONENTS}.csv")
    probability = segmentation = None
    if prediction.probability is not None:
        path = folder / f"{scan.id}{PROBABILITY}.nii.gz"
        probability = save_mask(prediction.probability, prediction.scan, path, step=1 / 255)
    if isinstance(scan, Found) and scan.series is not None:
        from ..scans.dicom_segmentation import save_segmentation  # slow to import, and needed for DICOM alone

        path = folder / f"{scan.id}{MASK}.dcm"
        segmentation = save_segmentation(prediction.mask, prediction.scan.affine, scan.series, path)
    return Written(mask, components, probability, segmentation)


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
