"""Names of classes in files: GDAL's category names, and the flags of CF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin

from soilscale import cube
from worlds import reading, scene

CODES = np.array([[0, 1], [2, 3]], "uint8")

SIDECAR = """\
<PAMDataset><PAMRasterBand band="1"><CategoryNames>
<Category>water</Category><Category>forest &amp; bush</Category><Category></Category><Category>towns</Category>
</CategoryNames></PAMRasterBand></PAMDataset>
"""


def tif(folder: Path, sidecar: str, **tags: str) -> str:
    path = folder / "cover.tif"
    place = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_000_000, 1000, 1000)}
    with rasterio.open(path, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8", **place) as file:
        file.write(CODES, 1)
        file.update_tags(1, **tags)
    if sidecar:
        path.with_name("cover.tif.aux.xml").write_text(sidecar)
    return str(path)


def netcdf(folder: Path) -> str:
    path = folder / "cover.nc"
    flags = {"flag_values": np.arange(3, dtype="int8"), "flag_meanings": "no_data broadleaf_forest crop"}
    units = {"lat": "degrees_north", "lon": "degrees_east"}
    sides = {name: (name, [first, first + 1], {"units": units[name]}) for name, first in (("lat", 44.5), ("lon", 8.5))}
    xr.Dataset({"cover": (("lat", "lon"), CODES.astype("int8"), flags)}, sides).to_netcdf(path, engine="h5netcdf")
    return str(path)


def probed(href: str, kind: str = "categorical") -> dict[int, str]:
    read = reading(name="cover", kind=kind, classes=(0, 1, 2, 3) if kind == "categorical" else None)
    return dict(cube.probe(read, scene(href, bbox=(-180.0, -90.0, 180.0, 90.0)), (9.0, 45.0)).class_names)


def test_category_names_of_gdal_are_names_of_codes(tmp_path: Path) -> None:
    assert probed(tif(tmp_path, SIDECAR)) == {0: "water", 1: "forest & bush", 3: "towns"}


def test_flags_of_cf_come_before_category_names(tmp_path: Path) -> None:
    tags = {"flag_values": "1, 3", "flag_meanings": "broadleaf_forest town"}
    assert probed(tif(tmp_path, SIDECAR, **tags)) == {1: "broadleaf forest", 3: "town"}


def test_flags_of_a_variable_are_names_of_codes(tmp_path: Path) -> None:
    assert probed(netcdf(tmp_path)) == {0: "no data", 1: "broadleaf forest", 2: "crop"}


@pytest.mark.parametrize(("sidecar", "kind"), [("", "categorical"), (SIDECAR, "continuous")])
def test_a_file_without_names_or_of_quantities_has_none(tmp_path: Path, sidecar: str, kind: str) -> None:
    assert probed(tif(tmp_path, sidecar), kind) == {}
