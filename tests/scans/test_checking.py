"""The modules checking and dataset_check: every fault is found, named with a remedy, and hides no other."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy import toy_volume

from lungseg_helpers.errors import ScanError, SourceError
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.scans.case import Case
from lungseg_helpers.scans.checking import check_case, label_on_grid, require_case
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.sources.dataset_check import WHOLE, check_dataset

AFFINE = np.diag([-4.0, -4.0, 6.0, 1.0])
DIM, PIXDIM, SFORM, SROW = 40, 76, 254, 280
"""Where these fields stand in a NIfTI-1 header."""


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    """Write a NIfTI file whose qform and sform agree; compressed as little as may be, to be quick."""
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))


def resave(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> None:
    image = nib.load(path)
    save(path, change(np.asarray(image.dataobj)), image.affine if affine is None else affine)


def patch(path: Path, *fields: tuple[int, bytes]) -> None:
    """Overwrite header bytes of a compressed file, whose gzip stream stays whole."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    for place, value in fields:
        data[place : place + len(value)] = value
    path.write_bytes(gzip.compress(data, 1, mtime=0))


def describe(root: Path) -> None:
    names = sorted(path.name for path in (root / "imagesTr").iterdir())
    entries = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    listing = {"numTraining": len(entries), "numTest": 0, "training": entries, "test": []}
    (root / "dataset.json").write_text(json.dumps(listing))


def forbid(monkeypatch: pytest.MonkeyPatch, method: str, forbidden: Path) -> None:
    """Let one path answer as it does to a user without the right; permissions do not bind a superuser's tests."""
    real = getattr(Path, method)

    def refuse(self: Path, *args, **kwargs):
        if self == forbidden:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, method, refuse)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return one flawless labelled case in a Decathlon folder."""
    hu, label = toy_volume()
    case = Case("lung_001", tmp_path / "imagesTr" / "lung_001.nii.gz", tmp_path / "labelsTr" / "lung_001.nii.gz")
    save(case.image, hu)
    save(case.label, label)
    describe(tmp_path)
    return case


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def wrong_crc(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 255
    path.write_bytes(data)


def no_nan(value: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        def put(voxels: np.ndarray) -> np.ndarray:
            voxels = voxels.astype(np.float32)
            voxels[3, 4, 5] = value
            return voxels

        resave(path, put)

    return change


FILE_FAULTS = {
    "not gzip": (lambda path: path.write_bytes(b"no gzip at all"), "is not gzip"),
    "truncated": (cut, "is cut short"),
    "bad CRC": (wrong_crc, "its gzip check sum is wrong"),
    "not NIfTI": (lambda path: path.write_bytes(gzip.compress(b"a letter" * 100)), "is not NIfTI"),
    "impossible sizes": (lambda path: patch(path, (DIM + 2, struct.pack("<2h", 32767, 32767))), "impossible sizes"),
    "negative size": (lambda path: patch(path, (DIM + 4, struct.pack("<h", -4))), "impossible sizes"),
    "2-D": (lambda path: resave(path, lambda voxels: voxels[:, :, 0]), "is a 2-D image"),
    "4-D": (lambda path: resave(path, lambda voxels: np.stack([voxels] * 2, axis=3)), "is 4-D"),
    "singular affine": (
        lambda path: patch(path, (SROW, struct.pack("<12f", 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0))),
        "singular affine",
    ),
    "zero spacing": (lambda path: patch(path, (PIXDIM + 4, struct.pack("<f", 0))), "spacing of 0"),
    "missing": (Path.unlink, "does not exist"),
}


@pytest.mark.parametrize("part", ["image", "label"])
@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_a_file_that_cannot_be_read_is_named(case: Case, part: str, fault: str) -> None:
    spoil, text = FILE_FAULTS[fault]
    path = getattr(case, part)
    spoil(path)
    (problem,) = check_case(case).errors
    assert (problem.case, problem.file) == ("lung_001", str(path))
    assert text in problem.fault and problem.remedy and "\n" not in str(problem)
    with pytest.raises(ScanError, match="lung_001"):
        require_case(case)


IMAGE_FAULTS = {
    "NaN": (no_nan(np.nan), "NaN or infinite"),
    "infinity": (no_nan(np.inf), "NaN or infinite"),
    "0 to 1": (lambda path: resave(path, lambda hu: ((hu + 1024) / 4095).astype(np.float32)), "as if normalised"),
    "8 bits": (
        lambda path: resave(path, lambda hu: (np.clip(hu + 1350, 0, 1500) / 1500 * 255).astype(np.uint8)),
        "window of 8 bits",
    ),
    "offset": (lambda path: resave(path, lambda hu: (hu + 1024).astype(np.uint16)), "1024 too high"),
    "offset below padding": (
        lambda path: resave(path, lambda hu: np.where(hu < -950, hu, hu + 1024).astype(np.int16)),
        "not in HU",
    ),
    "offset twice": (lambda path: resave(path, lambda hu: (hu - 1024).astype(np.int16)), "1024 too low"),
    "constant": (lambda path: resave(path, np.zeros_like), "holds 0 in every voxel"),
    "no lung": (lambda path: resave(path, lambda hu: np.where(hu == -1024, hu, 30).astype(np.int16)), "no lung found"),
    "no air": (lambda path: resave(path, lambda hu: np.where(hu < -200, hu % 90 - 60, hu).astype(np.int16)), "no lung"),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_an_image_that_is_no_chest_ct_in_hu_is_named(case: Case, fault: str) -> None:
    spoil, text = IMAGE_FAULTS[fault]
    spoil(case.image)
    problem = check_case(case).errors[0]
    assert problem.file == str(case.image)
    assert text in problem.fault and problem.remedy


@pytest.mark.parametrize("step", [-1024, -2048, -3024])
def test_padding_of_any_depth_is_no_fault(case: Case, step: int) -> None:
    resave(case.image, lambda hu: np.where(hu < -1000, step, hu).astype(np.int16))
    assert check_case(case).problems == ()


def test_a_flawless_case_has_no_problem(case: Case) -> None:
    checked = check_case(case)
    assert checked.problems == ()
    np.testing.assert_array_equal(checked.label, toy_volume()[1])


def test_other_shape_is_an_error(case: Case) -> None:
    resave(case.label, lambda label: label[:, :, :30])
    (problem,) = check_case(case).errors
    assert "differ in shape" in problem.fault and "(96, 96, 30)" in problem.fault


@pytest.mark.parametrize("change", [{(0, 3): 2.0}, {(2, 2): 0.12}], ids=["shifted", "stretched"])
def test_other_affine_is_an_error(case: Case, change: dict) -> None:
    affine = AFFINE.copy()
    for place, value in change.items():
        affine[place] += value
    resave(case.label, lambda label: label, affine)
    (problem,) = check_case(case).errors
    assert "different affines" in problem.fault and "resample" in problem.remedy
    with pytest.raises(ScanError, match="different affines"):
        label_on_grid(read_scan(case.image), read_scan(case.label, "label"))


def test_a_rounded_affine_is_no_fault(case: Case) -> None:
    resave(case.label, lambda label: label, AFFINE + 1e-3 * np.eye(4) * [1, 1, 1, 0])
    assert check_case(case).problems == ()


@pytest.mark.parametrize("axcodes", ["LAS", "RAS", "SPL", "PIR"])
@pytest.mark.parametrize("tilt", [0.0, 44.0])
def test_a_label_stored_in_another_order_is_turned_with_a_note(toy_case, toy_recipe, axcodes: str, tilt: float) -> None:
    straight = toy_case("straight", "RPS", tilt_deg=tilt)
    turned = toy_case("turned", axcodes, tilt_deg=tilt)
    mixed = Case("mixed", straight.image, turned.label)
    (note,) = check_case(mixed).problems
    assert note.severity == "note" and "on disk" in note.fault
    np.testing.assert_array_equal(check_case(mixed).label, read_scan(straight.label, "label").voxels)
    stack = make_stack(mixed, toy_recipe)
    np.testing.assert_array_equal(stack.mask, make_stack(straight, toy_recipe).mask)
    assert stack.info["notes"] == [str(note)]


def test_label_must_be_whole_numbers(case: Case) -> None:
    resave(case.label, lambda label: (label * 0.5).astype(np.float32))
    (problem,) = check_case(case).errors
    assert "values other than whole numbers" in problem.fault


def test_label_values_are_chosen(case: Case) -> None:
    def three(label: np.ndarray) -> np.ndarray:
        label = label.copy()
        label[60:70, 40:50, 15:25] = 2
        label[:9, :9, :9] = 7
        return label

    resave(case.label, three)
    (problem,) = check_case(case).errors
    assert "0, 1, 2, 7" in problem.fault and "--labels" in problem.remedy
    with pytest.raises(ScanError, match="label values"):
        require_case(case)
    for chosen in ({1}, {2}, {1, 2}):
        checked = check_case(case, chosen)
        assert checked.problems == ()
        np.testing.assert_array_equal(checked.label, np.isin(three(toy_volume()[1]), list(chosen)))
    (note,) = check_case(case, {5}).problems
    assert "is empty" in note.fault


def test_an_empty_label_is_a_note(case: Case) -> None:
    resave(case.label, np.zeros_like)
    (problem,) = check_case(case).problems
    assert problem.severity == "note" and "is empty" in problem.fault and problem.file == str(case.label)


def test_a_label_outside_the_body_is_an_error(case: Case) -> None:
    resave(case.label, lambda label: np.roll(label, 45, axis=1))
    (problem,) = check_case(case).errors
    assert "100% of its tumour outside the body" in problem.fault

    def strays(label: np.ndarray) -> np.ndarray:
        label = label.copy()
        label[2:5, 2:5, 2:5] = 1
        return label

    save(case.label, strays(toy_volume()[1]))
    (problem,) = check_case(case).problems
    assert problem.severity == "note" and "outside the body" in problem.fault


def test_a_faint_tumour_in_a_lung_that_is_cut_open_lies_inside(case: Case) -> None:
    """The lung reaches the edge of its slices, where the field of view ends."""
    hu, label = toy_volume()
    hu[label > 0] = -600
    save(case.image, hu[20:])
    save(case.label, label[20:])
    assert check_case(case).problems == ()
    room = np.zeros_like(label[20:])
    room[1:3, 1:3, 20] = 1
    save(case.label, room)
    (problem,) = check_case(case).errors
    assert "100% of its tumour outside the body" in problem.fault


def test_all_faults_of_a_case_are_named(case: Case) -> None:
    wrong_crc(case.image)
    resave(case.label, lambda label: label * 3)
    assert [Path(problem.file).parent.name for problem in check_case(case).errors] == ["imagesTr", "labelsTr"]
    with pytest.raises(ScanError, match=r"and 1 more: see 'lungseg check'"):
        require_case(case)


def test_permission(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "open", case.image)
    (problem,) = check_case(case).errors
    assert "may not be read" in problem.fault and "permissions" in problem.remedy


# whole data sets


def another(case: Case, name: str) -> Case:
    other = Case(name, case.image.with_name(f"{name}.nii.gz"), case.label.with_name(f"{name}.nii.gz"))
    other.image.write_bytes(case.image.read_bytes())
    other.label.write_bytes(case.label.read_bytes())
    return other


def faults(root: Path, **kwargs) -> list[tuple[str, str, str]]:
    """Return case, fault and severity of every problem of a data set."""
    report = check_dataset(root, workers=1, **kwargs)
    assert all(p.remedy and p.file and "\n" not in str(p) for p in report.problems)
    return [(p.case, p.fault, p.severity) for p in report.problems]


def test_a_flawless_set(case: Case, tmp_path: Path) -> None:
    report = check_dataset(tmp_path, workers=1)
    assert report.cases == ("lung_001",) and report.problems == ()


def test_one_bad_case_never_hides_another(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    others = [another(case, f"lung_{number:03}") for number in range(2, 6)]
    cut(others[0].image)
    resave(others[2].label, lambda label: label[:, :, :20])
    wrong_crc(others[3].label)
    others[3].image.write_bytes(b"")
    describe(tmp_path)
    report = check_dataset(tmp_path, workers=2)
    assert [(p.case, Path(p.file).parent.name) for p in report.errors] == [
        ("lung_002", "imagesTr"),
        ("lung_004", "labelsTr"),
        ("lung_005", "imagesTr"),
        ("lung_005", "labelsTr"),
    ]
    assert len(report.cases) == 5
    out, err = capsys.readouterr()
    assert out == "" and "checking" in err
    data = json.loads(report.to_json())
    assert data["errors"] == 4 and data["notes"] == 0 and data["cases"][0] == "lung_001"
    assert set(data["problems"][0]) == {"case", "file", "fault", "remedy", "severity"}


def test_missing_label_and_missing_image(case: Case, tmp_path: Path) -> None:
    case.label.rename(case.label.with_name("lung_009.nii.gz"))
    describe(tmp_path)
    found = faults(tmp_path)
    assert ("lung_001", "has no label", "error") in found
    assert ("lung_009", "has no image in imagesTr", "error") in found


def test_unlabelled_scans_have_their_own_folder(case: Case, tmp_path: Path) -> None:
    (tmp_path / "imagesTs").mkdir()
    case.image.rename(tmp_path / "imagesTs" / "lung_001.nii.gz")
    case.label.unlink()
    (tmp_path / "dataset.json").write_text('{"training": [], "test": ["./imagesTs/lung_001.nii.gz"]}')
    assert faults(tmp_path) == []


def test_duplicate_id(case: Case, tmp_path: Path) -> None:
    (tmp_path / "imagesTs").mkdir()
    (tmp_path / "imagesTs" / case.image.name).write_bytes(b"and this one is broken")
    case.label.with_name("lung_001.nii").write_bytes(gzip.decompress(case.label.read_bytes()))
    found = [fault for id_, fault, severity in faults(tmp_path) if (id_, severity) == ("lung_001", "error")]
    assert sum("has the id of" in fault for fault in found) == 2
    assert any("is not gzip" in fault for fault in found), "the second scan of the id was not checked"


def test_companion_files_and_other_formats_are_notes(case: Case, tmp_path: Path) -> None:
    (tmp_path / "imagesTr" / "._lung_001.nii.gz").write_bytes(b"Mac OS X")
    (tmp_path / "labelsTr" / "lung_002.nrrd").write_bytes(b"NRRD")
    assert [(id_, severity) for id_, _, severity in faults(tmp_path)] == [("lung_001", "note"), ("lung_002", "note")]
    assert check_dataset(tmp_path, workers=1).cases == ("lung_001",)


def test_permission_of_a_folder(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "iterdir", case.label.parent)
    found = faults(tmp_path)
    assert (WHOLE, "may not be listed by this user", "error") in found
    assert ("lung_001", "has no label", "error") in found


def test_permission_of_the_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imagesTs").mkdir()
    forbid(monkeypatch, "iterdir", tmp_path / "imagesTs")
    assert (WHOLE, "may not be listed by this user", "error") in faults(tmp_path)


@pytest.mark.parametrize(
    ("text", "severity", "fault"),
    [
        (None, "note", "is missing"),
        ("{", "error", "is malformed (JSONDecodeError"),
        ("[]", "error", "is malformed (TypeError"),
        ('{"training": []}', "error", "is malformed (KeyError: 'test'"),
        ('{"training": [{"image": "a"}], "test": []}', "error", "is malformed (KeyError: 'label'"),
        ('{"training": 5, "test": []}', "error", "is malformed (TypeError"),
        ('{"training": [5], "test": []}', "error", "is malformed (TypeError"),
        ('{"training": [], "test": [7]}', "error", "is malformed (TypeError"),
        ('{"training": [], "test": [], "numTraining": 1}', "error", "numTraining is 1, but 0 are listed"),
    ],
)
def test_dataset_json_missing_or_malformed(
    case: Case, tmp_path: Path, text: str | None, severity: str, fault: str
) -> None:
    (tmp_path / "dataset.json").unlink()
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    ((id_, found, level),) = faults(tmp_path)
    assert (id_, level) == (WHOLE, severity) and fault in found


def test_dataset_json_that_is_no_text(case: Case, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_bytes(b"\xff\xfe\x00")
    ((_, fault, severity),) = faults(tmp_path)
    assert severity == "error" and "malformed" in fault


def test_dataset_json_that_disagrees_with_the_files(case: Case, tmp_path: Path) -> None:
    another(case, "lung_002")
    text = (tmp_path / "dataset.json").read_text()
    (tmp_path / "dataset.json").write_text(text.replace("./labelsTr/lung_001", "./labelsTr/lung_003"))
    found = faults(tmp_path)
    fault = "disagrees with the files: lists labelsTr/lung_003.nii.gz, which is not there"
    assert ("lung_003", fault, "error") in found
    assert sum("does not list" in fault for _, fault, _ in found) == 3 and len(found) == 4


def test_a_plain_folder_of_scans(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "imagesTr"
    assert faults(folder) == []
    (folder / "b.nii").write_bytes(b"")
    assert faults(folder) == [("b", "is empty", "error")]


def test_a_folder_without_scans(tmp_path: Path) -> None:
    assert [id_ for id_, _, _ in faults(tmp_path)] == [WHOLE]
    for wrong in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(SourceError, match="cannot be listed"):
            check_dataset(wrong)
