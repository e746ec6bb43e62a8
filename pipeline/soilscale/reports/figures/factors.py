"""Figures of the predictors: importance, ablation, and seasonal against comprehensive models."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from soilscale.reports.style import BLUE, INK, LINE, MUTED, PALE, UNIT, VERMILION, canvas, colours, png, words
from soilscale.seasons import ALL

MOST_FEATURES = 24
"""Features drawn, those with the best mean rank; the table has all."""

NOTHING = "nothing"
"""Name in the column ``without`` of an ablation for the model that has every factor."""

LONG = 34
"""Letters in a line of a feature's name beside its bars; names of classes may be longer."""

LABELS = {"rmse": f"RMSE, {UNIT}", "r2": "R²"}


@png
def importance(table: pd.DataFrame) -> Figure:
    """%IncMSE of the features, a panel for each season, features from the best mean rank down.

    Parameters
    ----------
    table
        Columns season, feature, group, inc_mse, rank (1 is the most important) and kind, of `report/importance.csv`.
        A group of several features has a row of its own, named as the group. The rank in its season stands beside
        each bar.
    """
    seasons = list(pd.unique(table["season"]))
    groups, features = _ordered(table)
    shown = [*groups, *features]
    of = table.drop_duplicates("feature").set_index("feature")["group"]
    palette = colours(list(pd.unique(of.reindex(shown))))
    labels = [*(f"{words(name)} (group)" for name in groups), *(words(name) for name in features)]
    labels = [textwrap.fill(label, LONG) for label in labels]
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    figure = canvas((0.155 + 0.1 * (lines - 1)) * len(shown) + 1.0)
    grid = figure.subplots(1, len(seasons), sharey=True, sharex=True, squeeze=False)[0]
    for axes, season in zip(grid, seasons, strict=True):
        rows = table[table["season"] == season].drop_duplicates("feature").set_index("feature").reindex(shown)
        _bars(axes, rows, [palette[of[name]] for name in shown])
        axes.set_title(words(season), fontweight="bold")
        if groups and features:
            axes.axhline(len(groups) - 0.5, color=MUTED, linewidth=0.5)
    grid[0].set_yticks(range(len(shown)), labels=labels, linespacing=0.95)
    grid[0].set_ylim(len(shown) - 0.5, -0.5)
    grid[len(seasons) // 2].set_xlabel("increase of the error when permuted, %IncMSE")
    # If every feature is its own group, the legend would only repeat the labels.
    if len(palette) < len(features):
        handles = [Patch(color=colour, label=words(name)) for name, colour in palette.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 7))
    return figure


def _ordered(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Groups of several features, and features, each from the best mean rank over the seasons down."""
    of_group = set(table.loc[table["kind"] == "group", "feature"])
    single = {ALL} == set(table["season"])
    # The season `all` counts every season again, so it is used only where there is no other.
    ranks = (table if single else table[table["season"] != ALL]).groupby("feature", sort=False)["rank"].mean()
    order = [str(name) for name in ranks.sort_values(kind="stable").index]
    groups = [name for name in order if name in of_group]
    return groups, [name for name in order if name not in groups][:MOST_FEATURES]


def _bars(axes: Axes, rows: pd.DataFrame, colour: Sequence[str]) -> None:
    """Draw %IncMSE as bars with the rank beside them."""
    values = rows["inc_mse"].to_numpy(dtype=float)
    axes.barh(np.arange(len(values)), values, height=0.72, color=list(colour))
    for place, (value, rank) in enumerate(zip(values, rows["rank"], strict=True)):
        if np.isfinite(value):
            start, off = (max(value, 0.0), place), (2, 0)
            axes.annotate(f"{rank:.0f}", start, off, textcoords="offset points", va="center", fontsize=5.5, color=MUTED)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.margins(x=0.14)
    axes.tick_params(axis="y", length=0)


@png
def ablation(table: pd.DataFrame) -> Figure:
    """Change of the blocked RMSE when a factor is left out, a panel for each season.

    Parameters
    ----------
    table
        Columns season, without, metric, value, as `report/ablation.csv` has them; `NOTHING` is the model with every
        factor, without which a season is left out.
    """
    wide = table[table["metric"] == "rmse"].pivot_table(index="without", columns="season", values="value", sort=False)
    change = (wide / wide.loc[NOTHING] - 1).drop(index=NOTHING).dropna(axis=1, how="all") * 100
    order = change.mean(axis=1).sort_values(ascending=False, kind="stable").index
    change = change.loc[order]
    figure = canvas(0.2 * len(change) + 0.85)
    # A table without any change still makes a figure; there are no 0 panels.
    grid = figure.subplots(1, max(len(change.columns), 1), sharey=True, sharex=True, squeeze=False)[0]
    at = np.arange(len(change))
    for axes, season in zip(grid, change.columns, strict=False):
        values = change[season].to_numpy(dtype=float)
        axes.barh(at, values, height=0.65, color=[BLUE if value > 0 else VERMILION for value in values])
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_title(words(str(season)), fontweight="bold")
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(at, labels=[f"without {words(str(name))}" for name in change.index])
    grid[0].set_ylim(len(change) - 0.5, -0.5)
    grid[len(grid) // 2].set_xlabel("change of the blocked RMSE, %")
    handles = [Patch(color=BLUE, label="worse without it"), Patch(color=VERMILION, label="better without it")]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


@png
def comparison(table: pd.DataFrame, metrics: Sequence[str] = ("rmse", "r2")) -> Figure:
    """Seasonal minus comprehensive models with intervals, a row for each season and algorithm.

    Parameters
    ----------
    table
        Columns season, algorithm, split, metric, difference, lower, upper, as `report/comparison.csv` has them.
    metrics
        A panel each.
    """
    table = table[table["metric"].isin(list(metrics))]
    seasons, algorithms = list(pd.unique(table["season"])), list(pd.unique(table["algorithm"]))
    places = {
        (season, name): i * (len(algorithms) + 1) + j + 1
        for i, season in enumerate(seasons)
        for j, name in enumerate(algorithms)
    }
    figure = canvas(0.13 * len(seasons) * (len(algorithms) + 1) + 0.95)
    grid = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(grid, metrics, strict=True):
        rows = table[table["metric"] == metric]
        _intervals(axes, rows, places)
        better = "lower" if metric == "rmse" else "higher"
        axes.set_xlabel(f"difference of {LABELS.get(metric, metric)}\n({better}: the seasonal model is better)")
    heads = {words(season): i * (len(algorithms) + 1) for i, season in enumerate(seasons)}
    labels = {at: name for name, at in heads.items()} | {at: words(name) for (_, name), at in places.items()}
    for text, at in zip(grid[0].set_yticks(list(labels), labels=labels.values(), fontsize=6.5), labels, strict=False):
        text.label1.set_fontweight("bold" if at in heads.values() else "normal")
    grid[0].set_ylim(max(labels, default=0) + 0.8, -0.6)
    for axes in grid:
        for at in list(heads.values())[1:]:
            axes.axhline(at - 0.5, color=LINE, linewidth=0.5)
    handles = [
        Line2D([], [], color=colour, marker="o", markersize=3.5, label=f"{split} split, 95 % interval")
        for split, colour in (("random", PALE), ("blocked", BLUE))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _intervals(axes: Axes, rows: pd.DataFrame, places: dict[tuple[str, str], int]) -> None:
    """Draw each difference as a point with its interval, the random split above the blocked."""
    for split, offset, colour in (("random", -0.18, PALE), ("blocked", 0.18, BLUE)):
        split_rows = rows[rows["split"] == split]
        at = [
            places[season, name] + offset
            for season, name in zip(split_rows["season"], split_rows["algorithm"], strict=True)
        ]
        axes.hlines(at, split_rows["lower"], split_rows["upper"], color=colour, linewidth=1.4)
        axes.plot(split_rows["difference"], at, marker="o", markersize=3, color=colour, linestyle="none")
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(axis="y", length=0)
