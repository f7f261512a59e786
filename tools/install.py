"""Install the locked packages into the Python that runs this: ``python tools/install.py``. Called by ``make``.

torch comes first and with what it needs, because only its build knows that: one with CUDA brings Nvidia's
libraries along. The rest is the lock as it stands, with ``--no-deps``: the lock is complete, and imaug's own
requirements (two builds of OpenCV, both too old for current Pythons) would stand in the way.

In a kit (``make kit``) a folder ``wheels`` lies beside the lock. Then all comes from there, and no index is asked.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from index import LOCK, WHEELS, fitting, here, lacking, machine, of_lock, pins_here, requirements
from pip._vendor.packaging.requirements import Requirement

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def main() -> int:
    """Say what is about to be downloaded, and install it; return the exit status."""
    torch = torch_pin()
    extra, kit = torch_index(), []
    if WHEELS.is_dir():
        if problem := misfit():
            print(problem, file=sys.stderr)
            return 1
        extra, kit = [], ["--no-index", "--find-links", str(WHEELS)]
        print("installing out of wheels/, nothing is downloaded: a few minutes …", flush=True)
    else:
        announce(
            [pin for pin in pins_here() if not has(pin.name, None if pin.name == "torch" else version(pin))], extra
        )
    steps = [
        ["install", *kit, "--constraint", str(LOCK), *extra, torch],
        ["install", *kit, "--no-deps", "--requirement", str(LOCK)],
        ["install", *kit, "--no-deps", "--editable", str(LOCK.parent)],
    ]
    if has("opencv-python"):  # of an earlier lock: it shares its folder with the one build that is wanted
        steps.insert(0, ["uninstall", "--yes", "opencv-python", "opencv-python-headless"])
    for step in steps:
        if status := subprocess.run([*PIP, "--quiet", *step]).returncode:
            print("the installation did not succeed; pip's reason is above. The same command goes on.", file=sys.stderr)
            return status
    return 0


def torch_pin() -> str:
    """Return the lock's torch, such as ``torch==2.13.0``."""
    return str(next(pin for pin in requirements() if pin.name == "torch"))


def torch_index() -> list[str]:
    """Return pip's option for the further index that ``TORCH_INDEX`` names; empty where it names none."""
    return ["--extra-index-url", index] if (index := os.environ.get("TORCH_INDEX")) else []


def version(pin: Requirement) -> str:
    """Return the one release that a pin allows."""
    return next(iter(pin.specifier)).version


def misfit() -> str | None:
    """Return why a kit's wheels cannot be installed with this Python on this machine, and what to do; else None."""
    if not (missing := lacking(pins_here(), WHEELS)):
        return None
    try:
        made = json.loads((WHEELS / "kit.json").read_text(encoding="utf-8"))
        meant, this = [f"Python {each['python']} on {each['platform']}" for each in (made, machine())]
    except (OSError, ValueError, KeyError):
        return f"{WHEELS} is no whole kit: its kit.json is missing or broken; copy the kit again"
    if meant == this:
        names = f"{missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        return f"wheels/ holds nothing for this machine of {names}; copy the kit again, or make one on such a machine"
    if made["platform"] == machine()["platform"]:
        python = f"python{made['python']}"
        return f"this kit is for {meant}, and this is {this}; with that Python: rm -r .venv && make run PYTHON={python}"
    return f"this kit is for {meant}, and this is {this}; such a laptop needs a kit made on one like it (make kit)"


def announce(missing: list[Requirement], extra: list[str]) -> None:
    """Print how many packages are missing and how large they are; what cannot be learned is left out."""
    try:
        others, tags = [pin for pin in missing if pin.name != "torch"], here()
        sizes = [wheel.size for _, wheels in of_lock(others) if (wheel := fitting(wheels, tags))]
        print(f"about to download {len(others)} packages, {sum(sizes) / 1e6:.0f} MB (less what pip kept from before)")
        if len(others) < len(missing):
            name, size = torch_build(torch_pin(), extra)
            print(f"and {name}" + (f", {size / 1e6:.0f} MB" if size else ""))
            if sys.platform == "linux" and "+" not in name:
                print("this build of torch brings Nvidia's libraries, some 2 to 3 GB more.")
                if not shutil.which("nvidia-smi"):
                    print(
                        "There is no Nvidia GPU here: a far smaller build is taken if you add to the command "
                        "TORCH_INDEX=https://download.pytorch.org/whl/cpu (PyTorch's own index of such builds)."
                    )
    except (OSError, ValueError, KeyError) as error:
        print(f"how much there is to download cannot be told ({error})")
    print("a few minutes, by the connection …", flush=True)


def torch_build(torch: str, extra: list[str]) -> tuple[str, int]:
    """Return which build of torch pip would take, such as ``torch 2.13.0+cpu``, and its size in bytes (0: unknown)."""
    asked = [*PIP, "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--report", "-", *extra, torch]
    report = json.loads(subprocess.run(asked, capture_output=True, text=True).stdout)
    (item,) = report["install"]
    link = urlsplit(item["download_info"]["url"])
    file = unquote(Path(link.path).name)
    if link.scheme == "file":
        size = Path(unquote(link.path)).stat().st_size
    else:
        pins = [pin for pin in requirements() if pin.name == "torch"]
        size = next((wheel.size for _, wheels in of_lock(pins) for wheel in wheels if wheel.name == file), 0)
    return f"torch {item['metadata']['version']}", size


def has(name: str, version: str | None = None) -> bool:
    """Say whether a package is installed here, in this version where one is given."""
    try:
        return version in (None, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
