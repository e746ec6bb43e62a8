"""The four ways in which a run can fail, each with the exit status that an operator's scripts branch on."""

from __future__ import annotations


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


class IncompleteError(SoilscaleError):
    """The run stopped before it was complete; the same command resumes it."""

    status = 75
