"""Scans side by side, on the cores of this machine or on the machines of a Dask cluster.

joblib does the work, with the backend that is active. A process that is killed on this machine ends the
whole. On a cluster its scans are given to the others, and what it had finished stays done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from .errors import ClusterError

REACH_S = 10
"""How long a cluster may take to answer, and to have a first worker."""


def cores() -> int:
    """Return how many cores this process may use: fewer than there are under ``taskset`` or a container's limit."""
    return cpu_count()  # joblib's knows affinity, cgroups and LOKY_MAX_CPU_COUNT


def side_by_side(
    function: Callable[..., Any],
    jobs: Sequence[tuple],
    workers: int | None = None,
    progress: str = "",
    unit: str = "case",
) -> Iterator[Any]:
    """Yield ``function(*job)`` of each job, in their order, with a progress bar called ``progress`` (empty: none).

    ``workers`` processes work on this machine, by default one per core that this process may use; with 1 all is
    done in this process, one job after the other as the results are asked for. Inside :func:`on_cluster` the
    cluster's workers do it, as many as it has. Raises :class:`ClusterError` where a process is killed, which
    mostly is done for lack of memory, or the cluster has no workers.
    """
    workers = min(workers or cores(), max(1, len(jobs)))
    results = Parallel(n_jobs=workers, return_as="generator")(delayed(function)(*job) for job in jobs)
    try:
        yield from tqdm(results, total=len(jobs), desc=progress, unit=unit, leave=False, disable=not progress)
    except TerminatedWorkerError as error:
        hint = "mostly for lack of memory; run the same command again with fewer --workers"
        raise ClusterError(f"{progress or 'work'}: a process was killed, {hint}") from error


@contextlib.contextmanager
def on_cluster(address: str | None) -> Iterator[None]:
    """Let :func:`side_by_side` work on the Dask cluster whose scheduler is at ``address``; None stays on this machine.

    The workers need this package, and the data under the same paths; start them with ``--nthreads 1``, because
    each thread holds a scan in memory and torch uses all cores by itself. Where a worker is lost, the others do its
    work. Raises :class:`ClusterError` where the package ``distributed`` is missing, no workers answer at
    ``address``, or one job has taken several workers with it.
    """
    if address is None:
        yield
        return
    try:
        from distributed import Client, KilledWorker
        from joblib._dask import DaskDistributedBackend
    except ImportError as error:
        hint = "install the package distributed, or leave --cluster out"
        raise ClusterError(f"{address}: a cluster needs Dask; {hint}") from error
    client = None
    try:
        client = Client(address, timeout=REACH_S)
        client.wait_for_workers(1, timeout=REACH_S)
    except (OSError, ValueError, TimeoutError) as error:
        if client is not None:
            client.close()
        hint = "start 'dask scheduler' there and 'dask worker' on each machine"
        raise ClusterError(f"{address}: no cluster with workers answers; {hint}") from error

    class Backend(DaskDistributedBackend):
        """joblib's own, but for a cluster of one core: joblib would take it for none, and work in this process."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

    try:
        with client, parallel_config(backend=Backend(client=client)):
            yield
    except KilledWorker as error:
        hint = "mostly for lack of memory; give the workers more of it, or fewer threads"
        raise ClusterError(f"{address}: several workers were killed over one scan, {hint}") from error
