"""Inputs and units of the cube from the configuration and the frozen items, and what each is made from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from soilscale import cube
from soilscale.catalog import Scene
from soilscale.config import Config
from soilscale.cube import Input
from soilscale.engine.output import digest
from soilscale.engine.units import Unit
from soilscale.grid import Tile
from soilscale.seasons import Months
from soilscale.sources import Source
from soilscale.stages import inputs
from soilscale.stages.plan import Plan
from soilscale.tasks import cube_regions
from soilscale.tasks.cube_regions import CUBE, FillMonth, FillStatic, KeepTarget, ObserveMonth, ReadMonth

logger = logging.getLogger(__name__)

Read = FillStatic | ReadMonth
"""Tasks of units that read scenes."""


Runs = Sequence[tuple[tuple[np.datetime64, ...], Sequence[Scene], str]]
"""Runs of months that hold the same values, their scenes, and the digest of what they are made from."""


def cube_units(config: Config, plan: Plan) -> list[Unit[Read]]:
    """Units that fill the cube: one for each source, tile and month."""
    tiles = list(plan.grid.tiles())
    read = [source_input for source_input in plan.inputs if not source_input.source.composed]
    units: list[Unit[Read]] = []
    for source_input in read:
        # Most tiles of a nation meet the same scenes, and to choose those of each month takes longer than all else.
        runs: dict[tuple[int, ...], Runs] = {}
        for tile in tiles:
            units += _source_units(config, plan, source_input, tile, runs)
    return units


def _source_units(
    config: Config, plan: Plan, source_input: Input, tile: Tile, runs: dict[tuple[int, ...], Runs]
) -> list[Unit[Read]]:
    source = source_input.source
    geobox = plan.grid.coarse[tile.coarse] if source.on_coarse else plan.grid.fine[tile.fine]
    around = geobox.pad(cube.margin(source))
    # Only scenes that touch the tile are in its digest, so a new item elsewhere redoes nothing here; wetness looks
    # beyond the tile's edge.
    scenes = plan.scenes[source.name]
    places = cube.meeting(scenes, around)
    near = [scenes[place] for place in places]
    read = inputs.reading(config, source, source_input.unit)
    if source_input.static:
        fill = FillStatic(reading=read, scenes=near, grid=plan.grid, tile=tile)
        return [_unit_of(unit_name(source, None, tile), _made_from(plan, source, near, []), fill)]
    # What is to be filled goes into a group of its own first: a later unit completes it and writes the month that
    # models read.
    if places not in runs:
        runs[places] = [
            (alike, chosen, _made_from(plan, source, chosen, alike))
            for alike, chosen in _alike(source, near, plan.source_months(source))
        ]
    kind = KeepTarget if source.on_coarse else ObserveMonth if source_input in plan.filled else FillMonth
    return [
        _unit_of(
            unit_name(source, alike[0], tile),
            made_from,
            kind(reading=read, scenes=chosen, grid=plan.grid, tile=tile, months=plan.months, alike=alike),
        )
        for alike, chosen, made_from in runs[places]
    ]


def _alike(
    source: Source, scenes: Sequence[Scene], months: Months
) -> Iterator[tuple[tuple[np.datetime64, ...], Sequence[Scene]]]:
    """Runs of months that hold the same values, as a yearly source's do, and their scenes; most are of one month."""
    chosen = [(month, cube.select(scenes, month, source.least_coverage)) for month in months]

    def key(of_month: tuple[np.datetime64, list[Scene]]) -> tuple[object, ...]:
        month, selected = of_month
        return tuple(scene.digest for scene in selected), None if constant(source, selected, month) else month

    # groupby joins neighbours alone, as it should: values that come back after other months are a unit of their own.
    for _, run in groupby(chosen, key):
        alike = tuple(run)
        yield tuple(month for month, _ in alike), alike[0][1]


def count_runs(source: Source, scenes: Sequence[Scene], months: Months) -> int:
    """How many units a source has in a tile that all its scenes touch: one for each run of months that are alike."""
    return sum(1 for _ in _alike(source, scenes, months))


def constant(source: Source, chosen: Sequence[Scene], month: np.datetime64) -> bool:
    """Whether a month's values are those of every month for which the same scenes are chosen."""
    return source.role == "predictor" and cube.is_constant(source, chosen, month)


def _made_from(plan: Plan, source: Source, scenes: Sequence[Scene], alike: Sequence[np.datetime64]) -> str:
    """Digest of what some months of a source are made from in a tile."""
    # Where the months are written is part of the digest: when the period goes on, the same scenes fill further regions.
    months = [(month, cube_regions.reach(source, plan.months, month)) for month in alike]
    return digest(plan.recipes[source.name], [scene.digest for scene in scenes], months)


def _unit_of(name: str, made_from: str, task: Read) -> Unit[Read]:
    return Unit(CUBE, name, made_from, task, f"{task.source.name}/{task.tile.name}")


def unit_name(source: Source, month: np.datetime64 | None, tile: Tile) -> str:
    """Name of a unit of the cube, such as ``lst/2005-07_r000c000``."""
    return f"{source.name}/{'static' if month is None else month}_{tile.name}"
