"""A person's arrays as the engine takes them: nested grids, one month after the other, chunks that are tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from soilscale import kernels, units
from soilscale.downscaling import axes
from soilscale.downscaling.axes import Axis
from soilscale.errors import ConfigurationError, DataError, nearest
from soilscale.grid import TILE_PIXELS, Grid
from soilscale.schema import DIMS, MAP, MAP_ATTRS, SPATIAL_REF, VALID_FRACTION
from soilscale.seasons import Months

MOST_CLASSES = 64
"""Classes of a categorical predictor; more are likely values of a continuous one."""

TARGET = MAP
"""Name of the observation among the coarse variables."""

Compute = Callable[..., tuple[Any, ...]]
"""Computes Dask collections, on whatever cluster there is."""


@dataclass(frozen=True)
class Stack:
    """Coarse observation and fine predictors of the same whole coarse cells."""

    grid: Grid
    months: Months
    """Months of the maps, ascending."""
    features: Mapping[str, da.Array]
    """Name -> float32 values, (time, y, x) or (y, x), a chunk for each month and tile, NaN where missing."""
    shares: tuple[bool, ...]
    """Whether each feature is the share of a class."""
    units: Mapping[str, str]
    """Feature -> its unit, as far as it states one."""
    observed: NDArray[np.float32]
    """m3 m-3, (time, y, x) on the coarse grid, NaN where there is no observation."""
    coarse: tuple[NDArray[np.float64], NDArray[np.float64]]
    """y and x of the coarse cells' centres."""
    fine: tuple[NDArray[np.float64], NDArray[np.float64]]
    """y and x of the fine cells' centres."""
    like: xr.Dataset
    """Coordinates of the maps, as the predictors have them."""
    flipped: tuple[bool, bool]
    """Whether rows and columns of the predictors go the other way."""

    @property
    def names(self) -> tuple[str, ...]:
        """Features, in their order."""
        return tuple(self.features)


def read(
    coarse: xr.DataArray, predictors: xr.Dataset, ratio: int, categorical: Iterable[str], compute: Compute
) -> Stack:
    """Check a person's arrays and bring them into the engine's order.

    Parameters
    ----------
    categorical
        Predictors that hold class codes, beside those whose attributes say so.
    compute
        Looks up the observation and the classes.

    Raises
    ------
    DataError, ConfigurationError
        Naming what does not fit.
    """
    if not isinstance(coarse, xr.DataArray) or not isinstance(predictors, xr.Dataset):
        raise ConfigurationError(
            f"got a coarse field of type {type(coarse).__name__} and predictors of type {type(predictors).__name__}, "
            "expected an xarray.DataArray and an xarray.Dataset; take a variable of a dataset with dataset['name'], "
            "make a dataset of an array with array.to_dataset(name='ndvi')"
        )
    ratio = axes.checked_ratio(ratio)
    wide = tuple(axes.axis(coarse, kind, "coarse") for kind in DIMS[1:])
    narrow = tuple(axes.axis(predictors, kind, "predictors") for kind in DIMS[1:])
    crs = axes.crs_of(coarse, wide[0]), axes.crs_of(predictors, narrow[0])
    axes.same_crs(*crs)
    parts = axes.nest((wide[0], wide[1]), (narrow[0], narrow[1]), ratio)
    field = _ordered(coarse, wide, parts.coarse)
    stacked = _ordered(predictors, narrow, parts.fine)
    observed, months = _observed(field, stacked, compute)
    side = narrow[0].step * ratio
    tops = [axis.centres[part] for axis, part in zip(wide, parts.coarse, strict=True)]
    shape = len(tops[0]), len(tops[1])
    crs_stated = crs[1] or crs[0]
    grid = Grid(
        crs="" if crs_stated is None else crs_stated.to_wkt(),
        side=side,
        ratio=ratio,
        left=float(tops[1][0] - side / 2),
        top=float(tops[0][0] + side / 2),
        shape=shape,
        tile=max(1, TILE_PIXELS // ratio),
    )
    features, shares, unit_of = _features(stacked, grid, _categorical(predictors, categorical), compute)
    return Stack(
        grid=grid,
        months=months,
        features=features,
        shares=shares,
        units=unit_of,
        observed=observed,
        coarse=(tops[0], tops[1]),
        fine=(stacked["y"].to_numpy().astype("float64"), stacked["x"].to_numpy().astype("float64")),
        like=_like(predictors, narrow, parts.fine, months),
        flipped=(narrow[0].flipped, narrow[1].flipped),
    )


def _ordered(values: Any, axes_of: tuple[Axis, ...], parts: tuple[slice, slice]) -> Any:
    """Array or dataset with the axes y, descending, and x, ascending, cut to the cells that are shared."""
    flips = {axis.name: slice(None, None, -1) for axis in axes_of if axis.flipped}
    renamed = {axis.name: kind for axis, kind in zip(axes_of, DIMS[1:], strict=True) if axis.name != kind}
    return values.isel(flips).rename(renamed).isel(y=parts[0], x=parts[1])


def _like(predictors: xr.Dataset, narrow: tuple[Axis, ...], parts: tuple[slice, slice], months: Months) -> xr.Dataset:
    """Coordinates of the maps, in the names and the order of the predictors."""
    keep = {}
    for axis, part in zip(narrow, parts, strict=True):
        count = len(axis.centres)
        keep[axis.name] = slice(count - part.stop, count - part.start) if axis.flipped else part
    at: xr.Dataset = predictors.isel(keep)
    coords = {name: at[name] for name in keep} | {"time": ("time", months.astype("datetime64[ns]"))}
    if SPATIAL_REF in predictors.variables:
        coords[SPATIAL_REF] = predictors[SPATIAL_REF].reset_coords(drop=True)
    return xr.Dataset(coords=coords)


def _observed(field: xr.DataArray, stacked: xr.Dataset, compute: Compute) -> tuple[NDArray[np.float32], Months]:
    """Observation in m3 m-3 at the months of the maps, and those."""
    axes.decoded(field, "coarse")
    if set(field.dims) != set(DIMS):
        raise DataError(f"coarse: got the dimensions {', '.join(map(str, field.dims))}, expected {', '.join(DIMS)}")
    dates = axes.months_of(field, "coarse")
    months = axes.months_of(stacked, "predictors") if "time" in stacked.dims else np.sort(dates)
    if "time" in stacked.dims and (gap := np.setdiff1d(dates, months)).size:
        raise DataError(
            f"predictors: they lack {gap.size} of the {dates.size} months of the coarse field ({axes.listed(gap)}); "
            "add those months, or select from the coarse field the months that both have"
        )
    (values,) = compute(field.transpose(*DIMS).data)
    values = np.where(np.isfinite(values), values, np.nan).astype("float64")
    unit = units.unit_text(field.attrs.get("units"))
    if unit is not None:
        try:
            way = units.linear(unit, str(MAP_ATTRS["units"]))
        except units.UnitError as error:
            raise DataError(f"coarse: {error}; expected soil moisture as a volume, in m3 m-3 or %") from error
        values = values * way.factor + way.offset
    if np.isnan(values).all():
        raise DataError("coarse: it has no value in the cells that the predictors cover, so nothing can be learned")
    months = np.sort(months)
    observed = np.full((len(months), *values.shape[1:]), np.nan, "float32")
    observed[np.searchsorted(months, dates)] = values
    return observed, months


def _categorical(predictors: xr.Dataset, categories: Iterable[str]) -> frozenset[str]:
    """Predictors that hold class codes: those named, and those whose attributes say so."""
    requested = (categories,) if isinstance(categories, str) else tuple(categories)
    names = [str(name) for name in predictors.data_vars]
    if unknown := [name for name in requested if name not in names]:
        raise ConfigurationError(f"categorical: there is no predictor {unknown[0]!r}{nearest(unknown[0], names)}")
    with_flags = {
        str(name)
        for name, values in predictors.data_vars.items()
        if "flag_values" in values.attrs or values.attrs.get("kind") == "categorical"
    }
    return frozenset({*requested, *with_flags})


def _features(
    stacked: xr.Dataset, grid: Grid, categorical: frozenset[str], compute: Compute
) -> tuple[dict[str, da.Array], tuple[bool, ...], dict[str, str]]:
    """Features, whether each is the share of a class, and their units."""
    features: dict[str, da.Array] = {}
    shares: list[bool] = []
    unit_of = {}
    # In the order of time, whatever that of the predictors is.
    ordered = stacked
    if "time" in stacked.dims:
        ordered = stacked.isel(time=np.argsort(axes.months_of(stacked, "predictors")))
    for key, values in ordered.data_vars.items():
        name = str(key)
        if not values.dims:  # such as a grid mapping
            continue
        axes.decoded(values, f"predictors: {name}")
        dims = DIMS if "time" in values.dims else DIMS[1:]
        if set(values.dims) != set(dims):
            raise DataError(
                f"predictors: {name} has the dimensions {', '.join(map(str, values.dims))}, expected (time, y, x) or "
                "(y, x); split other dimensions into variables, one for each feature"
            )
        array = _tiled(values.transpose(*dims), grid)
        if name not in categorical:
            features[name] = array
            shares.append(False)
            if (unit := units.unit_text(values.attrs.get("units"))) is not None:
                unit_of[name] = units.canonical(unit)
            continue
        for code in _classes(name, array, compute):
            features[f"{name}_{code}"] = da.map_blocks(_indicator, array, code=code, dtype="float32")
            shares.append(True)
            unit_of[f"{name}_{code}"] = "1"
    if not features:
        raise DataError("predictors: got no variable with the axes y and x, expected at least one")
    return features, tuple(shares), unit_of


def _tiled(values: xr.DataArray, grid: Grid) -> da.Array:
    """Values as float32, chunks being tiles."""
    high, wide = (cells * grid.ratio for cells in grid.tile_shape)
    chunks = {"y": high, "x": wide} | ({"time": 1} if "time" in values.dims else {})
    return da.asarray(values.chunk(chunks).data).astype("float32")


def _indicator(codes: NDArray[np.float32], code: int) -> NDArray[np.float32]:
    return np.where(np.isfinite(codes), codes == code, np.nan).astype("float32")


def _classes(name: str, codes: da.Array, compute: Compute) -> list[int]:
    """Class codes of a categorical predictor."""
    (values,) = compute(da.unique(codes.ravel()))
    finite = values[np.isfinite(values)]
    if (finite != np.round(finite)).any() or len(finite) > MOST_CLASSES:
        raise DataError(
            f"predictors: {name} is to be categorical, but has {len(finite)} values such as {axes.listed(finite)}; "
            f"expected whole numbers, {MOST_CLASSES} classes at most"
        )
    return [int(code) for code in finite]


def coarse_cube(stack: Stack, compute: Compute) -> xr.Dataset:
    """Coarse group of a cube: block means of the features, the observation, the smallest valid share.

    Raises
    ------
    DataError
        If a predictor has no value anywhere.
    """
    ratio = stack.grid.ratio
    means = [_means(array, ratio) for array in stack.features.values()]
    computed = compute(*means)
    smallest = np.ones(stack.observed.shape, "float32")
    variables: dict[str, Any] = {}
    for name, (mean, share) in zip(stack.names, computed, strict=True):
        if not share.any():
            raise DataError(f"predictors: {name} is missing everywhere; leave it out, or give it values")
        variables[name] = (DIMS[-mean.ndim :], mean)
        smallest = np.minimum(smallest, share)
    variables |= {TARGET: (DIMS, stack.observed), VALID_FRACTION: (DIMS, smallest)}
    times = stack.months.astype("datetime64[ns]")
    return xr.Dataset(variables, {"time": times, "y": stack.coarse[0], "x": stack.coarse[1]})


def _means(values: da.Array, ratio: int) -> da.Array:
    """Block means and valid shares, stacked in front, float32 as a cube holds them."""
    *time, high, wide = values.chunks
    chunks = ((2,), *time, *(tuple(size // ratio for size in sizes) for sizes in (high, wide)))
    return da.map_blocks(_block_means, values, ratio=ratio, chunks=chunks, new_axis=0, dtype="float32", meta=EMPTY)


EMPTY = np.empty((0,) * 4, "float32")
"""What Dask takes a block for where it would otherwise run the function on an empty one."""


def _block_means(values: NDArray[np.float32], ratio: int) -> NDArray[np.float32]:
    return np.stack(kernels.block_mean(values, ratio)).astype("float32")
