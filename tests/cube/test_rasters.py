"""Rasters that say the same in other ways: upside down, placed by their item, with parts beside them, masked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.testing import assert_array_equal
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from scipy.io import netcdf_file

from servers.files import Files, serve
from soilscale.catalog.placement import Placement, placement
from soilscale.cube import read_month, read_static
from soilscale.cube.assets import Within, header
from soilscale.errors import DataError
from soilscale.sources import QualityRule
from worlds import box, reading, scene, write

GRID = box("EPSG:4326", 5.0, 48.0, 0.01, (40, 60))
JANUARY = np.datetime64("2005-01")
VALUES = np.arange(40 * 60, dtype="uint16").reshape(40, 60) + 1
PLACE = {"bbox": (5.0, 47.6, 5.6, 48.0)}


def plain(path: Path, values: Any, count: int = 1, **profile: Any) -> Path:
    """GeoTIFF that says of its place only what it is told."""
    rows, columns = values.shape[-2:]
    known = {"driver": "GTiff", "width": columns, "height": rows, "count": count, "dtype": values.dtype}
    with rasterio.open(path, "w", **(known | profile)) as file:
        file.write(values if values.ndim > 2 else values[None])
    return path


def read(one: Any, grid: Any = GRID, **keys: Any) -> Any:
    return read_month(reading(resampling="nearest", **keys), [one], grid, JANUARY)["field"]


# --- rows from south to north -------------------------------------------------------------------------------------


def test_a_file_with_its_rows_from_south_to_north_is_turned(tmp_path: Path) -> None:
    turned = GRID.transform * Affine.translation(0, 40) * Affine.scale(1, -1)
    path = plain(tmp_path / "up.tif", VALUES[::-1], crs="EPSG:4326", transform=turned)
    assert header(str(path)).transform.almost_equals(GRID.transform)
    assert_array_equal(read(scene(path, **PLACE)), VALUES)
    assert_array_equal(read(scene(path, **PLACE), GRID[7:12, 3:50]), VALUES[7:12, 3:50])


def test_a_turned_tile_lies_beside_one_that_is_not_with_its_flags(tmp_path: Path) -> None:
    """Large tiles of small blocks, of which only what the slanted window needs is read."""
    grid = box("EPSG:4326", 5.0, 48.0, 0.01, (300, 400))
    values = np.random.default_rng(0).integers(1, 60000, grid.shape).astype("uint16")
    flags = (values % 2).astype("uint8")
    turned = grid.transform * Affine.translation(0, 300) * Affine.scale(1, -1)
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64, "crs": "EPSG:4326"}
    up = plain(tmp_path / "up.tif", values[::-1, :200], transform=turned, **tiled)
    right = grid.transform * Affine.translation(200, 0)
    paths = [up, plain(tmp_path / "right.tif", values[:, 200:], transform=right, **tiled)]
    bands = [
        plain(tmp_path / "up-flags.tif", flags[::-1, :200], transform=turned, **tiled),
        plain(tmp_path / "right-flags.tif", flags[:, 200:], transform=right, **tiled),
    ]
    scenes = [scene(path, bbox=(5.0, 45.0, 9.0, 48.0), quality=band) for path, band in zip(paths, bands, strict=True)]
    place = box("EPSG:3035", 4_000_000 - 100_000, 2_750_000, 1000, (120, 160))
    rules = (QualityRule("quality", (0, 0), (0,)),)
    found = read_month(reading(resampling="nearest", quality=rules), scenes, place, JANUARY)["field"]
    whole = scene(write(tmp_path / "whole.tif", values, grid), quality=write(tmp_path / "f.tif", flags, grid))
    wanted = read_month(reading(resampling="nearest", quality=rules), [whole], place, JANUARY)["field"]
    assert np.isfinite(wanted).mean() > 0.2
    assert_array_equal(found, wanted)


def test_a_shear_of_rounding_is_none(tmp_path: Path) -> None:
    sheared = Affine(0.01, 1e-12, 5.0, -1e-13, -0.01, 48.0)
    path = plain(tmp_path / "sheared.tif", VALUES, crs="EPSG:4326", transform=sheared)
    assert_array_equal(read(scene(path, **PLACE)), VALUES)


# --- what the item states of the place ----------------------------------------------------------------------------

BOUNDS = {"proj:bbox": [5.0, 47.6, 5.6, 48.0], "proj:shape": [40, 60]}
TRANSFORM = {"proj:transform": [0.01, 0, 5.0, 0, -0.01, 48.0]}
WGS84 = CRS.from_epsg(4326)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    "fields",
    [
        {"proj:epsg": 4326, **TRANSFORM},
        {"proj:epsg": "4326", **TRANSFORM},
        {"proj:projjson": json.dumps(WGS84.to_dict(projjson=True)), **TRANSFORM},
        {"proj:code": "EPSG:4326", "proj:epsg": None, **TRANSFORM},
        {"proj:code": "EPSG:4326", "proj:transform": [*TRANSFORM["proj:transform"], 0, 0, 1]},
        {"proj:code": "EPSG:4326", **BOUNDS},
        {"proj:wkt2": WGS84.to_wkt(version="WKT2_2019"), **TRANSFORM},
        {"proj:projjson": WGS84.to_dict(projjson=True), **TRANSFORM},
        {"proj:code": "OGC:CRS84", **TRANSFORM},
    ],
)
@pytest.mark.parametrize("where", ["asset", "properties"])
def test_a_file_without_a_place_lies_where_its_item_states(tmp_path: Path, fields: dict[str, Any], where: str) -> None:
    path = plain(tmp_path / "bare.tif", VALUES)
    place = placement(*((fields, {}) if where == "asset" else ({}, fields)))
    assert place is not None
    assert_array_equal(read(scene(path, placements={"data": place}, **PLACE)), VALUES)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    "place", [None, Placement(), Placement(crs="EPSG:4326"), Placement(transform=(1, 0, 0, 0, -1, 0))]
)
def test_a_file_whose_place_nobody_states_is_refused(tmp_path: Path, place: Placement | None) -> None:
    path = str(plain(tmp_path / "bare.tif", VALUES))
    with pytest.raises(DataError, match=r"bare.tif is not georeferenced: .* proj:code and proj:transform"):
        header(path, placement=place)


LOCAL = 'LOCAL_CS["unknown",UNIT["metre",1]]'
"""What programs write for pixels of no place on the Earth."""


def test_a_local_crs_places_nothing_and_gives_way_to_the_items(tmp_path: Path) -> None:
    path = plain(tmp_path / "local.tif", VALUES, crs=LOCAL, transform=GRID.transform)
    with pytest.raises(DataError, match=r"local.tif is not georeferenced: its CRS is local, and its item states none"):
        header(str(path))
    place = Placement("EPSG:4326", (0.01, 0, 5, 0, -0.01, 48))
    assert_array_equal(read(scene(path, placements={"data": place}, **PLACE)), VALUES)
    with pytest.raises(DataError, match=r"its item states 'EPSG:5773', which places nothing on the Earth"):
        header(str(path), placement=Placement("EPSG:5773", (0.01, 0, 5, 0, -0.01, 48)))


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = plain(tmp_path / "phase.tif", VALUES.astype("complex64"), crs="EPSG:4326", transform=GRID.transform)
    with pytest.raises(DataError, match=r"phase.tif holds complex numbers; expected real ones"):
        header(str(path))


@pytest.mark.parametrize("name", ["a.tif", "a.nc"])
def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=rf"{name}.*(it is a folder|Is a directory)"):
        header(str(tmp_path / name))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_crs_that_is_none_is_named(tmp_path: Path) -> None:
    path = str(plain(tmp_path / "bare.tif", VALUES))
    with pytest.raises(DataError, match="its item states 'EPSG:999999', which is invalid"):
        header(path, placement=Placement("EPSG:999999", (0.01, 0, 5, 0, -0.01, 48)))


@pytest.mark.parametrize(
    ("place", "warned"),
    [
        (Placement("EPSG:4326", (0.01, 0, 5.0, 0, -0.01, 48.0), on_asset=True), False),
        (Placement("EPSG:4326", (0.01, 0, 5.0, 0, 0.01, 47.6), on_asset=True), False),
        (Placement("EPSG:4326", (0.001, 0, 5.0, 0, -0.001, 48.0)), False),
        (Placement("EPSG:4258"), False),
        (Placement("EPSG:4326", (0.01, 0, 5.1, 0, -0.01, 48.0), on_asset=True), True),
        (Placement("EPSG:32631"), True),
    ],
)
def test_a_file_that_lies_elsewhere_than_its_item_states_is_warned_of(
    tmp_path: Path, place: Placement, warned: bool
) -> None:
    path = write(tmp_path / "a.tif", VALUES, GRID)
    made = reading(resampling="nearest")
    found = read_month(made, [scene(path, placements={"data": place})], GRID, JANUARY)["field"]
    assert_array_equal(found, VALUES)
    texts = list(made.warnings.values())
    assert bool(texts) is warned
    assert all("source field, item a: the file states CRS EPSG:4326" in text for text in texts)


# --- what lies beside a file --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_world_file_and_prj_beside_a_file_place_it(tmp_path: Path) -> None:
    path = plain(tmp_path / "old.tif", VALUES)
    path.with_suffix(".tfw").write_text("0.01\n0\n0\n-0.01\n5.005\n47.995\n")
    path.with_suffix(".prj").write_text(WGS84.to_wkt(version="WKT1_ESRI"))
    assert_array_equal(read(scene(path, **PLACE)), VALUES)


def test_metadata_beside_a_file_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", VALUES, GRID)
    Path(f"{path}.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><NoDataValue>1</NoDataValue><Scale>0.5</Scale><UnitType>mm</UnitType>"
        "</PAMRasterBand></PAMDataset>"
    )
    found = header(str(path))
    assert (found.nodata, found.scale, found.unit) == (1, 0.5, "mm")


def test_an_envi_file_is_read_by_its_header(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.img", VALUES, driver="ENVI", crs="EPSG:4326", transform=GRID.transform)
    assert (tmp_path / "a.hdr").exists()
    assert_array_equal(read(scene(path, **PLACE)), VALUES)


# --- masks --------------------------------------------------------------------------------------------------------

HIDDEN = np.zeros(VALUES.shape, bool)
HIDDEN[:, :20] = True
SEEN = np.where(HIDDEN, np.nan, VALUES)


def mask(path: Path, inside: bool, nodata: int | None = None) -> Path:
    """GeoTIFF whose mask hides the left."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside):
        write(path, VALUES, GRID, nodata=nodata)
        with rasterio.open(path, "r+") as file:
            file.write_mask(~HIDDEN)
    assert Path(f"{path}.msk").exists() is not inside
    return path


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("nodata", [None, 2400])
def test_masks_inside_and_beside_a_file_hide_pixels(tmp_path: Path, inside: bool, nodata: int | None) -> None:
    wanted = SEEN.copy()
    wanted[wanted == nodata] = np.nan
    assert_array_equal(read(scene(mask(tmp_path / "a.tif", inside, nodata))), wanted)


def test_a_mask_beside_a_file_counts_where_there_is_one_inside_too(tmp_path: Path) -> None:
    path = mask(tmp_path / "a.tif", inside=True)
    beside = mask(tmp_path / "b.tif", inside=False)
    with rasterio.open(f"{beside}.msk", "r+") as file:
        file.write(np.where(VALUES == 2000, 0, 255).astype("uint8"), 1)
    Path(f"{beside}.msk").rename(f"{path}.msk")
    assert_array_equal(read(scene(path)), np.where(VALUES == 2000, np.nan, SEEN))


@pytest.mark.parametrize("nodata", [None, 2400])
def test_an_alpha_band_hides_pixels_whatever_nodata_says(tmp_path: Path, nodata: int | None) -> None:
    bands = np.stack([VALUES, np.where(HIDDEN, 0, 65535).astype("uint16")])
    keys = {"crs": "EPSG:4326", "transform": GRID.transform, "nodata": nodata}
    path = plain(tmp_path / "a.tif", bands, 2, **keys)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
    wanted = SEEN.copy()
    wanted[wanted == nodata] = np.nan
    assert_array_equal(read(scene(path)), wanted)


@pytest.mark.server
@pytest.mark.parametrize("listed", [True, False])
def test_a_mask_beside_a_remote_file_hides_pixels_too(tmp_path: Path, listed: bool) -> None:
    names = ("a.tif", "b.tif")
    with serve() as files:
        for name in names:
            path = mask(tmp_path / name, inside=False)
            files.contents[name] = path.read_bytes()
            files.contents[f"{name}.msk"] = Path(f"{path}.msk").read_bytes()
        bounds = scene(tmp_path / "a.tif").bbox
        scenes = [scene(files.href(name), bbox=bounds) for name in names]
        if listed:
            scenes = [replace(one, masks={"data": f"{one.hrefs['data']}.msk"}) for one in scenes]
        made = reading(resampling="nearest")
        for one in scenes:
            assert_array_equal(read_month(made, [one], GRID, JANUARY)["field"], SEEN)


@pytest.mark.server
def test_files_without_masks_beside_them_cost_one_request_more_in_all(tmp_path: Path) -> None:
    with serve() as files:
        path = write(tmp_path / "a.tif", VALUES, GRID)
        for name in "abcd":
            files.contents[f"{name}.tif"] = path.read_bytes()
        made = reading(resampling="nearest")
        for name in "abcd":
            one = scene(files.href(f"{name}.tif"), bbox=(5.0, 47.6, 5.6, 48.0))
            assert_array_equal(read_month(made, [one], GRID, JANUARY)["field"], VALUES)
        assert sum(name.endswith(".msk") for name, _ in requests(files)) == 1


def requests(files: Files) -> list[tuple[str, str | None]]:
    return files.ranges


# --- NetCDF -------------------------------------------------------------------------------------------------------


def netcdf(path: Path, *names: str) -> Path:
    """NetCDF of variables on the grid, rows from south to north, with codes and units in attributes."""
    rows, columns = GRID.shape
    with netcdf_file(path, "w") as file:
        for name, size, first, unit in (
            ("lat", rows, 47.605, "degrees_north"),
            ("lon", columns, 5.005, "degrees_east"),
        ):
            file.createDimension(name, size)
            axis = file.createVariable(name, "d", (name,))
            axis[:] = first + 0.01 * np.arange(size)
            axis.units = unit
        for name in names:
            variable = file.createVariable(name, "h", ("lat", "lon"))
            variable[:] = VALUES[::-1]
            variable._FillValue = np.int16(1)  # noqa: SLF001 - CF's name of the attribute
            variable.missing_value = np.int16(2)
            variable.scale_factor = 0.1
            variable.units = "mm day-1"
    return path


def test_fill_value_and_missing_value_of_a_netcdf_are_missing(tmp_path: Path) -> None:
    path = netcdf(tmp_path / "a.nc", "rain")
    found = header(str(path), placement=Placement("EPSG:4326"))
    assert set(found.fills) == {1, 2}
    assert (round(found.scale, 6), found.unit) == (0.1, "mm day-1")
    one = scene(path, placements={"data": Placement("EPSG:4326")}, **PLACE)
    rates = np.where(VALUES <= 2, np.nan, VALUES * 0.1)
    np.testing.assert_allclose(read(one, unit="mm h-1"), rates / 24, rtol=1e-6)


def test_variables_of_a_file_that_holds_several_are_named(tmp_path: Path) -> None:
    path = str(netcdf(tmp_path / "two.nc", "rain", "snow"))
    with pytest.raises(DataError, match=r"two.nc holds 2 variables, rain, snow, and .* with the key `layer`"):
        header(path)
    assert header(path, within=Within("snow")).layer == "snow"
    assert header(path, within=Within(None, "rain")).layer == "rain", "the one named as the asset"
    with pytest.raises(DataError, match=r"two.nc has no variable 'snoww' \(it has rain, snow\); did you mean 'snow'"):
        header(path, within=Within("snoww"))


# --- heights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "crs"), [("ft", "EPSG:4326"), (None, "EPSG:4326+6360"), ("US survey foot", "EPSG:4326")]
)
def test_a_slope_of_heights_in_feet_is_that_of_metres(tmp_path: Path, unit: str | None, crs: str) -> None:
    """A rise of 100 m in each 0.0125 degrees of longitude on the equator: 1391.5 m, 4.11 degrees."""
    grid = box("EPSG:4326", 5.0, 0.25, 0.0125, (40, 40))
    foot = 0.3048 if unit == "ft" else 1200 / 3937
    heights = np.tile(np.arange(40) * 100 / foot, (40, 1)).astype("float64")
    path = plain(tmp_path / "dem.tif", heights, crs=CRS.from_user_input(crs), transform=grid.transform)
    with rasterio.open(path, "r+") as file:
        file.units = (unit,)
    made = replace(reading(derive=("slope",)), unit="m")
    found = read_static(made, [scene(path, bbox=(5.0, -0.25, 5.5, 0.25))], grid[10:30, 10:30])
    assert found["slope"] == pytest.approx(np.degrees(np.arctan(100 / 1391.5)), abs=0.01)
    assert found["field"][0, 0] == pytest.approx(1000, rel=1e-6)
