"""Season schemes: which months belong together, and to which season-year a month counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

METEOROLOGICAL: Mapping[str, tuple[int, ...]] = {
    "spring": (3, 4, 5),
    "summer": (6, 7, 8),
    "autumn": (9, 10, 11),
    "winter": (12, 1, 2),
}
"""Three-month seasons, named as in the northern hemisphere, to which June is summer (Yan & Bai 2020, section 3.2)."""

SCHEMES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "meteorological": METEOROLOGICAL,
    "wet_dry": {"wet": (5, 6, 7, 8, 9), "dry": (10, 11, 12, 1, 2, 3, 4)},
    "growing": {"growing": (4, 5, 6, 7, 8, 9, 10), "dormant": (11, 12, 1, 2, 3)},
    "annual": {"year": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)},
}
"""Season schemes that can be asked for by name."""

YEAR = 12
"""Months."""

ALL = "all"
"""Name of the comprehensive model, trained on every season."""

Months = NDArray[np.datetime64]


@dataclass(frozen=True)
class Seasons:
    """A partition of the twelve months into named seasons.

    Parameters
    ----------
    months
        Season name -> its months in calendar order of the season (winter is 12, 1, 2).

    Raises
    ------
    ValueError
        If the months are not a partition of 1..12, or a season is empty or named ``all``.

    Examples
    --------
    >>> import numpy as np
    >>> seasons = Seasons({"wet": (5, 6, 7, 8, 9), "dry": (10, 11, 12, 1, 2, 3, 4)})
    >>> seasons.name(np.datetime64("2005-02"))
    'dry'
    >>> str(seasons.start(np.datetime64("2005-02")))
    '2004-10'
    """

    months: Mapping[str, Sequence[int]]

    def __post_init__(self) -> None:
        count = Counter(month for season in self.months.values() for month in season)
        twice = sorted(month for month, n in count.items() if n > 1)
        foreign = sorted(set(count) - set(range(1, 13)))
        missing = sorted(set(range(1, 13)) - set(count))
        faults = [
            f"{fault} {listed}"
            for fault, listed in (("twice:", twice), ("not a month:", foreign), ("missing:", missing))
            if listed
        ]
        if faults:
            raise ValueError(f"seasons must hold each of the months 1..12 once; {'; '.join(faults)}")
        if empty := [name for name, months in self.months.items() if not months]:
            raise ValueError(f"seasons must hold at least one month each; empty: {', '.join(empty)}")
        if ALL in self.months:
            raise ValueError(f"a season cannot be named {ALL!r}: this is the comprehensive model's name")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the seasons, in the order in which they were written."""
        return tuple(self.months)

    @cached_property
    def _of_month(self) -> dict[int, str]:
        return {month: name for name, months in self.months.items() for month in months}

    def name(self, month: np.datetime64) -> str:
        """Season to which a month belongs.

        Parameters
        ----------
        month
            Any date; its month counts.
        """
        return self._of_month[calendar_month(month)]

    def names_of(self, months: Months) -> NDArray[Any]:
        """Season of each month, shape ``(n,)``, as strings."""
        return np.array([self.name(month) for month in months], dtype=str)

    def start(self, month: np.datetime64) -> np.datetime64:
        """First month of the season in which a month lies: 2005-02 -> 2004-12 for a winter of 12, 1, 2."""
        months = self.months[self.name(month)]
        first, calendar = self._first(months), calendar_month(month)
        return as_month(month) - np.timedelta64((calendar - first) % 12, "M")

    def members(self, start: np.datetime64) -> Months:
        """Months of the season that starts at `start`, ascending, shape ``(n,)``."""
        months = self.months[self.name(start)]
        steps = sorted((month - calendar_month(start)) % 12 for month in months)
        return as_month(start) + np.array(steps, dtype="timedelta64[M]")

    @staticmethod
    def _first(months: Sequence[int]) -> int:
        """Month after the longest gap in the year, with which the season starts; the first written of a whole year."""
        if len(months) == YEAR:
            return months[0]
        ordered = sorted(months)
        gaps = [(month - ordered[i - 1]) % 12 or 12 for i, month in enumerate(ordered)]
        return ordered[int(np.argmax(gaps))]


def as_month(date: str | np.datetime64) -> np.datetime64:
    """Month in which a date lies, as ``datetime64[M]``.

    Examples
    --------
    >>> str(as_month("2005-07-19"))
    '2005-07'
    """
    return np.datetime64(date).astype("datetime64[M]")


def following(date: np.datetime64) -> np.datetime64:
    """Date one later in its own unit: the next year, month, day or minute.

    Examples
    --------
    >>> str(following(np.datetime64("2005-12")))
    '2006-01'
    """
    unit_step: Any = np.array(1, dtype=f"timedelta64[{np.datetime_data(date.dtype)[0]}]")
    return date + unit_step


def calendar_month(month: np.datetime64) -> int:
    """Month of the year, 1..12.

    Examples
    --------
    >>> calendar_month(np.datetime64("2005-07"))
    7
    """
    return int(as_month(month).astype(int) % 12) + 1


def month_range(first: str | np.datetime64, last: str | np.datetime64) -> Months:
    """Every month from `first` to `last`, both inclusive, as ``datetime64[M]``, shape ``(n,)``.

    Examples
    --------
    >>> [str(month) for month in month_range("2004-12", "2005-02")]
    ['2004-12', '2005-01', '2005-02']
    """
    return np.arange(as_month(first), as_month(last) + np.timedelta64(1, "M"))


def position(months: Months, month: np.datetime64) -> int:
    """Position of a month in a run of months; negative before the first.

    Examples
    --------
    >>> position(month_range("2004-12", "2005-02"), np.datetime64("2005-02"))
    2
    """
    return int((month - months[0]).astype(int))
