"""How far maps may be off: offsets of their lower and upper layers, and how their methods do one scale up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from soilscale import models, reports, storage
from soilscale.flow import areas, learn
from soilscale.flow.session import Run
from soilscale.flow.units import Unit
from soilscale.flow.workspace import Workspace, digest
from soilscale.maps import Offsets
from soilscale.reports.tables import BILINEAR
from soilscale.schema import COARSE
from soilscale.seasons import ALL, Seasons

INTERVALS = "intervals"

SKILL = "upscaled_rmse"
"""Key of what is known of each season's skill one scale up."""


def interval_units(
    run: Run, algorithms: Mapping[str, str], version: str, spreads: Mapping[str, Sequence[Any]]
) -> list[Unit]:
    """One unit for all seasons.

    Parameters
    ----------
    algorithms
        Season -> the algorithm that maps it.
    version
        Digest of the predictions and of the observation.
    spreads
        Season -> arguments of `areas.estimate`: of its own algorithm, or of one that is trained beside it.
    """
    told = (
        run.plan.target.source.name,
        dict(algorithms),
        run.config.season_scheme,
        run.config.maps.valid_range,
        run.config.maps.interval,
        run.config.training or run.config.span,
        dict(spreads),
    )
    return [Unit(INTERVALS, "offsets", digest(version, told), measure, told)]


def measure(
    workspace: Workspace,
    target: str,
    algorithms: Mapping[str, str],
    seasons: Seasons,
    limits: tuple[float, float],
    level: float | None,
    months: tuple[str, str],
    spreads: Mapping[str, Sequence[Any]],
) -> None:
    """Measure the offsets of every season on a worker, and how its method does one scale up.

    Where a season's algorithm learns from areas, the posterior of pixels tells how far they are off; elsewhere the
    errors of cells held out must do, which hide what varies within.
    """
    observed = storage.open_group(workspace.cube, COARSE)[target].sel(time=slice(*months)).load()
    predictions = learn.predictions(workspace.predictions)
    scores = reports.upscaled(observed, predictions, seasons, algorithm=algorithms, limits=limits)
    rmse = scores[scores["metric"] == "rmse"].set_index(["season", "method"])["value"].to_dict()
    methods = {"maps": reports.method(algorithms), "bilinear": BILINEAR}
    skill = {
        season: {kind: rmse[season, name] for kind, name in methods.items()}
        for season in seasons.names
        if all(math.isfinite(rmse.get((season, name), math.nan)) for name in methods.values())
    }
    ends = {}
    if level is not None:
        fits = {arguments[0]: arguments for arguments in spreads.values()}
        by_algorithm = {name: areas.spread(workspace, arguments, level) for name, arguments in fits.items()}
        halves = {
            season: by_algorithm[arguments[0]][season]
            for season, arguments in spreads.items()
            if season in by_algorithm[arguments[0]]
        }
        ends = _offsets(observed, predictions, algorithms, seasons, limits, level, halves)
    storage.write_json(workspace.state(INTERVALS, "told.json"), ends | {SKILL: skill})


def _offsets(
    observed: xr.DataArray,
    predictions: pd.DataFrame,
    algorithms: Mapping[str, str],
    seasons: Seasons,
    limits: tuple[float, float],
    level: float,
    halves: Mapping[str, tuple[float, float]],
) -> dict[str, dict[str, tuple[float, float]]]:
    """Offsets of every season, where a cell is observed and where it is not."""
    found = {
        "predicted": reports.blocked_errors(predictions, algorithms),
        "observed": reports.upscaled_errors(observed, predictions, seasons, algorithm=algorithms, limits=limits),
    }
    told: dict[str, dict[str, tuple[float, float]]] = {
        kind: {season: reports.interval(errors.get(season, errors[ALL]), level) for season in seasons.names}
        for kind, errors in found.items()
    }
    for season, (seen, unseen) in halves.items():
        # Whole swaths lack an observation, as blocks do; the posterior knows of single cells. Of a model that does not
        # learn from areas it knows what there is to err within a cell, but not how the model errs.
        held = ["predicted"] if models.find(algorithms[season]).joint else ["observed", "predicted"]
        ends = {"observed": seen, "predicted": unseen}
        for kind, half in ends.items():
            lower, upper = map(float, np.nan_to_num(told[kind][season])) if kind in held else (0.0, 0.0)
            told[kind][season] = min(lower, -half), max(upper, half)
    return told


def skill(run: Run) -> dict[str, dict[str, float]]:
    """RMSE of each season's method and of bilinear interpolation one scale up, m3 m-3, where both are known."""
    url = run.workspace.state(INTERVALS, "told.json")
    known: dict[str, dict[str, float]] = storage.read_json(url)[SKILL] if storage.exists(url) else {}
    return known


def offsets(run: Run) -> dict[str, Offsets]:
    """Offsets of every season, NaN where too few errors tell; none if no interval is asked for."""
    if run.config.maps.interval is None:
        return {}
    url, unknown = run.workspace.state(INTERVALS, "told.json"), (math.nan, math.nan)
    told = storage.read_json(url) if storage.exists(url) else {}
    return {
        season: Offsets(*(tuple(told.get(kind, {}).get(season, unknown)) for kind in ("observed", "predicted")))
        for season in run.config.season_scheme.names
    }
