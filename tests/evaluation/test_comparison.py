"""Two models on the same patients: what the interval is, and that its rule is not fooled by luck."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.luck import wrong
from lungseg_helpers.errors import SourceError
from lungseg_helpers.evaluation.comparison import paired_difference, seeds_by_patients
from lungseg_helpers.evaluation.luck import RULES, Luck, simulated_races
from lungseg_helpers.evaluation.statistics import bootstrap_interval

RULE = RULES["interval by Student's t"]


def test_equal_recipes_are_called_different_in_at_most_one_race_of_twenty():
    shares = wrong("interval by Student's t")
    assert len(shares) == 24 and max(shares.values()) <= 0.05, shares


def test_simulated_races_look_like_real_ones():
    a, b = simulated_races(np.random.default_rng(0), 2000, 3, 12)
    assert a.shape == b.shape == (2000, 3, 12)
    assert a.mean() == pytest.approx(b.mean(), abs=0.02) and 0.4 < a.mean() < 0.6
    assert 0.15 < (a == 0).mean() < 0.25 and a.max() < 0.96
    assert 0.03 < a.mean(axis=2).std(axis=1, ddof=1).mean() < 0.08, "as between the seeds of the course's recipe"
    ahead, behind = simulated_races(np.random.default_rng(0), 2000, 3, 12, ahead=0.5)
    assert (ahead - behind).mean() > 0.05


def test_simpler_rules_are_fooled_and_a_real_gain_is_seen():
    races = simulated_races(np.random.default_rng(1), 2000, 3, 12)
    fooled = {name: rule(*races).mean() for name, rule in RULES.items()}
    assert fooled["the higher mean wins"] == 1
    assert fooled["more than the larger sd over seeds"] > 0.15 and fooled["bootstrap over patients"] > 0.15
    hard = simulated_races(np.random.default_rng(1), 2000, 2, 12, luck=Luck(seed=0.5))
    assert RULES["bootstrap over patients and seeds"](*hard).mean() > 0.07 > 0.05 >= RULE(*hard).mean()
    large = simulated_races(np.random.default_rng(2), 1000, 3, 12, ahead=1.8)
    many = simulated_races(np.random.default_rng(2), 200, 20, 100, ahead=0.3)
    assert RULE(*large).mean() > 0.9 and RULE(*many).mean() > 0.8


def test_the_interval_by_hand():
    rng = np.random.default_rng(4)
    a, b = rng.random((3, 7)), rng.random((2, 7))
    found = paired_difference(a, b)
    assert found.mean == pytest.approx(a.mean() - b.mean()) and found.seeds == (3, 2) and found.patients == 7
    over_patients = (a.mean(0) - b.mean(0)).var(ddof=1) / 7
    over_seeds = [a.mean(1).var(ddof=1) / 3, b.mean(1).var(ddof=1) / 2]
    squared = over_patients + sum(over_seeds)
    freedom = squared**2 / (over_patients**2 / 6 + over_seeds[0] ** 2 / 2 + over_seeds[1] ** 2 / 1)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, freedom) * squared**0.5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    wider = paired_difference(a, b, level=0.99)
    assert wider.low < found.low and wider.high > found.high
    turned = paired_difference(b, a)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_trainings_in_pairs_vary_by_their_differences():
    rng = np.random.default_rng(3)
    seed_luck, patient_luck = rng.normal(0, 0.2, (4, 1)), rng.normal(0, 0.2, (1, 9))
    b = seed_luck + patient_luck + rng.normal(0, 0.01, (4, 9))
    a = seed_luck + patient_luck + 0.05 + rng.normal(0, 0.01, (4, 9))
    found, apart = paired_difference(a, b, same_seeds=True), paired_difference(a, b)
    more = a - b
    squared = more.mean(0).var(ddof=1) / 9, more.mean(1).var(ddof=1) / 4
    freedom = sum(squared) ** 2 / (squared[0] ** 2 / 8 + squared[1] ** 2 / 3)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(sum(squared)))
    assert found.mean == pytest.approx(apart.mean) and found.seeds == (4, 4)
    assert found.apart and not apart.apart, "what both share is no luck of either"
    with pytest.raises(SourceError, match="4 and 3 seeds"):
        paired_difference(a, b[:3], same_seeds=True)


def test_many_races_at_once_are_as_each_alone():
    a, b = simulated_races(np.random.default_rng(3), 5, 2, 9)
    at_once = paired_difference(a, b)
    alone = [paired_difference(*race) for race in zip(a, b, strict=True)]
    for name in ("mean", "low", "high", "apart"):
        np.testing.assert_allclose(getattr(at_once, name), [getattr(each, name) for each in alone])


def test_one_seed_each_is_about_these_two_networks_alone():
    rng = np.random.default_rng(5)
    a = rng.random(40)
    b = a - 0.1 + 0.02 * rng.normal(size=40)
    found = paired_difference(a, b)
    assert found.seeds == (1, 1) and found.apart and found.low < 0.1 < found.high
    assert (found.low, found.high) == pytest.approx(bootstrap_interval(a - b), abs=0.003)
    assert paired_difference(np.stack([a, a + 0.01]), b).seeds == (2, 1)


def test_undefined_and_few_patients():
    a, b = np.array([0.5, np.nan, 0.7, 0.6]), np.array([0.4, 0.2, 0.6, 0.3])
    assert paired_difference(a, b).patients == 3
    for one in (a[:1], a[1:2]):
        found = paired_difference(one, b[:1])
        assert np.isnan([found.low, found.high]).all() and not found.apart
    same = paired_difference(a, a)
    assert (same.mean, same.low, same.high) == (0, 0, 0) and not same.apart
    with pytest.raises(SourceError, match="4 and 3 patients"):
        paired_difference(a, b[:3])


def test_rows_become_seeds_by_patients():
    rows = pd.DataFrame({"seed": [2, 1, 2, 1], "patient": ["b", "b", "a", "a"], "dice": [0.1, 0.2, 0.3, 0.4]})
    table = seeds_by_patients(rows)
    assert list(table.columns) == ["a", "b"] and table.to_numpy().tolist() == [[0.4, 0.2], [0.3, 0.1]]
