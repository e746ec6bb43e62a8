"""The stack: weights of its members, scores that their own observation has no part in, and maps by stored members."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster

from commands import edit, sparse_world, times
from soilscale import config, models, storage
from soilscale.errors import ConfigurationError
from soilscale.models import stack
from soilscale.models.stack import Stack
from soilscale.stages import cube, mapping, samples, search, training
from soilscale.stages.mapping import choose
from soilscale.stages.project import Project
from soilscale.tasks import model_store, single_fits

MEMBERS = ("gaussian_process", "trend_forest", "xgboost")
LOCAL: Mapping[str, Any] = {"n_workers": 1, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


def predicted(seed: int = 0) -> dict[str, pd.DataFrame]:
    """What two members made of 40 cells in 6 months: every row in one of 4 folds, a third in the random split too."""
    rng = np.random.default_rng(seed)
    months = np.arange("2004-01", 6, dtype="datetime64[M]").astype("datetime64[ns]")
    rows = pd.MultiIndex.from_product([months, range(40)], names=["time", "x"]).to_frame(index=False)
    rows = rows.assign(y=0.0, season=np.where(rows["time"].dt.month < 4, "cold", "warm"))
    rows["observed"] = rng.normal(0.25, 0.05, len(rows)).astype("float32")
    rows["fold"] = rng.integers(0, 4, len(rows))
    random = rows[rng.random(len(rows)) < 1 / 3].assign(fold=-1)
    both = pd.concat([rows.assign(split="blocked"), random.assign(split="random")], ignore_index=True)
    whole = pd.concat([both.assign(model="seasonal"), both.assign(model="comprehensive")], ignore_index=True)
    noise = {"good": 0.01, "poor": 0.04}
    return {
        name: whole.assign(algorithm=name, predicted=whole["observed"] + rng.normal(0, level, len(whole)))
        for name, level in noise.items()
    }


def judged(parts: Mapping[str, pd.DataFrame], weights: str) -> stack.Judged:
    return stack.judge(stack.together(parts), list(parts), "stack", ["cold", "warm"], weights)


def test_weights_are_equal_or_those_of_least_squares_without_negative_ones() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(0.1, 0.4, (60, 3))
    y = 0.7 * X[:, 0] + 0.3 * X[:, 2]
    assert Stack().fit(X, y).weights_.tolist() == [1 / 3] * 3
    found = Stack(weights="nested").fit(X, y)
    np.testing.assert_allclose(found.weights_, [0.7, 0, 0.3], atol=1e-9)
    np.testing.assert_allclose(found.predict(X), y)
    worse = Stack(weights="nested").fit(X, 0.8 * X[:, 0] - 0.1 * X[:, 1] + 0.3 * X[:, 2])
    assert worse.weights_.min() == 0
    assert worse.weights_.sum() == pytest.approx(1)
    assert Stack(weights="nested").fit(X[:29], y[:29]).weights_.tolist() == [1 / 3] * 3


def test_a_mean_of_two_is_scored_on_every_row_of_each_split() -> None:
    parts = predicted()
    found = judged(parts, "equal").predictions
    assert list(found) == list(models.PREDICTIONS)
    assert set(found["algorithm"]) == {"stack"}
    keys = list(stack.KEYS)
    both = found.merge(parts["good"], on=keys, suffixes=("", "_good")).merge(parts["poor"], on=keys)
    assert len(both) == len(found) == len(parts["good"])
    np.testing.assert_allclose(both["predicted_x"], (both["predicted_good"] + both["predicted_y"]) / 2, atol=1e-7)


def test_a_row_that_a_member_lacks_is_left_out() -> None:
    parts = predicted()
    parts["poor"] = parts["poor"].iloc[5:]
    assert len(stack.together(parts)) == len(parts["good"]) - 5


def test_weights_found_by_errors_prefer_the_better_member() -> None:
    found = judged(predicted(), "nested")
    for season in ("cold", "warm", "all"):
        assert found.stacks[season].weights_[0] > 0.85
    error = found.predictions.assign(error=lambda rows: (rows["predicted"] - rows["observed"]) ** 2)["error"].mean()
    equal = judged(predicted(), "equal").predictions
    assert error < 0.5 * ((equal["predicted"] - equal["observed"]) ** 2).mean()


@pytest.mark.parametrize("split", ["blocked", "random"])
def test_what_a_held_out_row_observes_does_not_reach_its_prediction(split: str) -> None:
    """Rows of a fold, or of the random split, observe something else; the others' weights feel it, theirs do not."""
    before, parts = judged(predicted(), "nested").predictions, predicted()
    one = parts["good"]
    chosen = one[one["fold"] == (2 if split == "blocked" else -1)]
    changed = pd.MultiIndex.from_frame(chosen[["time", "y", "x"]])
    for table in parts.values():
        rows = pd.MultiIndex.from_frame(table[["time", "y", "x"]]).isin(changed)
        table.loc[rows, "observed"] = 0.5 - table.loc[rows, "observed"]
    after = judged(parts, "nested").predictions
    here = pd.MultiIndex.from_frame(after[["time", "y", "x"]]).isin(changed) & (after["split"] == split).to_numpy()
    assert here.sum() == len(chosen)
    np.testing.assert_array_equal(after["predicted"][here], before["predicted"][here])
    assert (after["predicted"][~here] != before["predicted"][~here]).any()


def test_a_blend_gives_each_member_its_columns_and_its_weight() -> None:
    X = np.random.default_rng(0).random((50, 3))
    first = models.find("knn").make({}, 2, 0).fit(X[:, :2], X[:, 0])
    second = models.find("xgboost").make({"n_estimators": 5}, 1, 0).fit(X[:, 2:], X[:, 2])
    blend = models.Blend([(first, np.array([0, 1]), 0.75), (second, np.array([2]), 0.25)])
    expected = 0.75 * first.predict(X[:, :2]) + 0.25 * second.predict(X[:, 2:])
    np.testing.assert_allclose(models.predict(blend, X.astype("float32")), expected, rtol=1e-5)
    assert models.surface(blend, np.array(["2004-01"], "datetime64[M]"), X[:, 0], X[:, 1]) is None


def test_members_are_trained_beside_a_stack_and_named_once() -> None:
    assert models.with_members(["knn", "stack"]) == ("knn", *MEMBERS, "stack")
    assert models.with_members(["stack", "xgboost"]) == ("gaussian_process", "trend_forest", "stack", "xgboost")
    assert models.with_members(["forst"]) == ("forst",)
    assert not [job for job in models.jobs(["summer"], ["stack"]) if job.algorithm == "stack"]


def test_weights_of_another_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"models\.parameters\.stack: The 'weights' parameter of"):
        models.find("stack").make({"weights": "best"}, 3, 0)


# A run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world whose maps are made by a stack."""
    path = sparse_world(tmp_path_factory.mktemp("stack"))
    few = {"n_estimators": 5}
    parameters = {"trend_forest": few, "xgboost": few, "gaussian_process": {"rows": 60, "iterations": 5}}
    edit(path, models={"algorithms": ["stack"], "parameters": parameters, "folds": 2, "ablation": False})
    edit(path, maps={"algorithm": "stack", "every": ["month"]})
    return path


def made(world: Path, *overrides: str) -> Project:
    """The world's maps, made in this process."""
    with (
        LocalCluster(processes=False, threads_per_worker=1, **LOCAL) as one,
        Client(one, set_as_default=False) as client,
    ):
        run = Project(config.load(str(world), overrides), lambda: client, lambda *_: None)
        for stage in (search.search, cube.fill_cube, samples.draw_samples, training.train):
            stage(run)
        mapping.draw_maps(run)
    return run


@pytest.fixture(scope="module")
def run(world: Path) -> Project:
    return made(world)


@pytest.mark.slow
def test_maps_are_the_mean_of_what_the_stored_members_predict(run: Project) -> None:
    chosen = choose(run)
    season = run.config.season_scheme.name(run.plan.months[0])
    model = chosen[season]
    assert model.algorithm == "stack"
    fine = storage.open_group(run.workspace.cube, "fine")
    features = [fine[name] if "time" not in fine[name].dims else fine[name].isel(time=0) for name in run.features]
    X = np.stack([feature.to_numpy().ravel() for feature in features], axis=1).astype("float32")
    place = fine["y"].to_numpy(), fine["x"].to_numpy()
    total = np.zeros(len(X))
    known = np.isfinite(X).all(axis=1)
    for name in MEMBERS:
        member = model_store.estimator(run.workspace.model(model.season, name))
        total[known] += models.predict(member, X[known]) / 3
        surface = models.surface(member, run.plan.months[:1], *place)
        total += 0 if surface is None else surface.ravel() / 3
    mapped = storage.open_group(run.workspace.maps, "month")["prediction"].isel(time=0).to_numpy().ravel()
    there = np.isfinite(mapped) & known
    assert there.sum() > 100
    np.testing.assert_allclose(mapped[there], total[there], atol=1e-5)


@pytest.mark.slow
def test_a_stored_stack_names_its_members_and_holds_nothing_of_theirs(run: Project) -> None:
    folder = Path(run.workspace.model("all", "stack"))
    assert {file.name for file in folder.iterdir()} == {"model.json", "members.json"}
    told = json.loads((folder / "model.json").read_text())
    assert told["members"] == dict.fromkeys(MEMBERS, pytest.approx(1 / 3))
    assert told["parameters"] == {"weights": "equal"}
    splits = {(row["split"], row["metric"]) for row in told["accuracy"]}
    assert {("random", "rmse"), ("blocked", "rmse")} <= splits
    scores = single_fits.blocked_errors(run.workspace.predictions)
    assert all(set(own) == {*MEMBERS, "stack"} for own in scores.values())


@pytest.mark.slow
def test_other_weights_leave_the_members_as_they_are(run: Project, world: Path) -> None:
    before = times(Path(run.workspace.output))
    again = made(world, "models.parameters.stack.weights=nested")
    after = times(Path(run.workspace.output))
    for name in MEMBERS:
        stored = [file for file in before if f"/{name}/model.skops" in str(file)]
        assert stored
        assert all(after[file] == before[file] for file in stored)
    told = storage.read_json(again.workspace.model("all", "stack", "model.json"))
    assert sum(told["members"].values()) == pytest.approx(1)
    assert told["members"] != dict.fromkeys(MEMBERS, pytest.approx(1 / 3))
