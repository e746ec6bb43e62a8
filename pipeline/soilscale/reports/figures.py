"""Figures of the report, each a function from data to the bytes of a PNG image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from io import BytesIO
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from soilscale.reports.cartography import Extent, extent, graticule, scale_bar, stretch
from soilscale.reports.scores import SCORES
from soilscale.reports.tables import BILINEAR, NEAREST, Algorithm, field, shared_months
from soilscale.seasons import ALL, Seasons

UNIT = "m³ m⁻³"
WIDTH = 7.2
"""Width of a figure, inches: two columns of a journal."""
DPI = 200

SEQUENTIAL = "YlGnBu"
"""Colours of soil moisture: lightness falls evenly from dry to wet, and is told apart without red and green."""

PIXELS = 1200
"""Cells along an axis of a drawn map, at most; of a larger map every n-th is drawn."""

MARKED_MONTHS = 72
"""Longest time series in which every month is marked."""

LABELLED_METHODS = 5
"""Most methods for which the numbers fit above the bars."""

MISSING = "#e3e3e3"
INK, MUTED = "#1f2328", "#6e7781"
BLUE, PALE, GREY, DARK = "#0072B2", "#9ecae1", "#c4c9cf", "#7d858e"
ALGORITHMS = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Colours of Okabe & Ito (2008), which the colour-blind tell apart."""

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.edgecolor": "#b4bac1",
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "date.converter": "concise",
}

P = ParamSpec("P")


def _png(draw: Callable[P, Figure]) -> Callable[P, bytes]:
    """Make a function that draws a figure one that returns it as PNG, in the report's style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> bytes:
        with mpl.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            buffer = BytesIO()
            figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
        return buffer.getvalue()

    return drawn


def _figure(height: float) -> Figure:
    """Empty figure of the report's width, in inches, that needs no window."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def representative(coarse: xr.DataArray, season_of: Seasons) -> list[np.datetime64]:
    """Month of each season in which most cells are observed, the latest of them; seasons in their order."""
    best: dict[str, tuple[int, np.datetime64]] = {}
    for month in shared_months(coarse):
        count, season = int(np.isfinite(field(coarse, month)).sum()), season_of.name(month)
        if count and count >= best.get(season, (0, month))[0]:
            best[season] = (count, month)
    return [best[season][1] for season in season_of.names if season in best]


@_png
def maps_side_by_side(
    products: dict[str, xr.DataArray],
    dates: Sequence[np.datetime64],
    season_of: Seasons,
    crs: str,
) -> Figure:
    """Soil moisture of several products side by side, a row for each date with one colour scale.

    Parameters
    ----------
    products
        Heading -> soil moisture (time, y, x), m3 m-3, of the same area; grids may differ.
    dates
        Months to show, one at least; `representative` chooses one a season.
    crs
        CRS of the grids.
    """
    finest = max(products.values(), key=lambda array: array.sizes["x"])
    left, right, bottom, top = bounds = extent(finest)
    panel = (WIDTH - 1.5) / len(products) - 0.06
    high = min(panel * stretch(bounds, crs) * (top - bottom) / (right - left), 4.5)
    figure = _figure(len(dates) * (high + 0.1) + 0.45)
    grid: NDArray[Any] = figure.subplots(len(dates), len(products), squeeze=False)
    for row, (axes_of_row, date) in enumerate(zip(grid, dates, strict=True)):
        shown = {name: _thinned(field(array, date)) for name, array in products.items()}
        low, high_value = _limits(list(shown.values()))
        for axes, (name, values) in zip(axes_of_row, shown.items(), strict=True):
            image = _map(axes, values, bounds, crs, (low, high_value))
            axes.label_outer()
            if row == 0:
                axes.set_title(name, fontweight="bold", pad=6)
        axes_of_row[0].set_ylabel(f"{season_of.name(date)}\n{date.astype('datetime64[M]')}", labelpad=6)
        bar = figure.colorbar(image, ax=list(axes_of_row), extend="both", shrink=0.85, pad=0.015, aspect=22)
        bar.set_label(f"soil moisture, {UNIT}")
        bar.ax.yaxis.set_major_locator(MaxNLocator(5))
        bar.outline.set_linewidth(0.4)
    return figure


def _map(axes: Axes, values: NDArray[np.float64], bounds: Extent, crs: str, limits: tuple[float, float]) -> Any:
    """Draw one map with graticule and scale bar; the image, from which a colour bar can be made."""
    colours = mpl.colormaps[SEQUENTIAL].with_extremes(bad=MISSING)
    image = axes.imshow(
        values,
        extent=bounds,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        interpolation="nearest",
        aspect=stretch(bounds, crs),
    )
    graticule(axes, bounds, crs)
    scale_bar(axes, bounds, crs)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return image


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    step = max(1, -(-max(values.shape) // PIXELS))
    return values[::step, ::step]


def _limits(fields: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Range of the colours: 2nd to 98th percentile of everything in a row."""
    values = np.concatenate([values[np.isfinite(values)] for values in fields])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, [2, 98])
    return float(low), float(max(high, low + 1e-6))


@_png
def time_series(means: pd.DataFrame) -> Figure:
    """Area means of both products over time and, above them, of precipitation.

    Parameters
    ----------
    means
        Columns time, coarse, fine (m3 m-3) and, if it is known, precipitation (mm per month), as
        `tables.area_means` gives them.
    """
    every = pd.date_range(means["time"].min(), means["time"].max(), freq="MS")
    rows = means.set_index("time").reindex(every)
    wet = "precipitation" in rows and bool(rows["precipitation"].notna().any())
    figure = _figure(3.4 if wet else 2.5)
    panels = figure.subplots(2 if wet else 1, 1, sharex=True, squeeze=False, height_ratios=[1, 2] if wet else [1])[:, 0]
    if wet:
        panels[0].bar(rows.index, rows["precipitation"], width=24, color=PALE)
        panels[0].set_ylabel("precipitation,\nmm per month")
        panels[0].grid(axis="y")
    axes = panels[-1]
    mark = {"marker": "o", "markersize": 2.2} if len(rows) <= MARKED_MONTHS else {}
    axes.plot(rows.index, rows["coarse"], color=DARK, linewidth=2.4, alpha=0.75, label="coarse observation", **mark)
    axes.plot(rows.index, rows["fine"], color=BLUE, linewidth=1.1, label="fine maps", **mark)
    axes.set_ylabel(f"soil moisture,\n{UNIT}")
    axes.grid(axis="y")
    axes.margins(x=0.02)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)
    figure.align_ylabels(panels)
    return figure


@_png
def accuracy_bars(table: pd.DataFrame) -> Figure:
    """RMSE and R² of every algorithm and season, random beside blocked split, with the comprehensive model marked.

    Parameters
    ----------
    table
        As `tables.accuracy` gives it.
    """
    seasons, algorithms = list(pd.unique(table["season"])), list(pd.unique(table["algorithm"]))
    figure = _figure(2 * (0.32 * len(algorithms) + 0.55) + 0.5)
    grid = figure.subplots(2, len(seasons), sharex="row", sharey=True, squeeze=False)
    for axes_of_row, metric, label in zip(grid, ("rmse", "r2"), (f"RMSE, {UNIT}", "R²"), strict=True):
        for axes, season in zip(axes_of_row, seasons, strict=True):
            rows = table[(table["metric"] == metric) & (table["season"] == season)]
            _split_bars(axes, rows, algorithms)
            axes.set_xlabel(label)
        if metric == "r2":
            low = float(table.loc[table["metric"] == metric, "value"].min())
            axes_of_row[0].set_xlim(min(max(low * 1.05, -1), 0), 1)
    for axes, season in zip(grid[0], seasons, strict=True):
        axes.set_title("all seasons" if season == ALL else season, fontweight="bold")
    handles = [
        Patch(color=PALE, label="random split"),
        Patch(color=BLUE, label="blocked split"),
        mpl.lines.Line2D([], [], color=INK, marker="|", linestyle="none", label="comprehensive model"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _split_bars(axes: Axes, rows: pd.DataFrame, algorithms: Sequence[str]) -> None:
    """Draw a pale bar (random) and a dark one (blocked) for each algorithm, from above in the table's order."""
    at = np.arange(len(algorithms))
    for split, offset, colour in (("random", -0.19, PALE), ("blocked", 0.19, BLUE)):
        for model in ("seasonal", "comprehensive"):
            chosen = rows[(rows["split"] == split) & (rows["model"] == model)].set_index("algorithm")["value"]
            values = chosen.reindex(list(algorithms)).to_numpy()
            if model == "seasonal":
                axes.barh(at + offset, values, height=0.36, color=colour)
            else:
                axes.plot(values, at + offset, marker="|", markersize=6, color=INK, linestyle="none")
    axes.set_yticks(at, labels=[name.replace("_", " ") for name in algorithms])
    axes.set_ylim(len(algorithms) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)


@_png
def scatter(predictions: pd.DataFrame, algorithm: Algorithm, seasons: Sequence[str] = ()) -> Figure:
    """Observed against predicted in the blocked split, a panel for each season.

    Parameters
    ----------
    predictions
        Columns season, algorithm, model, split, observed, predicted (m3 m-3); seasonal models are drawn.
    algorithm
        Whose predictions; a name, or season -> name.
    seasons
        Order of the panels; by default that in which seasons appear.
    """
    rows = predictions[(predictions["split"] == "blocked") & (predictions["model"] == "seasonal")]
    present = pd.unique(rows["season"])
    seasons = [season for season in dict.fromkeys([*seasons, *present]) if season in present]
    of = {season: algorithm if isinstance(algorithm, str) else algorithm.get(season, "") for season in seasons}
    rows = rows[rows["algorithm"] == rows["season"].map(of)]
    wide = min(len(seasons), 4)
    high = -(-len(seasons) // wide)
    figure = _figure(high * (WIDTH - 0.6) / wide + 0.35)
    grid = figure.subplots(high, wide, sharex=True, sharey=True, squeeze=False)
    both = rows[["observed", "predicted"]].to_numpy(dtype=float)
    low, top = np.nanpercentile(both, [0.1, 99.9])
    pad = 0.05 * (top - low) or 0.01
    limits = (float(low - pad), float(top + pad))
    counts = []
    for axes, season in zip(grid.flat, seasons, strict=False):
        counts.append(_hexagons(axes, rows[rows["season"] == season], limits))
        axes.set_title(f"{season} ({of[season].replace('_', ' ')})")
    for axes in list(grid.flat)[len(seasons) :]:
        axes.set_visible(False)
    norm = LogNorm(1, max([10.0, *(float(count.get_array().max()) for count in counts)]))
    for count in counts:
        count.set_norm(norm)
    figure.colorbar(counts[0], ax=grid, label="rows", format="{x:.0f}", pad=0.015, aspect=22, shrink=0.8)
    figure.supxlabel(f"observed, {UNIT}", fontsize=8)
    figure.supylabel(f"predicted, {UNIT}", fontsize=8)
    return figure


def _hexagons(axes: Axes, rows: pd.DataFrame, limits: tuple[float, float]) -> Any:
    """Draw the density of pairs, the line of equality and the scores."""
    observed, predicted = rows["observed"].to_numpy(dtype=float), rows["predicted"].to_numpy(dtype=float)
    found = np.isfinite(observed) & np.isfinite(predicted)
    hexagons = axes.hexbin(
        observed[found],
        predicted[found],
        gridsize=32,
        extent=(*limits, *limits),
        mincnt=1,
        cmap=LinearSegmentedColormap.from_list("density", [PALE, BLUE, "#08264a"]),
        linewidths=0.1,
    )
    axes.plot(limits, limits, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    scores = {name: SCORES[name](observed, predicted) for name in ("rmse", "r2", "r")}
    text = f"RMSE {scores['rmse']:.4f}\nR² {scores['r2']:.2f}\nR {scores['r']:.2f}\nn {found.sum():,}"
    axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=6.5, linespacing=1.35)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return hexagons


@_png
def truth_bars(table: pd.DataFrame, reference: str) -> Figure:
    """RMSE of every method against a reference, or R if the table has no RMSE; a group of bars for each season.

    Parameters
    ----------
    table
        Columns season, method, metric, value.
    reference
        What the methods are judged by, in words.
    """
    metric = "rmse" if "rmse" in set(table["metric"]) else "r"
    rows = table[table["metric"] == metric]
    seasons, methods = list(pd.unique(rows["season"])), list(pd.unique(rows["method"]))
    palette = {NEAREST: GREY, BILINEAR: DARK} | dict(
        zip([name for name in methods if name not in (NEAREST, BILINEAR)], ALGORITHMS, strict=False)
    )
    figure = _figure(2.6)
    axes = figure.subplots()
    width = 0.8 / len(methods)
    for i, name in enumerate(methods):
        values = rows[rows["method"] == name].set_index("season")["value"].reindex(seasons).to_numpy()
        at = np.arange(len(seasons)) + (i - (len(methods) - 1) / 2) * width
        bars = axes.bar(at, values, width * 0.92, color=palette.get(name, INK), label=name.replace("_", " "))
        if len(methods) <= LABELLED_METHODS:
            axes.bar_label(bars, fmt="%.4f", fontsize=5.5, padding=1.5, color=MUTED)
    axes.set_xticks(range(len(seasons)), labels=["all seasons" if s == ALL else s for s in seasons])
    axes.tick_params(axis="x", length=0)
    axes.set_title(f"against {reference}", loc="left")
    axes.set_ylabel(f"RMSE, {UNIT}" if metric == "rmse" else "R")
    axes.margins(y=0.12)
    axes.grid(axis="y")
    figure.legend(loc="outside upper center", ncols=min(len(methods), 7))
    return figure
