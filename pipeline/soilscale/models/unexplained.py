"""Detail within cells that no feature explains: how large it may be, by what it leaves between cells.

The mean over a cell of a pattern of a few kilometres is small, but it is the same in every month, and no feature or
smooth field accounts for it. Effects of cells that remain thus tell of detail: the finer it is, the more of it the mean
hides. Neither its length nor its size can be read off some hundred cells, so both are averaged over, each pair weighted
by the marginal likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.optimize import brentq
from scipy.special import erf
from scipy.stats import norm

LENGTHS = np.geomspace(0.04, 1.6, 9)
"""Lengths of the detail, in coarse cells: 1 to 40 km for cells of 25 km.

The long ones are there for cells that lie far apart, where an effect of a cell need not be detail.
"""

SIZES = np.geomspace(1 / 32, 1, 21)
"""Standard deviations of the detail, as shares of that of the detail that the features explain."""

NEAREST = 1e-9
"""Least share of a cell effect's precision that is taken to come from the rows, lest rounding make it negative."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detail:
    """Variances that the unexplained detail may have, in units of the observations' variance, and their weights."""

    variance: Floats
    """Of a pixel about the mean over its cell, which other months show even where one does not, shape ``(m,)``."""
    weight: Floats
    """Posterior probability of each, likewise; the sum is 1."""


def block_covariance(distance: NDArray[np.integer], length: float) -> Floats:
    """Covariance along one axis of means over cells, for a Gaussian covariance of variance 1.

    Parameters
    ----------
    distance
        Between the centres of the cells, in cells.
    length
        Of the covariance, in cells; it may be much shorter than a cell.
    """

    # Integrated twice over both cells: the points of `area.WITHIN` are too far apart for short lengths.
    def twice(t: Floats) -> Floats:
        integral: Floats = t * np.sqrt(np.pi / 2) * erf(t / np.sqrt(2)) + np.exp(-0.5 * t**2)
        return integral

    before, centre, after = (twice((distance + step) / length) for step in (-1, 0, 1))
    mean: Floats = length**2 * (before - 2 * centre + after)
    return mean


def measure(cells: NDArray[np.intp], precision: Floats, pull: Floats, *, effect: float, explained: float) -> Detail:
    """Posterior of the variance of the unexplained detail.

    The prior is uniform in the standard deviation, up to that of the detail that is explained, and in the logarithm of
    the length.

    Parameters
    ----------
    cells
        Row and column of every cell, each cell once, shape ``(c, 2)``.
    precision
        Inverse covariance of the rows, summed over the rows of every pair of cells, shape ``(c, c)``.
    pull
        Inverse covariance times the observations, summed over the rows of every cell, shape ``(c,)``.
    effect
        Variance of a cell's effect (`area.Variances.cell`) within that covariance. The detail replaces it.
    explained
        Standard deviation of the detail that the features explain.
    """
    values, vectors = linalg.eigh(precision)
    # Without the effects of cells, by Woodbury's identity.
    shrinkage = np.maximum(1 - effect * values, NEAREST)
    precision, pull = (vectors * (values / shrinkage)) @ vectors.T, vectors @ ((vectors.T @ pull) / shrinkage)
    variances = (SIZES * explained) ** 2
    away = cells[:, None] - cells
    logs, hidden = np.empty((len(LENGTHS), len(SIZES))), np.empty(len(LENGTHS))
    for number, length in enumerate(LENGTHS):
        covariance = np.prod(block_covariance(away, length), axis=-1)
        hidden[number] = 1 - covariance[0, 0]
        logs[number] = _evidence(covariance, precision, pull, variances)
    # Steps of the grid are as wide as its values are large: equal weights would be uniform in the logarithm.
    weight = np.exp(logs - logs.max()) * SIZES
    return Detail((hidden[:, None] * variances).ravel(), (weight / weight.sum()).ravel())


def _evidence(covariance: Floats, precision: Floats, pull: Floats, variances: Floats) -> Floats:
    """Log marginal likelihood of each variance of the detail, beside that of none, shape ``(len(variances),)``."""
    values, vectors = linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    values, vectors = linalg.eigh(root.T @ precision @ root)
    squares, values = (vectors.T @ (root.T @ pull)) ** 2, np.maximum(values, 0.0)
    inflated = 1 + np.multiply.outer(variances, values)
    evidence: Floats = 0.5 * ((variances[:, None] * squares / inflated) - np.log(inflated)).sum(axis=1)
    return evidence


def half_width(variance: float, detail: Detail, share: float) -> float:
    """Half the width of the interval about 0 that holds a share of normal errors, whose variance is uncertain.

    Parameters
    ----------
    variance
        Of the errors, without the detail.
    share
        Of the errors within, 0 to 1.

    Returns
    -------
    float
        NaN if the variance is.
    """
    deviations = np.sqrt(variance + detail.variance)
    most = float(deviations.max() * norm.ppf((1 + share) / 2))
    if not most > 0:
        return most
    # Without detail, some deviations may be 0, and no error is beyond them.
    deviations = np.maximum(deviations, np.finfo(float).tiny)
    half = brentq(lambda half: detail.weight @ (2 * norm.cdf(half / deviations) - 1) - share, 0.0, most * (1 + 1e-9))
    return float(half)
