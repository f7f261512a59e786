"""The table of measurements: rows are kept by name, every benchmark can be named, and small ones run."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as bench
from benchmarks import preprocessing, throughput
from benchmarks.plain_way import PlainDataset, prepare_plainly
from benchmarks.table import Row, keep, markdown, results_file


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUNGSEG_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def test_rows_replace_those_of_the_same_name_and_stay_otherwise():
    keep([Row("a", 1.0, "s"), Row("b", 2.0, "s", 6.0, 3.0, "at least 3", "a note")])
    rows = keep([Row("a", np.float64(0.5), "s"), Row("c", np.int64(4), "")])
    assert [(row.name, row.ours) for row in rows] == [("a", 0.5), ("b", 2.0), ("c", 4)]
    kept = json.loads(results_file().read_text())
    assert {"name", "ours", "reference", "ratio", "target", "unit", "note"} == set(kept[0]) and len(kept) == 3
    assert "| b | 2 s | 6 | 3.00 | at least 3 | a note |" in markdown(rows).splitlines()


@pytest.mark.parametrize("name", bench.NAMES)
def test_each_name_is_a_module_that_gives_rows(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").rows)


def test_throughput_gives_a_time_and_a_ratio(tmp_path, monkeypatch):
    for name, value in (("CASES", 1), ("UNLABELLED", 0), ("ROUNDS", 1)):
        monkeypatch.setattr(throughput, name, value)
    made, checked = throughput.rows()
    assert made.ours > 0 and "cases/s" in made.note
    assert checked.ratio == pytest.approx(checked.ours / checked.reference)


def test_the_plain_way_and_ours_prepare_the_same_scan(toy_case, tmp_path):
    cases = [toy_case("a")]
    prepare_plainly(cases, tmp_path / "plain")
    dataset = PlainDataset(tmp_path / "plain")
    assert len(dataset) == 10, "40 slices, less the first 30"
    image, mask = dataset[0]
    assert image.shape == mask.shape == (1, 256, 256)
    folders, _ = preprocessing.prepare(cases, preprocessing.get_recipe("course", "laptop"), tmp_path / "ours")
    assert preprocessing.bytes_in(folders[0]) < preprocessing.bytes_in(tmp_path / "plain")


def test_scaling_is_drawn_and_items_are_counted(toy_case, tmp_path, monkeypatch):
    preprocessing.draw_scaling({(1, 3): 0.3, (1, 6): 0.6, (2, 3): 0.2, (2, 6): 0.3}, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 5000
    monkeypatch.setattr(preprocessing, "ITEMS", 4)
    recipe = preprocessing.get_recipe("course", "laptop")
    preprocessing.prepare([toy_case("a")], recipe, tmp_path / "ours", 1)
    prepare_plainly([toy_case("b")], tmp_path / "plain")
    mine = preprocessing.items_per_second(preprocessing.loader_of(tmp_path / "ours", recipe).train_set, seeded=True)
    plain = preprocessing.items_per_second(PlainDataset(tmp_path / "plain"), seeded=False)
    assert mine > 0 and plain > 0
