"""How far a map may be off: offsets of its lower and upper layer, by the posterior or by errors on held-out blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from soilscale import reports, storage
from soilscale.flow import areas, learn
from soilscale.flow.session import Run
from soilscale.flow.units import Unit
from soilscale.flow.workspace import Workspace, digest
from soilscale.maps import Offsets
from soilscale.schema import COARSE
from soilscale.seasons import ALL, Seasons

INTERVALS = "intervals"


def interval_units(
    run: Run, algorithms: Mapping[str, str], version: str, spreads: Mapping[str, Sequence[Any]]
) -> list[Unit]:
    """One unit for all seasons; none if no interval is asked for.

    Parameters
    ----------
    algorithms
        Season -> the algorithm that maps it.
    version
        Digest of the predictions and of the observation.
    spreads
        Season -> arguments of `areas.estimate`, where its own model learns from areas.
    """
    level = run.config.maps.interval
    if level is None:
        return []
    told = (
        run.plan.target.source.name,
        dict(algorithms),
        run.config.season_scheme,
        run.config.maps.valid_range,
        level,
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
    level: float,
    months: tuple[str, str],
    spreads: Mapping[str, Sequence[Any]],
) -> None:
    """Measure the offsets of every season on a worker.

    Where a season's algorithm learns from areas, the posterior of pixels tells how far they are off; elsewhere the
    errors of cells held out must do, which hide what varies within.
    """
    observed = storage.open_group(workspace.cube, COARSE)[target].sel(time=slice(*months)).load()
    predictions = learn.predictions(workspace.predictions)
    found = {
        "predicted": reports.blocked_errors(predictions, algorithms),
        "observed": reports.upscaled_errors(observed, predictions, seasons, algorithm=algorithms, limits=limits),
    }
    told: dict[str, dict[str, tuple[float, float]]] = {
        kind: {season: reports.interval(errors.get(season, errors[ALL]), level) for season in seasons.names}
        for kind, errors in found.items()
    }
    by_posterior = {arguments[0]: areas.spread(workspace, arguments, level) for arguments in spreads.values()}
    for season in spreads:
        if season in by_posterior[algorithms[season]]:
            seen, unseen = by_posterior[algorithms[season]][season]
            lower, upper = map(float, np.nan_to_num(told["predicted"][season]))
            told["observed"][season] = -seen, seen
            # Whole swaths lack an observation, as blocks do; the posterior knows of single cells.
            told["predicted"][season] = min(lower, -unseen), max(upper, unseen)
    storage.write_json(workspace.state(INTERVALS, "told.json"), told)


def offsets(run: Run) -> dict[str, Offsets]:
    """Offsets of every season; none if no interval is asked for."""
    url = run.workspace.state(INTERVALS, "told.json")
    if run.config.maps.interval is None or not storage.exists(url):
        return {}
    told = storage.read_json(url)
    return {
        season: Offsets(tuple(told["observed"][season]), tuple(told["predicted"][season]))
        for season in run.config.season_scheme.names
        if np.isfinite([*told["observed"][season], *told["predicted"][season]]).all()
    }
