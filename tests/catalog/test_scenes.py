from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soilscale import storage
from soilscale.catalog import Scene, documents, is_static, scenes
from soilscale.catalog.query import to_span
from soilscale.catalog.scene import decoding
from soilscale.extents import WORLD, box, geometry_box, intersects, padded, pieces
from soilscale.sources import QualityRule, Source

PERIOD = (datetime(2005, 1, 1, tzinfo=UTC), datetime(2006, 1, 1, tzinfo=UTC))
NOTHING = {"scale": None, "offset": None, "nodata": (), "unit": None, "valid_range": None}


def source(**keys: Any) -> Source:
    return Source(**({"name": "lst", "catalog": "lab", "collection": "lst", "asset": "day"} | keys))


def item(name: str, date: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "bbox": [5.0, 47.0, 6.0, 48.0],
        "properties": {"datetime": date},
        "assets": {
            "day": {"href": f"https://example.org/{name}.tif"},
            "QC": {"href": f"https://example.org/{name}q.tif"},
        },
    } | more


def months(*texts: str) -> list[dict[str, Any]]:
    return [item(text, f"{text}-01T00:00:00Z") for text in texts]


# --- scenes -------------------------------------------------------------------------------------------------------


def test_a_scene_holds_what_a_worker_needs() -> None:
    wanted = source(quality=(QualityRule("QC", (0, 1), (0,)),), composite=8)
    (scene,) = scenes([item("a", "2005-01-01T00:00:00Z")], wanted)
    assert scene.item == "a"
    assert scene.hrefs == {"day": "https://example.org/a.tif", "QC": "https://example.org/aq.tif"}
    assert (scene.start, scene.end) == (np.datetime64("2005-01-01"), np.datetime64("2005-01-09"))
    assert scene.start.dtype == scene.end.dtype == np.dtype("datetime64[s]")
    assert scene.bbox == (5.0, 47.0, 6.0, 48.0)
    assert scene.decoding == NOTHING
    assert scene.missing == ()


def test_assets_that_lack_are_named() -> None:
    wanted = source(quality=(QualityRule("QC", (0, 1), (0,)),))
    (bare,) = scenes([item("a", "2005-01-01", assets={"QC": {"href": "q.tif"}})], wanted)
    assert bare.missing == ("day",)
    assert bare.hrefs == {"QC": "q.tif"}


def test_scenes_stand_by_start_and_id() -> None:
    items = [item(name, f"2005-01-{day}") for name, day in (("b", "09"), ("c", "01"), ("a", "09"))]
    assert [scene.item for scene in scenes(items, source())] == ["c", "a", "b"]
    assert scenes([], source()) == []


def test_a_scene_is_small_and_survives_pickling() -> None:
    (scene,) = scenes([item("a", "2005-01-01", geometry={"coordinates": [[0.0, 0.0]] * 1000})], source())
    packed = pickle.dumps(scene)
    assert pickle.loads(packed) == scene  # noqa: S301 - packed above
    assert len(packed) < 1500


def test_a_place_is_taken_from_the_geometry_where_there_is_no_bbox() -> None:
    drawn = item("a", "2005-01-01", bbox=None, geometry={"type": "LineString", "coordinates": [[1, 2], [3, 4, 5]]})
    assert scenes([drawn], source())[0].bbox == (1.0, 2.0, 3.0, 4.0)


def test_the_digest_changes_with_what_was_frozen_and_with_nothing_else() -> None:
    def digest(**more: Any) -> str:
        return scenes([item("a", "2005-01-01") | more], source())[0].digest

    dated = {"datetime": "2005-01-01"}
    asset = {"href": "https://example.org/a.tif"}
    digests = [
        digest(),
        digest(id="b"),
        digest(bbox=[5.0, 47.0, 6.0, 49.0]),
        digest(properties={"datetime": "2005-01-02"}),
        digest(properties=dated | {"updated": "2020-01-01T00:00:00Z"}),
        digest(properties=dated | {"created": "2020-01-01T00:00:00Z"}),
        digest(assets={"day": {"href": "https://example.org/b.tif"}}),
        digest(assets={"day": asset | {"file:checksum": "1220ab"}}),
        digest(assets={"day": asset | {"raster:bands": [{"scale": 0.1}]}}),
    ]
    assert len(set(digests)) == len(digests)
    assert digest() == digest(links=[{"rel": "self", "href": "x"}]) == digest(properties=dated | {"eo:cloud_cover": 3})


# --- decoding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asset", "properties", "expected"),
    [
        ({}, {}, {}),
        (
            {"raster:bands": [{"scale": 0.02, "offset": -1, "nodata": 0, "unit": "K"}]},
            {},
            {"scale": 0.02, "offset": -1.0, "nodata": (0.0,), "unit": "K"},
        ),
        (
            {"bands": [{"raster:scale": 0.1, "raster:offset": 5, "nodata": -9, "unit": "mm"}]},
            {},
            {"scale": 0.1, "offset": 5.0, "nodata": (-9.0,), "unit": "mm"},
        ),
        (
            {"raster:scale": 0.1, "raster:offset": 5, "nodata": "nan", "unit": "mm", "bands": [{"name": "b"}]},
            {},
            {"scale": 0.1, "offset": 5.0, "unit": "mm"},
        ),
        (
            {"nodata": "-inf", "raster:bands": [{"scale": None}]},
            {"raster:scale": 2, "unit": "K", "nodata": 7, "scale": 99, "offset": 99},
            {"scale": 2.0, "nodata": (7.0,), "unit": "K"},
        ),
        (
            {
                "raster:bands": [{"scale": 1}],
                "bands": [{"raster:scale": 2, "nodata": 2}],
                "raster:scale": 3,
                "nodata": 3,
            },
            {},
            {"scale": 1.0, "nodata": (2.0, 3.0)},
        ),
        ({"nodata": "0xFF", "raster:scale": "1e-2"}, {}, {"nodata": (255.0,), "scale": 0.01}),
        (
            {"nodata": ["10,5", "N/A", 3], "raster:scale": "see guide"},
            {},
            {"nodata": (3.0,), "unclear": (("nodata", "nodata '10,5'"), ("scale", "scale 'see guide'"))},
        ),
        ({"nodata": "none", "unit": 5, "raster:scale": True, "raster:bands": "odd"}, {}, {}),
    ],
)
def test_metadata_of_any_version_are_read(
    asset: dict[str, Any], properties: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert decoding(asset, properties, 1) == NOTHING | expected


def test_the_band_that_is_wanted_counts() -> None:
    asset = {"raster:bands": [{"scale": 1}, {"scale": 2}], "raster:scale": 9}
    assert [decoding(asset, {}, band)["scale"] for band in (1, 2, 3)] == [1.0, 2.0, 9.0]


@pytest.mark.parametrize("many", [False, True])
def test_jaxa_earth_is_read(many: bool) -> None:
    raster = {
        "dn": {"data_type": "uint16", "min": 10.0, "max": 50000.0, "nodata": 65535.0, "error": [65534.0]},
        "dn2value": {"slope": 0.0001, "offset": -2.0},
        "value": {"unit": "%"},
    }
    assert decoding({"je:rasters": [raster] if many else raster}, {}, 1) == {
        "scale": 0.0001,
        "offset": -2.0,
        "nodata": (65534.0, 65535.0),
        "unit": "%",
        "valid_range": (10.0, 50000.0),
    }
    assert decoding({"je:rasters": {"dn": {"min": 0}, "value": None}}, {}, 1) == NOTHING


# --- static or not ------------------------------------------------------------------------------------------------


def static(items: list[dict[str, Any]], **keys: Any) -> bool:
    wanted = source(**keys)
    return is_static(scenes(items, wanted), wanted, PERIOD)


def test_a_series_is_not_static() -> None:
    assert not static(months("2005-01", "2005-02"))
    assert not static(months("2004-12", "2005-01"))
    assert not static([])


def test_one_date_or_interval_is_static() -> None:
    assert static(months("2005-03"))
    assert static([item("a", "2005-01-01T10:00:00Z"), item("b", "2005-01-01T12:00:00Z")])
    interval = {"start_datetime": "2000-02-11", "end_datetime": "2000-02-22T23:59:59Z"}
    assert static([item(name, "", properties=interval) for name in "ab"])


def test_no_item_in_the_period_is_static() -> None:
    assert static(months("2000-01", "2001-01", "2006-01"))
    assert not static(months("2000-01", "2001-01", "2005-12"))


def test_what_the_source_says_wins_and_a_target_must_say_so() -> None:
    assert static(months("2005-01", "2005-02"), static=True)
    assert not static(months("2005-01"), static=False)
    assert not static(months("2005-01"), role="target")


def test_totals_are_static_only_if_they_say_so() -> None:
    """A single total of eight days holds for no other month."""
    for keys in ({"aggregate": "sum"}, {"aggregate": "rate"}, {"min_coverage": 0.1}):
        assert not static(months("2005-03"), **keys)
        assert static(months("2005-03"), static=True, **keys)
    assert static(months("2005-03"), aggregate="sum", min_coverage=0)


def test_instants_without_a_zone_are_utc() -> None:
    naive = tuple(moment.replace(tzinfo=None) for moment in PERIOD)
    east = tuple(moment.astimezone(UTC) for moment in PERIOD)
    assert to_span(naive) == to_span(east) == (np.datetime64("2005-01-01"), np.datetime64("2006-01-01"))  # type: ignore[arg-type]


# --- extents ------------------------------------------------------------------------------------------------------

LON = st.integers(-180, 180)
LAT = st.integers(-90, 90)
BOXES = st.tuples(LON, LAT, LON, LAT).map(
    lambda v: (float(v[0]), float(min(v[1], v[3])), float(v[2]), float(max(v[1], v[3])))
)


def holds(area: tuple[float, float, float, float], lon: float, lat: float) -> bool:
    west, south, east, north = area
    names = (-180, 180) if abs(lon) == 180 else (lon,)
    inside = any(west <= name <= east if west <= east else name >= west or name <= east for name in names)
    return south <= lat <= north and inside


@given(one=BOXES, other=BOXES)
def test_boxes_intersect_where_they_share_a_point(one: Any, other: Any) -> None:
    """Boxes of whole degrees that share a point share one of whole degrees."""
    lats = {one[1], other[1]}
    shared = any(holds(one, lon, lat) and holds(other, lon, lat) for lon in range(-180, 181) for lat in lats)
    assert intersects(one, other) == intersects(other, one) == shared


@given(area=BOXES, degrees=st.floats(0, 40))
def test_padding_only_adds(area: Any, degrees: float) -> None:
    wider = padded(area, degrees)
    assert all(intersects(wider, piece) for piece in pieces(area))
    for west, south, east, north in pieces(wider):
        assert -180 <= west <= east <= 180
        assert -90 <= south <= north <= 90


def test_longitudes_from_0_to_360_are_brought_back() -> None:
    assert pieces((0.0, -90.0, 360.0, 90.0)) == [WORLD]
    assert pieces((350.0, 0.0, 370.0, 1.0)) == [(-10.0, 0.0, 10.0, 1.0)]
    assert pieces((170.0, 0.0, 190.0, 1.0)) == [(170.0, 0.0, 180.0, 1.0), (-180.0, 0.0, -170.0, 1.0)]
    assert pieces((-180.0, 0.0, 180.0, 1.0)) == [(-180.0, 0.0, 180.0, 1.0)]


@pytest.mark.parametrize(
    "values", [None, [], [1, 2, 3], "abcd", [1, 2, 3, "4"], [1, 2, 3, float("nan")], [0, 5, 1, 4], [1, 2, 3, 4, 5]]
)
def test_what_is_no_box_is_none(values: Any) -> None:
    assert box(values) is None


def test_boxes_and_geometries_are_read() -> None:
    assert box([1, 2, 3, 4]) == (1.0, 2.0, 3.0, 4.0)
    assert box((1, 2, -100, 3, 4, 900)) == (1.0, 2.0, 3.0, 4.0)
    ring = [[0, 0], [4, 0], [4, 3], [0, 0]]
    assert geometry_box({"type": "MultiPolygon", "coordinates": [[ring], [[[9, 9], [9, 9]]]]}) == (0.0, 0.0, 9.0, 9.0)
    collection = {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2, 3]}]}
    assert geometry_box(collection) == (1.0, 2.0, 1.0, 2.0)
    assert geometry_box(None) is None
    assert geometry_box({"type": "Point", "coordinates": []}) is None


# --- links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "href", "expected"),
    [
        ("/data/c/catalog.json", "./a/item.json", "/data/c/a/item.json"),
        ("/data/c/catalog.json", "../b#1?.tif", "/data/b#1?.tif"),
        ("/data/c/catalog.json", "/other/x.tif", "/other/x.tif"),
        ("/data/c/catalog.json", "file:///other/x.tif", "/other/x.tif"),
        ("/data/c/catalog.json", "s3://bucket/x.tif", "s3://bucket/x.tif"),
        ("https://h/c/catalog.json?sig=1", "../x.tif", "https://h/x.tif"),
        ("https://h/c/catalog.json", "/x.tif?v=2", "https://h/x.tif?v=2"),
        ("https://h/c/catalog.json", "//g/x.tif", "https://g/x.tif"),
        ("https://h/c/catalog.json", "/vsicurl/https://g/x.tif", "https://g/x.tif"),
        ("/data/c/catalog.json", "/vsis3/bucket/a b.tif", "s3://bucket/a b.tif"),
        ("/data/c/catalog.json", "/vsizip//vsicurl/https://g/x.zip/x.tif", "/vsizip//vsicurl/https://g/x.zip/x.tif"),
        ("/data/c/catalog.json", "file:/other/a%20b.tif", "/other/a b.tif"),
        ("/data/c/catalog.json", "file://localhost/other/%E5%B1%B1%20%E8%A5%BF.tif", "/other/山 西.tif"),
        ("/data/c/catalog.json", "FILE:///other/a%2520b%23c%3Fd+e.tif", "/other/a%20b#c?d+e.tif"),
        ("https://h/c/catalog.json", "a b/山.tif", "https://h/c/a%20b/%E5%B1%B1.tif"),
        ("https://h/c/catalog.json", "a%20b/100%.tif", "https://h/c/a%20b/100%25.tif"),
        ("https://h/c/catalog.json", "https://g/a b.tif?sig=a%2Bb%3D&t=1+2", "https://g/a%20b.tif?sig=a%2Bb%3D&t=1+2"),
        ("https://h/a b/catalog.json", "x.tif", "https://h/a%20b/x.tif"),
        ("s3://bucket/a b/catalog.json", "c d.tif", "s3://bucket/a b/c d.tif"),
        ("s3://bucket/a/catalog.json", "s3://other/a%20b?c#d.tif", "s3://other/a%20b?c#d.tif"),
        ("s3://bucket/c/catalog.json", "./a/../x.tif", "s3://bucket/c/x.tif"),
        ("s3://bucket/c/catalog.json", "/x.tif", "s3://bucket/x.tif"),
    ],
)
def test_links_are_resolved(base: str, href: str, expected: str) -> None:
    assert documents.resolve(base, href) == expected


@pytest.mark.parametrize("real", ["a b.tif", "a%20b.tif", "山 西.tif", "a#1.tif", "a?b.tif", "a+b.tif", "100%.tif"])
def test_a_local_name_is_found_however_it_is_written(real: str, tmp_path: Path) -> None:
    """A catalog written by hand, one copied from the web, and the URI that Python writes."""
    path = tmp_path / real
    path.touch()
    base = str(tmp_path / "catalog.json")
    hrefs = [f"./{real}", quote(real), str(path), quote(str(path)), path.as_uri(), f"file://{path}"]
    if "%20" in real:  # to be encoded once more, it would be another name
        hrefs = [f"./{real}", str(path), path.as_uri(), f"file://{path}"]
    for href in hrefs:
        assert documents.resolve(base, href) == str(path), href
    assert documents.rooted(path.as_uri()) == storage.resolve(path.as_uri(), "/") == str(path)
    assert documents.resolve("/elsewhere/c.json", storage.as_href(str(path))) == str(path)


def test_a_relative_path_of_windows_is_found(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "c.tif").touch()
    assert documents.resolve(str(tmp_path / "catalog.json"), "a b\\c.tif") == str(tmp_path / "a b" / "c.tif")


def test_the_query_of_a_signed_url_is_no_part_of_a_file_that_was_copied(tmp_path: Path) -> None:
    (tmp_path / "a b.tif").touch()
    assert documents.resolve(str(tmp_path / "c.json"), "a%20b.tif?sig=x%2By") == str(tmp_path / "a b.tif")


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("https://h/a b.tif?sig=a%2Bb", "/vsicurl/https://h/a%20b.tif?sig=a%2Bb"),
        ("s3://bucket/a b#c?d.tif", "/vsis3/bucket/a b#c?d.tif"),
        ("file:///data/a%20b.tif", "/data/a b.tif"),
        ("/data/a%20b.tif", "/data/a%20b.tif"),
    ],
)
def test_gdal_opens_an_asset_by_its_name_there(href: str, expected: str) -> None:
    assert storage.gdal_path(href) == expected


def test_messages_show_no_secret() -> None:
    text = storage.shown("got https://me:pw@h/x.tif?sig=abc&se=1 and 's3://b/y.json'")
    assert text == "got https://…h/x.tif?… and 's3://b/y.json'"


def test_scenes_are_frozen() -> None:
    (scene,) = scenes([item("a", "2005-01-01")], source())
    assert isinstance(scene, Scene)
    with pytest.raises(AttributeError):
        scene.item = "b"  # type: ignore[misc]
