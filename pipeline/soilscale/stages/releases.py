"""Releases of the published maps: catalogs that never change, of maps that never change.

A map is published below the digest of what it was made from, so a new one never takes the place of an old one. When
the maps of a run stand they become a release, with a catalog of its own below ``maps/releases/N/``; only then does
``maps/catalog.json``, which leads to the newest maps, change. Beside each catalog stands the index of the viewer.

The record of a release is written first, and on condition that there is none of its number: so no two runs take one
number, not even one that was suspended meanwhile. A run that is killed after that finds its record, and goes on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from soilscale import __version__, publish, storage, viewer
from soilscale.engine.output import Workspace, digest
from soilscale.engine.units import Unit, markers
from soilscale.errors import IncompleteError
from soilscale.stages import inventory
from soilscale.tasks.published_maps import PublishMap
from soilscale.viewer.index import Viewed, describe

FORMAT = 4
"""Version of how the documents of a release are written; a change makes a new release."""

RELEASES = "releases"
"""Folder of the releases below the published maps, and of their records below `state/`."""

LISTED = 24
"""Releases that the viewer offers, the newest."""

RECORD = re.compile(r"(\d+)\.json")
"""Name of the record of a release."""

logger = logging.getLogger(__name__)

Items = dict[str, dict[str, dict[str, Any]]]
"""Kind of map, month or season -> path of an item below the published maps -> the item."""


@dataclass(frozen=True)
class Release:
    """Record of a release."""

    number: int
    time: str
    """When it was made, UTC."""
    made_from: str
    """Digest of its maps."""
    config: str
    """Hash of the resolved configuration."""
    version: str
    """Of soilscale."""
    maps: dict[str, int]
    """Kind of map -> how many there are."""
    last: str
    """Last instant of the last map, UTC; empty if there is no map."""

    def __str__(self) -> str:
        """Give number, time and size, as messages do."""
        counts = ", ".join(f"{count} of each {kind}" for kind, count in self.maps.items())
        return f"release {self.number} of {self.time}: maps: {counts or 'none'}"


def numbers(workspace: Workspace) -> list[int]:
    """Numbers of the releases that are kept, ascending."""
    matches = (RECORD.fullmatch(name) for name in workspace.records(RELEASES))
    return sorted(int(match[1]) for match in matches if match)


def newest(workspace: Workspace) -> Release | None:
    """Newest release, if there is one."""
    stored = numbers(workspace)
    return Release(**storage.read_json(_record(workspace, stored[-1]))) if stored else None


def _record(workspace: Workspace, number: int) -> str:
    return workspace.state(RELEASES, f"{number}.json")


def release(
    workspace: Workspace,
    name: str,
    config: str,
    work: Sequence[Unit[PublishMap]],
    keep: int | None,
    viewed: Viewed,
    about: publish.About | None = None,
) -> None:
    """Make a release of the maps that stand, unless the newest release is of these very maps.

    What no release that is kept refers to is removed.

    Parameters
    ----------
    name
        Of the configuration.
    config
        Hash of the resolved configuration.
    work
        Units that publish the maps.
    keep
        Releases that are kept, the newest; None keeps all.
    viewed
        What the viewer shows beside the maps.
    about
        Whose the maps are, and what they are made from.
    """
    about = publish.About() if about is None else about
    complete = markers(workspace, work[0].stage) if work else set()
    standing = [unit for unit in work if unit.marker in complete]
    made_from = digest(FORMAT, name, [unit.marker for unit in standing], about)
    last, stored = newest(workspace), numbers(workspace)
    stands = last is not None and last.made_from == made_from
    published = set(storage.names_below(workspace.published()))
    now = _leads_to(workspace) if "catalog.json" in published else None
    all_fit = keep is None or len(stored) <= keep
    _write_page(workspace, published)
    if last is not None and stands and all_fit and now == last.number and _is_whole(last, published):
        return
    items = _items(workspace, standing)
    if last is None or not stands:
        last = _claimed(workspace, _described(made_from, config, items))
    # Numbers after the one that the catalog leads to were begun by runs that did not complete them.
    earlier = [number for number in stored if number < last.number and (now is None or number <= now)]
    stored = [*earlier, last.number][-(keep or len(earlier) + 1) :]
    # The release's own folder first: whoever is killed here has changed nothing that readers open.
    shown = describe(name, last.number, last.time, viewed, items)
    _write(workspace, (RELEASES, str(last.number)), name, last, items, (), about, shown)
    if numbers(workspace)[-1] != last.number:
        raise IncompleteError(
            f"{workspace.output}: meanwhile another run has made a release after number {last.number}, and "
            "maps/catalog.json links to it; decide which of the two may write there, and stop the other"
        )
    # What readers open goes over to the release only now that its number is known to be the newest.
    _write(workspace, (), name, last, items, stored[-2:-1], about, shown | {"releases": _listed(workspace, stored)})
    withdrawn = [number for number in numbers(workspace) if number < last.number and number not in stored]
    storage.remove(workspace.state(RELEASES), [f"{number}.json" for number in withdrawn])
    _sweep(workspace, last, stored)


def _listed(workspace: Workspace, stored: Sequence[int]) -> list[dict[str, Any]]:
    """Releases that the viewer offers, the newest first; only the index of the newest release has them."""
    records = [storage.read_json(_record(workspace, number)) for number in reversed(stored[-LISTED:])]
    return [{"release": record["number"], "time": record["time"]} for record in records]


def _documents(release: Release) -> set[str]:
    """Names of the documents that lead to the maps of a release."""
    return {"catalog.json", viewer.INDEX, *(f"{kind}/collection.json" for kind in release.maps)}


def _leads_to(workspace: Workspace) -> int | None:
    """Number of the release that the catalog of now leads to; those after it were begun and not completed."""
    version = storage.read_json(workspace.published("catalog.json")).get("version")
    return int(version) if version is not None else None


def _is_whole(last: Release, published: Collection[str]) -> bool:
    """Whether all documents are there that lead to the maps of the newest release."""
    documents = _documents(last)
    expected = documents | {f"{RELEASES}/{last.number}/{name}" for name in documents}
    return expected <= set(published)


def _items(workspace: Workspace, standing: Sequence[Unit[PublishMap]]) -> Items:
    """Items of the maps; a map without any value has none."""
    items: Items = {}
    for unit in standing:
        edition = unit.task.edition
        path = edition.place(f"{edition.identifier}.json")
        try:
            item = storage.read_json(workspace.published(*path))
        except FileNotFoundError:
            continue
        items.setdefault(edition.every, {})["/".join(path)] = item
    return items


def _claimed(workspace: Workspace, described: Release) -> Release:
    """Write the record of a release under the next number that no other has."""
    number = max(numbers(workspace), default=0)
    while True:
        number += 1
        numbered = replace(described, number=number)
        # Not every store honours the condition that the object be new, so what stands there is read once more.
        storage.write_new(_record(workspace, number), storage.as_json(asdict(numbered)))
        if storage.read_json(_record(workspace, number)) == asdict(numbered):
            return numbered


def _described(made_from: str, config: str, items: Items) -> Release:
    ends = [item["properties"]["end_datetime"] for kind in items.values() for item in kind.values()]
    return Release(
        number=0,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        made_from=made_from,
        config=config,
        version=__version__,
        maps={kind: len(kind_items) for kind, kind_items in items.items()},
        last=max(ends, default=""),
    )


def _write_page(workspace: Workspace, published: Collection[str]) -> None:
    """Write the viewer's page, unless it stands as this version has it; another's file of its name is left alone."""
    url = workspace.published(viewer.PAGE)
    head = storage.read_head(url, viewer.HEAD) if viewer.PAGE in published else None
    if head is None or (viewer.is_page(head) and not head.startswith(viewer.mark().encode())):
        storage.write_bytes(url, viewer.page())
    elif not viewer.is_page(head):
        logger.warning(
            "%s is not soilscale's viewer and is left as it is; move it away and run again to have the viewer there, "
            "or open it with `soilscale view %s`",
            storage.shown(url),
            storage.shown(workspace.output),
        )


def _write(
    workspace: Workspace,
    below: tuple[str, ...],
    name: str,
    numbered: Release,
    items: Items,
    before: Sequence[int],
    about: publish.About,
    shown: dict[str, Any],
) -> None:
    """Write a collection for each kind of map, the viewer's index, and the catalog that leads to the maps last."""
    up = "../" * (len(below) + 1)
    earlier = f"./{RELEASES}/{before[0]}/catalog.json" if before else None
    version = publish.CatalogVersion(
        str(numbered.number), numbered.time.replace("+00:00", "Z"), below, earlier, workspace.term
    )
    for kind, kind_items in items.items():
        by_href = {f"{up}{path}": item for path, item in kind_items.items()}
        document = publish.collection(kind, name, by_href, about, version)
        storage.write_json(workspace.published(*below, kind, "collection.json"), document)
    storage.write_json(workspace.published(*below, viewer.INDEX), shown)
    storage.write_json(workspace.published(*below, "catalog.json"), publish.catalog(name, list(items), about, version))


def _sweep(workspace: Workspace, last: Release, stored: Sequence[int]) -> None:
    """Remove what is of no release that is kept: its catalogs, and maps that no other one has."""
    is_ours = inventory.ours(workspace)
    published = [name for name in storage.names_below(workspace.published()) if is_ours(f"maps/{name}")]
    catalogs = _documents(last) | {viewer.PAGE}
    catalogs |= {name for name in published if name.startswith(tuple(f"{RELEASES}/{number}/" for number in stored))}
    editions = {
        # Links are relative to `releases/N/<kind>/`, three folders below the published maps.
        link["href"].removeprefix("../../../").rpartition("/")[0]
        for name in catalogs
        if name.startswith(RELEASES) and name.endswith("collection.json")
        for link in storage.read_json(workspace.published(name))["links"]
        if link["rel"] == "item"
    }
    unused = [name for name in published if name not in catalogs and name.rpartition("/")[0] not in editions]
    storage.remove(workspace.published(), unused)
