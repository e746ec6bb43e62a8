"""The metrics, by hand, against scikit-learn and SciPy, and by what must hold whatever the values are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import entropy, pearsonr
from sklearn.metrics import mean_absolute_percentage_error, mean_squared_error, r2_score

from soilscale.reports.scores import KL_FLOOR, SCORES, Moments, moments, pairs

Floats = NDArray[np.float64]

OBSERVED = np.array([0.1, 0.2, 0.4])
PREDICTED = np.array([0.2, 0.2, 0.3])

BY_HAND = {
    # |P - T| / T is 1, 0, 1/4
    "mape": 100 * 1.25 / 3,
    "bias": 0.0,
    # squares .01, 0, .01
    "rmse": math.sqrt(0.02 / 3),
    "ubrmse": math.sqrt(0.02 / 3),
    # mean T is .7 / 3; sum (T - mean T)^2 = .21 - .49 / 3, sum (P - mean T)^2 = .17 - .49 / 3
    "r2": 1 - 0.02 / (0.21 - 0.49 / 3),
    "r2_paper": 1 - 0.02 / (0.17 - 0.49 / 3),
    # sum T P = .18, both means .7 / 3
    "r": (0.18 - 0.49 / 3) / math.sqrt((0.21 - 0.49 / 3) * (0.17 - 0.49 / 3)),
    # shares 1/7, 2/7, 4/7 and 2/7, 2/7, 3/7
    "kl": math.log(1 / 2) / 7 + 4 / 7 * math.log(4 / 3),
    # .1 log(.1 / .2) + .2 log(.2 / .2) + .4 log(.4 / .3)
    "kl_paper": 0.1 * math.log(1 / 2) + 0.4 * math.log(4 / 3),
}


def soil_moisture(size: int) -> st.SearchStrategy[Floats]:
    return arrays("float64", size, elements=st.floats(0.001, 0.6))


same_length = st.integers(2, 40).flatmap(lambda n: st.tuples(soil_moisture(n), soil_moisture(n)))


@pytest.mark.parametrize(("name", "expected"), BY_HAND.items())
def test_metric_has_the_value_worked_by_hand(name: str, expected: float) -> None:
    assert SCORES[name](OBSERVED, PREDICTED) == pytest.approx(expected)


def test_kling_gupta_efficiency_by_hand() -> None:
    # P = 2 T: r = 1, the ratios of deviations and of means are 2
    assert SCORES["kge"](OBSERVED, 2 * OBSERVED) == pytest.approx(1 - math.sqrt(2))


def test_metrics_stand_in_the_order_of_the_tables() -> None:
    assert list(SCORES) == ["mape", "bias", "rmse", "ubrmse", "r2", "r2_paper", "r", "kl", "kl_paper", "kge"]


def test_every_metric_says_what_it_is() -> None:
    for name, score in SCORES.items():
        assert score.__name__ == name
        assert len(score.__doc__) > 60


def test_bias_is_positive_where_too_much_is_predicted() -> None:
    assert SCORES["bias"]([0.1, 0.2], [0.2, 0.4]) == pytest.approx(0.15)


def test_the_two_goodnesses_of_fit_differ_as_printed() -> None:
    # P constant but off the mean of T: Eq 6 has a denominator, the standard one does not care for P
    assert SCORES["r2"]([0.1, 0.3], [0.3, 0.3]) == pytest.approx(1 - 0.04 / 0.02)
    assert SCORES["r2_paper"]([0.1, 0.3], [0.3, 0.3]) == pytest.approx(1 - 0.04 / 0.02)
    assert SCORES["r2_paper"]([0.1, 0.3], [0.2, 0.4]) == pytest.approx(1 - 0.02 / 0.04)
    assert SCORES["r2"]([0.1, 0.3], [0.2, 0.4]) == pytest.approx(0.0)


@settings(max_examples=60, deadline=None)
@given(same_length)
def test_metrics_agree_with_scikit_learn_and_scipy(both: tuple[Floats, Floats]) -> None:
    observed, predicted = both
    assert SCORES["rmse"](observed, predicted) ** 2 == pytest.approx(mean_squared_error(observed, predicted), abs=1e-12)
    assert SCORES["mape"](observed, predicted) == pytest.approx(
        100 * mean_absolute_percentage_error(observed, predicted)
    )
    assert SCORES["kl"](observed, predicted) == pytest.approx(float(entropy(observed, predicted)), abs=1e-9)
    if observed.std() > 1e-3 and predicted.std() > 1e-3:
        assert SCORES["r2"](observed, predicted) == pytest.approx(r2_score(observed, predicted))
        assert SCORES["r"](observed, predicted) == pytest.approx(pearsonr(observed, predicted).statistic)


@settings(max_examples=60, deadline=None)
@given(same_length)
def test_squared_error_is_that_of_the_mean_and_the_rest(both: tuple[Floats, Floats]) -> None:
    rmse, bias, ubrmse = (SCORES[name](*both) for name in ("rmse", "bias", "ubrmse"))
    assert rmse**2 == pytest.approx(bias**2 + ubrmse**2, abs=1e-12)
    assert rmse >= abs(bias) - 1e-12


@settings(max_examples=40, deadline=None)
@given(same_length)
def test_bounds_hold(both: tuple[Floats, Floats]) -> None:
    assert SCORES["kl"](*both) >= 0
    correlation = SCORES["r"](*both)
    assert math.isnan(correlation) or -1 <= correlation <= 1
    for name in ("r2", "kge"):
        value = SCORES[name](*both)
        assert math.isnan(value) or value <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40).flatmap(soil_moisture))
def test_perfect_prediction(values: Floats) -> None:
    found = {name: score(values, values) for name, score in SCORES.items()}
    assert [found[name] for name in ("mape", "bias", "rmse", "ubrmse", "kl")] == [0] * 5
    for name in ("r2", "r2_paper", "r", "kge"):
        assert math.isnan(found[name]) or found[name] == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(same_length, st.integers(0, 40))
def test_moments_of_parts_add_up(both: tuple[Floats, Floats], cut: int) -> None:
    observed, predicted = both
    parts = moments(observed[:cut], predicted[:cut]) + moments(observed[cut:], predicted[cut:])
    assert parts.n == len(observed)
    for score in SCORES.values():
        assert score.of(parts) == pytest.approx(score(observed, predicted), nan_ok=True, rel=1e-6, abs=1e-7)


def test_many_parts_lose_no_digits() -> None:
    generator = np.random.default_rng(0)
    observed = 300 + generator.normal(scale=1e-3, size=20_000)
    predicted = observed + generator.normal(scale=1e-3, size=20_000)
    total = sum((moments(observed[i::500], predicted[i::500]) for i in range(500)), Moments())
    assert SCORES["r2"].of(total) == pytest.approx(r2_score(observed, predicted), rel=1e-9)


def test_pairs_with_a_missing_value_do_not_count() -> None:
    observed = np.append(OBSERVED, [np.nan, 0.3, np.inf])
    predicted = np.append(PREDICTED, [0.3, np.nan, 0.2])
    for score in SCORES.values():
        assert score(observed, predicted) == score(OBSERVED, PREDICTED)


@pytest.mark.parametrize("values", [[], [0.2], [np.nan, 0.2]])
def test_fewer_than_two_pairs_have_no_score(values: list[float]) -> None:
    for score in SCORES.values():
        assert math.isnan(score(values, values))


def test_a_constant_has_no_correlation_nor_fit() -> None:
    constant = np.full(7, 0.1)
    for name in ("r2", "r", "kge"):
        assert math.isnan(SCORES[name](constant, np.linspace(0.1, 0.2, 7)))
    assert math.isnan(SCORES["r"](np.linspace(0.1, 0.2, 7), constant))
    assert math.isnan(SCORES["r2_paper"](constant, constant))


def test_zero_has_no_relative_error_and_is_left_out() -> None:
    assert SCORES["mape"]([0.0, 0.2, 0.4], [0.1, 0.3, 0.4]) == pytest.approx(25)
    assert math.isnan(SCORES["mape"]([0.0, 0.0], [0.1, 0.2]))


def test_divergence_of_zeros_stands_on_the_floor() -> None:
    shares = np.array([KL_FLOOR, 1.0]) / (1 + KL_FLOOR)
    assert SCORES["kl"]([0.5, 0.5], [0.0, 1.0]) == pytest.approx(float(entropy([0.5, 0.5], shares)))


def test_divergence_does_not_depend_on_the_unit_of_either() -> None:
    assert SCORES["kl"](OBSERVED, 100 * PREDICTED) == pytest.approx(SCORES["kl"](OBSERVED, PREDICTED))


def test_arrays_of_two_dimensions_are_pairs_too() -> None:
    assert SCORES["rmse"]([[0.1], [0.2]], [[0.2], [0.3]]) == pytest.approx(0.1)


def test_arrays_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(1,\)"):
        pairs([0.1, 0.2], [0.1])
