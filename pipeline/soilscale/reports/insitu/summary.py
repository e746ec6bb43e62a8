"""Caveats about the stations that a reader needs before their scores, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from soilscale.reports.insitu.files import VOLUME
from soilscale.reports.insitu.screening import PERCENT, REMEDY
from soilscale.reports.summary import listed

MOST_NAMES = 6
"""Maximum number of stations named in a sentence."""


def stations_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """That no station could be compared, and why, in words."""
    if len(tables.get("stations", ())) or not len(tables.get("stations_left_out", ())):
        return ""
    left_out = tables["stations_left_out"]
    full_names = left_out["station"].where(left_out["network"] == "", left_out["network"] + "/" + left_out["station"])
    reasons = full_names.groupby(left_out["reason"], sort=False).unique()
    causes = "; ".join(f"{reason} ({_first_names(sorted(names))})" for reason, names in reasons.items())
    return f"None of the stations could be compared with the maps: {causes}."


def _first_names(names: Sequence[str]) -> str:
    """Names in a sentence, the first of many."""
    return (
        listed(names)
        if len(names) <= MOST_NAMES
        else f"{', '.join(names[:MOST_NAMES])} and others, {len(names)} in all"
    )


def percent_words(left_out: pd.DataFrame | None) -> str:
    """That stations seem to have a different unit than stated, and what to do, in words."""
    rows = None if left_out is None or not len(left_out) else left_out[left_out["reason"] == PERCENT]
    if rows is None or not len(rows):
        return ""
    names = _first_names(list(dict.fromkeys(rows["station"])))
    return f"Left out for {PERCENT}: {names}; {REMEDY}."


def unit_words(pairs: pd.DataFrame | None) -> str:
    """That stations measure another quantity than the maps, and how they were compared then, in words."""
    units = pd.Series(dtype=str) if pairs is None or not len(pairs) else pairs.groupby("station")["unit"].first()
    foreign = units[units != VOLUME]
    if not len(foreign):
        return ""
    listed = ", ".join(sorted(set(foreign)))
    if len(foreign) == len(units):
        return (
            f"The stations do not measure volumetric soil moisture (their unit: {listed}): station and products are "
            "scaled to 0..1, station by station, and only R, K-L and anomaly R are reported."
        )
    return (
        f"{len(foreign)} of {len(units)} stations do not measure volumetric soil moisture (their unit: {listed}): they "
        "do not count in the scores with a unit; in those marked 0 to 1, every station is scaled to 0..1 separately."
    )
