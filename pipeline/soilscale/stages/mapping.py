"""The map stage: a model for each season, then predict, conserve, fold and publish, tile by tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from soilscale import cube, maps, models, samples
from soilscale.config import Config
from soilscale.engine.output import digest
from soilscale.engine.payloads import Piece
from soilscale.engine.units import Receipt, Task, Unit, raise_failed
from soilscale.engine.zarr_layout import Layout, lay
from soilscale.schema import APPLICABILITY, RESIDUAL
from soilscale.seasons import ALL, Months
from soilscale.stages import (
    applicability,
    inventory,
    joint_fits,
    publication,
    releases,
    stacking,
    store_metadata,
    uncertainty,
)
from soilscale.stages.cube_state import State
from soilscale.stages.project import Project
from soilscale.stages.samples import samples_digest
from soilscale.stages.training import model_units
from soilscale.tasks import applicability_index, published_maps, single_fits, training_table
from soilscale.tasks.applicability_index import MeasureApplicability
from soilscale.tasks.interval_offsets import MeasureIntervals
from soilscale.tasks.map_making import Chosen, Recipe, Slot
from soilscale.tasks.map_tiles import ConserveTile, FoldSeason, PredictTile, SolveResidual
from soilscale.tasks.published_maps import PublishMap
from soilscale.tasks.soil import Soil, soil_features
from soilscale.viewer.index import Viewed

PREDICT, SOLVE, CONSERVE, FOLD, MAPS = "predict", "residual", "conserve", "season", published_maps.PUBLISH
"""Stages of the maps' units."""

STAGES = (PREDICT, SOLVE, CONSERVE, FOLD, MAPS)

FORMAT = 3
"""Version of how maps are made; a change redoes them."""

MAPS_MEAN, PREDICTORS = "maps", "predictors"
"""How seasonal maps are made: the mean of the monthly maps, or the model on the mean predictors."""


def choose(run: Project) -> dict[str, Chosen]:
    """Model of each season: the configured algorithm, or the `models.best` by their blocked errors."""
    settings = run.config
    short_counts = samples.check_counts(training_table.counts(run.workspace.samples), settings.season_scheme)
    fitted, errors = trained(run), single_fits.blocked_errors(run.workspace.predictions)
    chosen = {}
    for season in settings.season_scheme.names:
        kind = "comprehensive" if season in short_counts else "seasonal"
        algorithm = settings.maps.algorithm
        if algorithm == "best":
            season_errors = errors.get((season, kind), {})
            algorithm = models.best(season_errors) if season_errors else settings.models.algorithms[0]
        chosen[season] = fitted[ALL if season in short_counts else season, algorithm]
    return chosen


def trained(run: Project) -> dict[tuple[str, str], Chosen]:
    """Model of each season, and ``all``, and algorithm."""
    names = run.config.season_scheme.names
    return {
        (model.season, model.algorithm): Chosen(model.season, model.algorithm, unit.digest)
        for unit in model_units(run, names)
        for model in models.stored_models(unit.task.job, names)
    }


def draw_maps(run: Project) -> None:
    """Predict, conserve, fold and publish the maps; what hangs on a failed unit waits for the run that mends it."""
    settings, months = run.config, run.plan.months
    starts = maps.complete_seasons(months, settings.season_scheme)
    templates = maps.template(
        run.plan.grid,
        months,
        starts,
        settings.season_scheme,
        predict_seasons=settings.maps.seasonal == PREDICTORS,
        optional=optional(settings),
        valid_range=settings.maps.valid_range,
    )
    # All but the last month: when the period goes on, the store grows and keeps the maps that it has.
    layout = Layout(
        run.workspace, run.workspace.maps, "maps-layout.json", layout_digest(run), months[-1], inventory.remove
    )
    lay(layout, templates, STAGES)
    chosen = choose(run)
    run.do(measure_units(run, chosen), "map: intervals")
    # Every prediction of a season reads its model's index, so a missing one stops the run; offsets that are missing
    # only leave intervals blank.
    raise_failed(run.do(list(applicability.units(run, chosen.values()).values()), "map: applicability"))
    # Planned only now: recipes and digests hold the offsets that the units of intervals have just measured.
    work = map_units(run, chosen)
    broken: set[str] = set()
    stages: tuple[tuple[Sequence[Unit[Task]], str], ...] = (
        (work.predict, "map: predict"),
        (work.solve, "map: residuals"),
        (work.conserve, "map: conserve"),
        (work.fold, "map: seasons"),
    )
    for units, doing in stages:
        # A map that lacks one tile has no residual for any, so nothing more is done for it until a run has mended that
        # tile.
        complete = [unit for unit in units if broken.isdisjoint(_needs(run, unit))]
        broken |= _broken(complete, run.do(complete, doing))
    run.do([unit for unit in work.publish if broken.isdisjoint(_needs(run, unit))], "map: COGs and items")
    store_metadata.describe_maps(run, templates)
    releases.release(
        run.workspace,
        settings.name,
        run.config_hash,
        work.publish,
        settings.maps.releases,
        viewed(run),
        publication.about(run),
    )


def viewed(run: Project) -> Viewed:
    """What the viewer shows beside what the items of the maps say."""
    settings, target = run.config, run.plan.target.source
    return Viewed(
        grid=run.plan.grid,
        target=target.name,
        product=target.collection,
        seasons=settings.season_scheme,
        valid_range=settings.maps.valid_range,
        interval=settings.maps.interval,
        area=settings.geometry,
        stations=settings.validation.stations is not None,
    )


def measure_units(run: Project, chosen: Mapping[str, Chosen]) -> list[Unit[MeasureIntervals]]:
    """Units that measure how far the maps of the chosen models may be off."""
    algorithms = {season: model.algorithm for season, model in chosen.items()}
    fits = [unit.digest for unit in model_units(run, run.config.season_scheme.names)]
    made_from = digest(fits, run.standing.coarse(run.config.training_months))
    # A map of an algorithm without areal variances borrows those of the first joint one, where one is trained.
    areal = {unit.name: unit.task for unit in joint_fits.variance_units(run, samples_digest(run))}
    first = next(iter(areal.values()), None)
    estimates = {season: areal.get(model.algorithm, first) for season, model in chosen.items() if model.season != ALL}
    spreads = {season: estimate for season, estimate in estimates.items() if estimate is not None}
    return uncertainty.interval_units(run, algorithms, made_from, spreads)


def optional(config: Config) -> tuple[str, ...]:
    """Layers that the maps of a configuration have beside their values and quality."""
    layers = {
        **dict.fromkeys(maps.ENDS, config.maps.interval is not None),
        APPLICABILITY: config.maps.applicability,
        RESIDUAL: config.maps.residual,
    }
    return tuple(name for name in maps.OPTIONAL if layers[name])


def layout_digest(run: Project) -> str:
    """What the maps' template is made from but for its last month: grid, first month, seasons, how maps are made."""
    how = run.config.maps.seasonal, optional(run.config)
    return digest(FORMAT, run.plan.grid, str(run.plan.months[0]), run.config.seasons, how)


def _needs(run: Project, unit: Unit[Task]) -> set[str]:
    """Maps, as `map_name` names them, that a unit hangs on."""
    every, start = _map_of(unit)
    if every == maps.MONTH:
        return {map_name(unit)}
    return {map_name(unit), *(f"{maps.MONTH}-{month}" for month in run.config.season_scheme.members(start))}


def map_name(unit: Unit[Task]) -> str:
    """Map that a unit works on, such as ``month-2005-01``."""
    return unit.name.partition("_")[0]


def _map_of(unit: Unit[Task]) -> tuple[str, np.datetime64]:
    """Kind of the map that a unit works on, and its first month."""
    every, _, start = map_name(unit).partition("-")
    return every, np.datetime64(start)


def _broken(work: Sequence[Unit[Task]], receipts: Sequence[Receipt]) -> set[str]:
    """Maps of missing units."""
    missing = {receipt.name for receipt in receipts}
    return {map_name(unit) for unit in work if unit.name in missing}


def recipe(run: Project, model: Chosen, offsets: maps.Offsets | None) -> Recipe:
    """How the maps of a season are made."""
    settings = run.config
    return Recipe(
        grid=run.plan.grid,
        features=stacking.features_of(run, model.algorithm, model.season),
        static=frozenset(
            name for name, feature_input in cube.features(run.plan.inputs).items() if feature_input.static
        ),
        target=run.plan.target.source.name,
        start=run.plan.months[0],
        months=len(run.plan.months),
        fill_gaps=settings.maps.reach,
        filled=frozenset(
            name for name, feature_input in cube.fractions(run.plan.inputs).items() if feature_input in run.plan.filled
        ),
        valid_range=settings.maps.valid_range,
        conserve=settings.maps.conserve,
        area=settings.geometry,
        comprehensive=model.season == ALL,
        residual=settings.maps.residual,
        offsets=offsets,
        soil=soil_of(run),
    )


@dataclass
class MapUnits:
    """Units of the maps, by their stage."""

    predict: list[Unit[PredictTile]] = field(default_factory=list)
    solve: list[Unit[SolveResidual]] = field(default_factory=list)
    conserve: list[Unit[ConserveTile]] = field(default_factory=list)
    fold: list[Unit[FoldSeason]] = field(default_factory=list)
    publish: list[Unit[PublishMap]] = field(default_factory=list)

    def by_stage(self) -> dict[str, Sequence[Unit[Task]]]:
        """Stage -> its units."""
        return {
            PREDICT: self.predict,
            SOLVE: self.solve,
            CONSERVE: self.conserve,
            FOLD: self.fold,
            MAPS: self.publish,
        }


def map_units(run: Project, chosen: Mapping[str, Chosen] | None = None) -> MapUnits:
    """Units of the maps, by their stage; the models are chosen first where they are not given."""
    settings, months, tiles = run.config, run.plan.months, list(run.plan.grid.tiles())
    chosen = choose(run) if chosen is None else chosen
    units = MapUnits()
    digests: dict[str, str] = {}
    planned = [(maps.MONTH, index, month, np.array([month])) for index, month in enumerate(months)]
    if settings.maps.seasonal == PREDICTORS:
        planned += [(maps.SEASON, *season) for season in _seasons(run)]
    standing, offsets = run.standing, uncertainty.offsets(run)
    how = {season: recipe(run, model, offsets.get(season)) for season, model in chosen.items()}
    measured = applicability.units(run, chosen.values())
    for every, index, start, members in planned:
        slot = Slot(every, index, tuple(np.searchsorted(months, members).tolist()))
        name, season = f"{every}-{start}", settings.season_scheme.name(start)
        of_map = _model_units(run, standing, how[season], chosen[season], measured.get(chosen[season]), name, slot)
        digests[name] = digest([unit.digest for unit in of_map.conserve])
        units.predict += of_map.predict
        units.solve += of_map.solve
        units.conserve += of_map.conserve
    if settings.maps.seasonal == MAPS_MEAN:
        for index, start, members in _seasons(run):
            name = f"{maps.SEASON}-{start}"
            # The means read whole months, so a season hangs on every tile of its months.
            digests[name] = digest([digests[f"{maps.MONTH}-{month}"] for month in members])
            indices = tuple(np.searchsorted(months, members).tolist())
            units.fold += [
                Unit(
                    FOLD,
                    f"{name}_{tile.name}",
                    digests[name],
                    FoldSeason(tile=tile, index=index, months=indices, optional=optional(settings)),
                )
                for tile in tiles
            ]
    published = {maps.MONTH: [(index, month, np.array([month])) for index, month in enumerate(months)]}
    published[maps.SEASON] = _seasons(run)
    units.publish = publication.units(run, chosen, digests, published, optional(settings))
    units.predict.sort(key=lambda unit: unit.together)  # so that a worker seldom loads another model
    return units


def _seasons(run: Project) -> list[tuple[int, np.datetime64, Months]]:
    """Seasons to be mapped: their place, first month, and months."""
    scheme = run.config.season_scheme
    starts = maps.complete_seasons(run.plan.months, scheme)
    return [(index, start, scheme.members(start)) for index, start in enumerate(starts)]


def _model_units(
    run: Project,
    standing: State,
    how: Recipe,
    model: Chosen,
    measured: Unit[MeasureApplicability] | None,
    name: str,
    slot: Slot,
) -> MapUnits:
    """Units that predict and conserve one map, one for each tile, and between them the one that solves for all."""
    tiles, months = list(run.plan.grid.tiles()), run.plan.months[list(slot.months)]
    layout = layout_digest(run)
    area = run.config.geometry.wkb_hex if run.config.geometry is not None else None
    fitted = run.workspace.model(model.season, model.algorithm), model.version
    index = None if measured is None else applicability_index.Measured(measured.name, measured.digest)
    origins = [
        digest(
            layout,
            [standing.predictors(tile, month, how.fill_gaps) for month in months],
            model,
            index,
            how.soil,
            how.fill_gaps,
            area,
        )
        for tile in tiles
    ]
    observed = [standing.target(tile, month) for tile in tiles for month in months]
    # Of all tiles: the residual is solved for the whole area, so a change in one tile reaches the others.
    made_from = digest(origins, observed, how.conserve, how.valid_range, how.offsets)
    names = [f"{name}_{tile.name}" for tile in tiles]
    predict = [
        Unit(
            PREDICT,
            unit,
            origin,
            PredictTile(recipe=how, tile=tile, slot=slot, model=fitted, known=index),
            together=model.season,
        )
        for unit, tile, origin in zip(names, tiles, origins, strict=True)
    ]
    pieces = tuple(Piece(PREDICT, unit.marker, name, *tile.coarse) for unit, tile in zip(predict, tiles, strict=True))
    solve = SolveResidual(recipe=how, slot=slot, pieces=pieces)
    return MapUnits(
        predict=predict,
        # Without the offsets: other intervals leave the residual as it is.
        solve=[Unit(SOLVE, name, digest(origins, observed, how.valid_range), solve)],
        conserve=[
            Unit(CONSERVE, unit, made_from, ConserveTile(recipe=how, tile=tile, slot=slot))
            for unit, tile in zip(names, tiles, strict=True)
        ],
    )


def soil_of(run: Project) -> Soil:
    """Features of a run that tell of the soil."""
    inputs, settings = run.plan.inputs, run.config.maps
    soil = soil_features(
        {name: feature_input.source for name, feature_input in cube.features(inputs).items()},
        cube.feature_units(inputs),
    )
    return replace(soil, texture=soil.texture if settings.porosity else None, frozen=settings.frozen)
