"""The map stage: a model for each season, then predict, conserve, fold and publish, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from soilscale import cube, maps, samples, storage
from soilscale.flow import draw, learn
from soilscale.flow.session import Run
from soilscale.flow.stages import train_units
from soilscale.flow.units import Unit
from soilscale.flow.workspace import digest
from soilscale.models import Job
from soilscale.seasons import ALL

PREDICT, CONSERVE, SEASON = "predict", "conserve", "season"
"""Stages of the maps' units."""


@dataclass(frozen=True)
class Chosen:
    """The model that maps a season."""

    season: str
    """Season of the model: ``all`` where the season itself has too few rows."""
    algorithm: str
    version: str
    """Digest of what the model was made from."""


def choose(run: Run) -> dict[str, Chosen]:
    """Model of each season: the configured algorithm, or the one with the least blocked RMSE."""
    settings = run.config
    predictions = learn.read_table(run.workspace.predictions)
    few = samples.check_counts(learn.read_table(run.workspace.samples), settings.season_scheme)
    versions = {unit.name: unit.digest for unit in train_units(run, settings.season_scheme.names)}
    chosen = {}
    for season in settings.season_scheme.names:
        kind: Literal["comprehensive", "seasonal"] = "comprehensive" if season in few else "seasonal"
        algorithm = settings.maps.algorithm
        if algorithm == "best":
            rows = predictions[(predictions["season"] == season) & (predictions["model"] == kind)]
            algorithm = _best(rows[rows["split"] == "blocked"], settings.models.algorithms)
        model_season = ALL if season in few else season
        job = Job(model_season, algorithm, kind, "random", None)
        chosen[season] = Chosen(model_season, algorithm, versions[job.name])
    return chosen


def _best(blocked: pd.DataFrame, algorithms: Sequence[str]) -> str:
    errors = ((blocked["predicted"] - blocked["observed"]) ** 2).groupby(blocked["algorithm"]).mean()
    return str(errors.idxmin()) if len(errors) else algorithms[0]


def draw_maps(run: Run) -> None:
    """Predict, conserve and fold the maps, tile by tile."""
    settings, months = run.config, run.plan.months
    starts = maps.complete_seasons(months, settings.season_scheme)
    layout = digest(run.plan.grid, months.astype(str).tolist(), starts.astype(str).tolist(), settings.seasons)
    made = run.workspace.state("maps-layout.json")
    if not storage.exists(made) or storage.read_json(made) != layout:
        for stage in (PREDICT, CONSERVE, SEASON):
            storage.remove(run.workspace.state(stage))
        storage.remove(run.workspace.maps)
        for group, template in maps.template(run.plan.grid, months, starts, settings.season_scheme).items():
            storage.create(run.workspace.maps, group, template)
        storage.write_json(made, layout)
    for work, doing in map_units(run, layout):
        run.do(work, doing)


def recipe(run: Run) -> draw.Recipe:
    """How the maps of the configuration are made."""
    settings = run.config
    return draw.Recipe(
        grid=run.plan.grid,
        features=run.features,
        static=frozenset(name for name, given in cube.features(run.plan.inputs).items() if given.static),
        target=run.plan.target.source.name,
        months=len(run.plan.months),
        fill_gaps=settings.maps.fill_gaps,
        valid_range=settings.maps.valid_range,
        conserve=settings.maps.conserve,
        area=settings.geometry,
    )


def map_units(run: Run, layout: str) -> list[tuple[list[Unit], str]]:
    """Units of the maps, in the order in which their kinds are done."""
    settings, months, tiles = run.config, run.plan.months, list(run.plan.grid.tiles())
    how, standing, chosen = recipe(run), run.standing, choose(run)
    area = settings.geometry.wkb_hex if settings.geometry is not None else None
    predict, conserve, season = [], [], []
    made: dict[tuple[str, int], str] = {}
    for index, month in enumerate(months):
        model = chosen[settings.season_scheme.name(month)]
        url = run.workspace.model(model.season, model.algorithm, "model.skops")
        version_of = [
            digest(layout, standing.predictors(tile, month, how.fill_gaps), model, how.fill_gaps, area)
            for tile in tiles
        ]
        observed = [standing.target(tile, month) for tile in tiles]
        whole = digest(version_of, observed, how.conserve, how.valid_range)
        for tile, made_from in zip(tiles, version_of, strict=True):
            name = f"{month}_{tile.name}"
            made[tile.name, index] = whole
            predict.append(Unit(PREDICT, name, made_from, draw.predict, (how, tile, index, url, model.version)))
            conserve.append(Unit(CONSERVE, name, whole, draw.conserve, (how, tile, index)))
    for place, start in enumerate(maps.complete_seasons(months, settings.season_scheme)):
        members = [int(np.searchsorted(months, month)) for month in settings.season_scheme.members(start)]
        for tile in tiles:
            parts = digest([made[tile.name, index] for index in members])
            season.append(Unit(SEASON, f"{start}_{tile.name}", parts, draw.season, (tile, place, members)))
    kinds = [(predict, "map: predict"), (conserve, "map: conserve")]
    return [*kinds, (season, "map: seasons")] if "season" in settings.maps.every else kinds
