"""Units that find the features behind each season's detail, and how much of each feature cells show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from soilscale import models, storage
from soilscale.engine.output import digest
from soilscale.engine.units import Unit
from soilscale.maps import MONTH
from soilscale.seasons import ALL, position
from soilscale.stages import joint_fits, mapping, model_analysis
from soilscale.stages.project import Project
from soilscale.storage import tables
from soilscale.tasks.detail_shares import COLUMNS, TILES, WITHIN, MeasureDetail
from soilscale.tasks.map_making import Chosen, Slot

FORMAT = 1
"""Version of what a unit writes; a change redoes it."""


def detail_units(run: Project, chosen: Mapping[str, Chosen]) -> list[Unit[MeasureDetail]]:
    """One unit for each season of which a month is mapped.

    Parameters
    ----------
    chosen
        Season -> the model that maps it.
    """
    scheme, tiles, within = run.config.season_scheme, list(run.plan.grid.tiles()), joint_fits.within(run)
    groups, standing, units = model_analysis.groups(run), run.standing, []
    for season, model in chosen.items():
        months = [month for month in run.plan.months if scheme.name(month) == season]
        if not months:
            continue
        # A seed of the season's own: with one generator for all, a season more or less would move the places of the
        # others.
        rng = np.random.default_rng(models.seed_of(run.config.models.seed, WITHIN, season))
        picked = [months[place] for place in np.linspace(0, len(months) - 1, TILES).round().astype(int)]
        places = [(tiles[rng.integers(len(tiles))], month) for month in picked]
        how = mapping.recipe(run, model, None)
        measured = within.get(season, within.get(ALL, {}))
        origin = [standing.predictors(tile, month, how.fill_gaps) for tile, month in places]
        made_from = digest(FORMAT, model, how.features, groups, measured, origin)
        slots = tuple((tile, Slot(MONTH, 0, (position(run.plan.months, month),))) for tile, month in places)
        task = MeasureDetail(season=season, recipe=how, model=model, places=slots, groups=groups, within=measured)
        units.append(Unit(WITHIN, season, made_from, task))
    return units


def table(run: Project, units: Sequence[Unit[MeasureDetail]]) -> pd.DataFrame:
    """What stands of the units: by season, the largest share within first."""
    urls = [run.workspace.state(WITHIN, f"{unit.name}.parquet") for unit in units]
    parts = [tables.read_table(url) for url in urls if storage.exists(url)]
    parts = [part.sort_values("share_within", ascending=False, kind="stable") for part in parts]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
