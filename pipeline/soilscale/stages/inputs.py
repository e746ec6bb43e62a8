"""What is requested and known of a source before its items are planned: period, unit, access to its assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from soilscale import catalog, cube
from soilscale.config import Config
from soilscale.errors import DataError
from soilscale.sources import Source

if TYPE_CHECKING:
    from soilscale.catalog import Scene


UNIT = "soilscale:unit"
"""Member of frozen items: the unit that a file of theirs states, and the digest of the scene whose file it is."""


def unit(source: Source, scenes: Sequence[Scene], frozen: Mapping[str, Any]) -> str:
    """Unit of a source in the cube: see `cube.cube_unit`; what its files state is what the search has frozen of them.

    Raises
    ------
    ConfigurationError
        If the configured unit cannot be what the source is used for.
    DataError
        If a version that did not freeze the unit of files has frozen the items.
    """
    texts = [text for scene in scenes if (text := scene.decoding["unit"])]
    # Planning must work without the sources, so the unit of files comes from what the search froze, never from a file
    # here.
    if rests_on_files(source, scenes):
        if UNIT not in frozen:
            raise DataError(
                f"source {source.name}: its items were frozen without the unit of their files; run `soilscale search`"
            )
        texts = [text for text in ((frozen[UNIT] or {}).get("unit"),) if text]
    return cube.cube_unit(source, texts)


def rests_on_files(source: Source, scenes: Sequence[Scene]) -> bool:
    """Whether neither the configuration nor an item states the unit of a source that has one."""
    unit_stated = source.unit or any(scene.decoding["unit"] for scene in scenes)
    return source.kind == "continuous" and not unit_stated


def reading(settings: Config, source: Source, unit: str | None = None) -> cube.Reading:
    """Source with the way to its assets, and its unit in the cube."""
    return cube.Reading(source, partial(catalog.sign, sign=settings.catalog(source).sign), unit)


def no_items(config: Config, source: Source, answer: catalog.Found | None = None) -> str:
    """Message for a source of which nothing lies in the area and period, or meets its query."""
    first, last = config.span
    area = config.area.geometry or list(config.area.bbox or ())
    message = (
        f"source {source.name}: got no item of collection {source.collection!r} in the area {area} from {first} to "
        f"{last}, expected at least one; "
    )
    if answer is not None and answer.refused:
        values_there = "; ".join(
            f"{name} there: {', '.join(map(_shown, values))}" for name, values in answer.values.items()
        )
        return message + (
            f"without the query {dict(source.query)} there are {answer.refused} items ({values_there}); correct "
            f"sources.{source.name}.query"
        )
    if answer is not None and answer.items:
        starts = sorted(str(catalog.start(item["properties"]))[:10] for item in answer.items)
        return message + (
            f"its {len(answer.items)} items in the area begin from {starts[0]} to {starts[-1]}; check the period"
        )
    return message + "check the extent of the collection, and the requested area and period"


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)


def period(config: Config, lag: int = 0) -> catalog.Period:
    """First instant of the period, some months earlier for a lag, and the first one after it; UTC."""
    first, after = config.months[0] - np.timedelta64(lag, "M"), config.months[-1] + np.timedelta64(1, "M")
    return _instant(first), _instant(after)


def _instant(month: np.datetime64) -> datetime:
    return datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
