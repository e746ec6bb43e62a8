"""Units that tell what the detail of each season's maps rests on, and how much of each feature cells show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale import models, storage
from soilscale.flow import areas, draw, explain, learn, mapping
from soilscale.flow.draw import Recipe, Slot
from soilscale.flow.mapping import Chosen
from soilscale.flow.session import Run
from soilscale.flow.units import Unit
from soilscale.flow.workspace import Workspace, digest
from soilscale.grid import Tile
from soilscale.maps import MONTH
from soilscale.models import basis
from soilscale.seasons import ALL, position

WITHIN = "within"

TILES, CELLS = 4, 100
"""Tiles, each in one month, in which a season's detail is looked at, and the most coarse cells of each."""

FORMAT = 1
"""Version of what a unit writes; a change redoes it."""

COLUMNS = ("season", "feature", "group", "algorithm", "share_within", "share_between")
"""Columns of the table."""


def detail_units(run: Run, chosen: Mapping[str, Chosen]) -> list[Unit]:
    """One unit for each season of which a month is mapped.

    Parameters
    ----------
    chosen
        Season -> the model that maps it.
    """
    scheme, tiles, within = run.config.season_scheme, list(run.plan.grid.tiles()), areas.within(run)
    groups, standing, units = explain.groups(run), run.standing, []
    for season, model in chosen.items():
        months = [month for month in run.plan.months if scheme.name(month) == season]
        if not months:
            continue
        rng = np.random.default_rng(models.seed_of(run.config.models.seed, WITHIN, season))
        picked = [months[place] for place in np.linspace(0, len(months) - 1, TILES).round().astype(int)]
        places = [(tiles[rng.integers(len(tiles))], month) for month in picked]
        how = mapping.recipe(run, model, None)
        measured = within.get(season, within.get(ALL, {}))
        origin = [standing.predictors(tile, month, how.fill_gaps) for tile, month in places]
        made_from = digest(FORMAT, model, how.features, groups, measured, origin)
        slots = [(tile, Slot(MONTH, 0, (position(run.plan.months, month),))) for tile, month in places]
        units.append(Unit(WITHIN, season, made_from, measure, (season, how, model, slots, groups, measured)))
    return units


def measure(
    workspace: Workspace,
    season: str,
    recipe: Recipe,
    model: Chosen,
    places: Sequence[tuple[Tile, Slot]],
    groups: Mapping[str, str],
    within: Mapping[str, float],
) -> None:
    """Measure the shares of a season on a worker."""
    predictor = learn.load(workspace.model(model.season, model.algorithm), model.version)
    found = [_pixels(workspace, recipe, predictor, tile, slot) for tile, slot in places]
    pixels, surface = (np.concatenate(parts) for parts in zip(*found, strict=True))
    names = [*recipe.features, models.detail.PLACE]
    shares = models.detail.within_shares(predictor, pixels, surface) if len(pixels) else np.full(len(names), np.nan)
    rows = learn.table(workspace.samples, season, 0, models.FOLDS)[list(recipe.features)]
    table = pd.DataFrame({"season": season, "feature": names, "share_within": shares})
    table["group"] = [groups.get(name, name) for name in names]
    table["algorithm"] = model.algorithm
    table["share_between"] = [*(_share_between(rows[name], within.get(name)) for name in recipe.features), np.nan]
    if not models.find(model.algorithm).members and not models.find(model.algorithm).joint:
        table = table[table["feature"] != models.detail.PLACE]
    learn.write_table(workspace.state(WITHIN, f"{season}.parquet"), table[list(COLUMNS)])


def _pixels(
    workspace: Workspace, recipe: Recipe, predictor: models.Predictor, tile: Tile, slot: Slot
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Pixels of a tile's cells that are known in all of them, ``(cells, pixels, p)``, and what place adds there."""
    features, _ = draw.mean_features(workspace, recipe, tile, slot)
    surface = draw.surface(recipe, tile, slot, predictor)
    place = np.zeros(features[0].shape) if surface is None else surface
    at = basis.pixels(recipe.grid.ratio)
    rows, columns = (side.stop - side.start for side in tile.coarse)
    down, across = (np.add.outer(np.arange(n) * recipe.grid.ratio, at).ravel() for n in (rows, columns))
    both = np.stack([*features, place], axis=-1)[np.ix_(down, across)]
    cells = both.reshape(rows, len(at), columns, len(at), -1).swapaxes(1, 2).reshape(rows * columns, len(at) ** 2, -1)
    known = cells[np.isfinite(cells).all(axis=(1, 2))]
    known = known[:: max(1, -(-len(known) // CELLS))]
    return known[..., :-1].astype(np.float32), known[..., -1]


def _share_between(rows: pd.Series[float], within: float | None) -> float:
    """Share of a feature's fine variance that lies between cells and months; NaN if it varies nowhere."""
    between = float(rows.var(ddof=0)) if len(rows) else np.nan
    total = between + (np.nan if within is None else within**2)
    return between / total if total > 0 else np.nan


def table(run: Run, units: Sequence[Unit]) -> pd.DataFrame:
    """What stands of the units: by season, the largest share within first."""
    urls = [run.workspace.state(WITHIN, f"{unit.name}.parquet") for unit in units]
    parts = [learn.read_table(url) for url in urls if storage.exists(url)]
    parts = [part.sort_values("share_within", ascending=False, kind="stable") for part in parts]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
