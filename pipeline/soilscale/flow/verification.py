"""What units and runs say that they wrote, held against what stands: so what another writer put in its place is seen.

A fence asks for the term right before each write, and yet a process may be suspended between the two. What it then
writes is whole and passes every checksum of its own; only the marker of the unit whose object it replaced tells.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from soilscale import storage
from soilscale.flow import inventory
from soilscale.flow.inventory import Stamps
from soilscale.flow.units import MARKER
from soilscale.flow.workspace import Workspace
from soilscale.storage import Written

READ_TOGETHER = 512
"""Markers that are asked for at once."""

SIDE_BY_SIDE = 8
"""Objects whose content is read at once, where the store does not say that it is what was written."""

STATE = "state/"

UNKNOWN = Written(0, "")
"""Stands for a marker that was read: what it keeps has checksums of its own."""


@dataclass(frozen=True)
class Spoilt:
    """What does not stand as it was written."""

    markers: Mapping[str, Sequence[str]]
    """Marker, by its name below the output -> objects that it says its unit wrote."""
    objects: Sequence[str]
    """Objects that this run wrote itself."""

    def __bool__(self) -> bool:
        """Tell whether there is anything."""
        return bool(self.markers or self.objects)


def spoilt(workspace: Workspace, standing: Stamps) -> Spoilt:
    """Objects that are not what this run wrote, or units that were done since the last complete run.

    What that run left was held against its markers at its end. Markers that this run did not write are read once, some
    hundred at a time; no object is read whose size and time, or ETag, are those that its writer saw.

    Parameters
    ----------
    standing
        What stands in the output now, of `inventory.take`.
    """
    fence = storage.fence()
    if fence is None:
        return Spoilt({}, ())
    _enter_markers(workspace, fence, standing)
    suspects = {
        name: written
        for name, written in fence.below(workspace.output).items()
        if standing.get(name) != written.stamp and not MARKER.search(name) and not name.startswith(inventory.PASSING)
    }
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        stands = list(pool.map(lambda name: _stands(workspace, name, suspects[name], standing.get(name)), suspects))
    markers: dict[str, list[str]] = defaultdict(list)
    for name, is_so in zip(suspects, stands, strict=True):
        if not is_so:
            markers[fence.maker(workspace.output, name)].append(name)
    objects = markers.pop("", [])
    return Spoilt(dict(markers), objects)


def _enter_markers(workspace: Workspace, fence: storage.Fence, standing: Stamps) -> None:
    """Enter what units wrote that others did since the last complete run; of two, the one of the later term counts."""
    then, known = inventory.left(workspace), fence.below(workspace.output)
    unread = [
        name
        for name, stamp in standing.items()
        if name.startswith(STATE) and MARKER.search(name) and name not in known and then.get(name) != stamp
    ]
    read: list[tuple[int, str, dict[str, Written]]] = []
    for first in range(0, len(unread), READ_TOGETHER):
        contents = storage.read_many(workspace.output, unread[first : first + READ_TOGETHER])
        for marker, content in contents.items():
            term, wrote = _record(content)
            read.append((term, marker, wrote))
    for _, marker, wrote in sorted(read, key=lambda one: one[:2]):
        new = {name: written for name, written in wrote.items() if name not in known}
        fence.enter(workspace.output, new | {marker: UNKNOWN}, by=marker)


def _record(content: bytes) -> tuple[int, dict[str, Written]]:
    """Term of a marker, and what it says was written: nothing if it is damaged, or of an earlier version."""
    try:
        told = json.loads(content)
        return told["term"] or 0, {name: Written(**written) for name, written in told["wrote"].items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        return 0, {}


def _stands(workspace: Workspace, name: str, written: Written, stamp: str | None) -> bool:
    """Whether an object whose stamp is another one holds what was written nevertheless, as a copy does."""
    if stamp is None or stamp.partition(" ")[0] != str(written.size):
        return False
    try:
        return storage.checksum(storage.join(workspace.output, name)) == written.checksum
    except FileNotFoundError:
        return False
