"""Figure of the target's sensors: over time, against the reference, and the step between them over the year."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soilscale.reports.figures.charts import broken_line, note, shared_range
from soilscale.reports.style import DARK, INK, SERIES, UNIT, canvas, png
from soilscale.seasons import ALL

LEAST_MONTHS = 3
"""Common months from which sensors are compared month by month; below, by their means of each calendar month."""

YEAR = range(1, 13)

WIDE = 2.4
"""Width of the reference's line, which others run over."""


@png
def sensors(series: pd.DataFrame, reference: str, table: pd.DataFrame) -> Figure:
    """Sensors through time, their regression on the reference, and their levels in each calendar month.

    Parameters
    ----------
    series
        Columns time, part, before, after: means over the area of each sensor as it was read and at the level of the
        reference, m3 m-3, NaN in months that it does not have, as `report/sensor_series.csv` has them.
    reference
        The part to whose level the others were brought.
    table
        Columns part, season, statistic, value, n: the regression of all cells, as `report/sensors.csv` has it.
    """
    before, after = (series.pivot_table(index="time", columns="part", values=name) for name in ("before", "after"))
    sensor_names = [str(name) for name in pd.unique(series["part"]) if name != reference]
    palette = {reference: DARK} | dict(zip(sensor_names, SERIES, strict=False))
    figure = canvas(4.9)
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[1, 1.3]))
    _through_time(top.subplots(), before, after, reference, palette)
    left, right = bottom.subplots(1, 2, width_ratios=[1, 1.4])
    _regressions(left, before, reference, palette, table[table["season"] == ALL])
    _calendar(right, before, after, reference, palette)
    return figure


def _through_time(
    axes: Axes, before: pd.DataFrame, after: pd.DataFrame, reference: str, palette: dict[str, str]
) -> None:
    every = pd.date_range(before.index.min(), before.index.max(), freq="MS")
    for name, colour in palette.items():
        if name in before:
            label = f"{name} (reference)" if name == reference else f"{name}, as read"
            thin = {} if name == reference else {"linestyle": (0, (2, 1.2))}
            width = WIDE if name == reference else 1.1
            broken_line(axes, before[name].reindex(every), colour, label, linewidth=width, **thin)
        if name in after and name != reference:
            broken_line(axes, after[name].reindex(every), colour, f"{name}, adjusted", linewidth=1.1)
    axes.set_title("(a) means over the area", loc="left")
    axes.set_ylabel(f"soil moisture,\n{UNIT}")
    axes.grid(axis="y")
    axes.margins(x=0.02)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.2)


def _regressions(
    axes: Axes, before: pd.DataFrame, reference: str, palette: dict[str, str], table: pd.DataFrame
) -> None:
    """Draw the area's means of each sensor with the reference's, the line of equality and all cells' regression."""
    paired = {
        name: before[[name, reference]].dropna()
        for name in palette
        if name != reference and {name, reference} <= {*before}
    }
    # All sensors one way, since the panel has one title.
    monthly = all(len(pairs) >= LEAST_MONTHS for pairs in paired.values())
    if not monthly:
        means = before.groupby(pd.DatetimeIndex(before.index).month).mean()
        paired = {name: means[[name, reference]].dropna() for name in paired}
    range_ = shared_range(pd.concat([*(pairs.set_axis(["x", "y"], axis=1) for pairs in paired.values())]))
    axes.plot(range_, range_, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    lines = []
    for name, pairs in paired.items():
        look: Any = {"marker": "o", "markersize": 3.2, "markeredgecolor": "white", "markeredgewidth": 0.3}
        axes.plot(pairs[name], pairs[reference], color=palette[name], linestyle="", **look)
        statistics = table[table["part"] == name].set_index("statistic")
        lines.append(_fit(axes, dict(statistics["value"]), int(statistics["n"].get("r2", 0)), range_, palette[name]))
    note(axes, "\n".join(["all cells:", *lines]))
    axes.set_title("(b) common months" if monthly else "(b) calendar months, no common ones", loc="left")
    axes.set(xlabel=f"sensor as read, {UNIT}", ylabel=f"{reference}, {UNIT}", xlim=range_, ylim=range_, aspect="equal")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _fit(axes: Axes, regression: Mapping[str, float], n: int, range_: tuple[float, float], colour: str) -> str:
    """Draw the line of a regression; its equation."""
    slope, offset, score = (regression.get(name, math.nan) for name in ("slope", "intercept", "r2"))
    if not math.isfinite(slope):
        return f"n {n}"
    axes.plot(range_, slope * np.array(range_) + offset, color=colour, linewidth=1.2)
    sign = "-" if offset < 0 else "+"
    return f"y = {slope:.2f} x {sign} {abs(offset):.3f}, R² {score:.2f}, n {n:,}"


def _calendar(axes: Axes, before: pd.DataFrame, after: pd.DataFrame, reference: str, palette: dict[str, str]) -> None:
    for name, colour in palette.items():
        for table, style in ((before, (0, (2, 1.2))), (after, "-")):
            # The reference is the same before and after; drawn twice, its line would cover others.
            if name not in table or (name == reference and table is after):
                continue
            means = table[name].groupby(pd.DatetimeIndex(table.index).month).mean().reindex(list(YEAR))
            line, width = ("-", WIDE) if name == reference else (style, 1.1)
            axes.plot(means.index, means, color=colour, linestyle=line, marker="o", markersize=2.6, linewidth=width)
    axes.set_xticks(list(YEAR), labels=list("JFMAMJJASOND"))
    axes.set_ylabel(f"soil moisture, {UNIT}")
    axes.set_title("(c) mean of each calendar month", loc="left")
    axes.grid(axis="y")
