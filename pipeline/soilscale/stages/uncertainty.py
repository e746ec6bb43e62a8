"""Uncertainty of the maps: offsets of their lower and upper layers, and how their methods do in the upscaling test."""

from __future__ import annotations

import math
from collections.abc import Mapping

from soilscale import storage
from soilscale.engine.output import digest
from soilscale.engine.units import Unit
from soilscale.maps import Offsets
from soilscale.stages.project import Project
from soilscale.tasks.interval_offsets import INTERVALS, SKILL, MeasureIntervals
from soilscale.tasks.joint_learning import EstimateVariances

FORMAT = 3
"""Version of what the unit writes; a change redoes it, and every map that has an interval."""


def interval_units(
    run: Project, algorithms: Mapping[str, str], version: str, spreads: Mapping[str, EstimateVariances]
) -> list[Unit[MeasureIntervals]]:
    """One unit for all seasons.

    Parameters
    ----------
    algorithms
        Season -> the algorithm that maps it.
    version
        Digest of the predictions and of the observation.
    spreads
        Season -> the joint algorithm that makes its maps, or one that is trained beside it.
    """
    task = MeasureIntervals(
        target=run.plan.target.source.name,
        algorithms=dict(algorithms),
        seasons=run.config.season_scheme,
        limits=run.config.maps.valid_range,
        level=run.config.maps.interval,
        months=run.config.training or run.config.span,
        spreads=dict(spreads),
    )
    return [Unit(INTERVALS, "offsets", digest(FORMAT, version, task), task)]


def skill(run: Project) -> dict[str, dict[str, float]]:
    """RMSE of each season's method and of bilinear interpolation one scale up, m3 m-3, where both are known."""
    url = run.workspace.state(INTERVALS, "told.json")
    skills: dict[str, dict[str, float]] = storage.read_json(url)[SKILL] if storage.exists(url) else {}
    return skills


def offsets(run: Project) -> dict[str, Offsets]:
    """Offsets of every season, NaN where too few errors tell; none if no interval is asked for."""
    if run.config.maps.interval is None:
        return {}
    url, unknown = run.workspace.state(INTERVALS, "told.json"), (math.nan, math.nan)
    measured = storage.read_json(url) if storage.exists(url) else {}
    return {
        season: Offsets(*(tuple(measured.get(kind, {}).get(season, unknown)) for kind in ("observed", "predicted")))
        for season in run.config.season_scheme.names
    }
