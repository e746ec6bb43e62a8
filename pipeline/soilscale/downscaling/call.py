"""The function that downscales arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.base import compute as dask_compute

from soilscale import maps, models, schema
from soilscale.downscaling import fine_maps, learning, stack
from soilscale.downscaling import lesson as lessons
from soilscale.errors import ConfigurationError, nearest
from soilscale.seasons import SCHEMES, Seasons

if TYPE_CHECKING:
    from distributed import Client


def downscale(
    coarse: xr.DataArray,
    predictors: xr.Dataset,
    ratio: int,
    *,
    seasons: str | Mapping[str, Sequence[int]] = "meteorological",
    algorithm: str | Any = "best",
    conserve: bool = True,
    interval: float | None = None,
    client: Client | None = None,
    categorical: Iterable[str] = (),
    parameters: Mapping[str, Any] | None = None,
    valid_range: tuple[float, float] = (0.0, 0.6),
    min_valid_fraction: float = 0.5,
    seed: int = 0,
    folds: int = 5,
) -> xr.Dataset:
    """Downscale a coarse soil moisture field with fine predictors.

    It is the engine of ``soilscale run`` without catalog, files or configuration, and gives the same numbers: a model
    for each season learns how monthly means of the coarse cells follow from those of the predictors, predicts every
    fine cell, and the result is shifted so that its means over coarse cells equal the observation.

    The call learns the models, which reads the predictors once. The maps it returns are lazy: they are computed month
    by month and tile by tile when they are loaded, plotted or written.

    Parameters
    ----------
    coarse : xarray.DataArray
        Soil moisture, dimensions (time, y, x) in any order, one value a month; NaN where there is none. In m3 m-3 or in
        the unit that ``attrs["units"]`` states, such as %. The axes may be called lat and lon; y may ascend.
    predictors : xarray.Dataset
        One variable for each predictor, (time, y, x) or (y, x), on a fine grid nested in the coarse one: every coarse
        cell is ``ratio`` x ``ratio`` whole fine cells. Coarse cells that they do not cover wholly are left out. They
        have every month of ``coarse``; months beyond that are predicted. Cells with a missing predictor are not mapped
        in that month, so fill gaps before. Sand and clay in %, and a land surface temperature (``lst``) in K, are used
        as a run uses them: for the porosity of the soil, and to leave out frozen ground.
    ratio : int
        Fine cells along the side of a coarse cell.
    seasons : str or mapping
        A scheme, ``meteorological``, ``wet_dry``, ``growing`` or ``annual``, or season -> its months.
    algorithm : str or estimator
        Name of an algorithm of soilscale; ``best``: of the recommended ones, for each season that with the least error
        on held-out blocks; or an estimator of scikit-learn's kind, which is cloned and not changed.
    conserve : bool
        Whether means of the maps over coarse cells equal the observation.
    interval : float, optional
        Share of the truth, 0..1, that lies between ``lower`` and ``upper``; without it there are no such layers.
    client : distributed.Client, optional
        Cluster on which models are trained; by default Dask's scheduler of the moment. The maps are computed
        wherever they are computed later.
    categorical : iterable of str
        Predictors that hold class codes, such as land cover; those with an attribute ``flag_values`` count as such too.
        Models learn from the share of each class, ``<name>_<code>``.
    parameters : mapping, optional
        Parameters of the algorithm that differ from its defaults.
    valid_range : tuple of float
        Physical range of the maps, m3 m-3.
    min_valid_fraction : float
        Least share of valid fine cells of every predictor in a coarse cell that is learned from, 0..1.
    seed : int
        Seed of everything random.
    folds : int
        Folds of the blocked cross-validation by which `best` chooses and intervals are measured.

    Returns
    -------
    xarray.Dataset
        ``soil_moisture`` (m3 m-3), ``quality`` (bits, see ``attrs``), ``applicability`` (dissimilarity to the training
        data, 1 = threshold) and, with `interval`, ``lower`` and ``upper``: (time, y, x), lazy, on the grid and in the
        order of the predictors. ``attrs["algorithms"]`` names the algorithm of each season.

    Raises
    ------
    soilscale.errors.DataError
        If the arrays do not fit together or cannot be learned from.
    soilscale.errors.ConfigurationError
        If another argument is wrong.

    Examples
    --------
    Two years of 4 x 4 coarse cells, each 10 x 10 fine ones, whose soil moisture follows rain and height:

    >>> import numpy as np, pandas as pd, xarray as xr
    >>> import soilscale
    >>> rng = np.random.default_rng(0)
    >>> time = pd.date_range("2020-01", periods=24, freq="MS")
    >>> y, x = 49.995 - 0.01 * np.arange(40), 5.005 + 0.01 * np.arange(40)
    >>> predictors = xr.Dataset(
    ...     {"rain": (("time", "y", "x"), 60 + 20 * rng.standard_normal((24, 40, 40))),
    ...      "height": (("y", "x"), 300 + np.add.outer(np.arange(40.0), np.arange(40.0)))},
    ...     {"time": time, "y": y, "x": x},
    ... )
    >>> truth = 0.1 + 0.001 * predictors.rain + 0.0002 * predictors.height
    >>> coarse = truth.coarsen(y=10, x=10).mean()
    >>> maps = soilscale.downscale(coarse, predictors, 10, seasons="annual", algorithm="knn")
    >>> dict(maps.sizes)
    {'time': 24, 'y': 40, 'x': 40}

    The means of the maps are the coarse field:

    >>> again = maps.soil_moisture.coarsen(y=10, x=10).mean()
    >>> bool(abs(again - coarse).max() < 1e-6)
    True

    Seasonal means are xarray's to take:

    >>> maps.soil_moisture.resample(time="QS-DEC").mean().sizes["time"]
    9
    """

    def compute(*collections: Any) -> tuple[Any, ...]:
        if client is None:
            computed: tuple[Any, ...] = dask_compute(*collections)
            return computed
        return tuple(client.compute(list(collections), sync=True))

    how = lessons.How(
        seasons=_scheme(seasons),
        algorithm=_checked(algorithm, parameters),
        parameters=parameters or {},
        interval=_share(interval),
        valid_range=valid_range,
        min_valid_fraction=min_valid_fraction,
        seed=seed,
        folds=folds,
    )
    arrays = stack.read(coarse, predictors, ratio, categorical, compute)
    lesson = lessons.lesson(arrays, stack.coarse_cube(arrays, compute), how, compute)
    fitted = learning.learn(lesson)
    layers = fine_maps.draw(
        arrays,
        fine_maps.sent(fitted),
        how.seasons,
        conserve=conserve,
        valid_range=valid_range,
        interval=interval is not None,
    )
    return _dataset(arrays, layers, how, {season: model.algorithm for season, model in fitted.items()})


def _scheme(seasons: str | Mapping[str, Sequence[int]]) -> Seasons:
    if isinstance(seasons, str) and seasons not in SCHEMES:
        raise ConfigurationError(f"seasons: there is no scheme {seasons!r}{nearest(seasons, SCHEMES)}")
    try:
        return Seasons(SCHEMES[seasons] if isinstance(seasons, str) else seasons)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _checked(algorithm: Any, parameters: Mapping[str, Any] | None) -> Any:
    """Algorithm, if there is such a one and it takes the parameters."""
    if not isinstance(algorithm, str):
        if not (hasattr(algorithm, "fit") and hasattr(algorithm, "predict") and hasattr(algorithm, "get_params")):
            raise ConfigurationError(
                f"algorithm: got {algorithm!r}, expected a name or an estimator of scikit-learn's kind"
            )
        if parameters:
            raise ConfigurationError("parameters: an estimator has its own; set them there")
        return algorithm
    if algorithm == "best":
        if parameters:
            raise ConfigurationError("parameters: they are of one algorithm, but algorithm is 'best'; name that one")
        return algorithm
    if algorithm not in models.ALGORITHMS:
        raise ConfigurationError(
            f"algorithm: there is no {algorithm!r}{nearest(algorithm, ('best', *models.ALGORITHMS))}"
        )
    models.find(algorithm).make(parameters or {}, 1, 0)
    return algorithm


def _share(interval: float | None) -> float | None:
    if interval is not None and not 0 < interval < 1:
        raise ConfigurationError(f"interval: got {interval!r}, expected a share between 0 and 1, such as 0.9, or None")
    return interval


def _dataset(
    arrays: stack.Stack, layers: Mapping[str, Any], how: lessons.How, algorithms: Mapping[str, str]
) -> xr.Dataset:
    """Layers on the grid and in the order of the predictors."""
    attributes = {
        schema.MAP: schema.MAP_ATTRS,
        schema.QUALITY: schema.QUALITY_ATTRS,
        **{name: maps.OPTIONAL[name] for name in (*maps.ENDS, schema.APPLICABILITY)},
    }
    flips = (slice(None), *(slice(None, None, -1 if flipped else 1) for flipped in arrays.flipped))
    axes = [name for name in arrays.like.dims if name != "time"]
    names = np.array(how.seasons.names_of(arrays.months), dtype=object)
    mapping = {"grid_mapping": schema.SPATIAL_REF} if schema.SPATIAL_REF in arrays.like.coords else {}
    variables = {
        name: (("time", *axes), values[flips], {**attributes[name], **mapping}) for name, values in layers.items()
    }
    models_used = "; ".join(f"{season}: {algorithm}" for season, algorithm in algorithms.items())
    dataset = xr.Dataset(variables, arrays.like.coords, {"Conventions": schema.CONVENTIONS, "algorithms": models_used})
    return dataset.assign_coords(season=("time", names))
