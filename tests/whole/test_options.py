"""Runs with what is not the default: factors chosen, parameters tuned, seasons of one's own, intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from commands import Ended, edit, invoke, small_world, times
from soilscale.schema import Quality

pytestmark = pytest.mark.slow

SMALL = {"n_estimators": 20}
RATIO, CELLS = 25, 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of a world of 4 x 4 coarse cells, one year, two seasons, five factors to choose from."""
    path = small_world(tmp_path_factory.mktemp("world"), CELLS, (2004, 2005))
    known = yaml.safe_load(path.read_text())["sources"]
    return edit(
        path,
        sources={name: known[name] for name in ("soil_moisture", "precipitation", "lst", "ndvi", "elevation", "sand")},
        period=["2004-05", "2005-04"],
        seasons="wet_dry",
        models__algorithms=["random_forest", "knn"],
        models__parameters={"random_forest": SMALL},
        models__season_parameters={"dry": {"random_forest": {"min_samples_split": 12}}},
        models__tune={"knn": {"n_neighbors": [3, 9]}},
        models__select=True,
        maps__seasonal="predictors",
        maps__interval=0.8,
    )


@pytest.fixture(scope="module")
def ended(world: Path, cluster: str) -> Ended:
    return invoke("run", world, "--scheduler", cluster)


@pytest.fixture(scope="module")
def output(world: Path, ended: Ended) -> Path:
    assert ended.status == 0, ended.err
    return world.parent / "run"


def table(output: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(output / "report" / f"{name}.csv")


def opened(output: Path, store: str, group: str) -> xr.Dataset:
    return xr.open_zarr(output / store, group=group, consolidated=False)


def about(output: Path, season: str, algorithm: str) -> dict[str, object]:
    return json.loads((output / "models" / season / algorithm / "model.json").read_text())


@pytest.mark.parametrize("season", ["wet", "dry"])
def test_a_season_learns_from_the_factors_that_were_chosen(output: Path, season: str) -> None:
    steps = table(output, "selection")
    own = steps[steps["season"] == season]
    chosen = own["features"].iloc[-1].split()
    assert own["value"].is_monotonic_decreasing
    assert sorted(chosen) == sorted(about(output, season, "random_forest")["features"])
    assert len(about(output, "all", "random_forest")["features"]) > len(chosen), "the comprehensive model has all"
    importance = table(output, "importance")
    named = importance[importance["season"] == season]["feature"]
    assert set(chosen) <= set(named)
    rmse = table(output, "ablation").query("season == @season and metric == 'rmse'").set_index("without")["value"]
    unused = rmse.drop(["nothing", *own["group"]], errors="ignore")
    assert (unused == rmse["nothing"]).all(), "a factor that is not used leaves the error as it is"
    assert set(own["group"]) <= set(rmse.index) or len(own) == 1


def test_parameters_are_the_seasons_own_and_the_tuned_ones(output: Path) -> None:
    assert about(output, "dry", "random_forest")["parameters"]["min_samples_split"] == 12
    assert about(output, "wet", "random_forest")["parameters"]["min_samples_split"] == 6
    tuning = table(output, "tuning")
    assert set(tuning["season"]) == {"wet", "dry", "all"}
    for season, tried in tuning.groupby("season"):
        searched = tried[tried["score"] == "blocked"]
        assert set(tried["score"]) == {"blocked", "nested", "untuned"}
        best = json.loads(searched.loc[searched["value"].idxmin(), "parameters"])
        assert about(output, season, "knn")["parameters"]["n_neighbors"] == best["n_neighbors"]


def test_seasonal_maps_conserve_the_mean_observation(output: Path) -> None:
    seasons, coarse = opened(output, "maps.zarr", "season"), opened(output, "cube.zarr", "coarse")
    assert seasons["season"].to_numpy().tolist() == ["wet", "dry"]
    assert seasons["time"].to_numpy().astype("datetime64[M]").astype(str).tolist() == ["2004-05", "2004-10"]
    for index, months in enumerate((slice("2004-05", "2004-09"), slice("2004-10", "2005-04"))):
        observed = coarse["soil_moisture"].sel(time=months).mean("time", skipna=False).to_numpy()
        fine = seasons["soil_moisture"].isel(time=index).to_numpy().astype("float64")
        blocks = fine.reshape(CELLS, RATIO, CELLS, RATIO)
        known = np.isfinite(observed) & np.isfinite(blocks).any(axis=(1, 3))
        assert known.any()
        means = np.nanmean(np.where(known[:, None, :, None], blocks, 0), axis=(1, 3))
        np.testing.assert_allclose(means[known], observed[known], atol=1e-6)
    monthly = opened(output, "maps.zarr", "month")["soil_moisture"].sel(time=slice("2004-05", "2004-09"))
    difference = np.abs(monthly.mean("time", skipna=False) - seasons["soil_moisture"].isel(time=0))
    assert float(difference.max()) > 1e-3, "a prediction of its own"


@pytest.mark.parametrize("every", ["month", "season"])
def test_intervals_hold_the_map_and_stay_in_range(output: Path, every: str) -> None:
    maps = opened(output, "maps.zarr", every)
    lower, value, upper = (maps[name].to_numpy() for name in ("lower", "soil_moisture", "upper"))
    there = np.isfinite(value)
    assert (np.isfinite(lower) == there).all()
    assert (np.isfinite(upper) == there).all()
    assert (lower[there] <= value[there]).all()
    assert (value[there] <= upper[there]).all()
    assert lower[there].min() >= 0
    assert upper[there].max() <= np.float32(0.6)
    items = sorted((output / "maps" / every).glob("*/*/*.json"))
    assert set(json.loads(items[0].read_text())["assets"]) - {"overview", "thumbnail"} == {
        "soil_moisture",
        "quality",
        "lower",
        "upper",
        "applicability",
    }


def test_coverage_is_told_against_the_truth(output: Path, world: Path) -> None:
    found = table(output, "intervals").query("season == 'all' and cells == 'observed'").iloc[0]
    maps = opened(output, "maps.zarr", "month")
    truth = xr.open_zarr(world.parent / "truth.zarr", group="month", consolidated=False)["soil_moisture"]
    truth = truth.sel(time=maps["time"]).to_numpy()
    seen = ((maps["quality"].to_numpy() & Quality.OBSERVED) > 0) & np.isfinite(truth)
    within = (truth >= maps["lower"].to_numpy()) & (truth <= maps["upper"].to_numpy())
    assert found["n"] == seen.sum()
    assert found["coverage"] == pytest.approx(within[seen].mean())
    assert 0.5 < found["coverage"] <= 1


def test_comparison_is_that_of_the_predictions(output: Path) -> None:
    found = (
        table(output, "comparison")
        .query("season == 'wet' and algorithm == 'knn' and split == 'blocked' and metric == 'rmse'")
        .iloc[0]
    )
    rows = pd.read_parquet(output / "predictions.parquet").query(
        "season == 'wet' and algorithm == 'knn' and split == 'blocked'"
    )
    error = ((rows["predicted"] - rows["observed"]).astype("float64") ** 2).groupby(rows["model"]).mean() ** 0.5
    assert found["seasonal"] == pytest.approx(error["seasonal"], rel=1e-5)
    assert found["comprehensive"] == pytest.approx(error["comprehensive"], rel=1e-5)
    assert found["lower"] <= found["difference"] <= found["upper"]


def test_a_rerun_does_nothing_and_status_is_complete(world: Path, output: Path) -> None:
    before = times(output / "state")
    assert invoke("run", world).status == 0
    assert times(output / "state") == before
    told = invoke("status", world).out
    for stage in ("select", "tune", "importance", "ablation"):
        assert stage in told


def test_a_season_without_rows_is_mapped_by_the_comprehensive_model(world: Path, cluster: str) -> None:
    """One month of its own has too few rows: the log says so, and its maps are marked."""
    ended = invoke(
        "run", world, "--scheduler", cluster, "-o", "seasons={short: [4], long: [5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 3]}",
        "-o", "models.season_parameters={}", "-o", "models.tune={}", "-o", "models.select=false",
        "-o", "models.ablation=false", "-o", "maps.seasonal=maps", "-o", "maps.interval=null",
        "--output", world.parent / "short",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert "season short has" in ended.err
    assert "comprehensive one is used" in ended.err
    maps = opened(world.parent / "short", "maps.zarr", "month")
    flags = maps["quality"].to_numpy()
    marked = (flags & Quality.COMPREHENSIVE) > 0
    april = maps["season"].to_numpy() == "short"
    assert april.sum() == 1
    assert (marked[april] == np.isfinite(maps["soil_moisture"].to_numpy()[april])).all()
    assert not marked[~april].any()
    assert not (world.parent / "short" / "models" / "short").exists()


def test_an_observation_in_another_unit_is_refused(world: Path) -> None:
    ended = invoke(
        "samples", world, "--output", world.parent / "run", "-o", "maps.valid_range=[0, 0.01]", "-o", "models.seed=5"
    )
    assert ended.status == 65
    assert "source soil_moisture: " in ended.err
    assert "lie outside maps.valid_range [0, 0.01] m3 m-3, their median is" in ended.err
