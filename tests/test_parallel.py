"""Scans side by side: on this machine, and on a Dask cluster of which a worker is killed."""

from __future__ import annotations

import contextlib
import itertools
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


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Start a scheduler and two workers of one thread; return the address and the workers' processes."""
    pytest.importorskip("distributed", reason="a cluster needs Dask's distributed")
    file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(*words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", *words, *common]
        log = (tmp_path / f"{len(processes)}.log").open("w")
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)

    processes: list[subprocess.Popen] = []
    try:
        processes.append(start("scheduler", "--host", "127.0.0.1", "--port", "0"))
        for _ in range(2):
            processes.append(start("worker", "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1"))
        # there, and written to its end
        wait_until(lambda: file.is_file() and file.read_text().rstrip().endswith("}"))
        yield json.loads(file.read_text())["address"], processes[1:]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def wait_until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_worker_killed_in_the_middle_loses_nothing_and_nothing_is_done_twice(toy_case, tmp_path, cluster) -> None:
    from distributed import Client

    for number in range(CASES):
        toy_case(f"t{number:02}")
    address, workers = cluster
    stacks = stacks_dir(tmp_path, get_recipe())

    def made() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in stacks.glob("*/case.json")}

    with Client(address) as client:
        client.wait_for_workers(2, timeout=120)
        pids = client.run(os.getpid)

        def stopped_at_work(worker: subprocess.Popen) -> bool:
            """Stop a worker, and let it go on if it has nothing to do just now."""
            os.kill(worker.pid, signal.SIGSTOP)
            time.sleep(0.2)
            (name,) = (name for name, pid in pids.items() if pid == worker.pid)
            if at_work := bool(client.processing()[name]) or len(made()) == CASES:
                return at_work
            os.kill(worker.pid, signal.SIGCONT)
            return False

        words = ["prepare", "--data", str(tmp_path), "--cluster", address]
        command = [sys.executable, "-m", "lungseg_helpers.cli", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as run:
            wait_until(made)
            # stopped first: what it has been given cannot be finished any more
            killed = next(filter(stopped_at_work, itertools.cycle(workers)))
            before = made()
            assert 0 < len(before) < CASES, "this is no longer in the middle"
            killed.kill()
            out, err = run.communicate(timeout=300)
        assert run.returncode == 0 and f"{CASES} patients prepared" in out, err
        after = made()
        assert len(after) == CASES
        assert {path: after[path] for path in before} == before, "a stack was written again"

        # whatever is asked for next, the other worker does
        pid = next(pid for pid in pids.values() if pid != killed.pid)
        with on_cluster(address):
            assert set(side_by_side(os.getpid, [()] * 4, 1)) == {pid}

    recipe = get_recipe("course", "laptop")
    alone, problems = prepare(find_cases(tmp_path), recipe, tmp_path / "alone", 2)
    assert problems == []
    for folder in alone:
        ours, theirs = open_stack(folder), open_stack(stacks / folder.name)
        np.testing.assert_array_equal(ours.ct, theirs.ct)
        np.testing.assert_array_equal(ours.share, theirs.share)


def test_check_and_predict_on_a_cluster_say_what_they_say_here(toy_case, toy_recipe, tmp_path, cluster) -> None:
    address, _ = cluster
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
    with on_cluster(address):
        far = work(tmp_path / "far")
    assert [result.mask.name for result in far[0][:2]] == ["a_pred.nii.gz", "b_pred.nii.gz"]
    assert far[0][2] == near[0][2] and "c.nii.gz" in far[0][2]
    assert far[1:] == near[1:] and len(far[1]) == 1 and len(far[2]) == 4
