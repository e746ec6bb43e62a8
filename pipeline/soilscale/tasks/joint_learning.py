"""What a worker does for joint fits: knots, the basis of cells, variances, and the fits themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale import kernels, models, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Cost, Task
from soilscale.grid import Tile
from soilscale.models import Job, basis
from soilscale.models.basis import Basis, measure
from soilscale.schema import COARSE, FINE
from soilscale.seasons import ALL, Months
from soilscale.storage import tables
from soilscale.tasks import model_store, training_table
from soilscale.tasks.costs import COPIES, MODELS, Scale

KNOTS, BASIS, VARIANCES = "knots", "basis", "variances"
"""Stages before the fits, in their order: the first measures the fine features, for every run."""


CHUNKS, CELLS = 12, 16_384
"""Tiles and months by which knots are measured, and the most fine cells of each."""


HELD = 700**2 / 2 * 8 * 100
"""Bytes of the covariances of about a hundred terms, by the rows that variances are learned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRows:
    """Where a joint fit finds its rows, and what they stand on."""

    parts: tuple[str, ...]
    """Names of the tables of the basis."""
    features: tuple[str, ...]
    seasons: tuple[str, ...]
    corner: tuple[float, float, float]
    """y and x of the first coarse cell's centre, and the side of a cell."""
    folds: int


def _read(
    workspace: Workspace, features: Sequence[str], static_names: frozenset[str], tile: Tile, month: int
) -> NDArray[np.float32]:
    """Fine features of a tile's month, shape ``(Y, X, p)``."""
    place = tile.fine
    return np.stack(
        [
            storage.read_region(workspace.cube, FINE, name, place if name in static_names else (month, *place))
            for name in features
        ],
        axis=-1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureKnots(Task):
    """Measure mean, spread and knots of the fine features, by some tiles and months of some seasons."""

    features: tuple[str, ...]
    static: frozenset[str]
    """Features that are the same in every month."""
    shares: tuple[bool, ...]
    """Whether each feature is the share of a class."""
    places: tuple[tuple[Tile, int], ...]
    """Tiles, each with the index of a month."""
    seasons: tuple[str, ...]
    """Season of each place."""
    ratio: int
    size: int
    """Knots of a curve."""

    @classmethod
    def cost(cls, scale: Scale) -> Cost:
        """Cost of some chunks that are looked at. Work: fine values that are read, in millions."""
        tile, chunks = scale.tile_cells * scale.features, min(CHUNKS, scale.learned)
        read, work = chunks * tile * 4, chunks * tile / 1e6
        return Cost(units=1, read=read, written=0, objects=2, work=work, load=tile * 4.0 * 2)

    def run(self, workspace: Workspace) -> None:
        """Write them below `state/`."""
        looks = (
            (season, _read(workspace, self.features, self.static, tile, month))
            for (tile, month), season in zip(self.places, self.seasons, strict=True)
        )
        ground, within = spread_of(looks, self.features, self.shares, ratio=self.ratio, size=self.size)
        about = {
            name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in vars(ground).items()
        }
        storage.write_json(workspace.state(KNOTS, "features.about.json"), about | {"within": within})


def places_of(tiles: Sequence[Tile], months: Months, seed: int) -> list[tuple[Tile, np.datetime64]]:
    """Tiles and months by which knots are measured: months evenly apart, so that every season is among them."""
    rng = np.random.default_rng(seed)
    number = min(CHUNKS, len(months))
    picked = months[(np.arange(number) * len(months)) // number]
    return [(tiles[place], month) for place, month in zip(rng.integers(len(tiles), size=number), picked, strict=True)]


def spread_of(
    looks: Iterable[tuple[str, NDArray[np.floating]]],
    features: Sequence[str],
    shares: Sequence[bool],
    *,
    ratio: int,
    size: int,
) -> tuple[Basis, dict[str, dict[str, float]]]:
    """Mean, spread and knots of the fine features, and how each varies within coarse cells.

    Parameters
    ----------
    looks
        Season of each place of `places_of`, and its features, shape ``(Y, X, p)``, NaN where missing.
    features, shares, ratio, size
        As `MeasureKnots` takes them.

    Returns
    -------
    basis, within
        Season, and ``all`` -> feature -> its standard deviation within coarse cells.
    """
    parts = []
    cells: dict[str, list[NDArray[np.float64]]] = {}
    for season, values in looks:
        # Every so many pixels, not a random draw, so that they cover the tile evenly.
        step = max(1, int(np.ceil(np.sqrt(values[..., 0].size / CELLS))))
        parts.append(values[::step, ::step].reshape(-1, len(features)))
        variances = variance_within(values, ratio)
        cells.setdefault(season, []).append(variances)
        cells.setdefault(ALL, []).append(variances)
    within = {
        season: dict(zip(features, _root_mean(np.concatenate(variances)).tolist(), strict=True))
        for season, variances in cells.items()
    }
    return measure(np.concatenate(parts), shares, size), within


def variance_within(values: NDArray[np.floating], ratio: int) -> NDArray[np.float64]:
    """Variance of features within coarse cells, shape ``(cells, p)``, NaN where a cell has no value.

    Parameters
    ----------
    values
        Features of a tile, shape ``(Y, X, p)``, NaN where missing.
    """
    variances = []
    for feature in np.moveaxis(values, -1, 0).astype(np.float64):
        mean = kernels.block_mean(feature, ratio)[0]
        away = feature - np.repeat(np.repeat(mean, ratio, axis=0), ratio, axis=1)
        variances.append(kernels.block_mean(away**2, ratio)[0].ravel())
    return np.stack(variances, axis=-1)


def _root_mean(variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the mean over cells, 0 where nothing is known."""
    finite = np.isfinite(variances)
    mean = np.where(finite, variances, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    root: NDArray[np.float64] = np.sqrt(mean)
    return root


def read_knots(workspace: Workspace) -> Basis:
    """Basis of the fine features, as `measure_knots` wrote it."""
    about = storage.read_json(workspace.state(KNOTS, "features.about.json"))
    arrays = {name: np.array(about[name], np.float64) for name in ("mean", "sd", "low", "high")}
    return Basis(**arrays, curved=np.array(about["curved"], bool), knots=int(about["knots"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBasis(Task):
    """Write the means of the basis over the cells of a tile in some months, and a random pixel of each."""

    name: str
    features: tuple[str, ...]
    static: frozenset[str]
    """Features that are the same in every month."""
    tile: Tile
    months: tuple[int, int]
    """First and last index in time, the last exclusive."""
    ratio: int

    @classmethod
    def cost(cls, scale: Scale) -> Cost:
        """Cost of the basis of all rows. Work: fine values that are read, in millions."""
        values = scale.cells * scale.learned * scale.features
        units = len(training_table.months_in_batches(scale.learned)) * scale.tiles
        return Cost(
            units=units,
            read=values * 4,
            written=scale.basis,
            objects=2 * units,
            work=values / 1e6,
            load=scale.tile_cells * scale.features * 4.0 * 2 + scale.basis / units * 4,
        )

    def run(self, workspace: Workspace) -> None:
        """Write the table below `state/`."""
        ground, axes = read_knots(workspace), storage.open_group(workspace.cube, COARSE)
        y, x = axes["y"].to_numpy()[self.tile.coarse[0]], axes["x"].to_numpy()[self.tile.coarse[1]]
        times = axes["time"].to_numpy()
        parts = []
        for month in range(*self.months):
            values = _read(workspace, self.features, self.static, self.tile, month)
            # Seeded by tile and month: the pixels are the same in whatever order units run.
            rng = np.random.default_rng(models.seed_of(0, self.name, month))
            parts.append(basis_rows(values, ground, self.features, (times[month], y, x), self.ratio, rng))
        tables.write_table(workspace.state(BASIS, f"{self.name}.parquet"), pd.concat(parts, ignore_index=True))


def basis_rows(
    values: NDArray[np.float32],
    ground: Basis,
    features: Sequence[str],
    place: tuple[np.datetime64, NDArray[np.float64], NDArray[np.float64]],
    ratio: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Means of the basis over coarse cells, and a random pixel of each; cells without all of the basis are left out.

    Parameters
    ----------
    values
        Fine features of a tile in one month, shape ``(Y, X, p)``, NaN where missing.
    place
        Month, and y and x of the centres of the tile's coarse cells.
    """
    time, y, x = place
    at = basis.pixels(ratio)
    down, across = (np.add.outer(np.arange(len(axis)) * ratio, at).ravel() for axis in (y, x))
    cells = values[np.ix_(down, across)].reshape(len(y), len(at), len(x), len(at), -1).swapaxes(1, 2)
    pixels = cells.reshape(len(y) * len(x), len(at) ** 2, -1)
    columns: dict[str, Any] = {"time": time, "y": np.repeat(y, len(x)), "x": np.tile(x, len(y))}
    columns |= models.joint.tabulate(ground, features, pixels)
    columns |= models.joint.draw_pixels(features, pixels, ratio, rng)
    return pd.DataFrame(columns).dropna(subset=models.joint.columns(ground, features))


def _joined(workspace: Workspace, rows: JointRows, seed: int, most: int | None) -> models.joint.Rows:
    """Rows of a joint fit with their basis."""
    table = training_table.table(workspace.samples, ALL, seed, rows.folds)
    ground = models.joint.Ground(rows.features, read_knots(workspace), rows.seasons, rows.corner)
    names = models.joint.columns(ground.basis, ground.features)
    joined = models.joint.join(table, _basis(workspace, rows, names), ground, most=most, seed=seed)
    # Freed before the fit, which holds the covariances of all rows.
    del table
    tables.give_back()
    return joined


def _basis(workspace: Workspace, rows: JointRows, names: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Tables of the basis, part after part, with the keys and some of the columns."""
    for name in rows.parts:
        yield tables.read_table(workspace.state(BASIS, f"{name}.parquet"), [*models.joint.KEYS, *names])


def _variances(workspace: Workspace, algorithm: str) -> tuple[models.area.Variances, NDArray[np.float64]]:
    """Variances and bands of a joint algorithm, as `estimate` wrote them."""
    about = storage.read_json(workspace.state(VARIANCES, f"{algorithm}.about.json"))
    cell, noise, bands = about.pop("cell"), about.pop("noise"), np.array(about.pop("bands"))
    return models.area.Variances(
        **{name: np.array(value) for name, value in about.items()}, cell=cell, noise=noise
    ), bands


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateVariances(Task):
    """Learn the variances of a joint algorithm's terms."""

    name: str
    """Of the algorithm."""
    rows: JointRows
    parameters: Mapping[str, Any]
    seed: int

    @classmethod
    def cost(cls, scale: Scale, *, algorithms: int, share: float) -> Cost:
        """Cost of so many algorithms, which draw a share of the rows at most. Work: algorithms."""
        return Cost(
            units=algorithms,
            read=algorithms * (scale.basis + scale.table),
            written=0,
            objects=2 * algorithms,
            work=algorithms,
            load=max(2 * scale.basis * share + HELD, COPIES * scale.row * scale.rows),
            grows=MODELS,
        )

    def run(self, workspace: Workspace) -> None:
        """Write the variances, and the bands of its curves, below `state/`."""
        estimator = models.GaussianProcess(**self.parameters, random_state=models.seed_of(self.seed, self.name))
        joined = _joined(workspace, self.rows, self.seed, estimator.max_samples)
        variances = estimator.variances(joined.areas, joined.observed)
        bands = estimator.bands(joined.areas, variances, joined.ground.basis)
        about = {"bands": bands.tolist()} | {
            key: np.asarray(value).tolist() for key, value in asdict(variances).items()
        }
        storage.write_json(workspace.state(VARIANCES, f"{self.name}.about.json"), about)

    def spread(self, workspace: Workspace, share: float) -> dict[str, tuple[float, float]]:
        """Half widths of the algorithm's intervals, once its variances are known; see `joint.spread`."""
        estimator = models.GaussianProcess(**self.parameters)
        joined = _joined(workspace, self.rows, self.seed, estimator.max_samples)
        parts = _basis(workspace, self.rows, models.joint.pixel_columns(joined.ground.features))
        variances, _ = _variances(workspace, self.name)
        lengths = tuple(estimator.lengths)
        return models.joint.spread(joined, parts, variances, share=share, lengths=lengths, seed=self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitJoint(Task):
    """Fit a joint job, which learns all seasons together."""

    job: Job
    seasons: tuple[str, ...]
    rows: JointRows
    units: Mapping[str, str]
    """Feature -> its unit."""
    parameters: Mapping[str, Any]
    seed: int

    def run(self, workspace: Workspace) -> None:
        """Keep its predictions and, of a random one, the models and their descriptions."""
        variances, bands = _variances(workspace, self.job.algorithm)
        joined = _joined(workspace, self.rows, self.seed, models.GaussianProcess(**self.parameters).max_samples)
        table, features = joined.table, joined.ground.features
        estimators, predictions = models.joint.learn(self.job, joined, variances, bands, self.parameters, self.seasons)
        tables.write_table(workspace.state("train", f"{self.job.name}.parquet"), predictions)
        for model in models.stored_models(self.job, self.seasons):
            estimator = estimators[model.season]
            learned_rows = table if model.model == "comprehensive" else table[table["season"] == model.season]
            judged = predictions[predictions["model"] == model.model]
            # A season's own model is described by its own rows, though all were learned together.
            judged = judged if model.model == "comprehensive" else judged[judged["season"] == model.season]
            about = models.describe(model, estimator, learned_rows, features, self.units, judged)
            model_store.store(workspace, model, estimator, about)
