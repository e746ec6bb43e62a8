"""Units as quantities with a dimension: as catalogs, files and people write them, and conversion between them.

Pint knows the units and is loaded when a text has to be understood; equal texts and the names below need none of it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

MISSING = frozenset({"", "-", "--", "none", "null", "nan", "n/a", "na", "unknown", "undefined", "not applicable"})
"""Texts that state no unit, in lower case."""

NAMES = {
    **{name: name for name in ("1", "%", "K", "degC", "m", "mm", "mm month-1", "m3 m-3")},
    "Kelvin": "K",
    "kelvin": "K",
}
"""Frequent texts and their CF spelling, which need no registry."""

WORDS = (
    (r"(of )?water[ _]equivalents?|\bw\.?\s?e\.?$|\bof water\b|\bH2O\b", ""),
    (r"\s+(a\.?m?\.?s\.?l\.?|above\b.*|msl)$", ""),
    (r"^tenths? of (an? )?", "0.1 "),
    (r"^hundredths? of (an? )?", "0.01 "),
    (r"^[\[(]\s*-?\s*[\])]$", "1"),
    (r"^\(?\s*0\s*-\s*1\s*\)?$|^(unitless|dimensionless|fraction|proportion|ratio|index|no units?)$", "1"),
    (r"^(us[ _-]*(survey[ _]*)?(foot|feet|ft)|ft[ _-]?us|(survey[ _]*)(foot|feet|ft)|foot_us)$", "survey_foot"),
    (r"^(°|deg(rees?)?[ _.]*)?c(el[sc]ius)?$|^centigrade$", "degree_Celsius"),
    (r"^(°|deg(rees?)?[ _.]*)?f(ahrenheit)?$", "degree_Fahrenheit"),
    (r"^(°|deg(rees?)?[ _.]*)k(elvin)?$", "kelvin"),
    (r"(?<=\w)\s+\([A-Za-z ]+\)$", ""),
    (r"\bmon?s?\b", "month"),
    (r"\bwks?\b", "week"),
    (r"\bdekads?\b", "(10*day)"),
    (r"\bpentads?\b", "(5*day)"),
    (r"^v(ol)?\.?\s*/\s*v(ol)?\.?$", "m**3/m**3"),
    # Of UDUNITS; Python would subtract.
    (r"(?<![\w.])10\s?(?:\^|\*\*)?\s?([-+]\d{1,2})\b", r"1e\1"),
    (r"\bdn\b|^counts?$|^digital numbers?$", "digital_number"),
)
"""What people write and pint does not know, as patterns, and what pint knows; tried in this order."""

PERCENT = re.compile(r"([\s%().,/_]|per ?cent|by|of|vol\w*|v|weight|wt|w|mass|m)+", re.IGNORECASE)
"""Per cent, of volume or of weight, and nothing else."""

POWER = re.compile(r"(?<=[A-Za-z)])(?<![0-9\-][eE])(?=-?\d)")
"""Between a unit and its exponent in UDUNITS' spelling, as in ``m3 m-3``."""

SYMBOLS = {
    "percent": "%",
    "day": "day",
    "year": "year",
    "degree": "degree",
    "hour": "h",
    "degree_Celsius": "degC",
    "degree_Fahrenheit": "degF",
    "survey_foot": "US_survey_foot",
    "digital_number": "DN",
}
"""Unit of pint -> its CF spelling, where pint's own symbol is another."""

TIMES = ("second", "minute", "hour", "day", "month", "year")
"""Units that stand last, as in ``kg m-2 s-1``."""

SUPERSCRIPTS = str.maketrans("µ⁰¹²³⁴⁵⁶⁷⁸⁹⁻·", "u0123456789- ")

WATER = 1000.0
"""Mass of a cubic metre of water, kg: 1 kg m-2 of it stands 1 mm high."""

FAR = 1e9
"""Number whose value in another unit shows the factor, digits lost to an offset being few beside it."""

LONGEST = 80
"""Letters of the longest text that may be a unit."""

UNSAFE = re.compile(r"\*\*\s*-?\d{3}|\*\*\s*\(?-?\d+\)?\s*\*\*|\*\*\s*\(")
"""Powers of no unit, some of which would take for ever to work out."""

AMBIGUOUS = re.compile(r"[A-Za-z)\]]\s*(?<!\*)[*x\u00d7](?!\*)\s*\d|\d\s*[-+]\s*\d(?<!e.\d)", re.IGNORECASE)
"""A number behind a unit: ``K*50`` is 50 K, or K that were multiplied by 50 when they were stored; and differences."""

MONTH, YEAR = 365.25 / 12, 365.25
"""Days of pint's month and year."""


class UnitError(ValueError):
    """A unit that is not understood, or that does not lead to another."""


@dataclass(frozen=True)
class Linear:
    """Value in one unit = value in another x factor + offset.

    Examples
    --------
    >>> Linear(factor=1.0, offset=273.15)(20.0)
    293.15
    """

    factor: float = 1.0
    offset: float = 0.0

    def __call__(self, value: float) -> float:
        """Value in the other unit."""
        return value * self.factor + self.offset


def unit_text(text: object) -> str | None:
    """Text of a unit, stripped; None if it states none.

    Examples
    --------
    >>> unit_text(" mm ")
    'mm'
    >>> unit_text("n/a") is None
    True
    """
    if not isinstance(text, str) or text.strip().lower() in MISSING:
        return None
    return text.strip()


def linear(from_unit: str, to_unit: str, *, month: float = MONTH, year: float = YEAR) -> Linear:
    """Way from one unit to another.

    Parameters
    ----------
    stated, wanted
        Units as people write them: of UDUNITS (``kg m-2 s-1``), with slashes (``mm/hr``) or in words (``celsius``).
    month, year
        Days of the month and year in question, for rates per month or year.

    Raises
    ------
    UnitError
        If one is not understood, or their dimensions differ; mass of water by area counts as its height.

    Examples
    --------
    >>> linear("mm/hr", "mm day-1")
    Linear(factor=24.0, offset=0.0)
    >>> linear("celsius", "K")(20.0)
    293.15

    A mass of water per area is its height:

    >>> linear("kg m-2", "mm")
    Linear(factor=1.0, offset=0.0)
    """
    if canonical(from_unit) == canonical(to_unit):
        return Linear()
    from_quantity, to_quantity = _quantity(from_unit), _quantity(to_unit)
    power = _power(from_quantity, "month") - _power(to_quantity, "month")
    yearly = _power(from_quantity, "year") - _power(to_quantity, "year")
    calendar = (month / MONTH) ** power * (year / YEAR) ** yearly
    for factor in (1.0, _registry().Quantity(1 / WATER, "m**3/kg"), _registry().Quantity(WATER, "kg/m**3")):
        try:
            zero, far = (_value(number, from_quantity, to_quantity, factor) for number in (0.0, FAR))
        except (AttributeError, TypeError, ValueError, ArithmeticError) as error:
            failure = error
            continue
        # A foot is 0.3048 m, not 0.30479999999999996.
        return Linear(float(f"{(far - zero) / FAR * calendar:.15g}"), float(f"{zero:.12g}"))
    raise UnitError(f"{from_unit!r} cannot be converted to {to_unit!r}") from failure


def _value(number: float, from_quantity: Any, target: Any, density: Any) -> float:
    """Number of one quantity in another, by way of a density or its inverse."""
    scaled = _registry().Quantity(number * from_quantity.magnitude, from_quantity.units)
    converted = scaled.to(target.units) if isinstance(density, float) else (scaled * density).to(target.units)
    return float(converted.magnitude / target.magnitude)


def is_known(text: str) -> bool:
    """Whether a text is understood as a unit.

    Examples
    --------
    >>> is_known("furlong/fortnight"), is_known("mystery")
    (True, False)
    """
    try:
        _quantity(text)
    except UnitError:
        return False
    return True


def period(text: str) -> float | None:
    """Days of the period that a rate is given for, as in ``mm month-1`` or ``kg/m^2/8day``; None if it is none.

    Seconds, minutes, hours and single days are no period: their rate holds at every moment.

    Raises
    ------
    UnitError
        If the unit is not understood.

    Examples
    --------
    >>> period("kg/m^2/8day")
    8.0
    >>> period("mm/hr") is None
    True
    """
    unit = _quantity(text)
    if _power(unit, "month") == -1:
        return MONTH
    if _power(unit, "year") == -1:
        return YEAR
    number = re.search(r"(?:/|per)\s*\(?\s*(\d+)\s*\*?\s*d(?:ays?)?\b", _spelled(text))
    return float(number[1]) if number and int(number[1]) > 1 else None


@lru_cache(maxsize=1024)
def canonical(text: str) -> str:
    """CF spelling of a unit; a text that is not understood as it is.

    Examples
    --------
    >>> canonical("mm/month")
    'mm month-1'
    >>> canonical("degrees celsius")
    'degC'
    """
    if text in NAMES:
        return NAMES[text]
    try:
        quantity = _quantity(text)
    except UnitError:
        return text.strip()
    if quantity.magnitude != 1:
        return text.strip()
    if not dict(quantity.unit_items()):
        # Pint cancels the units; only the text tells a volume fraction from other dimensionless numbers.
        return "m3 m-3" if re.search(r"m\W*3", text.translate(SUPERSCRIPTS)) else "1"
    parts = sorted(quantity.unit_items(), key=lambda part: (part[1] < 0, part[0] in TIMES, -part[1]))
    return " ".join(_symbol(name) + ("" if power == 1 else f"{power:g}") for name, power in parts)


def _symbol(name: str) -> str:
    return SYMBOLS.get(name) or str(_registry().get_symbol(name))


def _power(quantity: Any, name: str) -> int:
    return int(dict(quantity.unit_items()).get(name, 0))


def _spelled(text: str) -> str:
    """Text of a unit as pint reads it."""
    spelled = text.strip().translate(SUPERSCRIPTS)
    if PERCENT.fullmatch(spelled) and re.search("%|per ?cent", spelled, re.IGNORECASE):
        return "percent"
    for pattern, word in WORDS:
        spelled = re.sub(pattern, word, spelled, flags=re.IGNORECASE).strip()
    spelled = re.sub(r"/\s*(\d+)\s*\*?\s*([A-Za-z]+)", r"/(\1*\2)", spelled)
    spelled = POWER.sub("**", re.sub(r"\bper\b", "/", spelled).replace("^", "**"))
    return re.sub(r"(?<=[\w)])\s+(?=[\w(])", "*", spelled)


@lru_cache(maxsize=1024)
def _quantity(text: str) -> Any:
    """Quantity of one of a unit.

    Raises
    ------
    UnitError
        If the text is not understood.
    """
    spelled = _spelled(text)
    failure: Exception | None = None
    if len(text) > LONGEST or UNSAFE.search(spelled) or AMBIGUOUS.search(spelled):
        raise UnitError(f"{text[:LONGEST]!r} is not understood as a unit")
    # As written first, because case matters: mW is not MW.
    for form in dict.fromkeys((spelled, spelled.lower())):
        try:
            parsed = _registry().parse_expression(form)
            quantity = parsed if hasattr(parsed, "units") else _registry().Quantity(float(parsed), "")
            if 0 < quantity.magnitude < math.inf:
                return quantity
        except Exception as error:  # noqa: BLE001 - pint fails in as many ways as there are texts
            failure = error
    raise UnitError(f"{text!r} is not understood as a unit") from failure


@cache
def _registry() -> Any:
    """Pint's registry, loaded late: it takes half a second."""
    import pint  # noqa: PLC0415 - see above

    registry: Any = pint.UnitRegistry(on_redefinition="ignore")
    registry.define("digital_number = [digital_number] = DN")
    return registry
