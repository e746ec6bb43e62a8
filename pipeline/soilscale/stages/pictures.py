"""Units that make what the report draws beside the maps: features of the area, and the maps of other algorithms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from soilscale.engine.output import digest
from soilscale.engine.units import Unit, markers
from soilscale.maps import MONTH, SEASON, complete_seasons
from soilscale.reports.summaries import stride
from soilscale.reports.tables import field, representative
from soilscale.seasons import Months, Seasons, position
from soilscale.stages import class_names
from soilscale.stages.map_summaries import by_map, placed, thinned_axes
from soilscale.stages.mapping import PREDICTORS, trained
from soilscale.stages.project import Project
from soilscale.stages.stacking import features_of
from soilscale.tasks.map_making import Chosen
from soilscale.tasks.map_summaries import read
from soilscale.tasks.map_tiles import ConserveTile
from soilscale.tasks.pictures import DRAWN, PICTURES, THINNED, DrawAlgorithm, ThinFeatures

FORMAT = 1
"""Version of what a unit keeps; a change redoes it."""

CELLS = 400
"""Cells along an axis for which algorithms are drawn, at most; bounds the memory and time of the figure."""

MOST_ALGORITHMS = 5
"""Algorithms whose maps are drawn side by side, those with the least blocked error."""


@dataclass(frozen=True)
class Features:
    """Features of the area that are drawn, in the month in which most cells are observed."""

    month: np.datetime64
    relief: str | None
    classes: Mapping[str, str]
    """Name of a class of land cover -> feature that is its share."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, each once."""
        return tuple(dict.fromkeys([*([] if self.relief is None else [self.relief]), *self.classes.values()]))


def features(run: Project, observed: xr.DataArray, dates: Sequence[np.datetime64], names: Sequence[str]) -> Features:
    """Features of the area that are drawn: relief and the classes of land cover, as far as the cube has them.

    Parameters
    ----------
    observed
        The observation (time, y, x).
    dates
        Months to be drawn, one at least.
    names
        Features of the cube.
    """
    month = max(dates, key=lambda date: int(np.isfinite(field(observed, date)).sum()))
    sources = [predictor.source for predictor in run.plan.predictors]
    cover = next((source for source in sources if source.kind == "categorical"), None)
    relief = next((source.name for source in sources if source.derive), None)
    class_labels = {} if cover is None else class_names.by_code(run, cover)
    codes = {} if cover is None else class_names.codes(cover)
    return Features(month, relief, {class_labels[code]: feature for feature, code in codes.items() if feature in names})


def periods(run: Project, observed: NDArray[np.bool_]) -> list[Months]:
    """Months of each season's period to be drawn: the season that is observed best, or the month where none is whole.

    Parameters
    ----------
    observed
        Whether each cell is observed in each month of the run, shape ``(time, y, x)``.
    """
    seasons, months = run.config.season_scheme, run.plan.months
    starts = complete_seasons(months, seasons)
    # A cell counts for a season whose every month observes it.
    observed_counts = [observed[np.isin(months, seasons.members(start))].all(axis=0).sum() for start in starts]
    best = representative(starts, np.array(observed_counts, int), seasons)
    return [seasons.members(start) for start in best] or [
        np.array([date]) for date in representative(months, observed.sum(axis=(1, 2)), seasons)
    ]


def season_means(observed: xr.DataArray, starts: Months, seasons: Seasons) -> xr.DataArray:
    """Mean of each season's months where all of them are observed: (time, y, x), time the first month."""
    fields = [np.mean([field(observed, month) for month in seasons.members(start)], axis=0) for start in starts]
    values = np.stack(fields) if fields else np.empty((0, *observed.shape[1:]))
    coords = {"time": starts.astype("datetime64[ns]"), "y": observed["y"], "x": observed["x"]}
    return xr.DataArray(values, coords, ("time", "y", "x"))


def algorithms(run: Project, predictions: pd.DataFrame) -> list[str]:
    """Algorithms to draw, as the configuration orders them."""
    rows = predictions[(predictions["split"] == "blocked") & (predictions["model"] == "seasonal")]
    squares = (rows["predicted"] - rows["observed"]) ** 2
    errors = squares.groupby(rows["algorithm"], observed=True).mean().sort_values()
    # Where no block could be held out, no error says which are the best.
    least = set(errors.index[:MOST_ALGORITHMS]) or set(run.config.models.algorithms[:MOST_ALGORITHMS])
    return [name for name in run.config.models.algorithms if name in least]


def count(run: Project, observed: NDArray[np.bool_]) -> int:
    """Number of units, as far as it can be told without the predictions: of all algorithms, or as many as are drawn.

    Parameters
    ----------
    observed
        As `periods` takes it.
    """
    if not observed.any():
        return 0
    sources = [predictor.source for predictor in run.plan.predictors]
    features = any(source.derive or source.kind == "categorical" for source in sources)
    drawn = min(len(run.config.models.algorithms), MOST_ALGORITHMS)
    return features * len(list(run.plan.grid.tiles())) + drawn * len(periods(run, observed))


def feature_units(run: Project, shown: Features, static: Mapping[str, bool]) -> list[Unit[ThinFeatures]]:
    """A unit for each tile; none where no feature is drawn.

    Parameters
    ----------
    static
        Feature -> whether it holds for every month.
    """
    if not shown.names:
        return []
    grid, standing, index = run.plan.grid, run.standing, position(run.plan.months, shown.month)
    feature_indices = tuple((name, None if static[name] else index) for name in shown.names)
    step = stride(grid.fine.shape)
    units = []
    for tile in grid.tiles():
        name = f"features_{tile.name}"
        origin = digest(FORMAT, standing.predictors(tile, shown.month), feature_indices, step)
        units.append(
            Unit(PICTURES, name, origin, ThinFeatures(name=name, tile=tile, features=feature_indices, step=step))
        )
    return units


def thinned_features(run: Project, units: Sequence[Unit[ThinFeatures]]) -> dict[str, xr.DataArray]:
    """Features (y, x) of which the units stand, thinned as maps are drawn; missing in tiles whose unit does not."""
    standing, step = markers(run.workspace, PICTURES), stride(run.plan.grid.fine.shape)
    coords = thinned_axes(run.plan.grid, step)
    fields: dict[str, NDArray[np.float64]] = {}
    for unit in units:
        thinned = read(run.workspace, PICTURES, unit.name)[THINNED] if unit.marker in standing else None
        for place, (name, _) in enumerate(unit.task.features):
            area_values = fields.setdefault(name, np.full((len(coords["y"]), len(coords["x"])), np.nan))
            area_values[placed(unit.task.tile, step)] = np.nan if thinned is None else thinned[place]
    return {name: xr.DataArray(values, coords, ("y", "x")) for name, values in fields.items()}


def algorithm_units(
    run: Project,
    conserved: Sequence[Unit[ConserveTile]],
    chosen: Mapping[str, Chosen],
    names: Sequence[str],
    spans: Sequence[Months],
) -> list[Unit[DrawAlgorithm]]:
    """A unit for each algorithm and period.

    Of a large grid the same number of cells of each coarse cell is drawn, evenly spread, and conserved by themselves.

    Parameters
    ----------
    conserved
        Units that make the maps.
    chosen
        Season -> the model that maps it.
    names
        Algorithms.
    spans
        Months of each period.
    """
    fitted, map_units, grid = trained(run), by_map(conserved), run.plan.grid
    sampled = min(grid.ratio, max(2, CELLS // max(grid.shape)))
    units = []
    for algorithm in names:
        for months in spans:
            season = chosen[run.config.season_scheme.name(months[0])].season
            model, used = fitted[season, algorithm], features_of(run, algorithm, season)
            predicted = run.config.maps.seasonal == PREDICTORS and len(months) > 1
            slots = [f"{SEASON}-{months[0]}"] if predicted else [f"{MONTH}-{month}" for month in months]
            origins = [[unit.digest for unit in map_units[slot]] for slot in slots]
            recipe = replace(map_units[slots[0]][0].task.recipe, features=used, sampled=sampled)
            name = f"{algorithm}-{months[0]}_{months[-1]}"
            task = DrawAlgorithm(
                name=name, recipe=recipe, model=model, slots=tuple(map_units[slot][0].task.slot for slot in slots)
            )
            units.append(Unit(PICTURES, name, digest(FORMAT, origins, model, used, sampled), task))
    return units


def by_algorithm(
    run: Project, units: Sequence[Unit[DrawAlgorithm]], names: Sequence[str], spans: Sequence[Months]
) -> dict[str, xr.DataArray]:
    """Fine map of each algorithm's model in some periods, as the units that stand have drawn them.

    Returns
    -------
    dict
        Algorithm -> (time, y, x), m3 m-3; time is the first month of the period.
    """
    standing, grid = markers(run.workspace, PICTURES), run.plan.grid
    sampled = min(grid.ratio, max(2, CELLS // max(grid.shape)))
    shape = len(spans), *(n * sampled for n in grid.shape)
    y, x = (_even(axis, n) for axis, n in zip(grid.fine_axes, shape[1:], strict=True))
    times = np.array([months[0] for months in spans], "datetime64[ns]")
    drawn = {name: np.full(shape, np.nan) for name in names}
    for number, unit in enumerate(units):
        if unit.marker in standing:
            drawn[names[number // len(spans)]][number % len(spans)] = read(run.workspace, PICTURES, unit.name)[DRAWN]
    return {
        name: xr.DataArray(maps, {"time": times, "y": y, "x": x}, ("time", "y", "x")) for name, maps in drawn.items()
    }


def _even(centres: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Centres of n cells that share the extent of an axis evenly."""
    first, last = float(centres[0]), float(centres[-1])
    half = (last - first) / (len(centres) - 1) / 2
    edges = np.linspace(first - half, last + half, n + 1)
    return (edges[:-1] + edges[1:]) / 2
