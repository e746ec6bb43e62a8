"""Areas from GeoJSON as GIS programs write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import box

from soilscale.config import geojson
from soilscale.errors import ConfigurationError

Json = dict[str, Any]
SQUARE = box(108.0, 34.5, 108.5, 35.0)


def plain(shape: shapely.Geometry) -> Json:
    found: Json = json.loads(shapely.to_geojson(shape))
    return found


def feature(geometry: Any, **properties: Any) -> Json:
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def features(*parts: Json, **more: Any) -> Json:
    return {"type": "FeatureCollection", "features": list(parts), **more}


def named(crs: str) -> Json:
    return {"type": "name", "properties": {"name": crs}}


def metres(shape: shapely.Geometry, crs: str, points: int = 200) -> shapely.Geometry:
    to_map = Transformer.from_crs(4326, crs, always_xy=True)
    return shapely.transform(shapely.segmentize(shape, 0.5 / points), to_map.transform, interleaved=False)


def read(folder: Path, content: Any) -> shapely.Geometry:
    path = folder / "a.geojson"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return geojson.polygon(str(path))


UTM = metres(SQUARE, "EPSG:32649")
LINE = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}


@pytest.mark.parametrize(
    "content",
    [
        plain(SQUARE),
        feature(plain(SQUARE)),
        features(feature(None), feature(plain(SQUARE))),
        features(feature(plain(SQUARE)), feature(None), feature({"type": "Polygon", "coordinates": []})),
        features(feature(plain(SQUARE)), feature(LINE, name="river")),
        features(feature({"type": "GeometryCollection", "geometries": [LINE, plain(SQUARE)]})),
        features(feature(plain(box(108.0, 34.5, 108.3, 35.0))), feature(plain(box(108.3, 34.5, 108.5, 35.0)))),
        features(feature({"type": "Polygon", "coordinates": [[[*xy, 400.0] for xy in SQUARE.exterior.coords]]})),
        features(feature(plain(SQUARE)), crs=named("urn:ogc:def:crs:OGC:1.3:CRS84")),
        features(feature(plain(SQUARE)), crs=named("urn:ogc:def:crs:EPSG::4326")),
        features(feature(plain(SQUARE)), crs=None),
        features(feature(plain(box(-252.0, 34.5, -251.5, 35.0)))),
        b"\xef\xbb\xbf" + json.dumps(plain(SQUARE)).encode(),
        json.dumps(features(feature(plain(SQUARE), name="Gemüse"))).encode("utf-16"),
        json.dumps(features(feature(plain(SQUARE), name="Gemüse")), ensure_ascii=False).encode("latin-1"),
        "\n".join(json.dumps(feature(plain(part))) for part in (SQUARE, box(108.1, 34.6, 108.2, 34.7))).encode(),
    ],
    ids=lambda content: str(content)[:40],
)
def test_what_gis_programs_write_is_read(content: Any, tmp_path: Path) -> None:
    found = read(tmp_path, content)
    assert found.symmetric_difference(SQUARE).area < 1e-9


@pytest.mark.parametrize("crs", ["EPSG:32649", "EPSG:32749", "EPSG:3857", "EPSG:4490", "ESRI:102025"])
@pytest.mark.parametrize("spelt", ["{}", "urn:ogc:def:crs:{0}::{1}", "number"])
def test_a_crs_is_followed(crs: str, spelt: str, tmp_path: Path) -> None:
    authority, code = crs.split(":")
    member = named(spelt.format(crs if spelt == "{}" else authority, code))
    if spelt == "number":
        if authority != "EPSG":
            pytest.skip("a number is a code of EPSG")
        member = {"type": "EPSG", "properties": {"code": int(code)}}
    content = features(feature(None), feature(plain(metres(SQUARE, crs))), crs=member)
    assert read(tmp_path, content).symmetric_difference(SQUARE).area < 1e-4


def test_metres_across_180_degrees_stay_one_polygon(tmp_path: Path) -> None:
    fiji = box(179.0, -18.0, 181.0, -16.0)
    content = features(feature(plain(metres(fiji, "EPSG:32760", 20))), crs=named("EPSG:32760"))
    found = read(tmp_path, content)
    assert found.bounds == pytest.approx(fiji.bounds, abs=1e-3)
    halves = features(feature(plain(box(179, -18, 180, -16))), feature(plain(box(-180, -18, -179, -16))))
    assert read(tmp_path, halves).bounds == fiji.bounds


def test_a_polygon_that_crosses_itself_is_repaired_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bow = {"type": "Polygon", "coordinates": [[[108, 34], [109, 35], [109, 34], [108, 35], [108, 34]]]}
    found = read(tmp_path, features(feature(plain(SQUARE)), feature(bow, name="Wei")))
    assert found.is_valid
    assert found.area == pytest.approx(SQUARE.union(shapely.make_valid(shapely.from_geojson(json.dumps(bow)))).area)
    assert "feature 2 ('Wei'): the polygon is not valid (Self-intersection" in caplog.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (features(), r"a\.geojson contains no feature"),
        (features(feature(None)), "holds no polygon"),
        (features(feature(LINE, name="Wei")), r"holds no polygon: feature 1 \('Wei'\) is a LineString"),
        (features(feature(plain(UTM))), r"feature 1: the coordinates, such as .*look like metres.* names no crs"),
        (features(feature(plain(UTM)), crs=named("CRS84")), "look like metres"),
        (features(feature(plain(SQUARE)), crs=named("EPSG:32649")), "look like degrees.*crs is WGS 84 / UTM zone 49N"),
        (features(feature(plain(box(34.5, 108.0, 35.0, 108.5)))), "latitude and longitude are swapped"),
        (features(feature(plain(SQUARE)), crs=named("EPSG:99999")), r"its crs .*EPSG:99999.* is unknown"),
        (features(feature({"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}, id=7)), r"feature 1 \(7\) has a"),
        (features(feature({"type": "Polygon", "coordinates": "x"})), "feature 1 has a geometry that cannot be read"),
        (features(feature({"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [1, 1], [1, 1]]]})), "encloses nothing"),
        (
            features(
                feature({"type": "Polygon", "coordinates": [[[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]]})
            ),
            "feature 1 has an edge that is 358 degrees long; if the polygon crosses 180 degrees, split it",
        ),
        ({"type": "Topology", "objects": {}}, "its type is 'Topology'"),
        ([1], "its type is 'list'"),
        (b"<kml>", r"not a GeoJSON file: .*begins with '<kml>'.*ogr2ogr"),
        (b"", "not a GeoJSON file"),
    ],
)
def test_what_cannot_be_an_area_is_named(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"(?s)area\.geometry: .*{words}"):
        read(tmp_path, content)
