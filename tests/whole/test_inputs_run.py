"""Small inputs that state their values in odd or contradictory ways, through the commands."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from scipy.io import netcdf_file

from commands import Ended, invoke, soilscale
from worlds import box, write

LON, LAT, PIXEL, SIZE = 108.0, 35.0, 0.05, 10
GRID = box("EPSG:4326", LON, LAT, PIXEL, (SIZE, SIZE))
STEP = np.tile(np.where(np.arange(SIZE) < SIZE // 2, 10.0, 20.0), (SIZE, 1))
"""10 in the west and 20 in the east, as the two coarse cells of each row are."""


@dataclass(frozen=True)
class Input:
    """A source of two months."""

    files: Callable[[Path, str, int], Mapping[str, Path]]
    """Makes the files of a month by folder, name and number of the month."""
    keys: Mapping[str, Any] = field(default_factory=dict)
    asset: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the data asset; `month` holds those of each month."""
    month: tuple[Mapping[str, Any], ...] = ({}, {})
    west: float = 10.0
    """January in the west and east of the cube."""
    east: float = 20.0
    unit: str = "1"
    said: tuple[str, ...] = ()
    """What is told."""


def tif(factor: float = 1.0, **tags: Any) -> Callable[[Path, str, int], Mapping[str, Path]]:
    return lambda folder, name, month: {
        "data": write(folder / f"{name}{month}.tif", (STEP * factor).astype("float32"), GRID, **tags)
    }


def masked(folder: Path, name: str, month: int) -> Mapping[str, Path]:
    files = tif()(folder, name, month)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(files["data"], "r+") as file:
        file.write_mask(STEP > 15)
    return files


def placed(transform: Affine | None, crs: str | None, values: Any = STEP) -> Any:
    def make(folder: Path, name: str, month: int) -> Mapping[str, Path]:
        path = folder / f"{name}{month}.tif"
        place = {key: value for key, value in (("transform", transform), ("crs", crs)) if value is not None}
        with rasterio.open(
            path, "w", driver="GTiff", width=SIZE, height=SIZE, count=1, dtype="float32", **place
        ) as file:
            file.write(values.astype("float32"), 1)
        return {"data": path}

    return make


def flagged(folder: Path, name: str, month: int) -> Mapping[str, Path]:
    files = {"data": folder / f"{name}{month}.tif", "QC_Day": folder / f"{name}{month}q.tif"}
    columns = np.tile(np.arange(SIZE), (SIZE, 1))
    write(files["data"], np.where(columns % 5 < 2, 13500, 15000).astype("uint16"), GRID)
    write(files["QC_Day"], np.where(columns % 5 < 2, 0b1100_0001, 0b0100_0001).astype("uint8"), GRID)
    return files


def variables(folder: Path, name: str, month: int) -> Mapping[str, Path]:
    path = folder / f"{name}{month}.nc"
    with netcdf_file(path, "w") as file:
        for axis in ("lat", "lon"):
            file.createDimension(axis, SIZE)
            file.createVariable(axis, "d", (axis,))[:] = np.arange(SIZE)
        for variable in ("snow", "rain"):
            file.createVariable(variable, "f", ("lat", "lon"))[:] = STEP
    return {"data": path}


NAN = float("nan")
UPSIDE = Affine(PIXEL, 0, LON, 0, PIXEL, LAT - SIZE * PIXEL)
PLACE = {"proj:code": "EPSG:4326", "proj:transform": [PIXEL, 0, LON, 0, -PIXEL, LAT]}
FEET = box("EPSG:4326", LON - 0.5, LAT + 0.5, PIXEL, (30, 30))

INPUTS: Mapping[str, Input] = {
    "soil_moisture": Input(tif(unit="%"), {"role": "target"}, west=0.1, east=0.2, unit="m3 m-3"),
    "code_of_the_user": Input(tif(nodata=10), {"nodata": 250}, west=NAN),
    "code_of_the_item": Input(tif(nodata=10), asset={"nodata": ["0", "nan"]}, west=NAN),
    "mask_beside": Input(masked, west=NAN),
    "south_up": Input(placed(UPSIDE, "EPSG:4326")),
    "place_of_the_item": Input(placed(None, None), asset=PLACE),
    "scale_of_the_file": Input(
        tif(scale=0.1),
        asset={"raster:bands": [{"scale": 1.0, "offset": 0.0}]},
        west=1,
        east=2,
        said=("item scale_of_the_file1: the item states scale 1, offset 0; the file states scale 0.1",),
    ),
    "two_scales": Input(
        tif(scale=0.1),
        asset={"raster:bands": [{"scale": 0.01}]},
        west=NAN,
        east=NAN,
        said=("item two_scales1: the item states scale 0.01; the file states scale 0.1", "write scale and offset"),
    ),
    "rate_per_hour": Input(
        tif(0.01),
        {"aggregate": "rate"},
        month=({"raster:bands": [{"unit": "mm/h"}]}, {"raster:bands": [{"unit": "mm/day"}]}),
        west=0.1 * 24 * 31,
        east=0.2 * 24 * 31,
        unit="mm month-1",
    ),
    "total_in_metres": Input(tif(0.001, unit="m"), {"aggregate": "sum"}, unit="mm month-1"),
    "celsius": Input(tif(unit="degC"), {"unit": "K"}, west=283.15, east=293.15, unit="K"),
    "another_dimension": Input(
        tif(unit="mm"),
        {"unit": "K"},
        west=NAN,
        east=NAN,
        unit="K",
        said=("the file states unit 'mm'; the configuration states unit 'K'", "write scale, offset and unit"),
    ),
    "lst": Input(flagged, {"profile": "MOD11A2", "asset": "data"}, west=300, east=300, unit="K"),
    "several_variables": Input(
        variables, west=NAN, east=NAN, said=("holds 2 variables", "snow", "with the key `layer`")
    ),
}


def item(name: str, made: Input, folder: Path, month: int) -> dict[str, Any]:
    """STAC item of a month."""
    assets = {key: {"href": str(path)} for key, path in made.files(folder, name, month).items()}
    assets["data"] |= {**made.asset, **made.month[month - 1]}
    times = {"start_datetime": f"2005-0{month}-01T00:00:00Z", "end_datetime": f"2005-0{month + 1}-01T00:00:00Z"}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"{name}{month}",
        "collection": name,
        "bbox": [LON, LAT - 0.5, LON + 0.5, LAT],
        "geometry": None,
        "links": [],
        "properties": {"datetime": None, **times},
        "assets": assets,
    }


def height(folder: Path) -> dict[str, Any]:
    """DEM in feet that rises by 100 m from a column to the next."""
    values = np.tile(np.arange(30) * 100 / 0.3048, (30, 1)).astype("float32")
    path = write(folder / "dem.tif", values, FEET, unit="ft")
    made = item("dem", Input(lambda *_: {"data": path}), folder, 1)
    return made | {"bbox": [LON - 0.5, LAT - 1, LON + 1, LAT + 0.5]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[xr.Dataset, Ended]]:
    folder = tmp_path_factory.mktemp("inputs")
    features = [item(name, made, folder, month) for name, made in INPUTS.items() for month in (1, 2)]
    features.append(height(folder))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    where = {"catalog": "own", "asset": "data"}
    sources = {name: {"collection": name, **where, **made.keys} for name, made in INPUTS.items()}
    sources["lst"]["quality"] = [
        {"asset": "QC_Day", "bits": [0, 1], "accept": [0, 1]},
        {"asset": "QC_Day", "bits": [6, 7], "accept": [0, 1, 2]},
    ]
    content = {
        "name": "inputs",
        "output": "run",
        "area": {"bbox": [LON + 0.01, LAT - 0.49, LON + 0.49, LAT - 0.01]},
        "grid": {"crs": "EPSG:4326", "coarse": 0.25, "ratio": 5},
        "period": ["2005-01", "2005-02"],
        "catalogs": {"own": {"url": "items.json"}},
        "sources": sources | {"dem": {"collection": "dem", **where, "derive": ["slope"]}},
        "models": {"algorithms": ["random_forest"]},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    found = invoke("search", folder / "c.yaml")
    assert found.status == 0, found.err
    ended = soilscale("cube", folder / "c.yaml", "--workers", 1)
    with xr.open_zarr(folder / "run" / "cube.zarr", group="coarse", consolidated=False) as cube:
        yield cube, ended


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", INPUTS)
def test_an_input_is_read_right_or_refused_by_name(world: tuple[xr.Dataset, Ended], name: str) -> None:
    (cube, ended), made = world, INPUTS[name]
    assert cube[name].attrs["units"] == made.unit
    np.testing.assert_allclose(cube[name][0], [[made.west, made.east]] * 2, rtol=1e-6)
    lines = [line for line in ended.err.splitlines() if f"source {name}" in line or f"{name}/" in line]
    if not made.said:
        assert not lines
    assert all(any(part in line for line in lines) for part in made.said), ended.err


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_rate_is_converted_by_the_unit_of_each_item(world: tuple[xr.Dataset, Ended]) -> None:
    np.testing.assert_allclose(world[0]["rate_per_hour"][1], [[0.1 * 28, 0.2 * 28]] * 2, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_slope_of_feet_is_that_of_metres(world: tuple[xr.Dataset, Ended]) -> None:
    """100 m along 0.05 degrees of longitude at 34.875 and 34.625 N, on the ellipsoid."""
    cube, _ = world
    metres = 0.05 * np.pi / 180 * 6378137 * np.cos(np.radians([34.875, 34.625]))
    wanted = np.degrees(np.arctan(100 / metres))
    np.testing.assert_allclose(cube["slope"], np.stack([wanted, wanted], axis=1), rtol=3e-3)
    assert cube["dem"].attrs["units"] == "m"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_command_ends_with_65_and_without_traceback(world: tuple[xr.Dataset, Ended]) -> None:
    assert world[1].status == 65
    assert "Traceback" not in world[1].err
    assert "NotGeoreferenced" not in world[1].err
