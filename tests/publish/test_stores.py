"""The Zarr stores as others open them, and the maps in one NetCDF file by the CF conventions."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from compliance_checker.runner import CheckSuite, ComplianceChecker

from commands import invoke
from small_release import MONTHS, grid, release
from soilscale import exports, storage
from soilscale.errors import ConfigurationError, DataError
from soilscale.maps import template
from soilscale.schema import LOWER, MAP, QUALITY
from soilscale.seasons import METEOROLOGICAL, Seasons


@pytest.fixture(scope="module", params=["EPSG:3035", "EPSG:4326"])
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("output")
    return path, release(str(path), grid(request.param))


Output = tuple[Path, dict[str, Any]]
"""Folder of the output, and the values of its maps."""


@pytest.mark.parametrize(("below", "group"), [("", "month"), ("month", None), ("", "season")])
def test_a_store_opens_without_a_warning_and_from_few_objects(output: Output, below: str, group: str | None) -> None:
    path, values = output
    with warnings.catch_warnings(action="error"):
        opened = xr.open_zarr(path / "maps.zarr" / below, group=group)
        if "season" not in (below, group):
            np.testing.assert_array_equal(opened[MAP], values[MAP])
    assert opened.attrs["Conventions"] == "CF-1.11, ACDD-1.3"
    assert opened.attrs["license"] == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert opened[MAP].attrs["valid_range"] == [0.0, 0.6]
    assert opened["season"].to_numpy()[0] == "winter"


def test_the_root_lists_every_group_and_array(output: Output) -> None:
    path, _ = output
    with warnings.catch_warnings(action="error"):
        tree = xr.open_datatree(path / "maps.zarr", engine="zarr")
    assert {"/month", "/season", "/coarse"} <= set(tree.groups)
    root = json.loads((path / "maps.zarr" / "zarr.json").read_text())
    listed = set(root["consolidated_metadata"]["metadata"])
    there = {str(file.parent.relative_to(path / "maps.zarr")) for file in (path / "maps.zarr").rglob("zarr.json")}
    assert listed == there - {"."}


def test_a_store_that_grows_is_described_again_and_keeps_its_values_and_its_date(tmp_path: Path) -> None:
    fine, url = grid("EPSG:4326"), str(tmp_path / "maps.zarr")
    first = template(fine, MONTHS[:2], MONTHS[:1], Seasons(METEOROLOGICAL))
    for group, dataset in first.items():
        storage.create(url, group, dataset)
    storage.describe(url, first, {"date_created": "2026-01-01T00:00:00Z"})
    tile = next(iter(fine.tiles()))
    storage.write_region(url, "month", MAP, np.full(fine.fine[tile.fine].shape, 0.3, "float32"), (0, *tile.fine))
    grown = template(fine, MONTHS, MONTHS[:1], Seasons(METEOROLOGICAL))
    for group, dataset in grown.items():
        storage.grow(url, group, dataset)
    # Until it is described again a reader sees the store as it was.
    assert xr.open_zarr(url, group="month").sizes["time"] == 2
    storage.describe(url, grown, {"date_created": "2026-02-02T00:00:00Z"})
    opened = xr.open_zarr(url, group="month")
    assert opened.sizes["time"] == 3
    assert opened.attrs["date_created"] == "2026-01-01T00:00:00Z"
    assert float(opened[MAP][0].max()) == np.float32(0.3)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("zarr.json")}
    storage.describe(url, grown, {"date_created": "2026-03-03T00:00:00Z"})
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("zarr.json")}


@pytest.fixture(scope="module")
def netcdf(output: Output) -> Path:
    path, _ = output
    done = invoke("export", path, "--netcdf", path / "lab.nc")
    assert done.status == 0, done.err
    assert "3 months of soil_moisture, quality, lower, upper" in done.out
    return path / "lab.nc"


def test_a_netcdf_file_holds_the_maps(output: Output, netcdf: Path) -> None:
    _, values = output
    with xr.open_dataset(netcdf, engine="h5netcdf") as months:
        for name in (MAP, LOWER, QUALITY):
            np.testing.assert_array_equal(months[name], values[name])
            assert months[name].dtype == values[name].dtype
        assert months["time"].to_numpy().tolist() == MONTHS.astype("datetime64[ns]").tolist()
        assert months["season"].to_numpy().tolist() == ["winter"] * 3
        assert months["time_bounds"].shape == (3, 2)
    with xr.open_dataset(netcdf, engine="h5netcdf", group="seasons") as seasons:
        assert seasons.sizes["time"] == 1


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("convention", ["cf:1.11", "acdd:1.3"])
def test_a_netcdf_file_passes_the_compliance_checker(netcdf: Path, tmp_path: Path, convention: str) -> None:
    CheckSuite.load_all_available_checkers()
    told = tmp_path / "told.json"
    _, broke = ComplianceChecker.run_checker(
        str(netcdf), [convention], verbose=0, criteria="lenient", output_filename=str(told), output_format="json"
    )
    assert not broke
    result = json.loads(told.read_text())[convention]
    faults = [entry["msgs"] for entry in result["high_priorities"] if entry["value"][0] < entry["value"][1]]
    assert faults == []


def test_an_export_replaces_no_file_unless_it_shall(output: Output, tmp_path: Path) -> None:
    path, _ = output
    file = tmp_path / "lab.nc"
    file.write_text("mine")
    with pytest.raises(ConfigurationError, match="is there already; name another file, or add --overwrite"):
        exports.write_netcdf(str(path), file)
    assert file.read_text() == "mine"
    exports.write_netcdf(str(path), file, overwrite=True)
    assert file.stat().st_size > 4
    assert [each.name for each in tmp_path.iterdir()] == ["lab.nc"]


def test_an_output_without_maps_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no maps yet; run `soilscale map`"):
        exports.write_netcdf(str(tmp_path), tmp_path / "lab.nc")
    assert not list(tmp_path.iterdir())
