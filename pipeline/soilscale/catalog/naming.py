"""The date, tile and variable in the name of a product's file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import cos, radians

from soilscale.extents import Box

TILE = re.compile(r"h(\d\d)v(\d\d)")
"""Name of a tile of MODIS's sinusoidal grid."""

SIDE = 10.0
"""Degrees of a tile along the equator, and from south to north."""

ACROSS, DOWN = 36, 18
"""Tiles of the grid."""

DATED = ("year", "month", "day", "doy")
"""Groups of a pattern that are its date."""


@dataclass(frozen=True)
class Named:
    """What a name says."""

    start: date | None
    """First day; None if the name holds no date."""
    end: date | None
    """First day after it, of a month or year; None: how long a composite is, the name does not hold."""
    tile: str | None
    asset: str | None


def named(name: str, patterns: Sequence[str]) -> Named | None:
    """Read a file's name by the first pattern that it fits.

    Parameters
    ----------
    name
        Name without folders.
    patterns
        Regular expressions for the whole name, with the groups ``year``, ``month``, ``day`` (``00``: the whole month),
        ``doy`` (day of the year), ``tile`` (``h26v05``) and ``asset``, as far as the names hold them.

    Returns
    -------
    Named or None
        None if it fits no pattern, or holds a date or tile that does not exist.
    """
    for pattern in patterns:
        if match := re.fullmatch(pattern, name):
            groups = match.groupdict()
            try:
                start, end = _dates(groups)
            except ValueError:
                return None
            tile = groups.get("tile")
            if tile is not None and tile_box(tile) is None:
                return None
            return Named(start, end, tile, groups.get("asset"))
    return None


def _dates(groups: Mapping[str, str | None]) -> tuple[date | None, date | None]:
    parts = {key: int(text) for key in DATED if (text := groups.get(key)) is not None}
    if "year" not in parts:
        return None, None
    year = parts["year"]
    if "doy" in parts:
        start = date(year, 1, 1) + timedelta(days=parts["doy"] - 1)
        # Day 366 of a year of 365 would be New Year of the next one, without an error.
        if start.year != year:
            raise ValueError(parts["doy"])
        return start, None
    if parts.get("day"):
        return date(year, parts["month"], parts["day"]), None
    if "month" in parts:
        month = parts["month"]
        return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)
    return date(year, 1, 1), date(year + 1, 1, 1)


def tile_box(tile: str) -> Box | None:
    """Box in degrees around a tile of MODIS's sinusoidal grid; None if there is no such tile.

    The grid has 36 x 18 tiles of 10 degrees, h00v00 in the north west; x = longitude x cos(latitude).
    """
    match = TILE.fullmatch(tile)
    if match is None:
        return None
    column, row = int(match[1]), int(match[2])
    if column >= ACROSS or row >= DOWN:
        return None
    north = 90.0 - SIDE * row
    south, left = north - SIDE, -180.0 + SIDE * column
    right = left + SIDE
    narrow, wide = sorted((cos(radians(north)), cos(radians(south))))
    # A tile across the equator is widest in between, not at its edges.
    if south < 0 < north:
        wide = 1.0
    # Meridians bend towards the poles, so that any corner may be the westernmost or easternmost.
    stretched = [edge / factor if factor > 0 else edge * 1e9 for edge in (left, right) for factor in (narrow, wide)]
    west, east = max(min(stretched), -180.0), min(max(stretched), 180.0)
    return (west, south, east, north) if west < east else None
