"""Interpolation between pixels: nearest, bilinear or cubic, without missing pixels."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from soilscale.cube.mesh import Mesh
from soilscale.jit import compiled

Floats = NDArray[np.floating]

Interpolation = Literal["nearest", "bilinear", "cubic"]
ORDERS = {"nearest": 0, "bilinear": 1, "cubic": 2}

EDGE = 1e-9
"""Pixels by which a centre may lie before the edge of a pixel and still count as on it, against rounding."""


def interpolate(
    values: Floats, mesh: Mesh, corner: tuple[int, int], shape: tuple[int, int], how: Interpolation
) -> Floats:
    """Values at the centres of a grid's cells; missing where the pixel is that the centre lies in.

    A missing neighbour is left out: next to one, the cubic convolution (Keys 1981, IEEE Trans. Acoust. 29,
    1153-1160, with a = -1/2) gives way to bilinear interpolation between those that are there.

    Parameters
    ----------
    values
        Pixels, shape ``(rows, columns)``, NaN where missing.
    mesh
        Where the cells lie among the file's pixels.
    corner
        Row and column of the first of the values in the file.
    shape
        Rows and columns of the grid.

    Returns
    -------
    array
        Shape `shape`, float64.
    """
    result = np.empty(shape)
    _interpolate(values, mesh.columns - corner[1], mesh.rows - corner[0], mesh.step, ORDERS[how], result)
    return result


@compiled
def _interpolate(values: Any, columns: Any, rows: Any, step: int, order: int, result: Any) -> None:
    high, wide = values.shape
    for i in range(result.shape[0]):
        across, down = _along(columns, i, step), _along(rows, i, step)
        for j in range(result.shape[1]):
            node, further = j // step, (j % step) / step
            x, y = across[node], down[node]
            if further > 0:
                x += further * (across[node + 1] - x)
                y += further * (down[node + 1] - y)
            result[i, j] = math.nan
            # A comparison with NaN is false.
            if not (-EDGE <= x < wide and -EDGE <= y < high):
                continue
            nearest = values[min(int(y + EDGE), high - 1), min(int(x + EDGE), wide - 1)]
            if order == 0 or math.isnan(nearest):
                result[i, j] = nearest
            elif order == 1:
                result[i, j] = _bilinear(values, x - 0.5, y - 0.5)
            else:
                result[i, j] = _cubic(values, x - 0.5, y - 0.5)


@compiled
def _along(nodes: Any, i: int, step: int) -> Any:
    """Nodes at a row of cells."""
    node, further = i // step, (i % step) / step
    return nodes[node] + further * (nodes[node + 1] - nodes[node]) if further > 0 else nodes[node].copy()


@compiled
def _bilinear(values: Any, x: float, y: float) -> float:
    """Between the centres of the four pixels around a place, those that are missing left out."""
    left, top = math.floor(x), math.floor(y)
    total, weight = 0.0, 0.0
    for row in range(max(top, 0), min(top + 2, values.shape[0])):
        for column in range(max(left, 0), min(left + 2, values.shape[1])):
            value = values[row, column]
            if not math.isnan(value):
                share = (1 - abs(x - column)) * (1 - abs(y - row))
                total += share * value
                weight += share
    return total / weight if weight > 0 else math.nan


@compiled
def _cubic(values: Any, x: float, y: float) -> float:
    """Between the centres of the sixteen pixels around a place, if all of them are there, and no further than they go.

    Beside a step the convolution overshoots: rain would be less than none.
    """
    left, top = math.floor(x), math.floor(y)
    if left < 1 or top < 1 or left + 2 >= values.shape[1] or top + 2 >= values.shape[0]:
        return _bilinear(values, x, y)
    along, down = _keys(x - left), _keys(y - top)
    total, least, greatest = 0.0, math.inf, -math.inf
    for row in range(4):
        part = 0.0
        for column in range(4):
            value = values[top - 1 + row, left - 1 + column]
            part += along[column] * value
            least, greatest = min(least, value), max(greatest, value)
        total += down[row] * part
    return _bilinear(values, x, y) if math.isnan(total) else min(max(total, least), greatest)


@compiled
def _keys(t: float) -> tuple[float, float, float, float]:
    """Weights of four points at -1, 0, 1 and 2 for a place between the second and the third."""
    square, cube = t * t, t * t * t
    return (
        (-t + 2 * square - cube) / 2,
        (2 - 5 * square + 3 * cube) / 2,
        (t + 4 * square - 3 * cube) / 2,
        (cube - square) / 2,
    )
