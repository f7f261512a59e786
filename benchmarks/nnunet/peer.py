"""nnU-Net v2 from its own package: its own plans, its own trainer, its own prediction.

Only three things are set from here: the split, the number of training steps, and on a machine
without a GPU a small batch and no prediction of mirrored images. (F. Isensee and others, *Nature
Methods* 18:203, 2021.)
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lungseg_helpers.dataset.split import Split
from lungseg_helpers.scans.case import MASK, Case

from .export import DATASET_ID, dataset_name, export

EPOCHS = 20
"""nnU-Net lowers its learning rate once an epoch: so many stairs has it within one budget."""

SMALL_GB = 0.5
"""GPU memory that nnU-Net plans for where there is no GPU. It takes the same network with a smaller batch: planned for
its usual 8 GB, one step of 49 slices takes two cores over half a minute, and minutes hold too few steps to learn."""

WARM_UP, MEASURED = 2, 6
"""Steps before a rate is taken, and steps that it is taken over: on a processor one step takes seconds."""


def prepare(cases: Sequence[Case], split: Split, folder: Path, configurations: Sequence[str]) -> Path:
    """Export, and let nnU-Net measure, plan and preprocess; return its folder of preprocessed data.

    Must be called first: nnU-Net reads from the environment where its folders are. What an
    earlier call of the same patients has preprocessed is used again.
    """
    places = {name: Path(folder).resolve() / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    os.environ |= {name: str(place) for name, place in places.items()}
    os.environ.setdefault("nnUNet_n_proc_DA", str(max(1, (os.cpu_count() or 2) - 1)))
    kept = places["nnUNet_preprocessed"] / dataset_name(split.data)
    done = kept / f"done_{'_'.join(configurations)}.json"
    memory_gb = None if torch.cuda.is_available() else SMALL_GB
    asked = json.dumps({**split.to_dict(), "memory_gb": memory_gb})
    if done.is_file() and done.read_text() == asked:
        return kept
    export(cases, split, places["nnUNet_raw"], places["nnUNet_preprocessed"])
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
        preprocess_dataset,
    )

    processes = os.cpu_count() or 1
    extract_fingerprint_dataset(DATASET_ID, num_processes=processes, check_dataset_integrity=True, verbose=False)
    plan_experiment_dataset(DATASET_ID, gpu_memory_target_in_gb=memory_gb)
    preprocess_dataset(DATASET_ID, configurations=list(configurations), num_processes=[processes])
    done.write_text(asked)
    return kept


def build_trainer(preprocessed: Path, configuration: str, device: str) -> Any:
    """Return nnU-Net's own trainer, which also notes in ``ends`` when each training step was over."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Timed(nnUNetTrainer):
        def train_step(self, batch: dict) -> dict:
            result = super().train_step(batch)  # reads the loss back, so the device has finished
            self.ends.append(time.perf_counter())
            return result

    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    described = json.loads((preprocessed / "dataset.json").read_text())
    trainer = Timed(plans, configuration, 0, described, torch.device(device))
    trainer.ends = []
    return trainer


def train_peer(preprocessed: Path, configuration: str, seconds: float, device: str) -> Any:
    """Train for as many steps as this machine takes in so many seconds; return the trainer, whose weights are trained.

    As for the course's recipes, the rate is measured first, with loading, and validation comes on top.
    """
    trial = build_trainer(preprocessed, configuration, device)
    trial.num_epochs, trial.num_iterations_per_epoch, trial.num_val_iterations_per_epoch = 1, WARM_UP + MEASURED, 1
    trial.disable_checkpointing = True
    trial.run_training()
    rate = MEASURED / (trial.ends[-1] - trial.ends[WARM_UP - 1])
    trainer = build_trainer(preprocessed, configuration, device)
    steps = max(1, round(seconds * rate))
    trainer.num_epochs = min(EPOCHS, steps)
    trainer.num_iterations_per_epoch = round(steps / trainer.num_epochs)
    trainer.num_val_iterations_per_epoch = 1
    trainer.run_training()
    return trainer


def predict_peer(trainer: Any, cases: Sequence[Case], folder: Path, device: str) -> None:
    """Predict scans by nnU-Net's own sliding window and write ``<case>_pred.nii.gz`` into ``folder``."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    on_gpu = device == "cuda"
    predictor = nnUNetPredictor(
        use_mirroring=on_gpu, perform_everything_on_device=on_gpu, device=torch.device(device), allow_tqdm=False
    )
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    wanted = [str(Path(folder) / f"{case.id}{MASK}") for case in cases]
    predictor.predict_from_files_sequential([[str(case.image)] for case in cases], wanted)
