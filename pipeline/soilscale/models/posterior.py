"""Uncertainty of pixels of an area-to-point model: posterior variances, and what the model does not know of.

The posterior knows how far the effects may be off if the model's form is right. Two things are added to its variance:
what a map keeps of the misfit of the observations, and detail within cells that no feature explains, of which effects
of cells tell that no term accounts for (`unexplained`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from soilscale.models import unexplained
from soilscale.models.area import Areas, Floats, Rows, Variances, covariance_of, level
from soilscale.models.basis import Basis, block_means
from soilscale.models.unexplained import Detail

TRUSTED = 0.8
"""Share of the posterior's variance that pixels are taken to err by.

In worlds whose truth is known the ratio is 0.5 to 1.2: variances of maximum marginal likelihood keep terms alive that
the truth does not have. By all of it, intervals of 90 % hold 92 to 97 %.
"""


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
    """Errors of pixels, by season: normal, but for the detail, whose variance is uncertain."""

    scale: float
    """Standard deviation of the observations, in the unit of the target; it is the unit of what follows."""
    observed: Floats
    """Variance, without that detail, where the cell has an observation that the map is conserved to, ``(seasons,)``."""
    predicted: Floats
    """Where it has none, likewise; no less than where it has one."""
    detail: Detail
    """Variances that unexplained detail may add."""

    def half_widths(self, share: float) -> Floats:
        """Half the width of the interval that holds a share, observed and predicted, shape ``(seasons, 2)``."""
        halves = [
            [unexplained.half_width(float(variance), self.detail, share) for variance in variances]
            for variances in (self.observed, self.predicted)
        ]
        return self.scale * np.transpose(halves)


def spread(
    areas: Areas,
    y: Floats,
    variances: Variances,
    curve_basis: Basis,
    points: Points,
    *,
    lengths: Sequence[float],
) -> Spread:
    """Measure how far pixels are off.

    Parameters
    ----------
    areas, y
        Rows, and their observations, shape ``(n,)``; the time goes with the third power of `n`.
    variances
        Of the terms.
    curve_basis
        Basis of the features.
    points
        Random pixels of these rows.
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
    z = (y - mean) / scale
    dual, alone = inverse @ z, np.diag(inverse)
    pixels = _pixels(areas.take(points.row), curve_basis, points)
    cross = covariance_of(pixels, areas, variances, lengths)
    pull = cross @ inverse
    conditional = _prior(pixels, variances) - (pull * cross).sum(axis=1)
    # Without the row of the pixel's own cell, by the inverse of a partition (Sundararajan and Keerthi 2001, Neural
    # Computation 13, 1103-1118): to leave each row out in turn would be as many inverses as rows.
    own_pull = pull[np.arange(len(pixels)), points.row]
    unseen = conditional + own_pull**2 / alone[points.row]
    residual = variances.noise * dual
    by_season = np.full((2, int(areas.season.max()) + 1), np.nan)
    for season in np.unique(pixels.season):
        rows, in_season = areas.season == season, pixels.season == season
        # A map keeps to the observation where the model does not: what is between them is an error of the map.
        least = TRUSTED * max(conditional[in_season].mean(), 0.0) + np.mean(residual[rows] ** 2)
        by_season[:, season] = least, max(TRUSTED * unseen[in_season].mean(), least)
    explained = float(np.std(cross @ dual - (z - residual)[points.row]))
    observed, predicted = by_season
    return Spread(scale, observed, predicted, _unexplained(areas, inverse, dual, variances, explained))


def _pixels(cells: Areas, curve_basis: Basis, points: Points) -> Areas:
    """Pixels as the model takes them, of their cells."""
    basis = block_means(curve_basis, points.values[:, None])
    return Areas(*basis, cells.season, cells.month, cells.row + points.down, cells.column + points.across)


def _unexplained(areas: Areas, inverse: Floats, dual: Floats, variances: Variances, explained: float) -> Detail:
    """Detail that no feature explains, by the effects of cells."""
    cells, cell = np.unique(np.stack([areas.row, areas.column], axis=1), axis=0, return_inverse=True)
    number, cell = len(cells), cell.ravel()
    of_rows = np.zeros((number, len(areas)))
    of_rows[cell, np.arange(len(areas))] = 1.0
    precision = of_rows @ inverse @ of_rows.T
    pull = of_rows @ dual
    return unexplained.measure(cells, precision, pull, effect=variances.cell, explained=explained)


def _prior(pixels: Areas, variances: Variances) -> Floats:
    """Variance that all terms give to pixels, shape ``(m,)``."""
    line, curve = variances.line.sum(axis=1), variances.curve.sum(axis=1)
    of_features = pixels.line**2 @ line + (pixels.bent**2).sum(axis=2) @ curve
    of_features += (pixels.paired**2).sum(axis=1) * variances.pair.sum()
    prior: Floats = of_features + variances.intercept.sum() + variances.field.sum() + variances.cell
    return prior
