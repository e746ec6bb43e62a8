"""How a map is made of a model, in one way for all: the maps, those of algorithms that are judged, and pictures.

A tile's features are read and their gaps filled (`mean_features`), the model predicts (`estimate`), the residuals of
the whole area are solved for, and the tile is brought to the observation and into its range (`conserved`). The stages
of the maps do this step by step, each a unit of its own; `whole` does all of it at once for a map that is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from soilscale import grid, kernels, maps, models, storage
from soilscale.cube import FILLED
from soilscale.engine.output import Workspace
from soilscale.grid import Grid, Slices, Tile
from soilscale.maps import Offsets
from soilscale.schema import COARSE, FINE, Quality
from soilscale.tasks import model_store
from soilscale.tasks.soil import FREEZING, Reading, Soil

Array = NDArray[Any]

WHOLLY = 100
"""Per cent of a month's days that are filled where nothing is seen."""


@dataclass(frozen=True)
class Recipe:
    """How the maps of a run are made."""

    grid: Grid
    features: tuple[str, ...]
    static: frozenset[str]
    target: str
    start: np.datetime64
    """First month of the cube."""
    months: int
    fill_gaps: int
    valid_range: tuple[float, float]
    conserve: bool
    area: BaseGeometry | None
    """Polygon to which the maps are masked, longitude and latitude."""
    filled: frozenset[str] = frozenset()
    """Features whose gaps are filled in the cube."""
    comprehensive: bool = False
    """Whether the comprehensive model stands in for the season's own."""
    residual: bool = False
    """Whether what conservation adds is a layer."""
    offsets: Offsets | None = None
    """Offsets of the lower and upper layer, where there are such."""
    soil: Soil = field(default_factory=Soil)
    sampled: int | None = None
    """Cells along the side of a coarse cell that a picture shows, evenly spread; None where all are made."""

    @property
    def ratio(self) -> int:
        """Cells along the side of a coarse cell that are made."""
        return self.sampled or self.grid.ratio

    def sample(self, values: Array) -> Array:
        """Cells of a tile that are made, of all of its cells ``(Y, X)``, or of its rows or columns."""
        if self.ratio == self.grid.ratio:
            return values
        places = (np.arange(self.ratio) + 0.5) * self.grid.ratio // self.ratio
        at = [(np.arange(0, n, self.grid.ratio)[:, None] + places).astype(int).ravel() for n in values.shape]
        return values[np.ix_(*at)]

    def cells(self, tile: Tile) -> Slices:
        """Rows and columns of a tile among the cells that are made."""
        rows, columns = (slice(side.start * self.ratio, side.stop * self.ratio) for side in tile.coarse)
        return rows, columns


@dataclass(frozen=True)
class Slot:
    """A map to be made: where it lies in the store, and the months of the cube that it stands for."""

    group: str
    """`maps.MONTH` or `maps.SEASON`."""
    index: int
    months: tuple[int, ...]


@dataclass(frozen=True)
class Chosen:
    """The model that maps a season."""

    season: str
    """Season of the model: ``all`` where the season itself has too few rows."""
    algorithm: str
    version: str
    """Digest of what the model was made from."""


@dataclass(frozen=True)
class Estimate:
    """What a model says of a tile before it is conserved; arrays of shape ``(Y, X)``."""

    values: Array
    """Float32, NaN where there is none."""
    features: Sequence[Array]
    filled: Array
    """Where a gap of a feature was filled."""
    inside: Array
    """Where maps are made at all."""
    cold: Array
    """Where the ground is frozen."""


def estimate(
    workspace: Workspace,
    recipe: Recipe,
    tile: Tile,
    slot: Slot,
    predictor: models.Predictor,
    where: Array | None = None,
) -> Estimate:
    """Predict a tile from the mean features of a slot's months, or the cells of it `where` it is needed."""
    features, filled = mean_features(workspace, recipe, tile, slot)
    within, cold = inside(recipe, tile), frozen(workspace, recipe, tile, slot)
    # Cells left out now do not count in the block means, so that conservation does not shift the others for them.
    use = within & ~cold if recipe.soil.frozen == "mask" else within
    use = use if where is None else use & where
    values = maps.predict(predictor, features, use, surface(recipe, tile, slot, predictor))
    return Estimate(values, features, filled, within, cold)


@dataclass(frozen=True)
class Conserved:
    """A tile of a map; arrays of shape ``(Y, X)``."""

    values: Array
    """Float32."""
    quality: Array
    limits: tuple[float, float | Array]
    """Range of its values."""


def conserved(
    workspace: Workspace, recipe: Recipe, tile: Tile, slot: Slot, prediction: Array, flags: Array, nodes: Array
) -> Conserved:
    """Bring a tile's prediction to the coarse observation and into its range.

    Parameters
    ----------
    prediction, flags
        What is predicted, and its quality; shape ``(Y, X)``.
    nodes
        Nodes of the residual surface of the whole area.
    """
    observed = observation(workspace, recipe, slot, tile.coarse)
    # The same limits for the map and its ends, or an end could lie within its map.
    between = limits(workspace, recipe, tile, slot, observed)
    around = kernels.nodes_around(nodes, tile.coarse)
    values, quality = maps.finish(
        prediction.astype("float64"), observed, around, recipe.ratio, between, conserve=recipe.conserve
    )
    quality = (quality | flags).astype("uint8")
    if recipe.soil.frozen == "unobserved":
        values, quality = maps.thaw(values, quality)
    return Conserved(values, quality, between)


def whole(workspace: Workspace, recipe: Recipe, slot: Slot, model: Chosen, needed: Array | None = None) -> Array:
    """Map of the whole area as a model would make it, float32, shape ``(Y, X)``; nothing is written.

    Parameters
    ----------
    needed
        Coarse cells that are predicted, shape ``(y, x)``; by default all. Elsewhere the map is missing, and the
        residuals are those of these cells alone.
    """
    needed = np.ones(recipe.grid.shape, bool) if needed is None else needed
    tiles = [tile for tile in recipe.grid.tiles() if needed[tile.coarse].any()]
    shape = tuple(n * recipe.ratio for n in recipe.grid.shape)
    area_map, flags = np.full(shape, np.nan, "float32"), np.zeros(shape, "uint8")
    for tile in tiles:
        predictor = model_store.load(workspace.model(model.season, model.algorithm), model.version)
        where = needed[tile.coarse].repeat(recipe.ratio, 0).repeat(recipe.ratio, 1)
        part = estimate(workspace, recipe, tile, slot, predictor, where)
        area_map[recipe.cells(tile)] = part.values
        flags[recipe.cells(tile)] = np.where(part.cold & part.inside, Quality.FROZEN, 0)
    # Over all tiles at once, as maps are made: solved tile by tile, the surface would differ at their borders.
    residual = observation(workspace, recipe, slot) - kernels.block_mean(area_map, recipe.ratio)[0]
    nodes = kernels.residual_nodes(residual, recipe.ratio)
    for tile in tiles:
        at = recipe.cells(tile)
        area_map[at] = conserved(workspace, recipe, tile, slot, area_map[at], flags[at], nodes).values
    return area_map


def surface(recipe: Recipe, tile: Tile, slot: Slot, predictor: models.Predictor) -> Array | None:
    """What place and month add to a tile's prediction; None where the model knows of neither."""
    geobox = recipe.grid.fine[tile.fine]
    months = recipe.start + np.array(slot.months)
    y, x = (recipe.sample(geobox.coords[axis].values) for axis in geobox.dims)
    return models.surface(predictor, months, y, x)


def inside(recipe: Recipe, tile: Tile) -> Array:
    """Fine cells of a tile that are mapped."""
    geobox = recipe.grid.fine[tile.fine]
    return recipe.sample(np.ones(geobox.shape, bool) if recipe.area is None else grid.inside(geobox, recipe.area))


def mean_features(workspace: Workspace, recipe: Recipe, tile: Tile, slot: Slot) -> tuple[list[Array], Array]:
    """Means of a tile's features over a slot's months, gaps filled, and where one of them was."""
    parts = [_features(workspace, recipe, tile, month) for month in slot.months]
    features = [np.mean(month, axis=0, dtype="float64") for month in zip(*(part[0] for part in parts), strict=True)]
    return features, np.logical_or.reduce([part[1] for part in parts])


def frozen(workspace: Workspace, recipe: Recipe, tile: Tile, slot: Slot) -> Array:
    """Fine cells whose mean land surface temperature over a slot's months is below freezing; none without one."""
    if not recipe.soil.surface:
        return np.zeros([side.stop - side.start for side in recipe.cells(tile)], bool)
    # The mean of all: by nights alone, ground that thaws by day would count as frozen.
    read = [_read(workspace, recipe, reading, tile, month) for reading in recipe.soil.surface for month in slot.months]
    return np.asarray(np.mean(read, axis=0) < FREEZING)


def limits(
    workspace: Workspace, recipe: Recipe, tile: Tile, slot: Slot, observed: Array
) -> tuple[float, float | Array]:
    """Range of a tile's values: the physical one, whose upper end is that of each soil where its texture is known."""
    if recipe.soil.texture is None:
        return recipe.valid_range
    sand, clay = (_read(workspace, recipe, reading, tile, slot.months[0]) for reading in recipe.soil.texture)
    lower, upper = recipe.valid_range
    return lower, np.maximum(maps.capacity(sand, clay, observed, recipe.ratio, upper), lower)


def observation(workspace: Workspace, recipe: Recipe, slot: Slot, place: tuple[slice, ...] = ()) -> Array:
    """Coarse observation that a slot's map is conserved to, of the whole area or a part: the mean over its months."""
    read = [storage.read_region(workspace.cube, COARSE, recipe.target, (month, *place)) for month in slot.months]
    return np.mean([maps.usable(month, recipe.valid_range) for month in read], axis=0)


def _read(workspace: Workspace, recipe: Recipe, reading: Reading, tile: Tile, month: int) -> Array:
    """A feature of a tile's month, gaps filled, as a rule of physics takes it."""
    values, _ = _feature(workspace, recipe, reading.name, tile, month)
    return values.astype("float64") * reading.factor + reading.offset


def _features(workspace: Workspace, recipe: Recipe, tile: Tile, index: int) -> tuple[list[Array], Array]:
    """Features of a tile's month, gaps filled, and where one of them was."""
    read = [_feature(workspace, recipe, name, tile, index) for name in recipe.features]
    return [values for values, _ in read], np.logical_or.reduce([filled for _, filled in read])


def _feature(workspace: Workspace, recipe: Recipe, name: str, tile: Tile, index: int) -> tuple[Array, Array]:
    """A feature of a tile's month, gaps filled, and where it was."""

    def read(group: str, *month: int) -> Array:
        return recipe.sample(storage.read_region(workspace.cube, group, name, (*month, *tile.fine)))

    if name in recipe.static:
        own_values = read(FINE)
        return own_values, np.zeros(own_values.shape, bool)
    own_values = read(FINE, index)
    # Filled in the cube already, by what is usual at the place.
    if name in recipe.filled:
        return own_values, read(FILLED, index) == WHOLLY
    if recipe.fill_gaps and np.isnan(own_values).any():
        # As far before as after: from one side alone, a season would shift the value.
        reach = min(recipe.fill_gaps, index, recipe.months - 1 - index)
        around = [(read(FINE, index - away), read(FINE, index + away)) for away in range(1, reach + 1)]
        return maps.fill_gaps(own_values, around)
    return own_values, np.zeros(own_values.shape, bool)
