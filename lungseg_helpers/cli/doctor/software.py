"""What is installed: Python, the packages, the ffmpeg that writes films, the kernel that runs notebooks."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

from ...paths import ROOT
from .finding import Finding, install_command, reinstall_command, this_python

DISTRIBUTION = "lungseg-helpers"
"""The name under which pip knows this package, and what it asks for."""

IMPORTED = {"torch": "torch", "imgaug": "imaug", "cv2": "opencv-python-headless"}
"""Modules whose binaries an installation breaks most easily, and the packages that bring them."""


def check_python() -> Finding:
    """Hold this Python against what the package asks for."""
    from packaging.specifiers import SpecifierSet

    wanted, version = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"], platform.python_version()
    kind = "the system's"
    if (Path(sys.prefix) / "conda-meta").is_dir():
        kind = "of the conda environment"
    elif sys.prefix != sys.base_prefix:
        kind = "of the virtual environment"
    found = f"{version}, {kind} {sys.prefix}"
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return Finding(found)
    folder = shlex.quote(str(ROOT))
    return Finding(f"{found}; it has to be {wanted}", f"cd {folder} && rm -rf .venv && make venv PYTHON=python3.13")


def check_packages() -> Finding:
    """Look for each package that this one asks for, in a version of its range, and load the most breakable."""
    from packaging.requirements import Requirement

    wanted = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or ())
    wanted = [pin for pin in wanted if pin.marker is None or pin.marker.evaluate({"extra": "course"})]
    faults = []
    for pin in wanted:
        try:
            version = importlib.metadata.version(pin.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{pin.name} is missing")
            continue
        if not pin.specifier.contains(version, prereleases=True):
            faults.append(f"{pin.name} is {version}, not {pin.specifier}")
    if faults:
        return Finding(", ".join(faults), install_command())
    for module, package in IMPORTED.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken binary raises what it likes
            reason = " ".join(str(error).split())
            return Finding(f"{package} is broken: import {module} says {reason}", reinstall_command(package))
    return Finding(f"all {len(wanted)} are there, each in its range")


def check_ffmpeg() -> Finding:
    """Run the ffmpeg that films are written with, and ask for its H.264 encoder."""
    from imageio_ffmpeg import get_ffmpeg_exe

    remedy = reinstall_command("imageio-ffmpeg")
    if chosen := os.environ.get("IMAGEIO_FFMPEG_EXE"):
        remedy = f"unset IMAGEIO_FFMPEG_EXE, which chooses {chosen}"
    try:
        exe = get_ffmpeg_exe()
        done = subprocess.run([exe, "-encoders"], capture_output=True, text=True, timeout=60)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        return Finding(" ".join(str(error).split()), remedy)
    version = re.match(r"ffmpeg version (\S+)", done.stderr)
    if done.returncode or not version:
        return Finding(f"{exe} does not run (status {done.returncode})", remedy)
    if not re.search(r"^ V\S+ libx264 ", done.stdout, re.MULTILINE):
        return Finding(f"{exe}, {version[1]}, cannot write H.264: it has no libx264", remedy)
    return Finding(f"{version[1]}, with libx264")


def check_kernel() -> Finding:
    """Ask Jupyter whose Python the notebooks' kernel, python3, would run."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Finding("Jupyter has no kernel python3", this_python("-m ipykernel install --sys-prefix"))
    there, here = Path(spec.argv[0]), Path(sys.executable)
    # Jupyter puts its own Python in place of such a name without a folder
    names = {"python", "python{}".format(*sys.version_info), "python{}.{}".format(*sys.version_info)}
    # an environment's python is a link to the one it was made from: folder and target together tell two apart
    same = (there.parent.resolve(), there.resolve()) == (here.parent.resolve(), here.resolve())
    if spec.argv[0] in names or same:
        return Finding(f"python3 is this Python ({spec.resource_dir})")
    from jupyter_core.paths import prefer_environment_over_user

    # a user's kernels can come before the environment's: then a new one has to replace the user's
    ours = prefer_environment_over_user() or Path(spec.resource_dir).is_relative_to(sys.prefix)
    remedy = this_python(f"-m ipykernel install {'--sys-prefix' if ours else '--user'}")
    return Finding(f"python3 is another Python, {there} ({spec.resource_dir})", remedy)
