"""Support vectors and neighbours as R has them, boosted trees that are checked before they are followed."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import check_estimator

from checkout import TESTS
from soilscale import models
from soilscale.errors import ConfigurationError, DataError
from soilscale.models import ALGORITHMS, BoostedTrees, NearestNeighbours, SupportVectors, distance
from soilscale.models.distance import optimal_weights

REFERENCE = TESTS / "data" / "svm_e1071.csv"
NAMES = ("svm", "knn", "xgboost")
QUICK: dict[str, dict[str, Any]] = {"xgboost": {"n_estimators": 20}}

Rows = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Features (400, 4) of very different scales, and a target that three of them bend."""
    rng = np.random.default_rng(1)
    X = rng.random((400, 4)) * [1, 100, 1e-3, 1e4] + [0, 250, 0, 0]
    y = 0.1 + 0.1 * X[:, 0] + 0.05 * np.sin(X[:, 1] / 15) + 40 * X[:, 2] ** 1.5 + rng.normal(0, 0.005, 400)
    return X, y


def quick(name: str, seed: int = 0) -> Any:
    """Estimator that fits in no time."""
    return ALGORITHMS[name].make(QUICK.get(name, {}), 4, seed)


# All three


@pytest.mark.parametrize(
    "estimator",
    [
        SupportVectors(),
        NearestNeighbours(),
        NearestNeighbours(kernel="inverse"),
        NearestNeighbours(n_neighbors=3, kernel="rectangular", max_samples=150),
        BoostedTrees(n_estimators=30, min_child_weight=1, subsample=1),
    ],
    ids=repr,
)
def test_scikit_learns_contract_is_kept(estimator: Any) -> None:
    checks = check_estimator(estimator, on_skip=None, on_fail=None)
    assert [one["check_name"] for one in checks if one["status"] == "failed"] == []


@pytest.mark.parametrize("name", NAMES)
def test_float32_rows_are_as_good_as_float64_ones(name: str, rows: Rows) -> None:
    X, y = rows[0].astype("float32"), rows[1].astype("float32")
    one, other = quick(name).fit(X, y), quick(name).fit(X.astype(float), y.astype(float))
    np.testing.assert_allclose(one.predict(X), other.predict(X.astype(float)), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_something_is_learned_with_the_defaults(name: str, rows: Rows) -> None:
    X, y = rows
    fitted = ALGORITHMS[name].make({}, 4, 0).fit(X[:300], y[:300])
    assert r2_score(y[300:], fitted.predict(X[300:])) > 0.7


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_target_is_predicted_and_stored(name: str, rows: Rows) -> None:
    X = rows[0]
    fitted = models.loads(models.dumps(quick(name).fit(X, np.full(len(X), 0.25))))
    np.testing.assert_allclose(fitted.predict(X + 1), 0.25, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_feature_changes_no_prediction_where_it_differs(name: str, rows: Rows) -> None:
    X, y = rows
    constant = np.column_stack([X, np.full(len(X), 0.1, dtype="float32")])
    moved = np.column_stack([X, np.full(len(X), 0.9)])
    fitted = quick(name).fit(constant, y)
    np.testing.assert_array_equal(fitted.predict(moved), fitted.predict(constant))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_missing_is_refused(name: str, bad: float, rows: Rows) -> None:
    X, y = rows
    broken = X.copy()
    broken[3, 1] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        quick(name).fit(broken, y)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        quick(name).fit(X, y).predict(broken)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("svm", {"C": 0}),
        ("svm", {"gamma": -1.0}),
        ("svm", {"gamma": "scale"}),
        ("svm", {"epsilon": -0.1}),
        ("svm", {"max_samples": 1}),
        ("knn", {"n_neighbors": 0}),
        ("knn", {"n_neighbors": 2.5}),
        ("knn", {"kernel": "optimum"}),
        ("random_forest", {"n_estimators": -5}),
        ("trend_forest", {"n_estimators": "many"}),
        ("trend_forest", {"alphas": 3}),
        ("xgboost", {"n_estimators": 0}),
        ("xgboost", {"learning_rate": 0}),
        ("xgboost", {"subsample": 1.5}),
        ("xgboost", {"max_depth": "deep"}),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, parameters: dict[str, Any]) -> None:
    (parameter,) = parameters
    with pytest.raises(ConfigurationError, match=f"models.parameters.{name}: The '{parameter}' parameter of"):
        ALGORITHMS[name].make(parameters, 4, 0)


@pytest.mark.parametrize(
    ("name", "parameter", "message"),
    [
        ("svm", "cost", "known: C, cache_size, epsilon, gamma, max_samples, tol"),
        ("svm", "kernel", "unknown parameter"),
        ("knn", "n_neighbours", "did you mean 'n_neighbors'"),
        ("xgboost", "max_dept", "did you mean 'max_depth'"),
        ("xgboost", "nthread", "unknown parameter"),
        *((name, reserved, "cannot be set") for name in NAMES for reserved in ("random_state", "n_jobs", "within")),
    ],
)
def test_a_parameter_that_cannot_be_set_is_refused(name: str, parameter: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"models\.parameters\.{name}\.{parameter}.*{re.escape(message)}"):
        ALGORITHMS[name].make({parameter: 1}, 4, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_model_predicts_exactly_as_before(name: str, rows: Rows) -> None:
    X, y = rows
    fitted = quick(name).fit(X, y)
    loaded: Any = models.loads(models.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    assert loaded.get_params() == fitted.get_params()
    assert models.dumps(loaded) == models.dumps(fitted)


def test_the_same_fits_give_the_same_bytes_in_another_process(rows: Rows, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", X=rows[0], y=rows[1])
    script = (
        "import sys, hashlib, numpy as np; from soilscale import models; rows = np.load(sys.argv[1]);"
        "quick = {'xgboost': {'n_estimators': 20}};"
        "fit = lambda name: models.ALGORITHMS[name].make(quick.get(name, {}), 4, 7).fit(rows['X'], rows['y']);"
        "print(*(hashlib.sha256(models.dumps(fit(name))).hexdigest() for name in sys.argv[2:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "rows.npz"), *NAMES],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "3", "OMP_NUM_THREADS": "1"},
    )
    here = [hashlib.sha256(models.dumps(quick(name, 7).fit(*rows))).hexdigest() for name in NAMES]
    assert done.stdout.split() == here


@pytest.mark.parametrize("name", NAMES)
def test_a_clone_has_the_parameters_and_nothing_learned(name: str, rows: Rows) -> None:
    fitted = quick(name).fit(*rows)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not [one for one in vars(copy) if one.endswith("_")]


@pytest.mark.parametrize("name", ["svm", "knn"])
def test_a_cap_on_the_rows_draws_by_the_seed(name: str, rows: Rows) -> None:
    X, y = rows

    def fit(most: int | None, seed: int) -> Any:
        return ALGORITHMS[name].make({"max_samples": most}, 4, seed).fit(X, y)

    whole, capped = fit(None, 0), fit(100, 0)
    assert (whole.n_samples_fit_, capped.n_samples_fit_) == (400, 100)
    np.testing.assert_array_equal(capped.predict(X), fit(100, 0).predict(X))
    assert not np.array_equal(capped.predict(X), fit(100, 1).predict(X))
    np.testing.assert_array_equal(whole.predict(X), fit(400, 1).predict(X))
    strata = np.argsort(y, kind="stable").reshape(100, 4)
    drawn = np.sort(
        strata[np.arange(100), np.random.RandomState(0).randint(np.arange(0, 400, 4), np.arange(4, 404, 4)) % 4]
    )
    np.testing.assert_array_equal(capped.predict(X), fit(None, 0).fit(X[drawn], y[drawn]).predict(X))


@pytest.mark.parametrize("n", [101, 150, 399])
def test_a_cap_keeps_the_spread_of_the_target(n: int) -> None:
    """One row of each of as many equal strata of the sorted target, whatever their order."""
    rng = np.random.default_rng(n)
    y = rng.permutation(np.arange(float(n)))
    X, kept = distance._draw(y[:, None], y, 100, 1)  # noqa: SLF001
    np.testing.assert_array_equal(X[:, 0], kept)
    edges = np.arange(101) * n // 100
    ordered = np.sort(kept)
    assert (edges[:-1] <= ordered).all()
    assert (ordered < edges[1:]).all()


@pytest.mark.parametrize("name", ["svm", "knn"])
@pytest.mark.parametrize("pairs", [1, 1000])
def test_predictions_do_not_depend_on_the_size_of_a_batch(
    name: str, pairs: int, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = rows
    fitted = quick(name).fit(X, y)
    whole = fitted.predict(X)
    monkeypatch.setattr(distance, "PAIRS", pairs)
    np.testing.assert_allclose(fitted.predict(X), whole, rtol=1e-12)


@pytest.mark.parametrize("name", ["svm", "knn"])
def test_memory_of_a_prediction_does_not_grow_with_rows_times_training_rows(name: str, rows: Rows) -> None:
    X, y = rows
    fitted = quick(name).fit(X, y)
    many = np.tile(X, (40, 1))
    tracemalloc.start()
    fitted.predict(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * many.nbytes + 3 * 8 * distance.PAIRS
    assert len(many) * len(X) > distance.PAIRS * 5


# Support vectors


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    """Rows and R's predictions of them, as tests/data/make_r_reference.R wrote them."""
    return pd.read_csv(REFERENCE)


@pytest.mark.parametrize(
    ("column", "parameters"),
    [("default", {}), ("tuned", {"C": 10, "gamma": 0.05, "epsilon": 0.02, "tol": 1e-8})],
)
def test_svm_predicts_as_e1071(column: str, parameters: dict[str, Any], reference: pd.DataFrame) -> None:
    X = reference[["rain", "lst", "ndvi", "sand", "slope"]].to_numpy()
    train = reference["train"].to_numpy() == 1
    fitted: Any = ALGORITHMS["svm"].make(parameters, 5, 0).fit(X[train], reference["moisture"].to_numpy()[train])
    np.testing.assert_allclose(fitted.predict(X), reference[column], rtol=0, atol=1e-8)


def test_svm_is_scikit_learns_svr_of_scaled_features_and_target(rows: Rows) -> None:
    X, y = rows

    def standard(values: np.ndarray[Any, Any]) -> FunctionTransformer:
        mean, sd = values.mean(0), values.std(0, ddof=1)
        return FunctionTransformer(lambda one: (one - mean) / sd, lambda one: one * sd + mean, check_inverse=False)

    machine = make_pipeline(standard(X), SVR(kernel="rbf", C=1, gamma=1 / 4, epsilon=0.1, tol=1e-3))
    expected = TransformedTargetRegressor(machine, transformer=standard(y[:, None])).fit(X, y).predict(X)
    np.testing.assert_allclose(SupportVectors().fit(X, y).predict(X), expected, rtol=0, atol=1e-12)


def test_svm_keeps_its_defaults(rows: Rows) -> None:
    fitted = SupportVectors().fit(*rows)
    stated = {"C": 1.0, "gamma": None, "epsilon": 0.1, "tol": 1e-3, "max_samples": 20_000}
    assert stated.items() <= fitted.get_params().items()
    assert fitted.gamma_ == 0.25
    assert fitted.n_samples_fit_ == 400
    assert SupportVectors(gamma=2).fit(*rows).gamma_ == 2


def test_svm_returns_to_its_intercept_far_from_what_it_knows(rows: Rows) -> None:
    X, y = rows
    fitted = SupportVectors().fit(X, y)
    np.testing.assert_allclose(fitted.predict(X + 1e6), fitted.intercept_)
    assert y.min() < fitted.intercept_ < y.max()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 100))
def test_svm_and_knn_do_not_depend_on_units(scale: float, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.random((60, 2))
    y = X[:, 0] + X[:, 1] ** 2
    for make in (SupportVectors, NearestNeighbours):
        plain = make().fit(X, y).predict(X)
        other = make().fit(X * scale + shift, y * 3 + 1).predict(X * scale + shift)
        tolerance = 0.01 if make is SupportVectors else 1e-5
        np.testing.assert_allclose(other, plain * 3 + 1, atol=tolerance)


# Nearest neighbours


def test_optimal_weights_are_those_worked_by_hand() -> None:
    np.testing.assert_allclose(optimal_weights(1, 5), [1])
    np.testing.assert_allclose(optimal_weights(2, 1), [0.6875, 0.3125])
    np.testing.assert_allclose(optimal_weights(2, 2), [0.75, 0.25])
    np.testing.assert_allclose(optimal_weights(3, 2), [5 / 9, 3 / 9, 1 / 9])
    np.testing.assert_allclose(optimal_weights(4, 4), (3 - np.diff([0, 1, 8**0.5, 27**0.5, 8])) / 4)


@given(st.integers(1, 60), st.integers(1, 60))
def test_optimal_weights_fall_and_sum_to_one(k: int, d: int) -> None:
    weights = optimal_weights(k, d)
    assert weights.shape == (k,)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= -1e-12).all()
    assert (np.diff(weights) < 0).all()


def by_hand(X: Any, y: Any, row: Any, k: int, weigh: Callable[[Any], Any]) -> float:
    """Weighted mean of the neighbours by sorting all distances; `weigh` takes those of the k + 1 nearest."""
    apart = np.sqrt((((X - row) / X.std(0, ddof=1)) ** 2).sum(1))
    order = np.argsort(apart, kind="stable")
    return float(np.average(y[order[:k]], weights=weigh(apart[order[: k + 1]])))


@pytest.mark.parametrize(
    ("kernel", "weigh"),
    [
        ("optimal", lambda apart: optimal_weights(len(apart) - 1, 4)),
        ("rectangular", lambda apart: np.ones(len(apart) - 1)),
        ("inverse", lambda apart: apart[-1] / apart[:-1]),
    ],
)
@pytest.mark.parametrize("k", [1, 7, 30])
def test_knn_is_the_weighted_mean_of_the_nearest_rows(
    kernel: str, weigh: Callable[[Any], Any], k: int, rows: Rows
) -> None:
    X, y = rows
    new = X[:25] * 1.01
    found = NearestNeighbours(n_neighbors=k, kernel=kernel).fit(X, y).predict(new)
    np.testing.assert_allclose(found, [by_hand(X, y, row, k, weigh) for row in new], rtol=1e-9)


def test_knn_of_equal_weights_is_scikit_learns(rows: Rows) -> None:
    X, y = rows
    sd = X.std(0, ddof=1)
    expected = KNeighborsRegressor(7).fit(X / sd, y).predict(X / sd)
    np.testing.assert_allclose(NearestNeighbours(kernel="rectangular").fit(X, y).predict(X), expected, rtol=1e-12)


def test_knn_has_the_defaults_of_kknn() -> None:
    stated = {"n_neighbors": 7, "kernel": "optimal"}
    assert stated.items() <= ALGORITHMS["knn"].make({}, 4, 0).get_params().items()


def test_knn_bears_rows_that_coincide_and_fewer_rows_than_neighbours() -> None:
    X = np.array([[0.0], [0.0], [0.0], [1.0]])
    y = np.array([1.0, 1.0, 1.0, 5.0])
    for kernel in ("optimal", "rectangular", "inverse"):
        same = NearestNeighbours(n_neighbors=2, kernel=kernel).fit(X, y)
        assert same.predict([[0.0]]) == pytest.approx(1)
        few = NearestNeighbours(kernel=kernel).fit(X, y)
        assert 1 <= few.predict([[0.0]])[0] <= 5
    assert NearestNeighbours(kernel="rectangular").fit(X, y).predict([[9.0]]) == pytest.approx(2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.sampled_from(["optimal", "rectangular", "inverse"]))
def test_knn_predicts_nothing_outside_what_it_saw(seed: int, k: int, kernel: str) -> None:
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 4, (20, 2)).astype(float), rng.random(20)
    found = NearestNeighbours(n_neighbors=k, kernel=kernel).fit(X, y).predict(rng.normal(0, 9, (10, 2)))
    assert (found >= y.min() - 1e-12).all()
    assert (found <= y.max() + 1e-12).all()


# Boosted trees


@pytest.fixture(scope="module")
def boosted(rows: Rows) -> BoostedTrees:
    """Five trees."""
    return BoostedTrees(n_estimators=5, random_state=0).fit(*rows)


def test_boosted_trees_are_those_of_xgbregressor(rows: Rows) -> None:
    X, y = rows
    settings = {"n_estimators": 60, "learning_rate": 0.1, "max_depth": 5, "reg_lambda": 2, "gamma": 1e-4}
    seed = int(np.random.RandomState(3).randint(2**31))
    same = {"min_child_weight": 5, "subsample": 0.5, "colsample_bynode": 1 / 3, "n_jobs": 1, "random_state": seed}
    expected = xgboost.XGBRegressor(**settings, **same).fit(X, y).predict(X)
    np.testing.assert_array_equal(BoostedTrees(**settings, random_state=3).fit(X, y).predict(X), expected)


def test_boosted_trees_run_on_one_core_and_repeat(rows: Rows) -> None:
    made = ALGORITHMS["xgboost"].make({}, 4, 5)
    assert {"n_estimators": 500, "n_jobs": 1, "random_state": 5}.items() <= made.get_params().items()
    one, other = (BoostedTrees(n_estimators=9, random_state=seed).fit(*rows).booster_ for seed in (5, 6))
    assert one == BoostedTrees(n_estimators=9, random_state=5, n_jobs=1).fit(*rows).booster_
    assert one != other


def test_the_booster_is_kept_as_json_in_the_one_archive(boosted: BoostedTrees) -> None:
    document = json.loads(boosted.booster_)
    assert len(document["learner"]["gradient_booster"]["model"]["trees"]) == 5
    assert isinstance(models.loads(models.dumps(boosted)), BoostedTrees)


def refused(boosted: BoostedTrees, booster: Any) -> str:
    """Message with which a model of this booster is refused."""
    broken: Any = clone(boosted)
    broken.n_features_in_, broken.booster_ = boosted.n_features_in_, booster
    with pytest.raises(DataError, match=r"the stored model cannot be read .*retrain the model") as caught:
        models.loads(models.dumps(broken))
    return str(caught.value)


@pytest.mark.parametrize(
    "booster",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b"\x00\xff{L",
        b'{"learner": {}, "version": [3, 2, 0]}',
        b"[" * 100_000,
        "text",
        None,
    ],
    ids=range(9),
)
def test_bytes_that_are_no_booster_are_refused(boosted: BoostedTrees, booster: Any) -> None:
    assert refused(boosted, booster)


def test_a_booster_in_another_format_or_cut_short_is_refused(boosted: BoostedTrees) -> None:
    loaded = xgboost.Booster(model_file=bytearray(boosted.booster_))
    assert refused(boosted, bytes(loaded.save_raw("ubj")))
    assert refused(boosted, boosted.booster_[: len(boosted.booster_) // 2])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("left_children", 10**6, "lead outside"),
        ("right_children", -2, "lead outside"),
        ("left_children", 0, "lead outside"),
        ("left_children", 2, "lead outside"),
        ("split_indices", 4, "lead outside"),
        ("split_indices", -1, "lead outside"),
        ("split_indices", 2**40, "lead outside"),
        ("parents", 10**400, "too large"),
        ("split_conditions", 1e300, "too large"),
        ("split_conditions", 1, "of type float"),
        ("split_conditions", "0.5", "of type float"),
        ("split_type", 1, "not all numerical"),
        ("default_left", 7, "not all numerical"),
        ("sum_hessian", None, "of type float"),
    ],
)
def test_a_tree_that_leads_outside_itself_is_refused(
    boosted: BoostedTrees, column: str, value: Any, message: str
) -> None:
    document = json.loads(boosted.booster_)
    document["learner"]["gradient_booster"]["model"]["trees"][1][column][0] = value
    if isinstance(value, int) and abs(value) > 10**300:
        message = "limit|too large"
    assert re.search(message, refused(boosted, json.dumps(document).encode()))


@pytest.mark.parametrize("column", ["left_children", "right_children", "split_indices", "base_weights", "parents"])
def test_a_tree_with_a_short_or_missing_column_is_refused(boosted: BoostedTrees, column: str) -> None:
    document = json.loads(boosted.booster_)
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    tree[column].pop()
    assert re.search(r"a tree's|num_nodes", refused(boosted, json.dumps(document).encode()))
    del tree[column]
    assert "KeyError" in refused(boosted, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gradient_booster.name", "gblinear"),
        ("gradient_booster.model.gbtree_model_param.num_trees", "6"),
        ("gradient_booster.model.gbtree_model_param.num_parallel_tree", "5"),
        ("gradient_booster.model.tree_info", [0, 0, 0, 0, 9]),
        ("gradient_booster.model.iteration_indptr", [0, 1, 2, 3, 4, 50]),
        ("gradient_booster.model.trees", []),
        ("gradient_booster.model.cats.enc", [1]),
        ("learner_model_param.num_feature", "3"),
        ("learner_model_param.num_target", "2"),
        ("learner_model_param.base_score", "[NaN]"),
        ("learner_model_param.base_score", "5E-1"),
        ("objective.name", "binary:logistic"),
        ("feature_names", ["a", "b", "c", "d"]),
        ("attributes", {"best_iteration": "1"}),
    ],
)
def test_a_booster_of_another_kind_is_refused(boosted: BoostedTrees, path: str, value: Any) -> None:
    document = json.loads(boosted.booster_)
    place = document["learner"]
    *above, last = path.split(".")
    for name in above:
        place = place[name]
    place[last] = value
    assert refused(boosted, json.dumps(document).encode())


def test_a_key_that_stands_twice_is_refused(boosted: BoostedTrees) -> None:
    doubled = boosted.booster_.replace(b'"left_children":', b'"left_children":[9],"left_children":', 1)
    assert "occurs twice" in refused(boosted, doubled)


def test_a_booster_of_other_features_than_the_model_says_is_refused(boosted: BoostedTrees) -> None:
    other = BoostedTrees(n_estimators=2).fit(np.random.default_rng(0).random((50, 6)), np.arange(50.0))
    assert "num_feature is 6, expected 4" in refused(boosted, other.booster_)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_booster_predicts_numbers_or_is_refused(data: st.DataObject) -> None:
    X = np.random.default_rng(0).random((60, 2)).astype("float32")
    fitted = BoostedTrees(n_estimators=2, max_depth=2, random_state=0).fit(X, X[:, 0])
    place = data.draw(st.integers(0, len(fitted.booster_) - 1))
    new = data.draw(st.sampled_from(b'0123456789-.,:eE[]{}"ntf \x00\xff'))
    fitted.booster_ = fitted.booster_[:place] + bytes([new]) + fitted.booster_[place + 1 :]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted.check()
            predicted = fitted.predict(X)
    except (ValueError, LookupError, TypeError):
        return
    assert predicted.shape == (60,)
    assert not np.isnan(predicted).any()


# What the others learned


@pytest.mark.parametrize(
    ("name", "attribute", "value"),
    [
        ("svm", "support_vectors_", np.zeros((3, 9))),
        ("svm", "dual_coef_", np.zeros(1)),
        ("svm", "dual_coef_", None),
        ("svm", "mean_", np.full(4, np.nan)),
        ("svm", "weight_", np.ones(4, "float32")),
        ("svm", "gamma_", 0.0),
        ("svm", "intercept_", float("inf")),
        ("svm", "C", -1),
        ("knn", "rows_", np.zeros((400, 3))),
        ("knn", "target_", np.zeros(399)),
        ("knn", "n_samples_fit_", 10**9),
        ("knn", "weight_", np.full(4, np.inf)),
        ("knn", "kernel", "other"),
    ],
)
def test_what_does_not_fit_together_is_refused(name: str, attribute: str, value: Any, rows: Rows) -> None:
    fitted = quick(name).fit(*rows)
    setattr(fitted, attribute, value)
    with pytest.raises(DataError, match="the stored model cannot be read"):
        models.loads(models.dumps(fitted))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_what_it_learned_is_refused(name: str, rows: Rows) -> None:
    fitted = quick(name).fit(*rows)
    del fitted.n_features_in_
    with pytest.raises(DataError, match="the stored model cannot be read"):
        models.loads(models.dumps(fitted))


@pytest.mark.parametrize("name", [name for name, algorithm in ALGORITHMS.items() if not algorithm.members])
def test_a_run_is_sized_by_the_defaults_that_models_are_made_with(name: str) -> None:
    keys = ("n_estimators", "min_samples_split", "min_samples_leaf", "max_depth", "max_samples")
    defaults = ALGORITHMS[name].make({}, 9, 0).get_params()
    assert ALGORITHMS[name].sizing == {key: defaults[key] for key in keys if key in defaults}
