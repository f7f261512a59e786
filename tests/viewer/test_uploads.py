"""What the page takes from a browser, and what it refuses in one line: no name is a path, and nothing stays."""

import gzip
import io
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicoms import write_series
from toy import toy_volume

from lungseg_helpers.errors import ScanError
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.viewer import uploads as module
from lungseg_helpers.viewer.uploads import FOLDERS, Uploads


@pytest.fixture
def uploads(tmp_path):
    (tmp_path / "sessions").mkdir()
    one = Uploads(tmp_path / "sessions", inflated_limit=10**8)
    yield one
    one.close()


def sent(uploads, content, name="scan.nii.gz"):
    with uploads.begin(name) as file:
        file.write(content)
    case, notes = uploads.case()
    assert notes == []
    return case


def zipped(files, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return stream.getvalue()


def series(tmp_path):
    write_series(tmp_path / "slices")
    return [(path.name, path.read_bytes()) for path in sorted((tmp_path / "slices").iterdir())]


def test_a_session_has_a_folder_of_its_own_that_nobody_else_may_enter(tmp_path):
    one, other = Uploads(tmp_path), Uploads(tmp_path)
    assert one.folder != other.folder
    assert stat.S_IMODE(one.folder.stat().st_mode) == 0o700
    for each in (one, other, one):
        each.close()
    assert not [*tmp_path.iterdir()]


def test_a_folder_goes_with_its_process_and_what_a_killed_one_left_goes_with_the_next(tmp_path):
    code = "import os, sys; from lungseg_helpers.viewer.uploads import Uploads; print(Uploads(sys.argv[1]).folder)"
    for end in ("", "; os._exit(1)"):
        command = [sys.executable, "-u", "-c", code + end, str(tmp_path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        left = Path(done.stdout.strip())
        assert left.exists() is bool(end)
    Uploads(tmp_path).close()
    assert not [*tmp_path.glob(f"{FOLDERS}*")]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_comes_as_it_is(toy_case, uploads, ending):
    image = toy_case().image
    content = image.read_bytes() if ending == ".nii.gz" else gzip.decompress(image.read_bytes())
    case = sent(uploads, content, "../../x" + ending)
    assert (read_scan(case.image).voxels == read_scan(image).voxels).all()
    assert {path.name for path in uploads.folder.iterdir()} == {"scan" + ending}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_nrrd_and_mha_keep_voxels_and_geometry(toy_case, uploads, tmp_path, ending, line_end):
    scan = read_scan(toy_case().image)
    image = sitk.GetImageFromArray(scan.voxels.transpose(2, 1, 0))
    image.SetSpacing([float(mm) for mm in scan.spacing])
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"), useCompression=True)
    content = (tmp_path / f"a{ending}").read_bytes()
    end = content.index(b"\n\n") + 2 if ending == ".nrrd" else content.index(b"LOCAL\n") + 6
    content = content[:end].replace(b"\n", line_end) + content[end:]
    found = read_scan(sent(uploads, content, f"a{ending}").image)
    assert (found.voxels == scan.voxels).all()
    assert np.allclose(found.spacing, scan.spacing)


def test_a_zipped_series_becomes_a_scan(uploads, tmp_path):
    files = series(tmp_path)
    case = sent(uploads, zipped([(f"a folder/{name}", content) for name, content in files]), "series.zip")
    assert (read_scan(case.image).voxels.shape, len(files)) == (toy_volume()[0].shape, 40)


def test_the_longest_series_of_an_archive_is_taken_and_its_text_files_are_left(uploads, tmp_path):
    write_series(tmp_path / "short", toy_volume()[0][..., :12], number=4)
    short = [("b/" + path.name, path.read_bytes()) for path in (tmp_path / "short").iterdir()]
    case = sent(uploads, zipped([("readme.txt", b"hello"), *short, *series(tmp_path)]), "series.zip")
    assert read_scan(case.image).voxels.shape[2] == 40


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 9 9 9\nendian: little\nencoding: raw\n"
MHA = b"ObjectType = Image\nNDims = 3\nDimSize = 9 9 9\nElementType = MET_SHORT\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"Dear reader, this is a text.", "no scan that can be read here, whatever it is called"),
        (b"\x1f\x8b" + b"no gzip at all", "cannot be inflated"),
        (gzip.compress(b"text " * 99), "is not NIfTI"),
        (NRRD + b"data file: /etc/passwd\n\n", "from another file"),
        (NRRD + b"DATAFILE: LIST\n/etc/passwd\n\n", "from another file"),
        (MHA + b"ElementDataFile = /etc/passwd\n", "from another file"),
        (MHA + b"ElementDataFile = LIST\n/etc/passwd\n", "from another file"),
        (NRRD + b"# a long comment\n" * 5000 + b"data file: /etc/passwd\n\n", "from another file"),
        (NRRD.replace(b"\n", b"\r") + b"data file: /etc/passwd\r\r", "from another file"),
        (NRRD + b"\r\r\ndata file: /etc/passwd\n\n", "from another file"),
        (MHA + b"ElementDataFile = /etc/passwd\nElementDataFile = LOCAL\n", "from another file"),
        (MHA + b"ElementDataFile : /etc/passwd\nElementDataFile = LOCAL\n", "from another file"),
        (MHA + b"Comment = x\rElementDataFile = /etc/passwd\nElementDataFile = LOCAL\n", "from another file"),
        (
            MHA + b"Comment =\nElementDataFile = LOCAL\n" + b"Name = x\n" * 9999 + b"ElementDataFile = /etc/passwd\n",
            "from another file",
        ),
        (NRRD.replace(b"9 9 9", b"9999 9999 9999") + b"\n", "more than this page takes"),
        (MHA.replace(b"9 9 9", b"9999 9999 9999") + b"ElementDataFile = LOCAL\n", "more than this page takes"),
        (zipped([("../../etc/evil.dcm", b"x")]), "leads out of it"),
        (zipped([("..\\evil.dcm", b"x")]), "leads out of it"),
        (zipped([("/etc/evil.dcm", b"x")]), "leads out of it"),
        (zipped([("C:evil.dcm", b"x")]), "leads out of it"),
        (zipped([(f"{number}.dcm", bytes(6 * 10**7)) for number in range(2)]), "inflates to 0.1 GB"),
        (zipped([("large.dcm", bytes(7 * 10**7))]), "no slice is so large"),
        (zipped([(f"{number}", b"") for number in range(5001)]), "holds 5001 files"),
        (zipped([("a.dcm", b"x"), ("b.txt", b"y")]), "no CT series"),
        (zipped([("a.dcm", bytes(200) + b"1.2.840.10008.1.2.1.99")]), "deflated once more"),
        (b"PK\x03\x04" + bytes(99), "cannot be unpacked"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_scan_or_no_friend_is_one_readable_line(uploads, content, said):
    with pytest.raises(ScanError) as caught:
        read_scan(sent(uploads, content).image)
    line = uploads.hidden(str(caught.value))
    assert said in line and "\n" not in line and len(line) < 260
    assert str(uploads.folder) not in line and "/etc" not in line


def test_a_link_in_an_archive_is_refused(uploads):
    link = zipfile.ZipInfo("a.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ScanError, match="holds a link"):
        sent(uploads, zipped([(link, b"/etc/passwd")]))


def test_a_gzip_bomb_is_counted_and_not_read(uploads):
    bomb = gzip.compress(struct.pack("<i", 348) + bytes(10**8), 9)
    assert len(bomb) < 2 * 10**5
    with pytest.raises(ScanError, match="inflates to more than"):
        sent(uploads, bomb)


def test_an_archive_that_lies_about_its_sizes_is_refused(uploads):
    honest = bytearray(zipped([("a.dcm", bytes(10**6))]))
    for mark, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):  # where each header says the inflated size
        at = honest.find(mark) + place
        honest[at : at + 4] = struct.pack("<I", 1000)
    with pytest.raises(ScanError, match="archive"):
        sent(uploads, bytes(honest))


def test_slices_whose_header_is_larger_than_their_file_are_counted_by_it(uploads, tmp_path, monkeypatch):
    content = zipped(series(tmp_path))
    unpack = module._unpack
    monkeypatch.setattr(module, "_unpack", lambda archive, folder, limit: unpack(archive, folder, 10**9))
    monkeypatch.setattr(uploads, "_limit", 2 * 96 * 96 * 39)
    with pytest.raises(ScanError, match="more than this page takes"):
        sent(uploads, content)


def test_the_next_file_clears_what_the_one_before_left(toy_case, uploads):
    sent(uploads, toy_case().image.read_bytes())
    with uploads.begin("other"):
        assert [path.name for path in uploads.folder.iterdir()] == ["upload"]
    uploads.clear()
    assert not [*uploads.folder.iterdir()]
