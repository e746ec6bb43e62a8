"""The benchmarks run, and write the tables that the page of performance is made from."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT

pytestmark = pytest.mark.slow


SMALL = {
    "scheduling": ["--units", "60", "--most-at-once", "0", "--rounds", "1"],
    "cube": ["--cells", "4", "--months", "1", "--rounds", "1", "--sources", "ndvi"],
}
"""Benchmark -> options by which it takes seconds; memory's own test is with the sizes that it measures."""


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_writes_a_table_with_the_columns_of_its_results(name: str, tmp_path: Path) -> None:
    table = tmp_path / f"{name}.csv"
    command = [sys.executable, "-W", "ignore", ROOT / "benchmarks" / f"{name}.py", *SMALL[name], "--csv", table]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    kept = ROOT / "benchmarks" / "results" / f"{name}.csv"
    made, stands = (list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in (table, kept))
    assert made[0].keys() == stands[0].keys()
    assert {"soilscale"} <= {row["way"] for row in made} <= {row["way"] for row in stands}
    assert all(value != "nan" for row in made for value in row.values())


def test_the_benchmark_of_accuracy_tells_what_areas_teach_beyond_interpolation(tmp_path: Path) -> None:
    made = tmp_path / "accuracy.csv"
    options = ["--kinds", "linear", "--seeds", "1", "--cells", "5", "--methods", "bilinear", "gaussian_process"]
    command = [sys.executable, "-W", "ignore", ROOT / "benchmarks" / "accuracy.py", *options, "--csv", made]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    bilinear, areal = csv.DictReader(made.read_text(encoding="utf-8").splitlines())
    kept = ROOT / "benchmarks" / "results" / "accuracy.csv"
    assert list(bilinear) == kept.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert float(bilinear["share"]) == 1
    assert float(areal["share"]) < 0.7
    assert 0.75 < float(areal["coverage"]) <= 1


def test_the_page_of_accuracy_holds_the_results() -> None:
    benchmark = ROOT / "benchmarks" / "accuracy.py"
    results = ROOT / "benchmarks" / "results" / "accuracy.csv"
    command = [sys.executable, "-W", "ignore", benchmark, "--tell", results]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    assert shown in (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
