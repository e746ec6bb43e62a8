"""Which scenes make a month, and the value that they make, by inputs whose month is worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from commands import invoke
from soilscale.catalog import scenes
from soilscale.cube import covered_days, read_completed, read_month, select
from worlds import box, reading, scene, write

GRID = box("EPSG:4326", 108.0, 35.0, 0.125, (2, 4))
JANUARY, FEBRUARY, DECEMBER = (np.datetime64(month) for month in ("2005-01", "2005-02", "2004-12"))
HERE = (108.0, 34.75, 108.5, 35.0)


class World:
    """Items of one source, each a raster of one value, or of one value for each column."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.items: list[dict[str, Any]] = []

    def add(self, name: str, value: float | list[float], first: str, last: str | None = None, **more: Any) -> None:
        """Add an item that covers the days from the first to the last, or only names an instant."""
        values = np.broadcast_to(np.array(value, "float32"), GRID.shape).copy()
        path = write(self.folder / f"{len(self.items)}.tif", values, GRID, nodata=-1)
        dates = {"datetime": first} if last is None else {"start_datetime": first, "end_datetime": f"{last}T23:59:59Z"}
        self.items.append(
            {
                "id": name,
                "bbox": list(HERE),
                "properties": {"datetime": None} | dates | more,
                "assets": {"data": {"href": str(path)}},
            }
        )

    def month(self, month: np.datetime64 = JANUARY, **keys: Any) -> list[float]:
        """Values of a month along the columns of the grid."""
        read = reading(**keys)
        chosen = select(scenes(self.items, read.source), month, read.source.least_coverage)
        values = read_month(read, chosen, GRID, month)["field"]
        assert np.array_equal(values[0], values[1], equal_nan=True)
        return [round(float(value), 6) for value in values[0]]

    def completed(self, month: np.datetime64 = JANUARY, **keys: Any) -> tuple[list[float], list[float]]:
        """Values of a month whose dates are completed, and the share of its days that is seen, along the columns."""
        read = reading(**keys)
        chosen = select(scenes(self.items, read.source), month, read.source.least_coverage)
        found = read_completed(read, chosen, GRID, month)
        values, share = ([round(float(value), 3) for value in layer[0]] for layer in found)
        return values, share


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


NAN = [pytest.approx(np.nan, nan_ok=True)] * 4


# --- versions, platforms, lengths ---------------------------------------------------------------------------------


def test_the_newest_version_makes_the_month(world: World) -> None:
    world.add("X.v07", 1, "2005-01-01", "2005-01-31", version="07")
    world.add("X.v08", [2, 2, 2, -1], "2005-01-01", "2005-01-31", version="08")
    assert world.month() == [2, 2, 2, pytest.approx(np.nan, nan_ok=True)], "what the newest leaves out is missing"


def test_two_platforms_make_their_mean_or_the_one_asked_for(world: World) -> None:
    world.add("MOD.1", [1, 1, -1, -1], "2005-01-01", "2005-01-31", platform="Terra")
    world.add("MYD.1", [3, -1, 3, -1], "2005-01-01", "2005-01-31", platform="aqua")
    nan = pytest.approx(np.nan, nan_ok=True)
    assert world.month() == [2, 1, 3, nan]
    assert world.month(platform=("terra",)) == [1, 1, nan, nan]
    assert world.month(platform=("Aqua",)) == [3, nan, 3, nan]
    assert world.month(aggregate="sum") == [2, 1, 3, nan], "a month's total is no larger for being seen twice"


def test_platforms_of_different_intervals_make_their_mean_by_days(world: World) -> None:
    world.add("MOD.1", 1, "2005-01-01", "2005-01-16")
    world.add("MOD.2", 1, "2005-01-17", "2005-02-01")
    world.add("MYD.1", 3, "2005-01-09", "2005-01-24")
    assert world.month() == pytest.approx([(31 * 1 + 16 * 3) / 47] * 4)


def test_what_cannot_be_told_apart_makes_its_mean(world: World) -> None:
    world.add("b", 1, "2005-01-01", "2005-01-31")
    world.add("a", 3, "2005-01-01", "2005-01-31")
    assert world.month() == [2, 2, 2, 2]


def test_an_annual_item_among_monthly_ones_does_not_count(world: World) -> None:
    world.add("jan", 1, "2005-01-01", "2005-01-31")
    world.add("annual", 9, "2005-01-01", "2005-12-31")
    assert world.month() == [1, 1, 1, 1]
    assert world.month(FEBRUARY) == NAN, "the year stands in for no month"


@pytest.mark.parametrize("length", [1, 8])
def test_a_monthly_item_counts_before_the_days_and_composites_beside_it(world: World, length: int) -> None:
    world.add("jan", 1, "2005-01-01", "2005-01-31")
    first = np.datetime64("2004-12-28")
    for number in range(5 * 8 // length):
        day = first + np.timedelta64(number * length, "D")
        world.add(f"c{number}", 9, str(day), str(day + np.timedelta64(length - 1, "D")))
    assert world.month() == [1, 1, 1, 1]
    assert world.month(DECEMBER) == [9, 9, 9, 9], "where there is no monthly item they count"


def test_composites_count_before_the_days_beside_them(world: World) -> None:
    world.add("eight", 1, "2005-01-01", "2005-01-08")
    for day in range(1, 17):
        world.add(f"day {day}", 5, f"2005-01-{day:02}", f"2005-01-{day:02}")
    assert world.month() == [3, 3, 3, 3], "eight days of each"


def test_the_short_last_composite_of_a_year_counts_beside_the_first_of_the_next(world: World) -> None:
    world.add("last", 1, "2005-12-27", "2005-12-31")
    world.add("before", 3, "2005-12-19", "2005-12-26")
    assert world.month(np.datetime64("2005-12")) == pytest.approx([(5 * 1 + 8 * 3) / 13] * 4)


def test_three_hourly_rates_make_their_mean(world: World) -> None:
    for hour in range(0, 24, 3):
        world.add(f"h{hour}", hour, f"2005-01-01T{hour:02}:00:00Z")
    assert world.month() == [10.5] * 4
    assert world.month(aggregate="rate", min_coverage=0) == [10.5 * 31] * 4


def test_six_hourly_totals_are_summed_by_their_composite(world: World) -> None:
    for number in range(31 * 4):
        moment = np.datetime64("2005-01-01T00:00:00") + np.timedelta64(6 * number, "h")
        world.add(f"q{number}", 0.25, f"{moment}Z")
    assert world.month(aggregate="sum", composite=0.25) == pytest.approx([31.0] * 4)


def test_hourly_totals_with_intervals_are_summed(world: World) -> None:
    for number in range(48):
        moment = np.datetime64("2005-01-01T00:00:00") + np.timedelta64(number, "h")
        world.add(f"h{number}", 0.5, f"{moment}Z")
        after = f"{moment + np.timedelta64(1, 'h')}Z"
        world.items[-1]["properties"] = {"datetime": None, "start_datetime": f"{moment}Z", "end_datetime": after}
    assert world.month(aggregate="sum", min_coverage=0) == pytest.approx([12.0 * 31] * 4)
    assert world.month(aggregate="sum") == NAN


def test_a_monthly_total_that_ends_with_the_next_month_is_taken_whole(world: World) -> None:
    world.add("jan", 40, "2005-01-01", "2005-01-31")
    world.items[-1]["properties"]["end_datetime"] = "2005-02-01T00:00:00Z"
    assert world.month(aggregate="sum") == [40] * 4
    assert world.month(FEBRUARY, aggregate="sum") == NAN


def test_monthly_items_at_a_local_midnight_make_their_own_month(world: World) -> None:
    for month in (1, 2, 3):
        world.add(f"p{month}", month, f"2005-0{month}-01T00:00:00+08:00")
    assert world.month() == [1] * 4
    assert world.month(FEBRUARY) == [2] * 4


# --- coverage -----------------------------------------------------------------------------------------------------


def test_a_total_of_one_day_makes_no_month(world: World) -> None:
    world.add("jan31", 40, "2005-01-31", "2005-01-31")
    assert world.month(aggregate="sum") == NAN
    assert world.month(aggregate="rate") == NAN
    assert world.month(aggregate="sum", min_coverage=1 / 31) == [1240] * 4
    assert world.month() == [40] * 4, "a mean asks for no share unless the source does"
    assert world.month(min_coverage=0.5) == NAN


def test_half_the_days_are_enough_for_a_total(world: World) -> None:
    world.add("first", 14, "2005-02-01", "2005-02-14")
    assert world.month(FEBRUARY, aggregate="sum") == [28] * 4
    assert world.month(FEBRUARY, aggregate="sum", min_coverage=0.6) == NAN


def test_a_pixel_needs_its_share_of_valid_days_too(world: World) -> None:
    """Composites of 8 days with 8 mm each; the columns see 1, 2, 3 and all of them."""
    for number, first in enumerate((1, 9, 17, 25)):
        values = [8.0 if number < column else -1 for column in (1, 2, 3, 4)]
        world.add(f"c{number}", values, f"2005-01-{first:02}", str(np.datetime64(f"2005-01-{first:02}") + 7))
    nan = pytest.approx(np.nan, nan_ok=True)
    assert world.month(aggregate="sum") == [nan, 31, 31, 31]
    assert world.month(aggregate="sum", min_coverage=0.7) == [nan, nan, 31, 31]
    assert world.month(min_coverage=0.7) == [nan, nan, 8, 8]


def test_days_that_two_platforms_see_count_once(world: World) -> None:
    world.add("MOD.1", 10, "2005-01-01", "2005-01-10")
    world.add("MYD.1", 10, "2005-01-01", "2005-01-10")
    assert world.month(aggregate="sum") == NAN, "10 of 31 days, not 20"
    world.add("MYD.2", [6, 6, -1, -1], "2005-01-11", "2005-01-16")
    nan = pytest.approx(np.nan, nan_ok=True)
    assert world.month(aggregate="sum") == [31, 31, nan, nan]


def test_the_year_that_is_nearest_in_time_needs_no_days(world: World) -> None:
    world.add("2003", 5, "2003-01-01", "2003-12-31")
    world.add("2004", 7, "2004-01-01", "2004-12-31")
    assert world.month(min_coverage=0.5) == [7] * 4


@given(
    parts=st.lists(st.tuples(st.integers(-40, 60), st.integers(1, 40)), max_size=8),
)
def test_covered_days_are_those_of_the_union(parts: list[tuple[int, int]]) -> None:
    first = np.datetime64("2005-01-01", "s")
    chosen = [
        scene("x.tif", start=first + np.timedelta64(day, "D"), end=first + np.timedelta64(day + days, "D"), bbox=HERE)
        for day, days in parts
    ]
    union = {day for begin, days in parts for day in range(begin, begin + days)}
    assert covered_days(chosen, JANUARY) == len(union & set(range(31)))


# --- the commands -------------------------------------------------------------------------------------------------


def configure(world: World, target: World, **keys: Any) -> Path:
    """Write a configuration of two months and two coarse cells, with the source ``p``."""
    items = [one | {"type": "Feature", "stac_version": "1.0.0", "links": [], "geometry": None} for one in world.items]
    items = [one | {"collection": "p"} for one in items]
    items += [items[0] | one | {"collection": "sm"} for one in target.items]
    (world.folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    where = {"catalog": "own", "asset": "data"}
    content = {
        "name": "t",
        "output": "run",
        "area": {"bbox": [108.01, 34.76, 108.49, 34.99]},
        "grid": {"crs": "EPSG:4326", "coarse": 0.25, "ratio": 2},
        "period": ["2005-01", "2005-02"],
        "catalogs": {"own": {"url": "items.json"}},
        "sources": {
            "soil_moisture": {"role": "target", "collection": "sm", **where},
            "p": {"collection": "p", **where, **keys},
        },
    }
    path = world.folder / "c.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def target(tmp_path: Path) -> World:
    folder = tmp_path / "target"
    folder.mkdir()
    world = World(folder)
    world.add("sm1", 0.2, "2005-01-01", "2005-01-31")
    world.add("sm2", 0.2, "2005-02-01", "2005-02-28")
    return world


def test_months_of_too_few_days_are_counted_and_told(world: World, target: World) -> None:
    world.add("jan31", 40, "2005-01-31", "2005-01-31")
    world.add("feb", 28, "2005-02-01", "2005-02-28")
    config = configure(world, target, aggregate="sum")
    line = "source p: 1 of 2 months are missing, because items cover less than 0.5 of their days (min_coverage): "
    searched = invoke("search", config)
    assert (searched.status, searched.err.count(line + "2005-01 (1 days)")) == (0, 1), searched.err
    status = invoke("status", config)
    assert "source p: items cover less than 0.5 of the days of 2005-01 (1 days) (min_coverage)" in status.out
    assert "1: 2005-01" in invoke("check", config).out
    assert invoke("search", config, "-o", "sources.p.min_coverage=0.01").err.count("min_coverage") == 0


def test_what_the_search_decided_is_told_once(world: World, target: World) -> None:
    for month, days in (("01", 31), ("02", 28)):
        world.add(f"MOD.{month}", 1, f"2005-{month}-01", f"2005-{month}-{days}", version="6")
        world.add(f"MOD.{month}.new", 1, f"2005-{month}-01", f"2005-{month}-{days}", version="6.1")
        world.add(f"MYD.{month}", 3, f"2005-{month}-01", f"2005-{month}-{days}")
    config = configure(world, target)
    told = invoke("search", config).err
    assert told.count("source p: items of 2 platforms, aqua (2 items), terra (2 items)") == 1
    assert told.count("source p: 2 items left out, older than another of the same place and time: in 2005-01") == 1
    refused = invoke("search", config, "-o", "sources.p.platform=suomi-npp")
    assert refused.status == 65
    assert "source p: got 6 items, none of the platform suomi-npp" in refused.err


def test_a_static_source_of_two_items_that_nothing_tells_apart_is_refused(world: World, target: World) -> None:
    world.add("dtm", 1, "2000-01-01", "2000-12-31")
    world.add("dsm", 9, "2000-01-01", "2000-12-31")
    done = invoke("search", configure(world, target))
    assert done.status == 65
    assert "source p: items 'dsm' and 'dtm' show the same place" in done.err


# --- dates that do not show a pixel -------------------------------------------------------------------------------


def test_a_date_that_does_not_show_a_pixel_does_not_shift_its_month_where_dates_are_completed(world: World) -> None:
    world.add("a", [10, 11, 12, 13], "2005-01-01", "2005-01-10")
    world.add("b", [20, 21, 22, -1], "2005-01-11", "2005-01-20")
    world.add("c", [30, -1, 32, -1], "2005-01-21", "2005-01-31")
    whole = (10 * 10 + 20 * 10 + 30 * 11) / 31
    values, share = world.completed()
    assert values == pytest.approx([whole, whole + 1, whole + 2, whole + 3], abs=0.5)
    assert share == pytest.approx([1, 20 / 31, 1, 10 / 31], abs=1e-3)
    plain = world.month()
    assert plain[3] == 13, "the one date that shows it"
    assert values[0] == pytest.approx(plain[0], abs=1e-3), "what all dates show is their mean"


def test_totals_are_completed_as_daily_rates(world: World) -> None:
    world.add("a", [16, 16, 16, 16], "2005-01-01", "2005-01-16")
    world.add("b", [30, 30, 30, -1], "2005-01-17", "2005-01-31")
    values, _ = world.completed(aggregate="sum")
    assert values == pytest.approx([46, 46, 46, 46], abs=0.5)
    assert world.month(aggregate="sum")[3] == 31


def test_a_month_of_one_date_is_what_the_date_shows(world: World) -> None:
    world.add("a", [1, 2, -1, 4], "2005-01-01", "2005-01-31")
    values, share = world.completed()
    assert values == [1, 2, pytest.approx(np.nan, nan_ok=True), 4]
    assert share == [1, 1, 0, 1]
