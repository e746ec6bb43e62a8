"""State shared by searches of several sources: documents and listings, each requested once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from soilscale.catalog import documents

Result = TypeVar("Result")


@dataclass
class Shared:
    """Documents and listings that were read in one search of all sources.

    Items are not kept: they are many, and each is of one source.
    """

    kept: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, url: str, where: str) -> dict[str, Any]:
        """Document at a URL; parameters and errors as of `documents.read`."""
        if url in self.kept:
            document: dict[str, Any] = self.kept[url]
            return document
        document = documents.read(url, where)
        if _leads_on(document):
            with self.lock:
                self.kept[url] = document
        return document

    def once(self, key: str, make: Callable[[], Result]) -> Result:
        """What a function returns, which is called for the first source that needs it."""
        if key not in self.kept:
            self.kept[key] = make()
        result: Result = self.kept[key]
        return result


def _leads_on(document: Mapping[str, Any]) -> bool:
    """Whether a document is a catalog or collection: neither an item nor a list of them."""
    return document.get("type") not in ("Feature", "FeatureCollection", "ItemCollection") and "features" not in document
