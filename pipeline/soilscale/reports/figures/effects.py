"""Figure of an additive model's effects: each feature's curve in each season, with its band."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from soilscale.reports.style import INK, UNIT, canvas, colours, png, words

ACROSS, MOST = 4, 16
"""Panels beside each other, and the most that are drawn: of the features whose effect varies most."""

LONG = 24
"""Letters from which on a label would run into the next panel, and its unit stands below."""

BAND = 1.645
"""Standard deviations on either side of a curve that hold 90 % of a normal posterior."""


@png
def effects(table: pd.DataFrame, units: Mapping[str, str]) -> Figure:
    """Curves of the features with bands of 90 %, a panel for each feature and a colour for each season.

    Parameters
    ----------
    table
        Columns season, feature, at, effect, sd, as `report/effects.csv` has them.
    units
        Unit of each feature.
    """
    spread = table.groupby(["feature", "season"], sort=False)["effect"].agg(lambda effect: effect.max() - effect.min())
    shown = list(spread.groupby("feature").mean().sort_values(ascending=False, kind="stable").index[:MOST])
    palette = colours(list(pd.unique(table["season"])))
    down = math.ceil(len(shown) / ACROSS)
    figure = canvas(1.45 * down + 0.6)
    grid = figure.subplots(down, ACROSS, sharey=True, squeeze=False)
    for axes, feature in zip(grid.flat, shown, strict=False):
        _panel(axes, table[table["feature"] == feature], palette)
        unit = units.get(feature, "1")
        label = textwrap.fill(words(feature), LONG)
        # chr(10), since before Python 3.12 an f-string has no room for a backslash in its braces.
        axes.set_xlabel(label if unit == "1" else f"{label},{' ' if len(label + unit) < LONG else chr(10)}{unit}")
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    figure.supylabel(f"effect on soil moisture, {UNIT}", fontsize=8)
    handles = [Line2D([], [], color=colour, linewidth=1.4, label=words(name)) for name, colour in palette.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, palette: Mapping[str, str]) -> None:
    """Draw the curves of a feature, their bands below them."""
    for season, part in rows.groupby("season", sort=False):
        colour = palette[str(season)]
        at, effect, reach = part["at"], part["effect"], BAND * part["sd"]
        axes.fill_between(at, effect - reach, effect + reach, color=colour, alpha=0.16, linewidth=0)
        axes.plot(at, effect, color=colour, linewidth=1.4)
    axes.axhline(0, color=INK, linewidth=0.5)
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0)
