"""Prediction by a forest: similar rows go down its trees together, 64 at a time.

A group of rows stands at a node with a word of 64 bits that says which of its rows are there. One comparison of 64
lanes tells which of them go left and which right, and where none goes, nothing goes. What is counted is nodes that a
group visits, not nodes that rows pass: the more alike the rows of a group, the fewer. So rows are first put in order
by a k-d partition of features, in which a feature's extent is the share of splits that it crosses.

The result of a row is the sum over the trees in their order, in float64, whichever rows it goes with.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale.forests.instructions import LANES, at_most, lowest
from soilscale.forests.trees import LEAF, Forest, rounded_down
from soilscale.jit import compiled

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]

BATCH = 64
"""Groups that go down a tree together, so that their features and the tree stay in a core's cache."""

LIVE = LANES * BATCH + 1
"""Most places in a tree that a batch's rows can be at, and one that takes what is not kept."""

ROWS = 2**16
"""Most rows that are put in order and go down together; what memory is needed beyond the result grows with it."""

STEPS = 256
"""Steps by which `Descent.steps` tells how many splits lie below a value."""

SAMPLE = 32
"""Trees by which it is told."""

LOOKED_AT = 128
"""Rows by which the extent of a part is told, where it has more."""

ZERO, ONE, TWO, THREE, WORD = (np.uint64(number) for number in (0, 1, 2, 3, 32))
LOW = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(0xFFFFFFFF00000000)
SIGN = np.uint64(31)
WIDTH = np.uint64(LANES)
SPAN = np.uint64(LIVE)
PLACES = np.uint64(LANES + 1)


@dataclass(frozen=True)
class Descent:
    """A forest laid out for prediction; see `lay`.

    A child is told by four times its number among the nodes that split, or ``~k`` for leaf `k`.
    """

    root: NDArray[np.int32]
    """Root of each tree, told as a child is, shape ``(trees,)``."""
    node: NDArray[np.int32]
    """Of each node that splits: `LANES` times its feature, the bits of its threshold as float32, left and right child.
    Flat, shape ``(4 * nodes,)``."""
    value: Float64s
    """Prediction of each leaf, shape ``(leaves,)``."""
    steps: Float32s
    """Values of each feature between which lie equal shares of the splits, ascending, shape ``(p, STEPS)``."""
    weight: Float64s
    """Weight of all splits by each feature, shape ``(p,)``: a split weighs as many leaves as lie below it."""


def lay(forest: Forest, p: int) -> Descent:
    """Lay a forest of `p` features out for prediction; it may have up to 2**29 nodes that split."""
    splits = int(np.count_nonzero(forest.feature != LEAF))
    root, value = np.empty(len(forest.start) - 1, np.int32), np.empty(len(forest.feature) - splits)
    # A node is 16 bytes; aligned, it never straddles two cache lines.
    node = _aligned(4 * splits, np.int32)
    _lay(forest.start, forest.feature, forest.threshold, forest.child, forest.value, root, node, value)
    leaves = _leaves(forest.start[: SAMPLE + 1], forest.feature, forest.child)
    steps, weight = np.zeros((p, STEPS), np.float32), np.zeros(p)
    for feature in range(p):
        nodes = np.flatnonzero(forest.feature[: len(leaves)] == feature)
        if len(nodes):
            order = nodes[np.argsort(forest.threshold[nodes])]
            total = np.cumsum(leaves[order])
            at = np.searchsorted(total, (np.arange(STEPS) + 0.5) / STEPS * total[-1])
            steps[feature], weight[feature] = [rounded_down(limit) for limit in forest.threshold[order[at]]], total[-1]
    return Descent(root, node, value, steps, weight)


def check(descent: Descent, p: int) -> None:
    """Refuse arrays that are no forest of `p` features: prediction follows their numbers without looking.

    Raises
    ------
    ValueError
        If an array has another type or shape, or a node leads outside the forest or not onwards.
    """
    layout = {name: (array.dtype.str[1:], array.shape) for name, array in vars(descent).items()}
    nodes, leaves = len(descent.node) // 4, len(descent.value)
    expected = {
        "root": ("i4", (len(descent.root),)),
        "node": ("i4", (4 * nodes,)),
        "value": ("f8", (leaves,)),
        "steps": ("f4", (p, STEPS)),
        "weight": ("f8", (p,)),
    }
    if layout != expected or not len(descent.root):
        raise ValueError(f"got arrays {layout}, expected {expected}")
    lanes, _, *children = descent.node.reshape(nodes, 4).T
    codes = 4 * np.arange(nodes)
    # A child that precedes its parent would make prediction loop forever.
    onwards = all(((child < 0) | (child > codes)).all() for child in children)
    inside = all(
        ((code < 4 * nodes) & (code >= -leaves) & ((code < 0) | (code % 4 == 0))).all()
        for code in (descent.root, *children)
    )
    if not onwards or not inside or not ((lanes >= 0) & (lanes < LANES * p) & (lanes % LANES == 0)).all():
        raise ValueError("a node leads outside the forest")


def align(descent: Descent) -> Descent:
    """Forest whose nodes begin a line of the cache, as `lay` lays them."""
    node = _aligned(len(descent.node), np.int32)
    node[:] = descent.node
    return replace(descent, node=node)


def mean(descent: Descent, X: Float32s, threads: int = 1) -> Float64s:
    """Mean of the trees' predictions.

    Parameters
    ----------
    descent
        The trees.
    X
        Features, shape ``(n, p)``, finite; `n` may be 0.
    threads
        Most threads; the result does not depend on it.

    Returns
    -------
    array
        Shape ``(n,)``. The sum is taken in the order of the trees, so that it is that of scikit-learn on one core to
        the last bit, and the same whichever rows stand beside a row.
    """
    total = np.empty(len(X))
    # Threads split the rows, never the trees, so each row is summed in the order of the trees.
    size = min(ROWS, -(-len(X) // threads)) or 1
    spans = [slice(first, first + size) for first in range(0, len(X), size)]

    def fall(span: slice) -> None:
        total[span] = _sum(descent, X[span])

    if threads == 1 or len(spans) < 2:  # noqa: PLR2004 - one span needs no other thread
        for span in spans:
            fall(span)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fall, spans))
    return total / len(descent.root)


def _sum(descent: Descent, X: Float32s) -> Float64s:
    """Sum of the trees' predictions for rows, as many as are put in order together."""
    X = np.ascontiguousarray(X)
    order = np.arange(len(X))
    _arrange(X, order, descent.steps, descent.weight)
    total = np.empty(len(X))
    batch = BATCH * LANES
    features = _aligned(batch * X.shape[1], np.float32)
    for first in range(0, len(X), batch):
        rows = order[first : first + batch]
        _gather(X, rows, features)
        _fall(
            descent.root,
            descent.node,
            descent.node.view(np.float32),
            descent.value,
            features,
            X.shape[1],
            rows,
            total,
        )
    return total


def _aligned(count: int, dtype: Any) -> NDArray[Any]:
    """Zeros, the first of which begins a line of the cache, 64 bytes."""
    size = count * np.dtype(dtype).itemsize
    room = np.zeros(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype)


@compiled
def _lay(start: Any, feature: Any, threshold: Any, child: Any, value: Any, root: Any, node: Any, leaf: Any) -> None:
    """Fill `root`, `node` and the values of leaves."""
    splits, leaves, limit = 0, 0, node.view(np.float32)
    code = np.empty(np.max(np.diff(start)), np.int32)
    for tree in range(len(start) - 1):
        first, end = start[tree], start[tree + 1]
        for place in range(first, end):
            if feature[place] == LEAF:
                code[place - first], leaf[leaves] = ~leaves, value[place]
                leaves += 1
            else:
                code[place - first] = 4 * splits
                splits += 1
        root[tree] = code[0]
        for place in range(first, end):
            offset = code[place - first]
            if offset >= 0:
                node[offset], limit[offset + 1] = LANES * feature[place], rounded_down(threshold[place])
                node[offset + 2], node[offset + 3] = code[child[place, 0]], code[child[place, 1]]


@compiled
def _leaves(start: Any, feature: Any, child: Any) -> Any:
    """Number of leaves below each node of some trees; children stand behind their parents."""
    leaves = np.ones(start[-1])
    for tree in range(len(start) - 1):
        root = start[tree]
        for place in range(start[tree + 1] - 1, root - 1, -1):
            if feature[place] != LEAF:
                leaves[place] = leaves[root + child[place, 0]] + leaves[root + child[place, 1]]
    return leaves


@compiled
def _arrange(X: Any, order: Any, steps: Any, weight: Any) -> None:
    """Put rows in order: halves of halves, each cut where its rows are farthest apart, down to groups."""
    keys = np.empty(len(X), np.float32)
    stack = np.empty((LANES, 2), np.int64)
    stack[0], depth = (0, len(X)), 1
    while depth > 0:
        depth -= 1
        first, last = stack[depth]
        groups = (last - first + LANES - 1) // LANES
        if groups < 2:  # noqa: PLR2004 - a group is not cut
            continue
        feature = _widest(X, order[first:last], steps, weight)
        for place in range(first, last):
            keys[place] = X[order[place], feature]
        # Groups are 64 consecutive rows; a cut inside a group would mix rows from both sides.
        middle = first + groups // 2 * LANES
        _part(keys, order, first, middle, last)
        stack[depth] = first, middle
        stack[depth + 1] = middle, last
        depth += 2


@compiled
def _widest(X: Any, rows: Any, steps: Any, weight: Any) -> int:
    """Feature whose values cross the greatest share of splits, told by some of the rows."""
    p = X.shape[1]
    low, high = np.full(p, np.inf, np.float32), np.full(p, -np.inf, np.float32)
    for place in range(0, len(rows), max(len(rows) // LOOKED_AT, 1)):
        row = rows[place]
        for feature in range(p):
            value = X[row, feature]
            low[feature] = min(value, low[feature])
            high[feature] = max(value, high[feature])
    widest, extent = 0, -1.0
    for feature in range(p):
        crossed = np.searchsorted(steps[feature], high[feature]) - np.searchsorted(steps[feature], low[feature])
        if weight[feature] * crossed > extent:
            widest, extent = feature, weight[feature] * crossed
    return widest


@compiled
def _part(keys: Any, order: Any, first: int, middle: int, last: int) -> None:
    """Exchange rows until no key before the middle is greater than one behind it (Hoare 1961, Commun. ACM 4, 321)."""
    low, high = first, last - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) // 2], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        left, right = low, high
        while left <= right:
            while keys[left] < pivot:
                left += 1
            while keys[right] > pivot:
                right -= 1
            if left <= right:
                keys[left], keys[right] = keys[right], keys[left]
                order[left], order[right] = order[right], order[left]
                left += 1
                right -= 1
        if middle <= right:
            high = right
        elif middle >= left:
            low = left
        else:
            break


@compiled
def _gather(X: Any, rows: Any, features: Any) -> None:
    """Features of rows by group, feature and lane."""
    p = X.shape[1]
    for place in range(len(rows)):
        start = place // LANES * LANES * p + place % LANES
        for feature in range(p):
            features[start + feature * LANES] = X[rows[place], feature]


@compiled
def _fall(root: Any, node: Any, limit: Any, value: Any, features: Any, p: int, rows: Any, total: Any) -> None:
    """Sum of the trees' predictions for a batch of groups.

    `limit` is `node` read as float32. An entry of `key` holds where a group's features begin, and below that a node;
    an entry of `lane_mask` marks the group's rows that reached it. The first two thirds of the entries serve, by turns,
    one step and the next, the last third the leaves. Entries without rows are written and then overwritten.
    """
    count = np.uint64((len(rows) + LANES - 1) // LANES)
    group = np.uint64(p * LANES)
    key, lane_mask = np.empty(3 * LIVE, np.uint64), np.empty(3 * LIVE, np.uint64)
    sums = np.zeros(count * PLACES)
    ends = SPAN + SPAN
    for tree in range(len(root)):
        first, start = np.uint64(np.uint32(root[tree])), ends if root[tree] < 0 else ZERO
        for index in range(count):
            key[start + index] = (index * group) << WORD | first
            lane_mask[start + index] = LOW << WORD | LOW
        # Lanes without a row would still visit nodes, with stale features of an earlier batch.
        lane_mask[start + count - ONE] >>= count * WIDTH - np.uint64(len(rows))
        leaf = ends + (count if root[tree] < 0 else ZERO)
        begin, end = ZERO, (ZERO if root[tree] < 0 else count)
        while begin < end:
            begin, end, leaf = _step(node, limit, features, key, lane_mask, begin, end, SPAN - begin, leaf)
        for entry in range(ends, leaf):
            _add(sums, key[entry], lane_mask[entry], group, value)
    for place in range(len(rows)):
        total[rows[place]] = sums[place // LANES * (LANES + 1) + place % LANES]


@compiled
def _step(
    node: Any, limit: Any, features: Any, key: Any, lane_mask: Any, begin: Any, end: Any, after: Any, leaf: Any
) -> tuple[Any, Any, Any]:
    """Move entries ``begin..end`` to their children: to `after` and on, and leaves to `leaf` and on; no branches."""
    start = after
    for entry in range(begin, end):
        at, lanes, group = key[entry] & LOW, lane_mask[entry], key[entry] & HIGH
        low = at_most(features, (key[entry] >> WORD) + np.uint64(node[at]), limit[at + ONE])
        # Both children are always written, but the position only advances past one with rows: a branch would often be
        # mispredicted.
        for child, rows in ((node[at + TWO], lanes & low), (node[at + THREE], lanes & ~low)):
            ends = np.uint64(np.uint32(child)) >> SIGN
            occupied = np.uint64(rows != ZERO)
            place = leaf if child < 0 else after
            key[place], lane_mask[place] = group | np.uint64(np.uint32(child)), rows
            leaf += occupied & ends
            after += occupied & (ends ^ ONE)
    return start, after, leaf


@compiled
def _add(sums: Any, key: Any, lanes: Any, group: Any, value: Any) -> None:
    """Add a leaf's value to its rows, four at a time; what is left of the four goes to a place behind the group's."""
    leaf = value[~key & LOW]
    start = (key >> WORD) // group * PLACES
    while lanes != ZERO:
        # One loop test per four rows; when fewer are left, `lowest(0)` is 64, the spare slot.
        for _ in range(4):
            sums[start + lowest(lanes)] += leaf
            lanes &= lanes - ONE
