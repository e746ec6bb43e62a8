"""What is complete and what can be reached, without computing: `status` and `check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from soilscale import catalog, cube, models, storage
from soilscale.catalog import Scene
from soilscale.config import Config
from soilscale.engine import causes, lease
from soilscale.engine.units import FAILED, MARKER, Progress, Receipt, Task, Unit, failures, markers
from soilscale.errors import ConfigurationError, DataError, ServiceError, SoilscaleError
from soilscale.estimate.resources import Sizing, size
from soilscale.schema import COARSE
from soilscale.seasons import Months
from soilscale.sources import Source
from soilscale.stages import (
    derived_units,
    detail,
    evaluation,
    frozen_items,
    gap_units,
    harmonise_units,
    input_audit,
    joint_fits,
    map_summaries,
    mapping,
    model_analysis,
    pictures,
    plan,
    probing,
    publication,
    releases,
    report,
    samples,
    search,
    stacking,
    training,
)
from soilscale.stages import inputs as inputs_stages
from soilscale.stages.harmonise_units import HARMONISE, MERGE, RELATE
from soilscale.stages.project import Project
from soilscale.stages.references import stations_on_grid
from soilscale.stages.samples import SAMPLES, TRAIN
from soilscale.tasks import (
    algorithm_maps,
    derived_features,
    detail_shares,
    joint_learning,
    model_factors,
    stack_weights,
)
from soilscale.tasks.cube_regions import CUBE, GATHER
from soilscale.tasks.map_making import Chosen
from soilscale.tasks.map_summaries import SUMMARISE
from soilscale.tasks.pictures import PICTURES

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class StageStatus:
    """How much of a stage is complete."""

    name: str
    done: int
    total: int | None
    """None where it cannot be known before the stages ahead are complete."""
    failed: int


@dataclass(frozen=True)
class Status:
    """How much of every stage is complete."""

    stages: Sequence[StageStatus]
    failures: Sequence[Receipt]
    lines: Sequence[str]


def status(config: Config) -> Status:
    """Tell from the store alone how much of each stage is complete."""
    run = Project(config, _no_cluster, _no_progress, reads=True)
    workspace = run.workspace
    failed = failures(workspace)
    # Without all items there is no plan: only markers can be counted then, against no total.
    frozen = sum(storage.exists(workspace.items(source.name)) for source in config.source_list)
    stages = [StageStatus("search", frozen, len(config.source_list), _count(failed, frozen_items.SEARCH))]
    planned = frozen == len(config.source_list)
    chosen = mapping.choose(run) if planned and storage.exists(workspace.predictions) else None
    expected = _expected(run, chosen) if planned else {}
    before, after = model_analysis.stages_of(config)
    stack = (stack_weights.STACK,) if any(models.find(name).members for name in config.models.algorithms) else ()
    learned = (
        joint_learning.KNOTS,
        *before,
        *(joint_fits.JOINT if joint_fits.algorithms(config) else ()),
        TRAIN,
        *stack,
        *after,
    )
    closing = (gap_units.STAGES if config.maps.gaps == "cycle" else ()) + _deriving(config)
    for stage in (CUBE, *closing, GATHER, *_of_parts(config), SAMPLES, *learned, *mapping.STAGES):
        standing = {name for name in markers(workspace, stage) if MARKER.search(name) and not name.endswith(FAILED)}
        units = expected.get(stage)
        complete_count = len(standing) if units is None else sum(unit.marker in standing for unit in units)
        stages.append(StageStatus(stage, complete_count, None if units is None else len(units), _count(failed, stage)))
    stages += _before_report(run, failed, chosen)
    stages.append(
        StageStatus(
            report.REPORT,
            int(bool(expected) and report.stands(run, failed, by_stamps=True)),
            1,
            _count(failed, report.REPORT),
        )
    )
    lines = [f"missing: {line}" for line in causes.lines(failed, run.items if failed and expected else {})]
    last = releases.newest(workspace)
    lines += [f"{last}; kept: {', '.join(map(str, releases.numbers(workspace)))}"] if last is not None else []
    writer = lease.holder(workspace)
    lines += [f"being written by {writer}"] if writer is not None else []
    audit = input_audit.stored(run) if expected else None
    lines += [] if audit is None else audit.lines
    return Status(stages, failed, lines)


def _before_report(run: Project, failed: Sequence[Receipt], chosen: Mapping[str, Chosen] | None) -> list[StageStatus]:
    """Stages that the report is made of.

    What most of their units are made from is known in full only once the stations are read, so these are counted by
    their names; the report itself tells whether all is of now.
    """
    totals: dict[str, int | None] = {algorithm_maps.JUDGE: None} if evaluation.can_judge(run) else {}
    totals |= dict.fromkeys((detail_shares.WITHIN, SUMMARISE, PICTURES))
    old: set[str] = set()
    if chosen is not None:
        details = {unit.marker for unit in detail.detail_units(run, chosen)}
        totals[detail_shares.WITHIN] = len(details)
        old = markers(run.workspace, detail_shares.WITHIN) - details
        totals[SUMMARISE] = len(map_summaries.names(run))
        # What is drawn hangs on which months are observed; a cube that is gone or damaged is told by other means.
        with suppress(FileNotFoundError, DataError, storage.DamagedError):
            totals[PICTURES] = pictures.count(run, _observed(run))
        if algorithm_maps.JUDGE in totals:
            totals[algorithm_maps.JUDGE] = evaluation.count(run, chosen)
    stages = []
    for stage, total in totals.items():
        complete = {
            MARKER.sub("", name)
            for name in markers(run.workspace, stage) - old
            if MARKER.search(name) and not name.endswith(FAILED)
        }
        complete_count = len(complete) if total is None else min(len(complete), total)
        stages.append(StageStatus(stage, complete_count, total, _count(failed, stage)))
    return stages


def _observed(run: Project) -> NDArray[np.bool_]:
    """Whether each coarse cell is observed in each month; read without xarray, which takes a second to open a store."""
    name = run.plan.target.source.name
    return np.isfinite(storage.read_region(run.workspace.cube, COARSE, name, (slice(None),) * 3))


def _deriving(config: Config) -> tuple[str, ...]:
    """Stages that predictors add which are made from others month by month."""
    kinds = {how.kind for source in config.derived_list if (how := source.derivation) is not None}
    return derived_units.STAGES if "tvdi" in kinds else (derived_features.DERIVE,) if kinds else ()


def _of_parts(config: Config) -> tuple[str, ...]:
    """Stages that a target of several parts adds."""
    how = config.target.harmonise
    if how is None:
        return ()
    return (HARMONISE, MERGE) if how.method == "none" else (RELATE, HARMONISE, MERGE)


def _count(failed: Sequence[Receipt], stage: str) -> int:
    return sum(failure.stage == stage for failure in failed)


def _expected(run: Project, chosen: Mapping[str, Chosen] | None) -> dict[str, Sequence[Unit[Task]]]:
    """Units of the stages, as far as they can be planned from what stands."""
    units: dict[str, Sequence[Unit[Task]]] = {
        CUBE: run.cube_units,
        **{stage: [] for stage in gap_units.STAGES},
        **run.gaps_units.by_stage(),
        **{stage: units for stage, units in run.derive_units.by_stage().items() if stage in _deriving(run.config)},
        GATHER: run.gather_units,
        RELATE: harmonise_units.relate_units(run.plan, run.standing),
        HARMONISE: harmonise_units.harmonise_units(run.plan, run.standing),
        MERGE: run.merge_units,
        SAMPLES: samples.sample_units(run),
    }
    if storage.exists(run.workspace.samples):
        units |= _learned(run)
    if chosen is not None:
        units |= mapping.map_units(run, chosen).by_stage()
    return units


def _learned(run: Project) -> dict[str, Sequence[Unit[Task]]]:
    seasons, made_from = training.trained_seasons(run), samples.samples_digest(run)
    fits = training.train_units(run, seasons)
    by_stage: dict[str, Sequence[Unit[Task]]] = {
        joint_learning.KNOTS: joint_fits.knots_units(run),
        joint_learning.BASIS: joint_fits.basis_units(run),
        joint_learning.VARIANCES: joint_fits.variance_units(run, made_from),
        model_factors.SELECT: model_analysis.select_units(run, seasons, made_from),
        model_factors.TUNE: model_analysis.tune_units(run, seasons, made_from),
        TRAIN: fits,
        stack_weights.STACK: stacking.stack_units(run, seasons, fits),
        model_factors.IMPORTANCE: model_analysis.importance_units(run, seasons, fits),
        model_factors.ABLATION: model_analysis.ablation_units(run, seasons, made_from),
    }
    return {stage: units for stage, units in by_stage.items() if units}


def _no_cluster() -> Client:
    raise AssertionError("status computes nothing, so it needs no cluster")


def _no_progress(_doing: str, _count: int, _total: int | None) -> None:
    return


@dataclass(frozen=True)
class SourceCheck:
    """What a catalog has for a source."""

    name: str
    items: int
    covered: str
    missing: str
    state: str


@dataclass(frozen=True)
class Check:
    """What could be reached."""

    sources: Sequence[SourceCheck]
    inputs: Sequence[tuple[str, ...]]
    """Source, file, stored values, unit and decoded values of the assets that were opened."""
    lines: Sequence[str]
    sizing: Sizing
    """What a run will take."""
    error: SoilscaleError | None
    """The gravest of what is wrong."""


def check(config: Config, progress: Progress) -> Check:
    """Reach every catalog, an asset or few of every source, and the output; change nothing."""
    rows: list[SourceCheck] = []
    errors: list[SoilscaleError] = []
    scenes_of: dict[str, Sequence[Scene]] = {}
    inputs: list[input_audit.Inputs] = []
    shared = catalog.Shared()
    for source in config.source_list:
        try:
            source_inputs, answer = _look_at(config, source, progress, shared)
            inputs += [source_inputs] if source_inputs.scenes else []
            scenes = scenes_of[source.name] = source_inputs.scenes
            rows.append(_describe(config, source, scenes))
            if not scenes:
                errors.append(DataError(inputs_stages.no_items(config, source, answer)))
        except SoilscaleError as error:
            errors.append(error)
            rows.append(SourceCheck(source.name, 0, "", "", str(error)))
    looked = probing.look(config, scenes_of)
    shown, faults = _shown(looked, rows)
    errors += faults
    findings = input_audit.make(config, inputs, looked).findings
    errors += [DataError(str(finding)) for finding in findings if finding.rule == "implausible"]
    lines = [*map(str, findings), *_grid_lines(config), *_parts_lines(config, scenes_of), *publication.lacks(config)]
    try:
        report.check_references(config)
        stations_line = stations_on_grid(config)
        lines += [] if stations_line is None else [stations_line]
    except SoilscaleError as error:
        errors.append(error)
    try:
        storage.check_writable(config.output)
        lines.append(f"output {config.output} can be written")
    except SoilscaleError as error:
        errors.append(error)
    return Check(rows, shown, lines, size(config, scenes_of), _gravest(errors))


def _shown(
    looked: Sequence[probing.Looked], rows: list[SourceCheck]
) -> tuple[list[tuple[str, ...]], list[SoilscaleError]]:
    """What will be read of each source, and what is wrong, of which the rows tell the number."""
    inputs: list[tuple[str, ...]] = []
    faults: list[SoilscaleError] = []
    for place, row in enumerate(rows):
        opened = [item for item in looked if item.source.name == row.name]
        failed = sum(item.error is not None for item in opened)
        if failed:
            rows[place] = replace(row, state=f"{failed} of {len(opened)} items opened cannot be read")
        faults += probing.errors(opened)
        shown = probing.row(opened)
        inputs += [] if shown is None else [(row.name, *shown)]
    return inputs, faults


def _look_at(
    config: Config, source: Source, progress: Progress, shared: catalog.Shared
) -> tuple[input_audit.Inputs, catalog.Found]:
    """What a catalog has for a source."""
    items, answer = frozen_items.find(config, source, shared, progress=progress)
    relations = catalog.relate(items, source)
    scenes = plan.scenes_of(config, source, items, relations) if items else []
    if source.role == "predictor" and catalog.is_static(scenes, source, inputs_stages.period(config)):
        catalog.refuse_unclear(source.name, relations)
    return input_audit.Inputs(source, scenes, relations, frozen_items.counts(answer)), answer


def _parts_lines(config: Config, scenes_of: Mapping[str, Sequence[Scene]]) -> list[str]:
    """What a target of several parts is made of."""
    how = config.target.harmonise
    if how is None:
        return []
    parts = {source.name: source.least_coverage for source in config.source_list if source.name in how.order}
    months = {
        part: {month for month in config.months if cube.select(scenes_of.get(part, ()), month, least)}
        for part, least in parts.items()
    }
    shared = [
        f"{part} shares {len(months[part] & months[how.reference])} months with {how.reference}"
        for part in how.order[1:]
    ]
    none = len(config.months) - len(set.union(*months.values()))
    through = f", through {how.through}" if how.through else ""
    target_line = f"target {config.target.name}: {', '.join(how.parts)}, harmonise: {how.method}{through}"
    return [f"{target_line}; {'; '.join(shared)}; {none} months have none"]


def _gravest(errors: Sequence[SoilscaleError]) -> SoilscaleError | None:
    for kind in (ConfigurationError, ServiceError, DataError):
        for error in errors:
            if isinstance(error, kind):
                return error
    return None


def _describe(config: Config, source: Source, scenes: Sequence[Scene]) -> SourceCheck:
    if not scenes:
        return SourceCheck(source.name, 0, "none", "all", "no items in the area and period")
    lacking = [scene for scene in scenes if scene.missing]
    state = f"{len(lacking)} of {len(scenes)} items lack {', '.join(lacking[0].missing)}" if lacking else "read"
    if source.role == "predictor" and catalog.is_static(scenes, source, inputs_stages.period(config)):
        return SourceCheck(source.name, len(scenes), "static", "0", state)
    least = source.least_coverage
    covered = np.array([month for month in config.months if cube.select(scenes, month, least)], dtype="datetime64[M]")
    missing = [str(month) for month in config.months if month not in covered]
    text = f"{len(missing)}: {search.brief(missing)}" if missing else "0"
    return SourceCheck(source.name, len(scenes), f"{len(covered)} of {len(config.months)}{_span(covered)}", text, state)


def _span(months: Months) -> str:
    return f", {months[0]}..{months[-1]}" if len(months) else ""


def _grid_lines(config: Config) -> list[str]:
    grid = config.nested_grid
    rows, columns = grid.shape
    coarse = f"{rows} x {columns} coarse cells of {grid.side:g}"
    fine = f"{rows * grid.ratio} x {columns * grid.ratio} fine cells of {grid.side / grid.ratio:g}"
    return [f"grid {grid.crs}: {coarse}, {fine}, {len(list(grid.tiles()))} tiles, {len(config.months)} months"]
