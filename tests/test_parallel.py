"""Scans side by side: on this machine, and on a Dask cluster of which a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lungseg_helpers import parallel
from lungseg_helpers.errors import ClusterError
from lungseg_helpers.parallel import on_cluster, side_by_side
from lungseg_helpers.paths import ROOT
from lungseg_helpers.prediction.files import Written, predict_cases, scans_of
from lungseg_helpers.preprocessing.prepare import prepare
from lungseg_helpers.preprocessing.stacks import open_stack, stacks_dir
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.sources.dataset_check import check_dataset
from lungseg_helpers.sources.datasets import find_cases
from lungseg_helpers.unet import build_unet

CASES = 48


def die(number: int) -> int:
    """Kill the process that does the second job, as the system does where memory runs out."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_order_from_as_many_processes_as_there_are_jobs() -> None:
    assert list(side_by_side(divmod, [(7, 3), (9, 2)], 8)) == [(2, 1), (4, 1)]
    assert list(side_by_side(os.getpid, [()] * 3, 1)) == [os.getpid()] * 3
    assert os.getpid() not in set(side_by_side(os.getpid, [()] * 3, 2))
    assert list(side_by_side(divmod, [])) == []


def test_a_killed_process_is_one_line() -> None:
    with pytest.raises(ClusterError, match=r"killed, mostly for lack of memory; .*--workers") as caught:
        list(side_by_side(die, [(number,) for number in range(4)], 2))
    assert "\n" not in str(caught.value)


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="a cluster needs Dask's distributed")
    monkeypatch.setattr(parallel, "REACH_S", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://"):
        with pytest.raises(ClusterError, match="no cluster with workers answers") as caught, on_cluster(address):
            pass
        assert address in str(caught.value) and "\n" not in str(caught.value)


def test_without_dask_a_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match="install the package distributed"), on_cluster("tcp://127.0.0.1:9"):
        pass


DIES_ONCE = """
import os, signal
from pathlib import Path
from lungseg_helpers.preprocessing import prepare, stacks

def save_stack(stack, folder):
    mark = Path("killed")
    if stack.id == "t20" and not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    with Path("saved").open("a") as file:
        file.write(stack.id + chr(10))
    return stacks.save_stack(stack, folder)

prepare.save_stack = save_stack
"""
"""What a worker loads before it starts: whichever saves patient t20 first is killed, as where memory runs out."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """Start a scheduler and two workers of one thread, of which one dies over patient t20; return the address."""
    pytest.importorskip("distributed", reason="a cluster needs Dask's distributed")
    file = tmp_path / "scheduler.json"
    preload = tmp_path / "dies_once.py"
    preload.write_text(DIES_ONCE)
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes: list[subprocess.Popen] = []

    def start(*words: str) -> None:
        command = [sys.executable, "-m", "dask", *words, *common]
        with (tmp_path / f"{len(processes)}.log").open("w") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path))

    def written() -> bool:
        return file.is_file() and file.read_text().rstrip().endswith("}")

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0")
        for _ in range(2):
            start("worker", "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", "--preload", str(preload))
        end = time.monotonic() + 120
        while not written():
            assert time.monotonic() < end, "no scheduler has written its address"
            time.sleep(0.01)
        yield json.loads(file.read_text())["address"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_worker_killed_in_the_middle_loses_nothing_and_nothing_is_done_twice(toy_case, tmp_path, cluster) -> None:
    from distributed import Client

    names = [toy_case(f"t{number:02}").id for number in range(CASES)]
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=120)
        pids = set(client.run(os.getpid).values())
    words = ["prepare", "--data", str(tmp_path), "--cluster", cluster]
    command = [sys.executable, "-m", "lungseg_helpers.cli", *words]
    # ends what it has started, whatever happens
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert run.returncode == 0 and f"{CASES} patients prepared" in run.stdout, run.stderr
    killed = int((tmp_path / "killed").read_text())
    assert killed in pids
    assert sorted((tmp_path / "saved").read_text().split()) == names, "a stack was written again"
    stacks = stacks_dir(tmp_path, get_recipe())
    assert sorted(path.parent.name for path in stacks.glob("[!.]*/case.json")) == names

    # whatever is asked for next, the other worker does
    with on_cluster(cluster):
        assert set(side_by_side(os.getpid, [()] * 4, 1)) == pids - {killed}

    recipe = get_recipe("course", "laptop")
    alone, problems = prepare(find_cases(tmp_path), recipe, tmp_path / "alone", 2)
    assert problems == []
    for folder in alone:
        ours, theirs = open_stack(folder), open_stack(stacks / folder.name)
        np.testing.assert_array_equal(ours.ct, theirs.ct)
        np.testing.assert_array_equal(ours.share, theirs.share)


def test_check_and_predict_on_a_cluster_say_what_they_say_here(toy_case, toy_recipe, tmp_path, cluster) -> None:
    for name in "ab":
        toy_case(name)
    folder = tmp_path / "imagesTr"
    (folder / "c.nii.gz").write_text("no scan")
    torch.manual_seed(0)
    network = build_unet(toy_recipe).eval()
    scans, _ = scans_of([folder])

    def work(out: Path) -> tuple[list, list, dict[str, bytes]]:
        results = predict_cases(network, toy_recipe, scans, out, progress=False)
        results = [result if isinstance(result, Written) else str(result) for _, result in results]
        lines = [str(problem) for problem in check_dataset(folder, workers=1).problems]
        return results, lines, {path.name: path.read_bytes() for path in out.iterdir()}

    near = work(tmp_path / "near")
    with on_cluster(cluster):
        far = work(tmp_path / "far")
    assert [result.mask.name for result in far[0][:2]] == ["a_pred.nii.gz", "b_pred.nii.gz"]
    assert far[0][2] == near[0][2] and "c.nii.gz" in far[0][2]
    assert far[1:] == near[1:] and len(far[1]) == 1 and len(far[2]) == 4


def test_a_cluster_without_workers_is_left_again(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="a cluster needs Dask's distributed")
    monkeypatch.setattr(parallel, "REACH_S", 1)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        with pytest.raises(ClusterError, match="no cluster with workers answers"), on_cluster(address):
            pass
        with pytest.raises(ValueError, match="No clients"):
            distributed.default_client()
