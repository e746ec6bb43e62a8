"""The figures of the report, from the products and tables of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import shapely

from soilscale import cube, maps
from soilscale.models.selection import NOTHING
from soilscale.reports import figures
from soilscale.reports.style import ANOMALY, ERROR, UNIT, dated, words
from soilscale.seasons import Months, position
from soilscale.stages import pictures
from soilscale.stages.report_inputs import Material

OBSERVATION = "coarse product"
"""Heading of the observation's maps."""


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
    dates, summaries = material.dates, material.summaries
    drawn = {
        "time_series": figures.time_series(tables["time_series"]),
        "accuracy": figures.accuracy_bars(tables["accuracy"]),
    }
    if dates:
        drawn["study_area"] = figures.study_area(_area(material, stations))
        panels = {OBSERVATION: material.observed, "fine map": summaries.pictures}
        if material.truth_months is not None:
            panels["known truth"] = summaries.truths
        drawn["overview"] = figures.maps_side_by_side(panels, [material.features.month], seasons, crs)
        drawn["maps"] = figures.maps_side_by_side(panels, dates, seasons, crs)
        drawn["maps_one_scale"] = figures.maps_side_by_side(panels, dates, seasons, crs, one_scale=True)
        drawn["algorithms"] = _algorithms(material)
        drawn |= _beside_maps(material, dates)
    if summaries.rmse:
        drawn["rmse_maps"] = figures.rmse_maps(summaries.rmse, crs)
    rows = material.predictions
    rows = rows[(rows["split"] == "blocked") & (rows["model"] == "seasonal")]
    pairs = rows[["season", "algorithm"]].drop_duplicates().astype(object)
    if (pairs["algorithm"] == pairs["season"].map(material.algorithm)).any():
        drawn["scatter"] = figures.scatter(rows, material.algorithm, seasons.names)
    if "effects" in tables:
        drawn["effects"] = figures.effects(tables["effects"], cube.feature_units(run.plan.inputs))
    return drawn | _of_tables(tables, seasons.names)


def _algorithms(material: Material) -> bytes:
    """Seasonal maps of each algorithm beside the coarse product's, or maps of some months where no season is whole."""
    run, seasons, periods = material.run, material.run.config.season_scheme, material.periods
    complete = maps.complete_seasons(run.plan.months, seasons)
    means = pictures.season_means(material.observed, complete, seasons)
    drawn = pictures.by_algorithm(run, material.algorithm_units, material.drawn, periods)
    products = {OBSERVATION: means if any(len(months) > 1 for months in periods) else material.observed} | drawn
    labels = [f"{words(seasons.name(months[0]))},\n{span(months)}" for months in periods]
    return figures.maps_side_by_side(products, [months[0] for months in periods], seasons, run.plan.grid.crs, labels)


def _beside_maps(material: Material, dates: Sequence[np.datetime64]) -> dict[str, bytes]:
    """Widths of the intervals, and anomalies, of the months whose maps are drawn; those that there are."""
    crs, seasons = material.run.plan.grid.crs, material.run.config.season_scheme
    drawn = {}
    for name, array, colours, label in (
        ("uncertainty", material.summaries.widths, ERROR, f"width of the interval, {UNIT}"),
        ("anomalies", material.summaries.anomalies, ANOMALY, f"difference from the usual, {UNIT}"),
    ):
        labels = zip(dated(dates, seasons), dates, strict=True)
        fields = {label_of: array.sel(time=date.astype("datetime64[ns]")) for label_of, date in labels}
        shown = {label_of: values for label_of, values in fields.items() if np.isfinite(values).any()}
        if shown:
            drawn[name] = figures.in_a_row(shown, crs, colours, label, diverging=name == "anomalies")
    return drawn


def span(months: Months) -> str:
    """First and last month as text; the month itself where there is one."""
    return str(months[0]) if len(months) == 1 else f"{months[0]} to {months[-1]}"


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


def _area(material: Material, stations: pd.DataFrame | None) -> figures.Area:
    """What is known of the study area, in the month in which most cells are observed."""
    run, features = material.run, material.features
    fields = pictures.thinned_features(run, material.feature_units)
    polygon = run.config.geometry
    return figures.Area(
        observation=material.observed.isel(time=position(run.plan.months, features.month)),
        month=features.month,
        crs=run.plan.grid.crs,
        elevation=None if features.relief is None else fields[features.relief],
        land_cover={label: fields[name] for label, name in features.classes.items()},
        stations=None if stations is None else stations[["longitude", "latitude"]].drop_duplicates(),
        outline=() if polygon is None else [shapely.get_coordinates(ring) for ring in _rings(polygon)],
    )


def _rings(polygon: shapely.Geometry) -> list[shapely.LinearRing]:
    return [ring for part in shapely.get_parts(polygon) for ring in shapely.get_rings(part)]
