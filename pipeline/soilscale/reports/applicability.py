"""How much of the maps lies outside the area of applicability, and how the error grows with dissimilarity."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from soilscale.reports import tables
from soilscale.schema import APPLICABILITY, MAP
from soilscale.seasons import ALL, Seasons

EDGES = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 1201)])
"""Edges of the classes in which the index is counted, so that quantiles need no more memory than these; 1 is one."""

BINS = 10
"""Bins of equal size whose error is told."""


@dataclass
class _Counts:
    """Cells and months in each class of the index, with sums of the index and of squared errors."""

    n: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(EDGES)))
    index: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(EDGES)))
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(EDGES)))
    beyond: int = 0

    def add(self, index: NDArray[np.float64], error: NDArray[np.float64]) -> None:
        place = np.searchsorted(EDGES, index, side="right") - 1
        self.n += np.bincount(place, minlength=len(EDGES))
        self.index += np.bincount(place, index, len(EDGES))
        self.squares += np.bincount(place, error**2, len(EDGES))
        # Counted apart: the class that begins at 1 holds 1 itself, which is still inside.
        self.beyond += int((index > 1).sum())


def shares(maps: xr.Dataset, season_of: Seasons) -> pd.DataFrame:
    """Share of the maps that lies outside the area of applicability.

    Parameters
    ----------
    maps
        Monthly maps with `MAP` and `APPLICABILITY` (time, y, x).

    Returns
    -------
    DataFrame
        season, outside (share of the cells and months with a value whose index is above 1, 0..1), index (mean), n.
    """
    counts = _count(maps, None, season_of)
    rows = [
        (
            season,
            season_counts.beyond / season_counts.n.sum(),
            season_counts.index.sum() / season_counts.n.sum(),
            int(season_counts.n.sum()),
        )
        for season, season_counts in counts.items()
    ]
    return pd.DataFrame(rows, columns=["season", "outside", "index", "n"])


def errors(maps: xr.Dataset, known: xr.DataArray, season_of: Seasons) -> pd.DataFrame:
    """Error of the maps against the known truth, by the dissimilarity of their predictors.

    Parameters
    ----------
    maps
        Monthly maps with `MAP` and `APPLICABILITY` (time, y, x).
    known
        True field (time, y, x) on the same grid, m3 m-3.

    Returns
    -------
    DataFrame
        season, quantile (upper end of the bin, 0..1), index (mean), rmse (m3 m-3), n.
    """
    rows = []
    for season, season_counts in _count(maps, known, season_of).items():
        # A class goes whole into the bin of its middle, so bins are of equal size but for the width of a class.
        below = np.cumsum(season_counts.n) - season_counts.n / 2
        bins = np.minimum((below / season_counts.n.sum() * BINS).astype(int), BINS - 1)
        n, index, squares = (
            np.bincount(bins, part, BINS) for part in (season_counts.n, season_counts.index, season_counts.squares)
        )
        rows += [
            (season, (place + 1) / BINS, index[place] / n[place], np.sqrt(squares[place] / n[place]), int(n[place]))
            for place in np.flatnonzero(n)
        ]
    return pd.DataFrame(rows, columns=["season", "quantile", "index", "rmse", "n"])


def _count(maps: xr.Dataset, known: xr.DataArray | None, season_of: Seasons) -> dict[str, _Counts]:
    """Counts of each season that has a map, and of all, in their order."""
    counts: dict[str, _Counts] = {}
    for month in tables.shared_months(maps[MAP], *([] if known is None else [known])):
        for piece in tables.pieces(maps[MAP]):
            value, index = (tables.field(maps[name], month, piece) for name in (MAP, APPLICABILITY))
            error = np.zeros_like(value) if known is None else value - tables.field(known, month, piece)
            use = np.isfinite(value) & np.isfinite(index) & np.isfinite(error)
            for season in (season_of.name(month), ALL):
                counts.setdefault(season, _Counts()).add(index[use], error[use])
    order = (*season_of.names, ALL)
    # A season without a cell is left out, for its shares would divide by 0.
    return {season: counts[season] for season in order if season in counts and counts[season].n.any()}
