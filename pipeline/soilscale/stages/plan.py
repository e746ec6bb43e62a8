"""The plan of a run: sources, scenes, grid and months, from the configuration and the frozen items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from soilscale import catalog, cube, storage
from soilscale.catalog import Relations, Scene
from soilscale.config import Config
from soilscale.cube import Input
from soilscale.engine.output import Workspace, digest
from soilscale.errors import ConfigurationError, DataError
from soilscale.grid import Grid
from soilscale.seasons import Months, month_range
from soilscale.sources import Harmonise, Source
from soilscale.stages import derived_inputs
from soilscale.stages import inputs as inputs_stages
from soilscale.tasks import gap_filling

ALGORITHM = 2
"""Version of how pixels become months; a change redoes every unit of every cube."""


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
        return next(source_input for source_input in self.inputs if source_input.source.role == "target")

    @property
    def predictors(self) -> tuple[Input, ...]:
        """Everything else."""
        return tuple(source_input for source_input in self.inputs if source_input.source.role == "predictor")

    @cached_property
    def layout(self) -> str:
        """Digest of the cube's template but for its last month: grid, first month and variables."""
        # Of a harmonised target the name alone: another method writes the same variable, and nothing is read again.
        read = [source_input for source_input in self.inputs if source_input.source.harmonise is None]
        groups = [gap_filling.FORMAT] if self.filled else []
        return digest(ALGORITHM, self.grid, str(self.months[0]), read, self.target.source.name, *groups)

    @cached_property
    def filled(self) -> tuple[Input, ...]:
        """Sources whose gaps are filled in the cube."""
        return (
            ()
            if self.learned is None
            else tuple(source_input for source_input in self.inputs if cube.fillable(source_input))
        )

    @cached_property
    def recipes(self) -> Mapping[str, str]:
        """Source -> digest of what all its units share: the layout and the source itself."""
        return {source_input.source.name: digest(self.layout, source_input.source) for source_input in self.inputs}

    def source_months(self, source: Source) -> Months:
        """Months of a source that the cube holds, those that only lags need among them."""
        lag = np.timedelta64(source.back, "M")
        return month_range(self.months[0] - lag, self.months[-1])

    def gaps(self) -> dict[str, list[str]]:
        """Months of each source that no item covers, as YYYY-MM; of a target of several parts, that none covers."""
        return {
            source_input.source.name: [
                str(month)
                for month in self.months
                if not any(self.select(name, month) for name in source_input.source.origins)
            ]
            for source_input in self.inputs
            if not source_input.static and source_input.source.role != "part" and source_input.source.derivation is None
        }

    def select(self, name: str, month: np.datetime64) -> list[Scene]:
        """Scenes of a source that make one of its months."""
        source = next(source_input.source for source_input in self.inputs if source_input.source.name == name)
        return cube.select(self.scenes[name], month, source.least_coverage)

    def short(self) -> dict[str, dict[str, float]]:
        """Months of each source that are missing because its items cover too few of their days -> those days."""
        short_months: dict[str, dict[str, float]] = {}
        for source_input in self.inputs:
            scenes = self.scenes.get(source_input.source.name, ())
            for month in () if source_input.static or not source_input.source.least_coverage else self.months:
                days = cube.covered_days(scenes, month)
                if days and not self.select(source_input.source.name, month):
                    short_months.setdefault(source_input.source.name, {})[str(month)] = days
        return short_months


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
        source_scenes = scenes_of(config, source, items, relations[source.name])
        hrefs[source.name] = {item["id"]: _href(item) for item in items}
        static = source.role == "predictor" and catalog.is_static(source_scenes, source, inputs_stages.period(config))
        # Two readings of one month have a mean; of two terrains none is right, and the source is refused.
        if static:
            catalog.refuse_unclear(source.name, relations[source.name])
        scenes[source.name] = source_scenes
        inputs.append(Input(source, static, inputs_stages.unit(source, source_scenes, frozen)))
    inputs = [_with_classes(workspace, source_input) for source_input in inputs]
    # After the classes and units of the others are known, since a derived predictor takes its unit from them.
    inputs += derived_inputs.inputs(config.derived_list, inputs)
    if config.target.harmonise is not None:
        inputs.append(_harmonised(config.target, config.target.harmonise, inputs))
    # From the months of `training`, not of the period: else each new month would fill the gaps of all others anew.
    learned = config.training_months if config.maps.gaps == "cycle" else None
    return Plan(tuple(inputs), scenes, config.nested_grid, config.months, hrefs, relations, learned)


def _harmonised(target: Source, how: Harmonise, inputs: Sequence[Input]) -> Input:
    """Target of several parts, whose unit is theirs."""
    by_name = {source_input.source.name: source_input for source_input in inputs}
    units = {part: by_name[part].unit for part in how.parts}
    if len(set(units.values())) > 1:
        listed = ", ".join(f"{part} {unit}" for part, unit in units.items())
        raise ConfigurationError(
            f"sources.{target.name}.parts: got the units {listed}, expected one; convert them with scale and unit"
        )
    if how.through is not None and by_name[how.through].static:
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
        content: dict[str, Any] = storage.read_json(workspace.items(source.name))
    except FileNotFoundError as error:
        raise DataError(f"source {source.name}: its items are not frozen yet; run `soilscale search` first") from error
    return content


def _href(item: Mapping[str, Any]) -> str:
    """Where an item itself lies, else its first asset."""
    self_links = (link["href"] for link in item.get("links", ()) if link.get("rel") == "self")
    assets = (asset["href"] for asset in item["assets"].values())
    return next(chain(self_links, assets), item["id"])


def scenes_of(config: Config, source: Source, items: Sequence[dict[str, Any]], relations: Relations) -> list[Scene]:
    """Scenes of a source from its items and what they are to each other.

    Raises
    ------
    DataError
        If there is none.
    """
    scenes = catalog.scenes_of(items, relations, source)
    if not items:
        raise DataError(inputs_stages.no_items(config, source))
    if not scenes:
        raise DataError(
            f"source {source.name}: got {len(items)} items, none of the platform "
            f"{' or '.join(relations.platform_filter)} (the first, {items[0]['id']!r}, is of "
            f"{relations.verdicts[0].reason}); correct sources.{source.name}.platform, or set it to null to take all"
        )
    return scenes


def _with_classes(workspace: Workspace, source_input: Input) -> Input:
    """Input of a categorical source with the classes that its items hold, where they have been looked up."""
    source = source_input.source
    if source.kind != "categorical" or source.classes is not None:
        return source_input
    url = workspace.state("classes", f"{source.name}.json")
    if not storage.exists(url):
        return source_input
    return replace(source_input, source=replace(source, classes=tuple(storage.read_json(url)["classes"])))
