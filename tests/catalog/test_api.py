"""Search in a real STAC API: stac-fastapi-pgstac on PostgreSQL and PostGIS."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from servers.stac_api import UnavailableError, stac_api
from servers.static_catalog import static_catalog
from soilscale import retry
from soilscale.catalog import Query, is_static, paging, scenes, search
from soilscale.errors import ConfigurationError, ServiceError
from soilscale.sources import Catalog, QualityRule, Source

pytestmark = [pytest.mark.server]

TILES = {"west": (5.0, 47.0, 6.0, 48.0), "east": (6.5, 47.0, 7.5, 48.0), "fiji": (176.0, -20.0, 180.0, -15.0)}
HERE = (5.2, 47.2, 7.2, 47.8)
STARTS = [np.datetime64("2005-01-01") + np.timedelta64(8 * i, "D") for i in range(46)]
YEAR = ("2005-01-01", "2006-01-01")


def polygon(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def item(name: str, collection: str, tile: str, *, platform: str = "terra", **times: str | None) -> dict[str, Any]:
    href = f"https://example.org/{name}.tif"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "bbox": list(TILES[tile]),
        "geometry": polygon(*TILES[tile]),
        "properties": {"datetime": None, "platform": platform, "proj:epsg": 4326} | times,
        "links": [],
        "assets": {
            "day": {"href": href, "raster:bands": [{"scale": 0.02, "nodata": 0, "unit": "K"}]},
            "QC": {"href": href.replace(".tif", "_qc.tif")},
            "night": {"href": href.replace(".tif", "_n.tif")},
        },
    }


def lst() -> Iterator[dict[str, Any]]:
    """A year of composites of eight days of two satellites, on three tiles."""
    for start in STARTS:
        for platform in ("terra", "aqua"):
            for tile in TILES:
                yield item(
                    f"{platform}-{start}-{tile}",
                    "lst",
                    tile,
                    platform=platform,
                    start_datetime=f"{start}T00:00:00Z",
                    end_datetime=f"{min(start + np.timedelta64(7, 'D'), np.datetime64('2005-12-31'))}T23:59:59Z",
                )


def archive() -> Iterator[dict[str, Any]]:
    """Two satellites on three tiles, every eight days of nine years: 2,484 items."""
    for year, start in itertools.product(range(2001, 2010), STARTS):
        first = np.datetime64(str(year), "D") + (start - STARTS[0])
        last = min(first + np.timedelta64(7, "D"), np.datetime64(str(year + 1), "D") - np.timedelta64(1, "D"))
        times = {"start_datetime": f"{first}T00:00:00Z", "end_datetime": f"{last}T23:59:59Z"}
        for platform, tile in itertools.product(("terra", "aqua"), TILES):
            yield item(f"{platform}-{first}-{tile}", "archive", tile, platform=platform, **times)


def dated() -> Iterator[dict[str, Any]]:
    for year in range(2000, 2010):
        yield item(f"cover-{year}", "cover", "west", datetime=f"{year}-01-01T00:00:00Z")
    for month in range(1, 13):
        yield item(f"rain-{month:02}", "rain", "west", datetime=f"2005-{month:02}-01T00:00:00Z")
    yield item("dem", "elevation", "west", datetime="2000-02-11T00:00:00Z")


def collection(name: str) -> dict[str, Any]:
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2000-01-01T00:00:00Z", None]]}}
    common = {"stac_version": "1.0.0", "description": name, "license": "CC0-1.0", "links": []}
    return {"type": "Collection", "id": name, "extent": extent} | common


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    names = ("lst", "archive", "cover", "rain", "elevation", "empty")
    try:
        with stac_api([collection(name) for name in names], [*lst(), *archive(), *dated()]) as served:
            yield served
    except UnavailableError as error:
        pytest.skip(str(error))


def query(url: str, name: str = "lst", period: tuple[str, str] = YEAR, **keys: Any) -> Query:
    bbox = keys.pop("bbox", HERE)
    first, after = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in period)
    settings = {"name": name, "catalog": "lab", "collection": name, "asset": "day"} | keys
    return Query(Source(**settings), Catalog("lab", url), bbox, (first, after))


def test_every_page_is_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """184 items in the area, 50 a page."""
    monkeypatch.setattr(paging, "SIZES", (50,))
    told: list[tuple[str, int, int | None]] = []
    items = search(query(url), progress=lambda *news: told.append(news))
    assert len(items) == len({found["id"] for found in items}) == 46 * 2 * 2
    assert [done for _, done, _ in told] == [50, 100, 150, 184]
    assert told[-1][0] == "lst: searching the catalog"
    assert told[-1][2] in (184, None)


def test_an_archive_of_years_is_read_whole_and_by_its_conditions(url: str) -> None:
    years = ("2001-01-01", "2010-01-01")
    items = search(query(url, "archive", years))
    assert len(items) == len({found["id"] for found in items}) == 9 * 46 * 2 * 2
    aqua = search(query(url, "archive", years, query={"platform": "aqua"}, bbox=(6.6, 47.2, 7.2, 47.8)))
    assert {found["properties"]["platform"] for found in aqua} == {"aqua"}
    assert len(aqua) == 9 * 46
    spring = search(query(url, "archive", ("2004-03-01", "2004-06-01")))
    starts = sorted({found["properties"]["start_datetime"][:10] for found in spring})
    assert (starts[0], starts[-1], len(spring)) == ("2004-02-26", "2004-05-24", 4 * len(starts))
    assert len(starts) == 12


def test_items_are_frozen_as_they_are(url: str) -> None:
    wanted = query(url, quality=(QualityRule("QC", (0, 1), (0,)),), query={"platform": "terra"})
    items = search(wanted)
    first = items[0]
    assert first["id"] == "terra-2005-01-01-east"
    assert first["properties"]["proj:epsg"] == 4326
    assert sorted(first["assets"]) == ["QC", "day"]
    assert first["assets"]["day"]["href"] == "https://example.org/terra-2005-01-01-east.tif"
    assert [link["href"] for link in first["links"]] == [f"{url}collections/lst/items/terra-2005-01-01-east"]
    assert first["collection"] == "lst"
    scene = next(scene for scene in scenes(items, wanted.source) if scene.item == first["id"])
    assert scene.bbox == TILES["east"]
    assert scene.decoding == {"scale": 0.02, "offset": None, "nodata": (0.0,), "unit": "K", "valid_range": None}
    assert (scene.start, scene.end) == (np.datetime64("2005-01-01"), np.datetime64("2005-01-09"))


def test_the_area_is_asked_for(url: str) -> None:
    items = search(query(url, bbox=(5.2, 47.2, 5.8, 47.8)))
    assert len(items) == 92
    assert {found["id"].rsplit("-", 1)[-1] for found in items} == {"west"}


def test_an_area_across_the_antimeridian_is_asked_for_in_two(url: str) -> None:
    items = search(query(url, bbox=(179.0, -18.0, -179.0, -17.0)))
    assert len(items) == 92
    assert {found["id"].rsplit("-", 1)[-1] for found in items} == {"fiji"}


def test_the_period_takes_composites_that_cross_its_ends(url: str) -> None:
    items = search(query(url, period=("2005-02-01", "2005-03-01"), bbox=TILES["west"], query={"platform": "aqua"}))
    assert [found["id"] for found in items] == [
        f"aqua-2005-{day}-west" for day in ("01-25", "02-02", "02-10", "02-18", "02-26")
    ]


@pytest.mark.parametrize(
    ("conditions", "number"),
    [
        ({"platform": {"eq": "terra"}}, 92),
        ({"platform": "aqua"}, 92),
        ({"platform": {"neq": "aqua"}}, 92),
        ({"platform": "none"}, 0),
        ({"platform": {"in": ["aqua", "none"]}}, 92),
        ({"platform": {"startsWith": "te", "neq": "aqua"}}, 92),
    ],
)
def test_a_query_is_met(url: str, conditions: dict[str, Any], number: int) -> None:
    items = search(query(url, query=conditions))
    assert len(items) == number
    assert {found["properties"]["platform"] for found in items} <= {"terra", "aqua"}


def test_years_by_date_are_found_from_the_middle(url: str) -> None:
    items = search(query(url, "cover", ("2004-06-01", "2006-03-01")))
    assert [(found["id"], found["properties"]["start_datetime"][:10]) for found in items] == [
        ("cover-2004", "2004-01-01"),
        ("cover-2005", "2005-01-01"),
        ("cover-2006", "2006-01-01"),
    ]


def test_a_month_by_date_is_a_month(url: str) -> None:
    (only,) = search(query(url, "rain", ("2005-02-01", "2005-03-01")))
    assert only["properties"]["end_datetime"] == "2005-02-28T23:59:59Z"


def test_a_static_source_is_found_outside_the_period(url: str) -> None:
    wanted = query(url, "elevation")
    items = search(wanted)
    assert [found["id"] for found in items] == ["dem"]
    assert is_static(scenes(items, wanted.source), wanted.source, wanted.period)


def test_nothing_in_the_area_is_nothing(url: str) -> None:
    assert search(query(url, bbox=(-60.0, 0.0, -59.0, 1.0))) == []
    assert search(query(url, "empty")) == []


def test_an_unknown_collection_is_told_with_the_nearest(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no collection 'elevatoin'; did you mean 'elevation'"):
        search(query(url, "elevatoin"))


def test_an_unknown_asset_is_told_with_those_there_are(url: str) -> None:
    with pytest.raises(ConfigurationError, match="asset 'dya'; they have QC, day, night"):
        search(query(url, asset="dya"))


def test_what_an_api_can_compare_it_is_asked_to(url: str) -> None:
    told: list[int] = []
    search(query(url, query={"platform": "aqua"}), progress=lambda _, done, __: told.append(done))
    assert told == [92]


# --- an API that fails, played by a static answer -----------------------------------------------------------------

LANDING: dict[str, Any] = {
    "type": "Catalog",
    "id": "a",
    "links": [{"rel": "search", "href": "./search", "method": "GET"}],
}


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "SERVICE", (0.0, 0.0, 0.0))


@pytest.mark.usefixtures("_impatient")
def test_an_api_without_post_is_asked_by_get_and_faults_are_survived() -> None:
    page = {"type": "FeatureCollection", "features": [next(lst())], "numberMatched": 1}
    with static_catalog({"/": LANDING, "/search": page}) as server:
        server.faults["/search"] = [503, 429]
        items = search(query(f"{server.url}/", query={"platform": "terra"}, static=True))
        assert [found["id"] for found in items] == ["terra-2005-01-01-west"]
        asked = server.queries[-1]
        assert asked["collections"] == ["lst"]
        assert asked["bbox"] == ["5.2,47.2,7.2,47.8"]
        assert asked["query"] == ['{"platform":{"eq":"terra"}}']
        assert "datetime" not in asked
        server.faults["/search"] = [-503]
        with pytest.raises(ServiceError, match=r"catalog 'lab': .*/search cannot be reached"):
            search(query(f"{server.url}/"))
        server.faults["/search"] = [-400]
        with pytest.raises(ConfigurationError, match=r"refused the search with HTTP status 400.*collection 'lst'"):
            search(query(f"{server.url}/"))
        server.faults["/search"] = [-401]
        with pytest.raises(ServiceError, match=r"denied.*credentials"):
            search(query(f"{server.url}/"))
        server.faults["/search"] = []
        server.documents["/search"] = b"<html>"
        with pytest.raises(ServiceError, match="not a page of items"):
            search(query(f"{server.url}/"))


@pytest.mark.usefixtures("_impatient")
def test_a_broken_item_of_an_api_is_left_out_and_told() -> None:
    good, undated = next(lst()), item("undated", "lst", "west")
    with static_catalog({"/": LANDING, "/search": {"features": [good, undated]}}) as server:
        told: list[tuple[str, str]] = []
        assert len(search(query(f"{server.url}/"), broken=lambda *news: told.append(news))) == 1
    assert "'undated'" in told[0][1]


@pytest.mark.usefixtures("_impatient")
def test_the_list_of_collections_is_read_page_by_page() -> None:
    landing = LANDING | {"links": [*LANDING["links"], {"rel": "data", "href": "./list"}]}
    pages = {
        "/": landing,
        "/search": {"features": []},
        "/list": {"collections": [{"id": "snow"}], "links": [{"rel": "next", "href": "./more"}]},
        "/more": {"collections": [{"id": "lst-day"}], "links": [{"rel": "next", "href": "./more"}]},
    }
    with (
        static_catalog(pages) as server,
        pytest.raises(ConfigurationError, match="no collection 'lst'; did you mean 'lst-day'"),
    ):
        search(query(f"{server.url}/"))
