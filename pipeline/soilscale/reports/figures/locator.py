"""A small globe that shows the location of an area; its coastline comes with the package."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from numpy.typing import NDArray

from soilscale.reports.style import INK, VERMILION

Box = tuple[float, float, float, float]
"""West, south, east, north, degrees."""

SIDE = 0.27
"""Side of the globe's square, as a share of the panel's width."""

ROOM = 0.02
"""Distance from the panel's corner, likewise."""

CORNERS = {"lower right": (1.0, 0.0), "upper left": (0.0, 1.0), "upper right": (1.0, 1.0)}
"""Corners that are free for it, the most welcome first; the scale bar stands in the fourth."""

VISIBLE = 8.0
"""Degrees across below which an area is marked by a dot, since its outline would not be seen."""

OCEAN, GRATICULE = "#eef3f7", "0.8"


def locate(axes: Axes, box: Box, values: NDArray[np.float64], height: float, occupied: str | None = None) -> Axes:
    """Set a globe, seen from above an area, into the corner of a map where it hides the fewest values.

    Parameters
    ----------
    axes
        The map.
    box
        The area.
    values
        What the map shows, shape ``(y, x)``, NaN where missing.
    height
        Height of the map on the page for a width of 1.
    occupied
        Corner in which something else stands.
    """
    free = {name: at for name, at in CORNERS.items() if name != occupied}
    wide, high = SIDE, SIDE / height
    corner = min(free, key=lambda name: _hidden(values, free[name], wide, high))
    right, top = free[corner]
    place = (right * (1 - wide - 2 * ROOM) + ROOM, top * (1 - high - 2 * ROOM / height) + ROOM / height, wide, high)
    globe = axes.inset_axes(place, zorder=6, label="<locator>")
    _draw(globe, box)
    return globe


def _hidden(values: NDArray[np.float64], corner: tuple[float, float], wide: float, high: float) -> int:
    """How many values lie beneath a square in a corner."""
    rows, columns = values.shape
    down, across = max(1, round(high * rows)), max(1, round(wide * columns))
    vertical = slice(0, down) if corner[1] else slice(rows - down, rows)
    horizontal = slice(columns - across, columns) if corner[0] else slice(0, across)
    return int(np.isfinite(values[vertical, horizontal]).sum())


def _draw(globe: Axes, box: Box) -> None:
    west, south, east, north = box
    centre = (west + east) / 2, (south + north) / 2
    globe.add_patch(Circle((0, 0), 1, facecolor=OCEAN, edgecolor=INK, linewidth=0.6, zorder=0))
    along = np.linspace(-180, 180, 181)
    for degree in range(-60, 90, 30):
        _line(globe, along, np.full_like(along, degree), centre, color=GRATICULE, linewidth=0.3)
    for degree in range(-180, 180, 30):
        _line(globe, np.full_like(along, degree), along / 2, centre, color=GRATICULE, linewidth=0.3)
    for ring in coastline():
        _line(globe, ring[:, 0], ring[:, 1], centre, color=INK, linewidth=0.4)
    if max(east - west, north - south) < VISIBLE:
        globe.plot([0], [0], marker="s", markersize=3.2, color=VERMILION, markeredgewidth=0)
    else:
        x, y = np.linspace(west, east, 20), np.linspace(south, north, 20)
        ring_x = np.r_[x, np.full(20, east), x[::-1], np.full(20, west)]
        ring_y = np.r_[np.full(20, south), y, np.full(20, north), y[::-1]]
        _line(globe, ring_x, ring_y, centre, color=VERMILION, linewidth=1.0)
    globe.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal")
    globe.set_axis_off()


def _line(
    globe: Axes, longitude: NDArray[np.float64], latitude: NDArray[np.float64], centre: tuple[float, float], **look: Any
) -> None:
    globe.plot(*orthographic(longitude, latitude, *centre), solid_capstyle="round", **look)


def orthographic(
    longitude: NDArray[np.float64], latitude: NDArray[np.float64], lon_0: float, lat_0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places on a globe of radius 1 seen from afar above a point; NaN on its far side.

    Snyder (1987, USGS Professional Paper 1395), Eqs 20-3 to 20-5.

    Parameters
    ----------
    longitude, latitude
        Degrees, one shape.
    lon_0, lat_0
        The point in the middle, degrees.
    """
    across, up, middle = np.radians(longitude - lon_0), np.radians(latitude), np.radians(lat_0)
    towards = np.sin(middle) * np.sin(up) + np.cos(middle) * np.cos(up) * np.cos(across)
    # Missing on the far side and not left out, so that lines break at the horizon.
    x = np.where(towards >= 0, np.cos(up) * np.sin(across), np.nan)
    y = np.where(towards >= 0, np.cos(middle) * np.sin(up) - np.sin(middle) * np.cos(up) * np.cos(across), np.nan)
    return x, y


@cache
def coastline() -> tuple[NDArray[np.float64], ...]:
    """Rings of the land, longitude and latitude in degrees, each of shape ``(n, 2)``: Natural Earth, public domain."""
    record = json.loads(files("soilscale.reports.figures").joinpath("coastline.json").read_text(encoding="utf-8"))
    return tuple(np.array(ring) for ring in record["rings"])
