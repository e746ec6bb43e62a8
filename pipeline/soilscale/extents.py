"""One rule for longitudes that wrap: boxes across 180 degrees, products that count 0..360, and maps that repeat in x.

Two places are the same if their longitudes differ by whole turns. So boxes are compared modulo 360 degrees; and x by
which pixels, cells or stations are looked up is first brought to the turn that lies nearest to where it is looked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees; west > east where the box crosses the antimeridian."""

WORLD: Box = (-180.0, -90.0, 180.0, 90.0)

TURN = 360.0
"""Degrees of a whole turn."""

FARTHEST = 1.5 * TURN
"""Farthest east that is written: beyond 360 where longitudes count 0..360 and an area lies across Greenwich."""

LINEAR = 1e-6
"""Share of a turn by which the x of a map may differ from a linear function of longitude, which it then repeats."""

SPARSE = 12.0
"""Degrees of longitude without a point that points all around the Earth may leave."""


def box(values: Any) -> Box | None:
    """Read a STAC bbox of four or six numbers; None if it is not one.

    Examples
    --------
    >>> box([5.19, 47.63, 0, 7.29, 49.65, 4000])
    (5.19, 47.63, 7.29, 49.65)
    >>> box([5.19, "47.63"]) is None
    True
    """
    if not isinstance(values, (list, tuple)) or len(values) not in (4, 6):
        return None
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        return None
    half = len(values) // 2
    west, south, east, north = (float(values[i]) for i in (0, 1, half, half + 1))
    return (west, south, east, north) if south <= north else None


def geometry_box(geometry: Any) -> Box | None:
    """Bounding box of a GeoJSON geometry of any kind; None if it has no coordinates.

    Examples
    --------
    >>> geometry_box({"type": "MultiPoint", "coordinates": [[5, 48], [7, 49]]})
    (5.0, 48.0, 7.0, 49.0)
    """
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

    Examples
    --------
    Fiji, on both sides of the antimeridian:

    >>> pieces((177.0, -19.0, -178.0, -16.0))
    [(177.0, -19.0, 180.0, -16.0), (-180.0, -19.0, -178.0, -16.0)]

    A product that counts longitudes from 0 to 360:

    >>> pieces((190.0, 0.0, 200.0, 10.0))
    [(-170.0, 0.0, -160.0, 10.0)]
    """
    west, south, east, north = area
    if -180 <= west <= east <= 180:  # noqa: PLR2004 - within the antimeridian
        return [area]
    # Before the modulo, which would turn a full circle into a width of 0.
    if east - west >= 360:  # noqa: PLR2004 - a full circle
        return [(-180.0, south, 180.0, north)]
    width = (east - west) % 360
    west = (west + 180) % 360 - 180
    east = west + width
    if east <= 180:  # noqa: PLR2004 - the antimeridian
        return [(west, south, east, north)]
    return [(west, south, 180.0, north), (-180.0, south, east - 360, north)]


def intersects(area: Box, second: Box) -> bool:
    """Whether two boxes share a point; a common edge counts, and 180 degrees west are 180 degrees east.

    Examples
    --------
    >>> intersects((170.0, -20.0, -170.0, -10.0), (185.0, -15.0, 190.0, -12.0))
    True
    """
    if area[1] > second[3] or second[1] > area[3]:
        return False
    ahead, back = (second[0] - area[0]) % 360, (area[0] - second[0]) % 360
    return ahead <= width(area) or back <= width(second)


def width(area: Box) -> float:
    """Degrees of longitude from the west of a box to its east.

    Examples
    --------
    >>> width((170.0, -20.0, -170.0, -10.0))
    20.0
    """
    west, _, east, _ = area
    return east - west if east >= west else east - west + 360


def around(longitudes: NDArray[np.floating], latitudes: NDArray[np.floating]) -> Box:
    """Smallest box that holds points; west > east where it crosses the antimeridian.

    Parameters
    ----------
    longitudes, latitudes
        Degrees, finite, of the same shape; longitudes in any count.

    Examples
    --------
    >>> around(np.array([179.0, -179.0]), np.array([-17.0, -18.0]))
    (179.0, -18.0, -179.0, -17.0)
    """
    south, north = float(latitudes.min()), float(latitudes.max())
    west, across = _narrowest([(float(longitude), 0.0) for longitude in np.unique(longitudes)])
    return _wrapped(west, south, across if across <= TURN - SPARSE else TURN, north)


def around_boxes(boxes: Sequence[Sequence[float]]) -> Box:
    """Smallest box that holds boxes; west > east where it crosses the antimeridian.

    Examples
    --------
    >>> around_boxes([(179.0, -18.0, -179.0, -17.0), (175.0, -20.0, 178.0, -17.5)])
    (175.0, -20.0, -179.0, -17.0)
    """
    west, across = _narrowest([(west, width((west, south, east, north))) for west, south, east, north in boxes])
    return _wrapped(west, min(south for _, south, _, _ in boxes), across, max(north for _, _, _, north in boxes))


def _wrapped(west: float, south: float, across: float, north: float) -> Box:
    """Box of a width, its longitudes within -180..180."""
    if across >= TURN - 1e-7:
        return -180.0, south, 180.0, north
    east = west + across
    return west, south, east if east <= TURN / 2 else east - TURN, north


def _narrowest(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """West, -180..180, and width of the narrowest range that holds ranges of longitude, each a west and a width."""
    ordered = sorted(((west + 180) % TURN, width) for west, width in spans)
    start = ordered[0][0]
    # The gap across 180 degrees wins among equals.
    widest = start + TURN - max(west + width for west, width in ordered)
    reach = start
    for west, width in ordered:
        if west - reach > widest + 1e-9:
            start, widest = west, west - reach
        reach = max(reach, west + width)
    return start - 180, TURN - max(widest, 0.0)


def joined(shape: BaseGeometry) -> BaseGeometry:
    """Shape in longitude and latitude whose parts lie side by side: cut at 180 degrees or not, counted 0..360 or not.

    Its longitudes begin within -180..180 and go on beyond 180 degrees where it crosses the antimeridian.
    """
    parts = [part for part in shapely.get_parts(shape) if not part.is_empty]
    if not parts:
        return shape
    spans = [(part.bounds[0], part.bounds[2] - part.bounds[0]) for part in parts]
    west, width = _narrowest(spans)
    if width >= TURN or max(width for _, width in spans) >= TURN:
        west = -180.0
    moved = [translate(part, TURN * math.ceil((west - part.bounds[0]) / TURN - 1e-12)) for part in parts]
    return shapely.union_all(moved)


def is_on_earth(crs: CRS) -> bool:
    """Whether a CRS has axes on the Earth's surface: a local, vertical or geocentric one has not.

    Examples
    --------
    >>> is_on_earth(CRS("EPSG:3035")), is_on_earth(CRS("EPSG:5773")), is_on_earth(CRS("EPSG:4978"))
    (True, False, False)
    """
    return bool((crs.is_geographic or crs.is_projected) and not crs.is_geocentric)


@lru_cache(maxsize=256)
def transformer(source: CRS | str, target: CRS | str) -> Transformer:
    """Transformer between two CRS, x before y, remembered because it is slow to make."""
    return Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=256)
def turn(crs: str) -> float | None:
    """Width of the whole Earth on a map that repeats itself in x; None if it does not.

    Maps in degrees do so after 360 of them, cylindrical ones (Mercator, EASE-Grid 2.0) after their circumference.

    Parameters
    ----------
    crs
        Anything that pyproj understands.

    Examples
    --------
    >>> turn("EPSG:4326")
    360.0
    >>> turn("EPSG:3035") is None
    True
    """
    parsed = CRS.from_user_input(crs)
    if parsed.is_geographic:
        return math.radians(TURN) / parsed.axis_info[0].unit_conversion_factor
    longitudes = np.arange(-180.0, 180.0, 45.0)
    try:
        to_map = transformer(parsed.geodetic_crs, parsed)
        x, y = to_map.transform(longitudes, np.zeros_like(longitudes))
        beside, _ = to_map.transform(longitudes + 1, np.zeros_like(longitudes))
        # At a second latitude too: on the equator a sinusoidal map is just as linear, yet it does not repeat itself.
        higher, up = to_map.transform(longitudes, np.full_like(longitudes, 40.0))
    except ProjError:
        return None
    if not np.isfinite([x, y, beside, higher, up]).all():
        return None
    around_earth = TURN * float(np.median(beside - x))
    if around_earth <= 0:
        return None
    turns = np.stack([x - x[0], higher - x[0]]) / around_earth - (longitudes - longitudes[0]) / TURN
    repeats = np.abs(turns - np.round(turns)).max() < LINEAR and np.ptp(y) + np.ptp(up) < LINEAR * around_earth
    return around_earth if repeats else None


def turned(x: ArrayLike, near: float, turn_width: float | None) -> NDArray[np.float64]:
    """Coordinates moved by whole turns to where they lie nearest to a place.

    Parameters
    ----------
    x
        Coordinates; not finite ones stay so.
    near
        The place.
    turn_width
        Width of a turn (`turn`); None: the map does not repeat itself, and they stay as they are.

    Examples
    --------
    >>> turned([350.0, 10.0], near=0.0, turn_width=360.0).tolist()
    [-10.0, 10.0]
    """
    values = np.asarray(x, dtype="float64")
    if turn_width is None:
        return values
    # What lies half a turn away stays where it is: the edges of a map of the world are not exchanged.
    away = (values - near) / turn_width * (1 - 1e-9)
    with np.errstate(invalid="ignore"):
        return values - turn_width * np.round(away)


def padded(area: Box, degrees: float) -> Box:
    """Widen a box by so many degrees on every side.

    Examples
    --------
    >>> padded((5.0, 48.0, 7.0, 49.0), 1.0)
    (4.0, 47.0, 8.0, 50.0)
    """
    return grown(area, degrees, degrees)


def grown(area: Box, across: float, along: float) -> Box:
    """Widen a box by degrees of longitude to the west and east, and of latitude to the south and north."""
    west, south, _, north = area
    south, north = max(south - along, -90.0), min(north + along, 90.0)
    if width(area) + 2 * across >= TURN:
        return -180.0, south, 180.0, north
    return west - across, south, west + width(area) + across, north
