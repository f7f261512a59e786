"""The module registry: the real pip client, against an index on the loopback address."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Site, serve

from lungseg_helpers.errors import SourceError
from lungseg_helpers.sources import downloads, registry
from lungseg_helpers.sources.registry import Package, fetch_source, fetch_wheel


def make_wheel() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("tinyscan/data/scan.txt", "a scan")
        archive.writestr("tinyscan-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyscan\nVersion: 1.0\n")
        archive.writestr(
            "tinyscan-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tinyscan-1.0.dist-info/RECORD", "")
    return stream.getvalue()


WHEEL = make_wheel()


def make_source(marker: Path) -> bytes:
    """A source archive whose build backend, which needs no package, leaves ``marker`` when it is run."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"open({str(marker)!r}, 'w').close()\n",
        "PKG-INFO": "Metadata-Version: 2.1\nName: rawscan\nVersion: 1.0\n",
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"rawscan-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def package(name: str, file: str, content: bytes) -> Package:
    return Package(name, "1.0", file, hashlib.sha256(content).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An index with one wheel and one source archive, and pip set to use it alone."""
    page = '<!doctype html><a href="/files/{0}">{0}</a>'
    site = Site(
        {
            "/simple/tinyscan/": page.format("tinyscan-1.0-py3-none-any.whl").encode(),
            "/files/tinyscan-1.0-py3-none-any.whl": WHEEL,
            "/simple/rawscan/": page.format("rawscan-1.0.tar.gz").encode(),
            "/files/rawscan-1.0.tar.gz": make_source(tmp_path / "it_ran"),
        }
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(downloads, "PAUSE_S", 0.001)
    with serve(site):
        settings = {
            "CONFIG_FILE": os.devnull,
            "INDEX_URL": f"{site.url}/simple",
            "RETRIES": "0",
            "NO_CACHE_DIR": "1",
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"PIP_{name}", value)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield site


TINY = package("tinyscan", "tinyscan-1.0-py3-none-any.whl", WHEEL)


def raw(index: Site) -> Package:
    return package("rawscan", "rawscan-1.0.tar.gz", index.files["/files/rawscan-1.0.tar.gz"])


def test_a_wheel_is_fetched_once_and_nothing_is_installed(
    index: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    path = fetch_wheel(TINY, cache)
    assert path.read_bytes() == WHEEL and list(cache.iterdir()) == [path]
    index.files.clear()
    index.asked.clear()
    assert fetch_wheel(TINY, cache) == path and index.asked == []
    assert subprocess.run([sys.executable, "-c", "import tinyscan"], capture_output=True).returncode != 0
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_damaged_file_in_the_cache_is_fetched_again(index: Site, tmp_path: Path) -> None:
    (tmp_path / TINY.file).write_bytes(WHEEL[:-1])
    assert fetch_wheel(TINY, tmp_path).read_bytes() == WHEEL


def test_a_wrong_digest_is_refused_and_nothing_is_kept(index: Site, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(SourceError, match=r"^tinyscan 1\.0: [^\n]* has SHA-256 [^\n]*; [^\n]*thrown away"):
        fetch_wheel(Package("tinyscan", "1.0", TINY.file, "0" * 64), cache)
    with pytest.raises(SourceError, match="not the file that is expected"):
        fetch_source(Package("rawscan", "1.0", "rawscan-1.0.tar.gz", "0" * 64), cache)
    assert list(cache.iterdir()) == []


def test_without_a_network_there_is_one_line(index: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for fetch, wanted in ((fetch_wheel, TINY), (fetch_source, raw(index))):
        with pytest.raises(SourceError, match=rf"^{wanted.name} 1\.0: pip cannot [^\n]+; check the network[^\n]+$"):
            fetch(wanted, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_source_archive_is_fetched_without_running_it(index: Site, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    wanted = raw(index)
    path = fetch_source(wanted, cache)
    assert path.read_bytes() == index.files["/files/rawscan-1.0.tar.gz"]
    assert list(cache.iterdir()) == [path]
    assert not (tmp_path / "it_ran").exists()
    # The plain command does run it, so its not having run means something.
    registry._run_pip("download", "--no-deps", f"--dest={tmp_path}", "rawscan==1.0")
    assert (tmp_path / "it_ran").exists()
    index.files.clear()
    assert fetch_source(wanted, cache) == path


def test_a_source_archive_in_a_folder_of_pips_is_found(
    index: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "rawscan-1.0.tar.gz").write_bytes(index.files["/files/rawscan-1.0.tar.gz"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    assert fetch_source(raw(index), tmp_path / "cache").is_file()
    assert not (tmp_path / "it_ran").exists()


def test_a_package_without_a_wheel_is_not_built(index: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="pip cannot download it"):
        fetch_wheel(raw(index), tmp_path / "cache")
    assert not (tmp_path / "it_ran").exists()


def test_a_download_that_dies_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying_pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        folder = next(Path(word.removeprefix("--dest=")) for word in command if word.startswith("--dest="))
        (folder / TINY.file).write_bytes(WHEEL[:100])
        return subprocess.CompletedProcess(command, 2, "Collecting tinyscan\nERROR: Connection broken\n")

    monkeypatch.setattr(registry.subprocess, "run", dying_pip)
    with pytest.raises(SourceError, match=r"tinyscan 1\.0: pip cannot download it \(Connection broken\)"):
        fetch_wheel(TINY, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_environment_without_pip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = tmp_path / "python"
    without.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S -I \"$@\"\n")
    without.chmod(0o755)
    monkeypatch.setattr(registry.sys, "executable", str(without))
    with pytest.raises(SourceError, match="No module named pip"):
        fetch_wheel(TINY, tmp_path / "cache")
