"""Files that hold several dates: the search opens them and makes an item of each date."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from soilscale import catalog, formats
from soilscale.errors import DataError

if TYPE_CHECKING:
    from soilscale.cube import Reading
    from soilscale.formats import Step
    from soilscale.sources import Source

Span = tuple[np.datetime64, np.datetime64]


def may_lie_in_files(source: Source, items: Sequence[catalog.Item]) -> bool:
    """Whether files of a source may hold several dates, by their names."""
    return not source.static and bool(_layered(source, items))


def split(reading: Reading, items: Sequence[catalog.Item], span: Span) -> list[catalog.Item]:
    """Items with those of files of several dates made one for each date of a period, or of all time if none lies in it.

    The first, the middle and the last file are opened; all are where one of these holds several dates. What cannot be
    read stays as it is: whoever reads it says so.

    Parameters
    ----------
    items
        As the catalog gives them, by start; see `may_lie_in_files`.
    span
        First instant of the period and first after it.

    Raises
    ------
    ServiceError
        If a store cannot be reached.
    """
    layered = _layered(reading.source, items)
    # To open every file of a long series takes time; three of them tell whether the series is of this kind.
    sampled = {item["id"]: _steps(reading, item) for item in (layered[0], layered[len(layered) // 2], layered[-1])}
    if not any(sampled.values()):
        return list(items)
    dated: list[catalog.Item] = []
    for item in items:
        steps = sampled[item["id"]] if item["id"] in sampled else _steps(reading, item)
        dated += _dated(item, steps) if steps else [item]
    within = [item for item in dated if _meets(item, span)]
    return sorted(within or dated, key=lambda item: (item["properties"]["start_datetime"], item["id"]))


def _layered(source: Source, items: Sequence[catalog.Item]) -> list[catalog.Item]:
    """Items whose file may hold several variables, and so several dates."""
    assets = ((item, item["assets"].get(source.asset)) for item in items)
    return [item for item, asset in assets if asset is not None and formats.may_hold_layers(str(asset["href"]))]


def _steps(reading: Reading, item: catalog.Item) -> tuple[Step, ...]:
    """Dates of an item's file, if it holds several."""
    asset = item["assets"].get(reading.source.asset)
    try:
        return () if asset is None else reading.steps(str(asset["href"]))
    except DataError:
        return ()


def _dated(item: catalog.Item, steps: Sequence[Step]) -> list[catalog.Item]:
    """An item of each date; its id ends with the day, with the second where several begin on one day."""
    days = Counter(str(step.start)[:10] for step in steps)
    items = []
    for step in steps:
        day, second = str(step.start)[:10], str(step.start)
        name = (day if days[day] == 1 else second).replace("-", "").replace(":", "")
        properties = item["properties"] | {"datetime": None, catalog.STEP: step.number}
        # A step ends where the next one begins; without the second less, each item would reach into the one after it.
        interval = {"start_datetime": f"{step.start}Z", "end_datetime": f"{step.end - np.timedelta64(1, 's')}Z"}
        items.append(item | {"id": f"{item['id']}_{name}", "properties": properties | interval})
    return items


def _meets(item: catalog.Item, span: Span) -> bool:
    start, end = (np.datetime64(item["properties"][key].rstrip("Z"), "s") for key in ("start_datetime", "end_datetime"))
    return bool(start < span[1] and end >= span[0])
