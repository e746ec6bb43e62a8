#!/usr/bin/env python
"""What grows with a run: the records of its units in a bucket, and its months.

Run as ``python benchmarks/growth.py``; ``--help`` lists the sizes. Two cases:

- `status`: a bucket of SeaweedFS, each of whose answers comes 20 ms later, holds the records of so many units. Told are
  requests and seconds of one listing of them, and the seconds of `soilscale status`, which lists them, and of its
  start alone (`soilscale --version`).
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
from pathlib import Path
from shutil import copytree
from typing import Any

import yaml

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from commands import edit, markers, small_world, sparse_world
from servers import faults
from servers.seaweed import Seaweed, seaweed
from soilscale import storage

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


def records(server: Seaweed, count: int) -> None:
    """Write as many records as the units of a cube leave, in the folder of its stage."""
    client = server.client()

    def write(number: int) -> None:
        month, tile = divmod(number, 320)
        name = f"precipitation-{2000 + month // 12}-{month % 12 + 1:02d}_{tile:04d}.{number:016x}.json"
        client.put_object(Bucket=BUCKET, Key=f"run/state/cube/{name}", Body=b"{}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(count)))


def state(folder: Path, sizes: list[int]) -> Iterator[Row]:
    """The case of a bucket with many records."""
    config = sparse_world(folder / "world")
    with seaweed(folder / "weed") as server, faults.faulty(server.endpoint) as proxy:
        server.client().create_bucket(Bucket=BUCKET)
        variables = server.environment(proxy.url)
        os.environ.update(variables)
        command("search", config, "--output", f"s3://{BUCKET}/run")
        faults.DELAY, proxy.kinds, proxy.share = LATENCY, ("delay",), 1.0
        for size in sizes:
            proxy.share = 0.0
            records(server, size)
            proxy.share = 1.0

            proxy.requests.clear()
            start = time.perf_counter()
            held = len(storage.names_below(f"s3://{BUCKET}/run/state/cube"))
            yield "status", "soilscale", held, "listing_s", time.perf_counter() - start
            yield "status", "soilscale", held, "requests", proxy.requests.total()
            proxy.requests.clear()
            yield (
                "status",
                "soilscale",
                held,
                "status_s",
                command("status", config, "--output", f"s3://{BUCKET}/run")[0],
            )
            yield "status", "soilscale", held, "status_requests", proxy.requests.total()
            yield "status", "soilscale", held, "start_s", command("--version")[0]


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
