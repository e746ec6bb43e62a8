"""Weighted sums of layers: what is added in place is what arithmetic on whole arrays gives."""

from __future__ import annotations

import numpy as np
import pytest

from soilscale.cube import accumulate


@pytest.mark.parametrize("shape", [(7, 5), (3, 7, 5)])
def test_layers_are_added_by_what_they_see_and_by_days(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    total, weight = np.zeros(shape), np.zeros(shape[-2:])
    expected, weights = total.copy(), weight.copy()
    for days, per in ((8.0, 1.0), (3.0, 5.0)):
        values, share = rng.random(shape), rng.choice([0.0, 0.3, 1.0], shape[-2:])
        values[..., share == 0] = np.nan
        accumulate.add(total, weight, values, share, days=days, per=per)
        expected = expected + np.where(share > 0, values / per, 0) * (days * share)
        weights = weights + days * share
    np.testing.assert_array_equal(total, expected)
    np.testing.assert_array_equal(weight, weights)


def test_what_a_cell_has_enough_of_is_not_added() -> None:
    total, weight = np.zeros((1, 4)), np.zeros((1, 4))
    accumulate.add(total, weight, np.full((1, 4), 2.0), np.array([[0.0, 0.5, 0.75, 1.0]]), most=1)
    accumulate.add(total, weight, np.full((1, 4), 4.0), np.array([[1.0, 0.25, 0.75, 1.0]]), most=1)
    np.testing.assert_array_equal(weight, [[1, 0.75, 1, 1]])
    np.testing.assert_array_equal(total, [[4, 2, 2.5, 2]])


def test_a_part_of_a_sum_is_added_to_where_it_stands() -> None:
    total, weight = np.zeros((2, 6, 6)), np.zeros((6, 6))
    part = slice(2, 4), slice(1, 6)
    accumulate.add(total[(..., *part)], weight[part], np.ones((2, 2, 5)), np.ones((2, 5)))
    assert weight[part].all()
    assert weight.sum() == 10
    assert total.sum() == 20
