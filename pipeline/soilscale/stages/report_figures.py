"""The figures of the report, from the products and tables of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import shapely
import xarray as xr
from numpy.typing import NDArray

from soilscale import cube, kernels, maps, storage
from soilscale.models.selection import NOTHING
from soilscale.reports import figures
from soilscale.reports.style import words
from soilscale.reports.tables import field
from soilscale.schema import MAP
from soilscale.seasons import Months, Seasons
from soilscale.sources import Source, profiles
from soilscale.stages import mapping, model_analysis
from soilscale.stages.report_inputs import Material
from soilscale.tasks import model_store
from soilscale.tasks.map_making import Chosen

OBSERVATION = "coarse product"
"""Heading of the observation's maps."""

CELLS = 400
"""Cells along an axis for which algorithms are drawn, at most; bounds the memory and time of the figure."""

MOST_ALGORITHMS = 5
"""Algorithms whose maps are drawn side by side, those with the least blocked error."""


def draw(
    material: Material, tables: Mapping[str, pd.DataFrame], stations: pd.DataFrame | None = None
) -> dict[str, bytes]:
    """Every figure of the report, by name; those without data are left out.

    Parameters
    ----------
    tables
        Tables of the report, by name.
    stations
        Records of stations, of which the columns longitude and latitude are used.
    """
    run, seasons, crs = material.run, material.run.config.season_scheme, material.run.plan.grid.crs
    dates = figures.representative(material.observed, seasons)
    drawn = {
        "time_series": figures.time_series(tables["time_series"]),
        "accuracy": figures.accuracy_bars(tables["accuracy"]),
    }
    if dates:
        drawn["study_area"] = figures.study_area(_area(material, dates, stations))
        panels = {OBSERVATION: material.observed, "fine map": material.months[MAP]}
        if material.truth is not None:
            panels["known truth"] = material.truth
        drawn["maps"] = figures.maps_side_by_side(panels, dates, seasons, crs)
        drawn["algorithms"] = _algorithms(material, dates)
        drawn["rmse_maps"] = figures.rmse_maps(
            material.months[MAP], material.observed, run.plan.grid.ratio, seasons, crs
        )
    rows = material.predictions
    rows = rows[(rows["split"] == "blocked") & (rows["model"] == "seasonal")]
    pairs = rows[["season", "algorithm"]].drop_duplicates().astype(object)
    if (pairs["algorithm"] == pairs["season"].map(material.algorithm)).any():
        drawn["scatter"] = figures.scatter(rows, material.algorithm, seasons.names)
    if "effects" in tables:
        drawn["effects"] = figures.effects(tables["effects"], cube.feature_units(run.plan.inputs))
    return drawn | _of_tables(tables, seasons.names)


def _algorithms(material: Material, dates: Sequence[np.datetime64]) -> bytes:
    """Seasonal maps of each algorithm beside the coarse product's, or maps of some months where no season is whole."""
    run, seasons = material.run, material.run.config.season_scheme
    means = season_means(material.observed, maps.complete_seasons(run.plan.months, seasons), seasons)
    starts = figures.representative(means, seasons)
    periods = [seasons.members(start) for start in starts] or [np.array([date]) for date in dates]
    products = {OBSERVATION: means if starts else material.observed} | by_algorithm(material, periods)
    labels = [f"{words(seasons.name(months[0]))},\n{span(months)}" for months in periods]
    return figures.maps_side_by_side(products, [months[0] for months in periods], seasons, run.plan.grid.crs, labels)


def span(months: Months) -> str:
    """First and last month as text; the month itself where there is one."""
    return str(months[0]) if len(months) == 1 else f"{months[0]} to {months[-1]}"


def season_means(observed: xr.DataArray, starts: Months, seasons: Seasons) -> xr.DataArray:
    """Mean of each season's months where all of them are observed: (time, y, x), time the first month."""
    fields = [np.mean([field(observed, month) for month in seasons.members(start)], axis=0) for start in starts]
    values = np.stack(fields) if fields else np.empty((0, *observed.shape[1:]))
    coords = {"time": starts.astype("datetime64[ns]"), "y": observed["y"], "x": observed["x"]}
    return xr.DataArray(values, coords, ("time", "y", "x"))


def _of_tables(tables: Mapping[str, pd.DataFrame], seasons: Sequence[str]) -> dict[str, bytes]:
    """Figures of the tables that not every run has."""
    drawn = {}
    for reference in ("truth", "stations", "upscaled"):
        rows = tables["baselines"][tables["baselines"]["reference"] == reference]
        if len(rows):
            drawn[reference] = figures.skill_bars(rows)
    for name, figure in (
        ("importance", figures.importance),
        ("ablation", figures.ablation),
        ("comparison", figures.comparison),
    ):
        if len(tables.get(name, ())) and (name != "ablation" or (tables[name]["without"] != NOTHING).any()):
            drawn[name] = figure(tables[name])
    if len(tables.get("sensors", ())):
        reference = str(tables["sensors"]["reference"].iloc[0])
        drawn["sensors"] = figures.sensors(tables["sensor_series"], reference, tables["sensors"])
    pairs = tables.get("station_pairs")
    if pairs is not None and len(pairs.dropna(subset=["observed", "coarse", "fine"])):
        drawn["station_scatter"] = figures.station_scatter(pairs, seasons)
        drawn["station_series"] = figures.station_series(pairs)
    return drawn


def _area(material: Material, dates: Sequence[np.datetime64], stations: pd.DataFrame | None) -> figures.Area:
    """What is known of the study area, in the month in which most cells are observed."""
    run = material.run
    month = max(dates, key=lambda date: int(np.isfinite(field(material.observed, date)).sum()))
    index = int(np.searchsorted(run.plan.months, month))
    sources = [predictor.source for predictor in run.plan.predictors]
    cover = next((source for source in sources if source.kind == "categorical"), None)
    relief = next((source.name for source in sources if source.derive), None)
    polygon = run.config.geometry
    return figures.Area(
        observation=material.observed.isel(time=index),
        month=month,
        crs=run.plan.grid.crs,
        elevation=None if relief is None else _at(material.fine[relief], index),
        land_cover={} if cover is None else _classes(material, cover, index),
        stations=None if stations is None else stations[["longitude", "latitude"]].drop_duplicates(),
        outline=() if polygon is None else [shapely.get_coordinates(ring) for ring in _rings(polygon)],
    )


def _rings(polygon: shapely.Geometry) -> list[shapely.LinearRing]:
    return [ring for part in shapely.get_parts(polygon) for ring in shapely.get_rings(part)]


def _at(feature: xr.DataArray, index: int) -> xr.DataArray:
    """Feature in one month; a static one as it is."""
    return feature.isel(time=index) if "time" in feature.dims else feature


def _classes(material: Material, source: Source, index: int) -> dict[str, xr.DataArray]:
    """Share of each class of a categorical source, by the name that its items or its profile tell, else by its code."""
    section = material.run.config.sources[source.name]
    profile = profiles().get(getattr(section, "profile", None) or "", {})
    name_of = dict(zip(profile.get("classes", ()), profile.get("class_names", ()), strict=True))
    name_of |= class_names(storage.read_json(material.run.workspace.items(source.name))["features"], source.asset)
    start = f"{source.name}_"
    names = [str(name) for name in material.fine.data_vars if str(name).startswith(start)]
    codes = sorted(int(code) for name in names if (code := name.removeprefix(start)).isdigit())
    return {name_of.get(code, f"class {code}"): _at(material.fine[f"{start}{code}"], index) for code in codes}


def class_names(items: Sequence[Mapping[str, object]], asset: str) -> dict[int, str]:
    """Names of the classes that items tell by STAC's classification extension, of the asset or its first band."""
    for item in items[:1]:
        assets = item.get("assets")
        asset_record = assets.get(asset, {}) if isinstance(assets, Mapping) else {}
        bands = [asset_record, *asset_record.get("bands", ()), *asset_record.get("raster:bands", ())]
        classes = next((band["classification:classes"] for band in bands if band.get("classification:classes")), ())
        return {
            int(class_record["value"]): str(
                class_record.get("title") or class_record.get("name") or class_record["value"]
            )
            for class_record in classes
        }
    return {}


def by_algorithm(material: Material, periods: Sequence[Months]) -> dict[str, xr.DataArray]:
    """Fine map of each algorithm's model in some periods, made as the maps are on at most `CELLS` cells a side.

    A period is a month, or the months of a season. Of a larger grid the same number of cells of each coarse cell is
    used, evenly spread, and conserved by themselves.

    Returns
    -------
    dict
        Algorithm -> (time, y, x), m3 m-3; time is the first month of the period.
    """
    run = material.run
    cells = run.plan.grid.ratio, max(run.plan.grid.shape)
    per_cell = min(cells[0], max(2, CELLS // cells[1]))
    within = (np.arange(per_cell) + 0.5) * cells[0] // per_cell
    rows, columns = ((np.arange(n)[:, None] * cells[0] + within).astype(int).ravel() for n in run.plan.grid.shape)
    fitted = mapping.trained(run)
    drawn = {}
    for algorithm in _best(material):
        layers = []
        for months in periods:
            model = material.chosen[run.config.season_scheme.name(months[0])]
            whole = (
                [months] if run.config.maps.seasonal == mapping.PREDICTORS else [np.array([month]) for month in months]
            )
            made = [_map(material, fitted[model.season, algorithm], each, rows, columns) for each in whole]
            layers.append(np.mean(made, axis=0))
        drawn[algorithm] = xr.DataArray(
            np.stack(layers),
            {
                "time": np.array([months[0] for months in periods], "datetime64[ns]"),
                "y": _even(material.months["y"], len(rows)),
                "x": _even(material.months["x"], len(columns)),
            },
            ("time", "y", "x"),
        )
    return drawn


def _best(material: Material) -> list[str]:
    """Algorithms to draw, as the configuration orders them."""
    rows = material.predictions
    rows = rows[(rows["split"] == "blocked") & (rows["model"] == "seasonal")]
    errors = (
        ((rows["predicted"] - rows["observed"]) ** 2).groupby(rows["algorithm"], observed=True).mean().sort_values()
    )
    least = set(errors.index[:MOST_ALGORITHMS])
    return [name for name in material.run.config.models.algorithms if name in least]


def _map(
    material: Material, model: Chosen, months: Months, rows: NDArray[np.int_], columns: NDArray[np.int_]
) -> NDArray[np.floating]:
    """Map of some months' mean features on some rows and columns: predicted and, if the maps are, conserved."""
    run, how = material.run, material.run.config.maps
    indices = np.searchsorted(run.plan.months, months)
    fine = material.fine.isel(y=rows, x=columns)
    names = model_analysis.features_of(run, model.season)
    features = [np.mean([_filled(fine[name], int(i), how.reach) for i in indices], axis=0) for name in names]
    url = run.workspace.model(model.season, model.algorithm)
    inside = np.isfinite(material.months[MAP].isel(time=indices, y=rows, x=columns).to_numpy()).all(axis=0)
    predicted = maps.predict(model_store.load(url, model.version), features, inside).astype("float64")
    lower, upper = how.valid_range
    if not how.conserve:
        return np.clip(predicted, lower, upper)
    observed = np.mean([maps.usable(field(material.observed, month), how.valid_range) for month in months], axis=0)
    values, _ = kernels.conserve(predicted, observed, len(rows) // run.plan.grid.shape[0], lower, upper)
    return values


def _filled(feature: xr.DataArray, index: int, reach: int) -> NDArray[np.float64]:
    """Feature of one month, its gaps filled from the months around as in the maps."""
    here = _at(feature, index).to_numpy()
    if "time" not in feature.dims or not reach or not np.isnan(here).any():
        return here
    around = [
        (feature.isel(time=index - away).to_numpy(), feature.isel(time=index + away).to_numpy())
        for away in range(1, min(reach, index, feature.sizes["time"] - 1 - index) + 1)
    ]
    return maps.fill_gaps(here, around)[0].astype("float64")


def _even(centres: xr.DataArray, n: int) -> NDArray[np.float64]:
    """Centres of n cells that share the extent of an axis evenly."""
    first, last = float(centres[0]), float(centres[-1])
    half = (last - first) / (len(centres) - 1) / 2
    edges = np.linspace(first - half, last + half, n + 1)
    return (edges[:-1] + edges[1:]) / 2
