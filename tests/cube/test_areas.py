from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from soilscale.cube import areas
from worlds import Array


def lattice(rows: int, columns: int, matrix: tuple[float, float, float, float], corner: tuple[float, float]) -> Array:
    """Corners of cells that an affine map makes, shape (2, rows + 1, columns + 1)."""
    column, row = np.meshgrid(np.arange(columns + 1.0), np.arange(rows + 1.0))
    a, b, c, d = matrix
    return np.stack([corner[0] + a * column + b * row, corner[1] + c * column + d * row])


def by_shapely(amount: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Totals and fractions from the intersections of polygons."""
    totals, fraction = np.zeros((x.shape[0] - 1, x.shape[1] - 1)), np.zeros((x.shape[0] - 1, x.shape[1] - 1))
    rows, columns = np.nonzero(np.isfinite(amount))
    pixels = shapely.box(columns, rows, columns + 1, rows + 1)
    for i, j in np.ndindex(totals.shape):
        ring = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
        cell = shapely.Polygon([(x[at], y[at]) for at in ring])
        shares = shapely.area(shapely.intersection(pixels, cell)) / cell.area
        totals[i, j], fraction[i, j] = (shares * amount[rows, columns]).sum(), shares.sum()
    return totals, fraction


@pytest.mark.parametrize(
    "matrix", [(2.3, 0.0, 0.0, 2.1), (1.7, 1.4, -0.1, 2.2), (0.4, -0.3, 0.2, 0.6), (0.9, 0, 0, 0.9)]
)
def test_shares_are_those_of_intersected_polygons(matrix: tuple[float, float, float, float]) -> None:
    random = np.random.default_rng(1)
    amount = random.normal(size=(18, 22))
    amount[random.random(amount.shape) < 0.2] = np.nan
    x, y = lattice(6, 7, matrix, (1.3, 2.7))
    totals, fraction = areas.overlay(amount, np.zeros(amount.shape, "int16"), 1, x, y)
    expected_totals, expected_fraction = by_shapely(amount, x, y)
    np.testing.assert_allclose(totals[0], expected_totals, atol=1e-12)
    np.testing.assert_allclose(fraction, expected_fraction, atol=1e-12)


def test_cells_that_are_pixels_take_their_values_unchanged() -> None:
    amount = np.random.default_rng(0).normal(size=(5, 6))
    x, y = lattice(3, 4, (1, 0, 0, 1), (1, 2))
    totals, fraction = areas.overlay(amount, np.zeros(amount.shape, "int16"), 1, x, y)
    assert (totals[0] == amount[2:5, 1:5]).all()
    assert (fraction == 1).all()


def test_a_cell_outside_the_pixels_or_without_a_place_gets_nothing() -> None:
    x, y = lattice(1, 2, (1, 0, 0, 1), (40, 40))
    x[:, 2] = np.inf
    totals, fraction = areas.overlay(np.ones((4, 4)), np.zeros((4, 4), "int16"), 1, x, y)
    assert (totals == 0).all()
    assert (fraction == 0).all()


def test_layers_are_summed_apart_and_a_pixel_of_none_still_counts_as_valid() -> None:
    layer = np.array([[0, 1], [1, -1]], "int16")
    totals, fraction = areas.overlay(np.ones((2, 2)), layer, 2, *lattice(1, 1, (2, 0, 0, 2), (0, 0)))
    assert totals.ravel().tolist() == [0.25, 0.5]
    assert fraction.item() == 1


@settings(max_examples=60, deadline=None)
@given(
    stretch=st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)),
    shear=st.floats(-2, 2),
    flip=st.booleans(),
    seed=st.integers(0, 100),
)
def test_nothing_is_lost_and_nothing_counts_twice(
    stretch: tuple[float, float], shear: float, *, flip: bool, seed: int
) -> None:
    """Cells that cover all pixels share out all that the pixels hold, whichever way round the cells run."""
    amount = np.random.default_rng(seed).random((4, 5))
    size = 40
    x, y = lattice(size, size, (stretch[0], shear, 0, stretch[1] * (-1 if flip else 1)), (0, 0))
    x, y = x - x[size // 2, size // 2], y - y[size // 2, size // 2]
    totals, fraction = areas.overlay(amount, np.zeros(amount.shape, "int16"), 1, x, y)
    inside = shapely.Polygon([(x[at], y[at]) for at in [(0, 0), (0, -1), (-1, -1), (-1, 0)]])
    if inside.contains(shapely.box(0, 0, 5, 4)):
        cell = stretch[0] * stretch[1]
        assert totals.sum() * cell == pytest.approx(amount.sum(), rel=1e-9)
        assert fraction.sum() * cell == pytest.approx(20, rel=1e-9)
    assert fraction.max() <= 1
