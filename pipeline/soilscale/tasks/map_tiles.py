"""What a worker does for the maps: predict a tile's month, conserve it, fold seasons, publish a whole map."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soilscale import grid, kernels, maps, publish, storage
from soilscale.engine import payloads
from soilscale.engine.output import Workspace
from soilscale.engine.payloads import Arrays, Piece
from soilscale.engine.units import Task
from soilscale.grid import Grid, Tile
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

    def run(self, workspace: Workspace) -> Arrays:
        """Write prediction, flags and, where it is known, the dissimilarity; block means are kept."""
        part = estimate(workspace, self.recipe, self.tile, self.slot, model_store.load(*self.model))
        there = np.isfinite(part.values)
        # A filled feature says nothing of a cell that has no prediction.
        flags = np.where(part.filled & there, Quality.GAP_FILLED, 0) | np.where(part.inside, 0, Quality.OUTSIDE)
        shown = there if self.recipe.soil.frozen == "flag" else part.inside
        flags |= np.where(part.cold & shown, Quality.FROZEN, 0)
        if self.recipe.comprehensive:
            flags |= np.where(there, Quality.COMPREHENSIVE, 0)
        means, _ = kernels.block_mean(part.values, self.recipe.ratio)
        place = (self.slot.index, *self.tile.fine)
        if self.known is not None:
            index = maps.dissimilarity(applicability_index.read(workspace, self.known), part.features, there)
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
        prediction = storage.read_region(workspace.maps, self.slot.group, PREDICTION, place)
        flags = storage.read_region(workspace.maps, self.slot.group, PREDICTION_QUALITY, place)
        made = conserved(workspace, self.recipe, self.tile, self.slot, prediction, flags, nodes)
        storage.write_region(workspace.maps, self.slot.group, MAP, made.values, place)
        storage.write_region(workspace.maps, self.slot.group, QUALITY, made.quality, place)
        if self.recipe.residual:
            added = (made.values - prediction.astype("float64")).astype("float32")
            storage.write_region(workspace.maps, self.slot.group, RESIDUAL, added, place)
        if self.recipe.offsets is not None:
            both = maps.ends(made.values, made.quality, self.recipe.offsets, made.limits)
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
class Edition:
    """How one map is published."""

    every: str
    """Group of the map, `maps.MONTH` or `maps.SEASON`."""
    identifier: str
    collection: str
    span: tuple[np.datetime64, np.datetime64]
    """First instant, and the first one after it."""
    properties: Mapping[str, Any]
    sources: Sequence[Mapping[str, str]]
    """Items that the map was made from, each with ``href`` and ``title``."""
    optional: Sequence[str]
    """Layers that the map has beside its values and their quality."""
    version: str = ""
    """Digest of what the map is made from."""

    def place(self, name: str) -> tuple[str, str, str, str]:
        """Where one of its files lies below the published maps: no other edition's files lie there."""
        return self.every, self.identifier, self.version, name


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishMap(Task):
    """Write a whole map and its quality layer as COGs, and the item that describes them; an empty map has none.

    One tile at a time is read, and the files are made on the worker's disk, so that memory does not go with the area.
    """

    fine: Grid
    edition: Edition
    index: int
    """Of the map in the store."""

    def run(self, workspace: Workspace) -> None:
        """Write the files below the published maps."""
        # A month without a value is no product, and would be an empty item in the catalog.
        if not any(
            np.isfinite(values).any() for _, values in _tiles(workspace, self.fine, self.edition, MAP, self.index)
        ):
            return
        files, counts = (
            {},
            maps.count_flags(part for _, part in _tiles(workspace, self.fine, self.edition, QUALITY, self.index)),
        )
        for band in (
            publish.MAP_BAND,
            publish.QUALITY_BAND,
            *(publish.OPTIONAL_BANDS[name] for name in self.edition.optional),
        ):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{band.name}.tif"
                pieces = _tiles(workspace, self.fine, self.edition, band.name, self.index)
                described = publish.write_cog(
                    path, pieces, self.fine.fine, band, {"SOILSCALE_ID": self.edition.identifier}
                )
                storage.write_file(workspace.published(*self.edition.place(path.name)), path)
            files[band.name] = (f"./{band.name}.tif", band, described)
        item = publish.item(
            self.edition.identifier,
            self.edition.collection,
            self.fine.fine,
            self.edition.span,
            files,
            {**self.edition.properties, **_shares(*counts), "version": self.edition.version},
            self.edition.sources,
        )
        storage.write_json(workspace.published(*self.edition.place(f"{self.edition.identifier}.json")), item)


def _shares(flags: Mapping[Quality, int], masked: int) -> dict[str, Any]:
    """Share of the cells with a value that carry each bit, and of cells left out as frozen of them and these."""
    valued = flags[Quality.OBSERVED] + flags[Quality.PREDICTED]
    shares = {str(bit.name).lower(): count / valued for bit, count in flags.items() if bit != Quality.OUTSIDE}
    return {"soilscale:quality": shares, "soilscale:masked_frozen": masked / (valued + masked)}


def _tiles(
    workspace: Workspace, fine: Grid, edition: Edition, name: str, index: int
) -> Iterator[tuple[grid.Slices, Array]]:
    """Tiles of a layer of a map, one after another."""
    for tile in fine.tiles():
        yield tile.fine, storage.read_region(workspace.maps, edition.every, name, (index, *tile.fine))
