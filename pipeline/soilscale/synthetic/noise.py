"""Smooth random fields with a value at every longitude and latitude, independent of the window."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Axis = NDArray[np.float64]
Field = NDArray[np.float64]

REGION = (105.0, 31.0, 113.0, 39.0)
"""West, south, east, north in degrees of the region in which the fields are defined."""

SPLINE_VARIANCE = 151.0 / 315.0
"""Mean over one interval of the sum of squared cubic B-splines: what white noise keeps of its variance, an axis."""


def generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers that depend on the seed and on a name only, not on what else was drawn."""
    return np.random.default_rng([seed, crc32(name.encode())])


def smooth(seed: int, name: str, scale: float, lon: Axis, lat: Axis) -> Field:
    """Gaussian-like random field of mean 0 and standard deviation 1: a cubic B-spline with random coefficients.

    Parameters
    ----------
    scale
        Distance between the spline's knots, degrees; structures are about twice as wide.
    lon, lat
        Coordinates of the lattice's columns and rows, degrees, within `REGION`.

    Returns
    -------
    array
        Shape ``(len(lat), len(lon))``.
    """
    west, south, east, north = REGION
    across, along = _basis(lon, west, east, scale), _basis(lat, south, north, scale)
    # Always drawn for the whole region, so that a small area is a window of a larger one.
    knots = generator(seed, name).standard_normal((along.shape[1], across.shape[1]))
    field: Field = along @ knots @ across.T / SPLINE_VARIANCE
    return field


def _basis(values: Axis, first: float, last: float, scale: float) -> NDArray[np.float64]:
    """Weights of the cubic B-splines on a uniform lattice of knots at each value, shape ``(n, knots)``."""
    position = (values - first) / scale
    cell = np.floor(position).astype(int)
    t = position - cell
    pieces = (
        (1 - t) ** 3,
        3 * t**3 - 6 * t**2 + 4,
        -3 * t**3 + 3 * t**2 + 3 * t + 1,
        t**3,
    )
    basis = np.zeros((len(values), round((last - first) / scale) + 4))
    rows = np.arange(len(values))
    for step, piece in enumerate(pieces):
        basis[rows, cell + step] = piece / 6
    return basis
