"""What a worker does for a unit of the cube: read, fold, write its regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from soilscale import cube, harmonisation, kernels, storage
from soilscale.catalog import Scene
from soilscale.cube import FRACTION, Reading
from soilscale.errors import DataError, ServiceError
from soilscale.flow.workspace import Workspace
from soilscale.grid import Grid, Tile
from soilscale.schema import COARSE, FINE, VALID_FRACTION
from soilscale.seasons import Months
from soilscale.sources import Harmonise, Source

Work = Callable[..., None]
Arguments = tuple[Any, ...]
Place = tuple[int, tuple[int, ...]]
"""Lag, and the index in time, none of a static source."""

Features = Mapping[str, np.ndarray[Any, Any]]


def unit_of(reading: Reading, scenes: Sequence[Scene]) -> str:
    """Unit that the first readable file of a source tells; ``1`` if none does."""
    for scene in scenes[:3]:
        try:
            told = reading.header(scene, reading.source.asset).unit
        except DataError:
            continue
        if told:
            return told
    return "1"


def classes(workspace: Workspace, reading: Reading, scenes: Sequence[Scene], grid: Grid, tile: Tile) -> None:
    """Look up the class codes that a categorical source holds in a tile."""
    found = sorted(cube.codes(reading, scenes, grid.fine[tile.fine]))
    storage.write_json(workspace.state("classes", reading.source.name, f"{tile.name}.codes.json"), found)


def static(workspace: Workspace, reading: Reading, scenes: Sequence[Scene], grid: Grid, tile: Tile) -> None:
    """Fill a tile with a static source."""
    write = partial(_write, workspace, reading, grid, tile, [(0, ())])
    with _blank_on_failure(partial(write, _blank(reading, tile))):
        write(cube.read_static(reading, scenes, grid.fine[tile.fine]))


def month(
    workspace: Workspace,
    reading: Reading,
    scenes: Sequence[Scene],
    grid: Grid,
    tile: Tile,
    months: Months,
    alike: Sequence[np.datetime64],
) -> None:
    """Fill a tile's month with a source, the months that hold the same values, and those that have them as a lag."""
    places = [place for month in alike for place in _places(reading, months, month)]
    write = partial(_write, workspace, reading, grid, tile, places)
    with _blank_on_failure(partial(write, _blank(reading, tile))):
        write(cube.read_month(reading, scenes, grid.fine[tile.fine], alike[0]))


def target(
    workspace: Workspace,
    reading: Reading,
    scenes: Sequence[Scene],
    grid: Grid,
    tile: Tile,
    months: Months,
    alike: Sequence[np.datetime64],
) -> None:
    """Fill a tile's month of the coarse group with the observation."""
    (month,) = alike
    region = (int(np.searchsorted(months, month)), *tile.coarse)
    name = reading.source.name
    blank = np.full(_shape(tile.coarse), np.nan)
    with _blank_on_failure(partial(_write_region, workspace, COARSE, name, blank, region)):
        values = cube.read_month(reading, scenes, grid.coarse[tile.coarse], month)[name]
        _write_region(workspace, COARSE, name, values, region)


def blank(
    workspace: Workspace,
    reading: Reading,
    _scenes: Sequence[Scene],
    grid: Grid,
    tile: Tile,
    months: Months | None = None,
    alike: Sequence[np.datetime64] = (),
) -> None:
    """Leave missing what `static`, `month` or `target` would fill; takes what they take."""
    places = [(0, ())] if months is None else [place for month in alike for place in _places(reading, months, month)]
    if not reading.source.on_coarse:
        _write(workspace, reading, grid, tile, places, _blank(reading, tile))
        return
    missing = np.full(_shape(tile.coarse), np.nan)
    for _, time in places:
        _write_region(workspace, COARSE, reading.source.name, missing, (*time, *tile.coarse))


def fraction(workspace: Workspace, names: Sequence[str], static: frozenset[str], tile: Tile, index: int) -> None:
    """Take the smallest valid share of all predictors in a tile's month."""
    shares = [
        storage.read_region(workspace.cube, FRACTION, name, tile.coarse if name in static else (index, *tile.coarse))
        for name in names
    ]
    smallest = np.min([np.nan_to_num(share) for share in shares], axis=0)
    _write_region(workspace, COARSE, VALID_FRACTION, smallest, (index, *tile.coarse))


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


def harmonise(workspace: Workspace, name: str, how: Harmonise, months: Months, tile: Tile) -> None:
    """Fill all months of a tile with a target's parts, brought to one level; the first in their order counts."""
    region = (slice(0, len(months)), *tile.coarse)
    blank = np.full((len(months), *_shape(tile.coarse)), np.nan)
    with _blank_on_failure(partial(_write_region, workspace, COARSE, name, blank, region)):
        series = _series(workspace, how, region)
        if how.method != "none":
            areas = storage.read_json(_relations(workspace, name))
            for part in how.order[1:]:
                area = harmonisation.Area.of(areas[part])
                series[part], _ = harmonisation.adjust(_trio(how, series, part, months), how.matching, area)
        _write_region(workspace, COARSE, name, harmonisation.merge([series[part] for part in how.order]), region)


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
    index = int((month - months[0]).astype(int))
    return [lag for lag in (0, *source.lags) if 0 <= index + lag < len(months)]


def _places(reading: Reading, months: Months, month: np.datetime64) -> list[Place]:
    """Lags, and the index in time where a source's month goes with each, for those within the cube."""
    index = int((month - months[0]).astype(int))
    return [(lag, (index + lag,)) for lag in reach(reading.source, months, month)]


def _write(
    workspace: Workspace,
    reading: Reading,
    grid: Grid,
    tile: Tile,
    places: Sequence[Place],
    features: Features,
) -> None:
    """Write features to the fine group, their block means to the coarse one, and the share that is valid."""
    means = {name: kernels.block_mean(values, grid.ratio) for name, values in features.items()}
    share = np.min([fraction for _, fraction in means.values()], axis=0)
    for lag, time in places:
        for name, values in features.items():
            lagged = cube.lagged(name, lag)
            _write_region(workspace, FINE, lagged, values, (*time, *tile.fine))
            _write_region(workspace, COARSE, lagged, means[name][0], (*time, *tile.coarse))
        _write_region(workspace, FRACTION, cube.lagged(reading.source.name, lag), share, (*time, *tile.coarse))


@contextmanager
def _blank_on_failure(write: Callable[[], None]) -> Iterator[None]:
    """Leave a unit missing, not as an earlier run left it, when its input cannot be used."""
    try:
        yield
    except ServiceError:
        raise
    except Exception:
        write()
        raise


def _blank(reading: Reading, tile: Tile) -> Features:
    return dict.fromkeys(cube.feature_names(reading.source), np.full(_shape(tile.fine), np.nan))


def _shape(part: tuple[slice, slice]) -> tuple[int, int]:
    return part[0].stop - part[0].start, part[1].stop - part[1].start


def _write_region(
    workspace: Workspace, group: str, name: str, values: np.ndarray[Any, Any], region: tuple[int | slice, ...]
) -> None:
    storage.write_region(workspace.cube, group, name, values.astype("float32"), region)
