"""What a worker does for a unit of the cube: read, fold, write its regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np

from soilscale import cube, harmonisation, kernels, storage
from soilscale.catalog import Scene
from soilscale.cube import FRACTION, Reading
from soilscale.engine import payloads
from soilscale.engine.output import Workspace
from soilscale.engine.payloads import Arrays
from soilscale.errors import DataError, IncompleteError, ServiceError
from soilscale.grid import Grid, Tile
from soilscale.schema import COARSE, FINE, VALID_FRACTION
from soilscale.seasons import Months, position
from soilscale.sources import Harmonise, Source

Work = Callable[..., Arrays]
Arguments = tuple[Any, ...]
Place = tuple[int, tuple[int, ...]]
"""Lag, and the index in time, none of a static source."""

Features = Mapping[str, np.ndarray[Any, Any]]

SHARE = ""
"""Name under which a unit keeps the valid share: no feature has it."""

PARTLY = "*"
"""Name under which a unit keeps what share of a coarse cell only some dates show; likewise."""

SERIES = 3
"""Dimensions of what has months."""


def classes(workspace: Workspace, reading: Reading, scenes: Sequence[Scene], grid: Grid, tile: Tile) -> None:
    """Look up the class codes that a categorical source holds in a tile."""
    found = sorted(cube.codes(reading, scenes, grid.fine[tile.fine]))
    storage.write_json(workspace.state("classes", reading.source.name, f"{tile.name}.codes.json"), found)


def static(workspace: Workspace, reading: Reading, scenes: Sequence[Scene], grid: Grid, tile: Tile) -> Arrays:
    """Fill a tile with a static source; what is kept is as `month` keeps it."""
    write = partial(put, workspace, tile, [(0, ())])
    with blank_on_failure(partial(write, _blank(reading, tile))):
        features = cube.read_static(reading, scenes, grid.fine[tile.fine])
        write(features)
    return means(features, grid.ratio)


def month(
    workspace: Workspace,
    reading: Reading,
    scenes: Sequence[Scene],
    grid: Grid,
    tile: Tile,
    months: Months,
    alike: Sequence[np.datetime64],
) -> Arrays:
    """Fill a tile's month with a source, the months that hold the same values, and those that have them as a lag.

    What is kept is the block means of its features, and as `SHARE` the share of each coarse cell that is valid.
    """
    places = times(reading.source, months, alike)
    write = partial(put, workspace, tile, places)
    with blank_on_failure(partial(write, _blank(reading, tile))):
        features = cube.read_month(reading, scenes, grid.fine[tile.fine], alike[0])
        write(features)
    return means(features, grid.ratio)


def observe(
    workspace: Workspace,
    reading: Reading,
    scenes: Sequence[Scene],
    grid: Grid,
    tile: Tile,
    months: Months,
    alike: Sequence[np.datetime64],
) -> Arrays:
    """Write what is seen of a source in a tile's month, whose gaps are filled later; what is kept is as of `month`.

    Kept beside is, as `PARTLY`, the share of each coarse cell that only some dates show.
    """
    write = partial(_write_observed, workspace, tile, observed_at(months, alike[0]))
    with blank_on_failure(partial(write, _blank(reading, tile))):
        values, shown = cube.read_completed(reading, scenes, grid.fine[tile.fine], alike[0])
        features = {reading.source.name: values}
        write(features)
    partly = kernels.block_mean(((shown > 0) & (shown < 1) & np.isfinite(values)).astype("float32"), grid.ratio)[0]
    return {**means(features, grid.ratio), PARTLY: partly.astype("float32")}


def observed_at(months: Months, month: np.datetime64) -> int:
    """Index of a month in the groups that begin `cube.BEFORE` months before a cube's."""
    return position(months, month) + cube.BEFORE


def _write_observed(workspace: Workspace, tile: Tile, index: int, features: Features) -> None:
    for name, values in features.items():
        storage.write_region(workspace.cube, cube.OBSERVED, name, values.astype("float32"), (index, *tile.fine))


def target(
    _workspace: Workspace,
    reading: Reading,
    scenes: Sequence[Scene],
    grid: Grid,
    tile: Tile,
    _months: Months,
    alike: Sequence[np.datetime64],
) -> Arrays:
    """Keep the observation of a tile's month."""
    (month,) = alike
    name = reading.source.name
    return {name: cube.read_month(reading, scenes, grid.coarse[tile.coarse], month)[name].astype("float32")}


def blank(
    workspace: Workspace,
    reading: Reading,
    _scenes: Sequence[Scene],
    _grid: Grid,
    tile: Tile,
    months: Months | None = None,
    alike: Sequence[np.datetime64] = (),
) -> None:
    """Leave missing what `static` or `month` would fill; takes what they take, and what `target` takes."""
    if reading.source.on_coarse:
        return
    places: Sequence[Place] = [(0, ())]
    if months is not None:
        places = times(reading.source, months, alike)
    put(workspace, tile, places, _blank(reading, tile))


def blank_observed(
    workspace: Workspace,
    reading: Reading,
    _scenes: Sequence[Scene],
    _grid: Grid,
    tile: Tile,
    months: Months,
    alike: Sequence[np.datetime64],
) -> None:
    """Leave missing what `observe` would write."""
    _write_observed(workspace, tile, observed_at(months, alike[0]), _blank(reading, tile))


@dataclass(frozen=True)
class Gathering:
    """Chunks of the coarse group and of the valid shares, and the markers of units that hold what goes there."""

    pieces: tuple[payloads.Piece, ...]
    coarse: tuple[str, ...]
    """Variables of the coarse group that are written."""
    shares: tuple[str, ...]
    """Variables of the group of valid shares that are written."""
    shape: tuple[int, ...]
    """Months, unless it is static, coarse rows and columns."""
    first: int = 0
    """Index in time of the first month."""
    static: tuple[tuple[str, tuple[payloads.Piece, ...]], ...] | None = None
    """Static predictors, whose shares count beside the months' for `VALID_FRACTION`; None: that is not written."""


def gather(workspace: Workspace, what: Gathering) -> None:
    """Write what units have kept as whole chunks; what no marker holds is missing, and its valid share nothing."""
    coarse = {name: np.full(what.shape, np.nan, "float32") for name in what.coarse}
    shares = {name: np.zeros(what.shape, "float32") for name in what.shares}
    for piece, kept in payloads.read(workspace, what.pieces):
        for lag, place in _places(what, piece):
            for name, values in kept.items():
                if name == PARTLY:
                    continue
                known, named = (shares, piece.source) if name == SHARE else (coarse, name)
                known[cube.lagged(named, lag)][(*place, piece.rows, piece.columns)] = _part(what, values)
    if what.static is not None:
        smallest = [_static_share(workspace, what.static, what.shape[1:]), *shares.values()]
        coarse[VALID_FRACTION] = np.broadcast_to(reduce(np.minimum, smallest), what.shape)
    time = (slice(what.first, what.first + what.shape[0]),) if len(what.shape) == SERIES else ()
    for group, found in ((COARSE, coarse), (FRACTION, shares)):
        for name, values in found.items():
            storage.write_region(workspace.cube, group, name, values, (*time, slice(None), slice(None)))


def _places(what: Gathering, piece: payloads.Piece) -> Iterator[tuple[int, tuple[int | slice, ...]]]:
    """Lag, and index in time, with which a piece stands among what is gathered."""
    if len(what.shape) < SERIES:
        yield 0, ()
    elif not piece.places:
        yield 0, (slice(None),)
    for lag, index in piece.places:
        if 0 <= index - what.first < what.shape[0]:
            yield lag, (index - what.first,)


def _part(what: Gathering, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What of a series belongs to the months that are gathered; a month's values as they are."""
    return values[what.first : what.first + what.shape[0]] if values.ndim == SERIES else values


def _static_share(
    workspace: Workspace, sources: Sequence[tuple[str, Sequence[payloads.Piece]]], shape: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    """Smallest valid share of the static predictors."""
    found = {name: np.zeros(shape, "float32") for name, _ in sources}
    for piece, kept in payloads.read(workspace, [piece for _, pieces in sources for piece in pieces]):
        found[piece.source][piece.rows, piece.columns] = kept[SHARE]
    return reduce(np.minimum, found.values(), np.ones(shape, "float32"))


def relate(workspace: Workspace, name: str, how: Harmonise, months: Months) -> None:
    """Relate the parts of a target to their reference over the whole area."""
    series = _series(workspace, how, (slice(None), slice(None), slice(None)))
    found = {}
    for part in how.order[1:]:
        try:
            found[part] = harmonisation.pool(_trio(how, series, part, months), how.matching).plain()
        except ValueError as error:
            raise DataError(
                f"{part} cannot be brought to the level of {how.reference}: {error}; choose a longer period, name a "
                "source that covers both with `through`, or set harmonise: none"
            ) from error
    storage.write_json(_relations(workspace, name), found)


def harmonise(workspace: Workspace, name: str, how: Harmonise, months: Months, tile: Tile) -> Arrays:
    """Keep all months of a tile of a target's parts, brought to one level; the first in their order counts."""
    series = _series(workspace, how, (slice(0, len(months)), *tile.coarse))
    if how.method != "none":
        areas = storage.read_json(_relations(workspace, name))
        for part in how.order[1:]:
            area = harmonisation.Area.of(areas[part])
            series[part], _ = harmonisation.adjust(_trio(how, series, part, months), how.matching, area)
    return {name: harmonisation.merge([series[part] for part in how.order]).astype("float32")}


def _relations(workspace: Workspace, name: str) -> str:
    return workspace.state("relate", f"{name}.relations.json")


def _series(workspace: Workspace, how: Harmonise, region: tuple[slice, ...]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: storage.read_region(workspace.cube, COARSE, name, region) for name in how.needs}


def _trio(how: Harmonise, series: Features, part: str, months: Months) -> harmonisation.Trio:
    through = series[how.through] if how.through else None
    calendar = months.astype(int) % harmonisation.YEAR + 1
    return harmonisation.Trio(series[part], series[how.reference], calendar, through, how.valid_range)


def reach(source: Source, months: Months, month: np.datetime64) -> list[int]:
    """Lags with which a source's month stands in a cube of some months, none of them 0."""
    index = position(months, month)
    return [lag for lag in (0, *source.lags) if 0 <= index + lag < len(months)]


def times(source: Source, months: Months, alike: Sequence[np.datetime64]) -> list[Place]:
    """Lags, and the index in time where some months of a source go with each, for those within the cube.

    Of a source from which something with a memory is derived, also months before the cube's first: indices below 0.
    """
    before = [index for month in alike if -source.memory <= (index := position(months, month)) < 0]
    earlier: list[Place] = [(0, (index,)) for index in before]
    return earlier + [
        (lag, (position(months, month) + lag,)) for month in alike for lag in reach(source, months, month)
    ]


def put(workspace: Workspace, tile: Tile, places: Sequence[Place], features: Features) -> None:
    """Write features to the fine group, and of months before the cube's first to that of earlier ones."""
    for lag, time in places:
        group, at = (cube.EARLIER, (time[0] + cube.BEFORE,)) if is_earlier(time) else (FINE, time)
        for name, values in features.items():
            lagged = cube.lagged(name, lag)
            storage.write_region(workspace.cube, group, lagged, values.astype("float32"), (*at, *tile.fine))


def is_earlier(time: tuple[int, ...]) -> bool:
    """Whether a place in time lies before the cube's first month."""
    return bool(time) and time[0] < 0


def means(features: Features, ratio: int) -> Arrays:
    """Block means of features, and the smallest share of each block that is valid."""
    found = {name: kernels.block_mean(values, ratio) for name, values in features.items()}
    means = {name: mean.astype("float32") for name, (mean, _) in found.items()}
    return means | {SHARE: np.min([share for _, share in found.values()], axis=0).astype("float32")}


@contextmanager
def blank_on_failure(write: Callable[[], None]) -> Iterator[None]:
    """Leave a unit missing, not as an earlier run left it, when its input cannot be used."""
    try:
        yield
    except (ServiceError, IncompleteError):
        raise
    except Exception:
        write()
        raise


def _blank(reading: Reading, tile: Tile) -> Features:
    return dict.fromkeys(cube.feature_names(reading.source), np.full(shape(tile.fine), np.nan))


def shape(part: tuple[slice, slice]) -> tuple[int, int]:
    """Rows and columns of a part of a grid."""
    return part[0].stop - part[0].start, part[1].stop - part[1].start


CUBE, GATHER = "cube", "coarse"
"""Stages of the cube: sources into the fine group, and what they keep into the coarse one."""
