"""pytesmo, the field's library for validating soil moisture, as an oracle of scores, scaling and triple collocation.

What differs on purpose is left out: months by calendar month, minimum samples, and values that are not paired.
"""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from soilscale import harmonisation
from soilscale.harmonisation import NODES, Method, Support, Trio
from soilscale.reports import scores
from soilscale.reports.insitu.collocation import triple_collocation

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations of its own dependencies
    metrics = pytest.importorskip("pytesmo.metrics", reason="pytesmo, an oracle, is not installed")
    from pytesmo import cdf_matching, scaling

Array = NDArray[np.float64]


def _series(seed: int, n: int = 480) -> tuple[Array, Array, Array]:
    """Three products of one soil moisture, each with its own level, scale and noise (m3 m-3)."""
    chance = np.random.default_rng(seed)
    truth = 0.25 + 0.08 * chance.standard_normal(n)
    levels, factors, noise = (0.0, 0.03, -0.02), (1.0, 0.7, 1.4), (0.02, 0.03, 0.05)
    a, b, c = (
        level + factor * truth + sigma * chance.standard_normal(n)
        for level, factor, sigma in zip(levels, factors, noise, strict=True)
    )
    return a, b, c


@pytest.mark.parametrize("seed", range(3))
def test_scores(seed: int) -> None:
    observed, predicted, _ = _series(seed)
    stats = scores.moments(observed, predicted)
    expected = {
        "bias": metrics.bias(predicted, observed),
        "rmse": metrics.rmsd(predicted, observed),
        "ubrmse": metrics.ubrmsd(predicted, observed),
        "r2": metrics.nash_sutcliffe(observed, predicted),
        "r": metrics.pearson_r(observed, predicted),
    }
    assert {name: scores.SCORES[name].of(stats) for name in expected} == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_triple_collocation(seed: int) -> None:
    products = _series(seed)
    ours = triple_collocation(*products)
    decibels, _, _ = metrics.tcol_metrics(*products)
    ratio = 10 ** (decibels / 10)
    assert np.square(ours.r) == pytest.approx(ratio / (1 + ratio), rel=1e-10)
    # pytesmo scales errors to the reference; each product in turn is one.
    errors = [metrics.tcol_metrics(*products, ref_ind=i)[1][i] for i in range(3)]
    assert np.sqrt(ours.error_variance) == pytest.approx(errors, rel=1e-10)


def _harmonised(source: Array, reference: Array, method: Method) -> Array:
    """One cell of one calendar month in every year, where our relations by month are those of the whole series."""
    trio = Trio(source[:, None], reference[:, None], np.ones(source.size, dtype=int))
    values, support = harmonisation.adjust(trio, method, harmonisation.pool(trio, method))
    assert support.item() >= Support.CELL
    return values[:, 0]


@pytest.mark.parametrize("seed", range(3))
def test_mean_variance_matching(seed: int) -> None:
    source, reference, _ = _series(seed)
    assert _harmonised(source, reference, "linear") == pytest.approx(scaling.mean_std(source, reference), rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_cdf_matching_between_the_outermost_nodes(seed: int) -> None:
    source, reference, _ = _series(seed)
    matching = cdf_matching.CDFMatching(percentiles=100 * NODES).fit(source, reference)
    lowest, highest = matching.x_perc_[[0, -1]]
    inside = (source >= lowest) & (source <= highest)
    assert inside.mean() == pytest.approx(0.9, abs=0.01)
    ours = _harmonised(source, reference, "cdf")
    assert ours[inside] == pytest.approx(matching.predict(source)[inside], rel=1e-10)
    # Beyond them pytesmo follows the last two nodes, ours all of them: the order of values stays in both.
    assert (np.diff(ours[np.argsort(source)]) > 0).all()
