"""Numbers as people and programs write them in texts: decimal, hexadecimal, with C's suffixes, one or several."""

from __future__ import annotations

import math
import re
from typing import Any

NUMBER = re.compile(
    # The sign is none after a digit: `4-10` and `4..10` are ranges.
    r"(?<![\w.])(?:(?P<hex>[-+]?0[xX][0-9a-fA-F]+)|"
    r"(?P<decimal>[-+]?(?:\d+(?:\.(?!\.)\d*)?|(?<!\.)\.\d+)(?:[eE][-+]?\d+)?))[fFsSlLbBuU]{0,3}(?![\w+])"
)
"""A number that stands for itself: none within a word, such as a name or a fill value in base 64."""

SEPARATOR = re.compile(r"(?<=\d)(?:\s*(?:\.\.+|[\u2013\u2014])\s*|-)(?=[\d.])(?<![eE]-)")
"""Between the ends of a range, without blanks."""

SILENT = frozenset({"", "-", "--", "none", "null", "nan", "n/a", "na", "unknown", "undefined", "inf", "-inf"})
"""Texts, in lower case, that state no number to look for; NaN and infinity are missing anyway."""


def numbers(value: Any) -> tuple[float, ...]:
    """Numbers of a value: itself, those of a list, or those in a text.

    Examples
    --------
    >>> numbers("-9999.f"), numbers("0x8000"), numbers([1, "2; 3"])
    ((-9999.0,), (32768.0,), (1.0, 2.0, 3.0))
    >>> numbers("4..10"), numbers("0-100"), numbers("AAAAAAAA+H8=")
    ((4.0, 10.0), (0.0, 100.0), ())
    """
    if isinstance(value, bool):
        return ()
    if isinstance(value, (int, float)):
        return (float(value),)
    if isinstance(value, (list, tuple)):
        return tuple(number for part in value for number in numbers(part))
    if not isinstance(value, str):
        return ()
    spread = SEPARATOR.sub(" ", value)
    return tuple(
        float(int(match["hex"], 16)) if match["hex"] else float(match["decimal"]) for match in NUMBER.finditer(spread)
    )


def number(value: Any) -> float | None:
    """The only number of a value; None if it is none. STAC writes ``"nan"`` and ``"inf"`` as text.

    Examples
    --------
    >>> number("0xFF"), number("nan"), number("1,5"), number(None)
    (255.0, nan, None, None)
    """
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            # A text with anything else in it, such as a decimal comma, leaves open which number is meant.
            match = NUMBER.fullmatch(value.strip())
            return None if match is None else numbers(value)[0]
    single = numbers(value)
    return single[0] if len(single) == 1 else None


def is_unclear(value: Any, *, single: bool = False) -> bool:
    """Whether a text means to state a number, but none is understood, or not a `single` one.

    Examples
    --------
    >>> is_unclear("see the guide"), is_unclear("none"), is_unclear("-1")
    (True, False, False)
    >>> is_unclear("1,5"), is_unclear("1,5", single=True)
    (False, True)
    """
    if not isinstance(value, str) or value.strip().lower() in SILENT:
        return False
    return number(value) is None if single else not numbers(value)


def is_factor(value: float) -> bool:
    """Whether a number can scale values: 0 would make all of them alike."""
    return math.isfinite(value) and value != 0
