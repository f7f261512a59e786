"""What a notebook says first: what it runs on, how long that takes, and where Colab's or Kaggle's menu for a GPU is.

There a notebook starts on a processor, and a GPU is one menu away. Who does not know that, waits.
"""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from pathlib import Path

from ..parallel import cores
from ..paths import ROOT
from ..training.devices import choose_precision, gpu_name, pick_device

HOSTS = {"Kaggle": "KAGGLE_KERNEL_RUN_TYPE", "Colab": "COLAB_RELEASE_TAG"}
"""The variable that each host sets. Kaggle's image is built upon Colab's, so it comes first."""

MENUS = {"Kaggle": "Settings > Accelerator > GPU T4 x2", "Colab": "Runtime > Change runtime type > T4 GPU"}
"""Each host's menu for a GPU."""

TIMES = ROOT / "benchmarks" / "times.csv"
"""Seconds of each notebook on two plain cores and on two fast ones; which of them are estimated, README says."""


def say_machine(notebook: str) -> None:
    """Print in one line what the notebook of this number (``"01"``) runs on, and about how many minutes it takes.

    Where Colab or Kaggle lent no GPU, the line ends with the menu that has one.
    """
    if (device := pick_device()) != "cpu":
        taken = f"Without one it takes {_minutes(notebook, 'plain')} on two plain cores, {_minutes(notebook, 'fast')}"
        print(f"{notebook} runs on a GPU: {gpu_name(device)}. {taken} on fast ones; on GPUs it was not measured.")
        return
    # what a training in this process will take as well: a machine that has much else to do counts as a plain one
    kind, precision = ("fast", "bfloat16") if choose_precision(device) == "bf16-mixed" else ("plain", "float32")
    where = f"{(count := cores())} core{'s' * (count > 1)} of {processor()}, {kind} ({precision})"
    line = f"{notebook} runs on the processor: {where}. On two such cores it takes about {_minutes(notebook, kind)}."
    if place := host():
        line += f" A GPU is one menu away: {MENUS[place]}; then run all cells again."
    print(line)


def host() -> str | None:
    """Return ``"Colab"`` or ``"Kaggle"`` where the notebook runs there, else None."""
    return next((name for name, variable in HOSTS.items() if variable in os.environ), None)


def processor(listed: Path = Path("/proc/cpuinfo")) -> str:
    """Return what the processor is called: Linux lists it, macOS tells it, other systems may give its family alone."""
    if listed.is_file():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    elif platform.system() == "Darwin":
        return subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
    return platform.processor() or platform.machine()


def _minutes(notebook: str, kind: str) -> str:
    """Return in words the minutes that a notebook takes on ``plain`` or ``fast`` cores; the table has all notebooks."""
    with TIMES.open(newline="") as file:
        taken = {(row["cores"], row["step"]): float(row["seconds"]) for row in csv.DictReader(file)}
    minutes = max(1, round(taken[kind, notebook] / 60))
    return f"{minutes} minute{'s' * (minutes > 1)}"
