"""Install the locked packages into the Python that runs this: ``python tools/install.py``. Called by ``make``.

torch comes first and with what it needs, because only its build knows that: one with CUDA brings Nvidia's
libraries along. The rest is the lock as it stands, with ``--no-deps``: the lock is complete, and imaug's own
requirements (two builds of OpenCV, both too old for current Pythons) would stand in the way.
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

from index import LOCK, fitting, here, of_lock, requirements

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def main() -> int:
    """Say what is about to be downloaded, and install it; return the exit status."""
    torch = next(pin for pin in requirements() if pin.name == "torch")
    extra = ["--extra-index-url", index] if (index := os.environ.get("TORCH_INDEX")) else []
    announce(f"torch{torch.specifier}", extra)
    steps = [
        ["install", "--constraint", str(LOCK), *extra, f"torch{torch.specifier}"],
        ["install", "--no-deps", "--requirement", str(LOCK)],
        ["install", "--no-deps", "--editable", str(LOCK.parent)],
    ]
    if has("opencv-python"):  # of an earlier lock: it shares its folder with the one build that is wanted
        steps.insert(0, ["uninstall", "--yes", "opencv-python", "opencv-python-headless"])
    for step in steps:
        if status := subprocess.run([*PIP, "--quiet", *step]).returncode:
            print("the installation did not succeed; pip's reason is above. The same command goes on.", file=sys.stderr)
            return status
    return 0


def announce(torch: str, extra: list[str]) -> None:
    """Print how many packages are missing and how large they are; what cannot be learned is left out."""
    try:
        wanted = [pin for pin in requirements() if pin.marker is None or pin.marker.evaluate()]
        wanted = {pin: next(iter(pin.specifier)).version for pin in wanted if pin.name != "torch"}
        missing = [pin for pin, version in wanted.items() if not has(pin.name, version)]
        tags = here()
        sizes = [wheel.size for _, wheels in of_lock(missing) if (wheel := fitting(wheels, tags))]
        print(f"about to download {len(missing)} packages, {sum(sizes) / 1e6:.0f} MB (less what pip kept from before)")
        if not has("torch"):
            name, size = torch_build(torch, extra)
            print(f"and {name}" + (f", {size / 1e6:.0f} MB" if size else ""))
            if sys.platform == "linux" and "+" not in name:
                print("this build of torch brings Nvidia's libraries, some 2 to 3 GB more.")
                if not shutil.which("nvidia-smi"):
                    print(
                        "There is no Nvidia GPU here: 'make run TORCH_INDEX=ADDRESS', with the address of PyTorch's "
                        "CPU index (from its Get Started page), takes a far smaller one."
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
