"""One asset of a source opened before a run: its format, and the decoded values of a window."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from soilscale.catalog import Scene
from soilscale.cube import mosaics, opening
from soilscale.cube.assets import Header
from soilscale.cube.decoding import Decoding, is_fill
from soilscale.cube.reading import Reading, turns
from soilscale.cube.statements import Statement
from soilscale.extents import transformer
from soilscale.grid import LONLAT, Bounds

SIDE = 256
"""Pixels along the side of the window that is sampled."""

Place = tuple[float, float]
"""Longitude and latitude."""


@dataclass(frozen=True)
class Probe:
    """What was seen of an asset."""

    item: str
    driver: str
    """Format, as GDAL or `formats` names it."""
    header: Header
    unit: str | None
    """Unit that the item, else the file, states."""
    decoding: Decoding
    values: NDArray[np.floating]
    """Decoded values of the window, NaN where missing."""
    missing: Mapping[str, float]
    """Cause -> share of the window that is missing for it: ``mask`` (and NaN), ``fill``, ``range``, ``quality``."""
    warnings: tuple[str, ...]
    """What does not go together in what configuration, item and file state."""
    class_names: Mapping[int, str] = field(default_factory=dict)
    """Names of classes that the file states, of a categorical source."""


def probe(reading: Reading, scene: Scene, place: Place) -> Probe:
    """Open the assets of a scene, and decode a window of them.

    Parameters
    ----------
    reading
        The source and the way to its assets.
    place
        Where the window is to lie; where the scene does not reach, it lies at its nearest edge.

    Raises
    ------
    DataError, ServiceError
        If an asset cannot be read.
    """
    with opening.kept_open():
        header = reading.header(scene, reading.source.data)
        bounds = _window(header, place)
        readable = reading.on(scene, header)
        stored = reading.windows([(scene, band) for band in readable], header, bounds)
        data = stored[0]
        values = mosaics.decoder(reading, scene, header, bounds, stored)(*stored)
    decoding = reading.decoding(scene)
    unit = scene.decoding["unit"] or file_unit(reading, scene)
    causes = _causes(data, values, decoding)
    warnings = tuple(reading.warnings.values())
    names = reading.class_names(scene) if reading.source.kind == "categorical" else {}
    return Probe(scene.item, header.format, header, unit, decoding, values, causes, warnings, names)


def _causes(stored: NDArray[Any], values: NDArray[np.floating], decoding: Decoding) -> dict[str, float]:
    """Share of a window that each cause takes away, the first that does; none that takes nothing."""
    left = np.isnan(values)
    low, high = decoding.valid_range or (-math.inf, math.inf)
    shares = {}
    for cause, where in (
        ("mask", ~np.isfinite(stored)),
        ("fill", is_fill(stored, decoding.fills)),
        ("range", (stored < low) | (stored > high)),
        ("quality", left),
    ):
        shares[cause] = float((left & where).mean())
        left &= ~where
    return {cause: share for cause, share in shares.items() if share}


def file_unit(reading: Reading, scene: Scene) -> str | None:
    """Unit that the file of a scene's data states; errors as `Reading.header`."""
    return Statement.of_file(reading.header(scene, reading.source.data), reading.source).unit


def crs_name(header: Header) -> str:
    """Name of a file's CRS that has no code; that of its projection where it has no name either."""
    crs = CRS.from_wkt(header.wkt)
    operation = crs.coordinate_operation
    return str(operation.method_name if crs.name == "unknown" and operation else crs.name)


def _window(header: Header, place: Place) -> Bounds:
    """Window of `SIDE` pixels of a file around a place, or as near to it as the file reaches."""
    x, y = transformer(LONLAT, header.wkt).transform(*place)
    left, bottom, right, top = header.bounds
    width, height = header.pixel
    if not (math.isfinite(x) and math.isfinite(y)):
        x, y = (left + right) / 2, (bottom + top) / 2
    # A file of 0..360 shows a place west of Greenwich in its eastern half.
    x = min((x + turn for turn in turns(header)), key=lambda turned: abs(turned - (left + right) / 2))
    rows, columns = header.shape
    first = [
        min(max(round(middle - SIDE / 2), 0), max(count - SIDE, 0))
        for middle, count in (((top - y) / height, rows), ((x - left) / width, columns))
    ]
    last = [min(start + SIDE, count) for start, count in zip(first, (rows, columns), strict=True)]
    return left + first[1] * width, top - last[0] * height, left + last[1] * width, top - first[0] * height
