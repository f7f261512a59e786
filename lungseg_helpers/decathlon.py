"""The ``dataset.json`` of a Decathlon folder, in the one form that MONAI and nnU-Net both read."""

from __future__ import annotations

import json
from collections.abc import Sequence


def dataset_json(name: str, description: str, training: Sequence[str], test: Sequence[str] = (), **more: str) -> str:
    """Return the text of a ``dataset.json`` for cases whose files are ``imagesTr/<id>.nii.gz`` and so on.

    ``training`` and ``test`` are ids of labelled and unlabelled cases; ``more`` are further
    entries, such as ``reference`` and ``licence``. The keys of the Medical Segmentation
    Decathlon (MONAI's ``load_decathlon_datalist``) and those of nnU-Net version 2
    (``verify_dataset_integrity``) stand side by side. Labels are named as nnU-Net wants
    them, ``{"background": 0}``: MONAI passes them on unread.
    """
    pairs = {id: (f"imagesTr/{id}.nii.gz", f"labelsTr/{id}.nii.gz") for id in training}
    entries = {
        "name": name,
        "description": description,
        **more,
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "cancer": 1},
        "file_ending": ".nii.gz",
        "numTraining": len(training),
        "numTest": len(test),
        "training": [{"image": f"./{image}", "label": f"./{label}"} for image, label in pairs.values()],
        "test": [f"./imagesTs/{id}.nii.gz" for id in test],
        # nnU-Net reads this list; without it, it asks for other file names
        "dataset": {id: {"images": [image], "label": label} for id, (image, label) in pairs.items()},
    }
    return json.dumps(entries, indent=1) + "\n"
