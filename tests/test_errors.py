"""The exit statuses that an operator's scripts branch on."""

from __future__ import annotations

import pickle

import pytest

from soilscale.errors import ConfigurationError, DataError, IncompleteError, ServiceError, SoilscaleError

STATUS = {ConfigurationError: 78, DataError: 65, ServiceError: 69, IncompleteError: 75}


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
def test_every_failure_has_the_exit_status_of_the_contract(kind: type[SoilscaleError], status: int) -> None:
    assert kind("message").status == status


def test_every_kind_of_failure_is_known_here() -> None:
    assert set(SoilscaleError.__subclasses__()) == set(STATUS)


@pytest.mark.parametrize("kind", STATUS)
def test_a_failure_comes_back_from_a_worker_as_it_was(kind: type[SoilscaleError]) -> None:
    back = pickle.loads(pickle.dumps(kind("source lst, 2005-07: not a GeoTIFF")))  # noqa: S301 - our own bytes
    assert type(back) is kind
    assert str(back) == "source lst, 2005-07: not a GeoTIFF"
