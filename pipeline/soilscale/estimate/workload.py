"""The workload of each stage: units, bytes, objects and amounts of work, from the plan and the templates alone."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from soilscale import cube, maps, models
from soilscale.cube import FRACTION, Input, memory
from soilscale.estimate.assumptions import INDEX_TREES, Outlook
from soilscale.maps import MONTH, SEASON
from soilscale.models import basis
from soilscale.models.selection import FORESTS, TREES
from soilscale.publish import SIDES
from soilscale.reports.summaries import stride
from soilscale.schema import APPLICABILITY, COARSE, FINE, PREDICTION, PREDICTION_QUALITY, QUALITY, RESIDUAL
from soilscale.seasons import ALL, following
from soilscale.stages import cube_units, harmonise_units, joint_fits, mapping, model_analysis, pictures
from soilscale.tasks import (
    algorithm_maps,
    cube_regions,
    derived_features,
    detail_shares,
    gap_filling,
    joint_learning,
    model_factors,
    stack_weights,
    training_table,
)
from soilscale.tasks.map_summaries import SUMMARISE
from soilscale.tasks.pictures import PICTURES

AREA, MODELS = "area", "models"
"""What the memory of a stage grows with, where that is not the tile: the whole area, or the rows and the models."""

REPORT = "report"
"""The stage that is done by the process of the command itself."""

PIXEL = 2
"""Bytes of a pixel of an asset, most of which are integers of 16 bits."""

FLOAT = 8
"""Bytes of a value of a table."""

NODE = 72
"""Bytes of a node of a tree in scikit-learn: 64, and 8 of its value."""

STORED = 1.65
"""Times its size that a forest takes while it is laid out for prediction and stored."""

LAID = 0.6
"""Times its size that forests take in which a worker predicts: one while it is read, beside the one before."""

COPIES = 2.1
"""Times its size that the table of a fit takes while it is read and parted into what is learned and held out."""

PREDICTED, REPORTED = 40, 54
"""Bytes of a row of predictions, in the worker that makes them and in the report."""

LEVELLED = 1 / 4
"""Layers of a unit of the cube that a date takes which is completed from the others of its month."""

CYCLE_HELD, CLOSED_HELD = 160.0, 56.0
"""Bytes that a fine cell takes while its annual cycle is learned, and while its gap is filled."""

DERIVED_HELD = 40.0
"""Bytes that a fine cell takes while a predictor is derived from others: two or three of them in double precision."""

SCATTERED = 4.0 * memory.GREENNESS * (memory.HIGHEST - memory.LOWEST) / memory.STEP
"""Bytes of the scatter of temperature and vegetation that a tile's month keeps."""

ADDED = 200
"""Units of `summarise` whose sums take the report as long to add up as to draw its figures."""

UNREAD = {PREDICTION, PREDICTION_QUALITY, RESIDUAL}
"""Layers of the maps that are not summarised."""

SOLVED = 3
"""Times that of `outlook.LIKE_TREES` that a solve takes."""

PASSED, TOLD = 1 / 40, 1 / 15
"""Work of a tree for a row that it may draw, and for one that it predicts, of that for one that it draws."""


@dataclass(frozen=True)
class Demand:
    """What a stage asks for, whatever a machine makes of it."""

    stage: str
    """Name of the stage, as `soilscale status` tells it."""
    units: int
    read: float
    """Bytes that all its units read, before compression."""
    written: float
    """Bytes that they write, likewise."""
    objects: int
    """Objects that they write, their markers among them."""
    work: float
    """Amount of its own kind of work of all units: see the function that tells it."""
    load: float
    """Bytes that the largest unit holds at once, as far as they can be told."""
    grows: str = ""
    """What the load goes with, where that is not the tile: `AREA` or `MODELS`."""


def demands(outlook: Outlook) -> list[Demand]:
    """What every stage asks for, in the order of the stages."""
    up_to_models = [
        _cube(outlook),
        *_gaps(outlook),
        *_derive(outlook),
        _gather(outlook),
        *_harmonise(outlook),
        _samples(outlook),
        *_learn(outlook),
    ]
    return [*up_to_models, *_maps(outlook), *_judge(outlook), *_closing(outlook)]


def _closing(outlook: Outlook) -> list[Demand]:
    """What the report is made of, and the report."""
    return [_detail(outlook), _summarise(outlook), _pictures(outlook), _report(outlook)]


def _chunks(template: xr.Dataset, names: Iterable[Hashable]) -> int:
    """Objects in which variables of a template lie."""
    count = 0
    for name in names:
        encoding = template[name].encoding
        sizes = encoding.get("shards") or encoding["chunks"]
        count += math.prod(math.ceil(n / size) for n, size in zip(template[name].shape, sizes, strict=True))
    return count


def _laid(templates: Mapping[str, xr.Dataset]) -> int:
    """Objects of metadata and coordinates with which templates are laid."""
    return sum(1 + 2 * len(group.variables) - len(group.data_vars) for group in templates.values())


def _bytes(template: xr.Dataset, names: Iterable[Hashable]) -> int:
    return sum(int(template[name].nbytes) for name in names)


def _unit_count(outlook: Outlook, source_input: Input) -> int:
    """Units of a source: one for each tile and run of months that hold the same values."""
    source, known = source_input.source, outlook.scenes.get(source_input.source.name)
    if source_input.static:
        return outlook.tiles
    lag = np.timedelta64(source.back, "M")
    months = np.arange(outlook.months[0] - lag, following(outlook.months[-1]))
    return outlook.tiles * (cube_units.count_runs(source, known, months) if known else len(months))


def _cube(outlook: Outlook) -> Demand:
    """Work: fine cells times dates and assets, in millions."""
    # What is made from other sources reads no items; it is counted by the stages that make it.
    read = [source_input for source_input in outlook.inputs if not source_input.source.composed]
    units = sum(_unit_count(outlook, source_input) for source_input in read)
    pixels = sum(
        outlook.dates(source_input)
        * len(source_input.source.bands)
        * (0 if source_input.source.on_coarse else outlook.cells)
        for source_input in read
    )
    fine, coarse, shares = (outlook.cube[group] for group in (FINE, COARSE, FRACTION))
    # The fine values of these are written by later stages, which count them.
    closed = {
        name
        for name, source_input in outlook.features.items()
        if source_input in outlook.filled or source_input.source.composed
    }
    names = [name for name in fine.data_vars if name not in closed]
    seen = sum(_unit_count(outlook, source_input) for source_input in outlook.filled)
    objects = units + _chunks(fine, names) + seen
    fine_written = _bytes(fine, names) + 4 * seen * outlook.cells / outlook.tiles
    written = fine_written + _bytes(coarse, _gathered(outlook)) + _bytes(shares, shares.data_vars)
    layers = max(
        len(cube.feature_names(source_input.source)) + _completed(outlook, source_input) for source_input in read
    )
    load = outlook.tile_cells * 4 * (6 + layers)
    return Demand(cube_regions.CUBE, units, pixels * PIXEL, written, objects + _laid(outlook.cube), pixels / 1e6, load)


def _completed(outlook: Outlook, source_input: Input) -> float:
    """What dates of a month that are completed add to the layers of a unit."""
    return LEVELLED * outlook.dates(source_input) / len(outlook.months) if source_input in outlook.filled else 0.0


def _gaps(outlook: Outlook) -> Iterator[Demand]:
    """Work: coarse cells and months, then fine cells and months, in millions."""
    if not outlook.filled:
        return
    count, months = len(outlook.filled), len(outlook.months)
    coarse, cells = math.prod(outlook.grid.shape) * months, outlook.cells
    level = 4.0 * coarse * count
    chunks = math.ceil((months + cube.BEFORE) / cube.TOGETHER)
    looked_at = 4.0 * count * 2 * min(gap_filling.WINDOWS, months) * min(gap_filling.SIDE**2, cells)
    read, objects = 2 * level + looked_at, count * (2 + chunks)
    yield Demand(gap_filling.LEVELS, count, read, level, objects, coarse * count / 1e6, 40.0 * coarse, AREA)
    learned, waves = cells * len(outlook.learned) * count, len(cube.HARMONICS)
    units = outlook.tiles * count
    held = outlook.tile_cells * CYCLE_HELD
    objects = units * (1 + waves)
    yield Demand(gap_filling.CYCLES, units, 4.0 * learned, 4.0 * waves * cells * count, objects, learned / 1e6, held)
    closed = [name for name, feature_input in outlook.features.items() if feature_input in outlook.filled]
    units = sum(_unit_count(outlook, feature_input) for feature_input in outlook.filled)
    done, chunks = units * cells / outlook.tiles, _chunks(outlook.cube[FINE], closed)
    # Beside each value of four bytes a byte says how it was filled.
    written = 5 / 4 * _bytes(outlook.cube[FINE], closed)
    held = outlook.tile_cells * CLOSED_HELD
    yield Demand(gap_filling.GAPS, units, 4.0 * done * (1 + waves), written, units + 2 * chunks, done / 1e6, held)


def _derive(outlook: Outlook) -> Iterator[Demand]:
    """Work: fine cells and months that are read, in millions; of edges, thousands of scatters that are added up."""
    hows = [how for source_input in outlook.inputs if (how := source_input.source.derivation) is not None]
    cells, months = outlook.cells, len(outlook.months)
    held = outlook.tile_cells * DERIVED_HELD
    if indices := sum(how.kind == "tvdi" for how in hows):
        edges = months * indices
        units, read = outlook.tiles * edges, 2.0 * cells * edges
        kept = units * SCATTERED
        yield Demand(derived_features.SCATTER, units, 4 * read, kept, units, read / 1e6, held)
        yield Demand(derived_features.EDGES, edges, kept, 16.0 * edges, edges, units / 1e3, 4 * SCATTERED)
    if hows:
        read = float(cells) * months * sum(len(how.of) + how.months for how in hows)
        names = [name for name, source_input in outlook.features.items() if source_input.source.derivation is not None]
        written, objects = _bytes(outlook.cube[FINE], names), _chunks(outlook.cube[FINE], names)
        units = outlook.tiles * months * len(hows)
        yield Demand(derived_features.DERIVE, units, 4 * read, written, units + objects, read / 1e6, held)


def _harmonise(outlook: Outlook) -> Iterator[Demand]:
    """Work: coarse cells and months, in millions."""
    how = outlook.config.target.harmonise
    if how is None:
        return
    series = math.prod(outlook.grid.shape) * len(outlook.months) * FLOAT
    merged, batches = [outlook.config.target.name], training_table.months_in_batches(len(outlook.months), cube.TOGETHER)
    objects = len(batches) + _chunks(outlook.cube[COARSE], merged)
    if how.method != "none":
        yield Demand(
            harmonise_units.RELATE, 1, len(how.needs) * series / 2, 0, 2, series / FLOAT / 1e6, 8.0 * series, AREA
        )
    share = math.prod(outlook.grid.tile_shape) * len(outlook.months) * FLOAT
    needed = len(how.needs) * series / 2
    yield Demand(
        harmonise_units.HARMONISE, outlook.tiles, needed, series / 2, outlook.tiles, series / FLOAT / 1e6, 8.0 * share
    )
    yield Demand(harmonise_units.MERGE, len(batches), series / 2, series / 2, objects, series / 2e6, series, AREA)


def _gather(outlook: Outlook) -> Demand:
    """Work: bytes that are written, in millions."""
    coarse, shares = outlook.cube[COARSE], outlook.cube[FRACTION]
    names = _gathered(outlook)
    batches = len(training_table.months_in_batches(len(outlook.months), cube.TOGETHER))
    # Static features are one unit more, in a chunk of their own.
    units = batches + any(feature_input.static for feature_input in outlook.features.values())
    written = _bytes(coarse, names) + _bytes(shares, shares.data_vars)
    objects = units + _chunks(coarse, names) + _chunks(shares, shares.data_vars)
    load = written * min(cube.TOGETHER / len(outlook.months), 1.0)
    return Demand(cube_regions.GATHER, units, written, written, objects, written / 1e6, load, AREA)


def _gathered(outlook: Outlook) -> list[Hashable]:
    """Variables of the coarse group but for a harmonised target."""
    harmonised = {
        source_input.source.name for source_input in outlook.inputs if source_input.source.harmonise is not None
    }
    return [name for name in outlook.cube[COARSE].data_vars if name not in harmonised]


def _samples(outlook: Outlook) -> Demand:
    """Work: bytes of the training table, in millions."""
    batches = training_table.months_in_batches(len(outlook.learned))
    coarse, share = outlook.cube[COARSE], len(outlook.learned) / len(outlook.months)
    size = outlook.table
    load = max(last - first for first, last in batches) / len(outlook.learned) * size
    return Demand(
        "samples", len(batches), share * _bytes(coarse, coarse.data_vars), 2 * size, 2 * len(batches) + 2, size / 1e6,
        load, AREA,
    )  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """A fit, as far as it is known before there is a table."""

    job: models.Job
    rows: float
    """Rows that it learns from, at most at once."""
    held_out: float
    """Rows that it predicts."""
    drawn: float
    """Rows that each tree draws."""
    size: float
    """Bytes of the model."""
    times: float = 1.0
    """How often it learns from as many: a model that is stored comes after another that shows how accurate it is."""

    @property
    def work(self) -> float:
        """Rows that each of its trees learns from, as much as all that a tree does for others is like."""
        return self.times * (self.drawn + self.rows * PASSED) + self.held_out * TOLD


def model_bytes(outlook: Outlook, algorithm: str, rows: float) -> float:
    """Size of a fitted model: the nodes of its trees, else its rows."""
    parameters, drawn = outlook.parameters(algorithm), _drawn(outlook, algorithm, rows)
    if "n_estimators" not in parameters:
        return drawn * len(outlook.features) * FLOAT
    split, leaf = parameters.get("min_samples_split", 2), parameters.get("min_samples_leaf", 1)
    least = max(_count(split, drawn) / 2, _count(leaf, drawn) * 1.5, 1)
    # A tree draws with replacement: of so many rows it sees so many different ones, and only these can be parted by
    # nodes.
    different = rows * -math.expm1(-drawn / rows) if rows else 0.0
    # A binary tree has about as many inner nodes as leaves.
    nodes = 2 * different / least
    if parameters.get("max_depth"):
        nodes = min(nodes, 2.0 ** (parameters["max_depth"] + 1))
    return float(parameters["n_estimators"] * nodes * NODE)


def _drawn(outlook: Outlook, algorithm: str, rows: float) -> float:
    """Rows that a tree draws, or of another algorithm that it learns from."""
    parameters = outlook.parameters(algorithm)
    most = parameters.get("max_samples") if parameters.get("bootstrap", True) else None
    return rows if most is None else min(rows, most if isinstance(most, int) else most * rows)


def _count(value: float, rows: float) -> float:
    """Rows that a parameter stands for, which is their number or their share."""
    return value if isinstance(value, int) else value * rows


def _fits(outlook: Outlook) -> Iterator[Fit]:
    """Every fit, if every cell and month is observed."""
    seasons = outlook.config.season_scheme
    months = [seasons.name(month) for month in outlook.learned]
    settings = outlook.config.models
    there = [name for name in seasons.names if name in months]
    for job in models.jobs(there, settings.algorithms, settings.folds):
        if models.find(job.algorithm).joint:
            yield _joint_fit(outlook, job)
            continue
        stored = job.split == "random"
        # A random job makes two fits, one of the rows that train and one of all rows, which is stored; a fold makes
        # one.
        share = 0.7 if stored else 1 - 1 / settings.folds
        every = math.prod(outlook.grid.shape) * (len(months) if job.season == ALL else months.count(job.season))
        rows = (1 if stored else share) * every / (len(there) if job.season == ALL else 1)
        size, drawn = model_bytes(outlook, job.algorithm, rows), _drawn(outlook, job.algorithm, rows)
        yield Fit(job, rows, (1 - share) * every, drawn, size, 1 + share if stored else 1.0)


def _joint_fit(outlook: Outlook, job: models.Job) -> Fit:
    """A joint fit: of all rows, twice if its model is stored; it predicts those held out by two models."""
    share = 1 / outlook.config.models.folds if job.split == "blocked" else 0.3
    rows = _drawn(outlook, job.algorithm, outlook.rows)
    solved = SOLVED * rows * (2 if job.split == "random" else 1)
    return Fit(job, rows, 2 * share * rows, solved, outlook.basis * rows / outlook.rows)


def _joint(outlook: Outlook) -> Iterator[Demand]:
    """What comes before fits. Work: fine values that are read, in millions; of variances, the algorithms."""
    count = len(joint_fits.algorithms(outlook.config))
    features, batches = len(outlook.features), len(training_table.months_in_batches(len(outlook.learned)))
    tile, cells = outlook.tile_cells * features, outlook.cells * len(outlook.learned) * features
    chunks = min(joint_learning.CHUNKS, len(outlook.learned))
    yield Demand(joint_learning.KNOTS, 1, chunks * tile * 4, 0, 2, chunks * tile / 1e6, tile * 4.0 * 2)
    if not count:
        return
    units = batches * outlook.tiles
    held = tile * 4.0 * 2 + outlook.basis / units * 4
    yield Demand(joint_learning.BASIS, units, cells * 4, outlook.basis, 2 * units, cells / 1e6, held)
    share = max(_drawn(outlook, name, outlook.rows) for name in joint_fits.algorithms(outlook.config)) / outlook.rows
    load = max(2 * outlook.basis * share + joint_learning.HELD, COPIES * outlook.row * outlook.rows)
    yield Demand(
        joint_learning.VARIANCES, count, count * (outlook.basis + outlook.table), 0, 2 * count, count, load, MODELS
    )


def _fit_load(outlook: Outlook, fits: Iterable[Fit]) -> float:
    """Bytes that the largest fit holds: while it reads its rows, or while it lays out its model."""
    loads = [0.0]
    for fit in fits:
        if models.find(fit.job.algorithm).joint:
            loads += [
                COPIES * outlook.row * outlook.rows,
                2 * fit.size + outlook.row * fit.rows + PREDICTED * fit.held_out,
            ]
            continue
        # A fit reads the rows of its season alone, the comprehensive one all.
        table = outlook.row * (outlook.rows if fit.job.season == ALL else fit.rows + fit.held_out)
        learned = outlook.row * (fit.rows + fit.held_out) + PREDICTED * fit.held_out
        loads += [COPIES * table, learned + STORED * fit.size]
    return max(loads)


def _learn(outlook: Outlook) -> Iterator[Demand]:
    """Work: rows times trees that learn from them, in millions; of importance those out of bag, for each feature."""
    fits = list(_fits(outlook))
    table = outlook.table
    yield from _joint(outlook)
    kept = [fit for fit in fits if fit.job.split == "random" and not models.find(fit.job.algorithm).joint]
    work = sum(fit.work * outlook.trees(fit.job.algorithm) for fit in fits) / 1e6
    objects = 2 * len(fits) + 3 * len(kept) + 2
    yield Demand(
        "train", len(fits), len(fits) * table, sum(fit.size for fit in kept) + table, objects, work,
        _fit_load(outlook, fits), MODELS,
    )  # fmt: skip
    yield from _stacks(outlook, fits)
    _, after = model_analysis.asked(outlook.config)
    algorithm = _explained(outlook)
    explained_fits = [fit for fit in kept if fit.job.algorithm == algorithm]
    if model_factors.IMPORTANCE in after:
        # Rows that a tree did not draw: each is left out of all draws with this probability.
        out = sum(fit.rows * math.exp(-fit.drawn / fit.rows) for fit in explained_fits) * outlook.trees(algorithm) / 1e6
        work, load = out * len(outlook.features), _fit_load(outlook, explained_fits)
        yield Demand(
            model_factors.IMPORTANCE,
            len(explained_fits),
            len(explained_fits) * table,
            0,
            2 * len(explained_fits),
            work,
            load,
            MODELS,
        )
    if model_factors.ABLATION in after:
        yield _ablation(outlook, fits, table)


def _stacks(outlook: Outlook, fits: Sequence[Fit]) -> Iterator[Demand]:
    """What weighs members, which holds all that they predicted. Work: rows that they predicted, in millions."""
    seasons = len({fit.job.season for fit in fits})
    for name in outlook.config.models.algorithms:
        if not (members := models.find(name).members):
            continue
        rows = sum(fit.held_out for fit in fits if fit.job.algorithm in members)
        table = seasons * outlook.table
        yield Demand(
            stack_weights.STACK, 1, rows * REPORTED + table, rows * REPORTED, 2 + 3 * seasons, rows / 1e6,
            3 * rows * REPORTED + outlook.row * outlook.rows, MODELS,
        )  # fmt: skip


def _explained(outlook: Outlook) -> str:
    """Algorithm whose factors are judged."""
    algorithms = outlook.config.models.algorithms
    return next((name for name in FORESTS if name in algorithms), algorithms[0])


def _ablation(outlook: Outlook, fits: Sequence[Fit], table: float) -> Demand:
    """Work: as that of the fits, by forests of fewer trees."""
    ablation = outlook.config.models.ablation
    left_out = set(cube.groups(outlook.inputs).values()) if isinstance(ablation, bool) else set(ablation)
    first = _explained(outlook)
    explained_fits = [
        fit for fit in fits if (fit.job.split, fit.job.model, fit.job.algorithm) == ("blocked", "seasonal", first)
    ]
    trees = outlook.trees(first)
    share = min(trees, TREES) / trees if first in FORESTS else 1.0
    quick = [replace(fit, size=fit.size * share) for fit in explained_fits]
    units = len({fit.job.season for fit in explained_fits}) * (1 + len(left_out))
    work = (1 + len(left_out)) * sum(fit.work for fit in explained_fits) * trees * share / 1e6
    return Demand(model_factors.ABLATION, units, units * table, 0, 2 * units, work, _fit_load(outlook, quick), MODELS)


def _mapped(outlook: Outlook) -> list[str]:
    """Season of every map that is predicted."""
    scheme = outlook.config.season_scheme
    seasons = [scheme.name(month) for month in outlook.months]
    return [*seasons, *(scheme.name(start) for start in outlook.starts)] if outlook.predicts_seasons else seasons


def _maps(outlook: Outlook) -> Iterator[Demand]:
    """Work: predicted cells times trees, in millions; of the others cells, in millions."""
    yield _predict(outlook)
    count, cells, coarse = len(_mapped(outlook)), outlook.cells, math.prod(outlook.grid.shape)
    units = outlook.tiles * count
    groups = [MONTH, SEASON] if outlook.predicts_seasons else [MONTH]
    layers = [str(name) for name in outlook.maps[MONTH].data_vars if name not in {PREDICTION, PREDICTION_QUALITY}]
    conserved = [name for name in layers if name != APPLICABILITY]
    size = sum(_bytes(outlook.maps[group], conserved) for group in groups)
    chunks = sum(_chunks(outlook.maps[group], conserved) for group in groups)
    means = [maps.NODES[group] for group in groups]
    nodes, solved = (sum(measure(outlook.maps[group], [RESIDUAL]) for group in means) for measure in (_bytes, _chunks))
    held = coarse * FLOAT * 12.0
    yield Demand(mapping.SOLVE, count, count * 2 * 4 * coarse, nodes, count + solved, count * coarse / 1e6, held)
    load = outlook.tile_cells * FLOAT * 8 + FLOAT * coarse
    read_whole = count * cells * 5 + units * FLOAT * coarse
    yield Demand(mapping.CONSERVE, units, read_whole, size, units + chunks, count * cells / 1e6, load)
    if not outlook.predicts_seasons and len(outlook.starts):
        units = outlook.tiles * len(outlook.starts)
        size = _bytes(outlook.maps[SEASON], layers)
        members = len(outlook.months) / max(len(outlook.starts), 1)
        # Seasons may differ in length, and the longest one sets the memory.
        longest = max(len(outlook.config.season_scheme.members(start)) for start in outlook.starts)
        read, chunks = size * min(members, longest), _chunks(outlook.maps[SEASON], layers)
        worked = cells * len(outlook.starts) / 1e6
        held = outlook.tile_cells * FLOAT * 2 * longest
        yield Demand(mapping.FOLD, units, read, size, units + chunks, worked, held)
    yield _publish(outlook, layers)


def _predict(outlook: Outlook) -> Demand:
    seasons, cells = _mapped(outlook), outlook.cells
    groups = [MONTH, SEASON] if outlook.predicts_seasons else [MONTH]
    units = outlook.tiles * len(seasons)
    names = [name for name in (PREDICTION, PREDICTION_QUALITY, APPLICABILITY) if name in outlook.maps[MONTH]]
    written = sum(_bytes(outlook.maps[group], names) for group in groups)
    objects = units + _laid(outlook.maps) + sum(_chunks(outlook.maps[group], names) for group in groups)
    settings = outlook.config
    named = settings.models.algorithms if settings.maps.algorithm == "best" else (settings.maps.algorithm,)
    trees = max(outlook.trees(algorithm) for algorithm in named) + INDEX_TREES * settings.maps.applicability
    single = [name for name in models.with_members(named) if not (models.find(name).joint or models.find(name).members)]
    fits = [fit for fit in _fits(outlook) if fit.job.split == "random" and fit.job.algorithm in single]
    fields = outlook.rows * FLOAT if any(models.find(name).joint for name in models.with_members(named)) else 0.0
    sizes = [fit.size for fit in fits if fit.job.season != ALL]
    stacked = any(models.find(name).members for name in named)  # whose members are held at once
    model = sum({fit.job.algorithm: fit.size for fit in fits}.values()) if stacked else max(sizes, default=fields)
    features = len(outlook.features) * 4
    folded = 3 if outlook.predicts_seasons else 1
    read = cells * len(seasons) * features * folded
    held = outlook.tile_cells * (features * 5 * folded + 5 * FLOAT)
    work, known = cells * len(seasons) * trees / 1e6, model * (LAID if set(single) <= set(FORESTS) else 2)
    grows = MODELS if known > held else ""
    return Demand(mapping.PREDICT, units, read, written, objects, work, held + known, grows)


def _publish(outlook: Outlook, layers: Sequence[str]) -> Demand:
    every = outlook.config.maps.every
    count = len(outlook.months) * (MONTH in every) + len(outlook.starts) * (SEASON in every)
    size = count * outlook.cells * sum(1 if name == QUALITY else 4 for name in layers)
    objects = count * (2 + len(SIDES) + len(layers)) + 1 + len(every)
    return Demand(mapping.MAPS, count, size, size, objects, size / 1e6, outlook.tile_cells * 4.0 * 8)


def _judge(outlook: Outlook) -> Iterator[Demand]:
    """Work: as that of prediction."""
    known, algorithms = outlook.config.validation, outlook.config.models.algorithms
    if len(algorithms) < 2 or (known.truth is None and known.stations is None):  # noqa: PLR2004 - one is the maps' own
        return
    units = len(outlook.months) * len(algorithms)
    cells = units * outlook.cells
    trees = max(outlook.trees(algorithm) for algorithm in algorithms)
    load = outlook.cells * 4.0 * (8 if known.truth is not None else 1)
    yield Demand(
        algorithm_maps.JUDGE, units, cells * 4 * len(outlook.features), 0, 2 * units, cells * trees / 1e6, load, AREA
    )


def _detail(outlook: Outlook) -> Demand:
    """What looks at the detail within cells. Work: as that of prediction, once for each feature."""
    units, features = len(set(map(outlook.config.season_scheme.name, outlook.months))), len(outlook.features)
    pixels = detail_shares.TILES * detail_shares.CELLS * basis.PIXELS**2 * (features + 1)
    predict = _predict(outlook)
    trees = predict.work * 1e6 / max(predict.units, 1) / outlook.tile_cells
    read = units * detail_shares.TILES * outlook.tile_cells * features * 4.0
    table, work = COPIES * outlook.row * outlook.rows / units, units * pixels * trees / 1e6
    # Largest of two moments of the unit, which do not come together: prediction of a tile, and the table of its season.
    load, grows = max((predict.load, predict.grows), (table, MODELS))
    return Demand(detail_shares.WITHIN, units, read + outlook.table, 0, 2 * units, work, load, grows)


def _summarise(outlook: Outlook) -> Demand:
    """Work: cells and months, in millions; twice as many where there is a known truth, which is compared likewise."""
    months, known = len(outlook.months), outlook.config.validation.truth is not None
    batches = len(training_table.months_in_batches(months))
    units, cells = outlook.tiles * batches, outlook.cells * months
    layers = [str(name) for name in outlook.maps[MONTH].data_vars if name not in UNREAD]
    # The ends of intervals are set beside the truth, and beside stations, which few tiles have.
    read = cells * (sum(1 if name == QUALITY else 4 for name in layers if known or name not in maps.ENDS) + 4.0 * known)
    shown = outlook.cells / stride(outlook.grid.fine.shape) ** 2
    # Of each batch a bit a cell, and sums of the cells that are drawn, season by season.
    seasons = len(outlook.config.season_scheme.names)
    written = batches * (outlook.cells / 8 + shown * seasons * (FLOAT + 4))
    load = outlook.tile_cells * FLOAT * 8.0 + 4.0 * math.prod(outlook.grid.shape) * min(months, cube.TOGETHER)
    return Demand(SUMMARISE, units, read, written, 2 * units, cells * (1 + known) / 1e6, load)


def _pictures(outlook: Outlook) -> Demand:
    """What the figures show beside the maps. Work: as that of prediction, of a season's months and some cells."""
    settings, predict = outlook.config, _predict(outlook)
    drawn = min(len(settings.models.algorithms), pictures.MOST_ALGORITHMS)
    scheme = settings.season_scheme
    # A period of each season: a whole one if there is any, else a month of those that there are.
    whole = {scheme.name(start): len(scheme.members(start)) for start in outlook.starts}
    periods = whole or dict.fromkeys(map(scheme.name, outlook.months), 1)
    maps_drawn = drawn * sum(periods.values())
    sampled = min(outlook.grid.ratio, max(2, pictures.CELLS // max(outlook.grid.shape)))
    cells = math.prod(outlook.grid.shape) * sampled**2
    trees = max(outlook.trees(algorithm) for algorithm in settings.models.algorithms)
    read = 4.0 * maps_drawn * outlook.cells * len(outlook.features)
    work = maps_drawn * (cells * trees + outlook.cells * len(outlook.features)) / 1e6
    sources = [source_input.source for source_input in outlook.inputs]
    features = any(source.derive or source.kind == "categorical" for source in sources)
    units = outlook.tiles * features + drawn * len(periods)
    return Demand(PICTURES, units, read, 0, 2 * units, work, predict.load + 3.0 * FLOAT * cells, predict.grows)


def _report(outlook: Outlook) -> Demand:
    """Work: the figures of one page, and the summaries that are added up, of which `ADDED` take about as long.

    Done by the process of the command itself, which holds the coarse observation, the predictions of the models with
    their words as codes, the blocks of the training table, and pictures.
    """
    rows = sum(fit.held_out for fit in _fits(outlook))
    coarse = 4.0 * math.prod(outlook.grid.shape) * len(outlook.months)
    summaries = _summarise(outlook)
    shown = outlook.cells / stride(outlook.grid.fine.shape) ** 2
    # Sums of the RMSE maps, and a picture, of each season.
    drawn = shown * len(outlook.config.season_scheme.names) * 4 * FLOAT
    read, load = summaries.written + coarse + rows * REPORTED, coarse * 4 + rows * REPORTED + drawn
    return Demand(REPORT, 1, read, 0, 30, 1 + summaries.units / ADDED, load, AREA)
