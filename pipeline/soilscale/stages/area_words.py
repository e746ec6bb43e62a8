"""Where a run is, and how large its cells are, in plain words."""

from __future__ import annotations

import posixpath

import numpy as np
from pyproj import CRS

from soilscale.config import Config
from soilscale.extents import TURN, turned
from soilscale.grid import Grid, metres_per_cell


def area_words(settings: Config) -> str:
    """Where, in words: a box in degrees, or the name of the polygon's file and its box."""
    polygon, box = settings.geometry, settings.area.bbox
    west, south, east, north = box if polygon is None and box else polygon.bounds if polygon else (0.0, 0.0, 0.0, 0.0)
    extent = f"{_degrees(west, 'EW')} to {_degrees(east, 'EW')}, {_degrees(south, 'NS')} to {_degrees(north, 'NS')}"
    return extent if settings.area.geometry is None else f"{posixpath.basename(settings.area.geometry)}, {extent}"


def _degrees(value: float, signs: str) -> str:
    """Degrees with the hemisphere's letter: -5.5 -> 5.5° W."""
    value = float(turned(value, 0.0, TURN)) if signs == "EW" else value
    return f"{abs(value):.4g}° {signs[0] if value >= 0 else signs[1]}"


def side(grid: Grid, length: float) -> str:
    """Side of a cell as a reader says it: ``1 km``, and on a grid in degrees also these, as in ``25 km (0.25°)``.

    Parameters
    ----------
    length
        In units of the grid's CRS.

    Examples
    --------
    >>> from shapely.geometry import box
    >>> from soilscale.grid import cover
    >>> grid = cover(box(108, 34, 109, 35), "EPSG:4326", 0.25, 25)
    >>> side(grid, 0.25), side(grid, 0.01)
    ('25 km (0.25°)', '1 km (0.01°)')
    """
    axis = CRS.from_user_input(grid.crs).axis_info[0]
    if not axis.unit_name.startswith("deg"):
        return f"{length * axis.unit_conversion_factor / 1000:.3g} km"
    # A cell in degrees is narrower than high: the side of the square of its mean area, which a reader expects.
    steps = metres_per_cell(grid.coarse)
    area = np.abs(steps[0, 0] * steps[1, 1] - steps[0, 1] * steps[1, 0]).mean()
    return f"{np.sqrt(area) * length / grid.side / 1000:.2g} km ({length:g}°)"
