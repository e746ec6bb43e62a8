"""Repair of damaged or lost products: the markers of the units that made them are withdrawn."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from soilscale import cube, models, storage, viewer
from soilscale.engine.units import MARKER, Unit, markers
from soilscale.grid import Tile
from soilscale.maps import NODES
from soilscale.runs import verification
from soilscale.schema import COARSE, FINE
from soilscale.seasons import ALL, position
from soilscale.stages import (
    coarse_units,
    derived_units,
    gap_units,
    harmonise_units,
    inventory,
    joined_tables,
    joint_fits,
    mapping,
    releases,
    report,
    samples,
    search,
)
from soilscale.stages.context import Run
from soilscale.stages.project import Project
from soilscale.storage import DamagedError
from soilscale.tasks import (
    algorithm_maps,
    applicability_index,
    cube_regions,
    derived_features,
    detail_shares,
    gap_filling,
    interval_offsets,
    joint_learning,
    model_factors,
    stack_weights,
)
from soilscale.tasks.map_summaries import SUMMARISE
from soilscale.tasks.pictures import PICTURES

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CHUNK = re.compile(r"(?P<group>[^/]+)/(?P<name>[^/]+)/c/(?:(?P<time>\d+)/)?(?P<row>\d+)/(?P<column>\d+)")
"""Key of a chunk of a variable on a grid."""

DOCUMENTS = ("catalog.json", "collection.json", viewer.INDEX, viewer.PAGE)
"""Names of the documents that lead to the published maps."""

EDITION = 5
"""Parts of the name of a file of a published map: ``maps``, then those of `published_maps.Edition.place`."""

LAID = {"cube.zarr": "layout.json", "maps.zarr": "maps-layout.json"}
"""Store -> what tells, below `state/`, that it was laid; without it the whole store is made again."""


def mended(work: Callable[Concatenate[Project, P], T]) -> Callable[Concatenate[Run, P], T]:
    """Have a command make again what was lost since the last complete run; what it meets damaged, the next one does."""

    @wraps(work)
    def careful(run: Run, /, *args: P.args, **kwargs: P.kwargs) -> T:
        project = Project.of(run)
        restore(project)
        try:
            return work(project, *args, **kwargs)
        except DamagedError as error:
            raise withdraw(project, error) from error

    return careful


def restore(run: Project) -> None:
    """Withdraw the markers of the units that made what is lost, or was altered, since the output was complete."""
    standing = inventory.take(run.workspace)
    verify(run, standing, begun=False)
    names = inventory.altered(run.workspace, standing)
    # What is no chunk of a store is metadata or a coordinate, without which no chunk can be trusted.
    anew = {_store(name) for name in names if _store(name) and not CHUNK.fullmatch(_key(name))}
    again: dict[str, set[str]] = defaultdict(set)
    for name in names:
        if _store(name) not in anew:
            for stage, units in _take_back(run, name).items():
                again[stage] |= units
    for store in anew:
        storage.remove(run.workspace.state(LAID[store]))
    _forget(run, again)
    if names:
        unit_names = [*sorted(anew), *sorted({name for units in again.values() for name in units})]
        logger.warning(
            "%s: missing or modified since the last complete run; recomputing: %s",
            search.brief(names, "objects"),
            search.brief(unit_names, "units") or "the inputs to replace them",
        )


def verify(run: Project, standing: dict[str, str], *, begun: bool) -> bool:
    """Withdraw the markers of units whose objects others have replaced since, and those of all stages after them.

    Those later units may have worked on what was wrong; what the run itself wrote, it makes again likewise. Markers
    that came late are removed, also from what stands.

    Parameters
    ----------
    standing, begun
        As `verification.spoilt` takes them.

    Returns
    -------
    bool
        Whether all stands as it was written.
    """
    bad = verification.spoilt(run.workspace, standing, begun=begun)
    if bad.late:
        listed = search.brief(bad.late, "markers")
        logger.warning("%s: written late by a run that had lost its lease; removed", listed)
        storage.remove(run.workspace.output, bad.late)
    for name in bad.late:
        del standing[name]
    if not bad:
        return True
    names = sorted([*bad.objects, *(name for objects in bad.markers.values() for name in objects)])
    logger.warning(
        "%s: does not match what was written, since another run or a person wrote at the same time; recomputing it "
        "and all that depends on it",
        search.brief(names, "objects"),
    )
    first = min(_position(name) for name in (*bad.markers, *bad.objects))
    # The markers too: with them in place the next plan would take their units for complete.
    storage.remove(run.workspace.output, [*bad.markers, *bad.objects])
    for name in {_store(name) for name in bad.objects} - {""}:
        storage.remove(run.workspace.state(LAID[name]))
    # The tables of the first stage too: they were put together from parts that are made again.
    for stage in _order()[first:]:
        storage.remove(joined_tables.joined(run, stage))
    for stage in _order()[first + 1 :]:
        inventory.remove(run.workspace, "state", stage)
    return False


def _order() -> tuple[str, ...]:
    """Stages of units, and the report, each after what it goes on from."""
    return (
        *(cube_regions.CUBE, *gap_units.STAGES, *derived_units.STAGES, cube_regions.GATHER),
        *(harmonise_units.RELATE, harmonise_units.HARMONISE, harmonise_units.MERGE, samples.SAMPLES),
        *(
            joint_learning.KNOTS,
            model_factors.SELECT,
            model_factors.TUNE,
            *joint_fits.JOINT,
            samples.TRAIN,
            stack_weights.STACK,
        ),
        *(model_factors.IMPORTANCE, model_factors.ABLATION, interval_offsets.INTERVALS, applicability_index.STAGE),
        *mapping.STAGES,
        *(algorithm_maps.JUDGE, detail_shares.WITHIN, SUMMARISE, PICTURES, report.REPORT),
    )


def _position(name: str) -> int:
    """Place in `_order` of the stage that wrote an object, or of which a marker tells; the first if it is of none."""
    writers = {
        "samples.parquet": samples.SAMPLES,
        "predictions.parquet": samples.TRAIN,
        "models": samples.TRAIN,
        "maps.zarr": mapping.PREDICT,
        "maps": mapping.MAPS,
        "report": report.REPORT,
    }
    folder, *below = name.split("/")
    stage = below[0].removesuffix("-joined.json") if folder == "state" else writers.get(folder, cube_regions.CUBE)
    return _order().index(stage) if stage in _order() else 0


def withdraw(run: Project, damaged: DamagedError) -> DamagedError:
    """Withdraw the markers of the units that made what is damaged, and say which they are."""
    name = damaged.url.removeprefix(f"{run.workspace.output}/")
    store, units = _store(name), _take_back(run, name)
    _forget(run, units)
    unit_names = ", ".join(sorted({name for names in units.values() for name in names})) if store else "it"
    if not unit_names:
        storage.remove(run.workspace.state(LAID[store]))
    return DamagedError(
        f"{damaged}; {unit_names or store} is made again by `soilscale run`: run it", damaged.store, damaged.key
    )


def _store(name: str) -> str:
    """Zarr store that an object of the output belongs to, empty if it belongs to none."""
    store = name.partition("/")[0]
    return store if store in LAID else ""


def _key(name: str) -> str:
    """Name of an object below its Zarr store."""
    return name.partition("/")[2]


def _take_back(run: Project, name: str) -> dict[str, set[str]]:
    """Stage -> names of the units that made an object of the output; one that no unit makes alone is removed.

    Of what is removed the run sees by itself that it is not there.
    """
    store = _store(name)
    if not store:
        return _take_back_object(run, name)
    chunk = CHUNK.fullmatch(_key(name))
    tile = None if chunk is None else _tile(run, int(chunk["row"]), int(chunk["column"]))
    if chunk is None or tile is None:
        return {}
    index = None if chunk["time"] is None else int(chunk["time"])
    return _makers(run, store, chunk["group"], chunk["name"], index, tile)


def _take_back_object(run: Project, name: str) -> dict[str, set[str]]:
    """As `_take_back`, of an object outside the Zarr stores."""
    parts = name.split("/")
    if parts[0] == "maps" and not _is_of_now(run, parts):
        return _publishers(run, parts)
    storage.remove(storage.join(run.workspace.output, name))
    if parts[0] == "models":
        # Without this mark `train` describes its models anew, which also brings back a description that is lost.
        storage.remove(joined_tables.joined(run, samples.TRAIN))
        _, season, algorithm, _ = parts
        definition = models.ALGORITHMS.get(algorithm)
        if definition is not None and definition.members:
            return {stack_weights.STACK: {f"{ALL}-{algorithm}-seasonal-random"}}
        fitted = ALL if definition is not None and definition.joint else season
        return {samples.TRAIN: {f"{fitted}-{algorithm}-{kind}-random" for kind in ("seasonal", "comprehensive")}}
    return {"/".join(parts[1:-1]): {parts[-1].partition(".")[0]}} if parts[0] == "state" and parts[2:] else {}


def _is_of_now(run: Project, parts: Sequence[str]) -> bool:
    """Whether a document below the published maps is a catalog or collection that leads to those of now."""
    last = releases.numbers(run.workspace)[-1:]
    return parts[-1] in DOCUMENTS and (parts[1] != releases.RELEASES or [int(parts[2])] == last)


def _publishers(run: Project, parts: Sequence[str]) -> dict[str, set[str]]:
    """Unit that published a file of a map, if the map is one of now; one of an earlier release cannot be made again."""
    if len(parts) != EDITION:
        return {}
    _, every, identifier, version, _ = parts
    name = f"{every}-{identifier.rpartition(f'-{every}-')[2]}"
    return {mapping.MAPS: {name}} if f"{name}.{version}.json" in markers(run.workspace, mapping.MAPS) else {}


def _forget(run: Project, units: Mapping[str, Collection[str]]) -> None:
    """Remove the markers of units, by their stage."""
    for stage, names in units.items():
        standing = markers(run.workspace, stage)
        storage.remove(run.workspace.state(stage), [marker for marker in standing if MARKER.sub("", marker) in names])


def _tile(run: Project, row: int, column: int) -> Tile | None:
    """Tile whose chunk has a place in the order of chunks."""
    high, wide = run.plan.grid.tile_shape
    corner = row * high, column * wide
    return next(
        (tile for tile in run.plan.grid.tiles() if (tile.coarse[0].start, tile.coarse[1].start) == corner), None
    )


def _makers(run: Project, store: str, group: str, name: str, index: int | None, tile: Tile) -> dict[str, set[str]]:
    """Stage -> names of the units that made a chunk, with those after them that go on from there."""
    if store == "maps.zarr":
        kind = next((kind for kind, nodes in NODES.items() if nodes == group), group)
        start = storage.open_group(run.workspace.maps, kind, gaps=True)["time"].to_numpy()[index or 0]
        slot = f"{kind}-{start.astype('datetime64[M]')}"
        return {mapping.SOLVE: {slot}} | {
            stage: {f"{slot}_{tile.name}"} for stage in (mapping.PREDICT, mapping.CONSERVE, mapping.FOLD)
        }
    if group in {cube.OBSERVED, cube.LEVEL, cube.CYCLE, cube.FILLED}:
        return _gap_makers(run, group, name, index, tile)
    target = run.plan.target.source
    if group == cube.EARLIER:
        # This group begins that many months before the first of the cube.
        group, index = FINE, (index or 0) - cube.BEFORE
    if group != FINE:
        stage = (
            harmonise_units.MERGE
            if group == COARSE and name == target.name and target.harmonise is not None
            else cube_regions.GATHER
        )
        # A chunk of coarse cells holds several months; its number is not that of a month.
        at = None if index is None else index * cube.TOGETHER
        return {stage: {"static" if at is None else coarse_units.gathered_name(run.plan.months, at)}}
    feature = cube.features(run.plan.inputs).get(name)
    if feature is None:
        return {}
    source = feature.source.name
    if feature.source.derivation is not None:
        derive_units = run.derive_units.derive
        return {
            derived_features.DERIVE: {unit.name for unit in derive_units if _wrote(unit, source, name, index, tile)}
        }
    stage = gap_filling.GAPS if feature in run.plan.filled else cube_regions.CUBE
    return {stage: {unit.name for unit in run.cube_units if _wrote(unit, source, name, index, tile)}}


def _gap_makers(run: Project, group: str, name: str, index: int | None, tile: Tile) -> dict[str, set[str]]:
    """As `_makers`, of the groups by which gaps are filled."""
    if group == cube.LEVEL:
        return {gap_filling.LEVELS: {name}}
    if group == cube.CYCLE:
        return {gap_filling.CYCLES: {f"{name.rpartition('_')[0]}/{tile.name}"}}
    if group == cube.FILLED:
        source = cube.fractions(run.plan.inputs)[name].source.name
        return {gap_filling.GAPS: {unit.name for unit in run.cube_units if _wrote(unit, source, name, index, tile)}}
    return {
        cube_regions.CUBE: {
            unit.name
            for unit in run.cube_units
            if isinstance(task := unit.task, cube_regions.ReadMonth)
            and (task.source.name, task.tile) == (name, tile)
            and cube_regions.observed_at(run.plan.months, task.alike[0]) == index
        }
    }


def _wrote(unit: Unit[cube_regions.Region], source: str, name: str, index: int | None, tile: Tile) -> bool:
    """Whether a unit of the cube wrote a source's variable in a month of a tile; `index` is None for what is static."""
    task = unit.task
    if task.source.name != source or task.tile != tile:
        return False
    if not isinstance(task, cube_regions.MonthRegion):
        return True
    names = (source, *cube.feature_names(task.source))
    # The name says the lag; a unit of an earlier month wrote the chunk of a lagged feature.
    lag = next(lag for lag in (0, *task.source.lags) if name in {cube.lagged(feature, lag) for feature in names})
    return index in {position(task.months, month) + lag for month in task.alike}
