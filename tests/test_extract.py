"""Series of points and polygons: against plain NumPy and exactextract's own answer, and places that do not fit."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from pyproj import Transformer
from shapely.geometry import mapping

import soilscale
from commands import invoke
from soilscale import extraction
from soilscale.errors import ConfigurationError, DataError
from soilscale.schema import Quality
from soilscale.storage import tables

YEARS, SIZE, STEP = 4, 40, 0.05
LEFT, TOP = 10.0, 50.0
WEST, SOUTH = 3_975_000.0, 2_950_000.0
"""Corner of a grid in metres."""
KILOMETRE = 1000.0


def maps(crs: str = "EPSG:4326") -> xr.Dataset:
    """Maps of four years, 40 x 40 cells in tiles of 16, of which some cells are missing or not observed."""
    rng = np.random.default_rng(0)
    shape = (12 * YEARS, SIZE, SIZE)
    values = rng.uniform(0.1, 0.4, shape).astype("float32")
    values[:, :5, :7] = np.nan
    quality = rng.choice([Quality.OBSERVED, Quality.PREDICTED], shape).astype("uint8")
    left, top, step = (LEFT, TOP, STEP) if crs == "EPSG:4326" else (WEST, SOUTH + SIZE * KILOMETRE, KILOMETRE)
    layers = {"soil_moisture": values, "quality": quality, "lower": values - 0.03, "upper": values + 0.05}
    time = pd.date_range("2001-01-01", periods=12 * YEARS, freq="MS")
    return xr.Dataset(
        {name: (("time", "y", "x"), da.from_array(layer, chunks=(1, 16, 16))) for name, layer in layers.items()},
        {
            "time": time,
            "y": top - step * (np.arange(SIZE) + 0.5),
            "x": left + step * (np.arange(SIZE) + 0.5),
            "season": ("time", np.where(time.month < 7, "first", "second").astype(object)),
        },
    )


def triangle(*corners: tuple[float, float]) -> dict[str, Any]:
    return mapping(shapely.Polygon(corners))


def features(**geometries: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {"name": name}, "geometry": geometry}
            for name, geometry in geometries.items()
        ],
    }


def over(polygons: dict[str, Any], crs: str = "EPSG:4326", **options: Any) -> pd.DataFrame:
    made = maps(crs)
    places = extraction.from_polygons(polygons, extraction.lattice(made, crs))
    return extraction.extract({"month": made}, places, **options)


INSIDE = triangle((10.21, 48.33), (11.57, 48.4), (11.2, 49.71))
ACROSS = triangle((9.1, 48.33), (11.57, 48.4), (10.2, 51.71))
CORNER = triangle((9.0, 49.0), (10.6, 49.9), (10.0, 51.0))
"""Beyond the map, and over cells without a value."""


def test_polygons_have_the_means_that_exactextract_gives() -> None:
    table = over(features(inside=INSIDE, across=ACROSS, corner=CORNER))
    made = maps()
    bounds = (LEFT, TOP - SIZE * STEP, LEFT + SIZE * STEP, TOP)
    mean = "mean(coverage_weight=area_spherical_m2)"
    for month in (0, 17):
        values = made.soil_moisture[month].to_numpy()
        source = NumPyRasterSource(values.astype("float64"), *bounds, nodata=np.nan)
        answers = exact_extract(source, features(inside=INSIDE, across=ACROSS, corner=CORNER)["features"], [mean])
        expected = [next(iter(answer["properties"].values())) for answer in answers]
        ours = table[table["time"] == made.time.to_numpy()[month]]
        assert list(ours["name"]) == ["inside", "across", "corner"]
        np.testing.assert_allclose(ours["soil_moisture"], expected, atol=1e-6)
        np.testing.assert_allclose(ours["upper"], ours["soil_moisture"] + 0.05, atol=1e-6)


def test_shares_are_of_the_whole_area_also_of_what_lies_beyond_the_map() -> None:
    table = over(features(inside=INSIDE, across=ACROSS))
    # By a mesh fine enough to count, its points weighted by the area that each stands for.
    lat, lon = np.meshgrid(np.arange(48.0, 52.0, 0.005) + 0.0025, np.arange(9.0, 12.0, 0.005) + 0.0025, indexing="ij")
    made = maps()
    for name, geometry in (("inside", INSIDE), ("across", ACROSS)):
        here = shapely.contains_xy(shapely.geometry.shape(geometry), lon, lat)
        row, column = np.floor((TOP - lat) / STEP).astype(int), np.floor((lon - LEFT) / STEP).astype(int)
        on_map = here & (row >= 0) & (row < SIZE) & (column >= 0) & (column < SIZE)
        at = np.clip(row, 0, SIZE - 1), np.clip(column, 0, SIZE - 1)
        mapped = on_map & np.isfinite(made.soil_moisture[5].to_numpy()[at])
        seen = mapped & (made.quality[5].to_numpy()[at] == Quality.OBSERVED)
        area = np.cos(np.radians(lat))
        ours = table[(table["name"] == name) & (table["time"] == "2001-06-01")].iloc[0]
        assert ours["share_mapped"] == pytest.approx((area * mapped).sum() / (area * here).sum(), abs=0.003)
        assert ours["share_observed"] == pytest.approx((area * seen).sum() / (area * here).sum(), abs=0.003)


def test_polygons_may_be_in_any_crs_and_the_grid_in_metres() -> None:
    to_lonlat = Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True)
    square = shapely.box(WEST + 10_500, SOUTH + 10_500, WEST + 20_250, SOUTH + 20_500)
    in_metres = features(square=mapping(square)) | {"crs": {"type": "name", "properties": {"name": "EPSG:3035"}}}
    dense = shapely.segmentize(square, 500.0)
    in_degrees = features(square=mapping(shapely.transform(dense, to_lonlat.transform, interleaved=False)))
    made = maps("EPSG:3035")
    wide, high = [0.5, *[1] * 9, 0.25], [0.5, *[1] * 9, 0.5]
    expected = np.average(made.soil_moisture[0, 19:30, 10:21], weights=np.outer(high, wide))
    for polygons in (in_metres, in_degrees):
        first = over(polygons, "EPSG:3035").iloc[0]
        assert first["soil_moisture"] == pytest.approx(expected, abs=1e-5)
        assert first["share_mapped"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "text",
    ["name,lon,lat\nhere,10.62,49.11\n", "Latitude;Longitude;Station\n49.11;10.62;here\n"],
    ids=["commas", "other"],
)
def test_a_point_has_the_value_of_its_cell(text: str, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(text)
    made = maps()
    places = extraction.from_points(str(tmp_path / "points.csv"), extraction.lattice(made, "EPSG:4326"))
    table = extraction.extract({"month": made}, places)
    np.testing.assert_array_equal(table["soil_moisture"], made.soil_moisture[:, 17, 12].to_numpy().astype("float64"))
    assert set(table["share_mapped"]) == {1.0}
    np.testing.assert_array_equal(table["share_observed"] == 1, made.quality[:, 17, 12] == Quality.OBSERVED)


def test_values_stand_beside_those_of_the_same_calendar_month() -> None:
    made = maps()
    values = made.soil_moisture.to_numpy().copy()
    values[2 * 12 + 1, 20, 20] = np.nan  # February of the third year
    made["soil_moisture"] = (made.soil_moisture.dims, da.from_array(values, chunks=(1, 16, 16)))
    points = pd.DataFrame({"name": ["here"], "x": [LEFT + 20.5 * STEP], "y": [TOP - 20.5 * STEP]})
    places = extraction.from_points(points, extraction.lattice(made, "EPSG:4326"))
    table = extraction.extract({"month": made}, places, min_years=4)
    july = table[table["time"].dt.month == 7]
    here = values[6::12, 20, 20].astype("float64")
    np.testing.assert_allclose(july["anomaly"], here - here.mean(), atol=1e-9)
    np.testing.assert_allclose(july["percentile"], 100 * (np.argsort(np.argsort(here)) + 0.5) / 4)
    assert set(july["years"]) == {4}
    february = table[table["time"].dt.month == 2]
    assert set(february["years"]) == {3}
    assert february[["anomaly", "percentile"]].isna().all(axis=None)


def test_a_place_outside_is_named_and_has_rows_without_values(caplog: pytest.LogCaptureFixture) -> None:
    points = pd.DataFrame({"name": ["here", "Paris", "here"], "lon": [11.0, 2.35, 11.1], "lat": [49.0, 48.86, 49.0]})
    made = maps()
    places = extraction.from_points(points, extraction.lattice(made, "EPSG:4326"))
    with caplog.at_level(logging.WARNING):
        table = extraction.extract({"month": made}, places)
    assert "outside the maps have no values: Paris (2.35, 48.86)" in caplog.text
    paris = table[table["name"] == "Paris"]
    assert len(paris) == 12 * YEARS
    assert paris["soil_moisture"].isna().all()
    assert set(paris["share_mapped"]) == {0.0}
    assert list(table["name"].unique()) == ["here", "Paris", "here (2)"]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("name,lon\na,10\n", DataError, "expected one for the latitude, called lat, latitude, y"),
        ("name,lon,lat\n", DataError, "has no row"),
        ("name,lon,lat\na,10,north\n", DataError, "a: got the latitude 'north'"),
        ("name,lon,lat\na,48.9,120\n", DataError, "not exchanged"),
        ("name,lon,lat\na,2.35,48.86\n", DataError, "every place lies outside the maps: a (2.35, 48.86)"),
        (None, ConfigurationError, "no such file"),
    ],
)
def test_points_that_cannot_be_used_are_refused(
    text: str | None, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "points.csv").write_text(text)
    made = maps()
    with pytest.raises(kind) as caught:
        extraction.extract(
            {"month": made},
            extraction.from_points(str(tmp_path / "points.csv"), extraction.lattice(made, "EPSG:4326")),
        )
    assert words in str(caught.value)


def test_points_as_polygons_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"feature 1 \('well'\) is a Point"):
        over(features(well={"type": "Point", "coordinates": [10, 49]}))


def test_the_command_writes_what_python_gives(undisturbed: Path, tmp_path: Path) -> None:
    output = undisturbed.parent / "run"
    basins = features(basin=triangle((108.61, 34.41), (108.95, 34.43), (108.9, 34.77)))
    (tmp_path / "basins.geojson").write_text(json.dumps(basins))
    options = ("--csv", tmp_path / "basins.csv", "--parquet", tmp_path / "basins.parquet")
    done = invoke("extract", output, "--polygons", tmp_path / "basins.geojson", *options)
    assert done.status == 0, done.err
    table = soilscale.open(output).extract(polygons=basins)
    assert list(table["every"].value_counts()[["month", "season"]]) == [12, 1]
    written = tables.read_table(str(tmp_path / "basins.parquet"))
    np.testing.assert_allclose(written["soil_moisture"], table["soil_moisture"])
    assert tuple(pd.read_csv(tmp_path / "basins.csv").columns) == extraction.COLUMNS
    assert np.isfinite(table[["soil_moisture", "lower", "upper"]]).all(axis=None)


def test_what_cannot_be_extracted_ends_with_its_status(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("name,lon,lat\nParis,2.35,48.86\n")
    output = undisturbed.parent / "run"
    outside = invoke("extract", output, "--points", tmp_path / "points.csv")
    assert (outside.status, "Paris" in outside.err) == (65, True)
    nothing = invoke("extract", tmp_path, "--points", tmp_path / "points.csv")
    assert nothing.status == 65
    assert "is no output of soilscale" in nothing.err
    assert invoke("extract", output).status == 64
    (tmp_path / "run.yaml").write_text((output / "run.yaml").read_text())
    without = invoke("extract", tmp_path, "--points", tmp_path / "points.csv")
    assert without.status == 65
    assert "has no maps yet" in without.err
