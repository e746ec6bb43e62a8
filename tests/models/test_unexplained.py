"""Detail that no feature explains, from what it leaves between cells."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from soilscale.models import unexplained
from soilscale.models.unexplained import Detail

Array = NDArray[np.float64]

SIDE, MONTHS, NOISE = 9, 24, 0.004
EXPLAINED = 0.04


def measured(cell_means: Array, *, effect: float = 0.0, seed: int = 0) -> Detail:
    """Detail by rows that observe the means of cells with noise, and by nothing else."""
    noise = NOISE * np.random.default_rng(seed).standard_normal((MONTHS, SIDE**2))
    rows = cell_means.ravel() + noise
    # The inverse of noise and an effect of every cell, summed over the months: both are diagonal.
    precision = MONTHS / (NOISE**2 + MONTHS * effect) * np.eye(SIDE**2)
    pull = rows.sum(axis=0) / (NOISE**2 + MONTHS * effect)
    cells = np.stack([axis.ravel() for axis in np.indices((SIDE, SIDE))], axis=1)
    return unexplained.measure(cells, precision, pull, effect=effect, explained=EXPLAINED)


def pattern(length: float, deviation: float, seed: int) -> Array:
    """Means over cells of a pattern of some length in cells, by its exact covariance."""
    away = np.arange(SIDE)[:, None] - np.arange(SIDE)
    root = np.linalg.cholesky(unexplained.block_covariance(away, length) + 1e-9 * np.eye(SIDE))
    means: Array = deviation * root @ np.random.default_rng(seed).standard_normal((SIDE, SIDE)) @ root.T
    return means


@pytest.mark.parametrize("length", [0.07, 0.45, 2.0])
def test_block_covariance_is_the_mean_over_all_pairs_of_places(length: float) -> None:
    at = (np.arange(200) + 0.5) / 200
    for distance in (0, 1, 3):
        expected = np.exp(-0.5 * ((distance + at[:, None] - at) / length) ** 2).mean()
        actual = unexplained.block_covariance(np.array([distance]), length)
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-6)


def test_a_fine_pattern_is_seen_through_the_means_over_cells_that_hide_most_of_it() -> None:
    length, deviation = 0.07, 0.012
    means = pattern(length, deviation, seed=1)
    assert means.std() < 0.2 * deviation
    detail = measured(means)
    assert detail.weight.sum() == pytest.approx(1)
    estimate = np.sqrt(detail.weight @ detail.variance)
    assert 0.5 * deviation < estimate < 2 * deviation


def test_without_a_pattern_little_detail_is_possible() -> None:
    detail = measured(np.zeros((SIDE, SIDE)))
    # The prior alone would give more than half.
    assert np.sqrt(detail.weight @ detail.variance) < 0.15 * EXPLAINED


def test_of_a_long_pattern_little_lies_within_cells() -> None:
    length, deviation = 1.6, 0.02
    detail = measured(pattern(length, deviation, seed=2))
    within = 1 - float(unexplained.block_covariance(np.array([0]), length)[0]) ** 2
    assert np.sqrt(detail.weight @ detail.variance) == pytest.approx(deviation * np.sqrt(within), rel=0.5)


def test_the_detail_replaces_the_effects_of_cells() -> None:
    means = pattern(0.1, 0.02, seed=3)
    without, replaced = (measured(means, effect=effect) for effect in (0.0, 1e-5))
    np.testing.assert_allclose(replaced.weight, without.weight, rtol=1e-6, atol=1e-12)


def test_the_interval_holds_its_share_of_errors_of_uncertain_variance() -> None:
    detail = Detail(np.array([0.0, 9.0]), np.array([0.75, 0.25]))
    half = unexplained.half_width(1.0, detail, 0.9)
    rng = np.random.default_rng(0)
    errors = rng.standard_normal(200_000) * np.sqrt(1.0 + detail.variance[(rng.random(200_000) < 0.25).astype(int)])
    assert np.mean(np.abs(errors) <= half) == pytest.approx(0.9, abs=0.005)
    certain = Detail(np.zeros(2), detail.weight)
    assert unexplained.half_width(4.0, certain, 0.9) == pytest.approx(2 * norm.ppf(0.95))
    assert unexplained.half_width(0.0, certain, 0.9) == 0
    assert np.isnan(unexplained.half_width(np.nan, detail, 0.9))
