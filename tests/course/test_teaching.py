"""The teacher's page: its counts and minutes are those of the notebooks, and what it names is there."""

from __future__ import annotations

import csv
import re

import nbformat
import pytest

from lungseg_helpers.paths import ROOT

TEXT = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
WORDS_A_MINUTE = 130


def exercises(path) -> list[str]:
    """Return the names that a notebook's cells check, in order."""
    code = (cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    return [name for source in code for name in re.findall(r"^check\((\w+)\)", source, re.MULTILINE)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_row_tells_what_a_notebook_takes(path):
    (row,) = re.findall(rf"^\| {path.stem[:2]} .*\| (\d+) \| (\d+) \| (\d+) \|$", TEXT, re.MULTILINE)
    talking, count, running = map(int, row)
    words = sum(len(cell.source.split()) for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    assert abs(talking - words / WORDS_A_MINUTE) < 5, f"{words} words are {words / WORDS_A_MINUTE:.0f} minutes"
    assert count == len(exercises(path))
    with (ROOT / "benchmarks" / "times.csv").open(newline="") as file:
        taken = {row["step"]: float(row["seconds"]) for row in csv.DictReader(file) if row["cores"] == "plain"}
    assert running == max(1, round(taken[path.stem[:2]] / 60))


def test_the_one_afternoon_has_three_hours_and_names_exercises_and_sections_that_are_there():
    table = TEXT.split("**One afternoon")[1].split("**Two afternoons")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    assert sum(int(minutes) for minutes, _ in rows) == 180
    for _, what in rows:
        if lesson := re.match(r"(\d\d), .*?section", what):
            (path,) = [path for path in NOTEBOOKS if path.stem.startswith(lesson[1])]
            assert {*re.findall(r"`(\w+)`", what)} <= {*exercises(path)}, what
            titles = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
            for number in re.findall(r"\b\d{1,2}\b", what.split("Exercise")[0])[1:]:
                assert f"## {number}. " in titles, (what, number)
            for title in re.findall(r'"(.+?)"', what):
                assert f"## {title}" in titles, (what, title)
