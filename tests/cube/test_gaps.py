"""Gaps are filled by the level of the date, the annual cycle of the place and what neighbours share: truth known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from soilscale import kernels
from soilscale.config.sections import Maps
from soilscale.cube import gaps

SHAPE = (75, 100)
RATIO = 25

Array = NDArray[np.floating]


def waves(seed: int, width: float) -> Array:
    """Smooth random field of variance 1."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), width, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def hidden(count: int, share: float, seed: int = 9) -> NDArray[np.bool_]:
    """Clumps of hidden cells, another pattern for each date."""
    fields = [waves(seed * 100 + number, 5) for number in range(count)]
    return np.stack([field < np.quantile(field, share) for field in fields])


def world(months: int, remainder: float = 0.0) -> Array:
    """Levels and annual cycles of places with a wave of their own, and a smooth remainder of each month."""
    place, amplitude = 4 * waves(1, 2), 2 * waves(2, 3)
    turn = 2 * np.pi * np.arange(months) / 12
    level = 290 + 12 * np.sin(turn) + np.random.default_rng(3).normal(0, 2, months)
    fields = [level[t] + place + amplitude * np.cos(turn[t]) + remainder * waves(50 + t, 12) for t in range(months)]
    return np.stack(fields).astype("float32")


def rmse(found: Array, truth: Array) -> float:
    return float(np.sqrt(np.mean((found - truth) ** 2)))


def filled(values: Array) -> tuple[Array, Array]:
    """Months with their gaps filled, and the cycles by which they are."""
    months = [np.datetime64("2003-01") + t for t in range(len(values))]
    means, shares = (np.stack(pair) for pair in zip(*(kernels.block_mean(one, RATIO) for one in values), strict=True))
    levels = gaps.area_levels(means, shares, np.ones(len(values), bool))
    fine = [kernels.spread(np.pad(level, 1, mode="edge"), RATIO) for level in levels]
    parts = [(gaps.phase(month), one - level) for month, one, level in zip(months, values, fine, strict=True)]
    cycle = gaps.annual_cycle(parts, SHAPE)
    pairs = zip(months, values, fine, strict=True)
    return np.stack([gaps.fill(one, level, cycle, gaps.phase(month)) for month, one, level in pairs]), cycle


def test_levels_of_dates_are_those_of_an_additive_field_whatever_is_hidden() -> None:
    level = np.array([3.0, -1.0, 4.0, 0.5])
    values = (level[:, None, None] + 5 * waves(1, 2)).reshape(4, -1)
    found = gaps.levels(values, ~hidden(4, 0.6).reshape(4, -1))
    np.testing.assert_allclose(found, level - level.mean(), atol=1e-6)


def test_dates_of_a_month_are_completed_so_that_none_shifts_its_mean() -> None:
    truth = np.stack([level + 4 * waves(1, 2) + waves(20 + t, 12) for t, level in enumerate((280.0, 284, 279, 290))])
    seen = np.where(hidden(4, 0.4), np.nan, truth).astype("float32")
    there = np.isfinite(seen).any(axis=0)
    plain = rmse(np.nanmean(seen[:, there], axis=0), truth.mean(axis=0)[there])
    whole = gaps.complete(seen)
    np.testing.assert_array_equal(np.isfinite(whole).all(axis=0), there)
    np.testing.assert_allclose(whole[np.isfinite(seen)], seen[np.isfinite(seen)], atol=1e-4)
    assert rmse(whole.mean(axis=0)[there], truth.mean(axis=0)[there]) < plain / 4


def test_what_is_usual_completes_dates_better_and_also_places_that_none_shows() -> None:
    place = 4 * waves(1, 2)
    truth = np.stack([level + place + 1.5 * waves(20 + t, 12) for t, level in enumerate((280.0, 284, 279, 290))])
    seen = np.where(hidden(4, 0.6), np.nan, truth).astype("float32")
    usual = [(283.25 + place).astype("float32")] * 4
    by_usual, by_others = gaps.complete_by(seen, usual), gaps.complete(seen)
    assert np.isfinite(by_usual).all()
    there = np.isfinite(seen).any(axis=0)
    mean = truth.mean(axis=0)
    assert rmse(by_usual.mean(axis=0)[there], mean[there]) < rmse(by_others.mean(axis=0)[there], mean[there])
    assert rmse(by_usual, truth) < 0.5


def test_missing_places_of_months_are_filled_by_level_cycle_and_remainder() -> None:
    truth = world(24, remainder=1.0)
    seen = np.where(hidden(24, 0.3), np.nan, truth).astype("float32")
    found, _ = filled(seen)
    gap = np.isnan(seen)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[~gap], seen[~gap])
    beside = (seen[:-2] + seen[2:]) / 2
    both = gap[1:-1] & np.isfinite(beside)
    assert rmse(found[1:-1][both], truth[1:-1][both]) < rmse(beside[both], truth[1:-1][both]) / 3
    assert rmse(found[gap], truth[gap]) < 0.8


def test_a_place_that_is_hardly_ever_seen_stays_missing() -> None:
    seen = world(12)
    seen[gaps.LEAST - 1 :, :5] = np.nan
    seen[:, -5:] = np.nan
    found, cycle = filled(seen)
    assert np.isnan(cycle[:, :5]).all()
    assert np.isnan(found[gaps.LEAST - 1 :, :5]).all()
    assert np.isnan(found[:, -5:]).all()
    assert np.isfinite(found[:, 5:-5]).all()


def test_later_months_change_no_earlier_level() -> None:
    values = np.where(hidden(15, 0.3), np.nan, world(15))
    means, shares = (np.stack(pair) for pair in zip(*(kernels.block_mean(one, RATIO) for one in values), strict=True))
    learned = np.arange(15) < 12
    before = gaps.area_levels(means[:13], shares[:13], learned[:13])
    np.testing.assert_array_equal(gaps.area_levels(means, shares, learned)[:13], before)


def test_the_level_of_an_empty_month_lies_between_those_beside_it_if_both_are_known() -> None:
    levels = np.arange(6, dtype="float32")[:, None, None] * np.ones((1, 2, 2), "float32")
    empty = np.array([True, False, True, False, True, True])
    levels[empty] = np.nan
    found = gaps.bridged(levels, empty)
    np.testing.assert_array_equal(found[1:4], np.arange(1, 4)[:, None, None] * np.ones((1, 2, 2)))
    assert np.isnan(found[[0, 4, 5]]).all()


def test_a_tile_is_filled_as_the_area_is_with_what_lies_around_it() -> None:
    truth = world(1, remainder=2.0)[0]
    seen = np.where(hidden(1, 0.5)[0], np.nan, truth)
    level, cycle = np.full(SHAPE, 290.0), np.zeros((3, *SHAPE))
    cycle[0] = 4 * waves(1, 2)
    whole = gaps.fill(seen, level, cycle, 0.0)
    part = np.s_[:, : 40 + gaps.REACH]
    tile = gaps.fill(seen[part], level[part], cycle[(slice(None), *part)], 0.0)
    np.testing.assert_allclose(tile[:, :40], whole[:, :40], atol=0.05)


def test_a_remainder_fades_far_from_what_is_known() -> None:
    values = np.full(SHAPE, np.nan)
    values[:, :5] = 2.0
    found = gaps.smooth(values)
    assert abs(found[:, :5] - 2).max() < 0.1
    assert abs(found[:, 60:]).max() < 1e-3


def test_the_part_of_the_year_of_a_whole_month_is_that_of_the_month() -> None:
    for month in (np.datetime64("2004-02"), np.datetime64("2005-12")):
        assert gaps.moment(month, month + 1) == pytest.approx(gaps.phase(month))


@pytest.mark.parametrize(
    ("told", "rule", "reach"),
    [
        ({}, "cycle", 1),
        ({"fill_gaps": 0}, "none", 0),
        ({"fill_gaps": 2}, "neighbours", 2),
        ({"gaps": "neighbours"}, "neighbours", 1),
        ({"gaps": "neighbours", "fill_gaps": 3}, "neighbours", 3),
        ({"gaps": "none"}, "none", 0),
    ],
)
def test_the_older_key_is_another_word_for_how_gaps_are_filled(told: dict[str, object], rule: str, reach: int) -> None:
    section = Maps.model_validate(told)
    assert (section.gaps, section.reach) == (rule, reach)
    assert Maps.model_validate(section.model_dump()) == section


@pytest.mark.parametrize("told", [{"gaps": "cycle", "fill_gaps": 1}, {"gaps": "none", "fill_gaps": 2}])
def test_two_keys_that_contradict_each_other_are_refused(told: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="leave one of the two out"):
        Maps.model_validate(told)
