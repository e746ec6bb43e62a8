"""What is missing from a run, and what is not what it seems, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from soilscale.reports.style import words
from soilscale.reports.summary import listed
from soilscale.schema import Quality

MASKED = 0.0005
"""Minimum missing share of a source's data that is reported in a sentence."""


def missing_words(failed: int, without_input: Mapping[str, Sequence[str]]) -> str:
    """What could not be made and what had no input, in words."""
    parts = []
    if failed:
        parts.append(f"{failed} unit{'s' if failed > 1 else ''} of work failed.")
    if without_input:
        gaps = [f"{words(name)} ({len(months)})" for name, months in without_input.items()]
        parts.append(f"Months without input: {listed(gaps)}.")
    return " ".join(parts) or "Every unit of work is complete, and every source had input in every month."


def empty_words(empty: int, valued: int) -> str:
    """How much of the area has no value, in words."""
    share = 100 * empty / (empty + valued) if empty else 0
    return (
        f"{share:.2g} % of the area's fine cells and months have no value, because a predictor is missing."
        if share
        else ""
    )


def frozen_words(masked: int, valued: int) -> str:
    """How much of the area is left out as frozen, in words."""
    share = 100 * masked / (masked + valued) if masked else 0
    return f"{share:.2g} % of the area's fine cells and months are left out as frozen or under snow." if share else ""


def masked_words(masked: Mapping[str, float]) -> str:
    """How much of each source's data is missing or masked, in words, the most first."""
    ranked = sorted(((share, name) for name, share in masked.items() if share >= MASKED), reverse=True)
    shares = [f"{words(name)} {100 * share:.2g} %" for share, name in ranked]
    return f"Missing or masked before gaps were filled: {listed(shares)}." if shares else ""


def quality_words(flags: Mapping[Quality, int], total: int) -> str:
    """How much of the maps is not what it seems, in words.

    Parameters
    ----------
    flags
        Bit -> number of fine cells and months that carry it.
    total
        Number of fine cells and months that have a value.
    """
    phrases = {
        Quality.PREDICTED: "have no coarse observation and are only predicted by the model",
        Quality.GAP_FILLED: "rest on a predictor that was not observed in the month and is filled",
        Quality.CLAMPED: "were clamped to the physical range",
        Quality.COMPREHENSIVE: "are by the model of all seasons, since their own has too few training rows",
        Quality.FROZEN: "are frozen or under snow in the month's mean",
        Quality.EXTRAPOLATED: "have predictors that differ too much from the training data",
    }
    parts = [f"{100 * flags[bit] / total:.2g} % {text}" for bit, text in phrases.items() if flags.get(bit) and total]
    return f"Of the cells and months with a value, {listed(parts)}." if parts else ""
