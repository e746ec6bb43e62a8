"""The figures of a finished run: each on the page and beside it, and the drawn maps those that were made."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from commands import small_world
from finished import opened, two_algorithms
from soilscale import config, storage
from soilscale.schema import MAP
from soilscale.sources import Source
from soilscale.stages import class_names, pictures
from soilscale.stages.project import Project
from soilscale.stages.report_inputs import Material
from soilscale.tasks.pictures import PICTURES

pytestmark = pytest.mark.slow

FIGURES = {"study_area", "maps", "algorithms", "rmse_maps", "time_series", "accuracy", "scatter", "comparison", "truth"}
MONTHS = [np.datetime64("2004-07"), np.datetime64("2004-02")]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Copy of the products of a world with two algorithms."""
    path = two_algorithms()
    output = shutil.copytree(path.parent / "run", tmp_path_factory.mktemp("pictures") / "run")
    return opened(path, f"output={output}")


@pytest.fixture
def report(material: Material) -> Path:
    return Path(material.run.workspace.report("index.html")).parent


def test_every_figure_stands_on_the_page_and_beside_it(report: Path) -> None:
    beside = {file.stem for file in report.glob("*.png")}
    assert beside >= FIGURES
    assert set(re.findall(r'id="figure-([a-z_]+)"', (report / "index.html").read_text())) == beside


def test_the_report_tells_what_the_detail_rests_on(material: Material, report: Path) -> None:
    told = pd.read_csv(report / "within.csv")
    assert list(told) == ["season", "feature", "group", "algorithm", "share_within", "share_between"]
    assert set(told["season"]) == {"warm", "cold"}
    for season, rows in told.groupby("season"):
        assert set(rows["feature"]) == set(material.run.features)
        assert set(rows["algorithm"]) == {material.algorithm[str(season)]}
        assert rows["share_within"].is_monotonic_decreasing
        assert 0.5 < rows["share_within"].sum() < 1.5
        assert rows["share_between"].between(0, 1).all()
    assert "Features behind the detail within coarse cells" in (report / "index.html").read_text()


def test_the_page_tells_where_and_what_of(material: Material, report: Path) -> None:
    page = (report / "index.html").read_text()
    west, south, east, north = material.run.config.area.bbox or ()
    assert f"{west:.4g}° E to {east:.4g}° E, {south:.4g}° N to {north:.4g}° N" in page
    assert re.search(r"the coarse product soil-moisture at \d+ km \(0\.25°\)", page)


def by_algorithm(material: Material, periods: list[Any]) -> dict[str, xr.DataArray]:
    """Maps of both algorithms, drawn here."""
    run, names = material.run, list(material.run.config.models.algorithms)
    units = pictures.algorithm_units(run, material.conserved, material.chosen, names, periods)
    for unit in units:
        unit.task.run(run.workspace)
        storage.write_json(run.workspace.state(PICTURES, unit.marker), {})
    return pictures.by_algorithm(run, units, names, periods)


def test_the_map_of_the_maps_own_algorithm_is_the_map(material: Material) -> None:
    drawn = by_algorithm(material, [np.array([month]) for month in MONTHS])
    assert set(drawn) == {"random_forest", "knn"}
    for index, month in enumerate(MONTHS):
        own = material.algorithm[material.run.config.season_scheme.name(month)]
        made = storage.open_group(material.run.workspace.maps, "month")[MAP].sel(time=month.astype("datetime64[ns]"))
        np.testing.assert_allclose(drawn[own].isel(time=index), made, atol=1e-6)
        np.testing.assert_allclose(drawn[own]["x"], made["x"])


def test_a_large_grid_is_thinned_within_its_coarse_cells(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = material.run.plan.grid.shape
    monkeypatch.setattr(pictures, "CELLS", 5 * max(rows, columns))
    drawn = by_algorithm(material, [np.array(MONTHS[:1])])["knn"]
    assert drawn.shape == (1, 5 * rows, 5 * columns)
    observed = material.observed.sel(time=MONTHS[0].astype("datetime64[ns]")).to_numpy()
    means = drawn[0].to_numpy().reshape(rows, 5, columns, 5)
    there = np.isfinite(observed) & np.isfinite(means).any(axis=(1, 3))
    assert there.any()
    np.testing.assert_allclose(np.nanmean(means, axis=(1, 3))[there], observed[there], atol=1e-6)
    edges = material.run.plan.grid.fine_axes[1][[0, -1]]
    assert edges[0] < float(drawn["x"][0]) < float(drawn["x"][-1]) < edges[1]


def test_features_of_classes_are_called_by_name() -> None:
    source = Source("land_cover", "", "", "", kind="categorical", classes=(1, 2, 3), lags=(1,))
    labels = class_names.of_source(source, {1: "crop", 2: "crop", 3: "water"})
    assert labels["land_cover_3"] == "water (land cover)"
    assert labels["land_cover_3_lag1"] == "water (land cover, lag 1)"
    assert [labels[f"land_cover_{code}"] for code in (1, 2)] == ["crop 1 (land cover)", "crop 2 (land cover)"]


def test_the_configuration_names_classes_before_items_files_and_the_profile(tmp_path: Path) -> None:
    path = small_world(tmp_path, 3, (2004, 2004))
    run = Project(config.load(str(path), ["sources.land_cover.class_names={4: oak}"]), None, lambda *_: None)
    source = next(source for source in run.config.source_list if source.name == "land_cover")
    asset = {"classification:classes": [{"value": 4, "name": "trees"}, {"value": 10, "name": "meadow"}]}
    items = {"features": [{"assets": {source.asset: asset}}]}
    (tmp_path / "run" / "items").mkdir(parents=True)
    Path(run.workspace.items("land_cover")).write_text(json.dumps(items))
    seen = {"opened": [{"classes": {"10": "grass", "13": "town"}}, {"item": "b"}, {"classes": {"13": "village"}}]}
    Path(run.workspace.audit).write_text(json.dumps({"sources": {"land_cover": seen}, "findings": []}))
    names = class_names.by_code(run, replace(source, classes=(4, 10, 12, 13, 99)))
    assert names == {4: "oak", 10: "meadow", 12: "cropland", 13: "town", 99: "class 99"}


def test_classes_are_named_by_their_items() -> None:
    told = [{"value": 1, "name": "forest"}, {"value": 2, "title": "Cropland", "name": "crop"}, {"value": 3}]
    for asset in ({"classification:classes": told}, {"bands": [{"classification:classes": told}]}):
        names = class_names.of_items([{"assets": {"cover": asset}}], "cover")
        assert names == {1: "forest", 2: "Cropland", 3: "3"}
    assert class_names.of_items([{"assets": {}}], "cover") == {}
    assert class_names.of_items([], "cover") == {}
