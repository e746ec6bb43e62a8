"""Products and tables of a made run, small enough to draw every figure and the whole page from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import xarray as xr

import summing
from soilscale import kernels, reports
from soilscale.reports import figures
from soilscale.reports.tables import representative
from soilscale.schema import Quality
from soilscale.seasons import METEOROLOGICAL, Seasons
from summing import season_rmse, summed

SEASONS = Seasons(METEOROLOGICAL)
RATIO, CRS = 4, "EPSG:3035"
TIMES = pd.date_range("2001-01", periods=12, freq="MS")
ALGORITHMS = ("svm", "knn")


@dataclass(frozen=True)
class World:
    """Small products of a run."""

    coarse: xr.DataArray
    fine: xr.DataArray
    known: xr.DataArray
    elevation: xr.DataArray
    land_cover: dict[str, xr.DataArray]
    predictions: pd.DataFrame


def world() -> World:
    generator = np.random.default_rng(0)
    rows, columns = 6, 6
    terrain = np.add.outer(np.sin(np.arange(rows * RATIO) / 3), np.cos(np.arange(columns * RATIO) / 4))
    level = 0.27 + 0.05 * np.cos(2 * np.pi * np.arange(12) / 12)
    known = level[:, None, None] + 0.02 * terrain + 0.002 * generator.normal(size=(12, rows * RATIO, columns * RATIO))
    coarse, _ = kernels.block_mean(known, RATIO)
    coarse[0, 0, 0] = np.nan
    fine = [kernels.conserve(0.3 + 0.018 * terrain, month, RATIO, 0, 0.6)[0] for month in coarse]
    observed = grid(coarse, 24_000)
    high = grid(np.stack([300 + 100 * terrain] * 12), 6_000).isel(time=0, drop=True)
    share = (high > 300).astype("float32")
    cover = {"forest": share, "cropland": 0.9 - 0.8 * share}
    return World(observed, grid(fine, 6_000), grid(known, 6_000), high, cover, predictions(observed))


def grid(values: object, step: float) -> xr.DataArray:
    array = np.asarray(values, dtype="float32")
    y = 2_900_000 - step * (np.arange(array.shape[1]) + 0.5)
    x = 4_000_000 + step * (np.arange(array.shape[2]) + 0.5)
    return xr.DataArray(array, dims=("time", "y", "x"), coords={"time": TIMES, "y": y, "x": x})


def predictions(coarse: xr.DataArray) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    base = coarse.to_series().rename("observed").dropna().reset_index()
    base["season"] = SEASONS.names_of(base["time"].to_numpy())
    errors = {("svm", "random"): 0.004, ("svm", "blocked"): 0.006, ("knn", "random"): 0.01, ("knn", "blocked"): 0.02}
    parts = [
        base.assign(
            algorithm=algorithm,
            split=split,
            model=model,
            predicted=base["observed"] + generator.normal(scale=error, size=len(base)),
        )
        for (algorithm, split), error in errors.items()
        for model in ("seasonal", "comprehensive")
    ]
    return pd.concat(parts, ignore_index=True)


def importance() -> pd.DataFrame:
    features = [
        ("sand", "texture", "feature"),
        ("clay", "texture", "feature"),
        ("texture", "texture", "group"),
        ("ndvi", "ndvi", "feature"),
    ]
    rows = [
        (season, feature, group, 10.0 * (place + 1) - 5 * shift, 0.1, 4 - place, kind, "random_forest")
        for shift, season in enumerate((*SEASONS.names, "all"))
        for place, (feature, group, kind) in enumerate(features)
    ]
    columns = ["season", "feature", "group", "inc_mse", "inc_node_purity", "rank", "kind", "algorithm"]
    return pd.DataFrame(rows, columns=columns)


def ablation() -> pd.DataFrame:
    values = {"nothing": 0.01, "texture": 0.012, "ndvi": 0.0099}
    rows = [(s, name, "rmse", value) for s in (*SEASONS.names, "all") for name, value in values.items()]
    return pd.DataFrame(rows, columns=["season", "without", "metric", "value"])


def comparison() -> pd.DataFrame:
    """Seasonal models better in spring, worse in summer, and not told apart in autumn and winter."""
    ends = {"spring": (-0.003, -0.001), "summer": (0.001, 0.003), "autumn": (-0.001, 0.002), "winter": (np.nan, np.nan)}
    rows = [
        (season, name, split, metric, 0.01, 0.011, -0.001, *ends[season], 90)
        for season in SEASONS.names
        for name in ALGORITHMS
        for split in ("random", "blocked")
        for metric in ("rmse", "r2")
    ]
    columns = ["season", "algorithm", "split", "metric", "seasonal", "comprehensive", "difference", "lower", "upper"]
    return pd.DataFrame(rows, columns=[*columns, "n"])


def station_pairs(unit: str = "m3 m-3") -> pd.DataFrame:
    generator = np.random.default_rng(2)
    rows = [(f"S{i:02d}", time, season) for i in range(3) for time, season in zip(TIMES, names(), strict=True)]
    table = pd.DataFrame(rows, columns=["station", "time", "season"])
    observed = generator.uniform(0.1, 0.4, len(table))
    found = {name: observed + generator.normal(scale=0.02, size=len(table)) for name in ("fine", "coarse", "bilinear")}
    table = table.assign(unit=unit, observed=observed, **found)
    table.loc[4, "coarse"] = np.nan
    return table


def names() -> list[str]:
    return [str(name) for name in SEASONS.names_of(TIMES.to_numpy())]


def sensor_series() -> pd.DataFrame:
    """Two sensors that share the middle of three years; the second reads .04 too dry."""
    times = pd.date_range("2001-01", periods=36, freq="MS")
    level = 0.25 + 0.05 * np.cos(2 * np.pi * np.arange(36) / 12)
    first = np.where(np.arange(36) < 24, level, np.nan)
    second = np.where(np.arange(36) >= 12, level, np.nan)
    parts = [("old", first, first), ("new", second - 0.04, second)]
    frames = [pd.DataFrame({"time": times, "part": name, "before": b, "after": a}) for name, b, a in parts]
    return pd.concat(frames, ignore_index=True)


def sensors() -> pd.DataFrame:
    told = {"slope": (1.1, 432), "intercept": (0.01, 432), "r2": (0.9, 432), "cells_own": (30.0, 36)}
    rows = [("new", "old", "all", name, value, n, "overlap") for name, (value, n) in told.items()]
    return pd.DataFrame(rows, columns=["part", "reference", "season", "statistic", "value", "n", "basis"])


def tables(made: World) -> dict[str, pd.DataFrame]:
    """Every table."""
    accuracy = reports.accuracy(made.predictions, SEASONS.names)
    months = summed(made.fine, made.coarse, RATIO, made.known, tile=2)
    truth = reports.truth(summing.methods(months, "svm"), SEASONS)
    upscaled = reports.upscaled(made.coarse, made.predictions, SEASONS)
    means = reports.area_means(summing.sums(months), summing.common(months), CRS, made.coarse * 100)
    rows = [("all", p, m, 0.5, 9) for p in ("coarse", "fine") for m in ("rmse", "r")]
    return {
        "accuracy": accuracy,
        "consistency": reports.consistency(*summing.pairs(months), SEASONS, "svm"),
        "baselines": reports.baselines({"truth": truth, "upscaled": upscaled}),
        "truth": truth,
        "stations": pd.DataFrame(rows, columns=["season", "product", "metric", "value", "n"]),
        "station_pairs": station_pairs(),
        "importance": importance(),
        "ablation": ablation(),
        "comparison": comparison(),
        "sensors": sensors(),
        "time_series": means,
        "made_elsewhere": pd.DataFrame({"what": ["something"], "n": [3]}),
    }


def context(made: World, images: Mapping[str, bytes]) -> reports.Context:
    """Everything that a page can hold."""
    return reports.Context(
        name="moselle <valley>",
        area="5.2° E to 7.3° E, 47.6° N to 49.7° N",
        period=("2001-01", "2001-12"),
        months=12,
        coarse_cells=36,
        fine_cells=36 * RATIO**2,
        cell_sides=("24 km", "6 km"),
        algorithm="svm",
        tables=tables(made),
        config_hash="3f9a1c77",
        figures=images,
        product="esa-cci",
        failed=[("precipitation r000c001 2001-03", "rain.tif is not a TIFF; fetch it again & rerun")],
        failed_units=1,
        without_input={"soil_moisture": ["2001-07", "2001-08"]},
        flags={Quality.OBSERVED: 6000, Quality.PREDICTED: 1234, Quality.OUTSIDE: 5},
        empty=200,
        masked={"lst": 0.25, "elevation": 0.0},
        items={"soil_moisture": 12, "elevation": 1},
        collections={"soil_moisture": "esa-cci"},
        versions={"soilscale": "0.1.0"},
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    )


def area(made: World) -> figures.Area:
    ring = np.array([[6.5, 49.0], [7.2, 49.0], [7.2, 48.2], [6.5, 49.0]])
    return figures.Area(
        observation=made.coarse.isel(time=1),
        month=np.datetime64("2001-02"),
        crs=CRS,
        elevation=made.elevation,
        land_cover=made.land_cover,
        stations=pd.DataFrame({"longitude": [6.8], "latitude": [48.6]}),
        outline=[ring],
    )


def shown_months(coarse: xr.DataArray) -> list[np.datetime64]:
    """Month of each season that is observed best."""
    cells = np.isfinite(coarse.to_numpy()).sum(axis=(1, 2))
    return representative(coarse["time"].to_numpy().astype("datetime64[M]"), cells, SEASONS)


def drawn(made: World) -> dict[str, bytes]:
    """Every figure."""
    found = tables(made)
    maps = {"coarse product": made.coarse, "fine map": made.fine}
    dates = shown_months(made.coarse)
    return {
        "study_area": figures.study_area(area(made)),
        "overview": figures.maps_side_by_side(maps, dates[:1], SEASONS, CRS),
        "maps": figures.maps_side_by_side(maps, dates, SEASONS, CRS),
        "maps_one_scale": figures.maps_side_by_side(maps, dates, SEASONS, CRS, one_scale=True),
        "uncertainty": figures.in_a_row({"spring": made.fine[0]}, CRS, "cividis", "width"),
        "anomalies": figures.in_a_row({"spring": made.fine[0] - 0.2}, CRS, "BrBG", "difference", diverging=True),
        "algorithms": figures.maps_side_by_side(maps | {"svm": made.known}, dates[:1], SEASONS, CRS),
        "rmse_maps": figures.rmse_maps(season_rmse(made.fine, made.coarse, RATIO, SEASONS), CRS),
        "time_series": figures.time_series(found["time_series"]),
        "accuracy": figures.accuracy_bars(found["accuracy"]),
        "scatter": figures.scatter(made.predictions, "svm", SEASONS.names),
        "truth": figures.skill_bars(found["truth"]),
        "importance": figures.importance(found["importance"]),
        "ablation": figures.ablation(found["ablation"]),
        "comparison": figures.comparison(found["comparison"]),
        "sensors": figures.sensors(sensor_series(), "old", sensors()),
        "station_scatter": figures.station_scatter(found["station_pairs"], SEASONS.names),
        "station_series": figures.station_series(found["station_pairs"]),
    }
