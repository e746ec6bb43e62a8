"""The contract's example on real data: counts and values against the files themselves, conservation, the catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import xarray as xr
import yaml
from numpy.typing import NDArray

from checkout import REAL
from commands import counts, files, invoke
from soilscale import models
from soilscale.schema import Quality

DATA = REAL / "moselle"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.exists(), reason=f"the real data of the Moselle are not at {DATA}"),
]

MONTHS = pd.date_range("1990-01-01", "1993-12-01", freq="MS")
SEASONS = {3: "spring", 6: "summer", 9: "autumn", 12: "winter"}
ALGORITHMS = ("random_forest", "svm", "knn", "xgboost")
CORNER = (3973369, 2951847)
COARSE, FINE, STORED = 24000, 1000, 500
"""Sides of a coarse cell, a fine cell and a pixel of the fine data, m."""
ROWS, COLUMNS = 9, 6
"""Coarse cells of the data."""
RATIO, WITHIN = COARSE // FINE, FINE // STORED
MISSING = -9999

CONFIG: Mapping[str, Any] = {
    "name": "moselle",
    "output": "runs/moselle",
    "area": {"bbox": [5.19, 47.63, 7.29, 49.65]},
    "grid": {"crs": "EPSG:3035", "coarse": COARSE, "ratio": RATIO, "origin": list(CORNER)},
    "period": ["1990-01", "1993-12"],
    "seasons": "meteorological",
    "catalogs": {"moselle": {"url": str((DATA / "catalog.json").resolve())}},
    "sources": {
        "soil_moisture": {"role": "target", "collection": "esa-cci-soil-moisture", "asset": "soil_moisture"},
        "precipitation": {"collection": "e-obs-precipitation", "asset": "precipitation"},
        "elevation": {"collection": "srtm-elevation", "asset": "elevation", "derive": ["slope", "aspect"]},
        "sand": {"collection": "hwsd-soil-texture", "asset": "sand"},
        "land_cover": {"collection": "corine-land-cover", "asset": "land_cover", "kind": "categorical"},
    },
    "models": {
        "algorithms": list(ALGORITHMS),
        "seed": 0,
        "folds": 2,
        "parameters": {"random_forest": {"n_estimators": 30}, "xgboost": {"n_estimators": 30}},
    },
    "maps": {"algorithm": "random_forest", "every": ["month", "season"], "conserve": True}
    | {"interval": None, "applicability": False},
}
"""The example, with fewer folds and trees, and without the layers that are held to nothing here."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = {name: {"catalog": "moselle", **keys} for name, keys in CONFIG["sources"].items()}
    path = tmp_path_factory.mktemp("moselle") / "moselle.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "sources": sources}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def output(config: Path, cluster: str) -> Path:
    done = invoke("run", config, "--scheduler", cluster, "-o", "models.ablation=false")
    assert done.status == 0, done.err
    assert str(config.parent / "runs" / "moselle" / "report" / "index.html") in done.out
    return config.parent / "runs" / "moselle"


@pytest.fixture(scope="module")
def coarse(output: Path) -> xr.Dataset:
    return opened(output, "cube.zarr", "coarse")


@pytest.fixture(scope="module")
def fine(output: Path) -> xr.Dataset:
    return opened(output, "cube.zarr", "fine")


@pytest.fixture(scope="module")
def maps(output: Path) -> xr.Dataset:
    return opened(output, "maps.zarr", "month")


@pytest.fixture(scope="module")
def samples(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output / "samples.parquet")


def opened(output: Path, store: str, group: str) -> xr.Dataset:
    return xr.open_zarr(output / store, group=group, consolidated=False).load()


def within(values: xr.Dataset | xr.DataArray, side: int) -> Any:
    """Part of a grid that the data cover: the area's box reaches into cells around them."""
    x = CORNER[0] + (np.arange(COLUMNS * COARSE // side) + 0.5) * side
    y = CORNER[1] - (np.arange(ROWS * COARSE // side) + 0.5) * side
    return values.sel(x=x, y=y, method="nearest", tolerance=1)


def stored(collection: str, asset: str) -> NDArray[np.float64]:
    """Pixels of a fine file of 500 m, NaN where missing."""
    with rasterio.open(DATA / collection / f"{collection}-{asset}.tif") as file:
        assert file.transform[:6] == (STORED, 0, CORNER[0], 0, -STORED, CORNER[1])
        return file.read(1, masked=True).astype("float64").filled(np.nan)


def means(values: NDArray[Any], factor: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the valid values of each block, and the share of them that is valid."""
    *rest, rows, columns = values.shape
    blocks = values.astype("float64").reshape(*rest, rows // factor, factor, columns // factor, factor)
    valid = np.isfinite(blocks)
    with np.errstate(invalid="ignore"):
        mean = np.where(valid, blocks, 0).sum(axis=(-3, -1)) / valid.sum(axis=(-3, -1))
    return mean, valid.mean(axis=(-3, -1))


def observed() -> NDArray[np.float64]:
    """Coarse soil moisture of all months, m3 m-3."""
    name = "esa-cci-soil-moisture"
    found = []
    for month in MONTHS:
        item = json.loads(next((DATA / name).rglob(f"{name}-{month:%Y-%m}.json")).read_text())
        (band,) = item["assets"]["soil_moisture"]["raster:bands"]
        with rasterio.open(DATA / name / f"{name}-{month:%Y-%m}.tif") as file:
            values = file.read(1).astype("float64")
        found.append(np.where(values == MISSING, np.nan, values * band["scale"] + band.get("offset", 0)))
    return np.stack(found)


def usable() -> NDArray[np.bool_]:
    """Months and cells with an observation and at least half of the fine cells, told from the files alone."""
    _, share = means(stored("srtm-elevation", "elevation"), WITHIN)
    _, valid = means(np.where(share > 0, 1.0, np.nan), RATIO)
    return np.isfinite(observed()) & (valid >= 0.5)


# The cube


def test_fine_data_are_the_means_of_the_pixels_in_each_cell(fine: xr.Dataset) -> None:
    for name, collection in (("elevation", "srtm-elevation"), ("sand", "hwsd-soil-texture")):
        expected, share = means(stored(collection, name), WITHIN)
        found = within(fine[name], FINE).to_numpy()
        assert np.isfinite(found[share > 0]).all()
        assert np.isnan(found[share == 0]).all()
        np.testing.assert_allclose(found[share > 0], expected[share > 0], rtol=1e-5)
        assert np.isfinite(fine[name]).sum() == (share > 0).sum()


def test_shares_of_classes_are_those_of_the_pixels(fine: xr.Dataset) -> None:
    codes = stored("corine-land-cover", "land_cover")
    assert sorted(str(name) for name in fine if str(name).startswith("land_cover")) == [
        f"land_cover_{code}" for code in (1, 2, 3)
    ]
    for code in (1, 2, 3):
        expected, share = means(np.where(np.isfinite(codes), codes == code, np.nan), WITHIN)
        found = within(fine[f"land_cover_{code}"], FINE).to_numpy()
        np.testing.assert_allclose(found[share > 0], expected[share > 0], atol=1e-5)


def test_the_observation_is_that_of_the_files(coarse: xr.Dataset) -> None:
    found = within(coarse["soil_moisture"], COARSE).to_numpy()
    np.testing.assert_allclose(found, observed(), rtol=0, atol=1e-7)
    assert np.isfinite(coarse["soil_moisture"]).sum() == 995


def test_the_valid_fraction_is_that_of_the_fine_data(coarse: xr.Dataset) -> None:
    _, share = means(stored("srtm-elevation", "elevation"), WITHIN)
    _, expected = means(np.where(share > 0, 1.0, np.nan), RATIO)
    found = within(coarse["valid_fraction"], COARSE).to_numpy()
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-6)


# The training table and the models


def test_the_table_has_as_many_rows_as_the_files_have_usable_cells(samples: pd.DataFrame) -> None:
    expected = usable()
    assert len(samples) == expected.sum()
    for start, name in SEASONS.items():
        members = np.isin(MONTHS.month, [(start + step - 1) % 12 + 1 for step in range(3)])
        assert (samples["season"] == name).sum() == expected[members].sum()


def test_rows_are_the_usable_cells_with_their_observation(samples: pd.DataFrame) -> None:
    month, row, column = np.nonzero(usable())
    expected = pd.DataFrame(
        {
            "time": MONTHS[month],
            "y": CORNER[1] - (row + 0.5) * COARSE,
            "x": CORNER[0] + (column + 0.5) * COARSE,
            "soil_moisture": observed()[month, row, column],
        }
    )
    keys = ["time", "y", "x"]
    found = samples[list(expected)].sort_values(keys, ignore_index=True)
    found["time"] = found["time"].astype(expected["time"].dtype)
    pd.testing.assert_frame_equal(
        found, expected.sort_values(keys, ignore_index=True), check_dtype=False, rtol=0, atol=1e-6
    )


def test_elevation_in_the_table_is_the_mean_of_its_cell(samples: pd.DataFrame) -> None:
    cells, _ = means(means(stored("srtm-elevation", "elevation"), WITHIN)[0], RATIO)
    row = ((CORNER[1] - samples["y"]) // COARSE).astype(int)
    column = ((samples["x"] - CORNER[0]) // COARSE).astype(int)
    np.testing.assert_allclose(samples["elevation"], cells[row, column], rtol=1e-5)


def test_every_algorithm_has_a_model_for_every_season(output: Path, samples: pd.DataFrame) -> None:
    predictions = pd.read_parquet(output / "predictions.parquet")
    for season in (*SEASONS.values(), "all"):
        rows = samples if season == "all" else samples[samples["season"] == season]
        for algorithm in ALGORITHMS:
            folder = output / "models" / season / algorithm
            told = json.loads((folder / "model.json").read_text())
            held_out = (rows["split"] == "validation").sum()
            assert told["rows"]["validation"] == held_out
            assert told["rows"]["train"] == len(rows) or season == "all"
            model = models.loads((folder / "model.skops").read_bytes())
            found = models.predict(model, rows[told["features"]].to_numpy("float32"))
            assert 0 < found.min() < found.max() < 0.6
    assert set(predictions["algorithm"]) >= set(ALGORITHMS)
    assert set(predictions["split"]) == {"random", "blocked"}


# The maps


def test_maps_exist_where_fine_data_exist(maps: xr.Dataset) -> None:
    _, share = means(stored("srtm-elevation", "elevation"), WITHIN)
    there = np.isfinite(maps["soil_moisture"])
    assert maps.sizes["time"] == 48
    found = within(there, FINE).to_numpy()
    np.testing.assert_array_equal(found, np.broadcast_to(share > 0, found.shape))
    assert (there.sum(("y", "x")) == (share > 0).sum()).all()


def test_block_means_of_the_maps_are_the_observation(maps: xr.Dataset) -> None:
    values = within(maps["soil_moisture"], FINE).to_numpy()
    found, _ = means(values, RATIO)
    both = np.isfinite(found) & np.isfinite(observed())
    assert both.sum() > 700
    np.testing.assert_allclose(found[both], observed()[both], rtol=0, atol=1e-6)
    assert np.nanmin(values) >= 0
    assert np.nanmax(values) <= 0.6


def test_cells_without_an_observation_are_flagged(maps: xr.Dataset) -> None:
    flags = within(maps["quality"], FINE).to_numpy()
    there = np.isfinite(within(maps["soil_moisture"], FINE).to_numpy())
    seen = np.isfinite(observed()).repeat(RATIO, axis=1).repeat(RATIO, axis=2)
    assert (((flags & Quality.OBSERVED) > 0) == (there & seen)).all()
    assert (((flags & Quality.PREDICTED) > 0) == (there & ~seen)).all()


def test_the_catalog_holds_every_month_and_every_whole_season(output: Path) -> None:
    catalog = pystac.Catalog.from_file(str(output / "maps" / "catalog.json"))
    assert catalog.validate_all() == 48 + 15
    items = {item.id: item for item in catalog.get_items(recursive=True)}
    starts = pd.date_range("1990-03-01", "1993-09-01", freq="3MS")
    wanted = [f"moselle-month-{month:%Y-%m}" for month in MONTHS]
    assert sorted(items) == sorted(wanted + [f"moselle-season-{start:%Y-%m}" for start in starts])
    with rasterio.open(items["moselle-month-1992-07"].assets["soil_moisture"].get_absolute_href()) as file:
        assert file.crs.to_epsg() == 3035
        assert file.res == (FINE, FINE)
        assert (file.bounds.left - CORNER[0]) % COARSE == 0
    origins = {link.title for link in items["moselle-month-1992-07"].get_links("derived_from")}
    assert "soil_moisture: esa-cci-soil-moisture-1992-07" in origins
    assert "precipitation: e-obs-precipitation-1992-07" in origins


def test_a_rerun_without_a_cluster_finds_all_complete(config: Path, output: Path) -> None:
    before = files(output, without=("run.yaml",))
    done = invoke("run", config, "--scheduler", "tcp://127.0.0.1:9", "-o", "models.ablation=false")
    assert done.status == 0, done.err
    assert files(output, without=("run.yaml",)) == before
    told = counts(invoke("status", config, "-o", "models.ablation=false"))
    assert all(complete == of and failed == "0" for complete, of, failed in told.values())
