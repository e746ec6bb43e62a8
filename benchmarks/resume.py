#!/usr/bin/env python
"""What a run costs that goes on from what stands, beside one that begins anew, by turns, in one run.

Run as ``python benchmarks/resume.py``; ``--help`` lists the sizes. On a synthetic world the command runs once for the
months but the last; then the same command is given again, killed half way and given again, given with the last month,
and given with another parameter of the model. The rival of each is the same command on an empty output, as it would be
without markers.

Columns of the CSV: ``case``, ``repetition``, ``wall_s``, ``fresh_s`` (of the rival), ``share`` (of its time), ``units``
(of work there are) and ``redone`` (of them, by the command).
"""

from __future__ import annotations

import argparse
import csv
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import numpy as np

from soilscale import synthetic

COLUMNS = ("case", "repetition", "wall_s", "fresh_s", "share", "units", "redone")
MARKER = re.compile(r"\.[0-9a-f]{16}\.json$")
SHORT = ("-o", "period=[2004-01, 2004-11]", "-o", "models.ablation=false")
LONG = ("-o", "models.ablation=false")
OTHER = (*SHORT, "-o", "models.parameters.trend_forest.min_samples_leaf=4")

CASES: Mapping[str, tuple[str, ...]] = {
    "complete": SHORT,
    "killed half way": SHORT,
    "a month more": LONG,
    "another parameter": OTHER,
}
"""Case -> options of the command."""


def markers(output: Path) -> dict[str, int]:
    """When every marker of a complete unit was written, ns."""
    found = (path for path in (output / "state").rglob("*.json") if MARKER.search(path.name))
    return {str(path): path.stat().st_mtime_ns for path in found}


def command(world: Path, output: Path, options: tuple[str, ...]) -> list[str]:
    """The command as an operator gives it."""
    return [str(Path(sys.executable).with_name("soilscale")), "run", str(world), "--output", str(output), *options]


def timed(world: Path, output: Path, options: tuple[str, ...]) -> float:
    """Seconds of a command from start to end."""
    start = time.perf_counter()
    subprocess.run(command(world, output, options), check=True, capture_output=True)  # noqa: S603 - our own
    return time.perf_counter() - start


def kill(world: Path, output: Path, options: tuple[str, ...], after: int) -> None:
    """Start a command, and kill it with all its workers when so many units are complete."""
    how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "process_group": 0}
    with subprocess.Popen(command(world, output, options), **how) as process:  # type: ignore[call-overload]  # noqa: S603
        while len(markers(output)) < after:
            time.sleep(0.05)
        subprocess.run(["kill", f"-{signal.SIGKILL.value}", "--", f"-{process.pid}"], check=True)  # noqa: S603, S607


def measure(world: Path, scratch: Path, repetition: int) -> list[dict[str, Any]]:
    """Every case and its rival."""
    first, output = scratch / "first", scratch / "output"
    fresh = {SHORT: timed(world, output, SHORT)}
    output.rename(first)
    rows = []
    for case, options in CASES.items():
        if options not in fresh:
            rmtree(scratch / "rival", ignore_errors=True)
            fresh[options] = timed(world, scratch / "rival", options)
        rmtree(output, ignore_errors=True)
        if case == "killed half way":
            kill(world, output, options, len(markers(first)) // 2)
        else:
            copytree(first, output)
        before = markers(output)
        wall = timed(world, output, options)
        now = markers(output)
        redone = sum(before.get(name) != written for name, written in now.items())
        told = {"case": case, "repetition": repetition, "wall_s": wall, "fresh_s": fresh[options]}
        rows.append(told | {"share": wall / fresh[options], "units": len(now), "redone": redone})
    return rows


def main() -> None:
    """Measure every case, print the figures and write them as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=6, help="coarse cells along the side of the world, 12 at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", default="resume.csv")
    sizes = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        world = synthetic.write(Path(folder) / "world", years=(2004, 2004), cells=sizes.cells)
        for repetition in range(sizes.rounds):
            scratch = Path(folder) / f"round-{repetition}"
            scratch.mkdir()
            rows += measure(world, scratch, repetition)
    with Path(sizes.csv).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for case in CASES:
        alike = [row for row in rows if row["case"] == case]
        line = f"{case:18}"
        for name, unit in (("wall_s", "s"), ("fresh_s", "s anew"), ("share", "of it")):
            values = [row[name] for row in alike]
            line += f"{np.median(values):8.3g} {unit} ({min(values):.3g}-{max(values):.3g})"
        sys.stdout.write(f"{line}  {alike[0]['redone']} of {alike[0]['units']} units\n")


if __name__ == "__main__":
    main()
