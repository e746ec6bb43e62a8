"""Units that gather coarse cells from the markers of other units into chunks of some months of the whole area."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

from soilscale import cube
from soilscale.engine.output import digest
from soilscale.engine.payloads import Piece
from soilscale.engine.units import Unit
from soilscale.seasons import Months, position
from soilscale.stages.cube_state import State
from soilscale.stages.cube_units import Read
from soilscale.stages.harmonise_units import HARMONISE, MERGE, harmonise_units
from soilscale.stages.plan import Plan
from soilscale.tasks import cube_regions
from soilscale.tasks.cube_regions import GATHER, FillStatic, Gather


def gather_units(
    plan: Plan,
    units: Sequence[Unit[Read]],
    filled: Sequence[Unit[cube_regions.MonthRegion]],
    done_markers: Mapping[str, Collection[str]],
) -> list[Unit[Gather]]:
    """Units that write chunks of the coarse group from what the units of the cube keep: static ones, and some months.

    Parameters
    ----------
    units
        Units of the cube.
    filled
        Units that have filled gaps: their means count, after the others', whose valid shares stay; and those that have
        derived predictors.
    done_markers
        Stage -> names of the markers of those that are complete.
    """
    static: dict[str, list[Piece]] = {
        source_input.source.name: [] for source_input in plan.predictors if source_input.static
    }
    batches: dict[int, list[Piece]] = defaultdict(list)
    for unit in (*units, *filled):
        # What failed has no marker, so its cells stay missing; once it is mended, its marker changes the digest of the
        # chunk.
        if unit.marker not in done_markers[unit.stage]:
            continue
        task = unit.task
        piece = Piece(unit.stage, unit.marker, task.source.name, *task.tile.coarse)
        if isinstance(task, FillStatic):
            static[task.source.name].append(piece)
            continue
        places = [
            # A lagged feature shows the same values in a later month, which may lie in another chunk.
            (lag, position(task.months, month) + lag)
            for month in task.alike
            for lag in cube_regions.reach(task.source, task.months, month)
        ]
        for batch, group in groupby(sorted(places, key=itemgetter(1)), key=lambda place: place[1] // cube.TOGETHER):
            batches[batch].append(replace(piece, places=tuple(group)))
    names, shares = cube.features(plan.inputs), cube.fractions(plan.inputs)
    static_gather = Gather(
        pieces=tuple(piece for group in static.values() for piece in group),
        coarse=tuple(name for name, source_input in names.items() if source_input.static),
        shares=tuple(name for name, source_input in shares.items() if source_input.static),
        shape=plan.grid.shape,
    )
    # What is observed on the coarse grid is no feature. A harmonised target is left to `merge_units`, for it is made
    # later.
    read = [
        source_input.source.name
        for source_input in plan.inputs
        if source_input.source.on_coarse and not source_input.source.composed
    ]
    of_months = Gather(
        pieces=(),
        coarse=(*read, *(name for name, source_input in names.items() if not source_input.static)),
        shares=tuple(name for name, source_input in shares.items() if not source_input.static),
        shape=plan.grid.shape,
        # The smallest valid share of a month takes in the static predictors too, so every month hangs on their pieces.
        static=tuple((name, tuple(group)) for name, group in static.items()),
    )
    first = [_gather(plan, GATHER, "static", static_gather)] if static else []
    return first + _gathered(plan, GATHER, of_months, batches)


def merge_units(plan: Plan, standing: State, complete: Collection[str]) -> list[Unit[Gather]]:
    """Units that write the harmonised target's chunks from what the units that harmonise it keep; or none."""
    if plan.target.source.harmonise is None:
        return []
    pieces = tuple(
        Piece(HARMONISE, unit.marker, plan.target.source.name, *unit.task.tile.coarse)
        for unit in harmonise_units(plan, standing)
        if unit.marker in complete
    )
    template = Gather(pieces=(), coarse=(plan.target.source.name,), shares=(), shape=plan.grid.shape)
    # A unit that harmonises keeps all months of its tile, so every chunk reads the pieces of all tiles.
    batches = dict.fromkeys(range(-(-len(plan.months) // cube.TOGETHER)), pieces)
    return _gathered(plan, MERGE, template, batches)


def _gathered(plan: Plan, stage: str, template: Gather, batches: Mapping[int, Sequence[Piece]]) -> list[Unit[Gather]]:
    """Units that gather some months each."""
    units = []
    for first in range(0, len(plan.months), cube.TOGETHER):
        count = min(cube.TOGETHER, len(plan.months) - first)
        pieces = tuple(batches.get(first // cube.TOGETHER, ()))
        chunk = replace(template, pieces=pieces, shape=(count, *plan.grid.shape), first=first)
        units.append(_gather(plan, stage, gathered_name(plan.months, first), chunk))
    return units


def gathered_name(months: Months, index: int) -> str:
    """Name of the unit that gathers a month, such as ``2005-01_2005-12``."""
    first = index // cube.TOGETHER * cube.TOGETHER
    return f"{months[first]}_{months[min(first + cube.TOGETHER, len(months)) - 1]}"


def _gather(plan: Plan, stage: str, name: str, gather: Gather) -> Unit[Gather]:
    static = [piece.marker for _, pieces in gather.static or () for piece in pieces]
    places = [(piece.marker, piece.places) for piece in gather.pieces]
    made_from = digest(plan.layout, gather.coarse, gather.shares, gather.shape, places, static)
    return Unit(stage, name, made_from, gather)
