"""What items and files state of the values that they store, and two statements that contradict each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from soilscale import numerals
from soilscale.cube.assets import Header
from soilscale.sources import Source

What = Literal["nodata", "scale and offset", "unit", "place"]

Factors = tuple[float, float]
"""Scale and offset."""


@dataclass(frozen=True)
class Statement:
    """What an item or a file states of the stored values of a band; None, or nothing, where it is silent."""

    scale: float | None = None
    offset: float | None = None
    unit: str | None = None
    nodata: tuple[float, ...] = ()
    valid_range: tuple[float, float] | None = None
    unclear: tuple[tuple[str, str], ...] = ()
    """``scale``, ``offset`` or ``nodata``, and the text that states it in a way that is not understood."""

    @classmethod
    def of_item(cls, decoding: Mapping[str, Any]) -> Statement:
        """What an item states, of `Scene.decoding`."""
        return cls(
            decoding["scale"],
            decoding["offset"],
            decoding["unit"],
            tuple(decoding["nodata"] or ()),
            decoding["valid_range"],
            tuple((key, text) for key, text in decoding.get("unclear", ())),
        )

    @classmethod
    def of_file(cls, header: Header, source: Source) -> Statement:
        """What a file states; of heights, the unit of its vertical axis if it states no other.

        Scale 1 and offset 0 are what files have that state none.
        """
        unit = header.unit or (header.height_unit if source.derive else None)
        # NaN is missing whether it is stated or not, and would not compare equal as a code.
        codes = [code for code in (header.nodata, *header.fills) if code is not None and math.isfinite(code)]
        # Taken as statements, they would contradict every item that states a scale.
        scale = None if header.scale == 1.0 else header.scale
        return cls(scale, header.offset or None, unit, tuple(dict.fromkeys(codes)), header.valid_range, header.unclear)

    @property
    def unusable(self) -> tuple[tuple[str, str], ...]:
        """What is stated and cannot be used: texts that are no numbers, and a scale of 0."""
        wrong = list(self.unclear)
        if self.scale is not None and not numerals.is_factor(self.scale):
            wrong.append(("scale", f"scale {self.scale:g}"))
        if self.offset is not None and not math.isfinite(self.offset):
            wrong.append(("offset", f"offset {self.offset:g}"))
        return tuple(dict.fromkeys(wrong))

    @property
    def is_scaled(self) -> bool:
        """Whether scale or offset is stated."""
        return self.scale is not None or self.offset is not None

    def factors(self, *partners: Statement) -> Factors:
        """Scale and offset; where they are not stated, those of the first other that states them, else 1 and 0."""
        scale = next((statement.scale for statement in (self, *partners) if statement.scale is not None), 1.0)
        offset = next((statement.offset for statement in (self, *partners) if statement.offset is not None), 0.0)
        return scale, offset

    def __str__(self) -> str:
        """Scale, offset and unit as a message names them."""
        numbers = (("scale", self.scale), ("offset", self.offset))
        parts = [f"{name} {number:g}" for name, number in numbers if number is not None]
        return ", ".join([*parts, *([f"unit {self.unit!r}"] if self.unit else [])])


@dataclass(frozen=True)
class Contradiction:
    """Two statements that cannot both hold, and what becomes of it."""

    source: str
    item: str
    what: What
    statements: tuple[tuple[str, str], ...]
    """Who states something (``configuration``, ``profile MOD11A2``, ``item``, ``file``), and what."""
    consequence: str
    remedy: str
    grave: bool
    """Whether values cannot be trusted, so that the item is not read; else one statement is used, with a warning."""

    @property
    def topic(self) -> str:
        """What all contradictions of this kind share, whatever the item: one message is enough for them."""
        return f"{self.source} {self.what} {self.statements}"

    def __str__(self) -> str:
        """Message for a person."""
        statements = "; ".join(f"the {who} states {text}" for who, text in self.statements)
        return f"source {self.source}, item {self.item}: {statements}; {self.consequence}; {self.remedy}"
