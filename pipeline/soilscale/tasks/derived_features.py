"""What a worker does for predictors derived from others month by month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soilscale import storage
from soilscale.cube import BEFORE, EARLIER, memory
from soilscale.engine import payloads
from soilscale.engine.output import Workspace
from soilscale.engine.payloads import Arrays, Piece
from soilscale.engine.units import Cost, Task
from soilscale.grid import Grid, Tile
from soilscale.schema import FINE
from soilscale.seasons import position
from soilscale.sources import Derivation, Source
from soilscale.tasks import cube_regions
from soilscale.tasks.costs import Scale, Stored
from soilscale.tasks.cube_regions import MonthRegion

SCATTER, EDGES, DERIVE = "scatter", "edges", "derive"
"""Stages, in their order, after gaps are filled. The edges of a dryness index are those of a month over the whole area,
so that tiles and scales agree on them: tiles count, one unit a month draws the lines."""


DERIVED_HELD = 40.0
"""Bytes that a fine cell takes while a predictor is derived from others: two or three of them in double precision."""

SCATTERED = 4.0 * memory.GREENNESS * (memory.HIGHEST - memory.LOWEST) / memory.STEP
"""Bytes of the scatter of temperature and vegetation that a tile's month keeps."""

COUNTS, LINES = "counts", "lines"
"""Names under which a scatter and its edges are kept."""


@dataclass(frozen=True)
class Made:
    """A predictor that is derived."""

    source: Source
    how: Derivation
    kelvin: tuple[float, float]
    """Factor and offset by which the first of its sources becomes K."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountScatter(Task):
    """Count how many pixels of a tile's month have which temperature and vegetation index."""

    made: Made
    tile: Tile
    index: int
    """Of the month in the cube."""

    @classmethod
    def cost(cls, scale: Scale, indices: int) -> Cost:
        """Cost for so many dryness indices. Work: fine cells and months that are read, in millions."""
        edges = scale.months * indices
        units, read = scale.tiles * edges, 2.0 * scale.cells * edges
        load = scale.tile_cells * DERIVED_HELD
        return Cost(units=units, read=4 * read, written=units * SCATTERED, objects=units, work=read / 1e6, load=load)

    def run(self, workspace: Workspace) -> Arrays:
        """Keep the counts."""
        surface, greenness = _pair(workspace, self.made, self.tile, self.index)
        return {COUNTS: memory.scatter(surface, greenness)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawEdges(Task):
    """Draw the dry and the wet edge of a month over the whole area."""

    pieces: tuple[Piece, ...]
    """Counts of the tiles."""

    @classmethod
    def cost(cls, scale: Scale, indices: int) -> Cost:
        """Cost for so many dryness indices. Work: scatters that are added up, in thousands."""
        edges = scale.months * indices
        scatters = scale.tiles * edges
        return Cost(
            units=edges,
            read=scatters * SCATTERED,
            written=16.0 * edges,
            objects=edges,
            work=scatters / 1e3,
            load=4 * SCATTERED,
        )

    def run(self, workspace: Workspace) -> Arrays:
        """Keep the edges."""
        # In double precision: single precision counts no further than 2**24.
        counts = sum(arrays[COUNTS].astype(np.float64) for _, arrays in payloads.read(workspace, self.pieces))
        return {LINES: memory.edges(np.asarray(counts))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Derive(MonthRegion):
    """Fill a tile's month with a predictor that is made from others."""

    made: Made
    marker: str
    """Of the unit that drew the edges of the month; empty where the predictor has none."""
    grid: Grid

    @property
    def source(self) -> Source:
        """The predictor."""
        return self.made.source

    @classmethod
    def cost(cls, scale: Scale, derivations: Sequence[Derivation], stored: Stored) -> Cost:
        """Cost of predictors that are made from others. Work: fine cells and months that are read, in millions."""
        read = float(scale.cells) * scale.months * sum(len(how.of) + how.months for how in derivations)
        units = scale.tiles * scale.months * len(derivations)
        return Cost(
            units=units,
            read=4 * read,
            written=stored.size,
            objects=units + stored.objects,
            work=read / 1e6,
            load=scale.tile_cells * DERIVED_HELD,
        )

    def run(self, workspace: Workspace) -> Arrays:
        """Write the month; what is kept is as `FillMonth` keeps it."""
        derived, tile, index = self.made, self.tile, position(self.months, self.alike[0])
        if derived.how.kind == "antecedent":
            (name,) = derived.how.of
            # One month at a time, since they are summed and never needed together.
            backwards = (_read(workspace, name, tile, index - back) for back in range(derived.how.months + 1))
            values = memory.antecedent(backwards, derived.how.decay)
        elif derived.how.kind == "range":
            day, night = (_read(workspace, name, tile, index) for name in derived.how.of)
            values = day - night
        else:
            ((_, arrays),) = payloads.read(workspace, [Piece(EDGES, self.marker, derived.source.name, *tile.coarse)])
            values = memory.dryness(*_pair(workspace, derived, tile, index), arrays[LINES])
        features = {derived.source.name: values}
        cube_regions.put(workspace, tile, [(0, (index,))], features)
        return cube_regions.means(features, self.grid.ratio)


def _pair(
    workspace: Workspace, derived: Made, tile: Tile, index: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Land surface temperature, K, and vegetation index of a tile's month."""
    surface, greenness = (_read(workspace, name, tile, index).astype(np.float64) for name in derived.how.of)
    factor, offset = derived.kelvin
    return surface * factor + offset, greenness


def _read(workspace: Workspace, name: str, tile: Tile, index: int) -> NDArray[np.float32]:
    """A source in a tile's month, also before the cube's first."""
    group, at = (FINE, index) if index >= 0 else (EARLIER, index + BEFORE)
    values: NDArray[np.float32] = storage.read_region(workspace.cube, group, name, (at, *tile.fine))
    return values
