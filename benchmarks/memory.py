#!/usr/bin/env python
"""What a worker and the runner need of memory as the area grows, and what each stage costs.

Run as ``python benchmarks/memory.py``; ``--help`` lists the sizes. The real stages run on synthetic worlds of 1, 4 and
16 tiles of the same size, each command in a process of its own with one worker of its own (search, cube and samples in
one together). The rival is the smallest world: a stage is independent of the area where the peak of the largest is
within a tenth of it. A tree draws fewer rows than the smallest world has, as by default it draws fewer than a nation
has; what the fits take of a nation's table is measured by `fits.py`.

Columns of the CSV: ``area`` (tiles), ``tile`` (coarse cells along its side), ``repetition``, ``stage`` (as in the names
of markers; ``report`` is the process of that command, ``runner-COMMAND`` that of the others), ``tasks``, ``peak_mib``
(greatest resident memory while a task of the stage ran), ``seconds`` (of processor time of all its tasks), ``read_mib``
and ``written_mib`` (by all its tasks, as the kernel counts); and what by `soilscale.estimate.workload` the stage asks
for: ``units``, ``work``, ``load_mib``, ``asked_read_mib`` and ``asked_written_mib``.

``--coefficients FILE`` writes what `soilscale plan` computes with. Those of the package are from the command that they
name.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import rasterio
import yaml
from distributed import Client, LocalCluster, Worker, WorkerPlugin
from rasterio.crs import CRS
from rasterio.transform import from_origin

from soilscale import clusters, config
from soilscale.engine.output import Workspace
from soilscale.estimate.assumptions import Outlook
from soilscale.estimate.workload import REPORT, demands
from soilscale.runs import commands as commands_runs
from soilscale.seasons import following
from soilscale.stages import plan
from soilscale.stages.project import Project

SIDE, RATIO = 0.25, 24
WEST, NORTH = 90.0, 45.0
MONTHS = ("2005-03", "2005-04", "2005-05")
COLUMNS = ("area", "tile", "repetition", "stage", "tasks", "peak_mib", "seconds", "read_mib", "written_mib",
           "units", "work", "load_mib", "asked_read_mib", "asked_written_mib")  # fmt: skip
COMMANDS = ("search,cube,samples", "train", "map", "report")
"""Commands, those of one process together."""
MOST_GROWTH = 1.1
"""Peak of the largest area as a multiple of that of the smallest, up to which a stage is independent of the area."""

ALIKE: Mapping[str, str] = {
    "ablation": "train",
    "judge": "predict",
    "within": "predict",
    "relate": "samples",
    "harmonise": "samples",
    "merge": "coarse",
}
"""Stages that these worlds do not have -> one that does alike work, whose rate stands for theirs."""

COUNTED = ("train", "importance", REPORT)
"""Stages whose load counts every byte that they hold, as `fits.py` has measured, so that their memory is it and a base.
"""

LEAST_SLOPE = 1.0
"""Least bytes of memory that a byte of a stage's load is taken to need."""

Field = np.ndarray[Any, np.dtype[np.floating]]


def smooth(x: Field, y: Field, phase: float) -> Field:
    """Waves from some tenths of a degree to some degrees, with noise, about 0, of standard deviation about 1."""
    waves = sum(np.sin(k * x + phase) * np.cos(k * y - phase) for k in (0.7, 2.1, 6.3, 19.0))
    noise = np.random.default_rng(int(1000 * phase)).standard_normal(np.broadcast_shapes(x.shape, y.shape))
    found: Field = waves / 2 + 0.3 * noise
    return found


def write(path: Path, pixel: float, corner: tuple[float, float], size: int, phase: float) -> None:
    """Write a square raster of int16, 1 of which is 0.001."""
    x = corner[0] + (np.arange(size)[None] + 0.5) * pixel
    y = corner[1] - (np.arange(size)[:, None] + 0.5) * pixel
    values = (1000 * (smooth(x, y, phase) + 5)).round().astype("int16")
    how = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "count": 1}
    place = {"crs": CRS.from_epsg(4326), "transform": from_origin(*corner, pixel, pixel), "nodata": -1}
    with rasterio.open(path, "w", height=size, width=size, dtype="int16", **how, **place) as file:
        file.write(values, 1)


def dates(name: str) -> Iterator[tuple[str, str]]:
    """First and last day of each date of a source."""
    if name == "elevation":
        yield "2000-02-11", "2000-02-21"
    for month in MONTHS if name != "elevation" else ():
        last = int(str(following(np.datetime64(month, "M")) - np.timedelta64(1, "D"))[-2:])
        starts = (1, 9, 17, 25) if name == "temperature" else (1,)
        for start, end in zip(starts, (*(start - 1 for start in starts[1:]), last), strict=True):
            yield f"{month}-{start:02d}", f"{month}-{end:02d}"


PIXELS: Mapping[str, float] = {
    "soil_moisture": SIDE,
    "precipitation": SIDE / 4,
    "temperature": SIDE / RATIO,
    "vegetation": SIDE / RATIO,
    "elevation": SIDE / RATIO / 2,
}
"""Source -> side of its pixels, degrees."""


def items(folder: Path, name: str, across: int, tile: int) -> Iterator[dict[str, Any]]:
    """Write the files of a source, one for each tile and date with a margin around it, and tell them as items."""
    pixel, margin = PIXELS[name], 2 * SIDE
    size = round((tile * SIDE + 2 * margin) / pixel)
    for number, (first, last) in enumerate(dates(name)):
        for row in range(across):
            for column in range(across):
                west, north = WEST + column * tile * SIDE - margin, NORTH - row * tile * SIDE + margin
                identifier = f"{name}-{first}-{row}-{column}"
                write(folder / f"{identifier}.tif", pixel, (west, north), size, number + len(name) / 10)
                east, south = west + size * pixel, north - size * pixel
                ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
                span = {"start_datetime": f"{first}T00:00:00Z", "end_datetime": f"{last}T23:59:59Z"}
                yield {
                    "type": "Feature",
                    "stac_version": "1.0.0",
                    "stac_extensions": [],
                    "id": identifier,
                    "collection": name,
                    "bbox": [west, south, east, north],
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                    "properties": {"datetime": None, **span},
                    "links": [],
                    "assets": {"data": {"href": f"{identifier}.tif"}},
                }


def world(
    folder: Path,
    area: int,
    tile: int,
    trees: int,
    algorithms: Sequence[str] = ("random_forest",),
    rows: int | None = None,
) -> Path:
    """Write a world of so many tiles, a square number, and its configuration."""
    across = round(area**0.5)
    found = [item for name in PIXELS for item in items(folder, name, across, tile)]
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": found}), encoding="utf-8")
    named = {"catalog": "own", "asset": "data", "scale": 0.001, "unit": "1"}
    sources: dict[str, Any] = {name: named | {"collection": name} for name in PIXELS}
    sources["soil_moisture"] |= {"role": "target", "scale": 0.00005, "unit": "m3 m-3"}
    sources["elevation"] |= {"derive": ["slope", "aspect"], "unit": "m"}
    extent = across * tile * SIDE
    forest = [name for name in algorithms if "forest" in name]
    content = {
        "name": f"area-{area}",
        "output": "run",
        "area": {"bbox": [WEST, NORTH - extent, WEST + extent, NORTH]},
        "grid": {"crs": "EPSG:4326", "coarse": SIDE, "ratio": RATIO, "tile": tile},
        "period": [MONTHS[0], MONTHS[-1]],
        "catalogs": {"own": {"url": "items.json"}},
        "sources": sources,
        "models": {
            "algorithms": list(algorithms),
            "parameters": {name: {"n_estimators": trees} | ({"max_samples": rows} if rows else {}) for name in forest},
            "ablation": False,
            "folds": 2,
        },
        "maps": {"algorithm": algorithms[0]},
    }
    path = folder / "world.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def peak() -> float:
    """Greatest resident memory of this process since `forget`, MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def forget() -> None:
    """Let the greatest resident memory of this process begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def traffic() -> tuple[int, int]:
    """Bytes that this process has read and written."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]), int(counts["wchar"])


class Meter(WorkerPlugin):
    """Measures each task of a worker of one thread by the stage that begins its key."""

    name = "meter"

    def setup(self, worker: Worker) -> None:
        """Begin."""
        self.found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.before, self.began = traffic(), time.process_time()
        worker.meter = self.found

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Begin with a task, and note what it took."""
        if finish == "executing" and start != "long-running":
            forget()
            self.before, self.began = traffic(), time.process_time()
        elif start in {"executing", "long-running"} and finish != "long-running":
            told, after = self.found[str(key).partition("-")[0]], traffic()
            told["tasks"] += 1
            told["seconds"] += time.process_time() - self.began
            told["peak_mib"] = max(told["peak_mib"], peak())
            told["read_mib"] += (after[0] - self.before[0]) / 2**20
            told["written_mib"] += (after[1] - self.before[1]) / 2**20


def quiet(_doing: str, _done: int, _total: int | None) -> None:
    """Tell nothing."""


def plain(dask_worker: Worker) -> dict[str, dict[str, float]]:
    """What a worker's meter found."""
    return {stage: dict(told) for stage, told in dask_worker.meter.items()}


def measure(commands: str, path: str) -> dict[str, dict[str, float]]:
    """Run commands with one worker, and tell what each stage and this process took."""
    settings = config.load(path, (), None)
    with (
        dask.config.set(clusters.LOCAL),
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(Meter())
        forget()
        before = traffic()
        began = time.process_time()
        for command in commands.split(","):
            work = commands_runs.make_maps if command == "map" else getattr(commands_runs, command)
            work(Project(settings, lambda: client, quiet))
        after, took = traffic(), time.process_time() - began
        found = {stage: told for worker in client.run(plain).values() for stage, told in worker.items()}
    moved = [(new - old) / 2**20 for new, old in zip(after, before, strict=True)]
    own = {"tasks": 1.0, "peak_mib": peak(), "read_mib": moved[0], "written_mib": moved[1], "seconds": took}
    return found | {commands if commands == REPORT else f"runner-{commands.partition(',')[0]}": own}


def asked(path: Path) -> dict[str, dict[str, float]]:
    """What every stage of a configuration asks for, once its items are frozen."""
    settings = config.load(str(path), (), None)
    workspace = Workspace(settings.output)
    scenes = {source.name: plan.frozen(settings, workspace, source) for source in settings.source_list}
    return {
        demand.stage: {
            "units": demand.units,
            "work": demand.work,
            "load_mib": demand.load / 2**20,
            "asked_read_mib": demand.read / 2**20,
            "asked_written_mib": demand.written / 2**20,
        }
        for demand in demands(Outlook(settings, scenes))
    }


def case(folder: Path, area: int, repetition: int, tile: int, sizes: argparse.Namespace) -> list[dict[str, Any]]:
    """Make a world and run the commands on it, each in a process of its own."""
    folder.mkdir()
    path, rows = world(folder, area, tile, sizes.trees, rows=sizes.rows), []
    for command in sizes.commands:
        told = subprocess.run(  # noqa: S603 - this file
            [sys.executable, __file__, "--case", command, str(path)], check=True, stdout=subprocess.PIPE, text=True
        )
        for stage, figures in json.loads(told.stdout.splitlines()[-1]).items():
            rows.append({"area": area, "tile": tile, "repetition": repetition, "stage": stage} | figures)
    needs = asked(path)
    return [row | needs.get(row["stage"], {}) for row in rows if row["stage"] in needs or "runner" in row["stage"]]


def coefficients(rows: Sequence[dict[str, Any]], command: str) -> dict[str, Any]:
    """Rates of the stages, as `soilscale.estimate.resources` reads them.

    Time and bytes are those of all cases over what they asked for, beyond what the cheapest unit takes. Memory is a
    line that no case lies above.
    """
    unit = min(row["seconds"] / row["units"] for row in rows if "load_mib" in row and row["units"] > 1)
    stages: dict[str, dict[str, float]] = {}
    for stage in dict.fromkeys(row["stage"] for row in rows if "load_mib" in row):
        alike = [row for row in rows if row["stage"] == stage]
        total = {name: sum(row[name] for row in alike) for name in COLUMNS[4:]}
        load, peaks = (np.array([row[name] for row in alike]) for name in ("load_mib", "peak_mib"))
        slope = LEAST_SLOPE
        if np.ptp(load) > 1 and stage not in COUNTED:
            slope = max(slope, float(np.polyfit(load, peaks, 1)[0]))
        beyond = max(total["seconds"] - total["units"] * unit, 0.0)
        stages[stage] = {
            "base": float(np.max(peaks - slope * load).round()) * 2**20,
            "memory": round(slope, 3),
            "seconds": float(f"{beyond / total['work']:.3g}") if total["work"] else 0.0,
            "read": _ratio(total["read_mib"], total["asked_read_mib"]),
            "written": _ratio(total["written_mib"], total["asked_written_mib"]),
        }
    stages |= {name: stages[like] for name, like in ALIKE.items()}
    most = 0.0
    for stage, rate in stages.items():  # a worker keeps what the stages before have imported
        if stage != REPORT:
            most = rate["base"] = max(most, rate["base"])
    process = max(row["peak_mib"] for row in rows if "runner" in row["stage"]) * 2**20
    return {"machine": machine(), "command": command, "unit": round(unit, 4), "process": process, "stages": stages}


def _ratio(measured: float, told: float) -> float:
    """Bytes measured over bytes asked for, MiB; 1 where so few are asked for that metadata outweigh them."""
    return float(f"{measured / told:.3g}") if told > 1 else 1.0


def _told(words: Sequence[str]) -> list[str]:
    """Arguments of the command without those that name files."""
    found, skip = [], False
    for word in words:
        if not skip and not word.startswith(("--scratch", "--csv", "--coefficients")):
            found.append(word)
        skip = word in {"--scratch", "--csv", "--coefficients"}
    return found


def report(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Print the median peak, and its spread, by stage and area; returns the stages that grow."""
    areas = sorted({row["area"] for row in rows})
    sys.stdout.write(f"{'stage':16}" + "".join(f"{f'{area} tiles':>24}" for area in areas) + "   grows by\n")
    grown = []
    alike = [row for row in rows if row["tile"] == rows[0]["tile"]]
    for stage in dict.fromkeys(row["stage"] for row in alike):
        line, medians = f"{stage:16}", []
        for area in areas:
            values = [row["peak_mib"] for row in alike if (row["stage"], row["area"]) == (stage, area)]
            medians.append(float(np.median(values)) if values else np.nan)
            line += f"{f'{medians[-1]:.0f} ({min(values):.0f}-{max(values):.0f}) MiB' if values else '-':>24}"
        ratio = medians[-1] / medians[0]
        sys.stdout.write(f"{line}   {ratio:.2f}\n")
        grown += [stage] if ratio > MOST_GROWTH else []
    return grown


def machine() -> str:
    """Processor, cores and memory, in words."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def save(rows: Sequence[dict[str, Any]], sizes: argparse.Namespace) -> None:
    """Write what has been measured so far."""
    with Path(sizes.csv).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    if sizes.coefficients:
        command = " ".join(["python benchmarks/memory.py", *_told(sys.argv[1:])])
        text = json.dumps(coefficients(rows, command), indent=2) + "\n"
        Path(sizes.coefficients).write_text(text, encoding="utf-8")


def main() -> None:
    """Measure every area, print the peaks and write all figures as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", type=int, nargs="+", default=[1, 4, 16], help="tiles, square numbers")
    parser.add_argument(
        "--tile",
        type=int,
        nargs="+",
        default=[16],
        help=f"coarse cells of {RATIO} x {RATIO} along a tile's side; those after the first with one tile alone",
    )
    parser.add_argument("--trees", type=int, default=50)
    parser.add_argument("--rows", type=int, default=300, help="most rows that a tree draws")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS, help="those to measure, in order")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--scratch", help="folder for the worlds; default: the system's")
    parser.add_argument("--csv", default="memory.csv")
    parser.add_argument("--coefficients", help="file for the rates that `soilscale plan` computes with")
    parser.add_argument("--case", nargs=2, metavar=("COMMAND", "CONFIG"), help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.case:
        sys.stdout.write(json.dumps(measure(*sizes.case)) + "\n")
        return
    rows: list[dict[str, Any]] = []
    cases = {*((area, sizes.tile[0]) for area in sizes.areas), *((1, tile) for tile in sizes.tile)}
    for repetition in range(sizes.rounds):
        for area, tile in sorted(cases, key=lambda case: (case[0] * case[1] ** 2, case)):
            with tempfile.TemporaryDirectory(dir=sizes.scratch) as folder:
                rows += case(Path(folder) / "world", area, repetition, tile, sizes)
            save(rows, sizes)
    grown = report(rows)
    sys.stdout.write(f"{machine()}; grow with the area: {', '.join(grown) or 'none'}\n")


if __name__ == "__main__":
    main()
