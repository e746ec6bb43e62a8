"""Gaps of predictors: units that learn levels and annual cycles from observed values, and fill the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from soilscale.cube import BEFORE, gaps
from soilscale.engine.output import digest
from soilscale.engine.payloads import Piece
from soilscale.engine.units import Task, Unit
from soilscale.seasons import Months, month_range
from soilscale.sources import Source
from soilscale.stages.cube_state import MISSING, State
from soilscale.stages.cube_units import Read, unit_name
from soilscale.stages.plan import Plan
from soilscale.tasks import cube_regions
from soilscale.tasks.cube_regions import ReadMonth
from soilscale.tasks.gap_filling import CYCLES, FORMAT, GAPS, LEVELS, CloseGaps, FindLevels, LearnCycles

STAGES = (LEVELS, CYCLES, GAPS)

NEVER = np.datetime64("NaT")
"""Neither before nor after any month."""


@dataclass(frozen=True)
class Series:
    """What is seen of a source: its units, by the month that each is kept for."""

    source: Source
    units: Mapping[np.datetime64, Sequence[Unit[ReadMonth]]]
    """Units of the tiles in a month, which may hold for more months."""
    origins: Mapping[np.datetime64, str]
    """Digest of what a month is made from over the whole area."""
    learned: frozenset[np.datetime64]
    """Months from which cycles are learned."""
    empty: frozenset[np.datetime64]
    """Months of which nothing was read."""


def series(plan: Plan, units: Sequence[Unit[Read]], observed: State) -> list[Series]:
    """Sources whose gaps are filled, with their units."""
    units_by_source: dict[str, dict[np.datetime64, list[Unit[ReadMonth]]]] = {
        source_input.source.name: {} for source_input in plan.filled
    }
    for unit in units:
        task = unit.task
        if isinstance(task, ReadMonth) and task.source.name in units_by_source:
            units_by_source[task.source.name].setdefault(task.alike[0], []).append(cast("Unit[ReadMonth]", unit))
    # NaT compares false with every month: without months to learn from, none is taken.
    first, last = (plan.learned[0], plan.learned[-1]) if plan.learned is not None else (NEVER, NEVER)
    return [
        Series(
            source_input.source,
            of_months,
            {
                month: digest([[unit.name, observed.units[unit.name]] for unit in month_units])
                for month, month_units in of_months.items()
            },
            frozenset(
                month
                for month, month_units in of_months.items()
                if any(first <= alike <= last for unit in month_units for alike in unit.task.alike)
            ),
            frozenset(
                month
                for month, month_units in of_months.items()
                if all(not unit.task.scenes or observed.units[unit.name] == MISSING for unit in month_units)
            ),
        )
        for source_input in plan.filled
        for of_months in [units_by_source[source_input.source.name]]
    ]


@dataclass(frozen=True)
class GapUnits:
    """Units of the stages that fill gaps, in their order."""

    levels: Sequence[Unit[FindLevels]] = ()
    cycles: Sequence[Unit[LearnCycles]] = ()
    gaps: Sequence[Unit[CloseGaps]] = ()

    def by_stage(self) -> dict[str, Sequence[Unit[Task]]]:
        """Stage -> its units."""
        return {LEVELS: self.levels, CYCLES: self.cycles, GAPS: self.gaps}


def units(plan: Plan, seen_by: Sequence[Unit[Read]], observed: State, complete: Collection[str]) -> GapUnits:
    """Units of each stage.

    Parameters
    ----------
    seen_by
        Units of the cube.
    seen
        What these have read.
    complete
        Names of the markers of those that are complete.
    """
    return GapUnits(
        levels_units(plan, seen_by, observed, complete),
        cycles_units(plan, seen_by, observed),
        gaps_units(plan, seen_by, observed, complete),
    )


def _learned(plan: Plan, source_series: Series) -> str:
    """What levels and cycles of a source are learned from."""
    return digest(
        FORMAT,
        plan.recipes[source_series.source.name],
        [source_series.origins[month] for month in sorted(source_series.learned)],
    )


def levels_units(
    plan: Plan, units: Sequence[Unit[Read]], observed: State, complete: Collection[str]
) -> list[Unit[FindLevels]]:
    """One unit for each source: the levels of its months over the whole area."""
    level_units = []
    for source_series in series(plan, units, observed):
        pieces = tuple(
            Piece(unit.stage, unit.marker, source_series.source.name, rows, columns, ((0, _at(plan.months, month)),))
            for month, month_units in source_series.units.items()
            for unit in month_units
            if unit.marker in complete
            for rows, columns in [unit.task.tile.coarse]
        )
        learned = tuple(_at(plan.months, month) for month in sorted(source_series.learned))
        origin = digest(
            _learned(plan, source_series), [source_series.origins[month] for month in sorted(source_series.units)]
        )
        shape = (BEFORE + len(plan.months), *plan.grid.shape)
        empty = tuple(_at(plan.months, month) for month in sorted(source_series.empty))
        levels = FindLevels(
            name=source_series.source.name, grid=plan.grid, pieces=pieces, learned=learned, empty=empty, shape=shape
        )
        level_units.append(Unit(LEVELS, source_series.source.name, origin, levels))
    return level_units


def cycles_units(plan: Plan, units: Sequence[Unit[Read]], observed: State) -> list[Unit[LearnCycles]]:
    """One unit for each source and tile: the annual cycles of its places."""
    cycle_units = []
    for source_series in series(plan, units, observed):
        origin = _learned(plan, source_series)
        months = tuple((_at(plan.months, month), gaps.phase(month)) for month in sorted(source_series.learned))
        cycle_units += [
            Unit(
                CYCLES,
                f"{source_series.source.name}/{tile.name}",
                origin,
                LearnCycles(name=source_series.source.name, grid=plan.grid, tile=tile, months=months),
                together=source_series.source.name,
            )
            for tile in plan.grid.tiles()
        ]
    return cycle_units


def gaps_units(
    plan: Plan, units: Sequence[Unit[Read]], observed: State, complete: Collection[str] = ()
) -> list[Unit[CloseGaps]]:
    """One unit for each unit of the cube of these sources, of its name: fill its gaps.

    A month hangs on what is seen of it in the whole area, and on the months that cycles are learned from; one of which
    nothing is seen also on those beside it, between which its level lies.
    """
    return [unit for unit, _ in _with_origins(plan, units, observed, complete)]


def _with_origins(
    plan: Plan, units: Sequence[Unit[Read]], observed: State, complete: Collection[str]
) -> Iterator[tuple[Unit[CloseGaps], str]]:
    """Units of gaps, and what their values are made from: the same in a period that goes on.

    The last months of a period become lags of those that are added, and are written there too. Their values stay, and
    so does all that is learned from these.
    """
    for source_series in series(plan, units, observed):
        # Learned from the months of `training` alone: a month that is added to the period then redoes no other one.
        learned, source = _learned(plan, source_series), source_series.source
        goes_on = month_range(plan.months[0], plan.months[-1] + np.timedelta64(source.back, "M"))
        for month, month_units in source_series.units.items():
            beside = (-1, 1) if month in source_series.empty else ()
            around = [source_series.origins.get(month + np.timedelta64(step, "M")) for step in beside]
            digests: dict[tuple[np.datetime64, ...], tuple[str, str]] = {}  # the same for every tile
            for unit in month_units:
                task = unit.task
                if task.alike not in digests:
                    made_from, origin = (
                        digest(
                            learned,
                            source_series.origins[month],
                            around,
                            [(str(date), cube_regions.reach(source, months, date)) for date in task.alike],
                        )
                        for months in (plan.months, goes_on)
                    )
                    digests[task.alike] = made_from, origin
                made_from, origin = digests[task.alike]
                gaps_task = CloseGaps(
                    reading=task.reading,
                    scenes=task.scenes,
                    grid=task.grid,
                    tile=task.tile,
                    months=task.months,
                    alike=task.alike,
                    marker=unit.marker if unit.marker in complete else "",
                )
                yield Unit(GAPS, unit.name, made_from, gaps_task, unit.together), origin


def standing(plan: Plan, units: Sequence[Unit[Read]], observed: State, complete: Collection[str]) -> dict[str, str]:
    """What the months of filled sources are made from, by the names that they would have on their own."""
    digests: dict[str, str] = {}
    # Planned without markers, which are in the tasks but not in the digests.
    for unit, origin in _with_origins(plan, units, observed, ()) if plan.filled else ():
        task = unit.task
        stands = origin if unit.marker in complete else MISSING
        digests |= {unit_name(task.source, month, task.tile): stands for month in task.alike}
    return digests


def _at(months: Months, month: np.datetime64) -> int:
    return cube_regions.observed_at(months, month)
