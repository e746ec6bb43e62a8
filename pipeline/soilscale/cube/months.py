"""A source's months: composites folded by the days they share with a month, and what is derived and reduced."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, groupby

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from soilscale import kernels
from soilscale.catalog import Scene
from soilscale.cube import assets, sums
from soilscale.cube.ahead import ahead
from soilscale.cube.layers import layer, terrain
from soilscale.cube.mosaics import Reading
from soilscale.cube.naming import ANGLE, TERRAIN, feature_names
from soilscale.cube.warping import Floats, Layer
from soilscale.seasons import following
from soilscale.sources import Source

SLOW = np.timedelta64(180, "D")
"""Interval from which on a source counts as slow (yearly), so that the nearest one holds where none is given."""

SECONDS_PER_DAY = 86400

Dated = tuple[np.datetime64, np.datetime64, list[Scene]]
"""First instant, first instant after, and the tiles of one date."""

Shown = tuple[np.datetime64, np.datetime64, Layer | None]
"""First instant, first instant after, and what one date shows of a grid, None if nothing."""


class _Crossing(threading.local):
    """Dates that reach beyond the month that a thread read last, on its grid: the next month begins with them."""

    reading: Reading | None = None
    geobox: GeoBox | None = None
    layers: dict[tuple[object, ...], Layer | None] | None = None


_crossing = _Crossing()


def select(scenes: Sequence[Scene], month: np.datetime64) -> list[Scene]:
    """Scenes that count for a month: those that share days with it, else, of a slow source, the nearest in time."""
    starts, ends = _intervals(scenes)
    shared = kernels.shared_days(starts, ends, month) > 0
    if not shared.any() and len(scenes) and np.median(ends - starts) >= SLOW:
        middle = month.astype("datetime64[M]").astype("datetime64[s]") + np.timedelta64(15, "D")
        away = np.maximum(np.maximum(starts - middle, middle - ends), np.timedelta64(0, "s"))
        shared = away == away.min()
    return [scene for scene, take in zip(scenes, shared, strict=True) if take]


def is_constant(source: Source, scenes: Sequence[Scene], month: np.datetime64) -> bool:
    """Whether scenes give the same values in this month as in any other that they cover: all span the whole of it."""
    starts, ends = _intervals(scenes)
    first = month.astype("datetime64[M]")
    days = _days(first, first + np.timedelta64(1, "M"))
    shared = kernels.shared_days(starts, ends, month)
    return source.aggregate == "mean" and len(scenes) > 0 and bool(((shared == days) | (shared == 0)).all())


def read_static(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox) -> dict[str, Floats]:
    """Features of a static source on a grid.

    Parameters
    ----------
    scenes
        All its scenes; where they overlap, the latest counts.

    Returns
    -------
    dict
        Feature -> array of shape ``(Y, X)``; all NaN where no scene lies.
    """
    ordered = sorted(scenes, key=lambda scene: (scene.start, scene.item), reverse=True)
    with _files(reading, ordered):
        values = layer(reading, ordered, geobox)
        features = _named(reading.source, None if values is None else values[0], geobox)
        found = terrain(reading, ordered, geobox) if reading.source.derive else None
    if reading.source.derive:
        known = feature_names(reading.source)
        derived = np.full((len(TERRAIN), *geobox.shape), np.nan) if found is None else found[0]
        named = dict(zip(TERRAIN, derived, strict=True)) | {ANGLE: kernels.aspect(*derived[1:])}
        features |= {name: values for name, values in named.items() if name in known}
    return features


def read_month(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox, month: np.datetime64) -> dict[str, Floats]:
    """Features of a source in one month on a grid.

    Each date counts by the days that it shares with the month and by the part of a cell that it sees. A source
    whose composites are totals, or mean daily rates, gives the mean daily rate of its valid composites times the
    days of the month.

    A date that reaches into the next month is read once for both if this thread reads them one after the other with
    one `Reading`.

    Parameters
    ----------
    scenes
        Those that `select` gives for the month.

    Returns
    -------
    dict
        Feature -> array of shape ``(Y, X)``; NaN where nothing valid was seen.
    """
    source = reading.source
    mean = _mean(_layers(reading, scenes, geobox, month), month, totals=source.aggregate == "sum")
    if mean is not None and source.aggregate != "mean":
        first = month.astype("datetime64[M]")
        mean = mean * _days(first, first + np.timedelta64(1, "M"))
    return _named(source, mean, geobox)


def _mean(layers: Iterator[Shown], month: np.datetime64, *, totals: bool) -> Floats | None:
    """Mean of the layers that are there, weighted by days and by what they see of a cell; None if there is none.

    Parameters
    ----------
    totals
        Whether layers are totals, of which the mean daily rate is wanted.
    """
    there = ((start, end, *found) for start, end, found in layers if found is not None)
    first = next(there, None)
    if first is None:
        return None
    second = next(there, None)
    if second is None:
        start, end, values, _ = first
        return values / _days(start, end) if totals else values
    total, weight = np.zeros(first[2].shape), np.zeros(first[3].shape)
    for start, end, values, fraction in chain((first, second), there):
        days = float(kernels.shared_days(np.array([start]), np.array([end]), month)[0]) or 1.0
        sums.add(total, weight, values, fraction, days=days, per=_days(start, end) if totals else 1.0)
    return kernels.weighted_mean(total, np.broadcast_to(weight, total.shape))


def _named(source: Source, found: Floats | None, geobox: GeoBox) -> dict[str, Floats]:
    names = feature_names(source) if source.kind == "categorical" else (source.name,)
    if found is None:
        return {name: np.full(geobox.shape, np.nan) for name in names}
    values = found if source.kind == "categorical" else found[None]
    return dict(zip(names, values, strict=True))


def _layers(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox, month: np.datetime64) -> Iterator[Shown]:
    """Dates on a grid, in the order of time; those that reach beyond the month are kept for the next."""
    same = _crossing.reading is reading and _crossing.geobox == geobox
    known = (_crossing.layers if same else None) or {}
    kept: dict[tuple[object, ...], Layer | None] = {}
    _crossing.reading, _crossing.geobox, _crossing.layers = reading, geobox, kept
    after = following(month.astype("datetime64[M]")).astype("datetime64[s]")

    def read(date: Dated) -> Layer | None:
        key = _key(date)
        return known.pop(key) if key in known else layer(reading, date[2], geobox)

    dates = list(_dates(scenes))
    with _files(reading, scenes):
        for date, found in ahead(read, dates, distant=reading.distant(scenes)):
            start, end, _ = date
            if end > after:
                kept[_key(date)] = found
            yield start, end, found


def _files(reading: Reading, scenes: Sequence[Scene]) -> AbstractContextManager[None]:
    """Context in which files of a distant store stay open, for all threads that read for this one."""
    return assets.kept_open() if reading.distant(scenes) else nullcontext()


def _key(date: Dated) -> tuple[object, ...]:
    start, end, tiles = date
    return start, end, *((scene.item, scene.digest, scene.series) for scene in tiles)


def _dates(scenes: Sequence[Scene]) -> Iterator[Dated]:
    """Scenes grouped by interval and series: the tiles of one date, which keep their order."""
    ordered = sorted(scenes, key=lambda scene: (scene.start, scene.end, scene.series))
    for (start, end, _), tiles in groupby(ordered, key=lambda scene: (scene.start, scene.end, scene.series)):
        yield start, end, list(tiles)


def _days(start: np.datetime64, end: np.datetime64) -> float:
    """Length of an interval in days."""
    seconds = end.astype("datetime64[s]") - start.astype("datetime64[s]")
    return float(seconds.astype("int64")) / SECONDS_PER_DAY


def _intervals(scenes: Sequence[Scene]) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    return (
        np.array([scene.start for scene in scenes], dtype="datetime64[s]"),
        np.array([scene.end for scene in scenes], dtype="datetime64[s]"),
    )
