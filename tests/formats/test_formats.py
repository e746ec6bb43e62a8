"""Variables inside files of every format, written by their documented layout, against what was written."""

from __future__ import annotations

import gc
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray
from pyhdf.SD import SD, SDC, SDS
from rasterio.transform import from_origin
from scipy.io import netcdf_file

from checkout import REAL
from servers.files import serve
from soilscale import catalog, config, formats, sources
from soilscale.catalog import Scene
from soilscale.catalog.placement import Placement
from soilscale.cube import Reading
from soilscale.cube.assets import Header
from soilscale.errors import DataError
from soilscale.formats import attributes, hdfeos
from soilscale.formats.hdf4 import Hdf4, _lock
from soilscale.formats.ranges import Ranges
from soilscale.formats.scratch import Scratch
from soilscale.sources import Band, PixelGrid, QualityRule
from soilscale.stages import dated_items
from worlds import SINUSOIDAL, reading, scene

MODIS = REAL / "modis"
WORLD = (-180.0, -90.0, 180.0, 90.0)
EOS = "YDim:Grid", "XDim:Grid"
NAN = float("nan")
RANDOM = np.random.default_rng(0)

needs_modis = pytest.mark.skipif(not MODIS.exists(), reason="the real MODIS granules are not there")


def read(path: Path | str, *, of: Scene | None = None, **keys: Any) -> tuple[Header, NDArray[np.float64]]:
    """Header and physical values of a whole layer, from north to south."""
    made = reading(**keys)
    return read_by(made, of or scene(path, bbox=WORLD))


def read_by(made: Reading, one: Scene) -> tuple[Header, NDArray[np.float64]]:
    header = made.header(one, made.source.data)
    stored = made.windows([(one, made.source.data)], header, header.bounds, dtype=header.dtype)[0]
    return header, np.asarray(made.decoding(one).physical(stored), "float64")


def by_profile(name: str, path: Path, **keys: Any) -> tuple[Header, NDArray[np.float64]]:
    section = config.SourceSection(**({"catalog": "lab", "collection": "c", "profile": name, "asset": "data"} | keys))
    return read_by(Reading(section.source("field"), lambda href: catalog.sign(href, "none")), scene(path, bbox=WORLD))


# --- HDF4 -----------------------------------------------------------------------------------------------------------


def struct(field: str, shape: tuple[int, int], more: str = "") -> str:
    return f"""GROUP=GridStructure
\tGROUP=GRID_1
\t\tGridName="Grid"
\t\tXDim={shape[1]}
\t\tYDim={shape[0]}
\t\tUpperLeftPointMtrs=(8895604.157333,4447802.078667)
\t\tLowerRightMtrs=(10007554.677000,3335851.559000)
\t\tProjection=GCTP_SNSOID
\t\tProjParams=(6371007.181000,0,0,0,0,0,0,0,0,0,0,0,0)
\t\tSphereCode=-1
{more}\t\tGROUP=DataField
\t\t\tOBJECT=DataField_1
\t\t\t\tDataFieldName="{field}"
\t\t\t\tDimList=("YDim","XDim")
\t\t\tEND_OBJECT=DataField_1
\t\tEND_GROUP=DataField
\tEND_GROUP=GRID_1
END_GROUP=GridStructure
END
"""


def hdf4(path: Path, name: str, values: NDArray[Any], dims: tuple[str, ...], **stated: Any) -> Path:
    kinds = {"int16": SDC.INT16, "uint8": SDC.UINT8, "float32": SDC.FLOAT32, "uint16": SDC.UINT16}
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    if structure := stated.pop("structure", None):
        setattr(file, "StructMetadata.0", structure)
    data = file.create(name, kinds[values.dtype.name], values.shape)
    for number, dim in enumerate(dims):
        data.dim(number).setname(dim)
    for key, (kind, value) in stated.items():
        data.attr(key).set(kind, value)
    data[:] = values
    data.endaccess()
    file.end()
    return path


@needs_modis
@pytest.mark.parametrize(
    ("granule", "layer", "factor", "pixels"),
    [
        ("MOD10A2*.hdf", "Maximum_Snow_Extent", 1.0, 2400),
        ("MOD09GA*.hdf", "sur_refl_b01_1", 1e-4, 2400),
        ("MOD09GA*.hdf", "SolarZenith_1", 0.01, 1200),
        ("MOD09GA*.hdf", "Range_1", 25.0, 1200),
    ],
)
def test_a_real_granule_is_decoded_as_pyhdf_does(granule: str, layer: str, factor: float, pixels: int) -> None:
    (path,) = MODIS.glob(granule)
    header, values = read(path, layer=layer)
    data = SD(str(path)).select(layer)
    stored, stated = data[:], data.attributes()
    low, high = stated["valid_range"]
    missing = (stored == stated["_FillValue"]) | (stored < low) | (stored > high)
    np.testing.assert_allclose(values, np.where(missing, np.nan, stored * factor), rtol=1e-6)
    assert header.shape == (pixels, pixels)
    tile = (-10007554.677, 4447802.078667) if "MOD10" in granule else (-4447802.078667, -8895604.157333)
    assert header.bounds[0] == pytest.approx(tile[0], abs=1e-3)
    assert header.bounds[3] == pytest.approx(tile[1], abs=1e-3)
    assert header.pixel == pytest.approx((1111950.519667 / pixels,) * 2, rel=1e-9)
    assert header.crs == rasterio.crs.CRS.from_user_input(SINUSOIDAL)


def test_a_large_scale_factor_of_hdf_eos_divides_and_that_of_the_profile_wins(tmp_path: Path) -> None:
    stored = RANDOM.integers(-2000, 10001, (12, 12)).astype("int16")
    stored[0, 0] = -3000
    stated = {
        "scale_factor": (SDC.FLOAT64, 10000.0),
        "add_offset": (SDC.FLOAT64, 0.0),
        "_FillValue": (SDC.INT16, -3000),
    }
    name = "1 km monthly NDVI"
    path = hdf4(tmp_path / "a.hdf", name, stored, EOS, structure=struct(name, (12, 12)), **stated)
    expected = np.where(stored == -3000, np.nan, stored / 10000)
    for found in (
        read(path, layer=name)[1],
        read(path, layer="1_km_monthly_NDVI")[1],
        by_profile("MOD13A3", path, layer=name, quality=None)[1],
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_offset_of_hdf4_is_taken_away_before_the_scale(tmp_path: Path) -> None:
    stored = np.arange(144, dtype="uint16").reshape(12, 12)
    stated = {"scale_factor": (SDC.FLOAT64, 0.01), "add_offset": (SDC.FLOAT64, 100.0)}
    path = hdf4(tmp_path / "a.hdf", "LST", stored, EOS, structure=struct("LST", (12, 12)), **stated)
    np.testing.assert_allclose(read(path)[1], (stored - 100.0) * 0.01, atol=1e-9)


def test_trmm_of_hdf4_lies_as_its_profile_says_longitude_first_and_from_the_south(tmp_path: Path) -> None:
    stored = RANDOM.random((1440, 400)).astype("float32")
    stored[:3] = -9999.9
    path = hdf4(tmp_path / "3B43.20050101.7.HDF", "precipitation", stored, ("nlon", "nlat"))
    header, values = by_profile("TRMM_3B43", path)
    np.testing.assert_allclose(values, 24 * np.where(stored < 0, np.nan, stored).T[::-1], rtol=1e-6)
    assert header.bounds == (-180, -50, 180, 50)


@pytest.mark.parametrize(
    ("more", "transform"),
    [("", (8895604.157333, 4447802.078667)), ("\t\tGridOrigin=HDFE_GD_LL\n", (8895604.157333, 3335851.559))],
)
def test_the_structure_says_where_the_first_row_lies(more: str, transform: tuple[float, float]) -> None:
    found = hdfeos.grid(struct("x", (10, 10), more), "x", ("", ""))
    assert found is not None
    assert (found.transform.c, found.transform.f) == pytest.approx(transform)
    assert (found.transform.e < 0) == (not more)


def test_degrees_of_the_structure_are_packed() -> None:
    text = struct("x", (3600, 7200)).replace("SNSOID", "GEO")
    text = text.replace("(8895604.157333,4447802.078667)", "(-180000000.000000,90000000.000000)")
    found = hdfeos.grid(text.replace("(10007554.677000,3335851.559000)", "(180000000.0,-90000000.0)"), "x", ("", ""))
    assert found is not None
    assert found.crs == "EPSG:4326"
    assert tuple(found.transform)[:6] == pytest.approx((0.05, 0, -180, 0, -0.05, 90))


def test_nothing_of_the_hdf4_library_outlives_the_lock_under_which_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is collected elsewhere ends its access there, beside other threads: the library crashes then."""
    path = hdf4(tmp_path / "a.hdf", "rain", np.ones((4, 5), "int16"), ("y", "x"))
    let_go: list[bool] = []
    for kind in (SDS, SD):
        usual = kind.__del__

        def collected(self: Any, usual: Callable[[Any], None] = usual) -> None:
            if getattr(self, "_id", None):
                let_go.append(_lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001
            usual(self)

        monkeypatch.setattr(kind, "__del__", collected)
    contents = Hdf4(str(path))
    variable = contents.variable("rain")
    assert variable is not None
    np.testing.assert_array_equal(variable.read((slice(0, 4), slice(1, 3))), np.ones((4, 2)))
    with pytest.raises(OSError, match="violate the size") as caught:
        variable.read((slice(0, 9), slice(0, 9)))
    contents.close()
    del contents, variable, caught
    gc.collect()
    assert let_go == [True], "of the first look at all data sets alone, under the lock"


@pytest.mark.parametrize("kept", [6, 300, 0.5, 0.98])
def test_an_hdf4_file_that_is_cut_off_is_refused(tmp_path: Path, kept: float) -> None:
    stored = np.arange(90000, dtype="float32").reshape(300, 300)
    whole = hdf4(tmp_path / "whole.hdf", "x", stored, EOS, structure=struct("x", (300, 300)))
    content = whole.read_bytes()
    path = tmp_path / "cut.hdf"
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(DataError, match=r"cut.hdf .*(replace the file|has no variable)"):
        read(path, layer="x")


# --- HDF5 and NetCDF4 -----------------------------------------------------------------------------------------------


def amsr2(path: Path, shape: tuple[int, int]) -> NDArray[np.int16]:
    """Monthly or daily soil moisture as G-Portal has it."""
    stored = RANDOM.integers(-5, 600, shape).astype("int16")
    stored[0, :4] = [-32768, -32767, -1, 0]
    with h5py.File(path, "w") as file:
        data = file.create_dataset("Geophysical Data", data=stored[..., None], compression="gzip")
        data.attrs["SCALE FACTOR"] = np.array([0.1], "float32")
        data.attrs["UNIT"] = np.array([b"%"])
        file.create_dataset("Time Information", data=np.zeros((*shape, 1), "int16"))
        file.attrs["ProductName"] = np.array([b"AMSR2-L3"])
    return stored


@pytest.mark.parametrize(("shape", "pixel"), [((1800, 3600), 0.1), ((720, 1440), 0.25)])
def test_amsr2_of_g_portal_is_placed_by_its_shape_and_negative_codes_are_missing(
    tmp_path: Path, shape: tuple[int, int], pixel: float
) -> None:
    path = tmp_path / "GW1AM2_20150700_01M_EQMA_L3SGSMCHF3300300.h5"
    stored = amsr2(path, shape)
    header, values = by_profile("AMSR2_L3_SMC", path)
    expected = np.where(stored < 0, np.nan, stored * 0.001)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    with_place = reading(layer="Geophysical Data", place=(PixelGrid("EPSG:4326", header.transform[:6]),), unit="m3 m-3")
    np.testing.assert_allclose(read_by(with_place, scene(path, bbox=WORLD))[1], expected, rtol=1e-6)
    assert header.pixel == pytest.approx((pixel, pixel))
    assert header.bounds == pytest.approx(WORLD)
    with pytest.raises(DataError, match=r"not georeferenced.*`place`"):
        read(path, layer="Geophysical Data")
    with pytest.raises(DataError, match=rf"`place` is for 10 x 20 pixels, the file has {shape[0]} x {shape[1]}"):
        read(path, layer="Geophysical Data", place=(PixelGrid("EPSG:4326", (1, 0, 0, 0, -1, 0), (10, 20)),))


def test_smap_is_placed_on_the_ease_grid_and_masked_by_its_flag(tmp_path: Path) -> None:
    path, shape = tmp_path / "SMAP_L3_SM_P_20150701_R19240_001.h5", (406, 964)
    stored = RANDOM.random(shape).astype("float32") * 0.5
    stored[:2] = -9999
    flag = RANDOM.integers(0, 16, shape).astype("uint16")
    with h5py.File(path, "w") as file:
        for half, end in (("AM", ""), ("PM", "_pm")):
            group = file.create_group(f"Soil_Moisture_Retrieval_Data_{half}")
            data = group.create_dataset(f"soil_moisture{end}", data=stored if half == "AM" else 1 - stored)
            data.attrs.update({"units": b"cm**3/cm**3", "_FillValue": np.float32(-9999), "valid_min": np.float32(0.02)})
            group.create_dataset(f"retrieval_qual_flag{end}", data=flag).attrs["_FillValue"] = np.uint16(65534)
            for name in ("latitude", "longitude"):
                group.create_dataset(f"{name}{end}", data=np.zeros(shape, "float32"))
    section = config.SourceSection(catalog="lab", collection="c", profile="SPL3SMP", asset="data")
    made = Reading(section.source("field"), lambda href: catalog.sign(href, "none"))
    one = scene(path, bbox=WORLD)
    header, values = read_by(made, one)
    np.testing.assert_allclose(values, np.where(stored < 0, np.nan, stored), rtol=1e-6)
    unlimited = reading(layer="soil_moisture", place=made.source.place)
    np.testing.assert_allclose(read_by(unlimited, one)[1], np.where(stored < 0.02, np.nan, stored), rtol=1e-6)
    assert (header.crs.to_epsg(), header.unit) == (6933, "cm**3/cm**3")
    assert header.bounds[2] == pytest.approx(17367530.445, abs=0.5)
    flags = made.windows([(one, made.source.quality[0].band)], header, header.bounds)[0]
    np.testing.assert_array_equal(flags, flag)
    with pytest.raises(
        DataError, match=r"has no variable 'soil_moistur' \(it has .*soil_moisture_pm.*\); did you mean"
    ):
        read(path, layer="soil_moistur")


def imerg(path: Path, *, scales: bool) -> NDArray[np.float32]:
    stored = RANDOM.random((1, 3600, 1800)).astype("float32")
    stored[:, :2] = -9999.9
    with h5py.File(path, "w", userblock_size=512 if scales else 0) as file:
        grid = file.create_group("Grid")
        data = grid.create_dataset("precipitation", data=stored, chunks=(1, 145, 1800), compression="gzip")
        data.attrs.update(
            {"DimensionNames": b"time,lon,lat", "Units": b"mm/hr", "units": b"mm/hr", "_FillValue": np.float32(-9999.9)}
        )
        data.attrs["CodeMissingValue"] = b"-9999.9"
        for name, first, size, unit in (("lon", -179.95, 3600, "degrees_east"), ("lat", -89.95, 1800, "degrees_north")):
            side = grid.create_dataset(name, data=(first + 0.1 * np.arange(size)).astype("float32"))
            side.attrs["units"] = unit.encode()
            if scales:
                side.make_scale(name)
                data.dims[1 if name == "lon" else 2].attach_scale(side)
        time = grid.create_dataset("time", data=np.array([1436745600], "int32"))
        time.attrs["units"] = b"seconds since 1970-01-01 00:00:00 UTC"
    return stored


@pytest.mark.parametrize("scales", [True, False])
def test_imerg_lies_longitude_first_and_from_the_south(tmp_path: Path, scales: bool) -> None:
    path = tmp_path / "3B-MO.MS.MRG.3IMERG.20150701-S000000-E235959.07.V07B.HDF5"
    stored = imerg(path, scales=scales)
    header, values = by_profile("GPM_3IMERGM", path)
    np.testing.assert_allclose(values, 24 * np.where(stored[0] < 0, np.nan, stored[0]).T[::-1], rtol=1e-6)
    assert header.bounds == pytest.approx(WORLD, abs=1e-9)
    assert header.crs.to_epsg() == 4326
    window = reading(layer="precipitation").windows(
        [(scene(path, bbox=WORLD), Band("data", "precipitation"))], header, (100.0, 30.0, 105.0, 32.0)
    )[0]
    np.testing.assert_array_equal(window, stored[0, 2800:2850, 1200:1220].T[::-1])


def packed(path: Path, engine: Any) -> NDArray[np.float64]:
    """Packed months on longitudes 0..360, times in the middle of the month, a dimension of length one."""
    months = np.array(["2015-01-16T12:00", "2015-02-15", "2015-03-16T12:00"], "datetime64[ns]")
    values = np.round(RANDOM.random((3, 1, 19, 36)), 3)
    values[:, :, :2] = np.nan
    data = xr.Dataset(
        {"swvl1": (("valid_time", "level", "latitude", "longitude"), values, {"units": "m**3 m**-3"})},
        {
            "valid_time": months,
            "level": [7],
            "latitude": ("latitude", np.linspace(90, -90, 19), {"units": "degrees_north"}),
            "longitude": ("longitude", np.arange(5.0, 365, 10), {"units": "degrees_east"}),
        },
    )
    packing = {"scale_factor": 0.001, "add_offset": 0.5, "dtype": "int16", "_FillValue": np.int16(-32767)}
    engine(data, path, {"swvl1": packing})
    return values[:, 0]


ENGINES: Mapping[str, Callable[[xr.Dataset, Path, Any], object]] = {
    "a.nc4": lambda data, path, packing: data.to_netcdf(path, engine="h5netcdf", encoding=packing),
    "a.nc": lambda data, path, packing: data.to_netcdf(path, engine="scipy", encoding=packing),
    "a.zarr": lambda data, path, packing: data.to_zarr(path, encoding=packing, zarr_format=2, consolidated=True),
    "b.zarr": lambda data, path, packing: data.to_zarr(path, encoding=packing, zarr_format=3, consolidated=False),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ENGINES)
def test_every_month_of_a_file_becomes_an_item_and_is_read_right(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    values = packed(path, ENGINES[name])
    item = {
        "id": "era",
        "bbox": [-180, -90, 180, 90],
        "properties": {
            "datetime": None,
            "start_datetime": "2015-01-01T00:00:00Z",
            "end_datetime": "2015-12-31T00:00:00Z",
        },
        "assets": {"data": {"href": str(path)}},
    }
    made = reading(layer="swvl1")
    span = np.datetime64("2015-02-01", "s"), np.datetime64("2016-01-01", "s")
    found = dated_items.split(made, [item], span)
    assert [one["id"] for one in found] == ["era_20150201", "era_20150301"]
    scenes = catalog.scenes(found, made.source)
    assert [str(one.end)[:10] for one in scenes] == ["2015-03-01", "2015-04-01"]
    assert len({one.digest for one in scenes}) == 2
    for one, month in zip(scenes, (1, 2), strict=True):
        header, got = read_by(made, one)
        np.testing.assert_allclose(got, values[month], atol=1e-6)
        assert header.bounds == pytest.approx((0, -95, 360, 95))
        assert header.unit == "m**3 m**-3"
    with pytest.raises(DataError, match="has 3 dates, but its item covers all of them"):
        read(path, layer="swvl1")


def test_days_of_a_file_begin_at_midnight_and_bounds_count(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    for bounds, ends in ((None, ["2015-01-02", "2015-01-03"]), ([[0, 5], [5, 12]], ["2015-01-06", "2015-01-13"])):
        with netcdf_file(path, "w") as file:
            for axis, size in (("time", 2), ("y", 3), ("x", 4), ("two", 2)):
                file.createDimension(axis, size)
            time = file.createVariable("time", "d", ("time",))
            time[:], time.units = [0.5, 1.5], "days since 2015-01-01"
            if bounds:
                time.bounds = "edges"
                file.createVariable("edges", "d", ("time", "two"))[:] = bounds
            file.createVariable("a", "f", ("time", "y", "x"))[:] = 1
        with formats.layer(str(path), "NetCDF 3", "a", "a") as layer:
            assert [str(step.end)[:10] for step in layer.steps()] == ends
            assert str(layer.steps()[0].start)[:10] == "2015-01-01"


def cf(path: Path, values: NDArray[Any], **stated: Any) -> Path:
    """NetCDF4 of one variable on degrees."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a", data=values)
        for axis, (name, first, step) in enumerate((("lat", 49.5, -1.0), ("lon", 5.5, 1.0))):
            side = file.create_dataset(name, data=first + step * np.arange(values.shape[axis]))
            side.make_scale(name)
            data.dims[axis].attach_scale(side)
        data.attrs.update(stated)
    return path


@pytest.mark.parametrize(
    ("stated", "missing"),
    [
        ({"valid_range": np.array([2, 5], "int16")}, [0, 1, 6, 7]),
        ({"valid_min": np.int16(3)}, [0, 1, 2]),
        ({"valid_max": np.int16(6)}, [7]),
        ({"valid_range": np.array([0.15, 0.55]), "scale_factor": 0.1}, [0, 1, 6, 7]),
        ({"flag_values": np.array([1, 2, 3], "int16"), "flag_meanings": b"crop no_data wood"}, [0, 2, 4, 5, 6, 7]),
        ({"_FillValue": np.int16(4), "missing_value": np.int16(6)}, [4, 6]),
        ({"missing_value": np.array([4, 6], "int16")}, [4, 6]),
        ({"_FillValue": b"0x0004", "missing_value": "6s"}, [4, 6]),
        ({"valid_range": "2-5"}, [0, 1, 6, 7]),
        ({"valid_range": "2..5"}, [0, 1, 6, 7]),
        ({"Minimum_valid_DN": np.int16(2), "Maximum_valid_DN": np.int16(6), "Error_DN": np.int16(4)}, [0, 1, 4, 7]),
        ({}, []),
    ],
)
def test_attributes_of_a_file_say_what_is_missing(tmp_path: Path, stated: dict[str, Any], missing: list[int]) -> None:
    values = np.arange(8, dtype="int16").reshape(2, 4)
    _, found = read(cf(tmp_path / "a.nc", values, **stated))
    assert np.flatnonzero(np.isnan(found)).tolist() == missing
    np.testing.assert_allclose(found[~np.isnan(found)], (values * stated.get("scale_factor", 1))[~np.isnan(found)])


def test_gdal_reads_a_range_of_netcdf_that_only_it_opens() -> None:
    assert attributes.valid_range({"valid_range": "{0,1}"}) == (0, 1)
    assert attributes.valid_range({"valid_min": "-3", "units": "K"}) == (-3, math.inf)
    assert attributes.valid_range({"units": "K"}) is None


def test_codes_written_with_a_sign_count_of_values_without_one(tmp_path: Path) -> None:
    path = cf(tmp_path / "a.nc", np.array([[1, -1, -2]] * 2, "int8"), _Unsigned=b"true", _FillValue=np.int8(-1))
    np.testing.assert_array_equal(read(path)[1][0], [1, np.nan, 254])


@pytest.mark.parametrize(
    ("stated", "values", "expected"),
    [
        (
            {"_Unsigned": b"true", "valid_range": np.array([0, -2], "int8")},
            np.array([1, -1, -2], "int8"),
            [1, NAN, 254],
        ),
        ({"_Unsigned": b"false", "_FillValue": np.uint8(255)}, np.array([1, 255, 254], "uint8"), [1, NAN, -2]),
        ({"_FillValue": "0xFF"}, np.array([1, -1, 3], "int8"), [1, NAN, 3]),
        ({"slope": 0.5, "intercept": 1.0}, np.array([1, 2, 3], "int16"), [1.5, 2, 2.5]),
        ({"Slope": np.float32(0.5), "Offset": 1.0}, np.array([1, 2, 3], "int16"), [1.5, 2, 2.5]),
        ({}, np.array([1, 9.969209968386869e36, -3.4e38], "float32"), [1, NAN, NAN]),
        ({}, np.array([1, -32767, 3], "int16"), [1, -32767, 3]),
        ({"netcdf": True}, np.array([1, -32767, 3], "int16"), [1, NAN, 3]),
        ({"netcdf": True, "_FillValue": np.int16(3)}, np.array([1, -32767, 3], "int16"), [1, -32767, NAN]),
    ],
)
def test_stored_values_are_those_that_the_file_means(
    tmp_path: Path, stated: dict[str, Any], values: NDArray[Any], expected: list[float]
) -> None:
    attributes_of = {key: value for key, value in stated.items() if key != "netcdf"}
    path = cf(tmp_path / "a.nc", np.stack([values, values]), **attributes_of)
    if "netcdf" in stated:
        with h5py.File(path, "r+") as file:
            file.attrs["_NCProperties"] = b"version=2"
    np.testing.assert_allclose(read(path)[1][0], expected)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"scale_factor": 0.0}, "the file states scale 0; it cannot be used; write scale under sources.field"),
        ({"scale_factor": "see guide"}, "the file states scale_factor 'see guide'; it cannot be used"),
        ({"_FillValue": "see guide"}, "the file states _fillvalue 'see guide'; it cannot be used; write nodata"),
        ({"SCALING_FACTOR": 1000}, "the file states scaling_factor 1000; it cannot be used; write scale"),
    ],
)
def test_what_cannot_be_used_is_named_unless_the_source_states_it(
    tmp_path: Path, stated: dict[str, Any], said: str
) -> None:
    path = cf(tmp_path / "a.nc", np.array([[1, 2, 3]] * 2, "int16"), **stated)
    with pytest.raises(DataError, match=re.escape(said)):
        read(path)
    key = said.split("write ")[1].split(maxsplit=1)[0] if "write" in said else "scale"
    keys: dict[str, Any] = {key: (3.0,) if key == "nodata" else 2.0}
    np.testing.assert_allclose(read(path, **keys)[1][0, :2], [1, 2] if key == "nodata" else [2, 4])


def test_zarr_3_keeps_its_fill_value_in_base_64(tmp_path: Path) -> None:
    values = np.arange(8, dtype="float64").reshape(2, 4)
    values[0, 0] = np.nan
    data = xr.Dataset({"a": (("lat", "lon"), values)}, {"lat": [49.5, 48.5], "lon": [5.5, 6.5, 7.5, 8.5]})
    data.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False, encoding={"a": {"_FillValue": 7.0}})
    expected = np.where(values == 7, np.nan, values)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")[1], expected)


def test_coordinates_may_be_packed(tmp_path: Path) -> None:
    path = cf(tmp_path / "a.nc", np.arange(8.0).reshape(2, 4))
    with h5py.File(path, "r+") as file:
        for name in ("lat", "lon"):
            file[name][:] = file[name][:] * 100
            file[name].attrs["scale_factor"] = 0.01
    assert read(path)[0].bounds == pytest.approx((5, 48, 9, 50))


@pytest.mark.parametrize(("unit", "metres"), [("km", 1000), ("hm", 100), ("m", 1), ("1000 m", 1000), ("ft", 0.3048)])
def test_coordinates_of_any_length_are_metres(tmp_path: Path, unit: str, metres: float) -> None:
    path = projected(tmp_path / "a.nc", {"grid_mapping_name": "lambert_azimuthal_equal_area"}, unit)
    assert read(path)[0].bounds == pytest.approx(tuple(metres * side for side in (-0.5, -1.5, 3.5, 0.5)))


def test_angles_of_a_geostationary_satellite_become_metres(tmp_path: Path) -> None:
    mapping = {"grid_mapping_name": "geostationary", "perspective_point_height": 1000.0, "sweep_angle_axis": "x"}
    path = projected(tmp_path / "a.nc", mapping, "rad")
    assert read_place(path).transform[:6] == pytest.approx((1000, 0, -500, 0, -1000, 500))
    path = projected(tmp_path / "b.nc", {"grid_mapping_name": "lambert_azimuthal_equal_area"}, "rad")
    with pytest.raises(DataError, match=r"its coordinate x is in 'rad'; expected metres"):
        read(path)


def projected(path: Path, mapping: dict[str, Any], unit: str) -> Path:
    """NetCDF4 of one variable on x and y of a grid mapping."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a", data=np.arange(8.0).reshape(2, 4))
        for axis, (name, step) in enumerate((("y", -1.0), ("x", 1.0))):
            side = file.create_dataset(name, data=step * np.arange(data.shape[axis]))
            side.attrs["units"] = unit
            side.make_scale(name)
            data.dims[axis].attach_scale(side)
        earth = {"semi_major_axis": 6378137.0, "semi_minor_axis": 6356752.3}
        origin = {"longitude_of_projection_origin": 0.0, "latitude_of_projection_origin": 0.0}
        file.create_dataset("crs", data=0).attrs.update(earth | origin | mapping)
        data.attrs["grid_mapping"] = "crs"
    return path


def read_place(path: Path) -> Any:
    """Where the only variable of a file lies, as the file says."""
    with formats.layer(str(path), "HDF5", "a", "a") as layer:
        return layer.place


def test_pixels_that_are_placed_one_by_one_are_refused_as_a_swath(tmp_path: Path) -> None:
    values = np.arange(8.0).reshape(2, 4)
    data = xr.Dataset({"a": (("y", "x"), values), "lat": (("y", "x"), values), "lon": (("y", "x"), values)})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(DataError, match=r"longitudes and latitudes of each pixel only, as swaths do.*regular grid"):
        read(tmp_path / "a.nc")


def test_columns_from_east_to_west_are_turned_round(tmp_path: Path) -> None:
    path = cf(tmp_path / "a.nc", np.arange(8.0).reshape(2, 4))
    with h5py.File(path, "r+") as file:
        file["lon"][:] = file["lon"][:][::-1]
    header, values = read(path)
    np.testing.assert_array_equal(values, np.arange(8.0).reshape(2, 4)[:, ::-1])
    assert header.bounds == (5, 48, 9, 50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["lat"].__setitem__(slice(None), [49.5, 49.5]), "lat is not evenly spaced"),
        (lambda file: file.create_dataset("b", data=np.ones((3, 4, 5))), "holds 2 variables, a, b"),
    ],
)
def test_what_is_no_raster_is_refused(tmp_path: Path, change: Callable[[h5py.File], object], message: str) -> None:
    path = cf(tmp_path / "a.nc", np.ones((2, 4)))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        read(path)


def test_a_further_dimension_is_refused_by_its_name_and_length(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=np.ones((3, 4, 5)))
    with pytest.raises(DataError, match=r"'a' has unnamed 3 x unnamed 4 x unnamed 5; expected rows and columns"):
        read(tmp_path / "a.h5", layer="a")


def test_metres_of_a_grid_mapping_place_a_variable(tmp_path: Path) -> None:
    path = cf(tmp_path / "a.nc", np.ones((2, 4)), grid_mapping=b"crs")
    with h5py.File(path, "r+") as file:
        for name, values in (("lat", [0.5, -0.5]), ("lon", np.arange(4) + 0.5)):
            file[name][:] = values
            file[name].attrs["units"] = b"km"
            file[name].attrs["standard_name"] = f"projection_{'y' if name == 'lat' else 'x'}_coordinate".encode()
        file.create_dataset("crs", data=0).attrs["crs_wkt"] = rasterio.crs.CRS.from_epsg(3035).to_wkt().encode()
    header, _ = read(path, of=scene(path, bbox=(-90, 0, 10, 90)))
    assert (header.crs.to_epsg(), header.bounds) == (3035, (0, -1000, 4000, 1000))


def test_an_item_places_what_has_no_place(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=np.arange(8.0).reshape(2, 4))
    place = {"data": Placement("EPSG:4326", (1.0, 0, 5, 0, -1.0, 50))}
    header, _ = read("", of=scene(tmp_path / "a.h5", bbox=WORLD, placements=place))
    assert header.bounds == (5, 48, 9, 50)


@pytest.mark.parametrize("kept", [100, 0.6, 0.99])
def test_an_hdf5_file_that_is_cut_off_is_refused(tmp_path: Path, kept: float) -> None:
    content = cf(tmp_path / "whole.nc", RANDOM.random((200, 300))).read_bytes()
    path = tmp_path / "cut.nc"
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(DataError, match=r"cut.nc cannot be read as HDF5: .*replace the file"):
        read(path)


# --- GRIB -----------------------------------------------------------------------------------------------------------


def test_a_message_of_grib_is_a_layer(tmp_path: Path) -> None:
    path, values = tmp_path / "a.grib2", np.round(RANDOM.random((20, 30)) * 10, 2)
    profile = {"driver": "GTiff", "width": 30, "height": 20, "count": 1, "dtype": "float64", "crs": "EPSG:4326"}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, transform=from_origin(100, 40, 0.5, 0.5)) as file:
        file.write(values, 1)
    with rasterio.open(tmp_path / "a.tif") as file:
        rasterio.shutil.copy(file, path, driver="GRIB", DATA_ENCODING="IEEE_FLOATING_POINT")
    with formats.opened(str(path), "GRIB") as contents:
        (name,) = [name for name in contents.names() if "time" not in name]
    header, found = read(path, of=scene(path, bbox=(100, 30, 115, 40)), layer=name)
    np.testing.assert_allclose(found, values, rtol=1e-6)
    assert header.bounds == pytest.approx((100, 30, 115, 40), abs=1e-4)


KELVINS = bytes.fromhex(
    "4752494200006c01000034806280ff80a70100000403010c000100000000000015000000000000000000000000000000"
    "01010204013030303100000000002000ff0000640050009ff6019a5a8000811a01c10600640064000000000000000c08"
    "000043118000000037373737"
)
"""Message of ECMWF of edition 1, 2T = 280 K at every pixel of 100 x 80."""


def grib(path: Path, values: NDArray[Any], month: int, width: float = 0.5) -> bytes:
    """Message of edition 2, of a month of 2004, whose element GDAL does not know."""
    rows, columns = values.shape
    profile = {"driver": "GTiff", "width": columns, "height": rows, "count": 1, "dtype": "float64", "crs": "EPSG:4326"}
    with rasterio.open(path.with_suffix(".tif"), "w", **profile, transform=from_origin(100, 40, width, width)) as file:
        file.write(values, 1)
    with rasterio.open(path.with_suffix(".tif")) as file:
        time = f"CENTER=98 REF_TIME=2004-{month:02d}-01T00:00:00Z"
        rasterio.shutil.copy(file, path, driver="GRIB", DATA_ENCODING="IEEE_FLOATING_POINT", IDS=time)
    return path.read_bytes()


def test_messages_of_grib_are_steps_in_whatever_order_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.grib2"
    messages = [grib(path, np.full((20, 30), float(month)), month) for month in (3, 1, 2)]
    path.write_bytes(b"".join(messages))
    with formats.opened(str(path), "GRIB") as contents:
        name, times = contents.names()
        variable, axis = contents.variable(name), contents.variable(times)
        assert variable is not None
        assert axis is not None
        assert variable.read((slice(0, 3), slice(0, 1), slice(0, 1))).ravel().tolist() == [1, 2, 3]
        seconds = axis.read((slice(0, 3),)).astype("datetime64[s]")
        assert seconds.astype("datetime64[M]").astype(str).tolist() == ["2004-01", "2004-02", "2004-03"]


def test_messages_of_grib_on_two_grids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.grib2"
    path.write_bytes(grib(path, np.ones((20, 30)), 1) + grib(path, np.ones((10, 15)), 2, 1.0))
    with pytest.raises(DataError, match=r"a.grib2 holds messages on 2 grids, .* write a file for each grid"):
        read(path)
    path.write_bytes(KELVINS + grib(path, np.ones((20, 30)), 1))
    with pytest.raises(DataError, match="holds messages on 2 grids"):
        read(path)


def test_a_grid_that_gdal_does_not_read_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.grib").write_bytes(KELVINS[:70])
    with pytest.raises(DataError, match=r"a.grib cannot be read as GRIB: .* convert it to a regular grid"):
        read(tmp_path / "a.grib")


OF_A_THREAD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from soilscale import formats

def look(path):
    with formats.opened(path, "GRIB") as contents:
        name = contents.names()[0]
        variable = contents.variable(name)
        return name, variable.attributes["units"], variable.read((slice(0, 1), slice(40, 41), slice(40, 41))).item()

with ThreadPoolExecutor(1) as pool:
    print(*pool.submit(look, sys.argv[1]).result())
"""


def test_kelvins_of_grib_are_kelvins_in_every_thread(tmp_path: Path) -> None:
    """GDAL says that they are degrees Celsius, and outside of the thread that imports rasterio nothing at all."""
    path = tmp_path / "a.grib"
    path.write_bytes(KELVINS)
    found = subprocess.run([sys.executable, "-c", OF_A_THREAD, path], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["2T", "K", "280.0"]


# --- by ranges, and once --------------------------------------------------------------------------------------------


def test_of_a_distant_hdf5_file_hardly_more_is_read_than_its_chunks(tmp_path: Path) -> None:
    """Of 120 chunks in a file of many variables, 12 are needed."""
    path, size = tmp_path / "a.h5", 1200
    values = RANDOM.random((size, size)).astype("float32")
    with h5py.File(path, "w") as file:
        for number in range(30):
            file.create_dataset(f"Grid/other{number}", data=RANDOM.random((300, 300)).astype("float32"))
        data = file.create_dataset("Grid/a", data=values, chunks=(100, 120), compression="gzip")
        needed = sum(
            data.id.get_chunk_info_by_coord((row, column)).size
            for row in (300, 400, 500)
            for column in (240, 360, 480, 600)
        )
    place = PixelGrid("EPSG:4326", (0.01, 0, 0, 0, -0.01, 12))
    with serve() as files:
        files.contents["a.h5"] = path.read_bytes()
        made, one = reading(layer="Grid/a", place=(place,)), scene(files.href("a.h5"), bbox=(0, 0, 12, 12))
        with formats.keeping():
            header = made.header(one, made.source.data)
            found = made.windows([(one, made.source.data)], header, (2.4, 6.0, 7.2, 9.0))[0]
        np.testing.assert_array_equal(found, values[300:600, 240:720])
        assert needed <= files.sent["a.h5"] < 1.5 * needed
        assert len(files.contents["a.h5"]) > 10 * needed


def test_one_granule_is_opened_once_for_all_its_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("a", "flags"):
            file.create_dataset(name, data=np.ones((40, 50), "uint8"))
    opened: list[str] = []
    whole = Ranges.__init__
    monkeypatch.setattr(Ranges, "__init__", lambda self, url: (opened.append(url), whole(self, url))[1])
    made = reading(
        layer="a",
        place=(PixelGrid("EPSG:4326", (0.1, 0, 0, 0, -0.1, 4)),),
        quality=(QualityRule("flags", (0, 0), (1,)),),
    )
    with serve() as files:
        files.contents["a.h5"] = path.read_bytes()
        one = scene(files.href("a.h5"), bbox=(0, 0, 5, 4))
        with formats.keeping():
            header = made.header(one, made.source.data)
            both = [(one, band) for band in made.on(one, header)]
            assert len(both) == 2
            found = made.windows(both, header, header.bounds)
        assert all((values == 1).all() for values in found)
        assert len(opened) == 1
        assert len([name for name, _ in files.ranges]) < 8


def test_a_distant_hdf4_file_is_fetched_once_for_all_its_layers(tmp_path: Path) -> None:
    path = hdf4(tmp_path / "a.hdf", "x", np.ones((12, 12), "uint8"), EOS, structure=struct("x", (12, 12)))
    with serve() as files:
        files.contents["a.hdf"] = path.read_bytes()
        one = scene(files.href("a.hdf"), bbox=(80, 30, 130, 40))
        for _ in range(3):
            assert (read("", of=one, layer="x")[1] == 1).all()
        assert files.sent["a.hdf"] < path.stat().st_size + 100, "its first bytes tell its kind each time"
        files.faults["a.hdf"] = 404
        with pytest.raises(DataError, match=r"404|does not exist"):
            read("", of=one, layer="x")


def test_copies_stay_within_their_room_and_those_that_are_read_stay() -> None:
    with serve() as files:
        for name in "abc":
            files.contents[name] = name.encode() * 1000
        scratch = Scratch(room=2500)
        with scratch.copy(files.href("a")) as first:
            for name in "bcb":
                with scratch.copy(files.href(name)) as path:
                    assert path.read_bytes() == name.encode() * 1000
            assert first.read_bytes() == b"a" * 1000, "it is being read"
            assert sum(one.stat().st_size for one in first.parent.iterdir()) <= 2500
        with scratch.copy(files.href("c")), scratch.copy(files.href("b")):
            assert not first.exists()


def test_threads_that_need_one_copy_fetch_it_once() -> None:
    with serve() as files:
        files.contents["a"] = b"x" * 100_000
        scratch, sizes = Scratch(), list[int]()

        def look() -> None:
            with scratch.copy(files.href("a")) as path:
                sizes.append(path.stat().st_size)

        threads = [threading.Thread(target=look) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sizes == [100_000] * 6
        assert files.sent["a"] == 100_000


def test_copies_of_a_process_that_was_killed_are_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, sys; from soilscale.formats.scratch import Scratch\n"
        "with Scratch().copy(sys.argv[1]) as path: print(path, flush=True); os._exit(1) if sys.argv[2] == 'dies' else 0"
    )
    with serve() as files:
        files.contents["a"] = b"x" * 1000
        paths = []
        for how in ("dies", "ends"):
            command = [sys.executable, "-c", code, files.href("a"), how]
            env = {**os.environ, "TMPDIR": str(tmp_path)}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
            paths.append(Path(done.stdout.strip()))
            assert paths[-1].exists() == (how == "dies"), done.stderr
        assert not paths[0].exists()
        assert list(tmp_path.iterdir()) == []


def test_every_profile_with_a_place_has_one_for_each_shape() -> None:
    for name in sources.profiles():
        section = config.SourceSection(catalog="lab", collection="c", profile=name, asset="a")
        shapes = [place.shape for place in section.source("x").place]
        assert len(shapes) == len(set(shapes))
