"""Slope and aspect of a surface of elevations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Float64s = NDArray[np.float64]


def gradient(elevation: Floats, steps: Floats) -> Float64s:
    """Rise of a surface per metre towards east and north.

    Central differences, one-sided next to a missing cell, give the rise along columns and rows; the steps turn
    them into true directions and distances, whatever the projection.

    Parameters
    ----------
    elevation
        Metres, shape ``(Y, X)``, NaN where missing.
    steps
        Metres east and north of one step along a column and a row, as `grid.metres_per_cell` gives them, shape
        ``(2, 2, Y, X)``.

    Returns
    -------
    array
        Shape ``(2, Y, X)``: towards east and north; NaN where the elevation is missing.
    """
    along_column = _difference(elevation.T).T
    along_row = _difference(elevation)
    (east_column, east_row), (north_column, north_row) = steps
    determinant = east_column * north_row - east_row * north_column
    east = (along_column * north_row - along_row * north_column) / determinant
    north = (along_row * east_column - along_column * east_row) / determinant
    return np.where(np.isnan(elevation), np.nan, np.stack([east, north]))


def terrain(rise: Floats) -> Float64s:
    """Slope, northness and eastness of a gradient.

    Northness and eastness are the sine of the slope times the cosine and sine of the aspect (the downhill direction,
    clockwise from north), so that flat land, whose aspect means nothing, is 0 in both (Molotch et al. 2004, Hydrol.
    Process. 18, 1-16).

    Parameters
    ----------
    rise
        Rise per metre towards east and north, shape ``(2, Y, X)``.

    Returns
    -------
    array
        Shape ``(3, Y, X)``: slope in degrees, northness and eastness.

    Examples
    --------
    Land that rises by 1 m in 10 m towards the north faces south:

    >>> slope, northness, eastness = terrain(np.array([[[0.0]], [[0.1]]]))
    >>> slope.round(2).tolist(), northness.round(3).tolist()
    ([[5.71]], [[-0.1]])
    """
    east, north = rise
    steepness = np.hypot(east, north)
    cosine = 1 / np.sqrt(1 + steepness**2)
    return np.stack([np.degrees(np.arctan(steepness)), -north * cosine, -east * cosine])


def aspect(northness: Floats, eastness: Floats) -> Float64s:
    """Downhill direction, degrees clockwise from north, 0 on flat land, from what `terrain` gives.

    Examples
    --------
    A slope that faces east:

    >>> aspect(np.array([0.0]), np.array([0.3])).tolist()
    [90.0]
    """
    return np.degrees(np.arctan2(eastness, northness)) % 360


def _difference(values: Floats) -> Float64s:
    """Rise per step along the first axis; one-sided beside a missing cell, 0 where both neighbours are missing."""
    padded = np.pad(values.astype("float64"), ((1, 1), (0, 0)), constant_values=np.nan)
    forward, backward = padded[2:] - padded[1:-1], padded[1:-1] - padded[:-2]
    differences = np.stack([forward, backward])
    valid = np.isfinite(differences)
    total = np.where(valid, differences, 0).sum(axis=0)
    count = valid.sum(axis=0)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)
