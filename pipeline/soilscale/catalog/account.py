"""Messages about sources whose items differ: which count, which are left out, and how to change the choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from soilscale.catalog.query import Span
from soilscale.catalog.relations import Relations, Standing, Verdict
from soilscale.errors import DataError
from soilscale.sources import Source

REASONS: dict[Standing, str] = {
    "lacks an asset": "lacking an asset that another of the same place and time has",
    "duplicate": "holding the same file as another of the same place and time",
    "older version": "older than another of the same place and time",
    "longer interval": "longer than a month, with shorter ones of the same place within",
}
"""Why items are left out, beside those of other platforms."""


def account(source: Source, relations: Relations) -> list[str]:
    """Lines on which items of a source make its months, one for each thing there is to say; none if all are alike.

    Parameters
    ----------
    source
        The source.
    relations
        What `relate` found of its items.
    """
    return [f"source {source.name}: {line}" for line in _lines(source, relations)]


def refuse_unclear(name: str, relations: Relations) -> None:
    """Refuse a static source of which two items show one place, and nothing says which counts.

    Raises
    ------
    DataError
        If there are such items.
    """
    unclear = relations.having("unclear")
    if unclear:
        first, _ = unclear[0]
        raise DataError(
            f"source {name}: items {first.item!r} and {first.beside!r} show the same place, and neither version, date "
            f"nor platform says which counts ({len(unclear)} items in all); choose with sources.{name}.query"
        )


def _lines(source: Source, relations: Relations) -> Iterator[str]:
    reasons = Counter(verdict.reason for verdict, _ in relations.having("other platform"))
    for name, count in sorted(reasons.items()):
        yield f"{_items(count)} of {name} left out (platform: {', '.join(relations.platform_filter)})"
    if len(relations.platforms) > 1:
        listed = [f"{name or 'unknown'} ({_items(count)})" for name, count in sorted(relations.platforms.items())]
        yield (
            f"items of {len(listed)} platforms, {', '.join(listed)}; a month is their mean; to choose one, set "
            f"sources.{source.name}.platform"
        )
    for standing, reason in REASONS.items():
        left = relations.having(standing)
        if left:
            first, span = left[0]
            because = f" ({first.reason})" if first.reason else ""
            yield (
                f"{_items(len(left))} left out, {reason}: in {_months(left)}, such as {first.item!r} of "
                f"{str(span[0])[:10]} for {first.beside!r}{because}"
            )
    yield from _unclear(source, relations.having("unclear"))
    if relations.overlap is not None:
        longer, shorter = relations.overlap
        yield (
            f"intervals of different length overlap, such as those of {longer!r} and {shorter!r}; in each place, a "
            "month takes the longest that are no longer than a month"
        )


def _unclear(source: Source, unclear: Sequence[tuple[Verdict, Span]]) -> Iterator[str]:
    if unclear:
        first, _ = unclear[0]
        yield (
            f"{_items(len(unclear))} cover the same place and time as another, and neither version, date nor platform "
            f"says which counts: in {_months(unclear)}, such as {first.item!r} and {first.beside!r}; their mean is "
            f"used; choose with sources.{source.name}.query if that is wrong"
        )


def _items(count: int) -> str:
    return f"{count} item{'s' if count > 1 else ''}"


def _months(left_out: Sequence[tuple[Verdict, Span]], most: int = 3) -> str:
    """Months in which items start, the first few of many."""
    months = sorted({str(span[0])[:7] for _, span in left_out})
    remainder = f" and {len(months) - most} more months" if len(months) > most else ""
    return ", ".join(months[:most]) + remainder
