"""What a complete run left, object by object: by it the next one sees what another hand has taken or altered since."""

from __future__ import annotations

import re
from collections.abc import Mapping

from soilscale import storage
from soilscale.flow.lease import TERMS
from soilscale.flow.workspace import Workspace

NAME, SEAL = "inventory.json", "seal.json"
"""Names of the inventory and of the seal below `state/`."""

PASSING = ("run.yaml", f"state/{NAME}", f"state/{SEAL}", f"state/{TERMS}/")
"""Names, or how they begin, of what every run writes anew."""

METADATA = "/zarr.json"
"""End of the name of what describes a Zarr group or array."""

PRODUCT = re.compile(
    r"(cube|maps)\.zarr/(.+/)?(zarr\.json|c(/\d+)*)|(samples|predictions)\.parquet|report/[^/]+\.(csv|png|html)"
    r"|models/[^/]+/[^/]+/(model\.skops|model\.json|trees\.npz)"
    r"|maps/(releases/\d+/)?([^/]+/)?(catalog|collection)\.json|maps/[^/]+/[^/]+/[0-9a-f]{16}/[^/]+\.(tif|json)"
)
"""Name of a product; what else lies in the output is a user's own, and none of a run's business."""

Stamps = Mapping[str, str]
"""Name of each object, and its `storage.stamp`."""


def take(workspace: Workspace) -> dict[str, str]:
    """List what lies in an output, but for what every run writes anew."""
    found = storage.stamps(workspace.output)
    return {name: stamp for name, stamp in found.items() if not name.startswith(PASSING)}


def write(workspace: Workspace, standing: Stamps) -> None:
    """Write down what a complete run left."""
    storage.write_json(workspace.state(NAME), standing)


def left(workspace: Workspace) -> Stamps:
    """What the last complete run left, as it was written down; nothing if there was none."""
    try:
        content = storage.read_json(workspace.state(NAME))
    except (FileNotFoundError, storage.DamagedError):
        return {}
    return content if isinstance(content, dict) else {}


def term(workspace: Workspace) -> int:
    """Term of the last complete run, 0 if it is not known."""
    try:
        return int(storage.read_json(workspace.state(SEAL))["term"] or 0)
    except (FileNotFoundError, storage.DamagedError, LookupError, TypeError, ValueError):
        return 0


def altered(workspace: Workspace, now: Stamps) -> list[str]:
    """Names of the products that are gone, or not what a complete run left, sorted.

    Metadata of a Zarr store may have been consolidated: they are told only if they are gone. None is told where markers
    have come or gone since: then a run has been at work, and has made products anew; nor where items are gone, without
    which nobody can tell what a product was made from.
    """
    then = left(workspace)
    changed = {name for name in {*then, *now} if then.get(name) != now.get(name)} if then else set()
    if any(name.startswith("state/") or (name.startswith("items/") and name not in now) for name in changed):
        return []
    kept = {name for name in changed & now.keys() if name.endswith(METADATA)}
    return sorted(name for name in changed & then.keys() - kept if PRODUCT.fullmatch(name))
