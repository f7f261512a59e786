"""The module datasets: cases are found by name, in order, with nothing that is no scan among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungseg_helpers.errors import SourceError
from lungseg_helpers.paths import data_dir, dataset_root
from lungseg_helpers.phantom.dataset import VERSION
from lungseg_helpers.prediction.files import scans_of
from lungseg_helpers.scans.case import Case, case_id
from lungseg_helpers.sources import datasets as sources
from lungseg_helpers.sources import real_patients
from lungseg_helpers.sources.dataset_check import check_dataset
from lungseg_helpers.sources.datasets import ensure_dataset, find_cases


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.fixture
def decathlon(tmp_path: Path) -> Path:
    """A Decathlon folder with gaps in its ids, an unlabelled scan and what macOS leaves behind."""
    return touch(
        tmp_path,
        *(f"imagesTr/lung_{i}.nii.gz" for i in ("010", "001", "003", "096")),
        *(f"labelsTr/lung_{i}.nii.gz" for i in ("003", "001", "096")),
        "imagesTs/lung_002.nii.gz",
        "imagesTr/._lung_001.nii.gz",
        "labelsTr/._lung_010.nii.gz",
        "imagesTs/._lung_002.nii.gz",
        "imagesTr/.DS_Store",
        "dataset.json",
        "readers/lung_001_reader1.nii.gz",
    )


def test_a_decathlon_folder_gives_its_cases_sorted_by_id(decathlon: Path) -> None:
    tr, label, ts = decathlon / "imagesTr", decathlon / "labelsTr", decathlon / "imagesTs"
    assert find_cases(decathlon) == [
        Case("lung_001", tr / "lung_001.nii.gz", label / "lung_001.nii.gz"),
        Case("lung_002", ts / "lung_002.nii.gz", None),
        Case("lung_003", tr / "lung_003.nii.gz", label / "lung_003.nii.gz"),
        Case("lung_010", tr / "lung_010.nii.gz", None),
        Case("lung_096", tr / "lung_096.nii.gz", label / "lung_096.nii.gz"),
    ]
    assert find_cases(str(decathlon)) == find_cases(decathlon)


def test_a_plain_folder_gives_unlabelled_cases(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii", "A.NII.GZ", "._b.nii", "notes.txt", "c.nii.gz.part", "deeper/d.nii.gz")
    assert find_cases(tmp_path) == [Case("A", tmp_path / "A.NII.GZ"), Case("b", tmp_path / "b.nii")]


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["imagesTr/._lung_001.nii.gz"], ["labelsTr/lung_001.nii.gz"]])
def test_a_folder_without_scans_is_refused(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(SourceError, match=r"no \.nii or \.nii\.gz scan") as caught:
        find_cases(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="absent: no such folder"):
        find_cases(tmp_path / "absent")


@pytest.mark.parametrize("beside", ["labelsTr/a.nii.gz", "imagesTs/notes.txt"])
def test_check_and_find_cases_agree_which_folder_is_a_decathlon(tmp_path: Path, beside: str) -> None:
    touch(tmp_path, "a.nii.gz", beside)
    assert [case.id for case in find_cases(tmp_path)] == ["a"]
    report = check_dataset(tmp_path, workers=1)
    assert report.cases == ("a",)
    named = [problem.fault for problem in report.errors if "labelsTr" in problem.file]
    assert named == (["has no image in imagesTr"] if "labels" in beside else [])


@pytest.mark.parametrize("second", ["imagesTr/lung_001.nii", "imagesTs/lung_001.nii.gz"])
def test_an_id_that_is_there_twice_is_refused(tmp_path: Path, second: str) -> None:
    touch(tmp_path, "imagesTr/lung_001.nii.gz", second)
    with pytest.raises(SourceError, match="case lung_001 is there twice"):
        find_cases(tmp_path)


def test_a_label_that_is_there_twice_is_refused_and_check_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/l1.nii.gz", "labelsTr/l1.nii", "labelsTr/l1.nii.gz")
    with pytest.raises(SourceError, match=r"l1\.nii\.gz: the label of case l1 is there twice, also as .*l1\.nii;"):
        find_cases(tmp_path)
    said = [str(problem) for problem in check_dataset(tmp_path, workers=1).errors]
    assert any("l1.nii.gz: has the id of" in line for line in said), said


def test_scans_and_folders_can_be_named_together(decathlon: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = touch(tmp_path_factory.mktemp("other"), "mine.nii", "lung_001.nii")
    absent = other / "absent.nii.gz"
    cases, _ = scans_of([other / "mine.nii", decathlon, absent, str(other / "mine.nii")])
    assert [case.id for case in cases] == [
        "mine",
        "lung_001",
        "lung_002",
        "lung_003",
        "lung_010",
        "lung_096",
        "absent",
    ]
    assert cases[1].label is not None and cases[0].label is None and cases[-1].image == absent
    with pytest.raises(SourceError, match="lung_001 is there twice"):
        scans_of([decathlon, other / "lung_001.nii"])


@pytest.mark.parametrize("name", ["lung_001.nii.gz", "lung_001.nii", "/a/b/lung_001.NII.GZ"])
def test_the_id_is_the_name_without_its_ending(name: str) -> None:
    assert case_id(name) == "lung_001"


def test_the_environment_chooses_folder_and_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("LUNGSEG_DATA", raising=False)
    assert data_dir() == tmp_path
    assert dataset_root() == tmp_path / "phantom"
    assert dataset_root("decathlon") == tmp_path / "Task06_Lung"
    monkeypatch.setenv("LUNGSEG_DATA", "real")
    assert dataset_root() == tmp_path / "real"
    assert dataset_root("phantom") == tmp_path / "phantom"
    monkeypatch.setenv("LUNGSEG_DATA", "~/scans")
    assert dataset_root() == Path.home() / "scans"
    monkeypatch.chdir(tmp_path)
    assert dataset_root(".") == tmp_path and dataset_root("..") == tmp_path.parent
    assert dataset_root("scans") == tmp_path / "scans"


def test_a_data_set_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path))
    real = {"name": real_patients.NAME, "release": real_patients.RELEASE, "training": []}
    for name, description in {
        "phantom": {"release": f"phantom version {VERSION}"},
        "real": real,
        "decathlon": {},
    }.items():
        folder = tmp_path / sources.KNOWN_SETS[name]
        folder.mkdir()
        (folder / "dataset.json").write_text(json.dumps(description))
        assert ensure_dataset(name) == folder
    assert ensure_dataset(str(tmp_path)) == tmp_path


def test_real_patients_of_an_older_release_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(out: Path, *_: Path) -> list[str]:
        touch(out, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz")
        return ["a"]

    monkeypatch.setattr(real_patients, "_write_lidc", one)
    monkeypatch.setattr(real_patients, "_write_radiomics", lambda *_: [])
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path))
    touch(tmp_path, "real/imagesTr/stale.nii.gz")
    (tmp_path / "real" / "dataset.json").write_text(json.dumps({"name": real_patients.NAME, "release": "0"}))
    assert [case.id for case in find_cases(ensure_dataset("real"))] == ["a"]


def test_what_is_missing_is_made_with_a_line_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lungseg_helpers.phantom import dataset as phantom

    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path))
    touch(tmp_path, "phantom/imagesTr/lung_001.nii.gz")
    made = []
    monkeypatch.setattr(phantom, "write_dataset", lambda root: made.append(root) or root)
    assert ensure_dataset("phantom") == tmp_path / "phantom"
    assert made == [tmp_path / "phantom"]
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "phantom" in captured.err


def test_what_only_the_user_can_bring_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path))
    with pytest.raises(SourceError, match="lungseg fetch decathlon"):
        ensure_dataset("decathlon")
    with pytest.raises(SourceError, match="no such folder"):
        ensure_dataset(str(tmp_path / "absent"))
