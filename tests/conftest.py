"""What the tests share: a chest simple enough to know every answer, on disk as a Decathlon case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lungseg_helpers.recipes import Recipe
from lungseg_helpers.sources import Case

SHAPE = (96, 96, 40)
"""Voxels of the toy chest, (x, y, z) as on disk."""

SPACING = (4.0, 4.0, 6.0)
"""Its spacing in mm."""


def toy_volume(tumour: bool = True, centre: tuple[float, float, float] = (26, 50, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Return HU int16 and label uint8, (x, y, z), x to the patient's right, y to the back (axes L, P, S reversed).

    A water body with two air-filled lungs; the tumour is a ball of 18 mm radius in the lung at low x,
    denser than anything else so that a threshold can stand in for a network.
    """
    x, y, z = np.meshgrid(*(np.arange(size, dtype=float) for size in SHAPE), indexing="ij")
    body = ((x - 48) / 42) ** 2 + ((y - 48) / 32) ** 2 < 1
    lungs = np.zeros(SHAPE, bool)
    for side in (28, 68):
        lungs |= ((x - side) / 14) ** 2 + ((y - 48) / 22) ** 2 + ((z - 20) / 15) ** 2 < 1
    ball = sum(((axis - mid) * mm) ** 2 for axis, mid, mm in zip((x, y, z), centre, SPACING, strict=True)) < 18**2
    ball &= tumour
    hu = np.where(body, 20, -1024)
    hu[lungs] = -820
    hu[ball] = 300
    noise = np.random.default_rng(0).normal(0, 10, SHAPE)
    return np.clip(hu + noise, -1024, 3071).astype(np.int16), ball.astype(np.uint8)


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
        pixel_mm=6.0, frame=(40, 48), widths=(4, 8, 16), context_mm=(-6.0, 0.0, 6.0), batch_size=4,
        slices_per_epoch=24, epochs=2,
    )


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Compare all of a notebook's outputs but stderr, which holds progress bars and notices."""
    if collector.__class__.__name__ == "IPyNbFile":
        collector.skip_compare += ("stderr",)
