"""Seasonal against comprehensive models: differences by hand, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from soilscale.reports.comparison import COLUMNS, METRICS, RESAMPLES, comparison
from soilscale.reports.scores import SCORES

KEYS = ["time", "y", "x"]


def cells(n: int, per_block: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": pd.Timestamp("2005-06-01"),
            "y": np.arange(n, dtype=float),
            "x": 0.0,
            "block": [f"b{row // per_block}" for row in range(n)],
        }
    )


def predictions(rows: pd.DataFrame, observed: np.ndarray, season: str = "summer", **models: np.ndarray) -> pd.DataFrame:
    parts = [
        rows[KEYS].assign(
            season=season, algorithm="knn", split="blocked", model=model, observed=observed, predicted=predicted
        )
        for model, predicted in models.items()
    ]
    return pd.concat(parts, ignore_index=True).sample(frac=1, random_state=0)


def random_case(
    n: int = 200, per_block: int = 1, gain: float = 0.0, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    rows = cells(n, per_block)
    truth = rng.uniform(0.1, 0.4, n)
    shared = np.repeat(rng.normal(size=-(-n // per_block)), per_block)[:n]
    seasonal = truth + 0.03 * shared + 0.01 * rng.normal(size=n)
    comprehensive = truth + (0.03 + gain) * shared + 0.01 * rng.normal(size=n)
    return rows, predictions(rows, truth, seasonal=seasonal, comprehensive=comprehensive)


def value(table: pd.DataFrame, metric: str, column: str) -> float:
    return float(table.loc[table["metric"] == metric, column].item())


def test_differences_by_hand() -> None:
    rows = cells(4, 2)
    observed = np.array([0.1, 0.2, 0.3, 0.4])
    found = comparison(
        predictions(rows, observed, seasonal=observed + 0.01, comprehensive=observed - 0.03), rows, ["summer"]
    )
    assert tuple(found.columns) == COLUMNS
    assert found["metric"].tolist() == list(METRICS)
    assert value(found, "rmse", "seasonal") == pytest.approx(0.01)
    assert value(found, "rmse", "comprehensive") == pytest.approx(0.03)
    assert value(found, "rmse", "difference") == pytest.approx(-0.02)
    assert value(found, "bias", "difference") == pytest.approx(0.04)
    assert value(found, "rmse", "lower") == pytest.approx(-0.02), "every draw has the same error"
    assert value(found, "rmse", "upper") == pytest.approx(-0.02)
    assert (found["n"] == 4).all()


@pytest.mark.parametrize("metric", METRICS)
def test_values_are_those_of_the_scores(metric: str) -> None:
    rows, given = random_case()
    found = comparison(given, rows, ["summer"])
    for model in ("seasonal", "comprehensive"):
        own = given[given["model"] == model]
        assert value(found, metric, model) == pytest.approx(SCORES[metric](own["observed"], own["predicted"]))


def test_the_interval_is_that_of_scipy_where_every_row_is_a_block() -> None:
    rows, given = random_case(n=150, gain=0.01)
    wide = given.pivot_table(index=[*KEYS, "observed"], columns="model", values="predicted").reset_index()

    def difference(observed: np.ndarray, one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.sqrt(np.mean((one - observed) ** 2, axis=axis)) - np.sqrt(np.mean((other - observed) ** 2, axis=axis))

    data = tuple(wide[name].to_numpy() for name in ("observed", "seasonal", "comprehensive"))
    expected = bootstrap(
        data, difference, paired=True, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = comparison(given, rows, ["summer"])
    width = expected.high - expected.low
    assert value(found, "rmse", "lower") == pytest.approx(expected.low, abs=0.1 * width)
    assert value(found, "rmse", "upper") == pytest.approx(expected.high, abs=0.1 * width)


def test_rows_that_resemble_each_other_widen_the_interval() -> None:
    rows, given = random_case(n=240, per_block=12, gain=0.01)
    blocks = comparison(given, rows, ["summer"])
    alone = comparison(given, rows.assign(block=[f"b{i}" for i in range(len(rows))]), ["summer"])

    def width(table: pd.DataFrame) -> float:
        return value(table, "rmse", "upper") - value(table, "rmse", "lower")

    assert width(blocks) > 1.5 * width(alone)


def test_the_interval_holds_zero_about_as_often_as_it_says() -> None:
    """Two models of the same skill: 95 % of the intervals hold 0, within what 60 repetitions can tell."""
    held = 0
    for seed in range(60):
        rows, given = random_case(n=120, seed=seed)
        found = comparison(given, rows, ["summer"], seed=seed)
        held += value(found, "rmse", "lower") <= 0 <= value(found, "rmse", "upper")
    assert 51 <= held <= 60


def test_a_real_gain_is_seen() -> None:
    rows, given = random_case(gain=0.02)
    found = comparison(given, rows, ["summer"])
    assert value(found, "rmse", "upper") < 0


def test_only_rows_that_both_models_predict_count() -> None:
    rows, given = random_case(n=50)
    fewer = given[(given["model"] == "seasonal") | (given["y"] < 30)]
    assert (comparison(fewer, rows, ["summer"])["n"] == 30).all()


def test_one_block_has_no_interval() -> None:
    rows, given = random_case(n=20, per_block=20)
    found = comparison(given, rows, ["summer"])
    assert found[["lower", "upper"]].isna().all(axis=None)
    assert found["difference"].notna().all()


def test_without_a_comprehensive_model_there_is_nothing_to_compare() -> None:
    rows, given = random_case(n=20)
    assert comparison(given[given["model"] == "seasonal"], rows, ["summer"]).empty


def test_seasons_stand_in_their_order_and_the_seed_decides() -> None:
    rows, given = random_case(n=40)
    both = pd.concat([given.assign(season="winter"), given.assign(season="summer")])
    found = comparison(both, rows, ["summer", "winter"])
    assert list(dict.fromkeys(found["season"])) == ["summer", "winter", "all"]
    pooled = found[found["season"] == "all"].set_index(["algorithm", "split", "metric"])["n"]
    assert (pooled == 2 * found[found["season"] == "winter"].set_index(pooled.index.names)["n"]).all()
    pd.testing.assert_frame_equal(found, comparison(both.sample(frac=1, random_state=1), rows, ["summer", "winter"]))
