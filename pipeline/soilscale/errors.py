"""The four ways in which a run can fail, each with the exit status that scripts branch on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SoilscaleError(Exception):
    """A failure that a person can act on; its message says what was got, what was expected and what to do."""

    status = 70
    """Exit status of the command."""


class ConfigurationError(SoilscaleError):
    """What a person wrote is wrong: a key, a value, a path in the configuration or on the command line."""

    status = 78


class DataError(SoilscaleError):
    """An input was reached but cannot be used; a rerun will not mend it."""

    status = 65


class ServiceError(SoilscaleError):
    """A catalog, a store or a scheduler cannot be reached; a rerun may mend it."""

    status = 69


class RefusedError(ServiceError):
    """A store says no: to who asks, for want of a bucket, or of room; it will say so again until a person acts."""

    def __init__(self, message: str, url: str) -> None:
        super().__init__(message, url)
        self.url = url
        """What was to be read or written."""

    def __str__(self) -> str:
        return str(self.args[0])


class IncompleteError(SoilscaleError):
    """The run stopped before it was complete; the same command resumes it."""

    status = 75


def nearest(name: str, candidates: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, else all of them."""
    choices = list(candidates)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(choices)}"
