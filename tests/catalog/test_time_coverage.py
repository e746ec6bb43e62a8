from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soilscale.catalog import time_coverage
from soilscale.catalog.query import Item
from soilscale.errors import DataError


def item(**properties: str | None) -> Item:
    return {"id": "-".join(str(value) for value in properties.values()), "properties": properties, "assets": {}}


def between(first: str, last: str) -> Item:
    return item(datetime=None, start_datetime=first, end_datetime=last)


def at(*dates: str) -> list[Item]:
    return [item(datetime=f"{date}T00:00:00Z") for date in dates]


def resolved(items: list[Item], composite: float | None = None) -> list[tuple[str, str]]:
    """Intervals as texts, dates alone where both ends are midnight."""
    return [
        (str(start).removesuffix("T00:00:00"), str(end).removesuffix("T00:00:00"))
        for start, end in time_coverage.resolve(items, composite)
    ]


@pytest.mark.parametrize(
    ("last", "end"),
    [
        ("1990-01-31T23:59:59Z", "1990-02-01"),
        ("1990-01-31T23:59:59.999Z", "1990-02-01"),
        ("1990-01-31T23:59:59.999999999Z", "1990-02-01"),
        ("1990-01-31T23:59:00Z", "1990-02-01"),
        ("1990-01-31T12:29:59Z", "1990-01-31T12:30:00"),
        ("1990-01-31T12:29:58Z", "1990-01-31T12:29:58"),
        ("1990-01-31T12:29:57.2Z", "1990-01-31T12:29:58"),
        ("1990-01-31T12:29:58.2Z", "1990-01-31T12:30:00"),
        ("1990-02-01T00:00:00Z", "1990-02-01"),
        ("1990-02-01T01:00:00+01:00", "1990-02-01"),
        ("1990-01-31T23:59:59", "1990-02-01"),
    ],
)
def test_an_own_interval_ends_at_the_next_full_minute_or_day(last: str, end: str) -> None:
    assert resolved([between("1990-01-01T00:00:00Z", last)]) == [("1990-01-01", end)]


def test_ends_at_midnight_are_exclusive_where_the_next_start_follows_at_once() -> None:
    months = [between(f"2005-0{m}-01T00:00:00Z", f"2005-0{m + 1}-01T00:00:00Z") for m in range(1, 6)]
    assert resolved(months)[0] == ("2005-01-01", "2005-02-01")


def test_ends_at_midnight_are_dates_where_the_gap_is_a_day() -> None:
    months = [
        between("2005-01-01T00:00:00Z", "2005-01-31T00:00:00Z"),
        between("2005-02-01T00:00:00Z", "2005-02-28T00:00:00Z"),
        between("2005-03-01T00:00:00Z", "2005-03-31T00:00:00Z"),
    ]
    assert resolved(months) == [
        ("2005-01-01", "2005-02-01"),
        ("2005-02-01", "2005-03-01"),
        ("2005-03-01", "2005-04-01"),
    ]


def test_a_missing_month_does_not_change_what_is_usual() -> None:
    months = [between(f"2005-0{m}-01T00:00:00Z", f"2005-0{m}-28T00:00:00Z") for m in (2, 3)]
    more = [between("2005-01-01T00:00:00Z", "2005-01-31T00:00:00Z"), *months[:1]]
    later = [between("2005-07-01T00:00:00Z", "2005-07-31T00:00:00Z"), between("2005-08-01", "2005-08-31")]
    assert resolved(more + later)[0] == ("2005-01-01", "2005-02-01")


def test_one_midnight_end_that_is_no_date_speaks_for_all() -> None:
    days = [between("2005-01-01T00:00:00Z", "2005-01-08T00:00:00Z"), between("2005-01-09", "2005-01-16T12:00:00Z")]
    assert resolved(days) == [("2005-01-01", "2005-01-08"), ("2005-01-09", "2005-01-16T12:00:00")]


def test_a_single_day_written_as_a_date_twice_is_a_day() -> None:
    days = [between(f"2005-01-0{d}T00:00:00Z", f"2005-01-0{d}T00:00:00Z") for d in (1, 2, 3)]
    assert resolved(days) == [
        ("2005-01-01", "2005-01-02"),
        ("2005-01-02", "2005-01-03"),
        ("2005-01-03", "2005-01-04"),
    ]
    assert resolved(days[:1]) == [("2005-01-01", "2005-01-02")]


def test_a_lone_month_or_year_given_by_its_first_and_last_day_is_inclusive() -> None:
    assert resolved([between("2005-02-01", "2005-02-28")]) == [("2005-02-01", "2005-03-01")]
    assert resolved([between("2001-01-01", "2001-12-31")]) == [("2001-01-01", "2002-01-01")]
    assert resolved([between("2005-02-01", "2005-03-01")]) == [("2005-02-01", "2005-03-01")]


def test_overlapping_composites_are_judged_by_the_start_after_their_end() -> None:
    """Two satellites, 16 days each, eight days apart, ends as inclusive dates."""
    starts = [np.datetime64("2022-01-01") + np.timedelta64(8 * i, "D") for i in range(6)]
    items = [between(str(start), str(start + np.timedelta64(15, "D"))) for start in starts]
    assert resolved(items)[0] == ("2022-01-01", "2022-01-17")


def test_an_own_interval_wins_over_the_composite() -> None:
    assert resolved([between("2022-02-02", "2022-02-05T23:59:59Z")], 8) == [("2022-02-02", "2022-02-06")]


def test_the_last_modis_composite_of_a_year_is_short() -> None:
    """2004 is a leap year: day 361 is December 26, and six days are left; in 2005 it is December 27, and five."""
    starts = [f"{year}-01-01" for year in (2004, 2005)]
    dates = [str(np.datetime64(start) + np.timedelta64(8 * i, "D")) for start in starts for i in range(46)]
    found = resolved(at(*dates), 8)
    assert found[0] == ("2004-01-01", "2004-01-09")
    assert found[45] == ("2004-12-26", "2005-01-01")
    assert found[-1] == ("2005-12-27", "2006-01-01")


def test_a_composite_is_cut_at_the_next_start() -> None:
    assert resolved(at("2005-01-03", "2005-01-08"), 8) == [("2005-01-03", "2005-01-08"), ("2005-01-08", "2005-01-16")]


def test_composites_that_do_not_count_from_new_year_cross_it() -> None:
    assert resolved(at("2004-12-23", "2004-12-31"), 8)[1] == ("2004-12-31", "2005-01-08")


def test_tiles_of_one_date_share_its_interval() -> None:
    items = [item(datetime="2005-01-01T10:11:00Z"), item(datetime="2005-01-01T23:02:00Z"), *at("2005-01-09")]
    assert resolved(items, 8)[:2] == [("2005-01-01", "2005-01-09")] * 2
    assert resolved(items)[:2] == [("2005-01-01", "2005-01-09")] * 2


def test_composites_shorter_than_a_day_keep_their_hours() -> None:
    items = [item(datetime="2005-01-01T00:00:00Z"), item(datetime="2005-01-01T12:00:00Z")]
    assert resolved(items, 0.5) == [("2005-01-01", "2005-01-01T12:00:00"), ("2005-01-01T12:00:00", "2005-01-02")]


def test_one_date_a_month_is_the_calendar_month() -> None:
    firsts = at(*[f"2005-{m:02}-01" for m in range(1, 13)])
    assert resolved(firsts)[1] == ("2005-02-01", "2005-03-01")
    middles = at(*[f"2005-{m:02}-15" for m in (1, 2, 3, 5, 6)])
    assert resolved(middles)[1] == ("2005-02-01", "2005-03-01")
    assert resolved(middles)[-1] == ("2005-06-01", "2005-07-01")


def test_four_weeks_are_no_months() -> None:
    """Thirteen composites of 28 days put two dates into one month."""
    dates = [str(np.datetime64("2005-01-01") + np.timedelta64(28 * i, "D")) for i in range(13)]
    assert resolved(at(*dates))[0] == ("2005-01-01", "2005-01-29")


def test_one_date_a_year_is_the_calendar_year() -> None:
    assert resolved(at("2001-07-01", "2002-07-01", "2003-07-01")) == [
        ("2001-01-01", "2002-01-01"),
        ("2002-01-01", "2003-01-01"),
        ("2003-01-01", "2004-01-01"),
    ]


def test_other_spacings_last_as_long_as_the_median_and_no_longer_than_to_the_next() -> None:
    assert resolved(at("2005-01-01", "2005-01-11", "2005-01-21", "2005-01-29", "2005-03-01")) == [
        ("2005-01-01", "2005-01-11"),
        ("2005-01-11", "2005-01-21"),
        ("2005-01-21", "2005-01-29"),
        ("2005-01-29", "2005-02-08"),
        ("2005-03-01", "2005-03-11"),
    ]


def test_a_single_date_is_a_day() -> None:
    assert resolved(at("1990-01-01")) == [("1990-01-01", "1990-01-02")]


def test_an_interval_that_ends_before_it_starts_is_none() -> None:
    assert resolved([between("2005-01-09", "2005-01-01")], 8) == [("2005-01-09", "2005-01-17")]


def test_an_item_without_time_is_named() -> None:
    with pytest.raises(DataError, match=r"'None' has neither datetime nor start_datetime"):
        time_coverage.resolve([item(datetime=None)], None)


def test_a_date_that_is_none_is_shown() -> None:
    with pytest.raises(DataError, match=r"item '2005-1' has datetime '2005-1', which is no date; expected such as"):
        time_coverage.resolve([item(datetime="2005-1")], None)


@pytest.mark.parametrize("text", [None, 5, "", "yesterday", "2005-13-01", "2005-02-30T00:00:00Z"])
def test_what_is_no_instant_is_none(text: object) -> None:
    assert time_coverage.instant(text) is None


def test_instants_are_read_in_any_spelling() -> None:
    expected = datetime(2005, 1, 31, 22, 30, tzinfo=UTC)
    for text in ("2005-01-31T22:30:00Z", "2005-01-31t22:30:00z", "2005-01-31 22:30:00", "2005-02-01T00:30:00+02:00"):
        assert time_coverage.instant(text) == expected


def test_the_margin_is_what_the_neighbours_need() -> None:
    assert time_coverage.margin([between("2005-01-01", "2005-01-08T23:59:59Z")], None) == timedelta(0)
    assert time_coverage.margin(at("2005-01-01"), 8) == timedelta(days=8)
    assert time_coverage.margin(at("2005-01-01", "2005-02-01"), None) == timedelta(days=time_coverage.REACH)
    assert time_coverage.margin(at("2005-01-01", "2005-02-01", "2005-03-01"), None) == timedelta(0)
    assert time_coverage.margin(at("2005-01-01", "2005-01-11", "2005-01-21"), None) == timedelta(days=10)
    assert time_coverage.margin(at("2001-01-01", "2006-01-01", "2011-01-01"), None) == timedelta(
        days=time_coverage.REACH
    )
    assert time_coverage.margin([], None) == timedelta(0)


INSTANTS = st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1))  # noqa: DTZ001 - hypothesis wants naive ones
DATES = INSTANTS.map(lambda moment: moment.replace(hour=0, minute=0, second=0, microsecond=0))
MOMENTS = st.one_of(INSTANTS, DATES).map(lambda moment: f"{moment.isoformat()}Z")
ITEMS = st.lists(
    st.one_of(
        st.builds(lambda date: item(datetime=date), MOMENTS),
        st.builds(between, MOMENTS, MOMENTS),
        st.builds(lambda date: item(datetime=None, start_datetime=date, end_datetime=None), MOMENTS),
    ),
    min_size=1,
    max_size=12,
)
COMPOSITES = st.one_of(st.none(), st.sampled_from([0.5, 1, 8, 16, 30, 365]), st.floats(0.01, 400))


@given(items=ITEMS, composite=COMPOSITES)
def test_intervals_are_never_empty(items: list[Item], composite: float | None) -> None:
    for start, end in time_coverage.resolve(items, composite):
        assert end > start


@given(dates=st.lists(DATES, min_size=1, max_size=12, unique=True), composite=COMPOSITES)
def test_inferred_intervals_do_not_overlap(dates: list[datetime], composite: float | None) -> None:
    found = sorted(time_coverage.resolve([item(datetime=f"{date.isoformat()}Z") for date in dates], composite))
    assert all(one[1] <= other[0] for one, other in pairwise(found) if one != other)


@given(items=ITEMS, composite=st.one_of(st.none(), st.sampled_from([1, 8, 16, 365])))
def test_a_stamped_item_means_the_same_alone(items: list[Item], composite: float | None) -> None:
    found = time_coverage.resolve(items, composite)
    stamped = [time_coverage.stamp(one, span) for one, span in zip(items, found, strict=True)]
    assert time_coverage.resolve(stamped, composite) == found
    assert [time_coverage.resolve([one], None)[0] for one in stamped] == found


# --- clocks, frequent instants, platforms -------------------------------------------------------------------------


def moments(*texts: str) -> list[Item]:
    return [item(datetime=text) for text in texts]


def test_the_month_of_a_local_midnight_is_that_of_its_label() -> None:
    for offset in ("+08:00", "-05:00", "+05:45"):
        months = moments(*(f"2005-0{month}-01T00:00:00{offset}" for month in (1, 2, 3)))
        assert resolved(months)[0] == ("2005-01-01", "2005-02-01")
    days = moments(*(f"2005-01-0{day}T00:00:00+08:00" for day in (1, 2, 3)))
    assert resolved(days)[0] == ("2005-01-01", "2005-01-02")


def test_an_interval_is_read_by_the_clock_of_its_start() -> None:
    expected = [("2005-01-01", "2005-02-01")]
    assert resolved([between("2005-01-01T00:00:00+08:00", "2005-01-31T23:59:59+08:00")]) == expected
    assert resolved([between("2005-01-01T00:00:00+08:00", "2005-01-31T16:00:00Z")]) == expected
    assert resolved([between("2005-01-01T00:00:00Z", "2005-02-01T08:00:00+08:00")]) == expected


@pytest.mark.parametrize(
    "dates",
    [
        ("2004-12-31T16:00:00Z", "2005-01-31T16:00:00Z", "2005-02-28T16:00:00Z"),
        ("2004-12-31T16:00:00Z", "2005-01-31T16:00:00Z"),
        ("2004-12-31T23:00:00Z", "2005-01-31T23:00:00Z", "2005-02-28T23:00:00Z", "2005-03-31T22:00:00Z"),
        ("2004-12-31T18:15:00Z", "2005-01-31T18:15:00Z", "2005-02-28T18:15:00Z"),
    ],
    ids=["china", "two of them", "summer time", "nepal"],
)
def test_local_midnights_written_in_utc_are_of_the_month_that_begins(dates: tuple[str, ...]) -> None:
    assert resolved(moments(*dates))[:2] == [("2005-01-01", "2005-02-01"), ("2005-02-01", "2005-03-01")]
    own = [between(*pair) for pair in pairwise(dates)]
    if len(own) > 1:
        assert resolved(own)[0] == ("2005-01-01", "2005-02-01")


@pytest.mark.parametrize(
    "dates",
    [
        ("2005-01-31T23:59:59Z", "2005-02-28T23:59:59Z", "2005-03-31T23:59:59Z"),
        ("2005-01-31T00:00:00Z", "2005-02-28T00:00:00Z", "2005-03-31T00:00:00Z"),
        ("2005-01-31T12:00:00Z", "2005-02-28T12:00:00Z", "2005-03-31T12:00:00Z"),
        ("2005-01-01T05:00:00Z", "2005-02-01T05:00:00Z", "2005-03-01T05:00:00Z"),
        ("2005-01-15T16:00:00Z", "2005-02-15T16:00:00Z", "2005-03-15T16:00:00Z"),
    ],
    ids=["last second", "last day", "noon", "west of Greenwich", "middle"],
)
def test_other_labels_stay_in_their_month(dates: tuple[str, ...]) -> None:
    assert resolved(moments(*dates))[0] == ("2005-01-01", "2005-02-01")


def test_local_midnights_of_years_are_of_the_year_that_begins() -> None:
    years = moments(*(f"{year}-12-31T16:00:00Z" for year in (2003, 2004, 2005)))
    assert resolved(years)[1] == ("2005-01-01", "2006-01-01")


def test_the_margin_reaches_local_midnights_before_the_period() -> None:
    assert time_coverage.margin(
        moments(*(f"2005-0{month}-01T00:00:00+08:00" for month in (1, 2, 3))), None
    ) == timedelta(1)
    assert time_coverage.margin(moments(*(f"2005-0{m}-{d}T16:00:00Z" for m, d in ((1, 31), (2, 28), (3, 31)))), None)


def test_several_instants_a_day_of_one_place_keep_their_hours() -> None:
    hours = [item(datetime=f"2005-01-0{day}T{hour:02}:00:00Z") for day in (1, 2) for hour in range(0, 24, 3)]
    assert resolved(hours)[:2] == [
        ("2005-01-01", "2005-01-01T03:00:00"),
        ("2005-01-01T03:00:00", "2005-01-01T06:00:00"),
    ]
    assert resolved(hours)[-1] == ("2005-01-02T21:00:00", "2005-01-03")


def test_dates_of_two_platforms_do_not_cut_each_other_short() -> None:
    """Composites of 16 days, those of Aqua eight days after those of Terra."""
    starts = [np.datetime64("2006-01-01") + np.timedelta64(8 * number, "D") for number in range(8)]
    items = [item(datetime=f"{date}", platform="Aqua" if number % 2 else "Terra") for number, date in enumerate(starts)]
    assert resolved(items, 16)[:2] == [("2006-01-01", "2006-01-17"), ("2006-01-09", "2006-01-25")]
    assert resolved(items)[:2] == [("2006-01-01", "2006-01-17"), ("2006-01-09", "2006-01-25")]


def test_which_lengths_the_calendar_tells() -> None:
    assert time_coverage.by_calendar(at("2005-01-01", "2005-02-01", "2005-03-01"))
    assert time_coverage.by_calendar(at("2003-01-01", "2004-01-01"))
    assert not time_coverage.by_calendar(at("2005-01-01", "2005-01-02", "2005-01-03"))
    assert not time_coverage.by_calendar(at("2005-01-01"))


def test_what_states_its_interval_still_does_when_it_is_frozen() -> None:
    stated, inferred = between("2005-01-01", "2005-01-31"), at("2005-01-01")[0]
    frozen = [time_coverage.stamp(one, time_coverage.resolve([one], 8)[0])["properties"] for one in (stated, inferred)]
    assert [time_coverage.states(properties) for properties in frozen] == [True, False]
