"""Locations of items, and which items are of one place: their boxes nearly agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale.extents import Box, box, geometry_box

APART = 0.1
"""Share of a side by which edges of one place may differ; neighbours of MODIS's grid differ by a fifth and more."""


@dataclass(frozen=True)
class Place:
    """Box of an item in degrees and, where the item states it, in the units of its projection."""

    bbox: Box
    crs: str | None = None
    projected: Box | None = None


def place(item: Mapping[str, Any], asset: str) -> Place | None:
    """Place of an item; None if it has neither bbox nor geometry."""
    bbox = box(item.get("bbox")) or geometry_box(item.get("geometry"))
    if bbox is None:
        return None
    if bbox[2] < bbox[0]:
        # East of the antimeridian counted on, so that widths and edges compare as plain numbers.
        bbox = bbox[0], bbox[1], bbox[2] + 360, bbox[3]
    data = item["assets"].get(asset, {})
    projection = {key: data.get(key, item["properties"].get(key)) for key in _PROJECTION}
    crs = next((str(projection[key]) for key in _PROJECTION[:4] if projection[key] is not None), None)
    return Place(
        bbox, crs, box(projection["proj:bbox"]) or _placed(projection["proj:transform"], projection["proj:shape"])
    )


_PROJECTION = ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson", "proj:bbox", "proj:transform", "proj:shape")


def _placed(transform: Any, shape: Any) -> Box | None:
    """Box of a raster from its affine transform and its rows and columns."""
    try:
        a, b, c, d, e, f = (float(value) for value in transform[:6])
        rows, columns = (int(value) for value in shape)
    except (TypeError, ValueError):
        return None
    x = [c + a * i + b * j for i in (0, columns) for j in (0, rows)]
    y = [f + d * i + e * j for i in (0, columns) for j in (0, rows)]
    return min(x), min(y), max(x), max(y)


def same(first: Place | None, second: Place | None) -> bool:
    """Whether two places are one: each edge differs by less than a tenth of a side; a turn of the globe is nothing."""
    if first is None or second is None:
        return False
    # In degrees, the box of a slanted tile reaches beyond it, and neighbours look more alike than they are.
    if first.projected and second.projected and first.crs == second.crs:
        return _agree(first.projected, second.projected)
    # The same place may be written at -180 or at 180 degrees.
    turn = round((first.bbox[0] - second.bbox[0]) / 360) * 360
    west, south, east, north = second.bbox
    return _agree(first.bbox, (west + turn, south, east + turn, north))


def boxes(areas: Sequence[Box]) -> NDArray[np.float64]:
    """Boxes as an array of shape ``(n, 4)``, east never less than west."""
    array = np.array(areas, dtype="float64").reshape(-1, 4)
    array[:, 2] += np.where(array[:, 2] < array[:, 0], 360, 0)
    return array


def covers(outer: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether boxes hold others, but for a tenth of the others' sides; of shape ``(..., 4)``, which broadcast."""
    (west, south, east, north), (left, bottom, right, top) = (np.moveaxis(area, -1, 0) for area in (outer, second))
    turn = np.round((west + east - left - right) / 720) * 360
    wide, high = APART * (right - left), APART * (top - bottom)
    beside = (west - wide <= left + turn) & (east + wide >= right + turn)
    covered: NDArray[np.bool_] = beside & (south - high <= bottom) & (north + high >= top)
    return covered


def _agree(bounds: Box, second: Box) -> bool:
    sides = [min(area[2] - area[0] for area in (bounds, second)), min(area[3] - area[1] for area in (bounds, second))]
    return all(abs(bounds[edge] - second[edge]) <= APART * sides[edge % 2] for edge in range(4))


def together(places: Sequence[Place]) -> Iterator[list[int]]:
    """Indices of places, grouped by those that are one."""
    # Most places of a source recur exactly, date after date, so that few are left to be compared.
    exact: dict[Place, list[int]] = defaultdict(list)
    for index, footprint in enumerate(places):
        exact[footprint].append(index)
    groups: list[tuple[Place, list[int]]] = []
    for footprint, members in sorted(exact.items(), key=lambda entry: (entry[0].bbox[1], entry[0].bbox)):
        home = next((group for first, group in _near(groups, footprint.bbox) if same(first, footprint)), None)
        if home is None:
            groups.append((footprint, list(members)))
        else:
            home += members
    yield from (members for _, members in groups)


def _near(groups: Sequence[tuple[Place, list[int]]], bbox: Box) -> Iterator[tuple[Place, list[int]]]:
    """Groups, from north to south, whose southern edge may be that of a box further north."""
    lowest = bbox[1] - 2 * APART * (bbox[3] - bbox[1])
    for first, members in reversed(groups):
        if first.bbox[1] < lowest:
            return
        yield first, members
