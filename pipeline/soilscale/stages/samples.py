"""The samples stage: the training table from the coarse group."""

from __future__ import annotations

import pandas as pd

from soilscale import samples
from soilscale.engine.output import digest
from soilscale.engine.units import Unit, raise_failed
from soilscale.errors import DataError
from soilscale.schema import MAP
from soilscale.seasons import position
from soilscale.stages.joined_tables import is_joined, join, mark_joined
from soilscale.stages.project import Project
from soilscale.storage import tables
from soilscale.tasks import training_table

MOST_BEYOND = 0.5
"""Largest share of observations outside the physical range that a run goes on with."""


SAMPLES, TRAIN = "samples", "train"
"""Stages beside the cube's and the maps'."""


def draw_samples(run: Project) -> None:
    """Build the training table from the coarse group.

    Raises
    ------
    DataError
        If no coarse cell and month has both an observation and its predictors.
    """
    work = sample_units(run)
    raise_failed(run.do(work, "samples"))
    # The table is compared by the units that it was put together from, since a run may have been killed between them
    # and it.
    if not is_joined(run, work, run.workspace.samples):
        join(run, work, run.workspace.samples)
        mark_joined(run, work)
    observed = tables.read_table(run.workspace.samples, [MAP])[MAP]
    if observed.empty:
        raise DataError(
            "no coarse cell has an observation and enough valid predictors in any month, so nothing can be learned; "
            "find out what is missing with `soilscale status` and `soilscale check`, or lower "
            "samples.min_valid_fraction"
        )
    _check_range(run, observed)


def _check_range(run: Project, observed: pd.Series[float]) -> None:
    """Refuse a target that is likely in another unit."""
    lower, upper = run.config.maps.valid_range
    beyond = float(((observed < lower) | (observed > upper)).mean())
    if beyond > MOST_BEYOND:
        name = run.plan.target.source.name
        raise DataError(
            f"source {name}: {beyond:.0%} of its values lie outside maps.valid_range [{lower:g}, {upper:g}] m3 m-3, "
            f"their median is {observed.median():.4g}; give its scale or unit in sources.{name}, or another valid_range"
        )


def sample_units(run: Project) -> list[Unit[training_table.DrawRows]]:
    """One unit for each batch of months that the models learn from."""
    settings, months = run.config, run.config.training_months
    before = position(run.plan.months, months[0])
    standing = run.standing
    # Part of the digest: with another seed or block other rows are held out.
    least, seed = settings.samples.min_valid_fraction, settings.models.seed
    block = settings.samples.block or samples.block_side(run.plan.grid.shape)
    units = []
    for first, last in training_table.months_in_batches(len(months)):
        task = training_table.DrawRows(
            name=f"{months[first]}_{months[last - 1]}",
            target=run.plan.target.source.name,
            features=run.features,
            seasons=settings.season_scheme,
            rows=(before + first, before + last),
            min_valid_fraction=least,
            seed=seed,
            block=block,
        )
        made_from = digest(standing.coarse(months[first:last]), run.features, settings.seasons, [least, seed, block])
        units.append(Unit(SAMPLES, task.name, made_from, task))
    return units


def samples_digest(run: Project) -> str:
    """What the training table is made from."""
    return digest([unit.digest for unit in sample_units(run)])
