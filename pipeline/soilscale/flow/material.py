"""What the report is made from: the products of the other stages, opened lazily."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import xarray as xr

from soilscale import storage
from soilscale.config import Config
from soilscale.errors import ConfigurationError, DataError
from soilscale.extents import turn, turned
from soilscale.flow import learn
from soilscale.flow.mapping import STAGES, Chosen, choose
from soilscale.flow.session import Run
from soilscale.flow.stages import brief
from soilscale.flow.units import failures
from soilscale.flow.workspace import digest
from soilscale.maps import MONTH
from soilscale.reports import insitu
from soilscale.schema import COARSE, FINE, MAP

ZARR = ("zarr.json", ".zgroup", ".zarray")
"""Objects that describe a group or an array of Zarr."""

ZIP = ".zip"
"""End of the names of archives, in small letters."""


@dataclass(frozen=True)
class Material:
    """What the report is made from, opened lazily."""

    run: Run

    @cached_property
    def months(self) -> xr.Dataset:
        """Monthly maps; those that hang on a unit that is missing may have gaps."""
        broken = any(failure.stage in STAGES for failure in failures(self.run.workspace))
        return storage.open_group(self.run.workspace.maps, MONTH, gaps=broken)

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
        return learn.predictions(self.run.workspace.predictions)

    @cached_property
    def truth(self) -> xr.DataArray | None:
        """Known truth, where there is one.

        Raises
        ------
        DataError
            If it does not lie on the fine grid.
        """
        url = self.run.config.validation.truth
        return None if url is None else on_grid(truth(url), self.months[MAP], url, self.run.config.nested_grid.crs)

    @cached_property
    def stations(self) -> insitu.Measured | None:
        """Monthly means of stations, where there are any."""
        known = self.run.config.validation
        if known.stations is None:
            return None
        rules = insitu.Rules(known.depth, known.flags, known.outliers, known.min_valid_fraction)
        return insitu.measured(station_records(known.stations), rules)

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Files of stations that cannot be read, and why."""
        rows = self.stations.left_out.rows if self.stations is not None else []
        return [(name, detail) for _, name, reason, _, _, detail in rows if reason == insitu.UNREADABLE]

    @cached_property
    def paired(self) -> insitu.Paired | None:
        """Stations beside the maps and the coarse product, where there are any."""
        if self.stations is None:
            return None
        settings, grid = self.run.config, self.run.plan.grid
        least = settings.validation.min_valid_fraction
        return insitu.pair(
            self.stations,
            self.months[MAP],
            self.observed,
            grid.ratio,
            grid.crs,
            settings.season_scheme,
            min_valid_fraction=least,
        )

    @property
    def beside_nothing(self) -> str | None:
        """That stations are given of which none can be compared with the maps, and why; None where one can."""
        if self.paired is None or len(self.paired.pairs.dropna(subset=insitu.VALUES)):
            return None
        table = self.paired.left_out.table()
        told = [
            f"{reason}: {brief(sorted(set(insitu.labels(rows))), 'stations')}"
            for reason, rows in table.groupby("reason", sort=False)
        ]
        return (
            f"no station of {self.run.config.validation.stations} could be compared with the maps; {'; '.join(told)}; "
            "give stations of the area and the period, or leave validation.stations out"
        )

    @cached_property
    def places(self) -> pd.DataFrame | None:
        """station, longitude and latitude of the stations inside the grid, where there are any."""
        return None if self.paired is None else self.paired.places


def station_records(url: str) -> Iterator[tuple[str, pd.DataFrame | DataError]]:
    """Name and records of each file of stations, one after another.

    Parameters
    ----------
    url
        A table of comma-separated values, an ISMN file, or a folder or ZIP archive of ISMN files. Of several files, one
        that cannot be read gives its error in place of records.

    Raises
    ------
    ConfigurationError
        If there is no such file, or nothing of ISMN's in the folder or archive.
    DataError
        If the one file that there is cannot be read.
    """
    several = _several(url)
    found = False
    for name, data in _station_files(url):
        found = True
        if not several:
            stm = name.lower().endswith(insitu.SUFFIX)
            yield name, insitu.read_stm(data, name) if stm else insitu.read_csv(data, name)
            continue
        try:
            records: pd.DataFrame | DataError = insitu.read_stm(data, name)
        except DataError as error:
            records = error
        yield name, records
    if not found:
        raise ConfigurationError(
            f"validation.stations: {url} holds no ISMN file with soil moisture (NETWORK_NETWORK_STATION_sm_....stm); "
            "give the folder or archive as ISMN delivers it"
        )


def check_stations(settings: Config) -> None:
    """Read the first file of stations, so that a wrong path or table is known before a long run; errors likewise."""
    if settings.validation.stations is not None:
        next(station_records(settings.validation.stations))


def stations_on_grid(settings: Config) -> str | None:
    """How many stations of a table lie on the grid, in a line; None if there are none or they come in many files.

    Raises
    ------
    DataError
        If none of them does.
    """
    url, grid = settings.validation.stations, settings.nested_grid
    if url is None or _several(url):
        return None
    ((_, records),) = station_records(url)
    if isinstance(records, DataError):
        return None
    places = records.dropna(subset=["longitude", "latitude"]).drop_duplicates(insitu.STATION)
    on_grid = insitu.inside(places, grid.crs, grid.fine.boundingbox.bbox)
    if len(places) and not on_grid.any():
        raise DataError(
            f"validation.stations: none of the {len(places)} stations of {url} lies on the grid; give stations of the "
            "area, and see that longitude and latitude are not exchanged"
        )
    return f"stations {url}: {int(on_grid.sum())} of {len(places)} on the grid"


def stations_digest(settings: Config) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file of stations that counts, none if there are no stations."""
    url = settings.validation.stations
    return [] if url is None else [(name, hashlib.sha256(data).hexdigest()) for name, data in _station_files(url)]


def stations_stamps(settings: Config) -> list[tuple[str, str]]:
    """Name and `storage.stamp` of each file of stations that counts, none if there are no stations."""
    url = settings.validation.stations
    if url is None:
        return []
    if not _several(url) or url.lower().endswith(ZIP):
        return [(url, storage.stamp(url) if storage.exists(url) else "")]
    names = filter(insitu.is_soil_moisture, storage.names_below(url))
    return [(name, storage.stamp(storage.join(url, name))) for name in names]


def _several(url: str) -> bool:
    """Whether a URL is that of a ZIP archive or of a folder."""
    if PurePosixPath(url).suffix.lower() in {".csv", ".txt", insitu.SUFFIX}:
        return False
    return url.lower().endswith(ZIP) or any(name != "." for name in storage.names_below(url))


def _station_files(url: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the one file, or of each ISMN file with soil moisture in a folder or archive."""
    if not _several(url):
        yield url, _station_bytes(url)
    elif url.lower().endswith(ZIP):
        yield from insitu.unzipped(_station_bytes(url), url)
    else:
        for name in filter(insitu.is_soil_moisture, storage.names_below(url)):
            yield name, storage.read_bytes(storage.join(url, name))


def _station_bytes(url: str) -> bytes:
    try:
        return storage.read_bytes(url)
    except FileNotFoundError as error:
        raise ConfigurationError(f"validation.stations: there is no file {url}") from error


def truth(url: str) -> xr.DataArray:
    """Known truth as it is stored.

    Raises
    ------
    ConfigurationError
        If it is not there, naming what is there instead.
    """
    wanted = f"expected a Zarr store whose group {MONTH!r} has the variable {MAP!r}"
    if not storage.exists(url):
        raise ConfigurationError(f"validation.truth: there is no {url}; {wanted}")
    try:
        group = storage.open_foreign(url, MONTH)
    except FileNotFoundError as error:
        nodes = {posixpath.dirname(name) or "/" for name in storage.names_below(url) if name.endswith(ZARR)}
        found = f"it holds {', '.join(sorted(nodes))}" if nodes else "it is no Zarr store"
        raise ConfigurationError(f"validation.truth: {url} has no group {MONTH!r}; {found}; {wanted}") from error
    if MAP not in group:
        found = ", ".join(sorted(map(str, group.data_vars))) or "no variable at all"
        raise ConfigurationError(
            f"validation.truth: {url} has no {MAP!r} in its group {MONTH!r}, but {found}; {wanted}"
        )
    return group[MAP]


def truth_stamp(settings: Config) -> str:
    """What tells one state of the known truth from another, by the `storage.stamps` of its objects."""
    url = settings.validation.truth
    return "" if url is None else digest(storage.stamps(url))


def on_grid(known: xr.DataArray, maps: xr.DataArray, url: str, crs: str) -> xr.DataArray:
    """Truth on the maps' own cells, missing where it does not reach; its longitudes may count on from elsewhere.

    Raises
    ------
    DataError
        If no cell of the truth is a cell of the maps.
    """
    step = abs(float(maps["x"][1] - maps["x"][0]))
    x = turned(known["x"], float(maps["x"].mean()), turn(crs))
    if not np.array_equal(x, known["x"]):
        known = known.assign_coords(x=x).sortby("x")
    placed = known.reindex(y=maps["y"], x=maps["x"], method="nearest", tolerance=step / 100)
    if not np.isfinite(placed.isel(time=0)).any():
        raise DataError(f"validation.truth: no cell of {url} is a cell of the fine grid; it must lie on the same grid")
    return placed
