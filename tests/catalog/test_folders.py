"""Files as a catalog: dates and tiles by name, folders, patterns and index pages; the STAC catalog written of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from math import cos, radians
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import xarray as xr
from pyproj import Transformer

from commands import soilscale
from soilscale import catalog
from soilscale.catalog import Query, files, find, naming
from soilscale.catalog.containers import with_contained
from soilscale.config import SourceSection
from soilscale.errors import ConfigurationError, DataError
from soilscale.sources import Catalog, QualityRule, Source, profiles
from worlds import SINUSOIDAL, box, write

SHAANXI = (105.5, 31.7, 111.3, 39.6)
TILE = "MOD11A2.A2005001.h27v05.061.2021131221413.hdf"


def source(profile: str, **keys: Any) -> Source:
    return SourceSection(**({"catalog": "own", "collection": profile, "profile": profile} | keys)).source("x")


def query(source: Source, place: object, period: tuple[int, int] = (2005, 2006)) -> Query:
    instants = datetime(period[0], 1, 1, tzinfo=UTC), datetime(period[1], 1, 1, tzinfo=UTC)
    return Query(source, Catalog("own", files=str(place)), SHAANXI, instants)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


@pytest.mark.parametrize(
    ("profile", "name", "start", "end"),
    [
        ("MOD11A2", TILE, "2005-01-01", None),
        ("MOD11A2", "MOD11A2.A2008366.h27v05.061.2021131221413.hdf", "2008-12-31", None),
        ("MCD12Q1", "MCD12Q1.A2005001.h27v05.061.2022169161911.hdf", "2005-01-01", "2006-01-01"),
        ("AMSR2_L3_SMC", "GW1AM2_20130105_01D_EQMD_L3SGSMCLF3300300.h5", "2013-01-05", None),
        ("AMSR2_L3_SMC", "GW1AM2_20131200_01M_EQMA_L3SGSMCHF3300300.h5", "2013-12-01", "2014-01-01"),
        ("SPL3SMP", "SMAP_L3_SM_P_20150401_R19240_001.h5", "2015-04-01", None),
        ("SPL3SMP_E", "SMAP_L3_SM_P_E_20150401_R19240_001.h5", "2015-04-01", None),
        ("GPM_3IMERGM", "3B-MO.MS.MRG.3IMERG.20050201-S000000-E235959.02.V07B.HDF5", "2005-02-01", "2005-03-01"),
        ("TRMM_3B43", "3B43.20051201.7.HDF", "2005-12-01", "2006-01-01"),
        ("TRMM_3B43", "3B43.20110101.7A.HDF", "2011-01-01", "2011-02-01"),
        ("ESA_CCI_SM", "ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-20051231000000-fv08.1.nc", "2005-12-31", None),
        ("C3S_SM", "C3S-SOILMOISTURE-L3S-SSMV-COMBINED-DAILY-20170701000000-ICDR-v201706.0.0.nc", "2017-07-01", None),
        ("SMOS_L3", "SM_OPER_MIR_CLF31A_20150506T000000_20150506T235959_300_002_7.DBL.nc", "2015-05-06", None),
        ("LPRM_AMSR2", "LPRM-AMSR2_L3_A_SOILM3_V001_20121216010911.nc4", "2012-12-16", None),
        ("ESA_CCI_LC", "ESACCI-LC-L4-LCCS-Map-300m-P1Y-2005-v2.0.7cds.nc", "2005-01-01", "2006-01-01"),
    ],
)
def test_the_name_of_a_product_s_file_says_its_date(profile: str, name: str, start: str, end: str | None) -> None:
    says = naming.named(name, profiles()[profile]["names"])
    assert says is not None
    assert says.start == date.fromisoformat(start)
    assert says.end == (None if end is None else date.fromisoformat(end))
    fitting = [other for other in files.telling() if naming.named(name, profiles()[other]["names"])]
    assert fitting == [profile], "no other product has such a name"


@pytest.mark.parametrize(
    "name", [TILE.replace("001", "366"), TILE.replace("h27", "h36"), TILE.replace("h27v05", "h00v00"), "x" + TILE]
)
def test_a_date_or_a_tile_that_is_not_there_does_not_fit(name: str) -> None:
    assert naming.named(name, profiles()["MOD11A2"]["names"]) is None


@pytest.mark.parametrize("tile", ["h27v05", "h08v05", "h19v09", "h17v02", "h20v11"])
def test_the_box_of_a_tile_holds_its_corners_and_no_more(tile: str) -> None:
    side = 1111950.519667
    left = -20015109.354 + side * int(tile[1:3])
    top = 10007554.677 - side * int(tile[4:])
    grid = box(SINUSOIDAL, left, top, side / 40, (40, 40))
    x, y = np.meshgrid(left + side * np.linspace(0, 1, 41), top - side * np.linspace(0, 1, 41))
    longitudes, latitudes = Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(x, y)
    west, south, east, north = naming.tile_box(tile) or (0, 0, 0, 0)
    expected = (longitudes.min(), latitudes.min(), longitudes.max(), latitudes.max())
    assert (west, south, east, north) == pytest.approx(expected, abs=0.01)


def test_a_folder_is_a_catalog_and_what_does_not_fit_is_named_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    days = [name for doy in range(1, 366, 8) for name in (f"a/MOD11A2.A2005{doy:03}.h27v05.061.2021131221413.hdf",)]
    touch(tmp_path, *days, "MOD11A2.A2005400.h27v05.061.2021131221413.hdf", "MOD11A2.A2005009.h27v05.hdf", "notes.txt")
    touch(tmp_path, "MOD13A3.A2005001.h27v05.061.2020048005431.hdf", "MOD11A2.A2005001.h08v05.061.2021131221413.hdf")
    lst = source("MOD11A2")
    with caplog.at_level(logging.WARNING):
        items, found = find(query(lst, tmp_path))
    assert len(items) == len(days) == 46, "the other tile lies elsewhere, the other product is another's"
    assert "2 of 50 file names match no product" in caplog.text
    assert "MOD11A2.A2005400" in caplog.text
    assert "MOD13A3" not in caplog.text
    assert not found.broken
    scenes = catalog.scenes(items, lst)
    assert scenes[-1].start == np.datetime64("2005-12-27")
    assert scenes[-1].end == np.datetime64("2006-01-01")
    assert dict(scenes[0].hrefs) == {"LST_Day_1km": str(tmp_path / days[0])}
    assert scenes[0].missing == (), "the flags lie in the file of the data"


def test_five_hundred_files_are_frozen_with_one_listing_for_all_sources(tmp_path: Path) -> None:
    names = [f"MOD11A2.A{year}{doy:03}.h27v05.061.1.hdf" for year in range(2001, 2012) for doy in range(1, 366, 8)]
    touch(tmp_path, *names)
    asked = query(source("MOD11A2"), tmp_path, (2001, 2012))
    assert len(find(asked)[0]) == len(names) > 500
    touch(tmp_path, "MOD11A2.A2000001.h27v05.061.1.hdf")
    assert asked.shared.kept[f"files {tmp_path}"].keys() == {str(tmp_path / name) for name in names}


def test_a_pattern_chooses_files(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{year}/GW1AM2_{year}0100_01M_EQM{p}_L3SGSMCLF3.h5" for year in (2013, 2014) for p in "AD"))
    amsr2 = source("AMSR2_L3_SMC", role="part")
    items, _ = find(query(amsr2, tmp_path / "**" / "*EQMD*.h5", (2013, 2015)))
    assert [item["id"] for item in items] == [f"GW1AM2_{year}0100_01M_EQMD_L3SGSMCLF3" for year in (2013, 2014)]
    assert items[0]["bbox"] == [-180.0, -90.0, 180.0, 90.0]
    assert items[0]["properties"]["end_datetime"].startswith("2013-01-31T23:59:59")


def test_a_file_that_is_replaced_is_another_scene(tmp_path: Path) -> None:
    touch(tmp_path, TILE)
    lst = source("MOD11A2")
    first = catalog.scenes(find(query(lst, tmp_path))[0], lst)[0].digest
    (tmp_path / TILE).write_bytes(b"mended")
    assert catalog.scenes(find(query(lst, tmp_path))[0], lst)[0].digest != first


def test_rasters_of_one_date_are_assets_of_one_item_and_say_where_they_lie(tmp_path: Path) -> None:
    place = box("EPSG:4326", 107.0, 35.0, 0.01, (10, 20))
    for layer in ("LST_Day_1km", "QC_Day"):
        name = f"MOD11A2.061_{layer}_doy2005009000000_aid0001.tif"
        write(tmp_path / name, np.full((10, 20), 15000, "uint16"), place)
    lst = source("MOD11A2")
    (item,), _ = find(query(lst, tmp_path))
    assert set(item["assets"]) == {"LST_Day_1km", "QC_Day"}
    assert item["bbox"] == pytest.approx([107.0, 34.9, 107.2, 35.0])
    assert Path(item["assets"]["QC_Day"]["href"]).name.startswith("MOD11A2.061_QC_Day")


def test_static_files_need_no_date(tmp_path: Path) -> None:
    place = box("EPSG:4326", 107.0, 35.0, 0.01, (10, 20))
    write(tmp_path / "n34e107.tif", np.full((10, 20), 300, "int16"), place)
    elevation = Source("dem", "own", "dem", "data", static=True)
    items, _ = find(query(elevation, tmp_path))
    assert [item["id"] for item in items] == ["n34e107"]


def test_dates_may_lie_in_the_file(tmp_path: Path) -> None:
    months = np.array(["2005-01-01", "2005-02-01", "2005-03-01"], "datetime64[ns]")
    sides = {"time": months, "latitude": [36.0, 35.9], "longitude": [107.0, 107.1, 107.2]}
    water = xr.DataArray(np.full((3, 2, 3), 0.25), sides, tuple(sides), attrs={"units": "m3 m-3"})
    for name in ("latitude", "longitude"):
        water[name].attrs["units"] = f"degrees_{'north' if name == 'latitude' else 'east'}"
    xr.Dataset({"swvl1": water}).to_netcdf(tmp_path / "download.nc", engine="scipy")
    (item,), _ = find(query(source("ERA5-Land_monthly", role="part"), tmp_path))
    assert item["properties"]["start_datetime"].startswith("2005-01-01")
    assert item["properties"]["end_datetime"].startswith("2005-03-31")


def test_a_file_without_a_date_is_left_out_and_said(tmp_path: Path) -> None:
    place = box("EPSG:4326", 107.0, 35.0, 0.01, (10, 20))
    write(tmp_path / "rain.tif", np.full((10, 20), 300, "int16"), place)
    with pytest.raises(DataError, match="no item was found, and 1 documents could not be used"):
        find(query(Source("rain", "own", "rain", "data"), tmp_path))


def test_nothing_that_fits_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there are no files in .*; correct catalogs\.own\.files"):
        find(query(source("MOD11A2"), tmp_path))
    touch(tmp_path, "lst_2005.hdf")
    with pytest.raises(DataError, match=r"of 1 files in .* no name matches MOD11A2; the first is 'lst_2005.hdf'"):
        find(query(source("MOD11A2"), tmp_path))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Folder as index pages of links."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.server
@pytest.mark.parametrize("pattern", ["data/", "data/**/*.hdf", "data/2005/*h27v05*"])
def test_an_index_page_of_links_is_a_catalog(tmp_path: Path, pattern: str) -> None:
    touch(tmp_path, f"data/2005/{TILE}", f"data/2005/{TILE}.xml", "data/readme.txt")
    with served(tmp_path) as url:
        (item,), _ = find(query(source("MOD11A2"), f"{url}/{pattern}"))
    assert item["assets"]["LST_Day_1km"]["href"] == f"{url}/data/2005/{TILE}"


def test_the_catalog_of_a_folder_is_valid_and_holds_the_same_items(tmp_path: Path) -> None:
    touch(tmp_path, f"modis/{TILE}", f"modis/{TILE.replace('2005001', '2005009')}", "odd.hdf")
    touch(tmp_path, "3B43.20050101.7.HDF")
    told = soilscale("catalog", str(tmp_path))
    assert told.status == 0, told.err
    assert "MOD11A2: 2 items" in told.out
    assert "TRMM_3B43: 1 items" in told.out
    assert "odd.hdf" in told.err
    whole = pystac.Catalog.from_file(str(tmp_path / "catalog.json"))
    for one in (whole, *whole.get_children(), *whole.get_items(recursive=True)):
        one.validate()
    hrefs = [asset.href for item in whole.get_items(recursive=True) for asset in item.assets.values()]
    assert all(href.startswith("../../") for href in hrefs)
    lst = source("MOD11A2")
    ours = find(query(lst, tmp_path / "modis"))[0]
    walked = Query(lst, Catalog("own", str(tmp_path / "catalog.json")), SHAANXI, query(lst, "").period)
    theirs = find(walked)[0]
    assert [item["id"] for item in theirs] == [item["id"] for item in ours]
    assert [item["bbox"] for item in theirs] == [item["bbox"] for item in ours]
    assert [item["assets"]["LST_Day_1km"]["href"] for item in theirs] == [
        item["assets"]["LST_Day_1km"]["href"] for item in ours
    ]


def test_the_catalog_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    touch(tmp_path, TILE)
    (tmp_path / "catalog.json").write_text('{"type": "Catalog"}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="did not write"):
        catalog.write(tmp_path)
    (tmp_path / "catalog.json").unlink()
    assert catalog.write(tmp_path).collections == catalog.write(tmp_path, "MOD11A2").collections == {"MOD11A2": 1}


# --- assets that are files of several variables -------------------------------------------------------------------

RULES = (QualityRule("QC_Day", (0, 1), (0, 1)),)
LAYERED = Source("lst", "nasa", "MOD11A2_061", "data", layer="LST_Day_1km", quality=RULES)


def test_the_data_file_of_a_granule_is_its_asset_under_whatever_name() -> None:
    far = {"href": "https://data.lpdaac.earthdatacloud.nasa.gov/x/" + TILE, "roles": ["data"]}
    near = {"href": "s3://lp-prod-protected/x/" + TILE, "roles": ["data"]}
    other = {"href": "https://data.lpdaac.earthdatacloud.nasa.gov/x/" + TILE + ".dmrpp", "roles": ["data"]}
    browse = {"href": "https://data.lpdaac.earthdatacloud.nasa.gov/x/b.jpg", "roles": ["browse"]}
    assets = {"s3_2021131221413": near, "hdf": other, "2021131221413": far, "browse": browse}
    whole = with_contained(assets, LAYERED)
    assert whole["data"] == far
    assert with_contained({"data": near, **assets}, LAYERED)["data"] == near, "a name that is there counts"


def test_two_data_files_or_none_leave_an_asset_missing() -> None:
    one, two = ({"href": f"https://x/{name}.hdf", "roles": ["data"]} for name in "ab")
    assert "data" not in with_contained({"a": one, "b": two}, LAYERED)
    assert "data" not in with_contained({"browse": {"href": "b.jpg", "roles": ["browse"]}}, LAYERED)
    plain = Source("lst", "pc", "c", "data", quality=RULES)
    assert "data" not in with_contained({"a": one}, plain), "a source without a layer names its asset"


def test_the_box_at_the_equator_is_as_wide_as_the_tile() -> None:
    west, south, east, north = naming.tile_box("h18v08") or (0, 0, 0, 0)
    assert (west, south, north) == (0.0, 0.0, 10.0)
    assert east == pytest.approx(10 / cos(radians(10)))


@pytest.mark.parametrize("pattern", ["", "/*.nc", "/**/*.nc"])
def test_hidden_files_are_no_data(tmp_path: Path, pattern: str) -> None:
    touch(tmp_path, "a.nc", "._a.nc", ".DS_Store")
    assert list(files.listed(f"{tmp_path}{pattern}")) == [str(tmp_path / "a.nc")]


def test_a_file_of_one_date_without_bounds_has_no_interval(tmp_path: Path) -> None:
    """A month that is stamped on its 15th is a month, not that day."""
    months = [("2005-01-15", "2005-02-01"), ("2005-02-15", "2005-03-01")]
    for number, (stamp, _) in enumerate(months):
        values = (("time", "lat", "lon"), np.full((1, 2, 2), 10.0 + number))
        sides = {"time": np.array([stamp], "datetime64[ns]"), "lat": [35.0, 34.0], "lon": [108.0, 109.0]}
        xr.Dataset({"x": values}, sides).to_netcdf(tmp_path / f"{number}.nc", engine="h5netcdf")
    asked = query(Source("x", "own", "c", "x", aggregate="sum"), tmp_path)
    items, _ = find(asked)
    ends = [str(scene.end)[:10] for scene in catalog.scenes(items, asked.source)]
    assert ends == [end for _, end in months]
