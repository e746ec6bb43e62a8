"""The stages in their order: each reads the product before it, does what is not complete, and writes its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from soilscale import catalog, cube, models, reports, samples, storage
from soilscale.errors import DataError, IncompleteError
from soilscale.flow import (
    areas,
    audit,
    deriving,
    explain,
    fill,
    fitting,
    freezing,
    gaps,
    inventory,
    learn,
    plan,
    stacking,
)
from soilscale.flow.layout import Layout, lay
from soilscale.flow.session import Run
from soilscale.flow.units import Receipt, Unit
from soilscale.flow.workspace import digest
from soilscale.models import Job
from soilscale.schema import MAP
from soilscale.seasons import ALL, position

logger = logging.getLogger(__name__)

MOST_BEYOND = 0.5
"""Largest share of observations outside the physical range that a run goes on with."""

SCORED = "models like this one that did not learn from the rows they are scored on; this one learned from all rows"
"""What the accuracy in a model's description is of."""

SAMPLES, TRAIN = "samples", "train"
"""Stages beside the cube's and the maps'."""


def search(run: Run, *, searched: bool = False) -> None:
    """Freeze the items of every source, and tell of the months that none covers; errors as `freezing.freeze`."""
    new = True if searched else freezing.freeze(run)
    run.forget()
    if new:
        fitting.tell(run.config, run.plan.scenes)
    sources = {source.name: source for source in run.config.source_list}
    for name, relations in run.plan.relations.items():
        for line in catalog.account(sources[name], relations):
            logger.warning("%s", line)
    for line in gap_lines(run.plan):
        logger.warning("%s", line)
    audit.take(run)


def gap_lines(made: plan.Plan) -> list[str]:
    """What months sources lack, because no item covers them or items cover too few of their days."""
    short, lines = made.short(), []
    for name, months in made.gaps().items():
        without = [month for month in months if month not in short.get(name, {})]
        lines += [f"source {name}: no item in {brief(without)}"] if without else []
    for name, found in short.items():
        least = next(given.source.least_coverage for given in made.inputs if given.source.name == name)
        listed = [f"{month} ({days:g} days)" for month, days in found.items()]
        lines.append(
            f"source {name}: {len(found)} of {len(made.months)} months are missing, since items cover less than "
            f"{least:g} of their days (min_coverage): {brief(listed)}"
        )
    return lines


def brief(names: Sequence[str], what: str = "months", most: int = 6) -> str:
    """Names as text, the first few of many."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more {what}" if len(names) > most else shown


def fill_cube(run: Run) -> None:
    """Stream the items into the cube: classes looked up, the template laid, then every source, tile and month."""
    _find_classes(run)
    lay(
        Layout(run.workspace, run.workspace.cube, "layout.json", run.plan.layout, run.plan.months),
        cube.template(run.plan.inputs, run.plan.grid, run.plan.months, filled=bool(run.plan.filled)),
        (plan.CUBE, *gaps.STAGES, *deriving.STAGES, plan.GATHER, plan.RELATE, plan.HARMONISE, plan.MERGE),
    )
    run.do(run.cube_units, "cube")
    _fill_gaps(run)
    _derive(run)
    run.do(run.gather_units, "cube: coarse cells")
    if run.plan.target.source.harmonise is not None:
        _harmonise(run)


def _fill_gaps(run: Run) -> None:
    """Fill the gaps of predictors, by levels and cycles that are learned from what was read."""
    work = run.gaps_units
    if work:
        raise_failed(run.do(work[gaps.LEVELS], "cube: levels of months"))
        raise_failed(run.do(work[gaps.CYCLES], "cube: annual cycles"))
        run.do(work[gaps.GAPS], "cube: gaps")


def _derive(run: Run) -> None:
    """Derive predictors from others month by month."""
    if run.config.derived_list:
        raise_failed(run.do(run.derive_units[deriving.SCATTER], "cube: temperature and vegetation"))
        raise_failed(run.do(run.derive_units[deriving.EDGES], "cube: dry and wet edges"))
        run.do(run.derive_units[deriving.DERIVE], "cube: derived predictors")


def _harmonise(run: Run) -> None:
    """Bring the parts of the target to one level."""
    relate = plan.relate_units(run.plan, run.standing)
    if not relate:
        inventory.remove(run.workspace, "state", plan.RELATE)
    raise_failed(run.do(relate, "cube: relate sensors"))
    run.do(plan.harmonise_units(run.plan, run.standing), "cube: harmonise")
    run.do(run.merge_units, "cube: coarse target")


def _find_classes(run: Run) -> None:
    """Look up the classes of categorical sources of which neither the configuration nor a profile names them."""
    for source in run.config.source_list:
        if source.kind != "categorical" or source.classes:
            continue
        scenes, read = run.plan.scenes[source.name], freezing.reading(run.config, source)
        made_from = digest([scene.digest for scene in scenes], source, run.plan.grid)
        work = [
            Unit(f"classes/{source.name}", tile.name, made_from, fill.classes, (read, scenes, run.plan.grid, tile))
            for tile in run.plan.grid.tiles()
        ]
        run.do(work, f"cube: classes of {source.name}")
        parts = [
            storage.read_json(url)
            for tile in run.plan.grid.tiles()
            if storage.exists(url := run.workspace.state("classes", source.name, f"{tile.name}.codes.json"))
        ]
        found = sorted({code for part in parts for code in part})
        if not found:
            raise DataError(f"source {source.name}: no class could be read from any of its {len(scenes)} items")
        storage.write_json(run.workspace.state("classes", f"{source.name}.json"), {"classes": found})
    run.forget()


def draw_samples(run: Run) -> None:
    """Build the training table from the coarse group.

    Raises
    ------
    DataError
        If no coarse cell and month has both an observation and its predictors.
    """
    work = sample_units(run)
    raise_failed(run.do(work, "samples"))
    if not _stands(run, work, run.workspace.samples):
        _put_together(run, work, run.workspace.samples)
        _mark(run, work)
    observed = learn.read_table(run.workspace.samples, [MAP])[MAP]
    if observed.empty:
        raise DataError(
            "no coarse cell has an observation and enough valid predictors in any month, so nothing can be learned; "
            "see what is missing with `soilscale status` and `soilscale check`, or lower samples.min_valid_fraction"
        )
    _check_range(run, observed)


def _check_range(run: Run, observed: pd.Series[float]) -> None:
    """Refuse a target that is likely in another unit."""
    lower, upper = run.config.maps.valid_range
    beyond = float(((observed < lower) | (observed > upper)).mean())
    if beyond > MOST_BEYOND:
        name = run.plan.target.source.name
        raise DataError(
            f"source {name}: {beyond:.0%} of its values lie outside maps.valid_range [{lower:g}, {upper:g}] m3 m-3, "
            f"their median is {observed.median():.4g}; give its scale or unit in sources.{name}, or another valid_range"
        )


def sample_units(run: Run) -> list[Unit]:
    """One unit for each batch of months that the models learn from."""
    settings, months = run.config, run.config.training_months
    before = position(run.plan.months, months[0])
    options = {
        "min_valid_fraction": settings.samples.min_valid_fraction,
        "seed": settings.models.seed,
        "block": settings.samples.block or samples.block_side(run.plan.grid.shape),
    }
    standing = run.standing
    batches = learn.months_in_batches(len(months))
    return [
        Unit(
            SAMPLES,
            f"{months[rows[0]]}_{months[rows[1] - 1]}",
            digest(standing.coarse(months[slice(*rows)]), run.features, settings.seasons, options),
            learn.draw,
            (
                f"{months[rows[0]]}_{months[rows[1] - 1]}",
                run.plan.target.source.name,
                run.features,
                settings.season_scheme,
                (before + rows[0], before + rows[1]),
                options,
            ),
        )
        for rows in batches
    ]


def samples_digest(run: Run) -> str:
    """What the training table is made from."""
    return digest([unit.digest for unit in sample_units(run)])


def raise_failed(receipts: Sequence[Receipt]) -> None:
    """End a stage without which there is no next one."""
    for receipt in receipts:
        kind = IncompleteError if receipt.outcome == "killed" else DataError
        raise kind(f"{receipt.stage} {receipt.name}: {receipt.message}")


def train(run: Run) -> None:
    """Fit a model per season and algorithm, and judge them by random and blocked splits.

    Raises
    ------
    DataError
        If no season has rows enough for a model.
    """
    settings = run.config
    few = samples.check_counts(learn.counts(run.workspace.samples), settings.season_scheme)
    if len(few) == len(settings.season_scheme.names):
        counts = ", ".join(f"{name} {count}" for name, count in few.items())
        raise DataError(
            f"no season has the {samples.MIN_ROWS} training rows that a model needs (got {counts}); choose a longer "
            "period or training, a larger area or a lower samples.min_valid_fraction, or join seasons"
        )
    for name, count in few.items():
        logger.warning(
            "season %s has %d training rows, too few for a model; the comprehensive one is used", name, count
        )
    seasons, made_from = trained_seasons(run), samples_digest(run)
    raise_failed(run.do(areas.knots_units(run), "train: fine features"))
    raise_failed(run.do(explain.select_units(run, seasons, made_from), "train: forward selection"))
    raise_failed(run.do(explain.tune_units(run, seasons, made_from), "train: tuning"))
    raise_failed(run.do(areas.basis_units(run), "train: basis"))
    raise_failed(run.do(areas.variance_units(run, made_from), "train: variances"))
    fits = train_units(run, seasons)
    raise_failed(run.do(fits, "train"))
    stacks = stacking.stack_units(run, seasons, fits)
    raise_failed(run.do(stacks, "train: stack"))
    work = [*fits, *stacks]
    run.do(explain.importance_units(run, seasons, fits), "train: importance")
    run.do(explain.ablation_units(run, seasons, made_from), "train: ablation")
    if not _stands(run, work, run.workspace.predictions):
        _put_together(run, work, run.workspace.predictions)
        _describe(run, [(unit.stage, model) for unit in work for model in models.kept(unit.arguments[0], seasons)])
        _mark(run, work)


def _stands(run: Run, work: Sequence[Unit], url: str) -> bool:
    """Whether a table was put together from these units, and what is written with it too."""
    marker = joined(run, work[0].stage)
    return storage.exists(url) and storage.exists(marker) and storage.read_json(marker) == _origin(work)


def _put_together(run: Run, work: Sequence[Unit], url: str) -> None:
    """Write the tables of units as one."""
    storage.remove(joined(run, work[0].stage))
    learn.put_together([run.workspace.state(unit.stage, f"{unit.name}.parquet") for unit in work], url)


def _mark(run: Run, work: Sequence[Unit]) -> None:
    storage.write_json(joined(run, work[0].stage), _origin(work))


def joined(run: Run, stage: str) -> str:
    """Marker of a table that was put together, beside its units' own."""
    return run.workspace.state(f"{stage}-joined.json")


def _origin(work: Sequence[Unit]) -> str:
    return digest([unit.marker for unit in work])


def trained_seasons(run: Run) -> list[str]:
    """Seasons that have rows enough for a model of their own."""
    few = samples.check_counts(learn.counts(run.workspace.samples), run.config.season_scheme)
    return [name for name in run.config.season_scheme.names if name not in few]


def train_units(run: Run, seasons: Sequence[str]) -> list[Unit]:
    """One unit for each fit."""
    settings = run.config.models
    made_from = samples_digest(run)
    told, within = cube.feature_units(run.plan.inputs), areas.within(run)
    units = []
    for job in models.jobs(seasons, settings.algorithms, settings.folds):
        if models.find(job.algorithm).joint:
            units.append(areas.fit_unit(run, TRAIN, job, seasons, made_from, told))
            continue
        features = explain.features_of(run, job.season)
        parameters = explain.parameters_of(run, job.season, job.algorithm, within)
        feature_units = {name: told[name] for name in features}
        options = {"parameters": parameters, "seed": settings.seed, "folds": settings.folds}
        origin = digest(made_from, job, parameters, settings.folds, features, learn.FORMAT)
        units.append(Unit(TRAIN, job.name, origin, learn.fit, (job, features, feature_units, options)))
    return units


def model_units(run: Run, seasons: Sequence[str]) -> list[Unit]:
    """One unit for each fit, and for each model that is made of others."""
    fits = train_units(run, seasons)
    return [*fits, *stacking.stack_units(run, seasons, fits)]


def _describe(run: Run, jobs: Sequence[tuple[str, Job]]) -> None:
    """Write the description of every model, each with its stage, with its accuracy."""
    accuracy = reports.accuracy(learn.predictions(run.workspace.predictions), run.config.season_scheme.names)
    for stage, job in jobs:
        told = storage.read_json(run.workspace.state(stage, f"{job.name}.about.json"))
        rows = accuracy[(accuracy["algorithm"] == job.algorithm) & (accuracy["model"] == job.model)]
        if job.season != ALL:
            rows = rows[rows["season"] == job.season]
        told["accuracy"] = [
            {key: _plain(value) for key, value in row.items() if key in {"season", "split", "metric", "value", "n"}}
            for row in rows.to_dict("records")
        ]
        told["accuracy_of"] = SCORED
        storage.write_json(run.workspace.model(job.season, job.algorithm, "model.json"), told)


def _plain(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
