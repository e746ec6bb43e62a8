"""Downscaling arrays: a world whose truth is a formula, the numbers of the command, and arrays that do not fit."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client
from sklearn.linear_model import LinearRegression

import soilscale
from commands import edit, invoke
from soilscale.errors import ConfigurationError, DataError
from soilscale.schema import Quality

RATIO, CELLS, MONTHS = 5, 4, 24
FINE = RATIO * CELLS


def predictors() -> xr.Dataset:
    """Rain of each month and height, on 20 x 20 cells of 0.05 degrees."""
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "rain": (("time", "y", "x"), 60 + 20 * rng.standard_normal((MONTHS, FINE, FINE))),
            "height": (("y", "x"), 400 + 100 * rng.standard_normal((FINE, FINE))),
        },
        {
            "time": pd.date_range("2020-01-01", periods=MONTHS, freq="MS"),
            "y": 49.975 - 0.05 * np.arange(FINE),
            "x": 5.025 + 0.05 * np.arange(FINE),
        },
    )


def truth(fine: xr.Dataset) -> xr.DataArray:
    return 0.1 + 0.001 * fine.rain + 0.0002 * fine.height


def coarse(fine: xr.Dataset) -> xr.DataArray:
    return truth(fine).coarsen(y=RATIO, x=RATIO).mean()


def linear(field: xr.DataArray, fine: xr.Dataset, **options: Any) -> xr.Dataset:
    """Maps by ordinary least squares, which a linear world leaves no error."""
    keys = {"ratio": RATIO, "seasons": "annual", "algorithm": LinearRegression(), **options}
    return soilscale.downscale(field, fine, **keys)


def test_a_linear_world_is_learned_from_its_means_and_mapped_exactly() -> None:
    fine = predictors()
    maps = linear(coarse(fine), fine, conserve=False)
    assert maps.soil_moisture.chunks is not None
    np.testing.assert_allclose(maps.soil_moisture, truth(fine), atol=2e-6)
    assert (maps.quality & Quality.OBSERVED > 0).all()
    assert maps.attrs["algorithms"] == "year: LinearRegression"


def test_means_over_coarse_cells_are_the_observation_where_there_is_one() -> None:
    fine = predictors()
    field = coarse(fine) + 0.02
    field[3, 1, 2] = np.nan
    maps = linear(field, fine)
    means = maps.soil_moisture.coarsen(y=RATIO, x=RATIO).mean()
    np.testing.assert_allclose(means.where(~np.isnan(field)), field, atol=1e-6)
    cell = maps.quality[3, RATIO : 2 * RATIO, 2 * RATIO : 3 * RATIO]
    assert (cell & Quality.PREDICTED > 0).all()


def test_axes_may_have_other_names_and_run_the_other_way() -> None:
    fine = predictors()
    expected = linear(coarse(fine), fine)
    upside = fine.isel(y=slice(None, None, -1)).rename(y="lat", x="lon").transpose("lon", "lat", "time")
    maps = linear(coarse(fine).isel(y=slice(None, None, -1)).rename(y="latitude", x="longitude"), upside)
    assert maps.soil_moisture.dims == ("time", "lat", "lon")
    assert maps.lat.equals(upside.lat)
    np.testing.assert_array_equal(maps.soil_moisture[:, ::-1], expected.soil_moisture)


def test_whole_coarse_cells_are_mapped_and_months_without_an_observation_predicted() -> None:
    fine = predictors()
    part = fine.isel(y=slice(2, None), x=slice(0, -1))  # cuts the first row of cells and the last column
    maps = linear(coarse(fine).isel(time=slice(0, 20)), part, conserve=False)
    assert dict(maps.sizes) == {"time": MONTHS, "y": FINE - RATIO, "x": FINE - RATIO}
    np.testing.assert_allclose(maps.soil_moisture, truth(fine)[:, RATIO:, :-RATIO], atol=2e-6)
    assert (maps.quality[20:] & Quality.PREDICTED > 0).all()


def test_values_in_per_cent_become_a_volume() -> None:
    fine = predictors()
    field = (coarse(fine) * 100).assign_attrs(units="%")
    np.testing.assert_array_equal(linear(field, fine).soil_moisture, linear(coarse(fine), fine).soil_moisture)


@pytest.mark.parametrize("how", ["named", "by its attributes"])
def test_models_learn_from_the_shares_of_classes(how: str) -> None:
    fine = predictors()
    cover = xr.DataArray(np.random.default_rng(1).choice([10, 40, 130], (FINE, FINE)), dims=("y", "x"))
    options: dict[str, Any] = {"categorical": "cover"} if how == "named" else {}
    if how != "named":
        cover.attrs["flag_values"] = [10, 40, 130]
    wetter = truth(fine) + 0.05 * (cover == 40)
    maps = linear(
        wetter.coarsen(y=RATIO, x=RATIO).mean(), fine.assign(cover=cover), conserve=False, valid_range=(0, 1), **options
    )
    # Three shares add up to 1, which least squares resolves.
    np.testing.assert_allclose(maps.soil_moisture, wetter, atol=1e-4)


def test_an_interval_holds_its_share_of_the_truth() -> None:
    fine = predictors()
    noisy = coarse(fine) + 0.01 * np.random.default_rng(2).standard_normal((MONTHS, CELLS, CELLS))
    maps = linear(noisy, fine, conserve=False, interval=0.8).compute()
    assert (maps.lower <= maps.soil_moisture).all()
    assert (maps.soil_moisture <= maps.upper).all()
    # Rows were held out whose error is the noise, of standard deviation 0.01: 80 % lie within 1.28 of them.
    assert 0.018 < float((maps.upper - maps.lower).mean()) < 0.036


def test_the_estimator_that_is_passed_stays_unfitted() -> None:
    fine, mine = predictors(), LinearRegression()
    linear(coarse(fine), fine, algorithm=mine)
    assert not hasattr(mine, "coef_")


def off_by_half(fine: xr.Dataset) -> xr.Dataset:
    return fine.assign_coords(x=fine.x + 0.025)


WRONG: dict[str, tuple[Callable[[xr.DataArray, xr.Dataset], dict[str, Any]], type[Exception], str]] = {
    "ratio": (lambda _c, _f: {"ratio": 4}, DataError, "5 fine cells lie along it, but ratio is 4"),
    "ratio no number of cells": (lambda _c, _f: {"ratio": 1}, ConfigurationError, "2 or more"),
    "not nested": (lambda _c, f: {"fine": off_by_half(f)}, DataError, "of a fine cell off those that would be nested"),
    "elsewhere": (lambda _c, f: {"fine": f.assign_coords(x=f.x + 40)}, DataError, "cover no coarse cell wholly"),
    "another CRS": (
        lambda c, f: {"field": c.odc.assign_crs("EPSG:3035"), "fine": f.odc.assign_crs("EPSG:4326")},
        DataError,
        "reproject one of them",
    ),
    "lacks months": (lambda _c, f: {"fine": f.isel(time=slice(3, None))}, DataError, "2020-01, 2020-02, 2020-03"),
    "days": (
        lambda c, _f: {"field": c.assign_coords(time=pd.date_range("2020-01-01", periods=MONTHS))},
        DataError,
        "monthly means",
    ),
    "a number for time": (lambda c, _f: {"field": c.assign_coords(time=range(MONTHS))}, DataError, "datetime64"),
    "no observation": (lambda c, _f: {"field": c * np.nan}, DataError, "no value in the cells"),
    "an empty predictor": (lambda _c, f: {"fine": f.assign(rain=f.rain * np.nan)}, DataError, "rain is missing every"),
    "nothing in common": (
        lambda c, f: {"fine": f.assign(rain=f.rain.where(f.time < c.time[2]))},
        DataError,
        "training rows that a model needs",
    ),
    "another quantity": (lambda c, _f: {"field": c.assign_attrs(units="kg m-2")}, DataError, "expected soil moisture"),
    "per cent without a unit": (lambda c, _f: {"field": c * 100}, DataError, "outside valid_range"),
    "coded values": (lambda c, _f: {"field": c.assign_attrs(scale_factor=0.1)}, DataError, "mask_and_scale=True"),
    "text": (lambda _c, f: {"fine": f.assign(name=f.height.astype(str))}, DataError, "expected numbers"),
    "another dimension": (lambda _c, f: {"fine": f.expand_dims(band=2)}, DataError, "split other dimensions"),
    "an irregular grid": (lambda _c, f: {"fine": f.assign_coords(x=f.x**2)}, DataError, "not equally far apart"),
    "no axis": (lambda c, _f: {"field": c.rename(x="column")}, DataError, "expected one of x, lon"),
    "a dataset for a field": (lambda c, _f: {"field": c.to_dataset(name="sm")}, ConfigurationError, "dataset['name']"),
    "classes": (lambda _c, _f: {"categorical": "height"}, DataError, "expected whole numbers"),
    "unknown class": (lambda _c, _f: {"categorical": ["hight"]}, ConfigurationError, "did you mean 'height'"),
    "algorithm": (lambda _c, _f: {"algorithm": "random_forst"}, ConfigurationError, "did you mean 'random_forest'"),
    "no estimator": (lambda _c, _f: {"algorithm": 3}, ConfigurationError, "estimator of scikit-learn's kind"),
    "parameter": (
        lambda _c, _f: {"algorithm": "random_forest", "parameters": {"n_tree": 5}},
        ConfigurationError,
        "unknown parameter",
    ),
    "seasons": (lambda _c, _f: {"seasons": "lunar"}, ConfigurationError, "there is no scheme 'lunar'"),
    "not all months": (lambda _c, _f: {"seasons": {"wet": [1, 2]}}, ConfigurationError, "missing: [3, 4"),
    "interval": (lambda _c, _f: {"interval": 90}, ConfigurationError, "between 0 and 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_arrays_that_do_not_fit_are_refused_in_words(case: str) -> None:
    change, kind, words = WRONG[case]
    fine = predictors()
    changed = change(coarse(fine), fine)
    field, fine = changed.pop("field", coarse(fine)), changed.pop("fine", fine)
    with pytest.raises(kind, match=re.escape(words)):
        linear(field, fine, **changed)


def test_a_cluster_gives_the_same_maps(cluster: str) -> None:
    fine = predictors()
    options: dict[str, Any] = {"algorithm": "random_forest", "parameters": {"n_estimators": 5}}
    here = linear(coarse(fine), fine, **options).compute()
    with Client(cluster, set_as_default=False) as client:
        there = linear(coarse(fine), fine, client=client, **options)
        xr.testing.assert_identical(client.compute(there, sync=True), here)


def same_as_the_command(output: soilscale.Output, algorithm: str, *, conserve: bool) -> None:
    """Maps of a run's own cube are those of the run."""
    about = output.models["warm", algorithm]
    trees = {"n_estimators": about["parameters"]["n_estimators"]} if algorithm == "random_forest" else None
    maps = soilscale.downscale(
        output.coarse[output.target],
        output.cube[about["features"]],
        25,
        seasons=output.config["seasons"],
        algorithm=algorithm,
        conserve=conserve,
        parameters=trees,
        # Those of the run: the threshold of applicability depends on them.
        folds=output.config["models"]["folds"],
    ).compute()
    np.testing.assert_allclose(maps.soil_moisture, output.maps.soil_moisture, atol=1e-6)
    # What is filled in the cube cannot be told from what was seen there.
    bits = np.uint8(255 - Quality.GAP_FILLED)
    np.testing.assert_array_equal(maps.quality & bits, output.maps.quality & bits)


def test_maps_of_a_forest_are_those_of_the_command(undisturbed: Path) -> None:
    same_as_the_command(soilscale.open(undisturbed.parent / "run"), "random_forest", conserve=True)


@pytest.mark.slow
def test_maps_of_a_gaussian_process_are_those_of_the_command(undisturbed: Path, cluster: str, tmp_path: Path) -> None:
    shutil.copytree(undisturbed.parent, tmp_path / "world")
    config = edit(
        tmp_path / "world" / undisturbed.name,
        models__algorithms=["random_forest", "gaussian_process"],
        models__ablation=False,
        maps={"algorithm": "gaussian_process", "every": ["month"]},
    )
    assert invoke("train", config, "--scheduler", cluster).status == 0
    for conserve in (False, True):
        option = f"maps.conserve={str(conserve).lower()}"
        assert invoke("map", config, "--scheduler", cluster, "-o", option).status == 0
        same_as_the_command(soilscale.open(tmp_path / "world" / "run"), "gaussian_process", conserve=conserve)
