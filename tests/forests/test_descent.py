"""Prediction by a forest is scikit-learn's to the last bit, whatever the features, the trees and the rows beside."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

from soilscale import models
from soilscale.forests import traversal
from soilscale.forests.trees import LEAF, Forest, rounded_down
from soilscale.models import TrendForest
from soilscale.models.prediction import flat

Floats = NDArray[np.floating]

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
SMALLEST, GREATEST = np.finfo("float32").smallest_subnormal, np.finfo("float32").max
ODD = np.array([0, -0.0, SMALLEST, -SMALLEST, 1e-38, GREATEST, -GREATEST, 1, -1, 0.1], "float32")


def fitted(X: Floats, y: Floats, **parameters: Any) -> RandomForestRegressor:
    settled = {"n_estimators": 5, "min_samples_split": 2, "random_state": 0} | parameters
    return RandomForestRegressor(**settled).fit(X, y)


def met(forest: RandomForestRegressor, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows and, in place of each feature in turn, its thresholds with the float32 values on either side."""
    rows = [X]
    for feature in range(X.shape[1]):
        for one in forest.estimators_:
            threshold = one.tree_.threshold[one.tree_.feature == feature].astype("float32")
            with np.errstate(over="ignore"):
                around = [np.nextafter(threshold, np.float32(end)) for end in ("-inf", "inf")]
            values = np.concatenate([threshold, *around])
            table = np.repeat(X[:1], len(values), axis=0)
            table[:, feature] = values
            rows.append(table)
    found = np.concatenate(rows)
    return found[np.isfinite(found).all(axis=1)]


def walked(forest: Forest, X: NDArray[np.float32]) -> list[float]:
    """Mean prediction of each row, node by node, in Python's own numbers."""
    found = []
    for row in X.tolist():
        total = 0.0
        for root in forest.start[:-1]:
            node = root
            while forest.feature[node] != LEAF:
                right = row[forest.feature[node]] > forest.threshold[node]
                node = root + forest.child[node, int(right)]
            total += forest.value[node]
        found.append(total / (len(forest.start) - 1))
    return found


@st.composite
def grown(draw: st.DrawFn) -> tuple[Forest, NDArray[np.float32]]:
    """Trees with any thresholds, in any order in which children stand behind their parents; and rows for them."""
    p = draw(st.integers(1, 3))
    feature, threshold, child, value, start = [], [], [], [], [0]
    for _ in range(draw(st.integers(1, 3))):
        splits = draw(st.integers(0, 12))
        random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        tree_child = np.full((2 * splits + 1, 2), -1)
        open_nodes = [0]
        for split in range(splits):
            node = open_nodes.pop(random.integers(len(open_nodes)))
            tree_child[node] = 2 * split + 1, 2 * split + 2
            open_nodes += [2 * split + 1, 2 * split + 2]
        inner = tree_child[:, 0] != -1
        feature.append(np.where(inner, random.integers(p, size=len(inner)), LEAF))
        threshold.append(draw(arrays("float64", len(inner), elements=st.floats(allow_nan=False) | FLOAT32)))
        child.append(tree_child)
        value.append(random.normal(size=len(inner)))
        start.append(start[-1] + len(inner))
    thresholds = np.concatenate(threshold)
    forest = Forest(
        np.array(start),
        np.concatenate(feature).astype("int32"),
        thresholds,
        np.concatenate(child).astype("int32"),
        np.concatenate(value),
    )
    with np.errstate(over="ignore"):
        pool = np.concatenate([ODD, thresholds.astype("float32")])
    X = draw(arrays("float32", (draw(st.integers(0, 150)), p), elements=st.sampled_from(pool[np.isfinite(pool)])))
    return forest, X


@given(grown())
@settings(max_examples=200, deadline=None)
def test_a_row_goes_left_where_it_is_at_most_the_threshold(given_trees: tuple[Forest, NDArray[np.float32]]) -> None:
    forest, X = given_trees
    np.testing.assert_array_equal(traversal.mean(traversal.lay(forest, X.shape[1]), X), walked(forest, X))


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 150),
    p=st.integers(1, 5),
    levels=st.sampled_from([1, 2, 7, 1000]),
    parameters=st.sampled_from(
        [{}, {"max_depth": 1}, {"max_leaf_nodes": 9}, {"min_samples_split": 6, "max_features": 1}, {"n_estimators": 1}]
    ),
)
@settings(max_examples=60, deadline=None)
def test_a_forest_predicts_as_scikit_learn_does(
    seed: int, n: int, p: int, levels: int, parameters: dict[str, Any]
) -> None:
    random = np.random.default_rng(seed)
    X = (random.integers(levels, size=(n, p)) / 8).astype("float32")
    forest = fitted(X, random.normal(size=n), **parameters)
    rows = random.permutation(met(forest, X))
    np.testing.assert_array_equal(models.ready(forest).predict(rows), forest.predict(rows))


@given(X=arrays("float32", (40, 2), elements=FLOAT32 | st.sampled_from(ODD)))
@settings(max_examples=60, deadline=None)
def test_huge_tiny_and_negative_values_are_no_exception(X: NDArray[np.float32]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # scikit-learn sums features to see whether all are finite
        forest = fitted(X, np.arange(40.0))
        rows = met(forest, X)
        expected = forest.predict(rows)
    np.testing.assert_array_equal(models.ready(forest).predict(rows), expected)


@given(arrays("float64", 20, elements=st.floats(allow_nan=False)), arrays("float32", 20, elements=FLOAT32))
@settings(deadline=None)
def test_a_threshold_rounded_down_parts_the_same_float32_values(threshold: Floats, values: Floats) -> None:
    told = [rounded_down(one) for one in threshold]
    found = np.array(told, "float32")
    np.testing.assert_array_equal(found, told)
    with np.errstate(over="ignore"):
        near = threshold.astype("float32")
        below, above = np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))
    for X in (values, near, below, above):
        np.testing.assert_array_equal(found >= X, X.astype("float64") <= threshold)


def test_more_thresholds_than_sixteen_bits_tell_apart() -> None:
    random = np.random.default_rng(0)
    X = np.arange(150_000, dtype="float32")[:, None]
    forest = fitted(X, random.normal(size=len(X)), n_estimators=1, bootstrap=False)
    tree = forest.estimators_[0].tree_
    assert len(np.unique(tree.threshold[tree.feature == 0])) > 2**16
    rows = random.permutation(X)
    np.testing.assert_array_equal(models.ready(forest).predict(rows), forest.predict(rows))


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 4096, 4097])
def test_any_number_of_rows_is_predicted(rows: int) -> None:
    random = np.random.default_rng(rows)
    X = random.random((300, 3)).astype("float32")
    forest = fitted(X, X.sum(axis=1))
    given_rows = random.random((rows, 3)).astype("float32")
    expected = forest.predict(given_rows) if rows else np.empty(0)
    np.testing.assert_array_equal(models.ready(forest).predict(given_rows), expected)


def test_a_tree_of_one_leaf_predicts_it() -> None:
    X = np.zeros((5, 2), "float32")
    forest = fitted(X, np.arange(5.0), bootstrap=False)
    assert {one.tree_.node_count for one in forest.estimators_} == {1}
    np.testing.assert_array_equal(models.ready(forest).predict(np.ones((100, 2))), np.full(100, 2.0))


def test_a_prediction_depends_on_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    X = random.random((500, 4)).astype("float32")
    forest = fitted(X, X.sum(axis=1), n_estimators=20)
    rows = random.random((9000, 4)).astype("float32")
    expected = forest.predict(rows)
    order = random.permutation(len(rows))
    for size in (2**16, 1000):
        monkeypatch.setattr(traversal, "ROWS", size)
        for threads in (1, 2, 5):
            predictor = models.ready(forest, threads)
            np.testing.assert_array_equal(predictor.predict(rows), expected)
            np.testing.assert_array_equal(predictor.predict(rows[order]), expected[order])
        np.testing.assert_array_equal([predictor.predict(rows[i : i + 1])[0] for i in range(20)], expected[:20])


def test_the_share_of_the_splits_tells_how_far_rows_are_apart() -> None:
    forest = Forest(
        start=np.array([0, 7]),
        feature=np.array([0, 1, LEAF, LEAF, 0, LEAF, LEAF], "int32"),
        threshold=np.array([5.0, 1.0, 0, 0, 9.0, 0, 0]),
        child=np.array([[1, 4], [2, 3], [-1, -1], [-1, -1], [5, 6], [-1, -1], [-1, -1]], "int32"),
        value=np.arange(7.0),
    )
    found = traversal.lay(forest, 3)
    np.testing.assert_array_equal(found.weight, [4 + 2, 2, 0])
    steps = np.unique(found.steps[0], return_counts=True)
    np.testing.assert_array_equal(steps[0], [5, 9])
    np.testing.assert_allclose(steps[1] / traversal.STEPS, [4 / 6, 2 / 6], atol=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_no_number_in_float32_is_refused(value: float) -> None:
    X = np.random.default_rng(0).random((20, 2))
    predictor = models.ready(fitted(X, X[:, 0]))
    X[3, 1] = value
    with pytest.raises(ValueError, match="missing, or infinite"):
        predictor.predict(X)


@pytest.mark.parametrize("shape", [(4, 3), (4, 1), (2,)])
def test_another_number_of_features_is_refused(shape: tuple[int, ...]) -> None:
    X = np.random.default_rng(0).random((20, 2))
    with pytest.raises(ValueError, match="expected \\(rows, 2\\)"):
        models.ready(fitted(X, X[:, 0])).predict(np.zeros(shape))


def test_a_trend_forest_is_made_ready_and_not_changed() -> None:
    X = np.random.default_rng(0).random((200, 3)).astype("float32")
    estimator = TrendForest(n_estimators=10, random_state=0).fit(X, X.sum(axis=1))
    predictor = models.ready(estimator)
    np.testing.assert_array_equal(predictor.predict(X), estimator.predict(X))
    assert isinstance(estimator.forest_, RandomForestRegressor)


def test_other_models_are_ready_as_they_are() -> None:
    X = np.random.default_rng(0).random((20, 2))
    estimator = LinearRegression().fit(X, X[:, 0])
    assert models.ready(estimator) is estimator


def test_a_forest_laid_end_to_end_holds_every_tree() -> None:
    X = np.random.default_rng(0).random((50, 2))
    forest = fitted(X, X[:, 0])
    found = flat(forest)
    for index, one in enumerate(forest.estimators_):
        nodes = slice(found.start[index], found.start[index + 1])
        np.testing.assert_array_equal(found.threshold[nodes], one.tree_.threshold)
        np.testing.assert_array_equal(found.child[nodes, 1], one.tree_.children_right)


def test_without_a_place_to_keep_compiled_code_each_process_compiles() -> None:
    code = (
        "from soilscale.forests.trees import permutation; import numpy; print(sorted(permutation(4, numpy.uint64(1))))"
    )
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "numba.core.caching._IPythonCacheLocator"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | nowhere, capture_output=True, text=True, check=False
    )
    assert found.stderr == ""
    assert found.stdout.split() == ["[np.int64(0),", "np.int64(1),", "np.int64(2),", "np.int64(3)]"]
