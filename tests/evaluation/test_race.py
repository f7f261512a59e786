"""Recipes are compared on the same patients and seconds, and the ablation leads from one recipe to the other."""

import json
from dataclasses import fields, replace

import pytest

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.evaluation import race
from lungseg_helpers.evaluation.ablation import BUDGET, STEPS, ablation
from lungseg_helpers.evaluation.race import compare, measure_budgets, steps_per_second, train_for, with_budget
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipes import PROFILES, get_recipe
from lungseg_helpers.training.weights import load_weights


@pytest.mark.parametrize("profile", PROFILES)
def test_the_ablation_leads_from_the_baseline_to_the_course_and_misses_nothing(profile):
    recipes = [recipe for _, recipe in ablation(profile)]
    first, goal = get_recipe("baseline", profile, faithful=True), get_recipe("course", profile)
    same = {field.name for field in fields(Recipe) if getattr(recipes[0], field.name) == getattr(first, field.name)}
    assert {field.name for field in fields(Recipe)} - same <= set(BUDGET)
    differing = {f.name for f in fields(Recipe) if getattr(recipes[-1], f.name) != getattr(goal, f.name)}
    assert differing <= set(BUDGET), "a setting of the course is taken over by no step"


def test_every_step_changes_something_and_only_its_own():
    recipes = ablation("laptop")
    assert len(recipes) == len(STEPS) + 1
    for (_, before), (words, after), (name, settings) in zip(recipes, recipes[1:], STEPS, strict=False):
        changed = {f.name for f in fields(Recipe) if getattr(before, f.name) != getattr(after, f.name)} - {"name"}
        assert words == name and changed and changed <= set(settings)


def test_a_budget_is_seconds_times_rate():
    recipe = with_budget(get_recipe("course", "laptop"), 60, 10.0)
    assert recipe.epochs * recipe.slices_per_epoch == 600 * recipe.batch_size
    assert with_budget(recipe, 0.001, 0.1).slices_per_epoch == recipe.batch_size, "one step at least"


def test_a_rate_is_measured(toy_case, toy_recipe):
    stack = make_stack(toy_case("a"), toy_recipe)
    assert steps_per_second(LungDataModule([stack], [stack], toy_recipe), "cpu") > 0.1


@pytest.fixture
def patients(toy_case, tmp_path):
    for name in ("a", "b", "c"):
        toy_case(name)
    return str(tmp_path)


def test_a_run_keeps_its_budget_and_is_found_done(patients, toy_recipe, tmp_path, monkeypatch):
    weights, stacks = train_for(toy_recipe, 0.2, tmp_path / "race", patients, "cpu")
    assert {role: len(held) for role, held in stacks.items()} == {"train": 1, "validation": 1, "test": 1}
    changed = weights.stat().st_mtime_ns
    (note,) = (tmp_path / "race" / "budgets").glob("*.json")
    kept = with_budget(toy_recipe, 0.2, json.loads(note.read_text())["rate"]).slices_per_epoch
    with monkeypatch.context() as patch:
        patch.setattr(race, "steps_per_second", lambda *_: pytest.fail("measured again"))
        again, _ = train_for(toy_recipe, 0.2, tmp_path / "race", patients, "cpu")
        assert again.stat().st_mtime_ns == changed and load_weights(again)[1].slices_per_epoch == kept
        # another seed has a place of its own, and the same budget
        reseeded, _ = train_for(replace(toy_recipe, seed=5), 0.2, tmp_path / "race", patients, "cpu")
        assert reseeded != again and load_weights(reseeded)[1].slices_per_epoch == kept
    # another budget, or another setting, stands beside it
    monkeypatch.setattr(race, "steps_per_second", lambda *_: 10.0)
    more, _ = train_for(toy_recipe, 0.4, tmp_path / "race", patients, "cpu")
    other, _ = train_for(replace(toy_recipe, smallest_ml=0.0), 0.4, tmp_path / "race", patients, "cpu")
    assert len({again, reseeded, more, other}) == 4 and again.stat().st_mtime_ns == changed


def test_budgets_are_measured_in_turn_and_the_best_rate_counts(patients, toy_recipe, tmp_path, monkeypatch):
    recipes, asked = [toy_recipe, replace(toy_recipe, seed=7), replace(toy_recipe, widths=(4, 8))], []
    rates = iter((3.0, 9.0, 5.0, 2.0))
    monkeypatch.setattr(race, "steps_per_second", lambda data, _: asked.append(data.recipe.widths) or next(rates))
    measure_budgets(recipes, 10, tmp_path / "race", patients, "cpu")
    assert asked == [toy_recipe.widths, (4, 8)] * 2, "two seeds of a recipe are one budget"
    kept = sorted(json.loads(note.read_text())["rate"] for note in (tmp_path / "race" / "budgets").iterdir())
    assert kept == [5.0, 9.0]


def test_a_row_says_what_a_table_needs(patients, toy_recipe, tmp_path):
    row, each = compare(replace(toy_recipe, name="toy"), 1.0, tmp_path / "runs", patients, real=False, device="cpu")
    assert row["recipe"] == "toy" and row["lesions"] == 1 and row["steps"] >= 4
    assert 0 <= row["dice"] <= 1 and 0 <= row["reported"] <= 1 and row["lesions_found"] in (0, 1)
    assert list(each) == ["recipe", "seed", "patient", "dice", "lesions", "lesions_found", "false_components"]
    assert len(each) == 1 and each["dice"][0] == pytest.approx(row["dice"])
