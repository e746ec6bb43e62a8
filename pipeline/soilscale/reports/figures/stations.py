"""Figures of in situ stations: products against measurements, and both over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from soilscale.reports.figures.charts import broken_line, note, shared_range
from soilscale.reports.scores import SCORES
from soilscale.reports.style import BLUE, DARK, INK, UNIT, VERMILION, WIDTH, canvas, colours, png, words

VOLUMETRIC = "m3 m-3"
"""Unit of pairs that are compared as they are."""

MOST_STATIONS = 8
"""Stations whose series are drawn, those with the most months."""

RELATIVE = "0 least, 1 greatest"
"""What stands in place of a unit where values were brought to 0..1."""

PRODUCTS = {"coarse": "coarse product", "fine": "fine maps"}
"""Columns of the pairs, and what they are."""


@png
def station_scatter(pairs: pd.DataFrame, seasons: Sequence[str] = ()) -> Figure:
    """Coarse product and fine maps against stations, coloured by season, on the pairs that both have.

    Parameters
    ----------
    pairs
        Columns station, season, unit, observed, coarse, fine, as `report/station_pairs.csv` has them. Stations that
        measure another quantity than soil moisture in m3 m-3 have a row of panels of their own, in which every side
        of each of them is brought to 0..1 by its least and greatest value.
    seasons
        Their order; by default that in which they appear.
    """
    rows = pairs.dropna(subset=["observed", *PRODUCTS])
    volumetric = rows["unit"] == VOLUMETRIC
    kinds = {UNIT: rows[volumetric], RELATIVE: _relative(rows[~volumetric])}
    # Without any pair there is a figure all the same, with empty panels.
    shown_kinds = {unit: unit_rows for unit, unit_rows in kinds.items() if len(unit_rows)} or {UNIT: rows}
    present = pd.unique(rows["season"])
    palette = colours([name for name in dict.fromkeys([*seasons, *present]) if name in present])
    figure = canvas(((WIDTH - 0.8) / 2 + 0.2) * len(shown_kinds) + 0.3)
    panels = figure.subplots(len(shown_kinds), 2, sharex="row", sharey="row", squeeze=False)
    for line, (unit, unit_rows) in zip(panels, shown_kinds.items(), strict=True):
        for axes, (column, title) in zip(line, PRODUCTS.items(), strict=True):
            _beside(axes, unit_rows, column, unit, palette)
            axes.set_title(title)
        line[1].set_ylabel("")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(palette), 6) or 1)
    return figure


def _beside(axes: Axes, rows: pd.DataFrame, column: str, unit: str, palette: Mapping[str, str]) -> None:
    """Draw one product over the stations, a colour for each season, with the line of equality and the scores."""
    range_ = shared_range(rows[["observed", *PRODUCTS]])
    for season, colour in palette.items():
        season_rows = rows[rows["season"] == season]
        look: Any = {"marker": "o", "markersize": 3, "markeredgecolor": "white", "markeredgewidth": 0.3}
        axes.plot(season_rows["observed"], season_rows[column], color=colour, linestyle="", label=words(season), **look)
    axes.plot(range_, range_, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    lines = [f"{label} {SCORES[name](rows['observed'], rows[column]):.3f}" for name, label in _scores(unit)]
    note(axes, "\n".join([*lines, f"n {len(rows):,}"]))
    of = unit if unit == UNIT else f"{_units(rows)}: {RELATIVE}"
    axes.set(xlabel=f"stations, {of}", ylabel=f"product, {unit}", xlim=range_, ylim=range_, aspect="equal")


def _scores(unit: str) -> list[tuple[str, str]]:
    """Scores that mean something in a unit, and their labels."""
    return [("r", "R"), ("rmse", "RMSE"), ("ubrmse", "ubRMSE"), ("bias", "bias")] if unit == UNIT else [("r", "R")]


@png
def station_series(pairs: pd.DataFrame) -> Figure:
    """Station, coarse product and fine map through time, a panel for each of the stations with the most months.

    Parameters
    ----------
    pairs
        Columns station, time, unit, observed, coarse, fine; months without a pair are gaps. A station that measures
        another quantity than soil moisture in m3 m-3 has every line brought to 0..1, and its panel says so.
    """
    longest = pairs.dropna(subset=["observed"]).groupby("station").size().sort_values(ascending=False, kind="stable")
    shown = sorted(longest.index[:MOST_STATIONS])
    rows = pairs[pairs["station"].isin(shown)]
    volumetric = rows["unit"] == VOLUMETRIC
    kinds = {UNIT: rows[volumetric], RELATIVE: _relative(rows[~volumetric])}
    ranges = {unit: shared_range(subset[["observed", *PRODUCTS]]) for unit, subset in kinds.items()}
    every = pd.date_range(pairs["time"].min(), pairs["time"].max(), freq="MS")
    high = -(-len(shown) // 2) or 1
    figure = canvas(1.15 * high + 0.5)
    grid = figure.subplots(high, 2, sharex=True, squeeze=False)
    for axes, station in zip(grid.flat, shown, strict=False):
        unit = next(unit for unit, subset in kinds.items() if (subset["station"] == station).any())
        subset = kinds[unit][kinds[unit]["station"] == station]
        _through_time(axes, subset.groupby("time")[["observed", *PRODUCTS]].mean().reindex(every))
        title = str(station) if unit == UNIT else f"{station}, in {_units(subset)}: {RELATIVE}"
        axes.set_title(title, loc="left", fontsize=7.5)
        axes.set_ylim(ranges[unit])
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    all_relative = kinds[UNIT].empty
    figure.supylabel(RELATIVE if all_relative else f"soil moisture, {UNIT}", fontsize=8)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _through_time(axes: Axes, series: pd.DataFrame) -> None:
    """Draw the station and both products; months without a value are gaps."""
    broken_line(axes, series["coarse"], DARK, PRODUCTS["coarse"], linewidth=1.6, alpha=0.8)
    broken_line(axes, series["fine"], BLUE, PRODUCTS["fine"], linewidth=1.1)
    broken_line(axes, series["observed"], VERMILION, "station", linewidth=1.1)
    axes.grid(axis="y")


def _units(rows: pd.DataFrame) -> str:
    return ", ".join(sorted(map(str, pd.unique(rows["unit"]))))


def _relative(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs with every column of every station brought to 0..1 by its least and greatest value."""
    columns = ["observed", *PRODUCTS]
    grouped = pairs.groupby("station")[columns]
    least, greatest = grouped.transform("min"), grouped.transform("max")
    # A constant column becomes 0 / 0, and so is missing rather than 0.
    return pairs.assign(**((pairs[columns] - least) / (greatest - least)))
