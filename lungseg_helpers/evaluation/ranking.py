"""A class challenge: the masks that teams hand in of the same patients, in one table, and which places are certain.

Whatever a team hands in is looked at with suspicion, and costs the others nothing: links are not followed, a file that
is no mask of its scan becomes a line, and names are shown without what a terminal or a spreadsheet would obey.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import SourceError, attempt, few
from ..parallel import side_by_side
from ..scans.case import MASK, PROBABILITY, case_id
from ..scans.checking import read_truth
from ..sources.datasets import nifti_files
from .comparison import alike_runs, paired_difference, place_ranges, told_apart
from .metrics import score
from .scores import COLUMNS, evaluate_pairs, find_labels, score_table, whose
from .statistics import bootstrap_interval

TABLE = (
    "place_from", "place_to", "mean_dice", "dice_low", "dice_high", "ahead", "ahead_low", "ahead_high",
    "lesions_found", "lesions", "false_components_per_scan", "masks", "scans",
)  # fmt: skip

LEVEL = 0.95
"""How sure a ranking is: of each interval by itself, and of all ranges of places together."""

NAME_WIDTH = 32
"""Letters of a team's name in the printed table; its files have the whole name."""


@dataclass(frozen=True)
class Ranking:
    """What a challenge found.

    ``table`` has a row per team, indexed by ``team``, the highest mean Dice first, and last those without any mask that
    could be read. ``place_from`` and ``place_to`` are the places that the team may have, see
    :func:`~lungseg_helpers.evaluation.comparison.place_ranges`. ``mean_dice`` is over all patients with a tumour, from
    ``dice_low`` to ``dice_high`` its 95 % interval; ``ahead`` is how much higher it is than the next row's, from
    ``ahead_low`` to ``ahead_high`` the 95 % interval of these two alone, paired by patient. ``lesions_found`` are of
    all ``lesions`` of the challenge; ``false_components_per_scan`` is over the ``masks`` that could be read, of
    ``scans``. ``scores`` has a row per team and scan: ``team``, ``case``, ``patient``, if it was ``scored``, and the
    columns of :data:`~lungseg_helpers.evaluation.scores.COLUMNS`. ``pairs`` has a row per pair of teams: the ``team``
    with the higher mean, the ``other``, ``ahead``, ``ahead_low``, ``ahead_high``, and whether they were told ``apart``.
    ``alike`` has the longest runs of rows of which no two teams were told apart, as teams; one may be in several.
    ``problems`` has a line for each file that is no mask, and one per team for what it did not hand in.
    """

    scores: pd.DataFrame
    table: pd.DataFrame
    pairs: pd.DataFrame
    alike: list[list[str]]
    problems: list[str]


def rank_teams(folder: Path, labels: Path, workers: int | None = None, progress: bool = False) -> Ranking:
    """Score the masks in each subfolder of ``folder``, a team's, and rank the teams by their mean Dice over patients.

    ``labels`` is a Decathlon data set or a folder of label files; its ``patients.csv`` says whose each scan is. The
    masks of a team are called ``<scan>_pred.nii.gz``; everything above 0 is tumour. A mask that is missing, or that
    cannot be used, counts as an empty one: Dice 0, nothing found. Patients without a tumour have no Dice, and are left
    out of the mean of every team. A team without any mask that can be used has no place, and takes no part in the
    comparisons, so the others' rows are as they are without it. ``workers`` as in
    :func:`~lungseg_helpers.parallel.side_by_side`.

    Raises :class:`SourceError` where a folder is missing, ``folder`` holds no team, no team has a mask that is called
    as a label, or fewer than two patients have a tumour, and :class:`ScanError` where a label cannot be read, or
    holds other values than 0 and 1.
    """
    truth, patients = find_labels(labels), whose(labels)
    teams, problems = _teams(Path(folder))
    found = [attempt(str(team), _handed_in, team, truth) for team in teams]
    handed_in = [({}, [str(each)]) if isinstance(each, Exception) else each for each in found]
    if not any(masks for masks, _ in handed_in):
        example = f"{next(iter(truth))}{MASK}.nii.gz"
        raise SourceError(f"{folder}: no team has a mask of a label in {labels}, such as {example}; check both folders")
    empty = side_by_side(_score_empty, [(path,) for path in truth.values()], workers, "labels" if progress else "")
    rows = dict(zip(truth, empty, strict=True))
    tumours = {patients.get(case, case) for case, row in rows.items() if row["lesions"]}
    if len(tumours) < 2:
        raise SourceError(f"{labels}: {len(tumours)} patients have a tumour; a ranking needs two at least")
    jobs = [({case: (truth[case], path) for case, path in masks.items()},) for masks, _ in handed_in]
    results = side_by_side(evaluate_pairs, jobs, workers, "scoring" if progress else "", "team")
    scores = []
    for team, (_, lines), scored in zip(teams, handed_in, results, strict=True):
        problems += [*lines, *scored.problems]
        table = score_table({**rows, **scored.table.to_dict("index")})
        table = table.assign(scored=table.index.isin(scored.table.index), team=team_name(team.name))
        scores.append(table.assign(patient=[patients.get(case, case) for case in table.index]).reset_index())
    every = pd.concat(scores, ignore_index=True)[["team", "case", "patient", "scored", *COLUMNS]]
    return Ranking(every, *_ranked(every), [printable(line) for line in problems])


def _teams(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the teams' folders, sorted, and a line for what else lies there; hidden entries are nobody's."""
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; give one that holds a folder of masks for each team")
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    teams = [path for path in entries if path.is_dir()]
    if not teams:
        raise SourceError(f"{folder}: holds no team; put the masks of each team into a folder of its own in it")
    others = [path.name for path in entries if path not in teams]
    line = f"{folder}: {len(others)} files are of no team ({few(others)}); put masks into the team's folder"
    return teams, [line] if others else []


def _handed_in(team: Path, cases: Collection[str]) -> tuple[dict[str, Path], list[str]]:
    """Return a team's masks by case, opening none, and a line for each that cannot be one and for what is missing."""
    if team.is_symlink():
        return {}, [f"{team}: is a link, which is not followed; put the team's own folder there"]
    named: dict[str, list[Path]] = {}
    foreign = []
    for path in nifti_files(team):
        name = case_id(path)
        if name.endswith(MASK) and name.removesuffix(MASK) in cases:
            named.setdefault(name.removesuffix(MASK), []).append(path)
        elif not name.endswith(PROBABILITY):
            foreign.append(path.name)
    masks, lines = {}, []
    for case, (path, *more) in named.items():
        if more:
            lines.append(f"{path}: case {case} is there twice, also as {more[0].name}; remove one")
        elif path.is_symlink() or not path.is_file():
            lines.append(f"{path}: is a link, or no regular file, and not opened; put the mask itself there")
        else:
            masks[case] = path
    rule = f"a mask is called as its scan and {MASK}.nii.gz"
    if foreign:
        lines.append(f"{team}: {len(foreign)} files are called as no scan of the challenge ({few(foreign)}); {rule}")
    if missing := [case for case in cases if case not in named]:
        lines.append(
            f"{team}: no mask of {len(missing)} of {len(cases)} scans, so Dice 0 there ({few(missing)}); {rule}"
        )
    return masks, lines


def _score_empty(label: Path) -> dict[str, Any]:
    """Score an empty mask: what counts for a scan of which no mask could be used."""
    truth = read_truth(label)
    return score(truth.voxels, np.zeros_like(truth.voxels), truth.spacing)


def _ranked(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[list[str]]]:
    """Return ``table``, ``pairs`` and ``alike`` of a :class:`Ranking` from its ``scores``."""
    # without a tumour there is no Dice, whatever a team has drawn there: the same patients for all
    known = scores[scores["true_ml"] > 0]
    dice = known.pivot_table(index="team", columns="patient", values="dice", aggfunc="mean")
    teams = scores.groupby("team")
    table = teams[["lesions_found", "lesions"]].sum()
    table["false_components_per_scan"] = scores[scores["scored"]].groupby("team")["false_components"].mean()
    table = table.assign(mean_dice=dice.mean(axis=1), masks=teams["scored"].sum(), scans=teams.size())
    table = table.sort_values(["mean_dice", "team"], ascending=[False, True])
    out = table["masks"] == 0
    table = pd.concat([table[~out], table[out]])
    ranked = [name for name in table.index if not out[name]]
    values = dice.loc[ranked].to_numpy()
    better = told_apart(values, LEVEL)
    pairs = _pairs(ranked, values, better)
    # the first pair of each team is that with the next
    nearest = pairs.drop_duplicates("team").set_index("team")[["ahead", "ahead_low", "ahead_high"]]
    first, last = (pd.array(places, "Int64") for places in place_ranges(better))
    low, high = np.array([bootstrap_interval(row) for row in values]).reshape(-1, 2).T
    places = pd.DataFrame({"place_from": first, "place_to": last, "dice_low": low, "dice_high": high}, ranked)
    table = table.join(places).join(nearest)[list(TABLE)].rename_axis("team")
    return table, pairs, [ranked[start:end] for start, end in alike_runs(better) if end - start > 1]


def _pairs(teams: list[str], values: np.ndarray, better: np.ndarray) -> pd.DataFrame:
    """Return a row for each pair; ``values`` are (teams, patients), the highest mean first.

    An interval is of its pair alone. Where one leaves out 0 and the two are not ``apart``, it may have done so by luck,
    because many pairs were looked at.
    """
    one, other = np.triu_indices(len(teams), 1)
    found = paired_difference(values[one, None], values[other, None], LEVEL)
    names = np.array(teams, object)
    columns = {"team": names[one], "other": names[other], "ahead": found.mean, "ahead_low": found.low}
    return pd.DataFrame({**columns, "ahead_high": found.high, "apart": better[one, other]})


def printable(text: str) -> str:
    r"""Return ``text`` with all that a terminal would obey, or could not print, as an escape such as ``\x1b``."""
    return "".join(letter if letter.isprintable() and letter != "\\" else ascii(letter)[1:-1] for letter in text)


def team_name(name: str) -> str:
    """Return the name of a team's folder as tables show it: no two are alike, and none is a spreadsheet's formula."""
    return f"\\x{ord(name[0]):02x}{printable(name[1:])}" if name[0] in "=+-@" else printable(name)


def shown(table: pd.DataFrame) -> str:
    """Return the ``table`` of a :class:`Ranking` as text, in few columns of words."""
    lines = []
    for name, row in table.iterrows():
        ranked = pd.notna(row["place_from"])
        false = row["false_components_per_scan"]
        lines.append(
            {
                "team": name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…",
                "places": "–".join(map(str, sorted({row["place_from"], row["place_to"]}))) if ranked else "none",
                "mean Dice (95 %)": _with_interval(row, "mean_dice", "dice"),
                "ahead of the next": _with_interval(row, "ahead", "ahead") if pd.notna(row["ahead"]) else "",
                "tumours": f"{row['lesions_found']}/{row['lesions']}",
                "false per scan": "" if pd.isna(false) else f"{false:.2f}",
                "masks": f"{row['masks']}/{row['scans']}",
            }
        )
    return pd.DataFrame(lines).to_string(index=False)


def _with_interval(row: pd.Series, mean: str, ends: str) -> str:
    low, high = row[f"{ends}_low"], row[f"{ends}_high"]
    return f"{row[mean]:.3f}" + ("" if pd.isna(low) else f" ({low:.3f} to {high:.3f})")


def write_ranking(ranking: Ranking, path: Path) -> list[Path]:
    """Write the table as CSV to ``path``, and beside it the scores of each scan and the pairs of teams."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path, *(path.with_name(path.stem + ending) for ending in ("_scores.csv", "_pairs.csv"))]
    ranking.table.to_csv(files[0])
    ranking.scores.to_csv(files[1], index=False)
    ranking.pairs.to_csv(files[2], index=False)
    return files
