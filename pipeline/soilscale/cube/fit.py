"""Whether the coarse grid fits the pixels of the observation, and which one would."""

from __future__ import annotations

from dataclasses import dataclass

from pyproj import CRS

from soilscale.cube import warping
from soilscale.cube.assets import Header
from soilscale.extents import turn, turned
from soilscale.grid import Grid

EXACT = 0.02
"""Share of a pixel by which a coarse cell may miss the pixels of the observation."""

MANY = 4
"""Pixels of the observation along a coarse cell beyond which it is doubted that so large a cell is meant."""


@dataclass(frozen=True)
class Advice:
    """What is to be said of a grid that does not fit."""

    text: str
    misfit: bool
    """Whether a grid in the observation's own CRS would fit by another size or origin."""


def advice(header: Header, grid: Grid) -> Advice | None:
    """How a coarse grid should be laid for its cells to be whole pixels of the observation; None if they are.

    Parameters
    ----------
    header
        Of a file of the target.
    grid
        The grid of the configuration.
    """
    grid_crs, file_crs = CRS.from_user_input(grid.crs), CRS.from_wkt(header.wkt)
    width, height = header.pixel
    pixel = f"{width:.9g}" if abs(width / height - 1) < EXACT else f"{width:.9g} x {height:.9g}"
    # Two CRS in degrees may differ in their datum, by far less than a pixel.
    if not (grid_crs.equals(file_crs, ignore_axis_order=True) or (grid_crs.is_geographic and file_crs.is_geographic)):
        count = warping.pixels_per_cell(grid.coarse, header)
        crs_name = file_crs.to_string() if file_crs.to_authority() else file_crs.name
        return Advice(
            f"the observation is in {crs_name} with pixels of {pixel}, the grid in {grid.crs}: a coarse cell is "
            f"{count:.2g} pixels wide and mixes parts of several, so the maps conserve their mean; to make cells "
            f"match observations, write grid.crs: {crs_name}, coarse: {width:.9g}, origin: {_origin(header, width)}",
            misfit=False,
        )
    sides = [grid.side / step for step in header.pixel]
    if any(abs(count - round(count)) > EXACT or round(count) < 1 for count in sides):
        size = max(1, round(sides[0])) * width
        return Advice(
            f"coarse: {grid.side:.9g} is not a multiple of the observation's pixel of {pixel} ({sides[0]:.4g} "
            f"pixels), so coarse cells mix parts of several observations; coarse: {size:.9g} with origin: "
            f"{_origin(header, size)} would fit",
            misfit=True,
        )
    if max(sides) > MANY + EXACT:
        unit = grid_crs.axis_info[0].unit_name
        return Advice(
            f"coarse: {grid.side:.9g} takes {round(sides[0])} x {round(sides[1])} pixels of the observation, each of "
            f"{pixel}, into one coarse cell; is it given in the unit of {grid.crs}, the {unit}? coarse: {width:.9g} "
            "would keep every observation",
            misfit=True,
        )
    # A grid at -10 degrees and a file that counts 0..360 are compared on one turn, not 360 degrees apart.
    left = float(turned(grid.left, header.transform.c, turn(grid.crs)))
    away = (left - header.transform.c) / width, (header.transform.f - grid.top) / height
    off = [count - round(count) for count in away]
    if max(map(abs, off)) <= EXACT:
        return None
    corner = grid.left - off[0] * width, grid.top + off[1] * height
    return Advice(
        f"the grid's corners lie {abs(off[0]):.2g} and {abs(off[1]):.2g} pixels away from those of the observation, "
        f"so a coarse cell mixes parts of several observations; origin: {_near_zero(corner, grid.side)} would fit",
        misfit=True,
    )


def _origin(header: Header, side: float) -> list[float]:
    return _near_zero((header.transform.c, header.transform.f), side)


def _near_zero(corner: tuple[float, float], side: float) -> list[float]:
    """Corner of the same grid that lies nearest to 0, 0."""
    # Adding 0.0 turns -0.0, which would be printed with its sign, into 0.0.
    return [round(value - side * round(value / side), 9) + 0.0 for value in corner]
