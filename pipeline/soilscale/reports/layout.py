"""Layout of tables on the page: metrics as columns, numbers as text with the value to sort by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from soilscale.reports.scores import NORMALISED, SCORES
from soilscale.reports.style import words
from soilscale.reports.tables import BLOCK_DIFFERENCE

FORMATS: Mapping[str, str] = {
    "mape": ".1f",
    # The z lets a bias that rounds to nothing stand as 0.0000, not as -0.0000.
    "bias": "z.4f",
    "rmse": ".4f",
    "ubrmse": ".4f",
    "r2": ".3f",
    "r2_paper": ".3f",
    "r": ".3f",
    "kl": ".4f",
    "kl_paper": ".3f",
    "kge": ".3f",
    "r_anomaly": ".3f",
    "rmse_random": ".4f",
    "rmse_blocked": ".4f",
    "ratio": ".2f",
    "r2_random": ".3f",
    "r2_blocked": ".3f",
    "coarse": ".4f",
    "fine": ".4f",
    "bilinear": ".4f",
    "observed": ".4f",
    "precipitation": ".1f",
    "oob_r2": ".3f",
    "level": ".2f",
    "coverage": ".3f",
    "width": ".4f",
    "n": ",.0f",
    "n_blocked": ",.0f",
    "months": ",.0f",
    "items": ",.0f",
    "cells": ",.0f",
    "share": ".2f",
    "outside": ".3f",
    "index": ".2f",
    "quantile": ".1f",
    "rank": ".0f",
    "slope": ".3f",
    "intercept": "z.4f",
    "step_before": "z.4f",
    "step_after": "z.4f",
    "step_spread_before": ".4f",
    "step_spread_after": ".4f",
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
    "r2_paper": "R² as printed",
    "r": "R",
    "kl": "K-L",
    "kl_paper": "K-L as printed",
    "kge": "KGE",
    "r_anomaly": "anomaly R",
    "step_before": "step before",
    "step_spread_before": "spread",
    "step_after": "step after",
    "step_spread_after": "spread after",
    "inc_mse": "%IncMSE",
    "inc_node_purity": "IncNodePurity",
    "oob_r2": "out-of-bag R²",
    "rmse_random": "RMSE random",
    "rmse_blocked": "RMSE blocked",
    "ratio": "blocked / random",
    "r2_random": "R² random",
    "r2_blocked": "R² blocked",
    "n_blocked": "rows",
    "cells": "fine cells x months",
    "share": "share, %",
    BLOCK_DIFFERENCE: "largest block difference",
}
"""Column -> its heading, where it is not its name."""

NAMES = ("season", "algorithm", "method", "feature", "group", "without")
"""Columns whose entries are written as a reader says them."""

OF_METRIC = ("seasonal", "comprehensive", "difference", "lower", "upper", "value")
"""Columns whose numbers are values of the metric that stands in the same row."""

COUNT = "n_"
"""Start of the name of a column that counts the pairs of the metric before it."""

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

    headings: tuple[tuple[str, str, bool], ...]
    """Heading, explanation and whether its column holds numbers."""
    rows: tuple[tuple[Cell, ...], ...]


def number(column: str, value: float) -> str:
    """Number as text, as its column writes it; a dash where there is none."""
    if not math.isfinite(value):
        return "–"  # noqa: RUF001
    form = FORMATS["n"] if column.startswith(COUNT) else FORMATS.get(column.removesuffix(NORMALISED), ".4g")
    return format(value, form).replace("-", MINUS)


def table(frame: pd.DataFrame, keys: Sequence[str] = ()) -> Table:
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
    headings = tuple((heading(c), explanation(c), numeric[c]) for c in map(str, wide.columns))
    rows = tuple(tuple(_row(map(str, wide.columns), row, numeric)) for row in wide.itertuples(index=False, name=None))
    return Table(headings, rows)


def heading(column: str) -> str:
    """Heading of a column."""
    if column not in HEADINGS and column.startswith(COUNT):
        return "n"
    name = column.removesuffix(NORMALISED)
    title = HEADINGS.get(name, name.replace("_", " "))
    return title if name == column else f"{title}, 0 to 1"


def explanation(column: str) -> str:
    """First sentence of what is known of a metric, or nothing."""
    name = column.removesuffix(NORMALISED)
    return str(SCORES[name].__doc__).split("\n")[0] if name in SCORES else ""


def _wide(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Long form to a column for each metric, rows and columns in the order in which they first appear.

    Metrics of other pairs than the first one's have their number beside them; that of the others stands at the end.
    """
    # By a dictionary: a pivot would sort rows and columns by their names.
    lookup = frame.set_index([*keys, "metric"])["value"].to_dict()
    first = frame.drop_duplicates(keys)
    entries = list(first[keys].itertuples(index=False, name=None))
    columns = {name: [lookup.get((*entry, name), math.nan) for entry in entries] for name in pd.unique(frame["metric"])}
    if "n" not in frame:
        return first[keys].assign(**columns)
    counts = frame.set_index([*keys, "metric"])["n"].to_dict()
    common = dict(zip(entries, first["n"], strict=True))
    counted = {name: [counts.get((*entry, name), common[entry]) for entry in entries] for name in columns}
    beside: dict[str, list[float]] = {}
    for name, following in zip(columns, [*list(columns)[1:], None], strict=True):
        beside[name] = columns[name]
        # Metrics beside each other that share their count have it once, behind the last of them.
        if counted[name] != list(common.values()) and (following is None or counted[following] != counted[name]):
            beside[f"{COUNT}{name}"] = counted[name]
    return first[keys].assign(**beside, n=first["n"])


def _row(columns: Iterable[str], row: Sequence[Any], numeric: Mapping[Any, bool]) -> Iterator[Cell]:
    """Cells of a row; values of a metric that the row names are written as that metric is."""
    cells = dict(zip(columns, row, strict=True))
    metric = str(cells.get("metric", ""))
    for column, value in cells.items():
        if column == "metric" and metric in SCORES:
            yield Cell(heading(metric), metric, numeric=False)
        else:
            yield _cell(metric if column in OF_METRIC and metric in FORMATS else column, value, numeric[column])


def _cell(column: str, value: Any, numeric: bool) -> Cell:
    if numeric:
        # All digits: sorted by the text, values that round to the same would lie in any order.
        return Cell(number(column, float(value)), repr(float(value)), numeric=True)
    if isinstance(value, pd.Timestamp):
        return Cell(f"{value:%Y-%m}", value.isoformat(), numeric=False)
    text = "" if pd.isna(value) else str(value)
    return Cell(words(text) if column in NAMES else text, text, numeric=False)
