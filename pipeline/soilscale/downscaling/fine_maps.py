"""Maps as lazy arrays: predicted block by block, conserved month by month over the whole area."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray

from soilscale import kernels, maps, models
from soilscale.downscaling.learning import Fitted
from soilscale.downscaling.stack import Stack
from soilscale.schema import APPLICABILITY, LOWER, MAP, QUALITY, UPPER, Quality
from soilscale.seasons import Seasons
from soilscale.sources import Source
from soilscale.tasks.soil import FREEZING, Reading, Soil, soil_features

Array = NDArray[Any]
Floats = NDArray[np.float32]

TYX, LTYX = "tyx", "ltyx"
"""Axes of blocks: time and the tiles; in front, the layers."""


@dataclass(frozen=True)
class Drawing:
    """How maps are drawn."""

    names: tuple[str, ...]
    """Features, in their order."""
    seasons: Seasons
    ratio: int
    valid_range: tuple[float, float]
    conserve: bool
    soil: Soil
    tile: tuple[int, int]
    """Coarse rows and columns of a tile."""
    layers: tuple[str, ...]

    def season(self, months: Array) -> tuple[np.datetime64, str]:
        """Month of a block, and its season."""
        month = months[0]
        return month, self.seasons.name(month)


def draw(
    stack: Stack,
    fitted: Mapping[str, Any],
    seasons: Seasons,
    *,
    conserve: bool,
    valid_range: tuple[float, float],
    interval: bool,
) -> dict[str, da.Array]:
    """Layers of the maps, (time, y, x), a chunk for each month and tile.

    Parameters
    ----------
    fitted
        Season -> `Fitted`, or what Dask makes it of.
    """
    sources = {name: Source(name=name, catalog="", collection="", asset="") for name in stack.names}
    layers = (MAP, QUALITY, *((LOWER, UPPER) if interval else ()), APPLICABILITY)
    soil = soil_features(sources, {name: stack.units.get(name, "") for name in stack.names})
    grid = stack.grid
    how = Drawing(stack.names, seasons, grid.ratio, valid_range, conserve, soil, grid.tile_shape, layers)
    months = da.from_array(stack.months, chunks=1)
    high, wide = grid.tile_shape
    y, x = (da.from_array(axis, chunks=size * grid.ratio) for axis, size in zip(stack.fine, (high, wide), strict=True))
    features = list(stack.features.values())
    axes = [TYX[-array.ndim :] for array in features]
    predicted = _blockwise(
        _predict,
        LTYX,
        [*zip(features, axes, strict=True), (months, "t"), (y, "y"), (x, "x")],
        layers=3,
        how=how,
        fitted=dict(fitted),
    )
    observed = da.from_array(stack.observed, chunks=(1, high, wide))
    means = _means(predicted[0], grid.ratio)
    nodes = da.map_blocks(
        _nodes,
        means.rechunk((1, -1, -1)),
        observed.rechunk((1, -1, -1)),
        ratio=grid.ratio,
        valid_range=valid_range,
        dtype="float64",
        meta=np.empty((0, 0, 0)),
    )
    rows, columns = (da.arange(len(sizes), chunks=1) for sizes in observed.chunks[1:])
    texture = [(stack.features[reading.name], reading.name) for reading in soil.texture or ()]
    finished = _blockwise(
        _finish,
        LTYX,
        [
            (predicted, "ktyx"),
            (observed, TYX),
            (nodes, TYX),
            (months, "t"),
            (rows, "y"),
            (columns, "x"),
            *((array, TYX[-array.ndim :]) for array, _ in texture),
        ],
        layers=len(layers),
        how=how,
        fitted=dict(fitted),
    )
    return {
        name: finished[index].astype("uint8") if name == QUALITY else finished[index]
        for index, name in enumerate(layers)
    }


def _blockwise(function: Any, out: str, arrays: list[tuple[da.Array, str]], *, layers: int, **options: Any) -> da.Array:
    """Blocks of layers made of the blocks of arrays that share the axes ``tyx``; single blocks go to all."""
    arguments = [part for pair in arrays for part in pair]
    return da.blockwise(
        function,
        out,
        *arguments,
        new_axes={"l": layers},
        align_arrays=False,
        concatenate=True,
        dtype="float32",
        meta=np.empty((0, 0, 0, 0), "float32"),
        **options,
    )


def _predict(*blocks: Array, how: Drawing, fitted: Mapping[str, Fitted]) -> Floats:
    """Prediction, flags and dissimilarity of a tile's month, shape ``(3, 1, Y, X)``."""
    *feature_blocks, months, y, x = blocks
    month, season = how.season(months)
    model = fitted[season]
    features = [block[0] if block.ndim > 2 else block for block in feature_blocks]  # noqa: PLR2004 - a month
    by_name = dict(zip(how.names, features, strict=True))
    everywhere = np.ones(features[0].shape, bool)
    prediction = maps.predict(
        model.predictor, features, everywhere, models.surface(model.predictor, np.array([month]), y, x)
    )
    has_value = np.isfinite(prediction)
    flags = np.where(has_value, Quality.COMPREHENSIVE if model.comprehensive else 0, 0)
    if how.soil.surface:
        cold = np.mean([_read(by_name[reading.name], reading) for reading in how.soil.surface], axis=0) < FREEZING
        flags |= np.where(cold, Quality.FROZEN, 0)
    index = maps.dissimilarity(model.applicability, features, has_value)
    flags |= np.where(index > 1, Quality.EXTRAPOLATED, 0)
    return np.stack([prediction, flags, index]).astype("float32")[:, None]


def _read(values: Array, reading: Reading) -> Array:
    """A feature as a rule of physics takes it."""
    return values.astype("float64") * reading.factor + reading.offset


def _means(values: da.Array, ratio: int) -> da.Array:
    """Block means, as float32."""
    time, *axes = values.chunks
    chunks = (time, *(tuple(size // ratio for size in sizes) for sizes in axes))
    meta = np.empty((0, 0, 0), "float32")
    return da.map_blocks(_mean, values, ratio=ratio, chunks=chunks, dtype="float32", meta=meta)


def _mean(values: Array, ratio: int) -> Floats:
    return kernels.block_mean(values, ratio)[0].astype("float32")


def _nodes(means: Array, observed: Array, ratio: int, valid_range: tuple[float, float]) -> Array:
    """Nodes of the residual surface of a whole month."""
    return kernels.residual_nodes(maps.usable(observed[0], valid_range) - means[0], ratio)[None]


def _finish(*blocks: Array, how: Drawing, fitted: Mapping[str, Fitted]) -> Floats:
    """Layers of a tile's month, shape ``(layers, 1, Y, X)``."""
    predicted, observed, nodes, months, rows, columns, *texture = blocks
    prediction, flags, index = predicted[:, 0]
    _, season = how.season(months)
    model = fitted[season]
    usable = maps.usable(observed[0], how.valid_range)
    limits = _limits(how, texture, usable)
    part = tuple(
        slice(int(place[0]) * size, int(place[0]) * size + length)
        for place, size, length in zip((rows, columns), how.tile, usable.shape, strict=True)
    )
    around = kernels.nodes_around(nodes[0], (part[0], part[1]))
    values, quality = maps.finish(
        prediction.astype("float64"), usable, around, how.ratio, limits, conserve=how.conserve
    )
    values, quality = maps.thaw(values, (quality | flags.astype("uint8")).astype("uint8"))
    layers = {MAP: values, QUALITY: quality, APPLICABILITY: index}
    if model.offsets is not None:
        layers[LOWER], layers[UPPER] = maps.ends(values, quality, model.offsets, limits)
    return np.stack([layers[name] for name in how.layers]).astype("float32")[:, None]


def _limits(how: Drawing, texture: list[Array], observed: Array) -> tuple[float, Any]:
    """Range of a tile's values: the physical one, whose upper end is that of each soil where its texture is known."""
    if how.soil.texture is None:
        return how.valid_range
    sand, clay = (
        _read(block[0] if block.ndim > 2 else block, reading)  # noqa: PLR2004 - a month
        for block, reading in zip(texture, how.soil.texture, strict=True)
    )
    lower, upper = how.valid_range
    return lower, np.maximum(maps.capacity(sand, clay, observed, how.ratio, upper), lower)


def sent(fitted: Mapping[str, Fitted]) -> dict[str, Any]:
    """Models as tasks take them: each is one key of the graph, whatever the number of its tasks.

    The maps then outlive the client that trained them; a future of it would be released before they are computed.
    """
    return {season: delayed(model, traverse=False) for season, model in fitted.items()}
