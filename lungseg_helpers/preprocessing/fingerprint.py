"""What tells whether a source file has changed, without reading 8 GB to learn that nothing did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isal import isal_zlib


def fingerprint(path: Path | None) -> dict[str, Any] | None:
    """Return what identifies a source file: name, size, time, and the check sum that gzip itself relies on."""
    return None if path is None else {**_glance(path), "crc32": _crc32(path)}


def _glance(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"file": path.name, "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def _crc32(path: Path) -> str:
    total = 0
    with path.open("rb") as stream:
        while piece := stream.read(2**20):
            total = isal_zlib.crc32(piece, total)
    return f"{total:08x}"


def is_unchanged(recorded: dict[str, Any] | None, path: Path | None) -> bool:
    """Say whether a file is the one that :func:`fingerprint` recorded; where only the time differs, read it whole."""
    if recorded is None or path is None:
        return recorded is None and path is None
    present = _glance(path)
    if present == {key: recorded[key] for key in present}:
        return True
    return present["bytes"] == recorded["bytes"] and _crc32(path) == recorded["crc32"]
