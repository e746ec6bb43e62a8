"""How stored values become physical ones if configuration, profile, item and file each state a part.

`resolve` is the one rule for all readers: it is pure, and opens nothing. The cube decodes by what it returns; whoever
checks inputs without reading them all shows its contradictions. The rules stand in docs/inputs.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale import units
from soilscale.cube.quantities import Interval, conversion
from soilscale.cube.statements import Contradiction, Factors, Statement, What
from soilscale.sources import Source
from soilscale.units import Linear, UnitError

SAME = 1e-6
"""Relative difference up to which two scales or offsets are the same, one of them often kept in single precision."""

HUGE = 1e30
"""Magnitude that no stored value has: beyond it lie fill codes, rounded in many ways, and stated or not."""

AS_IT_IS = Linear()


@dataclass(frozen=True)
class Decoding:
    """Physical value = conversion(stored value x scale + offset), of what is neither fill nor out of range."""

    scale: float = 1.0
    offset: float = 0.0
    conversion: Linear = AS_IT_IS
    """From the unit that scale and offset lead to, to the unit of the cube; of totals and rates to what a month is
    made from: the total of the composite, or the mean per day."""
    fills: tuple[float, ...] = ()
    """Stored values that are missing, whoever states them."""
    valid_range: tuple[float, float] | None = None

    def physical(self, stored: NDArray[Any]) -> NDArray[np.floating]:
        """Physical values, NaN where missing, float64 of the shape of `stored`."""
        codes = stored.astype("float64")
        valid = np.isfinite(codes) & ~is_fill(stored, self.fills)
        if self.valid_range is not None:
            valid &= (codes >= self.valid_range[0]) & (codes <= self.valid_range[1])
        values = codes * self.scale + self.offset
        return np.where(valid, values * self.conversion.factor + self.conversion.offset, np.nan)


def is_fill(stored: NDArray[Any], fills: tuple[float, ...]) -> NDArray[np.bool_]:
    """Where stored values are fill codes, in single precision too if they are no integers."""
    codes = stored.astype("float64")
    where: NDArray[np.bool_] = np.isin(codes, fills)
    if stored.dtype.kind != "f":
        return where
    where |= np.abs(codes) >= HUGE
    if not fills:
        return where
    with np.errstate(over="ignore"):
        # A fill such as -3.4e38 is often stated in double and stored in single precision, or the other way round.
        where |= np.isin(codes.astype("float32"), np.array(fills).astype("float32")) & np.isfinite(codes)
    return where


def resolve(
    source: Source, unit: str | None, item: str, by_origin: Mapping[str, Statement], interval: Interval
) -> tuple[Decoding, tuple[Contradiction, ...]]:
    """Bring together what configuration, profile, item and file state of an item's stored values.

    Parameters
    ----------
    source
        Holds what the configuration and its profile state; `Source.states` says which of the two.
    unit
        Unit of the source in the cube; None if it does not matter, as of classes.
    item
        Its id, for messages.
    by_origin
        ``item`` and ``file`` -> what they state; either may be absent, as before a file is opened.
    interval
        First instant of the item and first after it: the days that a total or a rate per month is of.

    Returns
    -------
    Decoding
        Every stated fill counts. Scale and offset are the configuration's, else the profile's, else the item's, else
        the file's.
    tuple of Contradiction
        What does not go together and changes values. If one is `grave`, the decoding must not be used.
    """
    statements = {who: statement for who, statement in by_origin.items() if who in ("item", "file")}
    fills, problems = _fills(source, item, statements)
    problems = (*problems, *_unusable(source, item, statements))
    ranges = (source.valid_range, *(statement.valid_range for statement in statements.values()))
    case = _Case(source, unit, item, statements, interval)
    scale, offset, way, further = case.configured() if case.is_configured else case.read()
    valid_range = next((limits for limits in ranges if limits is not None), None)
    return Decoding(scale, offset, way, fills, valid_range), (*problems, *further)


Answer = tuple[float, float, Linear, list[Contradiction]]


@dataclass(frozen=True)
class _Case:
    """One item of `resolve`."""

    source: Source
    unit: str | None
    item: str
    stated: Mapping[str, Statement]
    interval: Interval

    @property
    def is_configured(self) -> bool:
        """Whether the configuration or its profile states scale or offset."""
        return self.source.scale is not None or self.source.offset is not None

    def configured(self) -> Answer:
        """Scale and offset of the configuration or profile; a unit beside them is that of the scaled values."""
        source = self.source
        scale, offset = Statement(source.scale, source.offset).factors(*self.stated.values())
        if source.unit is not None and source.scale is not None:
            against = [who for who, s in self.stated.items() if not self._agrees(s, scale, offset)]
            # Scale and unit together say all: converting by another party's unit would scale twice.
            return scale, offset, AS_IT_IS, [self._against(who) for who in against]
        who, text = self._unit_stated()
        configured = Statement(scale, offset)
        problems = [
            self._against(party)
            for party, s in self.stated.items()
            if s.is_scaled and not _close(s.factors(configured), (scale, offset))
        ]
        if not self._same_units():
            who, text, problem = self._choose_unit()
            return scale, offset, AS_IT_IS if problem.grave else self._conversion(text), [*problems, problem]
        way, wrong = self._to_cube(who, text)
        if source.scale is not None and _close(_after((1.0, 0.0), way), (scale, offset)):
            way = AS_IT_IS  # The scale is the conversion, as 24 is from mm/h to mm a day.
        if source.scale is not None and way != AS_IT_IS:
            contradicting = {self._who("scale"): f"scale {scale:g} but no unit", who: f"unit {text!r}"}
            how = f"it is unknown whether scaled values are in {text!r} or in {self.unit!r} is not known"
            wrong = [
                self._problem(
                    "unit", contradicting, how, f"write unit in addition to scale under sources.{source.name}"
                )
            ]
        return scale, offset, way, [*problems, *wrong]

    def read(self) -> Answer:
        """Scale and offset of the item, else the file."""
        # The order of `stated` decides: what the item states comes before what the file does.
        factors = self._factors()
        chosen = next(iter(factors), None)
        problems: list[Contradiction] = []
        if len(factors) > 1 and not self._same_values():
            chosen, problem = self._choose_factors(factors)
            problems.append(problem)
        scale, offset = factors[chosen] if chosen else (1.0, 0.0)
        unit_from = chosen if chosen and self.stated[chosen].unit else None
        who, text = self._unit_stated() if unit_from is None else (unit_from, self.stated[unit_from].unit)
        if not problems and not self._same_values():
            who, text, problem = self._choose_unit()
            problems.append(problem)
        way, wrong = (AS_IT_IS, []) if any(problem.grave for problem in problems) else self._to_cube(who, text)
        return scale, offset, way, [*problems, *wrong]

    def _factors(self) -> dict[str, Factors]:
        """Scale and offset of those who state either, each with what only the other states, in the same unit."""
        scaled = {who: s for who, s in self.stated.items() if s.is_scaled}
        alike = {who: [partner for partner in scaled.values() if _one_unit(s, partner)] for who, s in scaled.items()}
        return {who: s.factors(*alike[who]) for who, s in scaled.items()}

    def _same_values(self) -> bool:
        """Whether all who state scale, offset or unit lead to the same values in the cube."""
        usable = {who: s for who, s in self.stated.items() if s.is_scaled or s.unit}
        if len(usable) < len(("item", "file")):
            return True
        factors, (_, text) = self._factors(), self._unit_stated()
        either = next(iter(factors.values()), (1.0, 0.0))
        ways = [(factors.get(who, either), s.unit or text) for who, s in usable.items()]
        if len({way[1] and units.canonical(way[1]) for way in ways}) == 1:
            return _close(ways[0][0], ways[1][0])
        try:
            return _close(*(_after(numbers, self._conversion(unit)) for numbers, unit in ways))
        except UnitError:
            return False

    def _same_units(self) -> bool:
        """Whether all who state a unit lead to the same values in the cube."""
        texts = {units.canonical(statement.unit) for statement in self.stated.values() if statement.unit}
        try:
            return len(texts) <= 1 or len({self._conversion(text) for text in texts}) == 1
        except UnitError:
            return False

    def _choose_factors(self, factors: Mapping[str, Factors]) -> tuple[str, Contradiction]:
        """Between the scales of item and file: what generators write by default gives way to what a file states."""
        texts = {who: self.stated[who] for who in factors}
        if _close(self.stated["item"].factors(), (1.0, 0.0)):
            how = "the file's is used, since item generators write 1 and 0 by default"
            return "file", self._problem("scale and offset", texts, how, grave=False)
        return "item", self._problem("scale and offset", texts, "its values are not known")

    def _choose_unit(self) -> tuple[str, str | None, Contradiction]:
        """Between the units of item and file: that which is also the configuration's."""
        texts: dict[str, object] = {who: f"unit {s.unit!r}" for who, s in self.stated.items() if s.unit}
        configured_unit = self.source.unit and units.canonical(self.source.unit)
        for who, statement in self.stated.items():
            if statement.unit and units.canonical(statement.unit) == configured_unit:
                how = f"{configured_unit!r} is used, which is the {self._who('unit')}'s unit too"
                return who, statement.unit, self._problem("unit", texts, how, grave=False)
        return "item", None, self._problem("unit", texts, "its values are not known")

    def _agrees(self, statement: Statement, scale: float, offset: float) -> bool:
        """Whether a statement leads to the same values as scale and offset in the configured unit."""
        try:
            way = self._conversion(statement.unit)
        except UnitError:
            if statement.unit is not None and units.is_known(statement.unit):
                return False
            way = AS_IT_IS
        if statement.is_scaled:
            return _close(_after(statement.factors(Statement(scale, offset)), way), (scale, offset))
        # A file may state only the unit of its scaled values, or of those that it stores.
        return way == AS_IT_IS or _close(_after((1.0, 0.0), way), (scale, offset))

    def _unit_stated(self) -> tuple[str, str | None]:
        """Who states a unit first, and which."""
        return next(((who, s.unit) for who, s in self.stated.items() if s.unit), ("item", None))

    def _conversion(self, text: str | None) -> Linear:
        if text is None or self.unit is None:
            return AS_IT_IS
        return conversion(text, self.unit, self.source.aggregate, self.interval)

    def _to_cube(self, who: str, text: str | None) -> tuple[Linear, list[Contradiction]]:
        """Way from a stated unit to the cube's, and what is wrong with it."""
        try:
            return self._conversion(text), []
        except UnitError as error:
            cube = {self._who("unit") if self.source.unit else "cube": f"unit {self.unit!r}"}
            texts = {who: f"unit {text!r}"} | cube
            return AS_IT_IS, [self._problem("unit", texts, f"{error}, so its values cannot be used")]

    def _who(self, key: str) -> str:
        return self.source.states(key)

    def _against(self, who: str) -> Contradiction:
        """Contradiction that the configuration or its profile decides."""
        configured = Statement(self.source.scale, self.source.offset, self.source.unit)
        return self._problem("scale and offset", {self._who("scale"): configured, who: self.stated[who]})

    def _problem(
        self,
        subject: What,
        statements: Mapping[str, object],
        consequence: str | None = None,
        remedy: str | None = None,
        *,
        grave: bool | None = None,
    ) -> Contradiction:
        """Contradiction of this item; by default one that the configuration decides."""
        first = next(iter(statements))
        decided = consequence is None
        keys = "scale, offset and unit" if subject == "unit" else "scale and offset"
        return Contradiction(
            source=self.source.name,
            item=self.item,
            what=subject,
            statements=tuple((who, str(text)) for who, text in statements.items()),
            consequence=consequence or f"the {first}'s is used",
            remedy=remedy or f"to decide otherwise, write {keys} under sources.{self.source.name}",
            grave=not decided if grave is None else grave,
        )


def _fills(
    source: Source, item: str, by_origin: Mapping[str, Statement]
) -> tuple[tuple[float, ...], tuple[Contradiction, ...]]:
    """Every stated fill code; none if the configuration says so by an empty list."""
    codes = {who: statement.nodata for who, statement in by_origin.items() if statement.nodata}
    if source.nodata == () and codes:
        texts = (
            (source.states("nodata"), "nodata []"),
            *((who, f"nodata {list(nodata)}") for who, nodata in codes.items()),
        )
        how, remedy = "these codes are read as data", f"to mask them, remove nodata under sources.{source.name}"
        return (), (Contradiction(source.name, item, "nodata", texts, how, remedy, grave=False),)
    every = {*(source.nodata or ()), *(code for nodata in codes.values() for code in nodata)}
    return tuple(sorted(code for code in every if math.isfinite(code))), ()


def _unusable(source: Source, item: str, by_origin: Mapping[str, Statement]) -> tuple[Contradiction, ...]:
    """What is stated in a way that cannot be used; nothing of what the configuration states."""
    configured = {"nodata": source.nodata, "scale": source.scale, "offset": source.offset}
    return tuple(
        Contradiction(
            source=source.name,
            item=item,
            what="nodata" if key == "nodata" else "scale and offset",
            statements=((who, text),),
            consequence="it cannot be used",
            remedy=f"write {key} under sources.{source.name}",
            grave=True,
        )
        for who, statement in by_origin.items()
        for key, text in statement.unusable
        if configured[key] is None
    )


def _one_unit(statement: Statement, second: Statement) -> bool:
    """Whether two statements name no different units."""
    return not (statement.unit and second.unit) or units.canonical(statement.unit) == units.canonical(second.unit)


def _close(factors: Factors, second: Factors) -> bool:
    """Whether two scales and offsets lead to the same values."""
    scale = max(abs(factors[0]), abs(second[0]))
    # An offset is judged against the scale too: beside 0 every rounding error would be a relative difference of 1.
    offset = max(abs(factors[1]), abs(second[1]), scale)
    return abs(factors[0] - second[0]) <= SAME * scale and abs(factors[1] - second[1]) <= SAME * offset


def _after(factors: Factors, way: Linear) -> Factors:
    """Scale and offset with a conversion after them."""
    return factors[0] * way.factor, way(factors[1])
