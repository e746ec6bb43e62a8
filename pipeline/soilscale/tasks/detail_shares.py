"""What a worker does to find which features the detail within cells rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale import models
from soilscale.engine.output import Workspace
from soilscale.engine.units import Cost, Task
from soilscale.grid import Tile
from soilscale.models import basis
from soilscale.storage import tables
from soilscale.tasks import map_making, model_store, training_table
from soilscale.tasks.costs import COPIES, MODELS, Scale
from soilscale.tasks.map_making import Chosen, Recipe, Slot

WITHIN = "within"


TILES, CELLS = 4, 100
"""Tiles, each in one month, in which a season's detail is looked at, and the most coarse cells of each."""


COLUMNS = ("season", "feature", "group", "algorithm", "share_within", "share_between")
"""Columns of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureDetail(Task):
    """Measure on which features the detail of a season rests."""

    season: str
    recipe: Recipe
    model: Chosen
    places: tuple[tuple[Tile, Slot], ...]
    """Tiles, each with the month that is looked at."""
    groups: Mapping[str, str]
    """Feature -> the group under which a reader knows it."""
    within: Mapping[str, float]
    """Feature -> its standard deviation within coarse cells."""

    @classmethod
    def cost(cls, scale: Scale, *, seasons: int, predict: Cost) -> Cost:
        """Cost of so many seasons, after that of prediction. Work: as that of it, once for each feature."""
        pixels = TILES * CELLS * basis.PIXELS**2 * (scale.features + 1)
        trees = predict.work * 1e6 / max(predict.units, 1) / scale.tile_cells
        table = COPIES * scale.row * scale.rows / seasons
        # Largest of two moments of the unit, which do not come together: prediction of a tile, and the table of its
        # season.
        load, grows = max((predict.load, predict.grows), (table, MODELS))
        return Cost(
            units=seasons,
            read=seasons * TILES * scale.tile_cells * scale.features * 4.0 + scale.table,
            written=0,
            objects=2 * seasons,
            work=seasons * pixels * trees / 1e6,
            load=load,
            grows=grows,
        )

    def run(self, workspace: Workspace) -> None:
        """Write the shares below `state/`."""
        predictor = model_store.load(workspace.model(self.model.season, self.model.algorithm), self.model.version)
        sampled = [_pixels(workspace, self.recipe, predictor, tile, slot) for tile, slot in self.places]
        pixels, surface = (np.concatenate(parts) for parts in zip(*sampled, strict=True))
        names = [*self.recipe.features, models.detail.PLACE]
        shares = models.detail.within_shares(predictor, pixels, surface) if len(pixels) else np.full(len(names), np.nan)
        rows = training_table.table(workspace.samples, self.season, 0, models.FOLDS)[list(self.recipe.features)]
        table = pd.DataFrame({"season": self.season, "feature": names, "share_within": shares})
        table["group"] = [self.groups.get(name, name) for name in names]
        table["algorithm"] = self.model.algorithm
        table["share_between"] = [
            *(_share_between(rows[name], self.within.get(name)) for name in self.recipe.features),
            np.nan,
        ]
        if not models.find(self.model.algorithm).members and not models.find(self.model.algorithm).joint:
            table = table[table["feature"] != models.detail.PLACE]
        tables.write_table(workspace.state(WITHIN, f"{self.season}.parquet"), table[list(COLUMNS)])


def _pixels(
    workspace: Workspace, recipe: Recipe, predictor: models.Predictor, tile: Tile, slot: Slot
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Pixels of a tile's cells that are known in all of them, ``(cells, pixels, p)``, and what place adds there."""
    features, _ = map_making.mean_features(workspace, recipe, tile, slot)
    surface = map_making.surface(recipe, tile, slot, predictor)
    place = np.zeros(features[0].shape) if surface is None else surface
    at = basis.pixels(recipe.grid.ratio)
    rows, columns = (side.stop - side.start for side in tile.coarse)
    down, across = (np.add.outer(np.arange(n) * recipe.grid.ratio, at).ravel() for n in (rows, columns))
    stacked = np.stack([*features, place], axis=-1)[np.ix_(down, across)]
    cells = (
        stacked.reshape(rows, len(at), columns, len(at), -1).swapaxes(1, 2).reshape(rows * columns, len(at) ** 2, -1)
    )
    # A cell with a hole in it would show less detail than it has.
    complete = cells[np.isfinite(cells).all(axis=(1, 2))]
    # Evenly, not the first ones: those all lie in the north of the tile.
    complete = complete[:: max(1, -(-len(complete) // CELLS))]
    return complete[..., :-1].astype(np.float32), complete[..., -1]


def _share_between(rows: pd.Series[float], within: float | None) -> float:
    """Share of a feature's fine variance that lies between cells and months; NaN if it varies nowhere."""
    between = float(rows.var(ddof=0)) if len(rows) else np.nan
    total = between + (np.nan if within is None else within**2)
    return between / total if total > 0 else np.nan
