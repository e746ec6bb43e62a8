"""Charts: time series, accuracy, skill against nearest and bilinear, predicted against observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from soilscale.reports.scores import SCORES
from soilscale.reports.style import (
    BLUE,
    DARK,
    GREY,
    INK,
    MUTED,
    PALE,
    SERIES,
    UNIT,
    VERMILION,
    WIDTH,
    canvas,
    png,
    words,
)
from soilscale.reports.tables import BILINEAR, NEAREST, Algorithm

MARKED_MONTHS = 72
"""Longest time series in which every month is marked; in a longer one those that stand alone are."""

LABELLED_METHODS = 5
"""Most methods for which the numbers fit above the bars."""

MOST_DIGITS = 15
"""Most bars for which four digits fit above each."""

HALO = {"boxstyle": "square,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
"""Ground of words that stand on data."""

DENSITY = LinearSegmentedColormap.from_list("density", [PALE, BLUE, "#08264a"])


@png
def time_series(means: pd.DataFrame) -> Figure:
    """Area means of both products over time and, above them, of precipitation; a month without a value is a gap.

    Parameters
    ----------
    means
        Columns time, coarse, fine, fine_all (m3 m-3) and, if it is known, precipitation (mm per month), as
        `tables.area_means` gives them.
    """
    every = pd.date_range(means["time"].min(), means["time"].max(), freq="MS")
    # Months without a row become gaps; a line would be drawn straight across them.
    rows = means.set_index("time").reindex(every)
    wet = "precipitation" in rows and bool(rows["precipitation"].notna().any())
    figure = canvas(3.4 if wet else 2.5)
    panels = figure.subplots(2 if wet else 1, 1, sharex=True, squeeze=False, height_ratios=[1, 2] if wet else [1])[:, 0]
    if wet:
        panels[0].bar(rows.index, rows["precipitation"], width=24, color=PALE)
        panels[0].set_ylabel("precipitation,\nmm month⁻¹")
        panels[0].grid(axis="y")
    axes = panels[-1]
    gaps = _gaps(axes, rows["coarse"])
    broken_line(axes, rows["coarse"], DARK, "coarse product", linewidth=2.4, alpha=0.8)
    broken_line(axes, rows["fine"], BLUE, "fine maps", linewidth=1.1)
    broken_line(axes, rows["fine_all"], VERMILION, "fine maps, all cells", linewidth=0.8, linestyle=":")
    axes.set_ylabel(f"soil moisture,\n{UNIT}")
    axes.grid(axis="y")
    axes.margins(x=0.02)
    handles = axes.get_legend_handles_labels()[0] + gaps
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2)
    figure.align_ylabels(panels)
    return figure


def broken_line(axes: Axes, series: pd.Series[float], colour: str, label: str, **look: Any) -> None:
    """Draw a series that breaks where it has no value; a value between two gaps is marked, or it would not show."""
    has_value = series.notna()
    alone = has_value & ~has_value.shift(1, fill_value=False) & ~has_value.shift(-1, fill_value=False)
    marked = has_value if len(series) <= MARKED_MONTHS else alone
    axes.plot(series.index, series, color=colour, label=label, **look)
    mark: Any = {"marker": "o", "markersize": 2.4, "linestyle": "none", "alpha": look.get("alpha")}
    axes.plot(series.index[marked], series[marked], color=colour, **mark)


def _gaps(axes: Axes, series: pd.Series[float]) -> list[Patch]:
    """Shade the months without a value; what the legend says of them."""
    # A little more than half a month, so that months beside each other leave no slit.
    month = np.timedelta64(16, "D")
    for time in series.index[series.isna()].to_numpy():
        axes.axvspan(time - month, time + month, color="#f0f1f3", linewidth=0)
    return [Patch(color="#e9ebee", label="no coarse observation")] if series.isna().any() else []


@png
def accuracy_bars(table: pd.DataFrame) -> Figure:
    """RMSE and R² of every algorithm and season, random beside blocked split, with the comprehensive model marked.

    Parameters
    ----------
    table
        As `tables.accuracy` gives it.
    """
    seasons, algorithms = list(pd.unique(table["season"])), list(pd.unique(table["algorithm"]))
    figure = canvas(2 * (0.3 * len(algorithms) + 0.6) + 0.5)
    grid = figure.subplots(2, len(seasons), sharex="row", sharey=True, squeeze=False)
    for axes_of_row, metric, label in zip(grid, ("rmse", "r2"), (f"RMSE, {UNIT}", "R²"), strict=True):
        for axes, season in zip(axes_of_row, seasons, strict=True):
            rows = table[(table["metric"] == metric) & (table["season"] == season)]
            _split_bars(axes, rows, algorithms)
        axes_of_row[len(seasons) // 2].set_xlabel(label)
        if metric == "r2":
            metric_values = table.loc[table["metric"] == metric, "value"].dropna()
            low = float(metric_values.min()) if len(metric_values) else 0.0
            # One R2 far below -1 would press all other bars together.
            axes_of_row[0].set_xlim(min(max(low * 1.05, -1), 0), 1)
            for axes in axes_of_row:
                axes.axvline(0, color=INK, linewidth=0.6)
    for axes, season in zip(grid[0], seasons, strict=True):
        axes.set_title(words(season), fontweight="bold")
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
    axes.set_yticks(at, labels=[words(name) for name in algorithms])
    axes.set_ylim(len(algorithms) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)


@png
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
    present = [str(name) for name in pd.unique(rows["season"])]
    seasons = [season for season in dict.fromkeys([*seasons, *present]) if season in present]
    of = {season: algorithm if isinstance(algorithm, str) else algorithm.get(season, "") for season in seasons}
    # As objects, for categories of two columns that differ cannot be compared.
    rows = rows[rows["algorithm"].astype(object) == rows["season"].astype(object).map(of)]
    wide = min(len(seasons), 4)
    high = -(-len(seasons) // wide)
    figure = canvas(high * (WIDTH - 0.6) / wide + 0.35)
    grid = figure.subplots(high, wide, sharex=True, sharey=True, squeeze=False)
    range_ = shared_range(rows[["observed", "predicted"]])
    counts = []
    for axes, season in zip(grid.flat, seasons, strict=False):
        season_rows = rows[rows["season"] == season]
        counts.append(density(axes, season_rows["observed"], season_rows["predicted"], range_))
        axes.set_title(f"{words(season)} ({words(of[season])})", fontsize=8)
    for axes in list(grid.flat)[len(seasons) :]:
        axes.set_visible(False)
    norm = LogNorm(1, max(float(np.ma.max(count.get_array())) if count.get_array().size else 1.0 for count in counts))
    # A scale from 1 to 1 has neither colours nor ticks.
    norm.vmax = max(norm.vmax or 1.0, 10.0)
    for count in counts:
        count.set_norm(norm)
    figure.colorbar(counts[0], ax=grid, label="cells and months", format="{x:.0f}", pad=0.015, aspect=22, shrink=0.8)
    figure.supxlabel(f"observed, {UNIT}", fontsize=8)
    figure.supylabel(f"predicted, {UNIT}", fontsize=8)
    return figure


def shared_range(values: pd.DataFrame) -> tuple[float, float]:
    """Range of both axes of a scatter: nearly all values, with some room."""
    pooled = values.to_numpy(dtype=float)
    # By the extremes a few outliers would leave all others as a blot in the middle.
    low, top = np.nanpercentile(pooled, [0.1, 99.9]) if np.isfinite(pooled).any() else (0.0, 1.0)
    pad = 0.05 * (top - low) or 0.01
    return float(low - pad), float(top + pad)


def density(axes: Axes, first: pd.Series[float], second: pd.Series[float], range_: tuple[float, float]) -> Any:
    """Draw the density of pairs, the line of equality and the scores; the hexagons."""
    observed, predicted = first.to_numpy(dtype=float), second.to_numpy(dtype=float)
    finite = np.isfinite(observed) & np.isfinite(predicted)
    hexagons = axes.hexbin(
        observed[finite],
        predicted[finite],
        gridsize=32,
        # One grid for all panels: in hexagons of other sizes counts would not be comparable.
        extent=(*range_, *range_),
        mincnt=1,
        cmap=DENSITY,
        linewidths=0.1,
    )
    axes.plot(range_, range_, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    scores = {name: SCORES[name](observed, predicted) for name in ("rmse", "r2", "r")}
    lines = (
        f"RMSE {scores['rmse']:.4f}",
        f"R² {scores['r2']:.2f}",
        f"R {scores['r']:.2f}",
        f"n {finite.sum():,}",
    )
    axes.text(
        0.04, 0.96, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=6.5, linespacing=1.35, bbox=HALO
    )
    axes.set_xlim(range_)
    axes.set_ylim(range_)
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return hexagons


def note(axes: Axes, text: str) -> None:
    """Write at the upper left of a panel."""
    written = text.replace("-", "\N{MINUS SIGN}")
    look: dict[str, Any] = {"va": "top", "fontsize": 6.5, "linespacing": 1.35, "bbox": HALO}
    axes.text(0.04, 0.96, written, transform=axes.transAxes, **look)


@png
def skill_bars(table: pd.DataFrame) -> Figure:
    """RMSE of every method against a reference, or R if the table has no RMSE; a group of bars for each season.

    Parameters
    ----------
    table
        Columns season, method, metric, value.
    """
    metric = "rmse" if "rmse" in set(table["metric"]) else "r"
    rows = table[table["metric"] == metric]
    seasons, present = list(pd.unique(rows["season"])), set(rows["method"])
    algorithms = sorted(present - {NEAREST, BILINEAR})  # one colour each, whatever the reference
    methods = [*(name for name in (NEAREST, BILINEAR) if name in present), *algorithms]
    palette = {NEAREST: GREY, BILINEAR: DARK} | dict(zip(algorithms, SERIES, strict=False))
    figure = canvas(2.6)
    axes = figure.subplots()
    width = 0.8 / len(methods)
    for i, name in enumerate(methods):
        # A method may lack a season, whose bar shall not be taken by the next one.
        values = rows[rows["method"] == name].set_index("season")["value"].reindex(seasons).to_numpy()
        at = np.arange(len(seasons)) + (i - (len(methods) - 1) / 2) * width
        bars = axes.bar(at, values, width * 0.92, color=palette.get(name, INK), label=words(name))
        if len(methods) <= LABELLED_METHODS:
            form = "%.4f" if len(methods) * len(seasons) <= MOST_DIGITS else "%.3f"
            axes.bar_label(bars, fmt=form, fontsize=5.5, padding=1.5, color=MUTED)
    axes.set_xticks(range(len(seasons)), labels=[words(season) for season in seasons])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(f"RMSE, {UNIT}" if metric == "rmse" else "R")
    axes.margins(y=0.12)
    axes.grid(axis="y")
    figure.legend(loc="outside upper center", ncols=min(len(methods), 6))
    return figure
