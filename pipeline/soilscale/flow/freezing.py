"""The items of every source, asked of the catalogs and frozen into the output."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import numpy as np
import yaml

from soilscale import catalog, config, storage
from soilscale.config import Config
from soilscale.errors import DataError, ServiceError
from soilscale.flow import inventory
from soilscale.flow.session import Run
from soilscale.flow.units import FAILED, Receipt
from soilscale.flow.workspace import Workspace, digest
from soilscale.grid import lonlat_bounds
from soilscale.seasons import as_month, following
from soilscale.sources import Source

logger = logging.getLogger(__name__)

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The one that is compiled, where there is one."""

SEARCH = "search"
"""Stage of the documents of catalogs."""


def write_resolved(run: Run) -> None:
    """Write the resolved configuration, its hash and the versions of packages."""
    content = {
        "config": config.dump(run.config),
        "hash": run.config_hash,
        "versions": run.versions,
    }
    if run.renewal is not None:
        content["renewal"] = asdict(run.renewal) | {"renewed": run.renewal.renewed and list(run.renewal.renewed)}
    storage.write_bytes(run.workspace.resolved, yaml.dump(content, Dumper=DUMPER, sort_keys=False).encode())


def freeze(run: Run) -> bool:
    """Ask the catalogs for the items of every source, freeze them, and say whether any is new, or cannot be used.

    A catalog that cannot be reached is survived where its items are frozen already: those are used, with a warning.

    Raises
    ------
    DataError
        If a source has no item in the area and period.
    ServiceError
        If a catalog cannot be reached and its items are not frozen.
    """
    write_resolved(run)
    broken, standing, new = Broken(run.workspace), _standing(run), False
    for source in run.config.source_list:
        url = run.workspace.items(source.name)
        frozen = storage.parsed(url, standing.pop(source.name, b"{}"))
        made_from = digest(source, run.config.catalog(source), run.config.span, run.config.nested_grid)
        try:
            items = catalog.search(query(run.config, source), progress=run.progress, broken=broken.record(source.name))
        except ServiceError as error:
            if frozen.get("soilscale:query") != made_from:
                raise
            logger.warning("%s; the items that were frozen before are used", error)
            continue
        if not items:
            raise DataError(no_items(run.config, source))
        of = digest(source, run.config.catalog(source), run.config.span[0], run.config.nested_grid)
        earlier = frozen.get("soilscale:asked", {})
        since = _since(run, earlier["last"]) if earlier.get("of") == of else None
        if since is not None:
            items = catalog.renew(frozen["features"], items, since)
        found = {
            "type": "FeatureCollection",
            "features": items,
            "soilscale:query": made_from,
            "soilscale:asked": {"of": of, "last": run.config.span[1]},
        }
        if frozen != json.loads(json.dumps(found)):
            storage.write_json(url, found)
            new = True
    broken.write()
    return new or bool(broken.found)


def _standing(run: Run) -> dict[str, bytes]:
    """What was frozen before, by source: asked for side by side, since each answer of a store takes its time."""
    urls = {run.workspace.items(source.name): source.name for source in run.config.source_list}
    names = {url.rpartition("/")[2]: source for url, source in urls.items()}
    folder = next(iter(urls)).rpartition("/")[0]
    return {names[name]: data for name, data in storage.read_many(folder, list(names)).items()}


def _since(run: Run, last: str) -> np.datetime64 | None:
    """First instant from which items are taken anew, None if all are; `last` is the last month asked for before."""
    renewal = run.renewal
    if renewal is None or renewal.revised or renewal.renewed is None:
        return None
    return min(as_month(renewal.renewed[0]), following(as_month(last))).astype("datetime64[s]")


@dataclass
class Broken:
    """Documents of catalogs that cannot be used, kept among the failed units."""

    workspace: Workspace
    found: list[Receipt] = field(default_factory=list)

    def record(self, source: str) -> Callable[[str, str], None]:
        """Callback for the search of a source."""

        def note(url: str, reason: str) -> None:
            self.found.append(Receipt(SEARCH, f"{source}: {url.partition('?')[0]}", "failed", reason, 0.0))

        return note

    def write(self) -> None:
        """Replace what an earlier search found."""
        inventory.remove(self.workspace, "state", SEARCH)
        for receipt in self.found:
            name = f"{digest(receipt.name)}{FAILED}"
            storage.write_json(self.workspace.state(SEARCH, name), asdict(receipt))


def query(settings: Config, source: Source) -> catalog.Query:
    """What is asked of a source's catalog: the grid's extent, and the period with the months that lags reach back."""
    return catalog.Query(
        source=source,
        catalog=settings.catalog(source),
        bbox=lonlat_bounds(settings.nested_grid.bounds, settings.nested_grid.crs),
        period=period(settings, max(source.lags, default=0)),
    )


def no_items(config: Config, source: Source) -> str:
    """Message for a source of which nothing lies in the area and period."""
    first, last = config.span
    area = config.area.geometry or list(config.area.bbox or ())
    return (
        f"source {source.name}: got no item of collection {source.collection!r} in the area {area} from {first} to "
        f"{last}, expected at least one; check where and when the collection lies, and the area and period asked for"
    )


def period(config: Config, lag: int = 0) -> catalog.Period:
    """First instant of the period, some months earlier for a lag, and the first one after it; UTC."""
    first, after = config.months[0] - np.timedelta64(lag, "M"), config.months[-1] + np.timedelta64(1, "M")
    return _instant(first), _instant(after)


def _instant(month: np.datetime64) -> datetime:
    return datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
