"""A class challenge: which places are certain, and that bad or hostile masks cost nobody but their team anything."""

import gzip
import os
import random

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from test_metrics import EMPTY, SPACING, ball

from lungseg_helpers.cli import main
from lungseg_helpers.errors import SourceError
from lungseg_helpers.evaluation.comparison import alike_runs, paired_difference, place_ranges, told_apart
from lungseg_helpers.evaluation.luck import HIGHEST, MISSED, Luck
from lungseg_helpers.evaluation.metrics import dice
from lungseg_helpers.evaluation.ranking import printable, rank_teams, team_name
from lungseg_helpers.evaluation.statistics import bootstrap_interval

CASES = [f"lung_{number:03d}" for number in range(1, 9)]
TRUTHS = {case: ball((10 + number, 14, 12)) for number, case in enumerate(CASES)}


def save(mask, path, spacing=SPACING, dtype=None):
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(mask, np.diag([*spacing, 1.0]), dtype=dtype), path)
    return path


def drawn(case, shift):
    """A mask that misses its truth by ``shift`` voxels, a little more or less from case to case."""
    return np.roll(TRUTHS[case], shift + CASES.index(case) % 2, axis=2)


@pytest.fixture
def challenge(tmp_path):
    """Labels, and two teams: alpha draws well, beta badly."""
    for case, truth in TRUTHS.items():
        save(truth, tmp_path / "set" / "labelsTr" / f"{case}.nii.gz")
        for team, shift in (("alpha", 0), ("beta", 3)):
            save(drawn(case, shift), tmp_path / "teams" / team / f"{case}_pred.nii.gz")
    return tmp_path / "teams", tmp_path / "set"


def ranked(challenge):
    return rank_teams(*challenge, workers=1)


def lungseg(capsys, monkeypatch, *words):
    """Run a command; return its status, its output and its lines about problems."""
    monkeypatch.setattr("sys.argv", ["lungseg", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        status = end.code or 0
    out, err = capsys.readouterr()
    return status, out, [line for line in err.replace("\r", "\n").splitlines() if line.startswith("lungseg: ")]


# which places


def beats(teams, *pairs):
    better = np.zeros((teams, teams), bool)
    for one, other in pairs:
        better[one, other] = True
    return better


@pytest.mark.parametrize(
    ("better", "ranges", "runs"),
    [
        (beats(3, (0, 1), (0, 2)), [(1, 1), (2, 3), (2, 3)], [(0, 1), (1, 3)]),
        (beats(4), [(1, 4)] * 4, [(0, 4)]),
        (beats(3, (0, 2)), [(1, 2), (1, 3), (2, 3)], [(0, 2), (1, 3)]),
        (beats(3, (0, 1), (0, 2), (1, 2)), [(1, 1), (2, 2), (3, 3)], [(0, 1), (1, 2), (2, 3)]),
        (beats(1), [(1, 1)], [(0, 1)]),
        (beats(0), [], []),
    ],
    ids=["a clear winner", "all equal", "first and third alone told apart", "all told apart", "one", "none"],
)
def test_the_range_of_places(better, ranges, runs):
    assert list(zip(*place_ranges(better), strict=True)) == ranges
    assert alike_runs(better) == runs


def test_a_chain_from_scores():
    """Each is a step behind the one before: two steps are seen, one is not."""
    noise = np.random.default_rng(0).normal(0, 1, (3, 12))
    noise -= noise.mean(axis=1, keepdims=True)
    scores = 0.5 + 0.1 * noise + np.array([[0.08], [0.0], [-0.08]])
    better = told_apart(scores)
    assert better.tolist() == beats(3, (0, 2)).tolist()
    assert told_apart(scores[::-1]).tolist() == beats(3, (2, 0)).tolist(), "the order of the rows is nothing"


def test_two_teams_are_told_apart_as_a_pair_is():
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(200):
        one, other = rng.random((2, 9)) + np.array([[0.2], [0.0]])
        found = paired_difference(one, other)
        assert told_apart(np.stack([one, other])).tolist() == [[False, found.low > 0], [found.high < 0, False]]
        seen.add(bool(found.apart))
    assert seen == {True, False}


def test_holm_by_hand():
    """Against Holm's rule written out on the p-values of one-sided t-tests of both directions."""
    from scipy import stats

    rng = np.random.default_rng(2)
    counts = set()
    for spread in (0.0, 0.1, 0.3, 1.0):
        scores = rng.normal(0, 0.3, (6, 15)) + spread * np.arange(6)[:, None]
        directed = [(i, j) for i in range(6) for j in range(6) if i != j]
        tests = [stats.ttest_rel(scores[i], scores[j], alternative="greater").pvalue for i, j in directed]
        expected = beats(6)
        for rank, index in enumerate(np.argsort(tests)):
            if tests[index] > 0.05 / (len(tests) - rank):
                break
            expected[directed[index]] = True
        np.testing.assert_array_equal(told_apart(scores), expected)
        counts.add(int(expected.sum()))
    assert len(counts) > 2, "none, some and many told apart"


@pytest.mark.parametrize("teams", [2, 10])
@pytest.mark.parametrize("luck", [Luck(), Luck(liking=0.8)], ids=["as here", "each team its patients"])
def test_equal_teams_are_told_apart_in_at_most_one_challenge_of_twenty(teams, luck):
    rng, repetitions, patients = np.random.default_rng(3), 1500, 15
    wrong = 0
    for _ in range(repetitions):
        ease = rng.normal(luck.level, luck.patient, patients)
        ease = ease + rng.normal(0, luck.both, (teams, patients)) + rng.normal(0, luck.liking, (teams, patients))
        wrong += told_apart(np.where(ease < MISSED, 0.0, HIGHEST / (1 + np.exp(-ease)))).any()
    # two standard errors of a share of 0.05
    assert wrong / repetitions < 0.05 + 2 * (0.05 * 0.95 / repetitions) ** 0.5
    assert wrong > 0


# from masks to a table


def test_a_ranking_is_a_row_a_team(challenge):
    found = ranked(challenge)
    assert found.problems == [] and list(found.table.index) == ["alpha", "beta"]
    expected = {shift: [dice(TRUTHS[case], drawn(case, shift)) for case in CASES] for shift in (0, 3)}
    first = found.table.loc["alpha"]
    assert first["mean_dice"] == pytest.approx(np.mean(expected[0]))
    assert (first["dice_low"], first["dice_high"]) == pytest.approx(bootstrap_interval(expected[0]))
    difference = paired_difference(expected[0], expected[3])
    assert difference.apart and list(found.table["place_from"]) == list(found.table["place_to"]) == [1, 2]
    assert tuple(first[["ahead", "ahead_low", "ahead_high"]]) == pytest.approx(
        (difference.mean, difference.low, difference.high)
    )
    assert np.isnan(found.table.loc["beta", "ahead"]), "nobody is behind the last"
    assert list(first[["lesions_found", "lesions", "masks", "scans"]]) == [8, 8, 8, 8]
    assert list(found.scores.columns[:4]) == ["team", "case", "patient", "scored"] and len(found.scores) == 16
    assert found.alike == [] and found.pairs["apart"].all()


def test_a_missing_mask_counts_as_dice_0_and_as_nothing_found(challenge):
    teams, _ = challenge
    before = ranked(challenge).table.loc["alpha"]
    (teams / "alpha" / "lung_003_pred.nii.gz").unlink()
    found = ranked(challenge)
    after = found.table.loc["alpha"]
    lost = dice(TRUTHS["lung_003"], drawn("lung_003", 0))
    assert after["mean_dice"] == pytest.approx(before["mean_dice"] - lost / 8)
    assert (after["lesions_found"], after["lesions"], after["masks"]) == (7, 8, 7)
    assert len(found.problems) == 1 and "alpha: no mask of 1 of 8 scans" in found.problems[0]
    assert "lung_003" in found.problems[0]
    row = found.scores.set_index(["team", "case"]).loc[("alpha", "lung_003")]
    assert row["dice"] == 0 and not row["scored"] and row["lesions"] == 1


def test_scans_of_one_patient_are_one_and_patients_without_tumour_have_no_dice(challenge):
    teams, labels = challenge
    (labels / "patients.csv").write_text("case,patient\nlung_002,lung_001\n")
    save(EMPTY, labels / "labelsTr" / "lung_008.nii.gz")
    save(EMPTY, teams / "beta" / "lung_008_pred.nii.gz")
    found = ranked(challenge).table
    each = [dice(TRUTHS[case], drawn(case, 0)) for case in CASES]
    assert found.loc["alpha", "mean_dice"] == pytest.approx(np.mean([np.mean(each[:2]), *each[2:7]]))
    assert found.loc["alpha", "lesions"] == 7, "what is drawn without a tumour costs no Dice"
    assert found.loc["alpha", "false_components_per_scan"] == 1 / 8 > found.loc["beta", "false_components_per_scan"]


def test_the_highest_mean_stands_first_whoever_is_called_so(challenge):
    teams, _ = challenge
    (teams / "alpha").rename(teams / "zeta")
    save(TRUTHS[CASES[0]], teams / "able" / f"{CASES[0]}_pred.nii.gz")
    (teams / "aaa").mkdir()
    assert list(ranked(challenge).table.index) == ["zeta", "beta", "able", "aaa"]


# what is no mask


def _image(mask=TRUTHS[CASES[0]], affine=None, dtype=None):
    return nib.Nifti1Image(mask, np.diag([*SPACING, 1.0]) if affine is None else affine, dtype=dtype).to_bytes()


def _nan():
    mask = TRUTHS[CASES[0]].astype(np.float32)
    mask[0, 0, 0] = np.nan
    return _image(mask)


def _huge():
    """A header that promises four milliard voxels, and a gzip stream that could hold them."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1600, 1600, 1600))
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header.binaryblock + bytes(4 + 2**22)


BAD_MASKS = {
    "another shape": lambda: _image(np.zeros((8, 9, 10), np.uint8)),
    "more voxels": lambda: _image(np.zeros((40, 40, 40), np.uint8)),
    "another affine": lambda: _image(affine=np.diag([1.0, 1.0, 1.0, 1.0])),
    "NaN": _nan,
    "fractions": lambda: _image(TRUTHS[CASES[0]] * np.float32(0.5)),
    "negative": lambda: _image(-TRUTHS[CASES[0]].astype(np.int16)),
    "4-D": lambda: _image(np.stack([TRUTHS[CASES[0]]] * 2, axis=-1)),
    "2-D": lambda: _image(TRUTHS[CASES[0]][..., 0]),
    "complex": lambda: _image(TRUTHS[CASES[0]].astype(np.complex64)),
    "far too large": _huge,
    "cut": lambda: _image()[:2000],
    "text": lambda: b"import os; os.system('true')",
    "empty": lambda: b"",
}


@pytest.mark.parametrize("kind", BAD_MASKS)
def test_a_bad_mask_has_its_line_and_costs_nobody_else_anything(kind, challenge):
    teams, _ = challenge
    before = ranked(challenge)
    path = teams / "beta" / f"{CASES[0]}_pred.nii.gz"
    content = BAD_MASKS[kind]()
    path.write_bytes(gzip.compress(content) if content else content)
    after = ranked(challenge)
    assert len(after.problems) == 1 and after.problems[0].startswith(f"{path}: ") and "; " in after.problems[0]
    assert after.table.loc["beta", "masks"] == 7
    assert after.table.loc["beta", "mean_dice"] < before.table.loc["beta", "mean_dice"]
    own = ["mean_dice", "dice_low", "dice_high", "lesions_found", "lesions", "false_components_per_scan", "masks"]
    pd.testing.assert_frame_equal(after.table.loc[["alpha"], own], before.table.loc[["alpha"], own], check_exact=True)
    scores = [each.scores[each.scores["team"] == "alpha"] for each in (before, after)]
    pd.testing.assert_frame_equal(*scores, check_exact=True)


def test_random_damage_is_a_line_or_a_score(challenge):
    teams, _ = challenge
    path = teams / "beta" / f"{CASES[0]}_pred.nii.gz"
    good, chance = gzip.decompress(path.read_bytes()), random.Random(4)
    before = ranked(challenge).table.loc[["alpha"], ["mean_dice", "masks"]]
    for case in CASES:
        content = bytearray(good)
        for _ in range(3):
            content[chance.randrange(348)] = chance.randrange(256)
        packed = bytearray(gzip.compress(bytes(content)))
        if chance.random() < 0.3:
            packed[chance.randrange(len(packed))] ^= 1 << chance.randrange(8)
        (teams / "beta" / f"{case}_pred.nii.gz").write_bytes(packed)
    after = ranked(challenge)
    assert after.table.loc["beta", "masks"] + len(after.problems) == 8 and after.problems
    pd.testing.assert_frame_equal(after.table.loc[["alpha"], ["mean_dice", "masks"]], before, check_exact=True)


def test_a_team_without_any_mask_stands_last_and_changes_no_other_row(challenge):
    teams, _ = challenge
    before = ranked(challenge)
    (teams / "empty").mkdir()
    (teams / "broken").mkdir()
    for case in CASES:
        (teams / "broken" / f"{case}_pred.nii.gz").write_bytes(b"nothing")
    after = ranked(challenge)
    assert list(after.table.index) == ["alpha", "beta", "broken", "empty"]
    pd.testing.assert_frame_equal(after.table.iloc[:2], before.table, check_exact=True)
    pd.testing.assert_frame_equal(after.pairs, before.pairs, check_exact=True)
    assert after.table["place_from"].isna().tolist() == [False, False, True, True]
    assert (after.table["masks"].iloc[2:] == 0).all() and (after.table["mean_dice"].iloc[2:] == 0).all()
    assert len(after.problems) == 9


def test_links_and_what_is_no_file_are_not_opened(challenge, tmp_path):
    """A link to the label itself would be a perfect mask, and a pipe would be waited for until the end of days."""
    teams, labels = challenge
    thief = teams / "thief"
    thief.mkdir()
    (thief / "lung_001_pred.nii.gz").symlink_to(labels / "labelsTr" / "lung_001.nii.gz")
    os.mkfifo(thief / "lung_002_pred.nii.gz")
    (thief / "lung_003_pred.nii.gz").mkdir()
    os.mkfifo(thief / "patients.csv")
    (teams / "linked").symlink_to(teams / "alpha")
    found = ranked(challenge)
    assert list(found.table["masks"]) == [8, 8, 0, 0]
    refused = [line for line in found.problems if "link" in line.partition(": ")[2]]
    assert len(refused) == 3 and sum("lung_00" in line.partition(": ")[0] for line in refused) == 2
    assert any("thief" in line and "lung_003" in line for line in found.problems), "a folder is no mask: it is missing"


def test_a_folder_that_may_not_be_listed_is_one_teams_business(challenge, monkeypatch):
    from lungseg_helpers.evaluation import ranking

    def closed(folder):
        if folder.name == "alpha":
            raise PermissionError(13, "Permission denied", str(folder))
        return list_files(folder)

    list_files = ranking.nifti_files
    monkeypatch.setattr(ranking, "nifti_files", closed)
    found = ranked(challenge)
    assert list(found.table.index) == ["beta", "alpha"] and list(found.table["masks"]) == [8, 0]
    assert len(found.problems) == 1 and "alpha: Permission denied" in found.problems[0]


def test_foreign_names_and_doubles_are_told_and_passed_over(challenge):
    teams, _ = challenge
    for name in ("other_pred.nii.gz", "lung_001.nii.gz", *(f"x{number}_pred.nii" for number in range(200))):
        save(TRUTHS[CASES[0]], teams / "beta" / name)
    save(TRUTHS[CASES[0]], teams / "beta" / "lung_001_probability.nii.gz")
    save(TRUTHS[CASES[1]], teams / "beta" / "lung_002_pred.nii")
    (teams / "notes.txt").write_text("not a team")
    found = ranked(challenge)
    assert found.table.loc["beta", "masks"] == 7, "which of two was meant, nobody knows"
    assert len(found.problems) == 3 and max(map(len, found.problems)) < 1000
    for line, part in zip(found.problems, ("notes.txt", "is there twice", "202 files"), strict=True):
        assert part in line


# names


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("team 7", "team 7"),
        ("Zoë–β", "Zoë–β"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb", r"a\nb"),
        ("a\u202eb", r"a\u202eb"),
        ("a\udcffb", r"a\udcffb"),
        (r"a\x1bb", r"a\\x1bb"),
        ("=1+1", r"\x3d1+1"),
        ("@SUM(1)", r"\x40SUM(1)"),
    ],
)
def test_names_are_told_without_what_is_obeyed(name, told):
    assert team_name(name) == told and told.isprintable()


def test_lines_are_told_so_too():
    assert printable("a/\x1b]0;x\x07/b: c") == r"a/\x1b]0;x\x07/b: c"


# the command


def test_rank_from_folders_to_files(challenge, tmp_path, monkeypatch, capsys):
    teams, labels = challenge
    for case in CASES:
        save(np.roll(drawn(case, 0), 1, axis=1), teams / "gamma" / f"{case}_pred.nii.gz")
    words = ("rank", teams, labels, "--out", tmp_path / "new" / "ranking.csv", "--workers", "1")
    status, out, lines = lungseg(capsys, monkeypatch, *words)
    assert status == 0 and lines == [], lines
    files = [tmp_path / "new" / f"ranking{ending}.csv" for ending in ("", "_scores", "_pairs")]
    assert out.split()[-3:] == [str(path) for path in files]
    table, scores, pairs = (pd.read_csv(path) for path in files)
    assert list(table["team"]) == ["alpha", "gamma", "beta"] and len(pairs) == 3
    assert set(scores["team"]) == set(table["team"]) and sorted(set(scores["patient"])) == CASES
    assert "of 3 pairs told apart" in out and "8/8" in out


def test_rank_tells_odd_names_and_goes_on(challenge, tmp_path, monkeypatch, capsys):
    teams, labels = challenge
    (teams / "alpha").rename(teams / "al\x1b[31mpha\n")
    odd = teams / "al\x1b[31mpha\n" / "lung_\x1b]0;owned\x07_pred.nii.gz"
    odd.write_bytes(b"")
    broken = teams / "al\x1b[31mpha\n" / "lung_001_pred.nii.gz"
    broken.write_bytes(b"")
    (teams / ("long" * 50)).mkdir()
    words = ("rank", teams, labels, "--out", tmp_path / "ranking.csv", "--workers", "1")
    status, out, lines = lungseg(capsys, monkeypatch, *words)
    assert status == 1 and len(lines) == 3, lines
    assert all(line.isprintable() for line in [*out.splitlines(), *lines])
    assert r"al\x1b[31mpha\n" in out and max(map(len, out.splitlines()[:4])) < 160
    assert list(pd.read_csv(tmp_path / "ranking.csv")["team"]) == [r"al\x1b[31mpha\n", "beta", "long" * 50]


@pytest.mark.parametrize("name", ["patient_1_pred.nii.gz", None], ids=["other names", "no masks"])
def test_masks_of_no_label_leave_the_ranking_of_before_as_it_is(name, challenge, tmp_path, monkeypatch, capsys):
    _, labels = challenge
    for team in ("one", "two"):
        (tmp_path / "lazy" / team).mkdir(parents=True)
        if name:
            save(EMPTY, tmp_path / "lazy" / team / name)
    (tmp_path / "ranking.csv").write_text("of before")
    words = ("rank", tmp_path / "lazy", labels, "--out", tmp_path / "ranking.csv", "--workers", "1")
    status, out, lines = lungseg(capsys, monkeypatch, *words)
    assert status == 1 and out == "" and len(lines) == 1 and "lung_001_pred.nii.gz; check both folders" in lines[0]
    assert (tmp_path / "ranking.csv").read_text() == "of before" and not list(tmp_path.glob("ranking_*"))


@pytest.mark.parametrize(
    ("folder", "labels", "part"),
    [
        ("none", "set", "no such folder"),
        ("void", "set", "holds no team"),
        ("teams", "none", "no such folder"),
        ("teams", "void", "no .nii"),
        ("teams", "one", "two at least"),
        ("teams", "unlabelled", "has no labels"),
    ],
)
def test_rank_needs_teams_and_labels(folder, labels, part, challenge, tmp_path, monkeypatch, capsys):
    (tmp_path / "void").mkdir()
    save(TRUTHS[CASES[0]], tmp_path / "one" / "lung_001.nii.gz")
    save(TRUTHS[CASES[0]], tmp_path / "unlabelled" / "imagesTs" / "lung_001.nii.gz")
    with pytest.raises(SourceError, match=part):
        rank_teams(tmp_path / folder, tmp_path / labels, workers=1)
    status, out, lines = lungseg(capsys, monkeypatch, "rank", tmp_path / folder, tmp_path / labels, "--workers", "1")
    assert status == 1 and out == "" and len(lines) == 1 and part in lines[0]


def test_side_by_side_is_as_one_after_the_other(challenge):
    alone, together = ranked(challenge), rank_teams(*challenge, workers=2)
    pd.testing.assert_frame_equal(alone.scores, together.scores, check_exact=True)
    pd.testing.assert_frame_equal(alone.table, together.table, check_exact=True)
