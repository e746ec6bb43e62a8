"""Fits that learn all seasons together from means over cells: rows of the training table beside those of the basis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale.models import area, posterior
from soilscale.models.area import Areas, Floats, Variances, level
from soilscale.models.basis import Basis, bends, block_means, pairs, pixels
from soilscale.models.columns import FOLD
from soilscale.models.effects import Covariance
from soilscale.models.fits import Job, numbered, predictions
from soilscale.models.gaussian_process import GaussianProcess
from soilscale.models.posterior import Points
from soilscale.samples import TRAIN
from soilscale.schema import MAP
from soilscale.seasons import ALL

KEYS = ("time", "y", "x")
"""Columns by which a row of the basis finds that of the training table."""

BATCH = 32
"""Cells whose pixels are tabulated at once."""

SPREAD = 2000
"""Most rows from which the spread of the maps' errors is measured; the time goes with their third power."""

PLACE = ("pixel:down", "pixel:across")
"""Columns that tell where a cell's random pixel lies: southwards and eastwards of the centre, in cells."""


@dataclass(frozen=True)
class Ground:
    """What the rows of a joint fit stand on."""

    features: tuple[str, ...]
    basis: Basis
    seasons: tuple[str, ...]
    """Names of the seasons, in order."""
    corner: tuple[float, float, float]
    """y and x of the centre of the first cell, and the side of a cell."""


def columns(ground: Basis, features: Sequence[str]) -> list[str]:
    """Columns of the basis: each feature's line, then the functions that the curves are made of, then products."""
    curved = [name for name, has in zip(features, ground.curved, strict=True) if has]
    number = bends(ground.knots).shape[1]
    return [
        *(f"{name}:line" for name in features),
        *(f"{name}:{part}" for name in curved for part in range(number)),
        *(f"{curved[first]}*{curved[second]}" for first, second in zip(*pairs(len(curved)), strict=True)),
    ]


def tabulate(ground: Basis, features: Sequence[str], values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Columns of the basis of cells: means over their pixels.

    Parameters
    ----------
    ground
        Basis of the features.
    features
        Their names.
    values
        Features of the cells' pixels, shape ``(n, m, p)``, NaN where missing.
    """
    parts = []
    for first in range(0, len(values), BATCH):
        line, bent, paired = block_means(ground, values[first : first + BATCH])
        parts.append(np.hstack([line, bent.reshape(len(line), -1), paired]).astype(np.float32))
    return dict(zip(columns(ground, features), np.concatenate(parts).T, strict=True))


def pixel_columns(features: Sequence[str]) -> list[str]:
    """Columns of a random pixel of each cell: its features, and where it lies."""
    return [*(f"{name}:pixel" for name in features), *PLACE]


def draw_pixels(
    features: Sequence[str], values: NDArray[np.float32], ratio: int, rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    """Columns of one random pixel of each cell, by which the spread of the maps' errors is measured.

    Parameters
    ----------
    features
        Their names.
    values
        Features of the cells' pixels, shape ``(n, m, p)``, those of `pixels` in each direction, row by row.
    ratio
        Fine cells along the side of a cell.
    rng
        Of the choice.
    """
    at = (pixels(ratio) + 0.5) / ratio - 0.5
    chosen = rng.integers(len(at), size=(2, len(values)))
    picked = values[np.arange(len(values)), chosen[0] * len(at) + chosen[1]]
    down, across = at[chosen].astype(np.float32)
    return dict(zip(pixel_columns(features), (*picked.T, down, across), strict=True))


@dataclass(frozen=True)
class Rows:
    """Rows that a joint fit learns from."""

    table: pd.DataFrame
    """Rows of the training table with all of the basis, by time, from north to south and from west to east."""
    means: NDArray[np.float32]
    """Their basis, shape ``(n, columns)``."""
    ground: Ground

    @property
    def months(self) -> NDArray[np.int64]:
        """Months of the rows, each once, counted from January 1970."""
        return np.unique(_month(self.table))

    @property
    def observed(self) -> Floats:
        """Observation of each row, m3 m-3."""
        return self.table[MAP].to_numpy(np.float64)

    @property
    def areas(self) -> Areas:
        """Rows as the model takes them."""
        table, ground, p = self.table, self.ground, len(self.ground.features)
        curved, parts = int(ground.basis.curved.sum()), bends(ground.basis.knots).shape[1]
        line, bent, paired = np.split(self.means, [p, p + curved * parts], axis=1)
        bent = bent.reshape(len(table), curved, parts)
        season = pd.Categorical(table["season"].astype(str), list(ground.seasons)).codes.astype(np.intp)
        top, left, side = ground.corner
        row = np.rint((top - table["y"].to_numpy()) / side).astype(np.intp)
        column = np.rint((table["x"].to_numpy() - left) / side).astype(np.intp)
        return Areas(line, bent, paired, season, np.searchsorted(self.months, _month(table)), row, column)


def _month(table: pd.DataFrame) -> NDArray[np.int64]:
    return table["time"].to_numpy().astype("datetime64[M]").astype(np.int64)


def join(
    table: pd.DataFrame, parts: Iterable[pd.DataFrame], ground: Ground, *, most: int | None = None, seed: int = 0
) -> Rows:
    """Rows of the training table with their basis, part after part; rows without all of it are left out.

    Of more than `most` rows that many are drawn at random, the same for every fit, so that memory is bounded.
    """
    order = np.lexsort((table["x"].to_numpy(), -table["y"].to_numpy(), table["time"].to_numpy()))
    # Before the basis is looked up, so that memory is that of the rows that are kept.
    if most is not None and len(order) > most:
        order = order[np.sort(np.random.default_rng(seed).choice(len(order), most, replace=False))]
    table = table.take(order).reset_index(drop=True)
    values = _look_up(table, parts, columns(ground.basis, ground.features))
    complete = np.flatnonzero(np.isfinite(values).all(axis=1))
    return (
        Rows(table, values, ground)
        if len(complete) == len(table)
        else Rows(numbered(table.take(complete)), values[complete], ground)
    )


def _look_up(table: pd.DataFrame, parts: Iterable[pd.DataFrame], names: Sequence[str]) -> NDArray[np.float32]:
    """Columns of parts at the rows of a table, by `KEYS`; NaN where no part has the row."""
    values = np.full((len(table), len(names)), np.nan, np.float32)
    index = pd.MultiIndex.from_frame(table[list(KEYS)])
    for part in parts:
        place = index.get_indexer(pd.MultiIndex.from_frame(part[list(KEYS)]))
        values[place[place >= 0]] = part[list(names)].to_numpy()[place >= 0]
    return values


def spread(
    rows: Rows,
    parts: Iterable[pd.DataFrame],
    variances: Variances,
    *,
    share: float,
    lengths: Sequence[float],
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Half the width of the interval of maps in each season, m3 m-3: where the cell is observed, and where it is not.

    Parameters
    ----------
    rows
        Rows of `join`.
    parts
        Tables of `draw_pixels` with `KEYS`, part after part.
    variances
        Of the terms.
    share
        Nominal share of the truth within the interval.
    lengths
        Of the fields, in cells.
    seed
        Of the choice of rows, of which there are `SPREAD` at most.

    Returns
    -------
    dict
        Seasons that have a pixel -> both.
    """
    features, areas = rows.ground.features, rows.areas
    chosen = area.sample(areas, SPREAD, np.random.default_rng(seed))
    values = _look_up(rows.table.take(chosen), parts, pixel_columns(features)).astype(np.float64)
    complete = np.flatnonzero(np.isfinite(values).all(axis=1))
    *_, down, across = values[complete].T
    points = Points(complete, values[complete, : len(features)], down, across)
    half_widths = posterior.spread(
        areas.take(chosen), rows.observed[chosen], variances, rows.ground.basis, points, lengths=lengths
    ).half_widths(share)
    return {
        name: (float(observed), float(predicted))
        # Seasons after the last one that has a row have no entry.
        for name, (observed, predicted) in zip(rows.ground.seasons, half_widths, strict=False)
        if np.isfinite(observed + predicted)
    }


def learn(
    job: Job,
    rows: Rows,
    variances: Variances,
    bands: Floats,
    parameters: Mapping[str, Any],
    seasons: Sequence[str],
) -> tuple[dict[str, GaussianProcess], pd.DataFrame]:
    """Predict the rows that a job holds out, and of a random one make the models, which learn from all rows.

    The variances are the same for every job: only what the held-out rows observe is kept from their prediction.

    Parameters
    ----------
    job
        A joint one.
    rows
        Rows of `join`, with a column `fits.FOLD`.
    variances, bands
        Of the terms; standard deviations of the effects (`area.bands`).
    parameters
        The algorithm's parameters that differ from the defaults.
    seasons
        Seasons with enough rows for a model of their own.

    Returns
    -------
    models : dict
        Season, and ``all`` for what all seasons share, -> estimator; none of a blocked job.
    predictions : pandas.DataFrame
        Columns `training.PREDICTIONS`: by the whole model (``seasonal``), and by what seasons share
        (``comprehensive``).
    """
    table, ground, observed = rows.table, rows.ground, rows.observed
    covariance = Covariance(rows.areas, variances, tuple(GaussianProcess(**parameters).lengths))
    learned = (table["split"] == TRAIN).to_numpy() if job.split == "random" else (table[FOLD] != job.fold).to_numpy()
    # Without the rows that are held out: the mean of all would carry what they observe.
    unit = level(observed[learned])
    effects = covariance.effects(covariance.solve((observed - unit[0]) / unit[1], learned))
    parts = []
    for seasonal in (True, False):
        predicted = unit[0] + unit[1] * covariance.evaluate(effects, with_season=seasonal)
        held_out = ~learned & (table["season"].isin(seasons).to_numpy() | (not seasonal))
        judged = Job(ALL, job.algorithm, "seasonal" if seasonal else "comprehensive", job.split, job.fold)
        parts.append(predictions(judged, table[held_out], predicted[held_out].astype(np.float32)))
    models: dict[str, GaussianProcess] = {}
    if job.split == "random":
        unit = level(observed)
        effects = covariance.effects(covariance.solve((observed - unit[0]) / unit[1], np.ones(len(table), bool)))
        for season in (*seasons, ALL):
            number = None if season == ALL else ground.seasons.index(season)
            models[season] = GaussianProcess(**parameters).of_season(
                ground.basis, effects, bands, variances, unit, number, corner=ground.corner, months=rows.months
            )
    return models, pd.concat(parts, ignore_index=True)
