"""Gaps of predictors: units that learn levels and annual cycles from what is seen, and fill what is not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale import cube, kernels, storage
from soilscale.catalog import Scene
from soilscale.cube import BEFORE, CYCLE, FILLED, HARMONICS, LEVEL, OBSERVED, Reading, gaps, noise
from soilscale.flow import fill, keeping
from soilscale.flow.keeping import Arrays, Piece
from soilscale.flow.plan import CUBE, MISSING, Plan, State, unit_name
from soilscale.flow.units import Unit
from soilscale.flow.workspace import Workspace, digest
from soilscale.grid import Grid, Tile
from soilscale.seasons import Months
from soilscale.sources import Source

LEVELS, CYCLES, GAPS = "levels", "cycles", "gaps"
"""Stages that fill gaps, in their order, between those of the cube and of its coarse cells."""

STAGES = (LEVELS, CYCLES, GAPS)

FORMAT = 2
"""Version of how gaps are filled; a change redoes every cube whose gaps are."""

WINDOWS, SIDE, YEAR = 24, 256, 12
"""Pairs of months by which the noise of a source is measured, each in a window of so many fine cells along its side,
and months between the two of a pair: of the same part of the year they differ by what is new and by noise alone."""

Array = NDArray[Any]


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
                places = [(str(one), fill.reach(what.source, months, one)) for one in alike]
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
    return fill.observed_at(months, month)


def level(
    workspace: Workspace,
    name: str,
    grid: Grid,
    pieces: Sequence[Piece],
    learned: Sequence[int],
    empty: Sequence[int],
    shape: tuple[int, int, int],
) -> None:
    """Find the levels of a source's months over the area from what its units keep; write them as whole chunks.

    Its noise is measured beside them, by what is seen in the same windows of months a year apart.
    """
    means, shares = np.full(shape, np.nan, "float32"), np.zeros(shape, "float32")
    for piece, kept in keeping.read(workspace, pieces):
        ((_, index),) = piece.places
        means[index, piece.rows, piece.columns] = kept[name]
        shares[index, piece.rows, piece.columns] = kept[fill.SHARE]
    learn_from, nothing = np.zeros((2, shape[0]), bool)
    learn_from[list(learned)], nothing[list(empty)] = True, True
    found = gaps.bridged(gaps.area_levels(means, shares, learn_from), nothing)
    storage.write_region(workspace.cube, LEVEL, name, found, (slice(None), slice(None), slice(None)))
    seen = sorted(set(learned) - set(empty))
    looked_at = windows(grid, pairs(seen), np.random.default_rng(list(name.encode())))
    measured = noise.estimate(noise.variogram(_change(workspace, name, *window)) for window in looked_at)
    storage.write_json(workspace.state(LEVELS, f"{name}.about.json"), asdict(measured) | {"months": len(seen)})


def pairs(months: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of months a year apart, evenly chosen; of those that follow each other where there are none."""
    known = set(months)
    apart = [(month, month + YEAR) for month in months if month + YEAR in known] or [*pairwise(months)]
    chosen = np.linspace(0, len(apart) - 1, min(WINDOWS, len(apart))).round().astype(int)
    return [apart[place] for place in chosen]


def windows(
    grid: Grid, pairs: Sequence[tuple[int, int]], rng: np.random.Generator
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    """Each pair with a window of fine cells, so that the same are looked at whatever the tiles."""
    size = max(1, SIDE // grid.ratio)
    for pair in pairs:
        first = [int(rng.integers(max(1, cells - size + 1))) for cells in grid.shape]
        rows, columns = (
            slice(start * grid.ratio, min(start + size, cells) * grid.ratio)
            for start, cells in zip(first, grid.shape, strict=True)
        )
        yield pair, (rows, columns)


def _change(workspace: Workspace, name: str, pair: tuple[int, int], window: tuple[slice, slice]) -> Array:
    """What is seen of a window in one month less the other, with the variance of a single month."""
    before, after = (storage.read_region(workspace.cube, OBSERVED, name, (month, *window)) for month in pair)
    return np.asarray((after - before) / np.sqrt(2))


def _noise(workspace: Workspace, name: str) -> tuple[noise.Noise, int]:
    """Noise of a source, as `level` measured it, and months from which cycles are learned."""
    told = storage.read_json(workspace.state(LEVELS, f"{name}.about.json"))
    return noise.Noise(told["variance"], told["scale"], told["power"]), int(told["months"])


def _level(workspace: Workspace, name: str, grid: Grid, coarse: tuple[slice, slice], index: int) -> Array:
    """Level of a month on the fine cells of a part of the grid, linear between the centres of coarse cells."""
    whole = storage.read_region(workspace.cube, LEVEL, name, (index,))
    return kernels.spread(kernels.nodes_around(whole, coarse), grid.ratio).astype("float32")


def learn(workspace: Workspace, name: str, grid: Grid, tile: Tile, months: Sequence[tuple[int, float]]) -> None:
    """Learn the annual cycles of a tile's places, month after month, and smooth what noise they have."""

    def departures() -> Iterator[tuple[float, Array]]:
        for index, phase in months:
            seen = storage.read_region(workspace.cube, OBSERVED, name, (index, *tile.fine))
            yield phase, seen - _level(workspace, name, grid, tile.coarse, index)

    measured, count = _noise(workspace, name)
    cycle = gaps.annual_cycle(departures(), fill.shape(tile.fine))
    for part, values in zip(HARMONICS, gaps.smooth_cycle(cycle, measured.variance, count), strict=True):
        storage.write_region(workspace.cube, CYCLE, f"{name}_{part}", values, tile.fine)


def close(
    workspace: Workspace,
    reading: Reading,
    scenes: Sequence[Scene],
    grid: Grid,
    tile: Tile,
    months: Months,
    alike: Sequence[np.datetime64],
    marker: str,
) -> Arrays:
    """Fill the gaps of a tile's month, and write it with the share that is filled; the block means are kept.

    Noise is smoothed as far as the source has any. Where only some dates of the month show a place, these are read once
    more, and the others completed by what is usual there.
    """
    with fill.blank_on_failure(partial(blank, workspace, reading, scenes, grid, tile, months, alike, marker)):
        source, index = reading.source, fill.observed_at(months, alike[0])
        partly = _partly(workspace, source.name, tile, marker)
        around, inner = _around(grid, tile)
        month = _Month(workspace, source.name, grid, around, index)
        seen = storage.read_region(workspace.cube, OBSERVED, source.name, (index, *tile.fine))
        values, filled = seen, np.isnan(seen).astype("float32")
        measured, _ = _noise(workspace, source.name)
        if partly or measured.variance or np.isnan(seen).any():
            usual, phase = (month.level, month.cycle), gaps.phase(alike[0])
            if partly:
                values, shown = cube.read_completed(reading, scenes, grid.fine[around.fine], alike[0], usual)
                filled = np.where(np.isnan(seen), 1, 1 - shown[inner])
            else:
                values = gaps.fill(month.observed, *usual, phase)
            values = gaps.quiet(values, gaps.expected(*usual, phase), measured)[inner]
            values = np.where(np.isfinite(values), values, seen)
        # Totals and rates have no values below none.
        values = values if source.aggregate == "mean" else np.maximum(values, 0)
        _put(workspace, source, tile, fill.times(source, months, alike), values, np.where(np.isnan(values), 0, filled))
        mean, _ = kernels.block_mean(values, grid.ratio)
        return {source.name: mean.astype("float32")}


def _partly(workspace: Workspace, name: str, tile: Tile, marker: str) -> bool:
    """Whether some places of a tile's month are shown by some of its dates alone; what was not read has no marker."""
    if not marker:
        return False
    ((_, kept),) = keeping.read(workspace, [Piece(CUBE, marker, name, *tile.coarse)])
    return bool((kept[fill.PARTLY] > 0).any())


def _around(grid: Grid, tile: Tile) -> tuple[Tile, tuple[slice, slice]]:
    """A tile with the coarse cells around it that its remainder is smoothed from, and where it lies in these."""
    ring = -(-gaps.REACH // grid.ratio)
    (top, bottom), (left, right) = (
        (max(part.start - ring, 0), min(part.stop + ring, size))
        for part, size in zip(tile.coarse, grid.shape, strict=True)
    )
    ratio, (rows, columns) = grid.ratio, tile.fine
    fine = slice(top * ratio, bottom * ratio), slice(left * ratio, right * ratio)
    whole = replace(tile, coarse=(slice(top, bottom), slice(left, right)), fine=fine)
    down, across = fine[0].start, fine[1].start
    inner = slice(rows.start - down, rows.stop - down), slice(columns.start - across, columns.stop - across)
    return whole, inner


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


def _put(
    workspace: Workspace, source: Source, tile: Tile, places: Sequence[fill.Place], values: Array, filled: Array
) -> None:
    """Write a month of a tile, and the share of its days that is filled, in per cent, more than none where any is."""
    fill.put(workspace, tile, places, {source.name: values})
    for lag, time in places:
        if fill.is_earlier(time):
            continue
        flag = cube.lagged(source.name, lag)
        storage.write_region(workspace.cube, FILLED, flag, np.ceil(filled * 100).astype("uint8"), (*time, *tile.fine))


def blank(
    workspace: Workspace,
    reading: Reading,
    _scenes: Sequence[Scene],
    _grid: Grid,
    tile: Tile,
    months: Months,
    alike: Sequence[np.datetime64],
    _marker: str,
) -> None:
    """Leave missing what `close` would write."""
    shape = fill.shape(tile.fine)
    places = fill.times(reading.source, months, alike)
    _put(workspace, reading.source, tile, places, np.full(shape, np.nan), np.zeros(shape))
