"""What became of the units of a stage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from soilscale.engine import metrics
from soilscale.engine.causes import kind
from soilscale.engine.units import AWAY, Outcome, Receipt, Task, Unit

logger = logging.getLogger(__name__)

MOST_AWAY = 8
"""Units, or as many as the cluster has threads, that fail one after the other when what they need is taken for dead."""


@dataclass
class Tally:
    """What became of the units of a stage."""

    progress: Callable[[int], None]
    done: int
    """Units that need not be tried again, those that are missing among them."""
    missing: list[Receipt] = field(default_factory=list)
    kinds: set[tuple[str, ...]] = field(default_factory=set)
    """Kinds of failure that the log has named; the command's end counts the units of each."""
    settled: set[str] = field(default_factory=set)
    """Names of the units that are not tried again in this run."""
    noted: set[str] = field(default_factory=set)
    """Topics of which the user was warned."""
    away: dict[str, str] = field(default_factory=dict)
    """Unit that could not be done for want of a service -> what it was told."""

    @property
    def first(self) -> str:
        """What the first of those was told that still could not be done."""
        return next(iter(self.away.values()))

    def take(self, receipts: Iterable[Receipt], threads: int) -> Outcome | None:
        """Count receipts as they come; what they say if so many say it in a row that the rest need not be tried."""
        row = 0
        for receipt in receipts:
            metrics.tried(receipt)
            # In a row, not in all: one failure in a thousand is no dead service.
            row = row + 1 if receipt.outcome in AWAY else 0
            if receipt.outcome in AWAY:
                self.away[receipt.name] = receipt.message
            else:
                self._settle(receipt)
            if receipt.outcome == "refused":
                self.settled.add(receipt.name)
            if row >= max(MOST_AWAY, threads):
                return receipt.outcome
        return None

    def _settle(self, receipt: Receipt) -> None:
        """Count a unit that is done, or will be missing."""
        for topic in receipt.notes.keys() - self.noted:
            logger.warning("%s", receipt.notes[topic])
        self.noted |= receipt.notes.keys()
        self.settled.add(receipt.name)
        self.away.pop(receipt.name, None)
        self.done += 1
        self.progress(self.done)
        if receipt.outcome != "done":
            # A catalog with a wrong fill value fails in every unit; the log names each kind of failure once.
            level = logging.DEBUG if kind(receipt) in self.kinds else logging.ERROR
            self.kinds.add(kind(receipt))
            self.missing.append(receipt)
            details = {"stage": receipt.stage, "unit": receipt.name, "outcome": receipt.outcome}
            logger.log(level, "%s %s: %s", receipt.stage, receipt.name, receipt.message, extra=details)

    def left(self, units: Sequence[Unit[Task]]) -> list[Unit[Task]]:
        """Those of the units that are to be tried, what was not tried yet first."""
        return sorted(
            (unit for unit in units if unit.name not in self.settled), key=lambda unit: unit.name in self.away
        )
