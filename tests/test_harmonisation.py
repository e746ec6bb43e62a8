"""Sensors brought to one level: hand-worked cases, known gains and offsets, what happens where data are few."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soilscale import harmonisation
from soilscale.harmonisation import OWN, Area, Method, Relation, Support, Trio, adjust, climatology, pool
from soilscale.tasks.harmonised_target import merge

Array = NDArray[np.float64]

METHODS: tuple[Method, ...] = ("linear", "cdf")
YEARS = 12
CALENDAR = np.tile(np.arange(1, 13), YEARS)
OLD, NEW = slice(0, 72), slice(72, 144)
"""Six years each, one after the other."""


def moisture(cells: tuple[int, ...] = (3, 4), seed: int = 0) -> Array:
    """Soil moisture of twelve years with a seasonal cycle and wet and dry months, m3 m-3."""
    random = np.random.default_rng(seed)
    cycle = -np.cos(2 * np.pi * (CALENDAR - 2) / 12)
    months = (len(CALENDAR), *(1 for _ in cells))
    shared = 0.02 * random.standard_normal(months)
    own = 0.01 * random.standard_normal((len(CALENDAR), *cells))
    level = random.uniform(0.15, 0.3, cells)
    return level + 0.04 * cycle.reshape(months) + shared + own


def seen(values: Array, when: slice | NDArray[np.bool_]) -> Array:
    """What a sensor sees in some months."""
    found = np.full(values.shape, np.nan)
    found[when] = values[when]
    return found


def level(part: Array, reference: Array, method: Method, **keys: Any) -> tuple[Array, NDArray[np.int8]]:
    trio = Trio(part, reference, CALENDAR, **keys)
    return adjust(trio, method, pool(trio, method))


def rmse(got: Array, truth: Array) -> float:
    return float(np.sqrt(np.nanmean((got - truth) ** 2)))


# What is recovered


@pytest.mark.parametrize("method", METHODS)
def test_an_overlap_gives_a_gain_and_an_offset_back(method: Method) -> None:
    truth = moisture()
    gain, offset = np.linspace(0.7, 1.4, 12).reshape(3, 4), np.linspace(-0.03, 0.06, 12).reshape(3, 4)
    part, reference = seen(offset + gain * truth, slice(0, 108)), seen(truth, slice(60, 144))
    found, support = level(part, reference, method)
    assert rmse(part, truth) > 0.03
    assert rmse(found, truth) < (1e-9 if method == "linear" else 0.003)
    assert (support == (Support.MONTH if method == "linear" else Support.CELL)).all()
    assert np.isfinite(found).sum() == np.isfinite(part).sum()


@pytest.mark.parametrize("method", METHODS)
def test_without_an_overlap_a_third_series_keeps_a_change_of_climate(method: Method) -> None:
    truth = moisture()
    truth[NEW] += 0.03
    third = 5 + 80 * truth
    part, reference = seen(0.05 + 1.2 * truth, OLD), seen(truth, NEW)
    found, _ = level(part, reference, method, through=third)
    assert rmse(part, truth) > 0.08
    assert rmse(found, truth) < (1e-9 if method == "linear" else 0.004)


@pytest.mark.parametrize("method", METHODS)
def test_without_either_the_two_climates_are_made_one(method: Method) -> None:
    truth = moisture()
    part, reference = seen(0.05 + 1.2 * truth, OLD), seen(truth, NEW)
    found, _ = level(part, reference, method)
    assert pool(Trio(part, reference, CALENDAR), method).basis == "climatology"
    assert rmse(part, truth) > 0.08
    assert rmse(found, truth) < 0.02
    # So a true change between the periods is lost, as documented.
    drier = seen(truth - 0.03, NEW)
    assert np.nanmean(level(part, drier, method)[0] - truth) == pytest.approx(-0.03, abs=0.01)


def test_a_sensor_that_differs_by_season_is_followed_by_month() -> None:
    truth = moisture()
    seasonal = (1 + 0.2 * np.sin(2 * np.pi * CALENDAR / 12))[:, None, None]
    part, reference = seen(truth * seasonal, slice(0, 120)), seen(truth, slice(24, 144))
    by_month, by_distribution = (rmse(level(part, reference, method)[0], truth) for method in METHODS)
    assert by_month < by_distribution / 2


def test_a_curved_relation_is_followed_by_the_distributions() -> None:
    truth = moisture()
    part, reference = seen(truth**2, slice(0, 120)), seen(truth, slice(24, 144))
    assert rmse(level(part, reference, "cdf")[0], truth) < 0.005


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.3, 3), offset=st.floats(-0.1, 0.1), seed=st.integers(0, 100))
def test_the_level_found_does_not_hang_on_the_scale_of_the_sensor(
    method: Method, gain: float, offset: float, seed: int
) -> None:
    truth = moisture((2,), seed)
    reference = seen(truth, NEW)
    plain, _ = level(seen(truth, OLD), reference, method)
    scaled, _ = level(seen(offset + gain * truth, OLD), reference, method)
    np.testing.assert_allclose(scaled, plain, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_sensors_that_agree_stay_as_they_are(method: Method) -> None:
    truth = moisture()
    found, _ = level(seen(truth, slice(0, 120)), seen(truth, slice(24, 144)), method)
    np.testing.assert_allclose(found[:120], truth[:120], atol=1e-12)


# By hand


def test_mean_and_spread_are_matched_as_by_hand() -> None:
    """A sensor that swings by 2 about 10 in every month, and one that swings by 1 about 5, three years each."""
    swing = np.repeat(np.tile([-1.0, 1.0], 6), 12)
    part, reference = seen((10 + 2 * swing)[:, None], OLD), seen((5 + swing)[:, None], NEW)
    area = pool(Trio(part, reference, CALENDAR), "linear")
    (relation,) = area.relations
    assert relation.given.tolist() == pytest.approx([10.0] * 12)
    assert relation.wanted.tolist() == pytest.approx([5.0] * 12)
    assert float(relation.slope) == pytest.approx(0.5)
    found, _ = level(part, reference, "linear")
    np.testing.assert_allclose(found[OLD, 0], 5 + swing[OLD])


def test_a_calendar_month_that_one_sensor_lacks_counts_for_neither() -> None:
    """Without its Julys the sensor's distribution is compared with that of the others' other months."""
    cycle = np.where(CALENDAR == 7, 9.0, 1.0)[:, None] + 0.1 * moisture((1,))
    part = seen(cycle, OLD)
    part[CALENDAR == 7] = np.nan
    found, _ = level(part, seen(cycle, NEW), "cdf")
    assert np.nanmax(np.abs(found - part)) < 0.02


def test_means_count_each_calendar_month_apart() -> None:
    values = np.arange(24.0).reshape(24, 1)
    values[3] = np.nan
    counts, means = climatology(values, np.tile(np.arange(1, 13), 2))
    assert counts[:, 0].tolist() == [2, 2, 2, 1] + [2] * 8
    assert means[:5, 0].tolist() == [6, 7, 8, 15, 10]


def test_where_several_see_a_cell_the_first_counts() -> None:
    first, second = np.array([[1, np.nan, np.nan]]), np.array([[2, 2, np.nan]])
    np.testing.assert_array_equal(merge([first, second]), [[1, 2, np.nan]])
    np.testing.assert_array_equal(first, [[1, np.nan, np.nan]])


# Basis


@pytest.mark.parametrize(
    ("first_new", "third", "basis"),
    [(60, False, "overlap"), (61, False, "climatology"), (61, True, "through"), (60, True, "overlap")],
)
def test_a_year_of_common_months_is_an_overlap(first_new: int, third: bool, basis: str) -> None:
    truth = moisture((2,))
    reference = seen(truth, slice(first_new, 144))
    assert Trio(seen(truth, OLD), reference, CALENDAR, truth if third else None).basis() == basis


# Few data


@pytest.mark.parametrize("method", METHODS)
def test_a_cell_with_too_few_values_takes_the_areas_relation(method: Method) -> None:
    truth = moisture()
    part, reference = seen(0.05 + 1.2 * truth, OLD), seen(truth, NEW)
    part[OWN - 1 :, 0, 0] = np.nan
    part[:, 0, 1] = np.nan
    part[OWN:, 0, 2] = np.nan
    found, support = level(part, reference, method)
    own = Support.MONTH if method == "linear" else Support.CELL
    assert support[0].tolist() == [Support.AREA, Support.NONE, own, own]
    assert np.isnan(found[:, 0, 1]).all()
    alone = np.isfinite(part[:, 0, 0])
    assert rmse(found[alone, 0, 0], truth[alone, 0, 0]) < 0.035 < rmse(part[alone, 0, 0], truth[alone, 0, 0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("months", "own"), [(12, True), (11, False)])
def test_a_year_of_common_months_is_enough_for_a_cell(method: Method, months: int, own: bool) -> None:
    truth = moisture()
    part, reference = seen(0.05 + truth, slice(0, 84)), seen(truth, slice(72, 144))
    reference[72 : 84 - months, 0, 0] = np.nan
    part[100, 1, 1] = reference[100, 1, 1] + 0.05
    _, support = level(part, reference, method)
    assert support[0, 0] == (Support.CELL if own else Support.AREA)
    assert support[1, 1] == Support.CELL


def test_a_month_with_too_few_values_takes_the_cells_relation() -> None:
    """The reference sees the second cell in every other year only, and never from November to March in most."""
    truth = moisture((2,))
    reference = seen(truth, NEW)
    reference[np.isin(CALENDAR, [11, 12, 1, 2, 3]) & (np.arange(144) >= 84), 1] = np.nan
    part = seen(0.05 + truth, OLD)
    found, support = level(part, reference, "linear")
    assert support.tolist() == [Support.MONTH, Support.CELL]
    assert rmse(found[:, 1], truth[:, 1]) < 0.03


def test_one_year_each_is_enough_for_an_area_but_not_for_a_spread() -> None:
    truth = moisture()
    found, support = level(seen(0.05 + truth, slice(0, 12)), seen(truth, slice(12, 24)), "linear")
    assert (support == Support.AREA).all()
    assert abs(np.nanmean(found - truth)) < 0.02
    assert pool(Trio(seen(0.05 + truth, slice(0, 12)), seen(truth, slice(12, 24)), CALENDAR), "linear").relations[
        0
    ].slope == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_in_common_is_refused_with_the_count(method: Method) -> None:
    truth = moisture((2,))
    part, reference = seen(truth, CALENDAR < 7), seen(truth, CALENDAR >= 7)
    with pytest.raises(ValueError, match=r"have 0 values .* of the 12 needed"):
        pool(Trio(part, reference, CALENDAR), method)


def test_a_third_series_that_does_not_vary_is_refused() -> None:
    truth = moisture((2,))
    trio = Trio(seen(truth, OLD), seen(truth, NEW), CALENDAR, np.ones(truth.shape))
    with pytest.raises(ValueError, match="the spread of the bridge series"):
        pool(trio, "linear")


@pytest.mark.parametrize("method", METHODS)
def test_a_sensor_that_does_not_vary_is_shifted(method: Method) -> None:
    truth = moisture((2,))
    found, _ = level(seen(np.full(truth.shape, 0.4), OLD), seen(truth, NEW), method)
    assert np.isfinite(found[OLD]).all()
    assert abs(np.nanmean(found) - np.nanmean(truth[NEW])) < 0.01


# Physical range


@pytest.mark.parametrize("method", METHODS)
def test_what_is_impossible_is_neither_used_nor_given(method: Method) -> None:
    truth = moisture()
    part, reference = seen(truth + 0.1, OLD), seen(truth, NEW)
    clean, _ = level(part, reference, method, limits=(0.0, 0.6))
    part[5, 0, 0], reference[100, 1, 1] = 50.0, -7.0
    found, _ = level(part, reference, method, limits=(0.0, 0.6))
    assert np.isnan(found[5, 0, 0])
    assert np.nanmax(np.abs(found - clean)) < 0.02
    tight, _ = level(part, reference, method, limits=(0.0, 0.3))
    assert np.nanmin(tight) >= 0
    assert np.nanmax(tight) <= 0.3


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_whatever_is_seen_the_result_is_within_the_range_and_missing_only_where_it_was(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    method = data.draw(st.sampled_from(METHODS))
    part, reference = (random.uniform(-0.1, 0.8, (len(CALENDAR), 2, 2)) for _ in range(2))
    for values in (part, reference):
        values[random.random(values.shape) < data.draw(st.floats(0, 0.9))] = np.nan
    try:
        found, support = level(part, reference, method, limits=(0.0, 0.6))
    except ValueError:
        return
    usable = np.isfinite(harmonisation.within(part, (0.0, 0.6)))
    np.testing.assert_array_equal(np.isfinite(found), usable)
    assert ((found[usable] >= 0) & (found[usable] <= 0.6)).all()
    np.testing.assert_array_equal(support == Support.NONE, ~usable.any(axis=0))


# From the area to its tiles


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("third", [False, True])
def test_tiles_are_what_the_whole_is_and_the_area_survives_json(method: Method, third: bool) -> None:
    truth = moisture((4, 4))
    part, reference = seen(0.05 + 1.2 * truth, OLD), seen(truth, NEW)
    part[10:, 3, 3] = np.nan
    through = 3 * truth if third else None
    whole, _ = level(part, reference, method, through=through)
    area = pool(Trio(part, reference, CALENDAR, through), method)
    told = Area.of(json.loads(json.dumps(area.plain())))
    assert (told.basis, len(told.relations)) == (area.basis, 2 if third else 1)
    for rows in (slice(0, 2), slice(2, 4)):
        tile = Trio(part[:, rows], reference[:, rows], CALENDAR, None if through is None else through[:, rows])
        np.testing.assert_array_equal(adjust(tile, method, told)[0], whole[:, rows])


def test_a_slope_far_from_the_areas_is_tempered() -> None:
    truth = moisture()
    part, reference = seen(truth.copy(), slice(0, 120)), seen(truth, slice(24, 144))
    part[:, 0, 0] = np.nanmean(part[:, 0, 0]) + (part[:, 0, 0] - np.nanmean(part[:, 0, 0])) / 100
    found, _ = level(part, reference, "linear")
    spreads = [np.nanstd(values[CALENDAR == 7, 0, 0]) for values in (part, found)]
    assert spreads[1] / spreads[0] == pytest.approx(harmonisation.STEEPEST, rel=0.06)


def test_a_relation_is_plain_data() -> None:
    relation = Relation(np.zeros(12), np.ones(12), np.asarray(1.5))
    assert relation.plain() == {"given": [0.0] * 12, "wanted": [1.0] * 12, "slope": 1.5}
