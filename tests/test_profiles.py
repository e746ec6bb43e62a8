"""Product profiles through the real reading path: codes, quality bits, months; and real MODIS files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds

from checkout import REAL
from soilscale import catalog, sources
from soilscale.catalog import Scene
from soilscale.config import SourceSection
from soilscale.cube import Reading, read_month, read_static, select
from soilscale.sources import Source
from worlds import MODIS_1KM, NOTHING, SINUSOIDAL, Array, around, box, finer, scene, write

PROFILES = sources.profiles()
MODIS = REAL / "modis"
LST = MODIS / "modis_lst_istria_2008_8day_1km.tif"
NDVI = MODIS / "mod13q1-sinop" / "TERRA_MODIS_012010_NDVI_2013-09-14.jp2"

JANUARY = np.datetime64("2005-01")
KELVIN = 273.15
MONTHS_2008 = np.arange("2008-01", "2009-01", dtype="datetime64[M]")


def source(profile: str, **keys: Any) -> Source:
    """Source ``field`` that names a profile."""
    section = SourceSection(**({"catalog": "lab", "collection": "c", "profile": profile} | keys))
    return section.source("field")


def reading(source: Source) -> Reading:
    return Reading(source, lambda href: catalog.sign(href, "none"))


def strip(count: int) -> GeoBox:
    """One row of pixels of a sinusoidal tile, south of it a second one that is filled too."""
    return box(SINUSOIDAL, 120 * MODIS_1KM, 5000 * MODIS_1KM, MODIS_1KM, (2, count))


def assets(folder: Path, given: Source, stored: NDArray[Any], flags: NDArray[Any] | None = None) -> dict[str, str]:
    """Files of a row of stored values and of the quality band, accepted throughout unless told otherwise."""
    place = strip(stored.size)
    hrefs = {given.asset: str(write(folder / "data.tif", np.stack([stored, stored]), place))}
    if given.quality:
        first = given.quality[0].accept[0] << given.quality[0].bits[0]
        band = np.full(stored.size, first, "uint8") if flags is None else flags
        hrefs[given.quality[0].asset] = str(write(folder / "quality.tif", np.stack([band, band]), place))
    return hrefs


def january(given: Source, hrefs: dict[str, str], count: int, end: str = "2005-02-01", **more: Any) -> Array:
    """First row of January 2005 from one item that begins with it; of a categorical source the classes in front."""
    item = scene(hrefs[given.asset], hrefs=hrefs, end=np.datetime64(end, "s"), **more)
    found = np.array(list(read_month(reading(given), [item], strip(count), JANUARY).values()), "float64")
    return np.array(found[:, 0] if given.kind == "categorical" else found[0, 0])


# --- known values of every product --------------------------------------------------------------------------------

CLASSES = {"MCD12Q1", "ESA_CCI_LC", "ESA_WorldCover"}
STATED = {
    "JAXA_Earth_SMC",
    "MOD11C3",
    "JASMES_NDVI",
    "GSMaP_monthly",
    "AW3D30",
    "SMOS_L3",
    "LPRM_AMSR2",
    "ERA5-Land_monthly",
}
"""Profiles whose values the items or files decode by themselves."""

KNOWN: dict[str, tuple[str, float, float]] = {
    "MOD11A2": ("uint16", 15_000, 300.0),
    "MYD11A2": ("uint16", 14_321, 286.42),
    "MOD13A3": ("int16", 8_123, 0.8123),
    "MOD16A2": ("int16", 123, 12.3),
    "MOD16A2GF": ("int16", 80, 8.0),
    "TRMM_3B43": ("float32", 0.5, 0.5 * 24 * 31),
    "GPM_3IMERGM": ("float32", 0.125, 93.0),
    "SRTM": ("int16", 1_234, 1234.0),
    "NASADEM": ("int16", -12, -12.0),
    "COP-DEM": ("float32", 876.5, 876.5),
    "OpenLandMap_sand": ("uint8", 41, 41.0),
    "OpenLandMap_silt": ("uint8", 35, 35.0),
    "OpenLandMap_clay": ("uint8", 24, 24.0),
    "SoilGrids_sand": ("int16", 412, 41.2),
    "SoilGrids_silt": ("int16", 350, 35.0),
    "SoilGrids_clay": ("int16", 238, 23.8),
    "AMSR-E_L3_SMC": ("int16", 255, 0.255),
    "AMSR2_L3_SMC": ("int16", 87, 0.087),
    "ESA_CCI_SM": ("float32", 0.3125, 0.3125),
    "MOD13A1": ("int16", -1_500, -0.15),
    "MYD13A1": ("int16", 4_200, 0.42),
    "MOD13Q1": ("int16", 9_999, 0.9999),
    "MOD16A3GF": ("uint16", 310, 31.0),
    "C3S_SM": ("float32", 0.125, 0.125),
    "SPL3SMP": ("float32", 0.25, 0.25),
    "SPL3SMP_E": ("float32", 0.0625, 0.0625),
}
"""Type of the product's files, a stored value, and what it says of January, from an item that covers the month."""


def test_every_profile_has_a_known_value() -> None:
    assert set(KNOWN) | CLASSES | STATED == set(PROFILES)


@pytest.mark.parametrize("name", KNOWN)
def test_a_stored_value_becomes_the_physical_one_and_codes_become_missing(tmp_path: Path, name: str) -> None:
    kind, value, physical = KNOWN[name]
    given = source(name)
    low, high = given.valid_range or (None, None)
    codes = [code for code in (*(given.nodata or ()), *beyond(kind, low, high)) if within(kind, code)]
    stored = np.array([value, *itertools.chain.from_iterable((code, value) for code in codes)]).astype(kind)
    found = january(given, assets(tmp_path, given, stored), stored.size)
    assert found[0::2] == pytest.approx(physical, rel=1e-6)
    assert np.isnan(found[1::2]).all()
    if given.valid_range is not None:
        assert len(codes) > 0


def beyond(kind: str, low: float | None, high: float | None) -> Iterator[float]:
    """Values just outside a range, in steps of the file's type."""
    step = 1 if np.dtype(kind).kind in "iu" else 0.5
    yield from (end + sign * step for end, sign in ((low, -1), (high, 1)) if end is not None)


def within(kind: str, code: float) -> bool:
    """Whether a file of this type can hold a value."""
    if np.dtype(kind).kind == "f":
        return True
    limits = np.iinfo(kind)
    return limits.min <= code <= limits.max


@pytest.mark.parametrize("name", ["OpenLandMap_sand", "SoilGrids_clay", "COP-DEM"])
def test_a_code_that_only_the_file_knows_is_masked_too(tmp_path: Path, name: str) -> None:
    kind, value, physical = KNOWN[name]
    given = source(name)
    code = {"uint8": 255, "int16": -32768, "float32": 7.0}[kind]
    place = strip(2)
    path = write(tmp_path / "data.tif", np.array([[value, code]] * 2).astype(kind), place, nodata=code)
    found = read_static(reading(given), [scene(path, hrefs={given.asset: str(path)})], place)["field"]
    assert found[0, 0] == pytest.approx(physical, rel=1e-6)
    assert np.isnan(found[0, 1])


def test_land_cover_becomes_shares_of_the_17_classes_and_255_of_none(tmp_path: Path) -> None:
    given = source("MCD12Q1")
    stored = np.array([*range(1, 18), 255, 0, 18], "uint8")
    shares = january(given, assets(tmp_path, given, stored), stored.size, end="2006-01-01")
    assert shares[:, :17] == pytest.approx(np.eye(17), abs=1e-9)
    assert np.isnan(shares[:, 17:]).all()


def test_jaxa_earth_decodes_as_its_item_says_and_percent_become_volumes(tmp_path: Path) -> None:
    given = source("JAXA_Earth_SMC")
    raster = {
        "dn": {"min": 0, "max": 6000, "nodata": 65535, "error": 65534},
        "dn2value": {"slope": 0.01, "offset": 0.0},
        "value": {"unit": "%"},
    }
    decoding = catalog.scene.decoding({"je:rasters": [raster]}, {}, 1)
    stored = np.array([2550, 65535, 0, 65534, 6000, 6001], "uint16")
    found = january(given, assets(tmp_path, given, stored), stored.size, decoding=decoding)
    assert found[0::2] == pytest.approx([0.255, 0.0, 0.6])
    assert np.isnan(found[1::2]).all()


# --- quality bands ------------------------------------------------------------------------------------------------

FLAGS: dict[str, tuple[str, dict[int, bool]]] = {
    "MOD11A2": (
        "uint8",
        {
            0b0: True,
            0b1: True,
            0b10: False,
            0b11: False,
            0b1100_0001: False,
            0b1100_0000: False,
            0b1000_0001: True,
            0b0100_0010: False,
        },
    ),
    "MYD11A2": (
        "uint8",
        {0b0: True, 0b1: True, 0b10: False, 0b11: False, 0b0001_0000: True, 0b1100_0001: False, 255: False},
    ),
    "MOD13A3": ("int8", {0: True, 1: True, 2: False, 3: False, -1: False}),
    "ESA_CCI_SM": ("int16", {0: True, 1: False, 2: False, 4: False, 8: False, 64: True, 65: False, 127: False}),
    "SPL3SMP": ("uint16", {0: True, 1: False, 2: False, 3: False, 8: True, 7: False, 65534: False}),
    "SPL3SMP_E": ("uint16", {0: True, 1: False, 2: False, 3: False, 8: True, 7: False, 65534: False}),
}
FLAGS |= dict.fromkeys(("MOD13A1", "MYD13A1", "MOD13Q1"), FLAGS["MOD13A3"]) | {"C3S_SM": FLAGS["ESA_CCI_SM"]}
"""Type of the quality band, and values of which the product's guide says whether the pixel is to be used."""


def test_every_quality_band_has_known_flags() -> None:
    assert set(FLAGS) == {name for name, values in PROFILES.items() if "quality" in values}


@pytest.mark.parametrize("name", FLAGS)
def test_the_quality_band_leaves_what_the_guide_calls_usable(tmp_path: Path, name: str) -> None:
    kind, wanted = FLAGS[name]
    value_kind, value, physical = KNOWN[name]
    given = source(name)
    flags = np.array(list(wanted)).astype(kind)
    hrefs = assets(tmp_path, given, np.full(flags.size, value).astype(value_kind), flags)
    found = january(given, hrefs, flags.size)
    assert np.isfinite(found).tolist() == list(wanted.values())
    assert found[np.isfinite(found)] == pytest.approx(physical, rel=1e-6)


def test_a_month_of_clouded_composites_is_missing_though_values_stand_there(tmp_path: Path) -> None:
    given = source("MOD11A2")
    scenes = []
    for day in (1, 9, 17, 25):
        folder = tmp_path / str(day)
        folder.mkdir()
        hrefs = assets(folder, given, np.full(3, 14_000, "uint16"), np.array([2, 2, 2 if day != 17 else 1], "uint8"))
        scenes.append(item(f"2005-01-{day:02}", {name: Path(href) for name, href in hrefs.items()}))
    found = read_month(reading(given), catalog.scenes(scenes, given), strip(3), JANUARY)["field"]
    assert np.isnan(found[:, :2]).all()
    assert found[:, 2] == pytest.approx(280.0)


# --- totals and rates ---------------------------------------------------------------------------------------------


def items(folder: Path, given: Source, dates: list[str], stored: Sequence[float], kind: str) -> list[Scene]:
    """Scenes of items that tell only their dates, as many catalogs do."""
    features = []
    for day, value in zip(dates, stored, strict=True):
        path = write(folder / f"{day}.tif", np.full((2, 3), value, kind), strip(3))
        features.append(item(day, {given.asset: path}))
    return catalog.scenes(features, given)


def item(day: str, hrefs: dict[str, Path]) -> dict[str, Any]:
    """STAC item of some files, with a date and no interval."""
    with rasterio.open(next(iter(hrefs.values()))) as file:
        bbox = list(transform_bounds(file.crs, "EPSG:4326", *file.bounds, densify_pts=101))
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": day,
        "bbox": bbox,
        "geometry": None,
        "properties": {"datetime": f"{day}T00:00:00Z"},
        "assets": {name: {"href": str(path)} for name, path in hrefs.items()},
    }


def month(given: Source, scenes: list[Scene], month: str) -> float:
    """Value of a month, of a strip that is the same all over."""
    when = np.datetime64(month)
    found = read_month(reading(given), select(scenes, when), strip(3), when)["field"]
    assert np.ptp(found) == 0 or np.isnan(found).all()
    return float(found[0, 0])


@pytest.mark.parametrize("name", ["TRMM_3B43", "GPM_3IMERGM"])
@pytest.mark.parametrize(("when", "days"), [("2004-02", 29), ("2005-02", 28), ("2005-03", 31), ("2005-04", 30)])
def test_a_rate_in_mm_per_hour_becomes_mm_per_month(tmp_path: Path, name: str, when: str, days: int) -> None:
    given = source(name)
    dates = ["2004-02-01", "2005-02-01", "2005-03-01", "2005-04-01"]
    scenes = items(tmp_path, given, dates, [0.25, 0.25, 0.25, 0.25], "float32")
    first = np.datetime64(f"{when}-01", "s")
    assert month(given, [one for one in scenes if one.start == first], when) == pytest.approx(0.25 * 24 * days)


def test_a_rate_whose_items_tell_mm_per_hour_needs_no_scale(tmp_path: Path) -> None:
    given = source("TRMM_3B43", scale=None, offset=None)
    path = write(tmp_path / "rain.tif", np.full((2, 3), 50, "int16"), strip(3))
    only = scene(path, hrefs={given.asset: str(path)}, decoding={"scale": 0.01, "unit": "mm/hr"})
    assert month(given, [only], "2005-01") == pytest.approx(372)


@pytest.mark.parametrize("name", ["MOD16A2", "MOD16A2GF"])
@pytest.mark.parametrize(("year", "last"), [(2007, 5), (2008, 6)])
def test_the_last_total_of_a_year_holds_five_or_six_days(tmp_path: Path, name: str, year: int, last: int) -> None:
    """2 mm a day all year: the last composite holds 10 or 12 mm, and December 62 mm as any month of 31 days."""
    given = source(name)
    starts = [date(year, 1, 1) + timedelta(days=8 * number) for number in range(46)]
    dates = [str(day) for day in (*starts[40:], date(year + 1, 1, 1))]
    stored = [160, 160, 160, 160, 160, 20 * last, 160]
    scenes = items(tmp_path, given, dates, stored, "int16")
    final = scenes[-2]
    assert (final.end - final.start) / np.timedelta64(1, "D") == last
    assert final.end == np.datetime64(f"{year + 1}-01-01", "s")
    assert month(given, scenes, f"{year}-12") == pytest.approx(62)


def test_a_month_of_totals_leaves_out_what_is_fill(tmp_path: Path) -> None:
    """Days 1-8 at 1 mm a day, 9-16 fill, 17-24 at 3 mm a day, 7 days of the next at 2: 8 + 24 + 14 over 23 days."""
    given = source("MOD16A2")
    dates = ["2005-01-01", "2005-01-09", "2005-01-17", "2005-01-25"]
    scenes = items(tmp_path, given, dates, [80, 32762, 240, 160], "int16")
    assert month(given, scenes, "2005-01") == pytest.approx((8 + 24 + 14) / 23 * 31)


# --- real MODIS LST: months from composites of 8 days -------------------------------------------------------------


@pytest.fixture(scope="module")
def celsius() -> Array:
    """Real composites of 2008 in degrees Celsius, shape ``(46, rows, columns)``."""
    if not LST.exists():
        pytest.skip(f"{LST} is absent")
    with rasterio.open(LST) as file:
        assert file.descriptions[0] == "LST2008_01_01"
        assert file.descriptions[-1] == "LST2008_12_26"
        return file.read(out_dtype="float64", masked=True).filled(np.nan)


@pytest.fixture(scope="module")
def istria() -> GeoBox:
    with rasterio.open(LST) as file:
        return GeoBox(file.shape, file.transform, "EPSG:4326")


@pytest.fixture(scope="module")
def lst(celsius: Array, istria: GeoBox, tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """The composites as the product stores them: uint16 of 0.02 K, 0 where cloudy, and a quality band that says so.

    Where it is cloudy, a wild value stands under half of the flags instead of the fill.
    """
    folder = tmp_path_factory.mktemp("lst")
    given = source("MOD11A2")
    features = []
    for number, values in enumerate(celsius):
        day = str(date(2008, 1, 1) + timedelta(days=8 * number))
        clear = np.isfinite(values)
        wild = np.where(np.indices(values.shape).sum(axis=0) % 2, 0, 20_000)
        stored = np.where(clear, np.round((np.nan_to_num(values) + KELVIN) / 0.02), wild).astype("uint16")
        flags = np.where(clear, 0b0100_0001, 0b10).astype("uint8")
        paths = {
            "LST_Day_1km": write(folder / f"{day}_lst.tif", stored, istria),
            "QC_Day": write(folder / f"{day}_qc.tif", flags, istria),
        }
        features.append(item(day, paths))
    return catalog.scenes(features, given)


def composite_of(celsius: Array, when: np.datetime64, last: date = date(2008, 12, 31)) -> Array:
    """Month in K, day by day: each day is seen as by the composite that holds it, and clear days are averaged."""
    total, seen = np.zeros(celsius.shape[1:]), np.zeros(celsius.shape[1:])
    day = when.astype("datetime64[D]").item()
    while np.datetime64(day, "M") == when and day <= last:
        values = celsius[(day - date(2008, 1, 1)).days // 8]
        total += np.nan_to_num(values)
        seen += np.isfinite(values)
        day += timedelta(days=1)
    with np.errstate(invalid="ignore"):
        return np.where(seen > 0, total / seen + KELVIN, np.nan)


def test_the_real_composites_share_the_year_among_them(lst: list[Scene]) -> None:
    days = [(one.end - one.start) / np.timedelta64(1, "D") for one in lst]
    assert days == [8] * 45 + [6]
    assert sum(days) == 366


def test_real_months_are_the_independent_composite_by_days(lst: list[Scene], celsius: Array, istria: GeoBox) -> None:
    read = reading(source("MOD11A2"))
    rounding = 0.0101
    for when in MONTHS_2008:
        found = read_month(read, select(lst, when), istria, when)["field"]
        wanted = composite_of(celsius, when)
        assert (np.isnan(found) == np.isnan(wanted)).all(), f"{when}: what no composite saw is missing, and no more"
        assert np.nanmax(np.abs(found - wanted)) < rounding, when
        assert 255 < np.nanmin(found) < np.nanmax(found) < 325


def test_a_month_whose_composites_are_all_clouded_is_missing(celsius: Array, lst: list[Scene], istria: GeoBox) -> None:
    """In January, real clouds hide some of the land in every composite; a pixel of it is not made up."""
    when = MONTHS_2008[0]
    read = reading(source("MOD11A2"))
    members = [int((one.start - lst[0].start) / np.timedelta64(8, "D")) for one in select(lst, when)]
    assert members == [0, 1, 2, 3]
    land = np.isfinite(celsius).any(axis=0)
    hidden = land & ~np.isfinite(celsius[members]).any(axis=0)
    found = read_month(read, select(lst, when), istria, when)["field"]
    assert np.isnan(found[hidden]).all()
    assert np.isfinite(found[land & ~hidden]).all()
    assert hidden.any()


def test_a_month_that_is_only_begun_stands_for_its_days(celsius: Array, lst: list[Scene], istria: GeoBox) -> None:
    when = MONTHS_2008[6]
    so_far = [one for one in lst if one.start < np.datetime64("2008-07-19", "s")]
    found = read_month(reading(source("MOD11A2")), select(so_far, when), istria, when)["field"]
    wanted = composite_of(celsius, when, date(2008, 7, 18))
    assert np.nanmax(np.abs(found - wanted)) < 0.0101
    assert np.nanmax(np.abs(found - composite_of(celsius, when))) > 0.5


def test_composites_are_not_counted_as_if_each_lay_in_one_month(celsius: Array) -> None:
    """Shared days matter on real data: a plain mean of the composites that begin in a month is not the same."""
    starts = np.array([np.datetime64("2008-01-01") + np.timedelta64(8 * number, "D") for number in range(46)]).astype(
        "datetime64[M]"
    )
    far = []
    for when in MONTHS_2008:
        members = celsius[starts == when]
        seen = np.isfinite(members).sum(axis=0)
        plain = np.where(seen > 0, np.nansum(members, axis=0) / np.maximum(seen, 1), np.nan) + KELVIN
        far.append(np.nanmax(np.abs(plain - composite_of(celsius, when))))
    assert max(far) > 2


def test_a_real_month_comes_to_another_grid_weighted_by_days_and_by_area(
    celsius: Array, lst: list[Scene], istria: GeoBox
) -> None:
    """July on 1 km of EPSG:3035: clear days and the clear parts of a cell count alike, clouded ones do not."""
    when = MONTHS_2008[6]
    grid = around(14.1, 45.1, "EPSG:3035", 1000, 16)
    found = read_month(reading(source("MOD11A2", resampling="average")), select(lst, when), grid, when)["field"]
    days = [date(2008, 7, 1) + timedelta(days=number) for number in range(31)]
    daily = np.stack([celsius[(day - date(2008, 1, 1)).days // 8] for day in days])
    place = istria.transform, "EPSG:4326", 150
    total = in_cells(np.nansum(daily, axis=0), grid, *place)
    seen = in_cells(np.isfinite(daily).sum(axis=0).astype("float64"), grid, *place)
    known = seen > 0.25 * seen.max()
    assert known.mean() > 0.5
    assert (seen[known] < 0.9 * seen.max()).any(), "some cells are seen in part"
    wanted = total[known] / seen[known] + KELVIN
    assert np.abs(found[known] - wanted).max() < 0.05
    assert np.abs(found[known] - wanted).mean() < 0.01
    assert np.isnan(found[seen == 0]).mean() > 0.9


# --- real MODIS NDVI: from a sinusoidal tile to a grid ------------------------------------------------------------


@pytest.fixture(scope="module")
def ndvi() -> Scene:
    if not NDVI.exists():
        pytest.skip(f"{NDVI} is absent")
    given = source("MOD13A3", quality=None)
    return scene(NDVI, hrefs={given.asset: str(NDVI)}, decoding=dict(NOTHING))


def by_gdal(values: Array, geobox: GeoBox, transform: Affine, crs: Any, resampling: Resampling) -> Array:
    """Values that GDAL alone brings to a grid."""
    found = np.zeros(geobox.shape)
    reproject(
        values,
        found,
        src_transform=transform,
        src_crs=crs,
        dst_transform=geobox.transform,
        dst_crs=str(geobox.crs),
        dst_nodata=np.nan,
        init_dest_nodata=True,
        resampling=resampling,
        tolerance=0,
    )
    return found


def in_cells(values: Array, geobox: GeoBox, transform: Affine, crs: Any, dense: int) -> Array:
    """Sum over each cell of `dense` x `dense` pixels that GDAL finds nearest: a mean by area, once divided."""
    found = by_gdal(values, finer(geobox, dense), transform, crs, Resampling.nearest)
    rows, columns = geobox.shape
    return found.reshape(rows, dense, columns, dense).sum(axis=(1, 3))


def real_ndvi() -> tuple[Array, Affine, Any]:
    with rasterio.open(NDVI) as file:
        return file.read(1) * 0.0001, file.transform, file.crs


def sinop(pixel: float) -> GeoBox:
    """Grid in UTM well within the real tile."""
    rows = int(20_000 / pixel)
    return box("EPSG:32721", 640_000.0, 8_718_000.0, pixel, (rows, rows * 2))


def test_a_real_sinusoidal_tile_comes_to_a_fine_grid_as_gdal_brings_it(ndvi: Scene) -> None:
    """But for the hundredths of a pixel by which GDAL's approximate transformer may be off."""
    given = source("MOD13A3", quality=None, resampling="bilinear")
    found = read_month(reading(given), [ndvi], sinop(100.0), JANUARY)["field"]
    values, transform, crs = real_ndvi()
    wanted = by_gdal(values, sinop(100.0), transform, crs, Resampling.bilinear)
    away = np.abs(found - wanted)
    assert np.quantile(away, 0.98) < 0.01
    assert away.mean() < 0.002
    assert 0.2 < wanted.std() < 0.3


def test_cells_of_a_fine_grid_take_the_pixel_of_a_real_sinusoidal_tile_in_which_their_centre_lies(ndvi: Scene) -> None:
    """But for those within a thousandth of a pixel of an edge."""
    grid = sinop(250.0)
    found = read_month(reading(source("MOD13A3", quality=None, resampling="nearest")), [ndvi], grid, JANUARY)["field"]
    values, transform, crs = real_ndvi()
    rows, columns = grid.shape
    x, y = grid.transform * np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    places = ~transform * Transformer.from_crs(str(grid.crs), crs, always_xy=True).transform(x, y)
    column, row = (np.floor(place).astype(int) for place in places)
    assert np.mean(np.abs(found - values[row, column]) < 1e-9) > 0.998


@pytest.mark.parametrize(("resampling", "closeness"), [("average", 0.003), ("auto", 0.02)])
def test_a_real_sinusoidal_tile_is_averaged_over_the_cells_of_a_coarser_grid(
    ndvi: Scene, resampling: str, closeness: float
) -> None:
    """NDVI of 250 m in cells of 1 km, against the pixels nearest to a mesh of 5 m."""
    given = source("MOD13A3", quality=None, resampling=resampling)
    grid = sinop(1000.0)[:10, :20]
    found = read_month(reading(given), [ndvi], grid, JANUARY)["field"]
    values, transform, crs = real_ndvi()
    wanted = in_cells(values, grid, transform, crs, 200) / 200**2
    assert np.sqrt(np.mean((found - wanted) ** 2)) < closeness * wanted.std()
