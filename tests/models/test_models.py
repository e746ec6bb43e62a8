"""The fits: algorithms and their defaults, folds, jobs and what they learn from, storage without code."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from soilscale import models, samples
from soilscale.errors import ConfigurationError, DataError
from soilscale.models import ALGORITHMS, Job, TrendForest, persistence, trend
from soilscale.seasons import METEOROLOGICAL, Seasons, month_range

SEASONS = Seasons(METEOROLOGICAL)
FEATURES = ("ndvi", "precipitation", "sand")
FORESTS = ("random_forest", "trend_forest")
SINGLE = tuple(name for name, algorithm in ALGORITHMS.items() if not algorithm.members)
"""Algorithms that learn from rows, and not from what others predict."""
SMALL = {"n_estimators": 8}
QUICK = dict.fromkeys(FORESTS, SMALL) | {
    "xgboost": {"n_estimators": 40},
    "gaussian_process": {"rows": 100, "iterations": 15},
}
UNITS = {"ndvi": "1", "precipitation": "mm", "sand": "%"}
RANDOM = Job("summer", "random_forest", "seasonal", "random", None)
BLOCKED = Job("summer", "random_forest", "seasonal", "blocked", 1)
POOLED = Job("all", "random_forest", "comprehensive", "random", None)
POOLED_BLOCKED = Job("all", "random_forest", "comprehensive", "blocked", 1)
EVERY_KIND = [RANDOM, BLOCKED, POOLED, POOLED_BLOCKED]

run = partial(models.run, features=FEATURES, parameters=SMALL, seed=3)


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """Two years and a half on 7 x 7 cells; summer has gaps, so that the seasons differ in size."""
    months = month_range("1990-01", "1992-06")
    shape = (len(months), 7, 7)
    rng = np.random.default_rng(5)
    rain, green = rng.gamma(2, 30, shape), rng.random(shape)
    sand = rng.uniform(10, 70, shape[1:])
    moisture = 0.1 + 0.001 * rain + 0.1 * green - 0.001 * sand + rng.normal(0, 0.01, shape)
    moisture[5, :3] = np.nan
    names = ("time", "y", "x")
    fields = {
        "precipitation": rain,
        "ndvi": green,
        "target": moisture,
        "valid_fraction": np.ones(shape),
    }
    coarse = xr.Dataset(
        {name: (names, values.astype("float32")) for name, values in fields.items()}
        | {"sand": (names[1:], sand.astype("float32"))},
        {"time": months.astype("datetime64[ns]"), "y": -25.0 * np.arange(7), "x": 25.0 * np.arange(7)},
    )
    return samples.draw(coarse, "target", FEATURES, SEASONS, min_valid_fraction=0.5, seed=0, block=2)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Features (200, 3) between 0 and 1 and a target that rises by 2 with the first, and curves with the second."""
    rng = np.random.default_rng(1)
    X = rng.random((200, 3)).astype("float32")
    return X, (2 * X[:, 0] + np.sin(6 * X[:, 1])).astype("float32")


Rows = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


# Algorithms


def test_random_forest_has_the_defaults_of_r() -> None:
    forest = ALGORITHMS["random_forest"].make({}, 12, 7)
    stated = {"n_estimators": 500, "max_features": 4, "min_samples_split": 6, "bootstrap": True, "max_depth": None}
    assert isinstance(forest, RandomForestRegressor)
    assert stated.items() <= forest.get_params().items()
    assert forest.get_params()["min_samples_leaf"] == 1
    assert forest.get_params()["criterion"] == "squared_error"


@pytest.mark.parametrize("name", FORESTS)
def test_a_tree_draws_no_more_rows_than_there_are(name: str, rows: Rows) -> None:
    """Up to the bound a forest is that of scikit-learn's default, which draws as many rows as there are."""
    X, y = rows

    def fit(most: float | None) -> Any:
        fitted = ALGORITHMS[name].make({**SMALL, "max_samples": most}, 3, 0).fit(X, y)
        assert fitted.get_params()["max_samples"] == most
        return getattr(fitted, "forest_", fitted)

    whole, default = fit(None), ALGORITHMS[name].make(SMALL, 3, 0)
    assert default.get_params()["max_samples"] == 20_000
    for other in (fit(200), fit(20_000), getattr(default.fit(X, y), "forest_", default)):
        assert models.pack(other) == models.pack(whole)
        assert [len(bag) for bag in other.estimators_samples_] == [200] * len(whole.estimators_)
    assert models.pack(fit(199)) != models.pack(whole)
    if name == "random_forest":
        theirs = RandomForestRegressor(max_features=1, min_samples_split=6, random_state=0, **SMALL).fit(X, y)
        assert models.pack(theirs) == models.pack(whole)


@pytest.mark.parametrize("name", FORESTS)
def test_a_forest_does_not_grow_with_the_rows_beyond_the_bound_and_knows_them_all(name: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.random((2000, 3)).astype("float32")
    y = (X[:, 0] + rng.normal(0, 0.1, 2000)).astype("float32")

    def fit(rows: int) -> Any:
        fitted = ALGORITHMS[name].make({"n_estimators": 60, "max_samples": 100}, 3, 0).fit(X[:rows], y[:rows])
        return getattr(fitted, "forest_", fitted)

    few, many = fit(500), fit(2000)
    drawn = [bag for forest in (few, many) for bag in forest.estimators_samples_]
    assert {len(bag) for bag in drawn} == {100}
    sizes = [sum(tree.tree_.node_count for tree in forest.estimators_) for forest in (few, many)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)
    # 6,000 draws of 2,000 rows leave a row out with a probability of exp(-3)
    seen = len(np.unique(np.concatenate(many.estimators_samples_)))
    assert seen == pytest.approx(2000 * (1 - np.exp(-3)), rel=0.02)


@pytest.mark.parametrize("name", FORESTS)
@pytest.mark.parametrize(("p", "tried"), [(1, 1), (2, 1), (3, 1), (11, 3), (12, 4)])
def test_a_third_of_the_features_is_tried_at_a_split_and_at_least_one(name: str, p: int, tried: int) -> None:
    assert ALGORITHMS[name].make({}, p, 0).get_params()["max_features"] == tried


@pytest.mark.parametrize("name", SINGLE)
def test_every_algorithm_keeps_the_registrys_contract(name: str, rows: Rows) -> None:
    X, y = rows
    algorithm = ALGORITHMS[name]
    estimator = algorithm.make({}, 3, 11)
    assert algorithm.name == name
    assert algorithm.about
    assert estimator.get_params().get("n_jobs", 1) == 1
    assert estimator.get_params()["random_state"] == 11
    fitted = algorithm.make(QUICK.get(name, {}), 3, 11).fit(X, y)
    assert np.corrcoef(fitted.predict(X), y)[0, 1] > 0.9
    assert type(fitted) in persistence.MODELS


def test_the_recommended_algorithms_exist_and_extrapolate_at_least_once() -> None:
    assert set(models.RECOMMENDED) <= set(ALGORITHMS)
    assert "trend_forest" in models.RECOMMENDED


@pytest.mark.parametrize("name", FORESTS)
def test_parameters_replace_the_defaults(name: str) -> None:
    made = ALGORITHMS[name].make({"n_estimators": 20, "max_features": 2}, 12, 0).get_params()
    assert (made["n_estimators"], made["max_features"], made["min_samples_split"]) == (20, 2, 6)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("n_estimator", r"models\.parameters\.random_forest\.n_estimator: .* did you mean 'n_estimators'\?"),
        ("ntree", r"unknown parameter; (did you mean|known:)"),
        ("zzz", "known: bootstrap, ccp_alpha"),
        ("n_jobs", "cannot be set: every fit runs on one core"),
        ("random_state", r"cannot be set: set models\.seed"),
    ],
)
def test_a_parameter_that_cannot_be_set_is_refused(parameter: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ALGORITHMS["random_forest"].make({parameter: 1}, 3, 0)


def test_an_unknown_algorithm_is_refused_with_the_nearest_name() -> None:
    assert models.find("trend_forest").name == "trend_forest"
    with pytest.raises(ConfigurationError, match="unknown algorithm 'random_forrest'; did you mean 'random_forest'"):
        models.find("random_forrest")
    with pytest.raises(ConfigurationError, match="known: random_forest, trend_forest, svm, knn, xgboost"):
        models.find("linear")


# Trend forest


def test_trend_forest_keeps_scikit_learns_contract() -> None:
    failed = [
        check["check_name"]
        for check in check_estimator(TrendForest(n_estimators=3), on_skip=None, on_fail=None)
        if check["status"] == "failed"
    ]
    assert failed == []


def test_trend_forest_extrapolates_where_a_forest_cannot(rows: Rows) -> None:
    X, y = rows
    beyond = X.copy()
    beyond[:, 0] += 1
    truth = y + 2
    forest = RandomForestRegressor(50, random_state=0).fit(X, y)
    trend = TrendForest(n_estimators=50, random_state=0).fit(X, y)
    assert forest.predict(beyond).max() <= y.max()
    assert trend.predict(beyond).max() > y.max() + 1

    def rmse(predicted: np.ndarray[Any, Any]) -> float:
        return float(np.sqrt(np.mean((predicted - truth) ** 2)))

    assert rmse(trend.predict(beyond)) < rmse(forest.predict(beyond)) / 4


def test_without_bootstrap_every_tree_learns_from_every_row(rows: Rows) -> None:
    X, y = rows
    made = ALGORITHMS["random_forest"].make({"n_estimators": 2, "bootstrap": False, "max_samples": 20}, 3, 0)
    assert [tree.tree_.n_node_samples[0] for tree in made.fit(X, y).estimators_] == [200, 200]


def test_trend_forest_finds_a_linear_law_exactly() -> None:
    X = np.random.default_rng(0).normal(100, 30, (300, 2))
    trend = TrendForest(n_estimators=3, random_state=0).fit(X, 5 + 0.25 * X[:, 0] - 3 * X[:, 1])
    np.testing.assert_allclose(trend.coef_, [0.25, -3], rtol=1e-4)
    assert trend.intercept_ == pytest.approx(5, abs=0.02)
    assert trend.alpha_ == pytest.approx(0.01)


def test_trend_forest_is_the_ridge_plus_the_forest_of_its_residuals(rows: Rows) -> None:
    X, y = rows[0].astype(float), rows[1].astype(float)
    trend = TrendForest(n_estimators=5, max_features=2, random_state=4).fit(X, y)
    standard = (X - X.mean(0)) / X.std(0)
    linear = Ridge(alpha=trend.alpha_).fit(standard, y).predict(standard)
    residual = RandomForestRegressor(5, max_features=2, min_samples_split=6, random_state=4).fit(X, y - linear)
    np.testing.assert_allclose(trend.predict(X), linear + residual.predict(X), atol=1e-9)


def test_the_penalty_is_the_one_with_the_least_error_of_rows_left_out() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(25, 8))
    y = X[:, 0] + rng.normal(0, 3, 25)
    standard = (X - X.mean(0)) / X.std(0)

    def left_out(alpha: float) -> float:
        keep = ~np.eye(25, dtype=bool)
        return sum(
            (Ridge(alpha).fit(standard[k], y[k]).predict(standard[[i]])[0] - y[i]) ** 2 for i, k in enumerate(keep)
        )

    alphas = (0.1, 1.0, 10.0, 100.0, 1000.0)
    chosen = TrendForest(alphas=alphas, n_estimators=1).fit(X, y).alpha_
    assert chosen == min(alphas, key=left_out)


def test_features_are_scaled_by_their_fine_variance_over_what_lies_of_it_between_cells() -> None:
    X = np.array([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]])  # standard deviations 1, 10, 0
    np.testing.assert_allclose(trend.spread(X, None), [1, 10, 1])
    np.testing.assert_allclose(trend.spread(X, [2.0, 0.0, 3.0]), [5, 10, 10])


def test_the_penalty_is_the_largest_that_is_as_good_as_the_best_where_whole_places_are_left_out() -> None:
    rng = np.random.default_rng(1)
    place = np.repeat(np.arange(12), 5)
    Z = rng.normal(size=(60, 4)) + rng.normal(size=(12, 4))[place]
    y = Z[:, 0] + rng.normal(0, 2, 12)[place] + rng.normal(0, 0.1, 60)
    alphas = (0.01, 1.0, 100.0, 1e4)
    parts = list(GroupKFold(10).split(Z, y, place))
    errors = np.array(
        [
            [((Ridge(a).fit(Z[one], y[one]).predict(Z[rest]) - y[rest]) ** 2).mean() for a in alphas]
            for one, rest in parts
        ]
    )
    least = errors.mean(axis=0).argmin()
    bound = errors[:, least].mean() + errors[:, least].std(ddof=1) / np.sqrt(10)
    expected = max(a for a, error in zip(alphas, errors.mean(axis=0), strict=True) if error <= bound)
    assert trend.penalty(Z, y, place, alphas) == expected == 100
    chosen = TrendForest(alphas=alphas, n_estimators=1).fit(Z, y).alpha_
    assert chosen == 1, "left out one by one, rows whose place is known praise the slopes"


def test_a_slope_that_cells_hardly_show_is_not_carried_to_their_pixels() -> None:
    """A feature with a law, and one that means nothing, of whose fine variance a hundredth lies between cells."""
    rng = np.random.default_rng(4)
    place = np.tile(np.arange(40), 8)
    known = rng.normal(size=320)
    rare = 0.1 * rng.normal(size=40)[place]
    X = np.column_stack([known, rare])
    y = known + rng.normal(0, 0.5, 40)[place] + rng.normal(0, 0.05, 320)
    pixels = np.column_stack([rng.normal(0, 1, 5000), rng.normal(0, 1, 5000)])

    def error(model: TrendForest) -> float:
        return float(np.sqrt(((pixels @ model.coef_ + model.intercept_ - pixels[:, 0]) ** 2).mean()))

    blind = TrendForest(n_estimators=1, random_state=0).fit(X, y)
    aware = TrendForest(n_estimators=1, random_state=0, within=(0.1, 1.0)).fit(X, y, place)
    assert abs(aware.coef_[1]) < 0.2 * abs(blind.coef_[1])
    assert error(aware) < 0.5 * error(blind)
    assert aware.coef_[0] == pytest.approx(1, abs=0.15)


def test_a_fit_knows_the_places_of_its_rows_and_how_features_vary_within_cells(table: pd.DataFrame) -> None:
    job, within = (
        replace(RANDOM, algorithm="trend_forest"),
        {"sand": 9.0, "ndvi": 0.1, "precipitation": 1.0, "rest": 5.0},
    )
    estimator, _ = run(job, table, parameters=SMALL | {"within": within})
    rows = models.learned(job, table, seed=3)
    place = rows.groupby(["y", "x"]).ngroup().to_numpy()
    seed = zlib.crc32(b"3:summer-trend_forest-seasonal-random")
    alone = TrendForest(**SMALL, max_features=1, min_samples_split=6, random_state=seed, within=[0.1, 1.0, 9.0])
    alone.fit(rows[list(FEATURES)].to_numpy("float32"), rows["soil_moisture"].to_numpy(), place)
    assert isinstance(estimator, TrendForest)
    assert estimator.within == [0.1, 1.0, 9.0]
    np.testing.assert_array_equal(estimator.coef_, alone.coef_)
    assert len(np.unique(place)) == 49


def test_trend_forest_bears_a_constant_feature_and_an_unscaled_one(rows: Rows) -> None:
    X, y = rows
    stretched = np.column_stack([X[:, 0] * 1e6, X[:, 1], np.full(len(X), 7)])
    trend = TrendForest(n_estimators=20, random_state=0).fit(stretched, y)
    assert np.isfinite(trend.predict(stretched)).all()
    assert trend.coef_[2] == 0


def test_trend_forest_clones_without_what_it_learned(rows: Rows) -> None:
    fitted = TrendForest(n_estimators=2, alphas=(1.0, 2.0)).fit(*rows)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "forest_")


# Predictions in batches


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("batch", [1, 64, 199, 200, 65536])
def test_predictions_do_not_depend_on_the_batch(name: str, batch: int, rows: Rows) -> None:
    X, y = rows
    estimator = ALGORITHMS[name].make(QUICK.get(name, {}), 3, 0).fit(X, y)
    predicted = models.predict(estimator, X[:: 1 if batch > 1 else 20], rows=batch)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, estimator.predict(X[:: 1 if batch > 1 else 20]), rtol=1e-6)


@pytest.mark.parametrize("name", SINGLE)
def test_the_memory_of_a_prediction_does_not_grow_with_the_rows(name: str, rows: Rows) -> None:
    predictor = models.ready(ALGORITHMS[name].make(QUICK.get(name, {}), 3, 0).fit(*rows))
    X = np.random.default_rng(0).random((8 * 4096, 3)).astype("float32")
    peaks = []
    for count in (4096, len(X)):
        models.predict(predictor, X[:count], rows=4096)
        tracemalloc.start()
        result = models.predict(predictor, X[:count], rows=4096)
        peaks.append(tracemalloc.get_traced_memory()[1] - result.nbytes)
        tracemalloc.stop()
    assert peaks[1] <= 1.1 * peaks[0] + 2**15


def test_no_rows_give_no_predictions(rows: Rows) -> None:
    estimator = ALGORITHMS["random_forest"].make(SMALL, 3, 0).fit(*rows)
    assert models.predict(estimator, np.empty((0, 3), "float32")).shape == (0,)


# Storage


@pytest.mark.parametrize("name", SINGLE)
def test_a_stored_model_predicts_as_before(name: str, rows: Rows) -> None:
    X, y = rows
    estimator = ALGORITHMS[name].make(QUICK.get(name, {}), 3, 0).fit(X, y)
    data = models.dumps(estimator)
    loaded = models.loads(data)
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))
    assert loaded.get_params() == estimator.get_params()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert not any(one.filename.endswith((".pkl", ".pickle")) for one in archive.infolist())


class Foreign(RandomForestRegressor):  # type: ignore[misc]
    """An estimator that is not ours."""


def test_a_foreign_type_is_refused_by_name(rows: Rows) -> None:
    data = skops.io.dumps(Foreign(2).fit(*rows))
    with pytest.raises(DataError, match=r"refused: .*test_models\.Foreign.*retrain the model"):
        models.loads(data)


def test_a_function_is_refused_and_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    data = skops.io.dumps(make_pipeline(FunctionTransformer(print), Ridge()))
    with pytest.raises(DataError, match=r"builtins\.print"):
        models.loads(data)
    assert capsys.readouterr().out == ""


def test_a_pickle_is_refused_and_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        models.loads(b"cbuiltins\nprint\n(S'run'\ntR.")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_bytes_that_are_no_archive_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="the stored model cannot be read"):
        models.loads(data)


def test_a_truncated_or_flipped_archive_is_refused(rows: Rows) -> None:
    data = models.dumps(ALGORITHMS["random_forest"].make(SMALL, 3, 0).fit(*rows))
    with pytest.raises(DataError, match="cannot be read"):
        models.loads(data[: len(data) // 2])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        largest = max(archive.infolist(), key=lambda one: one.compress_size)
    middle = largest.header_offset + largest.compress_size // 2
    with pytest.raises(DataError, match="cannot be read"):
        models.loads(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])


@pytest.mark.parametrize("name", SINGLE)
def test_the_same_fit_gives_the_same_bytes(name: str, rows: Rows) -> None:
    def fit(seed: int) -> bytes:
        return models.dumps(ALGORITHMS[name].make(QUICK.get(name, {}), 3, seed).fit(*rows))

    first = fit(0)
    assert fit(0) == first
    assert fit(1) != first


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_archive_loads_as_a_whole_model_or_is_refused(data: st.DataObject) -> None:
    X = np.random.default_rng(0).random((40, 2)).astype("float32")
    stored = models.dumps(TrendForest(n_estimators=1, random_state=0).fit(X, X[:, 0]))
    place = data.draw(st.integers(0, len(stored) - 1))
    damaged = stored[:place] + bytes([stored[place] ^ data.draw(st.integers(1, 255))]) + stored[place + 1 :]
    try:
        loaded = models.loads(damaged)
    except DataError:
        return
    assert np.isfinite(loaded.predict(X)).all()


@pytest.mark.parametrize("thing", [Ridge(), [1, 2], RandomForestRegressor(), TrendForest()])
def test_what_is_no_fitted_model_is_refused(thing: object) -> None:
    with pytest.raises(DataError, match=r"not one of BoostedTrees, .*TrendForest|not fitted yet"):
        models.loads(skops.io.dumps(thing))


@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10**6), ("right_child", -2), ("left_child", 0), ("feature", 3), ("feature", -7)],
)
@pytest.mark.parametrize("name", FORESTS)
def test_a_tree_whose_nodes_lead_outside_it_is_refused(name: str, field: str, value: int, rows: Rows) -> None:
    estimator: Any = ALGORITHMS[name].make({"n_estimators": 2}, 3, 0).fit(*rows)
    forest = estimator.forest_ if name == "trend_forest" else estimator
    tree = forest.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    with pytest.raises(DataError, match="a tree's nodes lead outside it"):
        models.loads(models.dumps(estimator))


# Jobs


def test_a_jobs_name_tells_all_of_it_and_suits_a_file() -> None:
    assert replace(BLOCKED, season="winter", fold=3).name == "winter-random_forest-seasonal-blocked-3"
    assert POOLED.name == "all-random_forest-comprehensive-random"


def test_jobs_are_one_random_and_five_blocked_fits_per_model() -> None:
    found = models.jobs(["spring", "dry-hot"], ["random_forest", "trend_forest"])
    assert len(found) == 2 * 3 * 6
    assert len({job.name for job in found}) == len(found)
    kinds = {(job.season, job.model) for job in found}
    assert kinds == {("spring", "seasonal"), ("dry-hot", "seasonal"), ("all", "comprehensive")}
    for name in ("random_forest", "trend_forest"):
        of_spring = [(one.split, one.fold) for one in found if (one.season, one.algorithm) == ("spring", name)]
        assert of_spring == [("random", None), *(("blocked", fold) for fold in range(5))]


def test_jobs_of_no_season_are_none_and_an_unknown_algorithm_is_refused() -> None:
    assert models.jobs([], ["random_forest"]) == []
    assert len(models.jobs(["spring"], ["random_forest"], folds=2)) == 6
    with pytest.raises(ConfigurationError, match="unknown algorithm 'forest'"):
        models.jobs(["spring"], ["forest"])


# Folds

names = st.lists(st.sampled_from([f"r{row:02d}c00-{year}" for row in range(4) for year in (1990, 1991)]), max_size=60)


@settings(max_examples=60, deadline=None)
@given(names, st.integers(2, 6), st.integers(0, 2**40))
def test_folds_hold_whole_blocks_and_are_balanced(blocks: list[str], n: int, seed: int) -> None:
    fold = models.folds(pd.Series(blocks, dtype=object), n, seed)
    assert fold.shape == (len(blocks),)
    assert set(fold) <= set(range(n))
    found = pd.DataFrame({"block": blocks, "fold": fold})
    assert len(found.drop_duplicates()) == found["block"].nunique()
    loads = np.bincount(fold, minlength=n)
    largest = found["block"].value_counts().max() if blocks else 0
    assert loads.max() - loads.min() <= largest


@settings(max_examples=40, deadline=None)
@given(names, st.integers(0, 9), st.randoms(use_true_random=False))
def test_folds_do_not_depend_on_the_order_of_the_rows(blocks: list[str], seed: int, random: Any) -> None:
    order = list(range(len(blocks)))
    random.shuffle(order)
    fold = models.folds(pd.Series(blocks, dtype=object), 3, seed)
    shuffled = models.folds(pd.Series([blocks[i] for i in order], dtype=object), 3, seed)
    assert shuffled.tolist() == fold[order].tolist()


@settings(max_examples=30, deadline=None)
@given(names, st.permutations([f"r{row:02d}c00-{year}" for row in range(4) for year in (1990, 1991)]))
def test_folds_of_categories_are_those_of_their_words(blocks: list[str], order: list[str]) -> None:
    words = pd.Series(blocks, dtype=object)
    assert models.folds(words.astype(pd.CategoricalDtype(order)), 3, 1).tolist() == models.folds(words, 3, 1).tolist()


def test_folds_are_dealt_at_random() -> None:
    blocks = pd.Series([f"b{i:02d}" for i in range(20)])
    dealt = {tuple(models.folds(blocks, 5, seed)) for seed in range(5)}
    assert len(dealt) == 5
    assert all(np.bincount(fold).tolist() == [4] * 5 for fold in dealt)


# What a job learns from


def held(table: pd.DataFrame, fold: int) -> pd.Series[bool]:
    """Rows of a fold, found without `partition`."""
    return pd.Series(models.folds(table["block"], 5, 3) == fold, index=table.index)


def test_a_random_job_learns_from_its_seasons_training_rows(table: pd.DataFrame) -> None:
    train, held_out = models.partition(RANDOM, table, seed=3)
    summer = table[table["season"] == "summer"]
    assert len(train) == (summer["split"] == "train").sum()
    assert set(train["season"]) == {"summer"}
    assert_frame_equal(held_out, summer[summer["split"] == "validation"].reset_index(drop=True))


def test_a_blocked_job_learns_from_its_seasons_other_blocks(table: pd.DataFrame) -> None:
    train, held_out = models.partition(BLOCKED, table, seed=3)
    summer = table["season"] == "summer"
    assert_frame_equal(held_out, table[summer & held(table, 1)].reset_index(drop=True))
    assert len(train) + len(held_out) == summer.sum()
    assert not set(train["block"]) & set(held_out["block"])


def test_the_comprehensive_model_learns_from_a_sample_of_a_seasons_mean_size(table: pd.DataFrame) -> None:
    train, held_out = models.partition(POOLED, table, seed=3)
    counts = table.loc[table["split"] == "train", "season"].value_counts()
    assert len(train) == round(counts.mean())
    assert len(train) < counts.sum()
    assert set(train["season"]) == set(SEASONS.names)
    assert set(train["split"]) == {"train"}
    assert not train.duplicated(["time", "y", "x"]).any()
    assert_frame_equal(held_out, table[table["split"] == "validation"].reset_index(drop=True))


def test_seasons_with_too_few_rows_do_not_shrink_the_comprehensive_sample(table: pd.DataFrame) -> None:
    summer = table["season"] == "summer"
    thinned = pd.concat([table[~summer], table[summer & (table["split"] == "train")][:5]])
    train, _ = models.partition(POOLED, thinned, seed=3)
    counts = thinned.loc[thinned["split"] == "train", "season"].value_counts()
    assert len(train) == round(counts.drop("summer").mean())


def test_the_comprehensive_blocked_job_holds_out_a_fold_of_every_season(table: pd.DataFrame) -> None:
    train, held_out = models.partition(POOLED_BLOCKED, table, seed=3)
    assert_frame_equal(held_out, table[held(table, 1)].reset_index(drop=True))
    assert len(train) == round(table[~held(table, 1)].groupby("season").size().mean())
    assert not set(train["block"]) & set(held_out["block"])


def test_the_comprehensive_sample_is_the_same_for_every_algorithm(table: pd.DataFrame) -> None:
    other = replace(POOLED, algorithm="trend_forest")
    assert_frame_equal(models.partition(POOLED, table, seed=3)[0], models.partition(other, table, seed=3)[0])
    assert not models.partition(POOLED, table, seed=4)[0].equals(models.partition(POOLED, table, seed=3)[0])


@pytest.mark.parametrize("model", [BLOCKED, POOLED_BLOCKED])
def test_the_folds_together_hold_out_every_row_once(model: Job, table: pd.DataFrame) -> None:
    parts = [models.partition(replace(model, fold=fold), table, seed=3)[1] for fold in range(5)]
    found = pd.concat(parts).sort_values(["time", "y", "x"], ascending=[True, False, True], ignore_index=True)
    whole = table if model.model == "comprehensive" else table[table["season"] == model.season]
    assert_frame_equal(found, whole.reset_index(drop=True))


def test_seasonal_and_comprehensive_models_are_judged_on_the_same_rows(table: pd.DataFrame) -> None:
    for one, pooled in ((RANDOM, POOLED), (BLOCKED, POOLED_BLOCKED)):
        seasonal = models.partition(one, table, seed=3)[1]
        both = models.partition(pooled, table, seed=3)[1].query("season == 'summer'")
        assert_frame_equal(seasonal, both.reset_index(drop=True))


# Runs


def test_predictions_have_the_contracts_columns_and_types(table: pd.DataFrame) -> None:
    _, found = run(POOLED, table)
    kinds = ["datetime64[ns]", "object", "float64", "float64", *["object"] * 3, "float32", "float32"]
    assert list(found.columns) == list(models.PREDICTIONS)
    assert [str(dtype) for dtype in found.dtypes] == kinds
    assert set(found["season"]) == set(SEASONS.names)
    assert found[["algorithm", "model", "split"]].drop_duplicates().to_numpy().tolist() == [
        ["random_forest", "comprehensive", "random"]
    ]


def test_a_random_jobs_predictions_are_by_a_model_that_saw_none_of_them_and_its_own_learned_from_all(
    table: pd.DataFrame,
) -> None:
    estimator, found = run(RANDOM, table)
    summer = table[table["season"] == "summer"]
    train, held_out = summer[summer["split"] == "train"], summer[summer["split"] == "validation"]
    seed = zlib.crc32(b"3:summer-random_forest-seasonal-random")

    def fitted(rows: pd.DataFrame) -> RandomForestRegressor:
        forest = RandomForestRegressor(8, max_features=1, min_samples_split=6, random_state=seed)
        return forest.fit(rows[list(FEATURES)].to_numpy("float32"), rows["soil_moisture"].to_numpy())

    X = held_out[list(FEATURES)].to_numpy("float32")
    assert estimator is not None
    np.testing.assert_array_equal(found["predicted"], fitted(train).predict(X).astype("float32"))
    np.testing.assert_array_equal(found["observed"], held_out["soil_moisture"])
    np.testing.assert_array_equal(found[["y", "x"]], held_out[["y", "x"]])
    np.testing.assert_array_equal(estimator.predict(X), fitted(summer).predict(X))


def test_the_stored_comprehensive_model_learns_from_as_many_rows_as_a_season_has_in_all(table: pd.DataFrame) -> None:
    rows = models.learned(POOLED, table, seed=3)
    assert len(rows) == round(table["season"].value_counts().mean())
    assert set(rows["season"]) == set(SEASONS.names)
    assert set(rows["split"]) == {"train", "validation"}
    assert not rows.duplicated(["time", "y", "x"]).any()
    assert_frame_equal(rows, models.learned(POOLED, table.sample(frac=1, random_state=1), seed=3))


def test_a_blocked_jobs_predictions_can_be_recomputed(table: pd.DataFrame) -> None:
    estimator, found = run(BLOCKED, table)
    summer = table["season"] == "summer"
    train, held_out = table[summer & ~held(table, 1)], table[summer & held(table, 1)]
    seed = zlib.crc32(b"3:summer-random_forest-seasonal-blocked-1")
    forest = RandomForestRegressor(8, max_features=1, min_samples_split=6, random_state=seed)
    forest.fit(train[list(FEATURES)].to_numpy("float32"), train["soil_moisture"].to_numpy())
    expected = forest.predict(held_out[list(FEATURES)].to_numpy("float32"))
    assert estimator is None
    np.testing.assert_array_equal(found["predicted"], expected.astype("float32"))


@pytest.mark.parametrize("job", EVERY_KIND, ids=lambda job: job.name)
def test_a_run_depends_on_the_tables_content_not_on_its_order(job: Job, table: pd.DataFrame) -> None:
    keys = ["time", "y", "x"]
    _, found = run(job, table)
    _, shuffled = run(job, table.sample(frac=1, random_state=1))
    assert_frame_equal(found.sort_values(keys, ignore_index=True), shuffled.sort_values(keys, ignore_index=True))


@pytest.mark.parametrize("name", SINGLE)
def test_a_run_repeats_and_another_seed_gives_another(name: str, table: pd.DataFrame) -> None:
    job = replace(POOLED, algorithm=name)
    repeat = partial(run, job, table, parameters=QUICK.get(name, {}))
    predicted = repeat()[1]["predicted"]
    assert predicted.equals(repeat()[1]["predicted"])
    assert not predicted.equals(repeat(seed=4)[1]["predicted"])


def test_a_run_is_the_same_in_another_process_whatever_its_hash_seed(table: pd.DataFrame) -> None:
    script = (
        "import sys, pandas as pd; from soilscale import models;"
        "table = pd.read_json(sys.stdin, orient='table');"
        "print(models.folds(table['block'], 5, 3).tolist());"
        "print(models.jobs(['summer'], ['random_forest'])[2].name)"
    )
    text = table[["block"]].to_json(orient="table")
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "1"},
    )
    fold, name = done.stdout.splitlines()
    assert json.loads(fold) == models.folds(table["block"], 5, 3).tolist()
    assert name == BLOCKED.name


def test_every_algorithm_learns_something_of_blocks_it_never_saw(table: pd.DataFrame) -> None:
    for name in SINGLE:
        _, found = run(replace(BLOCKED, algorithm=name), table, parameters=QUICK.get(name, {}))
        assert np.corrcoef(found["observed"], found["predicted"])[0, 1] > 0.7


def test_a_value_that_the_algorithm_refuses_is_the_configurations_fault(table: pd.DataFrame) -> None:
    with pytest.raises(ConfigurationError, match=r"models\.parameters\.random_forest: The 'n_estimators' parameter"):
        run(RANDOM, table, parameters={"n_estimators": -1})


def test_a_season_with_too_few_rows_is_refused_by_name(table: pd.DataFrame) -> None:
    few = table[table["season"] == "summer"][:40]
    assert list(samples.check_counts(few, SEASONS)) == list(SEASONS.names)
    with pytest.raises(DataError, match=r"summer-random_forest-seasonal-random: got 2[0-9] rows .* at least 30"):
        run(RANDOM, few)
    with pytest.raises(DataError, match="all-random_forest-comprehensive-random: got 0 rows"):
        run(POOLED, few)


def test_a_fold_without_rows_predicts_nothing(table: pd.DataFrame) -> None:
    one_block = table[table["block"] == table["block"].iloc[0]]
    for fold in range(5):
        estimator, found = run(replace(BLOCKED, season="winter", fold=fold), one_block)
        assert estimator is None
        assert found.empty
        assert list(found.columns) == list(models.PREDICTIONS)
        assert str(found["predicted"].dtype) == "float32"


# Descriptions


def describe(job: Job, table: pd.DataFrame) -> dict[str, Any]:
    estimator, predictions = run(job, table, parameters=QUICK.get(job.algorithm, {}))
    assert estimator is not None
    rows = models.learned(job, table, seed=3)
    return models.describe(job, estimator, rows, FEATURES, UNITS, predictions)


@pytest.mark.parametrize("name", SINGLE)
def test_a_description_can_be_written_as_json_and_says_what_was_fitted(name: str, table: pd.DataFrame) -> None:
    found = describe(replace(RANDOM, algorithm=name), table)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    summer = table[table["season"] == "summer"]
    assert (found["season"], found["algorithm"], found["model"]) == ("summer", name, "seasonal")
    assert found["features"] == list(FEATURES)
    assert found["units"] == UNITS
    assert QUICK.get(name, {}).items() <= found["parameters"].items()
    assert found["range"]["sand"] == [float(summer["sand"].min()), float(summer["sand"].max())]
    assert found["rows"]["train"] == len(summer)
    assert found["rows"]["validation"] == (summer["split"] == "validation").sum()
    assert set(found["versions"]) == {"python", *models.training.PACKAGES}


def test_the_sample_hash_follows_the_content_and_not_the_order(table: pd.DataFrame) -> None:
    known = describe(RANDOM, table)["sample_hash"]
    assert len(known) == 64
    assert describe(RANDOM, table.sample(frac=1, random_state=2))["sample_hash"] == known
    assert describe(replace(RANDOM, algorithm="trend_forest"), table)["sample_hash"] == known
    assert describe(POOLED, table)["sample_hash"] != known
    first = table.index[(table["season"] == "summer") & (table["split"] == "train")][0]
    for column, value in (("ndvi", 0.5), ("soil_moisture", 0.2), ("x", 1e6)):
        changed = table.copy()
        changed.loc[first, column] = value
        assert describe(RANDOM, changed)["sample_hash"] != known


def test_the_sample_hash_does_not_see_rows_that_were_not_learned_from(table: pd.DataFrame) -> None:
    changed = table.copy()
    changed.loc[table["season"] == "winter", "ndvi"] = 0.5
    assert describe(RANDOM, changed)["sample_hash"] == describe(RANDOM, table)["sample_hash"]
