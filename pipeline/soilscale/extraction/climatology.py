"""Values beside what is usual: the same calendar month, or season, of all years."""

from __future__ import annotations

import numpy as np
import pandas as pd

MIN_YEARS = 3
"""Fewest years with a value from which an anomaly and a percentile are told."""


def beside_usual(table: pd.DataFrame, kind: pd.Series, minimum: int = MIN_YEARS) -> pd.DataFrame:
    """Add anomaly, percentile and the number of years to a table of values.

    Parameters
    ----------
    table
        Columns name and soil_moisture.
    kind
        What is compared with its like, such as the calendar month of each row.
    minimum
        Fewest years with a value; with fewer, both are NaN.

    Returns
    -------
    pandas.DataFrame
        ``anomaly``: value minus the mean of all years, m3 m-3; ``percentile``: 0..100, that of the middle of the
        value's rank, 100 (rank - 0.5) / years, so that neither the driest nor the wettest year counts as the end of all
        that is possible; ``years``: years with a value.

    Examples
    --------
    >>> values = pd.DataFrame({"name": "a", "soil_moisture": [0.10, 0.20, 0.30, 0.40]})
    >>> beside_usual(values, pd.Series([1, 1, 1, 1]))[["anomaly", "percentile", "years"]].round(3).to_numpy().tolist()
    [[-0.15, 12.5, 4.0], [-0.05, 37.5, 4.0], [0.05, 62.5, 4.0], [0.15, 87.5, 4.0]]
    """
    alike = table["soil_moisture"].groupby([table["name"], kind.rename("kind")], sort=False)
    years = alike.transform("count").astype("int64")
    anomaly = table["soil_moisture"] - alike.transform("mean")
    percentile = 100 * (alike.rank() - 0.5) / years
    enough = years >= minimum
    return table.assign(anomaly=anomaly.where(enough, np.nan), percentile=percentile.where(enough, np.nan), years=years)
