"""Keeps the items of soilscale as they are published when pystac reads them; pystac finds it by its entry point.

From version 1.12 on pystac drops `proj:epsg` of every item that it reads, in favour of `proj:code`. stackstac knows
`proj:epsg` alone, so that ``stackstac.stack(items)`` could not tell the CRS of any catalog.
"""

from __future__ import annotations

from typing import Any

import pystac
from pystac.extensions.hooks import ExtensionHooks
from pystac.extensions.projection import PROJECTION_EXTENSION_HOOKS
from pystac.serialization.identify import STACJSONDescription, STACVersionID

BOTH = "https://stac-extensions.github.io/projection/v1.2.0/schema.json"
"""The one version of the extension that has `proj:epsg` and `proj:code`."""

OURS = "soilscale:"
"""How the names of fields begin that only items of soilscale have."""


class KeepEPSG(ExtensionHooks):
    """Puts `proj:epsg` back into items of soilscale, and the versions of extensions that it names."""

    schema_uri = "urn:soilscale:items"
    prev_extension_ids: set[str] = set()  # noqa: RUF012 - as pystac declares it
    stac_object_types = {pystac.STACObjectType.ITEM}  # noqa: RUF012 - likewise

    def migrate(
        self,
        obj: dict[str, Any],
        version: STACVersionID,  # noqa: ARG002 - pystac's signature
        info: STACJSONDescription,
    ) -> None:
        """Undo what pystac has done to the projection of an item of soilscale."""
        properties = obj["properties"]
        if BOTH not in info.extensions or not any(key.startswith(OURS) for key in properties):
            return
        authority, _, number = (properties.get("proj:code") or "").partition(":")
        if authority == "EPSG":
            properties["proj:epsg"] = int(number)
        obj["stac_extensions"] = list(info.extensions)


HOOKS = KeepEPSG()

# pystac runs hooks in the order in which it has met them, and that of entry points is by chance: this one must come
# after the one whose work it undoes.
pystac.EXTENSION_HOOKS.hooks.setdefault(PROJECTION_EXTENSION_HOOKS.schema_uri, PROJECTION_EXTENSION_HOOKS)
