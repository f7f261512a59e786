"""What the machine has, as this process may use it: GPU, cores, memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding, install_command, this_python

MEMORY = 2.2e9
"""Bytes that have to be free: the greediest step of benchmarks/times.csv. The README's 4 GB hold the system as well."""


def check_gpu() -> Finding:
    """Say where networks are trained, and in which precision. A GPU that torch cannot use is a fault, none is not."""
    import torch

    from ...training.devices import gpu_name, pick_device, precision_words

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        device = pick_device()
    if device == "cpu":
        there, complaint = nvidia_gpus()
        if there and torch.version.cuda is None:
            remedy = f"{this_python('-m pip uninstall --yes torch')} && {install_command()} (without TORCH_INDEX)"
            return Finding(f"torch {torch.__version__} is a build without CUDA, and cannot use {there}", remedy)
        if there:
            reason = str(said[0].message).split(". ")[0] if said else "it does not say why"
            remedy = f"install an Nvidia driver that knows CUDA {torch.version.cuda}, and start the machine again"
            return Finding(f"torch cannot use {there}: {reason}", remedy)
        if "mismatch" in complaint:  # the driver was updated while its older self runs on
            return Finding(f"none{complaint}", "start the machine again")
        return Finding(f"none{complaint}; networks train on the processor, in {precision_words(device)}")
    try:
        torch.ones(1, device=device).add(1).item()
    except RuntimeError as error:
        remedy = "end what else uses the GPU, or install a torch that is made for it; until then, use --device cpu"
        return Finding(f"torch {torch.__version__} sees it and cannot use it: {str(error).splitlines()[0]}", remedy)
    return Finding(f"{gpu_name(device)} ({device}), in {precision_words(device)}")


def nvidia_gpus() -> tuple[str, str]:
    """Return the names of the GPUs that Nvidia's driver lists, and in brackets what it says where it lists none.

    Those that the user hides from this process are left out: both are empty then.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"} or not shutil.which("nvidia-smi"):
        return "", ""
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    names = re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", done.stdout, re.MULTILINE)
    # a machine that lends its driver to others may have no GPU, so this alone is no fault
    said = " ".join((done.stdout + done.stderr).split()) or "nothing"
    return ", ".join(names), f" (nvidia-smi says: {said})"


def check_cores() -> Finding:
    """Count the cores that this process may use."""
    from ...parallel import cores

    return Finding(f"{cores()} of {os.cpu_count()}")


def memory() -> tuple[int, int, int]:
    """Return bytes: the memory that this process may use, what is free of it, and what the machine has."""
    import psutil

    machine = psutil.virtual_memory()
    limits = [(machine.total, machine.available), *group_memory()]
    size, free = map(min, zip(*limits, strict=True))
    return size, free, machine.total


def check_memory() -> Finding:
    """Measure the memory that this process may use and that is free."""
    size, free, total = memory()
    found = f"{free / 1e9:.1f} GB free of {size / 1e9:.1f}"
    if size < total:
        found += f", to which this process is held (the machine has {total / 1e9:.1f})"
    if free < MEMORY:
        return Finding(f"{found}; notebooks take up to {MEMORY / 1e9:.1f}", "close other programs, or raise the limit")
    return Finding(found)


def group_memory(
    groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> Iterator[tuple[int, int]]:
    """Yield limit and what is left of it, in bytes, of each control group of Linux around this process.

    Both versions (https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html there). Files that
    the system has read stay in memory until it is needed, so the inactive ones count as free.
    """
    kinds = {
        "": (mounted, "memory.max", "memory.current", "inactive_file"),
        "memory": (mounted / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers not in kinds:
            continue
        top, limit, used, files = kinds[controllers]
        group = top / path.lstrip("/")
        # a container sees its own group at the top, whatever its path outside is called
        for folder in (group, *group.parents[: len(group.parts) - len(top.parts)]):
            try:
                bytes_, taken = (int((folder / name).read_text()) for name in (limit, used))
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # no such group here, or no limit: "max"
                continue
            yield bytes_, bytes_ - taken + int(stat.get(files, 0))
