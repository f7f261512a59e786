"""From a NIfTI scan to a stack of slices on disk: oriented, cropped, resized, still in HU.

Behind this room only ``inference`` knows about affines. What leaves here is a
:class:`SliceStack`, in the order (slice, row, column): slice 0 is the most inferior, row 0
the most anterior, column 0 the patient's right.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from joblib import Parallel, delayed
from tqdm import tqdm

from .checking import label_on_grid, require_case
from .errors import LungsegError, StackError
from .grids import Grid, ct_to_grid, make_grid, mask_to_grid
from .orientation import oriented, oriented_spacing, slice_heights
from .recipe import Recipe
from .scans import Scan, read_scan
from .sources import Case

LAYOUT = 4
"""Raised when what is written below changes, so that older stacks are made again."""

STALE_SECONDS = 600
"""Age from which a temporary folder is taken for a killed run's; a patient takes far less."""


@dataclass(frozen=True)
class SliceStack:
    """One prepared patient. ``ct`` (int16, HU) and ``share`` (uint8 or None) have shape (slice, row, column).

    ``share`` says how much of each pixel is tumour, from 0 (nothing) to 255 (all of it).
    Arrays opened from disk are read-only memory maps. ``info`` is ``case.json``: source
    files and their sizes, original affine and spacing, the settings, the tumour slices.
    """

    id: str
    ct: np.ndarray
    share: np.ndarray | None
    grid: Grid
    info: dict[str, Any]

    @property
    def mask(self) -> np.ndarray | None:
        """1 where at least half of the pixel is tumour, else 0: uint8, made anew at each call; None without a label."""
        return None if self.share is None else (self.share > 127).astype(np.uint8)

    @property
    def tumour_slices(self) -> list[int]:
        """Indices of the slices that hold tumour; known without reading the mask."""
        return self.info["tumour_slices"]


@dataclass(frozen=True)
class View:
    """A scan as a radiologist looks at it: arrays (slice, row, column), ``ct`` in HU, ``masks`` by name.

    ``spacing`` is in mm in the same order; ``z_mm`` is each slice's position in the scanner.
    """

    ct: np.ndarray
    masks: dict[str, np.ndarray]
    spacing: tuple[float, float, float]
    z_mm: np.ndarray


def open_view(image: Path, **masks: Path | None) -> View:
    """Read a scan and masks on its grid, turned the way a radiologist looks at them; no resampling.

    Raises :class:`ScanError` where a file cannot be used or a mask lies on another grid.
    """
    scan = read_scan(image)
    found = {}
    for name, path in masks.items():
        if path is not None:
            found[name] = oriented(label_on_grid(scan, read_scan(path, kind="label")), scan.affine)
    ct = oriented(scan.voxels, scan.affine)
    return View(ct, found, oriented_spacing(scan.affine), slice_heights(scan.affine, len(ct)))


def make_stack(case: Case, recipe: Recipe) -> SliceStack:
    """Read and check one case and return its stack, in memory; :class:`ScanError` where it cannot be used."""
    checked = require_case(case)
    scan, label = checked.scan, checked.label
    ct = oriented(scan.voxels, scan.affine)
    grid = make_grid(ct, oriented_spacing(scan.affine), recipe, case.id, checked.lungs)
    share, tumour_slices, outside = None, [], 0
    if label is not None:
        full = oriented(label, scan.affine)
        share = mask_to_grid(full, grid)
        counts = np.count_nonzero(full[grid.box_slices], axis=(1, 2))
        tumour_slices = np.flatnonzero(counts).tolist()
        outside = int(np.count_nonzero(full)) - int(counts.sum())
    info = {
        "id": case.id,
        "settings": settings(recipe),
        "image": _source(case.image),
        "label": _source(case.label),
        "labelled": share is not None,
        "original_shape": list(scan.voxels.shape),
        "original_affine": scan.affine.tolist(),
        "original_axcodes": "".join(scan.axcodes),
        "original_spacing_mm": [round(float(step), 6) for step in oriented_spacing(scan.affine)],
        "box": [list(side) for side in grid.box],
        "shape": list(grid.shape),
        "spacing_mm": list(grid.spacing),
        "tumour_slices": tumour_slices,
        "tumour_ml": None if share is None else float(share.sum()) / 255 * float(np.prod(grid.spacing)) / 1000,
        "label_voxels_outside_box": outside,
        "notes": [str(problem) for problem in checked.problems],
    }
    return SliceStack(case.id, ct_to_grid(ct, grid), share, grid, info)


def scan_stack(case: Case, recipe: Recipe, scan: Scan) -> SliceStack:
    """Return the stack of a scan that is to be predicted, in memory; :class:`ScanError` where it cannot be used.

    ``scan`` is what ``case.image`` holds. Nothing is recorded of the file, and no label is read.
    """
    checked = require_case(Case(case.id, case.image), scan)
    ct = oriented(scan.voxels, scan.affine)
    grid = make_grid(ct, oriented_spacing(scan.affine), recipe, case.id, checked.lungs)
    return SliceStack(case.id, ct_to_grid(ct, grid), None, grid, {"id": case.id, "tumour_slices": []})


def settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that change what is written to disk; a change of any other costs no new preprocessing."""
    keys = ("crop", "crop_margin_mm", "pixel_mm") + (("frame",) if recipe.pixel_mm is None else ())
    values = recipe.to_dict()
    return {"layout": LAYOUT, **{key: values[key] for key in keys}}


def _source(path: Path | None) -> dict[str, Any] | None:
    """Return what identifies a source file: name, size, time, and the check sum that gzip itself relies on."""
    return None if path is None else {**_glance(path), "crc32": _crc32(path)}


def _glance(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"file": path.name, "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def _crc32(path: Path) -> str:
    total = 0
    with path.open("rb") as stream:
        while piece := stream.read(2**20):
            total = isal_zlib.crc32(piece, total)
    return f"{total:08x}"


def stacks_dir(root: Path, recipe: Recipe) -> Path:
    """Return the folder that holds a data set's stacks under these settings, beside the data set itself."""
    digest = hashlib.sha256(json.dumps(settings(recipe), sort_keys=True).encode()).hexdigest()[:8]
    root = Path(root)
    return root.parent / "stacks" / f"{root.name}-{recipe.crop}-{digest}"


def save_stack(stack: SliceStack, folder: Path) -> Path:
    """Write a stack to ``folder/<id>``: into a temporary folder first, then renamed, so that no half is ever read.

    Raises :class:`StackError` where the folder cannot be written to or the disk is full.
    """
    target = folder / stack.id
    partial = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{stack.id}-", dir=folder))
        np.save(partial / "ct.npy", stack.ct)
        if stack.share is not None:
            np.save(partial / "share.npy", stack.share)
        (partial / "case.json").write_text(json.dumps(stack.info, indent=1))
        partial.chmod(0o755)
        # moved away whole before it is deleted: a run killed here must not leave half of the old one
        old = partial.with_name(f"{partial.name}-old")
        if target.exists():
            os.replace(target, old)
        os.replace(partial, target)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        # NumPy answers a write that is cut short, as on a full disk, with an error that has no reason in it
        reason = error.strerror or "No space left on device"
        raise StackError(f"{folder}: cannot be written ({reason}); free space there, or move the data set") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _clear_stale(folder: Path) -> None:
    """Remove what killed runs left in ``folder``; a young one may be another process's, at work right now."""
    for path in folder.glob(".*-*"):
        if path.is_dir() and time.time() - path.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def open_stack(folder: Path) -> SliceStack:
    """Open a prepared patient as memory maps; :class:`StackError` where it is missing or incomplete."""
    folder = Path(folder)
    try:
        info = json.loads((folder / "case.json").read_text())
        ct = np.load(folder / "ct.npy", mmap_mode="r", allow_pickle=False)
        share = np.load(folder / "share.npy", mmap_mode="r", allow_pickle=False) if info["labelled"] else None
        affine_shape = oriented(np.empty(info["original_shape"], np.bool_), np.array(info["original_affine"])).shape
        grid = Grid(
            tuple(affine_shape),
            tuple(tuple(side) for side in info["box"]),
            tuple(info["shape"]),
            tuple(info["spacing_mm"]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise StackError(f"{folder}: not a complete slice stack ({error}); run 'lungseg prepare' again") from error
    return SliceStack(info["id"], ct, share, grid, info)


def is_current(folder: Path, case: Case, recipe: Recipe) -> bool:
    """Say whether a stack is there and was made from these very files with these settings.

    Files of unchanged size and time are taken as unchanged, because reading 8 GB to learn
    that nothing changed would cost as much as preparing it; where only the time differs,
    the check sum decides.
    """
    try:
        info = json.loads((folder / "case.json").read_text())
        return info["settings"] == settings(recipe) and all(
            _unchanged(info[key], path) for key, path in (("image", case.image), ("label", case.label))
        )
    except (OSError, ValueError, KeyError):
        return False


def _unchanged(recorded: dict[str, Any] | None, path: Path | None) -> bool:
    if recorded is None or path is None:
        return recorded is None and path is None
    found = _glance(path)
    if found == {key: recorded[key] for key in found}:
        return True
    return found["bytes"] == recorded["bytes"] and _crc32(path) == recorded["crc32"]


def _prepare_one(case: Case, recipe: Recipe, folder: Path) -> str | None:
    """Prepare one case; return a fault of its files as a line instead of raising, so that others go on."""
    try:
        if is_current(folder / case.id, case, recipe):
            return None
        stack = make_stack(case, recipe)
    except (LungsegError, OSError) as error:
        return str(error) if case.id in str(error) else f"{case.id}: {error}"
    save_stack(stack, folder)
    return None


def prepare(
    cases: Sequence[Case], recipe: Recipe, folder: Path, workers: int | None = None
) -> tuple[list[Path], list[str]]:
    """Prepare patients side by side; a second call redoes only what changed.

    Returns the stack folders, in the order of ``cases``, and one line for each case that
    could not be used. ``workers`` defaults to the number of cores (joblib's own count,
    so a joblib backend such as Dask or Ray takes over when one is active). Raises
    :class:`StackError` where ``folder`` cannot be written to: no other case would fare better.
    """
    _clear_stale(folder)
    todo = Parallel(n_jobs=workers or -1, return_as="generator")(
        delayed(_prepare_one)(case, recipe, folder) for case in cases
    )
    problems = list(tqdm(todo, total=len(cases), desc="preparing", unit="patient", leave=False))
    good = [folder / case.id for case, problem in zip(cases, problems, strict=True) if problem is None]
    return good, [problem for problem in problems if problem is not None]
