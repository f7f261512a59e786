"""The command of a class challenge, for its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import WorkersOption, app, finish


@app.command()
def rank(
    folder: Annotated[
        Path, typer.Argument(help="Holds a folder of …_pred.nii.gz files for each team.", show_default=False)
    ],
    labels: Annotated[
        Path, typer.Argument(help="Decathlon data set or folder of labels: the teacher's.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The table; scores and pairs lie beside it.  (default: outputs/ranking.csv)"),
    ] = None,
    workers: WorkersOption = None,
) -> None:
    """Rank what teams hand in, by mean Dice over the same patients, and say which places cannot be told apart.

    A team's places are all that it may have: behind every team that is shown to be better, before every team that
    it is shown to beat. Teams are compared in pairs, patient by patient, with Holm's correction for many pairs.

    A mask that is missing or cannot be used has its line, and counts Dice 0. Links are not followed.
    """
    from ..errors import few
    from ..evaluation.ranking import rank_teams, shown, write_ranking
    from ..paths import outputs_dir

    ranking = rank_teams(folder, labels, workers, True)
    files = write_ranking(ranking, out or outputs_dir() / "ranking.csv")
    print(shown(ranking.table))
    for teams in ranking.alike:
        print(f"cannot be told apart: {few(teams, 10)}")
    told, pairs = int(ranking.pairs["apart"].sum()), len(ranking.pairs)
    print(f"{told} of {pairs} pairs told apart, paired by patient, by Holm's method over both directions of all pairs")
    print("the ranges of places hold together with 95 %, each interval by itself")
    print(*files, sep="\n")
    finish(ranking.problems)
