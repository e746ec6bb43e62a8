"""Prometheus metrics of the runner: units by stage and outcome, their duration, retries, and what they wrote."""

from __future__ import annotations

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from soilscale.engine.units import Outcome, Receipt

PLANNED = Gauge("soilscale_units_planned", "Units of a stage, including complete ones.", ["stage"])
COMPLETE = Gauge("soilscale_units_complete", "Complete units of a stage, including those of earlier runs.", ["stage"])
TRIED = Counter("soilscale_units", "Units whose result reached this runner.", ["stage", "outcome"])
SECONDS = Histogram(
    "soilscale_unit_seconds",
    "Duration of a unit on its worker.",
    ["stage"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)
RETRIES = Counter("soilscale_retries", "Units that are retried because a service was down.", ["stage"])
OBJECTS = Counter("soilscale_objects_written", "Objects that units wrote, their markers among them.", ["stage"])
BYTES = Counter("soilscale_bytes_written", "Bytes of the objects that units wrote.", ["stage"])


def planned(stage: str, complete: int, total: int) -> None:
    """Tell how large a stage is, and how much of it stands.

    What is counted begins at 0: of a series that begins with the first failed unit Prometheus sees no increase.
    """
    if stage:
        PLANNED.labels(stage).set(total)
        COMPLETE.labels(stage).set(complete)
        SECONDS.labels(stage)
        for counter in (RETRIES, OBJECTS, BYTES):
            counter.labels(stage)
        for outcome in get_args(Outcome):
            TRIED.labels(stage, outcome)


def tried(receipt: Receipt) -> None:
    """Count a receipt."""
    TRIED.labels(receipt.stage, receipt.outcome).inc()
    SECONDS.labels(receipt.stage).observe(receipt.seconds)
    OBJECTS.labels(receipt.stage).inc(len(receipt.wrote))
    BYTES.labels(receipt.stage).inc(sum(written.size for written in receipt.wrote.values()))
    if receipt.outcome == "done":
        COMPLETE.labels(receipt.stage).inc()
    if receipt.outcome == "unreachable":
        RETRIES.labels(receipt.stage).inc()
