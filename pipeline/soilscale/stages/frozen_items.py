"""The items of every source, searched in the catalogs and frozen into the output."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from soilscale import catalog, config, cube, storage
from soilscale.config import Config
from soilscale.engine.output import Workspace, digest
from soilscale.engine.units import FAILED, Receipt
from soilscale.errors import DataError, ServiceError
from soilscale.grid import lonlat_bounds
from soilscale.seasons import as_month, following
from soilscale.sources import Source
from soilscale.stages import dated_items, inventory
from soilscale.stages.context import Run
from soilscale.stages.inputs import UNIT, no_items, period, reading, rests_on_files

if TYPE_CHECKING:
    from soilscale.catalog import Scene

logger = logging.getLogger(__name__)

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The one that is compiled, where there is one."""

SEARCH = "search"
"""Stage of the documents of catalogs."""


OVERVIEW = "soilscale:overview"
"""Member of frozen items: which overview of their files is read, and the digest of the scene whose file showed it."""

FOUND = "soilscale:found"
"""Member of frozen items: what the catalog gave for them, see `counts`."""

PRUNED = 10
"""Parts of a catalog that were not read, of which the reason is kept."""

PER_CELL = 2.0
"""Pixels along a fine cell that are enough of a level of resolution that a catalog keeps: four in the cell."""

TRIED = 3
"""Scenes of which at least one must be readable for its file to state the unit."""


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
    broken, standing, new, shared = Broken(run.workspace), _standing(run), False, catalog.Shared()
    for source in run.config.source_list:
        url = run.workspace.items(source.name)
        frozen = storage.parsed(url, standing.pop(source.name, b"{}"))
        made_from = digest(source, run.config.catalog(source), run.config.span, run.config.nested_grid)
        try:
            items, answer = find(run.config, source, shared, progress=run.progress, broken=broken.record(source.name))
            if not items:
                raise DataError(no_items(run.config, source, answer))
            # Without the last month: a period that goes on asks the same question, so items that were frozen for it may
            # stay.
            of = digest(source, run.config.catalog(source), run.config.span[0], run.config.nested_grid)
            earlier = frozen.get("soilscale:asked", {})
            since = _since(run, earlier["last"]) if earlier.get("of") == of else None
            if since is not None:
                items = catalog.renew(frozen["features"], items, since)
            for item in items:  # those of before say which overview was read
                item["assets"].get(source.asset, {}).pop(catalog.REDUCTION, None)
            unit_source = _stated_unit(run.config, source, items, frozen.get(UNIT))
            chosen = _reduce(run.config, source, items, frozen.get(OVERVIEW) if earlier.get("of") == of else None)
        except ServiceError as error:
            if frozen.get("soilscale:query") != made_from:
                raise
            logger.warning("%s; using the items that were frozen before", error)
            continue
        collection = {
            "type": "FeatureCollection",
            "features": items,
            "soilscale:query": made_from,
            "soilscale:asked": {"of": of, "last": run.config.span[1]},
            UNIT: unit_source,
            OVERVIEW: chosen,
            FOUND: counts(answer),
        }
        # Compared as it would be read back: a tuple comes back as a list, and would look new at every search.
        if frozen != json.loads(json.dumps(collection)):
            storage.write_json(url, collection)
            new = True
    broken.write()
    return new or bool(broken.found)


def counts(answer: catalog.Found) -> dict[str, Any]:
    """What a catalog gave for a query, as plain data.

    ``matched`` and ``received`` are of an API that tells how many items it has; ``refused`` did not meet the query;
    ``parts pruned`` of a static catalog were not read, ``pruned`` says of the first ones why; ``broken`` documents
    could not be used.
    """
    return {
        "matched": answer.matched,
        "received": answer.received,
        "refused": answer.refused,
        "parts pruned": len(answer.pruned),
        # Without the query of the URL: it may hold a signature, which is not to be kept.
        "pruned": [f"{part.url.partition('?')[0]}: {part.why}" for part in answer.pruned[:PRUNED]],
        "broken": len(answer.broken),
    }


def _stated_unit(
    settings: Config, source: Source, items: Sequence[catalog.Item], earlier: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Unit of a file of items, where it may be needed; see `unit_of_file`."""
    if source.unit is not None or source.kind != "continuous":
        return None
    return unit_of_file(settings, source, catalog.scenes(items, source), earlier)


def unit_of_file(
    settings: Config, source: Source, scenes: Sequence[Scene], earlier: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Unit that the first readable file states, as `UNIT` holds it.

    None if the configuration or an item states it, or no file can be read, which the next search tries again. The unit
    of an earlier search holds as long as its scene is among the scenes.
    """
    if not rests_on_files(source, scenes):
        return None
    if earlier is not None and any(scene.digest == earlier["scene"] for scene in scenes):
        return dict(earlier)
    read, silent = reading(settings, source), None
    for scene in scenes[:TRIED]:
        try:
            unit = cube.file_unit(read, scene)
        except DataError:
            continue
        except ServiceError as error:
            error.args = (f"source {source.name}, item {scene.item}: {error.args[0]}", *error.args[1:])
            raise
        if unit:
            return {"unit": unit, "scene": scene.digest}
        # That a file states no unit is kept too, or every search would open it again.
        silent = silent or {"unit": None, "scene": scene.digest}
    return silent


def _reduce(
    settings: Config, source: Source, items: Sequence[catalog.Item], earlier: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Note in items which overview of their files is read, once for all; see `cube.choose_overview`."""
    if not source.reducible:
        return None
    scenes = catalog.scenes(items, source)
    if earlier is not None and any(scene.digest == earlier["scene"] for scene in scenes):
        chosen = dict(earlier)
    else:
        try:
            overview = cube.choose_overview(reading(settings, source), scenes, settings.nested_grid.fine)
        except ServiceError:  # of one file, perhaps; the unit that reads it says so, and the others go on
            overview = None
        if overview is None:
            return None
        chosen = asdict(overview)
    if chosen["reduction"] > 1:
        logger.info("source %s: overviews of %d x %d pixels are read", source.name, *[chosen["reduction"]] * 2)
        for item in items:
            if source.asset in item["assets"]:
                item["assets"][source.asset] = item["assets"][source.asset] | {catalog.REDUCTION: chosen["reduction"]}
    return chosen


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
    # A source may have been asked less far than the months to renew begin; what lies between would never be fetched.
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


def find(
    settings: Config, source: Source, shared: catalog.Shared, **how: Any
) -> tuple[list[catalog.Item], catalog.Found]:
    """Items of a source, one for each date, and how they were found; see `catalog.find` and `dated_items.split`."""
    catalog_query = query(settings, source, shared)
    items, answer = catalog.find(catalog_query, **how)
    if not dated_items.may_lie_in_files(source, items):
        return items, answer
    return dated_items.split(reading(settings, source), items, catalog_query.span), answer


def query(settings: Config, source: Source, shared: catalog.Shared) -> catalog.Query:
    """What is asked of a source's catalog: the grid's extent, and the period with the months that lags reach back.

    Parameters
    ----------
    shared
        What the searches of all sources have in common.
    """
    return catalog.Query(
        source=source,
        catalog=settings.catalog(source),
        bbox=lonlat_bounds(settings.nested_grid.bounds, settings.nested_grid.crs),
        period=period(settings, source.back),
        pixels_per_degree=_enough(settings, source),
        shared=shared,
    )


def _enough(settings: Config, source: Source) -> float | None:
    """Pixels along a degree, so that four lie in a fine cell; None where all pixels of a source are to be read."""
    if not source.reducible:
        return None
    grid = settings.nested_grid
    _, south, _, north = lonlat_bounds(grid.bounds, grid.crs)
    cells: float = grid.shape[0] * grid.ratio / (north - south)
    return PER_CELL * cells
