"""What a worker does for the figures of the report: thin features, and draw maps that other algorithms would make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soilscale import storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Task
from soilscale.grid import Tile
from soilscale.reports import summaries
from soilscale.schema import FINE
from soilscale.tasks.map_making import Chosen, Recipe, Slot, whole
from soilscale.tasks.map_summaries import write

PICTURES = "picture"

THINNED, DRAWN = "thinned", "drawn"
"""Names of the arrays that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinFeatures(Task):
    """Keep the cells of a tile's features that a thinned map shows."""

    name: str
    tile: Tile
    features: tuple[tuple[str, int | None], ...]
    """Names, each with the index of the month, None where it is static."""
    step: int
    """Rows and columns from one that is drawn to the next."""

    def run(self, workspace: Workspace) -> None:
        """Write `THINNED` (features, Y, X) below `state/`."""
        shown = np.ix_(*(summaries.drawn(part, self.step) - part.start for part in self.tile.fine))
        fields = []
        for name, index in self.features:
            place = self.tile.fine if index is None else (index, *self.tile.fine)
            fields.append(storage.read_region(workspace.cube, FINE, name, place)[shown])
        write(workspace, PICTURES, self.name, {THINNED: np.stack(fields)})


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawAlgorithm(Task):
    """Draw the map that an algorithm would make of a period, on some cells of each coarse cell."""

    name: str
    recipe: Recipe
    model: Chosen
    slots: tuple[Slot, ...]
    """Maps whose mean is drawn: one, or the months of a season."""

    def run(self, workspace: Workspace) -> None:
        """Write `DRAWN` (Y, X), m3 m-3, below `state/`."""
        maps = [whole(workspace, self.recipe, slot, self.model) for slot in self.slots]
        write(workspace, PICTURES, self.name, {DRAWN: np.mean(maps, axis=0, dtype="float64")})
