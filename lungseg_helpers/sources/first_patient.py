"""The patient that is shown first: a real one, fetched once, or a phantom where there is no connection."""

from __future__ import annotations

import sys

from ..errors import SourceError
from ..paths import data_dir
from ..phantom.dataset import write_dataset
from ..scans.case import Case
from .datasets import fetch_real, find_cases

STAND_IN_SEED = 2026
"""The phantom that is shown without a connection: the first of the default set."""


def first_patient() -> Case:
    """Return the first real patient's case, with its label; without a connection a phantom's, and a line on stderr."""
    try:
        if not (data_dir() / "real" / "dataset.json").is_file():
            print("three real patients, once: 75 MB to fetch, unless they are kept here …", file=sys.stderr, flush=True)
        return find_cases(fetch_real(data_dir() / "real"))[0]
    except SourceError as error:
        print(f"no real patient can be had ({error}): a phantom is made and shown in its place", file=sys.stderr)
    return find_cases(write_dataset(data_dir() / "first_phantom", 1, 0, STAND_IN_SEED))[0]
