"""Is one case fit to learn from? Every fault of its image and label, not only the first.

The same check stands before preparation (:func:`require_case`) and behind ``lungseg
check`` (:func:`check_case`, over whole data sets in :mod:`lungseg_helpers.sources.dataset_check`).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np

from ..errors import LungsegError, ScanError
from .case import Case
from .lungs import LUNG_HU, MIN_LUNG_ML, coarse_steps, find_lungs
from .masks import fill_holes
from .nifti_bytes import reject
from .orientation import oriented, oriented_spacing
from .scan import Scan, read_scan

GRID_TOLERANCE = 0.25
"""Voxels by which a label's grid may miss the image's: rounded headers differ by less, and half a voxel is another."""

OUTSIDE_ERROR, OUTSIDE_NOTE = 0.5, 0.01
"""Shares of a label in the air outside the body: an error from the first on, a note from the second."""

RESCALE_HU = 1024
"""CT numbers are stored unsigned with this offset, which the rescale intercept takes off again."""

Severity = Literal["error", "note"]
Fault = tuple[str, str]


@dataclass(frozen=True)
class Problem:
    """One fault of one file. An ``"error"`` keeps the case out; a ``"note"`` does not."""

    case: str
    file: str
    fault: str
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.case}: {self.file}: {self.fault}; {self.remedy}"


@dataclass(frozen=True)
class CheckedCase:
    """A case as its check found it.

    ``scan`` is None where the image cannot be read. ``label`` is uint8 (x, y, z), 1 where
    tumour is, on the voxels of ``scan`` whichever way it lay on disk; None where there is
    none or it does not fit. ``lungs`` is what :func:`~lungseg_helpers.scans.lungs.find_lungs` found in the
    oriented scan, None where it was not looked for.
    """

    scan: Scan | None
    label: np.ndarray | None
    problems: tuple[Problem, ...]
    lungs: np.ndarray | None = None

    @property
    def errors(self) -> list[Problem]:
        """The problems that keep the case out."""
        return [problem for problem in self.problems if problem.severity == "error"]


def require_case(case: Case, scan: Scan | None = None, lungs: bool = True) -> CheckedCase:
    """Return the case, checked, with nothing worse than notes; :class:`ScanError` names its first error.

    ``scan`` spares a second reading where the caller has read ``case.image`` already; ``lungs`` as in
    :func:`check_case`.
    """
    checked = check_case(case, scan=scan, lungs=lungs)
    if errors := checked.errors:
        more = f" (and {len(errors) - 1} more: see 'lungseg check')" if len(errors) > 1 else ""
        raise ScanError(f"{errors[0]}{more}")
    return checked


def check_case(
    case: Case, labels: Collection[int] | None = None, scan: Scan | None = None, lungs: bool = True
) -> CheckedCase:
    """Read one case whole and look for every fault; it raises nothing for a bad file.

    ``labels`` chooses which label values count as tumour, and makes the others background.
    Without it 1 is tumour and any value besides 0 and 1 is an error. Without ``lungs`` a scan that shows none,
    for all that looks like HU, has a note for it instead of an error.
    """
    problems: list[Problem] = []

    def report(path: Path, fault: Fault | None, severity: Severity = "error") -> None:
        if fault:
            problems.append(Problem(case.id, str(path), *fault, severity))

    def read(path: Path, kind: str) -> Scan | None:
        try:
            return read_scan(path, kind)
        except LungsegError as error:
            report(path, _fault_of(path, error))
        return None

    scan = scan or read(case.image, "image")
    label = read(case.label, "label") if case.label else None
    air = None
    if scan is not None:
        air, fault, in_hu = _find_lungs(scan)
        report(case.image, fault, "note" if in_hu and not lungs else "error")
    tumour = None
    if label is not None:
        top = int(label.voxels.max())
        fault = _value_fault(label.voxels, labels) if top > 1 else None
        report(case.label, fault)
        tumour = _tumour(label.voxels, labels, top)
        if not fault and not tumour.any():
            remedy = "right for a patient without tumour; otherwise outline it, or choose its value with --labels"
            report(case.label, ("is empty: no voxel is tumour", remedy), "note")
    if scan is not None and label is not None:
        turned, fault = _on_grid(scan, label)
        report(case.label, fault)
        if fault:
            tumour = None
        elif turned is not label.voxels:
            tumour = _turned(tumour, _turn(scan, label))
            lies = f"lies as {''.join(label.axcodes)} on disk and its image as {''.join(scan.axcodes)}"
            report(case.label, (lies, "nothing to do: it is turned to its image"), "note")
        if tumour is not None and (share := _share_outside(scan, tumour, air)) >= OUTSIDE_NOTE:
            fault = (f"has {share:.0%} of its tumour outside the body", "check that it belongs to this image")
            report(case.label, fault, "error" if share >= OUTSIDE_ERROR else "note")
    return CheckedCase(scan, tumour, tuple(problems), air)


def read_truth(path: Path) -> Scan:
    """Return a label whose tumour is 1; :class:`ScanError` where it cannot be read or has values besides 0 and 1."""
    label = read_scan(path, "label")
    if label.voxels.max() > 1:
        reject(path, *_value_fault(label.voxels, None))
    return label


def label_on_grid(scan: Scan, label: Scan) -> np.ndarray:
    """Return the label's voxels (x, y, z) as they lie on ``scan``'s grid: turned where only their order differs.

    Raises :class:`ScanError` where the two do not cover the same voxels.
    """
    voxels, fault = _on_grid(scan, label)
    if fault:
        raise ScanError(f"{label.path}: {fault[0]}; {fault[1]}")
    return voxels


def _on_grid(scan: Scan, label: Scan) -> tuple[np.ndarray, Fault | None]:
    turn = _turn(scan, label)
    voxels = label.voxels if turn is None else _turned(label.voxels, turn)
    if voxels.shape != scan.voxels.shape:
        sizes = f"{label.voxels.shape} and its image {scan.voxels.shape}"
        return voxels, (f"label {sizes} differ in shape", f"check that it belongs to {scan.path.name}")
    affine = label.affine
    if turn is not None:
        affine = affine @ nib.orientations.inv_ornt_aff(turn, label.voxels.shape)
    corners = np.array([[*corner, 1] for corner in itertools.product(*((0, size - 1) for size in voxels.shape))])
    missed = np.abs(np.linalg.solve(scan.affine, affine) @ corners.T - corners.T).max()
    if missed > GRID_TOLERANCE:
        fault = f"label and image have different affines ({missed:.3g} voxels apart)"
        return voxels, (fault, f"resample it to {scan.path.name}, or correct its header")
    return voxels, None


def _turn(scan: Scan, label: Scan) -> np.ndarray | None:
    """Return the axis order and flips, (3, 2) as in nibabel, that take the label to its image; None for none."""
    steps = np.rint(np.linalg.solve(scan.affine, label.affine)[:3, :3])
    if np.array_equal(steps, np.eye(3)) or not np.array_equal(np.abs(steps @ steps.T), np.eye(3)):
        return None
    axes = np.abs(steps).argmax(axis=0)
    return np.column_stack([axes, steps[axes, range(3)]])


def _turned(voxels: np.ndarray, turn: np.ndarray) -> np.ndarray:
    return nib.apply_orientation(voxels, turn)


def _find_lungs(scan: Scan) -> tuple[np.ndarray | None, Fault | None, bool]:
    """Return the lungs, or how an image is no chest CT in HU: air near -1000, tissue near 0, lungs between.

    The third value says whether it may be in HU all the same, only without lungs.
    """
    ct, spacing = oriented(scan.voxels, scan.affine), oriented_spacing(scan.affine)
    lungs = find_lungs(ct, spacing)
    if lungs.any():
        return lungs, None, True
    low, high = float(scan.voxels.min()), float(scan.voxels.max())
    if low == high:
        return None, (f"holds {low:g} in every voxel, so no lung", "export it again"), False
    span = f"its values run from {low:g} to {high:g}"
    if high - low <= 2:
        return None, (f"is not in HU: {span}, as if normalised", "give the scan before normalisation"), False
    if low >= 0 and high <= 255:
        return (
            None,
            (f"is not in HU: {span}, as if drawn in a window of 8 bits", "give the scan before windowing"),
            False,
        )
    export = "export it again in HU (with the rescale slope and intercept)"
    for offset in (RESCALE_HU, -RESCALE_HU):
        if find_lungs(ct.astype(np.float32) - offset, spacing).any():
            where = "high" if offset > 0 else "low"
            return None, (f"is not in HU: {span}, {RESCALE_HU} too {where} everywhere", export), False
    as_it_is = "take it as it is with 'lungseg predict --whole'"
    if low > LUNG_HU:
        fault = f"is not in HU, or shows no lung: {span}, and none is air"
        return None, (fault, f"{export}, or {as_it_is}"), True
    fault = f"no lung found (no pocket of air of {MIN_LUNG_ML:.0f} mL inside the body)"
    return None, (fault, f"give a chest CT in HU, or {as_it_is}"), True


def _tumour(label: np.ndarray, labels: Collection[int] | None, top: int) -> np.ndarray:
    if labels in (None, {1}) and top <= 1:
        return label
    chosen = np.zeros(256, np.uint8)
    chosen[list(labels or {1})] = 1
    return chosen[label]


def _value_fault(label: np.ndarray, labels: Collection[int] | None) -> Fault | None:
    if labels is not None:
        return None
    named = ", ".join(map(str, np.unique(label)))
    remedy = "say which are tumour with 'lungseg check --labels' and write them as 1 with 'lungseg import --labels'"
    return f"holds the label values {named}, not only 0 and 1", remedy


def _share_outside(scan: Scan, tumour: np.ndarray, lungs: np.ndarray | None) -> float:
    """Return how much of the tumour lies in the air around the body, 0 to 1."""
    tumour, ct = oriented(tumour, scan.affine), oriented(scan.voxels, scan.affine)
    up, down, right = coarse_steps(oriented_spacing(scan.affine))
    outside = total = 0
    for index in np.flatnonzero(tumour.any(axis=(1, 2))):
        # Air that touches the edge of its slice is the room's; other air is inside a body.
        body = fill_holes(ct[index : index + 1, ::down, ::right] >= LUNG_HU)[0]
        if lungs is not None:  # they may touch it too, where the field of view is narrower than the chest
            body |= lungs[index // up]
        body = body.repeat(down, 0).repeat(right, 1)[: ct.shape[1], : ct.shape[2]]
        outside += int(np.count_nonzero(tumour[index] > body))
        total += int(np.count_nonzero(tumour[index]))
    return outside / max(total, 1)


def _fault_of(path: Path, error: LungsegError) -> Fault:
    """Take 'path: fault; remedy', the form of every message of the reading modules, apart again."""
    fault, _, remedy = str(error).removeprefix(f"{path}: ").rpartition("; ")
    return fault, remedy
