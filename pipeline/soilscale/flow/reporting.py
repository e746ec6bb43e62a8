"""The report stage: tables, figures and the page from what the other stages wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import xarray as xr
from pyproj import CRS

from soilscale import __version__, config, reports, storage
from soilscale.config import Config
from soilscale.errors import ConfigurationError, DataError
from soilscale.flow import learn
from soilscale.flow.mapping import CONSERVE, MAPS, Chosen, choose
from soilscale.flow.session import Run
from soilscale.flow.units import failures, markers
from soilscale.flow.workspace import digest
from soilscale.maps import MONTH
from soilscale.schema import COARSE, FINE, MAP, QUALITY, Quality

REPORT = "report"

RAIN = "mm month-1"
"""Unit by which the time series finds precipitation among the features."""

QUALITY_WORDS: Mapping[Quality, str] = {
    Quality.OBSERVED: "with a coarse observation",
    Quality.PREDICTED: "predicted without a coarse observation",
    Quality.GAP_FILLED: "with a predictor filled from the months around",
    Quality.CLAMPED: "clamped to the physical range",
    Quality.OUTSIDE: "outside the area",
}


@dataclass(frozen=True)
class Material:
    """What the report is made from, opened lazily."""

    run: Run

    @cached_property
    def months(self) -> xr.Dataset:
        """Monthly maps."""
        return storage.open_group(self.run.workspace.maps, MONTH)

    @cached_property
    def coarse(self) -> xr.Dataset:
        """Coarse group of the cube."""
        return storage.open_group(self.run.workspace.cube, COARSE)

    @cached_property
    def fine(self) -> xr.Dataset:
        """Fine group of the cube."""
        return storage.open_group(self.run.workspace.cube, FINE)

    @cached_property
    def observed(self) -> xr.DataArray:
        """Coarse observation."""
        return self.coarse[self.run.plan.target.source.name].load()

    @cached_property
    def chosen(self) -> dict[str, Chosen]:
        """Model of each season."""
        return choose(self.run)

    @cached_property
    def algorithm(self) -> dict[str, str]:
        """Algorithm of each season's maps."""
        return {season: model.algorithm for season, model in self.chosen.items()}

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of rows that a model did not learn from."""
        return learn.read_table(self.run.workspace.predictions)

    @cached_property
    def truth(self) -> xr.DataArray | None:
        """Known truth, where there is one.

        Raises
        ------
        DataError
            If it does not lie on the fine grid.
        """
        url = self.run.config.validation.truth
        return None if url is None else on_grid(truth(url), self.months[MAP], url)


def check_references(settings: Config) -> None:
    """Read what the maps will be judged by, so that a wrong path is known before a long run.

    Raises
    ------
    ConfigurationError
        If the stations or the truth that the configuration names cannot be used.
    """
    stations(settings)
    if settings.validation.truth is not None:
        truth(settings.validation.truth)


def truth(url: str) -> xr.DataArray:
    """Known truth as it is stored.

    Raises
    ------
    ConfigurationError
        If it is not there.
    """
    try:
        return storage.open_group(url, MONTH)[MAP]
    except (FileNotFoundError, KeyError) as error:
        raise ConfigurationError(f"validation.truth: {url} has no group {MONTH!r} with {MAP!r}") from error


def on_grid(known: xr.DataArray, maps: xr.DataArray, url: str) -> xr.DataArray:
    """Truth on the maps' own cells, missing where it does not reach.

    Raises
    ------
    DataError
        If no cell of the truth is a cell of the maps.
    """
    step = abs(float(maps["x"][1] - maps["x"][0]))
    placed = known.reindex(y=maps["y"], x=maps["x"], method="nearest", tolerance=step / 100)
    if not np.isfinite(placed.isel(time=0)).any():
        raise DataError(f"validation.truth: no cell of {url} is a cell of the fine grid; it must lie on the same grid")
    return placed


def write_report(run: Run) -> None:
    """Write every table, every figure and the page; nothing happens if they stand for the same inputs."""
    records = stations(run.config)
    made_from = digest(
        run.standing.units,
        None if records is None else records.to_csv(),
        sorted(markers(run.workspace, CONSERVE)),
        sorted(markers(run.workspace, MAPS)),
        [(failure.name, failure.message) for failure in failures(run.workspace)],
        config.dump(run.config),
        __version__,
    )
    marker = run.workspace.state(REPORT, "report.json")
    if storage.exists(marker) and storage.read_json(marker) == made_from:
        run.progress("report", 1, 1)
        return
    storage.remove(marker)
    run.progress("report", 0, 3)
    material = Material(run)
    tables = _tables(material)
    for name, table in tables.items():
        storage.write_bytes(run.workspace.report(f"{name}.csv"), table.to_csv(index=False).encode())
    run.progress("report", 1, 3)
    figures = _figures(material, tables)
    for name, image in figures.items():
        storage.write_bytes(run.workspace.report(f"{name}.png"), image)
    run.progress("report", 2, 3)
    page = reports.page(_context(material, tables, figures))
    storage.write_bytes(run.workspace.report("index.html"), page.encode())
    written = {"index.html", *(f"{name}.csv" for name in tables), *(f"{name}.png" for name in figures)}
    for name in set(storage.names_below(run.workspace.report(""))) - written:
        storage.remove(run.workspace.report(name))
    storage.write_json(marker, made_from)
    run.progress("report", 3, 3)


def _tables(material: Material) -> dict[str, pd.DataFrame]:
    """Every table of the report, by the name of its file."""
    run, seasons = material.run, material.run.config.season_scheme
    grid, months = run.plan.grid, material.months
    algorithm = material.algorithm
    tables = {
        "accuracy": reports.accuracy(material.predictions, seasons.names),
        "consistency": reports.consistency(months, material.observed, grid.ratio, seasons, algorithm),
        "time_series": reports.area_means(months[MAP], material.observed, grid.crs, _rain(material)),
    }
    limits = run.config.maps.valid_range
    references = {
        "upscaled": reports.upscaled(
            material.observed, material.predictions, seasons, algorithm=algorithm, limits=limits
        )
    }
    if material.truth is not None:
        own = {reports.method(algorithm): months[MAP]}
        tables["truth"] = reports.truth(own, material.truth, material.observed, grid.ratio, seasons)
        references["truth"] = tables["truth"]
    records = stations(run.config)
    if records is not None:
        pairs, tables["stations"] = reports.stations(
            records, months[MAP], material.observed, grid.ratio, grid.crs, seasons
        )
        tables["station_pairs"] = pairs
        references["stations"] = reports.station_baselines(pairs, algorithm, seasons)
    return tables | {"baselines": reports.baselines(references)}


def stations(settings: Config) -> pd.DataFrame | None:
    """Station records as configured, None if there are none.

    Raises
    ------
    ConfigurationError
        If the file is not there or lacks a column.
    """
    url = settings.validation.stations
    if url is None:
        return None
    try:
        records = learn.read_csv(url)
    except FileNotFoundError as error:
        raise ConfigurationError(f"validation.stations: there is no file {url}") from error
    needed = {"station", "longitude", "latitude", "time", "value"}
    if not needed <= set(records.columns):
        missing = ", ".join(sorted(needed - set(records.columns)))
        raise ConfigurationError(f"validation.stations: {url} lacks the columns {missing}; see docs/products.md")
    return records


def _rain(material: Material) -> xr.DataArray | None:
    """First feature whose unit is that of monthly precipitation, and whose name says so."""
    for name, given in material.fine.data_vars.items():
        if given.attrs.get("units") == RAIN and "precip" in str(name) and "_lag" not in str(name):
            return material.coarse[name]
    return None


def _figures(material: Material, tables: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """Every figure of the report, by name; those without data are left out."""
    run, seasons = material.run, material.run.config.season_scheme
    figures = {
        "time_series": reports.time_series(tables["time_series"]),
        "accuracy": reports.accuracy_bars(tables["accuracy"]),
    }
    dates = reports.representative(material.observed, seasons)
    if dates:
        panels = {"coarse observation": material.observed, "fine map": material.months[MAP]}
        if material.truth is not None:
            panels["known truth"] = material.truth
        figures["maps"] = reports.maps_side_by_side(panels, dates, seasons, run.plan.grid.crs)
    shown = reports.method(material.algorithm)
    best = shown if shown in run.config.models.algorithms else run.config.models.algorithms[0]
    if ((material.predictions["split"] == "blocked") & (material.predictions["algorithm"] == best)).any():
        figures["scatter"] = reports.scatter(material.predictions, best, seasons.names)
    for reference in ("truth", "stations", "upscaled"):
        rows = tables["baselines"][tables["baselines"]["reference"] == reference]
        if len(rows):
            figures[reference] = reports.truth_bars(rows, reference)
    return figures


def _context(material: Material, tables: Mapping[str, pd.DataFrame], figures: Mapping[str, bytes]) -> reports.Context:
    run = material.run
    grid, settings = run.plan.grid, run.config
    resolved = config.dump(settings)
    return reports.Context(
        name=settings.name,
        area=settings.area.geometry or f"{list(settings.area.bbox or ())} degrees",
        period=settings.period,
        months=len(run.plan.months),
        coarse_cells=int(np.prod(grid.shape)),
        fine_cells=int((material.months[MAP].count("time") > 0).sum()),
        cell_sides=(_side(grid.side, grid.crs), _side(grid.side / grid.ratio, grid.crs)),
        algorithm=material.algorithm,
        accuracy=tables["accuracy"],
        consistency=tables["consistency"],
        baselines=tables["baselines"],
        config_hash=digest(resolved),
        truth=tables.get("truth"),
        stations=tables.get("stations"),
        figures=figures,
        failed=[(f"{failure.stage} {failure.name}", failure.message) for failure in failures(run.workspace)],
        without_input={name: months for name, months in run.plan.gaps().items() if months},
        flags=_flags(material),
        items={name: len(scenes) for name, scenes in run.plan.scenes.items()},
        versions=run.versions,
    )


def _side(length: float, crs: str) -> str:
    """Side of a cell with its unit."""
    unit = CRS.from_user_input(crs).axis_info[0].unit_name
    return f"{length / 1000:g} km" if unit.startswith("met") else f"{length:g} {unit}"


def _flags(material: Material) -> dict[str, int]:
    """How many cells and months carry each bit of the quality layer."""
    counts = dict.fromkeys(QUALITY_WORDS, 0)
    for index in range(material.months.sizes["time"]):
        flags = material.months[QUALITY].isel(time=index).to_numpy()
        for bit in counts:
            counts[bit] += int(((flags & bit.value) > 0).sum())
    return {QUALITY_WORDS[bit]: count for bit, count in counts.items()}
