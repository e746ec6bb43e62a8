"""Features for an additive model: standardised, and as hat functions on knots over their fine values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KNOTS = 11
"""Knots of a curve."""

TAIL = 0.1
"""Percent of the fine values that lie beyond the outermost knot on either side."""

LENGTH = 1 / 4
"""Length over which a curve bends, as a share of the range of its knots."""

LEAST = 1e-6
"""Share of the largest eigenvalue of the curves' covariance below which one is left out."""

Floats = NDArray[np.float64]


PIXELS = 25
"""Most pixels along the side of a cell that stand for all of it.

Means over fewer pixels are noisy, and noise in what a model learns from flattens its effects: with 5 in place of all 25
maps were 9 to 29 % worse in worlds with a known truth.
"""


@dataclass(frozen=True)
class Basis:
    """What standardises the features, and where the knots of their curves lie."""

    mean: Floats
    """Mean of each feature, shape ``(p,)``; 0 of a share, whose effect is linear in natural units."""
    sd: Floats
    """Standard deviation of each feature, shape ``(p,)``; 1 of a share, and of a feature that never varies."""
    low: Floats
    """First knot of each feature, standardised, shape ``(p,)``."""
    high: Floats
    """Last knot, likewise."""
    curved: NDArray[np.bool_]
    """Whether a feature has a curve beside its line, shape ``(p,)``; shares have none."""
    knots: int = KNOTS
    """Knots of a curve, equally far apart."""

    def standardise(self, values: NDArray[np.floating]) -> Floats:
        """Values of the features in the last dimension, in standard deviations from the mean."""
        return (values.astype(np.float64) - self.mean) / self.sd

    def place(self, z: Floats) -> tuple[NDArray[np.intp], Floats]:
        """Knot below each standardised value, and the weight of the knot above it; beyond the ends as at them."""
        at = np.clip((z - self.low) / (self.high - self.low), 0.0, 1.0) * (self.knots - 1)
        # At the last knot the weight is all on the knot above, which has to be one that there is.
        below = np.minimum(at.astype(np.intp), self.knots - 2)
        return below, at - below


def measure(values: NDArray[np.floating], shares: Sequence[bool], knots: int = KNOTS) -> Basis:
    """Basis from a sample of values.

    Parameters
    ----------
    values
        Sample of fine cells, shape ``(n, p)``, NaN where a feature is missing.
    shares
        Whether each feature is the share of a class in a cell.
    knots
        Knots of a curve.
    """
    linear = np.asarray(shares, bool)
    is_finite = np.isfinite(values).any(axis=0)
    # A feature without any value would have no mean, and NaN would spread to every product with it.
    filled = np.where(is_finite, values.astype(np.float64), 0.0)
    mean = np.where(linear, 0.0, np.nanmean(filled, axis=0))
    spread = np.nanstd(filled, axis=0)
    sd = np.where(linear | (spread <= np.abs(mean) * np.finfo(np.float32).eps), 1.0, spread)
    ends = (np.nanpercentile(filled, [TAIL, 100 - TAIL], axis=0) - mean) / sd
    low, high = ends[0], np.where(ends[1] > ends[0], ends[1], ends[0] + 1.0)
    curved = ~linear & (ends[1] > ends[0])
    return Basis(mean, sd, low, high, curved, knots)


def block_means(basis: Basis, pixels: NDArray[np.floating]) -> tuple[Floats, Floats, Floats]:
    """Means over each cell's pixels of the standardised features, of the functions of curves, and of products.

    The mean of a curve over a cell is not the curve of the mean: what a cell shows of a curve is the share of its
    pixels at each knot (Tanaka et al. 2019, NeurIPS 32, 6203-6213).

    Parameters
    ----------
    basis
        Of the features.
    pixels
        Features of pixels, shape ``(n, m, p)``: `m` pixels in each of `n` cells, NaN where missing, which are left out
        of the mean.

    Returns
    -------
    line, bent, paired : array
        Shapes ``(n, p)``, ``(n, c, r)``, of the `c` curved features (see `bends`), and ``(n, c * (c - 1) / 2)`` (see
        `pairs`), clipped to their knots so that no product runs away; NaN where no pixel is known.
    """
    z = basis.standardise(pixels)
    is_finite = np.isfinite(z)
    count = is_finite.sum(axis=1)
    with np.errstate(invalid="ignore"):
        line = np.where(is_finite, z, 0.0).sum(axis=1) / count
    # Before what is missing becomes 0, for a product has to know it as missing.
    paired = _paired(basis, z)
    z, is_finite = np.where(is_finite, z, 0.0), is_finite[..., basis.curved]
    below, above = (part[..., basis.curved] for part in basis.place(z))
    n, c = len(pixels), int(basis.curved.sum())
    cell = (np.arange(n)[:, None, None] * c + np.arange(c)) * basis.knots
    size = n * c * basis.knots
    # One count for all knots: the hat functions of every pixel as a matrix would be mostly zeros.
    hats = np.bincount((cell + below).ravel(), ((1 - above) * is_finite).ravel(), size)
    hats += np.bincount((cell + below + 1).ravel(), (above * is_finite).ravel(), size)
    with np.errstate(invalid="ignore"):
        bent = (hats.reshape(n, c, basis.knots) / count[:, basis.curved, None]) @ bends(basis.knots)
    return line, bent, paired


def pairs(c: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Both places of each pair of `c` features, each pair once, in order."""
    return np.triu_indices(c, 1)


def _paired(basis: Basis, z: Floats) -> Floats:
    """Means over the pixels of each cell of the products of two features, NaN where no pixel knows both."""
    # The product of two tails could outweigh all other pixels of the cell.
    between = np.clip(z, basis.low, basis.high)[..., basis.curved]
    is_finite = np.isfinite(between).astype(np.float64)
    values = np.nan_to_num(between).swapaxes(1, 2)
    first, second = pairs(values.shape[1])
    is_finite = is_finite.swapaxes(1, 2)
    with np.errstate(invalid="ignore"):
        mean: Floats = ((values @ values.swapaxes(1, 2)) / (is_finite @ is_finite.swapaxes(1, 2)))[:, first, second]
    return mean


def bends(knots: int) -> Floats:
    """Factor of the covariance of a curve at its knots, shape ``(knots, r)``: smooth, with no line in it.

    A Gaussian covariance, of which constants and lines are projected out, for they are effects of their own.
    """
    at = np.linspace(0, 1, knots)
    covariance = np.exp(-0.5 * ((at[:, None] - at) / LENGTH) ** 2)
    line = np.column_stack([np.ones(knots), at])
    complement = np.eye(knots) - line @ np.linalg.pinv(line)
    values, vectors = np.linalg.eigh(complement @ covariance @ complement)
    is_large = values > LEAST * values.max()
    factor: Floats = vectors[:, is_large] * np.sqrt(values[is_large])
    return factor


def pixels(ratio: int) -> NDArray[np.intp]:
    """Rows, or columns, of a cell whose pixels stand for all of it, as evenly apart as can be."""
    number = min(PIXELS, ratio)
    return ((np.arange(number) + 0.5) * ratio / number).astype(np.intp)
