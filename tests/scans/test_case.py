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
