"""The workload of each stage, as its tasks state it, from the size of the run and the templates alone."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from soilscale import cube, maps, models
from soilscale.cube import FRACTION, Input
from soilscale.engine.units import Cost
from soilscale.estimate.assumptions import INDEX_TREES, Outlook
from soilscale.estimate.fits import drawn, explained, fits
from soilscale.maps import MONTH, SEASON
from soilscale.models.selection import FORESTS
from soilscale.reports.summaries import stride
from soilscale.schema import APPLICABILITY, COARSE, FINE, PREDICTION, PREDICTION_QUALITY, RESIDUAL
from soilscale.seasons import ALL, following
from soilscale.stages import cube_units, harmonise_units, joint_fits, mapping, model_analysis, pictures
from soilscale.tasks import (
    algorithm_maps,
    cube_regions,
    derived_features,
    detail_shares,
    gap_filling,
    harmonised_target,
    joint_learning,
    map_tiles,
    model_factors,
    published_maps,
    single_fits,
    stack_weights,
    training_table,
)
from soilscale.tasks.costs import AREA, FLOAT, REPORTED, Fit, Scale, Stored, stored
from soilscale.tasks.map_summaries import SUMMARISE, SummariseTile
from soilscale.tasks.pictures import PICTURES, DrawAlgorithm

REPORT = "report"
"""The stage that is done by the process of the command itself."""

LAID = 0.6
"""Times its size that forests take in which a worker predicts: one while it is read, beside the one before."""

ADDED = 200
"""Units of `summarise` whose sums take the report as long to add up as to draw its figures."""

LEVELLED = 1 / 4
"""Layers of a unit of the cube that a date takes which is completed from the others of its month."""


@dataclass(frozen=True)
class Demand:
    """The workload of a stage."""

    stage: str
    """Its name, as in `soilscale status`."""
    cost: Cost


def demands(outlook: Outlook) -> list[Demand]:
    """The workload of every stage, in the order of the stages."""
    size, every_fit = scale(outlook), list(fits(outlook))
    predict = _predict(outlook, size, every_fit)
    return [
        _cube(outlook, size),
        *_gaps(outlook, size),
        *_derive(outlook, size),
        _gather(outlook, size),
        *_harmonise(outlook, size),
        _samples(outlook, size),
        *_joint(outlook, size),
        *_learn(outlook, size, every_fit),
        predict,
        *_maps(outlook, size),
        *_judge(outlook, size),
        *_closing(outlook, size, every_fit, predict.cost),
    ]


def scale(outlook: Outlook) -> Scale:
    """Size of a run, which its tasks' costs go with."""
    return Scale(
        tiles=outlook.tiles,
        tile_cells=outlook.tile_cells,
        tile_coarse=math.prod(outlook.grid.tile_shape),
        cells=outlook.cells,
        coarse=math.prod(outlook.grid.shape),
        months=len(outlook.months),
        learned=len(outlook.learned),
        features=len(outlook.features),
        row=outlook.row,
        table=outlook.table,
        basis=outlook.basis,
    )


def _laid(templates: Mapping[str, xr.Dataset]) -> Stored:
    """Objects of metadata and coordinates with which templates are laid."""
    groups = templates.values()
    return Stored(0, sum(1 + 2 * len(group.variables) - len(group.data_vars) for group in groups))


def _sum(parts: Iterable[Stored]) -> Stored:
    return sum(parts, Stored())


def _unit_count(outlook: Outlook, source_input: Input) -> int:
    """Units of a source: one for each tile and run of months that hold the same values."""
    source, scenes = source_input.source, outlook.scenes.get(source_input.source.name)
    if source_input.static:
        return outlook.tiles
    lag = np.timedelta64(source.back, "M")
    months = np.arange(outlook.months[0] - lag, following(outlook.months[-1]))
    return outlook.tiles * (cube_units.count_runs(source, scenes, months) if scenes else len(months))


def _cube(outlook: Outlook, size: Scale) -> Demand:
    # What is made from other sources reads no items; it is counted by the stages that make it.
    read = [source_input for source_input in outlook.inputs if not source_input.source.composed]
    pixels = sum(
        outlook.dates(source_input)
        * len(source_input.source.bands)
        * (0 if source_input.source.on_coarse else outlook.cells)
        for source_input in read
    )
    # The fine values of these are written by later stages, which count them.
    later = {
        name
        for name, source_input in outlook.features.items()
        if source_input in outlook.filled or source_input.source.composed
    }
    fine = outlook.cube[FINE]
    filled = sum(_unit_count(outlook, source_input) for source_input in outlook.filled)
    written = [
        stored(fine, [name for name in fine.data_vars if name not in later]),
        Stored(4 * filled * outlook.cells / outlook.tiles, filled),
        # Coarse values and shares are kept in markers, and become objects where they are gathered.
        Stored(_gathered(outlook).size),
        _laid(outlook.cube),
    ]
    cost = cube_regions.FillMonth.cost(
        size,
        units=sum(_unit_count(outlook, source_input) for source_input in read),
        pixels=pixels,
        layers=max(
            len(cube.feature_names(source_input.source)) + _completed(outlook, source_input) for source_input in read
        ),
        stored=_sum(written),
    )
    return Demand(cube_regions.CUBE, cost)


def _completed(outlook: Outlook, source_input: Input) -> float:
    """What dates of a month that are completed add to the layers of a unit."""
    return LEVELLED * outlook.dates(source_input) / len(outlook.months) if source_input in outlook.filled else 0.0


def _gaps(outlook: Outlook, size: Scale) -> Iterator[Demand]:
    if not outlook.filled:
        return
    count, units = len(outlook.filled), sum(_unit_count(outlook, source_input) for source_input in outlook.filled)
    closed = [name for name, source_input in outlook.features.items() if source_input in outlook.filled]
    written = stored(outlook.cube[FINE], closed)
    yield Demand(gap_filling.LEVELS, gap_filling.FindLevels.cost(size, count))
    yield Demand(gap_filling.CYCLES, gap_filling.LearnCycles.cost(size, count))
    yield Demand(gap_filling.GAPS, gap_filling.CloseGaps.cost(size, units=units, stored=written))


def _derive(outlook: Outlook, size: Scale) -> Iterator[Demand]:
    hows = [how for source_input in outlook.inputs if (how := source_input.source.derivation) is not None]
    if indices := sum(how.kind == "tvdi" for how in hows):
        yield Demand(derived_features.SCATTER, derived_features.CountScatter.cost(size, indices))
        yield Demand(derived_features.EDGES, derived_features.DrawEdges.cost(size, indices))
    if hows:
        names = [name for name, source_input in outlook.features.items() if source_input.source.derivation is not None]
        cost = derived_features.Derive.cost(size, hows, stored(outlook.cube[FINE], names))
        yield Demand(derived_features.DERIVE, cost)


def _gather(outlook: Outlook, size: Scale) -> Demand:
    static = any(source_input.static for source_input in outlook.features.values())
    return Demand(cube_regions.GATHER, cube_regions.Gather.cost(size, static=static, stored=_gathered(outlook)))


def _gathered(outlook: Outlook) -> Stored:
    """The coarse group but for a harmonised target, and the valid shares."""
    harmonised = {
        source_input.source.name for source_input in outlook.inputs if source_input.source.harmonise is not None
    }
    coarse, shares = outlook.cube[COARSE], outlook.cube[FRACTION]
    names: list[Hashable] = [name for name in coarse.data_vars if name not in harmonised]
    return stored(coarse, names) + stored(shares, shares.data_vars)


def _harmonise(outlook: Outlook, size: Scale) -> Iterator[Demand]:
    how = outlook.config.target.harmonise
    if how is None:
        return
    sensors, merged = len(how.needs), stored(outlook.cube[COARSE], [outlook.config.target.name])
    if how.method != "none":
        yield Demand(harmonise_units.RELATE, harmonised_target.Relate.cost(size, sensors))
    yield Demand(harmonise_units.HARMONISE, harmonised_target.HarmoniseTile.cost(size, sensors))
    yield Demand(harmonise_units.MERGE, cube_regions.Gather.merging_cost(size, merged))


def _samples(outlook: Outlook, size: Scale) -> Demand:
    coarse = outlook.cube[COARSE]
    return Demand("samples", training_table.DrawRows.cost(size, stored(coarse, coarse.data_vars)))


def _joint(outlook: Outlook, size: Scale) -> Iterator[Demand]:
    """What comes before joint fits; the knots also before others."""
    names = joint_fits.algorithms(outlook.config)
    yield Demand(joint_learning.KNOTS, joint_learning.MeasureKnots.cost(size))
    if not names:
        return
    share = max(drawn(outlook, name, outlook.rows) for name in names) / outlook.rows
    variances = joint_learning.EstimateVariances.cost(size, algorithms=len(names), share=share)
    yield Demand(joint_learning.BASIS, joint_learning.WriteBasis.cost(size))
    yield Demand(joint_learning.VARIANCES, variances)


def _learn(outlook: Outlook, size: Scale, every_fit: Sequence[Fit]) -> Iterator[Demand]:
    yield Demand("train", single_fits.FitSingle.cost(size, every_fit))
    yield from _stacks(outlook, size, every_fit)
    _, after = model_analysis.stages_of(outlook.config)
    algorithm = explained(outlook)
    if model_factors.IMPORTANCE in after:
        stored_fits = [fit for fit in every_fit if fit.job.split == "random" and not fit.joint]
        stored_fits = [fit for fit in stored_fits if fit.job.algorithm == algorithm]
        yield Demand(model_factors.IMPORTANCE, model_factors.MeasureImportance.cost(size, stored_fits))
    if model_factors.ABLATION in after:
        ablation, kind = outlook.config.models.ablation, ("blocked", "seasonal", algorithm)
        left_out = set(cube.groups(outlook.inputs).values()) if isinstance(ablation, bool) else set(ablation)
        blocked = [fit for fit in every_fit if (fit.job.split, fit.job.model, fit.job.algorithm) == kind]
        yield Demand(model_factors.ABLATION, model_factors.LeaveOut.cost(size, blocked, len(left_out)))


def _stacks(outlook: Outlook, size: Scale, every_fit: Sequence[Fit]) -> Iterator[Demand]:
    seasons = len({fit.job.season for fit in every_fit})
    for name in outlook.config.models.algorithms:
        if members := models.find(name).members:
            rows = sum(fit.held_out for fit in every_fit if fit.job.algorithm in members)
            yield Demand(stack_weights.STACK, stack_weights.WeighMembers.cost(size, seasons=seasons, rows=rows))


def _mapped(outlook: Outlook) -> list[str]:
    """Season of every map that is predicted."""
    scheme = outlook.config.season_scheme
    seasons = [scheme.name(month) for month in outlook.months]
    return [*seasons, *(scheme.name(start) for start in outlook.starts)] if outlook.predicts_seasons else seasons


def _groups(outlook: Outlook) -> list[str]:
    """Groups of the maps that are predictions of their own."""
    return [MONTH, SEASON] if outlook.predicts_seasons else [MONTH]


def _predict(outlook: Outlook, size: Scale, every_fit: Sequence[Fit]) -> Demand:
    names = [name for name in (PREDICTION, PREDICTION_QUALITY, APPLICABILITY) if name in outlook.maps[MONTH]]
    written = _sum(stored(outlook.maps[group], names) for group in _groups(outlook))
    settings = outlook.config
    algorithms = settings.models.algorithms if settings.maps.algorithm == "best" else (settings.maps.algorithm,)
    trees = max(outlook.trees(algorithm) for algorithm in algorithms) + INDEX_TREES * settings.maps.applicability
    cost = map_tiles.PredictTile.cost(
        size,
        count=len(_mapped(outlook)),
        folded=3 if outlook.predicts_seasons else 1,
        trees=trees,
        model=_models_held(outlook, algorithms, every_fit),
        stored=written + _laid(outlook.maps),
    )
    return Demand(mapping.PREDICT, cost)


def _models_held(outlook: Outlook, algorithms: Sequence[str], every_fit: Sequence[Fit]) -> float:
    """Bytes of the models that a worker holds while it predicts by one of these algorithms."""
    every = models.with_members(algorithms)
    single = [name for name in every if not (models.find(name).joint or models.find(name).members)]
    sizes = {
        (fit.job.algorithm, fit.job.season): fit.size
        for fit in every_fit
        if fit.job.split == "random" and fit.job.algorithm in single
    }
    if any(models.find(name).members for name in algorithms):  # members of a stack are held at once
        memory = sum({algorithm: size for (algorithm, _), size in sizes.items()}.values())
    else:
        fields = outlook.rows * FLOAT if any(models.find(name).joint for name in every) else 0.0
        memory = max((size for (_, season), size in sizes.items() if season != ALL), default=fields)
    return memory * (LAID if set(single) <= set(FORESTS) else 2)


def _maps(outlook: Outlook, size: Scale) -> Iterator[Demand]:
    count, groups = len(_mapped(outlook)), _groups(outlook)
    layers = [str(name) for name in outlook.maps[MONTH].data_vars if name not in {PREDICTION, PREDICTION_QUALITY}]
    conserved = [name for name in layers if name != APPLICABILITY]
    nodes = _sum(stored(outlook.maps[maps.NODES[group]], [RESIDUAL]) for group in groups)
    written = _sum(stored(outlook.maps[group], conserved) for group in groups)
    yield Demand(mapping.SOLVE, map_tiles.SolveResidual.cost(size, count=count, stored=nodes))
    yield Demand(mapping.CONSERVE, map_tiles.ConserveTile.cost(size, count=count, stored=written))
    if not outlook.predicts_seasons and len(outlook.starts):
        longest = max(len(outlook.config.season_scheme.members(start)) for start in outlook.starts)
        written = stored(outlook.maps[SEASON], layers)
        cost = map_tiles.FoldSeason.cost(size, count=len(outlook.starts), longest=longest, stored=written)
        yield Demand(mapping.FOLD, cost)
    every = outlook.config.maps.every
    published = len(outlook.months) * (MONTH in every) + len(outlook.starts) * (SEASON in every)
    yield Demand(mapping.MAPS, published_maps.PublishMap.cost(size, count=published, layers=layers, kinds=len(every)))


def _judge(outlook: Outlook, size: Scale) -> Iterator[Demand]:
    validation, algorithms = outlook.config.validation, outlook.config.models.algorithms
    # The maps of a single algorithm are the run's own, which the report compares.
    if len(algorithms) > 1 and (validation.truth is not None or validation.stations is not None):
        trees = max(outlook.trees(algorithm) for algorithm in algorithms)
        cost = algorithm_maps.JudgeMap.cost(
            size, algorithms=len(algorithms), trees=trees, truth=validation.truth is not None
        )
        yield Demand(algorithm_maps.JUDGE, cost)


def _detail(outlook: Outlook, size: Scale, predict: Cost) -> Demand:
    seasons = len(set(map(outlook.config.season_scheme.name, outlook.months)))
    return Demand(detail_shares.WITHIN, detail_shares.MeasureDetail.cost(size, seasons=seasons, predict=predict))


def _closing(outlook: Outlook, size: Scale, every_fit: Sequence[Fit], predict: Cost) -> Iterator[Demand]:
    """The units that the report is made of, and the report."""
    summaries = _summarise(outlook, size)
    yield _detail(outlook, size, predict)
    yield Demand(SUMMARISE, summaries)
    yield Demand(PICTURES, _pictures(outlook, size, predict))
    yield Demand(REPORT, _report(outlook, size, every_fit, summaries))


def _shown(outlook: Outlook) -> float:
    """Cells that a thinned map shows."""
    return outlook.cells / stride(outlook.grid.fine.shape) ** 2


def _summarise(outlook: Outlook, size: Scale) -> Cost:
    return SummariseTile.cost(
        size,
        layers=list(map(str, outlook.maps[MONTH].data_vars)),
        seasons=len(outlook.config.season_scheme.names),
        shown=_shown(outlook),
        truth=outlook.config.validation.truth is not None,
    )


def _pictures(outlook: Outlook, size: Scale, predict: Cost) -> Cost:
    algorithms, scheme, grid = outlook.config.models.algorithms, outlook.config.season_scheme, outlook.grid
    drawn = min(len(algorithms), pictures.MOST_ALGORITHMS)
    # A period of each season: a whole one if there is any, else a month of those that there are.
    season_sizes = {scheme.name(start): len(scheme.members(start)) for start in outlook.starts}
    periods = season_sizes or dict.fromkeys(map(scheme.name, outlook.months), 1)
    sampled = min(grid.ratio, max(2, pictures.CELLS // max(grid.shape)))
    sources = [source_input.source for source_input in outlook.inputs]
    features = any(source.derive or source.kind == "categorical" for source in sources)
    return DrawAlgorithm.cost(
        size,
        units=outlook.tiles * features + drawn * len(periods),
        count=drawn * sum(periods.values()),
        drawn=size.coarse * sampled**2,
        trees=max(outlook.trees(algorithm) for algorithm in algorithms),
        predict=predict,
    )


def _report(outlook: Outlook, size: Scale, every_fit: Sequence[Fit], summaries: Cost) -> Cost:
    """Work: the figures of one page, and the summaries that are added up, of which `ADDED` take about as long.

    Done by the process of the command itself, which holds the coarse observation, the predictions of the models with
    their words as codes, the blocks of the training table, and pictures.
    """
    rows = sum(fit.held_out for fit in every_fit)
    coarse = 4.0 * size.coarse * size.months
    # Sums of the RMSE maps, and a picture, of each season.
    drawn = _shown(outlook) * len(outlook.config.season_scheme.names) * 4 * FLOAT
    read, load = summaries.written + coarse + rows * REPORTED, coarse * 4 + rows * REPORTED + drawn
    work = 1 + summaries.units / ADDED
    return Cost(units=1, read=read, written=0, objects=30, work=work, load=load, grows=AREA)
