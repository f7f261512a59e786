"""The measure of a phantom: does a network that has only ever seen phantoms find the tumours of real patients?

    python -m benchmarks.phantom_to_real [--trainings 3]

A U-Net of width 16 (the course's laptop recipe) is trained for about four minutes on two cores on
40 phantoms, then segments the three real patients at a threshold of 0.5. They take no part in
training, and nothing is selected: no validation, no best epoch, no threshold. One training's
result leans on its seed, so several are made. Prints the table of ``data/README.md`` and writes
``outputs/benchmarks/phantom_to_real.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import pytorch_lightning as pl

from lungseg_helpers.dataset import LungDataModule
from lungseg_helpers.devices import choose_precision
from lungseg_helpers.inference import predict_case
from lungseg_helpers.metrics import score
from lungseg_helpers.phantom import VERSION, write_dataset
from lungseg_helpers.preprocessing import open_stack, prepare, stacks_dir
from lungseg_helpers.recipes import Recipe, get_recipe
from lungseg_helpers.scans import read_scan
from lungseg_helpers.sources import Case, data_dir, fetch_real, find_cases
from lungseg_helpers.training import LungSegmenter, ProgressBar, quiet_lightning
from lungseg_helpers.unet import UNet
from lungseg_helpers.weights import outputs_dir

PHANTOMS = 40
DATA_SEED = 7
STEPS = 2600
"""Of batch 8: about four minutes on two cores of 2020."""


def prepared(cases: list[Case], root, recipe: Recipe) -> list:
    """Prepare the cases and open their stacks."""
    folders, problems = prepare(cases, recipe, stacks_dir(root, recipe))
    if problems:
        raise SystemExit("\n".join(problems))
    return [open_stack(folder) for folder in folders]


def train_on(stacks: list, recipe: Recipe) -> tuple[UNet, float]:
    """Train on these stacks for one epoch of :data:`STEPS`; return the network and the minutes it took."""
    quiet_lightning()
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    recipe = replace(recipe, epochs=1, slices_per_epoch=STEPS * recipe.batch_size)
    module = LungSegmenter(recipe.to_dict())
    trainer = pl.Trainer(
        accelerator="cpu", precision=choose_precision("cpu"), max_epochs=1, gradient_clip_val=1.0, logger=False,
        limit_val_batches=0, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[ProgressBar()],
    )  # fmt: skip
    start = time.perf_counter()
    trainer.fit(module, LungDataModule(stacks, stacks[:1], recipe, workers=1).train_dataloader())
    return module.network.eval(), (time.perf_counter() - start) / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=3, help="how many trainings, each of another seed")
    trainings = parser.parse_args().trainings
    base = replace(get_recipe("course", "laptop"), threshold=0.5)
    root = write_dataset(data_dir() / "phantom_to_real", PHANTOMS, 0, DATA_SEED)
    stacks = prepared([case for case in find_cases(root) if case.label], root, base)
    real = find_cases(fetch_real(data_dir() / "real"))
    rows = []
    for seed in range(trainings):
        network, minutes = train_on(stacks, replace(base, seed=seed))
        for case in real:
            found = predict_case(network, base, case)
            truth = read_scan(case.label, "label")
            scores = score(truth.voxels, found.mask, truth.spacing)
            rows.append({"seed": seed, "minutes": minutes, "case": case.id, **scores})
    print("| training | minutes | " + " | ".join(f"{case.id}: found, false, Dice" for case in real) + " |")
    print("|---" * (len(real) + 2) + "|")
    for seed in range(trainings):
        mine = [row for row in rows if row["seed"] == seed]
        cells = [
            f"{'yes' if row['lesions_found'] else 'no'}, {row['false_components']}, {row['dice']:.2f}" for row in mine
        ]
        print(f"| {seed} | {mine[0]['minutes']:.1f} | " + " | ".join(cells) + " |")
    out = outputs_dir() / "benchmarks" / "phantom_to_real.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {"phantom_version": VERSION, "phantoms": PHANTOMS, "steps": STEPS, "rows": rows}
    out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
