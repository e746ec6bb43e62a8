from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from checkout import REAL
from servers.static_catalog import StaticCatalog, static_catalog
from soilscale import retry
from soilscale.catalog import Query, find, scenes, search, walk
from soilscale.errors import ConfigurationError, DataError, ServiceError
from soilscale.sources import Catalog, QualityRule, Source

HERE = (5.0, 47.0, 7.0, 49.0)
BOX = [5.5, 47.5, 6.5, 48.5]
AFAR = [100.0, 10.0, 101.0, 11.0]
Json = dict[str, Any]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def query(url: object, *, period: tuple[str, str] = ("2005-01-01", "2006-01-01"), **keys: Any) -> Query:
    bbox = keys.pop("bbox", HERE)
    settings = {"name": "rain", "catalog": "lab", "collection": "rain", "asset": "value"} | keys
    return Query(Source(**settings), Catalog("lab", str(url)), bbox, (instant(period[0]), instant(period[1])))


def item(name: str, date: str | None = "2005-01-01", **more: Any) -> Json:
    properties = {"datetime": f"{date}T00:00:00Z" if date else None} | more.pop("properties", {})
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": None,
        "bbox": BOX,
        "properties": properties,
        "links": [{"rel": "root", "href": "../catalog.json"}],
        "assets": {"value": {"href": f"./{name}.tif"}, "thumbnail": {"href": f"./{name}.png"}},
    } | more


def month(text: str, **more: Any) -> Json:
    return item(text, None, properties={"start_datetime": f"{text}-01", "end_datetime": f"{text}-28T23:59:59Z"}, **more)


def folder(kind: str, name: str, *, children: tuple[str, ...] = (), items: tuple[str, ...] = (), **more: Any) -> Json:
    links = [{"rel": "child", "href": href} for href in children] + [{"rel": "item", "href": href} for href in items]
    return {"type": kind, "id": name, "stac_version": "1.1.0", "description": name, "links": links} | more


def extent(bbox: list[float], first: str | None, last: str | None) -> Json:
    return {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[first, last]]}}


def nested() -> dict[str, Json]:
    """A collection whose items lie in folders of years and months, beside one that is not wanted."""
    documents: dict[str, Json] = {
        "/catalog.json": folder("Catalog", "lab", children=("./rain/collection.json", "./snow/collection.json")),
        "/rain/collection.json": folder("Collection", "rain", children=("2004/catalog.json", "2005/catalog.json")),
        "/snow/collection.json": folder("Collection", "snow", items=("./snow.json",)),
        "/snow/snow.json": item("snow"),
    }
    for year in (2004, 2005):
        months = [f"{year}-{m:02}" for m in range(1, 13)]
        children = tuple(f"./{text}/catalog.json" for text in months)
        documents[f"/rain/{year}/catalog.json"] = folder("Catalog", f"rain {year}", children=children)
        for text in months:
            documents[f"/rain/{year}/{text}/catalog.json"] = folder("Catalog", text, items=("tile.json",))
            documents[f"/rain/{year}/{text}/tile.json"] = month(text)
    return documents


def write(root: Path, documents: Mapping[str, Any]) -> Path:
    for path, document in documents.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return root / next(iter(documents)).lstrip("/")


def collection_file(*features: Json) -> dict[str, Json]:
    return {"/items.json": {"type": "FeatureCollection", "features": list(features)}}


def ids(items: list[Json]) -> list[str]:
    return [found["id"] for found in items]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "SERVICE", (0.0, 0.0, 0.0))


@pytest.fixture
def served() -> Iterator[StaticCatalog]:
    with static_catalog(nested()) as catalog:
        yield catalog


# --- a static catalog ---------------------------------------------------------------------------------------------


def test_a_nested_catalog_on_disk_is_walked(tmp_path: Path) -> None:
    items = search(query(write(tmp_path, nested())))
    assert ids(items) == [f"2005-{m:02}" for m in range(1, 13)]
    assert items[0]["assets"] == {"value": {"href": str(tmp_path / "rain/2005/2005-01/2005-01.tif")}}
    assert items[0]["collection"] == "rain"
    assert items[0]["links"] == [
        {"rel": "self", "href": str(tmp_path / "rain/2005/2005-01/tile.json"), "type": "application/geo+json"}
    ]
    assert json.loads(json.dumps(items)) == items


def test_the_root_may_be_a_file_url_or_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, nested())
    expected = search(query(path))
    monkeypatch.chdir(tmp_path)
    assert search(query(f"file://{path}")) == expected
    assert search(query(f"file://localhost{path}")) == expected
    assert search(query("catalog.json")) == expected
    assert search(query("rain/collection.json")) == expected


def test_over_http_only_the_dates_of_the_period_are_read(served: StaticCatalog) -> None:
    items = search(query(f"{served.url}/catalog.json", period=("2005-03-01", "2005-05-01")))
    assert ids(items) == ["2005-03", "2005-04"]
    assert items[0]["assets"]["value"]["href"] == f"{served.url}/rain/2005/2005-03/2005-03.tif"
    assert sorted(path for path in set(served.requests) if "/2004/" not in path) == [
        "/catalog.json",
        "/rain/2005/2005-03/catalog.json",
        "/rain/2005/2005-03/tile.json",
        "/rain/2005/2005-04/catalog.json",
        "/rain/2005/2005-04/tile.json",
        # The farthest of the months that are left out shows that the names are dates.
        "/rain/2005/2005-12/catalog.json",
        "/rain/2005/2005-12/tile.json",
        "/rain/2005/catalog.json",
        "/rain/collection.json",
        "/snow/collection.json",
    ]
    assert served.count("/2004/") == 5  # its first and its last month


def test_progress_counts_the_documents(served: StaticCatalog) -> None:
    told: list[tuple[str, int, int | None]] = []
    search(query(f"{served.url}/catalog.json"), progress=lambda *news: told.append(news))
    done = [news[1] for news in told]
    assert done == sorted(done)
    assert told[-1] == ("rain: reading the catalog", 28, 28)


def test_a_collection_far_away_or_long_ago_is_not_descended(served: StaticCatalog) -> None:
    rain = served.documents["/rain/collection.json"]
    catalog = Catalog("lab", f"{served.url}/catalog.json")
    for place, years, why in (
        ([-70.0, -10.0, -60.0, 0.0], (None, None), "extent.spatial"),
        ([-180.0, -90.0, 180.0, 90.0], ("1990", "1999"), "extent.temporal"),
    ):
        rain["extent"] = extent(place, *(year and f"{year}-01-01T00:00:00Z" for year in years))
        served.requests.clear()
        found = walk.gather(
            query(catalog.url),
            catalog.url,
            served.documents["/catalog.json"],
            query(catalog.url).span,
            progress=lambda *_: None,
            broken=lambda *_: None,
        )
        assert found.items == []
        assert [why in part.why for part in found.pruned] == [True]
        assert sorted(served.requests) == ["/rain/collection.json", "/snow/collection.json"]


@pytest.mark.parametrize("role", ["target", "predictor"])
@pytest.mark.parametrize(
    "stale",
    [
        extent([-70.0, -10.0, -60.0, 0.0], None, None),
        extent([-180.0, -90.0, 180.0, 90.0], "1990-01-01T00:00:00Z", "1999-12-31T00:00:00Z"),
    ],
    ids=["area", "period"],
)
def test_an_extent_that_is_out_of_date_hides_nothing(
    stale: Json, role: Any, served: StaticCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    served.documents["/rain/collection.json"]["extent"] = stale
    items, found = find(query(f"{served.url}/catalog.json", role=role))
    assert len(items) == 12
    assert len(found.pruned) == 1
    assert "12 items were found where extents or names exclude them" in caplog.text
    assert "/rain/collection.json: its extent." in caplog.text


@pytest.mark.parametrize("tiles", [("0905", "1905"), ("1905", "2005"), ("195012", "200501"), ("2004", "2005")])
def test_folders_that_only_look_like_dates_are_all_read(tiles: tuple[str, str], tmp_path: Path) -> None:
    """Tiles by row and column: the items below them are of other dates than their names."""
    months = [f"{year}-{m:02}" for year in (2004, 2005) for m in range(1, 13)]
    tree = {"/catalog.json": folder("Catalog", "lab", children=("./rain/collection.json",))}
    tree["/rain/collection.json"] = folder("Collection", "rain", children=tuple(f"{t}/catalog.json" for t in tiles))
    for tile in tiles:
        names = tuple(f"{text}.json" for text in months)
        tree[f"/rain/{tile}/catalog.json"] = folder("Catalog", tile, items=names)
        for text in months:
            tree[f"/rain/{tile}/{text}.json"] = month(text) | {"id": f"{tile}-{text}"}
    found = search(query(write(tmp_path, tree), period=("2005-01-01", "2005-03-01")))
    assert sorted(ids(found)) == sorted(f"{tile}-2005-0{m}" for tile in tiles for m in (1, 2))


def test_tiles_in_a_dated_folder_are_no_levels(tmp_path: Path) -> None:
    tree = {"/catalog.json": folder("Catalog", "lab", children=("./rain/collection.json",))}
    tree["/rain/collection.json"] = folder("Collection", "rain", children=("2005-01/catalog.json",))
    tree["/rain/2005-01/catalog.json"] = folder("Catalog", "m", children=tuple(f"{i}/catalog.json" for i in range(3)))
    for i in range(3):
        tree[f"/rain/2005-01/{i}/catalog.json"] = folder("Catalog", f"{i}", items=("i.json",))
        tree[f"/rain/2005-01/{i}/i.json"] = month("2005-01") | {"id": f"tile-{i}"}
    assert ids(search(query(write(tmp_path, tree)))) == ["tile-0", "tile-1", "tile-2"]


@pytest.mark.parametrize("above", ["Collection", "Catalog"])
def test_a_collection_below_another_collection_is_found(
    above: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tree = {
        "/catalog.json": folder("Catalog", "lab", children=("./modis/collection.json",)),
        "/modis/collection.json": folder("Collection", "modis", children=("./deep/index.json",)),
        "/modis/deep/index.json": folder(above, "deep", children=("./rain/collection.json",), items=("no.json",)),
        "/modis/deep/rain/collection.json": folder("Collection", "rain", items=("1.json",)),
        "/modis/deep/rain/1.json": month("2005-01"),
    }
    url = write(tmp_path, tree)
    assert ids(search(query(url))) == ["2005-01"]
    monkeypatch.setattr(walk, "FOREIGN", 2)
    assert len(search(query(url))) == 1
    monkeypatch.setattr(walk, "FOREIGN", 1)
    with pytest.raises(ConfigurationError, match="has no collection 'rain'"):
        search(query(url))
    assert "searched only 1 documents" in caplog.text
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="has no collection 'rian'; did you mean 'rain'"):
        search(query(url, collection="rian"))


def test_a_query_that_nothing_meets_is_counted_with_the_values_there(served: StaticCatalog) -> None:
    items, found = find(query(f"{served.url}/catalog.json", query={"platform": "Terra", "gsd": {"lt": 5}}))
    assert items == []
    assert found.refused == 24
    assert found.values == {"platform": [None], "gsd": [None]}


def test_a_collection_just_beside_the_area_is_descended(served: StaticCatalog) -> None:
    rain = served.documents["/rain/collection.json"]
    rain["extent"] = extent([7.5, 49.5, 8.0, 50.0], "2006-01-15T00:00:00Z", None)
    assert len(search(query(f"{served.url}/catalog.json"))) == 12


def test_an_extent_that_says_nothing_prunes_nothing(served: StaticCatalog) -> None:
    silent: list[Any] = [{}, {"spatial": {"bbox": []}}, {"temporal": {"interval": [[None, None]]}}, {"temporal": None}]
    for odd in (*silent, None):
        served.documents["/rain/collection.json"]["extent"] = odd
        assert len(search(query(f"{served.url}/catalog.json"))) == 12


def test_a_composite_that_began_before_the_period_is_found(served: StaticCatalog) -> None:
    served.documents["/rain/2004/2004-12/tile.json"] = item("late", "2004-12-27")
    served.documents["/rain/2005/2005-01/tile.json"] = item("next", "2005-01-04")
    found = search(query(f"{served.url}/catalog.json", period=("2005-01-01", "2005-02-01"), composite=8))
    assert ids(found) == ["late", "next"]
    assert found[0]["properties"]["end_datetime"] == "2005-01-03T23:59:59Z"
    assert served.count("/2004/2004-") == 5  # and January, to see that the names are dates


def test_cycles_end(tmp_path: Path) -> None:
    tree = nested()
    tree["/rain/2005/catalog.json"]["links"] += [{"rel": "child", "href": "../../catalog.json"}] * 2
    tree["/rain/2005/2005-01/catalog.json"]["links"].append({"rel": "child", "href": "../catalog.json"})
    assert len(search(query(write(tmp_path, tree)))) == 12


def test_items_may_be_linked_absolutely_and_as_collections(served: StaticCatalog) -> None:
    served.documents["/rain/collection.json"] = folder(
        "Collection",
        "rain",
        items=(f"{served.url}/elsewhere/a.json",),
        links=[
            {"rel": "item", "href": f"{served.url}/elsewhere/a.json"},
            {"rel": "items", "href": "/pages/1.json"},
        ],
    )
    following = [{"rel": "next", "href": "./2.json"}]
    served.documents |= {
        "/elsewhere/a.json": month("2005-01"),
        "/pages/1.json": {"type": "FeatureCollection", "features": [month("2005-02")], "links": following},
        "/pages/2.json": {"type": "FeatureCollection", "features": [month("2005-03")], "links": following},
    }
    items = search(query(f"{served.url}/catalog.json"))
    assert [found["assets"]["value"]["href"].removeprefix(served.url) for found in items] == [
        "/elsewhere/2005-01.tif",
        "/pages/2005-02.tif",
        "/pages/2005-03.tif",
    ]


def test_of_several_resolutions_the_finest_is_taken_and_bands_are_pruned(served: StaticCatalog) -> None:
    """The shape of JAXA Earth: date, level, band of longitude, band of latitude."""
    base = "/rain/2005-01"
    bands = ("E000.00-E090.00/catalog.json", "E090.00-E180.00/catalog.json", "W090.00-E000.00/catalog.json")
    served.documents |= {
        "/rain/collection.json": folder("Collection", "rain", children=("2005-01/catalog.json",)),
        f"{base}/catalog.json": folder("Catalog", "m", children=("./0/catalog.json", "./1/catalog.json")),
        f"{base}/1/catalog.json": folder("Catalog", "1", children=bands),
        f"{base}/1/E000.00-E090.00/catalog.json": folder(
            "Catalog", "b", items=("N00.00-N90.00.json", "S90.00-N00.00.json")
        ),
        f"{base}/1/E000.00-E090.00/N00.00-N90.00.json": month("2005-01", bbox=[0, 0, 90, 90]),
    }
    assert ids(search(query(f"{served.url}/catalog.json"))) == ["2005-01"]
    assert served.count(base) == 4


def test_a_folder_of_levels_without_a_date_is_read_whole(served: StaticCatalog) -> None:
    children = tuple(f"{i}/catalog.json" for i in range(3))
    served.documents["/rain/collection.json"] = folder("Collection", "rain", children=children)
    for i in range(3):
        served.documents[f"/rain/{i}/catalog.json"] = folder("Catalog", f"{i}", items=("i.json",))
        served.documents[f"/rain/{i}/i.json"] = month(f"2005-0{i + 1}")
    assert len(search(query(f"{served.url}/catalog.json"))) == 3


def test_a_dated_release_folder_above_the_links_prunes_nothing(tmp_path: Path) -> None:
    tree = {f"/2019{path}": document for path, document in nested().items()}
    assert len(search(query(write(tmp_path, tree)))) == 12


def test_a_broken_document_is_left_out_and_named(served: StaticCatalog, caplog: pytest.LogCaptureFixture) -> None:
    served.documents["/rain/2005/2005-03/tile.json"] = json.dumps(month("2005-03")).encode()[:80]
    del served.documents["/rain/2005/2005-05/tile.json"]
    served.documents["/rain/2005/2005-07/tile.json"] = item("undated", None)
    served.documents["/rain/2005/2005-08/tile.json"] = {"hello": "world"}
    told: list[tuple[str, str]] = []
    with caplog.at_level(logging.WARNING, "soilscale"):
        items = search(query(f"{served.url}/catalog.json"), broken=lambda *news: told.append(news))
    assert ids(items) == [f"2005-{m:02}" for m in (1, 2, 4, 6, 9, 10, 11, 12)]
    broken = [f"{served.url}/rain/2005/2005-0{m}/tile.json" for m in (3, 5, 7, 8)]
    assert [url for url, _ in told] == broken
    reasons = [reason for _, reason in told]
    for reason, words in zip(
        reasons, ("not JSON", "does not exist", "neither datetime nor", "not a STAC catalog"), strict=True
    ):
        assert words in reason
    assert all(url in caplog.text for url in broken)


def test_nothing_but_broken_documents_is_an_error(served: StaticCatalog) -> None:
    for path in list(served.documents):
        if path.endswith("tile.json"):
            served.documents[path] = b"{"
    with pytest.raises(DataError, match=r"no item was found, and 24 documents could not be used; the first: .*tile"):
        search(query(f"{served.url}/catalog.json", static=True))


# --- services that fail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/catalog.json", "/rain/collection.json", "/rain/2005/2005-02/tile.json"])
def test_a_passing_fault_is_survived(served: StaticCatalog, path: str) -> None:
    served.faults[path] = [503, 500, 429]
    assert len(search(query(f"{served.url}/catalog.json"))) == 12
    assert served.requests.count(path) == 4


@pytest.mark.parametrize("path", ["/catalog.json", "/rain/2005/2005-02/tile.json"])
def test_a_lasting_fault_is_a_service_error(served: StaticCatalog, path: str) -> None:
    served.faults[path] = [-503]
    expected = (
        rf"source 'rain', catalog 'lab': {served.url}{path} cannot be reached \(HTTP status 503, 4 tries\); check"
    )
    with pytest.raises(ServiceError, match=expected):
        search(query(f"{served.url}/catalog.json"))
    assert served.requests.count(path) == 4


def test_no_server_is_a_service_error() -> None:
    with static_catalog() as gone:
        url = gone.url
    with pytest.raises(ServiceError, match=r"catalog 'lab': .*catalog\.json cannot be reached \(ClientConnectorError"):
        search(query(f"{url}/catalog.json"))


@pytest.mark.parametrize("status", [401, 403])
def test_denied_access_speaks_of_credentials_and_hides_them(served: StaticCatalog, status: int) -> None:
    served.faults["/catalog.json"] = [-status]
    url = served.url.replace("://", "://user:hunter2@") + "/catalog.json?X-Amz-Signature=s3cr3t&sig=abc"
    with pytest.raises(ServiceError, match="credentials") as caught:
        search(query(url))
    assert "/catalog.json" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("hunter2", "s3cr3t", "abc"))
    assert served.requests == ["/catalog.json"]


def test_a_signed_root_is_asked_for_with_its_signature(served: StaticCatalog) -> None:
    search(query(f"{served.url}/catalog.json?sig=abc"))
    assert served.queries[0] == {"sig": ["abc"]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "is not there"),
        (b"<!DOCTYPE html><html>", "is not JSON .* it begins with '<!DOCTYPE html>"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[1, 2]", "holds a JSON list, not an object"),
        ({"hello": "world"}, "JSON but not STAC .*its keys are hello"),
        ({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": None}]}, "not STAC"),
    ],
)
def test_a_root_that_is_no_catalog_is_the_configurations_fault(document: Any, words: str) -> None:
    content = {} if document is None else {"/c.json": document}
    with static_catalog(content) as served, pytest.raises(ConfigurationError, match=words) as caught:
        search(query(f"{served.url}/c.json"))
    assert f"{served.url}/c.json" in str(caught.value)
    assert "catalogs.lab.url" in str(caught.value)


def test_a_folder_or_a_strange_protocol_is_the_configurations_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder, not a JSON document; name the file"):
        search(query(tmp_path))
    with pytest.raises(ConfigurationError, match="nope://x cannot be opened"):
        search(query("nope://x"))


def test_an_object_store_is_read_with_the_endpoint_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    tree = {f"/bucket{path}": document for path, document in nested().items()}
    with static_catalog(tree) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        items = search(query("s3://bucket/catalog.json"))
        assert items[0]["assets"]["value"]["href"] == "s3://bucket/rain/2005/2005-01/2005-01.tif"
        assert len(items) == 12
        assert store.count("/rain/2004/2004-") == 4  # its first and its last month show that the name is a date
        with pytest.raises(ConfigurationError, match=r"s3://bucket/other\.json is not there"):
            search(query("s3://bucket/other.json"))
        store.faults["/bucket/catalog.json"] = [-403]
        with pytest.raises(ServiceError, match=r"access is denied: renew the credentials \(AWS_"):
            search(query("s3://bucket/catalog.json"))


# --- what is wrong with the source --------------------------------------------------------------------------------


def test_an_unknown_collection_is_told_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, nested())
    with pytest.raises(ConfigurationError, match=r"no collection 'rian'; did you mean 'rain'\?"):
        search(query(path, collection="rian"))
    with pytest.raises(ConfigurationError, match=r"no collection 'xyzzy'; it has rain, snow"):
        search(query(path, collection="xyzzy"))
    with pytest.raises(ConfigurationError, match=r"no collection 'rian'; did you mean 'rain'\?"):
        search(query(tmp_path / "rain/collection.json", collection="rian"))


def test_an_unknown_asset_is_told_with_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path, nested())
    with pytest.raises(ConfigurationError, match=r"none of the 12 items .* asset 'precip'; they have thumbnail, value"):
        search(query(path, asset="precip"))
    with pytest.raises(ConfigurationError, match="asset 'QC'"):
        search(query(path, quality=(QualityRule("QC", (0, 1), (0,)),)))


def test_an_asset_that_some_items_lack_is_no_error(tmp_path: Path) -> None:
    bare = item("bare", "2005-02-01", assets={"thumbnail": {"href": "x.png"}})
    items = search(query(write(tmp_path, collection_file(item("a"), bare))))
    assert [sorted(found["assets"]) for found in items] == [["value"], []]


# --- a file of items ----------------------------------------------------------------------------------------------


def test_a_file_of_items_is_cut_to_area_period_and_query(tmp_path: Path) -> None:
    features = [
        item("late", "2005-03-01", collection="rain"),
        item("early", "2005-02-01", collection="rain"),
        item("afar", "2005-02-01", bbox=AFAR, collection="rain"),
        item("before", "2004-12-31", collection="rain"),
        item("after", "2006-01-01", collection="rain"),
        item("other", "2005-02-01", collection="snow"),
        item("tall", "2005-04-01", collection="rain", bbox=[5.5, 47.5, 0.0, 6.5, 48.5, 9000.0]),
        item("drawn", "2005-05-01", collection="rain", bbox=None, geometry={"type": "Point", "coordinates": [6, 48]}),
    ]
    items = search(query(write(tmp_path, collection_file(*features)), composite=1))
    assert ids(items) == ["early", "late", "tall", "drawn"]
    assert items[2]["bbox"] == BOX
    assert items[3]["bbox"] == [6.0, 48.0, 6.0, 48.0]


def test_a_single_item_is_a_catalog_too(tmp_path: Path) -> None:
    items = search(query(write(tmp_path, {"/dem.json": item("dem", "2000-02-11")})))
    assert ids(items) == ["dem"]


def test_an_empty_file_of_items_gives_nothing(tmp_path: Path) -> None:
    assert search(query(write(tmp_path, collection_file()))) == []


def test_an_item_that_overlaps_the_period_by_a_moment_is_in(tmp_path: Path) -> None:
    year = item("y", None, properties={"start_datetime": "2004-01-01", "end_datetime": "2005-01-01T00:00:01Z"})
    path = write(tmp_path, collection_file(year))
    assert ids(search(query(path, static=False))) == ["y"]
    year["properties"]["end_datetime"] = "2005-01-01T00:00:00Z"
    path = write(tmp_path, collection_file(year, month("2005-01"), month("2005-02")))
    assert ids(search(query(path))) == ["2005-01", "2005-02"]


def test_items_across_the_antimeridian_are_found_from_both_sides(tmp_path: Path) -> None:
    fiji = item("fiji", bbox=[177.0, -20.0, -178.0, -12.0])
    path = write(tmp_path, collection_file(fiji, item("here", "2005-02-01")))
    assert ids(search(query(path, bbox=(178.0, -18.0, 179.0, -17.0)))) == ["fiji"]
    assert ids(search(query(path, bbox=(-180.0, -18.0, -179.0, -17.0)))) == ["fiji"]
    assert ids(search(query(path, bbox=(179.0, -18.0, -179.5, -17.0)))) == ["fiji"]
    assert ids(search(query(path))) == ["here"]


def test_an_item_without_place_covers_the_world_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = item("nowhere", bbox=None)
    items = search(query(write(tmp_path, collection_file(nowhere))))
    assert "bbox" not in items[0]
    assert "1 items have neither bbox nor geometry" in caplog.text
    assert scenes(items, query("x").source)[0].bbox == (-180.0, -90.0, 180.0, 90.0)


@pytest.mark.parametrize(
    ("stamps", "kept"),
    [
        ([{"updated": "2020-01-02T00:00:00Z"}, {"updated": "2020-01-01T00:00:00Z"}], 0),
        ([{"updated": "2020-01-01T00:00:00.5Z"}, {"updated": "2020-01-01T00:00:00Z"}], 0),
        ([{"created": "2020-01-01T00:00:00Z"}, {"updated": "2020-01-01T01:00:00+02:00"}], 0),
        ([{"created": "2020-01-01T00:00:00Z"}, {"created": "2020-01-02T00:00:00Z"}], 1),
        ([{"updated": "2020-01-01T00:00:00Z"}, {}], 0),
        ([{}, {}], 1),
    ],
)
def test_of_items_with_one_id_the_newest_is_kept(tmp_path: Path, stamps: list[Json], kept: int) -> None:
    features = [
        item("twin", assets={"value": {"href": f"{i}.tif"}}, properties=stamp) for i, stamp in enumerate(stamps)
    ]
    items = search(query(write(tmp_path, collection_file(*features))))
    assert [found["assets"]["value"]["href"] for found in items] == [str(tmp_path / f"{kept}.tif")]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"platform": {"eq": "terra"}}, ["a"]),
        ({"platform": "terra"}, ["a"]),
        ({"properties.platform": "terra"}, ["a"]),
        ({"platform": {"neq": "terra"}}, ["b", "c"]),
        ({"platform": {"ne": "terra"}}, ["b", "c"]),
        ({"cloud": {"lt": 20}}, ["a"]),
        ({"cloud": {"lte": 20}}, ["a", "b"]),
        ({"cloud": {"gt": 10, "lt": 30}}, ["b"]),
        ({"cloud": {"gte": 10}}, ["a", "b"]),
        ({"platform": {"in": ["aqua", "none"]}}, ["b"]),
        ({"platform": {"startsWith": "te"}}, ["a"]),
        ({"platform": {"endsWith": "a"}}, ["a", "b"]),
        ({"platform": {"contains": "rr"}}, ["a"]),
        ({"cloud": {"lt": "many"}}, []),
        ({"cloud": {"gte": 10}, "platform": "aqua"}, ["b"]),
    ],
)
def test_a_query_is_applied_where_the_catalog_cannot(tmp_path: Path, conditions: Json, expected: list[str]) -> None:
    features = [
        item("a", "2005-01-01", properties={"platform": "terra", "cloud": 10}),
        item("b", "2005-01-02", properties={"platform": "aqua", "cloud": 20}),
        item("c", "2005-01-03"),
    ]
    assert ids(search(query(write(tmp_path, collection_file(*features)), query=conditions))) == expected


def test_an_unknown_operator_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="query on 'platform': the operator 'like' is not known; use one of eq, neq"
    ):
        search(query(write(tmp_path, collection_file(item("a"))), query={"platform": {"like": "t"}}))


# --- what holds for the period ------------------------------------------------------------------------------------


def test_without_an_item_in_the_period_all_time_is_searched(served: StaticCatalog) -> None:
    period = ("2010-01-01", "2011-01-01")
    assert len(search(query(f"{served.url}/catalog.json", period=period))) == 24
    assert search(query(f"{served.url}/catalog.json", period=period, static=False)) == []
    assert search(query(f"{served.url}/catalog.json", period=period, role="target")) == []


def test_a_source_that_says_it_is_static_is_searched_in_all_time(tmp_path: Path) -> None:
    tiles = [item("west", "2000-02-11"), item("east", "2005-02-11")]
    assert ids(search(query(write(tmp_path, collection_file(*tiles)), static=True))) == ["west", "east"]


def test_a_month_alone_in_the_period_learns_from_its_neighbours(tmp_path: Path) -> None:
    """Dated folders hide the other months, so the search looks around before it says what one date covers."""
    tree = nested()
    for path, document in tree.items():
        if path.endswith("tile.json"):
            document["properties"] = {"datetime": f"{document['id']}-01T00:00:00Z"}
    items = search(query(write(tmp_path, tree), period=("2005-02-01", "2005-03-01")))
    assert ids(items) == ["2005-02"]
    assert items[0]["properties"]["start_datetime"] == "2005-02-01T00:00:00Z"
    assert items[0]["properties"]["end_datetime"] == "2005-02-28T23:59:59Z"


def test_a_year_that_began_before_the_period_is_found(tmp_path: Path) -> None:
    years = [item(str(year), f"{year}-01-01") for year in range(2001, 2010)]
    items = search(query(write(tmp_path, collection_file(*years)), period=("2004-06-01", "2005-03-01")))
    assert ids(items) == ["2004", "2005"]
    assert items[0]["properties"]["end_datetime"] == "2004-12-31T23:59:59Z"


# --- real catalogs ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (REAL / "moselle").is_dir(), reason="the Moselle catalog is not beside the repository")
class TestMoselle:
    url = REAL / "moselle" / "catalog.json"
    bbox = (5.19, 47.63, 7.29, 49.65)

    def ask(self, collection: str, asset: str, **keys: Any) -> tuple[Query, list[Json]]:
        keys = {"period": ("1990-01-01", "1994-01-01"), "bbox": self.bbox} | keys
        wanted = query(self.url, collection=collection, asset=asset, **keys)
        return wanted, search(wanted)

    def test_every_month_of_soil_moisture_is_found(self) -> None:
        wanted, items = self.ask("esa-cci-soil-moisture", "soil_moisture")
        found = scenes(items, wanted.source)
        months = [str(scene.start)[:7] for scene in found]
        assert months == [f"{year}-{m:02}" for year in range(1990, 1994) for m in range(1, 13)]
        assert {str(scene.end)[7:] for scene in found} == {"-01T00:00:00"}
        assert found[0].decoding["scale"] == pytest.approx(0.0001)
        assert found[0].decoding["nodata"] == (-9999,)
        assert all(Path(scene.hrefs["soil_moisture"]).is_file() for scene in found)

    def test_a_year_is_cut_out(self) -> None:
        _, items = self.ask("e-obs-precipitation", "precipitation", period=("1991-01-01", "1992-01-01"))
        assert len(items) == 12

    def test_elevation_of_another_time_is_found(self) -> None:
        _, items = self.ask("srtm-elevation", "elevation", period=("1992-01-01", "1993-01-01"))
        assert ids(items) == ["srtm-elevation"]


@pytest.mark.skipif(not (REAL / "modis").is_dir(), reason="the MODIS items are not beside the repository")
def test_real_modis_items_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REAL / "modis" / "stac")
    wanted = query(
        "modis-11A2-061/collection.json",
        collection="modis-11A2-061",
        asset="LST_Day_1km",
        quality=(QualityRule("QC_Day", (0, 1), (0, 1)),),
        bbox=(12.0, -18.0, 14.0, -16.0),
        period=("2022-02-01", "2022-03-01"),
        query={"platform": {"eq": "terra"}},
    )
    (scene,) = scenes(search(wanted), wanted.source)
    assert scene.item == "MOD11A2.A2022033.h19v10.061"
    assert (str(scene.start), str(scene.end)) == ("2022-02-02T00:00:00", "2022-02-10T00:00:00")
    assert scene.decoding == {"scale": 0.02, "offset": None, "nodata": (), "unit": "Kelvin", "valid_range": None}
    assert sorted(scene.hrefs) == ["LST_Day_1km", "QC_Day"]


# --- what the items' times say ------------------------------------------------------------------------------------


def of_items(tmp_path: Path, *items: Json) -> Path:
    path = tmp_path / "items.json"
    content = {"type": "FeatureCollection", "features": [one | {"collection": "rain"} for one in items]}
    path.write_text(json.dumps(content))
    return path


def instants(*texts: str) -> list[Json]:
    return [item(f"p{number}", None, properties={"datetime": text}) for number, text in enumerate(texts)]


def test_totals_of_a_length_that_nothing_states_are_refused(tmp_path: Path) -> None:
    hours = [f"2005-01-{day:02}T{hour:02}:00:00Z" for day in (1, 2, 3) for hour in (0, 6, 12, 18)]
    path = of_items(tmp_path, *instants(*hours))
    told = r"source 'rain', .* item 'p0' does not state .* 0\.25 d apart; set sources\.rain\.composite .* such as 0\.25"
    with pytest.raises(ConfigurationError, match=told):
        search(query(path, aggregate="sum"))
    assert len(search(query(path, aggregate="sum", composite=0.25))) == len(hours)
    assert len(search(query(path))) == len(hours), "a mean does not hang on it"


@pytest.mark.parametrize("composite", [1, 8])
def test_totals_that_come_more_often_than_they_last_are_refused(tmp_path: Path, composite: float) -> None:
    path = of_items(tmp_path, *instants(*(f"2005-01-01T{hour:02}:00:00Z" for hour in (0, 6, 12, 18))))
    with pytest.raises(ConfigurationError, match=rf"composite says that a total covers {composite} days, .* 0\.25 d"):
        search(query(path, aggregate="sum", composite=composite))


def test_totals_of_months_that_the_calendar_tells_are_taken(tmp_path: Path) -> None:
    path = of_items(tmp_path, *instants(*(f"2005-{number:02}-01T00:00:00Z" for number in range(1, 6))))
    found = search(query(path, aggregate="sum", period=("2005-01-01", "2005-03-01")))
    assert [one["properties"]["end_datetime"] for one in found] == ["2005-01-31T23:59:59Z", "2005-02-28T23:59:59Z"]


def test_local_midnights_written_in_utc_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = of_items(tmp_path, *instants(*(f"{day}T16:00:00Z" for day in ("2004-12-31", "2005-01-31", "2005-02-28"))))
    with caplog.at_level("INFO"):
        found = search(query(path, period=("2005-01-01", "2005-03-01")))
    assert ids(found) == ["p0", "p1"]
    assert "all items start 8 hours before a month, like local midnights" in caplog.text


def test_an_end_before_its_start_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong = item("wrong", None, properties={"start_datetime": "2005-02-01", "end_datetime": "2005-01-01"})
    assert ids(search(query(of_items(tmp_path, month("2005-01"), wrong)))) == ["2005-01", "wrong"]
    assert "1 of the items end before they start" in caplog.text
    assert "'wrong'" in caplog.text
