"""What is told of a part of the output that is not what was written."""

from __future__ import annotations

from soilscale.errors import IncompleteError


class DamagedError(IncompleteError):
    """A chunk, or what describes an array, is not what was written; it has to be made again."""

    def __init__(self, message: str, store: str, key: str) -> None:
        super().__init__(message, store, key)
        self.store = store
        """URL of the Zarr store."""
        self.key = key
        """Name of the object below it, such as ``fine/ndvi/c/3/0/0``."""

    def __str__(self) -> str:
        return str(self.args[0])
