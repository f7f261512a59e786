"""The module task06: a small archive of the same form, from a server on the loopback address."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import Site, serve

from lungseg_helpers.errors import SourceError
from lungseg_helpers.sources import downloads
from lungseg_helpers.sources.datasets import find_cases
from lungseg_helpers.sources.task06 import fetch_decathlon

TRAINING, TEST = ("lung_001", "lung_003"), ("lung_002",)

DESCRIPTION = {
    "name": "Lung",
    "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in TRAINING],
    "test": [f"./imagesTs/{n}.nii.gz" for n in TEST],
}

FILES = {
    "dataset.json": json.dumps(DESCRIPTION).encode(),
    **{f"{part}/{n}.nii.gz": os.urandom(40_000) for n in TRAINING for part in ("imagesTr", "labelsTr")},
    **{f"imagesTs/{n}.nii.gz": os.urandom(40_000) for n in TEST},
    "._dataset.json": b"Mac OS X",
    "imagesTr/._lung_001.nii.gz": b"Mac OS X",
}


def tar(files: dict[str, bytes], *members: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"Task06_Lung/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return stream.getvalue()


def special(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, size
    return member


ARCHIVE = tar(FILES)


def fetch(site: Site, out: Path) -> Path:
    return fetch_decathlon(out, url=f"{site.url}/lung.tar", md5=hashlib.md5(site.files["/lung.tar"]).hexdigest())


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(downloads, "PAUSE_S", 0.001)
    with serve(Site({"/lung.tar": ARCHIVE})) as served:
        yield served


def test_the_archive_becomes_a_decathlon_folder(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "data" / "Task06_Lung"
    assert fetch(site, out) == out
    assert [path.name for path in out.parent.iterdir()] == ["Task06_Lung"]
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found == {name: content for name, content in FILES.items() if "._" not in name}
    cases = find_cases(out)
    assert [case.id for case in cases] == ["lung_001", "lung_002", "lung_003"]
    assert [case.label is None for case in cases] == [False, True, False]


def test_a_second_run_costs_nothing(site: Site, tmp_path: Path) -> None:
    fetch(site, tmp_path / "lung")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    site.asked.clear()
    fetch(site, tmp_path / "lung")
    assert site.asked == [] and before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_a_cut_transfer_is_resumed_by_range(site: Site, tmp_path: Path) -> None:
    site.cuts = [len(ARCHIVE) // 2]
    fetch(site, tmp_path / "lung")
    assert site.asked == [("/lung.tar", None), ("/lung.tar", f"bytes={len(ARCHIVE) // 2}-")]
    assert len(find_cases(tmp_path / "lung")) == 3


def test_a_server_that_ignores_ranges_will_do(site: Site, tmp_path: Path) -> None:
    site.ranges, site.cuts = False, [len(ARCHIVE) // 2]
    assert len(find_cases(fetch(site, tmp_path / "lung"))) == 3


def test_a_file_that_was_lost_is_brought_back(site: Site, tmp_path: Path) -> None:
    out = fetch(site, tmp_path / "lung")
    lost = out / "labelsTr" / "lung_003.nii.gz"
    lost.unlink()
    (out / "notes.txt").write_text("mine")
    fetch(site, out)
    assert lost.read_bytes() == FILES["labelsTr/lung_003.nii.gz"] and (out / "notes.txt").read_text() == "mine"


def test_an_archive_brought_by_hand_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "lung.tar").write_bytes(ARCHIVE)
    out = fetch_decathlon(tmp_path / "lung", "http://127.0.0.1:9/", md5=hashlib.md5(ARCHIVE).hexdigest())
    assert len(find_cases(out)) == 3


def test_a_wrong_md5_or_size_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not the file that is expected"):
        fetch_decathlon(tmp_path / "lung", url=f"{site.url}/lung.tar")
    md5 = hashlib.md5(ARCHIVE).hexdigest()
    with pytest.raises(SourceError, match=f"has {len(ARCHIVE)} bytes, not 7"):
        fetch_decathlon(tmp_path / "lung", url=f"{site.url}/lung.tar", md5=md5, size=7)
    assert list(tmp_path.iterdir()) == []


HARMFUL = {
    "a parent folder": (special("../../evil.txt", size=4), "outside"),
    "a parent folder within": (special("Task06_Lung/../../evil.txt", size=4), "outside"),
    "an absolute path": (special("/tmp/evil.txt", size=4), "outside"),
    "a Windows path": (special("..\\evil.txt", size=4), "outside"),
    "a Windows drive": (special("C:/evil.txt", size=4), "outside"),
    "a folder outside": (special("../evil", tarfile.DIRTYPE), "outside"),
    "a symbolic link": (special("Task06_Lung/evil", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
    "a symbolic link within": (special("Task06_Lung/evil", tarfile.SYMTYPE, "dataset.json"), "is a link"),
    "a hard link": (
        special("Task06_Lung/evil", tarfile.LNKTYPE, "Task06_Lung/dataset.json"),
        "is a link",
    ),
    "a hidden link": (special("Task06_Lung/._evil", tarfile.SYMTYPE, "/etc"), "is a link"),
    "a character device": (special("Task06_Lung/evil", tarfile.CHRTYPE), "special file"),
    "a block device": (special("Task06_Lung/evil", tarfile.BLKTYPE), "special file"),
    "a pipe": (special("Task06_Lung/evil", tarfile.FIFOTYPE), "special file"),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_an_archive_with_a_harmful_member_is_not_unpacked(site: Site, tmp_path: Path, kind: str) -> None:
    member, words = HARMFUL[kind]
    site.files["/lung.tar"] = tar(FILES, member)
    with pytest.raises(SourceError, match=words) as caught:
        fetch(site, tmp_path / "data" / "lung")
    assert repr(member.name) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "lung.tar"]


WRONG = {
    "no tar": (b"<html>sign in</html>" * 100, "not a whole tar"),
    "cut inside": (ARCHIVE[: len(ARCHIVE) // 2], "not a whole tar"),
    "no description": (tar({"imagesTr/lung_001.nii.gz": b"x"}), "no dataset.json"),
    "bad description": (tar({"dataset.json": b"[1, 2"}), "lacks dataset.json"),
    "no cases": (tar({"dataset.json": b'{"training": [], "test": []}'}), "lacks training cases"),
    "a missing label": (
        tar({name: content for name, content in FILES.items() if name != "labelsTr/lung_003.nii.gz"}),
        "lacks ./labelsTr/lung_003.nii.gz",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_archive_that_is_not_task06_is_refused(site: Site, tmp_path: Path, kind: str) -> None:
    site.files["/lung.tar"], words = WRONG[kind]
    with pytest.raises(SourceError) as caught:
        fetch(site, tmp_path / "lung")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "lung").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the archive, but not for archive and files together."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = (len(ARCHIVE) * 3 // 2) // 4096 * 4096
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs the superuser")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_small_disk_is_refused_before_the_transfer(site: Site, small_disk: Path) -> None:
    with pytest.raises(SourceError, match="GB of free disk"):
        fetch(site, small_disk / "lung")
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_while_unpacking_keeps_the_archive(
    site: Site, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blind to the free space, as when another program takes it meanwhile.
    from lungseg_helpers.sources import task06

    for module in (downloads, task06):
        monkeypatch.setattr(module, "require_room", lambda folder, needed: None)
    with pytest.raises(SourceError, match="the disk is full; make room"):
        fetch(site, small_disk / "lung")
    assert [path.name for path in small_disk.iterdir()] == ["lung.tar"]
    assert len(site.asked) == 1
    subprocess.run(["mount", "-o", f"remount,size={len(ARCHIVE) * 3}", small_disk], check=True)
    assert len(find_cases(fetch(site, small_disk / "lung"))) == 3
    assert len(site.asked) == 1


def test_random_bytes_for_an_archive_never_escape_as_another_error(site: Site, tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    heads = [i for i in range(0, len(ARCHIVE), 512) if ARCHIVE[i : i + 12] == b"Task06_Lung/"]
    for number in range(60):
        damaged = bytearray(ARCHIVE)
        for _ in range(3):
            damaged[random.choice(heads) + random.integers(512)] = random.integers(256)
        site.files["/lung.tar"] = bytes(damaged)
        out = tmp_path / str(number) / "lung"
        try:
            fetch(site, out)
        except SourceError as error:
            assert "\n" not in str(error)
        assert {p.name for p in (tmp_path / str(number)).iterdir()} <= {"lung", "lung.tar"}
