"""Fine maps from the cube and a season's model: gaps filled, predicted, conserved, and folded into seasons."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from soilscale import kernels, models, schema
from soilscale.grid import Grid
from soilscale.schema import (
    APPLICABILITY,
    COARSE,
    FINE,
    LOWER,
    MAP,
    PREDICTION,
    PREDICTION_QUALITY,
    QUALITY,
    RESIDUAL,
    UPPER,
    Quality,
)
from soilscale.seasons import Months, Seasons

MONTH, SEASON = "month", "season"

NODES: Mapping[str, str] = {MONTH: COARSE, SEASON: "coarse_season"}
"""Group of maps -> the group that holds the nodes of the surfaces that conserve them."""

ENDS = (LOWER, UPPER)

OPTIONAL: Mapping[str, Mapping[str, Any]] = {
    **{name: {**schema.MAP_ATTRS, "long_name": f"{name} end of the interval"} for name in ENDS},
    APPLICABILITY: schema.APPLICABILITY_ATTRS,
    RESIDUAL: {**schema.MAP_ATTRS, "long_name": "what conservation adds to the model's estimate"},
}
"""Layers that a map may have beside its values and their quality, with their attributes."""

ROUNDING = 1e-6
"""m3 m-3 by which a stored observation may leave the physical range and still be within it."""

Floats = NDArray[np.floating]
Flags = NDArray[np.uint8]


@dataclass(frozen=True)
class Offsets:
    """What is added to a map for its lower and its upper layer, m3 m-3."""

    observed: tuple[float, float]
    """Where the coarse cell has an observation."""
    predicted: tuple[float, float]
    """Where it has none."""


def template(
    grid: Grid,
    months: Months,
    starts: Months,
    seasons: Seasons,
    *,
    predict_seasons: bool = False,
    optional: Collection[str] = (),
    valid_range: tuple[float, float] | None = None,
) -> dict[str, xr.Dataset]:
    """Datasets of the groups ``month``, ``season`` and their `NODES`, lazy and all missing.

    Parameters
    ----------
    grid
        The nested grid.
    months
        Months to be mapped, shape ``(n,)``.
    starts
        First months of the seasons to be mapped, shape ``(m,)``.
    seasons
        The seasons.
    predict_seasons
        Whether seasonal maps are predictions of their own, and not means of the monthly maps.
    optional
        Which of the layers `OPTIONAL` the maps have.
    valid_range
        Physical range of the values and of the ends of their interval.

    Returns
    -------
    dict
        Group -> dataset.
    """
    month = np.timedelta64(1, "M")
    after = np.array([seasons.members(start)[-1] + month for start in starts], dtype="datetime64[M]")
    layers = {MAP: schema.MAP_ATTRS, QUALITY: schema.QUALITY_ATTRS}
    layers |= {name: attrs for name, attrs in OPTIONAL.items() if name in optional}
    if valid_range is not None:
        for name in layers.keys() & {MAP, *ENDS}:
            layers[name] = dict(layers[name]) | {"valid_range": list(valid_range)}
    predicted = {PREDICTION: dict(schema.MAP_ATTRS) | {"long_name": "model's estimate before conservation"}}
    nodes = {RESIDUAL: dict(schema.MAP_ATTRS) | {"long_name": "nodes of the surface that conserves"}}
    flags = {PREDICTION_QUALITY: dict(schema.QUALITY_ATTRS) | {"long_name": "what the model's estimate rests on"}}
    groups = {
        MONTH: _dataset(grid, FINE, months, months + month, seasons, layers | predicted | flags),
        SEASON: _dataset(grid, FINE, starts, after, seasons, layers | (predicted | flags if predict_seasons else {})),
        NODES[MONTH]: _dataset(grid, COARSE, months, months + month, seasons, nodes),
    }
    if predict_seasons:
        groups[NODES[SEASON]] = _dataset(grid, COARSE, starts, after, seasons, nodes)
    return groups


def _dataset(
    grid: Grid, scale: str, starts: Months, ends: Months, seasons: Seasons, layers: Mapping[str, Mapping[str, Any]]
) -> xr.Dataset:
    import dask.array as da

    geobox = grid.fine if scale == FINE else grid.coarse
    variables = {}
    for name, attrs in layers.items():
        flag, is_coarse = name in {QUALITY, PREDICTION_QUALITY}, scale == COARSE
        empty = np.uint8(0) if flag else np.float64("nan") if is_coarse else np.float32("nan")
        chunks = (1, *(geobox.shape if is_coarse else schema.chunks(grid, scale)))
        values = da.full((len(starts), *geobox.shape), empty, dtype=empty.dtype, chunks=chunks)
        # Flags have no fill value: xarray would read them as floats for its sake.
        encoding = {"chunks": chunks} | ({} if flag else {"_FillValue": empty})
        attributes = dict(attrs) | {"grid_mapping": schema.SPATIAL_REF}
        attributes["coverage_content_type"] = "qualityInformation" if flag else "modelResult"
        if not flag and scale == FINE:
            attributes["ancillary_variables"] = QUALITY
        variables[name] = xr.Variable(schema.DIMS, values, attributes, encoding)
    names = np.array([seasons.name(start) for start in starts], dtype=object)
    coords = schema.coordinates(geobox, starts) | {
        "time_bounds": schema.time_bounds(starts, ends),
        "season": xr.Variable("time", names, {"long_name": "season"}),
    }
    return xr.Dataset(variables, coords, {"Conventions": schema.CONVENTIONS})


def complete_seasons(months: Months, seasons: Seasons) -> Months:
    """First months of the seasons all of whose months are given, ascending."""
    mapped = set(months.tolist())
    starts = np.unique([seasons.start(month) for month in months])
    complete = [start for start in starts if set(seasons.members(start).tolist()) <= mapped]
    return np.array(complete, dtype="datetime64[M]")


def fill_gaps(own_values: Floats, around: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, NDArray[np.bool_]]:
    """Missing values of a month interpolated in time between the nearest months on either side.

    Parameters
    ----------
    own_values
        Shape ``(Y, X)``, NaN where missing.
    around
        The months before and after at 1, 2, ... months' distance, nearest first, each of shape ``(Y, X)``. Both
        months of a pair must be valid: the mean of one side alone would shift the season.

    Returns
    -------
    values, filled
        Shape ``(Y, X)``.
    """
    values = own_values.copy()
    for before, after in around:
        values = np.where(np.isnan(values), (before + after) / 2, values)
    return values, np.isnan(own_values) & np.isfinite(values)


def predict(
    predictor: models.Predictor, features: Sequence[Floats], where: NDArray[np.bool_], surface: Floats | None = None
) -> Floats:
    """Prediction of a model on a tile, in bounded memory.

    Parameters
    ----------
    predictor
        Fitted on the same features in the same order (see `models.ready`).
    features
        One array of shape ``(Y, X)`` for each feature, NaN where missing.
    where
        Cells to predict, shape ``(Y, X)``; cells with a missing feature are left out.
    surface
        What place and month add, shape ``(Y, X)`` (see `models.surface`).

    Returns
    -------
    array
        Float32, shape ``(Y, X)``, NaN elsewhere.
    """
    use = where & np.logical_and.reduce([np.isfinite(feature) for feature in features])
    result = np.full(use.shape, np.nan, dtype="float32")
    if use.any():
        result[use] = models.predict(predictor, _rows(features, use))
    return result if surface is None else (result + surface).astype("float32")


def dissimilarity(measured: models.Applicability, features: Sequence[Floats], where: NDArray[np.bool_]) -> Floats:
    """Dissimilarity index of a tile's features over its threshold, in bounded memory.

    Parameters
    ----------
    known
        Where the model is applicable.
    features
        As `predict` takes them.
    where
        Cells that are predicted, shape ``(Y, X)``: every feature is finite there.

    Returns
    -------
    array
        Float32, shape ``(Y, X)``, NaN elsewhere.
    """
    result = np.full(where.shape, np.nan, dtype="float32")
    result[where] = measured.index(_rows(features, where))
    return result


def _rows(features: Sequence[Floats], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Features of some cells as a model takes them, shape ``(n, p)``."""
    table = np.empty((np.count_nonzero(where), len(features)), "float32")
    for column, feature in enumerate(features):
        table[:, column] = feature[where]
    return table


def usable(observed: Floats, valid_range: tuple[float, float]) -> Floats:
    """Observations that lie in the physical range, or beyond it by no more than rounding, as float64; else NaN."""
    lower, upper = valid_range
    values = observed.astype("float64")
    return np.where((values >= lower - ROUNDING) & (values <= upper + ROUNDING), np.clip(values, lower, upper), np.nan)


def finish(
    prediction: Floats,
    observed: Floats,
    nodes: Floats,
    ratio: int,
    valid_range: tuple[float, float | Floats],
    *,
    conserve: bool,
) -> tuple[Floats, Flags]:
    """Map and its quality from a prediction and the coarse observation.

    Parameters
    ----------
    prediction
        Shape ``(Y, X)``, NaN where missing.
    observed
        Shape ``(Y, X) / ratio``, as `usable` gives it.
    nodes
        Residual nodes of the whole map around this tile, shape ``(y + 2, x + 2)`` (`kernels.residual_nodes`).
    ratio
        Fine cells along the side of a coarse cell.
    valid_range
        Physical range; its upper end may be one of each cell, shape ``(Y, X)`` (see `capacity`).
    conserve
        Whether block means shall equal the observation.

    Returns
    -------
    map, quality
        Float32 and uint8 (`schema.Quality`), shape ``(Y, X)``.
    """
    lower, upper = valid_range
    if conserve:
        values, clamped = kernels.conserve(prediction, observed, ratio, lower, upper, nodes)
    else:
        values, clamped = np.clip(prediction, lower, upper), (prediction < lower) | (prediction > upper)
    observed_fine = np.repeat(np.repeat(np.isfinite(observed), ratio, axis=0), ratio, axis=1)
    has_value = np.isfinite(values)
    quality = np.where(has_value, np.where(observed_fine, Quality.OBSERVED, Quality.PREDICTED), 0)
    quality = quality | np.where(clamped & has_value, Quality.CLAMPED, 0)
    single = values.astype("float32")  # whose nearest value to a bound may lie beyond it
    beyond = (single.astype("float64") < lower) | (single.astype("float64") > upper)
    single = np.where(beyond, np.nextafter(single, np.float32(lower / 2 + upper / 2)), single)
    return single, quality.astype("uint8")


def capacity(sand: Floats, clay: Floats, observed: Floats, ratio: int, most: float) -> Floats:
    """Upper end of the range of each fine cell: the porosity of its soil, but no less than what is observed of it.

    Parameters
    ----------
    sand, clay
        % of weight, shape ``(Y, X)``, NaN where missing: there the range is what it is anywhere.
    observed
        Shape ``(Y, X) / ratio``, NaN where unobserved. A regression on texture knows no peat and no rock; the
        observation of a cell shows that its soils can hold as much.
    ratio
        Fine cells along the side of a coarse cell.
    most
        Upper end of the physical range anywhere.

    Returns
    -------
    array
        Shape ``(Y, X)``, m3 m-3.
    """
    observed_fine = np.repeat(np.repeat(observed, ratio, axis=0), ratio, axis=1)
    pores = kernels.porosity(sand, clay)
    # fmax passes over the NaN of an unobserved cell, and leaves the porosity as it is.
    return np.where(np.isnan(pores), most, np.fmin(np.fmax(pores, observed_fine), most))


def thaw(values: Floats, quality: Flags) -> tuple[Floats, Flags]:
    """Leave out of a map what is frozen where nothing was observed.

    Microwaves see liquid water alone, and nothing of the ground under wet snow: a value of frozen ground predicts what
    is not there. Where the coarse product has an observation, it was made on days that were not frozen.

    Returns
    -------
    map, quality
        What is left out has the bits ``frozen`` and ``outside`` alone.
    """
    frozen = (quality & Quality.FROZEN) > 0
    out = frozen & ((quality & Quality.OBSERVED) == 0)
    bare = quality & (Quality.FROZEN | Quality.OUTSIDE)
    return np.where(out, np.float32("nan"), values), np.where(out, bare, quality).astype("uint8")


def ends(
    values: Floats, quality: Flags, offsets: Offsets, limits: tuple[float, float | Floats]
) -> tuple[Floats, Floats]:
    """Lower and upper layer of a map, within the range of its values; float32, NaN where the map or the offset is.

    Parameters
    ----------
    limits
        Physical range; its upper end may be an array of the maps' shape, such as the porosity of the soil.
    """
    observed = (quality & Quality.OBSERVED) > 0
    lower, upper = (
        np.clip(values + np.where(observed, *pair), *limits).astype("float32")
        for pair in zip(offsets.observed, offsets.predicted, strict=True)
    )
    # The range or rounding to float32 may carry an end past the map, which the interval shall hold.
    return np.minimum(lower, values), np.maximum(upper, values)


def count_flags(layers: Iterable[Flags]) -> tuple[dict[Quality, int], int]:
    """How many cells of some quality layers carry each bit, and how many have no value because they are frozen.

    The bit ``frozen`` counts where there is a value.
    """
    counts, masked = dict.fromkeys(Quality, 0), 0
    for flags in layers:
        # This bit alone: with `outside` the cell is none that is missed.
        masked += int(np.count_nonzero(flags == Quality.FROZEN))
        for bit in counts:
            counts[bit] += int(np.count_nonzero(flags & bit))
    counts[Quality.FROZEN] -= masked
    return counts, masked


def fold_season(maps: Sequence[Floats], quality: Sequence[Flags]) -> tuple[Floats, Flags]:
    """Seasonal map: the mean of its monthly maps where every month has one.

    Parameters
    ----------
    maps, quality
        The months' maps and quality layers, each of shape ``(Y, X)``.

    Returns
    -------
    map, quality
        Observed where every month was observed; any other bit is set where one month has it. Without a value a cell is
        frozen where a month is.
    """
    stack, flags = np.stack(maps).astype("float64"), np.stack(quality)
    mean = stack.mean(axis=0)
    has_value = np.isfinite(mean)
    observed = ((flags & Quality.OBSERVED) > 0).all(axis=0)
    origin = np.where(observed, Quality.OBSERVED, Quality.PREDICTED)
    shared_flags = np.bitwise_or.reduce(flags, axis=0) & ~(Quality.OBSERVED | Quality.PREDICTED | Quality.OUTSIDE)
    outside = np.bitwise_and.reduce(flags, axis=0) & Quality.OUTSIDE
    bare = shared_flags & Quality.FROZEN
    return mean.astype("float32"), (np.where(has_value, origin | shared_flags, bare) | outside).astype("uint8")
