"""No training overwrites another, and no patient is tested on whom any earlier training has seen."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.split import Split
from lungseg_helpers.errors import RecipeError, SplitError, TrainingError, WeightsError
from lungseg_helpers.paths import SHIPPED_WEIGHTS
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.training.lineage import require_unseen
from lungseg_helpers.training.run import train
from lungseg_helpers.training.teacher import require_same_input
from lungseg_helpers.training.weights import average_weights, load_weights, save_weights
from lungseg_helpers.unet import build_unet

SPLIT = Split(("a",), ("b",), ("c",), "toys", "/data/toys", "0123")


@pytest.fixture
def data(toy_case, toy_recipe, monkeypatch):
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
    stack = make_stack(toy_case("a"), toy_recipe)
    return LungDataModule([stack], [stack], replace(toy_recipe, epochs=1, slices_per_epoch=8))


def weights_of(recipe, roles, path):
    """Write the weights of an untrained network as if they had been trained on the patients of ``roles``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_weights(path, recipe, build_unet(recipe).state_dict(), roles)


def finished(recipe, run):
    """Leave a finished training's weights in ``run``."""
    weights_of(replace(recipe, threshold=0.8), SPLIT.to_dict(), run / "weights.ckpt")


def unfinished(recipe, run, name="last"):
    """Leave the checkpoint of an interrupted training in ``run``."""
    state = {f"network.{key}": value for key, value in build_unet(recipe).state_dict().items()}
    (run / "checkpoints").mkdir(parents=True)
    torch.save(
        {"hyper_parameters": {"recipe": recipe.to_dict()}, "state_dict": state}, run / "checkpoints" / f"{name}.ckpt"
    )
    (run / "split.json").write_text(json.dumps(SPLIT.to_dict()))


def best_alone(recipe, run):
    """Leave what a training that was killed between its two checkpoints leaves."""
    unfinished(recipe, run, "best-epoch=000-val_dice=0.100")


OTHERS = {
    "seed": (lambda recipe: replace(recipe, seed=1), SPLIT, r"settings \(seed\)"),
    "epochs": (lambda recipe: replace(recipe, epochs=7, smallest_ml=0.0), SPLIT, r"settings \(epochs, smallest_ml\)"),
    "content": (lambda recipe: recipe, replace(SPLIT, digest="4567"), "other data"),
    "name": (lambda recipe: recipe, replace(SPLIT, data="others"), "other data"),
    "patients": (lambda recipe: recipe, replace(SPLIT, test=("d",)), "other patients by role"),
}


@pytest.mark.parametrize("kept", [finished, unfinished, best_alone])
@pytest.mark.parametrize("other", OTHERS)
def test_a_folder_of_another_training_is_left_as_it_is(data, tmp_path, kept, other):
    run = tmp_path / "run"
    kept(data.recipe, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    change, split, said = OTHERS[other]
    data.recipe = change(data.recipe)
    with pytest.raises(TrainingError, match=rf"run: holds a training of .*{said}.*--out, or delete") as caught:
        train(data, split, run, "cpu", progress=False)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_finished_training_is_used_again_where_its_checkpoints_are_gone_and_its_data_have_moved(data, tmp_path):
    finished(data.recipe, tmp_path / "run")
    moved = replace(SPLIT, root="/elsewhere/toys")
    weights = train(data, moved, tmp_path / "run", "cpu", progress=False)
    assert load_weights(weights)[1].threshold == 0.8, "the weights that were there"
    assert json.loads((tmp_path / "run" / "split.json").read_text())["root"] == "/elsewhere/toys"


def test_weights_to_begin_from_are_known_by_their_content(data, tmp_path):
    torch.manual_seed(0)
    first = weights_of(data.recipe, SPLIT.to_dict(), tmp_path / "first" / "weights.ckpt")
    second = weights_of(data.recipe, SPLIT.to_dict(), tmp_path / "second" / "weights.ckpt")
    run = tmp_path / "run"
    changed = train(data, SPLIT, run, "cpu", progress=False, start=first).stat().st_mtime_ns
    renamed = shutil.copy(first, tmp_path / "renamed.ckpt")
    assert train(data, SPLIT, run, "cpu", progress=False, start=renamed).stat().st_mtime_ns == changed
    for start in (second, None):
        with pytest.raises(TrainingError, match="other weights to begin from"):
            train(data, SPLIT, run, "cpu", progress=False, start=start)


def test_equal_weights_are_equal_files(data, tmp_path):
    state = build_unet(data.recipe).state_dict()
    one, two = (save_weights(tmp_path / name, data.recipe, state, SPLIT.to_dict()) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


PLAIN = {"data": "toys", "train": ["a"], "validation": ["b"], "test": ["c"]}
"""What weights of an earlier version tell."""

SEEN_C = {"data": "toys", "train": ["c"], "validation": ["a"], "test": ["b"]}

LEAKS = {
    "itself": SEEN_C,
    "start": PLAIN | {"start": {"weights": "weights.ckpt", "data": "toys", "train": ["c"]}},
    "start of a start": PLAIN | {"start": PLAIN | {"start": SEEN_C}},
    "averaged": PLAIN | {"averaged": [PLAIN, SEEN_C]},
    "start of an average": PLAIN | {"averaged": [PLAIN | {"start": SEEN_C}]},
    "a copy of the data": SEEN_C | {"data": "copy", "digest": "0123"},
    "another case of the patient": {"data": "toys", "train": ["c_s1"], "patients": {"c_s1": "c"}},
}


@pytest.mark.parametrize("before", LEAKS)
def test_weights_whose_history_holds_a_patient_kept_apart_are_refused(data, tmp_path, before):
    start = weights_of(data.recipe, LEAKS[before], tmp_path / "start.ckpt")
    with pytest.raises(SplitError, match=r"start\.ckpt: was trained on c, which this split validates or tests on"):
        train(data, SPLIT, tmp_path / "run", "cpu", progress=False, start=start)
    assert not (tmp_path / "run").exists()


def test_patients_are_one_by_either_record():
    """By what the weights knew, and by what is known of the data set today."""
    split = replace(SPLIT, test=("c_s2",), patients={"c_s1": "c", "c_s2": "c"})
    with pytest.raises(SplitError, match="trained on c,"):
        require_unseen("old.ckpt", {"data": "toys", "train": ["c_s1"]}, split.to_dict())
    unlisted = replace(SPLIT, test=("c_s2",)).to_dict()
    before = {"data": "toys", "train": ["c_s1"], "patients": {"c_s1": "c", "c_s2": "c"}}
    with pytest.raises(SplitError, match="trained on c,"):
        require_unseen("old.ckpt", before, unlisted)


def test_patients_of_other_data_and_of_the_same_split_are_no_leak():
    for before in (
        PLAIN,
        PLAIN | {"start": PLAIN},
        SEEN_C | {"data": "others"},
        SEEN_C | {"data": "", "digest": ""},
        {},
    ):
        require_unseen("weights.ckpt", before, SPLIT.to_dict())
    require_unseen("weights.ckpt", SEEN_C | {"data": "others", "digest": ""}, replace(SPLIT, digest="").to_dict())


def test_an_average_over_splits_is_refused(toy_recipe, tmp_path):
    one = weights_of(toy_recipe, PLAIN, tmp_path / "one.ckpt")
    two = weights_of(toy_recipe, PLAIN | {"start": SEEN_C}, tmp_path / "two.ckpt")
    with pytest.raises(SplitError, match=r"two\.ckpt: was trained on c"):
        average_weights([one, two], tmp_path / "mean.ckpt")
    assert not (tmp_path / "mean.ckpt").exists()
    same = weights_of(toy_recipe, PLAIN, tmp_path / "same.ckpt")
    assert load_weights(average_weights([one, same], tmp_path / "mean.ckpt"))[2] == PLAIN | {"averaged": [PLAIN]}


def test_a_mean_of_a_mean_remembers_all_of_them(toy_recipe, tmp_path):
    others = [PLAIN | {"data": name, "digest": name} for name in ("second", "third")]
    one, two, three = (
        weights_of(toy_recipe, roles, tmp_path / f"{number}.ckpt") for number, roles in enumerate([PLAIN, *others])
    )
    mean = average_weights([one, two], tmp_path / "mean.ckpt")
    assert load_weights(average_weights([mean, three], tmp_path / "last.ckpt"))[2] == PLAIN | {"averaged": others}


def test_the_shipped_weights_load_and_may_be_begun_from():
    _, recipe, roles = load_weights(SHIPPED_WEIGHTS)
    assert (roles["data"], len(roles["train"]), recipe.threshold) == ("phantom_400", 372, 0.5)
    require_unseen(SHIPPED_WEIGHTS, roles, SPLIT.to_dict())
    with pytest.raises(SplitError, match=r"course\.ckpt: was trained on lung_001,"):
        require_unseen(SHIPPED_WEIGHTS, roles, replace(SPLIT, data="phantom_400", test=("lung_001",)).to_dict())


def test_without_a_spacing_the_frame_is_an_input(tmp_path):
    """A slice stretched to twice as many pixels shows tumours of twice the size."""
    small = replace(get_recipe("baseline", "laptop"), widths=(4, 8))
    large = replace(small, frame=(256, 256))
    with pytest.raises(RecipeError, match="another frame than the student"):
        require_same_input(large, small)
    paths = [tmp_path / "one.ckpt", tmp_path / "two.ckpt"]
    for path, recipe in zip(paths, (small, large), strict=True):
        save_weights(path, recipe, build_unet(recipe).state_dict(), SPLIT.to_dict())
    with pytest.raises(WeightsError, match="another frame than"):
        average_weights(paths, tmp_path / "mean.ckpt")
    course = get_recipe("course", "laptop")
    require_same_input(replace(course, frame=(256, 256)), course)  # there it is air alone


def test_a_patient_who_was_renamed_is_one_by_the_older_record():
    before = {"data": "toys", "train": ["c_s1"], "patients": {"c_s1": "c", "c_s2": "c"}}
    renamed = replace(SPLIT, test=("c_s2",), patients={"c_s2": "patient 3"}).to_dict()
    with pytest.raises(SplitError, match="trained on c,"):
        require_unseen("old.ckpt", before, renamed)
