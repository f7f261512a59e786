"""What lies on the disk, or will: free space, the data set, the weights that ship."""

from __future__ import annotations

import os
import shlex
import shutil

from ...errors import LungsegError
from ...paths import KNOWN_SETS, ROOT, SHIPPED_WEIGHTS, SLICE_WEIGHTS, data_dir, dataset_root, file_digest, outputs_dir
from .finding import Finding, of_error

DISK = 2e9
"""Bytes that ``make run`` makes: data 0.6 GB (data/README.md), stacks 0.6, outputs 0.6. The README's 5 GB hold the
packages as well."""

DECATHLON = 17e9
"""Bytes on the way to Task06: an archive of 8.5 GB, and its files beside it until they are in place."""

MAKERS = {"phantom": "lungseg phantom", "real": "lungseg fetch real", "decathlon": "lungseg fetch decathlon"}
"""The commands that bring the data sets that have names."""


def check_disk() -> Finding:
    """Measure the free disk where data and outputs will lie."""
    found, remedies = [], []
    for variable, folder in (("LUNGSEG_DATA_DIR", data_dir().resolve()), ("LUNGSEG_OUTPUTS", outputs_dir().resolve())):
        place = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(place).free
        found.append(f"{free / 1e9:.1f} GB free for {folder}")
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            found[-1] = f"{place} cannot be written"
            remedies.append(f"change its permissions, or name another folder by {variable}")
        elif free < DISK:
            remedies.append(f"make room for {DISK / 1e9:.0f} GB, or name a folder of another disk by {variable}")
    found.append(f"the Decathlon takes {DECATHLON / 1e9:.0f} GB while it is fetched")
    return Finding("; ".join(found), "; ".join(remedies))


def check_data() -> Finding:
    """Count the patients of the data set that ``LUNGSEG_DATA`` chooses, without opening their scans."""
    from ...phantom.dataset import is_current
    from ...sources.datasets import find_cases
    from ...sources.real_patients import is_finished

    name, root = os.environ.get("LUNGSEG_DATA") or "phantom", dataset_root()
    command = MAKERS.get(name, "")
    if command and not root.exists():
        return Finding(f"{name}: not there yet; '{command}' brings it")
    try:
        cases = find_cases(root)
    except LungsegError as error:
        return of_error(error, command)
    labelled = sum(case.label is not None for case in cases)
    found = f"{root}: {len({case.patient for case in cases})} patients, {labelled} scans with a label"
    if not labelled:
        return Finding(found, command or "put the labels into labelsTr, or choose other data by LUNGSEG_DATA")
    whole = {"phantom": is_current, "real": is_finished}.get(name, lambda root: (root / "dataset.json").is_file())
    if name in KNOWN_SETS and not whole(root):
        found += f"; unfinished, or of an earlier version: '{command}' mends it"
    return Finding(found)


def check_weights() -> Finding:
    """Load the weights that ship, and show how their digests begin."""
    from ...training.weights import load_weights

    found = []
    for path in (SHIPPED_WEIGHTS, SLICE_WEIGHTS):
        try:
            load_weights(path)
        except LungsegError as error:
            return of_error(error, f"git -C {shlex.quote(str(ROOT))} checkout -- data/weights")
        found.append(f"{path.name} {file_digest(path)[:8]}")
    return Finding(", ".join(found))
