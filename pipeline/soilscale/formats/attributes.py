"""Attributes of a variable that describe its stored values: fill codes, range, scale, offset and unit.

By the conventions of CF and of NetCDF's users' guide, of HDF4 and HDF-EOS, and as JAXA writes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from soilscale import numerals, units

FILLS = ("_fillvalue", "missing_value", "fillvalue", "fill_value", "codemissingvalue", "error_dn")
SCALES = ("scale_factor", "slope")
OFFSETS = ("add_offset", "offset")
INTERCEPTS = ("intercept",)
"""Offsets that are added after the scale in HDF4 too."""
UNITS = ("units", "unit")
LEAST, GREATEST = ("valid_min", "minimum_valid_dn"), ("valid_max", "maximum_valid_dn")
"""Attributes, as `_plain` names them."""

DEFAULT_FILLS = {"i2": -32767, "u2": 65535, "i4": -2147483647, "u4": 4294967295, "i8": -9223372036854775806}
"""Type -> what NetCDF keeps where nothing was written and no fill code is stated. It has none of bytes; that of floats
is beyond any value."""

UNCLEAR = re.compile(r"scal(e|ing)(_factor)?|gain|factor|multiplier")
"""Attributes that scale in a way of which nobody knows whether it multiplies or divides."""

DIVISOR = 1000.0
"""``scale_factor`` of HDF-EOS from which on it divides: 10000 of MOD09 and MOD13. What multiplies there is smaller, up
to 25 metres."""

EMPTY = re.compile(r"(nan|no_?data|fill(_?value)?|missing(_?(value|data))?|undefined)", re.IGNORECASE)
"""Meanings of flags that are no value."""


@dataclass(frozen=True)
class Stated:
    """What attributes state of stored values."""

    fills: tuple[float, ...]
    scale: float
    offset: float
    unit: str | None
    valid_range: tuple[float, float] | None
    unclear: tuple[tuple[str, str], ...] = ()
    """``nodata``, ``scale`` or ``offset`` -> attribute and text that state it in a way that is not understood."""


def read(attributes: Mapping[str, Any], dtype: np.dtype[Any], *, is_hdf4: bool, is_eos: bool) -> Stated:
    """What attributes state of the values of a variable of some type.

    Parameters
    ----------
    is_hdf4
        Whether value = scale x (stored - offset), as HDF4 has it; elsewhere it is scale x stored + offset.
    is_eos
        Whether the file is HDF-EOS, in which a large `scale_factor` divides.
    """
    by_name = {_plain(name): value for name, value in attributes.items()}
    unclear = list(_unclear(by_name))
    scale, offset = _first(by_name, SCALES, 1.0), _first(by_name, OFFSETS, 0.0)
    if not numerals.is_factor(scale):
        unclear.append(("scale", f"scale {scale:g}"))
    if is_eos and dtype.kind in "iu" and scale >= DIVISOR:
        scale = 1 / scale
    # HDF4 takes its offset off the stored value, before the scale; elsewhere it is added after it.
    if is_hdf4:
        offset = -scale * offset
    offset = _first(by_name, INTERCEPTS, offset)
    fills = [number for key in FILLS for number in numerals.numbers(by_name.get(key))]
    fills += _empty_flags(attributes)
    unit = next(filter(None, (units.unit_text(by_name.get(key)) for key in UNITS)), None)
    codes = tuple(dict.fromkeys(_as_stored(code, dtype) for code in fills if math.isfinite(code)))
    return Stated(codes, scale, offset, unit, _range(attributes, _ends(by_name), dtype, scale, offset), tuple(unclear))


def with_default_fill(attributes: dict[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Attributes of a NetCDF variable, and its type's own fill code where they state none."""
    code = DEFAULT_FILLS.get(f"{dtype.kind}{dtype.itemsize}")
    silent = code is not None and not {_plain(name) for name in attributes} & set(FILLS)
    return attributes | ({"_FillValue": code} if silent else {})


def _plain(name: str) -> str:
    """Name of an attribute without its case and blanks, in which producers differ."""
    return name.lower().replace(" ", "_")


def _unclear(by_name: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Attributes that state a fill code, a scale or an offset in a way that is not understood."""
    for key, names in (("nodata", FILLS), ("scale", SCALES), ("offset", (*OFFSETS, *INTERCEPTS))):
        yield from ((key, f"{name} {by_name[name]!r}") for name in names if numerals.is_unclear(by_name.get(name)))
    if not any(name in by_name for name in SCALES):
        for name, value in by_name.items():
            if UNCLEAR.fullmatch(name) and set(numerals.numbers(value)[:1]) - {1.0}:
                yield "scale", f"{name} {value}"


def valid_range(attributes: Mapping[str, Any]) -> tuple[float, float] | None:
    """Least and greatest value, as ``valid_range``, ``valid_min`` and ``valid_max`` state them; None if none does."""
    ends = _ends({_plain(name): value for name, value in attributes.items()})
    return None if ends is None or ends[0] > ends[1] else ends


def _ends(by_name: Mapping[str, Any]) -> tuple[float, float] | None:
    """Ends of the valid range as they are written; infinite where only one is."""
    limits = numerals.numbers(by_name.get("valid_range"))
    low, high = limits if len(limits) == 2 else (-math.inf, math.inf)  # noqa: PLR2004
    ends = _first(by_name, LEAST, low), _first(by_name, GREATEST, high)
    return None if all(map(math.isinf, ends)) or any(map(math.isnan, ends)) else ends


def _range(
    attributes: Mapping[str, Any], limits: tuple[float, float] | None, dtype: np.dtype[Any], scale: float, offset: float
) -> tuple[float, float] | None:
    """Least and greatest stored value, by the limits as they are written or by what flags and codes mean."""
    if limits is not None:
        fractions = any(math.isfinite(end) and end != round(end) for end in limits)
        if dtype.kind in "iu" and scale > 0 and fractions:
            # Stored values are integers, so these are physical ones.
            return (limits[0] - offset) / scale, (limits[1] - offset) / scale
        # A least value of -1 of what has no sign limits nothing at its lower end.
        low, high = limits if limits[0] < 0 <= limits[1] else (_as_stored(end, dtype) for end in limits)
        return (low, high) if low <= high else None
    # Masks make values of several bits at once, which lie between and beyond those that are listed.
    flags = () if "flag_masks" in attributes else numerals.numbers(attributes.get("flag_values"))
    if flags:
        return min(flags), max(flags)
    # JAXA: every negative code of an integer says why there is no value.
    return (0.0, math.inf) if "SCALE FACTOR" in attributes and dtype.kind == "i" else None


def _as_stored(code: float, dtype: np.dtype[Any]) -> float:
    """Number by the bits of a type: written with a sign of what has none, or without of what has one, such as 0xFF."""
    turn = 2.0 ** (8 * dtype.itemsize)
    if dtype.kind == "u" and -turn / 2 <= code < 0:
        return code + turn
    return code - turn if dtype.kind == "i" and turn / 2 <= code < turn else code


def flag_names(attributes: Mapping[str, Any]) -> dict[int, str]:
    """Name of each class that ``flag_values`` and ``flag_meanings`` state, in words."""
    return {int(value): meaning.replace("_", " ") for value, meaning in _flags(attributes) if value.is_integer()}


def _empty_flags(attributes: Mapping[str, Any]) -> list[float]:
    """Values of flags that mean that there is none."""
    return [value for value, meaning in _flags(attributes) if EMPTY.fullmatch(meaning)]


def _flags(attributes: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Values of flags with their meanings."""
    values, meanings = numerals.numbers(attributes.get("flag_values")), str(attributes.get("flag_meanings", "")).split()
    # Meanings with blanks in them fall apart; which belongs to which value is then unknown.
    return list(zip(values, meanings, strict=True)) if len(values) == len(meanings) else []


def _first(by_name: Mapping[str, Any], keys: tuple[str, ...], default: float) -> float:
    return next((numbers[0] for key in keys if (numbers := numerals.numbers(by_name.get(key)))), default)
