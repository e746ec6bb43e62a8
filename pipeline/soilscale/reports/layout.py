"""Tables as they stand on the page: metrics side by side, numbers as text beside the value by which they sort."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from soilscale.reports.scores import SCORES
from soilscale.reports.tables import BLOCK_DIFFERENCE

FORMATS: Mapping[str, str] = {
    "mape": ".1f",
    "bias": "z.4f",
    "rmse": ".4f",
    "ubrmse": ".4f",
    "r2": ".3f",
    "r2_paper": ".3f",
    "r": ".3f",
    "kl": ".4f",
    "kge": ".3f",
    "n": ",.0f",
    "rank": ".0f",
    "inc_mse": ".1f",
    "inc_node_purity": ".3g",
    BLOCK_DIFFERENCE: ".1e",
}
"""Column -> how its numbers are written."""

HEADINGS: Mapping[str, str] = {
    "mape": "MAPE, %",
    "bias": "bias",
    "rmse": "RMSE",
    "ubrmse": "ubRMSE",
    "r2": "R²",
    "r2_paper": "R² (Eq 6)",
    "r": "R",
    "kl": "K-L",
    "kge": "KGE",
    "inc_mse": "%IncMSE",
    "inc_node_purity": "IncNodePurity",
    BLOCK_DIFFERENCE: "largest block difference",
}
"""Column -> its heading, where it is not its name."""

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Cell:
    """One entry of a table."""

    text: str
    value: str
    """By which the column sorts: the number, or the text."""
    numeric: bool


@dataclass(frozen=True)
class Table:
    """A table as it stands on the page."""

    name: str
    headings: tuple[tuple[str, str, bool], ...]
    """Heading, explanation and whether its column holds numbers."""
    rows: tuple[tuple[Cell, ...], ...]


def number(column: str, value: float) -> str:
    """Number as text, as its column writes it; a dash where there is none."""
    if not math.isfinite(value):
        return "–"  # noqa: RUF001
    return format(value, FORMATS.get(column, ".4g")).replace("-", MINUS)


def table(name: str, frame: pd.DataFrame, keys: Sequence[str]) -> Table:
    """Lay a table out for the page.

    Parameters
    ----------
    frame
        In the long form, with the columns metric and value, which is laid out with a column for each metric; or,
        without keys, as it is.
    keys
        Columns that tell rows apart.
    """
    wide = _wide(frame, list(keys)) if keys else frame
    numeric = {column: pd.api.types.is_numeric_dtype(wide[column]) for column in wide}
    headings = tuple((HEADINGS.get(c, c), explanation(c), numeric[c]) for c in map(str, wide.columns))
    rows = tuple(
        tuple(_cell(str(column), value, numeric[column]) for column, value in zip(wide.columns, row, strict=True))
        for row in wide.itertuples(index=False)
    )
    return Table(name, headings, rows)


def explanation(column: str) -> str:
    """First sentence of what is known of a metric, or nothing."""
    return str(SCORES[column].__doc__).split("\n")[0] if column in SCORES else ""


def _wide(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Long form to a column for each metric, rows and columns in the order in which they first appear."""
    lookup = frame.set_index([*keys, "metric"])["value"].to_dict()
    first = frame.drop_duplicates(keys)
    entries = list(first[keys].itertuples(index=False, name=None))
    columns = {name: [lookup.get((*entry, name), math.nan) for entry in entries] for name in pd.unique(frame["metric"])}
    wide = first[keys].assign(**columns)
    return wide.assign(n=first["n"]) if "n" in frame else wide


def _cell(column: str, value: Any, numeric: bool) -> Cell:
    if numeric:
        return Cell(number(column, float(value)), repr(float(value)), numeric=True)
    text = "" if pd.isna(value) else str(value)
    return Cell(text.replace("_", " "), text, numeric=False)
