"""From label and prediction files, folders and runs to tables, summaries and figures."""

import json

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from test_metrics import EMPTY, SPACING, ball

from lungseg_helpers.cli import main
from lungseg_helpers.errors import SourceError
from lungseg_helpers.evaluation.metrics import score
from lungseg_helpers.evaluation.report import draw_volumes, in_words, summary, write_report
from lungseg_helpers.evaluation.scores import COLUMNS, evaluate_pairs, find_pairs, score_table


def _save(mask, path, spacing=SPACING):
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(mask, np.diag([*spacing, 1.0])), path)


def test_files_are_paired_by_case_and_bad_ones_named(tmp_path):
    one = ball((8, 8, 8))
    for case in ("a", "b", "c", "d"):
        _save(one, tmp_path / "set" / "labelsTr" / f"{case}.nii.gz")
    _save(one, tmp_path / "out" / "a_pred.nii.gz")
    _save(one, tmp_path / "out" / "b_pred.nii.gz", (1.0, 1.0, 1.0))
    _save(one, tmp_path / "out" / "z_pred.nii.gz")
    # the same mask with its rows stored the other way round
    turned = np.diag([-SPACING[0], *SPACING[1:], 1.0])
    turned[0, 3] = SPACING[0] * (len(one) - 1)
    nib.save(nib.Nifti1Image(one[::-1], turned), tmp_path / "out" / "c_pred.nii.gz")
    pairs, problems, missing = find_pairs(tmp_path / "set", tmp_path / "out")
    assert missing == ["d"]
    assert list(pairs) == ["a", "b", "c"] and len(problems) == 1 and "z_pred" in problems[0]
    found = evaluate_pairs(pairs)
    assert list(found.table.index) == ["a", "c"] and (found.table["dice"] == 1).all()
    assert list(found.lesions["case"]) == ["a", "c"] and found.lesions["found"].all()
    assert len(found.problems) == 1 and "b_pred" in found.problems[0]
    _save(one, tmp_path / "other" / "q.nii.gz")
    with pytest.raises(SourceError, match="check both folders"):
        find_pairs(tmp_path / "other", tmp_path / "out")


def test_a_label_of_other_values_is_no_truth(tmp_path):
    """Lung 1 and tumour 2: nobody has said which is tumour."""
    one = ball((8, 8, 8))
    _save(one, tmp_path / "out" / "a_pred.nii.gz")
    _save(np.maximum(2 * one, 1), tmp_path / "labels" / "a.nii.gz")
    pairs, *_ = find_pairs(tmp_path / "labels", tmp_path / "out")
    found = evaluate_pairs(pairs)
    (line,) = found.problems
    assert found.table.empty and "a.nii.gz: holds the label values 1, 2, not only 0 and 1" in line
    assert "lungseg import --labels" in line
    _save(255 * one, tmp_path / "out" / "a_pred.nii.gz")
    _save(one, tmp_path / "labels" / "a.nii.gz")
    assert evaluate_pairs(pairs).table.loc["a", "dice"] == 1, "in a mask all above 0 is tumour"


def test_a_report_is_a_table_a_summary_and_a_figure(tmp_path):
    one = ball((8, 8, 8))
    masks = {"a": (one, one), "b": (one, EMPTY), "c": (EMPTY, EMPTY)}
    for case, (truth, predicted) in masks.items():
        _save(truth, tmp_path / "labels" / f"{case}.nii.gz")
        _save(predicted, tmp_path / "out" / f"{case}_pred.nii.gz")
        _save(predicted, tmp_path / "out" / f"{case}_probability.nii.gz")
    pairs, problems, _ = find_pairs(tmp_path / "labels", tmp_path / "out")
    assert problems == [], "probabilities beside the masks are no masks"
    files = write_report(evaluate_pairs(pairs), tmp_path / "scores" / "test.csv")
    assert [path.name for path in files] == ["test.csv", "test_lesions.csv", "test.json", "test.png"]
    table = pd.read_csv(files[0], index_col="case")
    assert tuple(table.columns) == COLUMNS
    assert table.loc["b", "dice"] == 0 and np.isnan(table.loc["c", "dice"])
    assert table.loc["a", "true_ml"] == pytest.approx(score(one, one, SPACING)["true_ml"])
    found = json.loads(files[2].read_text())
    assert found["mean_dice"] == 0.5 and found["both_empty"] == 1 and found["nothing_predicted"] == 1
    assert files[3].read_bytes().startswith(b"\x89PNG")
    for ending in (".json", ".png"):
        assert write_report(evaluate_pairs(pairs), files[0].with_suffix(ending)) == files, "none overwrites another"


def test_a_report_of_nothing_found_can_be_drawn(tmp_path):
    _save(EMPTY, tmp_path / "labels" / "a.nii.gz")
    _save(EMPTY, tmp_path / "out" / "a_pred.nii.gz")
    pairs, *_ = find_pairs(tmp_path / "labels", tmp_path / "out")
    files = write_report(evaluate_pairs(pairs), tmp_path / "test.csv")
    assert json.loads(files[2].read_text())["mean_dice"] is None, "JSON has no NaN"


def test_means_and_intervals_go_by_patient(tmp_path):
    """Two scans of one patient are one draw of the bootstrap, not two."""
    rows = {f"{patient}{scan}": score(ball((8, 8, 8)), ball((8, 8, 8 + 2 * patient)), SPACING)
            for patient in range(3) for scan in "abcd"}  # fmt: skip
    patients = {case: case[0] for case in rows}
    several, alone = score_table(rows, patients), score_table({"0": rows["0a"], "1": rows["1a"], "2": rows["2a"]})
    assert len(several) == 12 and list(several["patient"].unique()) == ["0", "1", "2"]
    keys = ("patients", "mean_dice", "dice_low", "dice_high", "median_dice", "mean_surface_dice", "median_hd95_mm")
    for key in keys:
        assert summary(several)[key] == pytest.approx(summary(alone)[key]), key
    assert summary(several)["lesions"] == 12
    assert "patient" not in score_table(rows), "nothing to say where each case is its own patient"


def test_scores_that_cannot_be_written_are_shown(tmp_path, monkeypatch, capsys):
    _save(ball((8, 8, 8)), tmp_path / "set" / "labelsTr" / "a.nii.gz")
    _save(ball((8, 8, 8)), tmp_path / "out" / "a_pred.nii.gz")
    (tmp_path / "file").write_text("")
    words = ("evaluate", tmp_path / "set", tmp_path / "out", "--out", tmp_path / "file" / "scores.csv")
    monkeypatch.setattr("sys.argv", ["lungseg", *map(str, words)])
    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    assert "mean Dice 1.00" in out and "check the path" in err


def test_evaluate_reads_who_is_whose_patient(tmp_path, monkeypatch, capsys):
    for case in ("a", "b", "c"):
        _save(ball((8, 8, 8)), tmp_path / "set" / "labelsTr" / f"{case}.nii.gz")
        _save(ball((8, 8, 8)), tmp_path / "out" / f"{case}_pred.nii.gz")
    (tmp_path / "set" / "patients.csv").write_text("case,patient\nb,a\n")
    words = ["evaluate", str(tmp_path / "set"), str(tmp_path / "out"), "--out", str(tmp_path / "scores.csv")]
    monkeypatch.setattr("sys.argv", ["lungseg", *words])
    with pytest.raises(SystemExit):
        main()
    assert list(pd.read_csv(tmp_path / "scores.csv")["patient"]) == ["a", "a", "c"]
    assert "2 patients; mean Dice 1.00 (95 % interval 1.00 to 1.00), median 1.00; " in capsys.readouterr().out


def test_the_line_of_a_summary_leaves_out_what_nobody_has():
    one = ball((8, 8, 8))
    table = score_table({"a": score(one, one, SPACING)})
    large = int(table["large_lesions"].sum())
    assert in_words(table) == (
        "1 patient; mean Dice 1.00, median 1.00; mean surface Dice 1.00; median HD95 0.0 mm; "
        f"1 of 1 lesions found (over 1 mL {large} of {large}); 0.0 false components per scan"
    )
    nothing = score_table({"a": score(EMPTY, EMPTY, SPACING)})
    assert in_words(nothing).startswith("1 patient; 0 of 0 lesions found") and "nan" not in in_words(nothing)
    assert in_words(nothing).endswith("; 1 with no tumour, none predicted")


@pytest.mark.parametrize("labels", ["set", "set/labelsTr"])
def test_labels_given_by_their_folder_keep_their_patients(labels, tmp_path, monkeypatch, capsys):
    for case in ("a", "b", "c"):
        _save(ball((8, 8, 8)), tmp_path / "set" / "labelsTr" / f"{case}.nii.gz")
        _save(ball((8, 8, 8)), tmp_path / "out" / f"{case}_pred.nii.gz")
    (tmp_path / "set" / "patients.csv").write_text("case,patient\nb,a\n")
    words = ["evaluate", str(tmp_path / labels), str(tmp_path / "out"), "--out", str(tmp_path / "scores.csv")]
    monkeypatch.setattr("sys.argv", ["lungseg", *words])
    with pytest.raises(SystemExit):
        main()
    assert "2 patients; mean Dice" in capsys.readouterr().out


def test_every_patient_of_the_volumes_lies_in_the_picture():
    for predicted in ([1.0, 28.0, 0.0], [0.0, 0.0, 0.0], [20.0, 30.0, 400.0]):
        figure, ax = plt.subplots()
        draw_volumes(ax, pd.DataFrame({"true_ml": [20.0, 30.0, 50.0], "predicted_ml": predicted}))
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        points = np.concatenate([dots.get_offsets() for dots in ax.collections])
        assert len(points) == 3
        assert ((points[:, 0] > left) & (points[:, 0] < right)).all()
        assert ((points[:, 1] >= low) & (points[:, 1] < high)).all()
        plt.close(figure)
