"""Metrics of agreement between observations and predictions.

Every metric is called with two arrays, or, where the values of a season do not fit into memory, is read off the
`Moments` of parts that were added up: ``rmse(observed, predicted)`` and ``rmse.of(first + second)``. In the
formulas P is predicted, T observed, N the number of pairs. A pair in which either is not finite does not count;
with fewer than two pairs every metric is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, fields
from functools import update_wrapper
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

KL_FLOOR = 1e-6
"""Least value that enters `kl`, in the unit of the values: a zero has no logarithm."""

FEWEST: Mapping[str, int] = MappingProxyType({"kl": 10, "kl_paper": 10})
"""Fewest pairs of which a metric is told: of a handful, the divergence of two distributions means nothing."""

NORMALISED = "_normalised"
"""End of the name of a metric of values brought to 0..1, where others have a unit."""

CONSTANT = 1e-12
"""Standard deviation, as a share of the mean, below which values count as one constant."""


@dataclass(frozen=True)
class Moments:
    """What the metrics need to know of pairs of values; moments of parts add up to those of the whole.

    The sums of squares are taken about the means and merged by Chan, Golub & LeVeque (1983, Am. Stat. 37,
    242-247), so that no digits are lost however many parts there are.
    """

    n: int = 0
    """Number of pairs."""
    observed: float = 0.0
    """Mean of T."""
    predicted: float = 0.0
    """Mean of P."""
    observed_squares: float = 0.0
    """Sum of (T - mean T)^2."""
    predicted_squares: float = 0.0
    """Sum of (P - mean P)^2."""
    products: float = 0.0
    """Sum of (P - mean P) (T - mean T)."""
    error_squares: float = 0.0
    """Sum of (P - T - mean(P - T))^2."""
    ratios: float = 0.0
    """Sum of |P - T| / |T| over the pairs whose T is not 0."""
    ratio_pairs: int = 0
    """Number of pairs whose T is not 0."""
    observed_mass: float = 0.0
    """Sum of T, floored at `KL_FLOOR`."""
    predicted_mass: float = 0.0
    """Sum of P, floored at `KL_FLOOR`."""
    divergence: float = 0.0
    """Sum of T log(T / P), both floored at `KL_FLOOR`."""

    def row(self) -> NDArray[np.float64]:
        """All of them as numbers, in their order."""
        return np.array(astuple(self), dtype=np.float64)

    @classmethod
    def of(cls, row: NDArray[np.float64]) -> Moments:
        """Moments of a `row`."""
        values = dict(zip([column.name for column in fields(cls)], row.tolist(), strict=True))
        return cls(**values | {name: int(values[name]) for name in ("n", "ratio_pairs")})

    @property
    def bias(self) -> float:
        """Mean of P - T."""
        return self.predicted - self.observed

    @property
    def squares(self) -> float:
        """Sum of (P - T)^2."""
        return self.error_squares + self.n * self.bias**2

    def __add__(self, second: Moments) -> Moments:
        """Moments of the pairs of both."""
        n = self.n + second.n
        # Two empty parts have no share of each other to divide by.
        if n == 0:
            return self
        share = self.n * second.n / n
        to_observed, to_predicted = second.observed - self.observed, second.predicted - self.predicted
        return Moments(
            n=n,
            observed=self.observed + to_observed * second.n / n,
            predicted=self.predicted + to_predicted * second.n / n,
            observed_squares=self.observed_squares + second.observed_squares + share * to_observed**2,
            predicted_squares=self.predicted_squares + second.predicted_squares + share * to_predicted**2,
            products=self.products + second.products + share * to_observed * to_predicted,
            error_squares=self.error_squares + second.error_squares + share * (to_predicted - to_observed) ** 2,
            ratios=self.ratios + second.ratios,
            ratio_pairs=self.ratio_pairs + second.ratio_pairs,
            observed_mass=self.observed_mass + second.observed_mass,
            predicted_mass=self.predicted_mass + second.predicted_mass,
            divergence=self.divergence + second.divergence,
        )


def pairs(observed: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Observed and predicted values of the pairs in which both are finite, each of shape ``(n,)``.

    Raises
    ------
    ValueError
        If the two do not have the same shape.
    """
    first, second = np.asarray(observed, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"observed and predicted must pair up; got the shapes {first.shape} and {second.shape}")
    valid = np.isfinite(first) & np.isfinite(second)
    return first[valid], second[valid]


def moments(observed: ArrayLike, predicted: ArrayLike) -> Moments:
    """Moments of pairs of values; arrays of one shape, NaN = missing."""
    truth, estimate = pairs(observed, predicted)
    if not truth.size:
        return Moments()
    from_truth, from_estimate = truth - truth.mean(), estimate - estimate.mean()
    error = estimate - truth
    nonzero = truth != 0
    mass, estimated_mass = np.maximum(truth, KL_FLOOR), np.maximum(estimate, KL_FLOOR)
    return Moments(
        n=int(truth.size),
        observed=float(truth.mean()),
        predicted=float(estimate.mean()),
        observed_squares=float(from_truth @ from_truth),
        predicted_squares=float(from_estimate @ from_estimate),
        products=float(from_truth @ from_estimate),
        error_squares=float(np.sum((error - error.mean()) ** 2)),
        ratios=float(np.sum(np.abs(error[nonzero] / truth[nonzero]))),
        ratio_pairs=int(nonzero.sum()),
        observed_mass=float(mass.sum()),
        predicted_mass=float(estimated_mass.sum()),
        divergence=float(mass @ np.log(mass / estimated_mass)),
    )


class Score:
    """A metric; made from its formula on `Moments`, called with arrays."""

    def __init__(self, formula: Callable[[Moments], float]) -> None:
        self._formula = formula
        update_wrapper(self, formula)

    def __call__(self, observed: ArrayLike, predicted: ArrayLike) -> float:
        """Value for two arrays of one shape, NaN = missing."""
        return self.of(moments(observed, predicted))

    def of(self, stats: Moments) -> float:
        """Value for pairs of which the moments are known; NaN where it is undefined."""
        return self._formula(stats) if stats.n > 1 else math.nan


def _deviation(squares: float, mean: float, n: int) -> float:
    """Root of the mean square about the mean, or 0 where it is no more than rounding."""
    deviation = math.sqrt(squares / n)
    return deviation if deviation > CONSTANT * abs(mean) else 0.0


def _deviations(stats: Moments) -> tuple[float, float]:
    """Root mean squares of T and of P about their means."""
    return (
        _deviation(stats.observed_squares, stats.observed, stats.n),
        _deviation(stats.predicted_squares, stats.predicted, stats.n),
    )


@Score
def mape(stats: Moments) -> float:
    """Mean absolute percentage error, 100 / N sum |P - T| / |T|, in % (Yan & Bai 2020, Eq 3).

    Pairs whose T is 0, for which the ratio does not exist, are left out.
    """
    return 100 * stats.ratios / stats.ratio_pairs if stats.ratio_pairs else math.nan


@Score
def bias(stats: Moments) -> float:
    """Mean error, 1 / N sum (P - T), in the unit of the values (Yan & Bai 2020, Eq 4)."""
    return stats.bias


@Score
def rmse(stats: Moments) -> float:
    """Root mean square error, sqrt(1 / N sum (P - T)^2), in the unit of the values (Yan & Bai 2020, Eq 5)."""
    return math.sqrt(stats.squares / stats.n)


@Score
def ubrmse(stats: Moments) -> float:
    """Unbiased root mean square error, sqrt(rmse^2 - bias^2), in the unit of the values.

    Entekhabi et al. (2010, J. Hydrometeorol. 11, 832-840), Eq 10: what is left of the error without its mean.
    """
    return math.sqrt(stats.error_squares / stats.n)


@Score
def r2(stats: Moments) -> float:
    """Coefficient of determination, 1 - sum (P - T)^2 / sum (T - mean T)^2; NaN if T is constant."""
    observed, _ = _deviations(stats)
    # Not whether the sum is 0: a constant leaves rounding in it, by which R2 would be a huge number.
    return 1 - stats.squares / stats.observed_squares if observed else math.nan


@Score
def r2_paper(stats: Moments) -> float:
    """Goodness of fit as printed in Yan & Bai (2020), Eq 6: 1 - sum (P - T)^2 / sum (P - mean T)^2.

    The denominator holds P where the coefficient of determination (`r2`) holds T; to compare with the paper only.
    NaN if P is the mean of T throughout.
    """
    about_observed = stats.predicted_squares + stats.n * stats.bias**2
    spread = _deviation(about_observed, stats.observed, stats.n)
    return 1 - stats.squares / about_observed if spread else math.nan


@Score
def r(stats: Moments) -> float:
    """Pearson's correlation, cov(P, T) / sqrt(var P var T) (Yan & Bai 2020, Eq 7); NaN if either is constant."""
    observed, predicted = _deviations(stats)
    if not (observed and predicted):
        return math.nan
    value = stats.products / (stats.n * observed * predicted)
    # Rounding may carry a perfect correlation beyond 1.
    return min(1.0, max(-1.0, value))


@Score
def kl(stats: Moments) -> float:
    """Kullback-Leibler divergence of P from T, sum t log(t / p), in nats (Yan & Bai 2020, Eq 8).

    t and p are T and P floored at `KL_FLOOR` and divided by their sums. Without the division, which the paper does
    not name, the sum is no divergence and may be negative.
    """
    # Divided by the sums only here, for before all parts are added the sums are not known.
    value = stats.divergence / stats.observed_mass - math.log(stats.observed_mass / stats.predicted_mass)
    # Of equal distributions rounding may leave a hair below 0.
    return max(value, 0.0)


@Score
def kl_paper(stats: Moments) -> float:
    """Sum of T log(T / P), in nats, as printed in Yan & Bai (2020), Eq 8, with T and P floored at `KL_FLOOR`.

    It grows with the number of pairs and may be negative; to compare with the paper only.
    """
    return stats.divergence


@Score
def kge(stats: Moments) -> float:
    """Kling-Gupta efficiency, 1 - sqrt((r - 1)^2 + (sd P / sd T - 1)^2 + (mean P / mean T - 1)^2).

    Gupta et al. (2009, J. Hydrol. 377, 80-91), Eqs 9-10. NaN if either is constant or the mean of T is 0.
    """
    observed, predicted = _deviations(stats)
    if not (observed and predicted and stats.observed):
        return math.nan
    return 1 - math.hypot(r.of(stats) - 1, predicted / observed - 1, stats.predicted / stats.observed - 1)


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "mape": mape,
        "bias": bias,
        "rmse": rmse,
        "ubrmse": ubrmse,
        "r2": r2,
        "r2_paper": r2_paper,
        "r": r,
        "kl": kl,
        "kl_paper": kl_paper,
        "kge": kge,
    }
)
"""Every metric by the name that it has in the tables."""


def told(metric: str, stats: Moments) -> float:
    """Value of a metric as tables and figures tell it: NaN where the pairs are too few for it, by `FEWEST`."""
    return SCORES[metric].of(stats) if stats.n >= FEWEST.get(metric, 0) else math.nan
