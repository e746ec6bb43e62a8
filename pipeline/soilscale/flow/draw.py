"""What a worker does for the maps: predict a tile's month, conserve it, fold seasons, publish a whole map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from soilscale import grid, kernels, maps, publish, storage
from soilscale.flow import learn
from soilscale.flow.workspace import Workspace
from soilscale.grid import Grid, Tile
from soilscale.maps import MONTH, SEASON
from soilscale.schema import COARSE, FINE, MAP, PREDICTION, QUALITY, Quality

Array = NDArray[Any]


@dataclass(frozen=True)
class Recipe:
    """How the maps of a run are made."""

    grid: Grid
    features: tuple[str, ...]
    static: frozenset[str]
    target: str
    months: int
    fill_gaps: int
    valid_range: tuple[float, float]
    conserve: bool
    area: BaseGeometry | None
    """Polygon to which the maps are masked, longitude and latitude."""


def predict(workspace: Workspace, recipe: Recipe, tile: Tile, index: int, model: str, version: str) -> None:
    """Predict a tile's month with its season's model; keep the prediction, its block means and its flags."""
    features, filled = _features(workspace, recipe, tile, index)
    geobox = recipe.grid.fine[tile.fine]
    within = np.ones(geobox.shape, bool) if recipe.area is None else grid.inside(geobox, recipe.area)
    prediction = maps.predict(learn.load(model, version), features, within)
    flags = np.where(filled & np.isfinite(prediction), Quality.GAP_FILLED, 0) | np.where(within, 0, Quality.OUTSIDE)
    means, _ = kernels.block_mean(prediction, recipe.grid.ratio)
    storage.write_region(workspace.maps, MONTH, PREDICTION, prediction, (index, *tile.fine))
    storage.write_region(workspace.maps, MONTH, QUALITY, flags.astype("uint8"), (index, *tile.fine))
    storage.write_region(workspace.maps, COARSE, PREDICTION, means.astype("float32"), (index, *tile.coarse))


def _features(workspace: Workspace, recipe: Recipe, tile: Tile, index: int) -> tuple[list[Array], Array]:
    """Features of a tile's month, gaps filled, and where one of them was."""
    found: list[Array] = []
    filled = np.zeros(recipe.grid.fine[tile.fine].shape, bool)
    for name in recipe.features:
        if name in recipe.static:
            found.append(storage.read_region(workspace.cube, FINE, name, tile.fine))
            continue
        here = storage.read_region(workspace.cube, FINE, name, (index, *tile.fine))
        if recipe.fill_gaps and np.isnan(here).any():
            here, gaps = maps.fill_gaps(here, _around(workspace, recipe, name, tile, index))
            filled |= gaps
        found.append(here)
    return found, filled


def _around(workspace: Workspace, recipe: Recipe, name: str, tile: Tile, index: int) -> list[tuple[Array, Array]]:
    """A feature in the months before and after, nearest first, as far as the cube and the recipe reach."""
    reach = min(recipe.fill_gaps, index, recipe.months - 1 - index)
    return [
        (
            storage.read_region(workspace.cube, FINE, name, (index - away, *tile.fine)),
            storage.read_region(workspace.cube, FINE, name, (index + away, *tile.fine)),
        )
        for away in range(1, reach + 1)
    ]


def conserve(workspace: Workspace, recipe: Recipe, tile: Tile, index: int) -> None:
    """Shift a tile's prediction to the coarse observation of the whole month."""
    observed = maps.usable(storage.read_region(workspace.cube, COARSE, recipe.target, (index,)), recipe.valid_range)
    means = storage.read_region(workspace.maps, COARSE, PREDICTION, (index,))
    nodes = np.pad(kernels.residual_nodes(observed - means, recipe.grid.ratio), 1, mode="edge")
    rows, columns = tile.coarse
    around = nodes[rows.start : rows.stop + 2, columns.start : columns.stop + 2]
    prediction = storage.read_region(workspace.maps, MONTH, PREDICTION, (index, *tile.fine)).astype("float64")
    flags = storage.read_region(workspace.maps, MONTH, QUALITY, (index, *tile.fine))
    values, quality = maps.finish(
        prediction,
        observed[tile.coarse],
        around,
        recipe.grid.ratio,
        recipe.valid_range,
        conserve=recipe.conserve,
    )
    kept = flags & (Quality.GAP_FILLED | Quality.OUTSIDE)
    storage.write_region(workspace.maps, MONTH, MAP, values, (index, *tile.fine))
    storage.write_region(workspace.maps, MONTH, QUALITY, (quality | kept).astype("uint8"), (index, *tile.fine))


def season(workspace: Workspace, tile: Tile, index: int, months: Sequence[int]) -> None:
    """Fold a season's monthly maps of a tile into one."""
    values = [storage.read_region(workspace.maps, MONTH, MAP, (month, *tile.fine)) for month in months]
    flags = [storage.read_region(workspace.maps, MONTH, QUALITY, (month, *tile.fine)) for month in months]
    mean, quality = maps.fold_season(values, flags)
    storage.write_region(workspace.maps, SEASON, MAP, mean, (index, *tile.fine))
    storage.write_region(workspace.maps, SEASON, QUALITY, quality, (index, *tile.fine))


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

    def place(self, name: str) -> tuple[str, str, str]:
        """Where one of its files lies below the published maps."""
        return self.every, self.identifier, name


def publish_map(workspace: Workspace, fine: Grid, edition: Edition, index: int) -> None:
    """Write a whole map and its quality layer as COGs, and the item that describes them; an empty map has none."""
    values = storage.read_region(workspace.maps, edition.every, MAP, (index,))
    item = workspace.published(*edition.place(f"{edition.identifier}.json"))
    if not np.isfinite(values).any():
        storage.remove(workspace.published(edition.every, edition.identifier))
        return
    quality = storage.read_region(workspace.maps, edition.every, QUALITY, (index,))
    files = {}
    for band, layer in ((publish.MAP_BAND, values), (publish.QUALITY_BAND, quality)):
        content = publish.cog(layer, fine.fine, band, {"soilscale:id": edition.identifier})
        storage.write_bytes(workspace.published(*edition.place(f"{band.name}.tif")), content)
        files[band.name] = (f"./{band.name}.tif", band, publish.statistics(layer, band.nodata))
    told = publish.item(
        edition.identifier,
        edition.collection,
        fine.fine,
        edition.span,
        files,
        edition.properties,
        edition.sources,
    )
    storage.write_json(item, told)
