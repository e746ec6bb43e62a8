"""Estimated resources of a run: the amounts of its stages times rates measured by a benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from soilscale import storage
from soilscale.catalog import Scene
from soilscale.config import Config
from soilscale.engine import causes
from soilscale.engine.output import Workspace
from soilscale.errors import DataError, SoilscaleError
from soilscale.estimate.assumptions import Outlook
from soilscale.estimate.workload import REPORT, Demand, demands
from soilscale.stages import plan
from soilscale.tasks.costs import AREA, MODELS

MIB = 2**20

LIMIT = 2048 * MIB
"""Bytes that a worker may take by default."""

ROOM = 1.1
"""Factor from an estimate to the memory that a worker should have."""

STEP = 256 * MIB
"""A proposed limit is rounded up to a multiple of these bytes."""

DRAWS = (20_000, 10_000, 5000, 2000, 1000)
"""Most rows of a tree that are proposed where models are too large."""


@dataclass(frozen=True)
class Rate:
    """What a stage takes, as measured."""

    base: float
    """Bytes of memory of a worker at this stage, whatever its load."""
    memory: float
    """Bytes of memory for each byte of its load."""
    seconds: float
    """Processor time for each of its amounts of work, beyond the units themselves."""
    read: float
    """Bytes that are read for each that it asks for."""
    written: float
    """Bytes that are written for each that it asks for, compressed."""


@dataclass(frozen=True)
class Rates:
    """What the benchmark has measured."""

    machine: str
    command: str
    """The benchmark."""
    note: str
    """What of it was not measured so, if anything."""
    unit: float
    """Seconds of processor time of a unit that has next to nothing to do."""
    process: float
    """Bytes of memory of the process of a command."""
    stages: Mapping[str, Rate]


@dataclass(frozen=True)
class Size:
    """What a stage will take."""

    stage: str
    units: int
    read: float
    """Bytes."""
    written: float
    """Bytes."""
    objects: int
    seconds: float
    """Of one core."""
    memory: float
    """Bytes of a worker at most."""


@dataclass(frozen=True)
class Sizing:
    """What a run will take."""

    sizes: Sequence[Size]
    lines: Sequence[str]
    """Whether the memory is enough, what to change where it is not, and what is estimated."""
    fits: bool
    """Whether every stage of the workers stays below the limit."""

    @property
    def total(self) -> Size:
        """Sums of the stages, and the memory of the largest that workers do."""
        # The report is made by the command's own process, which has no worker's limit.
        memory = max(size.memory for size in self.sizes if size.stage != REPORT)
        return Size(
            "total",
            sum(size.units for size in self.sizes),
            sum(size.read for size in self.sizes),
            sum(size.written for size in self.sizes),
            sum(size.objects for size in self.sizes),
            sum(size.seconds for size in self.sizes),
            memory,
        )


@cache
def rates() -> Rates:
    """Rates that are part of the package, from ``coefficients.json``."""
    return read_rates(json.loads(files("soilscale.estimate").joinpath("coefficients.json").read_text(encoding="utf-8")))


def read_rates(record: Mapping[str, Any]) -> Rates:
    """Rates from their JSON."""
    stages = {name: Rate(**rate) for name, rate in record["stages"].items()}
    return Rates(
        record["machine"], record["command"], record.get("note", ""), record["unit"], record["process"], stages
    )


def foresee(config: Config, limit: float = LIMIT) -> Sizing:
    """Tell what a run will take from the configuration and the items that are frozen; no catalog is asked.

    Raises
    ------
    ServiceError
        If the output cannot be reached.
    """
    workspace, frozen_inputs = Workspace(config.output), {}
    for source in config.source_list:
        if storage.exists(workspace.items(source.name)):
            try:
                frozen_inputs[source.name] = plan.frozen(config, workspace, source)
            except DataError:
                continue
    return size(config, frozen_inputs, limit)


def size(config: Config, scenes: Mapping[str, Sequence[Scene]], limit: float = LIMIT) -> Sizing:
    """Tell what a run will take.

    Parameters
    ----------
    scenes
        Source -> its scenes, as far as they are known; others are taken as monthly, those that derive as static.
    limit
        Bytes of memory that a worker may take.
    """
    outlook = Outlook(config, scenes)
    stage_demands = demands(outlook)
    sizes = [measured(demand, rates()) for demand in stage_demands]
    advice = [
        _advice(outlook, demand, size, limit)
        for demand, size in zip(stage_demands, sizes, strict=True)
        if size.memory > limit and size.stage != REPORT
    ]
    side = " x ".join(map(str, outlook.grid.tile_shape))
    good = f"memory: every stage needs less than {_mib(limit)} per worker, with a grid.tile of {side} coarse cells"
    lines = list(dict.fromkeys(advice)) or [good]
    report_memory = max(size.memory for size in sizes if size.stage == REPORT)
    lines.append(
        f"memory: the command itself needs up to {_mib(report_memory)}, for the report; it grows with the area"
    )
    return Sizing(sizes, lines + _estimated(outlook), fits=not advice)


def measured(demand: Demand, rates: Rates) -> Size:
    """What a stage will take by what was measured."""
    rate, cost = rates.stages[demand.stage], demand.cost
    return Size(
        demand.stage,
        cost.units,
        cost.read * rate.read,
        cost.written * rate.written,
        cost.objects,
        cost.units * rates.unit + cost.work * rate.seconds,
        rate.base + cost.load * rate.memory,
    )


def remedy(config: Config, stage: str, limit: float) -> str:
    """Say how much memory a stage needs whose units kill their workers.

    Parameters
    ----------
    stage
        Stage as `Size` names it.
    limit
        Bytes of memory that the workers had; 0 if they have no known limit.
    """
    try:
        size = next((size for size in foresee(config, limit or LIMIT).sizes if size.stage == stage), None)
    except SoilscaleError:
        size = None
    if size is None and not limit:
        return causes.more_memory(stage, limit)
    # If the estimate is below a limit that was not enough, it was wrong for this unit: propose twice the limit.
    need = size.memory * ROOM if size is not None and size.memory * ROOM > limit else 2 * limit
    enough = math.ceil(need / STEP) * STEP
    expected = f" (`soilscale plan` expects {_mib(size.memory)} for stage {stage})" if size is not None else ""
    return (
        f"give each worker a memory limit of at least {_mib(enough)}{expected}, or choose a smaller grid.tile, then "
        "run the same command again"
    )


def _advice(outlook: Outlook, demand: Demand, need: Size, limit: float) -> str:
    """What to change so that a stage has memory enough."""
    advice = f"memory: {demand.stage} needs {_mib(need.memory)} in a worker, more than {_mib(limit)}; "
    if demand.cost.grows == AREA:
        return advice + "it grows with the area: give workers that much, or divide the area"
    if demand.cost.grows == MODELS:
        return advice + _smaller_models(outlook, demand.stage, limit)
    base = rates().stages[demand.stage].base
    share = max(limit - base, 0) / (need.memory - base)
    # Only what goes beyond the base shrinks with the tile, and it goes with its area: hence the root for its side.
    tile = math.floor(math.sqrt(math.prod(outlook.grid.tile_shape) * share))
    side = f"{outlook.grid.tile_shape[0]} x {outlook.grid.tile_shape[1]}"
    if tile < 1:
        return advice + f"no grid.tile is small enough (here {side} coarse cells): give workers that much"
    return advice + f"set grid.tile to {tile} or less (here {side} coarse cells)"


def _smaller_models(outlook: Outlook, stage: str, limit: float) -> str:
    """What makes models small enough: fewer rows that a tree draws."""
    forests = [name for name in outlook.config.models.algorithms if outlook.has_trees(name)]
    for most in DRAWS if forests else ():
        smaller = outlook.with_parameters({name: {"max_samples": most} for name in forests})
        demand = next(demand for demand in demands(smaller) if demand.stage == stage)
        if measured(demand, rates()).memory <= limit:
            keys = " and ".join(f"models.parameters.{name}.max_samples" for name in forests)
            return f"it grows with the training rows: set {keys} to {most} or less, or give workers that much"
    return "it grows with the training rows: give workers that much, or choose a shorter period or a smaller area"


def _estimated(outlook: Outlook) -> list[str]:
    """What is no more than an estimate."""
    unknown = [source.name for source in outlook.config.source_list if not outlook.scenes.get(source.name)]
    measured_by = f"`{rates().command}` measured on {rates().machine}"
    lines = [f"estimated: core-hours, compressed bytes and memory, from rates that {measured_by}"]
    lines += [f"estimated: {rates().note}"] if rates().note else []
    if unknown:
        lines.append(
            f"estimated: units and dates of {', '.join(unknown)}, whose items are not known yet: as many as months or "
            "composites, one for terrain; `soilscale check` queries the catalogs"
        )
    settings = outlook.config.models
    left_out = [
        name for name, switched_on in (("select", settings.select), ("tune", bool(settings.tune))) if switched_on
    ]
    return lines + [f"not counted: models.{name}" for name in left_out]


def _mib(size: float) -> str:
    return f"{size / MIB:,.0f} MiB"
