"""A query of a catalog and its result."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from soilscale.catalog.shared import Shared
from soilscale.errors import ConfigurationError
from soilscale.extents import Box
from soilscale.sources import Catalog, Source

Item = dict[str, Any]
"""A STAC item as plain JSON."""

Period = tuple[datetime, datetime]
"""First instant, and the first one after it; UTC."""

Span = tuple[np.datetime64, np.datetime64]
"""The same to the second, ``datetime64[s]``."""

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and of how many, where that is known."""

Broken = Callable[[str, str], None]
"""Called with the URL of a document that cannot be used, and why."""


@dataclass(frozen=True)
class Query:
    """What is asked of a catalog for one source."""

    source: Source
    catalog: Catalog
    bbox: Box
    """West, south, east, north in degrees; west > east across the antimeridian."""
    period: Period
    """UTC; the end is exclusive."""
    pixels_per_degree: float | None = None
    """Resolution that is enough, where a catalog holds an image at several; None: the finest."""
    shared: Shared = field(default_factory=Shared, compare=False, repr=False)
    """What was read for other sources."""

    @property
    def span(self) -> Span:
        """The period to the second."""
        return to_span(self.period)

    @property
    def where(self) -> str:
        """The unit of work, as messages name it."""
        return f"source {self.source.name!r}, catalog {self.catalog.name!r}"


@dataclass(frozen=True)
class Pruned:
    """A part of a static catalog that was left out unread."""

    url: str
    why: str
    """Such as ``name 2004 lies outside the period``."""


@dataclass
class Found:
    """What a catalog gave for a query."""

    items: list[Item] = field(default_factory=list)
    """Items of the collection in the area that meet the query, frozen but not yet cut to the period."""
    loose: list[Item] = field(default_factory=list)
    """The same of items that name no collection and lie in none."""
    assets: set[str] = field(default_factory=set)
    """Names of all assets of those items, wanted or not."""
    collections: set[str] = field(default_factory=set)
    """Ids of the collections that were met on the way."""
    broken: list[str] = field(default_factory=list)
    """Documents that could not be used, each with the reason."""
    complete: bool = True
    """Whether no part of the catalog was left out because of the period."""
    pruned: list[Pruned] = field(default_factory=list)
    """Parts of a static catalog that were not read."""
    refused: int = 0
    """Items in the area that do not meet the query."""
    values: dict[str, list[Any]] = field(default_factory=dict)
    """Property that the query names -> values that those items have there; None where they lack it."""
    received: int = 0
    """Items that an API sent."""
    matched: int | None = None
    """Items that the API says it has; None if it does not say."""


def to_span(period: Period) -> Span:
    """Turn a period into instants to the second; instants without a time zone are UTC."""
    first, after = (np.datetime64(_naive(instant), "s") for instant in period)
    return first, after


def _naive(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None) if instant.tzinfo else instant


def _starts(value: Any, text: Any) -> bool:
    return str(value).startswith(str(text))


def _ends(value: Any, text: Any) -> bool:
    return str(value).endswith(str(text))


OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "ne": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, choices: value in choices,
    "startsWith": _starts,
    "endsWith": _ends,
    "contains": operator.contains,
}
"""Operators of STAC's query extension; where a catalog does not know them, they are applied to what it gives."""

PORTABLE = ("eq", "neq", "lt", "lte", "gt", "gte")
"""Operators that every API with the query extension knows."""


def conditions(query: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Write a source's query in full: ``{"platform": "terra"}`` means ``{"platform": {"eq": "terra"}}``.

    Raises
    ------
    ConfigurationError
        If the query uses an operator that is not in `OPERATORS`.
    """
    full = {
        name.removeprefix("properties."): dict(rule) if isinstance(rule, Mapping) else {"eq": rule}
        for name, rule in query.items()
    }
    for name, rule in full.items():
        if unknown := sorted(set(rule) - set(OPERATORS)):
            raise ConfigurationError(
                f"query on {name!r}: the operator {unknown[0]!r} is not known; use one of {', '.join(OPERATORS)}"
            )
    return full


def portable(query: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Those conditions of a query that an API is asked to meet; the others are applied to what it gives."""
    sent = {
        name: {key: operand for key, operand in rule.items() if key in PORTABLE}
        for name, rule in conditions(query).items()
    }
    return {name: rule for name, rule in sent.items() if rule}


def satisfies(properties: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Whether an item's properties meet every condition of a query.

    An item that lacks a property meets only ``neq``; so does one that holds another type of value there.

    Raises
    ------
    ConfigurationError
        If the query uses an operator that is not in `OPERATORS`.
    """
    return all(
        _compare(properties.get(name), key, operand)
        for name, rule in conditions(query).items()
        for key, operand in rule.items()
    )


def _compare(value: Any, name: str, operand: Any) -> bool:
    if value is None:
        # As databases have it, a comparison with nothing is false; only to differ from a value holds.
        return name in ("neq", "ne") and operand is not None
    try:
        return bool(OPERATORS[name](value, operand))
    # A text beside a number neither meets nor breaks the condition; one odd item must not end the search.
    except TypeError:
        return False


def links(document: Mapping[str, Any], *relations: str) -> Iterator[dict[str, Any]]:
    """Links of a document that have one of some relations and a target."""
    for link in document.get("links") or ():
        if isinstance(link, dict) and link.get("rel") in relations and isinstance(link.get("href"), str):
            yield link


def kind_of(document: Mapping[str, Any]) -> str | None:
    """STAC type of a document; catalogs before STAC 1.0 do not say it."""
    kind = document.get("type")
    if isinstance(kind, str):
        return "FeatureCollection" if kind == "ItemCollection" else kind
    if not isinstance(document.get("links"), list) or "id" not in document:
        return None
    return "Collection" if "extent" in document else "Catalog"
