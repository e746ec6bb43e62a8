"""Bounding boxes in longitude and latitude, the antimeridian and three dimensions included."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees; west > east where the box crosses the antimeridian."""

WORLD: Box = (-180.0, -90.0, 180.0, 90.0)


def box(values: Any) -> Box | None:
    """Read a STAC bbox of four or six numbers; None if it is not one."""
    if not isinstance(values, (list, tuple)) or len(values) not in (4, 6):
        return None
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        return None
    half = len(values) // 2
    west, south, east, north = (float(values[i]) for i in (0, 1, half, half + 1))
    return (west, south, east, north) if south <= north else None


def geometry_box(geometry: Any) -> Box | None:
    """Bounding box of a GeoJSON geometry of any kind; None if it has no coordinates."""
    points = list(_points(geometry))
    if not points:
        return None
    x, y = zip(*points, strict=True)
    return min(x), min(y), max(x), max(y)


def _points(node: Any) -> Iterator[tuple[float, float]]:
    if isinstance(node, dict):
        for part in (node.get("coordinates"), *(node.get("geometries") or ())):
            yield from _points(part)
    elif isinstance(node, (list, tuple)):
        if len(node) > 1 and all(isinstance(value, (int, float)) for value in node[:2]):
            yield float(node[0]), float(node[1])
        else:
            for part in node:
                yield from _points(part)


def pieces(area: Box) -> list[Box]:
    """Cut a box at the antimeridian: one or two boxes within -180..180 degrees.

    Longitudes beyond 180 degrees (a product that counts 0..360) are brought back.
    """
    west, south, east, north = area
    if -180 <= west <= east <= 180:  # noqa: PLR2004 - within the antimeridian
        return [area]
    if east - west >= 360:  # noqa: PLR2004 - a full circle
        return [(-180.0, south, 180.0, north)]
    width = (east - west) % 360
    west = (west + 180) % 360 - 180
    east = west + width
    if east <= 180:  # noqa: PLR2004 - the antimeridian
        return [(west, south, east, north)]
    return [(west, south, 180.0, north), (-180.0, south, east - 360, north)]


def intersects(one: Box, other: Box) -> bool:
    """Whether two boxes share a point; a common edge counts, and 180 degrees west are 180 degrees east."""
    if one[1] > other[3] or other[1] > one[3]:
        return False
    ahead, back = (other[0] - one[0]) % 360, (one[0] - other[0]) % 360
    return ahead <= _width(one) or back <= _width(other)


def _width(area: Box) -> float:
    west, _, east, _ = area
    return east - west if east >= west else east - west + 360


def padded(area: Box, degrees: float) -> Box:
    """Widen a box on every side."""
    west, south, _, north = area
    width = _width(area)
    south, north = max(south - degrees, -90.0), min(north + degrees, 90.0)
    if width + 2 * degrees >= 360:  # noqa: PLR2004 - a full circle
        return -180.0, south, 180.0, north
    return west - degrees, south, west + width + degrees, north
