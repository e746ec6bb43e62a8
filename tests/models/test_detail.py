"""On which features the detail within coarse cells rests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from soilscale.models import Blend
from soilscale.models.detail import within_shares

Pixels = NDArray[np.float32]


class Formula:
    """A model that is a formula."""

    def __init__(self, *slopes: float, product: float = 0.0) -> None:
        self.slopes, self.product = np.array(slopes), product

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Line of the features, and the product of the first two."""
        line: NDArray[Any] = X @ self.slopes
        return line + self.product * X[:, 0] * X[:, 1] if self.product else line


@pytest.fixture
def pixels() -> Pixels:
    """60 cells of 25 pixels, three features; of the last nearly all lies between cells."""
    rng = np.random.default_rng(0)
    between, within = rng.normal(size=(60, 1, 3)), rng.normal(size=(60, 25, 3))
    found: Pixels = (between * [1, 0.1, 5] + within * [1, 1, 0.1]).astype("float32")
    return found


def test_shares_of_a_sum_are_those_of_its_variance_within_cells_and_add_up_to_one(pixels: Pixels) -> None:
    shares = within_shares(Formula(1.0, 2.0, 3.0), pixels)
    parts = (pixels - pixels.mean(axis=1, keepdims=True)) * [1, 2, 3]
    whole = parts.sum(axis=-1)
    expected = (parts * whole[..., None]).mean(axis=(0, 1)) / (whole**2).mean()
    np.testing.assert_allclose(shares, [*expected, 0], atol=1e-4)
    assert shares.sum() == pytest.approx(1, abs=1e-4)
    assert shares[1] == pytest.approx(4 / 5.09, abs=0.05)  # 4 of 1 + 4 + 9 x 0.01
    assert shares[2] < 0.05, "what varies between cells alone makes no detail"


def test_what_place_adds_has_a_share_of_its_own(pixels: Pixels) -> None:
    surface = np.broadcast_to(np.linspace(-1, 1, 25), (60, 25))
    shares = within_shares(Formula(1.0, 0.0, 0.0), pixels, surface)
    assert shares[3] == pytest.approx(np.var(surface[0]) / (np.var(surface[0]) + 1), abs=0.08)
    assert shares.sum() == pytest.approx(1, abs=1e-4)


def test_a_feature_that_takes_back_what_another_adds_has_a_share_below_0(pixels: Pixels) -> None:
    shares = within_shares(Formula(2.0, -1.0, 0.0), pixels[..., [0, 0, 2]])
    np.testing.assert_allclose(shares, [2, -1, 0, 0], atol=1e-4)


def test_a_product_counts_for_both_of_its_features(pixels: Pixels) -> None:
    shares = within_shares(Formula(0.0, 0.0, 0.0, product=1.0), pixels)
    assert min(shares[:2]) > 0.3
    assert shares[2] == 0


def test_a_map_without_detail_has_no_shares(pixels: Pixels) -> None:
    assert np.isnan(within_shares(Formula(0.0, 0.0, 0.0), pixels)).all()


def test_a_blend_is_looked_at_as_one_model(pixels: Pixels) -> None:
    blend = Blend([(Formula(1.0), np.array([0]), 0.5), (Formula(2.0), np.array([1]), 0.5)])
    np.testing.assert_allclose(within_shares(blend, pixels), within_shares(Formula(0.5, 1.0, 0.0), pixels), atol=1e-5)
