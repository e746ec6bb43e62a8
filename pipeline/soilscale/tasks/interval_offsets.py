"""What a worker does for prediction intervals: the offsets of every season."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from soilscale import models, reports, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Task
from soilscale.reports.tables import BILINEAR
from soilscale.schema import COARSE
from soilscale.seasons import ALL, Seasons
from soilscale.tasks import single_fits
from soilscale.tasks.joint_learning import EstimateVariances

INTERVALS = "intervals"


SKILL = "upscaled_rmse"
"""Key of what is known of each season's skill one scale up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureIntervals(Task):
    """Measure the offsets of every season, and how its method does one scale up.

    Where a season's algorithm learns from areas, the posterior of pixels tells how far they are off; elsewhere the
    errors of cells held out must do, which hide what varies within.
    """

    target: str
    algorithms: Mapping[str, str]
    """Season -> the algorithm that maps it."""
    seasons: Seasons
    limits: tuple[float, float]
    """Physical range of the maps."""
    level: float | None
    """Share of the truth that an interval is to hold; None: there are no intervals."""
    months: tuple[str, str]
    """First and last month that models learn from."""
    spreads: Mapping[str, EstimateVariances]
    """Season -> the joint algorithm that makes its maps, or one that is trained beside it."""

    def run(self, workspace: Workspace) -> None:
        """Write offsets and skill below `state/`."""
        # Only months that models learn from: errors of later ones would change the maps with each month that is
        # added.
        observed = storage.open_group(workspace.cube, COARSE)[self.target].sel(time=slice(*self.months)).load()
        predictions = single_fits.predictions(workspace.predictions)
        scores = reports.upscaled(observed, predictions, self.seasons, algorithm=self.algorithms, limits=self.limits)
        rmse = scores[scores["metric"] == "rmse"].set_index(["season", "method"])["value"].to_dict()
        methods = {"maps": reports.method(self.algorithms), "bilinear": BILINEAR}
        skill = {
            season: {kind: rmse[season, name] for kind, name in methods.items()}
            for season in self.seasons.names
            if all(math.isfinite(rmse.get((season, name), math.nan)) for name in methods.values())
        }
        ends = {}
        if self.level is not None:
            fits = {estimate.name: estimate for estimate in self.spreads.values()}
            by_algorithm = {name: estimate.spread(workspace, self.level) for name, estimate in fits.items()}
            halves = {
                season: by_algorithm[estimate.name][season]
                for season, estimate in self.spreads.items()
                if season in by_algorithm[estimate.name]
            }
            ends = offsets(observed, predictions, self.algorithms, self.seasons, self.limits, self.level, halves)
        storage.write_json(workspace.state(INTERVALS, "told.json"), ends | {SKILL: skill})


def offsets(
    observed: xr.DataArray,
    predictions: pd.DataFrame,
    algorithms: Mapping[str, str],
    seasons: Seasons,
    limits: tuple[float, float],
    level: float,
    halves: Mapping[str, tuple[float, float]],
) -> dict[str, dict[str, tuple[float, float]]]:
    """Offsets of every season, where a cell is observed and where it is not.

    Parameters
    ----------
    observed
        Coarse observation (time, y, x) of the months that models learn from, m3 m-3.
    predictions
        Of held-out rows, as `models.judge` makes them.
    algorithms
        Season -> the algorithm that maps it.
    limits, level
        Physical range, and the share of the truth that an interval is to hold.
    halves
        Season -> half widths by the posterior of pixels, where one is known (`models.joint.spread`).
    """
    errors_by_kind = {
        "predicted": reports.blocked_errors(predictions, algorithms),
        "observed": reports.upscaled_errors(observed, predictions, seasons, algorithm=algorithms, limits=limits),
    }
    by_kind: dict[str, dict[str, tuple[float, float]]] = {
        # A season without errors of its own takes those of all.
        kind: {season: reports.interval(errors.get(season, errors[ALL]), level) for season in seasons.names}
        for kind, errors in errors_by_kind.items()
    }
    for season, (seen_ends, unseen_ends) in halves.items():
        # Whole swaths lack an observation, as blocks do; the posterior knows of single cells. Of a model that does not
        # learn from areas it knows what there is to err within a cell, but not how the model errs.
        columns = ["predicted"] if models.find(algorithms[season]).joint else ["observed", "predicted"]
        ends = {"observed": seen_ends, "predicted": unseen_ends}
        for kind, half in ends.items():
            lower, upper = map(float, np.nan_to_num(by_kind[kind][season])) if kind in columns else (0.0, 0.0)
            by_kind[kind][season] = min(lower, -half), max(upper, half)
    return by_kind
