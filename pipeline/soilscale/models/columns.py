"""Columns of tables of predictions."""

from __future__ import annotations

FOLD = "fold"
"""Column of a table that tells the fold of each row, dealt before by the whole table's blocks; int8."""


PREDICTIONS = ("time", "season", "y", "x", "algorithm", "model", "split", "observed", "predicted")
"""Columns of the table of predictions."""
