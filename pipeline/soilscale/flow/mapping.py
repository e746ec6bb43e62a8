"""The map stage: a model for each season, then predict, conserve, fold and publish, tile by tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from soilscale import __version__, cube, maps, publish, samples, storage
from soilscale.flow import draw, learn
from soilscale.flow.session import Run
from soilscale.flow.stages import train_units
from soilscale.flow.units import Receipt, Unit
from soilscale.flow.workspace import digest
from soilscale.models import Job
from soilscale.seasons import ALL, Months

PREDICT, CONSERVE, FOLD, MAPS = "predict", "conserve", "season", "publish"
"""Stages of the maps' units."""

STAGES = (PREDICT, CONSERVE, FOLD, MAPS)


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
    """Predict, conserve, fold and publish the maps; what hangs on a failed unit waits for the run that mends it."""
    settings, months = run.config, run.plan.months
    starts = maps.complete_seasons(months, settings.season_scheme)
    layout = layout_digest(run)
    made = run.workspace.state("maps-layout.json")
    if not storage.exists(made) or storage.read_json(made) != layout:
        storage.remove(made)
        for stage in STAGES:
            storage.remove(run.workspace.state(stage))
        storage.remove(run.workspace.maps)
        for group, template in maps.template(run.plan.grid, months, starts, settings.season_scheme).items():
            storage.create(run.workspace.maps, group, template)
        storage.write_json(made, layout)
    work = map_units(run)
    broken: set[str] = set()
    for stage, doing in ((PREDICT, "map: predict"), (CONSERVE, "map: conserve"), (FOLD, "map: seasons")):
        broken |= _months(run.do([unit for unit in work[stage] if broken.isdisjoint(_needs(run, unit))], doing))
    run.do([unit for unit in work[MAPS] if broken.isdisjoint(_needs(run, unit))], "map: COGs and items")
    _withdraw(run, work[MAPS])
    write_catalog(run)


def layout_digest(run: Run) -> str:
    """What the maps' template is made from: grid, months and seasons."""
    return digest(run.plan.grid, run.plan.months.astype(str).tolist(), run.config.seasons)


def _needs(run: Run, unit: Unit) -> set[str]:
    """Months, as YYYY-MM, that a unit of the maps hangs on."""
    start = np.datetime64(unit.name.partition("_")[0].removeprefix("season-").removeprefix("month-"))
    if unit.stage == FOLD or unit.name.startswith("season-"):
        return {str(month) for month in run.config.season_scheme.members(start)}
    return {str(start)}


def _months(receipts: Sequence[Receipt]) -> set[str]:
    """Months, as YYYY-MM, of failed units."""
    return {receipt.name.partition("_")[0] for receipt in receipts if receipt.outcome == "failed"}


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


def map_units(run: Run) -> dict[str, list[Unit]]:
    """Units of the maps, by their stage."""
    settings, months, tiles = run.config, run.plan.months, list(run.plan.grid.tiles())
    how, standing, chosen = recipe(run), run.standing, choose(run)
    area = settings.geometry.wkb_hex if settings.geometry is not None else None
    layout = layout_digest(run)
    units: dict[str, list[Unit]] = {stage: [] for stage in STAGES}
    made: dict[np.datetime64, str] = {}
    for index, month in enumerate(months):
        model = chosen[settings.season_scheme.name(month)]
        url = run.workspace.model(model.season, model.algorithm, "model.skops")
        made_from = [
            digest(layout, standing.predictors(tile, month, how.fill_gaps), model, how.fill_gaps, area)
            for tile in tiles
        ]
        observed = [standing.target(tile, month) for tile in tiles]
        made[month] = digest(made_from, observed, how.conserve, how.valid_range)
        for tile, origin in zip(tiles, made_from, strict=True):
            name = f"{month}_{tile.name}"
            units[PREDICT].append(Unit(PREDICT, name, origin, draw.predict, (how, tile, index, url, model.version)))
            units[CONSERVE].append(Unit(CONSERVE, name, made[month], draw.conserve, (how, tile, index)))
    for place, start in enumerate(maps.complete_seasons(months, settings.season_scheme)):
        members = settings.season_scheme.members(start)
        made_from_months = digest([made[month] for month in members])
        indices = [int(np.searchsorted(months, month)) for month in members]
        units[FOLD] += [
            Unit(FOLD, f"{start}_{tile.name}", made_from_months, draw.season, (tile, place, indices)) for tile in tiles
        ]
    units[MAPS] = _publish_units(run, chosen, made)
    return units


def _publish_units(run: Run, chosen: Mapping[str, Chosen], made: Mapping[np.datetime64, str]) -> list[Unit]:
    """One unit for each map that is published."""
    settings, seasons = run.config, run.config.season_scheme
    hrefs = _hrefs(run)
    accuracy = {season: _accuracy(run, model) for season, model in chosen.items()}
    wanted = {
        maps.MONTH: [(month, np.array([month])) for month in run.plan.months],
        maps.SEASON: [(start, seasons.members(start)) for start in maps.complete_seasons(run.plan.months, seasons)],
    }
    units = []
    for every in settings.maps.every:
        for index, (start, members) in enumerate(wanted[every]):
            model = chosen[seasons.name(start)]
            edition = draw.Edition(
                every=every,
                identifier=f"{settings.name}-{every}-{start}",
                collection=f"{settings.name}-{every}",
                span=(start, members[-1] + np.timedelta64(1, "M")),
                properties={
                    "title": f"Soil moisture, {every} of {start}",
                    "soilscale:season": seasons.name(start),
                    "soilscale:algorithm": model.algorithm,
                    "soilscale:model": f"models/{model.season}/{model.algorithm}",
                    "soilscale:model_hash": model.version,
                    "soilscale:accuracy": accuracy[seasons.name(start)],
                    "soilscale:version": __version__,
                },
                sources=_origins(run, members, hrefs),
            )
            made_from = digest([made[month] for month in members], edition, run.plan.grid)
            units.append(Unit(MAPS, f"{every}-{start}", made_from, draw.publish_map, (run.plan.grid, edition, index)))
    return units


def _accuracy(run: Run, model: Chosen) -> dict[str, float]:
    """RMSE and R2 of a model, random and blocked, as its description tells them."""
    told = storage.read_json(run.workspace.model(model.season, model.algorithm, "model.json"))
    return {
        f"{row['metric']}_{row['split']}": row["value"]
        for row in told["accuracy"]
        if row["metric"] in {"rmse", "r2"} and row["season"] in {model.season, ALL}
    }


def _hrefs(run: Run) -> dict[str, dict[str, str]]:
    """Source -> item -> where the item itself lies, else its first asset."""
    found: dict[str, dict[str, str]] = {}
    for source in run.config.source_list:
        items = storage.read_json(run.workspace.items(source.name))["features"]
        found[source.name] = {
            item["id"]: next(
                (link["href"] for link in item.get("links", ()) if link.get("rel") == "self"),
                next((asset["href"] for asset in item["assets"].values()), item["id"]),
            )
            for item in items
        }
    return found


def _origins(run: Run, months: Months, hrefs: Mapping[str, Mapping[str, str]]) -> list[dict[str, str]]:
    """Items that the maps of some months are made from, those that lags reach back to among them."""
    origins = {}
    for given in run.plan.inputs:
        scenes = run.plan.scenes[given.source.name]
        back = [np.timedelta64(lag, "M") for lag in (0, *given.source.lags)]
        wanted = [month - lag for month in months for lag in back]
        used = scenes if given.static else [scene for month in wanted for scene in cube.select(scenes, month)]
        for scene in used:
            href = hrefs[given.source.name][scene.item].partition("?")[0]
            origins[href] = {"href": href, "title": f"{given.source.name}: {scene.item}"}
    return list(origins.values())


def _withdraw(run: Run, work: Sequence[Unit]) -> None:
    """Remove published maps that the configuration does not ask for any more."""
    wanted = {edition.place("")[:2] for _, edition, _ in (unit.arguments for unit in work)}
    found = {tuple(name.split("/")[:2]) for name in storage.names_below(run.workspace.published()) if "/" in name}
    for every, name in sorted(found - wanted):
        if name != "collection.json":
            storage.remove(run.workspace.published(every, name))


def write_catalog(run: Run) -> None:
    """Write the catalog and a collection for each kind of map, from the items that stand."""
    name = run.config.name
    kinds = []
    for every in run.config.maps.every:
        names = storage.names_below(run.workspace.published(every))
        items = [
            storage.read_json(run.workspace.published(every, found))
            for found in names
            if found.endswith(".json") and "/" in found
        ]
        if items:
            told = publish.collection(f"{name}-{every}", f"Soil moisture of {name}, one map for each {every}", items)
            storage.write_json(run.workspace.published(every, "collection.json"), told)
            kinds.append(every)
    told = publish.catalog(name, f"Fine maps of soil moisture, {name}", kinds)
    storage.write_json(run.workspace.published("catalog.json"), told)
