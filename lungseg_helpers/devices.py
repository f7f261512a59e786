"""Where the network runs, and in which precision."""

from __future__ import annotations

import math
import os
from time import perf_counter

import torch

from .errors import TrainingError


def pick_device(device: str = "auto") -> str:
    """Return ``"cuda"`` or ``"cpu"``; raises :class:`TrainingError` where a GPU is asked for and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch sees no GPU here; use --device cpu, or install a CUDA build of torch")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def loader_workers(device: str = "auto") -> int:
    """Return how many processes should load slices beside the one that trains.

    A GPU is fed by all cores but two. On a CPU the cores train: one process more pays where
    there are more than two of them; on two it would only take turns with what it feeds.
    """
    cores = os.cpu_count() or 1
    if pick_device(device) == "cuda":
        return max(1, min(12, cores - 2))
    return 1 if cores > 2 else 0


def choose_precision(device: str = "auto") -> str:
    """Return Lightning's precision flag for this machine: mixed bfloat16 where it is fast, else float32.

    On a CPU bfloat16 pays only where the processor multiplies it natively, so the two are
    timed on one small convolution, in a few hundredths of a second.
    """
    if pick_device(device) == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if _seconds(torch.bfloat16) < 0.7 * _seconds(torch.float32) else "32-true"


def _seconds(dtype: torch.dtype, repeats: int = 5) -> float:
    image = torch.ones(4, 32, 96, 96).to(memory_format=torch.channels_last)
    convolution = torch.nn.Conv2d(32, 32, 3, padding=1).to(memory_format=torch.channels_last)
    best = math.inf
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype, enabled=dtype is not torch.float32):
        for _ in range(repeats):
            start = perf_counter()
            convolution(image)
            best = min(best, perf_counter() - start)
    return best
