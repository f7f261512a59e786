"""``lungseg doctor``: whether this machine has what the course needs, a line per check, and what mends a fault.

Nothing outside the standard library is loaded before a check runs. So the doctor can say which package is missing,
and comes even where the other commands cannot be loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import files, machine, software
from .finding import Finding, install_command, of_error

CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": software.check_python,
    "packages": software.check_packages,
    "ffmpeg": software.check_ffmpeg,
    "kernel": software.check_kernel,
    "GPU": machine.check_gpu,
    "cores": machine.check_cores,
    "memory": machine.check_memory,
    "disk": files.check_disk,
    "data": files.check_data,
    "weights": files.check_weights,
}
"""The checks by the name that their line has, in order."""


def report() -> bool:
    """Print a line per check, and below a fault the remedy; say whether there was no fault."""
    well = True
    for name, finding in examine():
        # at once: where a broken binary ends the program, the last line says how far it came
        print(f"{finding.mark:<5}  {name:<8}  {finding.found}", flush=True)
        if finding.remedy:
            print(f"{'':<17}remedy: {finding.remedy}", flush=True)
            well = False
    return well


def examine() -> Iterator[tuple[str, Finding]]:
    """Yield each check's name and finding, in the order of :data:`CHECKS`. An error of a check is a fault."""
    for name, check in CHECKS.items():
        try:
            yield name, check()
        except ImportError as error:
            yield name, Finding(" ".join(str(error).split()), install_command())
        except Exception as error:
            yield name, of_error(error)
