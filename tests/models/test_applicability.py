"""How dissimilar the predictors of a map are to those of training: index, threshold, layer and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.typing import NDArray

from soilscale import maps, reports, samples
from soilscale.errors import DataError
from soilscale.models.applicability import Applicability, importance, loads, measure
from soilscale.schema import APPLICABILITY, MAP
from soilscale.seasons import METEOROLOGICAL, Seasons, month_range
from summing import part, summed


class Linear:
    """Model whose effects are known."""

    def __init__(self, *slopes: float) -> None:
        self.slopes = np.array(slopes)

    def predict(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return X @ self.slopes


def table(n: int = 400, p: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(n, p)).astype("float32") * np.array([1, 10, 100], "float32")[:p]


def folds(n: int = 400) -> NDArray[np.int_]:
    return np.arange(n) // 80


def test_importance_is_the_spread_of_a_linear_effect() -> None:
    X = table(4000)
    found = importance(Linear(0.5, 0.2, 0.0), X)
    np.testing.assert_allclose(found, X.std(axis=0) * [0.5, 0.2, 0], rtol=0.05)


def test_the_index_is_the_distance_in_the_models_own_units_over_the_threshold() -> None:
    X, one = table(2000, 2), Linear(0.5, 0.2)
    known = measure(one, X, folds(2000) % 5)
    # With the importance over the spread as scale, a step of a feature counts as what it changes in the prediction.
    np.testing.assert_allclose(known.scale, [0.5, 0.2], rtol=0.05)
    new = np.array([[0.3, -2.0], [9.0, 40.0]])
    nearest = np.sqrt((((X[None] - new[:, None]) * known.scale) ** 2).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(known.index(new), nearest / known.threshold, rtol=1e-4)
    assert known.index(new)[0] < 1 < known.index(new)[1]
    np.testing.assert_allclose(known.index(X[:5]), 0, atol=1e-4)


def test_the_threshold_is_the_upper_whisker_of_distances_between_folds() -> None:
    X = np.array([[0.0], [1], [2], [3], [4.5], [5], [6], [7], [50]], "float32")
    fold = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0])
    known = measure(Linear(1.0), X, fold)
    # Distances to the other fold: 1 1 1 1 .5 .5 1 1 43; quartiles 1 and 1, so that .5 and 43 lie beyond the whiskers.
    assert known.threshold == pytest.approx(known.scale[0] * 1.0)
    assert known.index(np.array([[8.5], [20.0]])) == pytest.approx([1.5, 13.0])


def test_rows_of_a_single_fold_are_measured_from_each_other() -> None:
    known = measure(Linear(1.0), np.arange(20, dtype="float32")[:, None], np.zeros(20, int))
    assert known.threshold == pytest.approx(known.scale[0])


def test_a_feature_without_effect_or_without_spread_makes_nothing_dissimilar() -> None:
    X = table()
    X[:, 1] = 7
    known = measure(Linear(1.0, 3.0, 0.0), X, folds())
    assert (known.scale > 0).tolist() == [True, False, False]
    far = X[:10] + np.array([0, 1000, 1e6], "float32")
    np.testing.assert_allclose(known.index(far), 0, atol=1e-4)


def test_a_model_of_nothing_is_applicable_everywhere() -> None:
    known = measure(Linear(0.0, 0.0, 0.0), table(), folds())
    assert known.index(table() * 100).tolist() == [0.0] * 400
    assert known.index(np.empty((0, 3), "float32")).shape == (0,)


def test_more_rows_than_are_kept_are_drawn_from_and_the_same_ones_each_time() -> None:
    X = table(3000)
    first, second = (measure(Linear(1.0, 0.1, 0.01), X, folds(3000), most=500, seed=3) for _ in range(2))
    assert first.points.shape == (500, 3)
    assert first.dumps() == second.dumps()


def test_what_is_stored_is_what_was_measured() -> None:
    known = measure(Linear(1.0, 0.1, 0.01), table(), folds())
    again = loads(known.dumps())
    np.testing.assert_array_equal(again.index(table() * 2), known.index(table() * 2))


@pytest.mark.parametrize("data", [b"", b"no archive", Applicability(np.ones(2), np.ones((3, 4)), 1.0).dumps()])
def test_bytes_that_are_something_else_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="applicability"):
        loads(data)


def test_the_layer_stands_where_the_prediction_does() -> None:
    known = measure(Linear(1.0, 0.1, 0.01), table(), folds())
    features = [np.full((2, 3), value) for value in (0.0, 1.0, 2.0)]
    features[0][1, 2] = np.nan
    where = np.array([[True, True, False], [True, True, False]])
    layer = maps.dissimilarity(known, features, where)
    assert layer.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(layer), where)
    np.testing.assert_allclose(layer[where], known.index(np.array([[0.0, 1.0, 2.0]]))[0])


def test_a_block_keeps_its_place_through_the_years() -> None:
    blocks = pd.Series(["r00c01-1992", "r00c01-1993", "r10c01-1992"], index=[5, 6, 7])
    assert samples.places(blocks).tolist() == ["r00c01", "r00c01", "r10c01"]
    assert samples.places(blocks.astype("category")).index.tolist() == [5, 6, 7]


@pytest.fixture
def monthly() -> tuple[xr.Dataset, xr.DataArray]:
    """Two months of maps whose error is a tenth of their index, one cell missing."""
    index = np.random.default_rng(1).gamma(2, 0.4, (2, 50, 40)).astype("float32")
    truth = np.full(index.shape, 0.2, "float32")
    value = truth + 0.1 * index
    value[0, 0, 0] = index[0, 0, 0] = np.nan
    time = month_range("2004-02", "2004-03").astype("datetime64[ns]")
    dims, axes = ("time", "y", "x"), {"time": time, "y": np.arange(50.0), "x": np.arange(40.0)}
    found = xr.Dataset({MAP: (dims, value), APPLICABILITY: (dims, index)}, axes)
    return found, xr.DataArray(truth, dims=dims, coords=axes)


def test_shares_are_those_of_the_seasons(monthly: tuple[xr.Dataset, xr.DataArray]) -> None:
    counts = part(summed(monthly[0], monthly[0][MAP], 1, tile=20), "index")
    found = reports.applicability.shares(counts, Seasons(METEOROLOGICAL)).set_index("season")
    index = monthly[0][APPLICABILITY].to_numpy()
    assert set(found.index) == {"winter", "spring", "all"}
    assert found.loc["winter", "n"] == 1999
    assert found.loc["spring", "outside"] == pytest.approx((index[1] > 1).mean())
    assert found.loc["all", "index"] == pytest.approx(np.nanmean(index), rel=1e-5)


def test_errors_are_those_of_bins_of_equal_size(monthly: tuple[xr.Dataset, xr.DataArray]) -> None:
    counts = part(summed(monthly[0], monthly[0][MAP], 1, monthly[1], tile=20), "errors")
    found = reports.applicability.errors(counts, Seasons(METEOROLOGICAL))
    own = found[found["season"] == "spring"]
    index = np.sort(monthly[0][APPLICABILITY].to_numpy()[1].ravel())
    assert own["n"].sum() == index.size
    np.testing.assert_allclose(own["n"], index.size / 10, rtol=0.1)
    bins = np.array_split(index, 10)
    np.testing.assert_allclose(own["index"], [part.mean() for part in bins], rtol=0.05)
    np.testing.assert_allclose(own["rmse"], [0.1 * np.sqrt((part**2).mean()) for part in bins], rtol=0.05)


def test_classes_are_those_of_a_search_among_the_edges() -> None:
    edges = reports.applicability.EDGES
    index = np.concatenate(
        [edges, np.nextafter(edges, 0)[1:], np.nextafter(edges, np.inf), [5e3], edges.astype("float32")]
    )
    np.testing.assert_array_equal(reports.applicability.classes(index), np.searchsorted(edges, index, side="right") - 1)
