"""Files that are written whole or not at all: NIfTI, and the ``dataset.json`` of a Decathlon folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

PARTIAL = ".partial-"
"""What the name of an unfinished file begins with; readers of folders pass over hidden files."""


def dataset_json(name: str, description: str, training: Sequence[str], test: Sequence[str] = (), **more: str) -> str:
    """Return the text of a ``dataset.json`` that MONAI and nnU-Net both read.

    The cases' files are ``imagesTr/<id>.nii.gz`` and so on. ``training`` and ``test`` are ids of labelled and
    unlabelled cases; ``more`` are further entries, such as ``reference`` and ``licence``. The keys of the
    Medical Segmentation Decathlon (MONAI's ``load_decathlon_datalist``) and those of nnU-Net version 2
    (``verify_dataset_integrity``) stand side by side. Labels are named as nnU-Net wants them,
    ``{"background": 0}``: MONAI passes them on unread.
    """
    pairs = {id: (f"imagesTr/{id}.nii.gz", f"labelsTr/{id}.nii.gz") for id in training}
    entries = {
        "name": name,
        "description": description,
        **more,
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "cancer": 1},
        "file_ending": ".nii.gz",
        "numTraining": len(training),
        "numTest": len(test),
        "training": [{"image": f"./{image}", "label": f"./{label}"} for image, label in pairs.values()],
        "test": [f"./imagesTs/{id}.nii.gz" for id in test],
        # nnU-Net reads this list; without it, it asks for other file names
        "dataset": {id: {"images": [image], "label": label} for id, (image, label) in pairs.items()},
    }
    return json.dumps(entries, indent=1) + "\n"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside ``path``; what is written there takes its place when the block ends without an error.

    So no half file is ever read, whenever a run is killed. Two processes that write one file do not meet:
    the last one wins. Folders that are missing are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # the ending stays, because writers go by it
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_nifti(
    path: Path,
    voxels: np.ndarray,
    affine: np.ndarray | None = None,
    header: nib.Nifti1Header | None = None,
    step: float = 1.0,
    note: str = "",
) -> Path:
    """Write voxels (x, y, z) as ``.nii`` or ``.nii.gz``, whole or not at all, and return ``path``.

    With ``affine``, (4, 4) voxel to RAS mm, it stands as qform and as sform of scanner coordinates. With
    ``header`` of a scan, the geometry is that scan's: affine, qform, sform, their codes, NIfTI-1 or -2.
    ``step`` is what the stored value 1 stands for; ``note`` is kept in the header, up to 79 characters.
    Equal voxels are equal files: no time and no file name is kept.
    """
    if header is None:
        image = nib.Nifti1Image(voxels, affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(affine, code=1)
        image.set_sform(affine, code=1)
    else:
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        header = header.copy()
        header.set_data_dtype(voxels.dtype)
        image = kind(voxels, None, header)
    image.header["descrip"] = note
    image.header.set_slope_inter(step, 0)
    content = image.to_bytes()
    with written_whole(path) as partial:
        partial.write_bytes(igzip.compress(content, 1, mtime=0) if path.name.lower().endswith(".gz") else content)
    return path
