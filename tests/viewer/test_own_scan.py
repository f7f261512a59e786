"""A scan of one's own, from the first byte to the mask, with messages as a browser sends them."""

import base64
import gzip
import html
import io
import lzma
import re
import zipfile

import nibabel as nib
import numpy as np
import pytest
from dicoms import write_series
from toy import toy_volume

from lungseg_helpers.scans.nifti_bytes import read_nifti
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.viewer import desk
from lungseg_helpers.viewer.desk import OwnScan
from lungseg_helpers.viewer.receiver import Receiver


@pytest.fixture
def own(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one = OwnScan()
    yield one
    one.uploads.close()


def send(own, content, name, size=None, piece=50_000):
    sent = []
    own.receiver.send = lambda content, buffers=None: sent.append(content["kind"])
    own.receiver._hear(None, {"kind": "begin", "name": name, "size": len(content) if size is None else size}, [])
    for start in range(0, len(content), piece):
        own.receiver._hear(None, {"kind": "piece"}, [memoryview(content[start : start + piece])])
    own.receiver._hear(None, {"kind": "end"}, [])
    return sent


def said(own):
    return html.unescape(re.sub("<.*?>", " ", own.lines.value))


def test_a_scan_is_segmented_and_its_mask_can_be_taken_along(own, toy_case, tmp_path):
    case = toy_case()
    seen = []
    own.lines.observe(lambda change: seen.append(said(own)), "value")
    send(own, case.image.read_bytes(), "../<b>my</b>.nii.gz")
    assert "checked and segmented" in seen[-1] and "../<b>my</b>.nii.gz" in seen[-1]
    for step in ("receiving", "checking", "preparing", "segmenting", "measuring"):
        assert any(step in line for line in seen), step
    assert "<b>my" not in own.lines.value
    (packed,) = re.findall(
        r'download="scan_pred.nii.gz" href="data:application/gzip;base64,([^"]*)"', own.download.value
    )
    (tmp_path / "mask.nii.gz").write_bytes(base64.b64decode(packed))
    mask, scan = read_scan(tmp_path / "mask.nii.gz", "label"), read_scan(case.image)
    assert mask.voxels.shape == scan.voxels.shape and np.allclose(mask.affine, scan.affine)
    assert [volume.name for volume in own.viewer.nv.volumes][:2] == ["ct.nii", "prediction.nii"]
    assert not [*own.uploads.folder.iterdir()], "nothing of the scan stays on disk"
    assert not own.receiver.busy


def test_what_reading_has_to_note_stands_on_the_page(own, tmp_path):
    write_series(tmp_path / "ct", toy_volume()[0] + 1024, rescale=False)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted((tmp_path / "ct").iterdir()):
            archive.write(path, path.name)
    send(own, stream.getvalue(), "series.zip")
    assert "checked and segmented" in said(own) and "no rescale tags; the usual intercept" in said(own)
    assert str(own.uploads.folder) not in said(own)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"This is a text.", "no scan that can be read here"),
        (gzip.compress(b"This is a text." * 99), "is not NIfTI"),
        (b"", "empty"),
    ],
)
def test_what_is_no_scan_ends_in_a_line(own, content, line):
    send(own, content, "text.nii.gz")
    assert line in said(own) and str(own.uploads.folder) not in said(own)
    assert own.viewer.panel.layout.display == "none" and not [*own.uploads.folder.iterdir()]


def test_a_scan_that_fails_the_check_is_told_as_lungseg_check_tells_it(own, toy_case, tmp_path):
    case = toy_case()
    raw, header = read_nifti(case.image)
    wrong = tmp_path / "wrong.nii"
    image = np.full(raw.shape, 7, np.int16)
    nib.save(nib.Nifti1Image(image, header.get_best_affine()), wrong)
    send(own, wrong.read_bytes(), "wrong.nii")
    assert "holds 7 in every voxel" in said(own)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "not enough memory",
        ),
        (lzma.LZMAError("Corrupt input data"), "LZMAError (Corrupt input data); please report it"),
        (OSError(28, "No space left on device"), "No space left on device; check the path, the disk"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_an_error_of_any_kind_ends_in_a_line(own, toy_case, monkeypatch, error, line):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(desk, "predict_case", fail)
    send(own, toy_case().image.read_bytes(), "a.nii.gz")
    assert line in said(own) and "try again" not in said(own)
    assert not own.receiver.busy and not [*own.uploads.folder.iterdir()]


def test_more_than_the_limit_is_refused_whatever_the_browser_says(own):
    for size in (3 * 10**9, 10):  # the second one lies
        own.receiver.limit = 120_000
        sent = send(own, bytes(300_000), "large.nii", size)
        assert sent[-1] == "stop" and "are taken" in said(own) and "\n" not in said(own)
        assert not [*own.uploads.folder.iterdir()]


def test_a_refusal_by_the_browser_and_a_broken_file_are_told_too(own):
    own.receiver._hear(None, {"kind": "refused", "name": "a.nii", "size": 2 * 10**9}, [])
    assert "2,000 MB" in said(own)
    own.receiver._hear(None, {"kind": "begin", "name": "a.nii", "size": 9}, [])
    own.receiver._hear(None, {"kind": "broken"}, [])
    assert "could not read the file" in said(own)


@pytest.mark.parametrize(
    "message", [{}, {"kind": "begin"}, {"kind": "begin", "name": "x", "size": "y"}, {"kind": "piece"}]
)
def test_messages_of_another_form_do_no_harm(own, message):
    own.receiver._hear(None, {"kind": "begin", "name": "a.nii", "size": 9}, [])
    own.receiver._hear(None, message, [])
    assert not own.receiver.busy and isinstance(own.receiver, Receiver)


def test_two_sessions_have_nothing_in_common(own, toy_case):
    other = OwnScan()
    send(own, toy_case().image.read_bytes(), "mine.nii.gz")
    assert "mine" in said(own) and said(other) == ""
    assert other.viewer.nv.volumes == [] and other.uploads.folder != own.uploads.folder
    other.uploads.close()
