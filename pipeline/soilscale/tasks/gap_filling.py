"""What a worker does for gaps of predictors: learn levels and annual cycles, and fill missing values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale import cube, kernels, storage
from soilscale.cube import CYCLE, FILLED, HARMONICS, LEVEL, OBSERVED, gaps, noise
from soilscale.engine import payloads
from soilscale.engine.output import Workspace
from soilscale.engine.payloads import Arrays, Piece
from soilscale.engine.units import Cost, Task
from soilscale.grid import Grid, Tile
from soilscale.tasks import cube_regions
from soilscale.tasks.costs import AREA, Scale, Stored
from soilscale.tasks.cube_regions import CUBE, ReadMonth

LEVELS, CYCLES, GAPS = "levels", "cycles", "gaps"
"""Stages that fill gaps, in their order, between those of the cube and of its coarse cells."""


FORMAT = 2
"""Version of how gaps are filled; a change redoes every cube whose gaps are."""


WINDOWS, SIDE, YEAR = 24, 256, 12
"""Pairs of months by which the noise of a source is measured, each in a window of so many fine cells along its side,
and months between the two of a pair: of the same part of the year they differ by what is new and by noise alone."""


CYCLE_HELD, CLOSED_HELD = 160.0, 56.0
"""Bytes that a fine cell takes while its annual cycle is learned, and while its gap is filled."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindLevels(Task):
    """Find the levels of a source's months over the area from what its units keep, and measure its noise."""

    name: str
    """Of the source."""
    grid: Grid
    pieces: tuple[Piece, ...]
    """What the units keep."""
    learned: tuple[int, ...]
    """Indices of the months that are learned from."""
    empty: tuple[int, ...]
    """Indices of the months of which nothing was read."""
    shape: tuple[int, int, int]
    """Months, coarse rows and columns."""

    @classmethod
    def cost(cls, scale: Scale, sources: int) -> Cost:
        """Cost of finding the levels of so many sources. Work: coarse cells and months, in millions."""
        coarse = scale.coarse * scale.months
        level, chunks = 4.0 * coarse * sources, math.ceil((scale.months + cube.BEFORE) / cube.TOGETHER)
        noise = 4.0 * sources * 2 * min(WINDOWS, scale.months) * min(SIDE**2, scale.cells)
        return Cost(
            units=sources,
            read=2 * level + noise,
            written=level,
            objects=sources * (2 + chunks),
            work=coarse * sources / 1e6,
            load=40.0 * coarse,
            grows=AREA,
        )

    def run(self, workspace: Workspace) -> None:
        """Write whole chunks of levels; noise is measured by the same windows in months a year apart."""
        means, shares = np.full(self.shape, np.nan, "float32"), np.zeros(self.shape, "float32")
        for piece, arrays in payloads.read(workspace, self.pieces):
            ((_, index),) = piece.places
            means[index, piece.rows, piece.columns] = arrays[self.name]
            shares[index, piece.rows, piece.columns] = arrays[cube_regions.SHARE]
        learn_from, nothing = np.zeros((2, self.shape[0]), bool)
        learn_from[list(self.learned)], nothing[list(self.empty)] = True, True
        month_levels = gaps.bridged(gaps.area_levels(means, shares, learn_from), nothing)
        storage.write_region(workspace.cube, LEVEL, self.name, month_levels, (slice(None), slice(None), slice(None)))
        # Months of which nothing was read would pair to nothing.
        observed_months = sorted(set(self.learned) - set(self.empty))
        # Seeded by the source's name, so that its windows are the same in every run and beside any other source.
        looked_at = windows(self.grid, pairs(observed_months), np.random.default_rng(list(self.name.encode())))
        measured = noise.estimate(noise.variogram(_change(workspace, self.name, *window)) for window in looked_at)
        storage.write_json(
            workspace.state(LEVELS, f"{self.name}.about.json"), asdict(measured) | {"months": len(observed_months)}
        )


def pairs(months: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of months a year apart, evenly chosen; of those that follow each other where there are none."""
    available = set(months)
    apart = [(month, month + YEAR) for month in months if month + YEAR in available] or [*pairwise(months)]
    chosen = np.linspace(0, len(apart) - 1, min(WINDOWS, len(apart))).round().astype(int)
    return [apart[place] for place in chosen]


def windows(
    grid: Grid, pairs: Sequence[tuple[int, int]], rng: np.random.Generator
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    """Each pair with a window of fine cells, so that the same are looked at whatever the tiles."""
    size = max(1, SIDE // grid.ratio)
    for pair in pairs:
        # In cells of the grid, not within tiles: the size of tiles must not change a result.
        first = [int(rng.integers(max(1, cells - size + 1))) for cells in grid.shape]
        rows, columns = (
            slice(start * grid.ratio, min(start + size, cells) * grid.ratio)
            for start, cells in zip(first, grid.shape, strict=True)
        )
        yield pair, (rows, columns)


def _change(workspace: Workspace, name: str, pair: tuple[int, int], window: tuple[slice, slice]) -> Array:
    """What is seen of a window in one month less the other, with the variance of a single month."""
    before, after = (storage.read_region(workspace.cube, OBSERVED, name, (month, *window)) for month in pair)
    # A difference has the noise of both months, twice the variance of one.
    return np.asarray((after - before) / np.sqrt(2))


def _noise(workspace: Workspace, name: str) -> tuple[noise.Noise, int]:
    """Noise of a source, as `level` measured it, and months from which cycles are learned."""
    about = storage.read_json(workspace.state(LEVELS, f"{name}.about.json"))
    return noise.Noise(about["variance"], about["scale"], about["power"]), int(about["months"])


def _level(workspace: Workspace, name: str, grid: Grid, coarse: tuple[slice, slice], index: int) -> Array:
    """Level of a month on the fine cells of a part of the grid, linear between the centres of coarse cells."""
    area_level = storage.read_region(workspace.cube, LEVEL, name, (index,))
    return kernels.spread(kernels.nodes_around(area_level, coarse), grid.ratio).astype("float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnCycles(Task):
    """Learn the annual cycles of a tile's places, month after month, and smooth what noise they have."""

    name: str
    """Of the source."""
    grid: Grid
    tile: Tile
    months: tuple[tuple[int, float], ...]
    """Index and phase of each month that is learned from."""

    @classmethod
    def cost(cls, scale: Scale, sources: int) -> Cost:
        """Cost of learning the cycles of so many sources. Work: fine cells and months, in millions."""
        learned, waves, units = scale.cells * scale.learned * sources, len(HARMONICS), scale.tiles * sources
        return Cost(
            units=units,
            read=4.0 * learned,
            written=4.0 * waves * scale.cells * sources,
            objects=units * (1 + waves),
            work=learned / 1e6,
            load=scale.tile_cells * CYCLE_HELD,
        )

    def run(self, workspace: Workspace) -> None:
        """Write the harmonics of the tile."""

        def departures() -> Iterator[tuple[float, Array]]:
            for index, phase in self.months:
                observed = storage.read_region(workspace.cube, OBSERVED, self.name, (index, *self.tile.fine))
                yield phase, observed - _level(workspace, self.name, self.grid, self.tile.coarse, index)

        measured, count = _noise(workspace, self.name)
        cycle = gaps.annual_cycle(departures(), cube_regions.shape(self.tile.fine))
        for part, values in zip(HARMONICS, gaps.smooth_cycle(cycle, measured.variance, count), strict=True):
            storage.write_region(workspace.cube, CYCLE, f"{self.name}_{part}", values, self.tile.fine)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseGaps(ReadMonth):
    """Fill the gaps of a tile's month, and smooth its noise as far as the source has any.

    Where only some dates of the month show a place, these are read once more, and the others completed by what is usual
    there.
    """

    marker: str
    """Of the unit that has read the month; empty if none has."""

    @classmethod
    def cost(cls, scale: Scale, *, units: int, stored: Stored) -> Cost:
        """Cost of filling the gaps of so many units. Work: fine cells and months, in millions."""
        cells = units * scale.cells / scale.tiles
        return Cost(
            units=units,
            read=4.0 * cells * (1 + len(HARMONICS)),
            # Beside each value of four bytes a byte says how it was filled.
            written=5 / 4 * stored.size,
            objects=units + 2 * stored.objects,
            work=cells / 1e6,
            load=scale.tile_cells * CLOSED_HELD,
        )

    def run(self, workspace: Workspace) -> Arrays:
        """Write the month with the share that is filled; the block means are kept."""
        with cube_regions.blank_on_failure(partial(self.blank, workspace)):
            source, grid, tile = self.source, self.grid, self.tile
            index = cube_regions.observed_at(self.months, self.alike[0])
            partly = _partly(workspace, source.name, tile, self.marker)
            around, inner = _around(grid, tile)
            month = _Month(workspace, source.name, grid, around, index)
            observed = storage.read_region(workspace.cube, OBSERVED, source.name, (index, *tile.fine))
            values, filled = observed, np.isnan(observed).astype("float32")
            measured, _ = _noise(workspace, source.name)
            # A tile that is whole, of a source without noise, is copied as it is.
            if partly or measured.variance or np.isnan(observed).any():
                usual, phase = (month.level, month.cycle), gaps.phase(self.alike[0])
                if partly:
                    fine = grid.fine[around.fine]
                    values, shown = cube.read_completed(self.reading, self.scenes, fine, self.alike[0], usual)
                    filled = np.where(np.isnan(observed), 1, 1 - shown[inner])
                else:
                    values = gaps.fill(month.observed, *usual, phase)
                values = gaps.quiet(values, gaps.expected(*usual, phase), measured)[inner]
                # Where cycle or level is not known nothing is filled, but what is seen stays.
                values = np.where(np.isfinite(values), values, observed)
            # Totals and rates have no values below none.
            values = values if source.aggregate == "mean" else np.maximum(values, 0)
            self._put(workspace, values, np.where(np.isnan(values), 0, filled))
            mean, _ = kernels.block_mean(values, grid.ratio)
            return {source.name: mean.astype("float32")}

    def blank(self, workspace: Workspace) -> None:
        """Leave the month missing."""
        shape = cube_regions.shape(self.tile.fine)
        self._put(workspace, np.full(shape, np.nan), np.zeros(shape))

    def _put(self, workspace: Workspace, values: Array, filled: Array) -> None:
        """Write the month, and the share of its days that is filled, in per cent, more than none where any is."""
        cube_regions.put(workspace, self.tile, self.places(), {self.source.name: values})
        # Rounded up, so that no filled place counts as wholly seen.
        percent = np.ceil(filled * 100).astype("uint8")
        for lag, time in self.places():
            if not cube_regions.is_earlier(time):
                flag = cube.lagged(self.source.name, lag)
                storage.write_region(workspace.cube, FILLED, flag, percent, (*time, *self.tile.fine))


def _partly(workspace: Workspace, name: str, tile: Tile, marker: str) -> bool:
    """Whether some places of a tile's month are shown by some of its dates alone; what was not read has no marker."""
    if not marker:
        return False
    ((_, arrays),) = payloads.read(workspace, [Piece(CUBE, marker, name, *tile.coarse)])
    return bool((arrays[cube_regions.PARTLY] > 0).any())


def _around(grid: Grid, tile: Tile) -> tuple[Tile, tuple[slice, slice]]:
    """A tile with the coarse cells around it that its remainder is smoothed from, and where it lies in these."""
    ring = -(-gaps.REACH // grid.ratio)
    (top, bottom), (left, right) = (
        (max(part.start - ring, 0), min(part.stop + ring, size))
        for part, size in zip(tile.coarse, grid.shape, strict=True)
    )
    ratio, (rows, columns) = grid.ratio, tile.fine
    fine = slice(top * ratio, bottom * ratio), slice(left * ratio, right * ratio)
    padded = replace(tile, coarse=(slice(top, bottom), slice(left, right)), fine=fine)
    down, across = fine[0].start, fine[1].start
    inner = slice(rows.start - down, rows.stop - down), slice(columns.start - across, columns.stop - across)
    return padded, inner


@dataclass(frozen=True)
class _Month:
    """What is known of a month on a part of the grid, read when it is needed."""

    workspace: Workspace
    name: str
    grid: Grid
    part: Tile
    index: int

    @property
    def observed(self) -> Array:
        """What is seen."""
        return storage.read_region(self.workspace.cube, OBSERVED, self.name, (self.index, *self.part.fine))

    @property
    def level(self) -> Array:
        """Level of the month."""
        return _level(self.workspace, self.name, self.grid, self.part.coarse, self.index)

    @property
    def cycle(self) -> Array:
        """Annual cycles."""
        waves = (f"{self.name}_{part}" for part in HARMONICS)
        return np.stack([storage.read_region(self.workspace.cube, CYCLE, wave, self.part.fine) for wave in waves])
