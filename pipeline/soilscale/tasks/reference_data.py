"""In situ stations and the known truth, as stored."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from soilscale import storage
from soilscale.errors import ConfigurationError, DataError
from soilscale.extents import turn, turned
from soilscale.grid import Grid, Tile
from soilscale.maps import MONTH
from soilscale.reports import insitu
from soilscale.reports.tables import field, shared_months
from soilscale.schema import MAP

ZARR = ("zarr.json", ".zgroup", ".zarray")
"""Objects that describe a group or an array of Zarr."""


ZIP = ".zip"
"""End of the names of archives, in small letters."""


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
    several = holds_several(url)
    has_files = False
    for name, data in station_files(url):
        has_files = True
        if not several:
            stm = name.lower().endswith(insitu.SUFFIX)
            yield name, insitu.read_stm(data, name) if stm else insitu.read_csv(data, name)
            continue
        try:
            records: pd.DataFrame | DataError = insitu.read_stm(data, name)
        except DataError as error:
            # One damaged file of a thousand must not keep the others from being used.
            records = error
        yield name, records
    if not has_files:
        raise ConfigurationError(
            f"validation.stations: {url} holds no ISMN file with soil moisture (NETWORK_NETWORK_STATION_sm_....stm); "
            "use the folder or archive as ISMN delivers it"
        )


def holds_several(url: str) -> bool:
    """Whether a URL is that of a ZIP archive or of a folder."""
    if PurePosixPath(url).suffix.lower() in {".csv", ".txt", insitu.SUFFIX}:
        return False
    return url.lower().endswith(ZIP) or any(name != "." for name in storage.names_below(url))


def station_files(url: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the one file, or of each ISMN file with soil moisture in a folder or archive."""
    if not holds_several(url):
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
    expected = f"expected a Zarr store whose group {MONTH!r} has the variable {MAP!r}"
    if not storage.exists(url):
        raise ConfigurationError(f"validation.truth: there is no {url}; {expected}")
    try:
        group = storage.open_foreign(url, MONTH)
    except FileNotFoundError as error:
        nodes = {posixpath.dirname(name) or "/" for name in storage.names_below(url) if name.endswith(ZARR)}
        present = f"it holds {', '.join(sorted(nodes))}" if nodes else "it is not a Zarr store"
        raise ConfigurationError(f"validation.truth: {url} has no group {MONTH!r}; {present}; {expected}") from error
    if MAP not in group:
        present = ", ".join(sorted(map(str, group.data_vars))) or "no variable at all"
        raise ConfigurationError(
            f"validation.truth: {url} has no {MAP!r} in its group {MONTH!r}, but {present}; {expected}"
        )
    return group[MAP]


def on_grid(truth_field: xr.DataArray, maps: xr.DataArray, url: str, crs: str) -> xr.DataArray:
    """Truth on the maps' own cells, missing where it does not reach; its longitudes may count on from elsewhere.

    Raises
    ------
    DataError
        If no cell of the truth is a cell of the maps.
    """
    placed = _placed(truth_field, maps["y"].to_numpy(), maps["x"].to_numpy(), crs)
    if not np.isfinite(placed.isel(time=0)).any():
        raise _elsewhere(url)
    return placed


def _placed(truth_field: xr.DataArray, y: NDArray[np.float64], x: NDArray[np.float64], crs: str) -> xr.DataArray:
    """Truth on the cells of a whole fine grid."""
    # A truth of 0..360 and maps of -180..180 would have no cell in common.
    at = turned(truth_field["x"], float(x.mean()), turn(crs))
    if not np.array_equal(at, truth_field["x"]):
        truth_field = truth_field.assign_coords(x=at).sortby("x")
    # By nearest within a hundredth of a cell: coordinates of two writers differ by rounding, those of two grids by
    # more.
    return truth_field.reindex(y=y, x=x, method="nearest", tolerance=abs(float(x[1] - x[0])) / 100)


def _elsewhere(url: str) -> DataError:
    return DataError(f"validation.truth: no cell of {url} is a cell of the fine grid; it must lie on the same grid")


def on_tile(url: str, grid: Grid, tile: Tile) -> xr.DataArray:
    """Truth (time, y, x) on a tile's cells, missing where it does not reach; read lazily."""
    return _placed(truth(url), *grid.fine_axes, grid.crs).isel(y=tile.fine[0], x=tile.fine[1])


def of_month(truth_field: xr.DataArray, month: np.datetime64) -> NDArray[np.float64]:
    """Truth of a month, shape ``(Y, X)``; missing where there is none of it."""
    return field(truth_field, month) if month in shared_months(truth_field) else np.full(truth_field.shape[1:], np.nan)


def truth_months(url: str, grid: Grid) -> list[np.datetime64]:
    """Months of the known truth.

    Raises
    ------
    DataError
        If it does not lie on the fine grid.
    """
    # Tile by tile until there is a value: a whole map would be read for what its first tile may tell.
    if not any(np.isfinite(on_tile(url, grid, tile).isel(time=0)).any() for tile in grid.tiles()):
        raise _elsewhere(url)
    return shared_months(truth(url))
