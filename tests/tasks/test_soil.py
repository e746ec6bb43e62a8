"""Physical sense: no more water than pores, unless it is observed, and nothing said of frozen ground."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soilscale import kernels, maps
from soilscale.maps import capacity, finish, thaw
from soilscale.schema import Quality
from soilscale.sources import Source
from soilscale.tasks import soil
from soilscale.tasks.soil import Reading

RATIO = 4


@pytest.mark.parametrize(
    ("sand", "clay", "expected"), [(0, 0, 0.505), (92, 3, 0.37325), (40, 20, 0.4408), (6, 47, 0.47909)]
)
def test_porosity_is_that_of_cosby(sand: float, clay: float, expected: float) -> None:
    assert kernels.porosity(np.array(sand), np.array(clay)) == pytest.approx(expected)


def test_the_capacity_is_the_porosity_but_no_less_than_what_is_observed() -> None:
    sand, clay = np.full((4, 8), 40.0), np.full((4, 8), 20.0)
    sand[0, 0] = np.nan
    found = capacity(sand, clay, np.array([[0.2, 0.5]]), RATIO, 0.6)
    assert found[0, 0] == 0.6, "where texture is not known, the range is what it is anywhere"
    np.testing.assert_allclose(found[1:, :4], 0.4408)
    np.testing.assert_allclose(found[:, 4:], 0.5)
    assert capacity(sand, clay, np.array([[np.nan, 0.9]]), RATIO, 0.6).max() == 0.6


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.58))
def test_capacity_and_observation_hold_together(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    shape = (3 * RATIO, 3 * RATIO)
    sand = rng.uniform(0, 90, shape)
    clay = (100 - sand) * rng.uniform(0, 1, shape)
    observed = np.clip(level + rng.normal(0, 0.05, (3, 3)), 0, 0.6)
    observed[0, 0] = np.nan
    prediction = level + rng.normal(0, 0.1, shape)
    prediction[rng.random(shape) < 0.1] = np.nan
    upper = capacity(sand, clay, observed, RATIO, 0.6)
    nodes = np.pad(kernels.residual_nodes(observed - kernels.block_mean(prediction, RATIO)[0], RATIO), 1, mode="edge")
    values, quality = finish(prediction, observed, nodes, RATIO, (0.0, upper), conserve=True)
    there = np.isfinite(values)
    assert (values[there] <= upper[there] + 1e-7).all()
    assert values[there].min() >= 0
    means, _ = kernels.block_mean(values.astype("float64"), RATIO)
    known = np.isfinite(observed) & np.isfinite(means)
    np.testing.assert_allclose(means[known], observed[known], atol=1e-6)
    beyond = there & (prediction + kernels.spread(nodes, RATIO) > upper + 0.2)
    assert ((quality[beyond] & Quality.CLAMPED) > 0).all()


def test_frozen_ground_is_left_out_where_nothing_is_observed() -> None:
    kept = Quality.OBSERVED | Quality.FROZEN
    quality = np.array([[kept, Quality.PREDICTED | Quality.FROZEN | Quality.GAP_FILLED, Quality.PREDICTED]], "uint8")
    values, flags = thaw(np.full((1, 3), 0.2, "float32"), quality)
    np.testing.assert_array_equal(np.isfinite(values), [[True, False, True]])
    assert flags.tolist() == [[kept, Quality.FROZEN, Quality.PREDICTED]]


def test_a_season_with_a_frozen_month_has_no_value_and_says_why() -> None:
    values = np.array([[0.2, 0.2]], "float32")
    masked = np.array([[np.nan, 0.2]], "float32")
    plain = np.full((1, 2), Quality.PREDICTED, "uint8")
    frozen = np.array([[Quality.FROZEN, Quality.PREDICTED]], "uint8")
    mean, quality = maps.fold_season([values, masked], [plain | Quality.CLAMPED, frozen])
    assert np.isfinite(mean).tolist() == [[False, True]]
    assert quality.tolist() == [[Quality.FROZEN, Quality.PREDICTED | Quality.CLAMPED]]


def test_flags_are_counted_and_what_is_left_out_apart() -> None:
    layers = [np.array([[1 | 128, 128, 2 | 8], [0, 16, 128 | 16]], "uint8"), np.array([[128]], "uint8")]
    counts, masked = maps.count_flags(layers)
    assert masked == 2
    assert (counts[Quality.OBSERVED], counts[Quality.CLAMPED], counts[Quality.OUTSIDE]) == (1, 1, 2)


def source(name: str, profile: str | None = None) -> Source:
    return Source(name, "here", "soil", "data", profile=profile)


FEATURES = {
    "sand": (source("sand"), "%"),
    "silt": (source("silt"), "%"),
    "fine_earth": (source("fine_earth", "OpenLandMap_clay"), "1"),
    "lst_day": (source("lst_day"), "K"),
    "lst_day_lag1": (source("lst_day"), "K"),
    "night": (source("night", "MOD11A2"), "degC"),
    "ndvi": (source("ndvi"), "1"),
}


def known(*without: str) -> soil.Soil:
    """What is known of the soil by `FEATURES`, without some."""
    some = {name: one for name, one in FEATURES.items() if name not in without}
    return soil.soil_features(
        {name: one for name, (one, _) in some.items()}, {name: unit for name, (_, unit) in some.items()}
    )


def test_texture_and_temperature_are_known_by_name_or_profile_and_unit() -> None:
    assert known().texture == (Reading("sand", 1.0, 0.0), Reading("fine_earth", 100.0, 0.0))
    assert known().surface == (Reading("lst_day", 1.0, 0.0), Reading("night", 1.0, 273.15))


def test_without_clay_no_porosity_bounds() -> None:
    assert known("fine_earth").texture is None
    assert known("lst_day", "night").surface == ()
