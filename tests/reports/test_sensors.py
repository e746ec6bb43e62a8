"""Tables of a target's sensors: regressions and steps worked by hand, and the page that shows them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.typing import NDArray

from soilscale import reports
from soilscale.reports.layout import MINUS
from soilscale.reports.summary import sensor_words
from soilscale.seasons import METEOROLOGICAL, Seasons
from soilscale.sources import Harmonise, Matching

Array = NDArray[np.float64]

SEASONS = Seasons(METEOROLOGICAL)
MONTHS = np.arange("2001-01", "2009-01", dtype="datetime64[M]")
HALF = len(MONTHS) // 2


def truth() -> Array:
    """Soil moisture of two cells, with a cycle and wet years, m3 m-3."""
    random = np.random.default_rng(1)
    cycle = 0.05 * np.sin(2 * np.pi * np.arange(len(MONTHS)) / 12)
    return 0.2 + cycle[:, None, None] + 0.02 * random.standard_normal((len(MONTHS), 1, 2))


def array(values: Array, when: slice) -> xr.DataArray:
    """Sensor that sees some months."""
    seen = np.full(values.shape, np.nan)
    seen[when] = values[when]
    coords = {"time": MONTHS.astype("datetime64[ns]"), "y": [34.5], "x": [108.0, 108.25]}
    return xr.DataArray(seen, coords, ("time", "y", "x"))


def tables(
    old: xr.DataArray, new: xr.DataArray, method: Matching = "linear", third: xr.DataArray | None = None
) -> tuple[pd.DataFrame, pd.Series, pd.DataFrame]:
    """The table of sensors, its rows over all seasons by statistic, and the series."""
    how = Harmonise(("old", "new"), method, "new", None if third is None else "third", (0.0, 0.6))
    levelled = reports.level({"old": old, "new": new} | ({} if third is None else {"third": third}), how)
    table = reports.sensors(levelled, "new", SEASONS)
    whole = table[table["season"] == "all"].set_index("statistic")["value"]
    return table, whole, reports.sensor_series(levelled, new, "EPSG:4326")


def test_an_overlap_is_regressed_month_by_month() -> None:
    known = truth()
    table, whole, _ = tables(array(0.04 + 1.25 * known, slice(0, 72)), array(known, slice(24, 96)))
    assert set(table["basis"]) == {"overlap"}
    assert set(table["season"]) == {*SEASONS.names, "all"}
    assert (whole["r2"], whole["slope"]) == pytest.approx((1, 0.8))
    assert whole["intercept"] == pytest.approx(-0.032)
    # The mean of the months that both see, each calendar month alike, of truth - (.04 + 1.25 truth).
    common = known[24:72].mean(axis=0)
    assert whole["step_before"] == pytest.approx(float((-0.04 - 0.25 * common).mean()))
    assert whole["step_spread_before"] == pytest.approx(float((0.25 * common).std()))
    assert whole["step_after"] == pytest.approx(0, abs=1e-12)
    counts = table.set_index(["season", "statistic"])["n"]
    assert counts["all", "r2"] == 48 * 2
    assert counts["spring", "r2"] == 12 * 2
    assert counts["all", "step_before"] == 2


def test_sensors_apart_are_regressed_by_their_climatologies() -> None:
    known = truth()
    table, whole, _ = tables(array(0.04 + 1.25 * known, slice(0, HALF)), array(known, slice(HALF, None)))
    assert set(table["basis"]) == {"climatology"}
    means = [part.reshape(4, 12, 2).mean(axis=0).ravel() for part in (0.04 + 1.25 * known[:HALF], known[HALF:])]
    slope, intercept = np.polyfit(*means, 1)
    assert whole["r2"] == pytest.approx(np.corrcoef(*means)[0, 1] ** 2)
    assert (whole["slope"], whole["intercept"]) == pytest.approx((slope, intercept))
    assert whole["step_before"] == pytest.approx(means[1].mean() - means[0].mean())
    assert table.set_index(["season", "statistic"])["n"]["summer", "slope"] == 3 * 2
    assert (whole["cells_by_month"], whole["cells_own"], whole["cells_by_area"]) == (2, 0, 0)


@pytest.mark.parametrize("method", ["linear", "cdf"])
def test_a_step_through_a_third_series_knows_the_climate(method: Matching) -> None:
    """The later half is .03 drier; seen by a third series, that is no step between the sensors."""
    known = truth()
    known[HALF:] -= 0.03
    old, new = array(0.04 + 1.25 * known, slice(0, HALF)), array(known, slice(HALF, None))
    table, whole, _ = tables(old, new, method, array(10 + 20 * known, slice(None)))
    bases = table.groupby("statistic")["basis"].agg(set)
    assert bases["step_before"] == bases["step_after"] == bases["cells_by_month"] == {"through"}
    assert bases["r2"] == {"climatology"}
    earlier = known[:HALF].reshape(4, 12, 2).mean()
    assert whole["step_before"] == pytest.approx(-0.04 - 0.25 * earlier, abs=2e-3)
    assert whole["step_after"] == pytest.approx(0, abs=2e-3)
    _, blind, _ = tables(old, new, method)
    assert blind["step_before"] == pytest.approx(whole["step_before"] - 0.03, abs=4e-3)


def test_sensors_left_as_they_are_keep_their_step() -> None:
    known = truth()
    table, whole, series = tables(array(0.04 + known, slice(0, HALF)), array(known, slice(HALF, None)), "none")
    assert whole["step_after"] == whole["step_before"] < -0.03
    assert not set(table["statistic"]) & {"cells_by_month", "cells_own", "cells_by_area"}
    pd.testing.assert_series_equal(series["before"], series["after"], check_names=False)


def test_the_series_are_means_over_the_area_weighted_by_size() -> None:
    known = truth()
    _, _, series = tables(array(0.04 + known, slice(0, 72)), array(known, slice(24, 96)))
    assert list(series) == ["time", "part", "before", "after"]
    old = series[series["part"] == "old"].reset_index(drop=True)
    assert len(old) == len(MONTHS)
    np.testing.assert_allclose(old["before"][:72], 0.04 + known[:72].mean(axis=(1, 2)))
    np.testing.assert_allclose(old["after"][:72], known[:72].mean(axis=(1, 2)))
    assert old["before"][72:].isna().all()


def test_too_few_pairs_give_no_regression() -> None:
    known = truth()
    one = array(np.where(np.arange(96)[:, None, None] % 12 < 2, known, np.nan)[:, :, :1].repeat(2, 2), slice(0, HALF))
    one[:, :, 1] = np.nan
    table, _, _ = tables(one, array(known, slice(HALF, None)), "none")
    rows = table[table["statistic"] == "r2"].set_index("season")
    assert rows.loc["all", "n"] == 2
    assert rows["value"].isna().all()
    assert table[(table["season"] == "summer") & (table["statistic"] == "step_before")]["n"].item() == 0


@pytest.mark.parametrize("months", [3, 11])
def test_a_few_shared_months_do_not_relate_sensors_but_check_what_did(months: int) -> None:
    """The years of the later sensor are .03 drier, which their climatologies take for a step; the months told apart."""
    known = truth()
    known[HALF + months :] -= 0.03
    table, _, _ = tables(array(0.04 + known, slice(0, HALF + months)), array(known, slice(HALF, None)))
    counted = table[table["statistic"].str.startswith("cells_")]
    assert set(counted["basis"]) == {"climatology"}
    shared = table[table["basis"] == "overlap"].set_index("statistic")["value"]
    assert shared["step_before"] == pytest.approx(-0.04)
    assert shared["step_after"] > 0.015
    (sentence,) = sensor_words(table)
    assert "fewer than 12 common months, too few to relate them, but enough for a check" in sentence
    assert (
        f"in these months the step between the two was {MINUS}0.0400 m³ m⁻³ before and is {shared['step_after']:.4f}"
        in sentence
    )


def test_the_page_says_what_a_sensor_was_related_by() -> None:
    known = truth()
    table, _, _ = tables(array(0.04 + known, slice(0, HALF)), array(known, slice(HALF, None)))
    (sentence,) = sensor_words(table)
    assert sentence.startswith("old was matched to new by what each saw in its own years")
    assert sentence.endswith("them: in all 2 cells by the cell's own relation for each calendar month.")
    table.loc[table["statistic"] == "cells_by_month", "value"] = 1
    table.loc[table["statistic"] == "cells_own", "value"] = 1
    (both,) = sensor_words(table)
    assert "in 1 of 2 cells by the cell's own relation for each calendar month, in 1 of 2 cells by" in both
    assert sensor_words(None) == []
