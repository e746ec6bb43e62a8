#!/usr/bin/env python
"""What the report reads of the maps: summaries that units leave, beside a runner that reads every map itself.

Run as ``python benchmarks/report.py``; ``--help`` lists the sizes. Maps of some tiles and months are written, with
their intervals and index of applicability. ``passes`` is what the runner did before there were summaries: a pass over
the maps, chunk by chunk, for each table and figure (consistency, means, applicability, flags, covered cells, RMSE).
``summarise`` does the units of the stage one after another, as workers do them side by side; ``collect`` is what is
left to the runner. Each runs in a process of its own, by turns. The table has processor seconds, the greatest resident
memory beyond that of the process before it began, and the figures that both ways find.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from memory import forget, peak

from soilscale import kernels, maps, schema, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Unit
from soilscale.grid import Grid
from soilscale.reports.applicability import EDGES
from soilscale.reports.scores import Moments, moments
from soilscale.reports.summaries import stride
from soilscale.schema import APPLICABILITY, COARSE, LOWER, MAP, QUALITY, UPPER, Quality
from soilscale.seasons import METEOROLOGICAL, Months, Seasons, month_range
from soilscale.stages import map_summaries
from soilscale.tasks.map_summaries import SUMMARISE, SummariseTile
from soilscale.tasks.training_table import months_in_batches

SEASONS = Seasons(METEOROLOGICAL)
TARGET = "soil_moisture"
OPTIONAL = (LOWER, UPPER, APPLICABILITY)
FIGURES = ("rmse", "mean", "outside", "observed", "covered")
COLUMNS = ("tiles", "months", "way", "repetition", "cpu_s", "mib", "cells", *FIGURES)
WAYS = ("passes", "summarise", "collect")


def layout(sizes: argparse.Namespace, tiles: int) -> tuple[Grid, Months]:
    """Grid of so many tiles, a square number, and the months."""
    side = round(tiles**0.5) * sizes.tile
    grid = Grid("EPSG:6933", 25_000.0, 25, 0.0, 5_000_000.0, (side, side), sizes.tile)
    return grid, month_range("2001-01", str(np.datetime64("2001-01") + sizes.months - 1))


def world(workspace: Workspace, grid: Grid, months: Months) -> None:
    """Write maps of noise, a tenth of which is missing, and an observation."""
    starts = maps.complete_seasons(months, SEASONS)
    template = maps.template(grid, months, starts, SEASONS, optional=OPTIONAL)[maps.MONTH]
    storage.create(workspace.maps, maps.MONTH, template)
    chunks = (12, *grid.shape)
    values = da.full((len(months), *grid.shape), np.float32("nan"), dtype="float32", chunks=chunks)
    variable = xr.Variable(schema.DIMS, values, {}, {"chunks": chunks, "_FillValue": np.float32("nan")})
    storage.create(workspace.cube, COARSE, xr.Dataset({TARGET: variable}, schema.coordinates(grid.coarse, months)))
    random = np.random.default_rng(0)
    for first, last in months_in_batches(len(months)):
        field = random.uniform(0.1, 0.4, (last - first, *grid.shape)).astype("float32")
        storage.write_region(workspace.cube, COARSE, TARGET, field, (slice(first, last),))
    for tile in grid.tiles():
        shape = grid.fine[tile.fine].shape
        for index in range(len(months)):
            place = (index, *tile.fine)
            fine = random.uniform(0.1, 0.4, shape).astype("float32")
            fine[random.random(shape) < 0.1] = np.nan  # noqa: PLR2004 - a tenth
            layers = {MAP: fine, LOWER: fine - 0.05, UPPER: fine + 0.05, APPLICABILITY: 4 * fine}
            layers[QUALITY] = np.where(np.isfinite(fine), Quality.OBSERVED, 0).astype("uint8")
            for name, layer in layers.items():
                storage.write_region(workspace.maps, maps.MONTH, name, layer, place)


def passes(workspace: Workspace, grid: Grid, months: Months) -> dict[str, float]:
    """Every pass as the runner did it."""
    made, ratio = storage.open_group(workspace.maps, maps.MONTH), grid.ratio
    coarse = storage.open_group(workspace.cube, COARSE)[TARGET].load().to_numpy().astype("float64")

    def read(name: str, index: int, tile: Any) -> Any:
        rows, columns = tile.fine
        return made[name].isel(time=index, y=rows, x=columns).to_numpy()

    places = [(index, tile) for index in range(len(months)) for tile in grid.tiles()]
    pairs, weight, total, counts, observed = Moments(), 0.0, 0.0, np.zeros((4, len(EDGES))), 0
    for index, tile in places:
        fine = read(MAP, index, tile).astype("float64")
        nearest = coarse[index][tile.coarse].repeat(ratio, 0).repeat(ratio, 1)
        pairs += moments(nearest, fine)
        np.abs(kernels.block_mean(fine, ratio)[0] - coarse[index][tile.coarse]).max()
    for index, tile in places:
        fine = read(MAP, index, tile).astype("float64")
        use = np.where(np.isfinite(fine), 1.0, 0.0)
        weight, total = weight + use.sum(), total + float(np.where(use > 0, fine, 0.0).ravel() @ use.ravel())
    for index, tile in places:
        fine, far = (read(name, index, tile).astype("float64") for name in (MAP, APPLICABILITY))
        both = np.isfinite(fine) & np.isfinite(far)
        at, far = np.searchsorted(EDGES, far[both], side="right") - 1, far[both]
        counts += np.stack([np.bincount(at, part, len(EDGES)) for part in (None, far, far * 0, far > 1)])
    for index, tile in places:
        observed += maps.count_flags([read(QUALITY, index, tile)])[0][Quality.OBSERVED]
    covered = 0
    for tile in grid.tiles():
        there = np.zeros(grid.fine[tile.fine].shape, bool)
        for index in range(len(months)):
            there |= np.isfinite(read(MAP, index, tile))
        covered += int(there.sum())
    step = stride(grid.fine.shape)
    squares = np.zeros((-(-grid.fine.shape[0] // step), -(-grid.fine.shape[1] // step)))
    for index in range(len(months)):
        shown = made[MAP].isel(time=index, y=slice(None, None, step), x=slice(None, None, step)).to_numpy()
        at = np.ix_(*(np.arange(0, n, step) // ratio for n in grid.fine.shape))
        squares += np.nan_to_num(shown.astype("float64") - coarse[index][at]) ** 2
    return figures(pairs, weight, total, counts, observed, covered)


def figures(
    pairs: Moments, weight: float, total: float, counts: Any, observed: float, covered: float
) -> dict[str, float]:
    """Figures that both ways find."""
    outside = counts[3].sum() / counts[0].sum()
    rmse = (pairs.squares / pairs.n) ** 0.5
    return dict(zip(FIGURES, (rmse, total / weight, outside, observed, covered), strict=True))


def units(grid: Grid, months: Months) -> list[Unit[SummariseTile]]:
    """Units of the stage."""
    found = []
    for tile in grid.tiles():
        for first, last in months_in_batches(len(months)):
            name = f"{first}_{tile.name}"
            task = SummariseTile(
                name=name, grid=grid, tile=tile, target=TARGET, months=tuple(months[first:last]),
                indices=tuple(range(first, last)), season_count=len(SEASONS.names), optional=OPTIONAL, truth=None,
                seasons=tuple(SEASONS.names.index(SEASONS.name(month)) for month in months[first:last]),
                stations=(), pictured=(0,) if first == 0 else (), step=stride(grid.fine.shape),
            )  # fmt: skip
            found.append(Unit(SUMMARISE, name, "0" * 16, task))
    return found


def summarise(workspace: Workspace, grid: Grid, months: Months) -> dict[str, float]:
    """Every unit, one after another."""
    for unit in units(grid, months):
        unit.task.run(workspace)
        storage.write_json(workspace.state(SUMMARISE, unit.marker), {})
    return {}


def collect(workspace: Workspace, grid: Grid, months: Months) -> dict[str, float]:
    """What is left to the runner."""
    found = map_summaries.collect(workspace, grid, months, SEASONS, units(grid, months), [months[0]])
    pairs = sum(found.moments().values(), Moments())
    weight, total = np.sum(list(found.part("area").values()), axis=0)
    counts, flags = (np.sum(list(found.part(name).values()), axis=0) for name in ("index", "flags"))
    return figures(pairs, weight, total, counts, flags[list(Quality).index(Quality.OBSERVED)], found.covered[1])


def case(way: str, sizes: argparse.Namespace, tiles: int) -> dict[str, float]:
    """What a way takes."""
    workspace, (grid, months) = Workspace(str(Path(sizes.scratch) / str(tiles))), layout(sizes, tiles)
    work = {"world": world, "passes": passes, "summarise": summarise, "collect": collect}[way]
    kernels.block_mean(np.zeros((grid.ratio, grid.ratio)), grid.ratio)  # compiled before it is measured
    forget()
    before, began = peak(), time.process_time()
    result = work(workspace, grid, months) or {}
    took, cells = time.process_time() - began, len(months) * int(np.prod(grid.fine.shape))
    return {"cpu_s": took, "mib": peak() - before, "cells": cells} | result


def main() -> None:
    """Measure every area by turns, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs="+", default=[1, 4, 16], help="tiles, square numbers")
    parser.add_argument("--tile", type=int, default=30, help="coarse cells of 25 x 25 along a tile's side")
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", help="folder for the maps; default: the system's")
    parser.add_argument("--csv", default="report.csv")
    parser.add_argument("--case", nargs=2, metavar=("WAY", "TILES"), help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.case:
        sys.stdout.write(json.dumps(case(sizes.case[0], sizes, int(sizes.case[1])), default=float) + "\n")
        return
    with tempfile.TemporaryDirectory(dir=sizes.scratch) as scratch, Path(sizes.csv).open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for tiles in sizes.tiles:
            for repetition, way in [(0, "world"), *((turn, way) for turn in range(sizes.rounds) for way in WAYS)]:
                command = [sys.executable, __file__, "--case", way, str(tiles), "--scratch", scratch]
                command += ["--tile", str(sizes.tile), "--months", str(sizes.months)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file
                result = json.loads(done.stdout.splitlines()[-1])
                if way != "world":
                    row = {"tiles": tiles, "months": sizes.months, "way": way, "repetition": repetition} | result
                    writer.writerow(row)
                    sys.stdout.write(f"{row}\n")


if __name__ == "__main__":
    main()
