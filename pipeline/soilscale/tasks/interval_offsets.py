"""What a worker does for prediction intervals: the offsets of every season."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from soilscale import models, reports, storage
from soilscale.engine.output import Workspace
from soilscale.reports.tables import BILINEAR
from soilscale.schema import COARSE
from soilscale.seasons import ALL, Seasons
from soilscale.tasks import joint_learning, single_fits

INTERVALS = "intervals"


SKILL = "upscaled_rmse"
"""Key of what is known of each season's skill one scale up."""


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
    predictions = single_fits.predictions(workspace.predictions)
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
        by_algorithm = {name: joint_learning.spread(workspace, arguments, level) for name, arguments in fits.items()}
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
