"""Phantoms: the same seed gives the same bytes, the files agree, and the numbers are a thorax's."""

from __future__ import annotations

import gzip
import json
import os

import nibabel as nib
import numpy as np
import pytest

from lungseg_helpers.errors import SourceError
from lungseg_helpers.phantom import dataset as phantom
from lungseg_helpers.phantom.dataset import write_dataset
from lungseg_helpers.phantom.thorax import make_phantom
from lungseg_helpers.writing import PARTIAL


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("set"), cases=3, unlabelled=1, seed=5, matrix=64, workers=2)


def _bytes(root):
    return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*.*")) if p.is_file()}


def test_same_seed_same_bytes_on_any_core_count(data_set, tmp_path):
    again = write_dataset(tmp_path / "again", cases=3, unlabelled=1, seed=5, matrix=64, workers=1)
    assert _bytes(again) == _bytes(data_set)


def test_a_handout_is_the_scans_alone_and_holds_no_seed(data_set, tmp_path):
    out = phantom.write_handout(data_set, tmp_path / "class")
    names = [path.name for path in sorted((data_set / "imagesTr").iterdir())]
    assert sorted(path.name for path in out.iterdir()) == names
    for name in names:
        kept, given = nib.load(data_set / "imagesTr" / name), nib.load(out / name)
        np.testing.assert_array_equal(given.dataobj, kept.dataobj)
        np.testing.assert_array_equal(given.affine, kept.affine)
        assert given.get_data_dtype() == np.int16
        stamp = bytes(kept.header["descrip"].item())
        assert stamp in gzip.decompress((data_set / "imagesTr" / name).read_bytes()) and b"seed" in stamp
        assert b"seed" not in gzip.decompress((out / name).read_bytes())
    assert phantom.write_handout(data_set, out) == out, "once more is no error"
    for folder in (data_set, data_set.parent):
        with pytest.raises(SourceError, match="choose an empty folder"):
            phantom.write_handout(data_set, folder)


def test_other_seed_other_phantom():
    assert not np.array_equal(make_phantom(1, 64).image[:, :, 10], make_phantom(2, 64).image[:, :, 10])


def test_dataset_json_agrees_with_files(data_set):
    description = json.loads((data_set / "dataset.json").read_text())
    assert description["numTraining"] == len(description["training"]) == 3
    assert description["numTest"] == len(description["test"]) == 1
    listed = {p for pair in description["training"] for p in pair.values()} | set(description["test"])
    files = {f"./{p.relative_to(data_set)}" for p in data_set.rglob("*.nii.gz")}
    assert listed == files
    for pair in description["training"]:
        image, label = (nib.load(data_set / pair[key]) for key in ("image", "label"))
        assert image.shape == label.shape and np.allclose(image.affine, label.affine)
        assert image.get_data_dtype() == np.int16 and label.get_data_dtype() == np.uint8
        assert set(np.unique(label.dataobj)) == {0, 1}


def test_monai_reads_it_as_a_decathlon_set(data_set):
    datalist = pytest.importorskip("monai.data.decathlon_datalist")
    training = datalist.load_decathlon_datalist(str(data_set / "dataset.json"), True, "training")
    assert [sorted(pair) for pair in training] == [["image", "label"]] * 3
    assert len(datalist.load_decathlon_datalist(str(data_set / "dataset.json"), True, "test")) == 1


def test_nnunet_accepts_it(data_set):
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    verify.verify_dataset_integrity(str(data_set), num_processes=1)


def test_the_description_lists_each_case_in_the_forms_of_both_tools(data_set):
    description = json.loads((data_set / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "cancer": 1} and description["channel_names"] == {"0": "CT"}
    assert description["file_ending"] == ".nii.gz" and description["numTraining"] == len(description["dataset"]) == 3
    for pair, entry in zip(description["training"], description["dataset"].values(), strict=True):
        assert [f"./{name}" for name in (*entry["images"], entry["label"])] == [pair["image"], pair["label"]]
        assert all((data_set / name).is_file() for name in pair.values())


def test_a_killed_run_is_resumed(data_set, tmp_path, monkeypatch):
    out = write_dataset(tmp_path / "set", cases=2, unlabelled=0, seed=5, matrix=64, workers=1)
    kept = (out / "imagesTr" / "lung_001.nii.gz").stat().st_mtime_ns
    (out / "imagesTr" / "lung_002.nii.gz").unlink()
    left_over = out / "imagesTr" / f"{PARTIAL}1-lung_002.nii.gz"
    left_over.write_bytes(b"half")
    os.utime(left_over, (0, 0))
    (out / "dataset.json").unlink()
    write_dataset(out, cases=3, unlabelled=1, seed=5, matrix=64, workers=1)
    assert (out / "imagesTr" / "lung_001.nii.gz").stat().st_mtime_ns == kept
    assert not left_over.exists()
    assert _bytes(out) == _bytes(data_set)


def test_a_folder_of_real_scans_is_never_touched(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "lung_001.nii.gz").write_bytes(b"someone's scan")
    with pytest.raises(SourceError, match="not a phantom"):
        write_dataset(tmp_path, cases=1, unlabelled=0, matrix=64)
    assert (tmp_path / "imagesTr" / "lung_001.nii.gz").read_bytes() == b"someone's scan"


def test_what_a_file_manager_leaves_is_passed_over(tmp_path):
    write_dataset(tmp_path, cases=1, unlabelled=0, seed=5, matrix=64, workers=1)
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (tmp_path / folder / ".DS_Store").write_bytes(b"of the Finder")
    (tmp_path / "dataset.json").unlink()
    write_dataset(tmp_path, cases=1, unlabelled=0, seed=5, matrix=64, workers=1)
    assert (tmp_path / "dataset.json").is_file() and (tmp_path / "imagesTr" / ".DS_Store").is_file()


def test_other_settings_are_made_afresh(tmp_path):
    first = _bytes(write_dataset(tmp_path, cases=1, unlabelled=0, seed=5, matrix=64, workers=1))
    second = _bytes(write_dataset(tmp_path, cases=1, unlabelled=0, seed=6, matrix=64, workers=1))
    assert first.keys() == second.keys() and first != second


def test_crowded_ones_are_other_phantoms_and_never_taken_for_the_usual(tmp_path):
    def set_of(crowded, remake=True):
        return write_dataset(tmp_path, 1, 0, seed=5, matrix=64, workers=1, remake=remake, crowded=crowded)

    usual, crowded = _bytes(set_of(False)), _bytes(set_of(True))
    assert usual != crowded
    with pytest.raises(SourceError, match=r"other settings .*kind"):
        set_of(False, remake=False)
    assert _bytes(set_of(False)) == usual


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SourceError, match="cannot make imagesTr"):
        write_dataset(tmp_path / "taken", cases=1, unlabelled=0, matrix=64)


def test_a_full_disk_is_named_and_leaves_no_half_file(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(SourceError, match="No space left"):
        write_dataset(tmp_path, cases=1, unlabelled=0, matrix=64, workers=1)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_nothing_to_make_is_refused(tmp_path):
    with pytest.raises(SourceError, match="at least 1"):
        write_dataset(tmp_path, cases=0)


def test_version_is_in_the_stamp():
    assert f"v{phantom.VERSION} " in phantom._stamp(1, 64, False) and len(phantom._stamp(10**18, 512, True)) < 80
