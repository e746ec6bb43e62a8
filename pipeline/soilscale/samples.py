"""The training table: one row per coarse cell and month, stamped with its season, its split and its block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from soilscale.errors import ConfigurationError, DataError
from soilscale.schema import DIMS, KEYS, MAP, PART, ROLE, VALID_FRACTION
from soilscale.seasons import Months, Seasons

TRAIN, VALIDATION = "train", "validation"
"""Values of the column ``split``."""

MIN_ROWS = 30
"""Training rows below which a season has no model: fewer cannot carry a dozen features."""

SHARE = 0.7
"""Share of the rows that trains; the rest validates (Yan & Bai 2020, Table 2)."""


def features(cube: xr.Dataset, target: str) -> tuple[str, ...]:
    """Names of the features of a coarse cube, in alphabetical order.

    A feature is a variable with the dimensions ``(time, y, x)`` or ``(y, x)`` that is neither the target, nor one of
    the sensors that it is made from, nor the valid fraction. The order is alphabetical because a Zarr group does not
    promise an order of its own, and a forest that meets its features in another order is another forest.

    Parameters
    ----------
    cube
        Group ``coarse`` of the cube.
    target
        Name of the target's variable in it.
    """
    variables = (
        str(name)
        for name, values in cube.data_vars.items()
        if values.dims in (DIMS, DIMS[1:]) and values.attrs.get(ROLE) != PART
    )
    return tuple(sorted(name for name in variables if name not in (target, VALID_FRACTION)))


def block_side(shape: tuple[int, int]) -> int:
    """Default side of a block in coarse cells: a third of the grid's shorter side, between 2 and 8.

    Parameters
    ----------
    shape
        Rows and columns of the coarse grid.

    Examples
    --------
    >>> block_side((10, 8))
    2
    """
    return min(8, max(2, min(shape) // 3))


def places(blocks: pd.Series[str]) -> pd.Series[str]:
    """Blocks without their year, such as ``r02c01``: what is the same square of cells in every year.

    Examples
    --------
    >>> places(pd.Series(["r02c01-2005", "r02c01-2006"])).tolist()
    ['r02c01', 'r02c01']
    """
    # By the few categories, not by the rows, of which a nation has millions.
    kinds = blocks.astype("category").cat
    names = kinds.categories.str.rpartition("-").get_level_values(0).to_numpy()
    squares: pd.Series[Any] = pd.Series(pd.Categorical(names[kinds.codes.to_numpy()]), blocks.index)
    return squares


def draw(
    coarse: xr.Dataset,
    target: str,
    features: Sequence[str],
    seasons: Seasons,
    *,
    min_valid_fraction: float,
    seed: int,
    block: int,
    train: float = SHARE,
) -> pd.DataFrame:
    """Draw the training table: every coarse cell and month whose target and features are known.

    The rows of a month do not depend on which other months are in `coarse`, so that months can be drawn apart
    and appended. Space must be whole: blocks are counted from the first row and column of `coarse`.

    Parameters
    ----------
    coarse
        Group ``coarse`` of the cube, any number of months.
    target
        Name of the target's variable, dimensions ``(time, y, x)``.
    features
        Names of the feature variables, ``(time, y, x)`` or ``(y, x)``; they become columns in this order.
    seasons
        Season scheme.
    min_valid_fraction
        Least ``valid_fraction`` of a cell that is taken, 0..1, inclusive.
    seed
        Seed of the random split; each month draws from a generator of its own, seeded by this and the month.
    block
        Side of a block in coarse cells.
    train
        Expected share of rows with split ``train``.

    Returns
    -------
    pandas.DataFrame
        Columns ``time`` (first day of the month), ``season``, ``y``, ``x`` (centres), ``block``, ``split``, the
        features and ``soil_moisture``. A block is a square of cells in one year, such as ``r02c01-1992``; the year
        is that in which the row's season starts, so that a winter is not cut at new year.

    Raises
    ------
    ConfigurationError
        If a feature has the name of one of the table's own columns.
    DataError
        If `coarse` lacks a variable or one has other dimensions.
    """
    _check(coarse, target, features)
    rows = _usable(coarse, target, features, min_valid_fraction)
    month, row, column = rows
    months = coarse["time"].to_numpy().astype("datetime64[M]")
    starts = np.array([seasons.start(time) for time in months], dtype="datetime64[M]")
    columns: dict[str, Any] = {
        "time": months.astype("datetime64[ns]")[month],
        "season": seasons.names_of(months).astype(object)[month],
        "y": coarse["y"].to_numpy().astype(np.float64)[row],
        "x": coarse["x"].to_numpy().astype(np.float64)[column],
        "block": _blocks(rows, starts.astype("datetime64[Y]").astype(int) + 1970, block),
        "split": _split(month, months, seed, train),
    }
    values = {name: _pick(coarse[name], rows) for name in features}
    return pd.DataFrame(columns | values | {MAP: _pick(coarse[target], rows)})


def check_counts(table: pd.DataFrame, seasons: Seasons, minimum: int = MIN_ROWS) -> dict[str, int]:
    """Seasons that have too few rows for a model, with the number of training rows that each has.

    Parameters
    ----------
    table
        Training table.
    seasons
        Season scheme; a season of which the table has no row counts 0.
    minimum
        Training rows that a season needs.
    """
    counts = table.loc[table["split"] == TRAIN, "season"].value_counts()
    return {name: int(counts.get(name, 0)) for name in seasons.names if counts.get(name, 0) < minimum}


def refuse_too_few(short_counts: Mapping[str, int], seasons: Seasons) -> None:
    """Refuse a table that is enough for no season.

    Parameters
    ----------
    short_counts
        Of `check_counts`.

    Raises
    ------
    DataError
        Naming the rows of each season.
    """
    if len(short_counts) == len(seasons.names):
        counts = ", ".join(f"{name} {count}" for name, count in short_counts.items())
        raise DataError(
            f"no season has the {MIN_ROWS} training rows that a model needs (got {counts}); choose a longer "
            "period or training, a larger area or a lower samples.min_valid_fraction, or join seasons"
        )


Rows = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
"""Index of the month, the row and the column of each sample, month by month, row by row."""


def _check(coarse: xr.Dataset, target: str, features: Sequence[str]) -> None:
    reserved = (*KEYS, MAP)
    if clashes := [name for name in features if name in reserved]:
        raise ConfigurationError(
            f"the feature {clashes[0]!r} has the name of a column of the training table; rename its source, which must "
            f"not be {', '.join(reserved)}"
        )
    expected: Mapping[str, Any] = {
        target: (DIMS,),
        VALID_FRACTION: (DIMS,),
        **dict.fromkeys(features, (DIMS, DIMS[1:])),
    }
    for name, dims in expected.items():
        if name not in coarse:
            raise DataError(
                f"the coarse cube has no variable {name!r}; it has {sorted(map(str, coarse.data_vars))}: rebuild the "
                "cube with this configuration"
            )
        if coarse[name].dims not in dims:
            raise DataError(f"the coarse cube's {name!r} has dimensions {coarse[name].dims}, not {dims[0]}")


def _usable(coarse: xr.Dataset, target: str, features: Sequence[str], min_valid_fraction: float) -> Rows:
    # A Python float takes the precision of the array it is compared with, so that a share equal to the limit passes.
    usable = coarse[VALID_FRACTION].to_numpy() >= float(min_valid_fraction)
    for name in (target, *features):
        usable &= np.isfinite(coarse[name].to_numpy())
    month, row, column = np.nonzero(usable)
    return month, row, column


def _pick(values: xr.DataArray, rows: Rows) -> NDArray[np.float32]:
    # A static feature has no month, and takes the last two of the three indices.
    picked: NDArray[np.float32] = values.to_numpy()[rows[-values.ndim :]].astype(np.float32)
    return picked


def _blocks(rows: Rows, years: NDArray[np.int_], side: int) -> NDArray[np.object_]:
    month, row, column = rows
    names = [
        f"r{down:02d}c{across:02d}-{year}"
        for down, across, year in zip(
            (row // side).tolist(), (column // side).tolist(), years[month].tolist(), strict=True
        )
    ]
    return np.array(names, dtype=object)


def _split(month: NDArray[np.intp], months: Months, seed: int, train: float) -> NDArray[np.object_]:
    """Random split within each month; the fraction of a row left over is drawn, so that the share has no bias."""
    split = np.full(len(month), VALIDATION, dtype=object)
    first = np.searchsorted(month, np.arange(len(months) + 1))
    # From year 0, since months before 1970 count below 0, which is no seed.
    for index, since_year_0 in enumerate((months.astype(int) + 1970 * 12).tolist()):
        rng = np.random.default_rng([seed, since_year_0])
        members = np.arange(first[index], first[index + 1])
        expected = len(members) * train
        count = int(expected) + int(rng.random() < expected - int(expected))
        split[rng.permutation(members)[:count]] = TRAIN
    return split
