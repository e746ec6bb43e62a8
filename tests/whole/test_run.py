"""A run from end to end through the real command: every product, reruns, a kill in the middle, other clusters."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the accessor .rio
import xarray as xr
import yaml
from numpy.typing import NDArray

from commands import Ended, edit, files, invoke, small_world, soilscale, times
from soilscale import models, publish, synthetic
from soilscale.engine.output import Workspace
from soilscale.reports import accuracy
from soilscale.schema import Quality
from soilscale.stages import inventory

pytestmark = pytest.mark.slow

RATIO, CELLS = 25, 5
MONTHS = pd.date_range("2004-03-01", "2005-02-01", freq="MS")
SEASONS = {3: "spring", 6: "summer", 9: "autumn", 12: "winter"}
STATIC = {"elevation", "slope", "northness", "eastness", "sand", "silt", "clay"}
MONTHLY = {"precipitation", "precipitation_lag1", "lst", "ndvi", "et"}
UNITS = {
    "lst": "K",
    "ndvi": "1",
    "et": "mm month-1",
    "precipitation": "mm month-1",
    "precipitation_lag1": "mm month-1",
    "elevation": "m",
    "slope": "degree",
    "northness": "1",
    "eastness": "1",
    "sand": "%",
    "silt": "%",
    "clay": "%",
}
METRICS = {"mape", "bias", "rmse", "ubrmse", "r2", "r2_paper", "r", "kl", "kl_paper", "kge"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of a world of 5 x 5 coarse cells; a year that begins in March has all four seasons."""
    folder = tmp_path_factory.mktemp("world")
    path = small_world(folder, CELLS, (2004, 2005))
    small = {"n_estimators": 30}
    return edit(
        path,
        period=["2004-03", "2005-02"],
        models__algorithms=["random_forest", "trend_forest", "gaussian_process"],
        models__ablation=["precipitation"],
        models__parameters={
            "random_forest": small,
            "trend_forest": small,
            "gaussian_process": {"rows": 150, "iterations": 20},
        },
    )


@pytest.fixture(scope="module")
def first(config: Path) -> Ended:
    """How the first run ended."""
    return soilscale("run", config, "--workers", 2)


@pytest.fixture(scope="module")
def output(config: Path, first: Ended) -> Path:
    """Products of the first run."""
    assert first.status == 0, first.err
    return config.parent / "run"


@pytest.fixture(scope="module")
def fine(output: Path) -> xr.Dataset:
    return opened(output / "cube.zarr", "fine")


@pytest.fixture(scope="module")
def coarse(output: Path) -> xr.Dataset:
    return opened(output / "cube.zarr", "coarse")


@pytest.fixture(scope="module")
def month(output: Path) -> xr.Dataset:
    return opened(output / "maps.zarr", "month")


@pytest.fixture(scope="module")
def season(output: Path) -> xr.Dataset:
    return opened(output / "maps.zarr", "season")


@pytest.fixture(scope="module")
def samples(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output / "samples.parquet")


@pytest.fixture(scope="module")
def predictions(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output / "predictions.parquet")


def opened(store: Path, group: str) -> xr.Dataset:
    return xr.open_zarr(store, group=group, consolidated=False).load()


def block_means(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of the valid cells of each block, written out plainly."""
    *rest, rows, columns = values.shape
    blocks = values.astype("float64").reshape(*rest, rows // RATIO, RATIO, columns // RATIO, RATIO)
    valid = np.isfinite(blocks)
    with np.errstate(invalid="ignore"):
        return np.where(valid, blocks, 0).sum(axis=(-3, -1)) / valid.sum(axis=(-3, -1))


# The command


def test_it_ends_well_and_says_where_the_products_are(first: Ended, output: Path) -> None:
    for place in ("maps.zarr", "maps/catalog.json", "report/index.html"):
        assert str(output / place) in first.out
        assert (output / place).exists()
    assert "against the known truth" in first.out
    assert "Traceback" not in first.err


def test_nothing_but_the_named_products_stands_in_the_output(output: Path) -> None:
    named = {"run.yaml", "items", "cube.zarr", "predictions.parquet", "samples.parquet", "models", "maps.zarr", "maps"}
    assert {path.name for path in output.iterdir()} == named | {"report", "state"}


def test_run_yaml_holds_the_configuration_its_hash_and_versions(output: Path, config: Path) -> None:
    told = yaml.safe_load((output / "run.yaml").read_text())
    assert told["config"]["period"] == ["2004-03", "2005-02"]
    assert told["config"]["sources"]["lst"]["quality"] == [
        {"asset": "QC_Day", "bits": [0, 1], "accept": [0, 1], "layer": None},
        {"asset": "QC_Day", "bits": [6, 7], "accept": [0, 1, 2], "layer": None},
    ]
    assert told["config"]["validation"]["truth"] == str(config.parent / "truth.zarr")
    assert len(told["hash"]) == 16
    assert {"soilscale", "dask", "zarr", "scikit-learn"} <= told["versions"].keys()


def test_items_are_frozen_as_item_collections(output: Path) -> None:
    names = {"soil_moisture", "precipitation", "lst", "ndvi", "et", "land_cover", "elevation", "sand", "silt", "clay"}
    assert {path.stem for path in (output / "items").iterdir()} == {*names, "inputs.audit"}
    for name in names:
        found = pystac.ItemCollection.from_file(str(output / "items" / f"{name}.json"))
        assert len(found) >= 1
        assert all(Path(asset.href).is_absolute() for item in found for asset in item.assets.values())
    # The lag reaches one month before the period.
    assert len(pystac.ItemCollection.from_file(str(output / "items" / "precipitation.json"))) == 13


# The cube


def test_the_cube_has_a_variable_for_every_feature(fine: xr.Dataset, coarse: xr.Dataset) -> None:
    cover = {str(name) for name in fine if str(name).startswith("land_cover_")}
    assert len(cover) > 2
    assert set(fine) == STATIC | MONTHLY | cover
    assert set(coarse) == set(fine) | {"soil_moisture", "valid_fraction"}
    for name in MONTHLY:
        assert fine[name].dims == coarse[name].dims == ("time", "y", "x")
    for name in STATIC:
        assert fine[name].dims == coarse[name].dims == ("y", "x")
    assert {fine[name].dtype.name for name in fine} == {"float32"}
    assert fine["ndvi"].shape == (12, CELLS * RATIO, CELLS * RATIO)


def test_the_cube_says_what_it_holds(fine: xr.Dataset, coarse: xr.Dataset) -> None:
    for name, unit in UNITS.items():
        assert fine[name].attrs["units"] == coarse[name].attrs["units"] == unit
    assert coarse["soil_moisture"].attrs["units"] == "m3 m-3"
    assert all("long_name" in fine[name].attrs for name in fine)


@pytest.mark.parametrize(("store", "group"), [("cube.zarr", "fine"), ("cube.zarr", "coarse"), ("maps.zarr", "month")])
def test_axes_are_centres_that_run_as_promised(output: Path, store: str, group: str) -> None:
    found = opened(output / store, group)
    side = 0.25 if group == "coarse" else 0.01
    np.testing.assert_allclose(np.diff(found["x"]), side)
    np.testing.assert_allclose(np.diff(found["y"]), -side)
    np.testing.assert_allclose((found["x"][0] - side / 2) % 0.25, 0, atol=1e-9)
    assert found["time"].to_index().equals(MONTHS.rename("time"))
    bounds = found["time_bounds"].to_numpy()
    assert (bounds[:, 0] == MONTHS).all()
    assert (bounds[:, 1] == MONTHS + pd.DateOffset(months=1)).all()


@pytest.mark.parametrize(("store", "group"), [("cube.zarr", "fine"), ("cube.zarr", "coarse"), ("maps.zarr", "season")])
def test_other_software_finds_the_grid(output: Path, store: str, group: str) -> None:
    found = xr.open_zarr(output / store, group=group, consolidated=False, decode_coords="all")
    name = "soil_moisture" if store == "maps.zarr" else "sand"
    assert found[name].rio.crs.to_epsg() == 4326
    west, south, east, north = found[name].rio.bounds()
    np.testing.assert_allclose((east - west, north - south), CELLS * 0.25)
    np.testing.assert_allclose(found[name].rio.transform().c, west)


def test_stores_are_zarr_3_and_chunked_by_month(output: Path) -> None:
    for place in ("cube.zarr/fine/ndvi", "maps.zarr/month/soil_moisture"):
        told = json.loads((output / place / "zarr.json").read_text())
        assert told["zarr_format"] == 3
        assert told["chunk_grid"]["configuration"]["chunk_shape"] == [1, CELLS * RATIO, CELLS * RATIO]


def test_block_means_of_the_fine_cube_are_the_coarse_cube(fine: xr.Dataset, coarse: xr.Dataset) -> None:
    for name in fine:
        expected = block_means(fine[name].to_numpy())
        np.testing.assert_allclose(coarse[name], expected, rtol=1e-5, atol=1e-5, err_msg=str(name))


@pytest.fixture(scope="module")
def filled(output: Path) -> xr.Dataset:
    return opened(output / "cube.zarr", "filled")


def seen(fine: xr.Dataset, filled: xr.Dataset, name: str) -> NDArray[np.bool_]:
    """Where a feature is known and rests on something that was seen in the month."""
    there = np.isfinite(fine[name].to_numpy())
    return there & (filled[name].to_numpy() < 100) if name in filled else there


def test_the_valid_fraction_is_the_smallest_of_all_predictors_before_gaps_are_filled(
    fine: xr.Dataset, filled: xr.Dataset, coarse: xr.Dataset
) -> None:
    everywhere = (len(MONTHS), CELLS * RATIO, CELLS * RATIO)
    shares = [block_means(np.broadcast_to(seen(fine, filled, str(name)), everywhere)) for name in fine]
    found = coarse["valid_fraction"].to_numpy()
    np.testing.assert_allclose(found, np.min(shares, axis=0), atol=1e-6)
    assert 0 <= found.min() < found.max() <= 1


def test_a_lag_is_the_month_before(fine: xr.Dataset) -> None:
    np.testing.assert_array_equal(fine["precipitation_lag1"][1:], fine["precipitation"][:-1])
    assert np.isfinite(fine["precipitation_lag1"][0]).all()


def test_shares_of_classes_sum_to_one(fine: xr.Dataset) -> None:
    total = sum(fine[name].astype("float64") for name in fine if str(name).startswith("land_cover_"))
    assert isinstance(total, xr.DataArray)
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_the_cube_is_near_the_truth_of_the_world(fine: xr.Dataset, config: Path) -> None:
    del config
    lon, lat = np.meshgrid(fine["x"], fine["y"])
    for name, least in {"elevation": 0.99, "sand": 0.95, "ndvi": 0.95, "lst": 0.9, "et": 0.9}.items():
        values = fine[name].to_numpy()
        when = np.datetime64("2004-07", "M")
        found = values if values.ndim == 2 else values[4]
        exact = synthetic.exact(name, when, lon, lat, cells=CELLS, years=(2004, 2005))
        both = np.isfinite(found) & np.isfinite(exact)
        assert both.mean() > 0.5
        assert np.corrcoef(found[both], exact[both])[0, 1] > least, name


# The training table, the models


def test_the_table_has_a_row_for_each_usable_cell_and_month(samples: pd.DataFrame, coarse: xr.Dataset) -> None:
    usable = coarse["valid_fraction"].to_numpy() >= 0.5
    for name in set(coarse) - {"valid_fraction"}:
        usable &= np.isfinite(coarse[name].to_numpy())
    assert len(samples) == usable.sum()
    assert not samples.duplicated(["time", "y", "x"]).any()
    assert not samples.isna().any().any()


def test_the_table_has_the_promised_columns(samples: pd.DataFrame, fine: xr.Dataset) -> None:
    keys = ["time", "season", "y", "x", "block", "split"]
    assert list(samples.columns[:6]) == keys
    assert samples.columns[-1] == "soil_moisture"
    assert set(samples.columns[6:-1]) == set(fine)
    months = {name: [(start + step - 1) % 12 + 1 for step in range(3)] for start, name in SEASONS.items()}
    for name, rows in samples.groupby("season"):
        assert set(rows["time"].dt.month) == set(months[str(name)])
    share = (samples["split"] == "train").mean()
    assert set(samples["split"]) == {"train", "validation"}
    assert abs(share - 0.7) < 0.05


def test_rows_hold_the_values_of_their_cell(samples: pd.DataFrame, coarse: xr.Dataset) -> None:
    places = {axis: xr.DataArray(samples[axis].to_numpy(), dims="row") for axis in ("time", "y", "x")}
    for name in ("soil_moisture", "lst"):
        np.testing.assert_array_equal(samples[name], coarse[name].sel(places))
    static = {axis: places[axis] for axis in ("y", "x")}
    np.testing.assert_array_equal(samples["sand"], coarse["sand"].sel(static))


def test_the_table_of_accuracy_is_that_of_the_predictions(predictions: pd.DataFrame, output: Path) -> None:
    told = pd.read_csv(output / "report" / "accuracy.csv")
    own = predictions[(predictions["season"] == "summer") & (predictions["algorithm"] == "random_forest")]
    for (model, split), rows in own.groupby(["model", "split"]):
        error = (rows["predicted"] - rows["observed"]).astype("float64")
        here = told[(told["season"] == "summer") & (told["algorithm"] == "random_forest")]
        here = here[(here["model"] == model) & (here["split"] == split)].set_index("metric")
        assert set(here["n"]) == {len(rows)}
        assert here["value"]["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
        assert here["value"]["bias"] == pytest.approx(error.mean(), rel=1e-4, abs=1e-8)
    again = accuracy(predictions, list(SEASONS.values()))
    np.testing.assert_allclose(told["value"], again["value"], rtol=1e-9)


def test_random_predictions_are_of_the_validation_rows_and_blocked_ones_of_all(
    predictions: pd.DataFrame, samples: pd.DataFrame
) -> None:
    keys = ["time", "y", "x"]
    for (_, model, split), rows in predictions.groupby(["algorithm", "model", "split"]):
        wanted = samples[samples["split"] == "validation"] if split == "random" else samples
        found = rows.sort_values(keys, ignore_index=True)
        expected = wanted.sort_values(keys, ignore_index=True)
        pd.testing.assert_frame_equal(found[keys], expected[keys])
        np.testing.assert_array_equal(found["observed"], expected["soil_moisture"])
        assert model in {"seasonal", "comprehensive"}


@pytest.mark.parametrize("algorithm", ["random_forest", "trend_forest"])
@pytest.mark.parametrize("name", [*SEASONS.values(), "all"])
def test_stored_models_learned_from_the_rows_that_they_are_scored_on_too(
    output: Path, samples: pd.DataFrame, predictions: pd.DataFrame, name: str, algorithm: str
) -> None:
    folder = output / "models" / name / algorithm
    told = json.loads((folder / "model.json").read_text())
    model = models.loads((folder / "model.skops").read_bytes())
    kind = "comprehensive" if name == "all" else "seasonal"
    rows = samples[samples["split"] == "validation"]
    rows = rows if name == "all" else rows[rows["season"] == name]
    expected = predictions[(predictions["algorithm"] == algorithm) & (predictions["model"] == kind)]
    held_out = expected[expected["split"] == "random"].set_index(["time", "y", "x"])["predicted"]
    keys = pd.MultiIndex.from_frame(rows[["time", "y", "x"]])
    found = models.predict(model, rows[told["features"]].to_numpy("float32"))
    observed = rows["soil_moisture"].to_numpy()
    error = np.abs(found - observed).mean()
    assert 0 < error < np.abs(held_out.loc[keys].to_numpy() - observed).mean()
    assert told["accuracy_of"].endswith("learned from all rows")
    assert len(told["parameters"].get("within", told["features"])) == len(told["features"])
    assert ("within" in told["parameters"]) == (algorithm == "trend_forest")


def test_a_model_says_what_it_is(output: Path, samples: pd.DataFrame, predictions: pd.DataFrame) -> None:
    told = json.loads((output / "models" / "summer" / "random_forest" / "model.json").read_text())
    assert (told["season"], told["algorithm"], told["model"]) == ("summer", "random_forest", "seasonal")
    assert set(told["features"]) == set(samples.columns[6:-1])
    assert {name: told["units"][name] for name in UNITS} == UNITS
    assert told["parameters"]["n_estimators"] == 30
    summer = samples[samples["season"] == "summer"]
    counts = summer["split"].value_counts()
    assert told["rows"] == {"train": len(summer), "fitted": len(summer), "validation": counts["validation"]}
    np.testing.assert_allclose(told["range"]["lst"], (summer["lst"].min(), summer["lst"].max()))
    assert len(told["sample_hash"]) == 64
    assert {"numpy", "scikit-learn", "soilscale"} <= told["versions"].keys()
    found = {(row["split"], row["metric"]): row["value"] for row in told["accuracy"]}
    assert {metric for _, metric in found} == METRICS
    own = predictions[(predictions["season"] == "summer") & (predictions["algorithm"] == "random_forest")]
    own = own[(own["model"] == "seasonal") & (own["split"] == "blocked")]
    rmse = np.sqrt(((own["predicted"] - own["observed"]).astype("float64") ** 2).mean())
    np.testing.assert_allclose(found["blocked", "rmse"], rmse, rtol=1e-5)


# The maps


def test_every_object_of_a_run_is_known_as_one(output: Path) -> None:
    is_ours = inventory.ours(Workspace(str(output)))
    assert [name for name in files(output) if not is_ours(name)] == []
    for name in (band.name for band in publish.OPTIONAL_BANDS.values()):
        assert is_ours(f"maps/month/somewhere-month-2004-01/{'0' * 16}/{name}.tif")
    assert is_ours("models/all/stack/members.json")


def test_maps_have_their_layers_and_coordinates(month: xr.Dataset, season: xr.Dataset) -> None:
    layers = {"soil_moisture", "quality", "lower", "upper", "applicability"}
    assert set(month) == layers | {"prediction", "prediction_quality"}
    assert set(season) == layers
    for maps in (month, season):
        assert maps["soil_moisture"].dtype == "float32"
        assert maps["soil_moisture"].attrs["units"] == "m3 m-3"
        assert maps["quality"].dtype == "uint8"
        np.testing.assert_array_equal(maps["quality"].attrs["flag_masks"], 2 ** np.arange(8))
        assert maps["quality"].attrs["flag_meanings"] == (
            "observed predicted gap_filled clamped outside comprehensive extrapolated frozen"
        )
    assert [str(name) for name in month["season"].to_numpy()] == [SEASONS[m // 3 * 3 or 12] for m in MONTHS.month]
    assert [str(name) for name in season["season"].to_numpy()] == ["spring", "summer", "autumn", "winter"]
    starts = pd.DatetimeIndex(["2004-03-01", "2004-06-01", "2004-09-01", "2004-12-01"])
    assert season["time"].to_index().equals(starts.rename("time"))
    assert (season["time_bounds"].to_numpy()[:, 1] == starts + pd.DateOffset(months=3)).all()


def test_block_means_of_the_maps_are_the_observation(month: xr.Dataset, coarse: xr.Dataset) -> None:
    observed = coarse["soil_moisture"].to_numpy()
    means = block_means(month["soil_moisture"].to_numpy())
    both = np.isfinite(observed) & np.isfinite(means)
    assert both.sum() > 0.9 * observed.size
    np.testing.assert_allclose(means[both], observed[both], rtol=0, atol=1e-6)


def test_maps_stay_in_the_physical_range(month: xr.Dataset, season: xr.Dataset) -> None:
    for maps in (month, season):
        values = maps["soil_moisture"].to_numpy()
        assert np.nanmin(values) >= 0
        assert np.nanmax(values) <= 0.6
    assert np.nanstd(month["soil_moisture"] - month["prediction"]) > 0


def test_the_cube_tells_how_much_of_a_month_is_filled(fine: xr.Dataset, filled: xr.Dataset) -> None:
    assert set(filled) == {"et", "lst", "ndvi", "precipitation", "precipitation_lag1"}
    share = filled["lst"].to_numpy()
    assert 0 < (share > 0).mean() < 1, "clouds hide some composites of some months"
    assert share.max() <= 100
    assert np.isfinite(fine["lst"].to_numpy()).all()
    assert not filled["precipitation"].any()


def test_maps_cover_every_cell_with_predictors(
    month: xr.Dataset, fine: xr.Dataset, filled: xr.Dataset, coarse: xr.Dataset
) -> None:
    whole, known = np.ones((2, *month["soil_moisture"].shape), dtype=bool)
    for name in map(str, fine):
        whole &= seen(fine, filled, name)
        known &= np.isfinite(fine[name].to_numpy())
    mapped = np.isfinite(month["soil_moisture"].to_numpy())
    assert mapped[whole].all()
    unseen = np.isnan(coarse["soil_moisture"].to_numpy()).repeat(RATIO, axis=-2).repeat(RATIO, axis=-1)
    assert (whole & unseen).any()
    assert mapped[whole & unseen].all()
    np.testing.assert_array_equal(mapped, known)
    flagged = month["quality"].to_numpy() & Quality.GAP_FILLED
    assert ((flagged > 0) == (mapped & ~whole)).all()


def test_quality_tells_where_a_value_comes_from(month: xr.Dataset, coarse: xr.Dataset) -> None:
    flags = month["quality"].to_numpy()
    mapped = np.isfinite(month["soil_moisture"].to_numpy())
    seen = np.isfinite(coarse["soil_moisture"].to_numpy()).repeat(RATIO, axis=-2).repeat(RATIO, axis=-1)
    assert (((flags & Quality.OBSERVED) > 0) == (mapped & seen)).all()
    assert (((flags & Quality.PREDICTED) > 0) == (mapped & ~seen)).all()
    assert not (flags & Quality.OUTSIDE).any()
    assert not flags[~mapped].any()


def test_predictions_before_conservation_are_the_models(month: xr.Dataset, fine: xr.Dataset, output: Path) -> None:
    told = json.loads(next((output / "maps" / "month").glob("*-2004-07/*/*-2004-07.json")).read_text())
    folder = output / told["properties"]["soilscale:model"]
    features = json.loads((folder / "model.json").read_text())["features"]
    july = [fine[name].isel(time=4, missing_dims="ignore").to_numpy() for name in features]
    whole = np.logical_and.reduce([np.isfinite(values) for values in july])
    model = models.loads((folder / "model.skops").read_bytes())
    expected = models.predict(model, np.stack([values[whole] for values in july], axis=1))
    surface = models.surface(model, np.array(["2004-07"], "datetime64[M]"), fine["y"].to_numpy(), fine["x"].to_numpy())
    if surface is not None:
        expected = expected + surface[whole]
    np.testing.assert_allclose(
        month["prediction"].to_numpy()[4][whole], expected, rtol=0, atol=0 if surface is None else 1e-6
    )


def test_a_seasonal_map_is_the_mean_of_its_months(month: xr.Dataset, season: xr.Dataset) -> None:
    expected = month["soil_moisture"].to_numpy().reshape(4, 3, *month["soil_moisture"].shape[1:]).mean(axis=1)
    np.testing.assert_allclose(season["soil_moisture"], expected, rtol=0, atol=1e-6)


def test_maps_are_nearer_the_truth_than_what_needs_no_model(output: Path, month: xr.Dataset, config: Path) -> None:
    told = pd.read_csv(output / "report" / "truth.csv")
    assert list(told.columns) == ["season", "method", "metric", "value"]
    rmse = told[(told["season"] == "all") & (told["metric"] == "rmse")].set_index("method")["value"]
    own = pd.read_csv(output / "report" / "consistency.csv")["algorithm"].iloc[0]
    assert rmse[own] < rmse["bilinear"] < rmse["nearest"]
    assert set(rmse.index) >= {"random_forest", "trend_forest"}
    known = opened(config.parent / "truth.zarr", "month")["soil_moisture"].sel(time=MONTHS).to_numpy()
    error = (month["soil_moisture"].to_numpy() - known).astype("float64")
    np.testing.assert_allclose(rmse[own], np.sqrt(np.nanmean(error**2)), rtol=0.02)


# COGs and STAC


def test_the_catalog_of_the_maps_is_valid_stac(output: Path, month: xr.Dataset) -> None:
    catalog = pystac.Catalog.from_file(str(output / "maps" / "catalog.json"))
    assert catalog.validate_all() == 16  # items; catalogs and collections are validated too
    items = {item.id: item for item in catalog.get_items(recursive=True)}
    wanted = [f"shaanxi-like-month-{time:%Y-%m}" for time in MONTHS]
    wanted += [f"shaanxi-like-season-{start}" for start in ("2004-03", "2004-06", "2004-09", "2004-12")]
    assert sorted(items) == sorted(wanted)
    item = items["shaanxi-like-month-2004-07"]
    assert item.properties["start_datetime"] == "2004-07-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2004-07-31T23:59:59Z"
    assert item.properties["soilscale:season"] == "summer"
    assert {"rmse_random", "rmse_blocked"} <= item.properties["soilscale:accuracy"].keys()
    assert item.properties["soilscale:model_hash"]
    west, south, east, north = item.bbox or [np.nan] * 4
    assert west < month["x"].min() < month["x"].max() < east
    assert south < month["y"].min() < month["y"].max() < north


def test_maps_are_linked_to_the_items_that_they_derive_from(output: Path) -> None:
    catalog = pystac.Catalog.from_file(str(output / "maps" / "catalog.json"))
    items = {item.id: item for item in catalog.get_items(recursive=True)}
    links = items["shaanxi-like-month-2004-07"].get_links("derived_from")
    origins = [Path(str(link.get_absolute_href())) for link in links]
    assert all(origin.exists() for origin in origins)
    ids = [json.loads(origin.read_text())["id"] for origin in origins]
    assert "soil-moisture-2004-07" in ids
    assert "soil-moisture-2004-06" not in ids
    assert {"rain-2004-07", "rain-2004-06", "dem"} <= set(ids)
    # The composite of 8 days that began on 26 June reaches into July.
    assert any(".A2004177." in one and one.startswith("MOD11A2") for one in ids)
    season = items["shaanxi-like-season-2004-06"].get_links("derived_from")
    assert len(season) > len(links)


def test_cogs_hold_the_maps(output: Path, month: xr.Dataset, season: xr.Dataset) -> None:
    for every, maps in (("month", month), ("season", season)):
        for index, time in enumerate(maps["time"].to_index()):
            name = f"shaanxi-like-{every}-{time:%Y-%m}"
            (folder,) = (output / "maps" / every / name).iterdir()
            for layer in ("soil_moisture", "quality"):
                date = f"{time:%Y%m}" if every == "month" else f"{maps['season'].to_numpy()[index]}????"
                (path,) = folder.glob(f"shaanxi-like_{date}_{layer}.tif")
                with rasterio.open(path) as file:
                    np.testing.assert_array_equal(file.read(1), maps[layer].to_numpy()[index])
                    assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                    assert file.overviews(1)
                    assert file.crs.to_epsg() == 4326
                    np.testing.assert_allclose(file.xy(0, 0), (maps["x"][0], maps["y"][0]))


# The report


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("accuracy", "season, algorithm, model, split, metric, value, n"),
        ("consistency", "season, algorithm, metric, value"),
        ("baselines", "season, method, reference, metric, value"),
        ("stations", "season, product, metric, value, n, unit"),
        ("truth", "season, method, metric, value"),
    ],
)
def test_tables_have_the_promised_columns(output: Path, name: str, columns: str) -> None:
    table = pd.read_csv(output / "report" / f"{name}.csv")
    assert list(table.columns) == columns.split(", ")
    assert len(table)
    assert set(table["metric"]) >= METRICS
    assert {*SEASONS.values(), "all"} == set(table["season"])


def test_the_table_of_baselines_has_every_reference_and_method(output: Path) -> None:
    table = pd.read_csv(output / "report" / "baselines.csv")
    assert set(table["reference"]) == {"truth", "stations", "upscaled"}
    for _, rows in table.groupby("reference"):
        assert {"nearest", "bilinear"} < set(rows["method"])
    stations = pd.read_csv(output / "report" / "stations.csv")
    assert set(stations["product"]) == {"coarse", "fine"}


def test_consistency_says_that_block_means_hold(output: Path) -> None:
    table = pd.read_csv(output / "report" / "consistency.csv")
    largest = table[table["metric"] == "max_abs_block_difference"]["value"]
    assert len(largest) == 5
    assert largest.max() <= 1e-6


def test_the_page_stands_alone(output: Path) -> None:
    page = (output / "report" / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script src" not in page
    assert '<link rel="stylesheet"' not in page
    images = page.split("data:image/webp;base64,")[1:]
    assert len(images) >= 5
    assert all(b64decode(image.partition('"')[0])[:4] == b"RIFF" for image in images)
    for name in ("maps", "time_series", "accuracy", "scatter", "truth", "stations", "upscaled"):
        assert (output / "report" / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# Again


def test_status_says_that_all_is_complete_and_computes_nothing(config: Path, output: Path) -> None:
    before = files(output)
    done = invoke("status", config)
    assert done.status == 0
    rows = [line.split() for line in done.out.replace("│", " ").splitlines()]
    counts = {row[0]: row[1:] for row in rows if len(row) == 4 and row[1].isdigit()}
    assert {"search", "cube", "samples", "train", "report"} <= counts.keys()
    assert all(complete == of and failed == "0" for complete, of, failed in counts.values())
    assert files(output) == before


def test_a_rerun_does_nothing_and_says_the_same(config: Path, output: Path, first: Ended) -> None:
    before = files(output)
    written = {path: time for path, time in times(output).items() if path.name not in OWN_TIMES}
    again = soilscale("run", config, "--scheduler", "tcp://127.0.0.1:9")  # no scheduler is there: none is needed
    assert again.status == 0, again.err
    assert again.out == first.out
    assert files(output) == before
    now = times(output)
    assert [path for path, time in written.items() if now[path] != time] == []


OWN_TIMES = {"run.yaml", "catalog.json", "collection.json"}
"""Small documents that are put together anew from what stands; their bytes stay."""
