"""The words of the products, and whether other tools that know CF can read them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the accessor .rio
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from shapely.geometry import box
from zarr.codecs import GzipCodec

from soilscale import grid, schema, storage
from soilscale.grid import Grid
from soilscale.schema import DIMS, MAP, Quality
from soilscale.seasons import month_range

GRIDS = {
    "EPSG:3035": grid.cover(box(5.19, 47.63, 7.29, 49.65), "EPSG:3035", 24_000, 24, origin=(3_973_369, 2_951_847)),
    "EPSG:4326": grid.cover(box(5.19, 47.63, 7.29, 49.65), "EPSG:4326", 0.25, 25),
    "EPSG:6933": grid.cover(box(100, 30, 102, 32), "EPSG:6933", 25_025.26, 25),
}
MONTHS = month_range("2004-12", "2005-02")

FINAL_ZARR_V3 = (3, 12)
"""Version of GDAL that reads the final specification of Zarr v3; earlier ones know a draft of it."""


def cube(geobox: GeoBox, values: NDArray[np.float32] | None = None) -> xr.Dataset:
    """Dataset of one variable with all its coordinates."""
    data = np.zeros((len(MONTHS), *geobox.shape), "float32") if values is None else values
    coords = schema.coordinates(geobox, MONTHS) | {
        "time_bounds": schema.time_bounds(MONTHS, MONTHS + np.timedelta64(1, "M"))
    }
    attrs = dict(schema.MAP_ATTRS) | {"grid_mapping": schema.SPATIAL_REF}
    return xr.Dataset({MAP: (DIMS, data, attrs)}, coords, {"Conventions": schema.CONVENTIONS})


def round_trip(dataset: xr.Dataset, folder: Path) -> xr.Dataset:
    url = str(folder / "cube.zarr")
    lazy = dataset.assign({name: values.chunk() for name, values in dataset.data_vars.items()})
    storage.create(url, "fine", lazy)
    return storage.open_group(url, "fine")


@pytest.mark.filterwarnings("default:Use `@` matmul:PendingDeprecationWarning")  # rioxarray multiplies affines
@pytest.mark.parametrize("scale", ["fine", "coarse"])
@pytest.mark.parametrize("crs", GRIDS)
def test_rioxarray_finds_the_crs_and_the_transform(crs: str, scale: str, tmp_path: Path) -> None:
    geobox = getattr(GRIDS[crs], scale)
    found = round_trip(cube(geobox), tmp_path)
    for layer in (found, found[MAP]):
        assert layer.rio.crs.to_epsg() == int(crs.removeprefix("EPSG:"))
        assert tuple(layer.rio.transform())[:6] == tuple(geobox.transform)[:6]
        assert (layer.rio.height, layer.rio.width) == geobox.shape
    np.testing.assert_allclose(found[MAP].rio.transform(recalc=True), geobox.transform, rtol=1e-9)


@pytest.mark.parametrize("crs", GRIDS)
def test_coordinates_are_the_centres_of_cells(crs: str, tmp_path: Path) -> None:
    geobox = GRIDS[crs].fine
    found = round_trip(cube(geobox), tmp_path)
    y, x = grid.centres(geobox)
    np.testing.assert_array_equal(found["y"], y)
    np.testing.assert_array_equal(found["x"], x)


@pytest.mark.parametrize(
    ("crs", "y", "x", "units"),
    [
        ("EPSG:3035", "projection_y_coordinate", "projection_x_coordinate", ("metre", "metre")),
        ("EPSG:6933", "projection_y_coordinate", "projection_x_coordinate", ("metre", "metre")),
        ("EPSG:4326", "latitude", "longitude", ("degrees_north", "degrees_east")),
    ],
)
def test_axes_have_the_names_and_units_of_cf(crs: str, y: str, x: str, units: tuple[str, str]) -> None:
    coords = schema.coordinates(GRIDS[crs].coarse)
    assert (coords["y"].attrs["standard_name"], coords["x"].attrs["standard_name"]) == (y, x)
    assert (coords["y"].attrs["units"], coords["x"].attrs["units"]) == units
    assert (coords["y"].attrs["axis"], coords["x"].attrs["axis"]) == ("Y", "X")
    assert "time" not in coords


@pytest.mark.parametrize("crs", [*GRIDS, "EPSG:32632", "EPSG:3413", "+proj=sinu +R=6371007.181 +units=m"])
def test_the_grid_mapping_is_the_crs_in_cf(crs: str) -> None:
    reference = schema.coordinates(Grid(crs, 1000, 2, 0, 0, (2, 3), 1).fine)[schema.SPATIAL_REF].attrs
    assert CRS.from_cf(reference) == CRS.from_user_input(crs)
    assert CRS.from_wkt(reference["crs_wkt"]) == CRS.from_user_input(crs)
    assert [float(part) for part in reference["GeoTransform"].split()] == [0, 500, 0, 0, 0, -500]


def test_time_is_the_first_day_of_the_month_with_its_bounds(tmp_path: Path) -> None:
    found = round_trip(cube(GRIDS["EPSG:4326"].coarse), tmp_path)
    assert found["time"].dtype == found["time_bounds"].dtype == np.dtype("datetime64[ns]")
    np.testing.assert_array_equal(found["time"], MONTHS.astype("datetime64[ns]"))
    np.testing.assert_array_equal(found["time_bounds"][:, 0], found["time"])
    assert found["time_bounds"].dims == ("time", "bounds")
    assert found["time_bounds"].to_numpy()[-1, 1] == np.datetime64("2005-03-01", "ns")
    assert found["time"].attrs == {"standard_name": "time", "axis": "T", "bounds": "time_bounds"}


def test_stored_times_are_days_that_any_reader_of_cf_understands(tmp_path: Path) -> None:
    round_trip(cube(GRIDS["EPSG:4326"].coarse), tmp_path)
    raw = xr.open_zarr(tmp_path / "cube.zarr", group="fine", consolidated=False, decode_times=False)
    assert raw["time"].attrs["units"] == "days since 1970-01-01"
    assert raw["time"].attrs["calendar"] == "standard"
    assert raw["time"].to_numpy().tolist() == [12_753, 12_784, 12_815]
    assert raw["time_bounds"].to_numpy()[:, 1].tolist() == [12_784, 12_815, 12_843]


def test_variables_point_to_their_grid_mapping_once_stored(tmp_path: Path) -> None:
    round_trip(cube(GRIDS["EPSG:3035"].coarse), tmp_path)
    told = json.loads((tmp_path / "cube.zarr" / "fine" / MAP / "zarr.json").read_text())
    assert told["attributes"]["grid_mapping"] == schema.SPATIAL_REF
    assert told["dimension_names"] == list(DIMS)


def as_gdal_knows_it(folder: Path) -> None:
    """Name the codec of the byte order as the draft did, for a GDAL that knows the draft only."""
    if tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) >= FINAL_ZARR_V3:
        return
    for path in folder.rglob("zarr.json"):
        told = json.loads(path.read_text())
        for codec in told.get("codecs", []):
            codec["name"] = "endian" if codec["name"] == "bytes" else codec["name"]
        path.write_text(json.dumps(told))


@pytest.mark.parametrize("crs", GRIDS)
def test_gdal_finds_the_crs_and_the_transform(crs: str, tmp_path: Path) -> None:
    geobox = GRIDS[crs].coarse
    values = np.random.default_rng(0).random((len(MONTHS), *geobox.shape), dtype="float32")
    dataset = cube(geobox, values)
    encoding: Any = {name: {"compressors": [GzipCodec()]} for name in dataset.variables}
    dataset.to_zarr(tmp_path / "cube.zarr", group="fine", zarr_format=3, consolidated=False, encoding=encoding)
    as_gdal_knows_it(tmp_path)
    with rasterio.open(f'ZARR:"{tmp_path}/cube.zarr":/fine/{MAP}') as opened:
        assert opened.crs.to_epsg() == int(crs.removeprefix("EPSG:"))
        np.testing.assert_allclose(tuple(opened.transform), tuple(geobox.transform), rtol=1e-9)
        np.testing.assert_array_equal(opened.read(), values)


def test_quality_is_a_flag_variable_of_cf() -> None:
    attrs = schema.QUALITY_ATTRS
    masks, meanings = attrs["flag_masks"], attrs["flag_meanings"].split()
    assert attrs["standard_name"] == "quality_flag"
    assert masks.dtype == "uint8"
    assert masks.tolist() == [1, 2, 4, 8, 16, 32, 64, 128]
    origin = ["observed", "predicted", "gap_filled", "clamped", "outside", "comprehensive"]
    assert meanings == [*origin, "extrapolated", "frozen"]
    assert dict(zip(meanings, masks, strict=True)) == {str(bit.name).lower(): bit.value for bit in Quality}


def test_quality_attributes_survive_the_store(tmp_path: Path) -> None:
    dataset = xr.Dataset({"quality": ("x", np.zeros(3, "uint8"), dict(schema.QUALITY_ATTRS))})
    attrs = round_trip(dataset, tmp_path)["quality"].attrs
    assert list(attrs["flag_masks"]) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert attrs["flag_meanings"] == schema.QUALITY_ATTRS["flag_meanings"]


def test_the_map_has_the_units_and_the_standard_name_of_soil_moisture() -> None:
    assert schema.MAP_ATTRS["units"] == "m3 m-3"
    assert schema.MAP_ATTRS["standard_name"] == "volume_fraction_of_condensed_water_in_soil"


@pytest.mark.parametrize(("shape", "tile"), [((11, 8), 4), ((2, 9), 4), ((1, 1), 32)])
def test_a_fine_chunk_is_a_coarse_chunk_times_the_ratio(shape: tuple[int, int], tile: int) -> None:
    found = Grid("EPSG:3035", 24_000, 24, 0, 0, shape, tile)
    coarse = schema.chunks(found, schema.COARSE)
    assert coarse == found.tile_shape
    assert schema.chunks(found, schema.FINE) == (coarse[0] * 24, coarse[1] * 24)
