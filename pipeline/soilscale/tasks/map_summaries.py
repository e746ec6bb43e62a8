"""What a worker does for the report: summarise some months of a tile, so that the runner reads no map."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from soilscale import storage
from soilscale.cube import TOGETHER
from soilscale.engine.output import Workspace
from soilscale.engine.units import Cost, Task
from soilscale.grid import Grid, Tile
from soilscale.maps import ENDS, MONTH
from soilscale.reports import summaries
from soilscale.schema import (
    APPLICABILITY,
    COARSE,
    LOWER,
    MAP,
    PREDICTION,
    PREDICTION_QUALITY,
    QUALITY,
    RESIDUAL,
    UPPER,
)
from soilscale.tasks import reference_data
from soilscale.tasks.costs import FLOAT, Scale
from soilscale.tasks.training_table import months_in_batches

SUMMARISE = "summarise"

AT_STATIONS = (MAP, LOWER, UPPER, QUALITY)
"""Layers whose values at stations are kept, in this order."""

UNREAD = {PREDICTION, PREDICTION_QUALITY, RESIDUAL}
"""Layers of the maps that are not summarised."""

PART = "part_"
"""How names of arrays begin that hold a part of each month's `summaries.Summary`."""

Array = NDArray[Any]

Cell = tuple[int, int]
"""Row and column on the fine grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummariseTile(Task):
    """Summarise some months of a tile; months are read one at a time, so that memory goes with the tile alone.

    Arrays that are kept, of m months, s seasons and k stations, where Y, X are the cells that a thinned map shows:
    ``months`` (m,) indices in time; ``part_...`` (m, ...) of `summaries.summarise`; ``covered``, bits of the tile's
    cells that have a value in any month; ``squares`` and ``pairs`` (s, Y, X), sums of squared differences from the
    observation and their number; ``compared`` (m,), whether there is such a pair; ``pictures``, ``widths`` (of the
    intervals) and ``truths`` (p, Y, X) of the months to be drawn; ``climate`` and ``years`` (d, Y, X), sums and number
    of the maps of the calendar month of each of d months to be drawn; ``stations`` (m, k, `AT_STATIONS`).
    """

    name: str
    grid: Grid
    tile: Tile
    target: str
    months: tuple[np.datetime64, ...]
    indices: tuple[int, ...]
    """Of the months, in the cube and the maps."""
    seasons: tuple[int, ...]
    """Number of each month's season."""
    season_count: int
    optional: tuple[str, ...]
    """Layers that the maps have beside their values and quality."""
    truth: str | None
    stations: tuple[Cell, ...]
    """Cells of stations in the tile."""
    pictured: tuple[int, ...]
    """Indices of the months to be drawn."""
    calendar: tuple[int, ...]
    """For each month the number of that to be drawn, of the whole run, whose calendar month it shares; -1 for none."""
    drawn: int
    """Number of months to be drawn, of the whole run."""
    step: int
    """Rows and columns from one that is drawn to the next."""

    @classmethod
    def cost(cls, scale: Scale, *, layers: Sequence[str], seasons: int, shown: float, truth: bool) -> Cost:
        """Cost of summarising all maps. Work: cells and months, in millions; twice as many with a known truth.

        Parameters
        ----------
        layers
            Those of the maps.
        shown
            Cells that a thinned map shows.
        """
        batches, cells = len(months_in_batches(scale.months)), scale.cells * scale.months
        # The ends of intervals are set beside the truth, and beside stations, which few tiles have.
        read = [name for name in layers if name not in UNREAD and (truth or name not in ENDS)]
        units = scale.tiles * batches
        return Cost(
            units=units,
            read=cells * (sum(1 if name == QUALITY else 4 for name in read) + 4.0 * truth),
            # Of each batch a bit a cell, and sums of the cells that are drawn, season by season.
            written=batches * (scale.cells / 8 + shown * seasons * (FLOAT + 4)),
            objects=2 * units,
            work=cells * (1 + truth) / 1e6,
            load=scale.tile_cells * FLOAT * 8.0 + 4.0 * scale.coarse * min(scale.months, TOGETHER),
        )

    def run(self, workspace: Workspace) -> None:
        """Write the summary below `state/`."""
        truth = None if self.truth is None else reference_data.on_tile(self.truth, self.grid, self.tile)
        rows, columns = (summaries.drawn(part, self.step) for part in self.tile.fine)
        shown = np.ix_(rows - self.tile.fine[0].start, columns - self.tile.fine[1].start)
        covered = np.zeros(self.grid.fine[self.tile.fine].shape, bool)
        shape = len(rows), len(columns)
        squares = np.zeros((self.season_count, *shape))
        pairs = np.zeros(squares.shape, "int32")
        climate, years = np.zeros((self.drawn, *shape)), np.zeros((self.drawn, *shape), "int16")
        parts, compared, stations = [], [], []
        # At once: a chunk of the coarse group holds some months, and would be read for each of them.
        first = min(self.indices)
        field = storage.read_region(workspace.cube, COARSE, self.target, (slice(first, max(self.indices) + 1),))
        pictures: dict[str, list[Array]] = {MAP: [], "truth": [], "width": []}
        for month, index, season, usual in zip(self.months, self.indices, self.seasons, self.calendar, strict=True):
            layers = self._layers(workspace, index)
            observed = field[index - first].astype("float64")
            true = None if truth is None else reference_data.of_month(truth, month)
            parts.append(self._summary(layers, observed, true))
            covered |= np.isfinite(layers[MAP])
            coarse = observed[np.ix_(rows // self.grid.ratio, columns // self.grid.ratio)]
            error = layers[MAP].astype("float64")[shown] - coarse
            is_finite = np.isfinite(error)
            squares[season] += np.where(is_finite, error, 0) ** 2
            pairs[season] += is_finite
            compared.append(bool(is_finite.any()))
            at = [self._within(cell) for cell in self.stations]
            stations.append([[float(layers[name][cell]) for name in AT_STATIONS] for cell in at])
            if usual >= 0:
                thinned = layers[MAP][shown].astype("float64")
                climate[usual] += np.where(np.isfinite(thinned), thinned, 0)
                years[usual] += np.isfinite(thinned)
            if index in self.pictured:
                pictures[MAP].append(layers[MAP][shown])
                pictures["width"].append(layers[UPPER][shown] - layers[LOWER][shown])
                pictures["truth"] += [] if true is None else [true[shown]]
        summary = {
            "months": np.array(self.indices),
            **{PART + name: np.stack([part[name] for part in parts]) for name in parts[0]},
            "covered": np.packbits(covered),
            "squares": squares,
            "pairs": pairs,
            "compared": np.array(compared, bool),
            "stations": np.array(stations, "float64").reshape(len(parts), len(self.stations), len(AT_STATIONS)),
            "climate": climate,
            "years": years,
            "pictures": np.array(pictures[MAP], "float32").reshape(-1, *shape),
            "widths": np.array(pictures["width"], "float32").reshape(-1, *shape),
            "truths": np.array(pictures["truth"], "float64").reshape(-1, *shape),
        }
        write(workspace, SUMMARISE, self.name, summary)

    def _layers(self, workspace: Workspace, index: int) -> dict[str, Array]:
        """Layers of the tile in a month; those that the maps do not have are missing values."""
        place = (index, *self.tile.fine)
        # The ends are set beside the truth and stations, and drawn of few months, so most tiles need not read them.
        ends = self.truth is not None or self.stations or index in self.pictured
        needed = {APPLICABILITY, *(ENDS if ends else ())}
        names = (MAP, QUALITY, *(name for name in self.optional if name in needed))
        layers = {name: storage.read_region(workspace.maps, MONTH, name, place) for name in names}
        return {name: np.broadcast_to(np.float32("nan"), layers[MAP].shape) for name in ENDS} | layers

    def _summary(self, layers: Mapping[str, Array], observed: Array, true: Array | None) -> dict[str, Array]:
        geobox = self.grid.fine[self.tile.fine]
        geographic = CRS.from_user_input(self.grid.crs).is_geographic
        return summaries.summarise(
            summaries.Layers(
                values=layers[MAP],
                flags=layers[QUALITY],
                observed=observed,
                piece=self.tile.fine,
                ratio=self.grid.ratio,
                latitude=geobox.coords[geobox.dims[0]].values if geographic else None,
                ends=(layers[LOWER], layers[UPPER]) if LOWER in self.optional else None,
                index=layers.get(APPLICABILITY),
                known=true,
            )
        )

    def _within(self, cell: Cell) -> Cell:
        """A cell of the grid, counted within the tile."""
        return cell[0] - self.tile.fine[0].start, cell[1] - self.tile.fine[1].start


def write(workspace: Workspace, stage: str, name: str, arrays: Mapping[str, Array]) -> None:
    """Keep a unit's arrays below `state/`."""
    target = io.BytesIO()
    np.savez_compressed(target, allow_pickle=False, **dict(arrays))
    storage.write_bytes(workspace.state(stage, f"{name}.npz"), target.getvalue())


def read(workspace: Workspace, stage: str, name: str) -> dict[str, Array]:
    """What a unit has kept.

    Raises
    ------
    DamagedError
        If it is not what was written, or is gone.
    """
    url = workspace.state(stage, f"{name}.npz")
    try:
        with np.load(io.BytesIO(storage.read_bytes(url)), allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise storage.damaged(url, error) from error
