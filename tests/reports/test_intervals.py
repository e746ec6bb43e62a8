"""How often the truth, or what stations measure, lies within the intervals of maps: counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from soilscale import reports
from soilscale.schema import LOWER, MAP, QUALITY, UPPER, Quality
from soilscale.seasons import SCHEMES, Seasons
from summing import part, summed, values_of

SEASONS = Seasons(SCHEMES["meteorological"])
TIMES = pd.to_datetime(["2004-04-01", "2004-07-01"])


def layer(values: list[list[list[float]]]) -> xr.DataArray:
    """Values of two months on a grid of two rows and columns."""
    coords = {"time": TIMES, "y": [1.5, 0.5], "x": [0.5, 1.5]}
    return xr.DataArray(np.array(values, "float32"), coords, ("time", "y", "x"))


@pytest.fixture
def maps() -> xr.Dataset:
    """Maps of .2, within .05; one cell has no observation, one no value in summer."""
    fine = layer([[[0.2, 0.2], [0.2, 0.2]], [[0.2, 0.2], [0.2, np.nan]]])
    flags = layer([[[Quality.OBSERVED] * 2, [Quality.PREDICTED, Quality.OBSERVED]]] * 2)
    return xr.Dataset({MAP: fine, LOWER: fine - 0.05, UPPER: fine + 0.05, QUALITY: flags})


def stations(*values: tuple[str, int, float, str]) -> pd.DataFrame:
    """Pairs of stations: name, month, value and unit."""
    rows = [
        ("net", name, TIMES[month], SEASONS.name(TIMES[month].to_numpy()), unit, value)
        for name, month, value, unit in values
    ]
    return pd.DataFrame(rows, columns=["network", "station", "time", "season", "unit", "observed"])


def test_months_of_stations_are_counted_by_season_and_observation(maps: xr.Dataset) -> None:
    places = pd.DataFrame({"network": "net", "station": ["a", "b", "c"], "row": [0, 1, 1], "column": [0, 0, 1]})
    volume = "m3 m-3"
    pairs = stations(
        ("a", 0, 0.24, volume), ("a", 1, 0.30, volume), ("b", 0, 0.16, volume), ("c", 0, 0.10, volume),
        ("c", 1, 0.20, volume),  # where the map has no value
        ("a", 0, 0.90, "%"),  # of another quantity
    )  # fmt: skip
    found = reports.station_coverage(pairs, places, values_of(maps), 0.9, SEASONS).set_index(["season", "cells"])
    assert found["n"].to_dict() == {
        ("spring", "observed"): 2, ("spring", "predicted"): 1, ("summer", "observed"): 1,
        ("all", "observed"): 3, ("all", "predicted"): 1,
    }  # fmt: skip
    assert found.loc[("spring", "observed"), "coverage"] == 0.5
    assert found.loc[("summer", "observed"), "coverage"] == 0
    assert found.loc[("all", "predicted"), "coverage"] == 1
    assert list(found["width"]) == pytest.approx([0.1] * 5)


def test_stations_of_another_quantity_alone_have_no_coverage(maps: xr.Dataset) -> None:
    places = pd.DataFrame({"network": ["net"], "station": ["a"], "row": [0], "column": [0]})
    assert reports.station_coverage(stations(("a", 0, 0.2, "%")), places, values_of(maps), 0.9, SEASONS).empty


def test_cells_of_a_known_truth_are_counted_likewise(maps: xr.Dataset) -> None:
    truth = layer([[[0.2, 0.3], [0.2, 0.2]], [[0.2, 0.2], [0.3, 0.2]]])
    counts = part(summed(maps, maps[MAP], 1, truth, tile=1), "intervals")
    found = reports.coverage(counts, 0.9, SEASONS).set_index(["season", "cells"])["coverage"]
    assert found.to_dict() == {
        ("spring", "observed"): pytest.approx(2 / 3), ("spring", "predicted"): 1, ("summer", "observed"): 1,
        ("summer", "predicted"): 0, ("all", "observed"): 0.8, ("all", "predicted"): 0.5,
    }  # fmt: skip
