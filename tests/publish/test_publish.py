"""The maps as others take them: what a reader finds in the COGs, and what a STAC client finds on disk."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile
from shapely.geometry import Point, shape

from soilscale import publish
from soilscale.publish import MAP_BAND, OPTIONAL_BANDS, QUALITY_BAND, Band
from soilscale.schema import Quality
from worlds import box, lonlat

Array = NDArray[Any]

ODD = "+proj=aea +lat_1=25 +lat_2=47 +lat_0=36.5 +lon_0=105 +x_0=1234.5 +ellps=krass +units=m +no_defs"
"""An Albers projection that no authority lists, on a datum that is not named."""
LIKE_LAEA = "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=m +no_defs"
"""The formula of EPSG:3035 without its datum: fuzzy look-ups call it IGNF:ETRS89LAEA."""
LIKE_EASE = "+proj=cea +lat_ts=30 +lon_0=0 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"
"""The formula of EPSG:6933 without its name: fuzzy look-ups call it that."""

GRIDS: Mapping[str, GeoBox] = {
    "EPSG:3035": box("EPSG:3035", 3_973_369.0, 2_951_847.0, 1000.0, (40, 30)),
    "EPSG:4326": box("EPSG:4326", 108.25, 35.75, 0.25 / 24, (48, 72)),
    "EPSG:6933": box("EPSG:6933", 25_025.26 * 400, 25_025.26 * 180, 25_025.26 / 25, (25, 50)),
    ODD: box(ODD, -250_000.5, 123_456.75, 1000 / 3, (30, 60)),
}
MONTH = np.datetime64("2005-07"), np.datetime64("2005-08")


def soil(rows: int = 40, columns: int = 30, seed: int = 0) -> Array:
    """Map with a gap."""
    values = np.random.default_rng(seed).uniform(0.05, 0.45, (rows, columns)).astype("float32")
    values[: rows // 5, : columns // 5] = np.nan
    return values


def flags(rows: int = 40, columns: int = 30) -> Array:
    """Quality layer that holds every value a byte can have, if it is large enough."""
    return (np.arange(rows * columns) % 256).reshape(rows, columns).astype("uint8")


def square(size: int = 40) -> GeoBox:
    return box("EPSG:3035", 4_000_000, 3_000_000, 1000, (size, size))


# The files


def directories(content: bytes) -> list[dict[int, tuple[int, ...]]]:
    """Image file directories of a classic little-endian TIFF: tag -> whole numbers; 0 -> where the directory lies."""
    order, version, offset = struct.unpack_from("<2sHI", content)
    assert (order, version) == (b"II", 42)
    found = []
    while offset:
        entries: dict[int, tuple[int, ...]] = {0: (offset,)}
        (count,) = struct.unpack_from("<H", content, offset)
        for at in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind, size = struct.unpack_from("<HHI", content, at)
            code = {3: "H", 4: "I"}.get(kind)
            if code:
                form = f"<{size}{code}"
                start = at + 8 if struct.calcsize(form) <= 4 else struct.unpack_from("<I", content, at + 8)[0]
                entries[tag] = struct.unpack_from(form, content, start)
        found.append(entries)
        (offset,) = struct.unpack_from("<I", content, offset + 2 + 12 * count)
    return found


WIDTH, HEIGHT, OFFSETS, COUNTS, SUBFILE = 256, 257, 324, 325, 254


@pytest.mark.parametrize(
    ("shape_", "sizes"),
    [
        ((1100, 700), [(1100, 700), (550, 350), (275, 175), (137, 87)]),
        ((300, 520), [(300, 520), (150, 260), (75, 130)]),
        ((256, 256), [(256, 256), (128, 128)]),
        ((4, 6), [(4, 6), (2, 3)]),
    ],
)
@pytest.mark.parametrize("band", [MAP_BAND, QUALITY_BAND], ids=lambda band: band.name)
def test_files_are_cloud_optimized(band: Band, shape_: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
    """Directories first, full size before its overviews; then the tiles, smallest overview first."""
    values = soil(*shape_) if band is MAP_BAND else flags(*shape_)
    block = {1100: 512, 300: 512, 256: 256, 4: 128}[shape_[0]]
    content = publish.cog(values, box("EPSG:3035", 4e6, 3e6, 1000, shape_), band)
    assert b"LAYOUT=IFDS_BEFORE_DATA" in content[:400]
    assert b"KNOWN_INCOMPATIBLE_EDITION=NO" in content[:400]
    found = directories(content)
    assert [(one[HEIGHT][0], one[WIDTH][0]) for one in found] == sizes
    assert [one.get(SUBFILE, (0,))[0] for one in found] == [0] + [1] * (len(sizes) - 1)
    places = [one[0][0] for one in found]
    assert places == sorted(places)
    tiles = [[at for at, size in zip(one[OFFSETS], one[COUNTS], strict=True) if size] for one in found]
    assert all(tiles)
    assert places[-1] < min(map(min, tiles))
    for larger, smaller in itertools.pairwise(tiles):
        assert max(smaller) < min(larger)
    with MemoryFile(content) as memory, memory.open() as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(block, block)]
        assert file.overviews(1) == [2**step for step in range(1, len(sizes))]


@pytest.mark.parametrize("name", GRIDS)
def test_the_grid_of_a_file_is_exact(name: str) -> None:
    geobox = GRIDS[name]
    with MemoryFile(publish.cog(soil(*geobox.shape), geobox, MAP_BAND)) as memory, memory.open() as file:
        assert CRS.from_wkt(file.crs.to_wkt(version="WKT2_2019")) == CRS.from_user_input(name)
        assert file.transform == geobox.transform
        assert file.shape == geobox.shape
        assert file.tags()["AREA_OR_POINT"] == "Area"


@pytest.mark.parametrize("band", [MAP_BAND, *OPTIONAL_BANDS.values()], ids=lambda band: band.name)
def test_a_map_says_what_it_is(band: Band) -> None:
    values = np.array([[0.1, 0.2, 0.3], [0.4, np.nan, np.nan]], "float32")
    tags = {"SOILSCALE_ID": "here-month-2005-07", "SOILSCALE_NOTE": "a: b=c"}
    content = publish.cog(values, box("EPSG:4326", 100, 40, 0.5, (2, 3)), band, tags)
    with MemoryFile(content) as memory, memory.open() as file:
        assert (file.count, file.dtypes) == (1, ("float32",))
        np.testing.assert_array_equal(file.read(1), values)
        np.testing.assert_array_equal(file.read_masks(1) > 0, np.isfinite(values))
        assert np.isnan(file.nodata)
        assert file.units == (band.units,)
        assert file.descriptions == (band.long_name,)
        assert file.colorinterp == (ColorInterp.gray,)
        assert tags.items() <= file.tags().items()
        told = {name: float(value) for name, value in file.tags(1).items() if name.startswith("STATISTICS_")}
    assert told == pytest.approx(
        {
            "STATISTICS_MINIMUM": 0.1,
            "STATISTICS_MAXIMUM": 0.4,
            "STATISTICS_MEAN": 0.25,
            "STATISTICS_STDDEV": np.sqrt((0.15**2 + 0.05**2) / 2),
            "STATISTICS_VALID_PERCENT": 400 / 6,
        },
        rel=1e-6,
    )


def test_a_map_without_any_value_has_no_extremes() -> None:
    values = np.full((4, 4), np.nan, "float32")
    assert publish.statistics(values, np.nan) == {"valid_percent": 0}
    with MemoryFile(publish.cog(values, square(4), MAP_BAND)) as memory, memory.open() as file:
        assert {name for name in file.tags(1) if name.startswith("STATISTICS")} == {"STATISTICS_VALID_PERCENT"}
        assert np.isnan(file.read(1)).all()


@given(
    st.lists(st.floats(0, 0.5, width=32) | st.just(np.nan), min_size=1, max_size=30),
    st.sampled_from([np.nan, 0.0]),
)
def test_statistics_are_those_of_the_valid_cells(cells: list[float], nodata: float) -> None:
    values = np.array([cells], "float32")
    valid = [float(v) for v in values[0] if not np.isnan(v) and v != nodata]
    told = publish.statistics(values, nodata)
    assert told["valid_percent"] == pytest.approx(100 * len(valid) / len(cells))
    assert ("minimum" in told) == bool(valid)
    if valid:
        assert (told["minimum"], told["maximum"]) == (min(valid), max(valid))
        assert told["mean"] == pytest.approx(sum(valid) / len(valid))
        assert told["stddev"] == pytest.approx(np.std(valid), abs=1e-12)


def test_overviews_of_a_map_are_means_of_its_valid_cells() -> None:
    values = np.repeat(np.array([[0.1, 0.3], [0.2, np.nan]], "float32"), 256, axis=0).repeat(256, axis=1)
    values[::2] += np.float32(0.1)
    values[1, 1] = np.nan
    with MemoryFile(publish.cog(values, square(512), MAP_BAND)) as memory, memory.open(overview_level=0) as file:
        found = file.read(1)
    assert found.shape == (256, 256)
    np.testing.assert_allclose(found[0, 0], (0.2 + 0.2 + 0.1) / 3, rtol=1e-6)
    np.testing.assert_allclose(found[1:128, :128], 0.15, rtol=1e-6)
    np.testing.assert_allclose(found[:128, 128:], 0.35, rtol=1e-6)
    np.testing.assert_allclose(found[128:, :128], 0.25, rtol=1e-6)
    assert np.isnan(found[128:, 128:]).all()


def test_overviews_of_quality_hold_no_value_that_the_layer_has_not() -> None:
    values = np.random.default_rng(1).choice(
        np.array([1, 2, 5, 9, 16], "uint8"), (512, 512), p=[0.6, 0.1, 0.1, 0.1, 0.1]
    )
    with MemoryFile(publish.cog(values, square(512), QUALITY_BAND)) as memory, memory.open(overview_level=0) as file:
        found = file.read(1)
    assert set(np.unique(found)) <= {1, 2, 5, 9, 16}
    assert (found == 1).mean() > 0.6


@pytest.mark.parametrize("band", [MAP_BAND, QUALITY_BAND], ids=lambda band: band.name)
def test_the_same_input_gives_the_same_bytes(band: Band) -> None:
    values = soil(300, 300) if band is MAP_BAND else flags(300, 300)
    one, other = (publish.cog(values.copy(), square(300), band, {"SOILSCALE_ID": "a"}) for _ in range(2))
    assert one == other
    values[250, 250] = 0
    assert publish.cog(values, square(300), band, {"SOILSCALE_ID": "a"}) != one


# The colours of the quality layer

MORE = [bit for bit in Quality if bit not in (Quality.OBSERVED, Quality.PREDICTED, Quality.OUTSIDE)]
FURTHER = [sum(bits) for count in range(len(MORE) + 1) for bits in itertools.combinations(MORE, count)]
POSSIBLE = [0, int(Quality.OUTSIDE), int(Quality.FROZEN), *(origin + more for origin in (1, 2) for more in FURTHER)]
"""Values that a quality layer can hold: a cell with a value has one origin and any of five further bits."""


def test_every_quality_has_a_colour_of_its_own() -> None:
    assert len(POSSIBLE) == 67
    colours = np.array([publish.quality_colour(value) for value in POSSIBLE])
    assert (colours.sum(axis=1) > 60).all()  # none looks like a value without a colour
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 1000 * np.eye(len(POSSIBLE))
    assert apart.min() >= 10


def test_no_combination_of_bits_is_black() -> None:
    assert min(sum(publish.quality_colour(value)) for value in range(256)) > 60


def test_colours_follow_from_the_bits() -> None:
    assert publish.quality_colour(0) == (255, 255, 255)
    assert publish.quality_colour(Quality.OBSERVED) == (66, 146, 198)
    assert publish.quality_colour(Quality.PREDICTED) == (253, 174, 97)
    # 0.55 of the origin's colour and 0.45 of green
    assert publish.quality_colour(Quality.OBSERVED | Quality.GAP_FILLED) == (36, 152, 136)
    # 0.55 of the origin's colour and 0.45 of black
    assert publish.quality_colour(Quality.PREDICTED | Quality.COMPREHENSIVE) == (139, 96, 53)


@given(st.integers(0, 255))
def test_bits_without_a_meaning_do_not_colour(value: int) -> None:
    assert publish.QUALITY_COLOURS[value] == publish.quality_colour(value & sum(Quality))


def test_the_quality_file_has_a_colour_table_of_256() -> None:
    values = flags()
    with MemoryFile(publish.cog(values, square(40)[:, :30], QUALITY_BAND)) as memory, memory.open() as file:
        np.testing.assert_array_equal(file.read(1), values)
        assert (file.dtypes, file.nodata, file.units) == (("uint8",), 0, ("1",))
        assert file.descriptions == (QUALITY_BAND.long_name,)
        assert file.colorinterp == (ColorInterp.palette,)
        table = file.colormap(1)
        assert len(table) == 256
        for value in range(1, 256):
            assert table[value] == (*publish.quality_colour(value), 255)
        assert file.tags(1)["STATISTICS_MINIMUM"] == "1"


# Where a map lies on the Earth

ACROSS = {
    "a grid of degrees beyond 180": (box("EPSG:4326", 170, 10, 0.5, (20, 40)), [170, 0, -170, 10]),
    "Fiji in a Mercator about 150 E": (
        box("EPSG:3832", 2.7e6, -1.8e6, 10_000, (40, 160)),
        [174.2545127, -19.5031019, -171.3724428, -16.0612327],
    ),
    "the last column of a global grid": (
        box("EPSG:6933", 16.5e6, -1.5e6, 25_000, (20, 35)),
        [171.0087689, -15.8743405, -179.9225843, -11.8398217],
    ),
}


@pytest.mark.parametrize("name", ACROSS)
def test_a_grid_across_the_antimeridian_is_cut_there(name: str) -> None:
    """RFC 7946: the geometry is cut in two (3.1.9), and the west of its box is greater than the east (5.2)."""
    geobox, expected = ACROSS[name]
    outline, bbox = publish.footprint(geobox)
    assert bbox == pytest.approx(expected, abs=1e-6)
    west, south, east, north = bbox
    assert west > east
    assert outline.geom_type == "MultiPolygon"
    assert outline.is_valid
    eastern, western = sorted(outline.geoms, key=lambda part: -part.bounds[0])
    assert eastern.bounds == pytest.approx((west, south, 180, north), abs=1e-6)
    assert western.bounds == pytest.approx((-180, south, east, north), abs=1e-6)


@pytest.mark.parametrize(
    ("geobox", "expected"),
    [
        (box("EPSG:4326", 108, 35, 0.25, (12, 12)), [108, 32, 111, 35]),
        (box("EPSG:4326", -180, 90, 0.25, (720, 1440)), [-180, -90, 180, 90]),
        (box("EPSG:4326", 170, 10, 0.5, (20, 20)), [170, 0, 180, 10]),
        (box("EPSG:4326", -180, 10, 0.5, (20, 20)), [-180, 0, -170, 10]),
        (box("EPSG:4326", 200, 10, 0.5, (20, 20)), [-160, 0, -150, 10]),  # counted from 0 to 360
        (
            box("EPSG:6933", -17_375_000, 2_500_000, 25_000, (200, 1390)),
            [-180, -19.98, 180, 19.98],
        ),  # a bit more than all
    ],
)
def test_a_grid_within_the_antimeridian_is_one_rectangle(geobox: GeoBox, expected: list[float]) -> None:
    outline, bbox = publish.footprint(geobox)
    assert bbox == pytest.approx(expected, abs=0.01)
    assert outline.geom_type == "Polygon"
    assert outline.bounds == pytest.approx(bbox, abs=1e-9)
    assert outline.area == pytest.approx((bbox[2] - bbox[0]) * (bbox[3] - bbox[1]))


@pytest.mark.parametrize(("crs", "latitude"), [("EPSG:6931", 90), ("EPSG:3031", -90)])
def test_a_grid_around_a_pole_reaches_it_at_every_longitude(crs: str, latitude: float) -> None:
    geobox = box(crs, -3e6, 2e6, 100_000, (50, 50))
    outline, bbox = publish.footprint(geobox)
    assert (bbox[0], bbox[2]) == (-180, 180)
    assert latitude in bbox
    assert outline.is_valid
    everywhere = [Point(longitude, 0.99 * latitude) for longitude in range(-180, 181, 20)]
    assert all(outline.intersects(point) for point in everywhere)


@given(
    st.sampled_from(["EPSG:4326", "EPSG:3832", "EPSG:3035", "EPSG:6933", "+proj=laea +lat_0=60 +lon_0=175"]),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.integers(1, 20),
    st.integers(1, 20),
)
@settings(deadline=None, max_examples=40)
def test_every_cell_lies_in_the_outline_and_in_the_box(crs: str, x: float, y: float, rows: int, columns: int) -> None:
    at, pixel = {
        "EPSG:4326": ((180 * x, 40 * y), 0.5),
        "EPSG:3832": ((5e6 * x, 5e6 * y), 50_000),
        "EPSG:3035": ((4e6 + 1e6 * x, 4e6 + 1e6 * y), 50_000),
        "EPSG:6933": ((17e6 * x, 5e6 * y), 50_000),
    }.get(crs, ((1e6 * x, 1e6 * y), 50_000))
    geobox = box(crs, *at, pixel, (rows, columns))
    outline, (west, south, east, north) = publish.footprint(geobox)
    assert outline.is_valid
    assert -180 <= west <= 180
    assert -180 <= east <= 180
    parts = shapely.get_parts(outline)
    assert all(part.exterior.is_ccw for part in parts)
    assert np.abs(shapely.bounds(parts)[:, ::2]).max() <= 180
    longitude, latitude = (values.ravel() for values in lonlat(geobox))
    longitude = (longitude + 180) % 360 - 180
    assert shapely.contains_xy(outline.buffer(1e-6), longitude, latitude).all()
    beside = (longitude >= west) & (longitude <= east) if west <= east else (longitude >= west) | (longitude <= east)
    assert beside.all()
    assert ((latitude >= south) & (latitude <= north)).all()


# The coordinate reference system in STAC's words


@pytest.mark.parametrize("code", ["EPSG:3035", "EPSG:4326", "EPSG:6933", "EPSG:32632", "ESRI:54009", "OGC:CRS84"])
def test_a_listed_crs_is_told_by_its_code(code: str) -> None:
    told = item(box(code, 10, 20, 0.5, (4, 4)))["properties"]
    assert told["proj:code"] == code
    assert "proj:wkt2" not in told


def test_a_listed_crs_given_as_wkt_is_told_by_its_code() -> None:
    told = item(box(CRS.from_epsg(3035).to_wkt(), 4e6, 3e6, 1000, (4, 4)))["properties"]
    assert told["proj:code"] == "EPSG:3035"


@pytest.mark.parametrize("crs", [ODD, LIKE_LAEA, LIKE_EASE, "+proj=longlat +datum=WGS84"])
def test_a_crs_that_no_code_names_exactly_is_told_in_full(crs: str) -> None:
    told = item(box(crs, 10, 20, 0.5, (4, 4)))["properties"]
    assert told["proj:code"] is None
    assert CRS.from_wkt(told["proj:wkt2"]) == CRS.from_user_input(crs)
    assert CRS.from_json_dict(told["proj:projjson"]) == CRS.from_user_input(crs)


def test_a_code_that_a_crs_claims_wrongly_is_not_believed() -> None:
    """A definition that says it is EPSG:3035, but lies ten kilometres beside it."""
    wkt = CRS.from_epsg(3035).to_wkt().replace("4321000", "4331000")
    assert 'ID["EPSG",3035]' in wkt
    geobox = box(wkt, 4e6, 3e6, 1000, (4, 4))
    told = item(geobox)["properties"]
    assert told["proj:code"] is None
    assert "id" not in told["proj:projjson"]
    with MemoryFile(publish.cog(soil(4, 4), geobox, MAP_BAND)) as memory, memory.open() as file:
        assert file.crs.to_dict()["x_0"] == 4_331_000
    assert "4331000" in told["proj:wkt2"]


# The catalog

ABOUT, FIRST = publish.About(), publish.CatalogVersion("1", "2026-11-30T12:00:00Z")


def file(band: Band, figures: Mapping[str, float]) -> publish.File:
    """File of a layer, of which the item alone is looked at."""
    return publish.File(f"{band.name}.tif", 100, "0" * 64, band, figures)


def item(geobox: GeoBox, name: str = "here-month-2005-07", **changed: Any) -> dict[str, Any]:
    """Item of a map and its quality."""
    files = {
        "soil_moisture": file(MAP_BAND, publish.statistics(soil(*geobox.shape), np.nan)),
        "quality": file(QUALITY_BAND, publish.statistics(flags(*geobox.shape), 0)),
    }
    keys: dict[str, Any] = {
        "collection": "here-month",
        "span": MONTH,
        "files": files,
        "properties": {"title": "July", "soilscale:algorithm": "knn", "soilscale:accuracy": {"rmse_blocked": 0.03}},
        "sources": [],
        "scale": (0.05, 0.45),
    }
    keys |= changed
    return json.loads(json.dumps(publish.item(name, geobox=geobox, **keys), allow_nan=False))


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def publish_all(folder: Path, geobox: GeoBox) -> pystac.Catalog:
    """Catalog on disk of two monthly maps and a seasonal one, which derive from an item beside it."""
    origin = {"href": str(folder / "rain.json"), "title": "rain: rain-2005-07"}
    write(folder / "rain.json", {"type": "Feature", "id": "rain-2005-07"})
    spans = {
        "month": {"2005-06": ("2005-06", "2005-07"), "2005-07": ("2005-07", "2005-08")},
        "season": {"2005-06": ("2005-06", "2005-09")},
    }
    for every, maps in spans.items():
        items = {}
        for start, (first, after) in maps.items():
            name = f"here-{every}-{start}"
            place = folder / "maps" / every / name / "1a2b"
            span = np.datetime64(first), np.datetime64(after)
            told = item(geobox, name, collection=f"here-{every}", span=span, sources=[origin])
            items[f"./{name}/1a2b/{name}.json"] = told
            write(place / f"{name}.json", told)
            for band, values in ((MAP_BAND, soil(*geobox.shape)), (QUALITY_BAND, flags(*geobox.shape))):
                (place / f"{band.name}.tif").write_bytes(publish.cog(values, geobox, band, {"SOILSCALE_ID": name}))
        told = publish.collection(every, "here", items, ABOUT, FIRST)
        write(folder / "maps" / every / "collection.json", told)
    write(folder / "maps" / "catalog.json", publish.catalog("here", list(spans), ABOUT, FIRST))
    return pystac.Catalog.from_file(str(folder / "maps" / "catalog.json"))


@pytest.fixture(params=GRIDS, scope="module")
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pystac.Catalog:
    return publish_all(tmp_path_factory.mktemp("published"), GRIDS[request.param])


def test_the_catalog_is_valid_stac_without_a_network(published: pystac.Catalog) -> None:
    assert published.validate_all() == 3
    for name in ("here-month", "here-season"):
        child = published.get_child(name)
        assert child is not None
        assert child.validate()


def test_every_link_leads_to_a_file(published: pystac.Catalog) -> None:
    children = {child.id: child for child in published.get_children()}
    assert children.keys() == {"here-month", "here-season"}
    found = {one.id: one for one in published.get_items(recursive=True)}
    assert found.keys() == {"here-month-2005-06", "here-month-2005-07", "here-season-2005-06"}
    for one in (published, *children.values(), *found.values()):
        for link in one.links:
            assert Path(str(link.get_absolute_href())).is_file(), link
    for one in found.values():
        assert one.get_root() is published
        assert one.get_parent() is one.get_collection() is children[str(one.collection_id)]
        (origin,) = one.get_links("derived_from")
        assert (origin.title, origin.media_type) == ("rain: rain-2005-07", "application/geo+json")
        assert json.loads(Path(str(origin.get_absolute_href())).read_text())["id"] == "rain-2005-07"


def test_items_say_what_their_files_say(published: pystac.Catalog) -> None:
    for one in published.get_items(recursive=True):
        for name, asset in one.assets.items():
            with rasterio.open(asset.get_absolute_href()) as file:
                assert file.tags()["SOILSCALE_ID"] == one.id
                assert tuple(one.properties["proj:shape"]) == file.shape
                assert Affine(*one.properties["proj:transform"]) == file.transform
                code = one.properties["proj:code"]
                crs = CRS.from_user_input(code) if code else CRS.from_wkt(one.properties["proj:wkt2"])
                assert CRS.from_wkt(file.crs.to_wkt(version="WKT2_2019")) == crs
                told = asset.extra_fields
                assert told["data_type"] == file.dtypes[0]
                np.testing.assert_equal(float(told["nodata"]), float(file.nodata))
                assert told["unit"] == file.units[0]
                assert told["bands"] == [{"name": name, "description": file.descriptions[0]}]
                for key, value in told["statistics"].items():
                    assert float(file.tags(1)[f"STATISTICS_{key.upper()}"]) == pytest.approx(value)
        assert one.assets["soil_moisture"].roles == ["data"]
        assert one.assets["quality"].roles == ["metadata"]
        assert {asset.media_type for asset in one.assets.values()} == {pystac.MediaType.COG}


def test_an_item_tells_its_interval_its_origin_and_how_to_show_it() -> None:
    told = item(square())
    assert told["properties"]["datetime"] == "2005-07-01T00:00:00Z"
    assert told["properties"]["start_datetime"] == "2005-07-01T00:00:00Z"
    assert told["properties"]["end_datetime"] == "2005-07-31T23:59:59Z"
    assert told["properties"]["soilscale:algorithm"] == "knn"
    assert told["properties"]["soilscale:accuracy"] == {"rmse_blocked": 0.03}
    assert told["properties"]["renders"].keys() == {"soil_moisture"}
    shown = told["properties"]["renders"]["soil_moisture"]
    assert shown["assets"] == ["soil_moisture"]
    assert shown["rescale"] == [[0.05, 0.45]]  # one scale for all maps, not each map's range


def test_an_item_with_an_interval_shows_both_ends() -> None:
    """Both are data, of the map's unit, and a viewer may draw them."""
    bands = [OPTIONAL_BANDS[name] for name in ("lower", "upper")]
    files = {band.name: file(band, {"minimum": 0.1, "maximum": 0.3}) for band in bands}
    told = item(square(), files=files)
    assert told["assets"].keys() == told["properties"]["renders"].keys() == {"lower", "upper"}
    assert all((one["roles"], one["unit"]) == (["data"], "m3 m-3") for one in told["assets"].values())
    assert pystac.Item.from_dict(told).validate()


def test_an_item_without_a_value_is_valid() -> None:
    told = item(square(), files={"soil_moisture": file(MAP_BAND, {"valid_percent": 0.0})})
    assert pystac.Item.from_dict(told).validate()


def test_a_collection_spans_its_items(published: pystac.Catalog) -> None:
    month, season = (published.get_child(name) for name in ("here-month", "here-season"))
    assert isinstance(month, pystac.Collection)
    assert isinstance(season, pystac.Collection)
    (one,) = season.get_items()
    assert season.extent.spatial.bboxes == month.extent.spatial.bboxes == [one.bbox]
    for found in (month, season):
        ((start, end),) = found.extent.temporal.intervals
        assert start is not None
        assert end is not None
        assert f"{start:%Y-%m-%d %H:%M:%S}" == "2005-06-01 00:00:00"
        assert f"{end:%Y-%m-%d %H:%M:%S}" == ("2005-07-31 23:59:59" if found is month else "2005-08-31 23:59:59")


def test_a_catalog_across_the_antimeridian_is_valid(tmp_path: Path) -> None:
    geobox, expected = ACROSS["a grid of degrees beyond 180"]
    found = publish_all(tmp_path, geobox)
    assert found.validate_all() == 3
    for one in found.get_items(recursive=True):
        assert one.bbox == expected
        assert shape(one.geometry).area == 200
    month = found.get_child("here-month")
    assert isinstance(month, pystac.Collection)
    assert month.extent.spatial.bboxes == [expected]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[1, 2, 3, 4], [2, 1, 5, 3]], [1, 1, 5, 4]),
        ([[170, 0, -170, 1]], [170, 0, -170, 1]),
        ([[170, 0, -170, 1], [160, 0, 175, 1], [-172, -5, -165, 0]], [160, -5, -165, 1]),
        ([[170, 0, -170, 1], [-180, -1, 180, 2]], [-180, -1, 180, 2]),
        ([[-180, 0, 180, 1]], [-180, 0, 180, 1]),
    ],
)
def test_a_collection_holds_boxes_on_both_sides_of_the_antimeridian(
    boxes: list[list[float]], expected: list[float]
) -> None:
    items = {f"./{number}.json": item(square()) | {"bbox": one} for number, one in enumerate(boxes)}
    told = publish.collection("month", "here", items, ABOUT, FIRST)
    assert told["extent"]["spatial"]["bbox"] == [expected]
