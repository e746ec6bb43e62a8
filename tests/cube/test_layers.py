from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds
from scipy.ndimage import binary_erosion, map_coordinates

from soilscale import kernels
from soilscale.catalog import Scene
from soilscale.cube import Reading, codes, layers, meets, mosaics, read_month, read_static, warping
from soilscale.cube import reading as reading_module
from soilscale.cube.layers import layer, terrain
from soilscale.errors import DataError
from soilscale.sources import Band, QualityRule
from worlds import (
    MODIS_1KM,
    SINUSOIDAL,
    Array,
    Field,
    around,
    box,
    cell_means,
    cover,
    finer,
    lonlat,
    reading,
    relative_error,
    scene,
    waves,
    write,
)

JANUARY = np.datetime64("2005-01")
EASE = 25025.26 / 25
"""Side of a fine cell of EASE-Grid 2.0, 25 along a coarse one."""

IBERIA = -4.0, 40.2
EQUATOR = 12.3, 0.02
AUSTRALIA = 140.2, -29.8
POLAND = 21.0, 52.1
KOREA = 128.0, 37.0
NAMIBIA = 15.1, -22.4

GRIDS = {
    "iberia": (IBERIA, "EPSG:6933", EASE),
    "both sides of the equator": (EQUATOR, "EPSG:6933", EASE),
    "australia": (AUSTRALIA, "EPSG:6933", EASE),
    "korea": (KOREA, "EPSG:6933", EASE),
    "iberia in degrees": (IBERIA, "EPSG:4326", 0.01),
    "poland in metres": (POLAND, "EPSG:3035", 1000.0),
    "namibia in its zone": (NAMIBIA, "EPSG:32733", 1000.0),
}
SOURCES: dict[str, tuple[str, float, int | None]] = {
    "sinusoidal 1 km": (SINUSOIDAL, MODIS_1KM, 60),
    "sinusoidal 500 m": (SINUSOIDAL, MODIS_1KM / 2, 120),
    "degrees 30 seconds": ("EPSG:4326", 1 / 120, 60),
    "degrees 1 km, one file": ("EPSG:4326", 0.01, None),
}


def tiled(
    folder: Path, field: Field, geobox: GeoBox, crs: str, pixel: float, tile: int | None, **more: Any
) -> list[Scene]:
    """Scenes of a field in tiles that cover a grid, each pixel the field at its centre."""
    found = []
    for number, part in enumerate(cover(geobox, crs, pixel, tile)):
        path = folder / f"{crs.replace(':', '')[:9]}_{number}.tif"
        found.append(scene(write(path, field(*lonlat(part)).astype("float32"), part, **more)))
    return found


def month(scenes: list[Scene], geobox: GeoBox, **keys: Any) -> Array:
    """January of a source on a grid."""
    return read_month(reading(**keys), scenes, geobox, JANUARY)["field"]


def grid_of(name: str, size: int = 75) -> GeoBox:
    place, crs, pixel = GRIDS[name]
    return around(*place, crs, pixel, size)


# --- smooth fields ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_smooth_field_comes_to_every_grid_as_it_is(tmp_path: Path, grid: str, source: str) -> None:
    """Waves down to 12 km, within 2 % of their spread, whether a cell is taken for its centre or for its area."""
    geobox = grid_of(grid)
    field = waves(*GRIDS[grid][0], shortest=12_000)
    found = month(tiled(tmp_path, field, geobox, *SOURCES[source]), geobox)
    assert np.isfinite(found).all()
    assert relative_error(found, cell_means(field, geobox)) < 0.006
    assert relative_error(found, field(*lonlat(geobox))) < 0.02


@pytest.mark.parametrize("direction", [0, 45, 90, 135])
@pytest.mark.parametrize("grid", ["korea", "australia", "both sides of the equator"])
def test_sheared_pixels_are_not_smoothed_away(tmp_path: Path, grid: str, direction: float) -> None:
    """A single wave of 12 km across the slanting pixels of a sinusoidal tile far from its central meridian."""
    place, geobox = GRIDS[grid][0], grid_of(grid)
    along = math.radians(direction)

    def field(lon: Array, lat: Array) -> Array:
        east, north = (lon - place[0]) * 111_195 * math.cos(math.radians(place[1])), (lat - place[1]) * 111_195
        return np.sin(2 * np.pi * (east * math.sin(along) + north * math.cos(along)) / 12_000)

    found = month(tiled(tmp_path, field, geobox, SINUSOIDAL, MODIS_1KM, 60), geobox)
    assert relative_error(found, cell_means(field, geobox)) < 0.01


def test_a_source_coarser_than_the_grid_is_interpolated(tmp_path: Path) -> None:
    """Rain on 0.25 degrees, waves from 400 km on: its own cells do not show, and no value leaves its range."""
    geobox = grid_of("iberia", 200)
    field = waves(*IBERIA, shortest=400_000)
    scenes = tiled(tmp_path, field, geobox, "EPSG:4326", 0.25, None)
    found = month(scenes, geobox)
    assert relative_error(found, field(*lonlat(geobox))) < 0.03
    with rasterio.open(scenes[0].hrefs["data"]) as file:
        stored = file.read(1)
    assert stored.min() <= found.min() <= found.max() <= stored.max()
    assert np.abs(np.diff(found)).max() < 0.2 * np.abs(np.diff(stored)).max(), "no steps at the edges of its pixels"


@pytest.mark.parametrize("zones", [("EPSG:32629", "EPSG:32630"), ("EPSG:32630", "EPSG:32629")])
def test_tiles_of_two_zones_meet_without_a_seam(tmp_path: Path, zones: tuple[str, str]) -> None:
    geobox = around(-6.0, 40.0, "EPSG:32630", 1000, 60)
    field = waves(-6.0, 40.0, shortest=12_000)
    scenes = []
    halves = {"EPSG:32629": slice(None, 31), "EPSG:32630": slice(29, None)}
    for zone in zones:
        scenes += tiled(tmp_path, field, geobox[:, halves[zone]], zone, 250.0, 60)
    found = month(scenes, geobox)
    assert np.isfinite(found).all()
    assert relative_error(found, cell_means(field, geobox)) < 0.005


def test_a_file_of_whole_turns_serves_both_counts_of_longitude(tmp_path: Path) -> None:
    """A global grid from 0 to 360 degrees holds the west as well."""
    geobox = around(-0.1, 40.2, "EPSG:6933", EASE, 40)
    globe = box("EPSG:4326", 0, 60, 0.25, (160, 1440))

    def field(lon: Array, lat: Array) -> Array:
        return np.sin(np.radians(lon)) * 100 + lat

    href = write(tmp_path / "globe.tif", field(*lonlat(globe)).astype("float32"), globe)
    found = month([scene(href, bbox=(-180.0, 20.0, 180.0, 60.0))], geobox)
    np.testing.assert_allclose(found, field(*lonlat(geobox)), atol=0.01)


# --- other libraries ----------------------------------------------------------------------------------------------


def by_rasterio(path: str, geobox: GeoBox, resampling: Resampling) -> Array:
    with rasterio.open(path) as file:
        target = np.full(geobox.shape, np.nan)
        reproject(
            file.read(1).astype("float64"),
            target,
            src_transform=file.transform,
            src_crs=file.crs,
            dst_transform=geobox.transform,
            dst_crs=str(geobox.crs),
            resampling=resampling,
            tolerance=0,
        )
    return target


def by_odc(path: str, geobox: GeoBox, resampling: str) -> Array:
    with rasterio.open(path) as file:
        bounds = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    ring = [[bounds[i], bounds[j]] for i, j in ((0, 1), (2, 1), (2, 3), (0, 3), (0, 1))]
    shape = {"type": "Polygon", "coordinates": [ring]}
    found = pystac.Item("a", shape, list(bounds), JANUARY.astype("datetime64[s]").item(), {})
    found.add_asset("data", pystac.Asset(path, media_type=pystac.MediaType.COG, roles=["data"]))
    return odc.stac.load([found], bands=["data"], geobox=geobox, resampling=resampling).data[0].to_numpy()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("source", [("EPSG:4326", 0.012), ("EPSG:32630", 1020.0)])
def test_interpolation_is_that_of_gdal_and_of_odc_stac(
    tmp_path: Path, source: tuple[str, float], resampling: Any
) -> None:
    geobox = around(*IBERIA, "EPSG:32630", 1000, 40)
    (one,) = tiled(tmp_path, waves(*IBERIA, shortest=12_000), geobox, *source, None)
    path = one.hrefs["data"]
    pixels = warping.pixels_per_cell(geobox, reading().header(one, Band("data")))
    assert pixels < 1.02 or resampling == "nearest", "one sample a cell"
    found = month([one], geobox, resampling=resampling)
    same = 2e-2 if resampling == "nearest" else 0
    for other in (by_rasterio(path, geobox, Resampling[resampling]), by_odc(path, geobox, resampling)):
        # A centre close to a pixel's edge may fall to either side of it; GDAL places centres within 0.02 pixels.
        assert np.mean(np.abs(found - other) > 1e-2) <= same


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("grid", GRIDS)
def test_cells_lie_where_their_centres_are_to_a_thousandth_of_a_pixel(
    tmp_path: Path, grid: str, resampling: Any
) -> None:
    """Against the exact place of every centre, by pyproj, and the interpolation of SciPy."""
    geobox = grid_of(grid, 150)
    (one,) = tiled(tmp_path, waves(*GRIDS[grid][0], shortest=12_000), geobox, SINUSOIDAL, MODIS_1KM, None)
    with rasterio.open(one.hrefs["data"]) as file:
        stored, inverse, crs = file.read(1).astype("float64"), ~file.transform, file.crs.to_wkt()
    rows, columns = geobox.shape
    x, y = geobox.transform @ np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    column, row = inverse @ Transformer.from_crs(str(geobox.crs), crs, always_xy=True).transform(x, y)
    expected = map_coordinates(stored, [row - 0.5, column - 0.5], order=1, mode="nearest")
    (pixels,) = [mosaics.mosaic(reading(), [one], reading().header(one, Band("data")), geobox)]
    assert pixels is not None
    found = warping.interpolate(pixels, geobox, resampling)
    if resampling == "nearest":
        assert (found != stored[np.floor(row).astype(int), np.floor(column).astype(int)]).mean() < 0.005
    else:
        assert np.abs(found - expected).max() < 2e-3 * np.ptp(stored)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_averages_are_those_of_gdal_and_of_odc_stac_where_pixels_nest(tmp_path: Path) -> None:
    geobox = box("EPSG:32630", 400_000, 4_500_000, 1000, (20, 30))
    noise = np.random.default_rng(0).normal(size=(100, 150)).astype("float32")
    one = scene(write(tmp_path / "a.tif", noise, finer(geobox, 5)))
    found = month([one], geobox, resampling="average")
    np.testing.assert_allclose(found, kernels.block_mean(noise, 5)[0], atol=1e-6)
    np.testing.assert_allclose(found, by_rasterio(one.hrefs["data"], geobox, Resampling.average), atol=1e-5)
    np.testing.assert_allclose(found, by_odc(one.hrefs["data"], geobox, "average"), atol=1e-5)


# --- gaps, fill codes, quality ------------------------------------------------------------------------------------


def holed(folder: Path, geobox: GeoBox, value: float, **tags: Any) -> tuple[Scene, NDArray[np.bool_], GeoBox]:
    """Sinusoidal file that holds 5 everywhere but in a hole and at scattered pixels, which hold a fill value."""
    (part,) = cover(geobox, SINUSOIDAL, MODIS_1KM)
    hole = np.zeros(part.shape, bool)
    hole[30:50, 35:60] = True
    hole |= np.random.default_rng(0).random(part.shape) < 0.05
    stored = np.where(hole, value, 5).astype("float32")
    return scene(write(folder / "holed.tif", stored, part, **tags)), hole, part


def nearest_of(pixels: NDArray[Any], part: GeoBox, geobox: GeoBox) -> NDArray[Any]:
    """Value of the pixel in which each cell's centre lies."""
    rows, columns = geobox.shape
    x, y = geobox.transform * np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    column, row = ~part.transform * Transformer.from_crs(str(geobox.crs), str(part.crs), always_xy=True).transform(x, y)
    return pixels[np.floor(row).astype(int), np.floor(column).astype(int)]


@pytest.mark.parametrize("fill", [-3.4028234663852886e38, 1e6, math.nan, -9999.9])
@pytest.mark.parametrize("resampling", ["auto", "average", "bilinear", "nearest"])
def test_fill_values_never_bleed(tmp_path: Path, fill: float, resampling: Any) -> None:
    geobox = grid_of("australia")
    one, hole, part = holed(tmp_path, geobox, fill, nodata=fill)
    found = month([one], geobox, resampling=resampling)
    np.testing.assert_allclose(found[np.isfinite(found)], 5, atol=1e-6)
    inside = nearest_of(hole, part, geobox)
    if resampling == "nearest":
        assert (np.isnan(found) == inside).mean() > 0.998
    else:
        deep = binary_erosion(inside, iterations=2)
        assert deep.any()
        assert np.isnan(found)[deep].all()
        assert np.isfinite(found)[~inside].mean() > 0.99, "a cell whose centre is seen has a value"


def test_pixels_that_quality_rejects_neither_count_nor_bleed(tmp_path: Path) -> None:
    geobox = grid_of("iberia")
    one, hole, part = holed(tmp_path, geobox, 60_000.0)
    # Bits 0 and 1: 0 and 1 are good, 2 and 3 are not; the bits above them say other things.
    bits = np.where(hole, 2, 1) + np.random.default_rng(1).integers(0, 60, part.shape) * 4
    quality = write(tmp_path / "quality.tif", bits.astype("uint8"), part, nodata=1)
    one = scene(one.hrefs["data"], quality=quality)
    rule = QualityRule("quality", (0, 1), (0, 1))
    found = month([one], geobox, quality=(rule,))
    np.testing.assert_allclose(found[np.isfinite(found)], 5, atol=1e-6)
    assert np.isfinite(found)[~nearest_of(hole, part, geobox)].all()
    assert 0.05 < np.isnan(found).mean() < 0.3
    assert np.nanmax(month([one], geobox)) > 1000, "without the rule they count"


@pytest.mark.parametrize("factor", [2, 0.5])
def test_a_quality_band_may_have_other_pixels(tmp_path: Path, factor: float) -> None:
    """Each pixel is judged by the pixel of the band in which its centre lies; the band's own nodata means nothing."""
    geobox = grid_of("iberia", 40)
    field = waves(*IBERIA, shortest=12_000)
    (part,) = cover(geobox, SINUSOIDAL, MODIS_1KM)
    (band,) = cover(geobox, SINUSOIDAL, MODIS_1KM * factor, margin=12)
    flags = np.zeros(band.shape, "uint8")
    middle = tuple(size // 2 for size in band.shape)
    flags[middle[0] :, :] = 3
    data = write(tmp_path / "a.tif", field(*lonlat(part)).astype("float32"), part)
    quality = write(tmp_path / "quality.tif", flags, band, nodata=0)
    found = month([scene(data, quality=quality)], geobox, quality=(QualityRule("quality", (0, 7), (0,)),))
    good = nearest_of(flags, band, geobox) == 0
    assert 0.2 < good.mean() < 0.8
    assert (np.isfinite(found) == good).mean() > 0.96
    truth = cell_means(field, geobox)
    assert np.abs(found - truth)[np.isfinite(found) & good].max() < 0.3


def test_a_quality_band_that_lies_elsewhere_accepts_nothing(tmp_path: Path) -> None:
    geobox = grid_of("iberia", 20)
    (one,) = tiled(tmp_path, waves(*IBERIA, shortest=12_000), geobox, "EPSG:4326", 0.01, None)
    near = box("EPSG:32630", 340_000, 4_450_000, 10_000, (4, 4))
    quality = write(tmp_path / "quality.tif", np.zeros((4, 4), "uint8"), near)
    two = scene(one.hrefs["data"], quality=quality)
    assert np.isnan(month([two], geobox, quality=(QualityRule("quality", (0, 1), (0,)),))).all()


def test_a_missing_quality_band_is_an_error(tmp_path: Path) -> None:
    geobox = grid_of("iberia", 20)
    (one,) = tiled(tmp_path, waves(*IBERIA, shortest=12_000), geobox, "EPSG:4326", 0.01, None)
    with pytest.raises(DataError, match=r"item .* has no asset 'QC' \(it has data\); check the key `quality`"):
        month([one], geobox, quality=(QualityRule("QC", (0, 1), (0,)),))


def test_data_that_end_inside_the_area_leave_the_rest_missing(tmp_path: Path) -> None:
    geobox = grid_of("iberia in degrees", 60)
    field = waves(*IBERIA, shortest=12_000)
    (west,) = cover(geobox[:, :30], "EPSG:4326", 0.01, margin=0)
    found = month([scene(write(tmp_path / "west.tif", field(*lonlat(west)).astype("float32"), west))], geobox)
    assert np.isfinite(found[:, :30]).all()
    assert np.isnan(found[:, 30:]).all()
    np.testing.assert_allclose(found[:, :30], field(*lonlat(geobox))[:, :30], atol=1e-5)


def test_scenes_beside_the_grid_give_nothing(tmp_path: Path) -> None:
    geobox = grid_of("iberia in degrees", 20)
    (one,) = tiled(tmp_path, waves(*IBERIA, shortest=12_000), geobox, "EPSG:4326", 0.01, None)
    far = around(IBERIA[0] + 5, IBERIA[1], "EPSG:4326", 0.01, 20)
    assert layer(reading(), [one], far) is None
    assert terrain(reading(), [one], far) is None
    assert layer(reading(), [], far) is None
    assert np.isnan(month([one], far)).all()


# --- decoding -----------------------------------------------------------------------------------------------------


def decoded(folder: Path, stored: Any, told: dict[str, Any] | None = None, tags: Any = None, **keys: Any) -> list[Any]:
    """What 2 x 3 stored values become on their own grid, NaN as None."""
    values = np.asarray(stored)
    grid = box("EPSG:4326", 5.0, 48.0, 0.01, values.shape)
    one = scene(write(folder / "a.tif", values, grid, **(tags or {})), decoding=told or {})
    found = month([one], grid, resampling="nearest", **keys)
    return [None if math.isnan(value) else round(value, 9) for value in found.ravel().tolist()]


STORED = np.array([[0, 10, 20], [30, 40, 255]], "uint8")


def test_the_configuration_goes_before_the_item_and_the_item_before_the_file(tmp_path: Path) -> None:
    tags = {"scale": 2.0, "offset": 1.0}
    told = {"scale": 3.0, "offset": 5.0}
    assert decoded(tmp_path, STORED[:1], None, tags) == [1, 21, 41]
    assert decoded(tmp_path, STORED[:1], told) == [5, 35, 65]
    with pytest.raises(DataError, match="the item states scale 3, offset 5; the file states scale 2, offset 1; its va"):
        decoded(tmp_path, STORED[:1], told, tags)
    assert decoded(tmp_path, STORED[:1], told, tags, scale=10.0, offset=0.0) == [0, 100, 200]


def test_scale_and_offset_are_looked_up_one_by_one(tmp_path: Path) -> None:
    tags = {"scale": 2.0, "offset": 1.0}
    assert decoded(tmp_path, STORED[:1], {"scale": 3.0}, {"offset": 1.0}) == [1, 31, 61]
    assert decoded(tmp_path, STORED[:1], {"offset": 5.0}, {"scale": 2.0}) == [5, 25, 45]
    assert decoded(tmp_path, STORED[:1], {"offset": 5.0}, tags, scale=10.0) == [5, 105, 205]
    assert decoded(tmp_path, STORED[:1]) == [0, 10, 20]


@pytest.mark.parametrize(
    ("told", "tag", "configured", "missing"),
    [
        (None, None, None, []),
        (None, 0.0, None, [0]),
        (255.0, 0.0, None, [0, 5]),
        (255.0, 0.0, (10.0, 30.0), [0, 1, 3, 5]),
        (None, 0.0, (), []),
        (math.nan, 0.0, None, [0]),
        (255.0, None, None, [5]),
    ],
)
def test_what_configuration_item_or_file_calls_missing_is_missing(
    tmp_path: Path, told: float | None, tag: float | None, configured: tuple[float, ...] | None, missing: list[int]
) -> None:
    tags = {} if tag is None else {"nodata": tag}
    found = decoded(tmp_path, STORED, {"nodata": () if told is None else (told,)}, tags, nodata=configured)
    assert [place for place, value in enumerate(found) if value is None] == missing


@pytest.mark.parametrize(
    ("kind", "fill"),
    [("int8", -128), ("int16", -3000), ("int16", -32768), ("uint16", 0), ("uint16", 65535), ("int32", 2147483647)],
)
def test_fill_codes_of_every_type_are_found(tmp_path: Path, kind: str, fill: int) -> None:
    stored = np.array([[fill, 1, 2]], kind)
    assert decoded(tmp_path, stored, nodata=(float(fill),), scale=0.5) == [None, 0.5, 1]
    assert decoded(tmp_path, stored, tags={"nodata": fill}, scale=0.5) == [None, 0.5, 1]


@pytest.mark.parametrize("fill", [-9999.9, -99.99, 1e20, -3.40282347e38])
def test_fill_values_that_single_precision_rounds_are_found(tmp_path: Path, fill: float) -> None:
    stored = np.array([[fill, 1, np.nan]], "float32")
    assert decoded(tmp_path, stored, nodata=(fill,)) == [None, 1, None]
    assert decoded(tmp_path, stored, {"nodata": (fill,)}) == [None, 1, None]


def test_the_valid_range_is_of_stored_values_and_holds_its_ends(tmp_path: Path) -> None:
    assert decoded(tmp_path, STORED, valid_range=(10.0, 30.0), scale=0.1) == [None, 1, 2, 3, None, None]
    assert decoded(tmp_path, STORED, {"valid_range": (10.0, 30.0)}) == [None, 10, 20, 30, None, None]
    assert decoded(tmp_path, STORED, {"valid_range": (10.0, 30.0)}, valid_range=(20.0, 40.0))[:2] == [None, None]


def test_the_band_that_is_asked_for_is_read_and_quality_from_its_first(tmp_path: Path) -> None:
    grid = box("EPSG:4326", 5.0, 48.0, 0.01, (1, 3))
    profile = {"driver": "GTiff", "width": 3, "height": 1, "dtype": "uint8", "crs": "EPSG:4326"}
    for name, values in (("data", [[1, 2, 3], [4, 5, 6]]), ("quality", [[0, 1, 0], [1, 1, 1]])):
        with rasterio.open(tmp_path / f"{name}.tif", "w", count=2, transform=grid.transform, **profile) as file:
            file.write(np.array(values, "uint8")[:, None])
    one = scene(tmp_path / "data.tif", quality=tmp_path / "quality.tif")
    keys: dict[str, Any] = {"resampling": "nearest", "quality": (QualityRule("quality", (0, 0), (0,)),)}
    np.testing.assert_array_equal(month([one], grid, band=2, **keys), [[4, np.nan, 6]])
    np.testing.assert_array_equal(month([one], grid, **keys), [[1, np.nan, 3]])


# --- tiles --------------------------------------------------------------------------------------------------------


def test_where_tiles_overlap_the_first_valid_one_counts(tmp_path: Path) -> None:
    grid = box("EPSG:4326", 5.0, 48.0, 0.01, (2, 3))
    first = scene(write(tmp_path / "1.tif", np.array([[1, 0, 1], [1, 0, 1]], "uint8"), grid, nodata=0))
    second = scene(write(tmp_path / "2.tif", np.full((2, 3), 2, "uint8"), grid, nodata=0))
    assert layer(reading(resampling="nearest"), [first, second], grid)[0].tolist() == [[1, 2, 1], [1, 2, 1]]
    assert layer(reading(resampling="nearest"), [second, first], grid)[0].tolist() == [[2, 2, 2], [2, 2, 2]]


def test_what_one_lattice_leaves_of_a_cell_the_next_one_fills(tmp_path: Path) -> None:
    """The first file covers a quarter of the cell, the second all of it."""
    grid = box("EPSG:32630", 500_000, 4_500_000, 1000, (1, 1))
    west = box("EPSG:32630", 500_000, 4_500_000, 250, (4, 1))
    wide = box("EPSG:32630", 499_900, 4_500_100, 100, (12, 12))
    first = scene(write(tmp_path / "1.tif", np.full((4, 1), 8, "uint8"), west))
    second = scene(write(tmp_path / "2.tif", np.full((12, 12), 4, "uint8"), wide))
    values, fraction = layer(reading(resampling="average"), [first, second], grid)
    assert values.item() == pytest.approx(0.25 * 8 + 0.75 * 4)
    assert fraction.item() == pytest.approx(1)
    values, fraction = layer(reading(resampling="average"), [first], grid)
    assert (values.item(), fraction.item()) == (8, 0.25)


@pytest.mark.parametrize("kind", ["continuous", "categorical", "terrain"])
def test_pieces_give_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    geobox = grid_of("korea", 40)
    field = waves(*KOREA, shortest=12_000, mean=5)

    def gappy(lon: Array, lat: Array) -> Array:
        values = np.round(field(lon, lat))
        return np.where(np.round(lon * 300) % 17 == 0, np.nan, values)

    pixel = MODIS_1KM / 3
    scenes = tiled(tmp_path, gappy, geobox, SINUSOIDAL, pixel, 60)
    keys: dict[str, Any] = {"kind": "categorical", "classes": (4, 5, 6)} if kind == "categorical" else {}

    def read() -> tuple[Array, Array]:
        found = (terrain if kind == "terrain" else layer)(reading(**keys), scenes, geobox)
        assert found is not None
        return found

    values, fraction = read()
    monkeypatch.setattr(layers, "SUBGRID", 40)
    pieces, shares = read()
    # The mesh of cells' places starts anew in each piece.
    assert np.nanmax(np.abs(pieces - values)) < 0.01 * np.nanstd(values) + 1e-12
    assert np.abs(shares - fraction).max() < 0.05
    if kind == "categorical":
        np.testing.assert_allclose(pieces, values, atol=2e-3)


@given(size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)), side=st.integers(-1, 3000))
def test_pieces_cover_a_grid_once(size: tuple[int, int], side: int) -> None:
    side = max(side, max(size) // 20)
    rows, columns = zip(*layers._pieces(GeoBox.from_bbox((0, 0, 1, 1), shape=size), side), strict=True)  # noqa: SLF001
    for parts, length in ((rows, size[0]), (columns, size[1])):
        ordered = sorted({(part.start, part.stop) for part in parts})
        assert [start for start, _ in ordered] == [0, *(stop for _, stop in ordered[:-1])]
        assert ordered[-1][1] == length
        assert all(stop - start <= max(side, 1) for start, stop in ordered)


@given(factor=st.integers(1, 64), shape=st.tuples(st.integers(1, 800), st.integers(1, 800)))
@settings(max_examples=50, deadline=None)
def test_a_finer_grid_nests_exactly(factor: int, shape: tuple[int, int]) -> None:
    coarse = box("EPSG:6933", -1001.0104 * 7, 1001.0104 * 4000, 1001.0104, shape)
    fine = warping.finer(coarse, factor)
    assert tuple(fine.shape) == (shape[0] * factor, shape[1] * factor)
    np.testing.assert_allclose(fine.boundingbox.bbox, coarse.boundingbox.bbox, rtol=1e-12)


# --- the place of a file ------------------------------------------------------------------------------------------


def test_only_the_file_tells_where_its_pixels_are(tmp_path: Path) -> None:
    """Boxes that items draw too small, or much too large, move nothing."""
    geobox = grid_of("iberia", 30)
    field = waves(*IBERIA, shortest=12_000)
    (one,) = tiled(tmp_path, field, geobox, SINUSOIDAL, MODIS_1KM, None)
    west, south, east, north = one.bbox
    small = ((west * 3 + east) / 4, south, (west + east * 3) / 4, north)
    expected = month([one], geobox)
    for bbox in (small, (-180.0, -90.0, 180.0, 90.0), (170.0, -90.0, 169.0, 90.0)):
        assert (month([scene(one.hrefs["data"], bbox=bbox)], geobox) == expected).all()


def test_a_file_far_from_where_its_item_says_is_refused(tmp_path: Path) -> None:
    geobox = grid_of("iberia", 30)
    (one,) = tiled(tmp_path, waves(*IBERIA, shortest=12_000), geobox, SINUSOIDAL, MODIS_1KM, None)
    lost = scene(one.hrefs["data"], "lost", bbox=(100.0, 10.0, 101.0, 11.0))
    with pytest.raises(DataError, match=r"item lost says that it lies within \[100.0, 10.0, 101.0, 11.0\]") as caught:
        month([lost], geobox)
    assert "correct the item or the file's CRS" in str(caught.value)


@pytest.mark.parametrize("place", [(5.0, 48.0), (-66.0, -33.0), (179.5, -17.0), (-179.9, 66.0), (20.0, 84.0), (0, 0)])
@pytest.mark.parametrize(
    "file",
    [
        ("EPSG:4326", -180, 90, 0.25, (720, 1440)),
        ("EPSG:4326", -180.125, 90.125, 0.25, (721, 1440)),
        ("EPSG:4326", 0, 90, 0.5, (360, 720)),
        ("EPSG:6933", -17367530.44, 7314540.83, 25025.26, (584, 1388)),
        (SINUSOIDAL, -20015109.354, 10007554.677, 111194.96, (180, 360)),
    ],
)
def test_files_of_the_whole_world_are_at_home_everywhere(place: tuple[float, float], file: Any) -> None:
    header = reading_header(box(*file))
    lon, lat = place
    reading_module._check_place(placed((lon - 0.1, lat - 0.1, lon + 0.1, lat + 0.1)), header)  # noqa: SLF001
    reading_module._check_place(placed((-180, -90, 180, 90)), header)  # noqa: SLF001


def reading_header(grid: GeoBox) -> Any:
    crs = rasterio.crs.CRS.from_user_input(str(grid.crs))
    return mosaics.Header(crs, grid.transform, tuple(grid.shape), None, 1.0, 0.0, None)


def placed(bbox: tuple[float, float, float, float]) -> Scene:
    return scene("nowhere.tif", bbox=bbox)


def test_every_tile_of_the_sinusoidal_grid_is_where_its_corners_say() -> None:
    """Corners beyond the edge of the world are moved there, as catalogs do; no tile raises a false alarm."""
    side = 1200 * MODIS_1KM
    to_lonlat = Transformer.from_crs(SINUSOIDAL, 4326, always_xy=True)
    checked = 0
    for row, column in np.ndindex(18, 36):
        x, y = (column - 18 + np.array([0, 1, 0, 1])) * side, (9 - row - np.array([0, 0, 1, 1])) * side
        edge = np.cos(np.radians(np.array([y[0], y[2]]) / 111_194.927)) * 180 * 111_194.927
        if np.abs(x).min() > edge.max() - 1:
            continue
        x = np.clip(x, -np.repeat(edge, 2), np.repeat(edge, 2))
        lon, lat = to_lonlat.transform(x * (1 - 1e-9), y * (1 - 1e-9))
        tile = box(SINUSOIDAL, (column - 18) * side, (9 - row) * side, MODIS_1KM, (1200, 1200))
        reading_module._check_place(placed((lon.min(), lat.min(), lon.max(), lat.max())), reading_header(tile))  # noqa: SLF001
        checked += 1
    assert checked > 300


def test_an_item_across_the_antimeridian_is_found_from_both_sides() -> None:
    header = reading_header(box("EPSG:4326", 178, -15, 0.01, (300, 200)))
    reading_module._check_place(placed((178.0, -18.0, -178.0, -15.0)), header)  # noqa: SLF001
    reading_module._check_place(placed((-179.5, -18.0, -179.0, -15.0)), header)  # noqa: SLF001


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ((-4.5, 39.5, -3.5, 40.5), True),
        ((-5.5, 39.5, -4.5, 40.5), True),
        ((-9.0, 39.5, -7.5, 40.5), False),
        ((-4.5, 42.0, -3.5, 43.0), False),
        ((-180.0, -90.0, 180.0, 90.0), True),
        ((170.0, 30.0, -170.0, 45.0), False),
        ((350.0, 30.0, 370.0, 45.0), True),
        ((170.0, 45.0, -170.0, 50.0), False),
    ],
)
def test_a_scene_meets_a_grid_by_its_box_and_some_more(
    bbox: tuple[float, float, float, float], *, expected: bool
) -> None:
    assert meets(placed(bbox), grid_of("iberia", 50)) is expected


def test_headers_are_read_once_a_reading_and_a_new_one_sees_a_replaced_file(tmp_path: Path) -> None:
    grid = box("EPSG:4326", 5.0, 48.0, 0.01, (1, 3))
    path = write(tmp_path / "a.tif", np.array([[0, 1, 2]], "uint8"), grid, nodata=0)
    one, read = scene(path), reading(resampling="nearest")
    assert read.header(one, Band("data")) is read.header(one, Band("data"))
    write(path, np.array([[0, 1, 2]], "uint8"), grid, nodata=2)
    assert np.isnan(month([one], grid, resampling="nearest")).tolist() == [[False, False, True]]
    sent: Reading = pickle.loads(pickle.dumps(Reading(read.source, str)))  # noqa: S301 - packed above
    assert sent == Reading(read.source, str)


# --- the target and averages --------------------------------------------------------------------------------------


def test_a_target_on_the_grid_keeps_its_values_and_gaps_exactly(tmp_path: Path) -> None:
    """EASE-Grid 2.0 as some producers round its corner, half a centimetre off."""
    side = 25025.26
    grid = box("EPSG:6933", -20 * side, 190 * side, side, (12, 14))
    wider = box("EPSG:6933", -24 * side - 0.005, 195 * side + 0.003, side, (30, 30))
    stored = np.random.default_rng(0).random((30, 30)).astype("float32")
    stored[np.random.default_rng(1).random((30, 30)) < 0.2] = -9999
    one = scene(write(tmp_path / "a.tif", stored, wider, nodata=-9999))
    found = month([one], grid, role="target")
    expected = np.where(stored == -9999, np.nan, stored.astype("float64"))[5:17, 4:18]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("role", ["target", "predictor"])
def test_values_off_the_grid_are_weighted_by_area(tmp_path: Path, role: Any) -> None:
    """Cells of 2 x 2 that begin at 0.3 and 0.6 of a pixel, by hand."""
    grid = box("EPSG:32630", 500_300, 4_500_000 - 600, 2000, (2, 2))
    stored = np.random.default_rng(0).random((8, 8))
    stored[3, 3] = np.nan
    one = scene(write(tmp_path / "a.tif", stored, box("EPSG:32630", 500_000, 4_500_000, 1000, (8, 8))))
    values, fraction = layer(reading(role=role, resampling="auto" if role == "target" else "average"), [one], grid)
    for i, j in np.ndindex(2, 2):
        weights = np.outer([0.4, 1, 0.6], [0.7, 1, 0.3])
        part = stored[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        weights = np.where(np.isnan(part), 0, weights)
        assert values[i, j] == pytest.approx((np.nan_to_num(part) * weights).sum() / weights.sum(), abs=1e-9)
        assert fraction[i, j] == pytest.approx(weights.sum() / 4, abs=1e-9)


def test_a_target_may_ask_for_another_way(tmp_path: Path) -> None:
    grid = box("EPSG:32630", 500_400, 4_500_000, 1000, (1, 2))
    one = scene(
        write(tmp_path / "a.tif", np.array([[1, 2, 3]], "uint8"), box("EPSG:32630", 500_000, 4_500_000, 1000, (1, 3)))
    )
    assert month([one], grid, role="target").ravel().tolist() == pytest.approx([1.4, 2.4])
    assert month([one], grid, role="target", resampling="nearest").ravel().tolist() == [1, 2]
    assert month([one], grid, role="target", resampling="bilinear").ravel().tolist() == pytest.approx([1.4, 2.4])


# --- classes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel", [MODIS_1KM / 2, MODIS_1KM, MODIS_1KM * 3])
def test_shares_of_classes_are_those_of_their_areas(tmp_path: Path, pixel: float) -> None:
    """Classes at random, against 60 x 60 points in each cell."""
    geobox = grid_of("australia", 10)
    (part,) = cover(geobox, SINUSOIDAL, pixel)
    stored = np.random.default_rng(0).integers(1, 5, part.shape).astype("uint8")
    stored[:2] = 255
    one = scene(write(tmp_path / "a.tif", stored, part, nodata=255))
    found = read_static(reading(kind="categorical", classes=(1, 2, 3, 4, 17)), [one], geobox)
    points = nearest_of(stored, part, finer(geobox, 60))
    for code in (1, 2, 3, 4):
        truth, _ = kernels.block_mean((points == code).astype("float64"), 60)
        assert relative_error(found[f"field_{code}"], truth) < 0.03
    assert (found["field_17"] == 0).all()
    np.testing.assert_allclose(sum(found.values()), 1, atol=1e-12)


def test_a_class_that_is_not_asked_for_still_takes_its_share(tmp_path: Path) -> None:
    grid = box("EPSG:32630", 500_000, 4_500_000, 1000, (1, 1))
    one = scene(write(tmp_path / "a.tif", np.array([[1, 7], [0, 1]], "uint8"), finer(grid, 2), nodata=0))
    found = read_static(reading(kind="categorical", classes=(1, 2)), [one], grid)
    assert found["field_1"].item() == pytest.approx(2 / 3)
    assert found["field_2"].item() == 0


def test_classes_by_the_nearest_pixel_if_that_is_asked_for(tmp_path: Path) -> None:
    grid = box("EPSG:32630", 500_000, 4_500_000, 1000, (1, 1))
    one = scene(write(tmp_path / "a.tif", np.array([[1, 1, 1], [1, 2, 1], [1, 1, 1]], "uint8"), finer(grid, 3)))
    found = read_static(reading(kind="categorical", classes=(1, 2), resampling="nearest"), [one], grid)
    assert (found["field_1"].item(), found["field_2"].item()) == (0, 1)


def test_codes_are_those_that_valid_pixels_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    geobox = grid_of("iberia", 30)
    (part,) = cover(geobox, SINUSOIDAL, MODIS_1KM / 2)
    stored = np.full(part.shape, 5, "uint8")
    stored[20, 20], stored[30, 31], stored[40, 4] = 9, 255, 99
    one = scene(write(tmp_path / "a.tif", stored, part, nodata=255))
    read = reading(kind="categorical", valid_range=(1.0, 17.0))
    assert codes(read, [one], geobox) == {5, 9}
    monkeypatch.setattr(layers, "SUBGRID", 16)
    assert codes(read, [one], geobox) == {5, 9}
    assert codes(read, [one], around(IBERIA[0] + 20, IBERIA[1], "EPSG:6933", EASE, 30)) == set()


# --- terrain ------------------------------------------------------------------------------------------------------


def slopes(field: Field, geobox: GeoBox, samples: int = 4) -> tuple[Array, Array, Array]:
    """Slope in degrees, northness and eastness of the mean gradient in each cell, by geodesics on WGS 84."""
    lon, lat = lonlat(finer(geobox, samples))
    geod = Geod(ellps="WGS84")

    def at(azimuth: float) -> Array:
        angles, lengths = np.full(lon.size, azimuth), np.full(lon.size, 50.0)
        there = geod.fwd(lon.ravel(), lat.ravel(), angles, lengths)
        return field(np.asarray(there[0]), np.asarray(there[1])).reshape(lon.shape)

    east, north = (kernels.block_mean((at(a) - at(a + 180)) / 100, samples)[0] for a in (90.0, 0.0))
    steep = np.hypot(east, north)
    return np.degrees(np.arctan(steep)), -north / np.sqrt(1 + steep**2), -east / np.sqrt(1 + steep**2)


@pytest.mark.parametrize("grid", ["iberia", "australia", "iberia in degrees", "poland in metres"])
@pytest.mark.parametrize(("pixel", "limit"), [(1 / 1200, 0.003), (1 / 120, 0.02)])
def test_terrain_is_that_of_the_ground(tmp_path: Path, grid: str, pixel: float, limit: float) -> None:
    """Elevation in degrees at 90 m and 1 km, waves down to 12 km: the edges of tiles and of pieces do not show."""
    geobox = grid_of(grid, 24)
    relief = waves(*GRIDS[grid][0], shortest=12_000, mean=0)

    def field(lon: Array, lat: Array) -> Array:
        return 800 + 200 * relief(lon, lat)

    scenes = tiled(tmp_path, field, geobox, "EPSG:4326", pixel, 400)
    found = read_static(reading(derive=("slope", "aspect")), scenes, geobox)
    assert relative_error(found["field"], cell_means(field, geobox)) < 0.003
    for name, truth in zip(("slope", "northness", "eastness"), slopes(field, geobox), strict=True):
        assert np.isfinite(found[name]).all()
        assert relative_error(found[name], truth) < limit, name


def test_a_plane_falls_the_same_way_in_every_projection(tmp_path: Path) -> None:
    """A plane that rises 1 in 100 to the north, seen on a grid whose north is turned by some 9 degrees."""
    geobox = around(22.0, 52.0, "EPSG:3035", 1000, 20)
    scenes = tiled(tmp_path, lambda _, lat: lat * 111_250 * 0.01, geobox, "EPSG:4326", 1 / 240, None)
    found = read_static(reading(derive=("slope", "aspect", "aspect_angle")), scenes, geobox)
    assert list(found) == ["field", "slope", "northness", "eastness", "aspect_angle"]
    np.testing.assert_allclose(found["aspect_angle"], 180, atol=0.6)
    np.testing.assert_allclose(found["slope"], math.degrees(math.atan(0.01)), rtol=2e-3)
    np.testing.assert_allclose(found["northness"], -0.01, rtol=2e-3)
    np.testing.assert_allclose(found["eastness"], 0, atol=1e-4)


def test_terrain_next_to_the_sea_comes_from_the_land_alone(tmp_path: Path) -> None:
    geobox = grid_of("iberia in degrees", 20)
    (part,) = cover(geobox, "EPSG:4326", 1 / 480)
    lon, _ = lonlat(part)
    land = lon > IBERIA[0]
    stored = np.where(land, (lon - IBERIA[0]) * 1000 + 50, -32768).astype("float32")
    one = scene(write(tmp_path / "a.tif", stored, part, nodata=-32768))
    found = read_static(reading(derive=("slope",)), [one], geobox)
    metres = 111_320 * math.cos(math.radians(IBERIA[1]))
    land_cells = lonlat(geobox)[0] > IBERIA[0]
    assert (np.isfinite(found["slope"]) == land_cells).all()
    np.testing.assert_allclose(found["slope"][land_cells], math.degrees(math.atan(1000 / metres)), rtol=0.01)


# --- memory -------------------------------------------------------------------------------------------------------


def test_no_piece_holds_more_than_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the grid, windows of files and samples stay within a few times the largest piece."""
    monkeypatch.setattr(layers, "SUBGRID", 64)
    sizes: list[int] = []
    real = warping.bounds_on

    def measured(geobox: GeoBox, lattice: Any) -> Any:
        found = real(geobox, lattice)
        sizes.append(round((found[2] - found[0]) / lattice.pixel[0] * (found[3] - found[1]) / lattice.pixel[1]))
        return found

    monkeypatch.setattr(warping, "bounds_on", measured)
    geobox = grid_of("australia", 100)
    scenes = tiled(tmp_path, waves(*AUSTRALIA, shortest=12_000), geobox, SINUSOIDAL, MODIS_1KM / 2, 240)
    assert np.isfinite(month(scenes, geobox)).all()
    assert len(sizes) > 10
    assert max(sizes) < 4 * 64**2
