#!/usr/bin/env python
"""What grows with a run: the records of its units in a bucket, and its months.

Run as ``python benchmarks/growth.py``; ``--help`` lists the sizes. Two cases:

- `status`: a bucket of SeaweedFS, each of whose answers comes 20 ms later, holds the markers of the units of a nation's
  cube, of which one in a thousand has failed. Told are requests and seconds of one listing of them, requests, seconds
  and CPU seconds of `soilscale status`, and the seconds of its start alone (`soilscale --version`).
- `month`: a synthetic world runs for all months but the last, then for one more, with the months to learn from fixed
  and without, and everything anew. Told are units that were done, and CPU seconds of the command with its workers.

The CSV has one row for each figure: ``case``, ``way``, ``size``, ``figure``, ``value``.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from shutil import copytree
from typing import Any

import yaml

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import scheduling

from commands import edit, markers, small_world, sparse_world
from servers import faults
from servers.seaweed import seaweed
from soilscale import config, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import FAILED, Receipt, Task, Unit
from soilscale.stages.project import Project

LATENCY = 0.02
"""Seconds by which each answer of the store is delayed."""

COLUMNS = ("case", "way", "size", "figure", "value")
BUCKET = "maps"

Row = tuple[str, str, int, str, float]


def command(*words: object, **more: str) -> tuple[float, float]:
    """Seconds of wall and of CPU that a command takes, with all processes that it starts."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    program = Path(sys.executable).with_name("soilscale")
    # Forked workers are no children of the command, so that their time would not be counted.
    environment = os.environ | {"DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "spawn"} | more
    subprocess.run([program, *map(str, words)], check=True, capture_output=True, env=environment)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def nation(folder: Path, count: int) -> Path:
    """Configuration of a nation, with its frozen items and the markers of so many units of its cube in the bucket."""
    output = f"s3://{BUCKET}/{count}"
    path = folder / f"nation-{count}.yaml"
    path.write_text(yaml.safe_dump(scheduling.document(count) | {"output": output}), encoding="utf-8")
    settings = config.load(str(path))
    for source in settings.source_list:
        features = scheduling.items(source.name, settings.months)
        storage.write_json(Workspace(output).items(source.name), {"type": "FeatureCollection", "features": features})
    units = Project(settings, no_cluster, quiet).cube_units[:count]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda numbered: mark(output, *numbered), enumerate(units)))
    return path


def no_cluster() -> Any:
    """Fail: nothing is computed."""
    raise AssertionError("a plan needs no cluster")


def quiet(_doing: str, _done: int, _total: int | None) -> None:
    """Tell nothing."""


def mark(output: str, number: int, unit: Unit[Task]) -> None:
    """Write the marker that a worker would leave of a unit."""
    failed = number % 1000 == 0
    receipt = asdict(Receipt(unit.stage, unit.name, "failed" if failed else "done", "no file" if failed else "", 1.0))
    name = f"{unit.name}{FAILED}" if failed else unit.marker
    storage.write_json(Workspace(output).state(unit.stage, name), receipt)


def state(folder: Path, sizes: list[int]) -> Iterator[Row]:
    """The case of a bucket with many records."""
    with seaweed(folder / "weed") as server, faults.faulty(server.endpoint) as proxy:
        server.client().create_bucket(Bucket=BUCKET)
        os.environ.update(server.environment(proxy.url))
        faults.DELAY, proxy.kinds = LATENCY, ("delay",)
        for size in sizes:
            proxy.share = 0.0
            path = nation(folder, size)
            proxy.share = 1.0

            proxy.requests.clear()
            start = time.perf_counter()
            count = len(Workspace(f"s3://{BUCKET}/{size}").listed().records())
            yield "status", "soilscale", count, "listing_s", time.perf_counter() - start
            yield "status", "soilscale", count, "requests", proxy.requests.total()
            proxy.requests.clear()
            wall, cpu = command("status", path)
            yield "status", "soilscale", count, "status_s", wall
            yield "status", "soilscale", count, "status_cpu_s", cpu
            yield "status", "soilscale", count, "status_requests", proxy.requests.total()
            yield "status", "soilscale", count, "start_s", command("--version")[0]


def month(folder: Path, count: int) -> Iterator[Row]:
    """The case of a month more."""
    years = 2000 - 1, 2000 + count // 12
    config = small_world(folder / "months", 3, years)
    small = sparse_world(folder / "small")
    lean = ("sources", "seasons", "models")
    kept = yaml.safe_load(small.read_text(encoding="utf-8"))
    edit(config, **{name: kept[name] for name in lean}, models__ablation=False)
    last, more = f"{1999 + (count - 1) // 12}-{(count - 1) % 12 + 1:02d}", f"{1999 + count // 12}-{count % 12 + 1:02d}"
    short, long = (f"period=[1999-01, {end}]" for end in (last, more))
    fixed = f"training=[1999-01, {last}]"
    first = folder / "first"
    anew = command("run", config, "--output", first, "--workers", 1, "-o", short, "-o", fixed)
    before = markers(first / "state")
    yield "month", "anew", count, "units", len(before)
    yield "month", "anew", count, "cpu_s", anew[1]
    for way, options in (("fixed training", ("-o", fixed)), ("all months", ())):
        output = copytree(first, folder / way.replace(" ", "-"))
        taken = command("run", config, "--output", output, "--workers", 1, "-o", long, *options)
        now = markers(output / "state")
        yield "month", way, count + 1, "units", sum(before.get(name) != written for name, written in now.items())
        yield "month", way, count + 1, "cpu_s", taken[1]


def main() -> None:
    """Measure the cases, print the figures and write them as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=("status", "month"), default=("status", "month"))
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--months", type=int, default=36)
    parser.add_argument("--csv", default="growth.csv")
    sizes = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SOILSCALE_TESTS_SHARED"] = str(folder)
        if "status" in sizes.cases:
            rows += state(folder, sizes.records)
        if "month" in sizes.cases:
            rows += month(folder, sizes.months)
    with Path(sizes.csv).open("w", newline="", encoding="utf-8") as file:
        writer: Any = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    for case, way, size, figure, value in rows:
        sys.stdout.write(f"{case:8}{way:16}{size:>10,d}  {figure:18}{value:>10.4g}\n")


if __name__ == "__main__":
    main()
