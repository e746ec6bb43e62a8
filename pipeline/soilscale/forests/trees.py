"""Arithmetic on the trees of a forest: predictions out of bag, and how permuted features worsen them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from soilscale.jit import compiled

Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAF = -1
"""Feature of a node that has no children."""

NEVER = np.iinfo(np.int32).max
"""Node at which a row meets a feature that its path does not use."""

SPAN = 10
"""Trees of which it is known at once which rows are out of their bags; bounds memory."""

STEP = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFT = np.uint64(30), np.uint64(27), np.uint64(31)
HALF = np.uint64(32)


class Outside(Protocol):
    """Whether a row is out of a tree's bag: an array of shape ``(trees, n)``, or what gives a row of it when asked."""

    def __len__(self) -> int:
        """Return the number of trees."""

    def __getitem__(self, tree: int, /) -> Bools:
        """Whether each row is out of a tree's bag, shape ``(n,)``."""


@dataclass(frozen=True)
class Forest:
    """Regression trees laid end to end; the nodes of each are numbered from 0, its root."""

    start: NDArray[np.int64]
    """Place of each tree's root, and behind them the number of all nodes, shape ``(trees + 1,)``."""
    feature: NDArray[np.int32]
    """Feature that a node splits by, `LEAF` where it does not, shape ``(nodes,)``."""
    threshold: Float64s
    """Greatest value that goes left, shape ``(nodes,)``."""
    child: NDArray[np.int32]
    """Left and right child, which stand behind their parent in its tree, shape ``(nodes, 2)``."""
    value: Float64s
    """Prediction of a leaf, shape ``(nodes,)``."""


@compiled
def permutation(count: int, seed: np.uint64) -> NDArray[np.int64]:
    """Draw a permutation of ``0..count-1`` that depends on the seed alone.

    Shuffle of Fisher and Yates (Durstenfeld 1964, Commun. ACM 7, 420) by the generator SplitMix64 (Steele, Lea &
    Flood 2014, OOPSLA '14, 453-472); `count` is less than 2**32.
    """
    order = np.arange(count)
    state = seed
    for last in range(count - 1, 0, -1):
        # Meant to overflow: the generator counts modulo 2**64.
        state = state + STEP
        bits = (state ^ (state >> SHIFT[0])) * MIX[0]
        bits = (bits ^ (bits >> SHIFT[1])) * MIX[1]
        bits = bits ^ (bits >> SHIFT[2])
        # Fits into 64 bits, since `count` is less than 2**32.
        chosen = np.int64(((bits >> HALF) * np.uint64(last + 1)) >> HALF)
        order[last], order[chosen] = order[chosen], order[last]
    return order


def out_of_bag(forest: Forest, X: NDArray[np.float32], out: Outside) -> tuple[Float64s, NDArray[np.int64]]:
    """Mean prediction of each row by the trees that did not learn from it.

    Parameters
    ----------
    forest
        The trees.
    X
        Features, shape ``(n, p)``, finite.
    out
        Rows out of each tree's bag.

    Returns
    -------
    mean, count
        Shape ``(n,)``: the mean, NaN where every tree learned from the row, and the number of trees that did not.
    """
    total, count = np.zeros(len(X)), np.zeros(len(X), np.int64)
    for first in range(0, len(out), SPAN):
        start, outside = _span(forest, out, first)
        count += outside.sum(axis=0)
        _sum(start, forest.feature, forest.threshold, forest.child, forest.value, X, outside, total)
    return np.divide(total, count, out=np.full(len(X), np.nan), where=count > 0), count


def permuted_errors(
    forest: Forest,
    X: NDArray[np.float32],
    y: Float64s,
    slope: Float64s,
    out: Outside,
    units: Bools,
    seeds: NDArray[np.uint64],
    threads: int = 1,
) -> tuple[Float64s, Float64s]:
    """Mean squared error of each tree on its out-of-bag rows, and its increase when features are permuted among them.

    A tree predicts its leaf's value plus a linear function of the features, which `slope` gives up to what `y`
    already lacks. The features of a unit are permuted together, by one permutation of the tree's rows. A row goes
    anew through the tree from the first node on its path that uses one of them, and not at all where it stays between
    the limits of its leaf.

    Parameters
    ----------
    forest
        The trees.
    X
        Features, shape ``(n, p)``, finite.
    y
        Target less the linear function, shape ``(n,)``.
    slope
        Slope of the linear function, shape ``(p,)``; zeros for trees alone.
    out
        Rows out of each tree's bag.
    units
        Features that are permuted together, shape ``(units, p)``.
    seeds
        Seed of each permutation, shape ``(trees, units)``.
    threads
        Most threads; the result does not depend on it.

    Returns
    -------
    error, increase
        Shapes ``(trees,)`` and ``(trees, units)``, in squared units of `y`; NaN for a tree without out-of-bag rows.
    """
    error, increase = np.full(len(out), np.nan), np.full(seeds.shape, np.nan)
    columns = [np.flatnonzero(unit) for unit in units]
    members = np.concatenate(columns)
    bounds = np.cumsum([0, *map(len, columns)])
    nodes = forest.feature, forest.threshold, forest.child, forest.value

    def permute(first: int) -> None:
        trees = slice(first, first + SPAN)
        start, outside = _span(forest, out, first)
        results = error[trees], increase[trees]
        _permute(start, *nodes, X, y, slope, outside, units, members, bounds, seeds[trees], *results)

    firsts = range(0, len(out), SPAN)
    if threads == 1:
        for first in firsts:
            permute(first)
    else:
        with ThreadPoolExecutor(threads) as pool:
            # `list` consumes the results; without it an error in a thread would go unnoticed.
            list(pool.map(permute, firsts))
    return error, increase


def _span(forest: Forest, out: Outside, first: int) -> tuple[NDArray[np.int64], Bools]:
    """Places of the roots of some trees, and the end of the last, and the rows out of their bags."""
    last = min(first + SPAN, len(out))
    return forest.start[first : last + 1], np.stack([out[tree] for tree in range(first, last)])


@compiled
def _sum(start: Any, feature: Any, threshold: Any, child: Any, value: Any, X: Any, out: Any, total: Any) -> None:
    for tree in range(len(start) - 1):
        root = start[tree]
        for row in range(len(X)):
            if out[tree, row]:
                node = root
                while feature[node] != LEAF:
                    node = root + child[node, 1 if X[row, feature[node]] > threshold[node] else 0]
                total[row] += value[node]


@compiled
def rounded_down(threshold: float) -> np.float32:
    """Greatest float32 that is not above a threshold: the same float32 features are at most as great."""
    near = np.float32(threshold)
    # Rounding to nearest could lift the threshold to the next float32, and features of that value would then go left.
    return np.nextafter(near, np.float32(-np.inf)) if np.float64(near) > threshold else near


@compiled
def _lay(feature: Any, threshold: Any, child: Any, value: Any) -> tuple[Any, Any, Any, Any]:
    """Lay a tree anew with siblings side by side: features, thresholds as float32, left children, values."""
    count = len(feature)
    place, left = np.zeros(count, np.int32), np.zeros(count, np.int32)
    splits, limits, leaves = np.empty(count, np.int32), np.empty(count, np.float32), np.empty(count)
    following = 1
    for node in range(count):
        at = place[node]
        splits[at], limits[at], leaves[at] = feature[node], rounded_down(threshold[node]), value[node]
        if feature[node] != LEAF:
            left[at] = following
            place[child[node, 0]], place[child[node, 1]] = following, following + 1
            following += 2
    return splits, limits, left, leaves


@compiled
def _meet(feature: Any, threshold: Any, left: Any, x: Any, first: Any, low: Any, high: Any) -> int:
    """Leaf of a row; of each feature, first node on its path that uses it, and the limits that keep it in the leaf."""
    first[:], low[:], high[:] = NEVER, -np.inf, np.inf
    node = 0
    while feature[node] != LEAF:
        used, limit = feature[node], threshold[node]
        # `_lay` numbers children after their parents, so the smallest number is the first node that the row meets.
        first[used] = min(first[used], node)
        if x[used] > limit:
            low[used] = max(low[used], limit)
            node = left[node] + 1
        else:
            high[used] = min(high[used], limit)
            node = left[node]
    return node


@compiled
def _depart(x: Any, order: Any, members: Any, first: Any, low: Any, high: Any, node: Any, moving: Any) -> int:
    """Number of rows that leave their leaf, which `moving` takes; `node` takes the node to go on from, or `NEVER`."""
    count = 0
    for row in range(len(order)):
        start, stays = np.int32(NEVER), True
        for used in members:
            start = min(start, first[row, used])
            new = x[order[row], used]
            stays &= (new > low[row, used]) & (new <= high[row, used])
        node[row] = NEVER if stays else start
        # Always written, but only kept if the row moves: no branch in the inner loop.
        moving[count] = row
        count += 0 if stays else 1
    return count


@compiled
def _fall(
    feature: Any, threshold: Any, left: Any, x: Any, order: Any, unit: Any, node: Any, moving: Any, count: int
) -> None:
    """Move rows from node to leaf, all one step at a time, with the unit's features from other rows."""
    while count > 0:
        remaining = 0
        for index in range(count):
            row = moving[index]
            at = node[row]
            used = feature[at]
            source = order[row] if unit[used] else row
            at = left[at] + (1 if x[source, used] > threshold[at] else 0)
            node[row] = at
            moving[remaining] = row
            remaining += 1 if feature[at] != LEAF else 0
        count = remaining


@compiled
def _gain(x: Any, y: Any, slope: Any, members: Any, order: Any, leaves: Any, node: Any, residual: Any) -> float:
    """Increase of the sum of squared errors."""
    total = 0.0
    for row in range(len(order)):
        new = residual[row] if node[row] == NEVER else leaves[node[row]] - y[row]
        for used in members:
            new += slope[used] * (np.float64(x[order[row], used]) - np.float64(x[row, used]))
        total += new**2 - residual[row] ** 2
    return total


@compiled
def _permute(
    start: Any,
    feature: Any,
    threshold: Any,
    child: Any,
    value: Any,
    X: Any,
    y: Any,
    slope: Any,
    out: Any,
    units: Any,
    members: Any,
    bounds: Any,
    seeds: Any,
    error: Any,
    increase: Any,
) -> None:
    for tree in range(len(out)):
        rows = np.flatnonzero(out[tree])
        count = len(rows)
        if count == 0:
            continue
        nodes = slice(start[tree], start[tree + 1])
        splits, limits, left, leaves = _lay(feature[nodes], threshold[nodes], child[nodes], value[nodes])
        x, target = X[rows], y[rows]
        first = np.empty(x.shape, np.int32)
        low, high = np.empty_like(x), np.empty_like(x)
        residual = np.empty(count)
        for row in range(count):
            leaf = _meet(splits, limits, left, x[row], first[row], low[row], high[row])
            residual[row] = leaves[leaf] - target[row]
        error[tree] = (residual**2).sum() / count
        node, moving = np.empty(count, np.int32), np.empty(count, np.int32)
        for unit in range(len(units)):
            columns = members[bounds[unit] : bounds[unit + 1]]
            order = permutation(count, seeds[tree, unit])
            leaving = _depart(x, order, columns, first, low, high, node, moving)
            _fall(splits, limits, left, x, order, units[unit], node, moving, leaving)
            increase[tree, unit] = _gain(x, target, slope, columns, order, leaves, node, residual) / count
