"""Fine features for fits: their spread; for a joint fit the basis of cells, the variances, and the fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from soilscale import cube, models, storage
from soilscale.config import Config
from soilscale.engine.output import digest
from soilscale.engine.units import Unit
from soilscale.models import Job
from soilscale.models.basis import KNOTS as COUNT
from soilscale.seasons import position
from soilscale.stages.project import Project
from soilscale.tasks import single_fits, training_table
from soilscale.tasks.joint_learning import (
    BASIS,
    KNOTS,
    VARIANCES,
    EstimateVariances,
    FitJoint,
    JointRows,
    MeasureKnots,
    WriteBasis,
    places_of,
)

JOINT = (BASIS, VARIANCES)
"""Those that only joint fits need."""


FORMAT = 4
"""Version of what these units write; a change redoes them and every joint fit."""


def algorithms(config: Config) -> list[str]:
    """Algorithms of a configuration whose fits learn all seasons together."""
    return [name for name in config.models.algorithms if models.find(name).joint]


def knots_units(run: Project) -> list[Unit[MeasureKnots]]:
    """One unit that measures the fine features."""
    months, tiles = run.config.training_months, list(run.plan.grid.tiles())
    places = places_of(tiles, months, run.config.models.seed)
    read = tuple((tile, position(run.plan.months, month)) for tile, month in places)
    feature_inputs = cube.features(run.plan.inputs)
    shares = tuple(feature_inputs[name].source.kind == "categorical" for name in run.features)
    size, grid = _knots(run), run.plan.grid
    seasons = tuple(run.config.season_scheme.name(month) for _, month in places)
    origin = [run.standing.predictors(*place) for place in places]
    made_from = digest(FORMAT, run.features, shares, size, seasons, grid.ratio, origin)
    task = MeasureKnots(
        features=run.features,
        static=static(run),
        shares=shares,
        places=read,
        seasons=seasons,
        ratio=grid.ratio,
        size=size,
    )
    return [Unit(KNOTS, "features", made_from, task)]


def _knots(run: Project) -> int:
    """Knots of a curve: those that the first joint algorithm is configured to have."""
    first = next(iter(algorithms(run.config)), "")
    return int(run.config.models.parameters.get(first, {}).get("knots", COUNT))


def static(run: Project) -> frozenset[str]:
    """Features that are the same in every month."""
    return frozenset(name for name, feature_input in cube.features(run.plan.inputs).items() if feature_input.static)


def basis_units(run: Project) -> list[Unit[WriteBasis]]:
    """One unit for each tile and batch of months; none without a joint algorithm."""
    if not algorithms(run.config):
        return []
    knots = [unit.digest for unit in knots_units(run)]
    months, grid, standing = run.config.training_months, run.plan.grid, run.standing
    # Tasks count months from the first of the cube, which may lie before the first that is learned from.
    before = position(run.plan.months, months[0])
    units = []
    for first, last in training_table.months_in_batches(len(months)):
        span = f"{months[first]}_{months[last - 1]}"
        for tile in grid.tiles():
            origin = [standing.predictors(tile, month) for month in months[first:last]]
            name = f"{span}_{tile.name}"
            task = WriteBasis(
                name=name,
                features=run.features,
                static=static(run),
                tile=tile,
                months=(before + first, before + last),
                ratio=grid.ratio,
            )
            units.append(Unit(BASIS, name, digest(FORMAT, knots, grid, origin), task))
    return units


def variance_units(run: Project, samples: str) -> list[Unit[EstimateVariances]]:
    """One unit for each joint algorithm."""
    basis = basis_units(run)
    units = []
    for name in algorithms(run.config):
        parameters = run.config.models.parameters.get(name, {})
        made_from = digest(FORMAT, samples, [unit.digest for unit in basis], parameters, run.config.models.seed)
        task = EstimateVariances(
            name=name, rows=_rows_of(run, basis), parameters=parameters, seed=run.config.models.seed
        )
        units.append(Unit(VARIANCES, name, made_from, task))
    return units


def fit_unit(
    run: Project, stage: str, job: Job, seasons: Sequence[str], samples: str, units: Mapping[str, str]
) -> Unit[FitJoint]:
    """Unit of a joint job."""
    settings = run.config.models
    # Its digest covers samples, basis, parameters and seed, which the fit's own then need not repeat.
    (variances,) = [unit for unit in variance_units(run, samples) if unit.name == job.algorithm]
    origin = digest(variances.digest, job, settings.folds, run.features, single_fits.FORMAT)
    task = FitJoint(
        job=job,
        seasons=tuple(seasons),
        rows=variances.task.rows,
        units=dict(units),
        parameters=variances.task.parameters,
        seed=variances.task.seed,
    )
    return Unit(stage, job.name, origin, task)


def _rows_of(run: Project, basis: Sequence[Unit[WriteBasis]]) -> JointRows:
    """Where a joint fit finds its rows, and what they stand on."""
    grid = run.plan.grid
    return JointRows(
        parts=tuple(unit.name for unit in basis),
        features=run.features,
        seasons=tuple(run.config.season_scheme.names),
        corner=(grid.top - grid.side / 2, grid.left + grid.side / 2, grid.side),
        folds=run.config.models.folds,
    )


def within(run: Project) -> dict[str, dict[str, float]]:
    """Season, and ``all`` -> feature -> its standard deviation within coarse cells; empty before it is measured."""
    url = run.workspace.state(KNOTS, "features.about.json")
    spreads: dict[str, dict[str, float]] = storage.read_json(url).get("within", {}) if storage.exists(url) else {}
    return spreads
