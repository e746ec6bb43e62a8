"""Maps: the area, products side by side, and where the fine maps differ from the coarse product."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from numpy.typing import NDArray

from soilscale.extents import transformer, turn, turned
from soilscale.grid import LONLAT
from soilscale.reports.cartography import (
    Extent,
    colour_bar,
    extent,
    limits,
    paint,
    scale_bar,
    shape,
    thinned,
    window,
)
from soilscale.reports.figures.locator import locate
from soilscale.reports.style import (
    ERROR,
    HEIGHT,
    INK,
    SERIES,
    SOIL_MOISTURE,
    UNIT,
    WIDTH,
    canvas,
    dated,
    png,
    words,
)
from soilscale.reports.tables import field
from soilscale.seasons import Seasons

Fields = dict[str, NDArray[np.float64]]

BAR_ROOM, LABEL_ROOM = 0.75, 0.55
"""Inches beside the maps of a row for the colour bar, and for the names of rows and parallels."""

MOST_IN_ROW = 4

LEGEND_WIDTH = 22
"""Letters in a line of the land cover's legend."""

TALL = 1.15
"""Height of a map, of its width, from which four of them stand in one row."""


@png
def maps_side_by_side(
    products: Mapping[str, xr.DataArray],
    dates: Sequence[np.datetime64],
    season_of: Seasons,
    crs: str,
    labels: Sequence[str] = (),
    *,
    one_scale: bool = False,
) -> Figure:
    """Soil moisture of several products side by side, a row for each date with one colour scale.

    Parameters
    ----------
    products
        Heading -> soil moisture (time, y, x), m3 m-3, of the same area; grids may differ.
    dates
        Months to show, one at least; `reports.tables.representative` chooses one a season.
    crs
        CRS of the grids.
    labels
        What each date stands for; by default its season and the month itself.
    one_scale
        Whether all rows share their scale.
    """
    labels = labels or dated(dates, season_of)
    drawn = {name: thinned(array) for name, array in products.items()}
    bounds = {name: extent(array) for name, array in drawn.items()}
    rows: list[Fields] = [{name: field(array, date) for name, array in drawn.items()} for date in dates]
    view = window([(values, bounds[name]) for row in rows for name, values in row.items()])
    wide = (WIDTH - BAR_ROOM - LABEL_ROOM) / len(products) - 0.08
    figure = canvas(len(dates) * (wide * shape(view, crs) + 0.12) + 0.5, "compressed")
    grid: NDArray[Any] = figure.subplots(len(dates), len(products), squeeze=False)
    everything = limits([values for row in rows for values in row.values()])
    for number, (axes_of_row, label, row) in enumerate(zip(grid, labels, rows, strict=True)):
        colours = everything if one_scale else limits(list(row.values()))
        for axes, (name, values) in zip(axes_of_row, row.items(), strict=True):
            image = paint(axes, values, bounds[name], view, crs, SOIL_MOISTURE, colours)
            axes.label_outer()
            if number == 0:
                axes.set_title(words(name), fontweight="bold", pad=5)
        axes_of_row[0].set_ylabel(label, labelpad=4)
        if not one_scale:
            colour_bar(figure, image, axes_of_row, f"soil moisture, {UNIT}")
    if one_scale:
        colour_bar(figure, image, list(grid.flat), f"soil moisture, {UNIT}", shrink=0.5, aspect=30)
    scale_bar(grid[0, 0], view, crs)
    return figure


@png
def in_a_row(
    fields: Mapping[str, xr.DataArray], crs: str, colours: str, label: str, *, diverging: bool = False
) -> Figure:
    """Fields of one quantity side by side, with one scale of colours.

    Parameters
    ----------
    fields
        Heading -> field (y, x), NaN where missing, all on one grid.
    crs
        CRS of the grid.
    colours
        Name of the scale of colours.
    label
        What the colours show, with its unit.
    diverging
        Whether the scale is centred on 0.
    """
    drawn = {name: array.to_numpy().astype("float64") for name, array in fields.items()}
    bounds = extent(next(iter(fields.values())))
    view = window([(values, bounds) for values in drawn.values()])
    wide = min(len(drawn), MOST_IN_ROW)
    rows = -(-len(drawn) // wide)
    figure = canvas(rows * ((WIDTH - BAR_ROOM - LABEL_ROOM) / wide * shape(view, crs) + 0.4) + 0.2, "compressed")
    grid: NDArray[Any] = figure.subplots(rows, wide, squeeze=False)
    low, high = limits(list(drawn.values()))
    if diverging:
        high = max(abs(low), abs(high))
        low = -high
    for axes, (name, values) in zip(grid.flat, drawn.items(), strict=False):
        image = paint(axes, values, bounds, view, crs, colours, (low, high))
        axes.label_outer()
        axes.set_title(name)
    for axes in list(grid.flat)[len(drawn) :]:
        axes.set_visible(False)
    colour_bar(figure, image, list(grid.flat), label)
    scale_bar(grid[0, 0], view, crs)
    return figure


@png
def rmse_maps(by_season: Mapping[str, tuple[xr.DataArray, int]], crs: str) -> Figure:
    """RMSE between the fine maps and the coarse product laid on their grid as nearest (Yan & Bai 2020, Figure 4).

    Parameters
    ----------
    by_season
        Season -> RMSE over its months in each cell to be drawn (y, x), m3 m-3, NaN without a pair, and the number of
        months with one.
    crs
        CRS of the grid.
    """
    errors = {season: rmse.to_numpy() for season, (rmse, _) in by_season.items()}
    bounds = extent(next(iter(by_season.values()))[0])
    view = window([(rmse, bounds) for rmse in errors.values()])
    wide = min(
        len(by_season), MOST_IN_ROW if shape(view, crs) > TALL or len(by_season) > MOST_IN_ROW else MOST_IN_ROW // 2
    )
    rows = -(-len(by_season) // wide)
    figure = canvas(rows * ((WIDTH - BAR_ROOM - LABEL_ROOM) / wide * shape(view, crs) + 0.5) + 0.2, "compressed")
    grid: NDArray[Any] = figure.subplots(rows, wide, squeeze=False)
    top = limits(list(errors.values()), (0, 98))[1]
    for axes, (season, rmse) in zip(grid.flat, errors.items(), strict=False):
        image = paint(axes, rmse, bounds, view, crs, ERROR, (0.0, top))
        axes.label_outer()
        axes.set_title(f"{words(season)}\n{_mean_square(rmse):.4f}, {by_season[season][1]} months", linespacing=1.35)
    for axes in list(grid.flat)[len(by_season) :]:
        axes.set_visible(False)
    colour_bar(figure, image, list(grid.flat), f"RMSE, {UNIT}", extend="max")
    scale_bar(grid[0, 0], view, crs)
    return figure


def _mean_square(rmse: NDArray[np.float64]) -> float:
    """RMSE over cells from that of each."""
    return math.sqrt(float(np.nanmean(rmse**2)))


@dataclass(frozen=True)
class Area:
    """What is known of a study area; what is not known is not drawn."""

    observation: xr.DataArray
    """Coarse observation of one month (y, x), m3 m-3."""
    month: np.datetime64
    crs: str
    elevation: xr.DataArray | None = None
    """Fine, (y, x), m."""
    land_cover: Mapping[str, xr.DataArray] = attribute(default_factory=dict)
    """Class -> its share of the fine cells (y, x)."""
    stations: pd.DataFrame | None = None
    """longitude, latitude; a row for each station."""
    outline: Sequence[NDArray[np.float64]] = ()
    """Rings of the area's polygon, longitude and latitude, each of shape ``(n, 2)``."""


@png
def study_area(area: Area) -> Figure:
    """Location of the area, with the coarse product of a month, elevation and the dominant land cover.

    Parameters
    ----------
    area
        What is known of it; panels of what is not are left out.
    """
    observed = area.observation.to_numpy().astype("float64")
    fields = [(observed, extent(area.observation))]
    if area.elevation is not None:
        relief = thinned(area.elevation)
        fields.append((relief.to_numpy().astype("float64"), extent(relief)))
    view = window(fields)
    panels = 1 + (area.elevation is not None) + bool(area.land_cover)
    # A panel that is alone would fill the width, and be higher than a page.
    wide = (WIDTH - LABEL_ROOM) / max(panels, 2)
    figure = canvas(wide * shape(view, area.crs) + 1.15, "compressed")
    axes: list[Axes] = list(figure.subplots(1, panels, squeeze=False)[0])
    below: dict[str, Any] = {"location": "bottom", "shrink": 0.9, "aspect": 25, "pad": 0.02}
    image = paint(axes[0], *fields[0], view, area.crs, SOIL_MOISTURE, limits([observed]))
    colour_bar(figure, image, axes[:1], f"soil moisture, {UNIT}", **below)
    titles = [f"coarse product, {area.month.astype('datetime64[M]')}"]
    if area.elevation is not None:
        relief_image = paint(axes[1], *fields[1], view, area.crs, HEIGHT, limits([fields[1][0]], (0.5, 99.5)))
        colour_bar(figure, relief_image, axes[1:2], "elevation, m", **below)
        titles.append("elevation and coarse cells")
        _cells(axes[1], area.observation)
    if area.land_cover:
        lines = _classes(axes[-1], area.land_cover, view, area.crs)
        _make_room(figure, max(0.0, 0.125 * lines - 0.4))
        titles.append("dominant land cover")
    for letter, panel, title in zip("abc"[:panels], axes, titles, strict=True):
        panel.set_title(f"({letter}) {title}", loc="left")
        panel.label_outer()
        _outline(panel, area.outline, area.crs)
        _stations(panel, area.stations, area.crs)
    marked = area.stations is not None and len(area.stations) > 0
    locate(
        axes[0],
        _lonlat(fields[0][1], area.crs),
        _in_view(fields[0], view),
        shape(view, area.crs),
        "upper right" if marked else None,
    )
    if marked:
        axes[0].legend(loc="upper right", frameon=True, framealpha=0.85, edgecolor="none", handletextpad=0.2)
    scale_bar(axes[0], view, area.crs)
    return figure


def _lonlat(bounds: Extent, crs: str) -> tuple[float, float, float, float]:
    """West, south, east, north of an extent, degrees."""
    left, right, bottom, top = bounds
    degrees = transformer(crs, LONLAT).transform_bounds(left, bottom, right, top)
    west, south, east, north = (float(side) for side in degrees)
    # PROJ tells an area across 180 degrees by an east that is less than its west.
    return west, south, east + 360 * (east < west), north


def _in_view(shown: tuple[NDArray[np.float64], Extent], view: Extent) -> NDArray[np.float64]:
    """Values of a field as they fill a panel, missing in its margin."""
    values, (left, right, bottom, top) = shown
    y = top - (np.arange(len(values)) + 0.5) * (top - bottom) / len(values)
    x = left + (np.arange(values.shape[1]) + 0.5) * (right - left) / values.shape[1]
    rows, columns = (y > view[2]) & (y < view[3]), (x > view[0]) & (x < view[1])
    return values[np.ix_(rows, columns)]


def _make_room(figure: Figure, inches: float) -> None:
    """Leave the foot of a figure to a legend that hangs into it."""
    engine, (width, height) = figure.get_layout_engine(), figure.get_size_inches()
    figure.set_size_inches(width, height + inches)
    share = inches / (height + inches)
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, share, 1, 1 - share))


def _cells(axes: Axes, coarse: xr.DataArray) -> None:
    """Draw the borders of the coarse cells that have a value."""
    left, right, bottom, top = extent(coarse)
    rows, columns = coarse.shape
    for i, j in np.argwhere(np.isfinite(coarse.to_numpy())):
        high, wide = (top - bottom) / rows, (right - left) / columns
        x, y = left + j * wide, top - i * high
        axes.plot([x, x + wide, x + wide, x, x], [y, y, y - high, y - high, y], color="white", lw=0.5, alpha=0.7)


def _outline(axes: Axes, rings: Sequence[NDArray[np.float64]], crs: str) -> None:
    for ring in rings:
        axes.plot(*_placed(axes, ring[:, 0], ring[:, 1], crs), color=INK, linewidth=0.8)


def _placed(
    axes: Axes, longitude: NDArray[np.float64], latitude: NDArray[np.float64], crs: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places on a map, on the turn that it shows."""
    x, y = transformer(LONLAT, crs).transform(longitude, latitude)
    return turned(x, sum(axes.get_xlim()) / 2, turn(crs)), y


def _stations(axes: Axes, stations: pd.DataFrame | None, crs: str) -> None:
    if stations is None or not len(stations):
        return
    places = stations["longitude"].to_numpy(), stations["latitude"].to_numpy()
    x, y = _placed(axes, *places, crs)
    look: Any = {"marker": "^", "s": 16, "color": INK, "edgecolor": "white", "linewidth": 0.6, "zorder": 5}
    axes.scatter(x, y, label="station", **look)


def _classes(axes: Axes, shares: Mapping[str, xr.DataArray], view: Extent, crs: str) -> int:
    """Draw the class with the largest share of each cell, the rarest beyond the colours as one; lines of the legend."""
    drawn = {name: thinned(share) for name, share in shares.items()}
    stack = np.stack([share.to_numpy().astype("float64") for share in drawn.values()])
    missing = ~np.isfinite(stack).all(axis=0)
    # argmax would take NaN for the largest share.
    dominant = np.where(missing, -1, np.argmax(np.where(np.isfinite(stack), stack, 0), axis=0))
    counts = {name: int((dominant == i).sum()) for i, name in enumerate(drawn)}
    frequent = sorted((name for name in drawn if counts[name]), key=lambda name: -counts[name])
    room = len(SERIES) if len(frequent) <= len(SERIES) else len(SERIES) - 1
    place = {name: min(i, room) for i, name in enumerate(frequent)}
    labels = [*frequent[:room], *(["other"] if len(frequent) > room else [])]
    # The code at the end is for -1, the missing cells, which are then set to NaN.
    codes = np.array([*(place.get(name, 0) for name in drawn), 0], dtype=float)
    values = np.where(missing, np.nan, codes[dominant])
    # most land is green or tawny to a reader, so the two commonest classes are
    palette = [SERIES[i] for i in (2, 1, 6, 5, 0, 3, 4, 7)]
    colours = ListedColormap(palette[: len(labels)])
    paint(axes, values, extent(next(iter(drawn.values()))), view, crs, colours, (-0.5, len(labels) - 0.5))
    names = [textwrap.fill(words(name), LEGEND_WIDTH) for name in labels]
    patches = [Patch(facecolor=colour, label=name) for name, colour in zip(names, palette, strict=False)]
    legend = axes.legend(
        handles=patches,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=2,
        fontsize=6.5,
        handlelength=1.1,
        columnspacing=1,
        labelspacing=0.3,
        borderaxespad=0,
    )
    # It hangs into room that `_make_room` leaves; the layout would shrink the maps for it.
    legend.set_in_layout(False)
    columns = [names[: -(-len(names) // 2)], names[-(-len(names) // 2) :]]
    return max(sum(name.count("\n") + 1 for name in column) for column in columns)
