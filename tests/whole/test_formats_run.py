"""Real HDF4 and NetCDF4 files through the commands, against pyhdf and h5py."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
import yaml
from pyhdf.SD import SD
from pyproj import Transformer

from checkout import REAL
from commands import Ended, invoke, soilscale
from worlds import SINUSOIDAL

SNOW = REAL / "modis" / "MOD10A2.A2022033.h09v05.061.2022042050729.hdf"
SOIL = sorted((REAL / "esa-cci").glob("ESACCI-*.nc"))
LEFT, TOP, PIXEL = -10007554.677, 4447802.078667, 463.3127165279165
"""Of tile h09v05, by the tiling that all MODIS products share."""
BOX = [-101.9, 33.1, -100.1, 34.9]

pytestmark = pytest.mark.skipif(not (SNOW.exists() and SOIL), reason="the real HDF4 and NetCDF4 files are not there")


def item(name: str, path: Path, start: datetime, days: int, bbox: list[float]) -> dict[str, Any]:
    """STAC item of one file, its asset named ``data`` whatever is in it."""
    end = start + timedelta(days=days)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": path.stem,
        "collection": name,
        "bbox": bbox,
        "geometry": None,
        "links": [],
        "properties": {"datetime": None, "start_datetime": f"{start:%FT%TZ}", "end_datetime": f"{end:%FT%TZ}"},
        "assets": {"data": {"href": str(path.resolve())}},
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    folder = tmp_path_factory.mktemp("formats")
    dates = [datetime.strptime(found[1], "%Y%m%d") for path in SOIL if (found := re.search(r"-(\d{8})0", path.name))]  # noqa: DTZ007 - dates are UTC
    features = [item("sm", path, date, 1, [-180, -90, 180, 90]) for path, date in zip(SOIL, dates, strict=True)]
    features.append(item("snow", SNOW, datetime(2016, 12, 1), 31, [-115.5, 30, -92.3, 40]))  # noqa: DTZ001 - likewise
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    where = {"catalog": "own", "asset": "data"}
    layer = {"layer": "Maximum_Snow_Extent", "resampling": "nearest"}
    content = {
        "name": "formats",
        "output": "run",
        "area": {"bbox": BOX},
        "grid": {"crs": "EPSG:4326", "coarse": 0.25, "ratio": 5},
        "period": ["2016-12", "2016-12"],
        "catalogs": {"own": {"url": "items.json"}},
        "sources": {
            "soil_moisture": {
                "role": "target", "profile": "ESA_CCI_SM", "collection": "sm", "catalog": "own", "asset": "data",
                "layer": "sm", "quality": {"asset": "flag", "bits": [0, 5], "accept": [0]},
            },
            "snow": {"collection": "snow", **where, **layer},
            "clear": {
                "collection": "snow", **where, **layer,
                "quality": {"asset": "data", "layer": "Eight_Day_Snow_Cover", "bits": [0, 7], "accept": [1, 2, 4]},
            },
            "wrong": {"collection": "snow", **where, "layer": "Maximum_Snow"},
            "unnamed": {"collection": "snow", **where},
        },
        "models": {"algorithms": ["random_forest"]},
    }  # fmt: skip
    (folder / "c.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    found = invoke("search", folder / "c.yaml")
    assert found.status == 0, found.err
    return folder, soilscale("cube", folder / "c.yaml", "--workers", 1)


def group(folder: Path, name: str) -> xr.Dataset:
    with xr.open_zarr(folder / "run" / "cube.zarr", group=name, consolidated=False) as cube:
        return cube.load()


def test_layers_of_a_real_hdf4_granule_are_those_of_pyhdf(world: tuple[Path, Ended]) -> None:
    cube = group(world[0], "fine")
    x, y = np.meshgrid(cube.x, cube.y)
    east, north = Transformer.from_crs(4326, SINUSOIDAL, always_xy=True).transform(x, y)
    place = np.floor((TOP - north) / PIXEL).astype(int), np.floor((east - LEFT) / PIXEL).astype(int)
    stored, days = (SD(str(SNOW)).select(name)[:][place] for name in ("Maximum_Snow_Extent", "Eight_Day_Snow_Cover"))
    np.testing.assert_array_equal(cube["snow"], np.where(stored == 255, np.nan, stored))
    clear = np.isin(days, [1, 2, 4])
    assert 0 < clear.mean() < 1
    np.testing.assert_array_equal(cube["clear"], np.where(clear & (stored != 255), stored, np.nan))


def test_real_soil_moisture_of_netcdf4_is_that_of_h5py(world: tuple[Path, Ended]) -> None:
    cube = group(world[0], "coarse")
    row, column = round((90 - cube.y.item(0)) / 0.25 - 0.5), round((cube.x.item(0) + 180) / 0.25 - 0.5)
    part = (0, slice(row, row + cube.sizes["y"]), slice(column, column + cube.sizes["x"]))
    days = []
    for path in SOIL:
        with h5py.File(path) as file:
            values, flags = file["sm"][part].astype("float64"), file["flag"][part]
        days.append(np.where((values >= 0) & (flags == 0), values, np.nan))
    count = np.isfinite(days).sum(axis=0)
    mean = np.nansum(days, axis=0) / np.where(count > 0, count, np.nan)
    assert np.isfinite(mean).any()
    np.testing.assert_allclose(cube["soil_moisture"][0], mean, rtol=1e-6)
    assert cube["soil_moisture"].attrs["units"] == "m3 m-3"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("wrong", "has no variable 'Maximum_Snow' (it has Maximum_Snow_Extent, Eight_Day_Snow_Cover); did you mean"),
        ("unnamed", "holds 2 variables, Maximum_Snow_Extent, Eight_Day_Snow_Cover, and none is named 'data'"),
    ],
)
def test_a_wrong_layer_and_none_are_refused_with_those_there_are(
    world: tuple[Path, Ended], source: str, message: str
) -> None:
    folder, ended = world
    assert ended.status == 65
    assert any(f"{source}/" in line and message in line for line in ended.err.splitlines()), ended.err
    assert "Traceback" not in ended.err
    assert np.isnan(group(folder, "fine")[source]).all()
