"""Units of sources: the unit in the cube, and the conversion from the units of items and files."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from soilscale import units
from soilscale.errors import ConfigurationError
from soilscale.schema import MAP_ATTRS
from soilscale.seasons import following
from soilscale.sources import Aggregate, Source
from soilscale.units import Linear, UnitError

Interval = tuple[np.datetime64, np.datetime64]
"""First instant, and the first after."""

PER_MONTH = " month-1"
RATES = (" s-1", " h-1", " min-1", " day-1", " week-1", " year-1")
POWER = re.compile(r"(^|\s)[kMm]?W\b")
"""Watts are a rate of energy."""

MONTH_LONG = (27.5, 31.5)
"""Days of an item that is of a month."""

NOMINAL = (0.6, 1.4)
"""Days of a composite over those of the period that its unit names, such as 5 over 8 at a year's end."""

SECONDS_PER_DAY = 86400


def cube_unit(source: Source, unit_text: Iterable[str]) -> str:
    """Unit of a source in the cube.

    Parameters
    ----------
    source
        The configuration's unit counts first, then what the source is used for: soil moisture is m3 m-3, elevation
        of which something is derived m, and totals and rates of water mm month-1.
    unit_text
        Units that its items, else its files, state; the first that needs converting to nothing else counts.

    Raises
    ------
    ConfigurationError
        If the configuration's unit cannot be what the source is used for.
    """
    text = next(iter(unit_text), None)
    if source.unit is not None:
        return _fitting(source, units.canonical(source.unit))
    if source.role == "target" or (source.on_coarse and (text is None or _leads(text, "m3 m-3"))):
        return str(MAP_ATTRS["units"])
    if source.derive:
        return "m"
    if text is None or source.kind == "categorical" or source.aggregate == "mean":
        return "1" if text is None or source.kind == "categorical" else units.canonical(text)
    return _monthly(source, text)


def _leads(text: str, target_unit: str) -> bool:
    """Whether a unit can be converted to another."""
    try:
        units.linear(text, target_unit)
    except UnitError:
        return False
    return True


def _monthly(source: Source, text: str) -> str:
    """Unit of a month's total, from that of its composites."""
    if _leads(text, "mm") or _leads(text, "mm day-1"):
        return "mm month-1"
    if not units.is_known(text):
        raise ConfigurationError(
            f"sources.{source.name}.unit: items state {text!r}, which is an unknown unit, and aggregate: "
            f"{source.aggregate} makes totals of months; write a scale to a known unit, and that unit, such as scale: "
            "24 and unit: mm month-1 for rates in mm h-1"
        )
    total = units.canonical(text)
    if source.aggregate == "sum" and not total.endswith(RATES) and not POWER.search(total):
        return total.removesuffix(PER_MONTH)
    raise ConfigurationError(
        f"sources.{source.name}.unit: items state {text!r}, and aggregate: {source.aggregate} makes totals of months; "
        "write their unit, such as MJ m-2 for W m-2"
    )


def _fitting(source: Source, unit: str) -> str:
    """Configured unit, if the source can be used in it."""
    required = "m3 m-3" if source.role == "target" else "m" if source.derive else None
    # Only another name of the same unit: configured values are taken as they are, without a factor.
    if required is not None and _leads(unit, required) and units.linear(unit, required) == Linear():
        return required
    if required is not None:
        need = (
            "soil moisture is mapped in m3 m-3" if required == "m3 m-3" else f"{', '.join(source.derive)} need metres"
        )
        raise ConfigurationError(
            f"sources.{source.name}.unit: got {source.unit!r}, but {need}; remove unit, so that values are converted "
            f"from the units of items or files, or write unit: {required} and the scale to it"
        )
    if source.aggregate != "mean" and unit.endswith(RATES):
        raise ConfigurationError(
            f"sources.{source.name}.unit: got {source.unit!r}, but aggregate: {source.aggregate} makes totals of "
            "months; write a total such as mm or mm month-1"
        )
    return unit


def conversion(unit_text: str, unit: str, aggregate: Aggregate, interval: Interval) -> Linear:
    """Way from the unit of an item's values to what a month is made from.

    Parameters
    ----------
    unit_text
        Unit of the values.
    unit
        Unit of the source in the cube.
    aggregate
        A mean is made from values in that unit; a sum from totals of the composites; a rate from means per day.
    interval
        Of the item; rates per month or year are of the month or year in its middle.

    Raises
    ------
    UnitError
        If there is no way.
    """
    days = (interval[1] - interval[0]) / np.timedelta64(SECONDS_PER_DAY, "s")
    middle = interval[0] + (interval[1] - interval[0]) / 2
    month, year = (_days_of(middle.astype(f"datetime64[{kind}]")) for kind in ("M", "Y"))
    total = units.canonical(unit).removesuffix(PER_MONTH)
    if aggregate == "mean":
        return _mean(unit_text, unit, total, float(days), (month, year))
    daily = _try(unit_text, f"{total} day-1", month, year)
    if daily is None:
        factor_of_total = units.linear(unit_text, total)
        return factor_of_total if aggregate == "sum" else Linear(factor_of_total.factor / float(days), 0.0)
    if aggregate == "rate":
        return daily
    period = units.period(unit_text)
    # The unit is a rate, such as mm day-1: the composite's total is the rate times its days.
    if period is None:
        return Linear(daily.factor * float(days), 0.0)
    # Multiplied all the same, a total of 8 days in an item of a month would be wrong by a factor of 4 without a word.
    if not NOMINAL[0] < days / period < NOMINAL[1]:
        raise UnitError(f"a total of {period:g} days, as {unit_text!r} states, is not one of the item's {days:g} days")
    # The true length of the month or year, not the mean one by which units convert.
    length = month if period == units.MONTH else year if period == units.YEAR else period
    return Linear(daily.factor * length, 0.0)


def _mean(unit_text: str, unit: str, total: str, days: float, calendar: tuple[float, float]) -> Linear:
    """Way to a unit; for an item of a month its total is its rate per month."""
    try:
        return units.linear(unit_text, unit, month=calendar[0], year=calendar[1])
    except UnitError:
        if not MONTH_LONG[0] < days < MONTH_LONG[1]:
            raise
        total_factors = _try(unit_text, total, *calendar) if total != units.canonical(unit) else None
        total_factors = total_factors or _try(unit_text, f"{total}{PER_MONTH}", *calendar)
        if total_factors is None:
            raise
        return total_factors


def _try(unit_text: str, target_unit: str, month: float, year: float) -> Linear | None:
    try:
        return units.linear(unit_text, target_unit, month=month, year=year)
    except UnitError:
        return None


def _days_of(period: np.datetime64) -> float:
    """Days of a month or year."""
    return float((following(period).astype("datetime64[D]") - period.astype("datetime64[D]")).astype(int))
