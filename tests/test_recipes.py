"""A recipe is complete, plain and checked."""

import hashlib
import json
from dataclasses import fields, replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from lungseg_helpers.errors import RecipeError, WeightsError
from lungseg_helpers.evaluation import dice_definitions
from lungseg_helpers.hounsfield import AIR_HU, Intensity
from lungseg_helpers.paths import find_trained, run_dir
from lungseg_helpers.recipe import ADDED, Augmentation, Recipe
from lungseg_helpers.recipe_rules import AUGMENTATION_RULES, MOST_SEED, RECIPE_RULES
from lungseg_helpers.recipes import FAITHFUL, PROFILES, RECIPES, WATER_HU, get_recipe
from lungseg_helpers.training.losses import LOSSES
from lungseg_helpers.unet import INITIALISATIONS, NORMS, UPSAMPLINGS, build_unet


@pytest.mark.parametrize("profile", ["laptop", "gpu"])
@pytest.mark.parametrize("name", RECIPES)
def test_recipe_survives_json(name, profile):
    recipe = get_recipe(name, profile)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_profiles_change_only_sizes_and_budgets(name):
    small, large = get_recipe(name, "laptop"), get_recipe(name, "gpu")
    differing = {key for key, value in small.to_dict().items() if value != large.to_dict()[key]}
    sizes = {"pixel_mm", "slice_mm", "frame", "patch", "stem", "widths", "batch_size"}
    assert differing <= sizes | {"slices_per_epoch", "epochs"}


TABLE = {
    # name: intensity, scale, shift, rotation, elastic α and σ, widths, norm, dropout, initialisation, upsampling, loss,
    # batch, epochs, patience, watched, kept, weight of a tumour slice (0: inverse frequency)
    "windowed": ((-1350, 150), (0.85, 1.15), 0.0, 45, (0, 40), (4, 8), "batch", 0.2, "xavier", "bilinear_conv",
                 "dice_focal", 12, 100, 25, "val_dice", 3, 8.0),
    "lungnet": ((-1024, 3071), (0.85, 1.15), 0.15, 45, (0, 5), (0.25, 0.25), "none", 0.0, "torch", "bilinear_aligned",
                "bce", 16, 50, 10, "val_dice", 3, 0.0),
    "oversampled": ((-1024, 3071), (0.85, 1.15), 0.0, 45, (0, 40), (4, 8), "none", 0.0, "torch", "bilinear",
                    "bce", 8, 30, 0, "val_loss", 1, 8.5),
    "classic": ((-1024, 3071), (0.85, 1.15), 0.0, 45, (0, 40), (4, 8), "none", 0.0, "torch", "bilinear",
                "bce", 8, 30, 0, "val_loss", 1, 8.5),
    "baseline": ((-1024, 3071), (0.85, 1.15), 0.0, 45, (0, 40), (4, 8), "none", 0.0, "torch", "bilinear",
                 "bce", 8, 30, 0, "val_loss", 1, 8.2),
}  # fmt: skip
"""What is known of the reference projects' code, row by row as it was read."""


@pytest.mark.parametrize("name", TABLE)
def test_reference_recipes_are_as_read(name):
    recipe = get_recipe(name, "gpu")
    moves = recipe.augmentation
    assert TABLE[name] == (
        (recipe.intensity.low, recipe.intensity.high), moves.scale, moves.shift, moves.rotate_deg, moves.elastic_alpha,
        moves.elastic_sigma, recipe.norm, recipe.dropout, recipe.initialisation, recipe.upsampling, recipe.loss,
        recipe.batch_size, recipe.epochs, recipe.patience, recipe.watched, recipe.keep_best, recipe.tumour_weight,
    )  # fmt: skip
    # what all five share
    assert (recipe.crop, recipe.pixel_mm, recipe.frame, recipe.patch) == ("first_30", None, (256, 256), None)
    assert recipe.widths == (64, 128, 256, 512) and recipe.context_mm == (0.0,)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.schedule) == (1e-4, 0.0, "constant")
    assert not recipe.averaged and not recipe.chosen_threshold and recipe.smallest_ml == 0
    assert moves.flip_left_right == moves.noise == moves.brightness == moves.contrast == 0
    assert callable(getattr(dice_definitions, recipe.reported))


def test_scaling_of_the_reference_recipes():
    window = get_recipe("windowed", "gpu").intensity
    assert window(np.array([-1350, -600, 150])) == pytest.approx([0, 0.5, 1])
    divided = get_recipe("baseline", "gpu").intensity
    assert divided(np.array([-2048, 0, 3071])) == pytest.approx([-1024 / 3071, 0, 1])


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", FAITHFUL)
def test_mistakes_are_off_unless_asked_for(name, profile):
    meant, faithful = get_recipe(name, profile), get_recipe(name, profile, faithful=True)
    assert (meant.border_hu, meant.same_seeds, meant.threshold) == (AIR_HU, 0, 0.5)
    assert faithful.same_seeds == 4 and faithful.name == f"{name}_faithful"
    assert (faithful.border_hu == WATER_HU) == (name != "windowed")
    logit = {"windowed": 0.2, "lungnet": 0.0}.get(name, 0.5)
    assert np.log(faithful.threshold / (1 - faithful.threshold)) == pytest.approx(logit, abs=1e-9)
    assert meant.augmentation.fixed_shift == 0
    assert faithful.augmentation.fixed_shift == (0.15 if name == "classic" else 0)
    with pytest.raises(RecipeError, match="no mistakes"):
        get_recipe("course", profile, faithful=True)


def test_intensity_clips_and_scales():
    scale = Intensity(-1350, 150, -1350, 1500)
    np.testing.assert_allclose(scale(np.array([-2000, -1350, -600, 150, 3000])), [0, 0, 0.5, 1, 1])
    assert scale(np.array([0])).dtype == np.float32
    assert Intensity(-1024, 3071, 0, 3071).air == pytest.approx(-1024 / 3071)


def test_environment_chooses(monkeypatch):
    monkeypatch.setenv("LUNGSEG_PROFILE", "gpu")
    assert get_recipe() == get_recipe("course", "gpu")
    monkeypatch.setenv("LUNGSEG_PROFILE", "mainframe")
    with pytest.raises(RecipeError, match="laptop, gpu"):
        get_recipe()


WRONG = {
    "batch_size": 0, "keep_best": 0, "reported": "nonsense", "pixel_mm": -1, "loss": "hinge", "norm": "layer",
    "upsampling": "nearest", "initialisation": "zeros", "crop": "halves", "context_mm": (3.0,), "tumour_fraction": 1.0,
    "watched": "the sky", "schedule": "linear", "epochs": 2.5, "widths": (8, 0), "frame": (112,), "patch": (0, 64),
    "validation_fraction": -0.1, "test_fraction": 1, "dropout": 1.0, "threshold": 1.5, "learning_rate": 0,
    "weight_decay": float("nan"), "slices_per_epoch": 3, "patience": -1, "smallest_ml": -1, "averaged": 1, "seed": True,
    "name": "../else", "intensity": Intensity(scale=0), "augmentation": "strong",
    "dims": 4, "slice_mm": 0, "stem": True,
}  # fmt: skip
"""A value of each setting that makes no sense."""


@pytest.mark.parametrize("setting", WRONG)
def test_impossible_values_are_refused_in_one_line(setting):
    with pytest.raises(RecipeError, match=f"{setting} is .*; use ") as caught:
        Recipe(**{setting: WRONG[setting]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "part",
    [{"scale": (1.2, 0.8)}, {"noise": -1}, {"elastic_sigma": 4.0}, {"context_end": 2}, {"low_resolution": (0, 1)}],
)
def test_impossible_augmentations_are_refused(part):
    with pytest.raises(RecipeError, match=f"augmentation.{next(iter(part))} is .*; use "):
        Recipe(augmentation=Augmentation(**part))


def test_the_largest_seed_is_the_largest_that_a_training_takes():
    pl.seed_everything(Recipe(seed=MOST_SEED).seed, verbose=False)
    with pytest.raises(RecipeError, match=f"seed is {MOST_SEED + 1}; use a whole number from 0 to {MOST_SEED}"):
        Recipe(seed=MOST_SEED + 1)


def test_values_that_do_not_fit_together_are_refused():
    with pytest.raises(RecipeError, match="leave nobody to train on"):
        Recipe(validation_fraction=0.5, test_fraction=0.5)


@pytest.mark.parametrize(
    "together",
    [
        {"patch": (32, 64, 64)},
        {"frame": (64, 128, 128)},
        {"slice_mm": 2.0},
        {"dims": 3},
        {"dims": 3, "frame": (64, 64, 64), "context_mm": (0.0,)},
        {"dims": 3, "frame": (64, 64, 64), "patch": None},
        {"dims": 3, "frame": (64, 64, 64), "patch": None, "context_mm": (0.0,), "pixel_mm": None},
    ],
    ids=str,
)
def test_dimensions_that_contradict_one_another_are_refused(together):
    with pytest.raises(RecipeError, match=r"; use .*") as caught:
        Recipe(**together)
    assert "dims=" in str(caught.value) and "\n" not in str(caught.value)


def test_settings_that_came_later_leave_old_digests_alone():
    """Runs lie in folders of these names. Told with all settings, a recipe would have none of them."""
    recipe = get_recipe("course", "laptop")
    before = {key: value for key, value in recipe.to_dict().items() if key not in ADDED}
    assert recipe.digest == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()[:8]
    assert len({recipe.digest, replace(recipe, stem=2).digest, replace(recipe, fold=1).digest}) == 3


def test_three_sizes_are_set_by_name():
    recipe = get_recipe("volume", "laptop").varied(["patch=32,48,40", "slice_mm=None", "stem=1"])
    assert (recipe.patch, recipe.slice_mm, recipe.stem) == ((32, 48, 40), None, 1)
    assert recipe.varied(["slice_mm=3"]).slice_mm == 3
    with pytest.raises(RecipeError, match=r"patch is \(32, 48\); use 3 sizes \(slices, rows, columns\)"):
        recipe.varied(["patch=32,48"])


def test_what_is_allowed_is_told_of_every_setting_and_is_what_the_modules_know():
    assert {*RECIPE_RULES, "augmentation"} == {field.name for field in fields(Recipe)}
    assert set(AUGMENTATION_RULES) == {field.name for field in fields(Augmentation)}
    known = {"loss": LOSSES, "norm": NORMS, "upsampling": UPSAMPLINGS, "initialisation": INITIALISATIONS}
    for setting, names in known.items():
        assert RECIPE_RULES[setting].words == f"one of: {', '.join(names)}"
        assert all(RECIPE_RULES[setting].holds(name) for name in names)
    for name in RECIPE_RULES["reported"].words.removeprefix("one of: ").split(", "):
        assert callable(getattr(dice_definitions, name))
    assert all(RECIPE_RULES["reported"].holds(how.__name__) for how in dice_definitions.DEFINITIONS.values())


def test_unknown_names_are_refused():
    with pytest.raises(RecipeError, match="course"):
        get_recipe("corse")
    with pytest.raises(RecipeError, match="learning_speed"):
        Recipe.from_dict({"learning_speed": 3})


@pytest.mark.parametrize("group", ["augmentation", "intensity"])
def test_unknown_names_within_a_group_are_refused_too(group):
    values = Recipe().to_dict()
    values[group]["fog"] = 1
    with pytest.raises(RecipeError, match=rf"{group} has unknown settings \['fog'\]: made by another version"):
        Recipe.from_dict(values)


def test_settings_are_changed_by_name():
    recipe = get_recipe("course", "laptop")
    settings = ["epochs=3", "augmentation.noise=0", "loss=dice", "widths=8,16", "learning_rate=1e-2", "patch=None"]
    varied = recipe.varied(settings)
    assert (varied.epochs, varied.augmentation.noise, varied.loss, varied.widths) == (3, 0, "dice", (8, 16))
    assert (varied.learning_rate, varied.patch) == (0.01, None)
    assert recipe.varied([]) == recipe and recipe.varied(["epochs=3"]) == replace(recipe, epochs=3)


@pytest.mark.parametrize(
    "setting",
    ["epoch=3", "epochs", "epochs=many", "epochs=2.5", "loss=3", "augmentation.fog=1", "widths=a", "widths=None"],
)
def test_wrong_settings_are_refused_in_one_line(setting):
    with pytest.raises(RecipeError) as caught:
        get_recipe("course", "laptop").varied([setting])
    assert setting.split("=")[0] in str(caught.value) and "\n" not in str(caught.value)


def test_a_long_run_lies_beside_the_short_one_and_is_found_first(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGSEG_OUTPUTS", str(tmp_path))
    recipe = get_recipe("course", "laptop")
    assert recipe.longer() == replace(recipe, epochs=10 * recipe.epochs)
    assert find_trained("phantom", recipe) is None
    for long in (False, True):
        folder = run_dir("phantom", recipe, long)
        folder.mkdir(parents=True)
        (folder / "weights.ckpt").touch()
        assert find_trained("phantom", recipe) == folder / "weights.ckpt"


def test_trainings_of_other_settings_or_beginnings_have_other_folders(tmp_path):
    recipe = get_recipe("course", "laptop")
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    for path in (first, second):
        path.write_bytes(path.name.encode())
    others = [replace(recipe, seed=1), replace(recipe, epochs=61), recipe.varied(["augmentation.noise=0"])]
    folders = [run_dir("phantom", other) for other in (recipe, *others)]
    folders += [run_dir("phantom", recipe, start=start) for start in (first, second)]
    folders += [run_dir("phantom", recipe, long=True), run_dir("real", recipe)]
    assert len({folder.name for folder in folders}) == len(folders) == 8
    assert run_dir("phantom", replace(recipe)) == folders[0]
    with pytest.raises(WeightsError, match=r"none\.ckpt"):
        run_dir("phantom", recipe, start=tmp_path / "none.ckpt")


@pytest.mark.parametrize("setting", ["border_hu=-1000.0", "border_hu=-500.5", "intensity.low=-1000.5"])
def test_a_number_may_have_a_fraction_where_the_default_has_none(setting):
    recipe = get_recipe("baseline", "laptop").varied([setting])
    assert float(setting.split("=")[1]) in (recipe.border_hu, recipe.intensity.low)


def test_a_whole_number_is_the_same_setting_as_its_fraction_and_a_group_is_not_replaced():
    recipe = get_recipe("baseline", "laptop")
    for one, other in (("augmentation.noise=1", "augmentation.noise=1.0"), ("learning_rate=1", "learning_rate=1.0")):
        assert recipe.varied([one]).digest == recipe.varied([other]).digest
    with pytest.raises(RecipeError, match="augmentation"):
        recipe.varied(["augmentation={'noise': 0.1}"])
    assert recipe.varied(["augmentation=None"]).augmentation is None


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"norm": "instance"}], ids=str)
def test_a_patch_that_ends_as_one_pixel_cannot_be_normalised(settings):
    with pytest.raises(RecipeError, match=r"one pixel: not for norm=.*; use a larger one"):
        Recipe(patch=(8, 8), **settings)
    recipe = Recipe(patch=(8, 9), widths=(4, 4, 4, 4), **settings)
    images = torch.zeros(recipe.batch_size, len(recipe.context_mm), *recipe.patch)
    assert build_unet(recipe).train()(images).isfinite().all()
    Recipe(patch=(8, 8), batch_size=1, norm="group")
