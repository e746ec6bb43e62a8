"""Attributes of a variable that describe its stored values: fill codes, range, scale, offset and unit.

By the conventions of CF and of NetCDF's users' guide, of HDF4 and HDF-EOS, and as JAXA writes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from soilscale import units

FILLS = ("_FillValue", "missing_value", "fillvalue", "fill_value", "CodeMissingValue")
SCALES = ("scale_factor", "SCALE FACTOR", "SCALE_FACTOR", "Scale_Factor")
OFFSETS = ("add_offset", "OFFSET", "Offset")
UNITS = ("units", "UNIT", "Units", "unit")

DIVISOR = 1000.0
"""``scale_factor`` of HDF-EOS from which on it divides: 10000 of MOD09 and MOD13. What multiplies there is smaller, up
to 25 metres."""

EMPTY = re.compile(r"(nan|no_?data|fill(_?value)?|missing(_?(value|data))?|undefined)", re.IGNORECASE)
"""Meanings of flags that are no value."""

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Stated:
    """What attributes state of stored values."""

    fills: tuple[float, ...]
    scale: float
    offset: float
    unit: str | None
    valid_range: tuple[float, float] | None


def read(attributes: Mapping[str, Any], dtype: np.dtype[Any], *, is_hdf4: bool, is_eos: bool) -> Stated:
    """What attributes state of the values of a variable of some type.

    Parameters
    ----------
    is_hdf4
        Whether value = scale x (stored - offset), as HDF4 has it; elsewhere it is scale x stored + offset.
    is_eos
        Whether the file is HDF-EOS, in which a large `scale_factor` divides.
    """
    scale, offset = _first(attributes, SCALES, 1.0), _first(attributes, OFFSETS, 0.0)
    if is_eos and dtype.kind in "iu" and scale >= DIVISOR:
        scale = 1 / scale
    # HDF4 takes its offset off the stored value, before the scale; elsewhere it is added after it.
    if is_hdf4:
        offset = -scale * offset
    fills = [number for key in FILLS for number in _numbers(attributes.get(key))]
    fills += _empty_flags(attributes)
    unit = next(filter(None, (units.unit_text(attributes.get(key)) for key in UNITS)), None)
    codes = tuple(dict.fromkeys(_as_stored(code, dtype) for code in fills if math.isfinite(code)))
    return Stated(codes, scale, offset, unit, _range(attributes, dtype, scale, offset))


def valid_range(attributes: Mapping[str, Any]) -> tuple[float, float] | None:
    """Least and greatest value, as ``valid_range``, ``valid_min`` and ``valid_max`` state them; None if none does."""
    both = _numbers(attributes.get("valid_range"))
    low, high = both if len(both) == 2 else (math.nan, math.nan)  # noqa: PLR2004
    low, high = _first(attributes, ("valid_min",), low), _first(attributes, ("valid_max",), high)
    low, high = (-math.inf if math.isnan(low) else low), (math.inf if math.isnan(high) else high)
    return None if (math.isinf(low) and math.isinf(high)) or low > high else (low, high)


def _range(
    attributes: Mapping[str, Any], dtype: np.dtype[Any], scale: float, offset: float
) -> tuple[float, float] | None:
    """Least and greatest stored value."""
    limits = valid_range(attributes)
    if limits is not None:
        fractions = any(math.isfinite(end) and end != round(end) for end in limits)
        if dtype.kind in "iu" and scale > 0 and fractions:
            # Stored values are integers, so these are physical ones.
            return (limits[0] - offset) / scale, (limits[1] - offset) / scale
        return limits if limits[0] >= 0 or dtype.kind != "u" else _unsigned(limits, dtype)
    # Masks make values of several bits at once, which lie between and beyond those that are listed.
    flags = [] if "flag_masks" in attributes else _numbers(attributes.get("flag_values"))
    if flags:
        return min(flags), max(flags)
    # JAXA: every negative code of an integer says why there is no value.
    return (0.0, math.inf) if "SCALE FACTOR" in attributes and dtype.kind == "i" else None


def _unsigned(limits: tuple[float, float], dtype: np.dtype[Any]) -> tuple[float, float] | None:
    low, high = (_as_stored(end, dtype) for end in limits)
    return (low, high) if low <= high else None


def _as_stored(code: float, dtype: np.dtype[Any]) -> float:
    """Fill code that is written as a signed number, of values that are stored without sign."""
    return (
        code + 2.0 ** (8 * dtype.itemsize) if dtype.kind == "u" and -(2.0 ** (8 * dtype.itemsize)) < code < 0 else code
    )


def flag_names(attributes: Mapping[str, Any]) -> dict[int, str]:
    """Name of each class that ``flag_values`` and ``flag_meanings`` state, in words."""
    return {int(value): meaning.replace("_", " ") for value, meaning in _flags(attributes) if value.is_integer()}


def _empty_flags(attributes: Mapping[str, Any]) -> list[float]:
    """Values of flags that mean that there is none."""
    return [value for value, meaning in _flags(attributes) if EMPTY.fullmatch(meaning)]


def _flags(attributes: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Values of flags with their meanings."""
    values, meanings = _numbers(attributes.get("flag_values")), str(attributes.get("flag_meanings", "")).split()
    # Meanings with blanks in them fall apart; which belongs to which value is then unknown.
    return list(zip(values, meanings, strict=True)) if len(values) == len(meanings) else []


def _first(attributes: Mapping[str, Any], keys: tuple[str, ...], default: float) -> float:
    numbers = [number for key in keys for number in _numbers(attributes.get(key))[:1]]
    return numbers[0] if numbers else default


def _numbers(value: Any) -> list[float]:
    """Numbers of an attribute: one, several, or a text of them."""
    if isinstance(value, str):
        return [float(number) for number in NUMBER.findall(value)]
    if isinstance(value, (list, tuple)):
        return [number for part in value for number in _numbers(part)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []
