"""What lies below a folder."""

from pathlib import Path

from lungseg_helpers.scans.case import files_below


def test_what_is_hidden_or_in_a_hidden_folder_is_passed_over(tmp_path: Path) -> None:
    root = tmp_path / ".kept" / "scans"  # a hidden folder above is the user's own choice
    for name in ("b/x.nrrd", "a.dcm", ".git/annex/x.nrrd", "b/.ipynb_checkpoints/x-checkpoint.nrrd", "b/._x.nrrd"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "c.nii").mkdir()
    (root / "d.nii").symlink_to("nowhere")
    assert files_below(root) == [root / "a.dcm", root / "b" / "x.nrrd", root / "d.nii"]


def test_links_to_folders_are_followed_and_no_folder_is_found_twice(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "scans", tmp_path / "elsewhere"
    for path in (root / "here" / "x.nrrd", elsewhere / "deep" / "y.nrrd", tmp_path / "not_asked_for.nrrd"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "ann").symlink_to(elsewhere)
    (root / "bob").symlink_to(elsewhere)
    (root / "again").symlink_to(root / "here")
    (root / "here" / "round").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    (elsewhere / "deep" / "round").symlink_to(elsewhere)
    assert files_below(root) == [root / "ann" / "deep" / "y.nrrd", root / "here" / "x.nrrd"]
    assert files_below(root / "ann") == [root / "ann" / "deep" / "y.nrrd"]
