"""Seasonal against comprehensive models (Yan & Bai 2020, Table 4), and whether the difference is more than chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale.reports.scores import SCORES, moments
from soilscale.seasons import ALL

RESAMPLES = 2000
"""Bootstrap samples of the blocks."""

LEVEL = 0.95
"""Level of the intervals."""

COLUMNS = ("season", "algorithm", "split", "metric", "seasonal", "comprehensive", "difference", "lower", "upper", "n")

KEYS = ["time", "y", "x"]

Floats = NDArray[np.float64]
Sums = Mapping[str, Floats]
"""Sums over the pairs of each bootstrap sample: their number n, and of t, p, tt, pp, tp, a (|p - t| / |t|) and m (pairs
with t != 0)."""


def _rmse(s: Sums) -> Floats:
    # A sum of squares by difference may come out a hair below 0 where the two agree.
    return np.sqrt(np.maximum(s["tt"] - 2 * s["tp"] + s["pp"], 0) / s["n"])


def _r2(s: Sums) -> Floats:
    return 1 - (s["tt"] - 2 * s["tp"] + s["pp"]) / (s["tt"] - s["t"] ** 2 / s["n"])


def _bias(s: Sums) -> Floats:
    return (s["p"] - s["t"]) / s["n"]


def _mape(s: Sums) -> Floats:
    return 100 * s["a"] / s["m"]


METRICS: Mapping[str, Callable[[Sums], Floats]] = MappingProxyType(
    {"mape": _mape, "bias": _bias, "rmse": _rmse, "r2": _r2}
)
"""Metrics of the comparison, as `scores.SCORES` defines them, on the sums of many bootstrap samples at once."""


def comparison(
    predictions: pd.DataFrame, blocks: pd.DataFrame, seasons: Iterable[str], *, seed: int = 0
) -> pd.DataFrame:
    """Difference between seasonal and comprehensive models on the same rows, with bootstrap intervals.

    Whole blocks are drawn with replacement, since the errors of neighbours resemble each other (Efron & Tibshirani
    1993, chapter 8.6); both models are scored on the same draw, so that what makes a draw hard for both cancels. An
    interval that holds 0 says that the difference may be luck.

    Parameters
    ----------
    predictions
        Columns time, season, y, x, algorithm, model, split, observed, predicted.
    blocks
        Columns time, y, x, block.
    seasons
        Seasons in their order; of several the rows are pooled in ``all``, which comes last.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`; ``difference`` is seasonal minus comprehensive, ``lower`` and ``upper`` its 95 % percentile
        interval (NaN with fewer than two blocks), ``n`` the number of rows.
    """
    order = {season: place for place, season in enumerate([*seasons, ALL])}
    rows = []
    for algorithm in sorted(pd.unique(predictions["algorithm"])):
        for split in sorted(pd.unique(predictions["split"])):
            split_rows = predictions[(predictions["algorithm"] == algorithm) & (predictions["split"] == split)]
            parts = {season: matched for season in order if len(matched := _pairs(split_rows, blocks, season))}
            # Of one season alone, `all` would only repeat it.
            if len(parts) > 1:
                parts[ALL] = pd.concat(parts.values(), ignore_index=True)
            for season, pairs in parts.items():
                rows += [(season, algorithm, split, *compared) for compared in _compared(pairs, seed)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values("season", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _pairs(predictions: pd.DataFrame, blocks: pd.DataFrame, season: str) -> pd.DataFrame:
    """observed, seasonal, comprehensive and block of a season's rows that both models predicted."""
    rows = predictions[predictions["season"] == season]
    names = [*KEYS, "observed", "predicted"]
    ours, theirs = (rows.loc[rows["model"] == model, names] for model in ("seasonal", "comprehensive"))
    # The observation is a key too, lest it come out as two columns.
    merged = ours.merge(theirs, on=[*KEYS, "observed"], suffixes=("_seasonal", "_comprehensive"))
    merged.columns = pd.Index([str(name).removeprefix("predicted_") for name in merged])
    pairs = merged.dropna(subset=["seasonal", "comprehensive"]).merge(blocks[[*KEYS, "block"]], on=KEYS, how="left")
    return pairs[["observed", "seasonal", "comprehensive", "block"]]


def _compared(pairs: pd.DataFrame, seed: int) -> Iterator[tuple[object, ...]]:
    """Each metric of both models, their difference and its interval, and the number of rows."""
    resampled = _resampled(pairs["block"], seed)
    samples = {model: _sums(pairs["observed"], pairs[model], resampled) for model in ("seasonal", "comprehensive")}
    for metric, formula in METRICS.items():
        values = [SCORES[metric].of(moments(pairs["observed"], pairs[model])) for model in samples]
        # A sample may hold a constant observation, or none but zeros; `_interval` leaves such samples out.
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = formula(samples["seasonal"]) - formula(samples["comprehensive"])
        yield (metric, *values, values[0] - values[1], *_interval(spread), len(pairs))


def _resampled(blocks: pd.Series[str], seed: int) -> Callable[[Floats], Floats]:
    """Sum of a value of each row over each bootstrap sample of the blocks; no samples where there is one block."""
    kinds = blocks.astype("category").cat.remove_unused_categories()
    # By name and not by the order of the rows, so that a seed draws the same blocks however the table lies.
    names = sorted(kinds.cat.categories)
    codes = kinds.cat.reorder_categories(names).cat.codes.to_numpy()
    counts = np.zeros((0, len(names)))
    if len(names) > 1:
        rng = np.random.default_rng(seed)
        # How often each block is drawn, and no copies of rows: a sample's sums are then a row of one product.
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES).astype("float64")
    return lambda values: counts @ np.bincount(codes, weights=values, minlength=len(names))


def _sums(observed: pd.Series[float], predicted: pd.Series[float], resampled: Callable[[Floats], Floats]) -> Sums:
    t, p = observed.to_numpy("float64"), predicted.to_numpy("float64")
    nonzero = t != 0
    # Over infinity the ratio of a pair with T = 0 is 0, and `m` does not count the pair.
    ratio = np.abs(p - t) / np.where(nonzero, np.abs(t), math.inf)
    parts = {"n": np.ones_like(t), "t": t, "p": p, "tt": t * t, "pp": p * p, "tp": t * p, "a": ratio, "m": nonzero}
    return {name: resampled(np.asarray(values, "float64")) for name, values in parts.items()}


def _interval(spread: Floats) -> tuple[float, float]:
    finite = spread[np.isfinite(spread)]
    if not finite.size:
        return math.nan, math.nan
    lower, upper = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(lower), float(upper)
