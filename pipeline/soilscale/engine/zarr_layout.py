"""Zarr stores laid out before any value is written, and kept when the period is extended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from soilscale import storage
from soilscale.engine.output import Workspace

CHUNKS = "gathered"
"""How a store is chunked, all of whose chunks stand when its units are complete; another one is laid anew."""


@dataclass(frozen=True)
class Layout:
    """What a store is laid for."""

    workspace: Workspace
    store: str
    """URL of the store."""
    name: str
    """Name of the object below `state/` that tells what the store was laid for."""
    digest: str
    """Of all that its template is made from but for the last month."""
    last: np.datetime64
    """Last month that the store holds."""
    remove: Callable[..., None]
    """Removes what runs have written below a folder of a workspace, given by the parts of its name."""


def lay(layout: Layout, templates: Mapping[str, xr.Dataset], stages: Sequence[str]) -> None:
    """Lay a store, or let one grow that was laid for the same but fewer months; else nothing happens.

    Parameters
    ----------
    templates
        Group -> its template.
    stages
        Stages whose markers tell of a store that is laid anew, and are removed with it.
    """
    url = layout.workspace.state(layout.name)
    record = storage.read_json(url) if storage.exists(url) else None
    intended = {"digest": layout.digest, "last": str(layout.last), "chunks": CHUNKS}
    if record == intended:
        return
    if _goes_on(record, layout):
        for group, template in templates.items():
            storage.grow(layout.store, group, template)
    else:
        # The record goes first: a store that is half removed must not pass for one that was laid.
        storage.remove(url)
        for stage in stages:
            layout.remove(layout.workspace, "state", stage)
        layout.remove(layout.workspace, layout.store.rpartition("/")[2])
        for group, template in templates.items():
            storage.create(layout.store, group, template)
    # Last, so that a lay that was cut off is done again.
    storage.write_json(url, intended)


def _goes_on(record: object, layout: Layout) -> bool:
    """Whether a store was laid for the same but for months that came later."""
    if not isinstance(record, dict) or (record.get("digest"), record.get("chunks")) != (layout.digest, CHUNKS):
        return False
    return bool(np.datetime64(record["last"], "M") < layout.last)
