"""Figures of stations in the ground: products against measurements, and both through time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from soilscale.reports.figures.charts import broken_line, note, shared_range
from soilscale.reports.scores import SCORES
from soilscale.reports.style import BLUE, DARK, INK, UNIT, VERMILION, WIDTH, canvas, colours, png, words

VOLUMETRIC = "m3 m-3"
"""Unit of pairs that are compared as they are."""

MOST_STATIONS = 8
"""Stations whose series are drawn, those with the most months."""

PRODUCTS = {"coarse": "coarse product", "fine": "fine maps"}
"""Columns of the pairs, and what they are."""


@png
def station_scatter(pairs: pd.DataFrame, seasons: Sequence[str] = ()) -> Figure:
    """Coarse product and fine maps against stations, coloured by season, on the pairs that both have.

    Parameters
    ----------
    pairs
        Columns season, unit, observed, coarse, fine, as `report/station_pairs.csv` has them. Where stations measure
        another quantity than soil moisture in m3 m-3, every column is brought to 0..1, station by station, by its
        least and greatest value.
    seasons
        Their order; by default that in which they appear.
    """
    rows = pairs.dropna(subset=["observed", *PRODUCTS])
    unit = UNIT
    if (rows["unit"] != VOLUMETRIC).any():
        rows, unit = _relative(rows), "0 least, 1 greatest"
    range_ = shared_range(rows[["observed", *PRODUCTS]])
    present = pd.unique(rows["season"])
    palette = colours([name for name in dict.fromkeys([*seasons, *present]) if name in present])
    figure = canvas((WIDTH - 0.8) / 2 + 0.5)
    for axes, (column, title) in zip(figure.subplots(1, 2, sharex=True, sharey=True), PRODUCTS.items(), strict=True):
        for season, colour in palette.items():
            own = rows[rows["season"] == season]
            look: Any = {"marker": "o", "markersize": 3, "markeredgecolor": "white", "markeredgewidth": 0.3}
            axes.plot(own["observed"], own[column], color=colour, linestyle="", label=words(season), **look)
        axes.plot(range_, range_, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
        lines = [f"{label} {SCORES[name](rows['observed'], rows[column]):.3f}" for name, label in _scores(unit)]
        note(axes, "\n".join([*lines, f"n {len(rows):,}"]))
        axes.set(title=title, xlabel=f"stations, {unit}", xlim=range_, ylim=range_, aspect="equal")
        axes.set_ylabel(f"product, {unit}")
        axes.label_outer()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=min(len(palette), 6) or 1)
    return figure


def _scores(unit: str) -> list[tuple[str, str]]:
    """Scores that mean something in a unit, and their labels."""
    return [("r", "R"), ("rmse", "RMSE"), ("ubrmse", "ubRMSE"), ("bias", "bias")] if unit == UNIT else [("r", "R")]


@png
def station_series(pairs: pd.DataFrame) -> Figure:
    """Station, coarse product and fine map through time, a panel for each of the stations with the most months.

    Parameters
    ----------
    pairs
        Columns station, time, unit, observed, coarse, fine; months without a pair are gaps.
    """
    columns = ["observed", *PRODUCTS]
    relative = bool((pairs["unit"] != VOLUMETRIC).any())
    rows = _relative(pairs) if relative else pairs
    longest = rows.dropna(subset=["observed"]).groupby("station").size().sort_values(ascending=False, kind="stable")
    shown = sorted(longest.index[:MOST_STATIONS])
    every = pd.date_range(rows["time"].min(), rows["time"].max(), freq="MS")
    high = -(-len(shown) // 2) or 1
    figure = canvas(1.15 * high + 0.5)
    grid = figure.subplots(high, 2, sharex=True, sharey=True, squeeze=False)
    for axes, station in zip(grid.flat, shown, strict=False):
        series = rows[rows["station"] == station].groupby("time")[columns].mean().reindex(every)
        broken_line(axes, series["coarse"], DARK, PRODUCTS["coarse"], linewidth=1.6, alpha=0.8)
        broken_line(axes, series["fine"], BLUE, PRODUCTS["fine"], linewidth=1.1)
        broken_line(axes, series["observed"], VERMILION, "station", linewidth=1.1)
        axes.set_title(str(station), loc="left", fontsize=7.5)
        axes.grid(axis="y")
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    figure.supylabel("0 least, 1 greatest" if relative else f"soil moisture, {UNIT}", fontsize=8)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _relative(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs with every column of every station brought to 0..1 by its least and greatest value."""
    columns = ["observed", *PRODUCTS]
    grouped = pairs.groupby("station")[columns]
    least, greatest = grouped.transform("min"), grouped.transform("max")
    return pairs.assign(**((pairs[columns] - least) / (greatest - least)))
