"""What units and runs report as written, compared with the store, so that foreign writes are noticed.

A fence asks for the term right before each write, and yet a process may be suspended between the two. What it then
writes is whole and passes every checksum of its own; only the marker of the unit whose object it replaced tells.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from soilscale import storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import MARKER
from soilscale.stages import inventory
from soilscale.stages.inventory import Stamps
from soilscale.storage import Written

READ_TOGETHER = 512
"""Markers that are asked for at once."""

SIDE_BY_SIDE = 8
"""Objects whose content is read at once, where the store does not say that it is what was written."""

STATE = "state/"

REGION = re.compile(r"\.zarr/.*/c/\d+/\d+|/[0-9a-f]{16}/[^/]+\.(tif|png)$|^models/|^state/.*\.parquet$")
"""Name of what units alone write: regions of arrays, maps, models, parts of tables."""

UNKNOWN = Written(0, "")
"""Stands for a marker that was read: what it keeps has checksums of its own."""


@dataclass(frozen=True)
class Spoilt:
    """What does not stand as it was written."""

    markers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Marker, by its name below the output -> objects that it says its unit wrote."""
    objects: Sequence[str] = ()
    """Objects that this run wrote itself."""
    late: Sequence[str] = ()
    """Markers that came under a term that had ended: what they tell of is not this output's any more."""

    def __bool__(self) -> bool:
        """Tell whether anything has to be made again."""
        return bool(self.markers or self.objects)


def spoilt(workspace: Workspace, standing: Stamps, *, begun: bool) -> Spoilt:
    """Objects that are not what this run wrote, or units that were done since the last complete run.

    What that run left was held against its markers at its end. Markers that this run did not write are read once, some
    hundred at a time; all of them only if something that run left has changed and no new marker tells why. No object
    is read whose size and time, or ETag, are those that its writer saw.

    Parameters
    ----------
    standing
        What stands in the output now, of `inventory.take`.
    begun
        Whether this run has worked already, and so knows all markers that are not late: of a term that had ended.
        Before, what was altered without any new marker is left to `inventory.altered`.
    """
    fence = storage.fence()
    if fence is None:
        return Spoilt()
    then = inventory.left(workspace)
    markers = {name: stamp for name, stamp in standing.items() if name.startswith(STATE) and MARKER.search(name)}
    fenced = fence.below(workspace.output)
    new = {name for name, stamp in markers.items() if name not in fenced and then.get(name) != stamp}
    read = _read(workspace, new)
    ended = (workspace.term or 0) - 1 if begun else inventory.term(workspace)
    # A term of 0 is of a marker that cannot be read or of an earlier version, which is not taken for late.
    late = sorted(name for name, (term, _) in read.items() if name not in then and 0 < term <= ended)
    _enter(workspace, fence, {name: record for name, record in read.items() if name not in late})
    # Again, for it has grown by what was just entered.
    fenced = fence.below(workspace.output)
    changed = {name for name, stamp in then.items() if REGION.search(name) and standing.get(name) != stamp}
    changed = {name for name in changed - fenced.keys() if not fence.has_removed(workspace.output, name)}
    if changed and (begun or new.difference(late)):
        _enter(workspace, fence, _read(workspace, markers.keys() - fenced.keys() - set(late)))
    suspects = {
        name: written
        for name, written in fence.below(workspace.output).items()
        if standing.get(name) != written.stamp and not MARKER.search(name) and not name.startswith(inventory.PASSING)
    }
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        stands = list(pool.map(lambda name: _stands(workspace, name, suspects[name], standing.get(name)), suspects))
    by_maker: dict[str, list[str]] = defaultdict(list)
    for name, is_so in zip(suspects, stands, strict=True):
        if not is_so:
            by_maker[fence.maker(workspace.output, name)].append(name)
    objects = by_maker.pop("", [])
    return Spoilt(dict(by_maker), objects, late)


def _read(workspace: Workspace, names: Collection[str]) -> dict[str, tuple[int, dict[str, Written]]]:
    """Markers with their terms, and what they say was written."""
    ordered = sorted(names)
    records: dict[str, tuple[int, dict[str, Written]]] = {}
    for first in range(0, len(ordered), READ_TOGETHER):
        contents = storage.read_many(workspace.output, ordered[first : first + READ_TOGETHER])
        records |= {name: _record(content) for name, content in contents.items()}
    return records


def _enter(workspace: Workspace, fence: storage.Fence, read: Mapping[str, tuple[int, Mapping[str, Written]]]) -> None:
    """Enter what units wrote that others did; of two that wrote the same object the one of the later term counts."""
    fenced = fence.below(workspace.output)
    for marker, (_, wrote) in sorted(read.items(), key=lambda item: (item[1][0], item[0])):
        new = {name: written for name, written in wrote.items() if name not in fenced}
        fence.enter(workspace.output, new | {marker: UNKNOWN}, by=marker)


def _record(content: bytes) -> tuple[int, dict[str, Written]]:
    """Term of a marker, and what it says was written: nothing if it is damaged, or of an earlier version."""
    try:
        marker = json.loads(content)
        return marker["term"] or 0, {name: Written(**written) for name, written in marker["wrote"].items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        return 0, {}


def _stands(workspace: Workspace, name: str, written: Written, stamp: str | None) -> bool:
    """Whether an object whose stamp is another one holds what was written nevertheless, as a copy does."""
    # The stamp tells the size: where that differs, nothing need be read.
    if stamp is None or stamp.partition(" ")[0] != str(written.size):
        return False
    try:
        return storage.checksum(storage.join(workspace.output, name)) == written.checksum
    except FileNotFoundError:
        return False
