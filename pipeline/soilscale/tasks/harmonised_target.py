"""What a worker does for a target of several sensors: relate them over the area, and bring a tile to one level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale import harmonisation, storage
from soilscale.engine.output import Workspace
from soilscale.engine.payloads import Arrays
from soilscale.engine.units import Cost, Task
from soilscale.errors import DataError
from soilscale.grid import Tile
from soilscale.schema import COARSE
from soilscale.seasons import Months
from soilscale.sources import Harmonise
from soilscale.tasks.costs import AREA, FLOAT, Scale
from soilscale.tasks.cube_regions import Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Relate(Task):
    """Relate the parts of a target to their reference over the whole area."""

    name: str
    """Of the target."""
    how: Harmonise
    months: Months

    @classmethod
    def cost(cls, scale: Scale, sensors: int) -> Cost:
        """Cost of relating so many sensors. Work: coarse cells and months, in millions."""
        read, work, load = sensors * scale.series / 2, scale.series / FLOAT / 1e6, 8.0 * scale.series
        return Cost(units=1, read=read, written=0, objects=2, work=work, load=load, grows=AREA)

    def run(self, workspace: Workspace) -> None:
        """Write the relations below `state/`."""
        how = self.how
        series = _series(workspace, how, (slice(None), slice(None), slice(None)))
        relations = {}
        for part in how.order[1:]:
            try:
                relations[part] = harmonisation.pool(_trio(how, series, part, self.months), how.matching).plain()
            except ValueError as error:
                raise DataError(
                    f"{part} cannot be matched to {how.reference}: {error}; choose a longer period, set `through` to "
                    "a source that covers both, or set harmonise: none"
                ) from error
        storage.write_json(_relations(workspace, self.name), relations)


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmoniseTile(Task):
    """Keep all months of a tile of a target's parts, brought to one level; the first in their order counts."""

    name: str
    """Of the target."""
    how: Harmonise
    months: Months
    tile: Tile

    @classmethod
    def cost(cls, scale: Scale, sensors: int) -> Cost:
        """Cost of bringing so many sensors to one level. Work: coarse cells and months, in millions."""
        return Cost(
            units=scale.tiles,
            read=sensors * scale.series / 2,
            written=scale.series / 2,
            objects=scale.tiles,
            work=scale.series / FLOAT / 1e6,
            load=8.0 * (scale.tile_coarse * scale.months * FLOAT),
        )

    def run(self, workspace: Workspace) -> Arrays:
        """Keep the series of the tile."""
        how = self.how
        series = _series(workspace, how, (slice(0, len(self.months)), *self.tile.coarse))
        if how.method != "none":
            areas = storage.read_json(_relations(workspace, self.name))
            for part in how.order[1:]:
                area = harmonisation.Area.of(areas[part])
                series[part], _ = harmonisation.adjust(_trio(how, series, part, self.months), how.matching, area)
        # Merged only after all are at one level, or the change of sensors would show as a step.
        return {self.name: merge([series[part] for part in how.order]).astype("float32")}


def _relations(workspace: Workspace, name: str) -> str:
    return workspace.state("relate", f"{name}.relations.json")


def _series(workspace: Workspace, how: Harmonise, region: tuple[slice, ...]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: storage.read_region(workspace.cube, COARSE, name, region) for name in how.needs}


def _trio(how: Harmonise, series: Features, part: str, months: Months) -> harmonisation.Trio:
    through = series[how.through] if how.through else None
    calendar = months.astype(int) % harmonisation.YEAR + 1
    return harmonisation.Trio(series[part], series[how.reference], calendar, through, how.valid_range)


def merge(series: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    """One series of several: the first that has a value counts."""
    merged = series[0].copy()
    for later in series[1:]:
        np.copyto(merged, later, where=np.isnan(merged))
    return merged
