"""Install the lowest versions that pyproject.toml allows, to test them. Called by ``make test-oldest``.

Every requirement there is ``name>=floor``, its floor a release as the index has it, and here it becomes
``name==floor``: pyproject.toml stays the one list. What the packages themselves need, pip chooses.

``OLDEST_TORCH=2.13.0`` takes this torch in place of its floor, whose build for Linux x86-64 brings gigabytes of CUDA;
``TORCH_INDEX=ADDRESS`` names a further package index, as in ``install.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.specifiers import SpecifierSet

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]

BUILDS_OF_OPENCV = ("opencv-python", "opencv-python-headless")
"""They share one folder, and imaug asks for both: the one that is installed last is the one that is imported."""


def main() -> int:
    """Install the floors and the package into the Python that runs this; return the exit status."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    if problem := wrong_python(project["project"]["requires-python"]):
        print(problem, file=sys.stderr)
        return 1
    pins = floors(project)
    if torch := os.environ.get("OLDEST_TORCH"):
        print(f"torch {torch} in place of its floor, {pins['torch']}, which is not tested here")
        pins["torch"] = torch
    print(f"installing {len(pins)} packages at their floors: a few minutes, by the connection …", flush=True)
    equal = {name: f"{name}=={version}" for name, version in pins.items()}
    extra = ["--extra-index-url", index] if (index := os.environ.get("TORCH_INDEX")) else []
    steps = [
        ["install", *extra, *equal.values()],
        ["uninstall", "--yes", *BUILDS_OF_OPENCV],
        ["install", "--no-deps", equal[BUILDS_OF_OPENCV[1]]],
        ["install", "--no-deps", "--no-build-isolation", "--editable", str(PYPROJECT.parent)],
    ]
    for step in steps:
        if status := subprocess.run([*PIP, *step]).returncode:
            print("the floors cannot be installed together; pip's reason is above", file=sys.stderr)
            return status
    return 0


def floors(project: dict) -> dict[str, str]:
    """Return package name -> lowest version of all that a parsed pyproject.toml asks for, its extras included.

    Raises ``ValueError`` where a requirement is anything but one ``>=``, or is asked for twice.
    """
    extras = project["project"]["optional-dependencies"].values()
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"], *chain.from_iterable(extras)]
    lowest: dict[str, str] = {}
    for requirement in map(Requirement, asked):
        bounds = [*requirement.specifier]
        if [bound.operator for bound in bounds] != [">="] or requirement.name in lowest:
            raise ValueError(f"pyproject.toml: '{requirement}' is no floor; write each package once, as name>=version")
        lowest[requirement.name] = bounds[0].version
    return lowest


def wrong_python(allowed: str) -> str | None:
    """Return why this Python cannot test the floors, or None: only the oldest allowed has wheels for all of them."""
    (bound,) = SpecifierSet(allowed)
    oldest, this = bound.version.split(".")[:2], [str(number) for number in sys.version_info[:2]]
    if oldest == this:
        return None
    return (
        f"the floors are those of Python {'.'.join(oldest)}, and this is {'.'.join(this)}; "
        f"name one: make test-oldest PYTHON=python{'.'.join(oldest)}"
    )


if __name__ == "__main__":
    sys.exit(main())
