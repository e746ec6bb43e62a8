"""Season schemes: every month has one season, and a season that crosses new year starts in the old one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soilscale import seasons
from soilscale.seasons import ALL, METEOROLOGICAL, SCHEMES, Seasons, as_month, calendar_month, month_range

YEAR = Seasons(METEOROLOGICAL)
WET_DRY = Seasons({"wet": (5, 6, 7, 8, 9), "dry": (10, 11, 12, 1, 2, 3, 4)})


def month(text: str) -> np.datetime64:
    return np.datetime64(text, "M")


def months(*texts: str) -> seasons.Months:
    return np.array(texts, dtype="datetime64[M]")


@st.composite
def schemes(draw: st.DrawFn) -> Seasons:
    """Runs of consecutive months that partition the year, from any month on."""
    first = draw(st.integers(0, 11))
    cuts = sorted(draw(st.sets(st.integers(1, 11), min_size=1, max_size=5)))
    edges = [0, *cuts, 12]
    runs = [[(first + i) % 12 + 1 for i in range(*edge)] for edge in itertools.pairwise(edges)]
    return Seasons({f"s{i}": run for i, run in enumerate(runs)})


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_that_has_a_name_partitions_the_year(name: str) -> None:
    scheme = Seasons(SCHEMES[name])
    assert sorted(m for members in scheme.months.values() for m in members) == list(range(1, 13))
    assert scheme.names == tuple(SCHEMES[name])


@pytest.mark.parametrize(
    ("text", "name", "start"),
    [
        ("2004-11", "autumn", "2004-09"),
        ("2004-12", "winter", "2004-12"),
        ("2005-01", "winter", "2004-12"),
        ("2005-02", "winter", "2004-12"),
        ("2005-03", "spring", "2005-03"),
        ("2005-08", "summer", "2005-06"),
        ("1969-12", "winter", "1969-12"),
        ("1970-01", "winter", "1969-12"),
    ],
)
def test_december_belongs_to_the_winter_of_the_next_year(text: str, name: str, start: str) -> None:
    assert YEAR.name(month(text)) == name
    assert YEAR.start(month(text)) == month(start)


@pytest.mark.parametrize(
    ("text", "name", "start"),
    [
        ("2005-04", "dry", "2004-10"),
        ("2005-05", "wet", "2005-05"),
        ("2005-09", "wet", "2005-05"),
        ("2005-10", "dry", "2005-10"),
        ("2005-12", "dry", "2005-10"),
        ("2006-01", "dry", "2005-10"),
    ],
)
def test_a_dry_season_crosses_new_year(text: str, name: str, start: str) -> None:
    assert WET_DRY.name(month(text)) == name
    assert WET_DRY.start(month(text)) == month(start)


def test_months_of_a_season_ascend_from_its_start() -> None:
    np.testing.assert_array_equal(YEAR.members(month("2004-12")), months("2004-12", "2005-01", "2005-02"))
    np.testing.assert_array_equal(YEAR.members(month("2005-06")), months("2005-06", "2005-07", "2005-08"))
    np.testing.assert_array_equal(WET_DRY.members(month("2005-10")), month_range("2005-10", "2006-04"))


def test_a_season_may_be_written_in_any_order_of_its_months() -> None:
    shuffled = Seasons({"wet": (9, 5, 7, 6, 8), "dry": (1, 2, 3, 4, 10, 11, 12)})
    for here in month_range("2003-01", "2006-12"):
        assert shuffled.start(here) == WET_DRY.start(here)


def test_a_season_with_a_gap_starts_after_its_longest() -> None:
    scheme = Seasons({"rains": (3, 4, 5, 10, 11), "rest": (1, 2, 6, 7, 8, 9, 12)})
    assert scheme.start(month("2005-04")) == month("2004-10")
    np.testing.assert_array_equal(
        scheme.members(month("2004-10")), months("2004-10", "2004-11", "2005-03", "2005-04", "2005-05")
    )


def test_one_season_may_hold_the_year_or_a_month() -> None:
    whole = Seasons({"year": range(1, 13)})
    assert whole.start(month("2005-07")) == month("2005-01")
    single = Seasons({"may": (5,), "rest": (1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12)})
    assert single.start(month("2005-05")) == month("2005-05")
    assert single.start(month("2005-04")) == month("2004-06")
    np.testing.assert_array_equal(single.members(month("2005-05")), months("2005-05"))


@given(scheme=schemes(), number=st.integers(-600, 900))
def test_every_month_is_a_member_of_the_season_in_which_it_lies(scheme: Seasons, number: int) -> None:
    here = np.datetime64(number, "M")
    start = scheme.start(here)
    members = scheme.members(start)
    assert here in members
    assert members[0] == start
    assert {calendar_month(member) for member in members} == set(scheme.months[scheme.name(here)])
    assert all(scheme.start(member) == start for member in members)
    np.testing.assert_array_equal(members, np.arange(start, start + np.timedelta64(len(members), "M")))


def test_names_of_months_are_strings() -> None:
    found = YEAR.names_of(month_range("2004-11", "2005-03"))
    assert found.tolist() == ["autumn", "winter", "winter", "winter", "spring"]
    assert found.dtype.kind == "U"


def test_any_date_within_a_month_counts_for_it() -> None:
    assert YEAR.name(np.datetime64("2005-02-28T23:59:59")) == "winter"
    assert YEAR.start(np.datetime64("2005-02-28", "ns")) == month("2004-12")
    assert as_month("2005-02-28") == month("2005-02")
    assert calendar_month(np.datetime64("1969-12-31")) == 12


def test_a_month_range_holds_both_ends() -> None:
    np.testing.assert_array_equal(month_range("2004-11", "2005-01"), months("2004-11", "2004-12", "2005-01"))
    np.testing.assert_array_equal(month_range("2004-11-17", "2004-11"), months("2004-11"))
    assert month_range("2005-01", "2004-11").size == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"wet": (1, 2, 3, 4, 5, 6), "dry": (6, 7, 8, 9, 10, 11, 12)}, r"twice: \[6\]"),
        ({"wet": (1, 2, 3, 4, 5), "dry": (7, 8, 9, 10, 11, 12)}, r"missing: \[6\]"),
        ({"wet": tuple(range(13))}, r"not a month: \[0\]"),
        ({"wet": tuple(range(2, 14))}, r"not a month: \[13\]; missing: \[1\]"),
        ({}, "missing"),
        ({"year": tuple(range(1, 13)), "never": ()}, "at least one month each; empty: never"),
        ({ALL: tuple(range(1, 13))}, "cannot be named 'all'"),
    ],
)
def test_what_is_no_partition_of_the_year_is_refused(wrong: Mapping[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Seasons(wrong)
