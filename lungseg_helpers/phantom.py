"""Digital thorax phantoms with tumours, written as a Decathlon data set.

Anatomy, tumours and physics are in the rooms ``phantom_*``; this one puts them together.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from joblib import Parallel, delayed
from tqdm import tqdm

from . import phantom_anatomy as anatomy
from . import phantom_lungs as lungs
from . import phantom_organs as organs
from . import phantom_physics as physics
from .errors import SourceError
from .phantom_patient import draw_canvas, draw_patient
from .phantom_tumours import Tumour, draw_tumours, paint_tumour

VERSION = 1
"""Raised whenever the same seed gives another phantom, so that older files are made afresh."""


@dataclass(frozen=True)
class Phantom:
    """One made-up patient.

    ``image`` int16 HU and ``label`` uint8 (0 background, 1 tumour), both (x, y, z) as on
    disk; ``affine`` (4, 4) voxel to RAS mm; ``tumours`` as they were drawn.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    tumours: tuple[Tumour, ...]


def make_phantom(seed: int, matrix: int = 256) -> Phantom:
    """Make the phantom of one patient; the same seed and matrix always give the same voxels.

    ``matrix`` is the number of rows and columns; 256 gives 90–130 slices, 512 twice as
    many. Pixels are 0.598–0.977 mm × 512 / matrix, as in Task06. From seed to seed the
    following vary: sex, size, shape, fat and muscle, breathing, emphysema, contrast phase,
    field of view, slice thickness, kernel, dose, padding, LAS or RAS, and the tumours'
    number, volume, kind and place. Image values are HU from −1024 (or a padding of −2048) to 3071.
    """
    if matrix < 32:
        raise SourceError(f"phantom {seed}: matrix {matrix} is too small for a chest; use 64 or more")
    rng = np.random.default_rng([seed, 1])
    patient = draw_patient(rng)
    canvas = draw_canvas(rng, patient, matrix)
    scanner = physics.draw_scanner(rng, canvas)
    cage = anatomy.cage_distance(canvas, patient)
    cage += 2.0 * lungs.smooth_field(rng, canvas, 60)
    anatomy.paint_body(canvas, patient, cage, rng)
    anatomy.paint_ribs(canvas, patient, cage, rng)
    anatomy.paint_sternum_and_scapulae(canvas, patient, cage)
    canvas.paint((slice(None),) * 3, cage + 1.0, anatomy.FAT_HU)
    dome = organs.diaphragm_height(canvas, patient)
    organs.paint_abdomen(canvas, patient, cage, dome, rng)
    between = organs.paint_mediastinum(canvas, patient, rng)
    anatomy.paint_spine(canvas, patient, rng)
    lung = np.maximum(np.maximum(cage + 1.0, 0.7 * (dome[None] - canvas.z[:, None, None])), -between)
    oblique, horizontal = lungs.fissures(canvas, patient, rng)
    trees = lungs.grow_lungs(canvas, patient, lungs.lobes(canvas, lung, oblique, horizontal), rng)
    lungs.paint_lungs(canvas, patient, lung, rng)
    lungs.paint_fissures(canvas, lung, oblique, horizontal)
    vessels = lungs.paint_trees(canvas, patient, trees, lung, rng)
    lungs.paint_airways(canvas, patient, rng)
    label = np.zeros(canvas.shape, np.uint8)
    tumours = draw_tumours(seed)
    for tumour in tumours:
        paint_tumour(canvas, label, tumour, lung, cage, vessels, rng)
    physics.blur(canvas, scanner)
    physics.add_noise(canvas, scanner, rng)
    image = physics.digitise(canvas, scanner)
    return Phantom(*_to_disk_order(image, label, canvas, scanner.orientation), tuple(tumours))


def _to_disk_order(image: np.ndarray, label: np.ndarray, canvas, orientation: str) -> tuple:
    """Turn (slice, row, column) into (x, y, z) as LAS or RAS, with the affine that says so."""
    step = (slice(None), slice(None, None, -1), slice(None, None, -1 if orientation == "RAS" else 1))
    image, label = (np.asfortranarray(a[step].transpose(2, 1, 0)) for a in (image, label))
    z, y, x = canvas.spacing
    sign = 1.0 if orientation == "RAS" else -1.0
    affine = np.diag([sign * x, y, z, 1.0])
    affine[:3, 3] = [-sign * x * (image.shape[0] - 1) / 2, -y * (image.shape[1] - 1) / 2, canvas.z[0]]
    return image, label, affine


def write_dataset(out: Path, cases: int = 24, unlabelled: int = 4, seed: int = 2026, matrix: int = 256,
                  workers: int | None = None) -> Path:  # fmt: skip
    """Write ``cases`` labelled and ``unlabelled`` further phantoms to ``out`` as a Decathlon data set.

    The files are the same for any number of ``workers`` (default: one a core). A killed
    run leaves no half file, and the next run goes on where it stopped; cases made with
    another seed, matrix or version are made afresh. Returns ``out``. Raises
    :class:`SourceError` where ``out`` holds a data set that is not a phantom's.
    """
    out = Path(out)
    if cases < 1 or unlabelled < 0:
        raise SourceError(f"phantom set {out}: {cases} labelled and {unlabelled} unlabelled cases; ask for at least 1 and 0")
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    names = [f"lung_{i:03d}" for i in range(1, cases + unlabelled + 1)]
    wanted = {}
    for i, name in enumerate(names):
        image = out / ("imagesTr" if i < cases else "imagesTs") / f"{name}.nii.gz"
        wanted[image] = (seed * 100_000 + i + 1, image, out / "labelsTr" / f"{name}.nii.gz" if i < cases else None)
    _clear_other(out, wanted)
    todo = [job for job in wanted.values() if not _is_done(*job, matrix)]
    workers = min(workers or os.cpu_count() or 1, max(1, len(todo)))
    made = Parallel(n_jobs=workers, return_as="generator_unordered")(delayed(_write_case)(*job, matrix) for job in todo)
    for _ in tqdm(made, total=len(todo), desc="phantoms", unit="case", disable=not todo):
        pass
    _write_atomically(out / "dataset.json", _dataset_json(names[:cases], names[cases:]))
    return out


def _stamp(seed: int, matrix: int) -> str:
    """What a file says about itself in its NIfTI header, at most 79 characters."""
    return f"lungseg phantom v{VERSION} seed {seed} matrix {matrix}"


def _read_stamp(path: Path) -> str:
    try:
        with igzip.open(path, "rb") as stream:
            header = stream.read(348)
    except (OSError, EOFError, igzip.BadGzipFile):
        return ""
    return header[148:228].rstrip(b"\0").decode("ascii", "replace")


def _is_done(seed: int, image: Path, label: Path | None, matrix: int) -> bool:
    return all(path is None or _read_stamp(path) == _stamp(seed, matrix) for path in (image, label))


def _clear_other(out: Path, wanted: dict) -> None:
    """Remove phantoms of other settings and left-over temporary files; refuse to touch anything else."""
    keep = {path for job in wanted.values() for path in job[1:] if path}
    for path in sorted(p for f in ("imagesTr", "labelsTr", "imagesTs") for p in (out / f).iterdir()):
        if path.suffix == ".part":
            path.unlink()
        elif not _read_stamp(path).startswith("lungseg phantom"):
            raise SourceError(f"phantom set {out}: {path.name} is not a phantom; choose an empty folder")
        elif path not in keep:
            path.unlink()


def _write_case(seed: int, image: Path, label: Path | None, matrix: int) -> None:
    phantom = make_phantom(seed, matrix)
    # The label first: an image without its label would look finished to a reader of the folder.
    if label:
        _write_nifti(label, phantom.label, phantom.affine, _stamp(seed, matrix))
    _write_nifti(image, phantom.image, phantom.affine, _stamp(seed, matrix))


def _write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray, stamp: str) -> None:
    nifti = nib.Nifti1Image(voxels, affine)
    nifti.header["descrip"] = stamp
    nifti.header.set_xyzt_units("mm")
    nifti.set_qform(affine, 1)
    nifti.set_sform(affine, 1)
    # No time and no file name in the gzip header, so that equal voxels are equal files.
    _write_atomically(path, igzip.compress(nifti.to_bytes(), 1, mtime=0))


def _write_atomically(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def _dataset_json(training: list[str], test: list[str]) -> bytes:
    description = {
        "name": "Lung phantoms",
        "description": "Digital thorax phantoms with lung tumours, in the layout of Task06_Lung. Not patients.",
        "reference": "lungseg phantom",
        "licence": "the licence of the course",
        "release": f"phantom version {VERSION}",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "channel_names": {"0": "CT"},
        "labels": {"0": "background", "1": "cancer"},
        "file_ending": ".nii.gz",
        "numTraining": len(training),
        "numTest": len(test),
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in training],
        "test": [f"./imagesTs/{n}.nii.gz" for n in test],
    }
    return (json.dumps(description, indent=1) + "\n").encode()
