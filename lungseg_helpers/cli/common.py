"""What the commands share: the application, options, and how they say what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer

from ..hounsfield import WINDOWS
from ..recipe import Recipe
from ..recipes import PROFILES, RECIPES, get_recipe
from ..video import PLANES, RANGES

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C has stopped: 128 and the number of the signal."""


def film_range(name: str) -> dict[str, float]:
    """Return ``min`` and ``max`` of a film's option, as typer takes them."""
    return dict(zip(("min", "max"), RANGES[name], strict=True))


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
        tell(["stopped; what was finished stays"])
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
    typer.Option("--data", help="phantom, real, decathlon, or a folder.  (default: LUNGSEG_DATA or phantom)"),
]
ProfileOption = Annotated[Profile | None, typer.Option(help="Sizes and budget.  (default: LUNGSEG_PROFILE or laptop)")]
RecipeOption = Annotated[RecipeName | None, typer.Option(help="Which pipeline.  (default: LUNGSEG_RECIPE or course)")]
DeviceOption = Annotated[Device, typer.Option(help="Where the network runs.")]
KeepIdsOption = Annotated[
    bool, typer.Option("--keep-ids", help="Name DICOM scans by the PatientID itself, not by its pseudonym.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another of the recipe's settings; may be given repeatedly."),
]
LoadersOption = Annotated[
    int | None, typer.Option(min=0, help="Processes that load slices, for each device.  (default: by the cores)")
]
SpeedOption = Annotated[float, typer.Option(**film_range("frames_per_second"), help="Slices (frames) per second.")]
WidthOption = Annotated[int, typer.Option(**film_range("width"), help="Pixels of a frame's width.")]
PauseOption = Annotated[
    float, typer.Option(**film_range("pause_s"), help="Seconds more on the slice with most tumour.")
]
LoopOption = Annotated[
    bool, typer.Option("--loop", help="The slices around the tumour alone, as a WebP that starts again.")
]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Processes side by side.  (default: all cores)")]
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


def label_values(text: str | None) -> frozenset[int] | None:
    """Return what ``--labels`` says; None where it is not given."""
    try:
        values = None if text is None else frozenset(int(value) for value in text.split(","))
    except ValueError:
        values = frozenset({0})
    if values is not None and not values <= frozenset(range(1, 256)):
        hint = f"{text!r} is no list of whole numbers from 1 to 255, such as 1,2"
        raise typer.BadParameter(hint, param_hint="--labels")
    return values


def chosen_recipe(name: RecipeName | None, profile: Profile | None, faithful: bool = False) -> Recipe:
    """Return the recipe that ``--recipe``, ``--profile`` and ``--faithful`` say."""
    return get_recipe(name and name.value, profile and profile.value, faithful)


def tell(lines: Iterable[str]) -> None:
    """Print lines to stderr, under the program's name."""
    for line in lines:
        print(f"lungseg: {line}", file=sys.stderr)


def finish(problems: list[str]) -> None:
    """Name every case that could not be used, and end with status 1 if there was one."""
    tell(problems)
    if problems:
        raise typer.Exit(1)
