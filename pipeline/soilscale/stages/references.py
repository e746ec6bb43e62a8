"""References of a run before it begins: whether they can be read, and which version counts."""

from __future__ import annotations

import hashlib

from soilscale import storage
from soilscale.config import Config
from soilscale.engine.output import digest
from soilscale.errors import DataError
from soilscale.reports import insitu
from soilscale.tasks.reference_data import ZIP, holds_several, station_files, station_records


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
    # Many files would all have to be read for this line; of a table it is one.
    if url is None or holds_several(url):
        return None
    ((_, records),) = station_records(url)
    if isinstance(records, DataError):
        return None
    places = records.dropna(subset=["longitude", "latitude"]).drop_duplicates(insitu.STATION)
    on_grid = insitu.inside(places, grid.crs, grid.fine.boundingbox.bbox)
    if len(places) and not on_grid.any():
        raise DataError(
            f"validation.stations: none of the {len(places)} stations of {url} lies on the grid; use stations of the "
            "area, and check that longitude and latitude are not swapped"
        )
    return f"stations {url}: {int(on_grid.sum())} of {len(places)} on the grid"


def stations_digest(settings: Config) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file of stations that counts, none if there are no stations."""
    url = settings.validation.stations
    return [] if url is None else [(name, hashlib.sha256(data).hexdigest()) for name, data in station_files(url)]


def stations_stamps(settings: Config) -> list[tuple[str, str]]:
    """Name and `storage.stamp` of each file of stations that counts, none if there are no stations."""
    url = settings.validation.stations
    if url is None:
        return []
    # An archive holds several files of stations and is one object; its stamp covers them all.
    if not holds_several(url) or url.lower().endswith(ZIP):
        return [(url, storage.stamp(url) if storage.exists(url) else "")]
    names = filter(insitu.is_soil_moisture, storage.names_below(url))
    return [(name, storage.stamp(storage.join(url, name))) for name in names]


def truth_stamp(settings: Config) -> str:
    """What tells one state of the known truth from another, by the `storage.stamps` of its objects."""
    url = settings.validation.truth
    return "" if url is None else digest(storage.stamps(url))
