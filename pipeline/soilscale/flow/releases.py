"""Releases of the published maps: catalogs that never change, of maps that never change.

A map is published below the digest of what it was made from, so a new one never takes the place of an old one. When
the maps of a run stand they become a release, with a catalog of its own below ``maps/releases/N/``; only then does
``maps/catalog.json``, which leads to the newest maps, change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from soilscale import __version__, publish, storage
from soilscale.flow.units import Unit, markers
from soilscale.flow.workspace import Workspace, digest

RELEASES = "releases"
"""Folder of the releases below the published maps, and of their records below `state/`."""

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
    return sorted(int(name.partition(".")[0]) for name in storage.names_below(workspace.state(RELEASES)))


def newest(workspace: Workspace) -> Release | None:
    """Newest release, if there is one."""
    kept = numbers(workspace)
    return Release(**storage.read_json(_record(workspace, kept[-1]))) if kept else None


def _record(workspace: Workspace, number: int) -> str:
    return workspace.state(RELEASES, f"{number}.json")


def release(workspace: Workspace, name: str, config: str, work: Sequence[Unit], keep: int | None) -> None:
    """Make a release of the maps that stand, unless the newest release is of these very maps.

    What no release that is kept refers to is removed.

    Parameters
    ----------
    name
        Of the configuration.
    config
        Hash of the resolved configuration.
    work
        Units that publish the maps, each with its `draw.Edition` as second argument.
    keep
        Releases that are kept, the newest; None keeps all.
    """
    found = markers(workspace, work[0].stage) if work else set()
    standing = [unit for unit in work if unit.marker in found]
    made_from = digest(name, [unit.marker for unit in standing])
    last, kept = newest(workspace), numbers(workspace)
    stands = last is not None and last.made_from == made_from
    if last is not None and stands and (keep is None or len(kept) <= keep) and _is_whole(workspace, last):
        return
    items = _items(workspace, standing)
    if last is None or not stands:
        last = _described(kept[-1] + 1 if kept else 1, made_from, config, items)
        kept.append(last.number)
    withdrawn = kept[:-keep] if keep is not None else []
    kept = kept[len(withdrawn) :]
    _write(workspace, (RELEASES, str(last.number)), name, last, items, ())
    _write(workspace, (), name, last, items, kept[-2:-1])
    storage.write_json(_record(workspace, last.number), asdict(last))
    storage.remove(workspace.state(RELEASES), [f"{number}.json" for number in withdrawn])
    _sweep(workspace, last, kept)


def _documents(release: Release) -> set[str]:
    """Names of the documents that lead to the maps of a release."""
    return {"catalog.json", *(f"{kind}/collection.json" for kind in release.maps)}


def _is_whole(workspace: Workspace, last: Release) -> bool:
    """Whether all documents are there that lead to the maps of the newest release."""
    own = _documents(last)
    wanted = own | {f"{RELEASES}/{last.number}/{name}" for name in own}
    return wanted <= set(storage.names_below(workspace.published()))


def _items(workspace: Workspace, standing: Sequence[Unit]) -> Items:
    """Items of the maps; a map without any value has none."""
    found: Items = {}
    for unit in standing:
        edition = unit.arguments[1]
        path = edition.place(f"{edition.identifier}.json")
        try:
            item = storage.read_json(workspace.published(*path))
        except FileNotFoundError:
            continue
        found.setdefault(edition.every, {})["/".join(path)] = item
    return found


def _described(number: int, made_from: str, config: str, items: Items) -> Release:
    ends = [item["properties"]["end_datetime"] for kind in items.values() for item in kind.values()]
    return Release(
        number=number,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        made_from=made_from,
        config=config,
        version=__version__,
        maps={kind: len(found) for kind, found in items.items()},
        last=max(ends, default=""),
    )


def _write(
    workspace: Workspace, below: tuple[str, ...], name: str, own: Release, items: Items, before: Sequence[int]
) -> None:
    """Write a collection for each kind of map, and the catalog that leads to them last."""
    up = "../" * (len(below) + 1)
    for kind, found in items.items():
        told = publish.collection(
            f"{name}-{kind}",
            f"Soil moisture of {name}, one map for each {kind}",
            {f"{up}{path}": item for path, item in found.items()},
        )
        storage.write_json(workspace.published(*below, kind, "collection.json"), told)
    earlier = f"./{RELEASES}/{before[0]}/catalog.json" if before else None
    told = publish.catalog(name, f"Fine maps of soil moisture, {name}", list(items), str(own.number), earlier)
    storage.write_json(workspace.published(*below, "catalog.json"), told)


def _sweep(workspace: Workspace, last: Release, kept: Sequence[int]) -> None:
    """Remove what is of no release that is kept: its catalogs, and maps that no other one has."""
    found = storage.names_below(workspace.published())
    catalogs = _documents(last)
    catalogs |= {name for name in found if name.startswith(tuple(f"{RELEASES}/{number}/" for number in kept))}
    editions = {
        link["href"].removeprefix("../../../").rpartition("/")[0]
        for name in catalogs
        if name.startswith(RELEASES) and name.endswith("collection.json")
        for link in storage.read_json(workspace.published(name))["links"]
        if link["rel"] == "item"
    }
    gone = [name for name in found if name not in catalogs and name.rpartition("/")[0] not in editions]
    storage.remove(workspace.published(), gone)
