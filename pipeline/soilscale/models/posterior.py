"""Uncertainty of pixels of an area-to-point model: posterior variances, scaled by leave-one-out errors.

The model's variances of terms are estimates, and its form is a guess: a posterior variance alone says too little. The
rows know better: each, left out, is missed by so many of its own standard deviations, in closed form (Sundararajan and
Keerthi 2001, Neural Computation 13, 1103-1118), and the quantile of these scales the standard deviations of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.stats import norm

from soilscale.models.area import Areas, Floats, Rows, Variances, covariance_of, level
from soilscale.models.basis import Basis, block_means

LEAST = 30
"""Rows of a season below which its quantile is that of all seasons."""


@dataclass(frozen=True)
class Points:
    """Pixels within cells whose rows are learned from."""

    row: Rows
    """Row of the cell and month, shape ``(m,)``."""
    values: NDArray[np.floating]
    """Features, shape ``(m, p)``, finite."""
    down: NDArray[Any]
    """Distance from the centre of the cell southwards, in cells, shape ``(m,)``."""
    across: NDArray[Any]
    """Likewise eastwards."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the errors of pixels, in the unit of the target, by season."""

    observed: Floats
    """Where the cell has an observation that the map is conserved to, shape ``(seasons,)``."""
    predicted: Floats
    """Where it has none, likewise; no less than where it has one."""
    quantile: Floats
    """Standard deviations within which the share of the rows left out lies, likewise; no fewer than of a normal error.

    Rows are means over cells, which hide what varies within: that they are met well may not narrow an interval.
    """

    def half_widths(self) -> Floats:
        """Half the width of the interval in each season, observed and predicted, shape ``(seasons, 2)``."""
        both: Floats = np.stack([self.observed, self.predicted], axis=1) * self.quantile[:, None]
        return both


def spread(
    areas: Areas,
    y: Floats,
    variances: Variances,
    known: Basis,
    points: Points,
    *,
    share: float,
    lengths: Sequence[float],
) -> Spread:
    """Measure how far pixels are off.

    Parameters
    ----------
    areas, y
        Rows, and their observations, shape ``(n,)``; the time goes with the third power of `n`.
    variances
        Of the terms.
    known
        Basis of the features.
    points
        Random pixels of these rows.
    share
        Nominal share of the pixels within the interval, 0 to 1.
    lengths
        Of the fields, in cells.

    Returns
    -------
    Spread
        NaN in a season without a point.
    """
    mean, scale = level(y)
    covariance = covariance_of(areas, areas, variances, lengths)
    covariance[np.diag_indices(len(y))] += variances.noise
    inverse = linalg.inv(covariance, check_finite=False, overwrite_a=True)
    dual, alone = inverse @ ((y - mean) / scale), np.diag(inverse)
    # By the inverse alone: to leave each row out in turn would be as many inverses as rows.
    left_out = np.abs(dual) / np.sqrt(alone)
    cells = areas.take(points.row)
    basis = block_means(known, points.values[:, None])
    row, column = cells.row + points.down, cells.column + points.across
    pixels = Areas(*basis, cells.season, cells.month, row, column)
    cross = covariance_of(pixels, areas, variances, lengths)
    pull = cross @ inverse
    seen = _prior(pixels, variances) - (pull * cross).sum(axis=1)
    # Without the row of the pixel's own cell, by the inverse of a partition.
    own_pull = pull[np.arange(len(pixels)), points.row]
    unseen = seen + own_pull**2 / alone[points.row]
    seasons = int(areas.season.max()) + 1
    by_season = np.full((3, seasons), np.nan)
    for season in range(seasons):
        rows, here = areas.season == season, pixels.season == season
        if here.any():
            # A map keeps to the observation where the model does not: what is between them is an error of the map.
            kept = np.mean((variances.noise * dual[rows]) ** 2)
            by_season[0, season] = scale * np.sqrt(max(seen[here].mean(), 0.0) + kept)
            by_season[1, season] = max(scale * np.sqrt(max(unseen[here].mean(), 0.0)), by_season[0, season])
            # The quantile of a handful of rows is little more than their greatest value.
            enough = left_out[rows] if np.count_nonzero(rows) >= LEAST else left_out
            by_season[2, season] = max(np.quantile(enough, share), norm.ppf((1 + share) / 2))
    return Spread(*by_season)


def _prior(pixels: Areas, variances: Variances) -> Floats:
    """Variance that all terms give to pixels, shape ``(m,)``."""
    line, curve = variances.line.sum(axis=1), variances.curve.sum(axis=1)
    of_features = pixels.line**2 @ line + (pixels.bent**2).sum(axis=2) @ curve
    of_features += (pixels.paired**2).sum(axis=1) * variances.pair.sum()
    prior: Floats = of_features + variances.intercept.sum() + variances.field.sum() + variances.cell
    return prior
