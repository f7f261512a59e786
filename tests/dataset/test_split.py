"""Patients never leak between roles, whichever of their scans are in the data set."""

from dataclasses import replace

import numpy as np
import pytest

from lungseg_helpers.dataset.split import ROLES, Split, fold_patients, open_split, split_patients
from lungseg_helpers.errors import RecipeError, SplitError
from lungseg_helpers.phantom import PHANTOMS
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.recipe_rules import FOLDS


def test_split_is_complete_and_independent_of_order():
    ids = [f"lung_{number:03d}" for number in (1, 3, 4, 9, 10, 15, 22, 33, 41, 58)]
    split = split_patients(ids, Recipe())
    assert sorted(split.train + split.validation + split.test) == ids
    assert split == split_patients(ids[::-1], Recipe())
    assert split == split_patients(ids, Recipe(seed=7)), "another seed trains on the same patients"
    assert split != split_patients(ids, Recipe(split_seed=7))
    assert len(split.test) == round(0.25 * 10)


def test_the_default_phantoms_are_split_as_ever():
    """By the plain rule that the committed results are of, and with patients that are their cases."""
    ids = [f"lung_{number:03d}" for number in range(1, PHANTOMS + 1)]
    shuffled = [ids[place] for place in np.random.default_rng(2026).permutation(PHANTOMS)]
    plain = Split(tuple(sorted(shuffled[18:])), tuple(sorted(shuffled[12:18])), tuple(sorted(shuffled[:12])))
    assert PHANTOMS == 60 and split_patients(ids, Recipe()) == plain
    assert split_patients(ids, Recipe(), {id: id for id in ids}) == plain


def test_all_cases_of_a_patient_are_in_one_role():
    """Ten patients with two labelled series each, as an import of DICOM names them."""
    patients = {f"P{number:02d}_s{series}": f"P{number:02d}" for number in range(10) for series in (2, 3)}
    for seed in range(20):
        split = split_patients(list(patients), Recipe(split_seed=seed), patients)
        assert sorted(split.train + split.validation + split.test) == sorted(patients)
        held = [{patients[id] for id in getattr(split, role)} for role in ROLES]
        assert sum(map(len, held)) == len(set.union(*held)) == 10, "a patient is in two roles"
        assert [len(part) for part in held] == [7, 1, 2], "the fractions are of patients"
        assert split.patients == patients


@pytest.mark.parametrize("count", range(3, 12))
def test_every_role_has_a_patient(count):
    for recipe in (Recipe(), Recipe(test_fraction=0.9, validation_fraction=0.05)):
        split = split_patients([str(number) for number in range(count)], recipe)
        assert split.train and split.validation and split.test


def test_split_refuses_too_few_and_repeated():
    with pytest.raises(SplitError, match="2 labelled"):
        split_patients(["a", "b"], Recipe())
    with pytest.raises(SplitError, match="2 labelled patients"):
        split_patients(["a", "b", "c", "d"], Recipe(), {"b": "a", "d": "c"})
    with pytest.raises(SplitError, match="twice"):
        split_patients(["a", "b", "c", "a"], Recipe())


def test_a_data_set_is_split_by_the_patients_that_it_names(toy_case, toy_recipe, tmp_path):
    cases = [toy_case(f"{name}_s{series}") for name in "abc" for series in (1, 2)]
    (tmp_path / "patients.csv").write_text("case,patient\n" + "".join(f"{case.id},{case.id[0]}\n" for case in cases))
    split, stacks, _ = open_split(tmp_path, toy_recipe, workers=1)
    for role in ROLES:
        (patient,) = {id[0] for id in getattr(split, role)}
        assert getattr(split, role) == (f"{patient}_s1", f"{patient}_s2")
        assert tuple(stack.id for stack in stacks[role]) == getattr(split, role)


def test_a_split_says_where_its_data_lie_and_what_they_hold(toy_case, toy_recipe, tmp_path):
    cases = [toy_case(name) for name in "abcd"]
    split, _, _ = open_split(tmp_path, toy_recipe, workers=1)
    assert (split.data, split.root) == (tmp_path.name, str(tmp_path.resolve())) and len(split.digest) == 16
    touched = cases[0].image.read_bytes()
    cases[0].image.write_bytes(touched)  # another time, the same content
    finer = replace(toy_recipe, pixel_mm=4.0)
    assert open_split(tmp_path, finer, workers=1)[0] == split, "how scans are prepared changes nothing"
    toy_case(split.train[0], tumour=False)
    assert open_split(tmp_path, toy_recipe, workers=1)[0].digest != split.digest


def test_a_bad_case_keeps_everyone_else_in_their_role(toy_case, toy_recipe, tmp_path):
    cases = [toy_case(f"toy_{number:03d}") for number in range(8)]
    split, stacks, problems = open_split(tmp_path, toy_recipe, workers=1)
    assert not problems
    bad = next(case for case in cases if case.id in split.train)
    bad.image.write_bytes(b"broken")
    again, fewer, problems = open_split(tmp_path, toy_recipe, workers=1)
    assert replace(again, digest=split.digest) == split and len(problems) == 1 and bad.id in problems[0]
    assert again.digest != split.digest, "one patient fewer is other data"
    assert [stack.id for stack in fewer["test"]] == [stack.id for stack in stacks["test"]]
    assert len(fewer["train"]) == len(stacks["train"]) - 1


def test_folds_are_those_of_nnunet():
    names = [f"lung_{number:03d}" for number in range(63)]
    folds = fold_patients(names[::-1])
    # what scikit-learn gives: KFold(5, shuffle=True, random_state=12345).split(range(63))
    first = [4, 6, 20, 21, 25, 26, 30, 32, 40, 44, 45, 47, 53]
    last = [1, 14, 29, 34, 36, 37, 41, 49, 59, 60, 61, 62]
    assert folds[0] == [names[index] for index in first] and folds[4] == [names[index] for index in last]
    assert [len(fold) for fold in folds] == [13, 13, 13, 12, 12]
    assert sorted(name for fold in folds for name in fold) == names, "everybody is in one fold"


def test_each_fold_is_tested_by_a_split_of_its_own():
    patients = {f"scan_{number:02d}": f"patient_{number // 2}" for number in range(24)}
    splits = [split_patients(list(patients), Recipe(fold=fold), patients) for fold in range(FOLDS)]
    assert sorted(case for split in splits for case in split.test) == sorted(patients), "every scan is tested once"
    for split in splits:
        people = [{patients[case] for case in getattr(split, role)} for role in ROLES]
        assert all(people) and not people[0] & people[1] and not people[2] & (people[0] | people[1])
        assert sum(map(len, people)) == 12
    with pytest.raises(SplitError, match="4 labelled patients; bring 5 or more"):
        split_patients(["a", "b", "c", "d"], Recipe(fold=0))
    with pytest.raises(RecipeError, match="fold is 5; use a whole number from 0 to 4, or None"):
        Recipe(fold=5)
    assert Recipe().varied(["fold=3"]).fold == 3 and Recipe(fold=3).varied(["fold=None"]).fold is None
