"""Failures by source and cause: a cause that affects many units is reported once, with the number of inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from soilscale.engine.units import Receipt

QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\([^)]*\)")
"""What a message quotes or lists."""

SOURCE = re.compile(r"([^/:]+)[/:]")
"""Beginning of a unit's name, where it belongs to a source."""


def more_memory(_stage: str, _limit: float) -> str:
    """Give the remedy for units that kill their workers, if the memory they need is unknown."""
    return "give the workers more memory or choose a smaller grid.tile, then run the same command again"


@dataclass(frozen=True)
class Cause:
    """Units of one stage, and of one source if it has any, that failed in the same way."""

    receipts: tuple[Receipt, ...]

    @property
    def source(self) -> str:
        """Source whose units they are; empty if the stage has none."""
        match = SOURCE.match(self.first.name)
        return match[1] if match else ""

    @property
    def first(self) -> Receipt:
        """The first of them, whose message stands for all."""
        return self.receipts[0]

    @property
    def places(self) -> int:
        """How many files, items or documents their messages name."""
        return len({receipt.message.partition(": ")[0] for receipt in self.receipts})

    @property
    def unit(self) -> str:
        """Name of the first unit, and how many more there are."""
        further = len(self.receipts) - 1
        name = f"{self.first.stage} {self.first.name}"
        return f"{name} and {further} more unit{'s' if further > 1 else ''}" if further else name

    def why(self, items: Mapping[str, int]) -> str:
        """What is wrong; of several units also with how many items of their source.

        Parameters
        ----------
        items
            Source -> number of its items, as far as it is known.
        """
        if len(self.receipts) == 1 or self.source not in items:
            return self.first.message
        total = items[self.source]
        return f"{min(self.places, total)} of {total} items of {self.source} cannot be used: {self.first.message}"


def kind(receipt: Receipt) -> tuple[str, str, str, str]:
    """What failures of one cause have in common: stage, source, outcome, and the message without names and numbers."""
    source = SOURCE.match(receipt.name)
    words = QUOTED.sub("", receipt.message).split()
    # Paths, dates and numbers differ from unit to unit of one cause.
    plain = " ".join(word for word in words if "/" not in word and not re.search(r"\d", word))
    return receipt.stage, source[1] if source else "", receipt.outcome, plain


def causes(receipts: Sequence[Receipt]) -> list[Cause]:
    """Failures by stage, source and cause, each in the order of its units."""
    ordered = sorted(receipts, key=lambda receipt: (*kind(receipt), receipt.name))
    grouped = [Cause(tuple(group)) for _, group in groupby(ordered, kind)]
    # Stages in the order in which they ran, not of the alphabet: what came first may be the cause of the rest.
    order = list(dict.fromkeys(receipt.stage for receipt in receipts))
    return sorted(grouped, key=lambda cause: (order.index(cause.first.stage), cause.first.name))


def lines(receipts: Sequence[Receipt], items: Mapping[str, int]) -> list[str]:
    """A line for each cause: its units, and what is wrong; `items` as in `Cause.why`."""
    return [f"{cause.unit}: {cause.why(items)}" for cause in causes(receipts)]
