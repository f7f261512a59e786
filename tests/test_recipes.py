"""A recipe is complete, plain and checked."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lungseg_helpers.errors import RecipeError
from lungseg_helpers.recipes import RECIPES, Intensity, Recipe, get_recipe


@pytest.mark.parametrize("profile", ["laptop", "gpu"])
@pytest.mark.parametrize("name", RECIPES)
def test_recipe_survives_json(name, profile):
    recipe = get_recipe(name, profile)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_profiles_change_only_sizes_and_budgets():
    small, large = get_recipe("course", "laptop"), get_recipe("course", "gpu")
    differing = {key for key, value in small.to_dict().items() if value != large.to_dict()[key]}
    assert differing <= {"pixel_mm", "frame", "patch", "widths", "slices_per_epoch", "epochs", "batch_size"}


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


@pytest.mark.parametrize(
    "wrong", [{"crop": "halves"}, {"context_mm": (3.0,)}, {"tumour_fraction": 1.0}], ids=lambda wrong: next(iter(wrong))
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(RecipeError):
        Recipe(**wrong)


def test_unknown_names_are_refused():
    with pytest.raises(RecipeError, match="course"):
        get_recipe("corse")
    with pytest.raises(RecipeError, match="learning_speed"):
        Recipe.from_dict({"learning_speed": 3})


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
