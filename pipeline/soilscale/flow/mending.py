"""What is damaged or lost in a store is made again: the markers of the units that made it are withdrawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from soilscale import cube, storage
from soilscale.flow import gathering, mapping, plan, stages
from soilscale.flow.session import Run
from soilscale.flow.units import MARKER, Unit, markers
from soilscale.grid import Tile
from soilscale.maps import NODES
from soilscale.schema import COARSE, FINE
from soilscale.seasons import position
from soilscale.storage import DamagedError

P = ParamSpec("P")
T = TypeVar("T")

CHUNK = re.compile(r"(?P<group>[^/]+)/(?P<name>[^/]+)/c/(?:(?P<time>\d+)/)?(?P<row>\d+)/(?P<column>\d+)")
"""Key of a chunk of a variable on a grid."""

LAID = {"cube.zarr": "layout.json", "maps.zarr": "maps-layout.json"}
"""Store -> what tells, below `state/`, that it was laid; without it the whole store is made again."""


def mended(work: Callable[Concatenate[Run, P], T]) -> Callable[Concatenate[Run, P], T]:
    """Have a command that meets something damaged see to it that the next one makes it again."""

    @wraps(work)
    def careful(given: Run, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(given, *args, **kwargs)
        except DamagedError as error:
            raise withdraw(given, error) from error

    return careful


def withdraw(run: Run, damaged: DamagedError) -> DamagedError:
    """Withdraw the markers of the units that made what is damaged, and say which they are."""
    name = damaged.url.removeprefix(f"{run.workspace.output}/")
    if not name.startswith(tuple(f"{store}/" for store in LAID)):
        storage.remove(damaged.url)
        if name.startswith("models/"):
            storage.remove(stages.joined(run, stages.TRAIN))
        _forget(run, _writers(name))
        return DamagedError(f"{damaged}; it is made again by `soilscale run`: run it", damaged.store, damaged.key)
    found = CHUNK.fullmatch(damaged.key)
    tile = None if found is None else _tile(run, int(found["row"]), int(found["column"]))
    store = damaged.store.rstrip("/").rpartition("/")[2]
    units: dict[str, set[str]] = {}
    if found is not None and tile is not None:
        index = None if found["time"] is None else int(found["time"])
        units = _makers(run, store, found["group"], found["name"], index, tile)
    _forget(run, units)
    told = ", ".join(sorted({name for names in units.values() for name in names}))
    if not told:
        storage.remove(run.workspace.state(LAID[store]))
    told = f"{told or store} is made again"
    return DamagedError(f"{damaged}; {told} by `soilscale run`: run it", damaged.store, damaged.key)


def _forget(run: Run, units: Mapping[str, Collection[str]]) -> None:
    """Remove the markers of units, by their stage."""
    for stage, names in units.items():
        standing = markers(run.workspace, stage)
        storage.remove(run.workspace.state(stage), [one for one in standing if MARKER.sub("", one) in names])


def _writers(name: str) -> dict[str, set[str]]:
    """Stage -> names of the units that may have written an object of the output, none if no unit has."""
    parts = name.split("/")
    if parts[0] == "models":
        _, season, algorithm, _ = parts
        return {stages.TRAIN: {f"{season}-{algorithm}-{kind}-random" for kind in ("seasonal", "comprehensive")}}
    return {"/".join(parts[1:-1]): {parts[-1].partition(".")[0]}} if parts[0] == "state" and parts[2:] else {}


def _tile(run: Run, row: int, column: int) -> Tile | None:
    """Tile whose chunk has a place in the order of chunks."""
    high, wide = run.plan.grid.tile_shape
    corner = row * high, column * wide
    return next(
        (tile for tile in run.plan.grid.tiles() if (tile.coarse[0].start, tile.coarse[1].start) == corner), None
    )


def _makers(run: Run, store: str, group: str, name: str, index: int | None, tile: Tile) -> dict[str, set[str]]:
    """Stage -> names of the units that made a chunk, with those after them that go on from there."""
    if store == "maps.zarr":
        kind = next((kind for kind, nodes in NODES.items() if nodes == group), group)
        start = storage.open_group(run.workspace.maps, kind, gaps=True)["time"].to_numpy()[index or 0]
        slot = f"{kind}-{start.astype('datetime64[M]')}"
        return {mapping.SOLVE: {slot}} | {
            stage: {f"{slot}_{tile.name}"} for stage in (mapping.PREDICT, mapping.CONSERVE, mapping.FOLD)
        }
    target = run.plan.target.source
    if group != FINE:
        stage = plan.MERGE if group == COARSE and name == target.name and target.harmonise is not None else plan.GATHER
        at = None if index is None else index * cube.TOGETHER
        return {stage: {"static" if at is None else gathering.gathered_name(run.plan.months, at)}}
    source = cube.features(run.plan.inputs)[name].source.name
    return {plan.CUBE: {unit.name for unit in run.cube_units if _made(unit, source, name, index, tile)}}


def _made(unit: Unit, source: str, name: str, index: int | None, tile: Tile) -> bool:
    """Whether a unit of the cube wrote a source's variable in a month of a tile; `index` is None for what is static."""
    read, _, _, own, *rest = unit.arguments
    if read.source.name != source or own != tile:
        return False
    if not rest:
        return True
    months, alike = rest
    bare = (source, *cube.feature_names(read.source))
    lag = next(lag for lag in (0, *read.source.lags) if name in {cube.lagged(one, lag) for one in bare})
    return index in {position(months, month) + lag for month in alike}
