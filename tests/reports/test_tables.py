"""Tables of the report on worlds so small that every figure can be worked by hand."""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray as xr

import summing
from soilscale import kernels, reports
from soilscale.reports import tables
from soilscale.reports.scores import SCORES, moments
from soilscale.seasons import METEOROLOGICAL, Seasons
from summing import summed

SEASONS = Seasons(METEOROLOGICAL)
CRS = "EPSG:3035"
SIDE, LEFT, TOP = 3000.0, 4_000_000.0, 2_900_000.0


def grid(values: npt.ArrayLike, times: list[str], step: float = SIDE) -> xr.DataArray:
    """Array (time, y, x) with cell centres of a grid whose upper left corner is LEFT, TOP."""
    values = np.asarray(values, dtype="float32")
    rows, columns = values.shape[1:]
    coords = {
        "time": np.array(times, dtype="datetime64[ns]"),
        "y": TOP - step * (np.arange(rows) + 0.5),
        "x": LEFT + step * (np.arange(columns) + 0.5),
    }
    return xr.DataArray(values, dims=("time", "y", "x"), coords=coords)


def value_of(table: pd.DataFrame, metric: str, **keys: str) -> float:
    rows = table[table["metric"] == metric]
    for key, value in keys.items():
        rows = rows[rows[key] == value]
    assert len(rows) == 1, f"{metric} {keys}: {len(rows)} rows"
    return float(rows["value"].item())


def predictions_of(coarse: xr.DataArray, fields: dict[str, npt.ArrayLike], **constant: str) -> pd.DataFrame:
    """Rows of every cell, month and algorithm; fields: algorithm -> array like coarse."""
    parts = []
    for algorithm, predicted in fields.items():
        frame = coarse.to_series().rename("observed").reset_index()
        frame["predicted"] = np.asarray(predicted, dtype=float).ravel()
        frame["season"] = SEASONS.names_of(frame["time"].to_numpy())
        parts.append(frame.assign(algorithm=algorithm))
    keys = {"model": "seasonal", "split": "blocked"} | constant
    return pd.concat(parts, ignore_index=True).assign(**keys).dropna(subset=["observed"])


# accuracy


def rows_of(
    season: str,
    algorithm: str,
    observed: list[float],
    predicted: list[float],
    model: str = "seasonal",
    split: str = "random",
) -> pd.DataFrame:
    return pd.DataFrame({"observed": observed, "predicted": predicted}).assign(
        season=season, algorithm=algorithm, model=model, split=split
    )


def test_accuracy_by_hand_and_pooled() -> None:
    predictions = pd.concat(
        [
            rows_of("spring", "knn", [0.1, 0.2], [0.2, 0.3]),
            rows_of("summer", "knn", [0.1, 0.2], [0.1, 0.2]),
            rows_of("summer", "knn", [0.1, 0.2], [0.4, 0.5], split="blocked"),
        ]
    )
    table = reports.accuracy(predictions)
    assert list(table.columns) == ["season", "algorithm", "model", "split", "metric", "value", "n"]
    assert value_of(table, "rmse", season="spring") == pytest.approx(0.1)
    assert value_of(table, "rmse", season="summer", split="blocked") == pytest.approx(0.3)
    assert value_of(table, "bias", season="all", split="random") == pytest.approx(0.05)
    assert value_of(table, "rmse", season="all", split="random") == pytest.approx(math.sqrt(0.02 / 4))
    assert set(table.loc[(table["season"] == "all") & (table["split"] == "random"), "n"]) == {4}
    assert set(table["metric"]) == set(SCORES)


def test_accuracy_keeps_models_and_algorithms_apart_and_counts_only_pairs() -> None:
    predictions = pd.concat(
        [
            rows_of("spring", "knn", [0.1, 0.2, np.nan], [0.2, 0.3, 0.4]),
            rows_of("spring", "svm", [0.1, 0.2], [0.1, 0.2]),
            rows_of("spring", "knn", [0.1, 0.2], [0.1, 0.3], model="comprehensive"),
        ]
    )
    table = reports.accuracy(predictions)
    assert len(table) == 2 * 3 * len(SCORES)
    assert set(table.loc[table["algorithm"] == "knn", "n"]) == {2}
    assert value_of(table, "bias", season="all", model="comprehensive") == pytest.approx(0.05)


def test_seasons_stand_in_the_order_asked_for_and_all_last() -> None:
    predictions = pd.concat([rows_of(season, "knn", [0.1, 0.2], [0.1, 0.2]) for season in ("winter", "spring")])
    assert list(pd.unique(reports.accuracy(predictions)["season"])) == ["winter", "spring", "all"]
    ordered = reports.accuracy(predictions, SEASONS.names)
    assert list(pd.unique(ordered["season"])) == ["spring", "winter", "all"]


# consistency


def test_consistency_of_maps_that_conserve() -> None:
    coarse = grid([[[0.2, 0.3]], [[0.4, np.nan]]], ["2001-01", "2001-04"])
    detail = np.array([[-0.1, 0.1], [0.1, -0.1]])
    fine = grid(
        [np.repeat(np.repeat(np.nan_to_num(month, nan=0.5), 2, 0), 2, 1) + np.tile(detail, 2) for month in coarse],
        ["2001-01", "2001-04"],
        SIDE / 2,
    )
    table = reports.consistency(*summing.pairs(summed(fine, coarse, 2)), SEASONS, "svm")
    assert list(table.columns) == ["season", "algorithm", "metric", "value"]
    assert set(table["season"]) == {"spring", "winter", "all"}
    assert set(table["algorithm"]) == {"svm"}
    for season in ("spring", "winter", "all"):
        assert value_of(table, "rmse", season=season) == pytest.approx(0.1, abs=1e-6)
        assert value_of(table, "bias", season=season) == pytest.approx(0, abs=1e-7)
        assert value_of(table, "max_abs_block_difference", season=season) == pytest.approx(0, abs=1e-7)


def test_block_difference_is_that_of_valid_cells_where_observed() -> None:
    coarse = grid([[[0.2, np.nan]]], ["2001-07"])
    fine = grid([[[0.25, np.nan, 0.9, 0.9], [0.25, 0.25, 0.9, 0.9]]], ["2001-07"], SIDE / 2)
    table = reports.consistency(*summing.pairs(summed(fine, coarse, 2)), SEASONS, "svm")
    assert value_of(table, "max_abs_block_difference", season="summer") == pytest.approx(0.05, abs=1e-6)
    assert value_of(table, "max_abs_block_difference", season="all") == pytest.approx(0.05, abs=1e-6)


def test_a_month_that_was_never_observed_has_no_consistency() -> None:
    coarse = grid([[[np.nan]]], ["2001-07"])
    fine = grid([[[0.2, 0.2], [0.2, 0.2]]], ["2001-07"], SIDE / 2)
    table = reports.consistency(*summing.pairs(summed(fine, coarse, 2)), SEASONS, "svm")
    assert table["value"].isna().all()


def test_maps_of_several_algorithms_are_called_best() -> None:
    assert reports.method({"spring": "svm", "summer": "knn"}) == "best"
    assert reports.method({"spring": "svm", "summer": "svm"}) == "svm"
    assert reports.method("svm") == "svm"


# truth


def test_every_method_is_scored_on_the_same_cells() -> None:
    coarse = grid([[[0.2, 0.4]]], ["2001-01"])
    known = grid([[[0.1, 0.3, 0.3, 0.5], [0.1, 0.3, 0.3, np.nan]]], ["2001-01"], SIDE / 2)
    ours = grid([[[0.1, 0.3, 0.3, 9.0], [0.1, np.nan, 0.3, 9.0]]], ["2001-01"], SIDE / 2)
    ours[0, 0, 3] = np.nan
    table = reports.truth(summing.methods(summed(ours, coarse, 2, known), "svm"), SEASONS)
    assert list(table.columns) == ["season", "method", "metric", "value"]
    assert list(pd.unique(table["method"])) == ["nearest", "bilinear", "svm"]
    assert value_of(table, "rmse", season="winter", method="svm") == 0
    assert value_of(table, "rmse", season="winter", method="nearest") == pytest.approx(0.1, abs=1e-6)
    # bilinear between the centres .2 and .4 is .2, .25, .35, .4; the valid cells are 0, 1, 2 above and 0, 2 below
    expected = math.sqrt((2 * 0.1**2 + 3 * 0.05**2) / 5)
    assert value_of(table, "rmse", season="all", method="bilinear") == pytest.approx(expected, abs=1e-6)


def test_truth_pools_seasons_and_uses_shared_months_only() -> None:
    times = ["2001-01", "2001-04", "2001-05"]
    coarse = grid(np.full((3, 1, 1), 0.2), times)
    known = grid(np.full((2, 2, 2), 0.3), times[:2], SIDE / 2)
    ours = grid(np.stack([np.full((2, 2), v) for v in (0.3, 0.5, 0.9)]), times, SIDE / 2)
    table = reports.truth(summing.methods(summed(ours, coarse, 2, known), "svm"), SEASONS)
    assert value_of(table, "bias", season="winter", method="svm") == pytest.approx(0, abs=1e-7)
    assert value_of(table, "bias", season="spring", method="svm") == pytest.approx(0.2, abs=1e-6)
    assert value_of(table, "bias", season="all", method="svm") == pytest.approx(0.1, abs=1e-6)
    assert value_of(table, "bias", season="all", method="nearest") == pytest.approx(-0.1, abs=1e-6)


# upscaled


@pytest.fixture
def observed() -> xr.DataArray:
    y, x = np.mgrid[0:6, 0:6]
    field = 0.2 + 0.01 * x + 0.005 * y + 0.02 * ((x + y) % 2)
    return grid([field, field + 0.05], ["2001-01", "2001-07"])


def test_perfect_predictions_return_the_field_itself(observed: xr.DataArray) -> None:
    predictions = predictions_of(observed, {"svm": observed, "knn": np.full(observed.shape, 0.25)})
    table = reports.upscaled(observed, predictions, SEASONS)
    for season in ("winter", "summer", "all"):
        assert value_of(table, "rmse", season=season, method="svm") == pytest.approx(0, abs=1e-6)
        flat, near = (value_of(table, "rmse", season=season, method=name) for name in ("knn", "nearest"))
        assert 0 < flat < near
    assert list(pd.unique(table["method"])) == ["nearest", "bilinear", "svm", "knn"]


def test_predictions_are_made_consistent_with_the_block_means_before_they_are_judged(observed: xr.DataArray) -> None:
    shifted = observed + 0.1
    table = reports.upscaled(observed, predictions_of(observed, {"svm": shifted}), SEASONS)
    assert value_of(table, "rmse", season="all", method="svm") == pytest.approx(0, abs=1e-6)


def test_nearest_one_scale_up_by_hand(observed: xr.DataArray) -> None:
    one = observed.isel(time=[0])
    table = reports.upscaled(one, predictions_of(one, {"svm": one}), SEASONS)
    values = one[0].to_numpy().astype(float)
    means = values.reshape(2, 3, 2, 3).mean(axis=(1, 3)).repeat(3, 0).repeat(3, 1)
    assert value_of(table, "rmse", season="winter", method="nearest") == pytest.approx(
        float(np.sqrt(np.mean((means - values) ** 2)))
    )
    smooth = kernels.bilinear(values.reshape(2, 3, 2, 3).mean(axis=(1, 3)), 3)
    assert value_of(table, "rmse", season="winter", method="bilinear") == pytest.approx(
        float(np.sqrt(np.mean((smooth - values) ** 2)))
    )


def test_only_out_of_fold_rows_of_the_seasonal_models_count(observed: xr.DataArray) -> None:
    good = predictions_of(observed, {"svm": observed})
    bad = np.full(observed.shape, 0.5) * np.linspace(0, 1, 6)
    others = [
        predictions_of(observed, {"svm": bad}, split="random"),
        predictions_of(observed, {"svm": bad}, model="comprehensive"),
    ]
    pd.testing.assert_frame_equal(
        reports.upscaled(observed, good, SEASONS), reports.upscaled(observed, pd.concat([*others, good]), SEASONS)
    )


def test_blocks_at_the_edge_and_with_few_observations_are_left_out(observed: xr.DataArray) -> None:
    cut = observed.isel(time=[0], y=slice(0, 4), x=slice(0, 3)).copy()
    cut[0, :2, :] = np.nan  # of the upper block 3 of 9 cells are left, of the lower 3 of 9 exist
    empty = reports.upscaled(cut, predictions_of(cut, {"svm": cut}), SEASONS)
    assert empty["value"].isna().all()
    cut[0, 1, :2] = 0.3
    some = reports.upscaled(cut, predictions_of(cut, {"svm": cut}), SEASONS)
    assert value_of(some, "rmse", season="winter", method="nearest") > 0


def test_best_uses_each_seasons_own_algorithm(observed: xr.DataArray) -> None:
    flat = np.full(observed.shape, 0.25)
    first, second = observed.to_numpy().copy(), observed.to_numpy().copy()
    first[1], second[0] = flat[1], flat[0]
    predictions = predictions_of(observed, {"svm": first, "knn": second})
    seasons = {"winter": "svm", "summer": "knn"}
    table = reports.upscaled(observed, predictions, SEASONS, algorithm=seasons)
    assert value_of(table, "rmse", season="all", method="best") == pytest.approx(0, abs=1e-6)
    assert value_of(table, "rmse", season="all", method="svm") > 0.001
    assert "best" not in set(reports.upscaled(observed, predictions, SEASONS, algorithm="svm")["method"])


def test_predictions_off_the_grid_or_of_a_foreign_month_are_not_used(observed: xr.DataArray) -> None:
    good = predictions_of(observed, {"svm": observed})
    foreign = good.assign(time=pd.Timestamp("1999-01-01"))
    off = good.assign(x=good["x"] + 1e7)
    table = reports.upscaled(observed, pd.concat([good, foreign, off]), SEASONS)
    assert value_of(table, "rmse", season="all", method="svm") == pytest.approx(0, abs=1e-6)


# baselines and area means


def test_baselines_join_what_there_is() -> None:
    one = pd.DataFrame({"season": ["all"], "method": ["svm"], "metric": ["rmse"], "value": [0.1]})
    table = reports.baselines({"truth": one, "stations": one.iloc[:0], "upscaled": one})
    assert list(table.columns) == ["season", "method", "reference", "metric", "value"]
    assert list(table["reference"]) == ["truth", "upscaled"]
    assert list(reports.baselines({}).columns) == list(table.columns)


def test_area_means_by_hand() -> None:
    fine = grid([[[0.1, 0.3], [np.nan, 0.2]]], ["2001-01"])
    coarse = grid([[[0.25]], [[0.5]]], ["2001-01", "2001-02"])
    rain = grid(np.full((1, 2, 2), 40.0), ["2001-02"])
    months = summed(fine, coarse, 2)
    means = reports.area_means(summing.sums(months), summing.common(months), CRS, rain)
    assert list(means.columns) == ["time", "coarse", "fine", "fine_all", "precipitation"]
    assert len(means) == 1
    assert means["fine"].item() == pytest.approx(0.2)
    assert means["coarse"].item() == pytest.approx(0.25)
    assert math.isnan(means["precipitation"].item())


def test_products_are_compared_on_the_cells_that_both_have() -> None:
    fine = grid([[[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.5]]], ["2001-01"])
    coarse = grid([[[0.1, np.nan]]], ["2001-01"])
    months = summed(fine, coarse, 2)
    means = reports.area_means(summing.sums(months), summing.common(months), CRS)
    assert means[["coarse", "fine", "fine_all"]].iloc[0].tolist() == pytest.approx([0.1, 0.1, 0.3])


def test_area_means_on_a_grid_in_degrees_weigh_by_latitude() -> None:
    fine = grid([[[1.0], [0.0]]], ["2001-01"]).assign_coords(y=[60.0, 0.0])
    for crs, expected in (("EPSG:4326", 0.5 / 1.5), (CRS, 0.5)):
        months = summed(fine, fine, 1, crs=crs)
        means = reports.area_means(summing.sums(months), summing.common(months), crs)
        assert means["fine"].item() == means["coarse"].item() == pytest.approx(expected)


def test_a_table_of_tiles_is_that_of_the_whole_map() -> None:
    """But for rounding, since sums are taken in another order; with a truth and cells that are missing."""
    rng = np.random.default_rng(3)
    times = ["2001-01-01", "2001-07-01"]
    coarse = grid(rng.random((2, 6, 8)), times, 12 * SIDE)
    coarse[0, 2, 3] = coarse[1, 0, 0] = np.nan
    whole = grid(rng.random((2, 24, 32)), times)
    whole[0, :5, :9] = np.nan
    known = whole + 0.1 * grid(rng.random((2, 24, 32)), times)
    once = summed(whole, coarse, 4, known)
    for tile in (1, 2, 5):
        months = summed(whole, coarse, 4, known, tile=tile)
        for table in (
            lambda found: reports.consistency(*summing.pairs(found), SEASONS, "knn"),
            lambda found: reports.truth(summing.methods(found, "knn"), SEASONS),
            lambda found: reports.area_means(summing.sums(found), summing.common(found), "EPSG:3035"),
        ):
            pd.testing.assert_frame_equal(table(months), table(once), rtol=1e-9, atol=1e-12)


def test_bilinear_on_a_piece_is_that_of_the_whole() -> None:
    observed = np.random.default_rng(0).random((5, 7))
    observed[2, 3] = np.nan
    whole = kernels.bilinear(observed, 3)
    for piece in ((slice(0, 6), slice(0, 9)), (slice(6, 15), slice(9, 21)), (slice(3, 9), slice(6, 12))):
        expected = moments(whole[piece], whole[piece])
        found = tables.beside_truth(whole[piece], observed, 3, {}, piece)["bilinear"]
        assert (found.n, found.squares) == (expected.n, pytest.approx(0, abs=1e-12))
