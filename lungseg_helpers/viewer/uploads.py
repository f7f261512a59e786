"""A file from a browser becomes a scan, or a line that says why not.

Nobody knows who sends it. So its kind is told by its first bytes; its name, and the names in an archive, are never
paths; headers that name other files are refused; and what it inflates to is counted before it is read. It lies in a
folder that only this process's user may enter, and is gone as soon as it has been read.
"""

from __future__ import annotations

import atexit
import mmap
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import psutil
from isal import igzip, igzip_lib, isal_zlib

from ..errors import OUT_OF_MEMORY, ScanError, error_line
from ..scans.case import Case
from ..scans.itk import announced_bytes
from ..sources.finding import Found, find_scan, find_scans
from ..writing import write_nifti

UPLOAD_LIMIT = 512_000_000
"""Bytes of a file: a chest of 600 slices, zipped, has about 200 MB."""

INFLATED_LIMIT = 2**30
"""Bytes that it may inflate to: 2,000 slices of 512 × 512 voxels."""

MEMBERS, MEMBER_LIMIT = 5000, 2**26
"""Files in an archive, and the bytes of each."""

HEADER = 2**16
"""Bytes that the header of an NRRD or MHA file ends within."""

DEFLATED = b"1.2.840.10008.1.2.1.99"
"""DICOM's name for slices that are deflated once more: how large they get cannot be told beforehand."""

FOLDERS = "lungseg-page-"
"""What the name of a session's folder begins with; its process's number follows."""

_PIECE = 2**20
_KINDS = ".nii, .nii.gz, .nrrd, .mha, or a .zip of a DICOM series"


class Uploads:
    """The folder of one session: it takes a file at a time, and is removed when the process ends.

    What a killed process has left behind, the next session of this user removes.
    """

    def __init__(self, parent: Path | None = None, inflated_limit: int = INFLATED_LIMIT) -> None:
        self._limit = inflated_limit
        parent = Path(parent or tempfile.gettempdir())
        _sweep(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-", dir=parent))  # mode 0700
        atexit.register(self.close)

    def begin(self, name: str = "") -> BinaryIO:
        """Return the file that the bytes of the next upload are written to; its ``name`` plays no part in it."""
        self.clear()
        return (self.folder / "upload").open("wb")

    def case(self) -> tuple[Case, list[str]]:
        """Return what was received as a case with a NIfTI file, and what there was to note in reading it.

        Raises :class:`ScanError`, which says why it is none.
        """
        try:
            case, notes = self._case()
        except ScanError as error:
            raise ScanError(self.hidden(str(error))) from error
        return case, [self.hidden(note) for note in notes]

    def _case(self) -> tuple[Case, list[str]]:
        kind = _kind(self.folder / "upload")
        path = self.folder / f"scan.{kind}"
        os.replace(self.folder / "upload", path)
        if kind == "zip":
            found = self._series(path)
        elif kind in ("nrrd", "mha"):
            _require_own_voxels(path)
            self._require_size(announced_bytes(path))
            found = find_scan(path)
        else:
            self._require_size(_inflated(path, self._limit) if kind == "nii.gz" else path.stat().st_size)
            return Case("scan", path), []
        (voxels, affine), _, notes = found.read(False)
        target = write_nifti(self.folder / "scan.nii", voxels, affine)
        path.unlink()
        return Case("scan", target), notes

    def _series(self, archive: Path) -> Found:
        """Return the series with most slices in a zip archive of DICOM files."""
        folder = self.folder / "slices"
        folder.mkdir()
        _unpack(archive, folder, self._limit)
        scans, left_out = find_scans(folder)
        scans = [scan for scan in scans if scan.series is not None]
        if not scans:
            more = f" ({left_out[0].partition(': ')[2].partition(';')[0]})" if left_out else ""
            raise ScanError(f"the archive holds no CT series{more}; zip the folder of one DICOM series")
        most = max(scans, key=lambda scan: len(scan.series.slices))
        headers = [each.header for each in most.series.slices]
        self._require_size(sum(2 * int(header.Rows) * int(header.Columns) for header in headers))
        return most

    def _require_size(self, size: int) -> None:
        if size > self._limit:
            raise ScanError(
                f"it inflates to more than {self._limit / 1e9:.1f} GB, which is more than this page takes; "
                "use 'lungseg predict'"
            )

    def hidden(self, line: str) -> str:
        """Return a line without the places of files on this machine."""
        return re.sub(re.escape(str(self.folder)) + r"[\w./-]*", "the scan", line)

    def clear(self) -> None:
        """Remove what is there, but for the folder itself."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def close(self) -> None:
        """Remove the folder; a second time does nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)


def _sweep(parent: Path) -> None:
    """Remove folders of sessions whose process has ended without doing so."""
    for folder in parent.glob(f"{FOLDERS}*"):
        match = re.fullmatch(rf"{FOLDERS}(\d+)-\w+", folder.name)
        if match and folder.is_dir() and not folder.is_symlink() and not psutil.pid_exists(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _kind(path: Path) -> str:
    """Return the ending of what a file is by its first bytes."""
    with path.open("rb") as file:
        start = file.read(12)
    if not start:
        raise ScanError("the file is empty; choose another")
    if {int.from_bytes(start[:4], order) for order in ("little", "big")} & {348, 540}:
        return "nii"
    marks = {b"\x1f\x8b": "nii.gz", b"PK\x03\x04": "zip", b"NRRD": "nrrd", b"ObjectType": "mha", b"NDims": "mha"}
    for mark, kind in marks.items():
        if start.startswith(mark):
            return kind
    raise ScanError(f"this is no scan that can be read here, whatever it is called; give {_KINDS}")


def _inflated(path: Path, limit: int) -> int:
    """Return how many bytes a gzip file inflates to; no more are counted than one piece above ``limit``."""
    total = 0
    try:
        with igzip.open(path) as stream:
            while total <= limit and (piece := stream.read(_PIECE)):
                total += len(piece)
    except (EOFError, OSError, igzip_lib.error, isal_zlib.error) as error:
        raise ScanError("the file is damaged: its gzip stream cannot be inflated; copy or download it again") from error
    return total


def _require_own_voxels(path: Path) -> None:
    """Refuse a header that takes the voxels from another file: it could name any file of this machine.

    What reads the file later decides by itself where a header ends, so all that it could see otherwise is refused.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        header = content[:HEADER].decode("latin-1")
        if path.suffix == ".nrrd":
            head, blank, _ = header.replace("\r\n", "\n").partition("\n\n")
            # a \r alone ends a line for some readers
            named = re.search(r"^\s*data ?file\s*:", head, re.IGNORECASE | re.MULTILINE)
            elsewhere = not blank or "\r" in head or named
        else:
            # the first one counts, in whatever line and with whatever sign behind it: so there must be one alone
            here = re.search(r"^ElementDataFile[ \t]*=[ \t]*LOCAL\s*$", header, re.MULTILINE)
            elsewhere = not here or len(re.findall(rb"ElementDataFile", content)) != 1
    if elsewhere:
        raise ScanError("its header takes the voxels from another file; save image and header in one file")


def _unpack(archive: Path, folder: Path, limit: int) -> None:
    """Write the files of a zip archive into ``folder``, under numbers in place of their names.

    The sizes that the archive says are added up first, and what is really inflated is held against them.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = [member for member in source.infolist() if not member.is_dir()]
            _require_harmless(members, limit)
            for number, member in enumerate(members):
                with source.open(member) as stream:
                    content = stream.read(member.file_size + 1)
                if len(content) > member.file_size:
                    raise ScanError("the archive is larger than it says; do not use it")
                if DEFLATED in content:
                    raise ScanError("its slices are deflated once more; export them uncompressed")
                (folder / f"{number:05}").write_bytes(content)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:80]
        raise ScanError(f"the archive cannot be unpacked ({reason}); zip the folder of one DICOM series") from error


def _require_harmless(members: list[zipfile.ZipInfo], limit: int) -> None:
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise ScanError("a name in the archive leads out of it; do not use this archive")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ScanError("the archive holds a link; zip the files themselves")
        if member.file_size > MEMBER_LIMIT:
            raise ScanError(f"a file in the archive inflates to {member.file_size / 1e6:,.0f} MB; no slice is so large")
    if len(members) > MEMBERS:
        raise ScanError(f"the archive holds {len(members)} files, and at most {MEMBERS} are taken; zip one series")
    if (total := sum(member.file_size for member in members)) > limit:
        raise ScanError(f"the archive inflates to {total / 1e9:,.1f} GB, which is more than this page takes")


def line_of(error: Exception, uploads: Uploads) -> str:
    """Return an error as a line for the page."""
    line = error_line(error)
    if line == OUT_OF_MEMORY:
        return "there is not enough memory for this scan here; use 'lungseg predict'"
    return uploads.hidden(line)
