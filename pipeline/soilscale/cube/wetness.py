"""The topographic wetness index of the fine cells, from the terrain within a bounded distance of each.

NumPy alone. Water is handed from cell to lower cell `STEPS` times, so that the upstream area of a cell counts the cells
within so many steps: it is the same whatever tile the cell lies in, and a tile needs no more than a margin around it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

STEPS = 16
"""Cells that water flows over at most."""

MARGIN = STEPS + 1
"""Cells around a grid that its index hangs on: what the outermost hands on is told by those around it."""

FLATTEST = 1e-3
"""Least tangent of a slope: the index of a plain has no end otherwise."""

AROUND = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across]


def index(elevation: Floats, slope: Floats, steps: Floats) -> Floats:
    """Topographic wetness index ln(a / tan b) (Beven and Kirkby 1979), a by multiple flow (Quinn et al. 1991).

    Parameters
    ----------
    elevation
        Mean elevation of the cells, m, with `MARGIN` cells more on every side, shape ``(Y + 2M, X + 2M)``.
    slope
        Slope of the cells, degrees, shape ``(Y, X)``.
    steps
        Metres east and north of one step along a column and a row, as `grid.metres_per_cell` gives them, of the cells
        with their margin.

    Returns
    -------
    array
        Shape ``(Y, X)``; a is the upstream area per width of a cell, m. NaN where elevation or slope is missing.
    """
    shares = _shares(elevation, steps)
    upstream = np.ones(elevation.shape)
    for _ in range(STEPS):
        # Every cell starts with its own area in each step: so after n steps it holds what lies within n cells
        # upstream.
        into = np.ones(elevation.shape)
        for way, share in zip(AROUND, shares, strict=True):
            upper, lower = _pair(elevation.shape, way)
            into[lower] += (upstream * share)[upper]
        # A new array: added in place, water would run on within a step, in an order that hangs on the tile.
        upstream = into
    inner = slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN)
    (east_column, east_row), (north_column, north_row) = steps[(..., *inner)]
    side = np.sqrt(np.abs(east_column * north_row - east_row * north_column))
    tangent = np.maximum(np.tan(np.radians(slope)), FLATTEST)
    wetness: Floats = np.log(upstream[inner] * side / tangent)
    return np.where(np.isfinite(elevation[inner]), wetness, np.nan)


def _shares(elevation: Floats, steps: Floats) -> list[Floats]:
    """Share of its water that each cell hands to each of its neighbours, in the order of `AROUND`."""
    falls = []
    for down, across in AROUND:
        upper, lower = _pair(elevation.shape, (down, across))
        distance = np.hypot(*(across * steps[side, 0] + down * steps[side, 1] for side in (0, 1)))
        fall = np.zeros(elevation.shape)
        fall[upper] = np.nan_to_num(elevation[upper] - elevation[lower], nan=0.0) / distance[upper]
        falls.append(np.maximum(fall, 0))
    total = np.sum(falls, axis=0)
    return [np.divide(fall, total, out=np.zeros_like(fall), where=total > 0) for fall in falls]


def _pair(shape: tuple[int, ...], way: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Cells that have a neighbour in a direction, and these neighbours."""
    cuts = [
        (slice(max(-step, 0), size - max(step, 0)), slice(max(step, 0), size + min(step, 0)))
        for step, size in zip(way, shape, strict=True)
    ]
    (rows, next_rows), (columns, next_columns) = cuts
    return (rows, columns), (next_rows, next_columns)
