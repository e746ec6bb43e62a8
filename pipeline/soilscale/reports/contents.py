"""What the page is made of: sections of figures and tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure, by the name of its file."""

    name: str
    title: str
    caption: str
    alt: str
    """What there is to see, for those who do not."""


@dataclass(frozen=True)
class Table:
    """A table, by the name of its file."""

    name: str
    title: str
    note: str = ""
    keys: tuple[str, ...] = ()
    """Columns that identify rows of a long table, which gets a column for each metric; none: as it is."""
    folded: bool = False
    """Whether it opens only on a click."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str
    heading: str
    text: str = ""
    entries: tuple[Figure | Table, ...] = ()
