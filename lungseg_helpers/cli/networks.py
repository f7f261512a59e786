"""The commands that train networks, and that show what they find: masks, scores, films."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import few
from ..video import PAUSE_S, SPEED, WIDTH
from .common import (
    ClusterOption,
    DataOption,
    Device,
    DeviceOption,
    KeepIdsOption,
    LoadersOption,
    LoopOption,
    PauseOption,
    Plane,
    ProfileOption,
    RecipeOption,
    SettingsOption,
    SpeedOption,
    WidthOption,
    Window,
    app,
    chosen_recipe,
    film_range,
    finish,
    tell,
)

if TYPE_CHECKING:
    from ..evaluation.scores import Evaluation


@app.command()
def train(
    data: DataOption = None,
    recipe: RecipeOption = None,
    profile: ProfileOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.  (default: outputs/runs/…)")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    long: Annotated[
        bool, typer.Option("--long", help="Ten times the epochs, in a run of its own that the notebooks find.")
    ] = False,
    settings: SettingsOption = None,
    device: DeviceOption = Device.auto,
    workers: LoadersOption = None,
    devices: Annotated[int, typer.Option(min=1, help="GPUs (or CPU processes) that train together.")] = 1,
    num_nodes: Annotated[int, typer.Option(min=1, help="Machines that train together; run this on each.")] = 1,
    start: Annotated[Path | None, typer.Option(help="Weights to begin from, instead of random ones.")] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(help="A folder of scans without labels, from which a mean teacher learns beside the others."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Weights that label the unlabelled scans, in place of the mean teacher: self-training."),
    ] = None,
    faithful: Annotated[bool, typer.Option("--faithful", help="A reference project's recipe with mistakes.")] = False,
) -> None:
    """Train a network and write its weights. An interrupted run goes on from its last epoch."""
    from dataclasses import replace

    from ..dataset.loaders import LungDataModule
    from ..dataset.split import open_split
    from ..dataset.unlabelled import open_unlabelled
    from ..paths import run_dir
    from ..training.devices import loader_workers
    from ..training.run import is_first, train

    chosen = chosen_recipe(recipe, profile, faithful).varied(settings or ())
    chosen = replace(chosen, epochs=epochs) if epochs else chosen
    run = out or run_dir(data, chosen, long, start, unlabelled, teacher)
    chosen = chosen.longer() if long else chosen
    split, stacks, problems = open_split(data, chosen)
    others, unusable = open_unlabelled(unlabelled, split, stacks, chosen) if unlabelled else (None, [])
    problems += unusable
    workers = loader_workers(device.value, devices) if workers is None else workers
    module = LungDataModule(stacks["train"], stacks["validation"], chosen, workers, others)
    options = {"devices": devices, "nodes": num_nodes, "start": start, "teacher": teacher}
    weights = train(module, split, run, device.value, **options)
    if is_first():  # Lightning kills the first process where another one ends with status 1
        print(weights)
        finish(problems)


@app.command()
def crossvalidate(
    data: DataOption = None,
    recipe: RecipeOption = None,
    profile: ProfileOption = None,
    settings: SettingsOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The table of all patients.  (default: outputs/crossvalidation.csv)")
    ] = None,
    device: DeviceOption = Device.auto,
    workers: LoadersOption = None,
) -> None:
    """Train five networks, each tested on another fifth of the patients, and score every patient once.

    The folds are nnU-Net's, so Task06's numbers stand beside its own. Each fold is a run of its own
    ('lungseg train --set fold=0' and so on makes the same one); an interrupted command goes on.
    """
    from ..evaluation.crossvalidation import crossvalidate
    from ..paths import outputs_dir

    chosen = chosen_recipe(recipe, profile).varied(settings or ())
    scores = crossvalidate(data, chosen, device.value, workers)
    report(scores, out or outputs_dir() / "crossvalidation.csv")


@app.command()
def average(
    weights: Annotated[list[Path], typer.Argument(help="Weights files of one recipe's trainings.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The weights file to write.", show_default=False)],
) -> None:
    """Average weights: of trainings that began from one another, the mean often generalises better than either."""
    from ..training.weights import average_weights

    print(average_weights(weights, out))


@app.command()
def predict(
    scans: Annotated[
        list[Path], typer.Argument(help="NIfTI, NRRD or MHA files, or folders of them or of DICOM.", show_default=False)
    ],
    weights: Annotated[Path | None, typer.Option(help="Weights file.  (default: the course's own)")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the masks.  (default: outputs/predictions)")] = None,
    device: DeviceOption = Device.auto,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write SCAN_probability.nii.gz too.")] = False,
    flips: Annotated[bool, typer.Option("--flips", help="Average with the mirrored scan; twice the time.")] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Take scans as they are: a chest cut off, or in which no lung is found.")
    ] = False,
    keep_ids: KeepIdsOption = False,
    cluster: ClusterOption = None,
) -> None:
    """Segment scans: SCAN.nii.gz becomes OUT/SCAN_pred.nii.gz, in the scan's own grid; DICOM gets a DICOM-SEG too.

    OUT/SCAN_components.csv says of each component how large it is, how sure the network is, and where it lies.
    """
    from dataclasses import replace

    from ..parallel import on_cluster
    from ..paths import SHIPPED_WEIGHTS, outputs_dir
    from ..prediction.files import predict_cases, scans_of
    from ..training.devices import pick_device
    from ..training.weights import load_weights

    chosen = pick_device(device.value) if cluster is None else device.value  # there each worker says what it has
    network, recipe, _ = load_weights(weights or SHIPPED_WEIGHTS)
    if whole:
        tell([f"scans are taken whole; the weights are of crop {recipe.crop!r}, so more may be falsely found"])
        recipe = replace(recipe, crop="none")
    cases, left_out = scans_of(scans, keep_ids)
    tell(left_out)
    problems, options = [], {"flips": flips, "probability": probabilities}
    with on_cluster(cluster):
        for _, result in predict_cases(network, recipe, cases, out or outputs_dir() / "predictions", chosen, **options):
            if isinstance(result, Exception):
                problems.append(str(result))
            else:
                tell(result.notes)
                print(*result.files, sep="\n")
    finish(problems)


@app.command()
def evaluate(
    labels: Annotated[
        Path, typer.Argument(help="Decathlon data set or folder of labels; or a run's folder.", show_default=False)
    ],
    predictions: Annotated[
        Path | None, typer.Argument(help="Folder of …_pred.nii.gz files; none for a run.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The table; summary and figure lie beside it.  (default: outputs/scores.csv)")
    ] = None,
    data: Annotated[str | None, typer.Option(help="A run's data set.  (default: the one it was trained on)")] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Score predictions, or a run's test patients: Dice, surface Dice, HD95, volumes, lesions, false components.

    A lesion counts as found where its intersection over union with the components that belong to it is at least 0.1.
    """
    from ..evaluation.runs import evaluate_run
    from ..evaluation.scores import evaluate_pairs, find_pairs, whose
    from ..paths import outputs_dir
    from ..training.devices import pick_device

    if predictions is None:
        problems, scores = [], evaluate_run(labels, data, pick_device(device.value))
    else:
        pairs, problems, missing = find_pairs(labels, predictions)
        if missing:
            tell([f"{len(missing)} labelled cases without prediction, not scored: {few(missing)}"])
        scores = evaluate_pairs(pairs, True, whose(labels))
    report(scores, out or outputs_dir() / "scores.csv", problems)


def report(scores: Evaluation, out: Path, problems: Sequence[str] = ()) -> None:
    """Print an evaluation and write it beside ``out``, if any case has a score; name the cases that have none."""
    from ..evaluation.report import in_words, write_report

    if not scores.table.empty:
        print(scores.table.round(3).to_string())
        print(in_words(scores.table))
        print(*write_report(scores, out), sep="\n")
    finish([*problems, *scores.problems])


@app.command()
def video(
    scan: Annotated[Path, typer.Argument(help="NIfTI file.", show_default=False)],
    label: Annotated[Path | None, typer.Option(help="The true mask.")] = None,
    prediction: Annotated[Path | None, typer.Option(help="The predicted mask.")] = None,
    probability: Annotated[Path | None, typer.Option(help="The predicted probabilities, as a heat map.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the video.  (default: outputs/videos)")] = None,
    window: Annotated[Window, typer.Option(help="Which HU are drawn from black to white.")] = Window.lung,
    plane: Annotated[Plane, typer.Option(help="Which way the slices lie.")] = Plane.axial,
    mip: Annotated[
        float, typer.Option(**film_range("slab_mm"), help="Maximum-intensity projection of so many mm around a slice.")
    ] = 0,
    speed: SpeedOption = SPEED,
    width: WidthOption = WIDTH,
    pause: PauseOption = PAUSE_S,
    loop: LoopOption = False,
    gif: Annotated[bool, typer.Option("--gif", help="Write a GIF instead of an mp4 (or of a WebP).")] = False,
) -> None:
    """Film a scan slice by slice with the outlines of its masks: OUT/SCAN.mp4."""
    from ..paths import outputs_dir
    from ..video.films import film_case

    ending, folder = ".gif" if gif else ".webp" if loop else ".mp4", out or outputs_dir() / "videos"
    look = {"window": window.value, "slab_mm": mip, "frames_per_second": speed, "width": width, "pause_s": pause}
    print(film_case(scan, folder, label, prediction, probability, plane.value, ending, loop, **look))


@app.command()
def viewer(
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Port; another is taken where it is in use.")] = 8866,
    pages: Annotated[int | None, typer.Option(min=1, help="Pages open at once.  (default: by free memory)")] = None,
) -> None:
    """Serve a page that shows scans, and takes one of your own. Prints its address for a browser; Ctrl-C ends it.

    Only this machine can reach the page, and only who has the token in the address.
    """
    from ..viewer.server import PAGE_MEMORY, serve
    from .doctor.machine import memory

    serve(port, pages or max(1, memory()[1] // PAGE_MEMORY))
