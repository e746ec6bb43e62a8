"""Gaps of predictors: units that learn levels and annual cycles from what is seen, and fill what is not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from soilscale.cube import BEFORE, gaps
from soilscale.engine.output import digest
from soilscale.engine.payloads import Piece
from soilscale.engine.units import Unit
from soilscale.seasons import Months
from soilscale.sources import Source
from soilscale.stages.cube_state import MISSING, State
from soilscale.stages.cube_units import unit_name
from soilscale.stages.plan import Plan
from soilscale.tasks import cube_regions
from soilscale.tasks.gap_filling import CYCLES, FORMAT, GAPS, LEVELS, blank, close, learn, level

STAGES = (LEVELS, CYCLES, GAPS)


@dataclass(frozen=True)
class Series:
    """What is seen of a source: its units, by the month that each is kept for."""

    source: Source
    units: Mapping[np.datetime64, Sequence[Unit]]
    """Units of the tiles in a month, which may hold for more months."""
    origins: Mapping[np.datetime64, str]
    """Digest of what a month is made from over the whole area."""
    learned: frozenset[np.datetime64]
    """Months from which cycles are learned."""
    empty: frozenset[np.datetime64]
    """Months of which nothing was read."""


def series(plan: Plan, units: Sequence[Unit], seen: State) -> list[Series]:
    """Sources whose gaps are filled, with their units."""
    found: dict[str, dict[np.datetime64, list[Unit]]] = {given.source.name: {} for given in plan.filled}
    for unit in units:
        name = unit.arguments[0].source.name
        if name in found:
            found[name].setdefault(unit.arguments[5][0], []).append(unit)
    first, last = (plan.learned[0], plan.learned[-1]) if plan.learned is not None else (None, None)
    return [
        Series(
            given.source,
            of_months,
            {month: digest([[unit.name, seen.units[unit.name]] for unit in some]) for month, some in of_months.items()},
            frozenset(
                month
                for month, some in of_months.items()
                if any(first <= alike <= last for unit in some for alike in unit.arguments[5])
            ),
            frozenset(
                month
                for month, some in of_months.items()
                if all(not unit.arguments[1] or seen.units[unit.name] == MISSING for unit in some)
            ),
        )
        for given in plan.filled
        for of_months in [found[given.source.name]]
    ]


def units(plan: Plan, seen_by: Sequence[Unit], seen: State, found: Collection[str]) -> dict[str, list[Unit]]:
    """Units of each stage.

    Parameters
    ----------
    seen_by
        Units of the cube.
    seen
        What these have read.
    found
        Names of the markers of those that are complete.
    """
    return {
        LEVELS: levels_units(plan, seen_by, seen, found),
        CYCLES: cycles_units(plan, seen_by, seen),
        GAPS: gaps_units(plan, seen_by, seen, found),
    }


def _learned(plan: Plan, what: Series) -> str:
    """What levels and cycles of a source are learned from."""
    return digest(FORMAT, plan.recipes[what.source.name], [what.origins[month] for month in sorted(what.learned)])


def levels_units(plan: Plan, units: Sequence[Unit], seen: State, found: Collection[str]) -> list[Unit]:
    """One unit for each source: the levels of its months over the whole area."""
    made = []
    for what in series(plan, units, seen):
        pieces = tuple(
            Piece(unit.stage, unit.marker, what.source.name, rows, columns, ((0, _at(plan.months, month)),))
            for month, some in what.units.items()
            for unit in some
            if unit.marker in found
            for rows, columns in [unit.arguments[3].coarse]
        )
        learned = tuple(_at(plan.months, month) for month in sorted(what.learned))
        origin = digest(_learned(plan, what), [what.origins[month] for month in sorted(what.units)])
        shape = (BEFORE + len(plan.months), *plan.grid.shape)
        empty = tuple(_at(plan.months, month) for month in sorted(what.empty))
        arguments = (what.source.name, plan.grid, pieces, learned, empty, shape)
        made.append(Unit(LEVELS, what.source.name, origin, level, arguments))
    return made


def cycles_units(plan: Plan, units: Sequence[Unit], seen: State) -> list[Unit]:
    """One unit for each source and tile: the annual cycles of its places."""
    made = []
    for what in series(plan, units, seen):
        origin = _learned(plan, what)
        months = tuple((_at(plan.months, month), gaps.phase(month)) for month in sorted(what.learned))
        made += [
            Unit(
                CYCLES, f"{what.source.name}/{tile.name}", origin, learn, (what.source.name, plan.grid, tile, months),
                together=what.source.name,
            )
            for tile in plan.grid.tiles()
        ]  # fmt: skip
    return made


def gaps_units(plan: Plan, units: Sequence[Unit], seen: State, found: Collection[str] = ()) -> list[Unit]:
    """One unit for each unit of the cube of these sources, of its name: fill its gaps.

    A month hangs on what is seen of it in the whole area, and on the months that cycles are learned from; one of which
    nothing is seen also on those beside it, between which its level lies.
    """
    made = []
    for what in series(plan, units, seen):
        learned = _learned(plan, what)
        for month, some in what.units.items():
            reach = (-1, 1) if month in what.empty else ()
            around = [what.origins.get(month + np.timedelta64(step, "M")) for step in reach]
            for unit in some:
                months, alike = unit.arguments[4:]
                places = [(str(one), cube_regions.reach(what.source, months, one)) for one in alike]
                origin = digest(learned, what.origins[month], around, places)
                arguments = (*unit.arguments, unit.marker if unit.marker in found else "")
                made.append(Unit(GAPS, unit.name, origin, close, arguments, blank, unit.together))
    return made


def standing(plan: Plan, units: Sequence[Unit], seen: State, found: Collection[str]) -> dict[str, str]:
    """What the months of filled sources are made from, by the names that they would have on their own."""
    made: dict[str, str] = {}
    for unit in gaps_units(plan, units, seen) if plan.filled else ():
        told = unit.digest if unit.marker in found else MISSING
        source, tile = unit.arguments[0].source, unit.arguments[3]
        made |= {unit_name(source, month, tile): told for month in unit.arguments[5]}
    return made


def _at(months: Months, month: np.datetime64) -> int:
    return cube_regions.observed_at(months, month)
