"""What a check finds, and the commands that mend an installation."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from ...errors import error_line
from ...paths import ROOT


@dataclass(frozen=True)
class Finding:
    """What a check has found. Only a fault has a remedy, and none is without one."""

    found: str
    remedy: str = ""

    @property
    def mark(self) -> str:
        """``ok`` or ``fault``, to be told apart without colour."""
        return "fault" if self.remedy else "ok"


def of_error(error: Exception, remedy: str = "") -> Finding:
    """Return the fault that an error is; ``remedy`` stands in for the error's own."""
    line = error_line(error)
    found, _, own = line.rpartition("; ")
    return Finding(found or line, remedy or own)


def this_python(arguments: str) -> str:
    """Return the command that runs this very Python, whichever environment is active."""
    return f"{shlex.quote(sys.executable)} {arguments}"


def install_command() -> str:
    """Return what installs all packages: what ``make`` runs where it has made the environment, else pip."""
    if (Path(sys.prefix) / ".lungseg-installed").exists():
        return this_python(shlex.quote(str(ROOT / "tools" / "install.py")))
    return this_python(f"-m pip install -e {shlex.quote(f'{ROOT}[course]')}")


def reinstall_command(package: str) -> str:
    """Return what installs one package anew, in the locked version."""
    lock = shlex.quote(str(ROOT / "requirements.lock"))
    return this_python(f"-m pip install --force-reinstall --no-deps --constraint {lock} {package}")
