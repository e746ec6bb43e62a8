"""Units that summarise the maps for the report, and what they leave, added up: the runner reads no map itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from soilscale.engine.output import Workspace, digest
from soilscale.engine.units import Unit, markers
from soilscale.extraction.climatology import MIN_YEARS
from soilscale.grid import Grid, Tile
from soilscale.reports import summaries
from soilscale.reports.scores import Moments
from soilscale.reports.summaries import Summary, stride
from soilscale.schema import MAP
from soilscale.seasons import Months, Seasons, calendar_month
from soilscale.stages.mapping import CONSERVE, map_name, optional
from soilscale.stages.project import Project
from soilscale.stages.references import truth_stamp
from soilscale.tasks.map_summaries import AT_STATIONS, PART, SUMMARISE, Cell, SummariseTile, read
from soilscale.tasks.map_tiles import ConserveTile
from soilscale.tasks.training_table import months_in_batches

FORMAT = 2
"""Version of what a unit keeps; a change redoes it."""


def names(run: Project) -> list[str]:
    """Name of every unit: of each tile and some months, which are those of a chunk of the coarse group."""
    return [_name(run.plan.months[first:last], tile) for tile in run.plan.grid.tiles() for first, last in _batches(run)]


def _batches(run: Project) -> list[tuple[int, int]]:
    return months_in_batches(len(run.plan.months))


def _name(months: Months, tile: Tile) -> str:
    return f"{months[0]}_{months[-1]}_{tile.name}"


def summarise_units(
    run: Project, conserved: Sequence[Unit[ConserveTile]], stations: Collection[Cell], dates: Collection[np.datetime64]
) -> list[Unit[SummariseTile]]:
    """Units for each tile and some months, of those months whose map stands in the tile.

    Parameters
    ----------
    conserved
        Units that make the maps.
    stations
        Fine cells that hold stations.
    dates
        Months to be drawn.
    """
    grid, scheme, layers = run.plan.grid, run.config.season_scheme, optional(run.config)
    standing, state = markers(run.workspace, CONSERVE), truth_stamp(run.config)
    origins = {unit.name: unit.digest for unit in conserved if unit.marker in standing}
    # Seasons share no calendar month, so each month to be drawn has one of its own.
    usual = {calendar_month(month): number for number, month in enumerate(sorted(dates))}
    units = []
    for tile in grid.tiles():
        cells = tuple(sorted({cell for cell in stations if holds(tile, cell)}))
        for first, last in _batches(run):
            slot_names = {index: f"month-{run.plan.months[index]}_{tile.name}" for index in range(first, last)}
            indices = tuple(index for index, name in slot_names.items() if name in origins)
            if not indices:
                continue
            months = run.plan.months[list(indices)]
            name = _name(run.plan.months[first:last], tile)
            task = SummariseTile(
                name=name,
                grid=grid,
                tile=tile,
                target=run.plan.target.source.name,
                months=tuple(months),
                indices=indices,
                seasons=tuple(scheme.names.index(scheme.name(month)) for month in months),
                season_count=len(scheme.names),
                optional=layers,
                truth=run.config.validation.truth,
                stations=cells,
                pictured=tuple(index for index in indices if run.plan.months[index] in dates),
                calendar=tuple(usual.get(calendar_month(month), -1) for month in months),
                drawn=len(dates),
                step=stride(grid.fine.shape),
            )
            # The names of seasons do not enter, but their numbers do.
            made_from = [origins[slot_names[index]] for index in indices], task.seasons, task.season_count
            origin = digest(
                FORMAT, *made_from, layers, state, cells, task.pictured, task.calendar, task.drawn, task.step
            )
            units.append(Unit(SUMMARISE, name, origin, task))
    return units


def holds(tile: Tile, cell: Cell) -> bool:
    """Whether a fine cell lies in a tile."""
    return all(part.start <= at < part.stop for part, at in zip(tile.fine, cell, strict=True))


def by_map(conserved: Sequence[Unit[ConserveTile]]) -> dict[str, list[Unit[ConserveTile]]]:
    """Map, such as ``month-2005-01``, -> the units that make its tiles."""
    tiles: dict[str, list[Unit[ConserveTile]]] = defaultdict(list)
    for unit in conserved:
        tiles[map_name(unit)].append(unit)
    return dict(tiles)


@dataclass(frozen=True)
class Summaries:
    """What is known of the maps of a run."""

    months: Mapping[np.datetime64, Summary]
    """Every month of the maps -> its summary; empty where no tile of it stands."""
    covered: tuple[int, int]
    """Coarse and fine cells that have a value in some month."""
    rmse: Mapping[str, tuple[xr.DataArray, int]]
    """Season -> RMSE from the observation in each cell to be drawn, and its months with a pair."""
    pictures: xr.DataArray
    """Maps of the months to be drawn, thinned: (time, y, x), m3 m-3."""
    truths: xr.DataArray
    """Known truth likewise; of no month where there is none."""
    widths: xr.DataArray
    """Widths of the prediction intervals likewise."""
    anomalies: xr.DataArray
    """Differences of the maps from the mean of their calendar month likewise, NaN with fewer years than `MIN_YEARS`."""
    stations: Mapping[tuple[np.datetime64, Cell], NDArray[np.float64]]
    """Month and cell -> values of `AT_STATIONS`."""

    def part(self, name: str) -> dict[np.datetime64, NDArray[np.float64]]:
        """A part of the summary of each month that has it."""
        return {month: summary[name] for month, summary in self.months.items() if name in summary}

    def moments(self) -> dict[np.datetime64, Moments]:
        """Moments of the observation and the map of every month."""
        return {month: Moments.of(summary["pairs"]) if summary else Moments() for month, summary in self.months.items()}

    def truth(self) -> list[tuple[np.datetime64, str, Moments]]:
        """Month, method of `summaries.METHODS` and moments with the truth."""
        none = [Moments().row()] * len(summaries.METHODS)
        return [
            (month, name, Moments.of(row))
            for month, summary in self.months.items()
            for name, row in zip(summaries.METHODS, summary.get("truth", none), strict=True)
        ]

    def at(
        self, layer: str, month: np.datetime64, rows: NDArray[np.int_], columns: NDArray[np.int_]
    ) -> NDArray[np.float64]:
        """Values of a layer of `AT_STATIONS` at cells of stations, as `insitu.Values`."""
        place, cells = AT_STATIONS.index(layer), zip(rows.tolist(), columns.tolist(), strict=True)
        none = np.array([0.0 if name == "quality" else np.nan for name in AT_STATIONS])
        return np.array([self.stations.get((month, cell), none)[place] for cell in cells], "float64")


def collect(
    workspace: Workspace,
    grid: Grid,
    months: Months,
    scheme: Seasons,
    units: Sequence[Unit[SummariseTile]],
    dates: Sequence[np.datetime64],
) -> Summaries:
    """Add up what the units that stand have kept, tile by tile and month by month: always in the same order.

    Parameters
    ----------
    months, scheme
        Months and seasons of the maps.
    units
        As `summarise_units` orders them.
    dates
        Months to be drawn.
    """
    standing = markers(workspace, SUMMARISE)
    sums: dict[int, Summary] = {index: {} for index in range(len(months))}
    canvas = _Canvas(grid, scheme, months, dates)
    covered, mask = np.zeros(2, int), np.zeros(0, np.uint8)
    stations: dict[tuple[np.datetime64, Cell], NDArray[np.float64]] = {}
    place: Tile | None = None
    for unit in units:
        if unit.marker not in standing:
            continue
        task, summary = unit.task, read(workspace, SUMMARISE, unit.name)
        for row, index in enumerate(summary["months"].tolist()):
            part = {name.removeprefix(PART): summary[name][row] for name in summary if name.startswith(PART)}
            sums[index] = summaries.add(sums[index], part)
            cells = zip(task.stations, summary["stations"][row], strict=True)
            stations |= {(months[index], cell): values for cell, values in cells}
        if place is not None and task.tile != place:
            covered, mask = covered + _count(grid, place, mask), mask[:0]
        place, mask = task.tile, summary["covered"] | mask if mask.size else summary["covered"]
        canvas.add(task, summary)
    if place is not None:
        covered = covered + _count(grid, place, mask)
    return Summaries(
        {month: sums[index] for index, month in enumerate(months)},
        (int(covered[0]), int(covered[1])),
        canvas.rmse(),
        canvas.picture(MAP),
        canvas.picture("truth"),
        canvas.picture("width"),
        canvas.anomalies(),
        stations,
    )


def _count(grid: Grid, tile: Tile, bits: NDArray[np.uint8]) -> NDArray[np.int_]:
    """Coarse and fine cells of a tile that have a value, from the bits of its cells."""
    rows, columns = (side.stop - side.start for side in tile.coarse)
    cells = np.unpackbits(bits, count=rows * columns * grid.ratio**2).reshape(rows, grid.ratio, columns, grid.ratio)
    return np.array([cells.any(axis=(1, 3)).sum(), cells.sum()])


def thinned_axes(grid: Grid, step: int) -> dict[str, NDArray[np.float64]]:
    """Centres of the rows and columns of the fine grid that a thinned map shows, as ``y`` and ``x``."""
    y, x = grid.fine_axes
    return {"y": y[::step], "x": x[::step]}


def placed(tile: Tile, step: int) -> tuple[slice, slice]:
    """Rows and columns of a thinned map that a tile fills."""
    rows, columns = (slice(-(-part.start // step), -(-part.stop // step)) for part in tile.fine)
    return rows, columns


class _Canvas:
    """What is drawn of the whole area, put together tile by tile; as large as a picture, whatever the area."""

    def __init__(self, grid: Grid, scheme: Seasons, months: Months, dates: Sequence[np.datetime64]) -> None:
        self.scheme, self.months, self.dates = scheme, months, [date for date in months if date in dates]
        self.coords = thinned_axes(grid, stride(grid.fine.shape))
        shape = len(scheme.names), *(len(axis) for axis in self.coords.values())
        self.squares, self.pairs = np.zeros(shape), np.zeros(shape, int)
        self.compared: dict[int, set[int]] = {season: set() for season in range(len(scheme.names))}
        self.shape = len(self.dates), *shape[1:]
        self.pictures: dict[str, NDArray[np.float64]] = {}
        self.climate, self.years = np.zeros(self.shape), np.zeros(self.shape, int)

    def add(self, task: SummariseTile, summary: Mapping[str, NDArray[Any]]) -> None:
        """Put what a unit has kept in its place."""
        rows, columns = placed(task.tile, task.step)
        self.squares[:, rows, columns] += summary["squares"]
        self.pairs[:, rows, columns] += summary["pairs"]
        for index, season, pair in zip(task.indices, task.seasons, summary["compared"].tolist(), strict=True):
            self.compared[season] |= {index} if pair else set()
        shown = [self.dates.index(self.months[index]) for index in task.pictured]
        self.climate[:, rows, columns] += summary["climate"]
        self.years[:, rows, columns] += summary["years"]
        for name, pictures in ((MAP, summary["pictures"]), ("truth", summary["truths"]), ("width", summary["widths"])):
            if len(pictures):
                self.pictures.setdefault(name, np.full(self.shape, np.nan))[shown, rows, columns] = pictures

    def rmse(self) -> dict[str, tuple[xr.DataArray, int]]:
        """RMSE of each season that has a pair."""
        roots = np.sqrt(self.squares / np.where(self.pairs > 0, self.pairs, np.nan))
        return {
            name: (xr.DataArray(roots[season], self.coords, ("y", "x")), len(self.compared[season]))
            for season, name in enumerate(self.scheme.names)
            if self.compared[season]
        }

    def anomalies(self) -> xr.DataArray:
        """Differences of the thinned maps from the mean of their calendar month."""
        usual = self.climate / np.where(self.years >= MIN_YEARS, self.years, np.nan)
        maps = self.picture(MAP)
        return maps.copy(data=maps.to_numpy() - usual)

    def picture(self, name: str) -> xr.DataArray:
        """Thinned maps of the months to be drawn."""
        coords = {"time": np.array(self.dates, "datetime64[ns]"), **self.coords}
        return xr.DataArray(self.pictures.get(name, np.full(self.shape, np.nan)), coords, ("time", "y", "x"))
