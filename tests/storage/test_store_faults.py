"""A store that refuses, goes away, comes back or is slow in the middle of a stage: a real server, real faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client, LocalCluster

from calls import Call, calling
from conftest import forget_stores
from servers import faults as proxy
from servers.faults import Faults
from servers.seaweed import BUCKET, Seaweed
from soilscale import storage
from soilscale.engine import scheduler, tally, units
from soilscale.engine.output import Workspace
from soilscale.engine.units import Receipt, Unit
from soilscale.errors import RefusedError, ServiceError

pytestmark = pytest.mark.server

STAGE = "stage"
THREADS = 2
MANY = 200
"""Units, many more than are ever in flight."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    options: Any = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "protocol": "tcp"}
    with (
        LocalCluster(n_workers=1, processes=False, threads_per_worker=THREADS, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def impatient(store: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a request tried twice only, so that what stays away is found out in seconds."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    forget_stores()
    store.heal()
    yield
    store.heal()
    forget_stores()


@pytest.fixture
def workspace(request: pytest.FixtureRequest) -> Workspace:
    return Workspace(f"s3://{BUCKET}/{request.node.name}")


def keep(workspace: Workspace, name: str) -> None:
    """Write a chunk's worth."""
    storage.write_bytes(storage.join(workspace.output, "data", name), name.encode() * 1000)


def read(_workspace: Workspace, url: str) -> None:
    storage.read_bytes(url)


def work(count: int) -> list[Unit[Call]]:
    return [calling(STAGE, f"u{number:03d}", "0" * 16, keep, f"u{number:03d}") for number in range(count)]


def run(client: Client, workspace: Workspace, todo: list[Unit[Call]]) -> list[Receipt]:
    return scheduler.run(lambda: client, workspace, todo, lambda *_: None, "working")


def after(count: int, store: Faults, fault: str) -> None:
    """Have every request fail from some data of units on."""
    seen: list[str] = []

    def hit(request: str) -> bool:
        if request.startswith("PUT") and "/data/" in request:
            seen.append(request)
        return len(seen) > count

    store.share, store.kinds, store.matches = 1.0, (fault,), hit


def written(workspace: Workspace, weed: Seaweed) -> set[str]:
    """Units whose data stand."""
    prefix = workspace.output.removeprefix(f"s3://{BUCKET}/")
    return {key.rpartition("/")[2] for key in weed.keys(BUCKET, f"{prefix}/data/")}


def complete(workspace: Workspace) -> set[str]:
    return {name.partition(".")[0] for name in units.markers(workspace, STAGE)}


@pytest.mark.parametrize("fault", ["ExpiredToken", "AccessDenied", "InvalidAccessKeyId", "NoSuchBucket"])
def test_an_output_that_refuses_ends_the_stage_at_once(
    client: Client, workspace: Workspace, store: Faults, weed: Seaweed, fault: str
) -> None:
    after(6, store, fault)
    with pytest.raises(RefusedError) as caught:
        run(client, workspace, work(MANY))
    assert caught.value.status == 69
    assert f"s3://{BUCKET}/" in str(caught.value)
    assert fault in str(caught.value)
    assert "then run the same command again" in str(caught.value)
    assert store.spoilt[fault] <= 4 * scheduler.IN_FLIGHT * THREADS
    store.heal()
    standing = complete(workspace)
    assert 1 <= len(standing) <= 6
    assert standing <= written(workspace, weed)
    seen: list[str] = []
    store.share, store.matches = 1.0, lambda request: bool(seen.append(request))
    assert run(client, workspace, work(MANY)) == []
    again = {request.rpartition("/")[2].partition("?")[0] for request in seen if request.startswith("PUT")}
    assert not again & standing, "what was complete is not done again"
    assert complete(workspace) == {unit.name for unit in work(MANY)}


def test_a_store_that_goes_away_and_comes_back_is_waited_for(
    client: Client, workspace: Workspace, store: Faults, weed: Seaweed
) -> None:
    after(6, store, "drop")
    hit = store.matches
    store.matches = lambda request: hit(request) and store.spoilt["drop"] < 80
    assert run(client, workspace, work(60)) == []
    assert store.spoilt["drop"] == 80
    assert written(workspace, weed) == complete(workspace) == {unit.name for unit in work(60)}


def test_a_store_that_stays_away_is_given_up_before_every_unit_was_tried(
    client: Client, workspace: Workspace, store: Faults
) -> None:
    after(6, store, "InternalError")
    with pytest.raises(ServiceError) as caught:
        run(client, workspace, work(MANY))
    assert caught.value.status == 69
    assert f"of {MANY} units of stage {STAGE} failed, the first: cannot write s3://{BUCKET}" in str(caught.value)
    assert "check the store and your credentials, then run the same command again" in str(caught.value)
    store.heal()
    standing = complete(workspace)
    assert len(standing) <= 6
    assert run(client, workspace, work(MANY)) == []
    assert complete(workspace) == {unit.name for unit in work(MANY)}


def test_a_slow_store_takes_long_and_that_is_all(
    client: Client, workspace: Workspace, store: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "DELAY", 2.0)
    store.share, store.kinds = 0.2, ("delay",)
    assert run(client, workspace, work(8)) == []
    assert store.spoilt["delay"] > 0
    assert store.requests["PUT"] == 16, "nothing is written twice"
    assert len(complete(workspace)) == 8


def test_an_input_that_is_refused_does_not_stop_the_others_and_is_not_asked_for_again(
    client: Client, workspace: Workspace, store: Faults
) -> None:
    secret = f"s3://{BUCKET}/inputs/secret.tif"
    asked: list[str] = []

    def hit(request: str) -> bool:
        if "secret.tif" in request:
            asked.append(request)
        return "secret.tif" in request

    store.share, store.kinds, store.matches = 1.0, ("AccessDenied",), hit
    todo = [*work(10), calling(STAGE, "secret", "0" * 16, read, secret), *work(20)[10:]]
    with pytest.raises(ServiceError, match="1 of 21 units of stage stage failed") as caught:
        run(client, workspace, todo)
    assert secret in str(caught.value)
    assert len(asked) == 1
    assert len(complete(workspace)) == 20


def test_inputs_that_are_all_refused_end_the_stage_early(client: Client, workspace: Workspace, store: Faults) -> None:
    asked: list[str] = []
    store.share, store.kinds = 1.0, ("ExpiredToken",)
    store.matches = lambda request: "/inputs/" in request and not asked.append(request)
    todo = [
        calling(STAGE, f"u{number:03d}", "0" * 16, read, f"s3://{BUCKET}/inputs/{number}.tif") for number in range(MANY)
    ]
    with pytest.raises(ServiceError, match=f"{MANY} of {MANY} units"):
        run(client, workspace, todo)
    assert tally.MOST_AWAY <= len(asked) < MANY / 2
