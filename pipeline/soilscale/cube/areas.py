"""Shares of pixels in the cells of another grid, exact to rounding: first-order conservative remapping."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale.jit import compiled

Floats = NDArray[np.floating]

CORNERS = 8
"""Most corners of a quadrilateral clipped to a square."""


TORN = 16
"""Times a usual cell's width from which a cell counts as torn apart by the edge of a map, and has no value."""


def overlay(
    amount: Floats, layer: NDArray[np.int16], depth: int, x: Floats, y: Floats, turn: int | None = None
) -> tuple[Floats, Floats]:
    """Sum what pixels hold over the cells of a grid, each weighted by the area that it shares with the cell.

    A pixel is a unit square, a cell a convex quadrilateral; their common area is that of the cell clipped to the
    pixel's row and then to its column (Sutherland & Hodgman 1974, Commun. ACM 17, 32-42).

    Parameters
    ----------
    amount
        Value of each pixel, shape ``(rows, columns)``; NaN marks a missing one.
    layer
        Layer to which each pixel's value is added, shape ``(rows, columns)``; negative: none, though the pixel counts
        as valid.
    depth
        Number of layers.
    x, y
        Corners of the cells in pixels from the upper left corner of the first pixel, to the right and down, shape
        ``(Y + 1, X + 1)``.
    turn
        Columns of pixels after which their map repeats itself; None if it does not. A cell near a pole may lie across
        the edge of a map of the world. On a map that does not repeat itself such a cell has no value.

    Returns
    -------
    totals
        Amounts times their shares of the cell, summed, shape ``(depth, Y, X)``.
    fraction
        Share of each cell that valid pixels cover, shape ``(Y, X)``.
    """
    shape = x.shape[0] - 1, x.shape[1] - 1
    with np.errstate(invalid="ignore"):  # infinite beyond the edge of a map
        steps = np.abs(np.diff(x, axis=1))
    steps = steps[np.isfinite(steps)]
    # The median, not the mean: the very cells that are torn apart at the edge of a map would stretch it.
    widest = TORN * (1 + float(np.median(steps))) if turn is None and steps.size else math.inf
    totals, fraction = np.zeros((depth, *shape)), np.zeros(shape)
    _overlay(amount, layer, x, y, turn or 0, widest, totals, fraction)
    # Shares of pixels that tile a cell may sum to a little more than 1 by rounding.
    return totals, np.minimum(fraction, 1)


@compiled
def _clip(x: Any, y: Any, count: int, clipped_x: Any, clipped_y: Any, limit: float, sign: float) -> int:
    """Part of a convex polygon where ``sign * x >= sign * limit``; its number of corners."""
    corners = 0
    x0, y0 = x[count - 1], y[count - 1]
    behind = sign * (x0 - limit)
    for i in range(count):
        x1, y1 = x[i], y[i]
        ahead = sign * (x1 - limit)
        if ahead * behind < 0:
            clipped_x[corners], clipped_y[corners] = limit, y0 + (y1 - y0) * (behind / (behind - ahead))
            corners += 1
        if ahead >= 0:
            clipped_x[corners], clipped_y[corners] = x1, y1
            corners += 1
        x0, y0, behind = x1, y1, ahead
    return corners


@compiled
def _area(x: Any, y: Any, count: int) -> float:
    """Area of a polygon, by the shoelace formula."""
    total = 0.0
    last = count - 1
    for i in range(count):
        total += x[last] * y[i] - x[i] * y[last]
        last = i
    return abs(total) / 2


@compiled
def _unfold(x: Any, turn: int) -> None:
    """Bring the corners of a cell to the turn of the first."""
    if turn > 0:
        for corner in range(1, 4):
            x[corner] += turn * np.round((x[0] - x[corner]) / turn)


@compiled
def _wrapped(column: int, turn: int, columns: int) -> int:
    """Column that shows the same place within the window, -1 if none does."""
    if column < 0:
        column += turn
    elif column >= columns:
        column -= turn
    return column if 0 <= column < columns else -1


@compiled
def _overlay(amount: Any, layer: Any, x: Any, y: Any, turn: int, widest: float, totals: Any, fraction: Any) -> None:
    rows, columns = amount.shape
    cell_x, cell_y, strip_x, strip_y = np.empty(4), np.empty(4), np.empty(CORNERS), np.empty(CORNERS)
    one_x, one_y, two_x, two_y = np.empty(CORNERS), np.empty(CORNERS), np.empty(CORNERS), np.empty(CORNERS)
    for i, j in np.ndindex(fraction.shape):
        cell_x[0], cell_x[1], cell_x[2], cell_x[3] = x[i, j], x[i, j + 1], x[i + 1, j + 1], x[i + 1, j]
        cell_y[0], cell_y[1], cell_y[2], cell_y[3] = y[i, j], y[i, j + 1], y[i + 1, j + 1], y[i + 1, j]
        _unfold(cell_x, turn)
        cell_area = _area(cell_x, cell_y, 4)
        if not (math.isfinite(cell_area) and cell_area > 0 and max(cell_x) - min(cell_x) < widest):
            continue
        for row in range(max(math.floor(min(cell_y)), 0), min(math.ceil(max(cell_y)), rows)):
            count = _clip(cell_y, cell_x, 4, one_y, one_x, row, 1.0)
            count = _clip(one_y, one_x, count, strip_y, strip_x, row + 1.0, -1.0)
            if count == 0:
                continue
            # Columns are counted on beyond the edge of the map and wrapped one by one: wrapped first, those of a cell
            # across the edge would range over the whole map.
            left, right = min(strip_x[:count]), max(strip_x[:count])
            for column in range(math.floor(left), math.ceil(right)):
                at = _wrapped(column, turn, columns)
                # A place outside the window counts as missing, not as nil, or cells at its border would be drawn
                # towards 0.
                value = amount[row, at] if at >= 0 else math.nan
                if math.isnan(value):
                    continue
                number = _clip(strip_x, strip_y, count, one_x, one_y, column, 1.0)
                number = _clip(one_x, one_y, number, two_x, two_y, column + 1.0, -1.0)
                share = _area(two_x, two_y, number) / cell_area
                fraction[i, j] += share
                if layer[row, at] >= 0:
                    totals[layer[row, at], i, j] += share * value
