"""Events of units: a line of the log for each result, where the environment asks for them."""

from __future__ import annotations

import logging
import os

from soilscale.engine.units import Receipt

VARIABLE = "SOILSCALE_UNIT_EVENTS"
"""Variable that is ``true`` where events are wished for: a nation has some 100,000 units."""

logger = logging.getLogger(__name__)


def tried(receipt: Receipt) -> None:
    """Log a receipt with stage, unit, outcome and the seconds on its worker, which are fields in a log of JSON."""
    if os.environ.get(VARIABLE) == "true":
        fields = {"stage": receipt.stage, "unit": receipt.name, "outcome": receipt.outcome, "seconds": receipt.seconds}
        words = (receipt.stage, receipt.name, receipt.outcome, receipt.seconds)
        logger.info("%s %s: %s after %.3g s", *words, extra=fields)
