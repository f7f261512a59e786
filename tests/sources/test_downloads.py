"""The module downloads, against a server on the loopback address."""

from __future__ import annotations

import hashlib
import resource
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import Site, serve

from lungseg_helpers.errors import SourceError
from lungseg_helpers.sources import downloads
from lungseg_helpers.sources.downloads import download

BODY = np.random.default_rng(6).bytes(3_000_000)
DIGEST = "md5:" + hashlib.md5(BODY).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(downloads, "PAUSE_S", 0.001)
    with serve(Site({"/scans.tar": BODY})) as served:
        yield served


def test_a_file_arrives_whole_and_is_not_fetched_twice(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "scans.tar"
    assert download(f"{site.url}/scans.tar", target, DIGEST, size=len(BODY)) == target
    assert target.read_bytes() == BODY and [p.name for p in target.parent.iterdir()] == ["scans.tar"]
    assert download(f"{site.url}/scans.tar", target, DIGEST) == target
    assert len(site.asked) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "100%" in captured.err


def test_a_cut_transfer_goes_on_by_range(site: Site, tmp_path: Path) -> None:
    site.cuts = [1_000_000, 500_000]
    assert download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST).read_bytes() == BODY
    assert [asked for _, asked in site.asked] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_run_goes_on_where_one_gave_up(site: Site, tmp_path: Path) -> None:
    site.cuts = [2_000_000] + [0] * downloads.ATTEMPTS
    with pytest.raises(SourceError, match=r"broke off 5 times at 2\.0 MB.*run again"):
        download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST)
    assert not (tmp_path / "scans.tar").exists()
    site.asked.clear()
    assert download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST).read_bytes() == BODY
    assert site.asked == [("/scans.tar", "bytes=2000000-")]


def test_a_killed_run_that_had_it_all_is_recognised(site: Site, tmp_path: Path) -> None:
    (tmp_path / "scans.tar.part").write_bytes(BODY)
    assert download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST).read_bytes() == BODY


def test_a_server_that_ignores_ranges_sends_it_all_again(site: Site, tmp_path: Path) -> None:
    site.ranges, site.cuts = False, [1_000_000]
    assert download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST).read_bytes() == BODY
    assert [asked for _, asked in site.asked] == [None, "bytes=1000000-"]


@pytest.mark.parametrize("left", [b"of another version", BODY + b"too long", b"x" * len(BODY)])
def test_a_wrong_beginning_is_fetched_again(site: Site, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "scans.tar.part").write_bytes(left)
    assert download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST).read_bytes() == BODY


def test_a_truncated_file_in_its_place_is_completed(site: Site, tmp_path: Path) -> None:
    (tmp_path / "scans.tar").write_bytes(BODY[:1000])
    assert download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST).read_bytes() == BODY
    assert site.asked == [("/scans.tar", "bytes=1000-")]


def test_a_wrong_digest_is_refused_and_nothing_is_kept(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not the file that is expected"):
        download(f"{site.url}/scans.tar", tmp_path / "scans.tar", "md5:" + "0" * 32)
    assert list(tmp_path.iterdir()) == [] and len(site.asked) == 1


def test_a_wrong_size_is_refused_before_the_transfer(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has 3000000 bytes, not 3000001"):
        download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST, size=len(BODY) + 1)
    assert list(tmp_path.iterdir()) == []


def test_a_server_in_trouble_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.status = [503, 429]
    assert download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST).read_bytes() == BODY
    site.status = [500] * downloads.ATTEMPTS
    with pytest.raises(SourceError, match=r"broke off .*500"):
        download(f"{site.url}/scans.tar", tmp_path / "more.tar", DIGEST)


def test_a_wrong_address_is_refused_at_once(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="404 Not Found; check the address"):
        download(f"{site.url}/scan.tar", tmp_path / "scans.tar", DIGEST)
    assert len(site.asked) == 1
    for address in ("scans.tar", "ftp://127.0.0.1/scans.tar", "http://"):
        with pytest.raises(SourceError, match="no address of a file"):
            download(address, tmp_path / "scans.tar", DIGEST)


def test_without_a_network_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE_S", 0.001)
    with pytest.raises(SourceError, match=r"^[^\n]+check the network[^\n]+$"):
        download("http://127.0.0.1:9/scans.tar", tmp_path / "scans.tar", DIGEST)


def test_a_disk_with_too_little_room_is_seen_beforehand(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**7, 6 * 10**6, 4 * 10**6))
    with pytest.raises(SourceError, match=r"needs 0\.006 GB of free disk but has 0\.004 GB"):
        download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST, room=2.0)
    assert download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST).is_file()


def test_a_disk_that_fills_up_keeps_what_has_arrived(site: Site, tmp_path: Path) -> None:
    # A limit on file sizes is a quota that every user may set; Python turns its signal into an error.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
    try:
        with pytest.raises(SourceError, match="the disk is full; make room"):
            download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept = (tmp_path / "scans.tar.part").stat().st_size
    assert 0 < kept <= 1_500_000
    assert download(f"{site.url}/scans.tar", tmp_path / "scans.tar", DIGEST).read_bytes() == BODY
    assert site.asked[-1] == ("/scans.tar", f"bytes={kept}-")
