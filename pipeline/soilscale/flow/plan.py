"""What the configuration and the frozen items ask for: inputs, units of the cube, and what each is made from."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, groupby
from typing import Any

import numpy as np

from soilscale import catalog, cube, flow, storage
from soilscale.catalog import Relations, Scene
from soilscale.config import Config
from soilscale.cube import Input
from soilscale.errors import ConfigurationError, DataError
from soilscale.flow import fill, freezing
from soilscale.flow.units import Unit, markers
from soilscale.flow.workspace import Workspace, digest
from soilscale.grid import Grid, Tile
from soilscale.seasons import Months, month_range
from soilscale.sources import Harmonise, Source

logger = logging.getLogger(__name__)

CUBE, GATHER = "cube", "coarse"
"""Stages of the cube: sources into the fine group, and what they keep into the coarse one."""

RELATE, HARMONISE, MERGE = "relate", "harmonise", "merge"
"""Stages of a target of several parts: their relation over the area, the tiles of the target, and all together."""

ALGORITHM = 2
"""Version of how pixels become months; a change redoes every unit of every cube."""

MISSING = "missing"


@dataclass(frozen=True)
class Plan:
    """Inputs and units of the cube."""

    inputs: tuple[Input, ...]
    scenes: Mapping[str, Sequence[Scene]]
    """Source -> all its scenes."""
    grid: Grid
    months: Months
    hrefs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Source -> item -> where the item itself lies, else its first asset."""
    relations: Mapping[str, Relations] = field(default_factory=dict)
    """Source -> what its items are to each other; those that give way are no scenes."""
    learned: Months | None = None
    """Months from which annual cycles are learned, by which gaps are filled; None: gaps are left in the cube."""

    @property
    def target(self) -> Input:
        """The target."""
        return next(given for given in self.inputs if given.source.role == "target")

    @property
    def predictors(self) -> tuple[Input, ...]:
        """Everything else."""
        return tuple(given for given in self.inputs if given.source.role == "predictor")

    @cached_property
    def layout(self) -> str:
        """Digest of the cube's template but for its last month: grid, first month and variables."""
        read = [given for given in self.inputs if given.source.harmonise is None]
        groups = [flow.gaps.FORMAT] if self.filled else []
        return digest(ALGORITHM, self.grid, str(self.months[0]), read, self.target.source.name, *groups)

    @cached_property
    def filled(self) -> tuple[Input, ...]:
        """Sources whose gaps are filled in the cube."""
        return () if self.learned is None else tuple(given for given in self.inputs if cube.fillable(given))

    @cached_property
    def recipes(self) -> Mapping[str, str]:
        """Source -> digest of what all its units share: the layout and the source itself."""
        return {given.source.name: digest(self.layout, given.source) for given in self.inputs}

    def source_months(self, source: Source) -> Months:
        """Months of a source that the cube holds, those that only lags need among them."""
        lag = np.timedelta64(source.back, "M")
        return month_range(self.months[0] - lag, self.months[-1])

    def gaps(self) -> dict[str, list[str]]:
        """Months of each source that no item covers, as YYYY-MM; of a target of several parts, that none covers."""
        return {
            given.source.name: [
                str(month)
                for month in self.months
                if not any(self.select(name, month) for name in given.source.origins)
            ]
            for given in self.inputs
            if not given.static and given.source.role != "part" and given.source.derivation is None
        }

    def select(self, name: str, month: np.datetime64) -> list[Scene]:
        """Scenes of a source that make one of its months."""
        source = next(given.source for given in self.inputs if given.source.name == name)
        return cube.select(self.scenes[name], month, source.least_coverage)

    def short(self) -> dict[str, dict[str, float]]:
        """Months of each source that are missing because its items cover too few of their days -> those days."""
        found: dict[str, dict[str, float]] = {}
        for given in self.inputs:
            scenes = self.scenes.get(given.source.name, ())
            for month in () if given.static or not given.source.least_coverage else self.months:
                days = cube.covered_days(scenes, month)
                if days and not self.select(given.source.name, month):
                    found.setdefault(given.source.name, {})[str(month)] = days
        return found


def make(config: Config, workspace: Workspace) -> Plan:
    """Plan from the frozen items.

    Raises
    ------
    DataError
        If the items of a source are not frozen, or there are none in the area and period.
    ConfigurationError
        If the items show that the parts of a target do not go together.
    """
    scenes: dict[str, list[Scene]] = {}
    hrefs: dict[str, dict[str, str]] = {}
    relations: dict[str, Relations] = {}
    inputs: list[Input] = []
    for source in config.source_list:
        frozen = _frozen(workspace, source)
        items = frozen["features"]
        relations[source.name] = catalog.relate(items, source)
        found = scenes_of(config, source, items, relations[source.name])
        hrefs[source.name] = {item["id"]: _href(item) for item in items}
        static = source.role == "predictor" and catalog.is_static(found, source, freezing.period(config))
        if static:
            catalog.refuse_unclear(source.name, relations[source.name])
        scenes[source.name] = found
        inputs.append(Input(source, static, freezing.unit(source, found, frozen)))
    inputs = [_with_classes(workspace, given) for given in inputs]
    inputs += flow.deriving.inputs(config.derived_list, inputs)
    if config.target.harmonise is not None:
        inputs.append(_harmonised(config.target, config.target.harmonise, inputs))
    learned = config.training_months if config.maps.gaps == "cycle" else None
    return Plan(tuple(inputs), scenes, config.nested_grid, config.months, hrefs, relations, learned)


def _harmonised(target: Source, how: Harmonise, inputs: Sequence[Input]) -> Input:
    """Target of several parts, whose unit is theirs."""
    known = {given.source.name: given for given in inputs}
    units = {part: known[part].unit for part in how.parts}
    if len(set(units.values())) > 1:
        told = ", ".join(f"{part} {unit}" for part, unit in units.items())
        raise ConfigurationError(
            f"sources.{target.name}.parts: got the units {told}, expected one; bring them to it with scale and unit"
        )
    if how.through is not None and known[how.through].static:
        raise ConfigurationError(
            f"sources.{target.name}.through: {how.through!r} is static (its items share one date, or none lies in the "
            "period); it must change from month to month"
        )
    return Input(target, static=False, unit=units[how.reference])


def frozen(config: Config, workspace: Workspace, source: Source) -> list[Scene]:
    """Scenes of a source from its frozen items."""
    items = _frozen(workspace, source)["features"]
    return scenes_of(config, source, items, catalog.relate(items, source))


def _frozen(workspace: Workspace, source: Source) -> dict[str, Any]:
    """Items of a source, and what else the search has frozen of it."""
    try:
        found: dict[str, Any] = storage.read_json(workspace.items(source.name))
    except FileNotFoundError as error:
        raise DataError(f"source {source.name}: its items are not frozen yet; run `soilscale search` first") from error
    return found


def _href(item: Mapping[str, Any]) -> str:
    """Where an item itself lies, else its first asset."""
    own = (link["href"] for link in item.get("links", ()) if link.get("rel") == "self")
    assets = (asset["href"] for asset in item["assets"].values())
    return next(chain(own, assets), item["id"])


def scenes_of(config: Config, source: Source, items: Sequence[dict[str, Any]], relations: Relations) -> list[Scene]:
    """Scenes of a source from its items and what they are to each other.

    Raises
    ------
    DataError
        If there is none.
    """
    found = catalog.scenes_of(items, relations, source)
    if not items:
        raise DataError(freezing.no_items(config, source))
    if not found:
        raise DataError(
            f"source {source.name}: got {len(items)} items, none of the platform {' or '.join(relations.wanted)} (the "
            f"first, {items[0]['id']!r}, is of {relations.verdicts[0].reason}); correct "
            f"sources.{source.name}.platform, or set it to null to take all"
        )
    return found


def _with_classes(workspace: Workspace, given: Input) -> Input:
    """Input of a categorical source with the classes that its items hold, where they have been looked up."""
    source = given.source
    if source.kind != "categorical" or source.classes is not None:
        return given
    url = workspace.state("classes", f"{source.name}.json")
    if not storage.exists(url):
        return given
    return replace(given, source=replace(source, classes=tuple(storage.read_json(url)["classes"])))


def cube_units(config: Config, plan: Plan) -> list[Unit]:
    """Units that fill the cube: one for each source, tile and month."""
    tiles = list(plan.grid.tiles())
    read = [given for given in plan.inputs if not given.source.composed]
    return [unit for given in read for tile in tiles for unit in _source_units(config, plan, given, tile)]


def _source_units(config: Config, plan: Plan, given: Input, tile: Tile) -> list[Unit]:
    source = given.source
    geobox = plan.grid.coarse[tile.coarse] if source.on_coarse else plan.grid.fine[tile.fine]
    around = geobox.pad(cube.margin(source))
    near = [scene for scene in plan.scenes[source.name] if cube.meets(scene, around)]
    read = freezing.reading(config, source, given.unit)
    if given.static:
        return [_unit_of(plan, source, unit_name(source, None, tile), near, fill.static, (read, near, plan.grid, tile))]
    work = fill.target if source.on_coarse else fill.observe if given in plan.filled else fill.month
    return [
        _unit_of(
            plan,
            source,
            unit_name(source, alike[0], tile),
            scenes,
            work,
            (read, scenes, plan.grid, tile, plan.months, alike),
        )
        for alike, scenes in _alike(source, near, plan.source_months(source))
    ]


def _alike(
    source: Source, scenes: Sequence[Scene], months: Months
) -> Iterator[tuple[tuple[np.datetime64, ...], Sequence[Scene]]]:
    """Runs of months that hold the same values, as a yearly source's do, and their scenes; most are of one month."""

    def key(month: np.datetime64) -> tuple[object, ...]:
        chosen = cube.select(scenes, month, source.least_coverage)
        return tuple(scene.digest for scene in chosen), None if constant(source, chosen, month) else month

    for _, run in groupby(months, key):
        alike = tuple(run)
        yield alike, cube.select(scenes, alike[0], source.least_coverage)


def count_runs(source: Source, scenes: Sequence[Scene], months: Months) -> int:
    """How many units a source has in a tile that all its scenes touch: one for each run of months that are alike."""
    return sum(1 for _ in _alike(source, scenes, months))


def constant(source: Source, chosen: Sequence[Scene], month: np.datetime64) -> bool:
    """Whether a month's values are those of every month for which the same scenes are chosen."""
    return source.role == "predictor" and cube.is_constant(source, chosen, month)


def _unit_of(
    plan: Plan, source: Source, name: str, scenes: Sequence[Scene], work: fill.Work, arguments: fill.Arguments
) -> Unit:
    months = [(month, fill.reach(source, plan.months, month)) for month in (arguments[5] if arguments[4:] else ())]
    made_from = digest(plan.recipes[source.name], [scene.digest for scene in scenes], months)
    blank = fill.blank_observed if work == fill.observe else fill.blank
    return Unit(CUBE, name, made_from, work, arguments, blank, f"{source.name}/{arguments[3].name}")


def unit_name(source: Source, month: np.datetime64 | None, tile: Tile) -> str:
    """Name of a unit of the cube, such as ``lst/2005-07_r000c000``."""
    return f"{source.name}/{'static' if month is None else month}_{tile.name}"


@dataclass(frozen=True)
class State:
    """What stands in the cube: unit -> what it was made from, or `MISSING`."""

    plan: Plan
    units: Mapping[str, str]

    def of(self, given: Input, tile: Tile, months: Months) -> list[str]:
        """What a source's regions of a tile were made from, in some months."""
        if given.static:
            return [self.units[unit_name(given.source, None, tile)]]
        names = (unit_name(given.source, month, tile) for month in months)
        return [self.units.get(name, MISSING) for name in names]

    def predictors(self, tile: Tile, month: np.datetime64, reach: int = 0) -> str:
        """Digest of all predictors of a tile in a month, their lags, and the months within `reach` on either side.

        What is filled in the cube does not hang on these.
        """
        parts = []
        for given in self.plan.predictors:
            around = 0 if given in self.plan.filled else reach
            back = np.timedelta64(given.source.back + around, "M")
            parts.append(self.of(given, tile, month_range(month - back, month + np.timedelta64(around, "M"))))
        return digest(parts)

    def parts(self, tile: Tile, how: Harmonise) -> list[list[str]]:
        """What all months of a tile were made from in the sources that a harmonised target needs."""
        wanted = [given for given in self.plan.inputs if given.source.name in how.needs]
        return [self.of(given, tile, self.plan.months) for given in wanted]

    def coarse(self, months: Months) -> list[list[str]]:
        """What the coarse group was made from in some months, over the whole area."""
        tiles = list(self.plan.grid.tiles())
        return [[self.predictors(tile, month), self.target(tile, month)] for month in months for tile in tiles]

    def target(self, tile: Tile, month: np.datetime64) -> str:
        """What the observation of a tile in a month was made from."""
        return self.of(self.plan.target, tile, np.array([month]))[0]


def state(workspace: Workspace, plan: Plan, units: Sequence[Unit]) -> State:
    """State of the cube as its markers tell."""
    seen = observed(plan, units, markers(workspace, CUBE))
    standing = dict(seen.units) | flow.gaps.standing(plan, units, seen, markers(workspace, flow.gaps.GAPS))
    found = markers(workspace, flow.deriving.DERIVE)
    standing |= flow.deriving.standing(plan, State(plan, standing), found)
    if plan.target.source.harmonise is not None:
        found = markers(workspace, HARMONISE)
        for unit in harmonise_units(plan, State(plan, standing)):
            told = unit.digest if unit.marker in found else MISSING
            standing |= {unit_name(plan.target.source, month, unit.arguments[-1]): told for month in plan.months}
    return State(plan, standing)


def observed(plan: Plan, units: Sequence[Unit], found: Collection[str]) -> State:
    """What is read into the cube, its gaps not filled, as the markers of its units tell."""
    return State(
        plan,
        {name: origin if unit.marker in found else MISSING for unit in units for name, origin in _origins(plan, unit)},
    )


def relate_units(plan: Plan, standing: State) -> list[Unit]:
    """The unit that relates a target's parts over the area; none if it has none, or they stay as they are."""
    name, how = plan.target.source.name, plan.target.source.harmonise
    if how is None or how.method == "none":
        return []
    made_from = digest(plan.layout, how, [standing.parts(tile, how) for tile in plan.grid.tiles()])
    return [Unit(RELATE, name, made_from, fill.relate, (name, how, plan.months))]


def harmonise_units(plan: Plan, standing: State) -> list[Unit]:
    """Units that bring a target's parts to one level: one for each tile, since each month hangs on all; or none."""
    name, how = plan.target.source.name, plan.target.source.harmonise
    if how is None:
        return []
    related = [unit.digest for unit in relate_units(plan, standing)]
    return [
        Unit(
            HARMONISE,
            f"{name}_{tile.name}",
            digest(plan.layout, how, related, standing.parts(tile, how)),
            fill.harmonise,
            (name, how, plan.months, tile),
        )
        for tile in plan.grid.tiles()
    ]


def _origins(plan: Plan, unit: Unit) -> Iterator[tuple[str, str]]:
    """Name that each month of a unit of the cube would have on its own, and what its values are made from.

    The same in a period that goes on, where the unit may hold for further months, or be a lag of further ones.
    """
    read, scenes, _, tile, *rest = unit.arguments
    told = [scene.digest for scene in scenes]
    for month in rest[1] if rest else (None,):
        own = None if month is None or constant(read.source, scenes, month) else month
        yield unit_name(read.source, month, tile), digest(plan.recipes[read.source.name], told, own)
