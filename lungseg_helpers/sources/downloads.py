"""One large file over HTTP: with a bar, resumed after a cut, and never used unless its digest is right.

requests does the transfer (redirects, proxies, certificates). The resuming is done here,
because neither requests nor pooch goes on from where a broken transfer stopped.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import ssl
import time
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from ..errors import SourceError

CHUNK = 2**20

ATTEMPTS = 5
"""How often in a row a server may yield nothing new before the transfer is given up."""

PAUSE_S = 1.0
"""The wait after the first fruitless attempt; it doubles after each further one."""

TIMEOUT_S = (15, 60)
"""For connecting, and for the next bytes."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BAD_ADDRESS = (
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
)


class _Retry(Exception):
    """This attempt brought nothing that can be kept; another one may."""


def download(url: str, target: Path, digest: str, *, size: int | None = None, room: float = 1.0) -> Path:
    """Download ``url`` to ``target`` and return it; ``digest`` is ``"md5:…"`` or ``"sha256:…"``.

    What has arrived lies in ``target`` + ``.part`` until it is whole and right, and a
    later call goes on from there. A file that is at ``target`` already, and right, costs no
    network. ``size`` in bytes is held against what the server announces; ``room`` is how
    many times the file's size must fit on the disk.

    Raises
    ------
    SourceError
        Where the server refuses or keeps breaking off, the disk is full, or size or digest are wrong.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        if _has_digest(target, digest):
            return target
        os.replace(target, part)
    resumed = True
    while resumed:
        resumed = part.exists()
        _fill(url, part, size, room)
        if _has_digest(part, digest):
            os.replace(part, target)
            return target
        # The beginning of a resumed file may be of another version: the whole is worth one try.
        part.unlink()
    raise SourceError(f"{url}: is not the file that is expected ({digest}); it was thrown away: try a mirror")


def require_room(folder: Path, needed: float) -> None:
    """Raise :class:`SourceError` where the disk of ``folder`` has fewer than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SourceError(f"{folder}: needs {needed / 1e9:.3g} GB of free disk but has {free / 1e9:.3g} GB; make room")


def disk_error(path: Path, error: OSError) -> SourceError:
    """Return the one line for a disk that refuses to take more of ``path``."""
    fault = "the disk is full" if error.errno in _DISK_FULL else (error.strerror or str(error))
    return SourceError(f"{path}: {fault}; make room or check permissions, then run again")


def _fill(url: str, part: Path, size: int | None, room: float) -> None:
    """Go on with ``part`` until it is as long as the server says."""
    most, fruitless = _length(part), 0
    while True:
        try:
            if _attempt(url, part, size, room):
                return
            reason = "it ended early"
        except _BAD_ADDRESS as error:
            raise SourceError(f"{url}: is no address of a file ({error}); check it") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, _Retry) as error:
            reason = re.sub(r"\s+", " ", str(error)) or type(error).__name__
        except OSError as error:
            raise disk_error(part, error) from error
        fruitless = 0 if _length(part) > most else fruitless + 1
        most = max(most, _length(part))
        if fruitless == ATTEMPTS:
            raise SourceError(
                f"{url}: the transfer broke off {ATTEMPTS} times at {_length(part) / 1e6:.1f} MB ({reason}); "
                "check the network and run again: it goes on from there"
            )
        time.sleep(PAUSE_S * 2**fruitless)


def _attempt(url: str, part: Path, size: int | None, room: float) -> bool:
    """Make one request for what is missing; tell whether the file is whole now."""
    have = _length(part)
    # Unpacking on the way would break both the byte count and the digest.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S, verify=_certificates()) as answer:
        span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", answer.headers.get("Content-Range", ""))
        if answer.status_code == 416 and have:
            if span and int(span[2]) == have:
                return True
            part.unlink()
            raise _Retry("what was there is longer than the file")
        if answer.status_code == 206 and span and span[1] and int(span[1]) == have:
            total = int(span[2])
        elif answer.status_code == 200:
            have, total = 0, int(answer.headers.get("Content-Length", -1))
        elif answer.status_code >= 500 or answer.status_code in (206, 408, 429):
            raise _Retry(f"the server answers {answer.status_code} {answer.reason}")
        else:
            raise SourceError(f"{url}: the server answers {answer.status_code} {answer.reason}; check the address")
        if size is not None and total not in (size, -1):
            raise SourceError(f"{url}: has {total} bytes, not {size}; it is not the file that is expected")
        require_room(part.parent, total * room - have)
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(total=total if total >= 0 else None, initial=have, desc=part.stem, unit="B", unit_scale=True) as bar,
        ):
            for chunk in answer.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                bar.update(len(chunk))
    return total < 0 or _length(part) == total


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _has_digest(path: Path, digest: str) -> bool:
    algorithm, _, expected = digest.partition(":")
    with (
        path.open("rb") as file,
        tqdm(total=_length(path), desc=f"{algorithm} of {path.stem}", unit="B", unit_scale=True) as bar,
    ):
        hasher = hashlib.new(algorithm)
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
            bar.update(len(chunk))
    return hasher.hexdigest() == expected


def _certificates() -> str | bool:
    """Return the machine's own certificate file, which may know a company's proxy; True means certifi's."""
    for path in (
        os.environ.get("PIP_CERT"),
        os.environ.get("REQUESTS_CA_BUNDLE"),
        ssl.get_default_verify_paths().cafile,
    ):
        if path and Path(path).is_file():
            return path
    return True
