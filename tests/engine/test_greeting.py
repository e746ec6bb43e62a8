"""Connections to a scheduler that is busy."""

from __future__ import annotations

import asyncio

import pytest
from distributed import Client, LocalCluster, Scheduler, SchedulerPlugin

from soilscale.engine.greeting import ATTEMPTS, connected


class Chatter(SchedulerPlugin):  # type: ignore[misc]  # distributed has no types
    """Has further messages follow the greeting of the first clients at once, as they do on a busy machine."""

    def __init__(self, scheduler: Scheduler, times: int) -> None:
        self.scheduler, self.times = scheduler, times

    def add_client(self, scheduler: Scheduler, client: str) -> None:
        if self.times:
            self.times -= 1
            # Before the greeting, which is sent in batches, has left.
            asyncio.get_running_loop().call_soon(lambda: scheduler.client_comms[client].send({"op": "noop"}))


@pytest.mark.parametrize(("busy", "reached"), [(0, True), (1, True), (ATTEMPTS - 1, True), (ATTEMPTS, False)])
def test_a_greeting_that_comes_with_other_messages_is_asked_for_again(busy: int, reached: bool) -> None:
    with LocalCluster(
        n_workers=0, processes=False, host="127.0.0.1", dashboard_address="127.0.0.1:0", protocol="tcp"
    ) as cluster:
        cluster.scheduler.add_plugin(Chatter(cluster.scheduler, busy))
        if not reached:
            with pytest.raises(AssertionError):
                connected(cluster.scheduler_address)
            return
        with connected(cluster.scheduler_address) as client:
            assert isinstance(client, Client)
            assert client.scheduler_info()["address"] == cluster.scheduler_address
