"""The state of the cube, as the markers of its units report it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from soilscale.cube import Input
from soilscale.engine.output import digest
from soilscale.engine.units import Unit
from soilscale.grid import Tile
from soilscale.seasons import Months, month_range
from soilscale.sources import Harmonise
from soilscale.stages.cube_units import Read, constant, unit_name
from soilscale.stages.plan import Plan
from soilscale.tasks.cube_regions import FillStatic

MISSING = "missing"


@dataclass(frozen=True)
class State:
    """What stands in the cube: unit -> what it was made from, or `MISSING`."""

    plan: Plan
    units: Mapping[str, str]

    def of(self, source_input: Input, tile: Tile, months: Months) -> list[str]:
        """What a source's regions of a tile were made from, in some months."""
        if source_input.static:
            return [self.units[unit_name(source_input.source, None, tile)]]
        # Reach and lags ask for months before the first and after the last that the cube holds: those are missing, not
        # errors.
        names = (unit_name(source_input.source, month, tile) for month in months)
        return [self.units.get(name, MISSING) for name in names]

    def predictors(self, tile: Tile, month: np.datetime64, reach: int = 0) -> str:
        """Digest of all predictors of a tile in a month, their lags, and the months within `reach` on either side.

        What is filled in the cube does not hang on these.
        """
        parts = []
        for predictor in self.plan.predictors:
            # A filled source already hangs on its neighbouring months by what it was filled from; reach would redo maps
            # for nothing.
            around = 0 if predictor in self.plan.filled else reach
            back = np.timedelta64(predictor.source.back + around, "M")
            parts.append(self.of(predictor, tile, month_range(month - back, month + np.timedelta64(around, "M"))))
        return digest(parts)

    def parts(self, tile: Tile, how: Harmonise) -> list[list[str]]:
        """What all months of a tile were made from in the sources that a harmonised target needs."""
        needed = [source_input for source_input in self.plan.inputs if source_input.source.name in how.needs]
        return [self.of(source_input, tile, self.plan.months) for source_input in needed]

    def coarse(self, months: Months) -> list[list[str]]:
        """What the coarse group was made from in some months, over the whole area."""
        tiles = list(self.plan.grid.tiles())
        return [[self.predictors(tile, month), self.target(tile, month)] for month in months for tile in tiles]

    def target(self, tile: Tile, month: np.datetime64) -> str:
        """What the observation of a tile in a month was made from."""
        return self.of(self.plan.target, tile, np.array([month]))[0]


def observed(plan: Plan, units: Sequence[Unit[Read]], complete: Collection[str]) -> State:
    """What is read into the cube, its gaps not filled, as the markers of its units tell."""
    # Tiles that meet the same scenes share the lists of them, and with these what their months are made from.
    shared: dict[tuple[str, int, np.datetime64 | None], str] = {}
    return State(
        plan,
        {
            name: origin if unit.marker in complete else MISSING
            for unit in units
            for name, origin in _origins(plan, unit, shared)
        },
    )


def _origins(
    plan: Plan, unit: Unit[Read], shared: dict[tuple[str, int, np.datetime64 | None], str]
) -> Iterator[tuple[str, str]]:
    """Name that each month of a unit of the cube would have on its own, and what its values are made from.

    The same in a period that goes on, where the unit may hold for further months, or be a lag of further ones.
    """
    source, scenes, tile = unit.task.source, unit.task.scenes, unit.task.tile
    for month in (None,) if isinstance(unit.task, FillStatic) else unit.task.alike:
        key = source.name, id(scenes), month
        if key not in shared:
            changing = None if month is None or constant(source, scenes, month) else month
            shared[key] = digest(plan.recipes[source.name], [scene.digest for scene in scenes], changing)
        yield unit_name(source, month, tile), shared[key]
