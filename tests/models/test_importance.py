"""%IncMSE, IncNodePurity and out-of-bag R2 as R's randomForest has them, of features and of groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score

from checkout import TESTS
from soilscale import models
from soilscale.errors import ConfigurationError, DataError
from soilscale.forests.trees import Forest, out_of_bag, permutation, permuted_errors
from soilscale.models import ALGORITHMS, TrendForest, importance

REFERENCE = TESTS / "data"
SMALL = ["rain", "lst", "ndvi", "noise"]
GROUPS = {"ndvi": "vegetation", "evi": "vegetation", "sand": "texture", "clay": "texture", "rain": "water"}

Table = tuple[pd.DataFrame, "pd.Series[float]"]


def read(name: str) -> pd.DataFrame:
    """One of the files that tests/data/make_forest_reference.R wrote."""
    return pd.read_csv(REFERENCE / f"{name}.csv")


def made(seed: int, rows: int = 150) -> Table:
    """Table with a linear, a bent and a stepped effect, two that interact, and one without."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.random((rows, 6)).astype("float32"), columns=[*"abcdef"])
    y = 3 * X.a + np.sin(6 * X.b) + (X.c > 0.7) + X.d * X.e + rng.normal(0, 0.2, rows)
    return X, y


def fit(table: Table, kind: str = "random_forest", seed: int = 0, **parameters: Any) -> Any:
    """Fit an algorithm with its defaults and few trees."""
    estimator = ALGORITHMS[kind].make({"n_estimators": 25} | parameters, table[0].shape[1], seed)
    return estimator.fit(table[0].to_numpy(), table[1].to_numpy())


# Against R


@pytest.fixture(scope="module")
def rows() -> Table:
    """Rows that R's forests learned from."""
    table = read("forest_rows")
    return table.drop(columns="moisture").astype("float32"), table["moisture"]


@pytest.fixture(scope="module")
def fitted(rows: Table) -> RandomForestRegressor:
    """The random forest with its defaults."""
    forest: RandomForestRegressor = fit(rows, n_estimators=500)
    return forest


@pytest.fixture(scope="module")
def by_r(rows: Table) -> pd.DataFrame:
    """R's results, a column a seed under each measure."""
    return read("forest_importance").pivot_table(index="feature", columns="seed").loc[list(rows[0].columns)]


def test_inc_mse_agrees_with_r(rows: Table, fitted: Any, by_r: pd.DataFrame) -> None:
    found = importance.measure(fitted, *rows, {}, seed=1).set_index("feature")["inc_mse"]
    theirs = by_r["inc_mse"].mean(axis=1)
    assert spearmanr(found, theirs)[0] >= 0.95
    some = theirs > 5
    assert some.sum() >= 7
    assert 0.9 <= (found / theirs)[some].median() <= 1.1
    assert ((found / theirs)[some] - 1).abs().max() < 0.35
    for seed in by_r["inc_mse"]:
        assert spearmanr(found, by_r["inc_mse"][seed])[0] >= 0.95
        assert 0.9 <= (found / by_r["inc_mse"][seed])[some].median() <= 1.1


def test_inc_node_purity_agrees_with_r(rows: Table, fitted: Any, by_r: pd.DataFrame) -> None:
    found = importance.measure(fitted, *rows, {}, seed=1).set_index("feature")["inc_node_purity"]
    theirs = by_r["inc_node_purity"].mean(axis=1)
    assert spearmanr(found, theirs)[0] >= 0.95
    assert 0.9 <= (found / theirs).median() <= 1.1


def test_out_of_bag_r2_agrees_with_r(rows: Table, fitted: Any, by_r: pd.DataFrame) -> None:
    theirs = by_r["oob_r2"].iloc[0]
    assert importance.oob_r2(fitted, *rows) == pytest.approx(theirs.mean(), abs=0.01)


@pytest.fixture(scope="module")
def small() -> tuple[Forest, pd.DataFrame, np.ndarray[Any, Any]]:
    """R's own trees, the rows that they were grown on, and which of them are out of each tree's bag."""
    nodes = read("small_trees")
    leaf = (nodes["feature"] == 0).to_numpy()
    children = nodes[["left", "right"]].to_numpy() - 1
    forest = Forest(
        start=np.cumsum([0, *nodes.groupby("tree").size()]),
        feature=(nodes["feature"].to_numpy() - 1).astype("int32"),
        threshold=nodes["threshold"].to_numpy(),
        child=np.where(leaf[:, None], -1, children).astype("int32"),
        value=nodes["value"].to_numpy(),
    )
    return forest, read("small_rows"), read("small_bags").to_numpy().T == 0


def test_rs_own_trees_predict_out_of_bag_as_r_says(small: Any) -> None:
    forest, table, out = small
    mean, count = out_of_bag(forest, table[SMALL].to_numpy("float32"), out)
    np.testing.assert_array_equal(count, out.sum(axis=0))
    np.testing.assert_allclose(mean, table["predicted"], rtol=1e-9)
    seen = count > 0
    y = table["moisture"].to_numpy()
    r2 = 1 - np.mean((y - mean)[seen] ** 2) / y.var()
    assert r2 == pytest.approx(read("small_importance")["oob_r2"][0], rel=1e-9)


def test_rs_own_trees_have_the_importance_that_r_expects(small: Any) -> None:
    forest, table, out = small
    X, y = table[SMALL].to_numpy("float32"), table["moisture"].to_numpy()
    seeds = np.random.default_rng(0).integers(0, 2**64, (600, 10, 4), dtype=np.uint64)
    mean = np.mean([permuted_errors(forest, X, y, np.zeros(4), out, np.eye(4) > 0, one)[1] for one in seeds], axis=0)
    theirs = read("small_importance")
    np.testing.assert_allclose(mean.mean(axis=0), theirs["increase"], rtol=0.02, atol=1e-5)
    error = np.sqrt(((mean**2).mean(axis=0) - mean.mean(axis=0) ** 2) / 10)
    np.testing.assert_allclose(mean.mean(axis=0) / error, theirs["inc_mse"], rtol=0.03, atol=0.1)


# By hand

STUMP = Forest(
    start=np.array([0, 3]),
    feature=np.array([0, -1, -1], dtype="int32"),
    threshold=np.array([0.5, 0, 0]),
    child=np.array([[1, 2], [-1, -1], [-1, -1]], dtype="int32"),
    value=np.array([9.0, 0.0, 1.0]),
)
"""0 where the first feature is at most 0.5, else 1."""

SWAPPING, KEEPING = 3, 0
"""Seeds that do and do not exchange two rows."""


def test_a_stump_worked_by_hand() -> None:
    X, y = np.array([[0.0, 5.0], [1.0, 7.0], [0.5, 0.0]], dtype="float32"), np.array([0.0, 3.0, 8.0])
    out = np.array([[True, True, False]])
    units = np.array([[True, False], [False, True], [True, True]])
    assert [permutation(2, np.uint64(seed)).tolist() for seed in (KEEPING, SWAPPING)] == [[0, 1], [1, 0]]
    for seed, errors in ((KEEPING, [0, 0, 0]), (SWAPPING, [(1 + 9) / 2 - 2, 0, (1 + 9) / 2 - 2])):
        seeds = np.full((1, 3), seed, dtype=np.uint64)
        error, increase = permuted_errors(STUMP, X, y, np.zeros(2), out, units, seeds)
        assert error.tolist() == [2]
        assert increase.tolist() == [errors]
    mean, count = out_of_bag(STUMP, X, out)
    np.testing.assert_array_equal(mean, [0, 1, np.nan])
    np.testing.assert_array_equal(count, [1, 1, 0])


@given(st.floats(2**-10, 1000, width=32), st.booleans())
def test_a_threshold_between_neighbouring_numbers_parts_them(number: float, swap: bool) -> None:
    pair = np.array([number, np.nextafter(np.float32(number), np.float32(np.inf))], dtype="float32")
    stump = replace(STUMP, threshold=np.array([pair.astype(float).mean(), 0, 0]))
    seeds = np.full((1, 1), SWAPPING if swap else KEEPING, dtype=np.uint64)
    values = np.array([0.0, 1.0])
    error, increase = permuted_errors(
        stump, pair[:, None], values, np.zeros(1), np.ones((1, 2), bool), np.eye(1) > 0, seeds
    )
    assert (error[0], increase[0, 0]) == (0, int(swap))


def test_a_slope_is_permuted_with_the_tree() -> None:
    X, y = np.array([[0.0], [1.0]], dtype="float32"), np.array([0.0, 2.0])
    residual = y - 0.5 * X[:, 0]
    seeds = np.full((1, 1), SWAPPING, dtype=np.uint64)
    error, increase = permuted_errors(STUMP, X, residual, np.array([0.5]), np.ones((1, 2), bool), np.eye(1) > 0, seeds)
    assert error.tolist() == [0.5**2 / 2]
    assert increase[0, 0] == (1.5**2 + 2**2) / 2 - 0.5**2 / 2


def test_the_mean_is_counted_in_standard_errors() -> None:
    scaled = importance.in_standard_errors(np.array([[0.0, 2.0, 0.0, 1.0], [1.0, 2.0, 0.0, 3.0]]))
    np.testing.assert_allclose(scaled, [0.5 / np.sqrt(0.25 / 2), 2, 0, 2 / np.sqrt(1 / 2)])


def test_a_tree_without_out_of_bag_rows_is_left_out() -> None:
    np.testing.assert_allclose(importance.in_standard_errors(np.array([[0.0], [np.nan], [1.0]])), [np.sqrt(2)])
    few = made(3, rows=3)
    forest = fit(few, n_estimators=60, min_samples_split=2)
    assert any(len(np.unique(bag)) == 3 for bag in forest.estimators_samples_)
    assert np.isfinite(importance.measure(forest, *few, {}, seed=0)["inc_mse"]).all()


# Permutations


@given(st.integers(0, 500), st.integers(0, 2**64 - 1))
def test_a_permutation_has_every_number_once_and_repeats(count: int, seed: int) -> None:
    order = permutation(count, np.uint64(seed))
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    np.testing.assert_array_equal(order, permutation(count, np.uint64(seed)))


def test_all_permutations_are_equally_likely() -> None:
    seeds = np.random.default_rng(0).integers(0, 2**64, 24_000, dtype=np.uint64)
    orders = np.array([permutation(4, seed) for seed in seeds])
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert chisquare(counts).pvalue > 1e-3
    following = np.array([permutation(4, np.uint64(seed)) for seed in range(24_000)])
    assert chisquare(np.unique(following, axis=0, return_counts=True)[1]).pvalue > 1e-3


def test_the_generator_is_splitmix64() -> None:
    state, order, mask = 7, list(range(40)), 2**64 - 1
    for last in range(39, 0, -1):
        state = (state + 0x9E3779B97F4A7C15) & mask
        bits = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        chosen = ((bits ^ (bits >> 31)) >> 32) * (last + 1) >> 32
        order[last], order[chosen] = order[chosen], order[last]
    assert permutation(40, np.uint64(7)).tolist() == order


# Against a plain implementation


def plainly(estimator: Any, table: Table, factors: dict[str, list[str]], seed: int) -> pd.Series[float]:
    """%IncMSE of each factor by the definition, a tree after the other, with scikit-learn's predictions."""
    X, y = table
    forest, trend = estimator, lambda rows: np.zeros(len(rows))
    if isinstance(estimator, TrendForest):
        forest, trend = estimator.forest_, lambda rows: rows @ estimator.coef_ + estimator.intercept_
    found = {}
    for name, members in factors.items():
        columns = [X.columns.get_loc(one) for one in members]
        draws = np.random.default_rng(np.random.SeedSequence([seed, *columns]))
        increases = []
        for tree, bag in zip(forest.estimators_, forest.estimators_samples_, strict=True):
            number = draws.integers(0, 2**64, dtype=np.uint64)
            outside = np.setdiff1d(np.arange(len(X)), bag)
            whole, observed = X.to_numpy()[outside], y.to_numpy()[outside]
            mixed = whole.copy()
            mixed[:, columns] = whole[permutation(len(outside), number)][:, columns]
            before, after = (
                np.mean((tree.predict(one) + trend(one.astype(float)) - observed) ** 2) for one in (whole, mixed)
            )
            increases.append(after - before)
        found[name] = np.mean(increases) / (np.std(increases) / np.sqrt(len(increases)))
    return pd.Series(found)


@pytest.mark.parametrize("kind", ["random_forest", "trend_forest"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_definition_is_followed(kind: str, seed: int) -> None:
    table = made(seed)
    estimator = fit(table, kind, seed)
    groups = {"d": "pair", "e": "pair", "a": "three", "c": "three", "f": "three"}
    found = importance.measure(estimator, *table, groups, seed=seed, threads=2).set_index("feature")["inc_mse"]
    names = {one: [one] for one in table[0]} | {"pair": ["d", "e"], "three": ["a", "c", "f"]}
    expected = plainly(estimator, table, names, seed)
    assert set(found.index) == set(expected.index)
    np.testing.assert_allclose(found[expected.index], expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([{}, {"max_samples": 0.4}, {"max_leaf_nodes": 6}, {"criterion": "absolute_error"}]),
)
def test_the_definition_is_followed_whatever_the_parameters(seed: int, parameters: dict[str, Any]) -> None:
    table = made(seed, rows=40 + seed % 50)
    estimator = fit(table, seed=seed, n_estimators=5, **parameters)
    found = importance.measure(estimator, *table, {}, seed=seed).set_index("feature")["inc_mse"]
    varied = {one: [one] for one in table[0] if found[one] != 0}
    expected = plainly(estimator, table, varied, seed)
    np.testing.assert_allclose(found[expected.index], expected, rtol=1e-6, atol=1e-9)


def test_inc_node_purity_is_scikit_learns_times_the_rows() -> None:
    table = made(4)
    forest = fit(table)
    each = [tree.tree_.compute_feature_importances(normalize=False) for tree in forest.estimators_]
    found = importance.measure(forest, *table, {}, seed=0).set_index("feature")["inc_node_purity"]
    np.testing.assert_allclose(found[list(table[0])], np.mean(each, axis=0) * len(table[0]))


def test_out_of_bag_r2_is_that_of_scikit_learns_predictions() -> None:
    table = made(5)
    forest = fit(table, n_estimators=60, oob_score=True)
    assert importance.oob_r2(forest, *table) == pytest.approx(r2_score(table[1], forest.oob_prediction_))
    assert importance.oob_r2(fit(table, "trend_forest"), *table) > importance.oob_r2(fit(table), *table)


def test_out_of_bag_r2_of_a_constant_is_missing() -> None:
    X, y = made(6)
    flat = X, y * 0 + 0.25
    assert np.isnan(importance.oob_r2(fit(flat), *flat))
    assert (importance.measure(fit(flat), *flat, {}, seed=0)[["inc_mse", "inc_node_purity"]] == 0).to_numpy().all()


# What a reader relies on


def test_what_tells_nothing_is_near_zero_and_what_is_never_used_is_zero() -> None:
    X, y = made(7, rows=400)
    table = X.assign(constant=np.float32(0.5)), y
    found = importance.measure(fit(table, n_estimators=200), *table, {}, seed=0).set_index("feature")
    assert abs(found["inc_mse"]["f"]) < 4
    assert found["inc_mse"]["a"] > 40
    assert found["inc_mse"]["constant"] == 0
    assert found["inc_node_purity"]["constant"] == 0
    assert found["inc_node_purity"].idxmax() == "a"


def test_the_trend_counts_where_the_trees_do_not() -> None:
    X, _ = made(8, rows=300)
    table = X, 0.1 + 2 * X.a + np.random.default_rng(0).normal(0, 0.05, 300)
    found = importance.measure(fit(table, "trend_forest"), *table, {}, seed=0).set_index("feature")
    assert found["rank"]["a"] == 1
    assert found["inc_mse"]["a"] > 20 * found["inc_mse"].drop("a").abs().max()


def test_a_group_stands_before_its_members_and_is_ranked_among_factors(rows: Table, fitted: Any) -> None:
    found = importance.measure(fitted, *rows, GROUPS, seed=0)
    assert tuple(found.columns) == importance.COLUMNS
    pairs = list(zip(found["feature"], found["group"], strict=True))
    assert pairs[:5] == [
        ("rain", "water"),
        ("lst", "lst"),
        ("vegetation", "vegetation"),
        ("ndvi", "vegetation"),
        ("evi", "vegetation"),
    ]
    assert len(pairs) == len(set(pairs)) == 12
    several = found["feature"].isin(["vegetation", "texture"])
    assert found["kind"].tolist() == ["group" if group else "feature" for group in several]
    assert sorted(found["rank"][~several]) == list(range(1, 11))
    factors = found.drop_duplicates("group")
    assert set(factors["feature"][factors["feature"] != factors["group"]]) == {"rain"}
    expected = factors["inc_mse"].rank(ascending=False)
    assert found["rank"][several].tolist() == expected[several].tolist()
    assert found["rank"].dtype == int


def test_groups_change_nothing_about_features_and_sum_their_purity(rows: Table, fitted: Any) -> None:
    single = importance.measure(fitted, *rows, {}, seed=0).set_index("feature")
    grouped = importance.measure(fitted, *rows, GROUPS | {"unknown": "water"}, seed=0).set_index("feature")
    columns = ["inc_mse", "inc_node_purity", "rank"]
    pd.testing.assert_frame_equal(single[columns], grouped.loc[single.index, columns])
    purity = grouped["inc_node_purity"]
    assert purity["vegetation"] == pytest.approx(purity["ndvi"] + purity["evi"])


def test_a_group_of_one_is_the_feature() -> None:
    table = made(9)
    forest = fit(table)
    plain = importance.measure(forest, *table, {}, seed=0)
    alone = importance.measure(forest, *table, {"b": "bent", "a": "a"}, seed=0)
    assert alone["group"].tolist() == ["a", "bent", *"cdef"]
    pd.testing.assert_frame_equal(alone.drop(columns="group"), plain.drop(columns="group"))


def test_features_that_stand_in_for_one_another_matter_together() -> None:
    X, y = made(10, rows=400)
    table = X.assign(twin=X.a + np.float32(0.01) * X.f), y
    found = importance.measure(fit(table, n_estimators=100), *table, {"a": "both", "twin": "both"}, seed=0)
    inc_mse = found.set_index("feature")["inc_mse"]
    assert inc_mse["both"] > 1.5 * max(inc_mse["a"], inc_mse["twin"])


def test_factors_keep_the_order_of_the_features() -> None:
    found = importance.factors([*"abcd"], {"c": "x", "a": "x", "z": "y", "d": "d"})
    assert found == {"x": ["a", "c"], "b": ["b"], "d": ["d"]}
    assert list(found) == ["x", "b", "d"]


def test_a_group_with_a_features_name_is_refused() -> None:
    for groups in ({"a": "b", "c": "b"}, {"a": "a", "c": "a"}, {"a": "c"}):
        with pytest.raises(ConfigurationError, match=r"has the name of a feature.*set `group` to another name"):
            importance.factors([*"abc"], groups)


# Any number of threads, any process


def test_the_same_seed_gives_the_same_table_on_any_number_of_threads() -> None:
    table = made(11)
    forest = fit(table)
    one = importance.measure(forest, *table, {"a": "x", "b": "x"}, seed=3)
    for threads in (2, 5):
        other = importance.measure(forest, *table, {"a": "x", "b": "x"}, seed=3, threads=threads)
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    changed = importance.measure(forest, *table, {"a": "x", "b": "x"}, seed=4)
    assert not changed["inc_mse"].equals(one["inc_mse"])
    assert changed["inc_node_purity"].equals(one["inc_node_purity"])


@pytest.mark.parametrize("kind", ["random_forest", "trend_forest"])
def test_a_stored_model_has_the_same_importance(kind: str) -> None:
    table = made(12)
    estimator = fit(table, kind)
    loaded = models.loads(models.dumps(estimator))
    before, after = (importance.measure(one, *table, {}, seed=0) for one in (estimator, loaded))
    pd.testing.assert_frame_equal(before, after, check_exact=True)
    assert importance.oob_r2(loaded, *table) == importance.oob_r2(estimator, *table)


@settings(max_examples=10, deadline=None)
@given(st.integers(-8, 8), st.integers(0, 100))
def test_inc_mse_has_no_unit(power: int, seed: int) -> None:
    X, y = made(seed, rows=60)
    y = y.round(3)
    one, other = (
        importance.measure(fit(table, n_estimators=10), *table, {}, seed=0) for table in ((X, y), (X, y * 2.0**power))
    )
    np.testing.assert_allclose(one["inc_mse"], other["inc_mse"], rtol=1e-6)
    np.testing.assert_allclose(one["inc_node_purity"] * 4.0**power, other["inc_node_purity"], rtol=1e-6)


# What is refused


@pytest.mark.parametrize("name", ["svm", "knn", "xgboost"])
def test_what_has_no_bags_is_refused(name: str) -> None:
    X, y = made(13, rows=30)
    estimator = ALGORITHMS[name].make({}, 6, 0).fit(X.to_numpy(), y.to_numpy())
    assert not importance.has_importance(estimator)
    with pytest.raises(ConfigurationError, match=r"without out-of-bag rows.*choose random_forest or trend_forest"):
        importance.measure(estimator, X, y, {}, seed=0)


def test_a_forest_without_bootstrap_is_refused() -> None:
    table = made(13)
    with pytest.raises(ConfigurationError, match="without out-of-bag rows"):
        importance.oob_r2(fit(table, bootstrap=False), *table)
    assert importance.has_importance(ALGORITHMS["trend_forest"].make({}, 6, 0))


@pytest.mark.parametrize("kind", ["random_forest", "trend_forest"])
def test_rows_that_are_not_those_of_the_fit_are_refused(kind: str) -> None:
    X, y = made(14)
    estimator = fit((X, y), kind)
    wrong = {
        "not those": [
            (X[::-1], y[::-1]),
            (X, y[::-1]),
            (X[[*"bacdef"]], y),
            made(15),
        ],
        "expected the 150 rows of 6 features": [(X[:-1], y[:-1]), (X, y[:-1]), (X[[*"abcde"]], y)],
        "missing or infinite": [(X.assign(a=X.a.where(X.index != 3)), y), (X, y.where(y.index != 3))],
    }
    for message, tables in wrong.items():
        for table in tables:
            with pytest.raises(DataError, match=message):
                importance.measure(estimator, *table, {}, seed=0)


def test_a_forest_whose_trees_know_every_row_is_refused() -> None:
    X, y = made(16, rows=2)
    seed = next(
        seed
        for seed in range(100)
        if len(np.unique(fit((X, y), seed=seed, n_estimators=1).estimators_samples_[0])) == 2
    )
    with pytest.raises(DataError, match="every tree learned from every row"):
        importance.measure(fit((X, y), seed=seed, n_estimators=1), X, y, {}, seed=0)
