"""Every fit of a configuration before there is a training table: its rows, and how large its model will be."""

from __future__ import annotations

import math
from collections.abc import Iterator

from soilscale import models
from soilscale.estimate.assumptions import Outlook
from soilscale.models.selection import FORESTS
from soilscale.seasons import ALL
from soilscale.tasks.costs import FLOAT, Fit

NODE = 72
"""Bytes of a node of a tree in scikit-learn: 64, and 8 of its value."""

SOLVED = 3
"""Times that of `assumptions.LIKE_TREES` that a solve takes."""


def fits(outlook: Outlook) -> Iterator[Fit]:
    """Every fit, if every cell and month is observed."""
    seasons = outlook.config.season_scheme
    months = [seasons.name(month) for month in outlook.learned]
    settings = outlook.config.models
    trained = [name for name in seasons.names if name in months]
    for job in models.jobs(trained, settings.algorithms, settings.folds):
        if models.find(job.algorithm).joint:
            yield _joint_fit(outlook, job)
            continue
        stored = job.split == "random"
        # A random job makes two fits, one of the rows that train and one of all rows, which is stored; a fold makes
        # one.
        share = 0.7 if stored else 1 - 1 / settings.folds
        every = math.prod(outlook.grid.shape) * (len(months) if job.season == ALL else months.count(job.season))
        rows = (1 if stored else share) * every / (len(trained) if job.season == ALL else 1)
        yield Fit(
            job=job,
            rows=rows,
            held_out=(1 - share) * every,
            drawn=drawn(outlook, job.algorithm, rows),
            size=model_bytes(outlook, job.algorithm, rows),
            trees=outlook.trees(job.algorithm),
            times=1 + share if stored else 1.0,
        )


def _joint_fit(outlook: Outlook, job: models.Job) -> Fit:
    """A joint fit: of all rows, twice if its model is stored; it predicts those held out by two models."""
    share = 1 / outlook.config.models.folds if job.split == "blocked" else 0.3
    rows = drawn(outlook, job.algorithm, outlook.rows)
    return Fit(
        job=job,
        rows=rows,
        held_out=2 * share * rows,
        drawn=SOLVED * rows * (2 if job.split == "random" else 1),
        size=outlook.basis * rows / outlook.rows,
        trees=outlook.trees(job.algorithm),
    )


def explained(outlook: Outlook) -> str:
    """Algorithm whose factors are judged."""
    algorithms = outlook.config.models.algorithms
    return next((name for name in FORESTS if name in algorithms), algorithms[0])


def model_bytes(outlook: Outlook, algorithm: str, rows: float) -> float:
    """Size of a fitted model: the nodes of its trees, else its rows."""
    parameters, rows_of_tree = outlook.parameters(algorithm), drawn(outlook, algorithm, rows)
    if "n_estimators" not in parameters:
        return rows_of_tree * len(outlook.features) * FLOAT
    split, leaf = parameters.get("min_samples_split", 2), parameters.get("min_samples_leaf", 1)
    least = max(_count(split, rows_of_tree) / 2, _count(leaf, rows_of_tree) * 1.5, 1)
    # A tree draws with replacement: of so many rows it sees so many different ones, and only these can be parted by
    # nodes.
    different = rows * -math.expm1(-rows_of_tree / rows) if rows else 0.0
    # A binary tree has about as many inner nodes as leaves.
    nodes = 2 * different / least
    if parameters.get("max_depth"):
        nodes = min(nodes, 2.0 ** (parameters["max_depth"] + 1))
    return float(parameters["n_estimators"] * nodes * NODE)


def drawn(outlook: Outlook, algorithm: str, rows: float) -> float:
    """Rows that a tree draws, or of another algorithm that it learns from."""
    parameters = outlook.parameters(algorithm)
    most = parameters.get("max_samples") if parameters.get("bootstrap", True) else None
    return rows if most is None else min(rows, most if isinstance(most, int) else most * rows)


def _count(value: float, rows: float) -> float:
    """Rows that a parameter stands for, which is their number or their share."""
    return value if isinstance(value, int) else value * rows
