"""How much of the maps lies outside the area of applicability, and how the error grows with dissimilarity."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale.seasons import ALL, Seasons

EDGES = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 1201)])
"""Edges of the classes in which the index is counted, so that quantiles need no more memory than these; 1 is one."""

BINS = 10
"""Bins of equal size whose error is told."""


Counts = Mapping[np.datetime64, NDArray[np.float64]]
"""Month -> what `count` finds."""


def count(index: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cells in each class of the index: their number, sums of the index and of squared errors, and those beyond 1.

    Parameters
    ----------
    index, error
        Of one shape; a cell counts where both are finite.

    Returns
    -------
    array
        Shape ``(4, len(EDGES))``.
    """
    use = np.isfinite(index) & np.isfinite(error)
    index, error = index[use], error[use]
    place = classes(index)
    # Those beyond are counted apart: the class that begins at 1 holds 1 itself, which is still inside.
    weights = (None, index, error**2, index > 1)
    return np.stack([np.bincount(place, weight, len(EDGES)) for weight in weights]).astype("float64")


def classes(index: NDArray[np.float64]) -> NDArray[np.int_]:
    """Class in which each index lies, its lower edge included: ``searchsorted(EDGES, index, "right") - 1``.

    Examples
    --------
    >>> classes(np.array([0.0, 1e-3, 1.0, 2e3])).tolist()
    [0, 1, 601, 1201]
    """
    # Edges are even in the logarithm, which is faster than a search among them; rounding may put what lies at an edge
    # one class off.
    steps = (len(EDGES) - 2) / np.log(EDGES[-1] / EDGES[1])
    guess = (np.log(np.maximum(index, EDGES[1]) / EDGES[1]) * steps + 1).astype(int).clip(0, len(EDGES) - 1)
    guess -= index < EDGES[guess]
    return np.asarray(guess + (index >= np.append(EDGES[1:], np.inf)[guess]))


def shares(counts: Counts, season_of: Seasons) -> pd.DataFrame:
    """Share of the maps that lies outside the area of applicability.

    Parameters
    ----------
    counts
        Of the cells that have a value.

    Returns
    -------
    DataFrame
        season, outside (share of the cells and months with a value whose index is above 1, 0..1), index (mean), n.
    """
    rows = [
        (season, beyond.sum() / n.sum(), index.sum() / n.sum(), int(n.sum()))
        for season, (n, index, _, beyond) in _by_season(counts, season_of).items()
    ]
    return pd.DataFrame(rows, columns=["season", "outside", "index", "n"])


def errors(counts: Counts, season_of: Seasons) -> pd.DataFrame:
    """Error of the maps against the known truth, by the dissimilarity of their predictors.

    Parameters
    ----------
    counts
        Of the cells that have a value, with their errors against the truth, m3 m-3.

    Returns
    -------
    DataFrame
        season, quantile (upper end of the bin, 0..1), index (mean), rmse (m3 m-3), n.
    """
    rows = []
    for season, (number, *sums, _) in _by_season(counts, season_of).items():
        # A class goes whole into the bin of its middle, so bins are of equal size but for the width of a class.
        below = np.cumsum(number) - number / 2
        bins = np.minimum((below / number.sum() * BINS).astype(int), BINS - 1)
        n, index, squares = (np.bincount(bins, part, BINS) for part in (number, *sums))
        rows += [
            (season, (place + 1) / BINS, index[place] / n[place], np.sqrt(squares[place] / n[place]), int(n[place]))
            for place in np.flatnonzero(n)
        ]
    return pd.DataFrame(rows, columns=["season", "quantile", "index", "rmse", "n"])


def _by_season(counts: Counts, season_of: Seasons) -> dict[str, NDArray[np.float64]]:
    """Counts of each season that has a map, and of all, in their order."""
    sums: dict[str, NDArray[np.float64]] = {}
    for month in sorted(counts):
        for season in (season_of.name(month), ALL):
            sums[season] = sums.get(season, 0.0) + counts[month]
    # A season without a cell is left out, for its shares would divide by 0.
    return {season: sums[season] for season in (*season_of.names, ALL) if season in sums and sums[season][0].any()}
