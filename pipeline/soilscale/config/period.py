"""Periods in a configuration: two months, or a word relative to a run's date or the last release."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Discriminator, Field, Tag

FIXED, RELATIVE = "(months)", "(word)"
"""Which form of a period is written; in the place of an error that pydantic tells."""

SINCE_RELEASE = "since-last-release"
"""All that is new since the newest release: further months, and revised inputs of those that it holds."""

LAST = re.compile(r"last-([1-9][0-9]{0,3})-months")
"""The last so many complete months."""


def _as_text(value: Any) -> Any:
    """Month as text: YAML reads 2005-01 as text, 2005-01-01 as a date."""
    return f"{value:%Y-%m}" if isinstance(value, date) else value


def form_of(written: Any) -> str:
    """Which form of a period is written."""
    return RELATIVE if isinstance(written, str) else FIXED


Month = Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]

Span = tuple[Month, Month]
"""First and last month, inclusive."""

Word = Annotated[str, Field(pattern=f"^({LAST.pattern}|{SINCE_RELEASE})$")]

Period = Annotated[Annotated[Span, Tag(FIXED)] | Annotated[Word, Tag(RELATIVE)], Discriminator(form_of)]


def month_faults(period: tuple[str, str] | str, training: tuple[str, str] | None) -> Iterator[tuple[str, str]]:
    """Key and what is wrong there, between the months of a period and those that models learn from."""
    for key, months in (("period", period), ("training", training)):
        if months is not None and not isinstance(months, str) and months[0] > months[1]:
            yield key, f"{months[0]} comes after {months[1]}; expected the first and the last month"
    if (
        training is not None
        and not isinstance(period, str)
        and not (period[0] <= training[0] and training[1] <= period[1])
    ):
        yield "training", f"got {list(training)}; expected months within the period [{period[0]}, {period[1]}]"


def last_complete(today: date) -> np.datetime64:
    """Last month that is over on a date: the one before the date's own.

    Parameters
    ----------
    today
        Date, UTC.

    Examples
    --------
    >>> str(last_complete(date(2026, 3, 15)))
    '2026-02'
    """
    return np.datetime64(today, "M") - np.timedelta64(1, "M")


def first_of(word: str, last: np.datetime64) -> np.datetime64 | None:
    """First of the last so many months of which `last` is the last; None for `SINCE_RELEASE`, which counts none.

    Parameters
    ----------
    word
        Relative period, such as ``last-3-months``.

    Examples
    --------
    >>> str(first_of("last-3-months", np.datetime64("2026-02")))
    '2025-12'
    """
    match = LAST.fullmatch(word)
    return None if match is None else last - np.timedelta64(int(match[1]) - 1, "M")
