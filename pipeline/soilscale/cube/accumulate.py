"""Weighted sums of layers, added to in place and in one pass."""

from __future__ import annotations

import math
from typing import Any

from soilscale.cube.warping import Floats
from soilscale.jit import compiled


def add(
    total: Floats, weight: Floats, values: Floats, share: Floats, *, days: float = 1.0, per: float = 1.0,
    most: float = math.inf,
) -> None:  # fmt: skip
    """Add a layer to a sum, weighted by the share of each cell that it sees and by days.

    Parameters
    ----------
    total
        Sum of values times weights, shape ``(Y, X)`` or ``(layers, Y, X)``; added to.
    weight
        Sum of weights, shape ``(Y, X)``; added to.
    values
        Of the shape of `total`; what they are where nothing is seen does not matter.
    share
        Share of each cell that is seen, 0 to 1, shape ``(Y, X)``.
    days
        Weight of a cell that is seen whole.
    per
        What values are divided by.
    most
        Greatest sum of weights of a cell; what is beyond it counts less, or not at all.
    """
    # The compiled loop knows three dimensions only; the views share memory, so the sums are added to in place.
    layers = (None, ...) if total.ndim == weight.ndim else ...
    _add(total[layers], weight, values[layers], share, days, per, most)


@compiled
def _add(total: Any, weight: Any, values: Any, share: Any, days: float, per: float, most: float) -> None:
    layers, rows, columns = total.shape
    for row in range(rows):
        for column in range(columns):
            # Only up to `most`: where scenes overlap, a later one may fill what is left of a cell, not count it
            # twice.
            gained = min(days * share[row, column], most - weight[row, column])
            if gained > 0:
                weight[row, column] += gained
                for layer in range(layers):
                    total[layer, row, column] += values[layer, row, column] / per * gained
