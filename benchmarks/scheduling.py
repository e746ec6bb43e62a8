#!/usr/bin/env python
"""What it costs to send units through a cluster: ours beside one task for each unit, as a person would submit them.

Run as ``python benchmarks/scheduling.py``; ``--help`` lists the sizes. The units are those that the plan of a cube
makes for a national grid, with their scenes, but their work sleeps. Every case has a runner, a scheduler and workers of
its own, each a process; the ways take turns. Told are the CPU time of runner and scheduler for each unit, the wall time
beyond the work itself, and the peak memory of both processes.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from distributed import Client, as_completed
from distributed.deploy.subprocess import SubprocessCluster

from soilscale import catalog, config
from soilscale.cube import Input
from soilscale.engine import scheduler as scheduler_engine
from soilscale.engine.output import Workspace
from soilscale.engine.units import Task, Unit, perform
from soilscale.stages import cube_units, plan

WAYS = ("soilscale", "one by one", "all at once")
"""Ours; ours with one unit in a task; everything submitted at once, one task for each unit."""

COLUMNS = ("way", "units", "repetition", "runner_ms", "scheduler_ms", "overhead_ms", "wall_s", "runner_mib",
           "planned_mib", "scheduler_mib", "rerun_s")  # fmt: skip

SOURCES = ("soil_moisture", "precipitation", "temperature", "vegetation")


def document(count: int) -> dict[str, Any]:
    """Configuration whose cube has so many units or a few more: 16 years on tiles of 8 cells of 25 km, 13 in a column.

    With 299 tiles, 45 by 25 degrees, it is a nation's.
    """
    columns = -(-count // (13 * 192 * len(SOURCES)))
    named = {"catalog": "c", "asset": "data", "unit": "1", "static": False}
    sources: dict[str, Any] = {name: named | {"collection": name} for name in SOURCES}
    sources["soil_moisture"]["role"] = "target"
    return {
        "name": "nation",
        "output": "nation",
        "area": {"bbox": [80, 22, 80 + 2 * columns, 47]},
        "grid": {"crs": "EPSG:4326", "coarse": 0.25, "ratio": 25, "tile": 8},
        "period": ["2002-01", "2017-12"],
        "catalogs": {"c": {"url": "catalog.json"}},
        "sources": sources,
    }


def items(name: str, months: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Items of a source: two granules that share the area, each month."""
    found = []
    for month in months:
        for half, (west, east) in enumerate(((70.0, 103.0), (103.0, 140.0))):
            box = [west, 10.0, east, 60.0]
            ring = [[west, 10.0], [east, 10.0], [east, 60.0], [west, 60.0], [west, 10.0]]
            href = f"https://archive.example.org/collections/{name}/{month}/{name}.A{month}.h{half:02d}v05.061.tif"
            found.append(
                {
                    "type": "Feature",
                    "id": f"{name}.A{month}.h{half:02d}",
                    "bbox": box,
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                    "properties": {
                        "datetime": None,
                        "start_datetime": f"{month}-01T00:00:00Z",
                        "end_datetime": f"{month + np.timedelta64(1, 'M')}-01T00:00:00Z",
                    },
                    "assets": {"data": {"href": href}},
                }
            )
    return found


def units(count: int, milliseconds: float) -> list[Unit[Nap]]:
    """The first units of the plan of a cube, whose work sleeps."""
    given = config.validate(document(count))
    scenes = {source.name: catalog.scenes(items(source.name, given.months), source) for source in given.source_list}
    inputs = tuple(Input(source, static=False, unit="1") for source in given.source_list)
    planned = cube_units.cube_units(given, plan.Plan(inputs, scenes, given.nested_grid, given.months))
    return [
        Unit(unit.stage, unit.name, unit.digest, Nap(unit.task, milliseconds), unit.together)
        for unit in planned[:count]
    ]


@dataclass(frozen=True)
class Nap(Task):
    """Sleep as long as a unit's work is to take, and travel with all that it takes."""

    task: Task
    milliseconds: float

    def run(self, workspace: Workspace) -> None:  # noqa: ARG002 - nothing is written
        """Sleep."""
        time.sleep(self.milliseconds / 1000)


def quiet(_doing: str, _done: int, _total: int | None) -> None:
    """Tell nothing."""


def submit_all(client: Client, workspace: Workspace, work: Sequence[Unit[Nap]]) -> None:
    """One task for each unit, all at once."""
    futures = client.map(lambda unit: perform(workspace, [unit]), work, pure=False)
    for _ in as_completed(futures, loop=client.loop, with_results=True):
        pass


def cpu() -> float:
    """Seconds of CPU that this process has used."""
    used = psutil.Process().cpu_times()
    return float(used.user + used.system)


def peak() -> float:
    """Greatest memory of this process so far, MiB; the kernel's count by `getrusage` begins with the parent's."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def measure(way: str, count: int, workers: int, milliseconds: float, folder: str) -> dict[str, float]:
    """One case: figures of the runner, which is this process, and of the scheduler."""
    work, workspace = units(count, milliseconds), Workspace(folder)
    planned = peak()
    if way == "one by one":
        scheduler_engine.MOST_UNITS = 1
    with (
        SubprocessCluster(
            host="127.0.0.1", n_workers=workers, threads_per_worker=1, scheduler_kwargs={"dashboard": False}
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(workers)
        client.upload_file(__file__)
        before, scheduler, start = cpu(), client.run_on_scheduler(cpu), time.perf_counter()
        if way == "all at once":
            submit_all(client, workspace, work)
        else:
            scheduler_engine.run(lambda: client, workspace, work, quiet, "units")
        wall = time.perf_counter() - start
        found = {
            "runner_ms": (cpu() - before) / count * 1000,
            "scheduler_ms": (client.run_on_scheduler(cpu) - scheduler) / count * 1000,
            "overhead_ms": wall / count * 1000 * workers - milliseconds,
            "wall_s": wall,
            "runner_mib": peak(),
            "planned_mib": planned,
            "scheduler_mib": client.run_on_scheduler(peak),
        }
        start = time.perf_counter()
        if way != "all at once":
            scheduler_engine.run(lambda: client, workspace, work, quiet, "units")
        return found | {"rerun_s": time.perf_counter() - start}


def case(way: str, count: int, sizes: argparse.Namespace) -> dict[str, float]:
    """Measure a case in processes of its own."""
    with tempfile.TemporaryDirectory(dir=sizes.scratch) as folder:
        command = [sys.executable, __file__, "--case", way, "--units", str(count), "--workers", str(sizes.workers)]
        command += ["--milliseconds", str(sizes.milliseconds), "--scratch", folder]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def report(rows: Sequence[dict[str, Any]]) -> None:
    """Print median, least and greatest of each figure by way and number of units."""
    sys.stdout.write(f"{'way':12}{'units':>8}" + "".join(f"{name:>24}" for name in COLUMNS[3:]) + "\n")
    for way, count in dict.fromkeys((row["way"], row["units"]) for row in rows):
        alike = [row for row in rows if (row["way"], row["units"]) == (way, count)]
        line = f"{way:12}{count:8d}"
        for name in COLUMNS[3:]:
            values = [row[name] for row in alike]
            line += f"{f'{np.median(values):.3g} ({min(values):.3g}-{max(values):.3g})':>24}"
        sys.stdout.write(line + "\n")


def main() -> None:
    """Measure every way by turns, print the figures and write them as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--most-at-once", type=int, default=10_000, help="units that are submitted one by one at most")
    parser.add_argument("--milliseconds", type=float, default=1.0, help="that the work of a unit sleeps")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", help="folder for the markers; default: the system's")
    parser.add_argument("--csv", default="scheduling.csv")
    parser.add_argument("--case", choices=WAYS, help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.case:
        found = measure(sizes.case, sizes.units[0], sizes.workers, sizes.milliseconds, sizes.scratch)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    rows = []
    for repetition in range(sizes.rounds):
        for count in sizes.units:
            ways = WAYS if count <= sizes.most_at_once else WAYS[:1]
            rows += [{"way": way, "units": count, "repetition": repetition} | case(way, count, sizes) for way in ways]
    with Path(sizes.csv).open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    report(rows)


if __name__ == "__main__":
    import scheduling  # as workers know it, to whom `nap` is sent by its name

    scheduling.main()
