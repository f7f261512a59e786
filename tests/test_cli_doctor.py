"""``lungseg doctor``: each fault is found and has its remedy, what is sound has none, and no check ends the others."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import psutil
import pytest
import torch

from lungseg_helpers import cli
from lungseg_helpers.cli.doctor import CHECKS, Finding, examine, files, finding, machine, software
from lungseg_helpers.paths import ROOT, SHIPPED_WEIGHTS


def test_the_command_prints_a_line_a_check_and_ends_with_status_0_here(tmp_path: Path) -> None:
    # a GPU that this torch cannot use is a fault of a machine, so it is hidden
    chosen = {"LUNGSEG_DATA_DIR": str(tmp_path), "LUNGSEG_DATA": "phantom", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "lungseg_helpers.cli", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | chosen, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["ok", name] for name in CHECKS]


def test_a_fault_has_its_remedy_below_and_the_status_is_1(monkeypatch, capsys) -> None:
    checks = {"cores": lambda: Finding("two"), "data": lambda: Finding("none", "lungseg phantom")}
    monkeypatch.setattr("lungseg_helpers.cli.doctor.CHECKS", checks)
    monkeypatch.setattr(sys, "argv", ["lungseg", "doctor"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert lines == [["ok", "cores", "two"], ["fault", "data", "none"], ["remedy:", "lungseg", "phantom"]]


@pytest.mark.parametrize(
    ("error", "found", "remedy"),
    [
        (ValueError("odd\nthing"), "ValueError (odd thing)", "report it"),
        (OSError(5, "Input/output error", "a"), "a: Input/output error", "check the path"),
        (ModuleNotFoundError("No module named 'torch'"), "No module named 'torch'", "install"),
    ],
)
def test_an_error_of_a_check_is_its_fault_and_the_others_go_on(monkeypatch, error, found, remedy) -> None:
    def fail() -> Finding:
        raise error

    checks = {"GPU": fail, "cores": lambda: Finding("two")}
    monkeypatch.setattr("lungseg_helpers.cli.doctor.CHECKS", checks)
    (_, fault), (_, other) = examine()
    assert fault.mark == "fault" and fault.found == found and remedy in fault.remedy and other.mark == "ok"


def test_without_typer_every_command_is_the_doctor(monkeypatch, capsys) -> None:
    """A finder that knows nothing but the standard library and this package: an environment without packages."""
    code = f"""
import importlib.abc, sys
class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {{*sys.stdlib_module_names, "lungseg_helpers"}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Bare())
sys.path.insert(0, {str(ROOT)!r})
sys.argv = ["lungseg", "train"]
from lungseg_helpers.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and not done.stderr, done.stderr
    marks = {line.split()[1]: line for line in done.stdout.splitlines() if not line.startswith(" ")}
    assert [*marks] == [*CHECKS] and marks["GPU"].endswith("No module named 'torch'")
    assert marks["disk"].startswith("ok")
    # all is well here, so an import that fails is no matter of packages: the programmer has to see it
    monkeypatch.setitem(sys.modules, "lungseg_helpers.cli.common", None)
    monkeypatch.setattr("lungseg_helpers.cli.doctor.CHECKS", {})
    with pytest.raises(ImportError, match=r"cli\.common"):
        cli.main()


def test_python_is_held_against_what_the_package_asks_for(monkeypatch, tmp_path: Path) -> None:
    sound = software.check_python()
    assert sound.mark == "ok" and sound.found.startswith(".".join(map(str, sys.version_info[:3])))
    monkeypatch.setattr(software.platform, "python_version", lambda: "3.11.2")
    fault = software.check_python()
    wanted = importlib.metadata.metadata("lungseg-helpers")["Requires-Python"]
    assert fault.mark == "fault" and f"3.11.2, {sound.found.split(', ')[1]}" in fault.found
    assert wanted in fault.found and "make venv PYTHON=" in fault.remedy


def test_python_says_whose_it_is(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert "of the virtual environment" in software.check_python().found
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    assert "the system's" in software.check_python().found
    (tmp_path / "conda-meta").mkdir()
    assert "of the conda environment" in software.check_python().found


def test_packages_are_those_of_the_course(monkeypatch) -> None:
    sound = software.check_packages()
    pins = importlib.metadata.requires("lungseg-helpers")
    assert sound.found.startswith(f"all {sum('extra' not in pin or 'course' in pin for pin in pins)} are there")
    versions = {"torch": "1.13.1", "scipy": "99.0rc1", "psutil": None, "pytest": None, "distributed": None}
    true = importlib.metadata.version

    def version(name: str) -> str:
        if versions.get(name, "") is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name) or true(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    fault = software.check_packages()
    assert fault.mark == "fault" and fault.remedy == finding.install_command()
    (torch_pin,) = (pin for pin in pins if pin.startswith("torch>"))
    assert fault.found == f"torch is 1.13.1, not {torch_pin.removeprefix('torch')}, psutil is missing"


def test_a_package_whose_binary_is_broken_is_named(monkeypatch) -> None:
    def load(module: str) -> None:
        if module == "cv2":
            raise OSError("libGL.so.1: cannot open\nshared object file")

    monkeypatch.setattr(software.importlib, "import_module", load)
    fault = software.check_packages()
    assert (
        fault.found.startswith("opencv-python-headless is broken") and "libGL.so.1: cannot open shared" in fault.found
    )
    assert "--force-reinstall" in fault.remedy and fault.remedy.endswith(" opencv-python-headless")


def test_the_installation_is_mended_in_the_way_it_was_made(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/a folder/python")
    assert finding.install_command().startswith("'/a folder/python' -m pip install -e ")
    (tmp_path / ".lungseg-installed").touch()
    assert finding.install_command() == f"'/a folder/python' {ROOT / 'tools' / 'install.py'}"
    assert "STAMP := $(VENV)/.lungseg-installed" in (ROOT / "Makefile").read_text()


def ffmpeg(folder: Path, script: str) -> str:
    """Write a program that stands in for ffmpeg, and return its name."""
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_ffmpeg_runs_and_has_x264() -> None:
    assert software.check_ffmpeg().found.endswith(", with libx264")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo ffmpeg version 6.0 of its own >&2; echo ' V....D libx264rgb  H.264 in RGB'", "6.0, cannot write H.264"),
        ("echo no such library >&2; exit 127", "does not run (status 127)"),
        ("echo another program", "does not run (status 0)"),
    ],
)
def test_an_ffmpeg_that_cannot_film_is_a_fault(monkeypatch, tmp_path: Path, script: str, found: str) -> None:
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: ffmpeg(tmp_path, script))
    fault = software.check_ffmpeg()
    assert fault.mark == "fault" and found in fault.found and fault.remedy.endswith(" imageio-ffmpeg")


def test_an_ffmpeg_that_is_missing_is_a_fault(monkeypatch, tmp_path: Path) -> None:
    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "gone"))
    fault = software.check_ffmpeg()
    assert "gone" in fault.found and fault.remedy.startswith("unset IMAGEIO_FFMPEG_EXE")
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    fault = software.check_ffmpeg()
    assert fault.found == "No ffmpeg exe could be found." and fault.remedy.endswith(" imageio-ffmpeg")


def other_python(folder: Path) -> Path:
    """Make what another environment's python is: a link to the one that both were made from. Return its name."""
    path = folder / "bin" / "python"
    path.parent.mkdir()
    path.symlink_to(Path(sys.executable).resolve())
    return path


@pytest.mark.parametrize("first", ["1", "0"], ids=["environment first", "user first"])
@pytest.mark.parametrize("interpreter", ["ours", "named", "another", "named otherwise"])
def test_the_kernel_is_this_python(monkeypatch, tmp_path: Path, interpreter: str, first: str) -> None:
    """A kernel in the user's folder, as ``ipykernel install --user`` of some environment has left it there."""
    others = {"another": str(other_python(tmp_path)), "named otherwise": "python3.6"}
    python = ({"ours": sys.executable, "named": "python3"} | others)[interpreter]
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "a", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", first)
    done = software.check_kernel()
    if interpreter not in others:
        assert done == Finding(f"python3 is this Python ({folder})")
    else:
        assert done.found == f"python3 is another Python, {python} ({folder})"
        where = {"1": "--sys-prefix", "0": "--user"}[first]
        assert done.remedy == finding.this_python(f"-m ipykernel install {where}")


def test_no_kernel_is_a_fault(monkeypatch) -> None:
    monkeypatch.setattr("jupyter_client.kernelspec.KernelSpecManager._find_spec_directory", lambda *_: None)
    fault = software.check_kernel()
    assert "no kernel python3" in fault.found and fault.remedy.endswith("-m ipykernel install --sys-prefix")


@pytest.fixture
def nvidia(monkeypatch, tmp_path: Path):
    """Return a function that puts an ``nvidia-smi`` in the path that says something, and a torch that sees no GPU."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("lungseg_helpers.training.devices._precision_of", lambda device: "32-true")
    monkeypatch.delenv("LUNGSEG_PRECISION", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def say(text: str, status: int = 0) -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
        path.chmod(0o755)

    return say


TWO_GPUS = "GPU 0: NVIDIA A40 (UUID: GPU-1)\nGPU 1: NVIDIA A40 (UUID: GPU-2)"


def test_no_gpu_is_no_fault(nvidia, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(machine.shutil, "which", lambda name: None)
        none = "none; networks train on the processor, in "
        measured = "float32 or bfloat16, whichever is faster here, measured when a training starts"
        assert machine.check_gpu() == Finding(none + measured)
        for forced in ("float32", "bfloat16"):
            patch.setenv("LUNGSEG_PRECISION", forced)
            assert machine.check_gpu() == Finding(none + forced)
    nvidia("NVIDIA-SMI has failed", 9)
    none = machine.check_gpu()
    assert none.mark == "ok" and "(nvidia-smi says: NVIDIA-SMI has failed)" in none.found
    nvidia(TWO_GPUS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.check_gpu().mark == "ok", "hidden on purpose"


def test_a_gpu_beside_a_torch_without_cuda_is_a_fault(nvidia, monkeypatch) -> None:
    nvidia(TWO_GPUS)
    monkeypatch.setattr(torch.version, "cuda", None)
    fault = machine.check_gpu()
    assert "a build without CUDA" in fault.found and fault.found.endswith("NVIDIA A40, NVIDIA A40")
    assert "pip uninstall --yes torch && " in fault.remedy and finding.install_command() in fault.remedy


def test_a_driver_that_is_too_old_is_a_fault(nvidia, monkeypatch) -> None:
    def warned() -> bool:
        machine.warnings.warn("CUDA initialization: The driver is too old (found 11040). Please update.", stacklevel=1)
        return False

    nvidia(TWO_GPUS)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", warned)
    fault = machine.check_gpu()
    assert fault.found.endswith("NVIDIA A40: CUDA initialization: The driver is too old (found 11040)")
    assert "driver that knows CUDA 12.8" in fault.remedy
    nvidia("Failed to initialize NVML: Driver/library version mismatch", 18)
    assert machine.check_gpu().remedy == "start the machine again"


def test_a_gpu_is_told_with_its_memory_and_precision(nvidia, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A40")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=48e9))
    computed = []
    monkeypatch.setattr(torch, "ones", lambda size, device: computed.append(device) or torch.zeros(size))
    assert machine.check_gpu() == Finding("NVIDIA A40, 48 GB (cuda), in float32") and computed == ["cuda"]

    def fail(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution")

    monkeypatch.setattr(torch, "ones", fail)
    fault = machine.check_gpu()
    assert fault.found.endswith("cannot use it: CUDA error: no kernel image is available") and fault.remedy


def test_a_precision_that_does_not_exist_is_a_fault(nvidia, monkeypatch) -> None:
    monkeypatch.setenv("LUNGSEG_PRECISION", "half")
    fault = dict(examine())["GPU"]
    assert "'half'" in fault.found and fault.remedy == "use one of: float32, bfloat16"


def test_cores_are_those_that_the_process_may_use(monkeypatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 64)
    assert machine.check_cores() == Finding("1 of 64")


GB = 10**9
GROUPS = {
    1: ("9:cpu,cpuacct:/a\n4:memory:/box/inner\n0::/a", "memory/box", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    2: ("0::/box/inner", "box", "memory.max", "memory.current"),
}
"""Of each version: what /proc/self/cgroup says, the folder of the group that has a limit, and its files."""


@pytest.fixture(params=GROUPS, ids="v{}".format)
def group(request, tmp_path: Path):
    """Return a function that writes control groups with a limit of 3 GB, and the arguments that they are read by."""
    text, folder, limit, used = GROUPS[request.param]

    def write(taken: int, cached: int, folder: str = folder) -> tuple[Path, Path]:
        (tmp_path / "self").write_text(text)
        box = tmp_path / "fs" / folder
        (box / "inner").mkdir(parents=True)
        for place, most in ((box, str(3 * GB)), (box / "inner", {1: str(2**63 - 4096), 2: "max"}[request.param])):
            (place / limit).write_text(f"{most}\n")
            (place / used).write_text(f"{taken}\n")
            (place / "memory.stat").write_text(f"inactive_file {cached}\ntotal_inactive_file {cached}\nanon 1\n")
        return tmp_path / "self", tmp_path / "fs"

    write.top = {1: "memory", 2: "."}[request.param]
    return write


@pytest.fixture
def roomy(monkeypatch):
    """Give the machine 16 GB, of which 12 are free."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16 * GB, available=12 * GB))


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside a container"])
def test_memory_is_what_the_control_group_leaves(group, roomy, monkeypatch, inside: bool) -> None:
    where = group(taken=1 * GB, cached=GB // 2, **({"folder": group.top} if inside else {}))
    assert (3 * GB, 5 * GB // 2) in [*machine.group_memory(*where)]
    true = machine.group_memory
    monkeypatch.setattr(machine, "group_memory", lambda: true(*where))
    found = "2.5 GB free of 3.0, to which this process is held (the machine has 16.0)"
    assert machine.check_memory() == Finding(found)


def test_a_control_group_that_is_nearly_full_is_a_fault(group, roomy, monkeypatch) -> None:
    where = group(taken=2 * GB, cached=0)
    true = machine.group_memory
    monkeypatch.setattr(machine, "group_memory", lambda: true(*where))
    fault = machine.check_memory()
    assert fault.found.startswith("1.0 GB free of 3.0") and "raise the limit" in fault.remedy


def test_little_free_memory_is_a_fault_and_enough_is_told(monkeypatch, roomy, tmp_path: Path) -> None:
    assert [*machine.group_memory(tmp_path / "none")] == [], "another system than Linux"
    monkeypatch.setattr(machine, "group_memory", lambda: ())
    assert machine.check_memory() == Finding("12.0 GB free of 16.0")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16 * GB, available=2 * GB))
    assert "close other programs" in machine.check_memory().remedy


def test_the_memory_that_is_asked_for_is_what_the_greediest_step_took() -> None:
    with (ROOT / "benchmarks" / "times.csv").open(newline="") as file:
        peak = max(float(row["peak_mb"] or 0) * 1e6 for row in csv.DictReader(file))
    assert peak <= machine.MEMORY < 1.1 * peak


@pytest.fixture
def folders(monkeypatch, tmp_path: Path) -> Path:
    """Let data and outputs lie in folders that are not there yet."""
    monkeypatch.delenv("LUNGSEG_DATA", raising=False)
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path / "new" / "data"))
    monkeypatch.setenv("LUNGSEG_OUTPUTS", str(tmp_path / "new" / "outputs"))
    return tmp_path


def test_a_full_disk_is_a_fault(folders: Path, monkeypatch) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda place: SimpleNamespace(free=50 * GB))
    found = files.check_disk()
    assert found.mark == "ok" and f"50.0 GB free for {folders / 'new' / 'data'}; 50.0 GB free for " in found.found
    assert found.found.endswith("the Decathlon takes 17 GB while it is fetched")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda place: SimpleNamespace(free=GB))
    fault = files.check_disk()
    assert "1.0 GB free" in fault.found and "LUNGSEG_DATA_DIR" in fault.remedy and "LUNGSEG_OUTPUTS" in fault.remedy


def test_a_folder_that_cannot_be_written_is_a_fault(folders: Path, monkeypatch) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda place: SimpleNamespace(free=50 * GB))
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "access", lambda place, mode: False)
        fault = files.check_disk()
    assert f"{folders} cannot be written" in fault.found and "permissions" in fault.remedy
    (folders / "new").write_text("a file where a folder should be")
    assert f"{folders / 'new'} cannot be written" in files.check_disk().found


def test_data_that_are_not_there_yet_are_no_fault(folders: Path, monkeypatch) -> None:
    for name, command in files.MAKERS.items():
        monkeypatch.setenv("LUNGSEG_DATA", name)
        assert files.check_data() == Finding(f"{name}: not there yet; '{command}' brings it")
    assert set(files.MAKERS) == set(files.KNOWN_SETS)


def test_a_folder_without_a_usable_case_is_a_fault(folders: Path, monkeypatch) -> None:
    phantom = folders / "new" / "data" / "phantom"
    phantom.mkdir(parents=True)
    fault = files.check_data()
    assert str(phantom) in fault.found and fault.remedy == "lungseg phantom"
    monkeypatch.setenv("LUNGSEG_DATA", str(phantom))
    assert files.check_data().remedy == "give the folder that holds them"
    monkeypatch.setenv("LUNGSEG_DATA", str(folders / "gone"))
    assert "no such folder" in files.check_data().found
    (phantom / "a.nii.gz").touch()
    monkeypatch.setenv("LUNGSEG_DATA", str(phantom))
    fault = files.check_data()
    assert fault.found.endswith("1 patients, 0 scans with a label") and "labelsTr" in fault.remedy


def test_patients_are_counted(folders: Path, toy_case, monkeypatch) -> None:
    for name in "abc":
        toy_case(name)
    (folders / "patients.csv").write_text("case,patient\na,p\nb,p\n")
    monkeypatch.setenv("LUNGSEG_DATA", str(folders))
    assert files.check_data() == Finding(f"{folders}: 2 patients, 3 scans with a label")


def test_a_set_that_is_unfinished_or_old_is_told(folders: Path, toy_case, monkeypatch) -> None:
    toy_case()
    monkeypatch.setattr(files, "dataset_root", lambda: folders)
    for name, content in (("phantom", {"release": "phantom version 1"}), ("real", None)):
        monkeypatch.setenv("LUNGSEG_DATA", name)
        if content:
            (folders / "dataset.json").write_text(json.dumps(content))
        else:
            (folders / "dataset.json").unlink()
        told = files.check_data()
        assert told.mark == "ok" and told.found.endswith(f"'{files.MAKERS[name]}' mends it")
    (folders / "dataset.json").touch()
    assert files.check_data().found.endswith("mends it"), "a description alone is no set"
    monkeypatch.setenv("LUNGSEG_DATA", "decathlon")
    assert files.check_data() == Finding(f"{folders}: 1 patients, 1 scans with a label")


@pytest.mark.parametrize("kind", ["gone", "truncated", "a Git LFS pointer"])
def test_broken_weights_are_a_fault(monkeypatch, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "slices.ckpt"
    if kind == "truncated":
        path.write_bytes(SHIPPED_WEIGHTS.read_bytes()[:100_000])
    elif kind != "gone":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7246680\n")
    monkeypatch.setattr(files, "SLICE_WEIGHTS", path)
    fault = files.check_weights()
    assert str(path) in fault.found and fault.remedy == f"git -C {ROOT} checkout -- data/weights"


def test_weights_that_ship_are_told_by_their_digests() -> None:
    found = files.check_weights()
    assert found.mark == "ok" and [word.split()[0] for word in found.found.split(", ")] == [
        "course.ckpt",
        "slices.ckpt",
    ]
