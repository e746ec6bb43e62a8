"""Instants of a time axis: by CF's units and calendars, as dates in texts, and as numbers such as 20050131."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xarray.coding.times import decode_cf_datetime

from soilscale.errors import DataError
from soilscale.formats.contents import Variable

Instants = NDArray[np.datetime64]

CALENDARS = {
    "360_day": (30,) * 12,
    "360": (30,) * 12,
    "noleap": (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31),
    "365_day": (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31),
    "all_leap": (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31),
    "366_day": (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31),
}
"""Calendar whose years are all alike -> days of its months."""

SINCE = re.compile(r"\s*([A-Za-z]+)\s+since\s+(\S.*?)\s*", re.IGNORECASE)
ZONE = re.compile(r"(?<=\d:\d\d)((?::\d\d(?:\.\d+)?)?)\s*(?:[+-]\d{1,2}(?::?\d\d)?|utc|gmt|z)$", re.IGNORECASE)
"""Time zone at the end of an instant."""

SECONDS = {"second": 1.0, "sec": 1.0, "s": 1.0, "minute": 60.0, "min": 60.0, "hour": 3600.0, "hr": 3600.0, "h": 3600.0}
SECONDS |= {"day": 86400.0, "d": 86400.0, "week": 604800.0}
LONG = {"month": 1, "mon": 1, "year": 12, "yr": 12}
"""Units of a calendar's own length -> months."""


def instants(side: Variable, values: NDArray[Any]) -> Instants:
    """Instants of coordinates or of their bounds, ``datetime64[s]``, by the clock in which the file writes them.

    Raises
    ------
    DataError
        If they cannot be understood.
    """
    unit, calendar = str(side.attributes.get("units", "")), str(side.attributes.get("calendar", "standard")).lower()
    try:
        return _read(values, unit, calendar)
    except (ValueError, OverflowError, TypeError, KeyError, ZeroDivisionError) as error:
        raise DataError(
            f"its time axis {side.name} has units {unit!r} and calendar {calendar!r}, which are not understood; "
            "expected such as 'days since 1970-01-01'"
        ) from error


def _read(values: NDArray[Any], unit: str, calendar: str) -> Instants:
    if values.dtype.kind in "SUO":
        texts = (value.decode() if isinstance(value, bytes) else str(value) for value in values.ravel())
        dates = [np.datetime64(ZONE.sub(r"\1", text.strip().strip("\0")), "s") for text in texts]
        return np.array(dates, "datetime64[s]").reshape(values.shape)
    match = SINCE.fullmatch(unit)
    if match is None:
        return _of_numbers(values)
    # As items are: local midnights stay what they are, or months would begin in the one before.
    name, first = match[1].lower().rstrip("s") or "s", ZONE.sub(r"\1", match[2])
    if name in LONG:
        months = np.floor(values.astype("float64") * LONG[name]).astype(int)
        return (np.datetime64(first[:7], "M") + months).astype("datetime64[s]")
    if calendar in CALENDARS:
        return _alike(values * (SECONDS[name] / 86400), first, CALENDARS[calendar])
    # CF has no weeks.
    word, factor = ("days", 7) if name == "week" else (match[1], 1)
    times = decode_cf_datetime(values * factor, f"{word} since {first}", calendar, use_cftime=False)
    return np.asarray(times).astype("datetime64[s]")


def _alike(days: NDArray[Any], first: str, lengths: tuple[int, ...]) -> Instants:
    """Instants of a calendar whose years are all alike; a day that a month does not have is its last."""
    year, month, day = (int(part) for part in re.match(r"(\d+)-(\d+)-(\d+)", first).groups())  # type: ignore[union-attr]
    if not (1 <= month <= len(lengths) and 1 <= day <= lengths[month - 1]):
        raise ValueError(first)
    starts = np.cumsum([0, *lengths])
    total = days.astype("float64") + year * starts[-1] + starts[month - 1] + day - 1
    years = np.floor(total / starts[-1]).astype(int)
    within = np.floor(total - years * starts[-1]).astype(int)
    months = np.searchsorted(starts, within, side="right") - 1
    begin = (np.datetime64("0000-01", "M") + years * 12 + months).astype("datetime64[D]")
    length = (begin.astype("datetime64[M]") + 1).astype("datetime64[D]") - begin
    return (begin + np.minimum(within - starts[months], length.astype(int) - 1)).astype("datetime64[s]")


def _of_numbers(values: NDArray[Any]) -> Instants:
    """Dates that are written as numbers: 200501, 2005031 or 20050131, a fraction of a day behind it left out."""
    integers = np.floor(values.astype("float64")).astype("int64")
    forms: dict[int, Callable[[str], np.datetime64]] = {
        6: lambda text: np.datetime64(f"{text[:4]}-{text[4:]}", "s"),
        7: lambda text: np.datetime64(text[:4], "D") + _day_of_year(int(text[4:])),
        8: lambda text: np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:]}", "s"),
    }
    dates = [forms[len(str(number))](str(number)) for number in integers.ravel()]
    return np.array(dates, "datetime64[s]").reshape(values.shape)


def _day_of_year(day: int) -> np.timedelta64:
    if not 1 <= day <= 366:  # noqa: PLR2004
        raise ValueError(day)
    return np.timedelta64(day - 1, "D")
