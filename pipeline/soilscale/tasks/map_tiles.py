"""What a worker does for the maps: predict a tile's month, conserve it, fold seasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from soilscale import grid, kernels, maps, models, storage
from soilscale.cube import FILLED
from soilscale.engine import payloads
from soilscale.engine.output import Workspace
from soilscale.engine.payloads import Arrays, Piece
from soilscale.engine.units import Task
from soilscale.grid import Grid, Tile
from soilscale.maps import MONTH, SEASON, Offsets
from soilscale.schema import (
    APPLICABILITY,
    COARSE,
    FINE,
    MAP,
    PREDICTION,
    PREDICTION_QUALITY,
    QUALITY,
    RESIDUAL,
    Quality,
)
from soilscale.tasks import applicability_index, model_store
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


@dataclass(frozen=True)
class Slot:
    """A map to be made: where it lies in the store, and the months of the cube that it stands for."""

    group: str
    """`maps.MONTH` or `maps.SEASON`."""
    index: int
    months: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictTile(Task):
    """Predict a tile with its season's model, from the mean features of a slot's months."""

    recipe: Recipe
    tile: Tile
    slot: Slot
    model: tuple[str, str]
    """Its folder and version."""
    known: applicability_index.Measured | None
    """Where it was measured how dissimilar features are to those of training."""

    def run(self, workspace: Workspace) -> Arrays:
        """Write prediction, flags and, where it is known, the dissimilarity; block means are kept."""
        features, filled = mean_features(workspace, self.recipe, self.tile, self.slot)
        within = inside(self.recipe, self.tile)
        predictor, cold = model_store.load(*self.model), frozen(workspace, self.recipe, self.tile, self.slot)
        # Cells left out now do not count in the block means, so that conservation does not shift the others for them.
        prediction = maps.predict(
            predictor,
            features,
            within & ~masked(self.recipe, cold),
            surface(self.recipe, self.tile, self.slot, predictor),
        )
        there = np.isfinite(prediction)
        # A filled feature says nothing of a cell that has no prediction.
        flags = np.where(filled & there, Quality.GAP_FILLED, 0) | np.where(within, 0, Quality.OUTSIDE)
        flags |= np.where(cold & (there if self.recipe.soil.frozen == "flag" else within), Quality.FROZEN, 0)
        if self.recipe.comprehensive:
            flags |= np.where(there, Quality.COMPREHENSIVE, 0)
        means, _ = kernels.block_mean(prediction, self.recipe.grid.ratio)
        place = (self.slot.index, *self.tile.fine)
        if self.known is not None:
            index = maps.dissimilarity(applicability_index.read(workspace, self.known), features, there)
            storage.write_region(workspace.maps, self.slot.group, APPLICABILITY, index, place)
            flags |= np.where(index > 1, Quality.EXTRAPOLATED, 0)
        storage.write_region(workspace.maps, self.slot.group, PREDICTION, prediction, place)
        storage.write_region(workspace.maps, self.slot.group, PREDICTION_QUALITY, flags.astype("uint8"), place)
        return {PREDICTION: means.astype("float32")}


def surface(recipe: Recipe, tile: Tile, slot: Slot, predictor: models.Predictor) -> Array | None:
    """What place and month add to a tile's prediction; None where the model knows of neither."""
    geobox = recipe.grid.fine[tile.fine]
    months = recipe.start + np.array(slot.months)
    y, x = (geobox.coords[axis].values for axis in geobox.dims)
    return models.surface(predictor, months, y, x)


def inside(recipe: Recipe, tile: Tile) -> Array:
    """Fine cells of a tile that are mapped."""
    geobox = recipe.grid.fine[tile.fine]
    return np.ones(geobox.shape, bool) if recipe.area is None else grid.inside(geobox, recipe.area)


def mean_features(workspace: Workspace, recipe: Recipe, tile: Tile, slot: Slot) -> tuple[list[Array], Array]:
    """Means of a tile's features over a slot's months, gaps filled, and where one of them was."""
    parts = [_features(workspace, recipe, tile, month) for month in slot.months]
    features = [np.mean(month, axis=0, dtype="float64") for month in zip(*(part[0] for part in parts), strict=True)]
    return features, np.logical_or.reduce([part[1] for part in parts])


def frozen(workspace: Workspace, recipe: Recipe, tile: Tile, slot: Slot) -> Array:
    """Fine cells whose mean land surface temperature over a slot's months is below freezing; none without one."""
    if not recipe.soil.surface:
        return np.zeros(recipe.grid.fine[tile.fine].shape, bool)
    # The mean of all: by nights alone, ground that thaws by day would count as frozen.
    read = [_read(workspace, recipe, reading, tile, month) for reading in recipe.soil.surface for month in slot.months]
    return np.asarray(np.mean(read, axis=0) < FREEZING)


def masked(recipe: Recipe, cold: Array) -> Array:
    """Frozen cells that are left out before a map is conserved: all of them or none."""
    return cold if recipe.soil.frozen == "mask" else np.zeros_like(cold)


def limits(
    workspace: Workspace, recipe: Recipe, tile: Tile, slot: Slot, observed: Array
) -> tuple[float, float | Array]:
    """Range of a tile's values: the physical one, whose upper end is that of each soil where its texture is known."""
    if recipe.soil.texture is None:
        return recipe.valid_range
    sand, clay = (_read(workspace, recipe, reading, tile, slot.months[0]) for reading in recipe.soil.texture)
    lower, upper = recipe.valid_range
    return lower, np.maximum(maps.capacity(sand, clay, observed, recipe.grid.ratio, upper), lower)


def _read(workspace: Workspace, recipe: Recipe, reading: Reading, tile: Tile, month: int) -> Array:
    """A feature of a tile's month, gaps filled, as a rule of physics takes it."""
    values, _ = _feature(workspace, recipe, reading.name, tile, month)
    return values.astype("float64") * reading.factor + reading.offset


def observation(workspace: Workspace, recipe: Recipe, slot: Slot, place: tuple[slice, ...] = ()) -> Array:
    """Coarse observation that a slot's map is conserved to, of the whole area or a part: the mean over its months."""
    read = [storage.read_region(workspace.cube, COARSE, recipe.target, (month, *place)) for month in slot.months]
    return np.mean([maps.usable(month, recipe.valid_range) for month in read], axis=0)


def _features(workspace: Workspace, recipe: Recipe, tile: Tile, index: int) -> tuple[list[Array], Array]:
    """Features of a tile's month, gaps filled, and where one of them was."""
    read = [_feature(workspace, recipe, name, tile, index) for name in recipe.features]
    return [values for values, _ in read], np.logical_or.reduce([filled for _, filled in read])


def _feature(workspace: Workspace, recipe: Recipe, name: str, tile: Tile, index: int) -> tuple[Array, Array]:
    """A feature of a tile's month, gaps filled, and where it was."""
    if name in recipe.static:
        here = storage.read_region(workspace.cube, FINE, name, tile.fine)
        return here, np.zeros(here.shape, bool)
    here = storage.read_region(workspace.cube, FINE, name, (index, *tile.fine))
    # Filled in the cube already, by what is usual at the place.
    if name in recipe.filled:
        return here, storage.read_region(workspace.cube, FILLED, name, (index, *tile.fine)) == WHOLLY
    if recipe.fill_gaps and np.isnan(here).any():
        return maps.fill_gaps(here, _around(workspace, recipe, name, tile, index))
    return here, np.zeros(here.shape, bool)


def _around(workspace: Workspace, recipe: Recipe, name: str, tile: Tile, index: int) -> list[tuple[Array, Array]]:
    """A feature in the months before and after, nearest first, as far as the cube and the recipe reach."""
    # As far before as after: from one side alone, a season would shift the value.
    reach = min(recipe.fill_gaps, index, recipe.months - 1 - index)
    return [
        (
            storage.read_region(workspace.cube, FINE, name, (index - away, *tile.fine)),
            storage.read_region(workspace.cube, FINE, name, (index + away, *tile.fine)),
        )
        for away in range(1, reach + 1)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveResidual(Task):
    """Solve for the surface that shifts a map to the coarse observation, over the whole area at once."""

    recipe: Recipe
    slot: Slot
    pieces: tuple[Piece, ...]
    """Block means of the tiles."""

    def run(self, workspace: Workspace) -> None:
        """Write the nodes of the surface."""
        means = np.full(self.recipe.grid.shape, np.nan, "float32")
        for piece, kept in payloads.read(workspace, self.pieces):
            means[piece.rows, piece.columns] = kept[PREDICTION]
        nodes = kernels.residual_nodes(observation(workspace, self.recipe, self.slot) - means, self.recipe.grid.ratio)
        storage.write_region(workspace.maps, maps.NODES[self.slot.group], RESIDUAL, nodes, (self.slot.index,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConserveTile(Task):
    """Shift a tile's prediction to the coarse observation."""

    recipe: Recipe
    tile: Tile
    slot: Slot

    def run(self, workspace: Workspace) -> None:
        """Write the map, its quality and its further layers."""
        nodes = storage.read_region(workspace.maps, maps.NODES[self.slot.group], RESIDUAL, (self.slot.index,))
        place = (self.slot.index, *self.tile.fine)
        prediction = storage.read_region(workspace.maps, self.slot.group, PREDICTION, place).astype("float64")
        flags = storage.read_region(workspace.maps, self.slot.group, PREDICTION_QUALITY, place)
        observed = observation(workspace, self.recipe, self.slot, self.tile.coarse)
        # The same limits for the map and its ends, or an end could lie within its map.
        between = limits(workspace, self.recipe, self.tile, self.slot, observed)
        around = kernels.nodes_around(nodes, self.tile.coarse)
        values, quality = maps.finish(
            prediction, observed, around, self.recipe.grid.ratio, between, conserve=self.recipe.conserve
        )
        quality = (quality | flags).astype("uint8")
        if self.recipe.soil.frozen == "unobserved":
            values, quality = maps.thaw(values, quality)
        storage.write_region(workspace.maps, self.slot.group, MAP, values, place)
        storage.write_region(workspace.maps, self.slot.group, QUALITY, quality, place)
        if self.recipe.residual:
            storage.write_region(
                workspace.maps, self.slot.group, RESIDUAL, (values - prediction).astype("float32"), place
            )
        if self.recipe.offsets is not None:
            both = maps.ends(values, quality, self.recipe.offsets, between)
            for name, end in zip(maps.ENDS, both, strict=True):
                storage.write_region(workspace.maps, self.slot.group, name, end, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSeason(Task):
    """Fold a season's monthly maps of a tile into one; further layers are the means of the months'."""

    tile: Tile
    index: int
    """Of the season in the store."""
    months: tuple[int, ...]
    """Indices of its months."""
    optional: tuple[str, ...]
    """Further layers."""

    def run(self, workspace: Workspace) -> None:
        """Write the seasonal map."""

        def read(name: str) -> list[Array]:
            return [storage.read_region(workspace.maps, MONTH, name, (month, *self.tile.fine)) for month in self.months]

        mean, quality = maps.fold_season(read(MAP), read(QUALITY))
        storage.write_region(workspace.maps, SEASON, MAP, mean, (self.index, *self.tile.fine))
        storage.write_region(workspace.maps, SEASON, QUALITY, quality, (self.index, *self.tile.fine))
        for name in self.optional:
            layer = np.mean(read(name), axis=0, dtype="float64").astype("float32")
            storage.write_region(workspace.maps, SEASON, name, layer, (self.index, *self.tile.fine))


@dataclass(frozen=True)
class Chosen:
    """The model that maps a season."""

    season: str
    """Season of the model: ``all`` where the season itself has too few rows."""
    algorithm: str
    version: str
    """Digest of what the model was made from."""
