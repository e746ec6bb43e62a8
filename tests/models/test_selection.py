"""Ablation, forward selection and tuning on tables whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from soilscale import models
from soilscale.errors import ConfigurationError
from soilscale.models import selection
from soilscale.models.selection import NOTHING, TREES, Setup, blocked, error, forward, members, without
from soilscale.models.tuning import nested, tune

GROUPS = {"rain": "rain", "rain_lag1": "rain", "slope": "slope", "northness": "aspect", "eastness": "aspect"}
FEATURES = tuple(GROUPS)


def table(seasons: tuple[str, ...] = ("wet",), n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Rows whose target follows from rain much, from slope a little and from the aspect not at all."""
    rng = np.random.default_rng(seed)
    parts = []
    for season in seasons:
        values = pd.DataFrame(rng.normal(size=(n, len(FEATURES))), columns=list(FEATURES)).astype("float32")
        target = 0.2 + 0.05 * values["rain"] + 0.03 * values["rain_lag1"] + 0.02 * values["slope"]
        parts.append(
            values.assign(
                time=pd.Timestamp("2005-06-01"),
                season=season,
                y=np.arange(n, 0, -1.0),
                x=np.arange(n, dtype=float),
                block=[f"b{row // 12}" for row in range(n)],
                split=np.where(rng.random(n) < 0.7, "train", "validation"),
                soil_moisture=(target + rng.normal(scale=0.005, size=n)).astype("float32"),
            )
        )
    return pd.concat(parts, ignore_index=True)


def task(algorithm: str = "random_forest", **parameters: Any) -> Setup:
    if algorithm in selection.FORESTS:
        parameters = {"n_estimators": 20} | parameters
    return Setup("wet", algorithm, parameters, seed=3)


def rmse(found: pd.DataFrame) -> float:
    return math.sqrt(((found["predicted"] - found["observed"]) ** 2).mean())


def test_blocked_predictions_are_those_of_the_blocked_fits() -> None:
    rows = table()
    found = blocked(rows, FEATURES, task())
    assert len(found) == len(rows)
    parts = []
    for fold in range(5):
        job = models.Job("wet", "random_forest", "seasonal", "blocked", fold)
        parts.append(models.run(job, rows, FEATURES, parameters={"n_estimators": 20}, seed=3)[1])
    expected = pd.concat(parts, ignore_index=True)
    np.testing.assert_array_equal(found["predicted"], expected["predicted"].astype("float64"))
    assert error(rows, FEATURES, task()) == pytest.approx(rmse(found))


def test_each_group_left_out_costs_what_it_is_worth() -> None:
    rows = table()
    worth = {name: rmse(without(rows, GROUPS, name, task())) for name in (NOTHING, "rain", "slope", "aspect")}
    assert worth["rain"] > 1.5 * worth[NOTHING]
    assert worth["rain"] > worth["slope"] > worth[NOTHING]
    assert worth["aspect"] < 1.05 * worth[NOTHING]


def test_without_a_group_is_a_fit_without_its_features() -> None:
    rows = table()
    rest = [name for name in FEATURES if GROUPS[name] != "aspect"]
    expected = blocked(rows, rest, task())
    pd.testing.assert_frame_equal(without(rows, GROUPS, "aspect", task()), expected)
    spoilt = rows.assign(northness=1e6, eastness=np.nan)
    pd.testing.assert_frame_equal(without(spoilt, GROUPS, "aspect", task()), expected)


def test_one_feature_of_a_group_can_be_left_out_alone() -> None:
    assert members("rain_lag1", GROUPS) == ("rain_lag1",)
    assert members("rain", GROUPS) == ("rain", "rain_lag1"), "the group, where a feature has the same name"
    rows = table()
    assert rmse(without(rows, GROUPS, "rain_lag1", task())) < rmse(without(rows, GROUPS, "rain", task()))


def test_a_group_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"no feature or group 'aspekt'.*aspect"):
        without(table(), GROUPS, "aspekt", task())


def test_everything_cannot_be_left_out() -> None:
    with pytest.raises(ConfigurationError, match="without 'rain' no feature remains"):
        without(table(), {"rain": "rain"}, "rain", task())


@pytest.mark.parametrize("trees", [20, 500])
def test_a_forest_that_compares_has_few_trees(trees: int) -> None:
    quick = task(n_estimators=trees, min_samples_split=9).quick(5)
    assert quick.parameters == {"n_estimators": min(trees, TREES), "min_samples_split": 9}


@pytest.mark.parametrize("algorithm", ["svm", "knn", "xgboost"])
def test_other_algorithms_compare_as_they_are(algorithm: str) -> None:
    assert task(algorithm).quick(5) == task(algorithm)


@pytest.mark.parametrize("algorithm", ["random_forest", "svm"])
def test_forward_selection_finds_what_matters_first(algorithm: str) -> None:
    rows = table()
    found = forward(rows, GROUPS, task(algorithm))
    assert found["group"].tolist()[:2] == ["rain", "slope"]
    assert found["step"].tolist() == list(range(1, len(found) + 1))
    assert (found["value"].diff().dropna() < 0).all(), "it ends when the error no longer falls"
    assert found["features"].iloc[0] == "rain rain_lag1"
    assert (found["season"] == "wet").all()
    last = found["features"].iloc[-1].split()
    assert found["value"].iloc[-1] == pytest.approx(error(rows, last, task(algorithm)))


def test_forward_selection_takes_the_best_of_every_step() -> None:
    """By exhaustive search over all sets of groups of the size it ends with."""
    rows = table(n=120)
    found = forward(rows, GROUPS, task("knn"))
    first = {
        name: error(rows, [f for f in FEATURES if GROUPS[f] == name], task("knn")) for name in set(GROUPS.values())
    }
    assert found["group"].iloc[0] == min(first, key=first.__getitem__)


def test_a_season_that_is_too_small_selects_nothing() -> None:
    assert forward(table(n=20), GROUPS, task()).empty


def test_tuning_finds_the_least_blocked_error() -> None:
    """Every combination is the error that `blocked` gives for it."""
    rows = table(n=180)
    choices = {"n_neighbors": (1, 7, 40), "kernel": ("optimal", "rectangular")}
    found = tune(rows, FEATURES, task("knn"), choices)
    assert len(found) == 6
    assert found["value"].is_monotonic_increasing
    for neighbours, kernel in product(*choices.values()):
        parameters = {"n_neighbors": neighbours, "kernel": kernel}
        value = found.loc[[one == parameters for one in found["parameters"]], "value"].item()
        expected = error(rows, FEATURES, replace(task("knn"), parameters=parameters))
        assert value == pytest.approx(expected, rel=1e-5)


def test_tuning_keeps_the_other_parameters() -> None:
    rows = table(n=120)
    one = tune(rows, FEATURES, task("knn", kernel="rectangular"), {"n_neighbors": (5,)})
    assert one["value"].item() == pytest.approx(error(rows, FEATURES, task("knn", kernel="rectangular", n_neighbors=5)))


def test_a_season_is_tuned_on_its_own_rows() -> None:
    rows = table(("wet", "dry"))
    assert len(rows) == 480
    one = tune(rows, FEATURES, task("knn"), {"n_neighbors": (5, 9)})
    other = tune(
        rows.assign(soil_moisture=rows["soil_moisture"].where(rows["season"] == "wet", 9)),
        FEATURES,
        task("knn"),
        {"n_neighbors": (5, 9)},
    )
    pd.testing.assert_frame_equal(one, other)
    everything = tune(rows, FEATURES, replace(task("knn"), season="all"), {"n_neighbors": (5, 9)})
    assert everything["value"].iloc[0] != one["value"].iloc[0]


def test_too_few_rows_are_not_tuned_on() -> None:
    assert tune(table(n=24), FEATURES, task("knn"), {"n_neighbors": (5, 9)}).empty


def test_a_draw_tries_some_of_the_combinations_none_twice_the_same_each_time() -> None:
    rows = table(n=120)
    choices = {"n_neighbors": tuple(range(1, 13)), "kernel": ("optimal", "rectangular")}
    whole, drawn = (tune(rows, FEATURES, task("knn"), choices, draws) for draws in (None, 5))
    assert (len(whole), len(drawn)) == (24, 5)
    keys = drawn["parameters"].map(lambda one: str(sorted(one.items())))
    assert keys.nunique() == 5
    of_all = whole.set_index(whole["parameters"].map(lambda one: str(sorted(one.items()))))["value"]
    np.testing.assert_allclose(drawn["value"], of_all[keys], rtol=1e-9)
    pd.testing.assert_frame_equal(tune(rows, FEATURES, task("knn"), choices, 5), drawn)
    pd.testing.assert_frame_equal(tune(rows, FEATURES, task("knn"), choices, 24), whole)


def test_a_nested_score_is_that_of_choices_made_without_the_fold_that_they_predict() -> None:
    """Worked out by hand: for each fold the others' own search, then a fit of the others, then the fold's error."""
    rows, one = table(n=180), task("knn")
    choices = {"n_neighbors": (1, 7, 40)}
    found = nested(rows, FEATURES, one, choices).set_index("score")
    fold = models.folds(rows["block"], one.folds, one.seed)
    errors, chosen = [], []
    for left_out in range(one.folds):
        others, own = rows[fold != left_out], rows[fold == left_out]
        inner = fold[fold != left_out]

        def fitted(learned: pd.DataFrame, held_out: pd.DataFrame, neighbours: int) -> pd.Series[float]:
            model = models.find("knn").make({"n_neighbors": neighbours}, len(FEATURES), 0)
            model.fit(learned[list(FEATURES)].to_numpy("float64"), learned["soil_moisture"].to_numpy())
            predicted = model.predict(held_out[list(FEATURES)].to_numpy("float64"))
            return (held_out["soil_moisture"] - predicted) ** 2

        tried = {
            neighbours: np.concatenate(
                [fitted(others[inner != k], others[inner == k], neighbours) for k in np.unique(inner)]
            ).mean()
            for neighbours in choices["n_neighbors"]
        }
        chosen.append({"n_neighbors": min(tried, key=tried.__getitem__)})
        errors.append(fitted(others, own, chosen[-1]["n_neighbors"]))
    assert found.loc["nested", "parameters"] == chosen
    assert found.loc["nested", "value"] == pytest.approx(np.sqrt(np.concatenate(errors).mean()), rel=1e-5)
    assert found.loc["untuned", "value"] == pytest.approx(error(rows, FEATURES, one), rel=1e-5)


def test_the_best_of_many_that_mean_nothing_gains_nothing() -> None:
    """A target of noise alone: the least error of the search is too good, as the nested score shows."""
    noise = np.random.default_rng(2).normal(0.25, 0.05, 150).astype("float32")
    rows = table(n=150).assign(soil_moisture=noise)
    choices = {"n_neighbors": tuple(range(2, 40, 3)), "kernel": ("optimal", "rectangular")}
    least = tune(rows, FEATURES, task("knn"), choices)["value"].iloc[0]
    scores = nested(rows, FEATURES, task("knn"), choices).set_index("score")["value"]
    assert scores["nested"] > 1.002 * least
    assert scores["nested"] > 0.98 * noise.std()


def test_a_nested_score_takes_three_folds_and_rows_enough() -> None:
    assert nested(table(n=180), FEATURES, replace(task("knn"), folds=2), {"n_neighbors": (5, 9)}).empty
    assert nested(table(n=36), FEATURES, task("knn"), {"n_neighbors": (5, 9)}).empty


def test_a_placed_algorithm_is_tuned_with_the_places_of_its_rows() -> None:
    within = dict.fromkeys(FEATURES, 1.0)
    one = task("trend_forest", n_estimators=3, within=within)
    found = tune(table(n=120), FEATURES, one, {"min_samples_leaf": (1, 10)})
    for _, row in found.iterrows():
        expected = error(table(n=120), FEATURES, replace(one, parameters={**one.parameters, **row["parameters"]}))
        assert row["value"] == pytest.approx(expected, rel=0.2)
