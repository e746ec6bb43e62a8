"""Georeference of HDF-EOS grids: the text ``StructMetadata.0``, which both versions have."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from affine import Affine

PAIR = re.compile(r"^\s*(\w+)\s*=\s*(.+?)\s*$")

GRID = re.compile(r"GRID_\d+")

AUTHALIC = 6371007.181
"""Radius of the sphere of MODIS, metres; that of GCTP's sphere 19 is 6370997."""

CODES = {-1: None, 12: "+ellps=WGS84", 8: "+ellps=GRS80", 0: "+ellps=clrk66", 19: "+R=6370997"}
"""Number that GCTP gives an ellipsoid -> the ellipsoid."""


@dataclass(frozen=True)
class EosGrid:
    """A grid of HDF-EOS."""

    name: str
    crs: str | None
    """As PROJ writes it; None for a projection that is not known here."""
    transform: Affine
    dimensions: tuple[str, ...]
    """Dimensions of the field, in its order."""


def grid(structure: str, field: str, dimensions: tuple[str, ...]) -> EosGrid | None:
    """Grid that a field belongs to; None if the structure names none.

    Parameters
    ----------
    structure
        Text of ``StructMetadata.0``.
    field
        Name of the variable, with its groups.
    dimensions
        Their names, which may name the grid, where several hold a field of one name.
    """
    name = field.rpartition("/")[2]
    for attributes, fields in _grids(structure):
        title = attributes["GridName"]
        if name not in fields:
            continue
        groups, sides = field.split("/")[:-1], [side.partition(":")[2] for side in dimensions]
        # Two grids of a file may hold a field of one name, at two resolutions.
        if (any(sides) and title not in sides) or ("GRIDS" in groups and title not in groups):
            continue
        return EosGrid(title, _crs(attributes), _transform(attributes), fields[name])
    return None


def _grids(structure: str) -> list[tuple[dict[str, str], dict[str, tuple[str, ...]]]]:
    """Of each grid what is stated of it, and its fields with their dimensions."""
    grids: list[tuple[dict[str, str], dict[str, tuple[str, ...]]]] = []
    field = ""
    for key, value in (match.groups() for match in map(PAIR.match, structure.splitlines()) if match):
        if key == "GROUP" and GRID.fullmatch(value):
            grids.append(({}, {}))
        elif key == "DataFieldName":
            field = value.strip('"')
        elif key == "DimList" and grids and field:
            grids[-1][1][field] = tuple(part.strip(' "') for part in value.strip("()").split(","))
            field = ""
        elif grids:
            grids[-1][0].setdefault(key, value.strip('"'))
    return [entry for entry in grids if "GridName" in entry[0]]


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.strip("() ").split(",")]


def _transform(fields: dict[str, str]) -> Affine:
    """From columns and rows to coordinates: the corners are those of the outermost pixels."""
    columns, rows = int(fields["XDim"]), int(fields["YDim"])
    corners = [_numbers(fields[key]) for key in ("UpperLeftPointMtrs", "LowerRightMtrs")]
    if _projection(fields) == "GEO":
        corners = [[_degrees(number) for number in corner] for corner in corners]
    (left, top), (right, bottom) = corners
    # A grid that begins at the bottom stores its first row in the south.
    if fields.get("GridOrigin", "UL").endswith(("LL", "LR")):
        top, bottom = bottom, top
    return Affine((right - left) / columns, 0, left, 0, (bottom - top) / rows, top)


def _degrees(packed: float) -> float:
    """Degrees of DDDMMMSSS.SS."""
    packed_size, sign = abs(packed), math.copysign(1, packed)
    degrees, remainder = divmod(packed_size, 1e6)
    minutes, seconds = divmod(remainder, 1e3)
    return sign * (degrees + minutes / 60 + seconds / 3600)


def _projection(fields: dict[str, str]) -> str:
    return fields.get("Projection", "").rpartition("GCTP_")[2]


def _crs(fields: dict[str, str]) -> str | None:
    """CRS of those projections that products of land have."""
    kind = _projection(fields)
    if kind == "GEO":
        return "EPSG:4326"
    numbers = _numbers(fields["ProjParams"]) if "ProjParams" in fields else [0.0] * 13
    shape = _ellipsoid(numbers, int(float(fields.get("SphereCode", "-1"))))
    lon, lat = _degrees(numbers[4]), _degrees(numbers[5])
    east, north = numbers[6], numbers[7]
    written = {
        "SNSOID": f"+proj=sinu +lon_0={lon:g}",
        "LAMAZ": f"+proj=laea +lat_0={lat:g} +lon_0={lon:g}",
        "CEA": f"+proj=cea +lat_ts={lat:g} +lon_0={lon:g}",
        "BCEA": f"+proj=cea +lat_ts={lat:g} +lon_0={lon:g}",
    }.get(kind)
    return None if written is None else f"{written} +x_0={east:g} +y_0={north:g} {shape} +units=m +no_defs"


def _ellipsoid(numbers: list[float], code: int) -> str:
    major, minor = numbers[0], numbers[1]
    if major > 0 and minor > 1:
        return f"+a={major!r} +b={minor!r}"
    if major > 0 and minor > 0:
        return f"+a={major!r} +es={minor!r}"
    if major > 0:
        return f"+R={major!r}"
    return CODES.get(code) or f"+R={AUTHALIC}"
