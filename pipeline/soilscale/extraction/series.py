"""Series of places from maps, a month of a tile at a time, so that memory does not go with the area."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from dask.base import compute
from dask.delayed import delayed
from numpy.typing import NDArray

from soilscale import storage
from soilscale.errors import DataError
from soilscale.extraction.climatology import MIN_YEARS, beside_usual
from soilscale.extraction.places import Place
from soilscale.grid import Grid
from soilscale.maps import ENDS, MONTH
from soilscale.schema import LOWER, MAP, QUALITY, UPPER, Quality
from soilscale.storage import tables

logger = logging.getLogger(__name__)

COLUMNS = (
    "name",
    "longitude",
    "latitude",
    "every",
    "time",
    "season",
    MAP,
    LOWER,
    UPPER,
    "share_mapped",
    "share_observed",
    "anomaly",
    "percentile",
    "years",
)
"""Columns of what is extracted."""

MAPPED, OBSERVED, VALUE = 0, 1, 2
"""Places of the sums over the cells of a place: the area mapped, that observed, and the values by their area; then the
ends of their intervals."""

BATCH = 64
"""Chunks that are read between two looks at their sums."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """What of a place lies in a tile."""

    number: int
    """Of the place."""
    rows: slice
    columns: slice
    """In the tile."""
    weight: Floats


def lattice(maps: xr.Dataset, crs: str) -> Grid:
    """Grid of the cells of some maps, y descending and x ascending; it is nested in no other."""
    y, x = (maps[axis].to_numpy() for axis in ("y", "x"))
    side = float(x[-1] - x[0]) / (len(x) - 1)
    return Grid(crs, side, 1, float(x[0] - side / 2), float(y[0] + side / 2), (len(y), len(x)), max(len(y), len(x)))


def extract(groups: Mapping[str, xr.Dataset], places: Sequence[Place], *, min_years: int = MIN_YEARS) -> pd.DataFrame:
    """Series of places from monthly and seasonal maps.

    Parameters
    ----------
    groups
        ``month`` and ``season`` -> their maps, lazy.
    places
        Of `from_points` or `from_polygons`.
    min_years
        Fewest years from which an anomaly and a percentile are told.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`, a row for each place and time; values are NaN where a place has none.

    Raises
    ------
    DataError
        If every place lies outside the maps.
    """
    outside = [place for place in places if place.outside]
    place_list = ", ".join(f"{place.name} ({place.longitude:.4g}, {place.latitude:.4g})" for place in outside[:20])
    remainder = f" and {len(outside) - 20} more" if len(outside) > 20 else ""  # noqa: PLR2004 - as above
    if len(outside) == len(places):
        raise DataError(f"every place lies outside the maps: {place_list}{remainder}; expected places within them")
    if outside:
        logger.warning("places outside the maps have no values: %s%s", place_list, remainder)
    series = [_series(every, maps, places, min_years) for every, maps in groups.items() if maps.sizes["time"]]
    table = pd.concat(series, ignore_index=True)
    counts = table.groupby("name")[MAP].count()
    if bare := [place.name for place in places if not place.outside and not counts[place.name]]:
        logger.warning("places without a value in any map: %s", ", ".join(bare[:20]))
    return table[list(COLUMNS)]


def write(table: pd.DataFrame, csv: str | None, parquet: str | None) -> None:
    """Write a table of `extract` as CSV, as Parquet, or as both; times are YYYY-MM in CSV, and dates in Parquet."""
    if csv is not None:
        storage.write_bytes(csv, as_csv(table).encode())
    if parquet is not None:
        tables.write_table(parquet, table)


def as_csv(table: pd.DataFrame) -> str:
    """Table of `extract` as text of comma-separated values."""
    return table.assign(time=table["time"].dt.strftime("%Y-%m")).to_csv(index=False, float_format="%.6g")


def _series(every: str, maps: xr.Dataset, places: Sequence[Place], min_years: int) -> pd.DataFrame:
    """Series of places from one group of maps."""
    names = [MAP, QUALITY, *(name for name in ENDS if name in maps)]
    sums = _sums(maps[names], places)
    mapped = sums[MAPPED]
    # A place without a value has no mean; what is unknown of one cell is unknown of the mean.
    means = np.divide(sums[VALUE:], mapped, out=np.full(sums[VALUE:].shape, np.nan), where=mapped > 0)
    total = np.array([place.total for place in places])
    times, count = maps["time"].to_numpy(), maps.sizes["time"]
    columns: dict[str, Any] = {
        "name": np.tile([place.name for place in places], count),
        "longitude": np.tile([place.longitude for place in places], count),
        "latitude": np.tile([place.latitude for place in places], count),
        "every": every,
        "time": np.repeat(times, len(places)),
        "season": np.repeat(np.array(list(map(str, maps["season"].to_numpy())), object), len(places)),
        # Sums of parts of cells may exceed the area of the whole by rounding.
        "share_mapped": np.minimum(mapped / total, 1.0).ravel(),
        "share_observed": np.minimum(sums[OBSERVED] / total, 1.0).ravel(),
        LOWER: np.nan,
        UPPER: np.nan,
    }
    columns |= {name: mean.ravel() for name, mean in zip([MAP, *names[2:]], means, strict=True)}
    table = pd.DataFrame(columns)
    kind = table["time"].dt.month if every == MONTH else table["season"]
    return beside_usual(table, kind, min_years)


def _sums(maps: xr.Dataset, places: Sequence[Place]) -> Floats:
    """Sums over the cells of places, shape ``(sums, time, places)``."""
    layers = [np.array(values.data.to_delayed()) for values in maps.data_vars.values()]
    parts = _parts(maps, places)
    total = np.zeros((VALUE + len(layers) - 1, maps.sizes["time"], len(places)))
    work = [(time, *tile) for time in range(maps.sizes["time"]) for tile in parts]
    for first in range(0, len(work), BATCH):
        batch = work[first : first + BATCH]
        sums = compute(*(delayed(_sum)([layer[at] for layer in layers], parts[at[1:]]) for at in batch))
        for (time, *tile), of_parts in zip(batch, sums, strict=True):
            for part, values in zip(parts[tile[0], tile[1]], of_parts, strict=True):
                total[:, time, part.number] += values
    return total


def _parts(maps: xr.Dataset, places: Sequence[Place]) -> dict[tuple[int, int], list[Part]]:
    """Tile -> what of the places lies in it; tiles without any are left out."""
    parts: dict[tuple[int, int], list[Part]] = {}
    edges = [np.cumsum([0, *sizes]) for sizes in maps[MAP].data.chunks[1:]]
    for number, place in enumerate(places):
        for row, rows in _cut(place.rows, edges[0]):
            for column, columns in _cut(place.columns, edges[1]):
                weight = place.weight[
                    rows.start - place.rows.start : rows.stop - place.rows.start,
                    columns.start - place.columns.start : columns.stop - place.columns.start,
                ]
                if weight.any():
                    at = _within(rows, edges[0][row]), _within(columns, edges[1][column])
                    parts.setdefault((row, column), []).append(Part(number, *at, weight))
    return parts


def _cut(cells: slice, edges: NDArray[np.int_]) -> Iterator[tuple[int, slice]]:
    """Tiles of an axis that some cells lie in, and those cells."""
    for number, (first, last) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        begin, end = max(cells.start, first), min(cells.stop, last)
        if begin < end:
            yield number, slice(begin, end)


def _within(cells: slice, first: int) -> slice:
    return slice(cells.start - int(first), cells.stop - int(first))


def _sum(chunks: Sequence[NDArray[Any]], parts: Sequence[Part]) -> list[Floats]:
    """Sums over the cells of each part of a tile's month."""
    values, quality, *ends = (chunk[0] for chunk in chunks)
    sums = []
    for part in parts:
        at = part.rows, part.columns
        valued = np.isfinite(values[at]) & (part.weight > 0)
        weight = part.weight[valued]
        observed = (quality[at][valued].astype("uint8") & Quality.OBSERVED) > 0
        layers = (layer[at][valued].astype("float64") for layer in (values, *ends))
        sums.append(
            np.array([weight.sum(), weight[observed].sum(), *(float((weight * layer).sum()) for layer in layers)])
        )
    return sums
