"""What items of a source are to each other: tiles, versions, platforms, duplicates, and what cannot be told."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soilscale.catalog import account, refuse_unclear, relate, scenes
from soilscale.catalog.items import deduplicate, freeze
from soilscale.catalog.platforms import canonical, platform
from soilscale.errors import DataError
from soilscale.sources import Source

JANUARY = {"datetime": None, "start_datetime": "2005-01-01T00:00:00Z", "end_datetime": "2005-01-31T23:59:59Z"}
YEAR = JANUARY | {"end_datetime": "2005-12-31T23:59:59Z"}
EIGHT = JANUARY | {"end_datetime": "2005-01-08T23:59:59Z"}
HOME = [108.0, 34.5, 108.5, 35.0]
ELSEWHERE = [108.5, 34.5, 109.0, 35.0]


def source(**keys: Any) -> Source:
    return Source(**({"name": "p", "catalog": "own", "collection": "p", "asset": "data"} | keys))


def item(name: str, bbox: list[float] | None = HOME, **properties: Any) -> dict[str, Any]:
    return {
        "id": name,
        "bbox": bbox,
        "properties": JANUARY | properties,
        "links": [],
        "assets": {"data": {"href": f"https://example.org/{name}.tif"}},
    }


def counting(*items: dict[str, Any], **keys: Any) -> list[str]:
    """Ids of the items that count, whatever the order in which they come."""
    answers = {
        tuple(sorted(scene.item for scene in scenes(order, source(**keys))))
        for order in (items, tuple(reversed(items)))
    }
    (answer,) = answers
    return list(answer)


def standings(*items: dict[str, Any], **keys: Any) -> dict[str, str]:
    return {verdict.item: verdict.standing for verdict in relate(items, source(**keys)).verdicts}


# --- versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"version": "07"}, {"version": "08"}),
        ({"version": "9"}, {"version": "10"}),
        ({"version": "6"}, {"version": "6.1"}),
        ({"version": "V06B"}, {"version": "V07A"}),
        ({"version": 7}, {"version": 8}),
        ({"processing:version": "2.04"}, {"processing:version": "5.00"}),
        ({"updated": "2019-01-01T00:00:00Z"}, {"updated": "2023-01-01T00:00:00Z"}),
        ({"updated": "2019-01-01T00:00:00Z"}, {"updated": "2019-01-03T00:00:00+08:00"}),
        ({"created": "2019-01-01T00:00:00Z"}, {"created": "2023-01-01T00:00:00Z"}),
        ({"published": "2019-01-01T00:00:00Z"}, {"published": "2023-01-01T00:00:00Z"}),
        ({"processing:datetime": "2019-01-01T00:00:00Z"}, {"processing:datetime": "2023-01-01T00:00:00Z"}),
        ({"version": "9", "deprecated": True}, {"version": "8"}),
        ({"version": "7", "updated": "2024-01-01T00:00:00Z"}, {"version": "8", "updated": "2020-01-01T00:00:00Z"}),
        (
            {"forecast:reference_datetime": "2005-01-01T00:00:00Z"},
            {"forecast:reference_datetime": "2005-01-01T06:00:00Z"},
        ),
        ({"product:timeliness_category": "NRT"}, {"product:timeliness_category": "NTC"}),
    ],
)
@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_the_newest_version_counts_whatever_its_id(
    names: tuple[str, str], older: dict[str, Any], newer: dict[str, Any]
) -> None:
    assert counting(item(names[0], **older), item(names[1], **newer)) == [names[1]]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("X.200501.v07", "X.200501.v08"),
        ("X_v9_200501", "X_v10_200501"),
        ("MOD11A2.A2005001.h26v05.006.2015060111111", "MOD11A2.A2005001.h26v05.061.2020219133113"),
        ("MOD11A2.A2005001.h26v05.061.2020219133113", "MOD11A2.A2005001.h26v05.061.2021001000000"),
        ("MOD13A3.A2005001.h26v05.006", "MOD13A3.A2005001.h26v05.061"),
        ("VNP13A3_A2012032_h26v05_001", "VNP13A3_A2012032_h26v05_002"),
        ("chirps-prelim-2005-01", "chirps-2005-01"),
    ],
)
def test_ids_tell_versions_apart_where_nothing_else_does(older: str, newer: str) -> None:
    assert counting(item(newer), item(older)) == [newer]


def test_times_of_one_run_of_a_writer_say_less_than_ids() -> None:
    """A catalog written in one go dates its items by their turn."""
    first, second = "2024-01-01T00:00:02Z", "2024-01-01T00:00:01Z"
    assert counting(item("X.v07", created=first), item("X.v08", created=second)) == ["X.v08"]
    assert counting(item("x", created=first), item("y", created=second)) == ["x"]


def test_of_three_versions_the_newest_counts() -> None:
    assert counting(*(item(f"X.v0{number}", version=f"0{number}") for number in (7, 8, 6))) == ["X.v08"]


def test_only_the_tile_that_has_a_newer_version_takes_it() -> None:
    tiles = [item("home.v07", version="07"), item("elsewhere.v07", ELSEWHERE, version="07")]
    assert counting(*tiles, item("home.v08", version="08")) == ["elsewhere.v07", "home.v08"]


def test_versions_of_nearly_one_interval_are_of_one_time() -> None:
    ends = {"end_datetime": "2005-01-31T00:00:00Z"}
    assert counting(item("a", version="7", **ends), item("b", version="8")) == ["b"]


def test_a_link_to_a_later_version_is_frozen_and_counts() -> None:
    older = item("a") | {"links": [{"rel": "successor-version", "href": "./b.json"}], "type": "Feature"}
    frozen = freeze(older, "https://example.org/items/a.json", ["data"])
    assert [link["href"] for link in frozen["links"]] == [
        "https://example.org/items/a.json",
        "https://example.org/items/b.json",
    ]
    assert counting(frozen, item("b")) == ["b"]


def test_the_choice_changes_what_a_month_is_made_from() -> None:
    digests = [
        [scene.digest for scene in scenes(items, source())]
        for items in ([item("a", version="1")], [item("a", version="1"), item("b", version="2")])
    ]
    assert digests[0] != digests[1]


# --- tiles and duplicates -----------------------------------------------------------------------------------------


def test_neighbours_that_overlap_by_some_pixels_are_tiles() -> None:
    near = [108.45, 34.5, 108.95, 35.0]
    found = scenes(
        [item("b", updated="2019-01-01T00:00:00Z"), item("a", near, updated="2023-01-01T00:00:00Z")], source()
    )
    assert [scene.item for scene in found] == ["b", "a"], "from west to east"
    assert {scene.series for scene in found} == {""}


def test_skewed_boxes_of_the_sinusoidal_grid_are_tiles() -> None:
    """Rows of 60 to 70 degrees north lean: the boxes of h24v02 and h25v02 share more than half of their sides."""
    one, other = [120.0, 60.0, 204.7, 70.0], [140.0, 60.0, 234.0, 70.0]
    assert counting(item("b", one, version="6"), item("a", other, version="61")) == ["a", "b"]


def test_boxes_that_agree_in_degrees_are_tiles_where_the_projection_says_so() -> None:
    def tile(name: str, left: float) -> dict[str, Any]:
        box = [left, 0.0, left + 100, 100.0]
        return item(name, updated=f"20{name}-01-01T00:00:00Z", **{"proj:code": "EPSG:6933", "proj:bbox": box})

    assert counting(tile("19", 0.0), tile("23", 100.0)) == ["19", "23"]
    assert counting(tile("19", 0.0), tile("23", 1.0)) == ["23"]


def test_a_place_counted_round_the_globe_is_one() -> None:
    assert counting(
        item("a", [240.0, 20.0, 260.0, 40.0], version="1"), item("b", [-120.0, 20.0, -100.0, 40.0], version="2")
    ) == ["b"]
    assert counting(
        item("a", [170.0, 0.0, -170.0, 9.0], version="1"), item("b", [170.0, 0.0, 190.0, 9.0], version="2")
    ) == ["b"]


def test_items_without_a_place_are_not_compared() -> None:
    assert counting(item("a", None, version="1"), item("b", None, version="2")) == ["a", "b"]


def test_one_file_under_two_ids_counts_once() -> None:
    asset = {"data": {"href": "https://example.org/same.tif"}}
    assert len(counting(item("a") | {"assets": asset}, item("b") | {"assets": asset})) == 1
    checked = {"file:checksum": "1220ab"}
    twins = [item(name) | {"assets": {"data": {"href": f"{name}.tif", **checked}}} for name in "ab"]
    assert len(counting(*twins)) == 1
    assert len(counting(*twins, item("c", ELSEWHERE) | {"assets": twins[0]["assets"]})) == 2, "in two places"
    assert sorted(standings(*twins).values()) == ["counts", "duplicate"]


def test_an_item_without_the_asset_gives_way_to_one_that_has_it() -> None:
    assert counting(item("an") | {"assets": {"other": {"href": "x.tif"}}}, item("fc")) == ["fc"]
    assert counting(item("an") | {"assets": {"other": {"href": "x.tif"}}}) == ["an"], "alone it is left to be told of"


def test_items_of_one_id_are_told_apart_by_place_and_time() -> None:
    later = {"start_datetime": "2005-02-01T00:00:00Z", "end_datetime": "2005-02-28T23:59:59Z"}
    items = [item("x"), item("x", ELSEWHERE), item("x", **later), item("x", updated="2020-01-01T00:00:00Z")]
    found = deduplicate(items)
    assert found == [items[3], items[1], items[2]]
    assert relate(found, source()).same_ids == 3


# --- platforms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Terra", "terra"),
        ("terra", "terra"),
        ("EOS-Terra", "terra"),
        ("EOS AM-1", "terra"),
        ("AQUA", "aqua"),
        ("eos-aqua", "aqua"),
        ("Suomi NPP", "suomi-npp"),
        ("S-NPP", "suomi-npp"),
        ("Sentinel-2A", "sentinel-2a"),
        ("sentinel 2a", "sentinel-2a"),
        ("LANDSAT_8", "landsat-8"),
        ("GCOM-W1", "gcomw"),
    ],
)
def test_a_platform_has_one_name(name: str, expected: str) -> None:
    assert canonical(name) == expected
    assert canonical(expected) == expected
    assert platform(item("x", platform=name)) == expected


@pytest.mark.parametrize(
    ("name", "properties", "expected"),
    [
        ("MOD11A2.A2005001.h26v05.061.2020219133113", {}, "terra"),
        ("MYD.1", {}, "aqua"),
        ("VNP21A2.A2015001", {}, "suomi-npp"),
        ("S2B_MSIL2A_20200101", {}, "sentinel-2b"),
        ("LC08_L2SP_1", {}, "landsat-8"),
        ("model-2005", {}, None),
        ("MODEL", {}, None),
        ("modern.1", {}, None),
        ("x", {"platform": ["terra", "Aqua"]}, "aqua+terra"),
        ("x", {"platform": None, "constellation": "Metop"}, "metop"),
        ("MOD1.1", {"platform": "Aqua"}, "aqua"),
    ],
)
def test_a_platform_is_what_the_item_states_or_its_id_begins_with(
    name: str, properties: dict[str, Any], expected: str | None
) -> None:
    assert platform(item(name, **properties)) == expected


def test_platforms_of_one_collection_all_count_each_in_its_series() -> None:
    found = scenes([item("a", platform="Terra"), item("b", platform="aqua"), item("c", platform="Suomi NPP")], source())
    assert [(scene.item, scene.series) for scene in found] == [("b", "aqua"), ("c", "suomi-npp"), ("a", "terra")]


@pytest.mark.parametrize("asked", ["terra", "Terra", "EOS-Terra"])
def test_a_platform_that_is_asked_for_counts_alone(asked: str) -> None:
    items = [item("MOD.1"), item("MYD.1"), item("x", ELSEWHERE)]
    assert counting(*items, platform=(asked,)) == ["MOD.1", "x"], "what names no platform counts"
    assert counting(*items, platform=("terra", "aqua")) == ["MOD.1", "MYD.1", "x"]


def test_versions_are_compared_within_a_platform() -> None:
    items = [item("MOD.v07", version="07"), item("MOD.v08", version="08"), item("MYD.v07", version="07")]
    assert counting(*items) == ["MOD.v08", "MYD.v07"]


def test_an_item_that_names_no_platform_is_of_the_only_one_that_is_named() -> None:
    assert counting(item("a", version="1"), item("b", version="2", platform="terra")) == ["b"]


# --- what cannot be told, and other lengths -----------------------------------------------------------------------


def test_what_nothing_tells_apart_counts_as_a_mean_and_is_named() -> None:
    items = [item("left"), item("right")]
    found = relate(items, source())
    assert [verdict.standing for verdict in found.verdicts] == ["unclear", "unclear"]
    assert len({scene.series for scene in scenes(items, source())}) == 2
    (line,) = account(source(), found)
    for part in ("source p", "2005-01", "'left'", "'right'", "their mean is used", "sources.p.query"):
        assert part in line
    with pytest.raises(DataError, match=r"source p: items 'left' and 'right' show the same place"):
        refuse_unclear("p", found)


def test_several_instants_of_a_day_all_count_without_a_word() -> None:
    def at(hour: int) -> dict[str, Any]:
        return item(f"h{hour}") | {"properties": {"datetime": f"2005-01-01T{hour:02}:00:00Z"}}

    days = [item("next") | {"properties": {"datetime": f"2005-01-{day:02}T00:00:00Z"}} for day in range(2, 9)]
    items = [at(0), at(7), *days]
    assert counting(*items)[:2] == ["h0", "h7"]
    assert account(source(), relate(items, source())) == []


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("sat:orbit_state", ("ascending", "descending")),
        ("sat:relative_orbit", (12, 62)),
        ("instruments", (["amsr2"], ["smap"])),
    ],
)
def test_two_observations_of_one_place_and_time_both_count(key: str, values: tuple[Any, Any]) -> None:
    dates = ("2019-01-01T00:00:00Z", "2023-01-01T00:00:00Z")
    items = [item(name, updated=date, **{key: value}) for name, date, value in zip("ab", dates, values, strict=True)]
    assert counting(*items) == ["a", "b"]
    assert set(standings(*items).values()) == {"counts"}
    assert counting(*items, item("c", updated="2024-01-01T00:00:00Z", **{key: values[0]})) == ["b", "c"]


def test_products_of_two_levels_are_no_versions_of_each_other() -> None:
    items = [
        item(f"L{level}", updated=f"202{level}-01-01T00:00:00Z", **{"processing:level": f"L{level}"})
        for level in (3, 4)
    ]
    assert standings(*items) == {"L3": "unclear", "L4": "unclear"}


def test_an_item_of_a_year_gives_way_to_those_of_its_months() -> None:
    items = [item("month"), item("annual", **YEAR), item("annual-elsewhere", ELSEWHERE, **YEAR)]
    assert counting(*items) == ["annual-elsewhere", "month"]
    (line,) = account(source(), relate(items, source()))
    assert "'annual' of 2005-01-01 for 'month' (365 days beside 31)" in line
    assert counting(*items, static=True) == ["annual", "annual-elsewhere", "month"]


def test_composites_of_two_satellites_that_overlap_both_count() -> None:
    def composite(name: str, first: int) -> dict[str, Any]:
        days = {"start_datetime": f"2005-01-{first:02}", "end_datetime": f"2005-01-{first + 15:02}T23:59:59Z"}
        return item(name, **days)

    items = [composite("MOD.1", 1), composite("MYD.1", 9)]
    assert counting(*items) == ["MOD.1", "MYD.1"]
    assert len(account(source(), relate(items, source()))) == 1, "that there are two platforms"


def test_shorter_items_beside_a_month_are_told_of() -> None:
    items = [item("month"), item("eight", **EIGHT)]
    assert counting(*items) == ["eight", "month"], "each month decides"
    (line,) = account(source(), relate(items, source()))
    assert "such as those of 'month' and 'eight'" in line


def test_what_is_left_out_is_told_once_with_an_example() -> None:
    items = [item("X.v07", version="07"), item("X.v08", version="08"), item("MYD.1", ELSEWHERE)]
    lines = account(source(platform=("terra",)), relate(items, source(platform=("terra",))))
    assert lines == [
        "source p: 1 item of aqua left out (platform: terra)",
        (
            "source p: 1 item left out, older than another of the same place and time: in 2005-01, such as 'X.v07' of "
            "2005-01-01 for 'X.v08' (version)"
        ),
    ]


PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "version": st.sampled_from(["1", "2", "10"]),
        "updated": st.sampled_from(["2019-01-01T00:00:00Z", "2023-01-01T00:00:00Z"]),
        "platform": st.sampled_from(["Terra", "aqua"]),
        "deprecated": st.booleans(),
    },
)


@given(
    kinds=st.lists(st.tuples(st.sampled_from([HOME, ELSEWHERE]), PROPERTIES), min_size=1, max_size=8),
    seed=st.randoms(use_true_random=False),
)
def test_neither_order_nor_ids_decide(kinds: list[tuple[list[float], dict[str, Any]]], seed: random.Random) -> None:
    items = [item(f"item {number}", bbox, **more) for number, (bbox, more) in enumerate(kinds)]
    renamed = [one | {"id": f"{len(items) - number} item"} for number, one in enumerate(items)]
    shuffled = seed.sample(items, len(items))
    expected = {verdict.item: (verdict.standing, verdict.series) for verdict in relate(items, source()).verdicts}
    assert {one.item: (one.standing, one.series) for one in relate(shuffled, source()).verdicts} == expected
    assert [(one.standing, one.series) for one in relate(renamed, source()).verdicts] == list(expected.values())
    places = {str(bbox) for bbox, _ in kinds}
    assert {str(list(scene.bbox)) for scene in scenes(items, source())} == places, "no place is lost"
