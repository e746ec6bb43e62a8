"""Algorithms that do not make the maps, beside the truth and the stations: as if they had made them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from commands import redone, times
from finished import material, opened, two_algorithms
from soilscale import kernels, storage
from soilscale.engine.units import Unit
from soilscale.runs.status import status
from soilscale.stages import evaluation
from soilscale.stages.mapping import choose, map_units
from soilscale.stages.project import Project
from soilscale.stages.report_inputs import Material
from soilscale.tasks import algorithm_maps
from soilscale.tasks.algorithm_maps import Entry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world() -> Path:
    return two_algorithms()


@pytest.fixture(scope="module")
def first(world: Path) -> Material:
    return opened(world)


@pytest.fixture
def again(first: Material, world: Path, tmp_path: Path) -> Callable[[str], Material]:
    """Let another algorithm make the maps, on a copy of the products."""
    output = shutil.copytree(first.run.config.output, tmp_path / "run")
    return lambda algorithm: material(world, f"maps.algorithm={algorithm}", f"output={output}")


@pytest.fixture(scope="module")
def baselines(first: Material) -> pd.DataFrame:
    return pd.read_csv(first.run.workspace.report("baselines.csv"))


def units_of(made: Material) -> list[Unit[algorithm_maps.JudgeMap]]:
    return evaluation.judge_units(made, map_units(made.run).conserve)


def test_every_algorithm_stands_beside_every_reference(baselines: pd.DataFrame) -> None:
    methods = baselines.groupby("reference")["method"].agg(set)
    assert set(methods.index) == {"truth", "stations", "upscaled"}
    for found in methods:
        assert found == {"nearest", "bilinear", "random_forest", "knn"}
    assert baselines.groupby(["reference", "method", "season", "metric"]).size().eq(1).all()


def test_an_algorithm_scores_as_if_it_had_made_the_maps(
    baselines: pd.DataFrame, again: Callable[[str], Material]
) -> None:
    """Judged in the one run and making the maps in the other, each algorithm has the same figures in both."""
    other = again("knn")
    keys = ["reference", "method", "season", "metric"]
    table = pd.read_csv(other.run.workspace.report("baselines.csv"))
    both = baselines.merge(table, on=keys, how="outer", suffixes=("", "_again"))
    assert len(both) == len(baselines) == len(table)
    np.testing.assert_allclose(both["value"], both["value_again"], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("truth", [True, False])
def test_a_judged_map_is_the_map_where_it_counts(first: Material, truth: bool) -> None:
    """Also if only the surroundings of the stations are predicted."""
    run = first.run
    task = units_of(first)[4].task
    entry = task.entry
    own = choose(run)[run.config.season_scheme.name(np.datetime64(entry.month))]
    one = (entry.stations[0],)
    asked: Entry = replace(entry, model=own, stations=one, truth=entry.truth if truth else None)
    replace(task, entry=replace(asked, algorithm="again")).run(run.workspace)
    url = run.workspace.state(algorithm_maps.JUDGE, f"again-{entry.month}.told.json")
    told = storage.read_json(url)
    storage.remove(url)
    here = storage.open_group(run.workspace.maps, "month")["soil_moisture"].isel(time=task.slot.index).to_numpy()
    assert told["stations"] == [pytest.approx(float(here[one[0]]), abs=1e-6)]
    assert ("truth" in told) == truth


def test_only_what_a_station_depends_on_is_predicted() -> None:
    cells = algorithm_maps.around([(0, 0), (100, 79)], (12, 20), 10)
    rows, columns = np.nonzero(cells)
    assert cells[:6, :6].all()
    assert cells[5:12, 2:13].all()
    assert cells.sum() == 6 * 6 + 7 * 11 - 4  # the two share row 5, columns 2 to 5
    assert (rows.max(), columns.max()) == (11, 12)
    assert not algorithm_maps.around([], (12, 20), 10).any()


def test_a_station_depends_on_no_more() -> None:
    """A residual just out of reach does not change the value at a station, one just within does."""
    generator = np.random.default_rng(0)
    residual = generator.normal(size=(13, 13))
    residual[6, 6 : 6 + algorithm_maps.REACH] = np.nan  # over unobserved land a residual reaches farthest
    for away, changes in ((algorithm_maps.REACH, True), (algorithm_maps.REACH + 1, False)):
        other = residual.copy()
        other[6, 6 + away] = np.nan
        values = [kernels.conserve(np.zeros((52, 52)), field, 4, -9, 9)[0] for field in (residual, other)]
        assert np.array_equal(*(field[24:28, 24:28] for field in values)) != changes


def test_status_knows_the_stage(first: Material) -> None:
    stage = next(stage for stage in status(first.run.config).stages if stage.name == algorithm_maps.JUDGE)
    assert stage.done == stage.total == len(units_of(first))
    assert stage.failed == 0


def test_best_has_each_algorithm_too(again: Callable[[str], Material]) -> None:
    """Where seasons differ, ``best`` is the maps, and each algorithm has all seasons of its own."""
    made = again("best")
    table = pd.read_csv(made.run.workspace.report("truth.csv"))
    makers = set(made.algorithm.values())
    own = {"best"} if len(makers) > 1 else set()
    assert set(table["method"]) == {"nearest", "bilinear", "random_forest", "knn"} | own
    values = table[table["metric"] == "rmse"].pivot_table(index="season", columns="method", values="value")
    for season, algorithm in made.algorithm.items():
        if own and season in values.index:
            assert values.loc[season, "best"] == pytest.approx(values.loc[season, algorithm], rel=1e-6)


def test_an_output_that_was_moved_is_complete(first: Material, world: Path, tmp_path: Path) -> None:
    """Digests of units know no place but those that lie in the output."""
    moved = shutil.copytree(first.run.config.output, tmp_path / "moved")
    before = times(moved)
    material(world, f"output={moved}")
    assert {name for name in redone(before, moved) if not name.startswith("state/lease/")} == {"run.yaml"}


def test_nothing_to_judge_by_makes_no_units(first: Material) -> None:
    settings = first.run.config
    blind = settings.model_copy(
        update={"validation": settings.validation.model_copy(update={"truth": None, "stations": None})}
    )
    without = Project(blind, first.run.connect, first.run.progress)
    assert not evaluation.can_judge(without)
    assert evaluation.judge_units(Material(without), map_units(first.run).conserve) == []
