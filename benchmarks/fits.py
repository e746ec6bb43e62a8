#!/usr/bin/env python
"""What fits take of memory and time for the table of a nation, each in a process of its own as a worker is.

Run as ``python benchmarks/fits.py``; ``--help`` lists the sizes. The table is made up: nine features, a row for every
cell and month. The rival is the smaller table: a tree draws 20,000 rows at most, so that a fit of a larger one grows by
its rows alone, and not by its model.

Columns of the CSV: ``rows`` (of the season; of the comprehensive model the whole table's are four times as many),
``fit`` (job, or what follows it), ``start_mib`` (resident memory before), ``peak_mib`` and ``cpu_s``.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from memory import peak

from soilscale.engine.output import Workspace
from soilscale.models import Job, selection
from soilscale.samples import SHARE
from soilscale.seasons import ALL
from soilscale.storage import tables
from soilscale.tasks import model_factors, single_fits

FEATURES = tuple("abcdefghi")
UNITS = dict.fromkeys(FEATURES, "1")
SEASONS = ("winter", "spring", "summer", "autumn")
SEASON, WIDTH = "summer", 144
COLUMNS = ("rows", "fit", "start_mib", "peak_mib", "cpu_s")
HEAP = {"MALLOC_TRIM_THRESHOLD_": str(32 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(16 * 2**20)}
"""What a worker's memory is kept by."""


def part(cells: int, year: int) -> pd.DataFrame:
    """Rows of a year."""
    rng = np.random.default_rng(year)
    month, cell = np.repeat(np.arange(12), cells), np.tile(np.arange(cells), 12)
    row, column = np.divmod(cell, WIDTH)
    values = rng.random((len(cell), len(FEATURES)), dtype=np.float32)
    y = (
        0.2
        + 0.1 * np.sin(6 * values[:, 0]) * values[:, 1]
        + 0.1 * values[:, 2] ** 2
        + 0.03 * rng.standard_normal(len(cell))
    )
    block = [f"r{i:02d}c{j:02d}-{year}" for i, j in zip((row // 8).tolist(), (column // 8).tolist(), strict=True)]
    keys = {
        "time": (np.datetime64(f"{year}-01", "M") + month).astype("datetime64[ns]"),
        "season": np.array(SEASONS, object)[month // 3],
        "y": -25e3 * row,
        "x": 25e3 * column,
        "block": np.array(block, object),
        "split": np.where(rng.random(len(cell)) < SHARE, "train", "validation").astype(object),
    }
    columns = {name: values[:, i] for i, name in enumerate(FEATURES)} | {"soil_moisture": y.astype("float32")}
    return pd.DataFrame(keys | columns)


def write(workspace: Workspace, cells: int, years: int) -> None:
    """Write the training table."""
    names = [workspace.state("samples", f"{2002 + year}.parquet") for year in range(years)]
    for year, name in enumerate(names):
        tables.write_table(name, part(cells, 2002 + year))
    tables.put_together(names, workspace.samples)


def fits(workspace: Workspace, trees: int) -> Mapping[str, Callable[[], object]]:
    """What is measured, in an order in which each finds the models that it needs."""
    options = {"parameters": {"n_estimators": trees}, "seed": 0, "folds": 5}
    season = Job(SEASON, "random_forest", "seasonal", "random", None)
    whole = Job(ALL, "random_forest", "comprehensive", "random", None)
    jobs = (season, Job(SEASON, "random_forest", "seasonal", "blocked", 1), whole)
    factors = {name: name for name in FEATURES}
    task = selection.Setup(SEASON, "random_forest", options["parameters"], 0)
    return {
        **{
            job.name: partial(single_fits.FitSingle(job=job, features=FEATURES, units=UNITS, **options).run, workspace)
            for job in jobs
        },
        "ablation": partial(
            model_factors.LeaveOut(name="without", groups=factors, left_out=FEATURES[0], task=task).run, workspace
        ),
        "importance": partial(
            model_factors.MeasureImportance(job=season, features=FEATURES, groups=factors, **options).run, workspace
        ),
    }


def measure(folder: str, name: str, trees: int) -> dict[str, float]:
    """Do one of `fits` in this process."""
    importlib.import_module("distributed")  # as in a worker
    began, start = time.process_time(), peak()
    fits(Workspace(folder), trees)[name]()
    return {"start_mib": round(start), "peak_mib": round(peak()), "cpu_s": round(time.process_time() - began, 1)}


def main() -> None:
    """Measure every fit on every table and write all figures as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[2160, 8640, 34560], help="coarse cells of the area")
    parser.add_argument("--years", type=int, default=16)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--only", nargs="*", help="beginnings of the names of fits; default: every one")
    parser.add_argument("--scratch", help="folder for the tables; default: the system's")
    parser.add_argument("--csv", default="fits.csv")
    parser.add_argument("--case", nargs=2, metavar=("FOLDER", "FIT"), help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.case:
        sys.stdout.write(json.dumps(measure(*sizes.case, sizes.trees)) + "\n")
        return
    rows = []
    for cells in sizes.cells:
        with tempfile.TemporaryDirectory(dir=sizes.scratch) as folder:
            write(Workspace(folder), cells, sizes.years)
            for name in fits(Workspace(folder), sizes.trees):
                if sizes.only and not name.startswith(tuple(sizes.only)):
                    continue
                command = [sys.executable, __file__, "--trees", str(sizes.trees), "--case", folder, name]
                how = {"check": True, "stdout": subprocess.PIPE, "text": True, "env": os.environ | HEAP}
                done = subprocess.run(command, **how)  # noqa: S603, PLW1510 - this file
                rows.append({"rows": cells * 3 * sizes.years, "fit": name} | json.loads(done.stdout.splitlines()[-1]))
                sys.stdout.write(f"{rows[-1]}\n")
                with Path(sizes.csv).open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    writer.writeheader()
                    writer.writerows(rows)


if __name__ == "__main__":
    main()
