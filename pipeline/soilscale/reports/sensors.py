"""Comparison of the sensors of a target: the regression between them, and the step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from soilscale import harmonisation
from soilscale.harmonisation import YEAR, Support, Trio
from soilscale.reports.tables import field_means, shared_months
from soilscale.seasons import ALL, Seasons
from soilscale.sources import Harmonise

COLUMNS = ["part", "reference", "season", "statistic", "value", "n", "basis"]

OVERLAP, THROUGH, CLIMATOLOGY = "overlap", "through", "climatology"
"""What a regression or a step is taken over: the months that both sensors see; a sensor's months, in which a third
series at the reference's level stands for the reference (steps only); what each sees in its own years."""

COUNTS: Mapping[Support, str] = {
    Support.MONTH: "cells_by_month",
    Support.CELL: "cells_own",
    Support.AREA: "cells_by_area",
}
"""What a cell's relation rests on -> the statistic that counts such cells."""

MIN_PAIRS = 3
"""Pairs below which there is no regression."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Levelled:
    """A sensor as it was read, and at the level of the reference."""

    trio: Trio
    before: Array
    """Shape ``(time, y, x)``, missing outside the physical range."""
    after: Array
    support: NDArray[np.int8] | None
    """What each cell's relation rests on; None where the sensors stay as they are."""
    basis: str
    """What they were related by, as `harmonisation.Basis`; ``none`` where they stay as they are."""
    expected: Array | None = None
    """The third series at the level of the reference, where the sensors share too few months and there is one."""


def level(series: Mapping[str, xr.DataArray], how: Harmonise) -> dict[str, Levelled]:
    """Bring the sensors to one level again, whole, as the cube holds only what counts where several see a cell.

    Parameters
    ----------
    series
        Every source that the target needs, (time, y, x) on the coarse grid.
    how
        How they become one.

    Returns
    -------
    dict
        Sensor -> itself before and after; the reference stays as it is.
    """
    values = {name: series[name].to_numpy() for name in how.needs}
    through = values.get(how.through) if how.through else None
    # Months count from January 1970, so what is left over by the year is the calendar month.
    calendar = series[how.reference]["time"].to_numpy().astype("datetime64[M]").astype(int) % YEAR + 1
    levelled = {}
    for name in how.order:
        trio = Trio(values[name], values[how.reference], calendar, through, how.valid_range)
        before = harmonisation.within(values[name], how.valid_range)
        if name == how.reference or how.method == "none":
            levelled[name] = Levelled(trio, before, before, None, "none")
        else:
            area = harmonisation.pool(trio, how.matching)
            after, support = harmonisation.adjust(trio, how.matching, area)
            levelled[name] = Levelled(trio, before, after, support, area.basis, _expected(trio, how))
    return levelled


def _expected(trio: Trio, how: Harmonise) -> Array | None:
    """Third series at the level of the reference, where the sensors are related by it."""
    if trio.through is None or trio.basis() != THROUGH:
        return None
    reference = harmonisation.within(trio.reference, trio.limits)
    # The limits are those of the sensors; the third series is not held to them in the cube either.
    third = replace(trio, part=trio.through, reference=reference, through=None, limits=(-np.inf, np.inf))
    return harmonisation.adjust(third, how.matching, harmonisation.pool(third, how.matching))[0]


def sensors(levelled: Mapping[str, Levelled], reference: str, seasons: Seasons) -> pd.DataFrame:
    """Regression between each sensor and the reference, and the step between them before and after.

    Sensors that share at least `harmonisation.OVERLAP` months are compared in these. Others can only be compared by
    their climatologies, the mean of each cell in each calendar month, over the years that each has; so must the
    paper's R2 of .703 between AMSR-E and AMSR2 have been found, which share no month. Between climatologies a change of
    climate is part of the step, which the few months that they share, if any, may tell; where a third series covers
    both, the step is from it, at the level of the reference.

    Parameters
    ----------
    levelled
        What `level` returns.
    reference
        The sensor to whose level the others were brought.

    Returns
    -------
    DataFrame
        part, reference, season, statistic, value, n, basis. Statistics: ``r2`` (squared correlation), ``slope`` and
        ``intercept`` (m3 m-3) of the least squares line that gives the reference from the sensor as it was read, n
        its pairs; ``step_before`` and ``step_after``, the mean over cells of reference minus sensor, m3 m-3, each
        calendar month counting alike, n the cells, and ``step_spread_before`` and ``step_spread_after``, its standard
        deviation over the cells; for the season ``all``, how many of n cells' relations rest on what.
    """
    rows: list[tuple[object, ...]] = []
    for part, sensor in levelled.items():
        if part == reference:
            continue
        basis = OVERLAP if sensor.trio.basis() == OVERLAP else CLIMATOLOGY
        step_basis = basis if sensor.expected is None else THROUGH
        expected = levelled[reference].before if sensor.expected is None else sensor.expected
        for season in (*seasons.names, ALL):
            months = np.array(range(1, YEAR + 1) if season == ALL else seasons.months[season])
            rows += [(part, reference, season, *statistic, basis) for statistic in _regression(sensor, basis, months)]
            steps = _steps(sensor, expected, step_basis, months)
            rows += [(part, reference, season, *statistic, step_basis) for statistic in steps]
        shared = [] if basis == OVERLAP else _shared_steps(sensor, levelled[reference])
        # Sensors that share no month have no row, rather than one of NaN.
        rows += [(part, reference, ALL, *statistic, OVERLAP) for statistic in shared if statistic[2]]
        rows += [(part, reference, ALL, *statistic, sensor.basis) for statistic in _counts(sensor)]
    return pd.DataFrame(rows, columns=COLUMNS)


def sensor_series(levelled: Mapping[str, Levelled], coarse: xr.DataArray, crs: str) -> pd.DataFrame:
    """Means over the area of each sensor in each month, before and after.

    Parameters
    ----------
    levelled
        What `level` returns.
    coarse
        Any series on the coarse grid, whose axes are taken.
    crs
        CRS of the grid.

    Returns
    -------
    DataFrame
        time, part, before, after; m3 m-3, NaN in months that the sensor does not have.
    """
    months, parts = shared_months(coarse), []
    for name, sensor in levelled.items():
        fields = {"before": sensor.before, "after": sensor.after}
        means = {when: field_means(coarse.copy(data=values), months, crs) for when, values in fields.items()}
        parts.append(pd.DataFrame({"time": np.array(months, "datetime64[ns]"), "part": name, **means}))
    return pd.concat(parts, ignore_index=True)


def _regression(sensor: Levelled, basis: str, months: NDArray[np.int_]) -> Iterator[tuple[str, float, int]]:
    calendar = sensor.trio.calendar
    part, reference = sensor.trio.samples("overlap" if basis == OVERLAP else "climatology")[0]
    if basis == CLIMATOLOGY:
        part, reference = (harmonisation.climatology(values, calendar)[1][months - 1] for values in (part, reference))
    else:
        part, reference = (values[np.isin(calendar, months)] for values in (part, reference))
    valid = np.isfinite(part) & np.isfinite(reference)
    x, y = part[valid], reference[valid]
    if len(x) < MIN_PAIRS or x.std() == 0 or y.std() == 0:
        yield from ((name, float("nan"), len(x)) for name in ("r2", "slope", "intercept"))
        return
    covariance = np.cov(x, y)
    slope = float(covariance[0, 1] / covariance[0, 0])
    yield "r2", float(covariance[0, 1] ** 2 / (covariance[0, 0] * covariance[1, 1])), len(x)
    yield "slope", slope, len(x)
    yield "intercept", float(y.mean() - slope * x.mean()), len(x)


def _steps(
    sensor: Levelled, reference: Array, basis: str, months: NDArray[np.int_]
) -> Iterator[tuple[str, float, int]]:
    for when, values in (("before", sensor.before), ("after", sensor.after)):
        pair = [values, reference]
        if basis != CLIMATOLOGY:
            # The same months on both sides, or the step would hold what their own months differ by.
            valid = np.isfinite(pair[0]) & np.isfinite(pair[1])
            pair = [np.where(valid, side, np.nan) for side in pair]
        ours, theirs = (harmonisation.climatology(side, sensor.trio.calendar)[1][months - 1] for side in pair)
        difference = theirs - ours
        is_finite = np.isfinite(difference)
        cells = is_finite.any(axis=0)
        step = np.where(is_finite, difference, 0).sum(axis=0)[cells] / is_finite.sum(axis=0)[cells]
        yield f"step_{when}", float(step.mean()) if len(step) else float("nan"), len(step)
        yield f"step_spread_{when}", float(step.std()) if len(step) else float("nan"), len(step)


def _shared_steps(sensor: Levelled, reference: Levelled) -> Iterator[tuple[str, float, int]]:
    """Steps in the few months that both sensors saw, which check what they were related by."""
    return _steps(sensor, reference.before, OVERLAP, np.arange(1, YEAR + 1))


def _counts(sensor: Levelled) -> Iterator[tuple[str, float, int]]:
    """How many cells rest on what."""
    if sensor.support is None:
        return
    total = int((sensor.support > Support.NONE).sum())
    for support, name in COUNTS.items():
        yield name, float((sensor.support == support).sum()), total
