"""The time that an item covers: its own interval, or one inferred from the dates of the whole source.

The rules, in order; intervals are half open, ``[start, end)``, to the second, by the clock that the item is written
in: the month of ``2005-01-01T00:00:00+08:00`` is January. Where all starts of a source lie one a month, or one a year,
at most 14 hours before the first of a month, at one hour but for daylight saving, they are local midnights that were
written in UTC, and count as the first of that month.

1. ``start_datetime`` and ``end_datetime``, where both are there and differ. An end in the last minute of a day is
   the next midnight, an end in the last second of a minute the next minute. An end at midnight is exclusive,
   except where every end of the source is at midnight and the usual gap to the next start is exactly one day:
   then the ends are dates, inclusive, and a day is added. With nothing next to judge by, intervals from the first
   to the last day of a month are such dates.
2. Else the date of ``datetime`` (or of ``start_datetime``) and the days that a composite covers, cut at the next
   date of the source and, where every date is a whole number of composites after new year, at the end of the year
   (the last composite of MODIS has five or six days).
3. Else, without a composite length, from the spacing of the source's distinct dates: one date in a calendar month
   and a median spacing of 27 to 32 days, the calendar month; a median of 300 days or more, the calendar year;
   else the median spacing, cut at the next date. A single date is one day.

Tiles of one date share the date. Where one place has several instants a day, at most 18 hours apart, instants count
instead of dates. Spacings are those of one platform, where a source holds several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale.catalog.platforms import platform
from soilscale.catalog.query import Item, Span
from soilscale.errors import DataError
from soilscale.extents import box
from soilscale.seasons import following

DAY = np.timedelta64(1, "D")
MONTHLY = (27.0, 32.0)
"""Median days between the dates of a monthly product."""
YEARLY = 300.0
"""Least median days between the dates of a yearly product."""
FEW = 3
"""Fewer distinct dates than these tell nothing of their spacing."""
HALF_DAY, ZONES = np.timedelta64(12, "h"), np.timedelta64(14, "h")
"""Hours before a month: of what is noon rather than a midnight elsewhere, and of the easternmost time zone."""
QUARTER = np.timedelta64(15, "m")
"""What clocks of time zones differ by, or a multiple of it."""
SAVING = np.timedelta64(1, "h")
"""What daylight saving moves clocks by."""
FREQUENT = 0.75
"""Median days between the instants of one place below which there are several a day."""
CUT = 1.5
"""How many times as long as the spacing of its dates a composite must be for the two to contradict each other."""
REACH = 400.0
"""Days beyond the period in which the neighbours of few dates are looked for."""

INFERRED = "soilscale:interval_inferred"
"""Property of a frozen item whose interval is inferred."""

Instants = NDArray[np.datetime64]


@dataclass(frozen=True)
class _StatedInterval:
    """An interval that an item gives itself."""

    start: np.datetime64
    end: np.datetime64
    at_midnight: bool
    """Whether the end was written as exactly midnight."""


def instant(text: Any) -> datetime | None:
    """Read an RFC 3339 date and time, UTC unless it says otherwise; None if it is not one.

    Examples
    --------
    >>> instant("2005-01-01T08:00:00+08:00").isoformat()
    '2005-01-01T00:00:00+00:00'
    >>> instant("January 2005") is None
    True
    """
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.strip().upper())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def start(properties: Mapping[str, Any]) -> np.datetime64 | None:
    """First instant that an item's properties name, by their own clock, ``datetime64[s]``; None if they name none.

    Examples
    --------
    >>> start({"datetime": None, "start_datetime": "2005-01-01T00:00:00Z"})
    np.datetime64('2005-01-01T00:00:00')
    """
    moment = _moment(properties.get("start_datetime")) or _moment(properties.get("datetime"))
    return None if moment is None else _second(moment)


def undated(properties: Mapping[str, Any]) -> str:
    """Why an item has no date, as a message goes on after "has"."""
    texts = [f"{key} {properties[key]!r}" for key in ("start_datetime", "datetime") if properties.get(key) is not None]
    if not texts:
        return "neither datetime nor start_datetime"
    return f"{', '.join(texts)}, which is no date; expected such as '2005-01-31T00:00:00Z'"


def _moment(text: Any) -> datetime | None:
    """Read an RFC 3339 date and time as it is written, with its offset from UTC, none meaning UTC; see `instant`."""
    if instant(text) is None:
        return None
    moment = datetime.fromisoformat(text.strip().upper())
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def resolve(items: Sequence[Item], composite: float | None) -> list[Span]:
    """Interval of each item of a source, by the rules of this module.

    Parameters
    ----------
    items
        All items of the source: neighbours decide where an item does not say.
    composite
        Days that a composite covers; None: unknown.

    Returns
    -------
    list
        Start and end (exclusive) of each item, ``datetime64[s]``; the end is later than the start.

    Raises
    ------
    DataError
        If an item names no time.
    """
    firsts = starts(items)
    stated_spans = [_stated_interval(item["properties"]) for item in items]
    # Before anything is inferred: from the last day of a month, spacing and calendar month would be those of the
    # month before.
    if before_months(firsts) is not None:
        firsts = _next_months(firsts)
        stated_spans = [interval and _at_midnight(interval) for interval in stated_spans]
    dated = _dates_inclusive([interval for interval in stated_spans if interval])
    infer = _inferences(items, firsts, composite)
    return [
        _span(interval, first, rule, dated=dated)
        for interval, first, rule in zip(stated_spans, firsts, infer, strict=True)
    ]


def _inferences(
    items: Sequence[Item], firsts: Instants, composite: float | None
) -> list[Callable[[np.datetime64], Span]]:
    """Rule for each item by which its start becomes an interval: that of its platform, where each has dates enough."""
    # Several instants a day would fall on one date, and each would cover the whole of it.
    unit = "s" if composite is None and spacing(items, firsts) < FREQUENT else _unit(composite)
    names = [platform(item) for item in items]
    members = {name: firsts[[platform == name for platform in names]] for name in set(names)}
    # A platform of few dates says nothing of its spacing; all together do.
    if any(len(_marks(platform_firsts, unit)) < FEW for platform_firsts in members.values()):
        members = dict.fromkeys(members, firsts)
    rules = {
        name: _inference(_marks(platform_firsts, unit), composite, unit) for name, platform_firsts in members.items()
    }
    return [rules[name] for name in names]


def spacing(items: Sequence[Item], firsts: Instants | None = None) -> float:
    """Median days between the instants of one place and platform, of the place that has most; infinite without any."""
    firsts = starts(items) if firsts is None else firsts
    instants: dict[Hashable, set[np.datetime64]] = defaultdict(set)
    for item, first in zip(items, firsts, strict=True):
        instants[box(item.get("bbox")), platform(item)].add(first)
    # Of one place: neighbouring tiles of one pass, seconds apart, would make the spacing too small.
    most = max(instants.values(), key=len, default=set())
    return _median_days(np.array(sorted(most))) if len(most) >= FEW else np.inf


def before_months(firsts: Instants) -> np.timedelta64 | None:
    """How long before a month the starts of a source lie that are local midnights written in UTC; None: they are not.

    The least time, where daylight saving makes two of them. Noon is a label of the day, and no midnight of an island.
    """
    marks = np.unique(firsts)
    if len(marks) < 2:  # noqa: PLR2004 - a single instant is no series
        return None
    away = _next_months(marks) - marks
    months = marks.astype("datetime64[M]")
    days = _median_days(marks)
    series = len(np.unique(months)) == len(marks) and (MONTHLY[0] <= days <= MONTHLY[1] or days >= YEARLY)
    close = away.max() <= ZONES and away.max() - away.min() <= SAVING
    # Clocks of time zones differ by whole quarters; a noon is a label for the day, whatever the clock.
    clocks = not (away % QUARTER.astype("timedelta64[s]")).any() and not (away == HALF_DAY).all()
    return away.min() if series and close and clocks else None


def _next_months(instants: Instants) -> Instants:
    """First instants of the months after those in which instants lie."""
    months: Instants = (instants.astype("datetime64[M]") + np.timedelta64(1, "M")).astype("datetime64[s]")
    return months


def _at_midnight(stated_span: _StatedInterval) -> _StatedInterval:
    """Interval that starts at a local midnight, by that clock; its end moves with it where it is one too."""
    first, end = _next_months(np.array([stated_span.start, stated_span.end]))
    ends = end - stated_span.end <= ZONES
    return _StatedInterval(
        first, end if ends else stated_span.end + (first - stated_span.start), stated_span.at_midnight or bool(ends)
    )


def by_calendar(items: Sequence[Item]) -> bool:
    """Whether the dates of items are one a month or one a year, so that the calendar says what each covers."""
    firsts = starts(items)
    firsts = firsts if before_months(firsts) is None else _next_months(firsts)
    marks = _marks(firsts, "s")
    days = _median_days(marks) if len(marks) > 1 else 0.0
    return _monthly(marks, days) or days >= YEARLY


def backwards(properties: Mapping[str, Any]) -> bool:
    """Whether an item ends before it starts; what it covers is then inferred from its start alone."""
    first, last = instant(properties.get("start_datetime")), instant(properties.get("end_datetime"))
    return first is not None and last is not None and last < first


def margin(items: Sequence[Item], composite: float | None) -> timedelta:
    """How far beyond the period a catalog must be searched to tell what the items found in it cover.

    Zero where every item has its own interval, or the dates found are spaced as months, and a day where those are
    months by another clock than that of UTC.
    """
    if all(_stated_interval(item["properties"]) for item in items):
        return timedelta(0)
    if composite is not None:
        return timedelta(days=composite)
    firsts = starts(items)
    marks = _marks(firsts, "D")
    if len(marks) < FEW:
        return timedelta(days=REACH)
    days = _median_days(marks)
    if not _monthly(marks, days):
        return timedelta(days=min(days, REACH))
    local = before_months(firsts) is not None or any(_is_local(item["properties"]) for item in items)
    return timedelta(days=int(local))


def _is_local(properties: Mapping[str, Any]) -> bool:
    """Whether an item is dated by another clock than that of UTC."""
    moment = _moment(properties.get("datetime"))
    return moment is not None and bool(moment.utcoffset())


def states(properties: Mapping[str, Any]) -> bool:
    """Whether an item states its interval itself; of a frozen one, whether it did before it was frozen."""
    return not properties.get(INFERRED) and _stated_interval(properties) is not None


def stamp(item: Item, interval: Span) -> Item:
    """Copy of an item that names its interval itself, so that it means the same without its neighbours."""
    first, end = interval
    on_minute = end == end.astype("datetime64[m]")
    # STAC's ends are inclusive; read again, 23:59:59 closes at the next midnight.
    last = end - np.timedelta64(1, "s") if on_minute else end
    properties = item["properties"] | {"start_datetime": f"{first}Z", "end_datetime": f"{last}Z"}
    return item | {"properties": properties if states(item["properties"]) else properties | {INFERRED: True}}


def _second(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None, microsecond=0), "s")


def starts(items: Sequence[Item]) -> Instants:
    """First instant that each item names, by its own clock; errors as `resolve`."""
    instants = [start(item["properties"]) for item in items]
    for item, first in zip(items, instants, strict=True):
        if first is None:
            raise DataError(f"item {item['id']!r} has {undated(item['properties'])}; leave it out of the catalog")
    return np.array(instants, dtype="datetime64[s]")


def _stated_interval(properties: Mapping[str, Any]) -> _StatedInterval | None:
    first, last = _moment(properties.get("start_datetime")), _moment(properties.get("end_datetime"))
    if first is None or last is None or last < first:
        return None
    with suppress(OverflowError):
        last = last.astimezone(first.tzinfo)
    at_midnight = not any((last.hour, last.minute, last.second, last.microsecond))
    # Start and end at one instant state no length; at midnight both may be dates of one day.
    if last == first and not at_midnight:
        return None
    return _StatedInterval(_second(first), _closing(last), at_midnight)


def _closing(last: datetime) -> np.datetime64:
    """Exclusive end for a last instant: 23:59:59.999 closes at the next midnight."""
    if (last.hour, last.minute) == (23, 59):
        return _units(_second(last), "D")[1]
    after = _second(last) + np.timedelta64(int(last.microsecond > 0), "s")
    minute = after.astype("datetime64[m]")
    return following(minute).astype("datetime64[s]") if after - minute == np.timedelta64(59, "s") else after


def _dates_inclusive(stated_spans: Sequence[_StatedInterval]) -> bool:
    """Whether the ends of a source are dates that belong to its intervals."""
    if not stated_spans or not all(interval.at_midnight for interval in stated_spans):
        return False
    starts = np.array([interval.start for interval in stated_spans], dtype="datetime64[s]")
    ends = np.array([interval.end for interval in stated_spans], dtype="datetime64[s]")
    ordered = np.unique(starts)
    following = np.searchsorted(ordered, np.maximum(ends, starts + np.timedelta64(1, "s")))
    followed = following < len(ordered)
    if followed.any():
        gaps, counts = np.unique(ordered[following[followed]] - ends[followed], return_counts=True)
        # The usual gap decides: a date that the catalog lacks must not.
        return bool(gaps[np.argmax(counts)] == DAY)
    months = ordered == ordered.astype("datetime64[M]")
    lasts = (ends + DAY) == (ends + DAY).astype("datetime64[M]")
    return bool(months.all() and lasts.all() and (ends > starts).all())


def _span(
    stated_span: _StatedInterval | None, first: np.datetime64, infer: Callable[[np.datetime64], Span], *, dated: bool
) -> Span:
    if stated_span and dated:
        return stated_span.start, stated_span.end + DAY
    if stated_span and stated_span.end > stated_span.start:
        return stated_span.start, stated_span.end
    return infer(first)


def _inference(marks: Instants, composite: float | None, unit: str) -> Callable[[np.datetime64], Span]:
    """Rule by which a start becomes an interval, from all dates, or instants, of a series."""
    if composite is not None:
        return _composites(marks, composite)
    if len(marks) < 2:  # noqa: PLR2004 - a spacing needs two
        return lambda first: _units(first, "D")
    days = _median_days(marks)
    if _monthly(marks, days):
        return lambda first: _units(first, "M")
    if days >= YEARLY:
        return lambda first: _units(first, "Y")
    length = np.timedelta64(max(round(days * 86400), 1), "s")
    return lambda first: _until_next(first.astype(f"datetime64[{unit}]"), length, marks)


def _composites(marks: Instants, composite: float) -> Callable[[np.datetime64], Span]:
    length = np.timedelta64(round(composite * 86400), "s")
    # Composites of 8 or 16 days start anew each year, so that the last is shorter; cut only where all dates agree.
    elapsed = (marks - marks.astype("datetime64[Y]")) / DAY
    yearly = bool(np.all(elapsed % composite == 0))
    unit = _unit(composite)

    def interval(first: np.datetime64) -> Span:
        first, end = _until_next(first.astype(f"datetime64[{unit}]"), length, marks)
        return first, min(end, _units(first, "Y")[1]) if yearly else end

    return interval


def _until_next(first: np.datetime64, length: np.timedelta64, marks: Instants) -> Span:
    begin = first.astype("datetime64[s]")
    following = int(np.searchsorted(marks, begin, side="right"))
    end = begin + length
    return begin, min(end, marks[following]) if following < len(marks) else end


def _units(first: np.datetime64, unit: str) -> Span:
    """Whole day, month or year in which an instant lies."""
    begin = first.astype(f"datetime64[{unit}]")
    return begin.astype("datetime64[s]"), following(begin).astype("datetime64[s]")


def _unit(composite: float | None) -> str:
    return "s" if composite is not None and composite < 1 else "D"


def _marks(instants: Instants, unit: str) -> Instants:
    """Distinct dates of a source, ascending, or distinct instants."""
    return np.unique(instants.astype(f"datetime64[{unit}]")).astype("datetime64[s]")


def _median_days(marks: Instants) -> float:
    return float(np.median(np.diff(marks) / DAY))


def _monthly(marks: Instants, days: float) -> bool:
    months = np.unique(marks.astype("datetime64[M]"))
    return len(months) == len(marks) and MONTHLY[0] <= days <= MONTHLY[1]
