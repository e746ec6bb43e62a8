"""The embedded world: its files decode to its truth, its faults are there, and its soil moisture is hard enough."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from scipy.ndimage import zoom
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

from soilscale import config, schema, sources, synthetic
from soilscale.errors import ConfigurationError
from soilscale.grid import centres
from soilscale.seasons import METEOROLOGICAL, Seasons
from soilscale.synthetic import World, frames, noise, products
from soilscale.synthetic.climate import UNEXPLAINED
from soilscale.synthetic.landscape import BARREN, CLASSES, CROPLAND, FOREST, URBAN
from soilscale.synthetic.world import SIDE, Composite

SMALL: dict[str, Any] = {"years": (2004, 2004), "cells": 2}
JULY = np.datetime64("2004-07")
Raster = tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("world"), **SMALL).parent


@pytest.fixture(scope="module")
def world(folder: Path) -> World:
    assert folder.is_dir()
    return synthetic.make(0, SMALL["years"], SMALL["cells"])


@pytest.fixture(scope="module")
def catalog(folder: Path) -> pystac.Catalog:
    return pystac.Catalog.from_file(str(folder / "catalog" / "catalog.json"))


@pytest.fixture(scope="module")
def country(world: World) -> World:
    assert world.grid.shape == (2, 2)
    return synthetic.make(0, (2004, 2005), 6)


def items_of(catalog: pystac.Catalog, collection: str) -> list[pystac.Item]:
    child = catalog.get_child(collection)
    assert child is not None
    return sorted(child.get_items(), key=lambda item: item.id)


def find(catalog: pystac.Catalog, collection: str, part: str) -> pystac.Item:
    return next(item for item in items_of(catalog, collection) if part in item.id)


def read(item: pystac.Item, asset: str) -> Raster:
    """Stored values, and longitude and latitude of the pixel centres, by PROJ and not by the module's own formulas."""
    with rasterio.open(item.assets[asset].get_absolute_href()) as file:
        stored = file.read(1)
        rows, columns = np.indices(stored.shape)
        x = file.transform.c + file.transform.a * (columns + 0.5)
        y = file.transform.f + file.transform.e * (rows + 0.5)
        lon, lat = Transformer.from_crs(file.crs.to_wkt(), "EPSG:4326", always_xy=True).transform(x, y)
    return stored, lon, lat


def interval(item: pystac.Item) -> tuple[datetime, datetime]:
    """First instant, and the one after the last second."""
    start, end = item.common_metadata.start_datetime, item.common_metadata.end_datetime
    assert start is not None
    assert end is not None
    return start, end + timedelta(seconds=1)


def composites_of(catalog: pystac.Catalog, collection: str, tile: str) -> Iterator[tuple[pystac.Item, Composite]]:
    for item in items_of(catalog, collection):
        if tile in item.id:
            start, end = interval(item)
            yield item, Composite(np.datetime64(start.date()), (end - start).days)


# The catalog


def test_the_catalog_is_valid_stac_without_asking_the_network(catalog: pystac.Catalog) -> None:
    assert [Path(schema).name for schema in catalog.validate()] == ["catalog.json"]
    for collection in catalog.get_children():
        assert [Path(schema).name for schema in collection.validate()] == ["collection.json"]
        first = next(iter(collection.get_items()))
        assert [Path(schema).name for schema in first.validate()] == ["item.json"]
        assert first.to_dict()["stac_version"] == "1.1.0"
        assert first.stac_extensions == []


def test_every_link_and_asset_is_relative_and_leads_to_a_file(folder: Path, catalog: pystac.Catalog) -> None:
    found = set()
    for item in catalog.get_items(recursive=True):
        assert not [link.href for link in item.links if link.rel == "self" and not str(link.href).startswith("/")]
        for asset in item.assets.values():
            assert asset.href.startswith("./")
            found.add(Path(asset.get_absolute_href() or "").resolve())
    assert found == {path.resolve() for path in folder.rglob("*.tif")}
    assert str(folder) not in "".join(path.read_text() for path in folder.rglob("*.json") if "zarr" not in str(path))


def test_a_world_in_a_folder_named_from_the_working_directory_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    written = synthetic.write(Path("here"), **SMALL)
    assert written == tmp_path / "here" / "world.yaml"
    items = sorted(one.relative_to(folder) for one in folder.glob("catalog/*/*/*.json"))
    assert items
    for name in items:
        assert (tmp_path / "here" / name).read_bytes() == (folder / name).read_bytes()


def test_collections_cover_their_items_in_space_and_time(catalog: pystac.Catalog) -> None:
    for collection in catalog.get_children():
        assert isinstance(collection, pystac.Collection)
        (west, south, east, north) = collection.extent.spatial.bboxes[0]
        for item in collection.get_items():
            assert item.bbox is not None
            assert west <= item.bbox[0] < item.bbox[2] <= east
            assert south <= item.bbox[1] < item.bbox[3] <= north


def test_sources_of_the_configuration_are_in_the_catalog(folder: Path, catalog: pystac.Catalog) -> None:
    loaded = config.load(str(folder / "world.yaml"))
    assert loaded.area.bbox == (108.5, 34.25, 109.0, 34.75)
    for section in loaded.sources.values():
        item = items_of(catalog, section.collection)[0]
        assert section.asset in item.assets
        assert {rule.asset for rule in section.rules} <= item.assets.keys()
    assert Path(loaded.output) == folder / "run"


def test_profiles_are_used_where_they_exist_and_the_algorithms_are_left_to_the_project(folder: Path) -> None:
    text = (folder / "world.yaml").read_text()
    for profile in ("MOD11A2", "MOD13A3", "MOD16A2", "MCD12Q1"):
        assert profile in sources.profiles()
        assert f"profile: {profile}" in text
    assert "algorithms" not in text
    assert "lags:\n    - 1" in text


# Time


@pytest.mark.parametrize("collection", ["modis-11A2", "modis-16A2"])
@pytest.mark.parametrize("tile", ["h26v05", "h27v05"])
def test_composites_follow_without_gap_and_the_last_ends_with_the_year(
    catalog: pystac.Catalog, collection: str, tile: str
) -> None:
    spans = [composite for _, composite in composites_of(catalog, collection, tile)]
    assert len(spans) == 46
    assert [span.days for span in spans] == [8] * 45 + [6]
    assert all(before.end == after.start for before, after in pairwise(spans))
    assert (str(spans[0].start), str(spans[-1].end)) == ("2004-01-01", "2005-01-01")


@pytest.mark.parametrize(
    ("collection", "count", "days"),
    [
        ("modis-13A3", 24, {29, 30, 31}),
        ("rain", 13, {29, 30, 31}),
        ("soil-moisture", 12, {29, 30, 31}),
        ("modis-12Q1", 2, {366}),
    ],
)
def test_monthly_and_yearly_items_cover_their_month_or_year(
    catalog: pystac.Catalog, collection: str, count: int, days: set[int]
) -> None:
    items = items_of(catalog, collection)
    assert len(items) == count
    assert {(end - start).days for start, end in map(interval, items)} == days
    assert all(item.datetime is None for item in items)


def test_rain_starts_a_month_early_for_its_lag(catalog: pystac.Catalog) -> None:
    assert items_of(catalog, "rain")[0].id == "rain-2003-12"


def test_static_sources_have_one_date(catalog: pystac.Catalog) -> None:
    assert [item.datetime.year for name in ("dem", "soil") for item in items_of(catalog, name) if item.datetime] == [
        2000
    ] * 2


@settings(max_examples=50, deadline=None)
@given(start=st.integers(0, 720), days=st.integers(1, 16))
def test_days_of_a_composite_are_shared_out_among_the_months(start: int, days: int) -> None:
    composite = Composite(np.datetime64("2004-01-01") + np.timedelta64(start, "D"), days)
    months = np.arange(np.datetime64("2003-12"), np.datetime64("2006-03"))
    assert sum(composite.shared(month) for month in months) == days


def test_a_composite_across_the_end_of_january_shares_seven_days_and_one() -> None:
    composite = Composite(np.datetime64("2004-01-25"), 8)
    assert [composite.shared(np.datetime64(month)) for month in ("2004-01", "2004-02", "2004-03")] == [7, 1, 0]


# Geometry


@settings(max_examples=50, deadline=None)
@given(x=st.floats(9.2e6, 1.05e7), y=st.floats(3.4e6, 4.3e6))
def test_sinusoidal_metres_become_degrees_as_proj_has_it(x: float, y: float) -> None:
    transformer = Transformer.from_crs(frames.SINUSOIDAL, "EPSG:4326", always_xy=True)
    ours = frames.unproject(np.array(x), np.array(y))
    assert np.allclose(ours, transformer.transform(x, y), atol=1e-9)


@pytest.mark.parametrize(
    ("collection", "asset", "pixel"),
    [("modis-11A2", "LST_Day_1km", 926.6254331), ("modis-16A2", "ET_500m", 463.3127165)],
)
def test_rasters_are_cut_from_true_modis_tiles(
    catalog: pystac.Catalog, collection: str, asset: str, pixel: float
) -> None:
    for tile, left in (("h26v05", 8 * 1111950.5196667), ("h27v05", 9 * 1111950.5196667)):
        item = find(catalog, collection, tile)
        with rasterio.open(item.assets[asset].get_absolute_href()) as file:
            assert file.transform.a == pytest.approx(pixel, abs=1e-6)
            for offset in ((file.transform.c - left) / pixel, (4 * 1111950.5196667 - file.transform.f) / pixel):
                assert offset == pytest.approx(round(offset), abs=1e-3)
                assert 0 <= round(offset) < 2400
            assert file.crs.to_epsg() is None
        assert item.properties["proj:code"] is None
        assert "Sinusoidal" in item.properties["proj:wkt2"]
        assert item.properties["platform"] == "terra"


@pytest.mark.parametrize("cells", [2, 3, 4, 7, 10])
def test_the_seam_of_two_tiles_crosses_the_area(cells: int) -> None:
    left, bottom = 108.75 - cells // 2 * SIDE, 34.5 - cells // 2 * SIDE
    bounds = (left, bottom, left + cells * SIDE, bottom + cells * SIDE)
    parts = list(frames.modis(bounds, 0.0, 1200))
    assert [part.name for part in parts] == ["h26v05", "h27v05"]
    assert min(len(part.lon) for part in parts) > 20
    area = (cells * SIDE) ** 2 * 111.195**2 * np.cos(np.radians((bounds[1] + bounds[3]) / 2))
    assert sum(len(part.lon) for part in parts) * 0.9266254**2 == pytest.approx(area, rel=0.02)


def test_boxes_hold_every_pixel_although_edges_bend(catalog: pystac.Catalog) -> None:
    for name in ("modis-11A2", "dem", "rain"):
        for item in items_of(catalog, name)[::30]:
            _, lon, lat = read(item, next(iter(item.assets)))
            assert item.bbox is not None
            west, south, east, north = item.bbox
            assert west < lon.min() < lon.max() < east
            assert south < lat.min() < lat.max() < north


def test_rasters_are_cloud_optimised_with_overviews(catalog: pystac.Catalog) -> None:
    with rasterio.open(find(catalog, "modis-16A2", "h26v05").assets["ET_500m"].get_absolute_href()) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.compression.value == "DEFLATE"
        assert file.overviews(1) == [2, 4][: len(file.overviews(1))] != []


# Values


def test_clear_lst_is_the_truth_within_its_quantum(catalog: pystac.Catalog, world: World) -> None:
    seen = 0
    for item, composite in list(composites_of(catalog, "modis-11A2", "h26v05"))[::7]:
        stored, lon, lat = read(item, "LST_Day_1km")
        flag = read(item, "QC_Day")[0]
        clear = (flag & 0b11) <= 1
        truth = world.sample(world.composed("lst", composite), lon, lat)
        assert np.abs(stored[clear] * 0.02 - truth[clear]).max() < 0.0101
        seen += clear.sum()
    assert seen > 5000


def test_cloudy_lst_is_missing_or_far_too_cold_and_only_the_flag_tells(catalog: pystac.Catalog, world: World) -> None:
    error, missing, flags = [], 0, set()
    for item, composite in composites_of(catalog, "modis-11A2", "h26v05"):
        stored, lon, lat = read(item, "LST_Day_1km")
        flag = read(item, "QC_Day")[0]
        flags |= set(np.unique(flag).tolist())
        hidden = (flag & 0b11) == 2
        truth = world.sample(world.composed("lst", composite), lon, lat)
        error.append(stored[hidden] * 0.02 - truth[hidden])
        missing += int((stored[(flag & 0b11) == 3] == 0).sum())
        assert (stored[(flag & 0b11) != 3] > 7500).all()
    wrong = np.concatenate(error)
    assert len(wrong) > 1000
    assert wrong.max() < -5.9
    assert missing > 1000
    assert flags == {products.GOOD, products.FAIR, products.CLOUD, products.NOT_PRODUCED}


def test_lst_scale_is_in_the_item_as_raster_1_has_it(catalog: pystac.Catalog) -> None:
    asset = find(catalog, "modis-11A2", "h27v05").assets["LST_Day_1km"]
    assert asset.extra_fields["raster:bands"] == [{"scale": 0.02, "unit": "Kelvin"}]


def test_reliable_ndvi_is_the_truth_and_unreliable_is_low_or_fill(catalog: pystac.Catalog, world: World) -> None:
    spoilt = 0
    for month in world.period:
        item = find(catalog, "modis-13A3", f"{products._ordinal(month)}.h26v05")  # noqa: SLF001
        assert item.assets[products.NDVI].extra_fields["raster:bands"][0]["scale"] == 0.0001
        stored, lon, lat = read(item, products.NDVI)
        rank = read(item, products.RELIABILITY)[0]
        truth = world.truth("ndvi", month, lon, lat)
        good = rank <= 1
        assert np.abs(stored[good] * 0.0001 - truth[good]).max() < 0.0000501
        assert np.allclose(stored[rank == 3] * 0.0001, truth[rank == 3] - 0.2, atol=0.0001)
        assert (stored[rank == 255] == -3000).all()
        spoilt += int((rank == 3).sum())
    assert spoilt > 50


def test_et_is_a_total_of_its_days_and_built_ground_has_a_code(catalog: pystac.Catalog, world: World) -> None:
    for item, composite in list(composites_of(catalog, "modis-16A2", "h26v05"))[::15]:
        stored, lon, lat = read(item, "ET_500m")
        assert not {"raster:bands", "raster:scale", "bands", "nodata"} & set(item.assets["ET_500m"].extra_fields)
        valid = stored <= 32700
        rate = world.sample(world.composed("et", composite), lon, lat)
        assert np.abs(stored[valid] * 0.1 - rate[valid] * composite.days).max() < 0.0501
        cover = world.exact("land_cover", JULY, lon, lat)
        assert (cover[stored == products.BUILT_UP] == URBAN).all()
        assert (cover[stored == products.BARE] == BARREN).all()
        assert {32762, 32767} <= set(np.unique(stored).tolist())
        assert not np.isin(cover[valid], (URBAN, BARREN)).any()


def test_last_et_composite_is_a_smaller_total(catalog: pystac.Catalog, world: World) -> None:
    *_, (item, composite) = composites_of(catalog, "modis-16A2", "h26v05")
    stored, lon, lat = read(item, "ET_500m")
    valid = stored <= 32700
    rate = world.sample(world.composed("et", composite), lon[valid], lat[valid])
    assert composite.days == 6
    assert np.abs(stored[valid] * 0.1 - 6 * rate).max() < 0.0501


def test_land_cover_holds_the_codes_of_the_world(catalog: pystac.Catalog, world: World) -> None:
    for tile in ("h26v05", "h27v05"):
        stored, lon, lat = read(find(catalog, "modis-12Q1", tile), "LC_Type1")
        valid = stored != 255
        assert set(np.unique(stored[valid]).tolist()) <= set(CLASSES)
        assert (stored[valid] == world.exact("land_cover", JULY, lon[valid], lat[valid])).mean() == 1


def test_rain_is_the_area_mean_of_the_fine_field(catalog: pystac.Catalog, world: World) -> None:
    item = find(catalog, "rain", "2004-07")
    stored, lon, lat = read(item, "precipitation")
    assert item.assets["precipitation"].extra_fields["bands"] == [
        {"name": "precipitation", "nodata": 65535, "unit": "mm month-1", "raster:scale": 0.1}
    ]
    offset = (np.arange(25) - 12) / 100
    for row, column in ((0, 0), (3, 2), (5, 5)):
        at_lon, at_lat = np.meshgrid(lon[row, column] + offset, lat[row, column] + offset)
        mean = world.truth("precipitation", JULY, at_lon, at_lat).mean()
        assert stored[row, column] * 0.1 == pytest.approx(mean, abs=0.0501)


def test_exact_precipitation_equals_the_product_at_its_cells_centres(catalog: pystac.Catalog, world: World) -> None:
    stored, lon, lat = read(find(catalog, "rain", "2004-07"), "precipitation")
    assert np.abs(world.exact("precipitation", JULY, lon, lat) - stored * 0.1).max() < 0.0501
    between = world.exact("precipitation", JULY, (lon[2:3, 2] + lon[2:3, 3]) / 2, lat[2:3, 2])
    assert between == pytest.approx((stored[2, 2] + stored[2, 3]) * 0.05, abs=0.0501)


def test_elevation_and_soil_are_the_truth_within_half_a_unit(catalog: pystac.Catalog, world: World) -> None:
    for collection, part, names in (("dem", "dem", ["elevation"]), ("soil", "soil", ["sand", "silt", "clay"])):
        item = find(catalog, collection, part)
        for name in names:
            stored, lon, lat = read(item, name)
            assert np.abs(stored - world.exact(name, JULY, lon, lat)).max() <= 0.5001
    with rasterio.open(find(catalog, "dem", "dem").assets["elevation"].get_absolute_href()) as file:
        assert file.nodata == -32768
        assert file.transform.a == pytest.approx(1 / 240)


# The truth and what stands for it


def open_truth(folder: Path) -> xr.Dataset:
    return xr.open_zarr(folder / "truth.zarr", group="month", consolidated=False, chunks=None)


def test_truth_is_the_field_at_the_fine_cells_centres(folder: Path, world: World) -> None:
    truth = open_truth(folder)
    assert truth[schema.MAP].dims == schema.DIMS
    assert truth[schema.MAP].dtype == np.float32
    assert truth[schema.MAP].attrs["units"] == "m3 m-3"
    assert dict(truth.sizes) == {"time": 12, "y": 50, "x": 50, "bounds": 2}
    assert "spatial_ref" in truth.coords
    y, x = centres(world.grid.fine)
    assert np.array_equal(truth["y"], y)
    assert np.array_equal(truth["x"], x)
    assert truth["time"].to_numpy()[6] == np.datetime64("2004-07-01", "ns")
    values = synthetic.exact("soil_moisture", JULY, *np.meshgrid(x, y), **SMALL)
    assert np.allclose(truth[schema.MAP].sel(time="2004-07-01"), values, atol=1e-6)


def test_coarse_product_is_the_truths_block_means_with_noise(folder: Path, catalog: pystac.Catalog) -> None:
    truth = open_truth(folder)[schema.MAP]
    means = truth.coarsen(y=25, x=25).mean().to_numpy()
    error = []
    for item, mean in zip(items_of(catalog, "soil-moisture"), means, strict=True):
        stored, lon, _ = read(item, "soil_moisture")
        observed = np.where(stored == -32768, np.nan, stored * 0.0001)[1:-1, 1:-1]
        assert lon[0, 1] == pytest.approx(108.625)
        error.append(observed - mean)
    found = np.concatenate(error).ravel()
    found = found[np.isfinite(found)]
    assert len(found) >= 40
    assert np.std(found) == pytest.approx(0.01, rel=0.4)
    assert abs(np.mean(found)) < 0.004


def test_coarse_product_has_gaps_and_one_month_half_missing(catalog: pystac.Catalog) -> None:
    missing = {item.id: read(item, "soil_moisture")[0] == -32768 for item in items_of(catalog, "soil-moisture")}
    half = missing.pop("soil-moisture-2004-02")
    assert half[:2].all()
    assert half[2:].mean() < 0.5
    share = np.mean([gaps.mean() for gaps in missing.values()])
    assert 0 < share < 0.08
    asset = items_of(catalog, "soil-moisture")[0].assets["soil_moisture"]
    assert (asset.extra_fields["nodata"], asset.extra_fields["raster:scale"]) == (-32768, 0.0001)


def test_stations_stand_in_the_area_and_follow_the_truth(folder: Path, world: World) -> None:
    table = pd.read_csv(folder / "stations.csv")
    assert list(table.columns) == ["station", "longitude", "latitude", "time", "value", "unit"]
    assert table["station"].nunique() == 12
    west, south, east, north = world.bounds
    assert table["longitude"].between(west, east).all()
    assert table["latitude"].between(south, north).all()
    assert 100 < len(table) < 144
    assert not table.duplicated(["station", "time"]).any()
    for time, month in table.groupby("time"):
        lon, lat = month["longitude"].to_numpy(), month["latitude"].to_numpy()
        table.loc[month.index, "truth"] = world.truth("soil_moisture", np.datetime64(str(time)), lon, lat)
    assert 0.01 < np.std(table["value"] - table["truth"]) < 0.035
    assert (table["unit"] == "m3 m-3").all()


# What a right cube holds


@dataclass(frozen=True)
class Part:
    """What the days that a composite shares with a month bring to that month."""

    item: pystac.Item
    composite: Composite
    days: int
    stored: NDArray[np.float64]


def parts_of(catalog: pystac.Catalog, collection: str, asset: str, month: np.datetime64) -> list[Part]:
    return [
        Part(item, composite, composite.shared(month), read(item, asset)[0].astype(float))
        for item, composite in composites_of(catalog, collection, "h26v05")
        if composite.shared(month)
    ]


@pytest.mark.parametrize("month", ["2004-02", "2004-07", "2004-12"])
def test_exact_lst_is_the_mean_of_clear_composites_by_shared_days(
    catalog: pystac.Catalog, world: World, month: str
) -> None:
    total, weight = 0.0, 0.0
    parts = parts_of(catalog, "modis-11A2", "LST_Day_1km", np.datetime64(month))
    for part in parts:
        flag, lon, lat = read(part.item, "QC_Day")
        clear = (flag & 0b11) <= 1
        total = total + np.where(clear, part.days * part.stored * 0.02, 0)
        weight = weight + part.days * clear
    with np.errstate(invalid="ignore"):
        mean = total / weight
    exact = world.exact("lst", np.datetime64(month), lon, lat)
    seen = (np.abs(lon - 108.75) < 0.25) & (np.abs(lat - 34.5) < 0.25)
    assert seen.sum() > 500
    assert np.array_equal(np.isnan(mean[seen]), np.isnan(exact[seen]))
    assert np.nanmax(np.abs(mean - exact)[seen]) < 0.0101


def test_ignoring_the_quality_band_is_punished(catalog: pystac.Catalog, world: World) -> None:
    total, weight = 0.0, 0.0
    parts = parts_of(catalog, "modis-11A2", "LST_Day_1km", JULY)
    for part in parts:
        total = total + part.days * part.stored * 0.02
        weight = weight + part.days * (part.stored > 0)
    _, lon, lat = read(parts[0].item, "QC_Day")
    seen = (np.abs(lon - 108.75) < 0.25) & (np.abs(lat - 34.5) < 0.25) & (weight > 0)
    error = total[seen] / weight[seen] - world.exact("lst", JULY, lon[seen], lat[seen])
    assert np.nanmean(error) < -0.5


@pytest.mark.parametrize("month", ["2004-02", "2004-07", "2004-12"])
def test_exact_et_is_the_mean_daily_rate_times_the_months_days(
    catalog: pystac.Catalog, world: World, month: str
) -> None:
    parts = parts_of(catalog, "modis-16A2", "ET_500m", np.datetime64(month))
    total = np.sum(
        [np.where(part.stored <= 32700, part.days * part.stored * 0.1 / part.composite.days, np.nan) for part in parts],
        axis=0,
    )
    weight = sum(part.days for part in parts)
    _, lon, lat = read(parts[0].item, "ET_500m")
    exact = world.exact("et", np.datetime64(month), lon, lat)
    seen = np.isfinite(total)
    assert weight == {"2004-02": 29, "2004-07": 31, "2004-12": 31}[month]
    assert np.abs(total - exact)[seen].max() < weight * 0.05 / 6
    assert np.isfinite(exact[seen]).all()


def test_exact_ndvi_is_missing_under_cloud_only(world: World) -> None:
    y, x = centres(world.grid.fine)
    lon, lat = np.meshgrid(x, y)
    exact = np.stack([world.exact("ndvi", month, lon, lat) for month in world.period])
    assert 0.001 < np.isnan(exact).mean() < 0.15
    truth = world.truth("ndvi", JULY, lon, lat)
    assert np.array_equal(exact[6][np.isfinite(exact[6])], truth[np.isfinite(exact[6])])


def test_a_month_outside_the_world_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="2003-12 to 2005-01, not 1999-01"):
        world.truth("ndvi", np.datetime64("1999-01"), np.zeros(1), np.zeros(1))


def test_places_outside_the_world_are_missing(world: World) -> None:
    assert np.isnan(world.exact("elevation", JULY, np.array([100.0]), np.array([34.5]))).all()


# The same again


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    synthetic.make.cache_clear()
    parts: list[str] = []
    again = synthetic.write(
        tmp_path / "deep" / "world", **SMALL, progress=lambda part, _done, _total: parts.append(part)
    )
    assert digest(again.parent) == digest(folder)
    assert list(dict.fromkeys(parts)) == ["world", *products.PRODUCTS]


def test_another_seed_is_another_world(world: World) -> None:
    other = synthetic.make(1, SMALL["years"], SMALL["cells"])
    assert not np.allclose(other.land.elevation, world.land.elevation)
    assert not np.allclose(other.weather["soil_moisture"], world.weather["soil_moisture"])


def test_a_folder_that_holds_a_world_is_left_alone(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="exists already; name a folder without a world"):
        synthetic.write(folder, **SMALL)


@pytest.mark.parametrize(("years", "cells"), [((2005, 2004), 4), ((2004, 2004), 1), ((2004, 2004), 13)])
def test_impossible_worlds_are_refused(tmp_path: Path, years: tuple[int, int], cells: int) -> None:
    with pytest.raises(ValueError, match=f"got {cells} cells along the side and the years"):
        synthetic.write(tmp_path, years=years, cells=cells)


def test_a_smaller_area_is_a_window_of_a_larger(world: World, country: World) -> None:
    lon, lat = np.meshgrid(*reversed(centres(world.grid.fine)))
    for name in ("elevation", "precipitation", "lst", "soil_moisture"):
        small, large = (each.exact(name, JULY, lon, lat) for each in (world, country))
        assert np.allclose(small, large, rtol=1e-5, equal_nan=True)


def test_noise_has_mean_0_and_deviation_1_and_no_window() -> None:
    lon, lat = np.arange(106, 112, 0.01), np.arange(32, 38, 0.01)
    field = noise.smooth(3, "a", 0.1, lon, lat)
    assert np.mean(field) == pytest.approx(0, abs=0.1)
    assert np.std(field) == pytest.approx(1, abs=0.05)
    assert np.allclose(noise.smooth(3, "a", 0.1, lon[100:150], lat[7:9]), field[7:9, 100:150], atol=1e-10)
    assert not np.allclose(noise.smooth(3, "b", 0.1, lon, lat), field)


# The nature of the truth


FEATURES = ("precipitation", "lst", "ndvi", "et", "elevation", "slope", "northness", "sand", "clay")


def gather(country: World, months: list[np.datetime64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact predictors (months, features, y, x), their gaps filled by the truth, and the true soil moisture."""
    y, x = centres(country.grid.fine)
    lon, lat = np.meshgrid(x, y)
    found = []
    for month in months:
        fields = [country.exact(name, month, lon, lat) for name in FEATURES]
        fields.append(country.exact("precipitation", month - np.timedelta64(1, "M"), lon, lat))
        filled = [np.where(np.isnan(field), np.nanmean(field), field) for field in fields]
        found.append(np.stack(filled))
    truth = [country.truth("soil_moisture", month, lon, lat) for month in months]
    return np.stack(found), np.stack(truth)


def blocks(fine: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = fine.shape[-2] // 25, fine.shape[-1] // 25
    return fine.reshape(*fine.shape[:-2], rows, 25, columns, 25).mean(axis=(-3, -1))


def as_rows(fields: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.moveaxis(fields, 1, -1).reshape(-1, fields.shape[1])


def rmse(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def nearest(coarse: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.repeat(np.repeat(coarse, 25, axis=-2), 25, axis=-1)


def bilinear(coarse: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([zoom(month, 25, order=1, mode="nearest", grid_mode=True) for month in coarse])


def test_last_composite_of_a_common_year_has_five_days(country: World) -> None:
    spans = country.composites
    assert len(spans) == 92
    assert (spans[45].days, spans[91].days) == (6, 5)


def test_soil_moisture_is_physical_and_seasonal(country: World) -> None:
    values = country.weather["soil_moisture"]
    assert values.min() >= 0.05
    assert values.max() <= 0.5
    assert np.ptp(values) > 0.35
    wet, dry = (
        np.mean([country.field("precipitation", np.datetime64(f"2004-{m:02d}")).mean() for m in months])
        for months in ((7, 8, 9), (12, 1, 2))
    )
    assert wet > 5 * dry
    assert 285 > country.field("lst", np.datetime64("2004-01")).mean() > 265
    assert 310 > country.field("lst", np.datetime64("2004-07")).mean() > 290
    assert country.weather["et"].min() > 0


def test_elevation_cools_rains_and_sand_dries(country: World) -> None:
    land, july = country.land, np.datetime64("2004-07")

    def r(a: NDArray[Any], b: NDArray[Any]) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    assert r(land.elevation, country.field("lst", july)) < -0.5
    fine = country.on_fine(country.field("precipitation", july))
    inside = fine[: fine.shape[0] // 25 * 25] - nearest(country.on_coarse(country.field("precipitation", july)))
    height = country.on_fine(land.elevation)
    assert r(inside, height - nearest(country.on_coarse(land.elevation))) > 0.5
    assert r(land.sand, country.field("soil_moisture", np.datetime64("2004-01"))) < -0.3
    assert np.allclose(land.sand + land.silt + land.clay, 100)
    assert set(np.unique(land.land_cover).tolist()) >= {FOREST, CROPLAND, URBAN}


def test_texture_rules_the_winter_and_water_the_summer(country: World) -> None:
    share = {}
    for season in ("winter", "summer"):
        months = [month for month in country.period if Seasons(METEOROLOGICAL).name(month) == season]
        X, y = gather(country, months)
        rows = np.random.default_rng(0).choice(y.size, 3000, replace=False)
        forest = RandomForestRegressor(40, max_features=0.5, random_state=0).fit(as_rows(X)[rows], y.ravel()[rows])
        weight = dict(zip((*FEATURES, "before"), forest.feature_importances_, strict=True))
        share[season] = weight["sand"] + weight["clay"]
    assert share["winter"] > 0.5 > 2 * share["summer"]


def test_no_line_explains_what_a_forest_does(country: World) -> None:
    months = [month for month in country.period if Seasons(METEOROLOGICAL).name(month) == "autumn"]
    X, y = gather(country, months)
    rows = np.random.default_rng(0).permutation(y.size)[:9000]
    learn, judge = rows[:6000], rows[6000:]
    table, target = as_rows(X), y.ravel()
    line = LinearRegression().fit(table[learn], target[learn])
    forest = RandomForestRegressor(60, max_features=0.5, random_state=0).fit(table[learn], target[learn])
    by_line, by_forest = (rmse(model.predict(table[judge]), target[judge]) for model in (line, forest))
    assert by_line > 1.2 * by_forest
    assert by_forest > UNEXPLAINED


def test_a_seasonal_forest_with_residual_beats_bilinear_and_bilinear_beats_nearest(country: World) -> None:
    score: dict[str, list[float]] = {"nearest": [], "bilinear": [], "forest": []}
    for season in ("spring", "winter"):
        months = [month for month in country.period if Seasons(METEOROLOGICAL).name(month) == season]
        X, truth = gather(country, months)
        observed = blocks(truth) + 0.01 * np.random.default_rng(0).standard_normal(blocks(truth).shape)
        forest = RandomForestRegressor(100, max_features=1 / 3, min_samples_split=6, random_state=0)
        forest.fit(as_rows(blocks(X)), observed.ravel())
        guess = forest.predict(as_rows(X)).reshape(truth.shape)
        for _ in range(3):
            guess = guess + bilinear(observed - blocks(guess))
        score["nearest"].append(rmse(nearest(observed), truth))
        score["bilinear"].append(rmse(bilinear(observed), truth))
        score["forest"].append(rmse(guess, truth))
    means = {method: float(np.mean(found)) for method, found in score.items()}
    assert means["forest"] < 0.9 * means["bilinear"]
    assert means["bilinear"] < 0.99 * means["nearest"]


def test_much_of_the_truth_lies_inside_the_coarse_cells(country: World) -> None:
    y, x = centres(country.grid.fine)
    truth = np.stack([country.truth("soil_moisture", month, *np.meshgrid(x, y)) for month in country.period])
    inside = np.mean((truth - nearest(blocks(truth))) ** 2) / np.mean(truth.var(axis=(1, 2)))
    assert 0.25 < inside < 0.8
