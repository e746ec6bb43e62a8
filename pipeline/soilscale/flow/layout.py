"""Stores laid before any value is written, and kept when the period goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from soilscale import storage
from soilscale.flow import inventory
from soilscale.flow.workspace import Workspace
from soilscale.seasons import Months

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
    months: Months


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
    told = storage.read_json(url) if storage.exists(url) else None
    wanted = {"digest": layout.digest, "last": str(layout.months[-1]), "chunks": CHUNKS}
    if told == wanted:
        return
    if _goes_on(told, layout):
        for group, template in templates.items():
            storage.grow(layout.store, group, template)
    else:
        storage.remove(url)
        for stage in stages:
            inventory.remove(layout.workspace, "state", stage)
        inventory.remove(layout.workspace, layout.store.rpartition("/")[2])
        for group, template in templates.items():
            storage.create(layout.store, group, template)
    storage.write_json(url, wanted)


def _goes_on(told: object, layout: Layout) -> bool:
    """Whether a store was laid for the same but for months that came later."""
    if not isinstance(told, dict) or (told.get("digest"), told.get("chunks")) != (layout.digest, CHUNKS):
        return False
    return bool(np.datetime64(told["last"], "M") < layout.months[-1])
