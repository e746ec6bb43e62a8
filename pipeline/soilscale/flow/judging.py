"""Every algorithm beside the truth and the stations, made as the maps are, though only one of them makes the maps."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale import kernels, maps, reports, storage
from soilscale.flow import draw, learn
from soilscale.flow.draw import Recipe, Slot
from soilscale.flow.mapping import CONSERVE, Chosen, choose, map_name, trained
from soilscale.flow.material import Material, on_grid, truth, truth_stamp
from soilscale.flow.session import Run
from soilscale.flow.stacking import features_of
from soilscale.flow.units import FAILED, MARKER, Unit, markers
from soilscale.flow.workspace import Workspace, digest
from soilscale.maps import MONTH
from soilscale.reports import insitu
from soilscale.reports.scores import Moments
from soilscale.reports.tables import field, nearest
from soilscale.schema import COARSE, MAP

JUDGE = "judge"

OWN = "own"
"""Name of the map that is judged, among the methods."""

REACH = max(kernels.SOLVER_STEPS, kernels.REACH) + 1
"""Coarse cells around a station on which its value depends: by the residuals' surface, and its interpolation."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Entry:
    """One algorithm's map of a month, and what it is compared with."""

    month: str
    algorithm: str
    model: Chosen | None
    """None where the algorithm makes the map itself."""
    truth: str | None
    stations: tuple[tuple[int, int], ...]
    """Row and column of the fine cell of each station."""

    @property
    def name(self) -> str:
        """Name of the unit, such as ``svm-2005-01``."""
        return f"{self.algorithm}-{self.month}"


def asked(run: Run) -> bool:
    """Whether there is anything to judge by, and more than one algorithm."""
    known = run.config.validation
    return len(run.config.models.algorithms) > 1 and (known.truth is not None or known.stations is not None)


def count(run: Run) -> int | None:
    """Number of units, as far as it can be told without reading the stations."""
    if run.config.validation.truth is None:
        return None
    makes = {model.algorithm for model in choose(run).values()}
    return len(run.plan.months) * (len(run.config.models.algorithms) - (len(makes) == 1))


def done(workspace: Workspace) -> int:
    """Number of units that are complete."""
    return sum(bool(MARKER.search(name)) and not name.endswith(FAILED) for name in markers(workspace, JUDGE))


def judge_units(material: Material, conserved: Sequence[Unit]) -> list[Unit]:
    """Units for each month that has a map and each algorithm, less that which makes the maps of every season.

    Parameters
    ----------
    conserved
        Units that make the maps.
    """
    run = material.run
    known, places = run.config.validation.truth, material.places
    if not asked(run) or (known is None and not len(places if places is not None else ())):
        return []
    stations = () if places is None else tuple(zip(places["row"].tolist(), places["column"].tolist(), strict=True))
    makes_all = set(material.algorithm.values()) if len(set(material.algorithm.values())) == 1 else set()
    fitted, whole = trained(run), _whole(run, conserved)
    state, units = truth_stamp(run.config), []
    for algorithm in (name for name in run.config.models.algorithms if name not in makes_all):
        for month, (recipe, slot, made_from) in whole.items():
            own = material.chosen[run.config.season_scheme.name(month)]
            model = fitted[own.season, algorithm]
            entry = Entry(str(month), algorithm, None if model == own else model, known, stations)
            how = replace(recipe, features=features_of(run, algorithm, own.season))
            origin = digest(made_from, entry, how.features, state)
            units.append(Unit(JUDGE, entry.name, origin, judge, (how, slot, entry)))
    return units


def _whole(run: Run, conserved: Sequence[Unit]) -> dict[np.datetime64, tuple[Recipe, Slot, list[str]]]:
    """Months whose map stands in every tile, season by season: how it is made, where it lies, what it is made from."""
    standing = markers(run.workspace, CONSERVE)
    tiles: dict[str, list[Unit]] = defaultdict(list)
    for unit in conserved:
        tiles[map_name(unit)].append(unit)
    found = {}
    for name, units in tiles.items():
        group, _, month = name.partition("-")
        if group == MONTH and all(unit.marker in standing for unit in units):
            recipe, _, slot = units[0].arguments
            found[np.datetime64(month)] = recipe, slot, [unit.digest for unit in units]
    scheme = run.config.season_scheme
    return dict(sorted(found.items(), key=lambda entry: (scheme.names.index(scheme.name(entry[0])), entry[0])))


def judge(workspace: Workspace, recipe: Recipe, slot: Slot, entry: Entry) -> None:
    """Compare an algorithm's map of a month with the truth, and keep its values at the stations, on a worker."""
    values = _map(workspace, recipe, slot, entry)
    told: dict[str, Any] = {"stations": [_plain(values[cell]) for cell in entry.stations]}
    if entry.truth is not None:
        month = storage.open_group(workspace.maps, MONTH)[MAP].isel(time=[slot.index])
        known = field(on_grid(truth(entry.truth), month, entry.truth, recipe.grid.crs), np.datetime64(entry.month))
        observed = storage.read_region(workspace.cube, COARSE, recipe.target, (slot.index,)).astype("float64")
        told["truth"] = asdict(reports.beside_truth(known, observed, recipe.grid.ratio, {OWN: values})[OWN])
    storage.write_json(_told(workspace, entry), told)


def _map(workspace: Workspace, recipe: Recipe, slot: Slot, entry: Entry) -> Array:
    """Map of a whole month, float32; without a truth, only what the stations' values depend on."""
    if entry.model is None:
        return storage.read_region(workspace.maps, MONTH, MAP, (slot.index,))
    grid, ratio = recipe.grid, recipe.grid.ratio
    needed = np.ones(grid.shape, bool) if entry.truth is not None else around(entry.stations, grid.shape, ratio)
    tiles = [tile for tile in grid.tiles() if needed[tile.coarse].any()]
    url = workspace.model(entry.model.season, entry.model.algorithm)
    predicted = np.full(grid.fine.shape, np.nan, "float32")
    for tile in tiles:
        features, _ = draw.mean_features(workspace, recipe, tile, slot)
        within = draw.inside(recipe, tile) & nearest(needed[tile.coarse], ratio)
        within &= ~draw.masked(recipe, draw.frozen(workspace, recipe, tile, slot))
        predictor = learn.load(url, entry.model.version)
        surface = draw.surface(recipe, tile, slot, predictor)
        predicted[tile.fine] = maps.predict(predictor, features, within, surface)
    observed = draw.observation(workspace, recipe, slot)
    nodes = kernels.residual_nodes(observed - kernels.block_mean(predicted, ratio)[0], ratio)
    for tile in tiles:
        predicted[tile.fine], _ = maps.finish(
            predicted[tile.fine].astype("float64"),
            observed[tile.coarse],
            kernels.nodes_around(nodes, tile.coarse),
            ratio,
            draw.limits(workspace, recipe, tile, slot, observed[tile.coarse]),
            conserve=recipe.conserve,
        )
    return predicted


def around(stations: Sequence[tuple[int, int]], shape: tuple[int, int], ratio: int) -> NDArray[np.bool_]:
    """Coarse cells on which the values at stations depend.

    Parameters
    ----------
    stations
        Row and column of the fine cell of each.
    shape, ratio
        Of the grid.

    Returns
    -------
    array
        Shape ``shape``.
    """
    needed = np.zeros(shape, bool)
    for row, column in stations:
        y, x = row // ratio, column // ratio
        needed[max(y - REACH, 0) : y + REACH + 1, max(x - REACH, 0) : x + REACH + 1] = True
    return needed


def _told(workspace: Workspace, entry: Entry) -> str:
    return workspace.state(JUDGE, f"{entry.name}.told.json")


def _plain(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True)
class Judged:
    """What was found of the algorithms that do not make the maps of every season."""

    truth: Sequence[tuple[np.datetime64, str, Moments]]
    """Month, algorithm, moments of its map and the truth."""
    stations: Mapping[str, Mapping[tuple[np.datetime64, int], float]]
    """Algorithm -> month and place of the station among `Material.places` -> value."""


def judged(material: Material, units: Sequence[Unit]) -> Judged:
    """Read what the units that stand have found."""
    workspace = material.run.workspace
    standing = markers(workspace, JUDGE)
    moments: list[tuple[np.datetime64, str, Moments]] = []
    values: dict[str, dict[tuple[np.datetime64, int], float]] = defaultdict(dict)
    for entry in (unit.arguments[-1] for unit in units if unit.marker in standing):
        told, month = storage.read_json(_told(workspace, entry)), np.datetime64(entry.month)
        if "truth" in told:
            moments.append((month, entry.algorithm, Moments(**told["truth"])))
        for place, value in enumerate(told["stations"]):
            values[entry.algorithm][month, place] = math.nan if value is None else value
    return Judged(moments, values)


def at_stations(material: Material, found: Judged) -> dict[str, pd.DataFrame]:
    """Pairs of the stations with each algorithm's map in place of the maps', by algorithm."""
    if material.paired is None or material.places is None:
        return {}
    pairs = material.paired.pairs
    place = {tuple(key): number for number, key in enumerate(material.places[insitu.STATION].to_numpy())}
    months = pairs["time"].to_numpy().astype("datetime64[M]")
    keys = [(month, place[tuple(key)]) for month, key in zip(months, pairs[insitu.STATION].to_numpy(), strict=True)]
    return {
        algorithm: pairs.assign(fine=[values.get(key, math.nan) for key in keys])
        for algorithm, values in found.stations.items()
    }
