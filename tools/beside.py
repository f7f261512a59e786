"""Install the course beside what a Python has already, and replace nothing: ``python tools/beside.py``.

For Colab, Kaggle or a cluster, whose torch fits the GPU, and whose IPython and widgets fit the page of its notebooks.
pip's own ``install`` would replace what is out of a range: imaug alone asks for builds of OpenCV below 4.13. So each
package that is missing is installed with ``--no-deps``, in the version of the lock, and then what that one needs and
is missing. What is there stays, even below the course's floor, which is said.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import tomllib

from index import LOCK
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]

SERVER = {"jupyterlab", "ipykernel", "nbclient", "voila"}
"""What opens and runs notebooks: the host does that in its own way."""

OPENCV = {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"}
"""Builds that share one folder: any of them does, and a second one would replace its files."""

UNNEEDED = {"pyjpegls"}
"""What highdicom asks for and nothing here needs: DICOM-SEG is written uncompressed."""


def main() -> int:
    """Install what is missing, round by round, and the package itself; return the exit status."""
    tried: set[str] = set()
    while missing := lacking():
        if lost := sorted(tried & missing.keys()):
            print(
                f"pip has installed {', '.join(lost)} where this Python does not look; start this again, "
                "and if that changes nothing, in a virtual environment (python -m venv)",
                file=sys.stderr,
            )
            return 1
        tried |= missing.keys()
        print(f"installing {', '.join(sorted(missing))} …", flush=True)
        if status := subprocess.run([*PIP, "--no-deps", "--constraint", str(LOCK), *missing.values()]).returncode:
            return status
    if status := subprocess.run([*PIP, "--no-deps", "--editable", str(LOCK.parent)]).returncode:
        return status
    there = installed()
    old = [f"{pin.name} {there[name]}" for pin in asked() if not fits(pin, there.get(name := key(pin)))]
    if old:
        print(f"older than the course was tested with, and left as they are: {', '.join(old)}")
    return 0


def asked() -> list[Requirement]:
    """Return what the package and its notebooks ask for, without what opens and runs notebooks."""
    project = tomllib.loads((LOCK.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["course"]])
    return [pin for pin in pins if pin.name not in SERVER]


def lacking() -> dict[str, str]:
    """Return name -> requirement of what is not installed: of :func:`asked`, and of what is installed for it."""
    there, missing = installed(), {}
    ahead, seen = asked(), set()
    while ahead:
        pin = ahead.pop(0)
        name = key(pin)
        if (name, *pin.extras) in seen or name in UNNEEDED or (name in OPENCV and OPENCV & there.keys() - {name}):
            continue
        seen.add((name, *pin.extras))
        if name in there:
            ahead += needs(pin)
        elif not (name in OPENCV and OPENCV & missing.keys()):
            missing.setdefault(name, f"{pin.name}{pin.specifier}")
    return missing


def needs(pin: Requirement) -> list[Requirement]:
    """Return what an installed package asks for here, with the extras that it is asked for with."""
    extras = pin.extras or {""}
    wanted = map(Requirement, importlib.metadata.requires(pin.name) or ())
    return [each for each in wanted if each.marker is None or any(each.marker.evaluate({"extra": x}) for x in extras)]


def installed() -> dict[str, str]:
    """Return name -> version of every package of this Python."""
    importlib.invalidate_caches()
    found = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
    return {canonicalize_name(name): version for name, version in found if name}


def key(pin: Requirement) -> str:
    """Return the name of a requirement as :func:`installed` has it."""
    return canonicalize_name(pin.name)


def fits(pin: Requirement, version: str | None) -> bool:
    """Say whether an installed version is in a requirement's range; another build in its place (None) is."""
    return version is None or pin.specifier.contains(version, prereleases=True)


if __name__ == "__main__":
    sys.exit(main())
