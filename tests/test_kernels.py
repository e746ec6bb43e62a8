"""Arithmetic on plain arrays, against other libraries, hand-worked values and what must hold for any input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import box

from soilscale import grid, kernels, relief

Array = NDArray[np.float64]

LOWER, UPPER = 0.0, 0.6
"""Physical range of soil moisture, m3 m-3."""

RATIOS = (1, 2, 3, 4, 5, 24, 25)


def fields(ratio: int, seed: int, shape: tuple[int, int] = (4, 5), gaps: float = 0.0) -> Array:
    """Fine field of noise, some of it missing."""
    random = np.random.default_rng(seed)
    values = random.normal(0.3, 0.2, (shape[0] * ratio, shape[1] * ratio))
    values[random.random(values.shape) < gaps] = np.nan
    return values


def repeat(coarse: Array, ratio: int) -> Array:
    """Coarse values laid on the fine grid as they are."""
    return np.repeat(np.repeat(coarse, ratio, axis=0), ratio, axis=1)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Array, Array, int]:
    """Prediction, observation and ratio; both with gaps, the prediction far out of range at times."""
    ratio = draw(st.integers(1, 5))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    fine = arrays(
        "float64", (rows * ratio, columns * ratio), elements=st.one_of(st.floats(-1, 2, width=32), st.just(np.nan))
    )
    coarse = arrays("float64", (rows, columns), elements=st.one_of(st.floats(LOWER, UPPER), st.just(np.nan)))
    return draw(fine), draw(coarse), ratio


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("gaps", [0.0, 0.4, 0.97, 1.0])
def test_block_means_are_those_of_xarray_coarsen(ratio: int, gaps: float) -> None:
    fine = fields(ratio, seed=ratio, gaps=gaps)
    mean, fraction = kernels.block_mean(fine, ratio)
    blocks = xr.DataArray(fine, dims=("y", "x")).coarsen(y=ratio, x=ratio)
    np.testing.assert_allclose(mean, blocks.mean(), rtol=1e-12)
    np.testing.assert_allclose(fraction, blocks.count() / ratio**2, rtol=0, atol=0)


def test_block_means_take_any_leading_axes_and_add_in_double_precision() -> None:
    fine = np.full((3, 2, 64, 64), 0.1, dtype="float32")
    fine[1, 0] = 300.1
    mean, fraction = kernels.block_mean(fine, 64)
    assert mean.shape == fraction.shape == (3, 2, 1, 1)
    assert mean.dtype == "float64"
    assert mean[1, 0, 0, 0] == np.float64(np.float32(300.1))


def test_block_mean_of_an_empty_block_is_nan_and_its_share_is_zero() -> None:
    fine = np.array([[1.0, 3.0, np.nan, np.nan], [np.nan, 5.0, np.nan, np.nan]])
    mean, fraction = kernels.block_mean(fine, 2)
    np.testing.assert_array_equal(mean, [[3.0, np.nan]])
    np.testing.assert_array_equal(fraction, [[0.75, 0.0]])


def test_blocks_of_one_cell_are_the_cells_where_they_are_valid() -> None:
    cells = np.array([[1.5, np.nan], [np.inf, -2.0]], "float32")
    mean, fraction = kernels.block_mean(cells, 1)
    assert mean.dtype == fraction.dtype == "float64"
    np.testing.assert_array_equal(mean, [[1.5, np.nan], [np.nan, -2.0]])
    np.testing.assert_array_equal(fraction, [[1.0, 0.0], [0.0, 1.0]])


def test_infinite_values_are_missing_too() -> None:
    mean, fraction = kernels.block_mean(np.array([[np.inf, 1.0], [-np.inf, 2.0]]), 2)
    assert mean.item() == 1.5
    assert fraction.item() == 0.5


def test_class_fractions_by_hand() -> None:
    codes = np.array([[1, 1, 7, np.nan], [2, 1, 7, 9], [np.nan, np.nan, 1, 1], [np.nan, np.nan, 1, 1]])
    shares, fraction = kernels.class_fractions(codes, (1, 2, 7), 2)
    np.testing.assert_allclose(shares[0], [[3 / 4, 0], [np.nan, 1]])
    np.testing.assert_allclose(shares[1], [[1 / 4, 0], [np.nan, 0]])
    np.testing.assert_allclose(shares[2], [[0, 2 / 3], [np.nan, 0]])
    np.testing.assert_array_equal(fraction, [[1, 0.75], [0, 1]])


def test_class_fractions_of_all_classes_sum_to_one() -> None:
    codes = np.random.default_rng(0).integers(1, 18, (30, 40)).astype("float32")
    codes[:7, :9] = np.nan
    shares, _ = kernels.class_fractions(codes, tuple(range(1, 18)), 5)
    total = shares.sum(axis=0)
    np.testing.assert_allclose(total[np.isfinite(total)], 1, rtol=1e-12)
    assert np.isnan(total).sum() == 1


def days(start: str, end: str, month: str) -> float:
    shared = kernels.shared_days(
        np.array([start], "datetime64[s]"), np.array([end], "datetime64[s]"), np.datetime64(month)
    )
    assert shared.shape == (1,)
    return float(shared[0])


@pytest.mark.parametrize(
    ("start", "end", "month", "expected"),
    [
        ("2004-02-01", "2004-03-01", "2004-02", 29),
        ("2003-02-01", "2003-03-01", "2003-02", 28),
        ("1900-02-01", "1900-03-01", "1900-02", 28),
        ("2000-02-01", "2000-03-01", "2000-02", 29),
        ("2005-01-25", "2005-02-02", "2005-01", 7),  # 25..31 January
        ("2005-01-25", "2005-02-02", "2005-02", 1),
        ("2004-02-26", "2004-03-05", "2004-02", 4),  # 26..29 February
        ("2004-02-26", "2004-03-05", "2004-03", 4),
        ("2004-12-26", "2005-01-01", "2004-12", 6),  # the last composite of a leap year
        ("2004-12-26", "2005-01-01", "2005-01", 0),
        ("2001-01-01", "2002-01-01", "2001-07", 31),
        ("2005-03-01", "2005-03-09", "2005-04", 0),
        ("2005-05-01", "2005-05-09", "2005-04", 0),
        ("2005-04-10T18:00", "2005-04-11T06:00", "2005-04", 0.5),
        ("2005-04-30T18:00", "2005-05-01T18:00", "2005-04", 0.25),
        ("2005-04-10", "2005-04-10", "2005-04", 0),
        ("2005-04-11", "2005-04-10", "2005-04", 0),
    ],
)
def test_shared_days_by_hand(start: str, end: str, month: str, expected: float) -> None:
    assert days(start, end, month) == expected
    assert days(start, end, f"{month}-15T12:00") == expected


def test_shared_days_of_no_interval_are_none() -> None:
    none = np.array([], "datetime64[s]")
    assert kernels.shared_days(none, none, np.datetime64("2005-04")).shape == (0,)


@given(
    start=st.integers(0, 20_000 * 86_400),
    length=st.integers(0, 400 * 86_400),
)
def test_shared_days_of_all_months_add_up_to_the_interval(start: int, length: int) -> None:
    begin, end = np.datetime64(start, "s"), np.datetime64(start + length, "s")
    months = np.arange(begin.astype("datetime64[M]"), end.astype("datetime64[M]") + np.timedelta64(1, "M"))
    shared = [kernels.shared_days(np.array([begin]), np.array([end]), month)[0] for month in months]
    assert sum(shared) == pytest.approx(length / 86_400, abs=1e-9)


def test_weighted_mean_without_weight_is_nan() -> None:
    mean = kernels.weighted_mean(np.array([6.0, 0.0, 0.0]), np.array([4.0, 2.0, 0.0]))
    np.testing.assert_array_equal(mean, [1.5, 0.0, np.nan])


@pytest.mark.parametrize("ratio", RATIOS)
def test_bilinear_is_exact_on_a_linear_field_between_the_outermost_centres(ratio: int) -> None:
    rows, columns = np.mgrid[:5, :6] + 0.5
    fine_rows, fine_columns = (np.mgrid[: 5 * ratio, : 6 * ratio] + 0.5) / ratio
    found = kernels.bilinear(2 + 0.3 * rows - 0.7 * columns, ratio)
    between = (abs(fine_rows - 2.5) <= 2) & (abs(fine_columns - 3) <= 2.5)
    np.testing.assert_allclose(found[between], (2 + 0.3 * fine_rows - 0.7 * fine_columns)[between], atol=1e-12)


def test_bilinear_holds_the_nearest_value_beyond_the_outermost_centres() -> None:
    found = kernels.bilinear(np.array([[1.0, 3.0]]), 4)
    np.testing.assert_allclose(found, [[1, 1, 1.25, 1.75, 2.25, 2.75, 3, 3]] * 4)


@pytest.mark.parametrize("ratio", [2, 5, 24])
def test_bilinear_skips_missing_neighbours_and_leaves_missing_cells_missing(ratio: int) -> None:
    coarse = np.full((4, 5), 0.25)
    coarse[1, 2] = coarse[3, 4] = np.nan
    found = kernels.bilinear(coarse, ratio)
    np.testing.assert_array_equal(np.isnan(found), repeat(np.isnan(coarse), ratio))
    np.testing.assert_allclose(found[np.isfinite(found)], 0.25, rtol=1e-12)


@given(scenes())
def test_bilinear_stays_between_the_extremes_of_its_nodes(scene: tuple[Array, Array, int]) -> None:
    _, coarse, ratio = scene
    found = kernels.bilinear(coarse, ratio)
    assume(np.isfinite(coarse).any())
    assert np.nanmin(found) >= np.nanmin(coarse) - 1e-12
    assert np.nanmax(found) <= np.nanmax(coarse) + 1e-12


def means_of_nodes(nodes: Array, ratio: int) -> Array:
    return kernels.block_mean(kernels.spread(np.pad(nodes, 1, mode="edge"), ratio), ratio)[0]


@given(
    residual=arrays("float64", st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.floats(-0.6, 0.6)),
    ratio=st.integers(1, 25),
)
def test_block_means_of_the_residual_surface_are_the_residuals(residual: Array, ratio: int) -> None:
    nodes = kernels.residual_nodes(residual, ratio, steps=200)
    np.testing.assert_allclose(means_of_nodes(nodes, ratio), residual, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ratio", [2, 3, 24, 25])
def test_the_most_jagged_residuals_are_met_too(ratio: int) -> None:
    residual = 0.3 * (1 - 2 * (np.indices((20, 21)).sum(axis=0) % 2))
    nodes = kernels.residual_nodes(residual, ratio, steps=200)
    np.testing.assert_allclose(means_of_nodes(nodes, ratio), residual, atol=1e-9)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ratio=st.sampled_from([2, 3, 4, 5, 24]), share=st.floats(0, 1))
def test_known_residuals_are_met_among_unobserved_cells(seed: int, ratio: int, share: float) -> None:
    random = np.random.default_rng(seed)
    residual = random.normal(0, 0.05, (12, 12))
    residual[random.random(residual.shape) < share] = np.nan
    known = np.isfinite(residual)
    found = means_of_nodes(kernels.residual_nodes(residual, ratio, steps=200), ratio)
    np.testing.assert_allclose(found[known], residual[known], rtol=0, atol=1e-6)


def test_the_correction_fades_over_unobserved_cells() -> None:
    residual = np.full((1, 40), np.nan)
    residual[0, 0] = 0.1
    nodes = kernels.residual_nodes(residual, 24)[0]
    assert (np.diff(nodes) <= 0).all()
    assert (np.diff(nodes[:5]) < 0).all()
    assert nodes[1] < 0.7 * nodes[0]
    assert nodes[-1] == 0


def test_without_any_observation_there_is_no_correction() -> None:
    assert not kernels.residual_nodes(np.full((3, 4), np.nan), 8).any()


@settings(deadline=None, max_examples=200)
@given(scenes())
def test_conserved_block_means_are_the_observation_within_the_bounds(scene: tuple[Array, Array, int]) -> None:
    prediction, observed, ratio = scene
    values, clamped = kernels.conserve(prediction, observed, ratio, LOWER, UPPER)
    mean, fraction = kernels.block_mean(values, ratio)
    held = (fraction > 0) & np.isfinite(observed)
    np.testing.assert_allclose(mean[held], observed[held], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(prediction))
    there = np.isfinite(values)
    assert ((values[there] >= LOWER) & (values[there] <= UPPER)).all()
    assert not clamped[~there].any()


@settings(deadline=None)
@given(scenes())
def test_unobserved_cells_take_the_surface_and_are_only_clipped(scene: tuple[Array, Array, int]) -> None:
    prediction, observed, ratio = scene
    residual = observed - kernels.block_mean(prediction, ratio)[0]
    nodes = np.pad(kernels.residual_nodes(residual, ratio), 1, mode="edge")
    values, _ = kernels.conserve(prediction, observed, ratio, LOWER, UPPER, nodes)
    expected = np.clip(prediction + kernels.spread(nodes, ratio), LOWER, UPPER)
    free = repeat(np.isnan(observed), ratio)
    np.testing.assert_allclose(values[free], expected[free], rtol=0, atol=1e-12)


def test_a_map_without_observation_is_the_clipped_prediction() -> None:
    prediction = fields(6, seed=3, gaps=0.1)
    values, clamped = kernels.conserve(prediction, np.full((4, 5), np.nan), 6, LOWER, UPPER)
    np.testing.assert_array_equal(values, np.clip(prediction, LOWER, UPPER))
    np.testing.assert_array_equal(clamped, (prediction < LOWER) | (prediction > UPPER))


@pytest.mark.parametrize("outside", [-0.01, 0.61, np.inf])
def test_an_observation_out_of_range_counts_as_none(outside: float) -> None:
    prediction = fields(4, seed=1)
    observed = np.full((4, 5), 0.3)
    observed[2, 2] = outside
    found, _ = kernels.conserve(prediction, observed, 4, LOWER, UPPER)
    observed[2, 2] = np.nan
    expected, _ = kernels.conserve(prediction, observed, 4, LOWER, UPPER)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bound", [LOWER, UPPER])
def test_an_observation_at_a_bound_leaves_its_cell_at_that_bound(bound: float) -> None:
    observed = np.full((4, 5), 0.3)
    observed[1, 3] = bound
    values, clamped = kernels.conserve(fields(4, seed=2), observed, 4, LOWER, UPPER)
    np.testing.assert_allclose(values[4:8, 12:16], bound, atol=1e-12)
    assert clamped.any()


def jumps(values: Array, ratio: int) -> tuple[float, float]:
    """Largest difference between neighbours across a coarse cell's border, and inside a cell."""
    border, inside = [], []
    for turned in (values, values.T):
        steps = np.abs(np.diff(turned, axis=0))
        across = (np.arange(len(steps)) + 1) % ratio == 0
        border.append(float(steps[across].max()))
        inside.append(float(steps[~across].max()))
    return max(border), max(inside)


@pytest.mark.parametrize("ratio", [4, 5, 24, 25])
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_there_is_no_step_at_the_borders_of_cells(ratio: int, gaps: float) -> None:
    random = np.random.default_rng(ratio)
    observed = random.uniform(0.25, 0.35, (7, 8))
    observed[random.random(observed.shape) < gaps] = np.nan
    values, clamped = kernels.conserve(np.full((7 * ratio, 8 * ratio), 0.3), observed, ratio, LOWER, UPPER)
    assert not clamped.any()
    border, inside = jumps(values, ratio)
    assert border <= 1.05 * inside
    assert border < jumps(repeat(np.nan_to_num(observed, nan=0.3), ratio), ratio)[0]


@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_tiles_that_share_nodes_make_the_map_of_the_whole(gaps: float) -> None:
    ratio, side = 6, 3
    random = np.random.default_rng(5)
    prediction = fields(ratio, seed=5, shape=(6, 9), gaps=gaps)
    observed = random.uniform(0.0, 0.5, (6, 9))
    observed[random.random(observed.shape) < gaps] = np.nan
    residual = observed - kernels.block_mean(prediction, ratio)[0]
    nodes = np.pad(kernels.residual_nodes(residual, ratio), 1, mode="edge")
    whole, clamped = kernels.conserve(prediction, observed, ratio, LOWER, UPPER)
    assert clamped.any()
    for row in range(0, 6, side):
        for column in range(0, 9, side):
            coarse = np.s_[row : row + side, column : column + side]
            fine = np.s_[row * ratio : (row + side) * ratio, column * ratio : (column + side) * ratio]
            around = nodes[row : row + side + 2, column : column + side + 2]
            part, marks = kernels.conserve(prediction[fine], observed[coarse], ratio, LOWER, UPPER, around)
            np.testing.assert_allclose(part, whole[fine], rtol=0, atol=1e-11)
            np.testing.assert_array_equal(marks, clamped[fine])


def test_conserving_leaves_its_inputs_as_they_were() -> None:
    prediction, observed = fields(4, seed=9, gaps=0.2), np.full((4, 5), 0.7)
    before = prediction.copy()
    kernels.conserve(prediction, observed, 4, LOWER, UPPER)
    np.testing.assert_array_equal(prediction, before)
    assert (observed == 0.7).all()


SQUARE = np.zeros((2, 2, 20, 30))
SQUARE[0, 0], SQUARE[1, 1] = 900, -1000
"""Cells 900 m wide and 1000 m high; rows run south."""


def plane(east: float, north: float) -> Array:
    """Elevation of a plane that rises by so much a metre towards east and north."""
    rows, columns = np.mgrid[:20, :30]
    return 500 + east * 900 * columns - north * 1000 * rows


def terrain(elevation: Array, steps: Array) -> Array:
    """Slope, northness and eastness of an elevation."""
    return relief.terrain(relief.gradient(elevation, steps))


@pytest.mark.parametrize(
    ("east", "north"), [(0.0, -0.1), (0.0, 0.1), (0.2, 0.0), (-0.2, 0.0), (0.05, -0.12), (-1.0, 1.0)]
)
def test_terrain_of_a_plane_is_exact(east: float, north: float) -> None:
    slope, northness, eastness = terrain(plane(east, north), SQUARE)
    steepness = np.hypot(east, north)
    aspect = np.arctan2(-east, -north)  # downhill, clockwise from north
    np.testing.assert_allclose(slope, np.degrees(np.arctan(steepness)), rtol=1e-10)
    np.testing.assert_allclose(northness, np.sin(np.arctan(steepness)) * np.cos(aspect), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(eastness, np.sin(np.arctan(steepness)) * np.sin(aspect), rtol=1e-9, atol=1e-12)


def test_a_slope_that_falls_to_the_north_faces_north() -> None:
    _, northness, eastness = terrain(plane(0.0, -0.1), SQUARE)
    assert (northness > 0).all()
    np.testing.assert_allclose(eastness, 0, atol=1e-15)


def test_a_slope_that_falls_to_the_east_faces_east() -> None:
    _, northness, eastness = terrain(plane(-0.1, 0.0), SQUARE)
    assert (eastness > 0).all()
    np.testing.assert_allclose(northness, 0, atol=1e-15)


@pytest.mark.parametrize(
    ("east", "north", "degrees"), [(0, -1, 0), (-1, -1, 45), (-1, 0, 90), (0, 1, 180), (1, 0, 270)]
)
def test_the_angle_of_the_aspect_goes_clockwise_from_north(east: float, north: float, degrees: float) -> None:
    _, *sides = terrain(plane(0.1 * east, 0.1 * north), SQUARE)
    away = (relief.aspect(*sides) - degrees + 180) % 360 - 180
    np.testing.assert_allclose(away, 0, atol=1e-9)
    assert (relief.aspect(np.zeros(3), np.zeros(3)) == 0).all()


def test_flat_land_has_neither_slope_nor_aspect() -> None:
    assert not terrain(np.full((20, 30), 123.0), SQUARE).any()


def test_terrain_of_a_plane_with_holes_is_exact_beside_them() -> None:
    elevation = plane(0.05, -0.12)
    elevation[5, 7] = elevation[0, 0] = elevation[19, 10:14] = np.nan
    found = terrain(elevation, SQUARE)
    np.testing.assert_array_equal(np.isnan(found), np.stack([np.isnan(elevation)] * 3))
    np.testing.assert_allclose(found[0][np.isfinite(elevation)], np.degrees(np.arctan(0.13)), rtol=1e-10)


def test_a_cell_without_neighbours_along_an_axis_counts_as_level_along_it() -> None:
    elevation = np.full((3, 3), np.nan)
    elevation[1] = [0.0, 90.0, 180.0]
    slope, northness, eastness = terrain(elevation, SQUARE[..., :3, :3])
    np.testing.assert_allclose(slope[1], np.degrees(np.arctan(0.1)))
    assert (northness[1] == 0).all()
    assert (eastness[1] < 0).all()


@given(
    arrays("float64", (5, 6), elements=st.one_of(st.floats(-400, 8800), st.just(np.nan))),
)
def test_northness_and_eastness_are_the_sine_of_the_slope(elevation: Array) -> None:
    slope, northness, eastness = terrain(elevation, SQUARE[..., :5, :6])
    there = np.isfinite(elevation)
    assert ((slope[there] >= 0) & (slope[there] < 90)).all()
    np.testing.assert_allclose(np.hypot(northness, eastness), np.sin(np.radians(slope)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("place", [(6.2, 48.6), (25.0, 62.0), (-60.0, -33.0)])
@pytest.mark.parametrize(
    ("crs", "side"), [("EPSG:3035", 25_000.0), ("EPSG:4326", 0.25), ("EPSG:6933", 25_025.26), ("EPSG:3857", 25_000.0)]
)
def test_terrain_is_that_of_the_ground_on_any_grid(crs: str, side: float, place: tuple[float, float]) -> None:
    """A surface defined in true metres around a place has its slope and aspect there, whatever the projection."""
    longitude, latitude = place
    area = box(longitude - 0.05, latitude - 0.05, longitude + 0.05, latitude + 0.05)
    fine = grid.cover(area, crs, side, 25).fine
    y, x = grid.centres(fine)
    ground = Transformer.from_crs(crs, f"+proj=aeqd +lon_0={longitude} +lat_0={latitude} +datum=WGS84", always_xy=True)
    east, north = ground.transform(*np.meshgrid(x, y))
    found = terrain(0.03 * east - 0.04 * north, grid.metres_per_cell(fine))
    here = np.unravel_index(np.hypot(east, north).argmin(), east.shape)
    values: Any = [layer[here] for layer in found]
    sine = 0.05 / np.sqrt(1 + 0.05**2)
    assert values[0] == pytest.approx(np.degrees(np.arctan(0.05)), rel=1e-3)
    assert values[1] == pytest.approx(0.8 * sine, rel=1e-3)
    assert values[2] == pytest.approx(-0.6 * sine, rel=1e-3)
