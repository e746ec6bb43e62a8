"""A configuration before its run: grid, templates and inputs, as far as items are known or can be guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from soilscale import catalog, cube, maps, models
from soilscale.catalog import Scene
from soilscale.config import Config
from soilscale.cube import Input
from soilscale.grid import Grid
from soilscale.models.basis import KNOTS, bends
from soilscale.schema import KEYS
from soilscale.seasons import Months
from soilscale.sources import Source
from soilscale.stages import inputs as inputs_stages
from soilscale.stages import mapping

CLASSES = tuple(range(8))
"""Classes of a categorical source that are reckoned with before they are looked up."""

MONTH_DAYS = 30.4

KEPT = ("tiles", "inputs", "features", "cube", "starts", "maps")
"""What of an outlook does not go with the parameters of models, and takes long."""

LIKE_TREES = 3
"""Trees that take as long to predict by as each feature of a joint fit."""

INDEX_TREES = 600
"""Trees that take as long to predict by as the dissimilarity index to 10,000 rows."""

TREES = 500
"""Trees of a forest, which stands in for an algorithm that has none."""


@dataclass(frozen=True)
class Outlook:
    """A configuration, and the scenes of those of its sources whose items are known."""

    config: Config
    scenes: Mapping[str, Sequence[Scene]]

    @property
    def grid(self) -> Grid:
        """The grid."""
        return self.config.nested_grid

    @property
    def months(self) -> Months:
        """Months of the period."""
        return self.config.months

    @property
    def learned(self) -> Months:
        """Months that the models learn from."""
        return self.config.training_months

    @cached_property
    def tiles(self) -> int:
        """Number of tiles."""
        return sum(1 for _ in self.grid.tiles())

    @cached_property
    def tile_cells(self) -> int:
        """Fine cells of a whole tile."""
        return math.prod(self.grid.tile_shape) * self.grid.ratio**2

    @cached_property
    def cells(self) -> int:
        """Fine cells of the grid."""
        return math.prod(self.grid.fine.shape)

    @cached_property
    def rows(self) -> int:
        """Rows of the training table, if every cell and month that is learned from is observed."""
        return math.prod(self.grid.shape) * len(self.learned)

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """Inputs as the items show them, else as they most likely are."""
        inputs = [self._input(source) for source in self.config.source_list]
        inputs += [Input(source, static=False, unit="1") for source in self.config.derived_list]
        target = self.config.target
        return tuple(inputs if target.harmonise is None else [*inputs, Input(target, static=False, unit="m3 m-3")])

    def _input(self, source: Source) -> Input:
        if source.kind == "categorical" and source.classes is None:
            source = replace(source, classes=CLASSES)
        scenes = self.scenes.get(source.name)
        static = bool(source.static or source.derive)
        if scenes and source.role == "predictor":
            static = catalog.is_static(scenes, source, inputs_stages.period(self.config))
        return Input(source, static, source.unit or "1")

    @cached_property
    def features(self) -> dict[str, Input]:
        """Features of the models."""
        return cube.features(self.inputs)

    @cached_property
    def cube(self) -> dict[str, xr.Dataset]:
        """Template of the cube."""
        return cube.template(self.inputs, self.grid, self.months)

    @cached_property
    def filled(self) -> tuple[Input, ...]:
        """Sources whose gaps are filled in the cube."""
        return tuple(filter(cube.fillable, self.inputs)) if self.config.maps.gaps == "cycle" else ()

    @cached_property
    def starts(self) -> Months:
        """First months of the seasons that are mapped."""
        return maps.complete_seasons(self.months, self.config.season_scheme)

    @cached_property
    def maps(self) -> dict[str, xr.Dataset]:
        """Template of the maps."""
        return maps.template(
            self.grid,
            self.months,
            self.starts,
            self.config.season_scheme,
            predict_seasons=self.predicts_seasons,
            optional=mapping.optional(self.config),
        )

    @property
    def predicts_seasons(self) -> bool:
        """Whether seasonal maps are predictions of their own."""
        return self.config.maps.seasonal == mapping.PREDICTORS

    @property
    def table(self) -> int:
        """Bytes of the training table in memory: single precision, and eight bytes for each key."""
        return self.rows * (4 * (len(self.features) + 1) + 8 * len(KEYS))

    @property
    def basis(self) -> int:
        """Bytes of the basis of every row: in single precision, a line and a curve of each feature, and products."""
        p = len(self.features)
        return 4 * self.rows * (p * (1 + bends(KNOTS).shape[1]) + p * (p - 1) // 2)

    @property
    def row(self) -> int:
        """Bytes of a row of the table as a fit holds it: season, split and fold as codes, and no block."""
        return 4 * (len(self.features) + 1) + 8 * 3 + 3

    def with_parameters(self, parameters: Mapping[str, Mapping[str, Any]]) -> Outlook:
        """Outlook with further parameters of algorithms; all that does not go with models is kept."""
        settings = self.config.models
        merged = {name: {**settings.parameters.get(name, {}), **changes} for name, changes in parameters.items()}
        models = settings.model_copy(update={"parameters": dict(settings.parameters) | merged})
        changed = replace(self, config=self.config.model_copy(update={"models": models}))
        changed.__dict__.update({name: getattr(self, name) for name in KEPT})
        return changed

    def parameters(self, algorithm: str) -> dict[str, Any]:
        """Parameters of an algorithm by which its models grow, with their defaults."""
        return {**models.find(algorithm).sizing, **self.config.models.parameters.get(algorithm, {})}

    def has_trees(self, algorithm: str) -> bool:
        """Whether an algorithm is a forest, whose leaves can be made larger."""
        return {"n_estimators", "min_samples_leaf"} <= set(self.parameters(algorithm))

    def trees(self, algorithm: str) -> int:
        """Trees of an algorithm's model; of one that has none, those of a forest stand in, of a joint fit far fewer."""
        if members := models.find(algorithm).members:
            return sum(map(self.trees, members))
        if models.find(algorithm).joint:
            return LIKE_TREES * len(self.features)
        return int(self.parameters(algorithm).get("n_estimators", TREES))

    def dates(self, source_input: Input) -> int:
        """Dates of a source that are read: those of its items, else as many as its composites have."""
        source, scenes = source_input.source, self.scenes.get(source_input.source.name)
        if scenes:
            # NumPy knows no time zones, and warns of a time that has one.
            first, after = (np.datetime64(moment.replace(tzinfo=None)) for moment in inputs_stages.period(self.config))
            within = {
                scene.start for scene in scenes if source_input.static or (scene.start < after and scene.end > first)
            }
            return max(1, len(within))
        if source_input.static:
            return 1
        # One more than fits into a month, since a composite that crosses into the next month is read for both.
        return len(self.months) * (1 if source.composite is None else math.ceil(MONTH_DAYS / source.composite) + 1)
