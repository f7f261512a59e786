"""LIDC-IDRI: outlines out of a database, filled where the scan has them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from lungseg_helpers.errors import SourceError
from lungseg_helpers.sources.lidc import Contour, rasterise, read_annotations, vote

AFFINE = np.array([[-0.7, 0, 0, 10], [0, 0.7, 0, -20], [0, 0, 2.5, -340], [0, 0, 0, 1.0]])


def square(low: int, high: int, row: int = 10) -> np.ndarray:
    """A closed outline, (n, 2) int as (column, row): a square from column ``low`` to ``high``."""
    size = high - low
    return np.array([[low, row], [high, row], [high, row + size], [low, row + size], [low, row]])


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "annotations of readers#1.sqlite"
    coords = "\n".join(f"{x},{y}" for x, y in square(4, 12))
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE scans (id INTEGER, patient_id VARCHAR);"
            "CREATE TABLE annotations (id INTEGER, scan_id INTEGER);"
            "CREATE TABLE contours (id INTEGER, annotation_id INTEGER, inclusion BOOLEAN,"
            " image_z_position FLOAT, coords VARCHAR);"
        )
        connection.executemany("INSERT INTO scans VALUES (?, ?)", [(1, "one"), (2, "two")])
        connection.executemany("INSERT INTO annotations VALUES (?, ?)", [(7, 1), (5, 1), (6, 2)])
        connection.executemany(
            "INSERT INTO contours VALUES (?, ?, ?, ?, ?)",
            [
                (1, 7, 0, -337.5, coords),
                (2, 7, 1, -335.0, coords),
                (3, 5, 1, -340.0, coords),
                (4, 6, 1, 0.0, "1,2"),
            ],
        )
    connection.close()
    return path


def test_annotations_come_by_reader_with_holes_last(database: Path) -> None:
    before = sorted(database.parent.iterdir())
    first, second = read_annotations(database, "one")
    assert [(c.inclusion, c.z_mm) for c in first] == [(True, -340.0)]
    assert [(c.inclusion, c.z_mm) for c in second] == [(True, -335.0), (False, -337.5)]
    np.testing.assert_array_equal(first[0].points, square(4, 12))
    assert sorted(database.parent.iterdir()) == before


def test_a_database_without_the_patient_is_refused(database: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no annotation of three"):
        read_annotations(database, "three")
    with pytest.raises(SourceError, match="no LIDC-IDRI database"):
        read_annotations(tmp_path / "absent.sqlite", "one")
    (tmp_path / "text.sqlite").write_text("no database at all" * 100)
    with pytest.raises(SourceError, match="no LIDC-IDRI database"):
        read_annotations(tmp_path / "text.sqlite", "one")


def test_a_contour_is_filled_in_its_slice_with_rows_turned_over() -> None:
    mask = rasterise([Contour(True, -335.0, square(4, 12))], (32, 30, 4), AFFINE)
    assert np.flatnonzero(mask.any((0, 1))).tolist() == [2]
    # Inside for certain: columns 5 to 11, DICOM rows 11 to 17, which are 29 - row from the back.
    assert mask[5:12, 12:19, 2].all()
    outside = mask.copy()
    outside[4:13, 11:20, 2] = False
    assert not outside.any()


def test_a_hole_is_left_empty_and_islands_are_joined() -> None:
    contours = [
        Contour(True, -340.0, square(2, 12)),
        Contour(True, -340.0, square(20, 24)),
        Contour(False, -340.0, square(5, 9, row=13)),
    ]
    mask = rasterise(contours, (32, 30, 4), AFFINE)[..., 0]
    assert mask[22, 29 - 12] and mask[3, 29 - 11] and not mask[7, 29 - 15]


def test_an_outline_over_the_edge_of_nothing_marks_nothing() -> None:
    assert not rasterise([Contour(True, -340.0, np.array([[5, 5], [5, 5]]))], (32, 30, 4), AFFINE).any()


def test_a_vote_counts_readers() -> None:
    readers = [np.array([[[a, b, c]]], dtype=bool) for a, b, c in ((1, 1, 0), (1, 0, 0), (1, 1, 1), (1, 0, 0))]
    assert vote(readers).tolist() == [[[1, 1, 0]]] and vote(readers).dtype == np.uint8
    assert vote(readers, least=4).tolist() == [[[1, 0, 0]]]
