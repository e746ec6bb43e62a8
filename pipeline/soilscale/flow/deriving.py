"""Predictors that are made from others month by month: units that derive them after gaps are filled."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soilscale import storage
from soilscale.cube import BEFORE, EARLIER, Input, memory
from soilscale.errors import ConfigurationError
from soilscale.flow import fill, keeping
from soilscale.flow.keeping import Arrays, Piece
from soilscale.flow.plan import MISSING, Plan, State, unit_name
from soilscale.flow.soil import KELVIN
from soilscale.flow.units import Unit
from soilscale.flow.workspace import Workspace, digest
from soilscale.grid import Grid, Tile
from soilscale.schema import FINE
from soilscale.seasons import Months, month_range, position
from soilscale.sources import Derivation, Source

SCATTER, EDGES, DERIVE = "scatter", "edges", "derive"
"""Stages, in their order, after gaps are filled. The edges of a dryness index are those of a month over the whole area,
so that tiles and scales agree on them: tiles count, one unit a month draws the lines."""

STAGES = (SCATTER, EDGES, DERIVE)

FORMAT = 1
"""Version of how predictors are derived; a change redoes them."""

COUNTS, LINES = "counts", "lines"
"""Names under which a scatter and its edges are kept."""


@dataclass(frozen=True)
class Made:
    """A predictor that is derived."""

    source: Source
    how: Derivation
    kelvin: tuple[float, float]
    """Factor and offset by which the first of its sources becomes K."""


def inputs(sources: Sequence[Source], known: Sequence[Input]) -> list[Input]:
    """Predictors that are made from others, with their units.

    Raises
    ------
    ConfigurationError
        If what one is made from does not change from month to month, or has another unit than is expected.
    """
    by_name = {given.source.name: given for given in known}
    return [
        Input(source, static=False, unit=_unit(source.name, how.kind, [by_name[name] for name in how.of]))
        for source in sources
        for how in filter(None, (source.derivation,))
    ]


def _unit(name: str, kind: str, parts: Sequence[Input]) -> str:
    for given in parts:
        if given.static:
            raise ConfigurationError(
                f"source {name}: it is made from {given.source.name}, which is static; expected one that changes from "
                "month to month; leave out the key that makes it"
            )
    first, *others = (given.unit for given in parts)
    if kind == "range" and others != [first]:
        raise ConfigurationError(
            f"source {name}: got {parts[0].source.name} in {first} and {parts[1].source.name} in {others[0]}; expected "
            "day and night in the same unit; set `unit` of both"
        )
    if kind != "tvdi":
        return first
    if first not in KELVIN:
        raise ConfigurationError(
            f"source {name}: got {parts[0].source.name} in {first}; expected a land surface temperature in "
            f"{' or '.join(KELVIN)}"
        )
    return "1"


@dataclass(frozen=True)
class _Month:
    """What a derived predictor is made from in a month."""

    made: Made
    month: np.datetime64
    origins: Sequence[tuple[Tile, str]]
    """Tiles, each with a digest of what the predictor is made from there."""

    @property
    def area(self) -> str:
        """Digest of what it is made from in the whole area."""
        return digest([origin for _, origin in self.origins])


def _months(plan: Plan, below: State) -> Iterator[_Month]:
    """Derived predictors and months, by what stands of their sources."""
    by_name = {given.source.name: given for given in plan.inputs}
    tiles = list(plan.grid.tiles())
    for given in plan.inputs:
        how = given.source.derivation
        if how is None:
            continue
        parts = [by_name[name] for name in how.of]
        made = Made(given.source, how, KELVIN.get(parts[0].unit, (1.0, 0.0)))
        recipe = digest(FORMAT, plan.recipes[given.source.name])
        for month in plan.months:
            span = month_range(month - np.timedelta64(how.months, "M"), month)
            origins = [(tile, digest(recipe, [below.of(part, tile, span) for part in parts])) for tile in tiles]
            yield _Month(made, month, origins)


def units(plan: Plan, below: State, found: Mapping[str, Collection[str]]) -> dict[str, list[Unit]]:
    """Units of each stage.

    Parameters
    ----------
    below
        What stands in the cube of the sources that have items.
    found
        Stage -> names of the markers of those that are complete.
    """
    work: dict[str, list[Unit]] = {stage: [] for stage in STAGES}
    for what in _months(plan, below):
        made, index = what.made, position(plan.months, what.month)
        area, marker = "", ""
        if made.how.kind == "tvdi":
            area = what.area
            counts = [
                Unit(SCATTER, unit_name(made.source, what.month, tile), origin, count, (made, tile, index))
                for tile, origin in what.origins
            ]
            pieces = tuple(
                Piece(SCATTER, unit.marker, made.source.name, *tile.coarse)
                for unit, (tile, _) in zip(counts, what.origins, strict=True)
                if unit.marker in found[SCATTER]
            )
            lines = Unit(EDGES, f"{made.source.name}/{what.month}", area, draw_edges, (pieces,))
            marker = lines.marker if lines.marker in found[EDGES] else ""
            work[SCATTER] += counts
            work[EDGES].append(lines)
        for tile, origin in what.origins:
            arguments = (made, marker, plan.grid, tile, plan.months, (what.month,))
            name = unit_name(made.source, what.month, tile)
            work[DERIVE].append(Unit(DERIVE, name, digest(origin, area), derive, arguments, fill.blank))
    return work


def standing(plan: Plan, below: State, found: Collection[str]) -> dict[str, str]:
    """What derived predictors are made from, by the names of their units."""
    made = units(plan, below, dict.fromkeys(STAGES, ()))[DERIVE]
    return {unit.name: unit.digest if unit.marker in found else MISSING for unit in made}


def count(workspace: Workspace, made: Made, tile: Tile, index: int) -> Arrays:
    """Keep how many pixels of a tile's month have which temperature and vegetation index."""
    surface, greenness = _pair(workspace, made, tile, index)
    return {COUNTS: memory.scatter(surface, greenness)}


def draw_edges(workspace: Workspace, pieces: Sequence[Piece]) -> Arrays:
    """Keep the dry and the wet edge of a month over the whole area."""
    counts = sum(kept[COUNTS].astype(np.float64) for _, kept in keeping.read(workspace, pieces))
    return {LINES: memory.edges(np.asarray(counts))}


def derive(
    workspace: Workspace,
    made: Made,
    marker: str,
    grid: Grid,
    tile: Tile,
    months: Months,
    alike: Sequence[np.datetime64],
) -> Arrays:
    """Fill a tile's month with what is derived; what is kept is as `fill.month` keeps it.

    Parameters
    ----------
    marker
        Marker of the unit that drew the edges of the month, where the predictor has such.
    """
    index = position(months, alike[0])
    if made.how.kind == "antecedent":
        (name,) = made.how.of
        backwards = (_read(workspace, name, tile, index - back) for back in range(made.how.months + 1))
        values = memory.antecedent(backwards, made.how.decay)
    elif made.how.kind == "range":
        day, night = (_read(workspace, name, tile, index) for name in made.how.of)
        values = day - night
    else:
        ((_, kept),) = keeping.read(workspace, [Piece(EDGES, marker, made.source.name, *tile.coarse)])
        values = memory.dryness(*_pair(workspace, made, tile, index), kept[LINES])
    features = {made.source.name: values}
    fill.put(workspace, tile, [(0, (index,))], features)
    return fill.means(features, grid.ratio)


def _pair(workspace: Workspace, made: Made, tile: Tile, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Land surface temperature, K, and vegetation index of a tile's month."""
    surface, greenness = (_read(workspace, name, tile, index).astype(np.float64) for name in made.how.of)
    factor, offset = made.kelvin
    return surface * factor + offset, greenness


def _read(workspace: Workspace, name: str, tile: Tile, index: int) -> NDArray[np.float32]:
    """A source in a tile's month, also before the cube's first."""
    group, at = (FINE, index) if index >= 0 else (EARLIER, index + BEFORE)
    values: NDArray[np.float32] = storage.read_region(workspace.cube, group, name, (at, *tile.fine))
    return values
