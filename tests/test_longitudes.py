"""Longitudes that wrap: files and items that count 0..360, areas across 180 degrees, grids around a pole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely.geometry import MultiPolygon
from shapely.geometry import box as rectangle

from servers.files import serve
from soilscale import extents, grid
from soilscale.catalog import Scene, documents
from soilscale.cube import layers, windows
from soilscale.reports import insitu
from soilscale.reports.insitu import pairing
from soilscale.tasks import reference_data
from worlds import SINUSOIDAL, Array, box, cell_means, lonlat, reading, scene, write

# Slicing a GeoBox multiplies affines in a way that affine 3.1 discourages and odc-geo 0.5.3 still has.
pytestmark = pytest.mark.filterwarnings("default:Use `@` matmul:PendingDeprecationWarning")

FIJI = (179.0, -18.0, -179.0, -16.0)
FIJI_IN_TWO = MultiPolygon([rectangle(179, -18, 180, -16), rectangle(-180, -18, -179, -16)])


def smooth(longitude: Array, latitude: Array) -> Array:
    """The same at the same place, however its longitude is counted."""
    turn = np.radians(longitude)
    return 10 + 3 * np.cos(turn) + 2 * np.sin(2 * turn) + np.cos(np.radians(3 * latitude))


def raster(folder: Path, geobox: GeoBox, name: str = "a") -> Path:
    return write(folder / f"{name}.tif", smooth(*lonlat(geobox)), geobox)


def world(left: float, pixel: float = 0.5) -> GeoBox:
    """All of the Earth in degrees, from some longitude on."""
    return box("EPSG:4326", left, 90.0, pixel, (round(180 / pixel), round(360 / pixel)))


GRIDS = {
    "America": box("EPSG:4326", -110.0, 35.0, 0.1, (10, 20)),
    "Greenwich": box("EPSG:4326", -1.0, 50.0, 0.1, (10, 20)),
    "Fiji": box("EPSG:4326", 179.0, -16.0, 0.1, (20, 20)),
    "Fiji, counted from -180": box("EPSG:4326", -181.0, -16.0, 0.1, (20, 20)),
    "Fiji on a map of its own": box("EPSG:3832", 3_230_000, -1_780_000, 10_000, (20, 24)),
    "Fiji in UTM": box("EPSG:32660", 700_000, -1_770_000, 10_000, (20, 24)),
    "Fiji in EASE-Grid": box("EPSG:6933", 17_267_000, -2_000_000, 10_000, (20, 20)),
    "Fiji in EASE-Grid, from the west": box("EPSG:6933", -17_467_000, -2_000_000, 10_000, (20, 20)),
}


@pytest.mark.parametrize("resampling", ["auto", "average", "nearest"])
@pytest.mark.parametrize("left", [-180.0, -0.25])
@pytest.mark.parametrize("where", GRIDS)
def test_a_map_of_the_world_is_read_however_it_counts(where: str, left: float, resampling: Any, tmp_path: Path) -> None:
    geobox = GRIDS[where]
    found = layers.layer(reading(resampling=resampling), [scene(raster(tmp_path, world(left)))], geobox)
    assert found is not None
    values, fraction = found
    np.testing.assert_allclose(fraction, 1)
    np.testing.assert_allclose(values, cell_means(smooth, geobox), atol=0.05)


@pytest.mark.parametrize("where", [name for name in GRIDS if name.startswith("Fiji")])
def test_tiles_on_either_side_of_180_degrees_are_laid_side_by_side(where: str, tmp_path: Path) -> None:
    geobox = GRIDS[where]
    east = raster(tmp_path, box("EPSG:4326", -180.0, -10.0, 0.05, (200, 100)), "east")
    west = raster(tmp_path, box("EPSG:4326", 175.0, -10.0, 0.05, (200, 100)), "west")
    scenes = [scene(west), scene(east)]
    assert all(layers.meets(one, geobox) for one in scenes)
    for order in (scenes, scenes[::-1]):
        found = layers.layer(reading(), order, geobox)
        assert found is not None
        np.testing.assert_allclose(found[1], 1)
        np.testing.assert_allclose(found[0], cell_means(smooth, geobox), atol=0.01)


@pytest.mark.parametrize("left", [240.0, -120.0])
def test_a_tile_that_counts_0_to_360_is_that_of_the_west(left: float, tmp_path: Path) -> None:
    """The pixels do not divide a turn."""
    geobox = GRIDS["America"]
    tile = box("EPSG:4326", left, 40.0, 0.07, (150, 280))
    one = scene(raster(tmp_path, tile))
    assert layers.meets(one, geobox)
    found = layers.layer(reading(), [one], geobox)
    assert found is not None
    np.testing.assert_allclose(found[0], cell_means(smooth, geobox), atol=0.01)


def test_few_pixels_of_a_map_of_the_world_are_read_at_its_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, read = scene(raster(tmp_path, world(-180.0, 0.1))), []
    real = windows.windows

    def recorded(*args: Any, **how: Any) -> Any:
        found = real(*args, **how)
        read.extend(part.size for part in found)
        return found

    monkeypatch.setattr(windows, "windows", recorded)
    assert layers.layer(reading(), [one], GRIDS["Fiji in UTM"]) is not None
    assert sum(read) < 50 * 60


def test_cells_that_a_map_tears_apart_are_missing_and_their_neighbours_right(tmp_path: Path) -> None:
    """Tiles of a sinusoidal map on either side of 180 degrees, under a grid whose cells lie across it."""
    geobox = box("EPSG:4326", 179.05, -16.0, 0.1, (10, 20))
    pixel = 5000.0
    half = round(20_015_109.0 / pixel)
    scenes = [
        scene(raster(tmp_path, box(SINUSOIDAL, column * pixel, -1_600_000, pixel, (80, 300)), name), bbox=bbox)
        for name, column, bbox in (
            ("west", half - 290, (165.0, -19.0, 180.0, -14.0)),
            ("east", -half - 10, (-180.0, -19.0, -165.0, -14.0)),
        )
    ]
    found = layers.layer(reading(resampling="average"), scenes, geobox)
    assert found is not None
    whole = np.arange(20) != 9
    assert (found[1][:, 9] == 0).all()
    np.testing.assert_allclose(found[0][:, whole], cell_means(smooth, geobox)[:, whole], atol=0.05)


@pytest.mark.parametrize("resampling", ["auto", "average", "nearest"])
def test_around_a_pole_all_cells_have_their_values(resampling: Any, tmp_path: Path) -> None:
    """All but the four that share the pole, where longitudes end."""
    geobox = box("EPSG:3413", -300_000, 300_000, 25_000, (24, 24))
    found = layers.layer(reading(resampling=resampling), [scene(raster(tmp_path, world(-180.0)))], geobox)
    assert found is not None
    away = np.ones(geobox.shape, bool)
    away[11:13, 11:13] = False
    np.testing.assert_allclose(found[0][away], cell_means(smooth, geobox)[away], atol=0.3)


@pytest.mark.parametrize(
    ("bbox", "where", "expected"),
    [
        ((240.0, 20.0, 260.0, 40.0), "America", True),
        ((-120.0, 20.0, -100.0, 40.0), "America", True),
        ((260.0, 20.0, 280.0, 40.0), "America", False),
        ((170.0, -20.0, -170.0, -10.0), "Fiji", True),
        ((170.0, -20.0, 190.0, -10.0), "Fiji in UTM", True),
        ((170.0, -20.0, -170.0, -10.0), "America", False),
        ((170.0, 20.0, -170.0, 40.0), "America", False),
        ((355.0, 40.0, 360.0, 60.0), "Greenwich", True),
        ((0.0, 40.0, 5.0, 60.0), "Greenwich", True),
        ((30.0, 40.0, 100.0, 60.0), "Greenwich", False),
        ((0.0, -90.0, 360.0, 90.0), "Fiji in EASE-Grid", True),
    ],
)
def test_a_scene_meets_a_grid_by_its_place_not_by_its_numbers(bbox: extents.Box, where: str, expected: bool) -> None:
    one = Scene("a", {}, np.datetime64("2005"), np.datetime64("2006"), bbox, {}, (), "")
    assert layers.meets(one, GRIDS[where]) == expected


# --- areas and grids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crs", "side", "most"),
    [
        ("EPSG:4326", 0.25, 8 * 8),
        ("EPSG:6933", 25_025.26, 11 * 10),
        ("EPSG:3857", 25_000, 11 * 10),
        ("EPSG:3832", 25_000, 11 * 11),
        ("EPSG:32760", 25_000, 11 * 11),
        ("+proj=laea +lat_0=-17 +lon_0=180", 25_000, 11 * 11),
    ],
)
def test_a_grid_across_180_degrees_has_the_cells_of_its_area(crs: str, side: float, most: int) -> None:
    found = grid.cover(FIJI_IN_TWO, crs, side, 5)
    assert found.shape[0] * found.shape[1] <= most
    west, south, east, north = grid.lonlat_bounds(found.bounds, crs)
    assert (west, south, east, north) == pytest.approx(FIJI, abs=0.35)
    assert grid.inside(found.coarse, FIJI_IN_TWO).mean() > 0.6
    same = grid.cover(rectangle(179, -18, 181, -16), crs, side, 5)
    assert (same.left, same.top, same.shape) == (found.left, found.top, found.shape)


def test_a_map_that_an_area_would_tear_apart_is_refused() -> None:
    with pytest.raises(ValueError, match=r"crosses the edge of the map in \+proj=sinu.* choose a CRS"):
        grid.cover(FIJI_IN_TWO, "+proj=sinu +R=6371007.181", 25_000, 25)


@pytest.mark.parametrize(
    ("crs", "bounds", "expected"),
    [
        ("EPSG:3413", (-1e6, -1e6, 1e6, 1e6), (-180, 77, 180, 90)),
        ("EPSG:3031", (-1e6, -1e6, 1e6, 1e6), (-180, -90, 180, -77)),
        ("EPSG:4326", (-180, -90, 180, 90), (-180, -90, 180, 90)),
        ("EPSG:4326", (0, -90, 360, 90), (-180, -90, 180, 90)),
        ("EPSG:4326", (240, 20, 260, 40), (-120, 20, -100, 40)),
        ("EPSG:4326", (350, 20, 370, 40), (-10, 20, 10, 40)),
    ],
)
def test_boxes_of_any_bounds(crs: str, bounds: Any, expected: Any) -> None:
    assert grid.lonlat_bounds(bounds, crs) == pytest.approx(expected, abs=0.5)


def test_a_coarse_cell_larger_than_the_earth_is_refused() -> None:
    with pytest.raises(ValueError, match=r"25000 degree is larger than the Earth; is `coarse` given in the unit of"):
        grid.cover(rectangle(108, 34, 109, 35), "EPSG:4326", 25_000, 25)
    with pytest.raises(ValueError, match="larger than the Earth"):
        grid.cover(rectangle(108, 34, 109, 35), "EPSG:3857", 25_000_000, 25)


@pytest.mark.parametrize(
    ("crs", "width"),
    [
        ("EPSG:4326", 360),
        ("EPSG:4807", 400),  # grads
        ("EPSG:6933", 34_735_060.89),
        ("EPSG:3832", 40_075_016.69),
        ("EPSG:32660", None),
        ("EPSG:3413", None),
        ("ESRI:54009", None),
    ],
)
def test_maps_repeat_themselves_after_a_turn_or_not_at_all(crs: str, width: float | None) -> None:
    assert extents.turn(crs) == (None if width is None else pytest.approx(width))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(178, 0, 180, 1), (-180, 0, -179, 1)], (178, 0, 181, 1)),
        ([(27, 0, 180, 1), (-180, 0, -170, 1)], (27, 0, 190, 1)),
        ([(350, 0, 360, 1), (0, 0, 10, 1)], (-10, 0, 10, 1)),
        ([(240, 0, 260, 1)], (-120, 0, -100, 1)),
        ([(-180, -90, 180, 90)], (-180, -90, 180, 90)),
        ([(-5, 0, 0, 1), (50, 0, 60, 1)], (-5, 0, 60, 1)),
    ],
)
def test_parts_of_an_area_are_joined_where_they_meet(parts: Any, expected: Any) -> None:
    assert extents.joined(MultiPolygon([rectangle(*part) for part in parts])).bounds == pytest.approx(expected)


# --- stations, truths and files of any name -----------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [(179.0, -18.0, 181.0, -16.0), (-181.0, -18.0, -179.0, -16.0)])
def test_stations_lie_on_a_grid_however_they_count(bounds: Any) -> None:
    places = pd.DataFrame({"longitude": [179.5, -179.5, 180.5, -180.5, 178.0], "latitude": [-17.0] * 5})
    assert insitu.inside(places, "EPSG:4326", bounds).tolist() == [True, True, True, True, False]
    x, _ = pairing.on_grid(places, "EPSG:4326", (bounds[0] + bounds[2]) / 2)
    np.testing.assert_allclose(x[:4] - bounds[0], [0.5, 1.5, 1.5, 0.5])


def test_a_truth_may_count_from_elsewhere() -> None:
    def field(x: Any) -> xr.DataArray:
        values = np.arange(4.0).reshape(1, 1, 4)
        return xr.DataArray(values, {"time": [0], "y": [0.0], "x": x}, ("time", "y", "x"))

    maps = field([179.25, 179.75, 180.25, 180.75])
    known = reference_data.on_grid(field([-180.75, -180.25, -179.75, -179.25]), maps, "truth.zarr", "EPSG:4326")
    np.testing.assert_array_equal(known, maps)
    halves = field([-179.75, -179.25, 179.25, 179.75])
    np.testing.assert_array_equal(reference_data.on_grid(halves, maps, "t", "EPSG:4326")[0, 0], [2, 3, 0, 1])


def test_an_asset_of_any_name_is_read_from_the_web_and_from_a_folder(tmp_path: Path) -> None:
    geobox = GRIDS["America"]
    folder = tmp_path / "山 西"
    folder.mkdir()
    path = raster(folder, box("EPSG:4326", -120.0, 40.0, 0.1, (150, 200)), "a b#1")
    base = str(tmp_path / "catalog.json")
    with serve() as web:
        web.contents["%E5%B1%B1%20%E8%A5%BF/a%20b%231.tif"] = path.read_bytes()
        for href in (
            path.as_uri(),
            "./山 西/a b#1.tif",
            "%E5%B1%B1%20%E8%A5%BF/a%20b%231.tif",
            f"{web.url}/山 西/a b%231.tif",
            f"/vsicurl/{web.url}/山 西/a b%231.tif?sig=a%2Bb",
        ):
            one = replace(scene(path), hrefs={"data": documents.resolve(base, href)})
            found = layers.layer(reading(), [one], geobox)
            assert found is not None, href
            np.testing.assert_allclose(found[0], cell_means(smooth, geobox), atol=0.01)
