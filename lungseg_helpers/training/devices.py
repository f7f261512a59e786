"""Where the network runs, and in which precision."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator
from time import perf_counter

import torch

from ..errors import TrainingError
from ..parallel import cores

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
"""What ``LUNGSEG_PRECISION`` may force, and Lightning's flag for it."""


def pick_device(device: str = "auto") -> str:
    """Return ``"cuda"``, ``"mps"`` or ``"cpu"``; ``auto`` takes a GPU where torch sees one.

    Raises :class:`TrainingError` where a GPU is asked for by name and there is none.
    """
    seen = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not seen.get(device, True):
        remedy = {
            "cuda": "use --device cpu, or install a CUDA build of torch",
            "mps": "it takes a Mac with Apple silicon; use --device cpu",
        }
        raise TrainingError(f"--device {device}: torch sees no such GPU here; {remedy[device]}")
    if device == "auto":
        return next((name for name, there in seen.items() if there), "cpu")
    return device


def accelerator(device: str = "auto") -> str:
    """Return Lightning's name for the device that :func:`pick_device` finds."""
    return {"cuda": "gpu"}.get(chosen := pick_device(device), chosen)


def loader_workers(device: str = "auto", devices: int = 1) -> int:
    """Return how many processes should load slices beside each of the ``devices`` ones that train on this machine.

    GPUs are fed by all cores but two. On a CPU the cores train: one process more pays where
    there are more than two of them; on two it would only take turns with what it feeds.
    """
    if pick_device(device) != "cpu":
        return max(1, min(12, (cores() - 2) // devices))
    return 1 if cores() > 2 * devices else 0


def choose_precision(device: str = "auto") -> str:
    """Return Lightning's precision flag: mixed bfloat16 where it is fast, else float32. Decided once a process.

    ``LUNGSEG_PRECISION`` (``float32`` or ``bfloat16``) forces either, so that a fast machine can
    rehearse a slow one; raises :class:`TrainingError` for another word. On a CPU bfloat16 pays only
    where the processor multiplies it natively, so the two are timed on one small convolution, in a few
    hundredths of a second. Apple's GPU gets float32.
    """
    if forced := os.environ.get("LUNGSEG_PRECISION"):
        if forced not in PRECISIONS:
            raise TrainingError(f"LUNGSEG_PRECISION is {forced!r}; use one of: {', '.join(PRECISIONS)}")
        return PRECISIONS[forced]
    return _precision_of(pick_device(device))


@functools.cache
def _precision_of(device: str) -> str:
    if device == "cuda":
        # cards before Ampere (a T4, say) only emulate bfloat16, which torch counts as support unless told otherwise
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if device == "mps":
        return "32-true"
    return "bf16-mixed" if _seconds(torch.bfloat16) < 0.7 * _seconds(torch.float32) else "32-true"


def precision_words(device: str) -> str:
    """Return in words which precision ``device`` gets. On a CPU nothing is timed for that: the next time may differ."""
    if device == "cpu" and not os.environ.get("LUNGSEG_PRECISION"):
        return "float32 or bfloat16, whichever is faster here, measured when a training starts"
    return {"bf16-mixed": "bfloat16", "16-mixed": "float16", "32-true": "float32"}[choose_precision(device)]


def gpu_name(device: str) -> str:
    """Return what the GPU of ``device`` (``"cuda"`` or ``"mps"``) is called, and how much memory it has if it tells."""
    if device != "cuda":
        return "Apple's"
    return f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB"


def autocast(device: str) -> torch.autocast:
    """Return the context in which a network runs in this device's precision, outside of Lightning."""
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(choose_precision(device))
    return torch.autocast(torch.device(device).type, dtype=dtype, enabled=dtype is not None)


@contextlib.contextmanager
def named_operators(device: str) -> Iterator[None]:
    """Turn torch's complaint about an operator that Apple's GPU lacks into a :class:`TrainingError` with a remedy."""
    try:
        yield
    except NotImplementedError as error:
        if device != "mps":
            raise
        reason = str(error).split(". ")[0]
        raise TrainingError(
            f"--device mps: {reason}; use --device cpu, or set PYTORCH_ENABLE_MPS_FALLBACK=1 before starting"
        ) from error


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
