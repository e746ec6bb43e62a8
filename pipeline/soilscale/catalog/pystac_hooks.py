"""Has stackstac take the items of soilscale as pystac reads them; pystac finds this module by its entry point.

From version 1.12 on pystac drops `proj:epsg` of every item that it reads, in favour of `proj:code`, and it leaves the
hrefs of assets relative. stackstac knows `proj:epsg` alone and opens hrefs as they are, so that
``stackstac.stack(items)`` could neither tell the CRS of any catalog nor find the files of one that can be moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pystac
from pystac.extensions.hooks import ExtensionHooks
from pystac.extensions.projection import PROJECTION_EXTENSION_HOOKS
from pystac.serialization.identify import STACJSONDescription, STACVersionID
from pystac.stac_object import STACObject

BOTH = "https://stac-extensions.github.io/projection/v1.2.0/schema.json"
"""The one version of the extension that has `proj:epsg` and `proj:code`."""

OURS = "soilscale:"
"""How the names of fields begin that only items of soilscale have."""


class ReadyToLoad(ExtensionHooks):
    """Keeps the fields of items of soilscale as they are published, and makes the hrefs of their assets absolute."""

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
        if BOTH not in info.extensions or not _is_ours(properties):
            return
        authority, _, number = (properties.get("proj:code") or "").partition(":")
        if authority == "EPSG":
            properties["proj:epsg"] = int(number)
        obj["stac_extensions"] = list(info.extensions)

    def get_deprecation_message(self, obj: STACObject) -> str | None:
        """Make the hrefs of an item's assets absolute; there is no message.

        Of all that pystac asks of hooks this alone is asked of the item once it is read, with the place that it was
        read from.
        """
        if isinstance(obj, pystac.Item) and obj.get_self_href() is not None and _is_ours(obj.properties):
            obj.make_asset_hrefs_absolute()
        return None


def _is_ours(properties: Mapping[str, Any]) -> bool:
    """Whether the properties are of an item of soilscale."""
    return any(key.startswith(OURS) for key in properties)


HOOKS = ReadyToLoad()

# pystac runs hooks in the order in which it has met them, and that of entry points is by chance: this one must come
# after the one whose work it undoes.
pystac.EXTENSION_HOOKS.hooks.setdefault(PROJECTION_EXTENSION_HOOKS.schema_uri, PROJECTION_EXTENSION_HOOKS)
