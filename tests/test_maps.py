"""Fine maps: gaps filled, predicted, conserved, flagged, and folded into seasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from soilscale import kernels, maps, storage
from soilscale.grid import Grid
from soilscale.schema import DIMS, MAP, PREDICTION, PREDICTION_QUALITY, QUALITY, RESIDUAL, Quality
from soilscale.seasons import METEOROLOGICAL, Months, Seasons, month_range

Floats = NDArray[np.floating]

SEASONS = Seasons(METEOROLOGICAL)
GRID = Grid("EPSG:3035", 24_000, 6, 4_000_000, 3_000_000, (5, 7), 3)
RANGE = (0.0, 0.6)
RATIO = 4
NONE = np.nan


def months(*texts: str) -> Months:
    return np.array(texts, dtype="datetime64[M]")


def finish(
    prediction: Floats, observed: Floats, *, conserve: bool = True, valid_range: tuple[float, float] = RANGE
) -> tuple[Floats, NDArray[np.uint8]]:
    """Finish a map that is a single tile."""
    usable = maps.usable(observed, valid_range)
    residual = usable - kernels.block_mean(prediction, RATIO)[0]
    nodes = np.pad(kernels.residual_nodes(residual, RATIO), 1, mode="edge")
    return maps.finish(prediction, usable, nodes, RATIO, valid_range, conserve=conserve)


def test_only_seasons_with_all_their_months_are_complete() -> None:
    np.testing.assert_array_equal(
        maps.complete_seasons(month_range("2004-11", "2005-06"), SEASONS), months("2004-12", "2005-03")
    )


def test_a_missing_month_makes_its_season_incomplete() -> None:
    given_months = month_range("2004-12", "2005-08")
    kept = given_months[given_months != np.datetime64("2005-01")]
    np.testing.assert_array_equal(maps.complete_seasons(kept, SEASONS), months("2005-03", "2005-06"))


def test_months_come_in_any_order() -> None:
    shuffled = months("2005-02", "2004-12", "2005-01")
    np.testing.assert_array_equal(maps.complete_seasons(shuffled, SEASONS), months("2004-12"))


def test_without_a_complete_season_there_is_none() -> None:
    found = maps.complete_seasons(month_range("2005-01", "2005-02"), SEASONS)
    assert found.shape == (0,)
    assert found.dtype == "datetime64[M]"


def test_the_template_has_the_dimensions_of_the_contract() -> None:
    period = month_range("2004-12", "2005-03")
    found = maps.template(GRID, period, months("2004-12"), SEASONS)
    assert set(found) == {"month", "season", "coarse"}
    assert set(found["month"].data_vars) == {MAP, PREDICTION, PREDICTION_QUALITY, QUALITY}
    assert set(found["season"].data_vars) == {MAP, QUALITY}
    assert set(found["coarse"].data_vars) == {RESIDUAL}
    assert dict(found["month"].sizes) == {"time": 4, "y": 30, "x": 42, "bounds": 2}
    assert dict(found["season"].sizes) == {"time": 1, "y": 30, "x": 42, "bounds": 2}
    assert dict(found["coarse"].sizes) == {"time": 4, "y": 5, "x": 7, "bounds": 2}
    for dataset in found.values():
        assert all(layer.dims == DIMS for layer in dataset.data_vars.values())
        assert (np.diff(dataset["y"]) < 0).all()
        assert (np.diff(dataset["x"]) > 0).all()
        assert "spatial_ref" in dataset.coords
        assert dataset.attrs["Conventions"] == "CF-1.11"


def test_the_templates_variables_are_typed_described_and_chunked_by_tiles() -> None:
    found = maps.template(GRID, month_range("2004-12", "2005-02"), months("2004-12"), SEASONS)
    for group in ("month", "season"):
        values, quality = found[group][MAP], found[group][QUALITY]
        assert (values.dtype, quality.dtype) == (np.dtype("float32"), np.dtype("uint8"))
        assert values.dims == quality.dims == DIMS
        assert values.attrs["units"] == "m3 m-3"
        assert values.attrs["ancillary_variables"] == QUALITY
        assert values.attrs["grid_mapping"] == quality.attrs["grid_mapping"] == "spatial_ref"
        assert values.encoding["chunks"] == quality.encoding["chunks"] == (1, 18, 18)
        assert values.data.chunksize == (1, 18, 18)
    assert found["coarse"][RESIDUAL].encoding["chunks"] == (1, 5, 7)
    assert found["month"][PREDICTION].attrs["long_name"] != found["month"][MAP].attrs["long_name"]


def test_times_of_the_template_are_first_months_with_bounds_and_seasons() -> None:
    found = maps.template(GRID, month_range("2004-12", "2005-06"), months("2004-12", "2005-03"), SEASONS)
    month, season = found["month"], found["season"]
    assert month["season"].to_numpy().tolist() == ["winter"] * 3 + ["spring"] * 3 + ["summer"]
    assert season["season"].to_numpy().tolist() == ["winter", "spring"]
    expected = np.array([["2004-12", "2005-03"], ["2005-03", "2005-06"]], "datetime64[ns]")
    np.testing.assert_array_equal(season["time_bounds"], expected)
    np.testing.assert_array_equal(month["time_bounds"][:, 0], month["time"])
    np.testing.assert_array_equal(month["time_bounds"][:-1, 1], month["time"][1:])


def test_the_template_becomes_a_store_that_is_missing_throughout(tmp_path: Path) -> None:
    url = str(tmp_path / "maps.zarr")
    for group, template in maps.template(GRID, month_range("2004-12", "2005-02"), months("2004-12"), SEASONS).items():
        storage.create(url, group, template)
    opened = storage.open_group(url, "month", gaps=True)
    assert np.isnan(opened[MAP]).all()
    assert not opened[QUALITY].any()
    assert opened["season"].to_numpy().tolist() == ["winter"] * 3
    assert opened[MAP].attrs["units"] == "m3 m-3"
    tile = next(GRID.tiles())
    values = np.full((18, 18), 0.25, "float32")
    storage.write_region(url, "month", MAP, values, (1, *tile.fine))
    assert float(storage.open_group(url, "month", gaps=True)[MAP].sum()) == 0.25 * 18 * 18


def test_a_template_without_a_complete_season_can_be_created(tmp_path: Path) -> None:
    none = maps.complete_seasons(month_range("2005-01", "2005-02"), SEASONS)
    found = maps.template(GRID, month_range("2005-01", "2005-02"), none, SEASONS)
    storage.create(str(tmp_path / "maps.zarr"), "season", found["season"])
    assert storage.open_group(str(tmp_path / "maps.zarr"), "season").sizes["time"] == 0


def test_gaps_are_filled_from_the_nearest_pair_of_months() -> None:
    here = np.array([[1.0, NONE, NONE, NONE, NONE]])
    near = (np.array([[9.0, 2.0, NONE, 5.0, NONE]]), np.array([[9.0, 4.0, 7.0, NONE, NONE]]))
    far = (np.array([[8.0, 8.0, 1.0, 1.0, NONE]]), np.array([[8.0, 8.0, 2.0, 4.0, 3.0]]))
    values, filled = maps.fill_gaps(here, [near, far])
    np.testing.assert_array_equal(values, [[1.0, 3.0, 1.5, 2.5, NONE]])
    np.testing.assert_array_equal(filled, [[False, True, True, True, False]])


def test_gaps_without_neighbours_stay_and_the_month_itself_is_not_changed() -> None:
    here = np.array([[1.0, NONE]])
    values, filled = maps.fill_gaps(here, [])
    np.testing.assert_array_equal(values, here)
    assert not filled.any()
    values, _ = maps.fill_gaps(here, [(np.zeros((1, 2)), np.ones((1, 2)))])
    np.testing.assert_array_equal(values, [[1.0, 0.5]])
    np.testing.assert_array_equal(here, [[1.0, NONE]])


def estimator() -> LinearRegression:
    """Model of 0.1 + 0.2 a - 0.3 b, fitted without error."""
    table = np.random.default_rng(0).random((50, 2)).astype("float32")
    return LinearRegression().fit(table, 0.1 + table @ np.array([0.2, -0.3]))


def test_predictions_stand_where_they_are_wanted_and_no_feature_is_missing() -> None:
    random = np.random.default_rng(1)
    a, b = random.random((6, 8)), random.random((6, 8))
    a[0, 0], b[5, 7] = np.nan, np.nan
    where = np.ones((6, 8), bool)
    where[:, 3] = False
    found = maps.predict(estimator(), [a, b], where)
    expected = np.where(where, 0.1 + 0.2 * a - 0.3 * b, np.nan)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_order_of_features_is_that_of_the_model() -> None:
    a, b = np.full((2, 2), 1.0), np.full((2, 2), 0.0)
    np.testing.assert_allclose(maps.predict(estimator(), [a, b], np.ones((2, 2), bool)), 0.3, atol=1e-5)
    np.testing.assert_allclose(maps.predict(estimator(), [b, a], np.ones((2, 2), bool)), -0.2, atol=1e-5)


def test_a_tile_without_a_complete_cell_is_missing() -> None:
    missing = np.full((3, 4), np.nan, "float32")
    assert np.isnan(maps.predict(estimator(), [missing, missing], np.ones((3, 4), bool))).all()
    assert np.isnan(maps.predict(estimator(), [np.ones((3, 4))] * 2, np.zeros((3, 4), bool))).all()


def test_quality_tells_observed_predicted_clamped_and_missing_cells() -> None:
    prediction = np.full((2 * RATIO, 2 * RATIO), 0.3)
    prediction[0, 0] = np.nan
    prediction[RATIO, 0] = 0.9
    observed = np.array([[0.3, np.nan], [0.33, 0.7]])
    values, quality = finish(prediction, observed)
    assert (values.dtype, quality.dtype) == (np.dtype("float32"), np.dtype("uint8"))
    assert np.isnan(values[0, 0])
    assert quality[0, 0] == 0
    assert (quality[:RATIO, :RATIO].ravel()[1:] == Quality.OBSERVED).all()
    assert (quality[:RATIO, RATIO:] == Quality.PREDICTED).all()
    assert quality[RATIO, 0] == Quality.OBSERVED | Quality.CLAMPED
    assert (quality[RATIO:, RATIO:] == Quality.PREDICTED).all()  # an observation out of range is none


def test_an_observation_at_the_range_s_end_is_usable_as_float32_stores_it() -> None:
    observed = np.array([[0.6, 0.6001], [np.nan, -1e-9]], dtype="float32")
    np.testing.assert_array_equal(maps.usable(observed, (0.0, 0.6)), [[0.6, np.nan], [np.nan, 0.0]])


def test_without_conservation_values_are_only_clipped() -> None:
    prediction = np.random.default_rng(0).normal(0.3, 0.3, (2 * RATIO, 2 * RATIO))
    prediction[3, 3] = np.nan
    observed = np.array([[0.1, np.nan], [0.2, 0.3]])
    values, quality = finish(prediction, observed, conserve=False)
    np.testing.assert_allclose(values, np.clip(prediction, *RANGE), atol=1e-7)
    out = (prediction < 0) | (prediction > 0.6)
    np.testing.assert_array_equal((quality & Quality.CLAMPED) > 0, out)
    assert quality[3, 3] == 0
    assert (quality[:RATIO, :RATIO].ravel()[:3] & Quality.OBSERVED).all()


@given(
    prediction=arrays(
        "float64", (3 * RATIO, 2 * RATIO), elements=st.one_of(st.floats(-1, 2, width=32), st.just(np.nan))
    ),
    observed=arrays("float64", (3, 2), elements=st.one_of(st.floats(0.02, 0.6), st.just(0.6), st.just(np.nan))),
    lower=st.sampled_from([0.0, 0.01, 0.02]),
)
def test_stored_values_stay_in_range_and_means_equal_the_observation(
    prediction: Floats, observed: Floats, lower: float
) -> None:
    values, quality = finish(prediction, observed, valid_range=(lower, 0.6))
    stored = values.astype("float64")
    there = np.isfinite(prediction)
    assert ((stored[there] >= lower) & (stored[there] <= 0.6)).all()
    np.testing.assert_array_equal(np.isfinite(stored), there)
    np.testing.assert_array_equal(quality > 0, there)
    mean, fraction = kernels.block_mean(stored, RATIO)
    held = (fraction > 0) & np.isfinite(observed)
    np.testing.assert_allclose(mean[held], observed[held], rtol=0, atol=1e-6)


def flags(*bits: int) -> NDArray[np.uint8]:
    return np.array([bits], dtype="uint8")


def test_a_season_is_the_mean_of_its_months_where_every_month_has_a_value() -> None:
    monthly = [np.array([[0.1, 0.2, NONE]]), np.array([[0.2, NONE, NONE]]), np.array([[0.6, 0.2, NONE]])]
    ones = np.array([[1, 1, 0]], dtype="uint8")
    values, quality = maps.fold_season([month.astype("float32") for month in monthly], [ones] * 3)
    assert (values.dtype, quality.dtype) == (np.dtype("float32"), np.dtype("uint8"))
    np.testing.assert_allclose(values, [[0.3, NONE, NONE]], rtol=1e-6)
    np.testing.assert_array_equal(quality, [[Quality.OBSERVED, 0, 0]])


def test_a_season_is_observed_only_if_every_month_was() -> None:
    one = np.full((1, 3), 0.2, "float32")
    seen, guessed = int(Quality.OBSERVED), int(Quality.PREDICTED)
    _, quality = maps.fold_season(
        [one] * 3, [flags(seen, seen, guessed), flags(seen, guessed, guessed), flags(seen, seen, guessed)]
    )
    np.testing.assert_array_equal(quality, flags(seen, guessed, guessed))


def test_a_season_keeps_the_flags_that_one_of_its_months_has() -> None:
    one = np.full((1, 2), 0.2, "float32")
    seen = int(Quality.OBSERVED)
    filled, clamped = seen | int(Quality.GAP_FILLED), seen | int(Quality.CLAMPED)
    _, quality = maps.fold_season([one] * 3, [flags(seen, seen), flags(filled, seen), flags(clamped, seen)])
    np.testing.assert_array_equal(quality, flags(filled | clamped, seen))


def test_cells_outside_the_area_stay_flagged_in_the_season() -> None:
    values = np.array([[0.2, NONE]], "float32")
    _, quality = maps.fold_season([values] * 3, [flags(int(Quality.OBSERVED), int(Quality.OUTSIDE))] * 3)
    np.testing.assert_array_equal(quality, flags(int(Quality.OBSERVED), int(Quality.OUTSIDE)))


@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_block_means_of_a_season_are_the_mean_observation_where_no_value_is_missing(gaps: float) -> None:
    random = np.random.default_rng(3)
    missing = random.random((3 * RATIO, 2 * RATIO)) < gaps
    observed = random.uniform(0.1, 0.5, (3, 3, 2))
    monthly = []
    for month in observed:
        prediction = random.normal(0.3, 0.1, (3 * RATIO, 2 * RATIO))
        prediction[missing] = np.nan
        monthly.append(finish(prediction, month))
    values, _ = maps.fold_season(*zip(*monthly, strict=True))
    np.testing.assert_allclose(kernels.block_mean(values, RATIO)[0], observed.mean(axis=0), atol=1e-6)


def test_the_bump_that_closes_a_mean_is_flat_but_for_its_rim() -> None:
    ratio = 25
    flat = np.zeros((ratio, ratio))
    values, _ = kernels.conserve(flat, np.array([[0.2]]), ratio, 0.0, 0.6, np.zeros((3, 3)))
    inside = values[3:-3, 3:-3]
    assert np.ptp(inside) < 1e-12
    np.testing.assert_allclose(values[12, :3] / inside.max(), [1 / 6, 1 / 2, 5 / 6])
    assert values.mean() == pytest.approx(0.2)


def test_an_unknown_offset_leaves_no_interval_rather_than_one_of_no_width() -> None:
    values = np.array([[0.2, 0.3, np.nan]], "float32")
    quality = np.array([[Quality.OBSERVED, Quality.PREDICTED, 0]], "uint8")
    offsets = maps.Offsets((-0.05, 0.05), (np.nan, np.nan))
    lower, upper = maps.ends(values, quality, offsets, RANGE)
    np.testing.assert_allclose(lower, [[0.15, np.nan, np.nan]], atol=1e-6)
    np.testing.assert_allclose(upper, [[0.25, np.nan, np.nan]], atol=1e-6)


def test_an_interval_ends_where_the_pores_of_the_soil_are_full() -> None:
    values, quality = np.array([[0.4, 0.4]], "float32"), np.full((1, 2), Quality.OBSERVED, "uint8")
    lower, upper = maps.ends(values, quality, maps.Offsets((-0.1, 0.1), (-0.1, 0.1)), (0.0, np.array([[0.45, 0.6]])))
    np.testing.assert_allclose(lower, [[0.3, 0.3]], atol=1e-6)
    np.testing.assert_allclose(upper, [[0.45, 0.5]], atol=1e-6)
