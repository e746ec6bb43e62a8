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


def damaged(url: str, error: Exception) -> DamagedError:
    """What is told of an object outside a Zarr store that cannot be read for what was written."""
    store, _, key = url.rpartition("/")
    return DamagedError(f"{url} is damaged: {error}", store, key)


def parsed(url: str, data: bytes) -> Any:
    """Content of a JSON object that a run has written; `DamagedError` if it is no JSON any more."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise damaged(url, error) from error
