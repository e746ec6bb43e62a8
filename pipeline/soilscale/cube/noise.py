"""Noise of a predictor that neighbouring pixels do not share: its variance and its smoothing.

What changes from year to year shows it: between neighbouring pixels noise differs as between any two, and what is real
differs the less the nearer they are. So its variance is what the variogram tends to at a distance of none (the nugget;
Matheron 1963, Economic Geology 58, 1246-1266). Kriging with that variogram and nugget then weighs the pixels around
each (factorial kriging): real texture, whose variogram tends to nothing, is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy  # loads its subpackages when they are first used
from numpy.typing import NDArray

Floats = NDArray[np.floating]

LAGS = (1, 2, 4)
"""Distances, in fine cells, at which the variogram is measured; each twice the one before."""

POWERS = (0.3, 1.9)
"""Powers of the distance between which that of a variogram lies: with less, texture cannot be told from noise."""

LEAST = 0.05
"""Share of the variogram of neighbouring pixels below which noise counts as none: to smooth it would gain nothing."""

REACH = 3
"""Fine cells around a pixel by which it is smoothed."""

ENOUGH = 0.5
"""Share of the weights around a pixel that must be known for it to be smoothed."""


@dataclass(frozen=True)
class Noise:
    """Variogram of what changes, ``variance + scale * distance ** power``, in the square of the unit."""

    variance: float = 0.0
    """Of the noise, 0 where there is none."""
    scale: float = 1.0
    power: float = 1.0


def variogram(values: Floats) -> NDArray[np.float64]:
    """Half the mean square of the differences between pixels at `LAGS` down and across, NaN where there is none.

    Parameters
    ----------
    values
        Shape ``(Y, X)``, NaN where missing.
    """
    halves = np.full(len(LAGS), np.nan)
    for place, lag in enumerate(LAGS):
        apart = np.concatenate([(values[lag:] - values[:-lag]).ravel(), (values[:, lag:] - values[:, :-lag]).ravel()])
        differences = apart[np.isfinite(apart)].astype("float64")
        if differences.size:
            halves[place] = (differences**2).mean() / 2
    return halves


def estimate(variograms: Iterable[NDArray[np.float64]]) -> Noise:
    """Noise by the medians of variograms at `LAGS`, so that few windows with borders or faults do not matter."""
    rows = [row for row in variograms if np.isfinite(row).all()]
    if not rows:
        return Noise()
    near, middle, far = np.median(rows, axis=0)
    rise = max(middle - near, 0.0)
    # The ratio of the two rises is 2 to the power, since each lag is twice the one before.
    steepness = np.clip((far - middle) / rise if rise else 0.0, *(2.0**power for power in POWERS))
    scale = rise / (steepness - 1)
    variance = near - scale
    return Noise(float(variance), float(scale), float(np.log2(steepness))) if variance > LEAST * near else Noise()


def of_texture(values: Floats, variance: float) -> Noise:
    """Noise of a known variance in values that have a texture of their own, shape ``(Y, X)``, NaN where missing."""
    near, middle, _ = variogram(values)
    if not (variance > LEAST * near and np.isfinite(middle)):
        return Noise()
    # Noise as large as the whole variogram leaves nothing for the texture, and its power would have no logarithm.
    floor = LEAST * variance
    real = max(near - variance, floor), max(middle - variance, floor)
    return Noise(variance, real[0], float(np.clip(np.log2(real[1] / real[0]), *POWERS)))


def stencil(noise: Noise) -> NDArray[np.float32]:
    """Weights of the pixels around one that tell it best without its noise; they sum to 1."""
    at = np.arange(-REACH, REACH + 1)
    down, across = (axis.ravel() for axis in np.meshgrid(at, at, indexing="ij"))
    count = len(down)
    apart = np.hypot(down[:, None] - down, across[:, None] - across)
    system = np.ones((count + 1, count + 1))
    system[count, count] = 0
    system[:count, :count] = noise.variance * np.eye(count) - noise.scale * apart**noise.power
    right = np.append(-noise.scale * np.hypot(down, across) ** noise.power, 1.0)
    # Scaled to 1: squares of small units, as of m3 m-3, would leave the system badly conditioned.
    size = max(noise.variance, noise.scale)
    system[:count, :count] /= size
    right[:count] /= size
    weights = np.linalg.solve(system, right)[:count]
    return weights.reshape(len(at), len(at)).astype("float32")


def smooth(values: Floats, noise: Noise) -> NDArray[np.float32]:
    """Values without the noise, as far as the pixels around tell; the very values where there is none.

    Parameters
    ----------
    values
        Departures from what is usual, shape ``(Y, X)``, NaN where missing, which stays so.
    """
    finite = np.isfinite(values)
    single = values.astype("float32")
    if not noise.variance:
        return single
    weights = stencil(noise)
    total = scipy.ndimage.correlate(np.where(finite, single, 0), weights, mode="constant")
    share = scipy.ndimage.correlate(finite.astype("float32"), weights, mode="constant")
    enough = finite & (share > ENOUGH)
    return np.divide(total, share, out=single.copy(), where=enough)
