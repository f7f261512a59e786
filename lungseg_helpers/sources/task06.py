"""The Medical Segmentation Decathlon's lung task (Task06): 63 labelled and 32 unlabelled chest CTs.

Simpson AL et al., arXiv:1902.09063; Antonelli M et al., Nat Commun 2022, 13:4128. Licence
CC BY-SA 4.0. Address and MD5 are those of MONAI's ``DecathlonDataset``.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..errors import SourceError
from .downloads import disk_error, download, require_room

TASK06_URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task06_Lung.tar"
TASK06_MD5 = "8afd997733c7fc0432f71255ba4e52dc"


def fetch_decathlon(out: Path, url: str = TASK06_URL, md5: str = TASK06_MD5, size: int | None = None) -> Path:
    """Download Task06 (8.5 GB; about twice that is needed on the way), unpack it to ``out`` and return it.

    A finished folder is recognised and costs nothing. A broken transfer goes on where it
    stopped, and an archive that already lies at ``out`` + ``.tar`` is used. The archive is
    removed once its files are in place. ``url`` may name a mirror; its file must have the
    same ``md5``, and ``size`` in bytes where one is given.

    Raises
    ------
    SourceError
        Where the transfer fails, the disk is full, or the archive is not what it should be:
        wrong size or digest, a member outside its folder, a link or a device, a file missing.
    """
    out = Path(out)
    if not missing_files(out):
        return out
    archive = download(url, out.with_name(f"{out.name}.tar"), f"md5:{md5}", size=size, room=2.0)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
            root = _data_set_in(archive, unpack(archive, Path(folder)))
            if missing := missing_files(root):
                raise SourceError(f"{archive}: lacks {missing[0]}; use another mirror")
            _move(root, out)
    except OSError as error:
        raise disk_error(out, error) from error
    archive.unlink()
    return out


def missing_files(root: Path) -> list[str]:
    """Return the files that a Decathlon folder's dataset.json lists and the folder lacks."""
    try:
        description = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        pairs = [(pair["image"], pair["label"]) for pair in description["training"]]
        names = [name for pair in pairs for name in pair] + [str(name) for name in description["test"]]
    except (OSError, ValueError, KeyError, TypeError):
        return ["dataset.json"]
    return [name for name in names if not (root / name).is_file()] or ([] if pairs else ["training cases"])


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar archive into ``folder`` and return that, leaving out the ``._*`` files of macOS.

    Every member is looked at before the first is written. Raises :class:`SourceError`
    where one is not a plain file or folder, or points outside.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            members = tar.getmembers()
            for member in members:
                _require_harmless(archive, member)
            wanted = [m for m in members if m.isreg() and not PurePosixPath(m.name).name.startswith("._")]
            require_room(folder, sum(member.size for member in wanted))
            for member in tqdm(wanted, desc=f"unpacking {archive.name}", unit="file"):
                tar.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise SourceError(f"{archive}: is not a whole tar archive ({error}); use another mirror") from error
    return folder


def _require_harmless(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise SourceError(f"{archive}: its member {member.name!r} lies outside the folder; do not use this archive")
    if not (member.isreg() or member.isdir()):
        kind = "link" if member.issym() or member.islnk() else "special file"
        raise SourceError(f"{archive}: its member {member.name!r} is a {kind}; do not use this archive")


def _data_set_in(archive: Path, folder: Path) -> Path:
    for root in (folder, *sorted(folder.iterdir())):
        if (root / "dataset.json").is_file():
            return root
    raise SourceError(f"{archive}: has no dataset.json; use another mirror")


def _move(root: Path, out: Path) -> None:
    """Move every file of ``root`` into ``out``, dataset.json last: with it the set counts as finished."""
    files = sorted((path for path in root.rglob("*") if path.is_file()), key=lambda p: p.name == "dataset.json")
    for path in files:
        target = out / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
