"""The module real_patients: geometry and volumes of what is fetched.

Where the package registry cannot be reached and nothing is kept from before, these tests are skipped.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lungseg_helpers.errors import SourceError
from lungseg_helpers.scans.scan import Scan, read_scan
from lungseg_helpers.sources import real_patients
from lungseg_helpers.sources.datasets import find_cases
from lungseg_helpers.sources.real_patients import LIDC_PATIENT, write_real
from lungseg_helpers.writing import write_nifti

VOLUMES_ML = {
    "LIDC-IDRI-0001": pytest.approx(7.5, abs=0.3),
    "pyradiomics-lung1": pytest.approx(1.36, abs=0.01),
    "pyradiomics-lung2": pytest.approx(48.4, abs=0.1),
}


def volume_ml(label: Scan) -> float:
    return float((label.voxels == 1).sum() * np.prod(label.spacing) / 1000)


def centre_ras(scan: Scan, mask: np.ndarray) -> np.ndarray:
    """The mean position of a mask's voxels, (3,) in RAS mm."""
    return scan.affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + scan.affine[:3, 3]


@pytest.mark.parametrize("case", VOLUMES_ML)
def test_every_patient_has_hu_a_label_in_its_grid_and_the_known_volume(real: Path, case: str) -> None:
    cases = {found.id: found for found in find_cases(real)}
    assert set(cases) == set(VOLUMES_ML)
    image, label = read_scan(cases[case].image), read_scan(cases[case].label, kind="label")
    assert image.voxels.dtype == np.int16 and image.voxels.shape == label.voxels.shape
    assert image.voxels.min() in (-1024, -2048) and image.voxels.max() <= 3071
    np.testing.assert_array_equal(image.affine, label.affine)
    for header in (image.header, label.header):
        assert header["qform_code"] == header["sform_code"] == 1
        np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-3)
    assert set(np.unique(label.voxels)) == {0, 1}
    assert volume_ml(label) == VOLUMES_ML[case]
    # Solid tumours: a mask that is turned over or shifted would lie in lung, at about -800 HU.
    assert image.voxels[label.voxels == 1].mean() > -200


@pytest.mark.parametrize("case", VOLUMES_ML)
def test_the_spine_is_behind_and_the_larger_lung_is_right(real: Path, case: str) -> None:
    scan = read_scan(real / "imagesTr" / f"{case}.nii.gz")
    thin = Scan(scan.path, scan.voxels[::4, ::4], scan.affine @ np.diag([4, 4, 1, 1]), scan.header)
    air, _ = ndimage.label(thin.voxels < -500)
    edge = np.unique(np.concatenate([air[[0, -1]].ravel(), air[:, [0, -1]].ravel()]))
    lungs = (air > 0) & ~np.isin(air, edge)
    bone = thin.voxels > 250
    # Ribs lie all around the lungs and the sternum in front, but most bone is spine.
    assert centre_ras(thin, bone)[1] < centre_ras(thin, lungs)[1] - 10
    spine = bone.sum(axis=(1, 2)).argmax()
    right = lungs[:spine] if thin.axcodes[0] == "L" else lungs[spine:]
    assert right.sum() > 0.5 * lungs.sum()


def test_the_lobes_are_on_the_sides_that_their_labels_say(real: Path) -> None:
    lobes = read_scan(real / "lobes" / f"{LIDC_PATIENT}.nii.gz", kind="label")
    assert set(np.unique(lobes.voxels)) == {0, 10, 11, 12, 13, 14}
    centres = {number: centre_ras(lobes, lobes.voxels == number) for number in range(10, 15)}
    for left in (10, 11):
        for right in (12, 13, 14):
            assert centres[left][0] < centres[right][0] - 50
    # Upper lobes lie above and in front of lower ones.
    for upper, lower in ((10, 11), (12, 14)):
        assert (centres[upper][1:] > centres[lower][1:] + 20).all()


def test_the_vote_lies_in_a_lung_lobe(real: Path) -> None:
    label = read_scan(real / "labelsTr" / f"{LIDC_PATIENT}.nii.gz", kind="label").voxels
    lobes = read_scan(real / "lobes" / f"{LIDC_PATIENT}.nii.gz", kind="label").voxels
    near = tuple(slice(found.start - 3, found.stop + 3) for found in ndimage.find_objects(label)[0])
    label, lobes = label[near], lobes[near]
    homes = [n for n in range(10, 15) if (ndimage.binary_dilation(lobes == n, iterations=2) >= label).all()]
    assert homes == [11]


def test_four_readers_agree_but_not_quite(real: Path) -> None:
    paths = sorted((real / "readers").iterdir())
    assert [path.name for path in paths] == [f"{LIDC_PATIENT}_reader{n}.nii.gz" for n in (1, 2, 3, 4)]
    readers = [read_scan(path, kind="label") for path in paths]
    volumes = [volume_ml(reader) for reader in readers]
    assert min(volumes) == pytest.approx(6.45, abs=0.05) and max(volumes) == pytest.approx(8.28, abs=0.05)
    masks = np.stack([reader.voxels for reader in readers])
    label = read_scan(real / "labelsTr" / f"{LIDC_PATIENT}.nii.gz", kind="label").voxels
    np.testing.assert_array_equal(label, masks.sum(axis=0) >= 2)
    for mask in masks:
        dice = 2 * np.logical_and(mask, label).sum() / (int(mask.sum()) + int(label.sum()))
        assert 0.8 < dice < 1


def test_licences_and_description_lie_beside_the_scans(real: Path) -> None:
    licences = (real / "LICENCES.md").read_text(encoding="utf-8")
    for words in (
        "CC BY 3.0",
        "10.7937/K9/TCIA.2015.LO9QL9SX",
        "2011; 38(2): 915",
        "BSD 3-Clause",
        *VOLUMES_ML,
    ):
        assert words in licences
    description = json.loads((real / "dataset.json").read_text())
    assert description["numTraining"] == len(description["training"]) == 3
    assert all((real / name).is_file() for pair in description["training"] for name in pair.values())


def test_a_finished_set_needs_no_network_and_touches_nothing(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fetch(*_: object) -> Path:
        raise AssertionError("fetched again")

    monkeypatch.setattr(real_patients, "fetch_wheel", no_fetch)
    monkeypatch.setattr(real_patients, "fetch_source", no_fetch)
    before = {path: path.stat().st_mtime_ns for path in real.rglob("*")}
    assert write_real(real, real / "no such cache") == real
    assert before == {path: path.stat().st_mtime_ns for path in real.rglob("*")}


# The rest needs no real patient: small ones stand in.


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the real sources by one small case each; the list tells what was written."""
    written: list[str] = []

    def writer(case: str) -> object:
        def write(out: Path, cache: Path, scratch: Path) -> list[str]:
            for folder in ("imagesTr", "labelsTr"):
                write_nifti(out / folder / f"{case}.nii.gz", np.zeros((3, 3, 3), np.uint8), np.eye(4))
            written.append(case)
            return [case]

        return write

    monkeypatch.setattr(real_patients, "_write_lidc", writer("b"))
    monkeypatch.setattr(real_patients, "_write_radiomics", writer("a"))
    return written


def test_an_incomplete_or_older_set_is_made_again(stand_ins: list[str], tmp_path: Path) -> None:
    out = tmp_path / "data" / "real"
    for number, spoil in enumerate(
        (
            lambda: None,
            lambda: (out / "labelsTr" / "a.nii.gz").unlink(),
            lambda: (out / "dataset.json").write_text(json.dumps({"name": real_patients.NAME, "release": "0"})),
            lambda: (out / "dataset.json").write_text(
                json.dumps({"name": real_patients.NAME, "release": real_patients.RELEASE})
            ),
        ),
        start=1,
    ):
        spoil()
        assert write_real(out, tmp_path / "cache") == out
        assert [case.id for case in find_cases(out)] == ["a", "b"]
        assert len(stand_ins) == 2 * number
        assert [path.name for path in out.parent.iterdir()] == ["real"]


def test_a_folder_of_something_else_is_not_touched(stand_ins: list[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SourceError, match="not this data set"):
        write_real(tmp_path, tmp_path / "cache")
    with pytest.raises(SourceError, match="not this data set"):
        write_real(tmp_path / "thesis.txt", tmp_path / "cache")
    assert (tmp_path / "thesis.txt").read_text() == "mine" and stand_ins == []


@pytest.mark.parametrize(
    "error", [SourceError("pip cannot"), KeyboardInterrupt(), OSError(28, "No space left on device")]
)
def test_a_fetch_that_fails_half_way_leaves_nothing(
    stand_ins: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> list[str]:
        raise error

    monkeypatch.setattr(real_patients, "_write_radiomics", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else SourceError):
        write_real(tmp_path / "data" / "real", tmp_path / "cache")
    assert stand_ins == ["b"] and list((tmp_path / "data").iterdir()) == []
