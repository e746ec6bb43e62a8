"""A source's months: composites weighted by the days they share with a month, then derived and reduced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, groupby

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from soilscale import kernels, relief
from soilscale.catalog import Scene
from soilscale.cube import gaps, opening, wetness
from soilscale.cube.layers import layer, terrain
from soilscale.cube.naming import ANGLE, TERRAIN, WETNESS, feature_names
from soilscale.cube.prefetch import ahead
from soilscale.cube.reading import Reading
from soilscale.cube.selection import SLACK, days_of, length, spans
from soilscale.cube.warping import Floats, Layer
from soilscale.grid import metres_per_cell
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
    # The first valid scene counts where they overlap, so the latest has to come first.
    ordered = sorted(scenes, key=lambda scene: (scene.start, scene.item), reverse=True)
    with _files(reading, ordered):
        features, wet = _static(reading, ordered, geobox)
        rise = terrain(reading, ordered, geobox) if reading.source.derive else None
    if reading.source.derive:
        names = feature_names(reading.source)
        derived = np.full((len(TERRAIN), *geobox.shape), np.nan) if rise is None else rise[0]
        by_name = dict(zip(TERRAIN, derived, strict=True)) | {ANGLE: relief.aspect(*derived[1:])}
        if wet is not None:
            # The margin is cut off only here: water from beyond a tile has to reach the cells at its border.
            by_name[WETNESS] = wetness.index(wet, derived[0], metres_per_cell(geobox.pad(wetness.MARGIN)))
        features |= {name: values for name, values in by_name.items() if name in names}
    return features


def margin(source: Source) -> int:
    """Cells around a grid that a source's features hang on."""
    return wetness.MARGIN if WETNESS in source.derive else 0


def _static(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox) -> tuple[dict[str, Floats], Floats | None]:
    """Features of a static source itself, and its values with the margin that its wetness needs."""
    beyond = margin(reading.source)
    values = layer(reading, scenes, geobox.pad(beyond) if beyond else geobox)
    if not beyond:
        return _by_feature(reading.source, None if values is None else values[0], geobox), None
    around = _by_feature(reading.source, None if values is None else values[0], geobox.pad(beyond))[reading.source.name]
    return {reading.source.name: around[beyond:-beyond, beyond:-beyond]}, around


def read_month(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox, month: np.datetime64) -> dict[str, Floats]:
    """Features of a source in one month on a grid.

    Each date counts by the days that it shares with the month and by the part of a cell that it sees. A source
    whose composites are totals, or mean daily rates, gives the mean daily rate of its valid composites times the
    days of the month. A pixel whose valid composites cover less than the source's least share of the days is missing.

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
    # A slow source may stand for a month that none of its items covers; a least share would leave it no month.
    share = source.least_coverage if kernels.shared_days(*spans(scenes), month).any() else 0.0
    mean = _mean(layers, month, totals=source.aggregate == "sum", least=share * days_of(month))
    if mean is not None and source.aggregate != "mean":
        mean = mean * days_of(month)
    return _by_feature(source, mean, geobox)


def read_completed(
    reading: Reading,
    scenes: Sequence[Scene],
    geobox: GeoBox,
    month: np.datetime64,
    usual: tuple[Floats, Floats] | None = None,
) -> tuple[Floats, Floats]:
    """A continuous source in one month on a grid, as `read_month`; dates that do not show a place are completed there.

    So a missing date does not shift the month: it is completed from the other dates of the month (`gaps.complete`), or
    if it is known from what is usual at the place (`gaps.complete_by`).

    Parameters
    ----------
    usual
        Level of the month, shape ``(Y, X)``, and annual cycle of the places, shape ``(3, Y, X)``. Without it, a pixel
        is missing where `read_month` leaves it so.

    Returns
    -------
    values, share
        Shape ``(Y, X)``; the share is that of the month's dates, weighted by days, that show a place.
    """
    source = reading.source
    share = source.least_coverage if kernels.shared_days(*spans(scenes), month).any() else 0.0
    layers = _layers(reading, scenes, geobox, month)
    return completed(layers, month, geobox.shape, aggregate=source.aggregate, share=share, usual=usual)


def completed(
    layers: Iterator[Shown],
    month: np.datetime64,
    shape: Sequence[int],
    *,
    aggregate: str = "mean",
    share: float = 0.0,
    usual: tuple[Floats, Floats] | None = None,
) -> tuple[Floats, Floats]:
    """Month of what dates show of a grid, as `read_completed` gives it.

    Parameters
    ----------
    layers
        Dates in the order of time.
    shape
        ``(Y, X)``.
    aggregate
        How the source's composites are folded; of `mean` the values are as they are stored.
    share
        Least share of the month's days that must be seen.
    """
    dates = _Dates(month, totals=aggregate == "sum")
    # This also drives `noted`: the layers come once only, and the dates are kept as they pass.
    mean = _mean(dates.noted(layers), month, totals=dates.totals, least=share * days_of(month))
    if mean is None:
        return np.full(tuple(shape), np.nan), np.zeros(tuple(shape), "float32")
    factor = 1.0 if aggregate == "mean" else days_of(month)
    shown = dates.share()
    if usual is not None:
        mean = dates.mean(lambda start, end: gaps.expected(*usual, gaps.moment(start, end)) / np.float32(factor))
    elif ((shown > 0) & (shown < 1)).any():
        mean = np.where(np.isfinite(mean), dates.mean(), np.nan)
    return mean * factor, shown


class _Dates:
    """Dates of a month in single precision, as many as may be completed."""

    def __init__(self, month: np.datetime64, *, totals: bool) -> None:
        self.totals = totals
        self._month = month
        self._spans: list[tuple[np.datetime64, np.datetime64]] = []
        self._layers: list[NDArray[np.float32]] = []

    def noted(self, layers: Iterator[Shown]) -> Iterator[Shown]:
        """Layers as they come, kept; none of more than can be completed."""
        for start, end, shown in layers:
            if shown is not None:
                values, fraction = shown
                values = values / length(start, end) if self.totals else values
                self._spans.append((start, end))
                if len(self._spans) <= gaps.DATES:
                    self._layers.append(np.where(fraction > 0, values, np.nan).astype("float32"))
                else:
                    self._layers.clear()
            yield start, end, shown

    @property
    def _days(self) -> NDArray[np.float32]:
        """Weights of the dates, which sum to 1."""
        # The nearest year of a slow source shares no day with the month, and would weigh nothing.
        days = np.array([_shared(start, end, self._month) or 1.0 for start, end in self._spans])
        return (days / days.sum()).astype("float32")

    def share(self) -> NDArray[np.float32]:
        """Share of the days whose dates show each place; all of them where there are too many to be completed."""
        if not self._layers:
            return np.ones((), "float32")
        seen_share = np.zeros(self._layers[0].shape, "float32")
        for weight, values in zip(self._days, self._layers, strict=True):
            seen_share += weight * np.isfinite(values)
        # Weights in single precision sum to a little less than 1, and such a place would count as partly unseen.
        return np.where(seen_share > 1 - SLACK, np.float32(1), seen_share)

    def mean(self, usual: Callable[[np.datetime64, np.datetime64], Floats] | None = None) -> Floats:
        """Mean of the completed dates, weighted by days."""
        stack = np.stack(self._layers)
        self._layers.clear()
        if usual is None:
            gapless = gaps.complete(stack)
        else:
            gapless = gaps.complete_by(stack, [usual(*span) for span in self._spans])
        return np.asarray(np.tensordot(self._days, gapless, axes=1))


def _mean(layers: Iterator[Shown], month: np.datetime64, *, totals: bool, least: float) -> Floats | None:
    """Mean of the layers that are there, weighted by days and by what they see of a cell; None if there is none.

    Parameters
    ----------
    totals
        Whether layers are totals, of which the mean daily rate is wanted.
    least
        Days that what is seen of a pixel must cover.
    """
    # A generator: only one date is held at a time, however many a month has.
    shown_layers = ((start, end, *shown) for start, end, shown in layers if shown is not None)
    first = next(shown_layers, None)
    if first is None:
        return None
    # A month of one date is taken as it is, without sums and their rounding.
    second = next(shown_layers, None)
    if second is None:
        start, end, values, _ = first
        if _shared(start, end, month) + SLACK < least:
            return None
        return values / length(start, end) if totals else values
    from soilscale.cube import accumulate

    total, weight = np.zeros(first[2].shape), np.zeros(first[3].shape)
    coverage = _Coverage(month, first[3].shape) if least > 0 else None
    for start, end, values, fraction in chain((first, second), shown_layers):
        # As in `_Dates._days`: the nearest year of a slow source shares no day with the month.
        days = _shared(start, end, month) or 1.0
        accumulate.add(total, weight, values, fraction, days=days, per=length(start, end) if totals else 1.0)
        if coverage is not None:
            coverage.add(start, end, fraction)
    mean = kernels.weighted_mean(total, np.broadcast_to(weight, total.shape))
    return mean if coverage is None else np.where(coverage.days + SLACK >= least, mean, np.nan)


def _shared(start: np.datetime64, end: np.datetime64, month: np.datetime64) -> float:
    """Days that an interval shares with a month."""
    return float(kernels.shared_days(np.array([start]), np.array([end]), month)[0])


class _Coverage:
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


def _by_feature(source: Source, month_values: Floats | None, geobox: GeoBox) -> dict[str, Floats]:
    names = feature_names(source) if source.kind == "categorical" else (source.name,)
    if month_values is None:
        return {name: np.full(geobox.shape, np.nan) for name in names}
    values = month_values if source.kind == "categorical" else month_values[None]
    return dict(zip(names, values, strict=True))


def _layers(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox, month: np.datetime64) -> Iterator[Shown]:
    """Dates on a grid, in the order of time; those that reach beyond the month are kept for the next."""
    # By identity: another `Reading` may see files that were replaced meanwhile.
    is_same = _crossing.reading is reading and _crossing.geobox == geobox
    crossing = (_crossing.layers if is_same else None) or {}
    layers_after: dict[tuple[object, ...], Layer | None] = {}
    # Set before anything is read, so that a reading that fails leaves no dates of another month behind.
    _crossing.reading, _crossing.geobox, _crossing.layers = reading, geobox, layers_after
    after = following(month.astype("datetime64[M]")).astype("datetime64[s]")

    def read(date: Dated) -> Layer | None:
        key = _key(date)
        return crossing.pop(key) if key in crossing else layer(reading, date[2], geobox)

    dates = list(_dates(scenes))
    with _files(reading, scenes):
        for date, shown in ahead(read, dates, distant=reading.distant(scenes)):
            start, end, _ = date
            if end > after:
                layers_after[_key(date)] = shown
            yield start, end, shown


def _files(reading: Reading, scenes: Sequence[Scene]) -> AbstractContextManager[None]:
    """Context in which files of a distant store stay open, for all threads that read for this one."""
    return opening.kept_open() if reading.distant(scenes) else nullcontext()


def _key(date: Dated) -> tuple[object, ...]:
    start, end, tiles = date
    # The digest too: an item that was replaced under its id is another date.
    return start, end, *((scene.item, scene.digest, scene.series) for scene in tiles)


def _dates(scenes: Sequence[Scene]) -> Iterator[Dated]:
    """Scenes grouped by interval and series: the tiles of one date, which keep their order."""
    ordered = sorted(scenes, key=lambda scene: (scene.start, scene.end, scene.series))
    for (start, end, _), tiles in groupby(ordered, key=lambda scene: (scene.start, scene.end, scene.series)):
        yield start, end, list(tiles)
