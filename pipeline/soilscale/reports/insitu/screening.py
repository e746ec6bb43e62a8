"""Monthly means of each sensor from its records, and an account of everything left out."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale.errors import DataError
from soilscale.reports.insitu.files import VOLUME

log = logging.getLogger(__name__)

UNREADABLE = "cannot be read"
"""Reason for which a file is left out."""

PERCENT = "values above 1 m3 m-3, as if they were in %"
"""Reason for which a sensor is left out whole."""

REMEDY = "write their unit into the column unit: vol% if they are per cent by volume, else %"
"""What to do about `PERCENT`."""

SEEMS_PERCENT = 0.5
"""Share of values above 1 m3 m-3 from which on a sensor's unit is doubted, and not the values."""

SENSOR = ["network", "station", "depth_from", "depth_to", "sensor", "unit"]
"""What tells one series of measurements from another."""

MONTHLY = (
    "network",
    "station",
    "depth_from",
    "depth_to",
    "sensor",
    "unit",
    "longitude",
    "latitude",
    "time",
    "observed",
)
"""Columns of the monthly means."""

LEFT_OUT = ("network", "station", "reason", "count", "of", "detail")
"""Columns of the account: the count is of values, months, seasons or files."""

VOLUMETRIC = {"m3m-3": 1.0, "m3/m3": 1.0, "cm3cm-3": 1.0, "cm3/cm3": 1.0} | dict.fromkeys(
    ("vol%", "vol.%", "vol-%", "%vol", "%vol.", "volume%", "%byvolume"), 0.01
)
"""Units of volumetric soil moisture, written without blanks, carets and stars -> factor to m3 m-3."""

WRITTEN = str.maketrans({"³": "3", "⁻": "-", "⋅": "", "·": "", "^": "", "*": "", " ": "", "_": ""})
"""How a unit is brought to the form in which `VOLUMETRIC` has it."""

MISSING = (-9999.0, -999.0)
"""Numbers that stand for a missing value in tables of stations."""

DEPTH_STEP = 1e-6
"""Rounding of depths, m."""

FEWEST = 10
"""Fewest values of a sensor that have quartiles worth speaking of."""

MONTH = 31
"""Days; the longest step between two values of which each stands for its month."""

SAME_PLACE = 0.01
"""Degrees within which the coordinates of one station may differ."""


@dataclass(frozen=True)
class Rules:
    """Which values of stations count."""

    depth: tuple[float, float] = (0.0, 0.1)
    """Depths between which a sensor must lie whole, m; one of unknown depth counts."""
    flags: tuple[str, ...] = ("G", "U")
    """Quality flags that are accepted; a value of several flags needs all of them to be, one without a flag counts."""
    outliers: float | None = 3.0
    """Interquartile ranges beyond the quartiles from which a value is an outlier (3: Tukey 1977, `far out`)."""
    min_valid_fraction: float = 0.5
    """Least share of a month's days, and of a season's months."""


@dataclass
class Account:
    """What was left out, as it is found."""

    rows: list[tuple[str, str, str, int, str, str]] = field(default_factory=list)

    def add(self, network: str, station: str, reason: str, n: int, of: str = "values", detail: str = "") -> None:
        """Add an entry; nothing happens if n is 0."""
        if n:
            self.rows.append((network, station, reason, int(n), of, detail))

    def table(self) -> pd.DataFrame:
        """`LEFT_OUT`, a row for each station and reason, in the order of the stations."""
        frame = pd.DataFrame(self.rows, columns=list(LEFT_OUT))
        if frame.empty:
            return frame
        grouped = frame.groupby(["network", "station", "reason", "of"], sort=False)
        entries = grouped.agg(count=("count", "sum"), detail=("detail", _joined)).reset_index()
        return entries.sort_values(["network", "station"], kind="stable", ignore_index=True)[list(LEFT_OUT)]


@dataclass(frozen=True)
class Measured:
    """What stations measured."""

    monthly: pd.DataFrame
    """`MONTHLY`, a row for each sensor and month that counts."""
    left_out: Account


def volumetric(unit: str) -> float | None:
    """Factor that turns values into m3 m-3; None if the unit is none of volumetric soil moisture."""
    return VOLUMETRIC.get(unit.lower().translate(WRITTEN))


def measured(tables: Iterable[tuple[str, pd.DataFrame | DataError]], rules: Rules = Rules()) -> Measured:
    """Monthly means of every sensor that counts, and what does not.

    In this order: sensors at other depths are left out; values that are missing, flagged, impossible (outside 0..1 m3
    m-3; below 0 in %) or given twice; values of one time that contradict each other, all of them; outliers; months
    with too few days. A month's value is the mean of the means of its UTC days. The days that a sensor could have
    follow from its own step, the median of days between its records: of a sensor read every ten days three values make
    a month, of monthly means one.

    Parameters
    ----------
    tables
        Name and records (`files.RECORD`), read one after another, so that no more than one is held; an error instead
        of records says why a file cannot be read, which goes into the account.
    rules
        Which values count.
    """
    account, parts = Account(), []
    for name, records in tables:
        if isinstance(records, DataError):
            account.add("", name, UNREADABLE, 1, "files", str(records))
            continue
        if records.empty:
            account.add("", name, "no record below the header", 1, "files")
        # A sensor of unknown depth has NaN among its keys, which pandas would drop without a word.
        for _, rows in records.groupby(SENSOR, sort=True, dropna=False):
            parts.append(_sensor(rows, rules, account))
    doubted = [station for _, station, reason, *_ in account.rows if reason == PERCENT]
    if doubted:
        log.warning("stations with %s: %s; %s", PERCENT, ", ".join(dict.fromkeys(doubted)), REMEDY)
    empty = pd.DataFrame({column: pd.Series(dtype=object) for column in MONTHLY})
    nonempty = [part for part in parts if len(part)]
    return Measured(pd.concat(nonempty, ignore_index=True) if nonempty else empty, account)


def _sensor(rows: pd.DataFrame, rules: Rules, account: Account) -> pd.DataFrame:
    """Monthly means of one sensor, no row if it does not count."""
    network, station = str(rows["network"].iloc[0]), str(rows["station"].iloc[0])
    upper, lower = float(rows["depth_from"].iloc[0]), float(rows["depth_to"].iloc[0])
    empty = rows.iloc[:0].assign(observed=[]).reindex(columns=list(MONTHLY))
    # NaN is neither above nor below, so that a sensor of unknown depth stays.
    if upper < rules.depth[0] - DEPTH_STEP or lower > rules.depth[1] + DEPTH_STEP:
        account.add(network, station, "another depth", len(rows), detail=f"{upper:g} to {lower:g} m")
        return empty
    if rows[["longitude", "latitude"]].isna().all().any():
        account.add(network, station, "no longitude or latitude", len(rows))
        return empty
    if _spread(rows["longitude"]) > SAME_PLACE or _spread(rows["latitude"]) > SAME_PLACE:
        account.add(network, station, "several places under one name", len(rows))
        return empty
    unit, factor = str(rows["unit"].iloc[0]), volumetric(str(rows["unit"].iloc[0]))
    # Of all records, also those that are refused below: the step is how often a sensor is read.
    days = rows["time"].to_numpy().astype("datetime64[D]")
    values = rows[["time", "flag"]].assign(value=rows["value"] * (1.0 if factor is None else factor))
    # Codes are looked for in the unit of the file: -9999 in vol% would be -99.99 m3 m-3.
    values["value"] = values["value"].where(np.isfinite(rows["value"]) & ~rows["value"].isin(MISSING))
    # Outliers come last, for values that are flagged or impossible would widen the quartiles.
    for leave_out in (_missing, _flagged, _impossible, _repeated, _outliers):
        values = leave_out(
            values, rules, unit, lambda *entry, **details: account.add(network, station, *entry, **details)
        )
    means = _means(values, _step(days), rules.min_valid_fraction)
    account.add(network, station, "too few days in the month", int(means.isna().sum()), "months")
    means = means.dropna()
    station_labels = {
        column: rows[column].iloc[0] for column in ("network", "station", "depth_from", "depth_to", "sensor")
    }
    place = {axis: float(rows[axis].median()) for axis in ("longitude", "latitude")}
    monthly = pd.DataFrame({"time": means.index.to_numpy(), "observed": means.to_numpy()})
    return monthly.assign(**station_labels, **place, unit=unit if factor is None else VOLUME)[list(MONTHLY)]


def _missing(values: pd.DataFrame, rules: Rules, unit: str, tell: Any) -> pd.DataFrame:  # noqa: ARG001
    rejected = values["value"].isna()
    tell("missing", int(rejected.sum()))
    return values[~rejected]


def _flagged(values: pd.DataFrame, rules: Rules, unit: str, tell: Any) -> pd.DataFrame:  # noqa: ARG001
    """Without values of which a flag is not accepted; ISMN writes several as ``D03,D05``."""
    accepted = {*rules.flags, ""}
    refused = [flag for flag in values["flag"].unique() if not {part.strip() for part in flag.split(",")} <= accepted]
    rejected = values["flag"].isin(refused)
    counts = values.loc[rejected, "flag"].value_counts()
    tell("flagged", int(rejected.sum()), detail=", ".join(f"{flag} {n}" for flag, n in counts.items()))
    return values[~rejected]


def _impossible(values: pd.DataFrame, rules: Rules, unit: str, tell: Any) -> pd.DataFrame:  # noqa: ARG001
    if volumetric(unit) is not None:
        # Only a unit of 1 can be a mistake for %: values in % by volume are scaled already.
        if volumetric(unit) == 1 and (values["value"] > 1).mean() > SEEMS_PERCENT:
            tell(PERCENT, len(values), detail=f"unit {unit}, values to {values['value'].max():.4g}; {REMEDY}")
            return values.iloc[:0]
        rejected, detail = ~values["value"].between(0, 1), f"outside 0 to 1 m3 m-3, with the unit {unit}"
    elif unit.startswith("%"):
        rejected, detail = values["value"] < 0, f"below 0 {unit}"
    else:
        return values
    tell("impossible", int(rejected.sum()), detail=detail)
    return values[~rejected]


def _repeated(values: pd.DataFrame, rules: Rules, unit: str, tell: Any) -> pd.DataFrame:  # noqa: ARG001
    """One of each value that is given twice, and none of those that contradict each other."""
    once = values.drop_duplicates(["time", "value"])
    tell("given twice", len(values) - len(once))
    contrary = once.duplicated("time", keep=False)
    tell("different values at one time", int(contrary.sum()), detail="a column sensor tells sensors apart")
    return once[~contrary]


def _outliers(values: pd.DataFrame, rules: Rules, unit: str, tell: Any) -> pd.DataFrame:
    """Without values far beyond the quartiles of their sensor; a sensor that hardly moves has none."""
    if rules.outliers is None or len(values) < FEWEST:
        return values
    first, third = np.quantile(values["value"], [0.25, 0.75])
    reach = rules.outliers * (third - first)
    if reach <= 0:
        return values
    rejected = ~values["value"].between(first - reach, third + reach)
    shown = VOLUME if volumetric(unit) is not None else unit
    tell("outlier", int(rejected.sum()), detail=f"outside {first - reach:.3g} to {third + reach:.3g} {shown}")
    return values[~rejected]


def _step(days: NDArray[np.datetime64]) -> float:
    """Days from one record of a sensor to the next, 1..31; a single one stands for its month."""
    between = np.diff(np.unique(days)).astype(int)
    return float(np.clip(np.median(between), 1, MONTH)) if between.size else float(MONTH)


def _means(values: pd.DataFrame, step: float, least: float) -> pd.Series[float]:
    """Mean of each month's daily means, by its first day; NaN where the share of its days is below `least`."""
    # By day first: a day of 24 records shall weigh no more than a day of one.
    daily = values.groupby(values["time"].to_numpy().astype("datetime64[D]"))["value"].mean()
    months = daily.index.to_numpy().astype("datetime64[M]")
    monthly = daily.groupby(months.astype("datetime64[ns]")).agg(["mean", "size"])
    share = monthly["size"] * step / pd.DatetimeIndex(monthly.index).days_in_month
    return monthly["mean"].where(np.minimum(share, 1.0) >= least)


def _spread(values: pd.Series[float]) -> float:
    return float(values.max() - values.min())


def _joined(details: pd.Series[str]) -> str:
    return "; ".join(dict.fromkeys(detail for detail in details if detail))
