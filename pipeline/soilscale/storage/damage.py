"""Messages about parts of the output that do not match what was written."""

from __future__ import annotations

import json
from typing import Any

from soilscale.errors import IncompleteError


class DamagedError(IncompleteError):
    """A chunk, or what describes an array, is not what was written; it has to be made again."""

    def __init__(self, message: str, store: str, key: str) -> None:
        super().__init__(message, store, key)
        self.store = store
        """URL of the Zarr store, or of the folder."""
        self.key = key
        """Name of the object below it, such as ``fine/ndvi/c/3/0/0``."""

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def url(self) -> str:
        """URL of the object."""
        return f"{self.store}/{self.key}"


def damaged(url: str, error: Exception, store: str = "") -> DamagedError:
    """Error of an object that is not what was written; `store` is what it is part of, by default its folder."""
    store = store or url.rpartition("/")[0]
    return DamagedError(f"{url} is damaged: {error}", store, url.removeprefix(f"{store}/"))


def lost(store: str, key: str) -> DamagedError:
    """Error of an object of a store that was written and is missing."""
    return DamagedError(f"{store}/{key} is lost: it was written, but is missing", store, key)


def parsed(url: str, data: bytes, store: str = "") -> Any:
    """Content of a JSON object that a run has written; `damaged` if it is no JSON any more."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise damaged(url, error, store) from error
