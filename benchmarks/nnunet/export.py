"""The course's data set and split, as nnU-Net v2 wants to find them. No scan is copied."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lungseg_helpers.dataset.split import Split
from lungseg_helpers.scans.case import Case

DATASET_ID = 701
"""nnU-Net tells data sets by number; those from 500 on are free for one's own."""


def dataset_name(data: str) -> str:
    """Return nnU-Net's name of a data set: ``Dataset701_phantom``, say."""
    return f"Dataset{DATASET_ID}_{data}"


def export(cases: Sequence[Case], split: Split, raw: Path, preprocessed: Path) -> Path:
    """Describe training and validation patients for nnU-Net; return the folder of its ``dataset.json``.

    ``dataset.json`` names the scans and labels where they lie. ``splits_final.json`` among the
    preprocessed data makes fold 0 the course's own split, so nnU-Net draws none. Test
    patients are in neither: they are given to it as files, once it is trained.
    """
    known = {case.id: case for case in cases}
    used = [known[id] for id in (*split.train, *split.validation)]
    folder = Path(raw) / dataset_name(split.data)
    folder.mkdir(parents=True, exist_ok=True)
    described = {
        "channel_names": {"0": "CT"},  # this word makes nnU-Net clip to the tumours' own range of HU
        "labels": {"background": 0, "tumour": 1},
        "numTraining": len(used),
        "file_ending": ".nii.gz",
        "dataset": {
            case.id: {"images": [str(case.image.resolve())], "label": str(case.label.resolve())} for case in used
        },
    }
    (folder / "dataset.json").write_text(json.dumps(described, indent=1))
    kept = Path(preprocessed) / folder.name
    kept.mkdir(parents=True, exist_ok=True)
    fold = {"train": list(split.train), "val": list(split.validation)}
    (kept / "splits_final.json").write_text(json.dumps([fold]))
    return folder
