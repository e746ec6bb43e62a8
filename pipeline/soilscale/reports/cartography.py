"""Cartographic elements of a map: extent, graticule and scale bar, on any CRS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pyproj import CRS, Geod

from soilscale.extents import TURN, transformer, turned
from soilscale.grid import LONLAT
from soilscale.reports.style import INK, MISSING
from soilscale.reports.summaries import stride

Extent = tuple[float, float, float, float]
"""Left, right, bottom, top, in the CRS's units."""

POINTS = 60
"""Points along an axis at which longitude and latitude are computed for the graticule."""

BAR = 0.35
"""Greatest length of a scale bar, as a share of the map's width."""

MARGIN = 0.03
"""Room around what is shown, as a share of its longer side."""


def extent(array: xr.DataArray) -> Extent:
    """Outer edges of an array with coordinates y and x, which are cell centres."""
    x, y = array["x"].to_numpy(), array["y"].to_numpy()
    # An axis of one cell does not tell its side: it then has none, instead of a division by 0.
    half_x = abs(float(x[-1] - x[0])) / max(len(x) - 1, 1) / 2
    half_y = abs(float(y[-1] - y[0])) / max(len(y) - 1, 1) / 2
    return (
        float(x.min()) - half_x,
        float(x.max()) + half_x,
        float(y.min()) - half_y,
        float(y.max()) + half_y,
    )


def window(shown: Sequence[tuple[NDArray[np.float64], Extent]]) -> Extent:
    """Smallest extent with a margin in which every value of some fields lies; that of the first if none has any.

    Parameters
    ----------
    shown
        Fields of shape ``(y, x)``, the first row northernmost, NaN where missing, and their extents.
    """
    parts = [_occupied(values, bounds) for values, bounds in shown if np.isfinite(values).any()]
    left, right, bottom, top = np.array(parts or [shown[0][1]]).T
    west, east, south, north = float(left.min()), float(right.max()), float(bottom.min()), float(top.max())
    pad = MARGIN * max(east - west, north - south)
    return west - pad, east + pad, south - pad, north + pad


def _occupied(values: NDArray[np.float64], bounds: Extent) -> Extent:
    """Extent of the rows and columns that have a value."""
    left, right, bottom, top = bounds
    finite = np.isfinite(values)
    rows, columns = np.flatnonzero(finite.any(axis=1)), np.flatnonzero(finite.any(axis=0))
    high, wide = (top - bottom) / values.shape[0], (right - left) / values.shape[1]
    return (
        left + float(columns[0]) * wide,
        left + float(columns[-1] + 1) * wide,
        top - float(rows[-1] + 1) * high,
        top - float(rows[0]) * high,
    )


def thinned(array: xr.DataArray) -> xr.DataArray:
    """Every n-th row and column of a map with too many to be drawn."""
    step = stride((array.sizes["y"], array.sizes["x"]))
    return array.isel(y=slice(None, None, step), x=slice(None, None, step))


def shape(view: Extent, crs: str) -> float:
    """Height of a map on the page for a width of 1."""
    return stretch(view, crs) * (view[3] - view[2]) / (view[1] - view[0])


def stretch(bounds: Extent, crs: str) -> float:
    """Height of a unit of y on the page for one of x: 1, but on a grid in degrees that of the middle latitude."""
    if not CRS.from_user_input(crs).is_geographic:
        return 1.0
    return 1 / math.cos(math.radians((bounds[2] + bounds[3]) / 2))


def limits(fields: Sequence[NDArray[np.float64]], percentiles: tuple[float, float] = (2, 98)) -> tuple[float, float]:
    """Range of the colours: percentiles of everything that shares them."""
    values = np.concatenate([values[np.isfinite(values)] for values in fields])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, percentiles)
    # A field of one value would leave a scale without a width, which colours cannot be spread over.
    return float(low), float(max(high, low + 1e-6))


def paint(
    axes: Axes,
    values: NDArray[np.float64],
    bounds: Extent,
    view: Extent,
    crs: str,
    colours: str | Colormap,
    range_: tuple[float, float],
) -> Any:
    """Draw one map with its graticule; the image, from which a colour bar can be made.

    Parameters
    ----------
    values
        Shape ``(y, x)``, NaN where missing.
    bounds
        Extent of the values.
    view
        Extent to show.
    """
    palette = mpl.colormaps[colours] if isinstance(colours, str) else colours
    image = axes.imshow(
        values,
        extent=bounds,
        cmap=palette.with_extremes(bad=MISSING),
        vmin=range_[0],
        vmax=range_[1],
        # Anything smoother would invent values between cells and let missing ones bleed into their neighbours.
        interpolation="nearest",
        aspect=stretch(view, crs),
    )
    axes.set_facecolor(MISSING)
    graticule(axes, view, crs)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return image


def colour_bar(
    figure: Figure,
    image: ScalarMappable,
    axes: Sequence[Axes],
    label: str,
    extend: str = "both",
    **place: Any,
) -> None:
    """Add a colour bar beside axes, or where the further options say."""
    options = {"shrink": 0.85, "pad": 0.02, "aspect": 22} | place
    bar = figure.colorbar(image, ax=list(axes), extend=extend, **options)
    bar.set_label(label)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
    bar.outline.set_linewidth(0.4)


def graticule(axes: Axes, bounds: Extent, crs: str) -> None:
    """Draw meridians and parallels, and name them where they meet the lower and the left edge."""
    left, right, bottom, top = bounds
    to_lonlat = transformer(crs, LONLAT)
    x, y = np.linspace(left, right, POINTS), np.linspace(bottom, top, POINTS)
    longitude, latitude = (np.asarray(part) for part in to_lonlat.transform(*np.meshgrid(x, y)))
    # Across 180 degrees longitude jumps by a turn, and the jump would be contoured as a bundle of meridians.
    longitude = turned(longitude, float(longitude[POINTS // 2, POINTS // 2]), TURN)
    for values, edge, along, axis, signs in (
        (longitude, longitude[0], x, axes.xaxis, "EW"),
        (latitude, latitude[:, 0], y, axes.yaxis, "NS"),
    ):
        levels = _levels(values)
        if levels:
            axes.contour(x, y, values, levels=levels, colors="0.35", linewidths=0.35, alpha=0.45)
        # `np.interp` would put a label that lies beyond the edge at the edge's end.
        labelled = [level for level in levels if edge.min() <= level <= edge.max()]
        axis.set_ticks(
            [float(np.interp(level, edge, along)) for level in labelled],
            labels=[_degrees(level, signs) for level in labelled],
        )
    axes.tick_params(length=2, pad=2, labelsize=6.5)
    # After contours and ticks, both of which may widen the axes.
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def scale_bar(axes: Axes, bounds: Extent, crs: str) -> None:
    """Draw a bar of a round number of kilometres at the lower left, true along the middle of the map."""
    left, right, bottom, top = bounds
    to_lonlat = transformer(crs, LONLAT)
    middle = (bottom + top) / 2
    (west, east), (first, last) = to_lonlat.transform([left, right], [middle, middle])
    width = Geod(ellps="WGS84").inv(west, first, east, last)[2] / 1000
    length = _round_down(width * BAR)
    start, size = left + 0.05 * (right - left), (right - left) * length / width
    at, tick = bottom + 0.05 * (top - bottom), 0.012 * (top - bottom)
    # A white line below the bar keeps it legible on any colour.
    for colour, thickness in (("white", 3.4), (INK, 1.2)):
        axes.plot(
            [start, start, start + size, start + size],
            [at + tick, at, at, at + tick],
            color=colour,
            linewidth=thickness,
            solid_capstyle="projecting",
            solid_joinstyle="miter",
        )
    axes.annotate(
        f"{length:g} km",
        (start + size / 2, at + tick),
        xytext=(0, 2.5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=6.5,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
    )


def _levels(values: NDArray[np.float64]) -> list[float]:
    """Round degrees within a range of longitudes or latitudes, about three of them."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    ticks = MaxNLocator(4, steps=[1, 2, 3, 5, 10]).tick_values(low, high)
    return [round(float(tick), 6) for tick in ticks if low < tick < high]


def _degrees(value: float, signs: str) -> str:
    """Degrees with the hemisphere's letter: -5.5 -> 5.5°W."""
    # A grid that lies across 180 degrees counts on: 181 is 179°W.
    value = float(turned(value, 0.0, TURN)) if signs == "EW" else value
    sign = signs[0] if value > 0 else signs[1] if value < 0 else ""
    return f"{abs(value):g}°{sign}"


def _round_down(value: float) -> float:
    """Round number not greater than a value: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    # Steps of a power below 1 are not exact in binary: one may lie a hair above the very value that it is.
    return power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))
