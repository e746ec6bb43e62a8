"""Positions of grid cells among a file's pixels: exact at the nodes of a mesh, linear between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from soilscale.extents import transformer, turn, turned

Floats = NDArray[np.floating]

STEPS = (32, 16, 8, 4, 2)
"""Cells between two nodes, of which the widest is taken that is exact enough."""

EXACT = 1e-3
"""Largest error of a cell's place, in pixels; a mesh that errs more is made denser, at last a node for each cell."""

NEIGHBOURS = 3
"""Pixels around a cell that it may need."""


@dataclass(frozen=True)
class Mesh:
    """Columns and rows, counted in pixels from a file's corner, of every `step`-th cell's centre."""

    columns: Floats
    """Shape ``((Y - 1) // step + 2, (X - 1) // step + 2)``; the last nodes may lie beyond the grid."""
    rows: Floats
    step: int


def to_file(geobox: GeoBox, crs: str, middle: float, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Places on a grid's map in the CRS of a file: all on the turn on which the grid lies nearest to the file.

    So a grid across 180 degrees is not torn apart by a file that ends there, and one west of Greenwich is looked for in
    the eastern half of a file that counts 0..360.

    Parameters
    ----------
    geobox, crs
        The grid, and the CRS of the file.
    middle
        x of the file's middle.
    x, y
        Coordinates in the grid's CRS, of one shape.
    """
    found_x, found_y = transformer(str(geobox.crs), crs).transform(x, y)
    width = turn(crs)
    if width is None:
        return found_x, found_y
    return turned(found_x, _middle(geobox, crs, middle, width), width), found_y


@lru_cache(maxsize=64)
def _middle(geobox: GeoBox, crs: str, middle: float, width: float) -> float:
    """The x of a grid's middle in the CRS of a file, nearest to the middle of the file."""
    left, bottom, right, top = geobox.boundingbox.bbox
    x, _ = transformer(str(geobox.crs), crs).transform((left + right) / 2, (bottom + top) / 2)
    return float(turned(x, middle, width)) if math.isfinite(x) else middle


@lru_cache(maxsize=8)
def mesh(geobox: GeoBox, crs: str, transform: Affine, middle: float) -> Mesh:
    """Mesh of a grid on the lattice of a file; remembered, since all dates of a source share it.

    Parameters
    ----------
    geobox
        Grid of shape ``(Y, X)``.
    crs, transform, middle
        Of the file, north-up; `middle` as in `to_file`.
    """
    for step in STEPS:
        columns, rows = _nodes(geobox, crs, transform, middle, step, 0.0)
        between = _nodes(geobox, crs, transform, middle, step, step / 2)
        pairs = zip((columns, rows), between, strict=True)
        with np.errstate(invalid="ignore"):  # infinite beyond the edge of a map
            # Linear interpolation errs most in the middle of a mesh, so only that place is checked.
            errors = [_middles(nodes) - middle[:-1, :-1] for nodes, middle in pairs]
        if np.abs(errors).max() <= EXACT:  # not where any of them is NaN
            return Mesh(columns, rows, step)
    return Mesh(*_nodes(geobox, crs, transform, middle, 1, 0.0), 1)


def _nodes(
    geobox: GeoBox, crs: str, transform: Affine, middle: float, step: int, shift: float
) -> tuple[Floats, Floats]:
    """Columns and rows of cell centres, `shift` cells to the right of and below every `step`-th."""
    down, right = (np.arange((size - 1) // step + 2) * step + 0.5 + shift for size in geobox.shape)
    x, y = on_ground(geobox.transform, *np.meshgrid(right, down))
    return on_ground(~transform, *to_file(geobox, crs, middle, x, y))


def _middles(nodes: Floats) -> Floats:
    """Mean of the four nodes around each mesh."""
    middle: Floats = (nodes[:-1, :-1] + nodes[1:, :-1] + nodes[:-1, 1:] + nodes[1:, 1:]) / 4
    return middle


def on_ground(transform: Affine, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Apply a north-up transform, or its inverse, to columns and rows, or to x and y."""
    return transform.c + transform.a * columns, transform.f + transform.e * rows


@lru_cache(maxsize=8)
def needed(
    geobox: GeoBox, crs: str, transform: Affine, middle: float, corner: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.int64] | None:
    """Columns of a window that the cells near each of its rows need; None if that is not known; remembered.

    Parameters
    ----------
    geobox, crs, transform, middle
        As for `mesh`.
    corner, shape
        First row and column of the window, and its rows and columns, in pixels of the file.

    Returns
    -------
    array
        First column and the first after, shape ``(rows, 2)``; the same where no cell is near.
    """
    cells = mesh(geobox, crs, transform, middle)
    columns, rows = cells.columns - corner[1], cells.rows - corner[0]
    # Beyond the edge of a map places are infinite: then the whole window is read.
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        return None
    cell = max(np.abs(np.diff(nodes, axis=axis)).max() for nodes in (columns, rows) for axis in (0, 1)) / cells.step
    margin = NEIGHBOURS + math.ceil(cell)
    if margin >= max(shape):  # neighbouring cells lie on either edge of a map of the world
        return None
    (top, bottom), (left, right) = (_spans(nodes, margin) for nodes in (rows, columns))
    least, most = np.full(shape[0], shape[1]), np.zeros(shape[0], "int64")
    for further in range(int((bottom - top).max())):
        row = top + further
        in_rows = (row < bottom) & (row >= 0) & (row < shape[0])
        np.minimum.at(least, row[in_rows], left[in_rows])
        np.maximum.at(most, row[in_rows], right[in_rows])
    return np.clip(np.stack([np.minimum(least, most), most], axis=1), 0, shape[1])


def _spans(nodes: Floats, margin: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels between four nodes and a margin around them: the first, and the first after."""
    corners = nodes[:-1, :-1], nodes[1:, :-1], nodes[:-1, 1:], nodes[1:, 1:]
    first, last = np.min(corners, axis=0), np.max(corners, axis=0)
    return np.floor(first).astype("int64") - margin, np.ceil(last).astype("int64") + margin
