#!/usr/bin/env python
"""Time the cube beside stackstac and odc-stac, at equal output, and count requests and bytes.

Run as ``python benchmarks/cube.py``; ``--help`` lists the sizes. Six kinds of source (8-day land surface temperature,
8-day evapotranspiration of 500 m, monthly NDVI, daily rain of 0.25 degrees, land cover of 500 m, elevation of 1/400
degree) are read from the disk, and from a server on the loopback interface, a process of its own, that holds every
answer back as a distant store does. Each way has a process of its own, since GDAL takes some settings from the first
file that a process reads; they take turns. Each round reads under new addresses, so that no cache knows them; the first
round, which compiles, is left out. All give the mean of masked and scaled composites, weighted by the
days that they share with a month, each cell from its nearest pixels. On the disk every way has one thread, from the
server each reads with eight.

Columns of the CSV file: source; cells (fine, along the side of the tile); place (disk, or milliseconds of latency);
way; seconds, least, greatest (wall time of a round: median and spread); CPU s (median); times ours, times our CPU
(median of the ratios of a round); requests, MB (of a round, none of the disk); of needed (bytes over those of the
headers and of the compressed blocks in which a cell's pixels lie); equal (share of cells as ours are); difference
(greatest, of the values themselves).
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import odc.stac
import pystac
import stackstac
import xarray as xr
from cube_files import KINDS, QUALITY, Case, needed, serve, write
from numpy.typing import NDArray

from soilscale import catalog, cube
from soilscale.cube.prefetch import READERS
from soilscale.grid import Grid

Months = dict[str, NDArray[Any]]
"""Month -> values of the grid."""

EQUAL = 1e-3
"""Difference up to which two values count as equal."""


def soilscale(case: Case, place: str) -> Months:
    """The cube's own way: a tile's months one after the other."""
    scenes = catalog.scenes(case.at(place), case.source)
    reading = cube.Reading(case.source, str)
    near = [scene for scene in scenes if cube.meets(scene, case.geobox)]
    found = {}
    for month in case.months:
        samples = cube.read_month(reading, cube.select(near, month), case.samples, month)[case.name]
        found[str(month)] = case.finish(samples)
    return found


def with_stackstac(case: Case, place: str) -> Months:
    """One lazy stack over the whole grid, its traps closed, mosaicked, masked and averaged."""
    samples = case.samples
    stack = stackstac.stack(
        case.at(place),
        assets=case.assets,
        epsg=4326,
        resolution=abs(samples.transform.a),
        bounds=samples.boundingbox.bbox,
        snap_bounds=False,
        rescale=False,
        dtype=np.dtype("float32"),
        fill_value=np.float32("nan"),
        errors_as_nodata=(),
        properties=False,
        band_coords=False,
        chunksize=512,
    )
    data = stack.groupby("time").map(partial(stackstac.mosaic, nodata=np.nan)).assign_coords(band=stack.band)
    quality = data.sel(band="quality").fillna(2) if case.kind.quality else None
    return _means(case, data.sel(band="data").fillna(0), quality, place)


def with_odc(case: Case, place: str) -> Months:
    """One lazy load over the whole grid, masked and averaged."""
    odc.stac.configure_rio(cloud_defaults=True)
    found = odc.stac.load(
        [pystac.Item.from_dict(item) for item in case.at(place)],
        bands=case.assets,
        geobox=case.samples,
        chunks={"x": 512, "y": 512},
        groupby="time",
        resampling="nearest",
        dtype="uint16",
        nodata=0,
        stac_cfg={"*": {"warnings": "ignore"}},
    )
    return _means(case, found["data"], found["quality"] if case.kind.quality else None, place)


def _means(case: Case, data: xr.DataArray, quality: xr.DataArray | None, place: str) -> Months:
    """Monthly means of valid values, weighted by days, computed together so that each chunk is read once."""
    valid = data > 0
    if quality is not None:
        valid &= (quality.astype("uint8") & 3) <= max(QUALITY.accept)
    values = (data.astype("float64") * case.kind.scale).where(valid)
    lazy = {}
    for month in case.months:
        starts, days = zip(*case.overlapping(month), strict=True)
        part = values.sel(time=list(starts))
        lazy[str(month)] = part.weighted(xr.DataArray(list(days), dims="time", coords={"time": part.time})).mean("time")
    distant = place.startswith("http")
    (found,) = dask.compute(lazy, scheduler="threads" if distant else "synchronous", num_workers=READERS)
    return {month: case.finish(mean.to_numpy()) for month, mean in found.items()}


WAYS: dict[str, Callable[[Case, str], Months]] = {
    "soilscale": soilscale,
    "stackstac": with_stackstac,
    "odc-stac": with_odc,
}


def timed(name: str, case: Case, place: str) -> tuple[Months, dict[str, float]]:
    """Values of a way, and the seconds and the processor's seconds that it takes."""
    start, worked = time.perf_counter(), time.process_time()
    values = WAYS[name](case, place)
    return values, {"seconds": time.perf_counter() - start, "work": time.process_time() - worked}


def measure(
    case: Case, place: str, rounds: int, processes: dict[str, ProcessPoolExecutor]
) -> dict[str, list[dict[str, float]]]:
    """What each way takes in each round, and how far its values are from ours.

    Parameters
    ----------
    place
        Folder of the files, or address of their server.
    processes
        Process of each way.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        reference: Months = {}
        for name, process in processes.items():
            part = f"{case.name}-{case.geobox.shape[0]}-{number}-{name}"
            own = f"{place}/{part}" if place.startswith("http") else place
            values, taken = process.submit(timed, name, case, own).result()
            reference = reference or values
            found[name].append({**taken, **_counts(place, part), **_differences(values, reference)})
    return {name: each[1:] for name, each in found.items()}


def _counts(place: str, part: str) -> dict[str, float]:
    """Requests and bytes that the server counted."""
    if not place.startswith("http"):
        return {}
    with urllib.request.urlopen(f"{place}/counts/{part}") as answer:  # noqa: S310 - the server below
        counts: dict[str, float] = json.load(answer)
    return counts


def _differences(values: Months, reference: Months) -> dict[str, float]:
    """Share of cells with the same value, missing ones too, and the greatest difference between two values."""
    one, other = (np.stack([given[month] for month in reference]) for given in (values, reference))
    away = np.abs(one - other)
    both = np.isnan(one) & np.isnan(other)
    return {"equal": float(np.mean(both | (away <= EQUAL))), "difference": float(np.nanmax(away))}


def report(found: dict[str, list[dict[str, float]]], need: int) -> Iterator[dict[str, Any]]:
    """Rows of the table: one for each way."""
    ours = found["soilscale"]
    for name, each in found.items():
        seconds, work = (np.array([row[key] for row in each]) for key in ("seconds", "work"))
        last = each[-1]
        yield {
            "way": name,
            "seconds": round(float(np.median(seconds)), 3),
            "least": round(float(seconds.min()), 3),
            "greatest": round(float(seconds.max()), 3),
            "CPU s": round(float(np.median(work)), 3),
            "times ours": round(float(np.median(seconds / [row["seconds"] for row in ours])), 2),
            "times our CPU": round(float(np.median(work / [row["work"] for row in ours])), 2),
            "requests": int(last["requests"]) if "requests" in last else "",
            "MB": round(last["bytes"] / 1e6, 2) if "bytes" in last else "",
            "of needed": round(last["bytes"] / need, 2) if "bytes" in last else "",
            "equal": round(min(row["equal"] for row in each), 4),
            "difference": float(f"{max(row['difference'] for row in each):.3g}"),
        }


def main() -> None:
    """Print the table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=2, help="months to fill (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (%(default)s)")
    parser.add_argument(
        "--cells", type=int, nargs="+", default=[8, 24], help="coarse cells along a tile; 25 fine ones each"
    )
    parser.add_argument("--latency", type=int, default=20, help="milliseconds by which the server waits (%(default)s)")
    parser.add_argument("--places", nargs="+", default=["disk", "http"], choices=["disk", "http"])
    parser.add_argument("--sources", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--csv", type=Path, default=Path("cube.csv"))
    sizes = parser.parse_args()
    rows: list[dict[str, Any]] = []
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        ours, theirs = multiprocessing.Pipe()
        server = spawn.Process(target=serve, args=(folder, sizes.latency / 1000, theirs), daemon=True)
        server.start()
        processes = {name: stack.enter_context(ProcessPoolExecutor(1, spawn)) for name in WAYS}
        places = {"disk": made, "http": f"http://127.0.0.1:{ours.recv()}"}
        for name in sizes.sources:
            for cells in sizes.cells:
                grid = Grid("EPSG:4326", 0.25, 25, 106.0, 39.5, (cells, cells), cells)
                case = write(folder, name, grid.fine, np.datetime64("2005-01") + np.arange(sizes.months))
                for kind in sizes.places:
                    told = {
                        "source": name,
                        "cells": cells * 25,
                        "place": f"{sizes.latency} ms" if kind == "http" else kind,
                    }
                    some = report(measure(case, places[kind], sizes.rounds, processes), needed(folder, case))
                    rows.extend(told | row for row in some)
        server.terminate()
    with sizes.csv.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    lines = ["  ".join(key.ljust(width) for key, width in widths.items())]
    lines += ["  ".join(str(row[key]).ljust(width) for key, width in widths.items()) for row in rows]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
