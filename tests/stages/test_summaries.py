"""What the report is made of: summaries of tiles and months, held against the whole maps of a run by plain numpy."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.typing import NDArray

from soilscale import config, storage
from soilscale.engine.units import Unit
from soilscale.reports.scores import Moments, moments
from soilscale.reports.tables import field, method, representative
from soilscale.schema import APPLICABILITY, LOWER, MAP, QUALITY, UPPER, Quality
from soilscale.stages import map_summaries
from soilscale.stages.map_summaries import Summaries
from soilscale.stages.project import Project
from soilscale.stages.report_inputs import Material
from soilscale.tasks.map_summaries import SUMMARISE, SummariseTile
from soilscale.tasks.reference_data import on_grid, truth
from summing import season_rmse

pytestmark = pytest.mark.slow

STEP = 7
"""Rows and columns from one that is drawn to the next: no divisor of a tile's side."""


@pytest.fixture(scope="module")
def material(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Products of a run, in a folder of their own."""
    folder = tmp_path_factory.mktemp("summaries")
    shutil.copytree(undisturbed.parent, folder / "world")
    return Material(Project(config.load(str(folder / "world" / undisturbed.name)), pytest.fail, lambda *_: None))


@pytest.fixture(scope="module")
def maps(material: Material) -> xr.Dataset:
    """Whole monthly maps, and the truth."""
    months = storage.open_group(material.run.workspace.maps, "month").load()
    url = str(material.run.config.validation.truth)
    return months.assign(truth=on_grid(truth(url), months[MAP], url, material.run.plan.grid.crs).load())


@pytest.fixture(scope="module")
def summaries(material: Material, maps: xr.Dataset) -> Summaries:
    """Of tiles of one coarse cell, three and five months at a time, and every seventh cell drawn."""
    run = material.run
    grid = replace(run.plan.grid, tile=1)
    whole = material.summary_units[0].task
    cells = [cell for unit in material.summary_units for cell in unit.task.stations]
    assert whole.indices == tuple(range(maps.sizes["time"]))
    units = []
    for tile in grid.tiles():
        for first, last in ((0, 3), (3, 8), (8, 12)):
            name = f"part-{first}_{tile.name}"
            held = {part: getattr(whole, part)[first:last] for part in ("months", "indices", "seasons", "calendar")}
            pictured = tuple(index for index in whole.pictured if first <= index < last)
            stations = tuple(cell for cell in cells if map_summaries.holds(tile, cell))
            task = replace(
                whole, name=name, grid=grid, tile=tile, pictured=pictured, stations=stations, step=STEP, **held
            )
            units.append(Unit(SUMMARISE, name, "0" * 16, task))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("soilscale.stages.map_summaries.stride", lambda _shape: STEP)
        return _collected(material, units)


def _collected(material: Material, units: Sequence[Unit[SummariseTile]]) -> Summaries:
    workspace = material.run.workspace
    for unit in units:
        unit.task.run(workspace)
        storage.write_json(workspace.state(SUMMARISE, unit.marker), {})
    plan, seasons = material.run.plan, material.run.config.season_scheme
    return map_summaries.collect(workspace, plan.grid, plan.months, seasons, units, material.dates)


def of_month(array: xr.DataArray, index: int) -> NDArray[np.float64]:
    return array.isel(time=index).to_numpy().astype("float64")


def close(found: Moments, expected: Moments) -> None:
    np.testing.assert_allclose(found.row(), expected.row(), rtol=1e-9, atol=1e-9)


def test_moments_are_those_of_whole_maps(material: Material, maps: xr.Dataset, summaries: Summaries) -> None:
    ratio = material.run.plan.grid.ratio
    pairs, methods = summaries.moments(), {(month, name): part for month, name, part in summaries.truth()}
    for index, month in enumerate(material.run.plan.months):
        fine, known = of_month(maps[MAP], index), of_month(maps["truth"], index)
        nearest = field(material.observed, month).repeat(ratio, 0).repeat(ratio, 1)
        close(pairs[month], moments(nearest, fine))
        both = np.isfinite(nearest) & np.isfinite(fine) & np.isfinite(known)
        close(methods[month, "maps"], moments(known[both], fine[both]))
        close(methods[month, "nearest"], moments(known[both], nearest[both]))
        assert methods[month, "bilinear"].n == both.sum()


def test_counts_and_means_are_those_of_whole_maps(material: Material, maps: xr.Dataset, summaries: Summaries) -> None:
    flags = maps[QUALITY].to_numpy()
    total = np.sum(list(summaries.part("flags").values()), axis=0)
    bits = [((flags & bit) > 0).sum() for bit in Quality]
    assert total[-1] == (flags == Quality.FROZEN).sum()
    bits[list(Quality).index(Quality.FROZEN)] -= total[-1]
    assert total[:-1].tolist() == bits
    there = np.isfinite(maps[MAP].to_numpy())
    assert summaries.covered[1] == there.any(axis=0).sum()
    rows, columns = material.run.plan.grid.shape
    assert (
        summaries.covered[0]
        == there.any(axis=0).reshape(rows, -1, columns, there.shape[2] // columns).any(axis=(1, 3)).sum()
    )
    weight = np.cos(np.radians(maps["y"].to_numpy()))[:, None] * there
    for index, (found, total) in enumerate(summaries.part("area").values()):
        np.testing.assert_allclose(found, weight[index].sum(), rtol=1e-9)
        np.testing.assert_allclose(total, np.nansum(weight[index] * of_month(maps[MAP], index)), rtol=1e-9)


def test_anomalies_and_widths_are_drawn_of_whole_maps(
    material: Material, maps: xr.Dataset, summaries: Summaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year has each calendar month once, so no month is unusual; with one year enough, each differs by nothing."""
    dates = sorted(material.dates)
    at = [list(material.run.plan.months).index(date) for date in dates]
    width = (maps[UPPER] - maps[LOWER]).to_numpy()[at][:, ::STEP, ::STEP]
    np.testing.assert_allclose(summaries.widths, width, rtol=1e-6)
    assert np.isnan(summaries.anomalies).all()
    monkeypatch.setattr(map_summaries, "MIN_YEARS", 1)
    monkeypatch.setattr(map_summaries, "stride", lambda _shape: STEP)
    run, whole = material.run, material.summary_units[0].task
    unit = Unit(SUMMARISE, "whole", "1" * 16, replace(whole, name="whole", step=STEP))
    unit.task.run(run.workspace)
    storage.write_json(run.workspace.state(SUMMARISE, unit.marker), {})
    plan, seasons = run.plan, run.config.season_scheme
    there = map_summaries.collect(run.workspace, plan.grid, plan.months, seasons, [unit], material.dates)
    assert np.isfinite(there.anomalies).any()
    np.testing.assert_allclose(there.anomalies.to_numpy()[np.isfinite(there.anomalies)], 0, atol=1e-7)


def test_intervals_and_applicability_are_those_of_whole_maps(maps: xr.Dataset, summaries: Summaries) -> None:
    counts, shares, errors = (summaries.part(name) for name in ("intervals", "index", "errors"))
    for index, month in enumerate(summaries.months):
        fine, lower, upper, known, far = (
            of_month(maps[name], index) for name in (MAP, LOWER, UPPER, "truth", APPLICABILITY)
        )
        flags = maps[QUALITY].isel(time=index).to_numpy()
        for row, bit in zip(counts[month], (Quality.OBSERVED, Quality.PREDICTED), strict=True):
            use = ((flags & bit) > 0) & np.isfinite(known) & np.isfinite(lower)
            within = use & (lower <= known) & (known <= upper)
            np.testing.assert_allclose(row, [within.sum(), (upper - lower)[use].sum(), use.sum()], rtol=1e-9)
        use = np.isfinite(fine) & np.isfinite(far)
        n, mean, _, beyond = shares[month].sum(axis=1)
        assert (n, beyond) == (use.sum(), (far[use] > 1).sum())
        np.testing.assert_allclose(mean, far[use].sum(), rtol=1e-9)
        use &= np.isfinite(known)
        np.testing.assert_allclose(errors[month][2].sum(), np.square((fine - known)[use]).sum(), rtol=1e-9)


def test_what_is_drawn_is_every_seventh_cell_of_whole_maps(
    material: Material, maps: xr.Dataset, summaries: Summaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, drawn in ((MAP, summaries.pictures), ("truth", summaries.truths)):
        shown = maps[name].isel(y=slice(None, None, STEP), x=slice(None, None, STEP))
        np.testing.assert_array_equal(drawn, shown.sel(time=drawn["time"]))
        np.testing.assert_allclose(drawn["y"], shown["y"])
    side = max(maps.sizes["y"], maps.sizes["x"])
    monkeypatch.setattr("soilscale.reports.summaries.PIXELS", -(-side // STEP))
    seasons, ratio = material.run.config.season_scheme, material.run.plan.grid.ratio
    expected = season_rmse(maps[MAP], material.observed, ratio, seasons)
    assert list(summaries.rmse) == list(expected)
    for season, (rmse, months) in summaries.rmse.items():
        assert months == expected[season][1]
        np.testing.assert_allclose(rmse, expected[season][0], rtol=1e-9)


def test_stations_are_set_beside_the_cells_that_hold_them(
    material: Material, maps: xr.Dataset, summaries: Summaries
) -> None:
    places = material.places
    assert places is not None
    assert len(places)
    rows, columns = places["row"].to_numpy(), places["column"].to_numpy()
    for index, month in enumerate(material.run.plan.months):
        for name in (MAP, LOWER, UPPER, QUALITY):
            np.testing.assert_array_equal(
                summaries.at(name, month, rows, columns), of_month(maps[name], index)[rows, columns]
            )


def test_months_that_do_not_stand_are_left_out(material: Material) -> None:
    """As if the map were missing there: the month is listed, and nothing is counted."""
    run, (unit, *_) = material.run, material.summary_units
    part = replace(unit.task, name="half", months=unit.task.months[:6], indices=unit.task.indices[:6],
                   seasons=unit.task.seasons[:6], calendar=unit.task.calendar[:6], pictured=())  # fmt: skip
    found = _collected(material, [Unit(SUMMARISE, "half", "1" * 16, part)])
    assert list(found.months) == list(run.plan.months)
    assert found.moments()[run.plan.months[7]].n == 0
    assert np.isnan(found.at(MAP, run.plan.months[7], np.array([0]), np.array([0]))).all()
    assert np.isnan(found.pictures).all()


def test_units_are_redone_for_what_they_are_made_of_alone(material: Material) -> None:
    """A station more redoes the tile that holds it, another month to be drawn redoes the units of both."""
    run, conserved, dates = material.run, material.conserved, material.dates

    def digests(cells: Sequence[tuple[int, int]], drawn: Sequence[np.datetime64]) -> set[str]:
        return {unit.marker for unit in map_summaries.summarise_units(run, conserved, cells, drawn)}

    assert digests([], dates) == digests([(10**6, 0)], dates)
    assert len(digests([(0, 0)], dates) - digests([], dates)) == 1
    assert digests([], dates[:1]).isdisjoint(digests([], dates))
    assert [unit.name for unit in material.summary_units] == map_summaries.names(run)


def test_tables_are_those_of_whole_maps(undisturbed: Path, material: Material, maps: xr.Dataset) -> None:
    """Figures of the report itself, worked out again from all maps at once."""
    report, seasons = undisturbed.parent / "run" / "report", material.run.config.season_scheme
    observed_cells = np.isfinite(material.observed.to_numpy()).sum(axis=(1, 2))
    assert material.dates == representative(material.run.plan.months, observed_cells, seasons)
    ratio = material.run.plan.grid.ratio
    nearest = material.observed.to_numpy().repeat(ratio, 1).repeat(ratio, 2)
    table = pd.read_csv(report / "consistency.csv").set_index(["season", "metric"])["value"]
    both = moments(nearest, maps[MAP].to_numpy())
    assert table["all", "rmse"] == pytest.approx(np.sqrt(both.squares / both.n), rel=1e-9)
    known = maps["truth"].to_numpy()
    use = np.isfinite(nearest) & np.isfinite(known) & np.isfinite(maps[MAP].to_numpy())
    rmse = np.sqrt(np.mean((maps[MAP].to_numpy().astype("float64") - known)[use] ** 2))
    table = pd.read_csv(report / "truth.csv").set_index(["season", "method", "metric"])["value"]
    assert table["all", method(material.algorithm), "rmse"] == pytest.approx(rmse, rel=1e-9)
    index, there = maps[APPLICABILITY].to_numpy().astype("float64"), np.isfinite(maps[MAP].to_numpy())
    table = pd.read_csv(report / "extrapolation.csv").set_index("season")
    assert table.loc["all", "n"] == there.sum()
    assert table.loc["all", "index"] == pytest.approx(index[there].mean(), rel=1e-9)
