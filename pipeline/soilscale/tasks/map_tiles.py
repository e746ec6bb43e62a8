"""What a worker does for the maps: predict a tile's month, conserve it, fold seasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soilscale import kernels, maps, storage
from soilscale.engine import payloads
from soilscale.engine.output import Workspace
from soilscale.engine.payloads import Arrays, Piece
from soilscale.engine.units import Cost, Task
from soilscale.grid import Tile
from soilscale.maps import MONTH, SEASON
from soilscale.schema import (
    APPLICABILITY,
    MAP,
    PREDICTION,
    PREDICTION_QUALITY,
    QUALITY,
    RESIDUAL,
    Quality,
)
from soilscale.tasks import applicability_index, model_store
from soilscale.tasks.costs import FLOAT, MODELS, Scale, Stored
from soilscale.tasks.map_making import Array, Recipe, Slot, conserved, estimate, observation


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

    @classmethod
    def cost(cls, scale: Scale, *, count: int, folded: int, trees: int, model: float, stored: Stored) -> Cost:
        """Cost of predicting so many maps. Work: predicted cells times trees, in millions.

        Parameters
        ----------
        folded
            Months whose features a unit holds at once.
        trees
            Trees that take as long as all that is done for a cell.
        model
            Bytes of the models that a worker holds.
        stored
            What is written into the store, and its metadata.
        """
        units, features = scale.tiles * count, scale.features * 4
        memory = scale.tile_cells * (features * 5 * folded + 5 * FLOAT)
        return Cost(
            units=units,
            read=scale.cells * count * features * folded,
            written=stored.size,
            objects=units + stored.objects,
            work=scale.cells * count * trees / 1e6,
            load=memory + model,
            grows=MODELS if model > memory else "",
        )

    def run(self, workspace: Workspace) -> Arrays:
        """Write prediction, flags and, where it is known, the dissimilarity; block means are kept."""
        part = estimate(workspace, self.recipe, self.tile, self.slot, model_store.load(*self.model))
        has_value = np.isfinite(part.values)
        # A filled feature says nothing of a cell that has no prediction.
        flags = np.where(part.filled & has_value, Quality.GAP_FILLED, 0) | np.where(part.inside, 0, Quality.OUTSIDE)
        shown = has_value if self.recipe.soil.frozen == "flag" else part.inside
        flags |= np.where(part.cold & shown, Quality.FROZEN, 0)
        if self.recipe.comprehensive:
            flags |= np.where(has_value, Quality.COMPREHENSIVE, 0)
        means, _ = kernels.block_mean(part.values, self.recipe.ratio)
        place = (self.slot.index, *self.tile.fine)
        if self.known is not None:
            index = maps.dissimilarity(applicability_index.read(workspace, self.known), part.features, has_value)
            storage.write_region(workspace.maps, self.slot.group, APPLICABILITY, index, place)
            flags |= np.where(index > 1, Quality.EXTRAPOLATED, 0)
        storage.write_region(workspace.maps, self.slot.group, PREDICTION, part.values, place)
        storage.write_region(workspace.maps, self.slot.group, PREDICTION_QUALITY, flags.astype("uint8"), place)
        return {PREDICTION: means.astype("float32")}


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveResidual(Task):
    """Solve for the surface that shifts a map to the coarse observation, over the whole area at once."""

    recipe: Recipe
    slot: Slot
    pieces: tuple[Piece, ...]
    """Block means of the tiles."""

    @classmethod
    def cost(cls, scale: Scale, *, count: int, stored: Stored) -> Cost:
        """Cost of the surfaces of so many maps. Work: coarse cells, in millions."""
        return Cost(
            units=count,
            read=count * 2 * 4 * scale.coarse,
            written=stored.size,
            objects=count + stored.objects,
            work=count * scale.coarse / 1e6,
            load=scale.coarse * FLOAT * 12.0,
        )

    def run(self, workspace: Workspace) -> None:
        """Write the nodes of the surface."""
        means = np.full(self.recipe.grid.shape, np.nan, "float32")
        for piece, arrays in payloads.read(workspace, self.pieces):
            means[piece.rows, piece.columns] = arrays[PREDICTION]
        nodes = kernels.residual_nodes(observation(workspace, self.recipe, self.slot) - means, self.recipe.grid.ratio)
        storage.write_region(workspace.maps, maps.NODES[self.slot.group], RESIDUAL, nodes, (self.slot.index,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConserveTile(Task):
    """Shift a tile's prediction to the coarse observation."""

    recipe: Recipe
    tile: Tile
    slot: Slot

    @classmethod
    def cost(cls, scale: Scale, *, count: int, stored: Stored) -> Cost:
        """Cost of conserving so many maps. Work: fine cells, in millions."""
        units = scale.tiles * count
        return Cost(
            units=units,
            read=count * scale.cells * 5 + units * FLOAT * scale.coarse,
            written=stored.size,
            objects=units + stored.objects,
            work=count * scale.cells / 1e6,
            load=scale.tile_cells * FLOAT * 8 + FLOAT * scale.coarse,
        )

    def run(self, workspace: Workspace) -> None:
        """Write the map, its quality and its further layers."""
        nodes = storage.read_region(workspace.maps, maps.NODES[self.slot.group], RESIDUAL, (self.slot.index,))
        place = (self.slot.index, *self.tile.fine)
        prediction = storage.read_region(workspace.maps, self.slot.group, PREDICTION, place)
        flags = storage.read_region(workspace.maps, self.slot.group, PREDICTION_QUALITY, place)
        result = conserved(workspace, self.recipe, self.tile, self.slot, prediction, flags, nodes)
        storage.write_region(workspace.maps, self.slot.group, MAP, result.values, place)
        storage.write_region(workspace.maps, self.slot.group, QUALITY, result.quality, place)
        if self.recipe.residual:
            added = (result.values - prediction.astype("float64")).astype("float32")
            storage.write_region(workspace.maps, self.slot.group, RESIDUAL, added, place)
        if self.recipe.offsets is not None:
            ends = maps.ends(result.values, result.quality, self.recipe.offsets, result.limits)
            for name, end in zip(maps.ENDS, ends, strict=True):
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

    @classmethod
    def cost(cls, scale: Scale, *, count: int, longest: int, stored: Stored) -> Cost:
        """Cost of so many seasonal maps, the longest of so many months. Work: fine cells, in millions."""
        units = scale.tiles * count
        return Cost(
            units=units,
            read=stored.size * min(scale.months / max(count, 1), longest),
            written=stored.size,
            objects=units + stored.objects,
            work=scale.cells * count / 1e6,
            # Seasons may differ in length, and the longest one sets the memory.
            load=scale.tile_cells * FLOAT * 2 * longest,
        )

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
