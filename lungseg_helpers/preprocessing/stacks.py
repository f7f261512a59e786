"""From a NIfTI scan to a stack of slices on disk: oriented, cropped, resized, still in HU.

Behind this folder only ``prediction`` knows about affines. What leaves here is a
:class:`SliceStack`, in the order (slice, row, column): slice 0 is the most inferior, row 0
the most anterior, column 0 the patient's right.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StackError
from ..recipe import Recipe
from ..scans.case import Case
from ..scans.checking import require_case
from ..scans.orientation import oriented, oriented_spacing
from ..scans.scan import Scan
from .fingerprint import fingerprint
from .grids import Grid, ct_to_grid, make_grid, mask_to_grid

LAYOUT = 4
"""Raised when what is written below changes, so that older stacks are made again."""


@dataclass(frozen=True)
class ArrayFile:
    """An array in an ``.npy`` file: where it is, and how it lies there. It holds no file open and pickles small."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int

    @classmethod
    def find(cls, path: Path) -> ArrayFile:
        """Read the file's header; OSError, EOFError or ValueError where it is missing, damaged or cut short."""
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return cls(Path(path).absolute(), array.shape, array.dtype, array.offset)

    def open(self) -> np.memmap:
        """Map the file into memory, read-only; it is closed with the last view of the array that is returned."""
        try:
            # a string: a Path would be resolved at every call, which takes as long as all the rest
            return np.memmap(str(self.path), self.dtype, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise StackError(f"{self.path}: cannot be read ({error}); run 'lungseg prepare' again") from error


@dataclass(frozen=True)
class SliceStack:
    """One prepared patient: CT and tumour as arrays of shape (slice, row, column), and where they lie in the scan.

    ``stored_ct`` and ``stored_share`` are the arrays themselves, or the files that hold them;
    read :attr:`ct` and :attr:`share` instead. ``stored_share`` is None without a label.
    ``info`` is ``case.json``: source files and their sizes, original affine and spacing, the
    settings, the tumour slices.
    """

    id: str
    stored_ct: np.ndarray | ArrayFile
    stored_share: np.ndarray | ArrayFile | None
    grid: Grid
    info: dict[str, Any]

    @property
    def ct(self) -> np.ndarray:
        """The CT in HU, int16. Of a stack on disk a read-only memory map, opened anew at each call.

        So hundreds of patients hold no file open, and a stack is sent to another process as its path.
        """
        return self.stored_ct.open() if isinstance(self.stored_ct, ArrayFile) else self.stored_ct

    @property
    def share(self) -> np.ndarray | None:
        """How much of each pixel is tumour, uint8: 0 is nothing, 255 all of it. Opened like :attr:`ct`."""
        return self.stored_share.open() if isinstance(self.stored_share, ArrayFile) else self.stored_share

    @property
    def mask(self) -> np.ndarray | None:
        """1 where at least half of the pixel is tumour, else 0: uint8, made anew at each call; None without a label."""
        share = self.share
        return None if share is None else (share > 127).astype(np.uint8)

    @property
    def tumour_slices(self) -> list[int]:
        """Indices of the slices that hold tumour; known without reading the mask."""
        return self.info["tumour_slices"]


def make_stack(case: Case, recipe: Recipe) -> SliceStack:
    """Read and check one case and return its stack, in memory; :class:`ScanError` where it cannot be used."""
    checked = require_case(case, lungs=recipe.crop != "none")
    scan, label = checked.scan, checked.label
    ct = oriented(scan.voxels, scan.affine)
    grid = make_grid(ct, oriented_spacing(scan.affine), recipe, case.id, checked.lungs)
    share, tumour_slices, outside = None, [], 0
    if label is not None:
        full = oriented(label, scan.affine)
        share = mask_to_grid(full, grid)
        tumour_slices = np.flatnonzero(share.any(axis=(1, 2))).tolist()
        outside = int(np.count_nonzero(full)) - int(np.count_nonzero(full[grid.box_slices]))
    info = {
        "id": case.id,
        "settings": settings(recipe),
        "image": fingerprint(case.image),
        "label": fingerprint(case.label),
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
    checked = require_case(Case(case.id, case.image), scan, recipe.crop != "none")
    ct = oriented(scan.voxels, scan.affine)
    grid = make_grid(ct, oriented_spacing(scan.affine), recipe, case.id, checked.lungs)
    return SliceStack(case.id, ct_to_grid(ct, grid), None, grid, {"id": case.id, "tumour_slices": []})


def settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that change what is written to disk; a change of any other costs no new preprocessing."""
    keys = ("crop", "crop_margin_mm", "pixel_mm") + (("frame",) if recipe.pixel_mm is None else ())
    keys += () if recipe.slice_mm is None else ("slice_mm",)
    values = recipe.to_dict()
    return {"layout": LAYOUT, **{key: values[key] for key in keys}}


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
        try:
            os.replace(partial, target)
        except OSError as error:
            # another process at work on the same data set was first: what it has written is the same
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        # NumPy answers a write that is cut short, as on a full disk, with an error that has no reason in it
        reason = error.strerror or "No space left on device"
        raise StackError(f"{folder}: cannot be written ({reason}); free space there, or move the data set") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def open_stack(folder: Path) -> SliceStack:
    """Return a prepared patient whose arrays stay on disk; :class:`StackError` where it is missing or incomplete."""
    folder = Path(folder)
    try:
        info = json.loads((folder / "case.json").read_text())
        ct = ArrayFile.find(folder / "ct.npy")
        share = ArrayFile.find(folder / "share.npy") if info["labelled"] else None
        # an array of one value takes no memory, and turns like the scan
        scan = np.broadcast_to(np.int8(0), info["original_shape"])
        grid = Grid(
            oriented(scan, np.array(info["original_affine"])).shape,
            tuple(tuple(side) for side in info["box"]),
            tuple(info["shape"]),
            tuple(info["spacing_mm"]),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise StackError(f"{folder}: not a complete slice stack ({error}); run 'lungseg prepare' again") from error
    return SliceStack(info["id"], ct, share, grid, info)
