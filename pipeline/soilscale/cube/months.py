"""A source's months: composites folded by the days they share with a month, and what is derived and reduced."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, groupby

import numpy as np
from odc.geo.geobox import GeoBox

from soilscale import kernels
from soilscale.catalog import Scene
from soilscale.cube import assets, gaps, sums
from soilscale.cube.ahead import ahead
from soilscale.cube.layers import layer, terrain
from soilscale.cube.naming import ANGLE, TERRAIN, feature_names
from soilscale.cube.reading import Reading
from soilscale.cube.selection import SLACK, days_of, length, spans
from soilscale.cube.warping import Floats, Layer
from soilscale.seasons import following
from soilscale.sources import Source

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
    days of the month. A pixel whose valid composites cover less than the source's least share of the days is missing.
    Where the reading levels dates, one that does not show a place that others show is completed (`gaps.complete`), so
    that it does not shift the month.

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
    layers = _layers(reading, scenes, geobox, month)
    share = source.least_coverage if kernels.shared_days(*spans(scenes), month).any() else 0.0
    least = share * days_of(month)
    mean = _mean(layers, month, totals=source.aggregate == "sum", least=least, level=reading.level)
    if mean is not None and source.aggregate != "mean":
        mean = mean * days_of(month)
    return _named(source, mean, geobox)


def _mean(
    layers: Iterator[Shown], month: np.datetime64, *, totals: bool, least: float, level: bool = False
) -> Floats | None:
    """Mean of the layers that are there, weighted by days and by what they see of a cell; None if there is none.

    Parameters
    ----------
    totals
        Whether layers are totals, of which the mean daily rate is wanted.
    least
        Days that what is seen of a pixel must cover.
    level
        Whether dates that do not show a place are completed there from those that do.
    """
    there = ((start, end, *found) for start, end, found in layers if found is not None)
    first = next(there, None)
    if first is None:
        return None
    second = next(there, None)
    if second is None:
        start, end, values, _ = first
        if _shared(start, end, month) + SLACK < least:
            return None
        return values / length(start, end) if totals else values
    total, weight = np.zeros(first[2].shape), np.zeros(first[3].shape)
    seen = _Seen(month, first[3].shape) if least > 0 else None
    dates = _Dates() if level else None
    for start, end, values, fraction in chain((first, second), there):
        days, per = _shared(start, end, month) or 1.0, length(start, end) if totals else 1.0
        sums.add(total, weight, values, fraction, days=days, per=per)
        if seen is not None:
            seen.add(start, end, fraction)
        if dates is not None:
            dates.add(values / per if totals else values, fraction, days)
    if dates is not None and dates.lack:
        mean = dates.mean()
    else:
        mean = kernels.weighted_mean(total, np.broadcast_to(weight, total.shape))
    return mean if seen is None else np.where(seen.days + SLACK >= least, mean, np.nan)


def _shared(start: np.datetime64, end: np.datetime64, month: np.datetime64) -> float:
    """Days that an interval shares with a month."""
    return float(kernels.shared_days(np.array([start]), np.array([end]), month)[0])


class _Dates:
    """Dates of a month in single precision, up to as many as are completed."""

    def __init__(self) -> None:
        self._layers: list[Floats] = []
        self._days: list[float] = []
        self._count = 0

    def add(self, values: Floats, fraction: Floats, days: float) -> None:
        """Add a date."""
        self._count += 1
        if self._count > gaps.DATES:
            self._layers.clear()
        else:
            self._layers.append(np.where(fraction > 0, values, np.nan).astype("float32"))
            self._days.append(days)

    @property
    def lack(self) -> bool:
        """Whether a place that one date shows is missing in another, of dates that can be completed."""
        seen = [np.isfinite(layer) for layer in self._layers]
        return bool(seen) and bool((np.logical_or.reduce(seen) & ~np.logical_and.reduce(seen)).any())

    def mean(self) -> Floats:
        """Mean of the completed dates, weighted by days."""
        stack = np.stack(self._layers)
        self._layers.clear()
        whole = gaps.complete(stack)
        return np.tensordot(np.array(self._days) / sum(self._days), whole, axes=1)


class _Seen:
    """Days of a month that are seen of each pixel, those that several dates cover counted once."""

    def __init__(self, month: np.datetime64, shape: tuple[int, ...]) -> None:
        self._first = month.astype("datetime64[M]").astype("datetime64[s]")
        self._whole = days_of(month)
        self._until = np.zeros(shape)
        self.days: Floats = np.zeros(shape)

    def add(self, start: np.datetime64, end: np.datetime64, fraction: Floats) -> None:
        """Add a date that starts no earlier than those before it."""
        begin, last = (min(max(length(self._first, moment), 0.0), self._whole) for moment in (start, end))
        self.days += np.where(fraction > 0, np.maximum(last - np.maximum(self._until, begin), 0), 0)
        np.maximum(self._until, last, out=self._until, where=fraction > 0)


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
