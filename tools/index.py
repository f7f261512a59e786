"""What a package index has of a release: its files, for which Python and machine, and how large they are.

Asks the index that pip is configured for by its JSON interface (PEP 691, sizes by PEP 700), and downloads
nothing but these lists. Needs only what comes with pip, because ``install.py`` runs before anything is installed.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import platform
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pip._vendor.packaging.markers import default_environment
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms, sys_tags
from pip._vendor.packaging.utils import canonicalize_name, parse_wheel_filename

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"

WHEELS = LOCK.parent / "wheels"
"""Beside the lock of a kit (``make kit``): what is installed from it, without an index."""

BOOK_LOCK = LOCK.parent / "book" / "requirements.lock"
"""What ``make book`` installs beside it."""

JSON = "application/vnd.pypi.simple.v1+json"


def _manylinux(machine: str) -> list[str]:
    """Wheel tags of a Linux with glibc 2.28 (2018) or newer; 2014, 2010 and 1 are older names of 2.17, 2.12 and 2.5."""
    old = [f"manylinux{name}_{machine}" for name in ("2014", "2010", "1")]
    return [f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)] + old


PLATFORMS = {
    "Linux x86-64": ("linux", "Linux", "x86_64", _manylinux("x86_64")),
    "Linux ARM": ("linux", "Linux", "aarch64", _manylinux("aarch64")),
    "macOS 14 ARM": ("darwin", "Darwin", "arm64", list(mac_platforms((14, 0), "arm64"))),
    "Windows x86-64": ("win32", "Windows", "AMD64", ["win_amd64"]),
}
"""The machines that a lock is checked for: Python's names for them, and the wheel tags that they take, best first."""


@dataclass(frozen=True)
class Wheel:
    """One file of a release: its name and its size in bytes."""

    name: str
    size: int


def requirements(*locks: Path) -> list[Requirement]:
    """Return the pins of locks, in their order; without any, those of :data:`LOCK`."""
    text = "\n".join(lock.read_text(encoding="utf-8") for lock in locks or (LOCK,))
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def pins_here() -> list[Requirement]:
    """Return the pins of :data:`LOCK` that apply to this Python and machine."""
    return [pin for pin in requirements() if pin.marker is None or pin.marker.evaluate()]


def environment(python: str, platform: str) -> dict[str, str]:
    """Return what markers are judged by on another Python (``"3.14"``) and one of :data:`PLATFORMS`."""
    sys_platform, system, machine, _ = PLATFORMS[platform]
    return {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": sys_platform,
        "platform_system": system,
        "platform_machine": machine,
        "os_name": "nt" if system == "Windows" else "posix",
    }


def tags(python: str, platform: str) -> list[Tag]:
    """Return the wheel tags that a Python takes on one of :data:`PLATFORMS`, best first."""
    version, names = tuple(map(int, python.split("."))), PLATFORMS[platform][3]
    return [*cpython_tags(version, platforms=names), *compatible_tags(version, f"cp{python.replace('.', '')}", names)]


def indexes() -> list[str]:
    """Return the addresses of the indexes that pip asks here: its settings, else its own default."""
    asked = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()
    settings = (line.split("=", 1) for line in said if "=" in line)
    values = {key.split(".")[-1]: value.strip("'\"") for key, value in settings}
    default = values.get("index-url")
    if default is None:
        from pip._internal.models.index import PyPI

        default = PyPI.simple_url
    return [default, *values.get("extra-index-url", "").split()]


@functools.cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE"))


def _listing(address: str, name: str) -> list[dict]:
    request = urllib.request.Request(f"{address.rstrip('/')}/{canonicalize_name(name)}/", headers={"Accept": JSON})
    for attempt in range(3):
        try:
            with urllib.request.urlopen(request, timeout=60, context=_certificates()) as answer:
                return json.load(answer)["files"]
        except urllib.error.HTTPError as error:
            if error.code in (404, 406):
                return []  # an index without this package, or one that speaks no JSON
            failed = error
        except (OSError, ValueError, http.client.HTTPException) as error:
            # what is said of an address with a password in it holds the password
            failed = "not an address" if isinstance(error, http.client.InvalidURL) else error
            if not address.startswith("http"):
                return []
        time.sleep(2**attempt)
    raise ConnectionError(f"the index does not answer for {name} ({failed}); check the network, then run again")


def wheels(requirement: Requirement, addresses: list[str]) -> list[Wheel]:
    """Return the wheels that the indexes have of a pinned release; of a source archive alone, none."""
    (pin,) = requirement.specifier
    found = []
    for file in (file for address in addresses for file in _listing(address, requirement.name)):
        if file["filename"].endswith(".whl"):
            try:
                _, version, _, _ = parse_wheel_filename(file["filename"])
            except ValueError:
                continue  # names from before the standard
            if version.public == pin.version or str(version) == pin.version:
                found.append(Wheel(file["filename"], file.get("size") or 0))
    return found


def fitting(found: list[Wheel], wanted: list[Tag]) -> Wheel | None:
    """Return the wheel that pip would take for these tags, or None; a local build such as ``+cpu`` comes first."""
    ranks = {tag: rank for rank, tag in enumerate(wanted)}
    best = None
    for wheel in found:
        _, version, _, its = parse_wheel_filename(wheel.name)
        if places := [ranks[tag] for tag in its if tag in ranks]:
            rank = (version.local is None, min(places))
            best = min(best, (rank, wheel.name, wheel)) if best else (rank, wheel.name, wheel)
    return best[2] if best else None


def lacking(wanted: list[Requirement], folder: Path) -> list[Requirement]:
    """Return the requirements for which a folder holds no wheel that this Python takes here."""
    tags, kept = here(), [(parse_wheel_filename(path.name)[:2], Wheel(path.name, 0)) for path in folder.glob("*.whl")]
    return [
        requirement
        for requirement in wanted
        if not fitting(
            [
                wheel
                for (name, version), wheel in kept
                if name == canonicalize_name(requirement.name) and requirement.specifier.contains(version)
            ],
            tags,
        )
    ]


def of_lock(pins: list[Requirement]) -> Iterator[tuple[Requirement, list[Wheel]]]:
    """Yield each pin with the wheels that the indexes have of it; they are asked for many at a time."""
    addresses = indexes()
    with ThreadPoolExecutor(12) as pool:
        yield from zip(pins, pool.map(lambda pin: wheels(pin, addresses), pins), strict=True)


def here() -> list[Tag]:
    """Return the wheel tags that this Python takes, best first."""
    return list(sys_tags())


def machine() -> dict[str, str]:
    """Return what a compiled wheel depends on, for people: ``python``, such as 3.11, and ``platform``."""
    return {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "platform": f"{platform.system()} {platform.machine()}",
    }
