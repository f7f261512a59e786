"""patients.csv: which cases are of one patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungseg_helpers.errors import SourceError
from lungseg_helpers.scans.case import Case
from lungseg_helpers.sources.dataset_check import check_dataset
from lungseg_helpers.sources.datasets import find_cases
from lungseg_helpers.sources.patients import read_patients, write_patients


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Return a folder of three scans, a, b and c."""
    for name in "abc":
        (tmp_path / f"{name}.nii.gz").touch()
    return tmp_path


def test_a_case_is_its_own_patient_unless_said_otherwise() -> None:
    assert Case("a", Path("a.nii")).patient == "a"
    assert Case("a", Path("a.nii"), patient="").patient == "a"
    assert Case("a", Path("a.nii"), patient="p").patient == "p"


@pytest.mark.parametrize("text", ["case,patient\nc,p1\na,p1\n", "\ufeffcase, patient\r\nc, p1\r\n\r\na,p1"])
def test_cases_of_one_patient_share_it(three: Path, text: str) -> None:
    (three / "patients.csv").write_text(text, encoding="utf-8", newline="")
    assert {case.id: case.patient for case in find_cases(three)} == {"a": "p1", "b": "b", "c": "p1"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "does not begin with the line case,patient"),
        ("a,p1\n", "does not begin with the line case,patient"),
        ("case;patient\na;p1\n", "does not begin with the line case,patient"),
        ("case,patient\na\n", "'a' is no case and its patient"),
        ("case,patient\na,\n", "'a,' is no case and its patient"),
        ("case,patient\na,p1\na,p2\n", "lists case a twice"),
        ("case,patient\nd,p1\n", "lists case d, which is not in this data set"),
        (b"case,patient\na,\xff\n", "cannot be read"),
    ],
)
def test_a_malformed_file_is_one_line(three: Path, text: str | bytes, message: str) -> None:
    (three / "patients.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SourceError, match=message) as caught:
        find_cases(three)
    assert "\n" not in str(caught.value) and str(three / "patients.csv") in str(caught.value)


def test_check_names_a_malformed_file(three: Path) -> None:
    (three / "patients.csv").write_text("case,patient\nd,p1\n")
    problems = [str(problem) for problem in check_dataset(three, workers=1).errors]
    assert sum("lists case d, which is not in this data set; remove the line" in line for line in problems) == 1


def test_a_patient_whose_name_is_not_utf_8_is_written_and_read(three: Path) -> None:
    write_patients(three, {"a": "M\udcfcller", "b": "M\udcfcller", "c": "Müller"})
    assert read_patients(three, "abc") == {"a": r"M\udcfcller", "b": r"M\udcfcller", "c": "Müller"}


def test_what_is_written_is_read(three: Path) -> None:
    write_patients(three, {"b": "b", "a": "a"})
    assert not (three / "patients.csv").exists(), "nothing to say"
    write_patients(three, {"c": "p, 1", "b": "b", "a": "p2"})
    assert (three / "patients.csv").read_text() == 'case,patient\na,p2\nc,"p, 1"\n'
    assert read_patients(three, ["a", "b", "c"]) == {"a": "p2", "c": "p, 1"}
