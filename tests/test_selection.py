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
from soilscale.models.selection import NOTHING, TREES, Task, blocked, error, forward, members, tune, without

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


def task(algorithm: str = "random_forest", **parameters: Any) -> Task:
    if algorithm in selection.FORESTS:
        parameters = {"n_estimators": 20} | parameters
    return Task("wet", algorithm, parameters, seed=3)


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
    with pytest.raises(ConfigurationError, match="without 'rain' no feature is left"):
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
