"""Geometry on the way in and back, and stacks on disk."""

import errno
import json
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from steps import steps_of
from toy import SHAPE

from lungseg_helpers.errors import ScanError, StackError
from lungseg_helpers.preprocessing.grids import OVERSHOOT, ct_to_grid, from_grid, make_grid, mask_to_grid
from lungseg_helpers.preprocessing.prepare import is_current, prepare
from lungseg_helpers.preprocessing.stacks import make_stack, open_stack, save_stack, stacks_dir
from lungseg_helpers.scans.orientation import oriented, oriented_spacing, unoriented
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.scans.view import open_view

ORIENTATIONS = ["LPS", "RAS", "LAS", "SPL", "AIR"]


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_every_orientation_gives_the_same_view(toy_case, axcodes):
    view = open_view(toy_case("a", "LPS").image)
    other_case = toy_case("b", axcodes)
    other = open_view(other_case.image, truth=other_case.label)
    np.testing.assert_array_equal(view.ct, other.ct)
    assert other.spacing == pytest.approx((6.0, 4.0, 4.0))
    np.testing.assert_allclose(other.z_mm, np.arange(40) * 6.0)


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
@pytest.mark.parametrize("tilt", [0.0, 12.0])
def test_orienting_and_back_is_exact(toy_case, axcodes, tilt):
    scan = read_scan(toy_case("a", axcodes, tilt_deg=tilt).image)
    np.testing.assert_array_equal(unoriented(oriented(scan.voxels, scan.affine), scan.affine), scan.voxels)


def test_view_is_as_a_radiologist_looks(toy_case):
    """In an RAS file the last x is the patient's right, the last y anterior, the first z inferior."""
    scan = read_scan(toy_case("a", "RAS").image)
    voxels = np.zeros(scan.voxels.shape, np.int16)
    voxels[-1, -1, 0] = 1
    assert np.argwhere(oriented(voxels, scan.affine)).tolist() == [[0, 0, 0]]


def test_box_holds_the_lungs_and_a_margin(toy_case, toy_recipe):
    scan = read_scan(toy_case().image)
    ct = oriented(scan.voxels, scan.affine)
    grid = make_grid(ct, oriented_spacing(scan.affine), toy_recipe)
    lungs = np.argwhere((ct < -760) & (ct > -880))
    inside = [
        (lungs[:, axis].min() >= first) and (lungs[:, axis].max() < last) for axis, (first, last) in enumerate(grid.box)
    ]
    assert all(inside)
    assert grid.box[2][0] > 0 and grid.box[2][1] < ct.shape[2], "nothing was cropped"


def test_resizing_keeps_positions(toy_case, toy_recipe):
    """A shift of half a pixel between CT and mask would be invisible in a Dice, but not here."""
    case = toy_case()
    stack = make_stack(case, toy_recipe)
    label = read_scan(case.label, "label")
    full = oriented(label.voxels, label.affine)
    centre = [np.mean(axis) for axis in np.nonzero(full)]
    found = [np.average(axis, weights=stack.share) for axis in np.indices(stack.share.shape)]
    for axis in (1, 2):
        scale = stack.grid.spacing[axis] / oriented_spacing(label.affine)[axis]
        mapped = (found[axis] + 0.5) * scale - 0.5 + stack.grid.box[axis][0]
        assert mapped == pytest.approx(centre[axis], abs=0.02)


def test_reference_crop_drops_thirty_slices(toy_case, toy_recipe):
    recipe = replace(toy_recipe, crop="first_30", pixel_mm=None, frame=(64, 64))
    stack = make_stack(toy_case(), recipe)
    assert stack.ct.shape == (10, 64, 64)
    short = np.zeros((30, 8, 8), np.int16)
    with pytest.raises(ScanError, match="drops the first 30"):
        make_grid(short, (1, 1, 1), recipe)


def test_masks_stay_binary_and_ct_stays_hu(toy_case, toy_recipe):
    stack = make_stack(toy_case(), toy_recipe)
    assert stack.ct.dtype == np.int16 and stack.mask.dtype == stack.share.dtype == np.uint8
    assert set(np.unique(stack.mask)) == {0, 1}
    assert stack.share.max() == 255 and len(np.unique(stack.share)) > 10
    assert stack.ct.min() >= -1024 and -860 < np.median(stack.ct[stack.ct < -500]) < -780


def test_stack_on_disk_opens_as_it_was(toy_case, toy_recipe, tmp_path):
    stack = make_stack(toy_case(), toy_recipe)
    again = open_stack(save_stack(stack, tmp_path / "stacks"))
    np.testing.assert_array_equal(again.ct, stack.ct)
    np.testing.assert_array_equal(again.share, stack.share)
    assert again.grid == stack.grid
    assert isinstance(again.ct, np.memmap)
    assert again.tumour_slices == np.flatnonzero(stack.share.any(axis=(1, 2))).tolist()
    assert [path.name for path in (tmp_path / "stacks").iterdir()] == [stack.id]


def test_hundreds_of_stacks_hold_no_file_open(toy_case, toy_recipe, tmp_path):
    """Where a process may have 64 files open, as macOS allows 256: a stack that kept its arrays open would need 2."""
    first = save_stack(make_stack(toy_case(), toy_recipe), tmp_path / "stacks")
    for number in range(219):
        shutil.copytree(first, tmp_path / "stacks" / f"copy_{number}")
    code = """
import resource, sys
from pathlib import Path
from lungseg_helpers.preprocessing.stacks import open_stack
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
stacks = [open_stack(folder) for folder in sorted(Path(sys.argv[1]).iterdir())]
print(len(stacks), {(int(stack.ct[20].sum()), int(stack.share[20].sum())) for stack in stacks})
"""
    done = subprocess.run([sys.executable, "-c", code, first.parent], capture_output=True, text=True, timeout=60)
    stack = open_stack(first)
    assert done.stdout.split(maxsplit=1) == ["220", f"{ {(int(stack.ct[20].sum()), int(stack.share[20].sum()))} }\n"], (
        done.stderr
    )


def test_a_stack_is_sent_to_another_process_as_its_path(toy_case, toy_recipe, tmp_path, monkeypatch):
    folder = save_stack(make_stack(toy_case(), toy_recipe), tmp_path / "stacks")
    monkeypatch.chdir(folder.parent)
    stack = open_stack(Path(folder.name))
    sent = pickle.dumps(stack)
    assert len(sent) < 4000 < stack.ct.nbytes
    monkeypatch.chdir("/")
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.ct, stack.ct)
    np.testing.assert_array_equal(again.share, stack.share)
    assert again.grid == stack.grid


def test_a_stack_whose_files_went_says_what_to_do(toy_case, toy_recipe, tmp_path):
    folder = save_stack(make_stack(toy_case(), toy_recipe), tmp_path / "stacks")
    stack = open_stack(folder)
    shutil.rmtree(folder)
    with pytest.raises(StackError, match=r"ct\.npy: cannot be read .*lungseg prepare"):
        stack.ct  # noqa: B018


@pytest.mark.parametrize("name", ["ct.npy", "share.npy", "case.json"])
@pytest.mark.parametrize("kept", [0, 200])
def test_an_incomplete_stack_is_refused_and_made_again(toy_case, toy_recipe, tmp_path, name, kept):
    case = toy_case()
    (folder,), _ = prepare([case], toy_recipe, tmp_path / "stacks", workers=1)
    whole = files_of(folder.parent)
    (folder / name).write_bytes((folder / name).read_bytes()[:kept])
    with pytest.raises(StackError, match="lungseg prepare"):
        open_stack(folder)
    assert prepare([case], toy_recipe, tmp_path / "stacks", workers=1) == ([folder], [])
    assert files_of(folder.parent) == whole


def test_of_two_processes_that_save_the_same_stack_the_second_finds_it_there(
    toy_case, toy_recipe, tmp_path, monkeypatch
):
    stack = make_stack(toy_case(), toy_recipe)
    folder = save_stack(stack, tmp_path / "stacks")
    monkeypatch.setattr(Path, "exists", lambda path: False)  # it was not there a moment ago
    assert save_stack(stack, tmp_path / "stacks") == folder
    assert [path.name for path in folder.parent.iterdir()] == [folder.name] and open_stack(folder).id == stack.id


def test_second_run_redoes_only_what_changed(toy_case, toy_recipe, tmp_path):
    cases = [toy_case("a"), toy_case("b")]
    folder = tmp_path / "stacks"
    prepare(cases, toy_recipe, folder, workers=1)
    times = {case.id: (folder / case.id / "case.json").stat().st_mtime_ns for case in cases}
    image = nib.load(cases[1].image)
    nib.save(nib.Nifti1Image(np.array(image.dataobj) + np.int16(1), image.affine), cases[1].image)
    good, problems = prepare(cases, toy_recipe, folder, workers=1)
    assert len(good) == 2 and not problems
    assert (folder / "a" / "case.json").stat().st_mtime_ns == times["a"]
    assert (folder / "b" / "case.json").stat().st_mtime_ns != times["b"]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every visible file of prepared stacks, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.glob("[!.]*/*"))}


def test_runs_killed_at_any_moment_leave_nothing_half_done(toy_case, toy_recipe, tmp_path):
    """SIGKILL before each step in turn: what is there opens, and the next run makes what an undisturbed one would."""
    cases = [toy_case(name) for name in "ab"]
    # a server that has imported everything forks each run
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["lungseg_helpers.preprocessing.stacks"])

    def exit_status(folder: Path, last: float, replaces: bool) -> int:
        if replaces:
            prepare(cases, replace(toy_recipe, crop_margin_mm=30.0), folder, workers=1)
        run = processes.Process(target=steps_of, args=(folder, last, cases, toy_recipe))
        run.start()
        run.join()
        return run.exitcode

    for replaces in (False, True):  # stacks of another setting
        undisturbed = tmp_path / f"undisturbed {replaces}"
        steps = exit_status(undisturbed, np.inf, replaces)
        assert steps > 4 * len(cases), "each stack has a folder and three files"
        for last in range(steps):
            folder = tmp_path / f"{replaces} {last}"
            assert exit_status(folder, last, replaces) == -signal.SIGKILL
            for path in folder.glob("[!.]*"):
                assert open_stack(path).ct.any()
            good, problems = prepare(cases, toy_recipe, folder, workers=1)
            assert not problems and [path.name for path in good] == list("ab")
            assert files_of(folder) == files_of(undisturbed)


def test_what_killed_runs_left_is_removed_when_it_is_old(toy_case, toy_recipe, tmp_path):
    folder = tmp_path / "stacks"
    for name in (".toy_001-old", ".toy_001-young"):
        (folder / name).mkdir(parents=True)
        (folder / name / "ct.npy").write_bytes(b"half")
    os.utime(folder / ".toy_001-old", (0, 0))
    prepare([toy_case()], toy_recipe, folder, workers=1)
    assert sorted(path.name for path in folder.iterdir()) == [".toy_001-young", "toy_001"]


def test_touching_a_file_does_not_rebuild_but_a_setting_does(toy_case, toy_recipe, tmp_path):
    case = toy_case()
    folder = save_stack(make_stack(case, toy_recipe), tmp_path / "stacks")
    case.image.touch()
    assert is_current(folder, case, toy_recipe)
    assert is_current(folder, case, replace(toy_recipe, learning_rate=0.5))
    assert not is_current(folder, case, replace(toy_recipe, pixel_mm=5.0))
    assert stacks_dir(tmp_path, toy_recipe) != stacks_dir(tmp_path, replace(toy_recipe, pixel_mm=5.0))


def test_one_bad_scan_is_named_and_the_rest_go_on(toy_case, toy_recipe, tmp_path):
    cases = [toy_case("a"), toy_case("b"), toy_case("c")]
    cases[1].image.write_bytes(b"not a scan")
    good, problems = prepare(cases, toy_recipe, tmp_path / "stacks", workers=2)
    assert [path.name for path in good] == ["a", "c"]
    assert len(problems) == 1 and "b.nii.gz" in problems[0]


def test_label_of_another_patient_is_refused(toy_case, toy_recipe):
    case = toy_case()
    label = nib.load(case.label)
    voxels = np.array(label.dataobj)
    nib.save(nib.Nifti1Image(voxels[:, :, :30], label.affine), case.label)
    with pytest.raises(ScanError, match=r"toy_001.*differ in shape"):
        make_stack(case, toy_recipe)
    moved = label.affine.copy()
    moved[0, 3] += 5
    nib.save(nib.Nifti1Image(voxels, moved), case.label)
    with pytest.raises(ScanError, match="different affines"):
        make_stack(case, toy_recipe)


def test_scan_without_lungs_is_refused(toy_case, toy_recipe):
    case = toy_case()
    affine = nib.load(case.image).affine
    nib.save(nib.Nifti1Image(np.full(SHAPE, 30, np.int16), affine), case.image)
    with pytest.raises(ScanError, match="no lung"):
        make_stack(case, toy_recipe)


def test_case_json_names_its_sources(toy_case, toy_recipe, tmp_path):
    case = toy_case(axcodes="LAS")
    info = json.loads((save_stack(make_stack(case, toy_recipe), tmp_path / "s") / "case.json").read_text())
    assert info["image"]["file"] == "toy_001.nii.gz" and len(info["image"]["crc32"]) == 8
    assert info["original_axcodes"] == "LAS" and info["label_voxels_outside_box"] == 0
    assert info["tumour_ml"] == pytest.approx(4 / 3 * np.pi * 1.8**3, rel=0.03)


def test_ct_is_averaged_when_it_shrinks(toy_recipe):
    noise = np.random.default_rng(1).normal(0, 100, (40, 96, 96)).astype(np.int16)
    grid = make_grid(noise, (1, 1, 1), replace(toy_recipe, crop="first_30", pixel_mm=None, frame=(24, 24)))
    assert ct_to_grid(noise, grid).std() < 40


@pytest.mark.parametrize("axis", [1, 2])
def test_one_axis_shrinks_while_the_other_grows(toy_recipe, axis):
    """What varies along the shrinking axis alone becomes its means of four pixels, for CT and mask, and comes back."""
    other, frame = 3 - axis, [0, 0]
    frame[axis - 1], frame[other - 1] = 24, 192
    lines = np.random.default_rng(1).normal(0, 100, (34, 96))
    ct = np.repeat(np.expand_dims(lines.astype(np.int16), other), 96, other)
    grid = make_grid(ct, (1, 1, 1), replace(toy_recipe, crop="first_30", pixel_mm=None, frame=tuple(frame)))
    means = np.repeat(np.expand_dims(lines.astype(np.int16)[30:].reshape(4, 24, 4).mean(-1), other), 192, other)
    np.testing.assert_allclose(ct_to_grid(ct, grid), means, atol=1)
    mask = (ct > 0).astype(np.uint8)
    shares = np.repeat(np.expand_dims((lines.astype(np.int16) > 0)[30:].reshape(4, 24, 4).mean(-1), other), 192, other)
    np.testing.assert_allclose(mask_to_grid(mask, grid) / 255, shares, atol=1 / 255)
    smooth = ndimage.gaussian_filter1d(shares.astype(np.float32), 2, axis=axis)
    back = from_grid(smooth, grid)[30:]
    where = [4, 96, 96]
    where[axis : axis + 1] = [24, 4]
    np.testing.assert_allclose(back.reshape(where).mean(axis + 1).take(0, other), smooth.take(0, other), atol=5e-3)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_ct_is_clipped_before_it_is_averaged(toy_recipe, dtype):
    """Padding of -2048 beside tissue must weigh as much as air, and metal no more than the top of the scale."""
    ct = np.zeros((40, 8, 8), dtype)
    ct[:, :, 0::4], ct[:, :, 2::4] = -2048, 20349
    grid = make_grid(ct, (1, 1, 1), replace(toy_recipe, crop="first_30", pixel_mm=None, frame=(4, 4)))
    np.testing.assert_array_equal(ct_to_grid(ct, grid)[0, 0], [-512, 1536, -512, 1536])


def test_a_faint_slice_is_left_out_only_where_nothing_could_reach_the_threshold(toy_recipe):
    """Random slices scaled down to the limit and beyond: with a threshold and without, the same voxels exceed it."""
    ct = np.zeros((50, 64, 64), np.int16)
    grid = make_grid(ct, (1, 1, 1), replace(toy_recipe, crop="first_30", pixel_mm=None, frame=(16, 16)))
    probability = np.random.default_rng(0).integers(0, 2, grid.shape).astype(np.float32)
    for largest in (1.0, 0.6, 0.4, 0.5 / OVERSHOOT):
        plain = from_grid(probability * largest, grid)
        assert plain.min() >= 0 and plain.max() <= 1
        mask = from_grid(probability * largest, grid, 0.5)
        np.testing.assert_array_equal(mask, plain > 0.5)
        assert mask.any() == (largest > 0.3)


def test_what_comes_back_has_the_means_of_the_grid(toy_recipe):
    ct = np.zeros((34, 64, 64), np.int16)
    grid = make_grid(ct, (1, 1, 1), replace(toy_recipe, crop="first_30", pixel_mm=None, frame=(16, 16)))
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random(grid.shape), (0, 1, 1)).astype(np.float32)
    back = from_grid(smooth, grid)[30:].reshape(4, 16, 4, 16, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(back, smooth, atol=5e-3)


def prepare_with_little_room(cases, recipe, folder) -> None:
    """Prepare where no file may grow beyond 20 kB: to the writer that is a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        prepare(cases, recipe, folder, workers=1)
    except StackError as error:
        os.write(1, f"StackError {error}\n".encode())


def test_a_full_disk_is_one_clear_line(toy_case, toy_recipe, tmp_path, capfd):
    cases, folder = [toy_case("a"), toy_case("b")], tmp_path / "stacks"
    process = multiprocessing.get_context("fork").Process(
        target=prepare_with_little_room, args=(cases, toy_recipe, folder)
    )
    process.start()
    process.join()
    (line,) = (line for line in capfd.readouterr().out.splitlines() if line.startswith("StackError"))
    assert str(folder) in line and "No space left on device" in line and "free space" in line
    assert list(folder.iterdir()) == [], "something half-written was left behind"
    good, problems = prepare(cases, toy_recipe, folder, workers=1)
    assert len(good) == 2 and not problems


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder_is_one_clear_line(toy_case, toy_recipe, tmp_path, monkeypatch, fault):
    """The errors of a disk mounted read-only and of somebody else's folder, raised here: root may write anywhere."""

    def refuse(*args, **options):
        raise OSError(fault, os.strerror(fault), str(tmp_path))

    monkeypatch.setattr("lungseg_helpers.preprocessing.stacks.tempfile.mkdtemp", refuse)
    line = f"stacks: cannot be written .{os.strerror(fault)}.*move the data set"
    with pytest.raises(StackError, match=line) as caught:
        prepare([toy_case("a"), toy_case("b")], toy_recipe, tmp_path / "stacks", workers=1)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_one_clear_line_from_workers_too(toy_case, toy_recipe, tmp_path):
    (tmp_path / "stacks").write_text("a file where the folder should be")
    with pytest.raises(StackError, match="stacks: cannot be written"):
        prepare([toy_case("a"), toy_case("b")], toy_recipe, tmp_path / "stacks", workers=2)


def test_slices_are_averaged_where_they_become_fewer(volume_recipe):
    ct = np.random.default_rng(0).integers(-900, 400, (12, 16, 16)).astype(np.int16)
    mask = (np.random.default_rng(1).random((12, 16, 16)) > 0.6).astype(np.uint8)
    grid = make_grid(ct, (1, 6, 6), replace(volume_recipe, crop="none", slice_mm=3.0))
    assert grid.shape == (4, 16, 16) and grid.spacing == (3, 6, 6) and grid.scan_spacing == (1, 6, 6)
    np.testing.assert_allclose(ct_to_grid(ct, grid), ct.reshape(4, 3, 16, 16).mean(axis=1), atol=1)
    np.testing.assert_allclose(mask_to_grid(mask, grid) / 255, mask.reshape(4, 3, 16, 16).mean(axis=1), atol=1 / 255)


def test_slices_are_interpolated_where_they_become_more_and_come_back(volume_recipe):
    ct = np.linspace(-800, 200, 6)[:, None, None] * np.ones((1, 8, 8))
    grid = make_grid(ct, (6, 6, 6), replace(volume_recipe, crop="none", slice_mm=2.0))
    stack = ct_to_grid(ct, grid)
    assert stack.shape == (18, 8, 8)
    # a slice's middle is where it was: 200 HU lie between slices 6 mm apart
    expected = np.interp((np.arange(18) + 0.5) / 3 - 0.5, np.arange(6), ct[:, 0, 0])
    np.testing.assert_allclose(stack[:, 4, 4], expected, atol=1)
    mask = (np.random.default_rng(1).random((6, 8, 8)) > 0.5).astype(np.uint8)
    np.testing.assert_array_equal(from_grid(mask_to_grid(mask, grid).astype(np.float32) / 255, grid, 0.5), mask)


def test_only_recipes_that_resample_slices_get_other_stacks(toy_recipe, volume_recipe):
    as_it_is = replace(volume_recipe, slice_mm=None)
    assert stacks_dir(Path("data"), as_it_is) == stacks_dir(Path("data"), toy_recipe), "the same slices serve both"
    assert len({stacks_dir(Path("data"), replace(volume_recipe, slice_mm=mm)) for mm in (None, 2.0, 2.5)}) == 3


def test_the_slices_of_a_stack_that_hold_tumour_are_its_own(toy_case, volume_recipe):
    stack = make_stack(toy_case(), replace(volume_recipe, slice_mm=2.5))
    assert stack.tumour_slices == np.flatnonzero(stack.share.any(axis=(1, 2))).tolist() != []
